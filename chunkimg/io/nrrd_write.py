"""Streaming writer of NRRD.

An image that came from NRRD carries that file's header. Its lines are changed only where the image says something
else, so that an untouched image keeps every field, key and comment; what tells where voxels are stored (data file,
skips) is always that of the new file.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

import chunkimg.io.nrrd_header as nh

from ..errors import ChunkImgWarning, FormatError, GeometryError, UnsupportedError
from ..geometry import Grid
from ..geometry.attrs import NRRD_HEADER
from ..lazy import ComplexParts, ViewArray
from ..volume import DIMS, Volume
from .commit import check_destination, partial_file
from .format import WriteOptions
from .nrrd_axes import SINGLE, Axes, axes_of, grid_of
from .nrrd_edit import HeaderText, quote
from .nrrd_header import ENCODINGS
from .nrrd_place import update_geometry, update_times
from .nrrd_props import update_properties
from .stream_write import Stored, write_voxels

__all__ = ["build_header", "write"]

#: end of the name of the file of voxels beside a detached header
_SUFFIXES = {"": ".raw", "gzip": ".raw.gz", "bzip2": ".raw.bz2", "text": ".txt", "hex": ".hex"}


def write(volume: Volume, dest: str, options: WriteOptions) -> None:
    """Write ``.nrrd``, or ``.nhdr`` and a file of voxels beside it, slab by slab."""
    _refuse_foreign_options(options, dest)
    if "://" in dest:
        raise UnsupportedError(f"{dest}: NRRD is written to local files only; write there and copy")
    if not dest.lower().endswith((".nrrd", ".nhdr")):
        raise FormatError(f"{dest}: NRRD files are called .nrrd, or .nhdr with the voxels in a file beside it")
    volume = storable(volume, dest)
    coding = _coding(volume, options.encoding)
    path = check_destination(dest, options.overwrite)
    if dest.lower().endswith(".nrrd"):
        head, stored = build_header(volume, dest, coding, None, options.gzip_level)
        with partial_file(path, options.overwrite) as fd:
            write_voxels(volume.data, fd, stored, options, path.parent, head=head)
        return
    beside = check_destination(dest[:-5] + _SUFFIXES[coding], options.overwrite)
    head, stored = build_header(volume, dest, coding, beside.name, options.gzip_level)
    # the header is what makes the image open: it goes first and comes last
    with partial_file(path, options.overwrite) as header_fd:
        with partial_file(beside, options.overwrite) as fd:
            write_voxels(volume.data, fd, stored, options, path.parent)
            path.unlink(missing_ok=True)
        os.pwrite(header_fd, head, 0)


def _refuse_foreign_options(options: WriteOptions, dest: str) -> None:
    for name in ("chunks", "codec", "downsample"):
        if getattr(options, name) is not None:
            raise FormatError(f"{dest}: {name}= is for Zarr stores, NRRD files have none")
    if options.pyramid:
        raise FormatError(f"{dest}: NRRD files hold one resolution level, pyramid= is for Zarr stores")
    if options.version is not None:
        raise FormatError(f"{dest}: version= is for NIfTI; an NRRD file has the version that its fields need")


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


def build_header(
    volume: Volume, dest: str, coding: str = "", data_file: str | None = None, gzip_level: int | None = None
) -> tuple[bytes, Stored]:
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
    sizes = [1 if r == SINGLE else volume.sizes[r] for r in roles]
    dtype = _update_type(text, volume, before, coding)
    _update_axes(text, volume, roles, axes)
    text.set("sizes", " ".join(map(str, sizes)))
    update_geometry(text, before, axes, volume.grid, roles, dest)
    update_times(text, before, axes, volume.times, roles)
    update_properties(text, before, volume.properties, dest)
    text.drop("line skip", "byte skip", "number")
    if data_file is None:
        text.drop("data file")
    else:
        text.set("data file", data_file)
    head = text.encode(closed=data_file is None)
    _check(head, volume, roles, dest)
    order = tuple(volume.dims.index(r) for r in reversed(roles) if r != SINGLE)
    # dims that the file has no axis for have one voxel, and may stand anywhere
    order = (*(k for k in range(len(volume.dims)) if k not in order), *order)
    full_coding = f"text:{dtype.str}" if coding == "text" else coding
    return head, Stored(dtype, order, full_coding, 2 if gzip_level is None else gzip_level)


def _roles(volume: Volume, before: nh.NrrdHeader | None, axes: Axes | None) -> list[str]:
    """Axes of the file, fastest first: as in the template, as far as the image still has them, and new ones."""
    roles = ["x", "y", "z"] if axes is None else [r for r in axes.roles if r == SINGLE or r in volume.dims]
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
    if before is None or ENCODINGS[before.fields["encoding"].lower()] != coding:
        text.set("encoding", {"": "raw", "text": "ascii"}.get(coding, coding))
    if coding == "text" or wanted.itemsize == 1:
        return wanted
    if text.fields.get("endian", "").lower() not in ("little", "big"):
        text.set("endian", "little")
    return wanted.newbyteorder(">" if text.fields["endian"].lower() == "big" else "<")


def _update_axes(text: HeaderText, volume: Volume, roles: list[str], axes: Axes | None) -> None:
    """Number of axes and what they are.

    Time is a list labelled so, as in 3D Slicer's sequences: ITK refuses an axis of kind time beside three of space.
    """
    if axes is not None and list(axes.roles) == roles:
        return
    if axes is not None:
        text.rearrange([axes.at(r) if r != SINGLE else axes.roles.index(SINGLE) for r in roles], len(axes.roles))
    text.set("dimension", str(len(roles)))
    kinds = text.entries("kinds", len(roles))
    if "t" in roles and not text.fields.get("labels"):
        text.set_entry("labels", roles.index("t"), len(roles), quote("time"))
    for k, role in enumerate(roles):
        if kinds[k] == "???":
            kinds[k] = {"t": "list", "c": _channel_kind(volume), SINGLE: "list"}.get(role, "domain")
    text.set_entries("kinds", kinds)


def _channel_kind(volume: Volume) -> str:
    kind, count = str(volume.channels.get("kind", "")), volume.sizes.get("c", 0)
    named = {("RGB", 3): "RGB-color", ("RGBA", 4): "RGBA-color", ("complex", 2): "complex", ("vector", count): "vector"}
    return named.get((kind, count), "list")


def _check(head: bytes, volume: Volume, roles: list[str], dest: str) -> None:
    """Read the header as it will be read, and compare."""
    header = nh.parse(head, dest)
    axes = axes_of(header)
    if list(axes.roles) != roles:
        raise FormatError(f"{dest}: axes {roles} cannot be told apart in an NRRD header (read back as {axes.roles})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChunkImgWarning)
        grid = grid_of(header, axes)
    if volume.grid is not None and (grid is None or not volume.grid.same_as(grid, 1e-6)):
        raise GeometryError(f"{dest}: the header would place the image elsewhere; write OME-Zarr instead")
