"""Streaming writer of NIfTI."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from ..align import slice_axis
from ..errors import ChunkImgWarning, FormatError, GeometryError, UnsupportedError
from ..geometry.attrs import NIFTI_HEADER
from ..volume import Volume
from . import nifti_fields as nf
from . import nifti_header as nh
from . import nifti_update as update
from .commit import check_destination, partial_file, set_aside
from .encoders import open_encoder
from .format import WriteOptions
from .stream_write import Stored, write_voxels

__all__ = ["build_header", "write"]

_INT16_MAX = 32767


def write(volume: Volume, dest: str, options: WriteOptions) -> None:
    """Write ``.nii``, ``.nii.gz``, or a ``.hdr``/``.img`` pair, slab by slab."""
    options.refuse_of_zarr(dest, "NIfTI")
    if options.encoding is not None:
        raise FormatError(f"{dest}: encoding= is for NRRD files; NIfTI files are gzip where their name ends in .gz")
    lower = dest.lower()
    compressed = lower.endswith(".gz")
    bare = dest[:-3] if compressed else dest
    if not bare.lower().endswith((".nii", ".hdr", ".img")):
        raise FormatError(f"{dest}: NIfTI files are called .nii, .hdr or .img (a pair), each also with .gz behind")
    if "://" in dest:
        raise UnsupportedError(f"{dest}: NIfTI is written to local files only; write there and copy")
    if bare.lower().endswith(".nii"):
        path = check_destination(dest, options.overwrite)
        prefix, dtype, order = build_header(volume, dest, options.version, single=True)
        stored = Stored(dtype, order, "gzip" if compressed else "")
        inside: dict[str, Any] = {"lead" if compressed else "head": prefix}
        with partial_file(path, options.overwrite) as file:
            write_voxels(volume.data, file, stored, options, path, **inside)
        return
    stem, tail = bare[:-4], dest[len(bare) :]
    image = check_destination(stem + ".img" + tail, options.overwrite)
    header = check_destination(stem + ".hdr" + tail, options.overwrite)
    prefix, dtype, order = build_header(volume, dest, options.version, single=False)
    # the header is what makes a pair open: it goes first and comes last
    with partial_file(header, options.overwrite) as header_file:
        with set_aside(header) as take_away, partial_file(image, options.overwrite) as file:
            stored = Stored(dtype, order, "gzip" if compressed else "")
            write_voxels(volume.data, file, stored, options, image)
            take_away()
        if compressed:
            with open_encoder(header_file, 0, "gzip", options) as sink:
                sink.write(memoryview(prefix))
        else:
            header_file.write(prefix, 0)


# ---------------------------------------------------------------------------------------------- header


def build_header(
    volume: Volume, dest: str, version: int | None = None, *, single: bool = True
) -> tuple[bytes, np.dtype[Any], tuple[int, ...]]:
    """Bytes before the voxels, the stored type with byte order, and the order of the image's axes in the file.

    Raises
    ------
    FormatError, GeometryError
        If NIfTI cannot hold the image.
    """
    if volume.poses is not None and not volume.poses.is_constant():
        raise GeometryError(
            f"{dest}: NIfTI holds one position for all times, this image has one per time step; write OME-Zarr, "
            "or resample the frames to one grid first"
        )
    template = _template(volume)
    channels, order, sizes = _axes(volume, template)
    stored = np.dtype("u1") if volume.data.dtype.kind == "b" else volume.data.dtype
    code = nh.pixel_type(stored, channels)
    fields, tail, byteorder = _start(template, volume, sizes, version, single, dest)
    before = None if template is None else nh.parse(template, dest)
    _set_sizes(fields, before, sizes, volume)
    if int(fields["datatype"]) != code:
        fields["datatype"] = code
    bits = stored.itemsize * 8 * max(1, channels)
    if before is None or nh.pixel_type(before.dtype, before.channels) != code:
        fields["bitpix"] = bits
    update.update_scaling(fields, before, volume.scaling, dest)
    update.update_properties(fields, before, _true_slices(before, volume, dest), dest)
    if volume.grid is not None:
        update.update_geometry(fields, before, volume.grid, dest)
    elif before is None:
        warnings.warn(f"{dest}: the image has no position; none is written", ChunkImgWarning, stacklevel=3)
    time_unit = _time_unit(before, volume)
    units = volume.grid.units if volume.grid is not None else (nh.units_of(before)[0] if before else "unknown")
    update.update_units(fields, before, units, time_unit, dest)
    update.update_times(fields, before, volume.times, dest)
    update.update_time(fields, before, volume.time)
    update.update_channels(fields, volume.channels, dest)
    return _finish(fields, tail, single), stored.newbyteorder(byteorder), order  # type: ignore[arg-type]


def _template(volume: Volume) -> bytes | None:
    raw = volume.headers.get(NIFTI_HEADER)
    if raw is None:
        return None
    try:
        nh.parse(raw, "header kept with the image")
    except FormatError as error:
        warnings.warn(f"{error}; it is not used", ChunkImgWarning, stacklevel=4)
        return None
    return raw


def _axes(volume: Volume, template: bytes | None) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Samples per RGB voxel, order of the image's axes in the file (slowest first), and the sizes of dim[1..]."""
    sizes = volume.sizes
    kind = volume.channels.get("kind")
    count = sizes.get("c", 0)
    rgb = {"RGB": 3, "RGBA": 4}.get(str(kind)) == count and volume.data.dtype == np.dtype("u1") and count > 0
    spatial = (sizes["x"], sizes["y"], sizes["z"])
    if rgb:
        names = ("t", "z", "y", "x", "c")
        shape: tuple[int, ...] = (*spatial, sizes.get("t", 1))
    elif kind == "spectral" and "t" not in sizes:
        names = ("t", "c", "z", "y", "x")
        shape = (*spatial, count or 1)
    else:
        names = ("c", "t", "z", "y", "x")
        shape = (*spatial, sizes.get("t", 1), count or 1)
    order = tuple(volume.dims.index(d) for d in names if d in volume.dims)
    return count if rgb else 0, order, shape


