"""NIfTI-1, NIfTI-2 and Analyze 7.5 headers: what they say of an image.

`nifti_fields` says where fields lie, this module what they mean. Sources: ``nifti1.h`` and ``nifti2.h``
(https://nifti.nimh.nih.gov); where they are silent, nibabel's reading is followed: sform before qform, without either
a grid centred on the origin, slope 0 or NaN means unscaled.
"""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ChunkImgWarning, FormatError, UnsupportedError
from ..geometry import Grid
from ..geometry import affine as aff
from ..geometry.frames import to_seconds
from ..scaling import Scaling
from ..volume import TimeAxis
from . import nifti_fields as nf
from .nifti_forms import best_affine, qform

__all__ = [
    "CHANNEL_UNITS",
    "PROPERTIES",
    "TIME_UNITS",
    "UNIT_CODES",
    "HeaderFacts",
    "affine_of",
    "get_property",
    "parse",
    "pixel_type",
    "qform_of",
    "repaired",
    "scaling_of",
    "time_of",
    "times_of",
    "units_of",
]

# nifti1.h, "UNITS OF SPATIAL AND TEMPORAL DIMENSIONS": xyzt_units bits 0-2 and 3-5
UNIT_CODES = {0: "unknown", 1: "m", 2: "mm", 3: "um"}
TIME_UNITS = {0: "unknown", 8: "s", 16: "ms", 24: "us"}
CHANNEL_UNITS = {32: "Hz", 40: "ppm", 48: "rad/s"}

# nifti1.h, "DATA TYPE"
_REFUSED = {0: "unknown", 1: "binary (1 bit)", 255: "all", 1536: "float128", 2048: "complex256"}

#: header fields that are properties of the image, with their value when unset
PROPERTIES: dict[str, str | int | float] = {
    "descrip": "",
    "aux_file": "",
    "intent_code": 0,
    "intent_name": "",
    "intent_p1": 0.0,
    "intent_p2": 0.0,
    "intent_p3": 0.0,
    "cal_max": 0.0,
    "cal_min": 0.0,
    "slice_code": 0,
    "slice_start": 0,
    "slice_end": 0,
    "slice_duration": 0.0,
    "dim_info": 0,
    "sform_code": 0,
    "qform_code": 0,
}


@dataclass(frozen=True)
class HeaderFacts:
    """A parsed header.

    Attributes
    ----------
    kind : str
        ``"nifti1"``, ``"nifti2"`` or ``"analyze"``.
    single : bool
        Whether voxels follow in the same file.
    byteorder : str
        ``"<"`` or ``">"``.
    size : int
        Bytes of the fixed header.
    fields : structured array of no dimensions
        All fields, repaired as nibabel does on loading.
    shape : tuple of int
        Sizes along the file's axes, x first.
    dtype : numpy dtype
        Stored type with byte order.
    channels : int
        0, or the samples per voxel of an RGB type.
    offset : int
        First byte of the voxels.
    """

    kind: str
    single: bool
    byteorder: str
    size: int
    fields: nf.Fields
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    offset: int


def identify(block: bytes) -> tuple[str, bool, str] | None:
    """Kind, single and byte order of a header block, or None if it is none of ours."""
    if len(block) < 348:
        return None
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", block)
        if size == 540 and block[4:8] in (b"n+2\0", b"ni2\0"):
            return "nifti2", block[4:8] == b"n+2\0", order
        if size == 348:
            if block[344:348] in (b"n+1\0", b"ni1\0"):
                return "nifti1", block[344:348] == b"n+1\0", order
            return "analyze", False, order
    return None


