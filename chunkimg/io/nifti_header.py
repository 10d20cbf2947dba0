"""NIfTI-1, NIfTI-2 and Analyze 7.5 headers: what they say of an image.

Fields are parsed by nibabel; this module says what they mean. Sources: ``nifti1.h`` and ``nifti2.h``
(https://nifti.nimh.nih.gov); where they are silent, nibabel's reading is followed: sform before qform, without either
a grid centred on the origin, slope 0 or NaN means unscaled.
"""

from __future__ import annotations

import logging
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
from ..lazy import Scaling
from ..volume import TimeAxis

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

_log = logging.getLogger("chunkimg")
_log.addHandler(logging.NullHandler())

# nifti1.h, "UNITS OF SPATIAL AND TEMPORAL DIMENSIONS": xyzt_units bits 0-2 and 3-5
UNIT_CODES = {0: "unknown", 1: "m", 2: "mm", 3: "um"}
TIME_UNITS = {0: "unknown", 8: "s", 16: "ms", 24: "us"}
CHANNEL_UNITS = {32: "Hz", 40: "ppm", 48: "rad/s"}

# nifti1.h, "DATA TYPE"; RGB types are 3 or 4 bytes per voxel
_TYPES: dict[int, tuple[str, int]] = {
    2: ("u1", 0),
    4: ("i2", 0),
    8: ("i4", 0),
    16: ("f4", 0),
    32: ("c8", 0),
    64: ("f8", 0),
    128: ("u1", 3),
    256: ("i1", 0),
    512: ("u2", 0),
    768: ("u4", 0),
    1024: ("i8", 0),
    1280: ("u8", 0),
    1792: ("c16", 0),
    2304: ("u1", 4),
}
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
    fields : nibabel header
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
    fields: Any
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
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
    from nibabel.spatialimages import HeaderDataError
    from nibabel.spm2analyze import Spm2AnalyzeHeader

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
    classes = {
        ("nifti1", True): Nifti1Header,
        ("nifti1", False): Nifti1PairHeader,
        ("nifti2", True): Nifti2Header,
        ("nifti2", False): Nifti2PairHeader,
        ("analyze", False): Spm2AnalyzeHeader,
    }
    try:
        fields = classes[kind, single](block[:size], endianness=order, check=False)
        code = int(fields["datatype"])
        _check_type(code, path)
        fields.check_fix(logger=_log, error_level=40)
        if not 1 <= int(fields["dim"][0]) <= 7:
            raise FormatError(f"{path}: the header gives the image {int(fields['dim'][0])} axes; 1 to 7 are expected")
        shape = tuple(int(n) for n in fields.get_data_shape())
    except HeaderDataError as error:
        raise FormatError(f"{path}: the {kind} header is invalid: {error}") from error
    if min(shape) < 1:
        raise FormatError(f"{path}: the header gives the image sizes {shape}; sizes of at least 1 are expected")
    name, channels = _TYPES[code]
    offset = _offset(fields, kind, single, path)
    dtype = np.dtype(name).newbyteorder(order)  # type: ignore[arg-type]
    if math.prod(shape) * max(1, channels) * dtype.itemsize > 1 << 62:
        raise FormatError(f"{path}: the header gives the image impossible sizes {shape}")
    return HeaderFacts(kind, single, order, size, fields, shape, dtype, channels, offset)


def _check_type(code: int, path: str) -> None:
    if code in _TYPES:
        return
    if code in _REFUSED:
        raise UnsupportedError(
            f"{path}: voxels are of NIfTI datatype {code} ({_REFUSED[code]}), which chunkimg does not read: it has no "
            "portable representation in NumPy and Zarr"
        )
    raise FormatError(f"{path}: unknown NIfTI datatype code {code}")


def _offset(fields: Any, kind: str, single: bool, path: str) -> int:
    value = float(fields["vox_offset"])
    if not math.isfinite(value) or not 0 <= value < 2**62 or value != int(value):
        raise FormatError(f"{path}: vox_offset is {value}; a whole number of bytes is expected")
    if single and value == 0:
        return 352 if kind == "nifti1" else 544
    return int(value)


def pixel_type(dtype: np.dtype[Any], channels: int = 0) -> int:
    """NIfTI datatype code of a type, or `UnsupportedError`."""
    for code, (name, samples) in _TYPES.items():
        if np.dtype(name) == dtype.newbyteorder("=") and samples == channels:
            return code
    raise UnsupportedError(
        f"NIfTI has no datatype for {dtype}; convert the image first, e.g. with .astype('float32'); "
        f"it holds {', '.join(sorted({str(np.dtype(n)) for n, _ in _TYPES.values()}))}"
    )


# ---------------------------------------------------------------------------------------------- meaning of fields


def affine_of(facts: HeaderFacts) -> tuple[NDArray[np.float64], str]:
    """Index-to-world affine (RAS+ where the file says where the patient is) and space."""
    from nibabel.spatialimages import HeaderDataError

    fields = facts.fields
    with np.errstate(all="ignore"):
        try:
            affine = np.asarray(fields.get_best_affine(), dtype=np.float64)
        except (HeaderDataError, ValueError, np.linalg.LinAlgError):
            # quaternions longer than 1: no rotation
            affine = np.full((4, 4), np.nan)
    named = facts.kind != "analyze" and (int(fields["sform_code"]) != 0 or int(fields["qform_code"]) != 0)
    return affine, "RAS" if named else "unknown"


def repaired(fields: Any) -> Any:
    """A copy of header fields, repaired as nibabel does on loading: signs of pixdim, qfac, codes."""
    out = fields.copy()
    out.check_fix(logger=_log, error_level=100)
    return out


def qform_of(fields: Any) -> NDArray[np.float64] | None:
    """The qform as an affine, or None where its quaternion is no rotation."""
    from nibabel.spatialimages import HeaderDataError

    with np.errstate(all="ignore"):
        try:
            out = np.asarray(repaired(fields).get_qform(), dtype=np.float64)
        except (HeaderDataError, ValueError):
            return None
    return out if aff.is_usable(out) else None


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
    from nibabel.spatialimages import HeaderDataError

    if facts.channels:
        return None
    try:
        slope, inter = facts.fields.get_slope_inter()
    except HeaderDataError as error:
        raise FormatError(f"{path}: the intensity scaling is invalid: {error}") from error
    if slope is None or (slope, inter) == (1.0, 0.0):
        return None
    return Scaling(float(slope), float(inter or 0.0))


def get_property(fields: Any, name: str) -> str | int | float:
    """A property of `PROPERTIES` as a plain Python value, its unset value where the header has no such field."""
    unset = PROPERTIES[name]
    if name not in fields:
        return unset
    value = fields[name].item()
    if isinstance(unset, str):
        return bytes(value).split(b"\0")[0].decode("latin-1")
    return value if isinstance(value, (int, float)) else unset
