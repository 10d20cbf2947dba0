"""Fields of NIfTI-1, NIfTI-2 and Analyze 7.5 headers: where they lie, and what is repaired on reading.

Offsets and types are those of ``nifti1.h`` and ``nifti2.h`` (https://nifti.nimh.nih.gov); Analyze is Mayo's ``dbh.h``
with the fields that SPM2 reads in it: ``scl_slope``, ``scl_inter``, ``origin``. Names and repairs are nibabel's.

A header is a NumPy array of no dimensions and one of these types, in the byte order of its file: ``fields["dim"][0]``
is a number in it, ``fields.tobytes()`` its bytes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError

__all__ = [
    "DTYPES",
    "SINGLE_OFFSET",
    "TYPES",
    "Fields",
    "blank",
    "converted",
    "from_bytes",
    "kind_of",
    "magic",
    "origin_fits",
    "repair",
]

Fields: TypeAlias = NDArray[np.void]

#: nifti1.h, "DATA TYPE": code -> (type of a sample, samples per voxel or 0); RGB types are 3 or 4 bytes per voxel
TYPES: dict[int, tuple[str, int]] = {
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

# offset, type, name
_NIFTI1 = [
    (0, "i4", "sizeof_hdr"),  # 348
    (4, "S10", "data_type"),  # unused
    (14, "S18", "db_name"),  # unused
    (32, "i4", "extents"),  # unused
    (36, "i2", "session_error"),  # unused
    (38, "S1", "regular"),  # unused
    (39, "u1", "dim_info"),  # MRI slice ordering
    (40, "8i2", "dim"),  # number of axes, sizes
    (56, "f4", "intent_p1"),  # parameters of the intent
    (60, "f4", "intent_p2"),
    (64, "f4", "intent_p3"),
    (68, "i2", "intent_code"),  # NIFTI_INTENT_*
    (70, "i2", "datatype"),  # key of TYPES
    (72, "i2", "bitpix"),  # bits per voxel
    (74, "i2", "slice_start"),  # first slice index
    (76, "8f4", "pixdim"),  # qfac, grid spacings
    (108, "f4", "vox_offset"),  # first byte of the voxels in a .nii
    (112, "f4", "scl_slope"),  # data scaling
    (116, "f4", "scl_inter"),
    (120, "i2", "slice_end"),  # last slice index
    (122, "u1", "slice_code"),  # slice timing order
    (123, "u1", "xyzt_units"),  # units of pixdim[1..4]
    (124, "f4", "cal_max"),  # display intensities
    (128, "f4", "cal_min"),
    (132, "f4", "slice_duration"),  # time for 1 slice
    (136, "f4", "toffset"),  # time axis shift
    (140, "i4", "glmax"),  # unused
    (144, "i4", "glmin"),  # unused; sizes of FreeSurfer's long vectors
    (148, "S80", "descrip"),  # any text
    (228, "S24", "aux_file"),  # auxiliary file name
    (252, "i2", "qform_code"),  # NIFTI_XFORM_*
    (254, "i2", "sform_code"),
    (256, "f4", "quatern_b"),  # quaternion
    (260, "f4", "quatern_c"),
    (264, "f4", "quatern_d"),
    (268, "f4", "qoffset_x"),  # translation of the qform
    (272, "f4", "qoffset_y"),
    (276, "f4", "qoffset_z"),
    (280, "4f4", "srow_x"),  # rows of the sform
    (296, "4f4", "srow_y"),
    (312, "4f4", "srow_z"),
    (328, "S16", "intent_name"),  # name or meaning of the data
    (344, "S4", "magic"),  # "n+1\0", "ni1\0" in a pair
]

_NIFTI2 = [
    (0, "i4", "sizeof_hdr"),  # 540
    (4, "S4", "magic"),  # "n+2\0", "ni2\0" in a pair
    (8, "4i1", "eol_check"),  # 0D 0A 1A 0A
    (12, "i2", "datatype"),
    (14, "i2", "bitpix"),
    (16, "8i8", "dim"),
    (80, "f8", "intent_p1"),
    (88, "f8", "intent_p2"),
    (96, "f8", "intent_p3"),
    (104, "8f8", "pixdim"),
    (168, "i8", "vox_offset"),
    (176, "f8", "scl_slope"),
    (184, "f8", "scl_inter"),
    (192, "f8", "cal_max"),
    (200, "f8", "cal_min"),
    (208, "f8", "slice_duration"),
    (216, "f8", "toffset"),
    (224, "i8", "slice_start"),
    (232, "i8", "slice_end"),
    (240, "S80", "descrip"),
    (320, "S24", "aux_file"),
    (344, "i4", "qform_code"),
    (348, "i4", "sform_code"),
    (352, "f8", "quatern_b"),
    (360, "f8", "quatern_c"),
    (368, "f8", "quatern_d"),
    (376, "f8", "qoffset_x"),
    (384, "f8", "qoffset_y"),
    (392, "f8", "qoffset_z"),
    (400, "4f8", "srow_x"),
    (432, "4f8", "srow_y"),
    (464, "4f8", "srow_z"),
    (496, "i4", "slice_code"),
    (500, "i4", "xyzt_units"),
    (504, "i4", "intent_code"),
    (508, "S16", "intent_name"),
    (524, "u1", "dim_info"),
    (525, "S15", "unused_str"),
]

_ANALYZE = [
    (0, "i4", "sizeof_hdr"),  # 348
    (4, "S10", "data_type"),
    (14, "S18", "db_name"),
    (32, "i4", "extents"),
    (36, "i2", "session_error"),
    (38, "S1", "regular"),
    (39, "S1", "hkey_un0"),
    (40, "8i2", "dim"),
    (56, "S4", "vox_units"),
    (60, "S8", "cal_units"),
    (68, "i2", "unused1"),
    (70, "i2", "datatype"),
    (72, "i2", "bitpix"),
    (74, "i2", "dim_un0"),
    (76, "8f4", "pixdim"),
    (108, "f4", "vox_offset"),
    (112, "f4", "scl_slope"),  # funused1
    (116, "f4", "scl_inter"),  # funused2
    (120, "f4", "funused3"),
    (124, "f4", "cal_max"),
    (128, "f4", "cal_min"),
    (132, "i4", "compressed"),
    (136, "i4", "verified"),
    (140, "i4", "glmax"),
    (144, "i4", "glmin"),
    (148, "S80", "descrip"),
    (228, "S24", "aux_file"),
    (252, "S1", "orient"),
    (253, "5i2", "origin"),  # originator
    (263, "S10", "generated"),
    (273, "S10", "scannum"),
    (283, "S10", "patient_id"),
    (293, "S10", "exp_date"),
    (303, "S10", "exp_time"),
    (313, "S3", "hist_un0"),
    (316, "i4", "views"),
    (320, "i4", "vols_added"),
    (324, "i4", "start_field"),
    (328, "i4", "field_skip"),
    (332, "i4", "omax"),
    (336, "i4", "omin"),
    (340, "i4", "smax"),
    (344, "i4", "smin"),
]


def _dtype(table: list[tuple[int, str, str]], size: int) -> np.dtype[np.void]:
    offsets, formats, names = zip(*table, strict=True)
    # little-endian whatever the machine is: types are turned to the order of a file
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size}).newbyteorder("<")


#: kind of header -> its fields, little-endian
DTYPES = {"nifti1": _dtype(_NIFTI1, 348), "nifti2": _dtype(_NIFTI2, 540), "analyze": _dtype(_ANALYZE, 348)}

#: kind -> magic of a single file, and of a pair
_MAGIC = {"nifti1": (b"n+1", b"ni1"), "nifti2": (b"n+2", b"ni2")}
#: kind -> first byte that voxels can have in a single file
SINGLE_OFFSET = {"nifti1": 352, "nifti2": 544}
_EOL = (13, 10, 26, 10)
#: nifti1.h, "sform_code, qform_code"
_XFORMS = range(6)


def from_bytes(block: bytes, kind: str, order: str) -> Fields:
    """Fields of a header as they are stored."""
    dtype = DTYPES[kind].newbyteorder(order)  # type: ignore[arg-type]
    return np.frombuffer(block, dtype, 1).reshape(()).copy()


def kind_of(fields: Fields) -> str:
    """The key of `DTYPES`."""
    names = fields.dtype.names or ()
    return "nifti2" if "eol_check" in names else "nifti1" if "magic" in names else "analyze"


def blank(kind: str, single: bool, order: str = "<") -> Fields:
    """A NIfTI header that says nothing of an image yet."""
    fields = np.zeros((), DTYPES[kind].newbyteorder(order))  # type: ignore[arg-type]
    fields["sizeof_hdr"] = fields.dtype.itemsize
    fields["magic"] = magic(kind, single)
    fields["dim"][1:] = 1
    fields["pixdim"][:4] = 1
    fields["datatype"], fields["bitpix"] = 16, 32
    fields["scl_slope"] = 1
    if kind == "nifti2":
        fields["eol_check"] = _EOL
    return fields


def magic(kind: str, single: bool) -> bytes:
    """What tells NIfTI from Analyze, and a single file from a pair."""
    return _MAGIC[kind][0 if single else 1]


def converted(old: Fields, shape: tuple[int, ...], kind: str, single: bool, order: str, dest: str) -> Fields:
    """A NIfTI header of another version with the same fields; dim is `shape` as far as it has room.

    Raises
    ------
    FormatError
        If a number does not fit.
    """
    fields = blank(kind, single, order)
    own = {"sizeof_hdr", "magic", "vox_offset", "dim"}
    for name in (n for n in fields.dtype.names or () if n in (old.dtype.names or ()) and n not in own):
        with np.errstate(all="ignore"):
            fields[name] = old[name].astype(fields[name].dtype)
        new, before = fields[name], old[name]
        whole = new.dtype.kind in "iu" and np.any(new != before)
        if whole or (new.dtype.kind == "f" and np.any(np.isfinite(before) != np.isfinite(new))):
            raise FormatError(f"{dest}: {name} is {before.tolist()}, which this version of NIfTI has no room for")
    room = int(np.iinfo(fields["dim"].dtype).max)
    sizes = [len(shape), *shape, *old["dim"].tolist()[len(shape) + 1 :]]
    fields["dim"] = np.clip(sizes, -room, room)
    return fields


def repair(fields: Fields) -> list[tuple[int, str]]:
    """Repair fields in place, as nibabel does on loading; what was wrong, each with a level of `logging`.

    What is of level 40 makes the header invalid.
    """
    kind = kind_of(fields)
    checks = [_datatype, _pixdim]
    if kind == "analyze":
        checks += [_origin]
    else:
        checks += [_qfac, _offset, _xforms]
    if kind == "nifti2":
        checks += [_eol]
    with np.errstate(all="ignore"):
        return [found for check in checks for found in check(fields)]


def _datatype(fields: Fields) -> list[tuple[int, str]]:
    code = int(fields["datatype"])
    if code not in TYPES or (kind_of(fields) == "analyze" and code > 128):
        return [(40, f"data code {code} not recognized")]
    name, samples = TYPES[code]
    bits = np.dtype(name).itemsize * 8 * max(1, samples)
    if int(fields["bitpix"]) == bits:
        return []
    fields["bitpix"] = bits
    return [(10, "bitpix does not match datatype")]


def _pixdim(fields: Fields) -> list[tuple[int, str]]:
    steps: NDArray[Any] = fields["pixdim"][1:4]
    zero, negative = bool(np.any(steps == 0)), bool(np.any(steps < 0))
    steps[steps == 0] = 1
    np.abs(steps, out=steps)
    texts = ["pixdim[1,2,3] should be non-zero"] * zero + ["pixdim[1,2,3] should be positive"] * negative
    return [(35 if negative else 30, " and ".join(texts))] if texts else []


def _qfac(fields: Fields) -> list[tuple[int, str]]:
    if fields["pixdim"][0] in (-1, 1):
        return []
    fields["pixdim"][0] = 1
    return [(20, "pixdim[0] (qfac) should be 1 (default) or -1")]


def _offset(fields: Fields) -> list[tuple[int, str]]:
    kind, offset = kind_of(fields), fields["vox_offset"].item()
    single = fields["magic"].item() == magic(kind, True)
    if single and offset < SINGLE_OFFSET[kind] and offset != 0:
        fields["vox_offset"] = SINGLE_OFFSET[kind]
        return [(40, f"vox offset {offset:g} too low for single file NIfTI")]
    if offset % 16 == 0:
        return []
    return [(30, f"vox offset (={offset:g}) not divisible by 16, not SPM compatible")]


def _xforms(fields: Fields) -> list[tuple[int, str]]:
    found = []
    for name in ("qform_code", "sform_code"):
        code = int(fields[name])
        if code not in _XFORMS:
            fields[name] = 0
            found.append((30, f"{name} {code} not valid"))
    return found


def _eol(fields: Fields) -> list[tuple[int, str]]:
    found = fields["eol_check"].tolist()
    fields["eol_check"] = _EOL
    if found == [0, 0, 0, 0]:
        return [(20, "EOL check all 0")]
    if found != list(_EOL):
        return [(40, "EOL check not 0 or 13, 10, 26, 10; data may be corrupted by EOL conversion")]
    return []


def _origin(fields: Fields) -> list[tuple[int, str]]:
    if origin_fits(fields) or not np.any(fields["origin"][:3]):
        return []
    return [(20, "very large origin values relative to dims")]


def origin_fits(fields: Fields) -> bool:
    """Whether an Analyze header names its origin, a voxel in or near the image."""
    origin, dim = fields["origin"][:3].astype(np.int64), fields["dim"][1:4].astype(np.int64)
    return bool(np.any(origin) and np.all(origin > -dim) and np.all(origin < 2 * dim))