def parse(block: bytes, path: str) -> HeaderFacts:
    """Read the fixed header at the start of `block`.

    Raises
    ------
    FormatError
        If it is not a header, or describes no image.
    """
    found = identify(block)
    if found is None:
        raise FormatError(
            f"{path}: not a NIfTI or Analyze header: the first 4 bytes are {block[:4]!r} of {len(block)}; "
            "348 or 540 as an integer in either byte order is expected, and 348 bytes at least"
        )
    kind, single, order = found
    size = 540 if kind == "nifti2" else 348
    if len(block) < size:
        raise FormatError(f"{path}: truncated: the header has {size} bytes, only {len(block)} are there")
    fields = nf.from_bytes(block[:size], kind, order)
    code = int(fields["datatype"])
    _check_type(code, path)
    _repair(fields, f"{path}: the {kind} header is invalid")
    rank = int(fields["dim"][0])
    if not 1 <= rank <= 7:
        raise FormatError(f"{path}: the header gives the image {rank} axes; 1 to 7 are expected")
    shape = _shape(fields, rank, path)
    if min(shape) < 1:
        raise FormatError(f"{path}: the header gives the image sizes {shape}; sizes of at least 1 are expected")
    name, channels = nf.TYPES[code]
    offset = _offset(fields, kind, single, path)
    dtype = np.dtype(name).newbyteorder(order)  # type: ignore[arg-type]
    if math.prod(shape) * max(1, channels) * dtype.itemsize > 1 << 62:
        raise FormatError(f"{path}: the header gives the image impossible sizes {shape}")
    return HeaderFacts(kind, single, order, size, fields, shape, dtype, channels, offset)


def _repair(fields: nf.Fields, invalid: str) -> None:
    """Repair what can be, and tell the log of it."""
    problems = nf.repair(fields)
    for level, text in problems:
        if level >= 40:
            raise FormatError(f"{invalid}: {text}")
    if problems:
        import logging

        log = logging.getLogger("chunkimg")
        if not log.handlers:
            log.addHandler(logging.NullHandler())
        for level, text in problems:
            log.log(level, text)


def _shape(fields: nf.Fields, rank: int, path: str) -> tuple[int, ...]:
    """Sizes along the file's axes; NIfTI-1 has long vectors as FreeSurfer writes them, and nibabel reads."""
    shape = tuple(fields["dim"][1 : rank + 1].tolist())
    if nf.kind_of(fields) != "nifti1":
        return shape
    if shape[:3] == (-1, 1, 1):
        length = int(fields["glmin"])
        if not length:
            raise FormatError(f"{path}: dim[1] is -1, as in a long vector of FreeSurfer, but glmin has no length")
        return (length, *shape[1:])
    return (163842, 1, 1, *shape[3:]) if shape[:3] == (27307, 1, 6) else shape


def _check_type(code: int, path: str) -> None:
    if code in nf.TYPES:
        return
    if code in _REFUSED:
        raise UnsupportedError(
            f"{path}: voxels are of NIfTI datatype {code} ({_REFUSED[code]}), which chunkimg does not read: it has no "
            "portable representation in NumPy and Zarr"
        )
    raise FormatError(f"{path}: unknown NIfTI datatype code {code}")


def _offset(fields: nf.Fields, kind: str, single: bool, path: str) -> int:
    value = float(fields["vox_offset"])
    if not math.isfinite(value) or not 0 <= value < 2**62 or value != int(value):
        raise FormatError(f"{path}: vox_offset is {value}; a whole number of bytes is expected")
    if single and value == 0:
        return nf.SINGLE_OFFSET[kind]
    return int(value)


def pixel_type(dtype: np.dtype[Any], channels: int = 0) -> int:
    """NIfTI datatype code of a type, or `UnsupportedError`."""
    for code, (name, samples) in nf.TYPES.items():
        if np.dtype(name) == dtype.newbyteorder("=") and samples == channels:
            return code
    raise UnsupportedError(
        f"NIfTI has no datatype for {dtype}; convert the image first, e.g. with .astype('float32'); "
        f"it holds {', '.join(sorted({str(np.dtype(n)) for n, _ in nf.TYPES.values()}))}"
    )


# ---------------------------------------------------------------------------------------------- meaning of fields


def affine_of(facts: HeaderFacts) -> tuple[NDArray[np.float64], str]:
    """Index-to-world affine (RAS+ where the file says where the patient is) and space."""
    fields = facts.fields
    with np.errstate(all="ignore"):
        affine = best_affine(fields)
    if affine is None:
        affine = np.full((4, 4), np.nan)
    named = facts.kind != "analyze" and (int(fields["sform_code"]) != 0 or int(fields["qform_code"]) != 0)
    return affine, "RAS" if named else "unknown"


def repaired(fields: nf.Fields) -> nf.Fields:
    """A copy of header fields, repaired as on loading: signs of pixdim, qfac, codes."""
    out = fields.copy()
    nf.repair(out)
    return out


