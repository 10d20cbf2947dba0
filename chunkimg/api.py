"""Opening, saving and converting images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import FormatError, GeometryError
from .io.format import Format, Header, Progress, ReadOptions, WriteOptions
from .io.registry import format_of, format_to_write
from .volume import Volume

if TYPE_CHECKING:
    import xarray as xr

    from .io.zarr_plan import WritePlan

__all__ = ["build_index", "convert", "open_image", "open_pyramid", "read_header", "save"]


def open_image(
    source: Any,
    *,
    chunks: Any = "auto",
    level: int = 0,
    format: str | None = None,
    scaled: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    index: Any = "auto",
    allow_outside: bool = False,
) -> xr.DataArray:
    """Open an image lazily: only headers are read.

    Parameters
    ----------
    source : str, path, URL or zarr Store
        ``.nii``, ``.nii.gz``, ``.hdr``/``.img`` (either of the two), ``.nrrd``, ``.nhdr``, or a Zarr store (folder,
        zip file, URL) or a path in one, as that of a label image: ``store.zarr/labels/nuclei``.
    chunks : "auto", int, tuple, dict or None
        Dask blocks by dim. ``"auto"`` and ``{}`` plan blocks of about 32 MiB that fit how the source is stored.
        None: without Dask; selections stay lazy, and what is left is read, each time anew, when its values are asked
        for (``.load()`` keeps them).
    level : int
        Resolution level of a pyramid; 0 is the finest.
    format : str, optional
        ``"nifti"``, ``"nrrd"`` or ``"zarr"``, where the name does not tell.
    scaled : bool
        Apply the source's intensity scaling; False gives the stored values.
    storage_options : mapping, optional
        For URLs, passed to fsspec.
    index : "auto", path or False
        Gzip: where its index for random access is kept. ``"auto"`` uses the one beside the file or in the cache folder
        (``$CHUNKIMG_CACHE``, else ``chunkimg`` in the user's cache), and makes it there when a region far inside is
        read for the first time; a path names the file (or a folder) of the index; False neither uses nor makes one.
    allow_outside : bool
        Follow an NRRD header whose data files lie outside its folder; only for headers you trust.

    Returns
    -------
    xarray.DataArray
        Dims (t, c,) z, y, x; coordinates place every voxel in the world (RAS+, in the unit of the source); ``.img``
        gives geometry and everything else.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `source`.
    FormatError
        If the content is damaged, truncated, or of no known format.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
    >>> dict(fmri.sizes)
    {'t': 2, 'z': 24, 'y': 96, 'x': 128}
    >>> fmri.img.orientation
    'LAS'
    """
    from .image.build import to_dataarray

    options = ReadOptions(level, storage_options, index, allow_outside)
    volume = format_of(source, format).open(source, options)
    return to_dataarray(volume, chunks=chunks, scaled=scaled)


def read_header(source: Any, *, format: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Header:
    """What a file or store says of its image: sizes, type, grid, times, scaling, and the format's own fields.

    Needs neither xarray nor Dask.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> header = ci.read_header(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
    >>> header.dtype, header.grid.spacing
    ('>i2', (2.0, 2.0, 2.0))
    """
    return format_of(source, format).read_header(source, ReadOptions(storage_options=storage_options))


def build_index(
    source: Any,
    *,
    dest: str | os.PathLike[str] | None = None,
    force: bool = False,
    format: str | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Make the index that gives random access to an image in gzip, ahead of its first use.

    What chunkimg writes needs none: it carries its own.

    Parameters
    ----------
    source : str or path
        An image whose voxels are gzip: ``.nii.gz``, ``.hdr``/``.img.gz``.
    dest : str or path, optional
        Beside the file by default (``ct.nii.gz.ci-index``), where everyone who reads it finds it; ``"cache"`` for the
        cache folder of the user; else the file of the index, or a folder. What is not found by itself is named again
        on opening: ``open_image(..., index=...)``.
    force : bool
        Make it anew even if there is one that fits.
    format : str, optional
        Where the name does not tell.
    progress : Progress, optional
        Told how far it is, as for `save`.

    Returns
    -------
    list of str
        Path of the index of each gzip file that holds voxels, most often one; that of the file itself where it carries
        its own.

    Raises
    ------
    FormatError
        If no voxels are gzip, or the file is truncated or damaged.
    OSError
        If nothing can be written there.
    """
    from .io.streams import StreamArray

    volume = format_of(source, format).open(source, ReadOptions(index=False))
    leaves = [leaf for leaf in volume.data.leaves() if isinstance(leaf, StreamArray) and leaf.source.coding == "gzip"]
    if not leaves:
        raise FormatError(f"{source}: its voxels are not gzip; an index is for gzip alone")
    return [leaf.gzip.build(dest, force, progress) for leaf in leaves]


def open_pyramid(source: Any, *, chunks: Any = "auto", storage_options: Mapping[str, Any] | None = None) -> xr.DataTree:
    """All resolution levels of a Zarr store as a DataTree: ``scale0/image`` is the finest.

    Raises
    ------
    FormatError
        If `source` is no Zarr store.
    """
    import xarray as xr

    from .io.zarr_open import level_count

    if format_of(source).name != "zarr":
        raise FormatError(f"{source}: only Zarr stores hold pyramids; open_image opens this file")
    levels = {}
    for k in range(level_count(source, storage_options)):
        image = open_image(source, chunks=chunks, level=k, storage_options=storage_options)
        levels[f"scale{k}"] = image.to_dataset(name="image")
    return xr.DataTree.from_dict(levels)


def save(image: xr.DataArray, dest: Any, *, format: str | None = None, **options: Any) -> None:
    """Write an image, streaming: memory is set by the slab, never by the image.

    Parameters
    ----------
    image : xarray.DataArray
        An image; any lazy expression of images.
    dest : str, path, URL or zarr Store
        The suffix chooses the format: ``.nii``, ``.nii.gz``, ``.hdr``/``.img``, ``.nrrd``, ``.nhdr``, ``.zarr``, or
        ``.zarr.zip`` and ``.ozx`` for a store in a zip file.
    format : str, optional
        ``"nifti"``, ``"nrrd"`` or ``"zarr"``, where the name does not tell.
    **options
        Fields of `chunkimg.io.format.WriteOptions`: ``overwrite``, ``budget``, ``progress``; for Zarr ``chunks``,
        ``codec`` (``"fast"``, ``"balanced"``, ``"small"``, or a codec), ``pyramid``, ``downsample``, ``ome_version``
        ("0.5" or "0.4"), ``resume``, ``storage_options``; for NIfTI ``version``; for NRRD ``encoding`` (``"raw"``,
        ``"gzip"``, ``"bzip2"``, ``"ascii"``, ``"hex"``); for both ``gzip_level`` and ``gzip_table``; ``dtype`` and
        ``scaling=(slope, inter)`` store values in another type.

    Raises
    ------
    FileExistsError
        If `dest` exists and ``overwrite`` is not true.
    FormatError, GeometryError
        If the format cannot hold the image.
    """
    from .image.build import to_volume

    write_volume(to_volume(image), dest, format=format, **options)


def convert(
    source: Any,
    dest: Any,
    *,
    x: slice | None = None,
    y: slice | None = None,
    z: slice | None = None,
    t: slice | None = None,
    c: slice | None = None,
    level: int = 0,
    from_format: str | None = None,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    allow_outside: bool = False,
    index: Any = "auto",
    **options: Any,
) -> None:
    """Convert an image file or store, or a region of it, to another, in bounded memory.

    Stored values are copied as they are, with their scaling; headers are kept. Needs neither xarray nor Dask.

    Parameters
    ----------
    source, dest : str, path, URL or zarr Store
        See `open_image` and `save`.
    x, y, z, t, c : slice, optional
        Region in voxels; positions follow.
    level : int
        Resolution level to convert.
    from_format, format : str, optional
        Formats of source and destination, where their names do not tell.
    allow_outside : bool
        Follow an NRRD header whose data files lie outside its folder.
    index : "auto", path or False
        Gzip: as for `open_image`. An index that is not there is made on the way, where all of the file is read; False
        makes none.
    **options
        As for `save`.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> ci.convert(f"{nibabel.__path__[0]}/tests/data/anatomical.nii", "/tmp/anatomical.ome.zarr", overwrite=True)
    """
    volume = format_of(source, from_format).open(source, ReadOptions(level, storage_options, index, allow_outside))
    region = {d: s for d, s in (("x", x), ("y", y), ("z", z), ("t", t), ("c", c)) if s is not None}
    write_volume(volume.crop(**region), dest, format=format, storage_options=storage_options, **options)


def write_volume(volume: Volume, dest: Any, *, format: str | None = None, **options: Any) -> None:
    """Write a volume in the format of `dest`."""
    target, volume, chosen = _prepared(volume, dest, format, options)
    _refuse_own_source(volume, dest)
    target.write(volume, dest, chosen)


def plan_volume(volume: Volume, dest: Any, *, format: str | None = None, **options: Any) -> WritePlan:
    """What `write_volume` would do with a Zarr store: a value that can be printed, kept as JSON, and cut into parts.

    Raises
    ------
    FormatError
        If `dest` is no Zarr store: files are written front to back, in one part.
    """
    target, volume, chosen = _prepared(volume, dest, format, options)
    if target.name != "zarr":
        raise FormatError(f"{dest}: files are written front to back, in one part; a plan is of Zarr stores")
    from .io.zarr_write import plan_of

    return plan_of(volume, dest, chosen)


def _prepared(
    volume: Volume, dest: Any, format: str | None, options: dict[str, Any]
) -> tuple[Format, Volume, WriteOptions]:
    from .encode import store_as

    dtype, scaling = options.pop("dtype", None), options.pop("scaling", None)
    unknown = sorted(set(options) - set(WriteOptions.__dataclass_fields__))
    if unknown:
        raise TypeError(
            f"unknown option {', '.join(unknown)}; {', '.join(WriteOptions.__dataclass_fields__)} are known"
        )
    if 0 in volume.data.shape:
        raise GeometryError(f"{dest}: the image has no voxels, its sizes are {dict(volume.sizes)}; nothing is written")
    return format_to_write(dest, format), store_as(volume, dtype, scaling), WriteOptions(**options)


def _refuse_own_source(volume: Volume, dest: Any) -> None:
    if not volume.source or not isinstance(dest, (str, os.PathLike)):
        return
    a, b = volume.source, os.fspath(dest)
    same = a.rstrip("/") == b.rstrip("/") if "://" in b else os.path.realpath(a) == os.path.realpath(b)
    if same:
        raise FormatError(f"{b}: an image cannot be written over its own source while it is read; choose another name")
