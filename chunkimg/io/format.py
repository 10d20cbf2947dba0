"""What a format is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..access import Access
from ..errors import FormatError
from ..geometry import Grid
from ..volume import Volume

__all__ = ["MAX_AXIS", "CheckOptions", "Finding", "Format", "Header", "Progress", "ReadOptions", "WriteOptions"]


#: voxels along one axis: more are taken for damage, as coordinates are held in memory
MAX_AXIS = 1 << 24


@dataclass(frozen=True)
class Header:
    """What a file or store says of its image; reading it touches no voxel.

    Attributes
    ----------
    format : str
        Name of the format.
    source : str
        File name or URL.
    sizes : dict
        Size by dim, in the order t, c, z, y, x.
    dtype : str
        Type of the stored voxels, in the source's byte order.
    grid : Grid or None
        None where the geometry is unusable.
    scaling : (float, float) or None
        Slope and intercept.
    times : tuple of float or None
        Values of t.
    time_units : str or None
        ``"s"`` or ``"unknown"``.
    access : str
        ``"random"``, ``"indexed"`` or ``"sequential"``, with the attribute `cost`: what a region costs, in words.
    properties : dict
        Metadata of the image.
    fields : dict
        The format's own header fields.
    """

    format: str
    source: str
    sizes: dict[str, int]
    dtype: str
    grid: Grid | None
    scaling: tuple[float, float] | None
    times: tuple[float, ...] | None
    time_units: str | None
    access: Access
    properties: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, volume: Volume, format: str, dtype: str, fields: Mapping[str, Any]) -> Header:
        """The header of an opened volume."""
        return cls(
            format=format,
            source=volume.source,
            sizes=dict(volume.sizes),
            dtype=dtype,
            grid=volume.grid,
            scaling=None if volume.scaling is None else (volume.scaling.slope, volume.scaling.inter),
            times=None if volume.times is None else volume.times.values,
            time_units=None if volume.times is None else volume.times.units,
            access=volume.data.access,
            properties=dict(volume.properties),
            fields=dict(fields),
        )


class Progress(Protocol):
    """What a write reports to."""

    def start(self, total: int) -> None:
        """`total` bytes are to come."""

    def __call__(self, count: int) -> None:
        """`count` more bytes are done."""


@dataclass(frozen=True)
class ReadOptions:
    """How to open an image; each format uses what applies to it.

    Attributes
    ----------
    level : int
        Resolution level of a pyramid; 0 is the finest.
    storage_options : dict or None
        Zarr: passed to fsspec for URLs.
    index : str, path or False
        Gzip: where the index for random access is kept: ``"auto"`` (beside the file, else in the cache folder), a path
        or folder, or False to use none.
    allow_outside : bool
        NRRD: follow names of data files that leave the folder of the header.
    """

    level: int = 0
    storage_options: Mapping[str, Any] | None = None
    index: Any = "auto"
    allow_outside: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """How to write an image; each format uses what applies to it and refuses what it cannot do.

    Attributes
    ----------
    overwrite : bool
        Replace an existing destination, once the new one is complete.
    budget : int
        Memory in bytes for what is held of the image at once.
    progress : Progress or None
        Told the number of bytes to come, and each number of bytes done.
    chunks, codec, pyramid, downsample
        Zarr: chunk sizes by dim; codec, or profile (``"fast"``, ``"balanced"``, ``"small"``); whether to write a
        pyramid; ``"mean"`` or ``"mode"``.
    ome_version
        Zarr: ``"0.5"`` (Zarr v3, the default) or ``"0.4"`` (Zarr v2).
    resume
        Zarr in a local folder: take up a write of the same image with the same options where it was cut off.
    version, gzip_level
        NIfTI: 1 or 2; NIfTI and NRRD: compression level of gzip, 0 to 3 of ISA-L (fast; 3 by default), 4 to 9 of
        zlib-ng, or of zlib where that is not installed (small).
    gzip_table
        NIfTI and NRRD: whether a gzip file ends with the table that makes it readable at any place. Readers that go by
        the end of the file, or stop where the content ends, want it without (`docs/gzip.md`).
    encoding
        NRRD: ``"raw"``, ``"gzip"``, ``"bzip2"``, ``"ascii"`` or ``"hex"``; that of the source, else raw, by default.
    storage_options : dict or None
        Zarr: passed to fsspec for URLs.
    """

    overwrite: bool = False
    budget: int = 256 << 20
    progress: Progress | None = None
    chunks: Mapping[str, int] | Sequence[int] | int | str | None = None
    codec: str | None = None
    pyramid: bool = False
    downsample: str | None = None
    ome_version: str | None = None
    resume: bool = False
    version: int | None = None
    gzip_level: int | None = None
    gzip_table: bool = True
    encoding: str | None = None
    storage_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.budget < 1 << 20:
            raise ValueError(f"budget is a number of bytes, at least {1 << 20}; found {self.budget}")
        if self.codec is not None and not isinstance(self.codec, str):
            raise ValueError(f"codec is a name with an optional level, such as 'zstd:5'; found {self.codec!r}")

    def refuse_of_zarr(self, dest: str, format: str) -> None:
        """Refuse options that only Zarr stores have, for a file of another format.

        Raises
        ------
        FormatError
            Naming the option.
        """
        for name in ("chunks", "codec", "downsample", "ome_version"):
            if getattr(self, name) is not None:
                raise FormatError(f"{dest}: {name}= is for Zarr stores, {format} files have none")
        if self.pyramid:
            raise FormatError(f"{dest}: {format} files hold one resolution level, pyramid= is for Zarr stores")
        if self.resume:
            raise FormatError(f"{dest}: {format} files are written in one go, resume= is for Zarr stores")


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes
    ----------
    severity : str
        ``"error"``: voxels or positions are lost or contradictory, or the format is violated. ``"warning"``: readers
        may disagree. ``"note"``: worth knowing.
    where : str
        File, or path inside the store.
    message : str
        What was expected and what was found.
    """

    severity: Literal["error", "warning", "note"]
    where: str
    message: str


@dataclass(frozen=True)
class CheckOptions:
    """How to check a file or store.

    Attributes
    ----------
    quick : bool
        Check headers, metadata and sizes, and decode no voxel.
    budget : int
        Memory in bytes for what is decoded at once.
    progress : Progress or None
        Told the number of bytes to be decoded, and those done.
    storage_options : dict or None
        Zarr: passed to fsspec for URLs.
    """

    quick: bool = False
    budget: int = 256 << 20
    progress: Progress | None = None
    storage_options: Mapping[str, Any] | None = None


class Format(Protocol):
    """A file format: a small, stateless object; its suffixes stand in the table of `io.registry`."""

    name: str

    def sniff(self, source: Any) -> bool:
        """Whether the content is of this format."""

    def read_header(self, source: Any, options: ReadOptions) -> Header:
        """The header alone."""

    def open(self, source: Any, options: ReadOptions) -> Volume:
        """A lazy volume; reads headers only."""

    def write(self, volume: Volume, dest: Any, options: WriteOptions) -> None:
        """Stream a volume to `dest`."""