def qform_of(fields: nf.Fields) -> NDArray[np.float64] | None:
    """The qform as an affine, or None where its quaternion is no rotation."""
    with np.errstate(all="ignore"):
        out = qform(repaired(fields))
    return out if out is not None and aff.is_usable(out) else None


def grid_of(facts: HeaderFacts, path: str) -> Grid | None:
    """The grid of a header, or None with a warning where its geometry is unusable."""
    nx, ny, nz = (*facts.shape[:3], 1, 1, 1)[:3]
    shape = (nx, ny, nz)
    affine, space = affine_of(facts)
    affine = aff.fill_singleton_axes(affine, shape)
    if not aff.is_usable(affine):
        warnings.warn(
            f"{path}: the header's affine is singular or not finite, so voxels have no position; "
            "the image opens with plain indices as coordinates, its header is kept",
            ChunkImgWarning,
            stacklevel=2,
        )
        return None
    return Grid(shape, tuple(map(tuple, affine.tolist())), space, units_of(facts)[0])


def units_of(facts: HeaderFacts) -> tuple[str, str]:
    """Unit of length, and of the fourth axis (a unit of time, one of `CHANNEL_UNITS`, or ``"unknown"``)."""
    if facts.kind == "analyze":
        return "unknown", "unknown"
    code = int(facts.fields["xyzt_units"])
    fourth = code & 0x38
    return UNIT_CODES.get(code & 0x07, "unknown"), {**TIME_UNITS, **CHANNEL_UNITS}.get(fourth, "unknown")


def times_of(facts: HeaderFacts) -> TimeAxis:
    """Times of the fourth axis: ``toffset + k · pixdim[4]`` in seconds, or frame numbers without a time step."""
    count = facts.shape[3] if len(facts.shape) > 3 else 1
    step = float(facts.fields["pixdim"][4])
    start = float(facts.fields["toffset"]) if facts.kind != "analyze" else 0.0
    if not (math.isfinite(step) and step > 0):
        return TimeAxis(tuple(float(k) for k in range(count)), "unknown", None)
    if not math.isfinite(start):
        start = 0.0
    unit = units_of(facts)[1]
    if to_seconds(1.0, unit) is None:
        return TimeAxis(tuple(start + k * step for k in range(count)), "unknown", step)
    values = tuple(float(to_seconds(start + k * step, unit) or 0.0) for k in range(count))
    return TimeAxis(values, "s", to_seconds(step, unit))


def time_of(facts: HeaderFacts) -> float | None:
    """Time of an image without a fourth axis, in seconds, where toffset states one."""
    if len(facts.shape) > 3 or facts.kind == "analyze":
        return None
    offset = float(facts.fields["toffset"])
    return to_seconds(offset, units_of(facts)[1]) if math.isfinite(offset) and offset else None


def scaling_of(facts: HeaderFacts, path: str) -> Scaling | None:
    """How stored values are scaled; None if they are not (slope 0 or NaN, slope 1 with intercept 0, RGB)."""
    if facts.channels:
        return None
    fields = facts.fields
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    usable = math.isfinite(slope) and slope != 0
    if facts.kind == "analyze":
        slope, inter = _spm_scaling(fields) if not usable else (slope, inter if math.isfinite(inter) else 0.0)
    elif not usable:
        return None
    elif not math.isfinite(inter):
        raise FormatError(f"{path}: the intensity scaling is invalid: valid slope but invalid intercept {inter}")
    return None if (slope, inter) == (1.0, 0.0) else Scaling(slope, inter)


def _spm_scaling(fields: nf.Fields) -> tuple[float, float]:
    """Scaling of an Analyze header without a slope: as SPM2 has it (``spm_vol_ana.m``), from ranges of values."""
    stored = int(fields["glmax"]) - int(fields["glmin"])
    shown = float(fields["cal_max"] - fields["cal_min"])
    if not stored or not shown:
        return 1.0, 0.0
    slope = shown / stored
    return slope, float(fields["cal_min"]) - slope * int(fields["glmin"])


def get_property(fields: nf.Fields, name: str) -> str | int | float:
    """A property of `PROPERTIES` as a plain Python value, its unset value where the header has no such field."""
    unset = PROPERTIES[name]
    if name not in (fields.dtype.names or ()):
        return unset
    value = fields[name].item()
    if isinstance(unset, str):
        return bytes(value).split(b"\0")[0].decode("latin-1")
    return value if isinstance(value, (int, float)) else unset
