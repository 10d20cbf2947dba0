"""Streaming writer of NRRD.

An image that came from NRRD carries that file's header. Its lines are changed only where the image says something
else, so that an untouched image keeps every field, key and comment; what tells where voxels are stored (data file,
skips) is always that of the new file.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import chunkimg.io.nrrd_header as nh

from ..encode import ComplexParts
from ..errors import ChunkImgError, ChunkImgWarning, FormatError, GeometryError, UnsupportedError
from ..geometry import Grid
from ..geometry.attrs import NRRD_HEADER
from ..labelling import beyond_segments, segmented
from ..lazy import ViewArray
from ..volume import DIMS, Volume
from .commit import check_destination, partial_file, set_aside
from .format import WriteOptions
from .nrrd_axes import SINGLE, Axes, axes_of, grid_of
from .nrrd_data import data_files, is_plain_name
from .nrrd_edit import HeaderText
from .nrrd_kinds import fits_kind, name_axes
from .nrrd_names import ENCODINGS
from .nrrd_place import forget_samples, moved_axes, same_times, says, update_geometry, update_times
from .nrrd_props import update_properties
from .source import FileSource
from .stream_write import Stored, write_voxels

__all__ = ["build_header", "write"]

#: end of the name of the file of voxels beside a detached header
_SUFFIXES = {"": ".raw", "gzip": ".raw.gz", "bzip2": ".raw.bz2", "text": ".txt", "hex": ".hex"}


def write(volume: Volume, dest: str, options: WriteOptions) -> None:
    """Write ``.nrrd``, or ``.nhdr`` and a file of voxels beside it, slab by slab."""
    options.refuse_of_zarr(dest, "NRRD")
    if options.version is not None:
        raise FormatError(f"{dest}: version= is for NIfTI; an NRRD file has the version that its fields need")
    if "://" in dest:
        raise UnsupportedError(f"{dest}: NRRD is written to local files only; write there and copy")
    if not dest.lower().endswith((".nrrd", ".nhdr")):
        raise FormatError(f"{dest}: NRRD files are called .nrrd, or .nhdr with the voxels in a file beside it")
    volume = storable(volume, dest)
    coding = _coding(volume, options.encoding)
    path = check_destination(dest, options.overwrite)
    if path.name.lower().endswith(".nrrd"):
        head, stored = build_header(volume, dest, coding)
        with partial_file(path, options.overwrite) as file:
            write_voxels(volume.data, file, stored, options, path, head=head)
        return
    beside = path.with_name(path.name[:-5] + _SUFFIXES[coding])
    _check_beside(volume, path, beside, options)
    head, stored = build_header(volume, dest, coding, beside.name)
    with partial_file(path, options.overwrite) as header_file:
        # the header is what makes the image open: it goes first and comes last
        with set_aside(path) as take_away, partial_file(beside, options.overwrite) as file:
            write_voxels(volume.data, file, stored, options, beside)
            take_away()
        header_file.write(head, 0)


def _check_beside(volume: Volume, path: Path, beside: Path, options: WriteOptions) -> None:
    """Refuse to replace a file of voxels that nobody named: it may be another image's, or this one's source."""
    if not is_plain_name(beside.name):
        raise FormatError(f"{path}: a header cannot refer to a file called {beside.name!r}; choose another name")
    for leaf in volume.data.leaves():
        source = getattr(leaf, "source", None)
        if isinstance(source, FileSource) and os.path.realpath(source.path) == str(beside):
            raise FormatError(f"{path}: the image is read from {beside}, which would be replaced; choose another name")
    if not os.path.lexists(beside):
        return
    own = False
    if options.overwrite and path.is_file():
        try:
            names = data_files(nh.read(FileSource.open(path))).names
            own = [os.path.normpath(path.parent / name) for name in names] == [str(beside)]
        except ChunkImgError:
            own = False
    if not own or beside.is_dir():
        raise FileExistsError(
            f"{path}: the voxels would go to {beside}, which exists and is not what {path.name} refers to; "
            "remove it or choose another name"
        )


def storable(volume: Volume, dest: str) -> Volume:
    """The image in terms of NRRD: scaled values, and complex numbers as two channels."""
    if volume.poses is not None and not volume.poses.is_constant():
        raise GeometryError(
            f"{dest}: NRRD holds one position for all times, this image has one per time step; write OME-Zarr, "
            "or resample the frames to one grid first"
        )
    if volume.scaling is not None:
        # NRRD has no intensity scaling
        volume = replace(volume, data=volume.values, scaling=None)
    if volume.data.dtype.kind != "c":
        return volume
    if "c" in volume.dims:
        raise UnsupportedError(f"{dest}: complex numbers are two channels in NRRD, and the image has channels already")
    parts = ComplexParts(volume.data)
    dims = tuple(d for d in DIMS if d in volume.dims or d == "c")
    axes = [(*volume.dims, "c").index(d) for d in dims]
    shown = ViewArray(parts, [range(n) for n in parts.shape], axes)
    return replace(volume, data=shown, dims=dims, channels={"kind": "complex"})


def _coding(volume: Volume, encoding: str | None) -> str:
    """How voxels are encoded: as asked for, else as in the source, else as plain bytes."""
    if encoding is not None:
        if encoding.lower() not in ENCODINGS:
            raise FormatError(f"encoding {encoding!r} is not one of NRRD: {', '.join(ENCODINGS)}")
        return ENCODINGS[encoding.lower()]
    template = _template(volume)
    return "" if template is None else ENCODINGS[template.fields["encoding"].lower()]


def _template(volume: Volume) -> nh.NrrdHeader | None:
    raw = volume.headers.get(NRRD_HEADER)
    if raw is None:
        return None
    try:
        header = nh.parse(raw, "NRRD header kept with the image")
        axes_of(header)
        nh.dtype_of(header)
    except FormatError as error:
        warnings.warn(f"{error}; it is not used", ChunkImgWarning, stacklevel=4)
        return None
    return header


def build_header(volume: Volume, dest: str, coding: str = "", data_file: str | None = None) -> tuple[bytes, Stored]:
    """Bytes of the header, and how voxels are stored.

    Raises
    ------
    FormatError, GeometryError
        If NRRD cannot hold the image.
    """
    before = _template(volume)
    axes = None if before is None else axes_of(before)
    text = HeaderText(before)
    roles = _roles(volume, before, axes)
    dtype = _update_type(text, volume, before, coding)
    _arrange(text, volume, before, axes, roles)
    text.set("sizes", " ".join(str(1 if r == SINGLE else volume.sizes[r]) for r in roles))
    update_geometry(text, before, volume.grid, volume.times, roles, dest)
    if ("c" in roles and not fits_kind(text, roles.index("c"), volume.sizes["c"])) or says(text, roles) is None:
        name_axes(text, volume, roles)
    update_times(text, before, volume.times, roles)
    moved = before is not None and axes is not None and grid_of(before, axes) != volume.grid
    lost = beyond_segments(volume.properties)
    if lost:
        warnings.warn(
            f"{dest}: NRRD has names and colours of labels alone; {', '.join(lost)} of them: not written (OME-Zarr "
            "keeps it)",
            ChunkImgWarning,
            stacklevel=3,
        )
    update_properties(text, before, segmented(volume.properties, volume.sizes, moved), dest)
    text.drop("line skip", "byte skip", "number")
    if data_file is None:
        text.drop("data file")
    else:
        text.set("data file", data_file)
    _check(text, volume, roles, dest)
    order = tuple(volume.dims.index(r) for r in reversed(roles) if r != SINGLE)
    # dims that the file has no axis for have one voxel, and may stand anywhere
    order = (*(k for k in range(len(volume.dims)) if k not in order), *order)
    full_coding = f"text:{dtype.str}" if coding == "text" else coding
    stored = Stored(dtype, order, full_coding)
    return text.encode(closed=data_file is None), stored


def _arrange(
    text: HeaderText, volume: Volume, before: nh.NrrdHeader | None, axes: Axes | None, roles: list[str]
) -> None:
    """Give the axes what the template says of those that they were: what is said of an axis goes where it goes."""
    if before is None or axes is None or list(axes.roles) != roles:
        text.rearrange([None if axes is None else axes.at(r) for r in roles], 0 if axes is None else len(axes.roles))
        text.set("dimension", str(len(roles)))
        name_axes(text, volume, roles)
    elif moved := moved_axes(grid_of(before, axes), volume.grid):
        text.rearrange([axes.at(moved.get(r, r)) for r in roles], len(roles))
    if before is not None and axes is not None:
        forget_samples(text, grid_of(before, axes), volume.grid, roles)


def _roles(volume: Volume, before: nh.NrrdHeader | None, axes: Axes | None) -> list[str]:
    """Axes of the file, fastest first: as in the template, as far as the image still has them, and new ones."""
    roles = ["x", "y", "z"] if axes is None else [r for r in axes.roles if r == SINGLE or r in volume.dims]
    if axes is not None and not {"t", "c"} & set(axes.roles) <= set(volume.dims):
        # where an axis is gone, one of a single sample would be taken for it
        roles = [r for r in roles if r != SINGLE]
    needed = max("xyz".index(r) for r in "xyz" if r in roles or _needed(volume, before, axes, r))
    for role in "xyz"[: needed + 1]:
        if role not in roles:
            earlier = [roles.index(r) for r in "xyz" if r in roles and r < role]
            roles.insert(max(earlier) + 1 if earlier else 0, role)
    if "c" in volume.dims and "c" not in roles:
        interleaved = volume.channels.get("kind") in ("RGB", "RGBA", "complex")
        roles.insert(0 if interleaved else max(roles.index(r) for r in "xyz" if r in roles) + 1, "c")
    if "t" in volume.dims and "t" not in roles:
        roles.append("t")
    return roles


def _needed(volume: Volume, before: nh.NrrdHeader | None, axes: Axes | None, role: str) -> bool:
    """Whether an axis that the template lacks says something: it is longer than one voxel, or of its own direction."""
    if volume.sizes[role] > 1:
        return True
    old = grid_of(before, axes) if before is not None and axes is not None and volume.grid is not None else None
    k = "xyz".index(role)
    return old is not None and volume.grid is not None and not np.array_equal(_column(old, k), _column(volume.grid, k))


def _column(grid: Grid, k: int) -> Any:
    return grid.matrix[:3, k]


def _update_type(text: HeaderText, volume: Volume, before: nh.NrrdHeader | None, coding: str) -> np.dtype[Any]:
    """Type, byte order and encoding; returns the stored type."""
    wanted = np.dtype("u1") if volume.data.dtype.kind == "b" else volume.data.dtype
    name = nh.type_name(wanted)
    if before is None or nh.dtype_of(before).newbyteorder("=") != wanted:
        text.set("type", name)
        # ranges of the values that were stored before
        text.drop("min", "max", "old min", "old max")
    if before is None or ENCODINGS[before.fields["encoding"].lower()] != coding:
        text.set("encoding", {"": "raw", "text": "ascii"}.get(coding, coding))
    if coding == "text" or wanted.itemsize == 1:
        return wanted
    if text.fields.get("endian", "").lower() not in ("little", "big"):
        text.set("endian", "little")
    return wanted.newbyteorder(">" if text.fields["endian"].lower() == "big" else "<")


def _check(text: HeaderText, volume: Volume, roles: list[str], dest: str) -> None:
    """Read the header as it will be read, and compare."""
    read = says(text, roles)
    if read is None:
        raise FormatError(f"{dest}: axes {', '.join(roles)} cannot be told apart in an NRRD header; write OME-Zarr")
    grid, times = read
    if volume.grid is not None and (grid is None or not volume.grid.same_as(grid, 1e-6)):
        raise GeometryError(f"{dest}: the header would place the image elsewhere; write OME-Zarr instead")
    if not same_times(times, volume.times):
        raise FormatError(f"{dest}: the header would give other times: {times} for {volume.times}; write OME-Zarr")
