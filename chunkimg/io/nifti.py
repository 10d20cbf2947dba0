"""NIfTI-1, NIfTI-2, ``.hdr``/``.img`` pairs and Analyze 7.5 (reading), plain or gzip."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from ..geometry.attrs import NIFTI_HEADER
from ..volume import DIMS, TimeAxis, Volume
from . import nifti_header as nh
from .file_array import file_array
from .files import Layout
from .format import Header, ReadOptions, WriteOptions
from .source import FileSource

__all__ = ["NiftiFormat", "header_path", "layout_of", "other_axes", "properties_of"]

#: more than this before the voxels is not read as a header
_MAX_PREFIX = 64 << 20
_PAIRS = {".hdr": ".img", ".hdr.gz": ".img.gz"}


class NiftiFormat:
    """NIfTI and Analyze."""

    name = "nifti"

    def sniff(self, source: FileSource) -> bool:
        """Whether the bytes start with a NIfTI or Analyze header; the ``.img`` of a pair says nothing."""
        return nh.identify(source.head(348)) is not None

    def read_header(self, source: Any, options: ReadOptions) -> Header:
        """Header fields and geometry."""
        volume, facts = _open(source, options.index)
        fields = {k: facts.fields[k].tolist() for k in facts.fields.dtype.names or ()}
        fields = {k: v.split(b"\0")[0].decode("latin-1") if isinstance(v, bytes) else v for k, v in fields.items()}
        fields["extensions"] = extensions(volume.headers.get(NIFTI_HEADER, b""))
        name = {"nifti1": "NIfTI-1", "nifti2": "NIfTI-2", "analyze": "Analyze 7.5"}[facts.kind]
        stored = f"{facts.dtype.byteorder if facts.dtype.itemsize > 1 else ''}{facts.dtype.kind}{facts.dtype.itemsize}"
        return Header.of(volume, name, stored, fields)

    def open(self, source: Any, options: ReadOptions) -> Volume:
        """Open lazily; only headers are read."""
        if options.level:
            raise FormatError(f"{source}: NIfTI has one resolution level, level {options.level} was asked for")
        return _open(source, options.index)[0]

    def write(self, volume: Volume, dest: Any, options: WriteOptions) -> None:
        """Stream to ``.nii``, ``.nii.gz`` or a pair."""
        from .nifti_write import write

        write(volume, os.fspath(dest), options)


def _open(path: str | os.PathLike[str], index: Any) -> tuple[Volume, nh.HeaderFacts]:
    header_file = FileSource.open(header_path(os.fspath(path)))
    facts = nh.parse(header_file.head(540), header_file.path)
    data_file = header_file if facts.single else _image_file(header_file)
    headers = {}
    if facts.kind != "analyze":
        headers[NIFTI_HEADER] = _prefix(header_file, facts)
    elif _mat_file(header_file.path):
        raise UnsupportedError(
            f"{header_file.path}: an SPM .mat file lies beside this Analyze header and holds its orientation, which "
            "chunkimg does not read; convert the image to NIfTI with SPM or nibabel first"
        )
    layout, dims = layout_of(facts, header_file.path)
    data = file_array(data_file, layout, index)
    grid = nh.grid_of(facts, header_file.path)
    times, channels = other_axes(facts, dims)
    volume = Volume(
        data=data,
        dims=dims,
        grid=grid,
        times=times,
        time=nh.time_of(facts),
        scaling=nh.scaling_of(facts, header_file.path),
        properties=properties_of(facts),
        rank=len(facts.shape),
        headers=headers,
        channels=channels,
        source=str(path),
    )
    return volume, facts


def properties_of(facts: nh.HeaderFacts) -> dict[str, Any]:
    """Properties of the image that the header sets."""
    return {k: nh.get_property(facts.fields, k) for k in nh.PROPERTIES if _is_set(facts, k)}


def _is_set(facts: nh.HeaderFacts, name: str) -> bool:
    # Analyze keeps other things in the bytes of most NIfTI fields
    if facts.kind == "analyze" and name not in ("descrip", "aux_file", "cal_max", "cal_min"):
        return False
    return nh.get_property(facts.fields, name) != nh.PROPERTIES[name]


def layout_of(facts: nh.HeaderFacts, path: str) -> tuple[Layout, tuple[str, ...]]:
    """How voxels lie in the file, and the image's dims.

    File axes are x, y, z, t and a fifth, c, from fastest to slowest; the samples of RGB voxels are faster still. A
    fourth axis in Hz, ppm or rad/s is c.
    """
    shape = facts.shape
    if any(n > 1 for n in shape[5:]):
        raise UnsupportedError(
            f"{path}: the image has sizes {shape}; axes beyond the fifth have no meaning in space, time or channels "
            "(CIFTI files hold matrices, not images: use nibabel)"
        )
    names: list[str] = ["x", "y", "z"]
    sizes = [*shape[:3], 1, 1, 1][:3]
    if len(shape) > 3:
        spectral = nh.units_of(facts)[1] in nh.CHANNEL_UNITS.values()
        names.append("c" if spectral else "t")
        sizes.append(shape[3])
    fifth = shape[4] if len(shape) > 4 else 1
    if len(shape) > 4 and not (fifth == 1 and ("c" in names or facts.channels)):
        if "c" in names or facts.channels:
            raise UnsupportedError(
                f"{path}: both {'the voxel type' if facts.channels else 'the fourth axis'} and the fifth axis are "
                f"channels (sizes {shape}); an image has one channel axis"
            )
        names.append("c")
        sizes.append(fifth)
    if facts.channels:
        if "c" in names:
            raise UnsupportedError(f"{path}: RGB voxels along a spectral fourth axis: an image has one channel axis")
        names.insert(0, "c")
        sizes.insert(0, facts.channels)
    slow_to_fast = names[::-1]
    dims = tuple(d for d in DIMS if d in names)
    axes = tuple(slow_to_fast.index(d) for d in dims)
    return Layout(facts.offset, facts.dtype, tuple(int(n) for n in sizes[::-1]), axes), dims


def other_axes(facts: nh.HeaderFacts, dims: tuple[str, ...]) -> tuple[TimeAxis | None, dict[str, Any]]:
    """Times, and attributes of the channel axis."""
    times = nh.times_of(facts) if "t" in dims else None
    channels: dict[str, Any] = {}
    if "c" in dims and facts.channels:
        channels["kind"] = "RGBA" if facts.channels == 4 else "RGB"
    elif "c" in dims and "t" not in dims:
        channels["kind"] = "spectral"
        channels["note"] = f"the file's fourth axis, in {nh.units_of(facts)[1]}"
        channels["step"] = float(facts.fields["pixdim"][4])
        channels["offset"] = float(facts.fields["toffset"])
    return times, channels


def _prefix(source: FileSource, facts: nh.HeaderFacts) -> bytes:
    """All bytes before the voxels: header, extensions and whatever else stands there."""
    count = facts.offset if facts.single else source.size
    if not source.coding and facts.single and facts.offset > source.size:
        raise FormatError(f"{source.path}: truncated: voxels start at byte {facts.offset} of {source.size}")
    if count > _MAX_PREFIX:
        raise FormatError(
            f"{source.path}: {count} bytes before the voxels; more than {_MAX_PREFIX} are not taken for a header"
        )
    if source.coding and not facts.single:
        count = _MAX_PREFIX
    out = source.head(count)
    if facts.single and len(out) < facts.offset:
        raise FormatError(f"{source.path}: truncated: voxels start at byte {facts.offset}, {len(out)} bytes are there")
    return out


def extensions(prefix: bytes) -> list[dict[str, int]]:
    """Code and size of the header extensions in the bytes before the voxels (nifti1.h, "HEADER EXTENSIONS")."""
    found = nh.identify(prefix)
    if found is None:
        return []
    kind, _, order = found
    at = 540 if kind == "nifti2" else 348
    if prefix[at : at + 1] in (b"", b"\0"):
        return []
    at += 4
    out = []
    while at + 8 <= len(prefix):
        size, code = np.frombuffer(prefix, np.dtype("i4").newbyteorder(order), 2, at).tolist()  # type: ignore[arg-type]
        if size < 16 or size % 16 or at + size > len(prefix):
            break
        out.append({"code": code, "size": size})
        at += size
    return out


def header_path(path: str) -> str:
    """The header of a pair, whichever of the two files was named."""
    lower = path.lower()
    for header, image in _PAIRS.items():
        if lower.endswith(image):
            return _sibling(path, image, [header, *[h for h in _PAIRS if h != header]], "header")
    return path


def _image_file(header: FileSource) -> FileSource:
    lower = header.path.lower()
    for suffix, image in _PAIRS.items():
        if lower.endswith(suffix):
            others = [i for i in _PAIRS.values() if i != image]
            return FileSource.open(_sibling(header.path, suffix, [image, *others], "image"))
    raise FormatError(
        f"{header.path}: the header says that voxels are in an .img file of their own, but its name ends in neither "
        ".hdr nor .hdr.gz, so the file with the voxels cannot be found"
    )


def _sibling(path: str, suffix: str, others: list[str], what: str) -> str:
    stem = path[: -len(suffix)]
    for other in others:
        for name in (other, other.upper()):
            if os.path.exists(stem + name):
                return stem + name
    raise FormatError(f"{path}: its {what} file is missing: {' or '.join(stem + o for o in others)} is expected")


def _mat_file(path: str) -> bool:
    stem = path[: path.lower().rindex(".hdr")] if ".hdr" in path.lower() else path
    return os.path.exists(stem + ".mat")


FORMAT = NiftiFormat()