def _rank(volume: Volume, sizes: tuple[int, ...]) -> int:
    """Axes to declare: as many as the source did, as far as the image still has them, and as many as are needed."""
    needed = max([k + 1 for k, n in enumerate(sizes) if n > 1], default=1)
    has = 3
    if len(sizes) == 5 and "c" in volume.dims:
        has = 5
    elif "t" in volume.dims or (len(sizes) == 4 and volume.channels.get("kind") == "spectral"):
        has = 4
    if has > 3:
        return max(has, volume.rank)
    return max(needed, min(volume.rank, 3))


def _set_sizes(fields: nf.Fields, before: nh.HeaderFacts | None, sizes: tuple[int, ...], volume: Volume) -> None:
    rank = _rank(volume, sizes)
    full = (*sizes, 1, 1, 1, 1)[:7]
    if before is not None and len(before.shape) == rank and (*before.shape, 1, 1, 1, 1, 1, 1)[:7] == full:
        return
    dim = fields["dim"]
    dim[0] = rank
    for k, n in enumerate(full):
        # what stands beyond the rank is kept as it is: files have zeros or ones there
        if k < rank or dim[k + 1] > 1 or before is None:
            dim[k + 1] = n


def _start(
    template: bytes | None, volume: Volume, sizes: tuple[int, ...], version: int | None, single: bool, dest: str
) -> tuple[nf.Fields, bytes, str]:
    """Header to fill in, the bytes that follow it, and the byte order."""
    found = nh.identify(template) if template is not None else None
    needed = 2 if max(sizes) > _INT16_MAX else 1
    if version is None:
        version = 2 if found is not None and found[0] == "nifti2" else needed
    if version not in (1, 2) or version < needed:
        raise FormatError(
            f"{dest}: NIfTI version {version} was asked for; sizes {sizes} need version {needed}"
            if version in (1, 2)
            else f"{dest}: NIfTI has versions 1 and 2, {version} was asked for"
        )
    wanted = f"nifti{version}"
    if template is None or found is None:
        order = "<" if sys.byteorder == "little" else ">"
        return nf.blank(wanted, single, order), b"\0\0\0\0", order
    kind, was_single, order = found
    size = 540 if kind == "nifti2" else 348
    tail = template[size:]
    if single and len(tail) < 4:
        tail = b"\0\0\0\0"
    if kind == wanted:
        fields = nf.from_bytes(template[:size], kind, order)
        if was_single != single:
            fields["magic"] = nf.magic(kind, single)
            fields["vox_offset"] = 0
        return fields, tail, order
    old = nh.parse(template, dest)
    return nf.converted(old.fields, old.shape, wanted, single, order, dest), tail, order


def _finish(fields: nf.Fields, tail: bytes, single: bool) -> bytes:
    """Header and what follows it, with vox_offset right for that."""
    size = int(fields["sizeof_hdr"])
    if single:
        end = size + len(tail)
        if int(fields["vox_offset"]) != end:
            tail += b"\0" * (-end % 16)
            fields["vox_offset"] = size + len(tail)
    return fields.tobytes() + tail


def _true_slices(before: nh.HeaderFacts | None, volume: Volume, dest: str) -> dict[str, Any]:
    """Properties without the order of slices that are not there any more: planes were cut off since it was read."""
    axis = slice_axis(volume.properties)
    count, last = volume.sizes[axis], volume.properties.get("slice_end")
    was = None if before is None else (*before.shape, 1, 1, 1)["xyz".index(axis)]
    if was in (None, count) or not isinstance(last, int) or last < count:
        return volume.properties
    lost = [k for k in volume.properties if k.startswith("slice_")]
    warnings.warn(
        f"{dest}: not written: {', '.join(lost)}, which tell of {last + 1} slices along {axis}; the image has {count}",
        ChunkImgWarning,
        stacklevel=3,
    )
    return {k: v for k, v in volume.properties.items() if k not in lost}


def _time_unit(before: nh.HeaderFacts | None, volume: Volume) -> str | None:
    """The unit of time to declare, or None to leave what is there."""
    if volume.times is None:
        seconds = volume.time is not None and (before is None or nh.units_of(before)[1] not in ("s", "ms", "us"))
        return "s" if seconds else None
    if before is not None and volume.times.units == "s" and nh.units_of(before)[1] in ("s", "ms", "us"):
        return None
    if before is not None and len(before.shape) > 3 and nh.times_of(before).units == volume.times.units:
        return None
    return volume.times.units
