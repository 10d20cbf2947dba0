"""Names of the NRRD format: fields, types, spaces, encodings, with the other spellings that teem reads."""

from __future__ import annotations

__all__ = ["CANONICAL", "DTYPES", "ENCODINGS", "FIELDS", "SPACES", "TYPES"]

#: canonical field names in the order in which new headers have them
FIELDS = (
    "content", "number", "type", "block size", "dimension", "space", "space dimension", "sizes", "spacings",
    "thicknesses", "axis mins", "axis maxs", "space directions", "centers", "kinds", "labels", "units", "min", "max",
    "old min", "old max", "endian", "encoding", "line skip", "byte skip", "sample units", "space units",
    "space origin", "measurement frame", "data file",
)  # fmt: skip
#: field by its name in small letters without blanks
CANONICAL = {name.replace(" ", ""): name for name in FIELDS} | {"centerings": "centers"}

#: names of types, the first of them written
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("unsigned int", "uint", "uint32", "uint32_t"),
    "i8": (
        "long long", "longlong", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
    ),
    "u8": ("unsigned long long", "ulonglong", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
DTYPES = {name: code for code, names in TYPES.items() for name in names}

_PATIENT = {"right-anterior-superior": "RAS", "left-anterior-superior": "LAS", "left-posterior-superior": "LPS"}
#: space by its name without hyphens -> (space of the patient, number of world axes)
SPACES = {
    **{name.replace("-", ""): (space, 3) for name, space in _PATIENT.items()},
    **{space.lower(): (space, 3) for space in _PATIENT.values()},
    **{name.replace("-", "") + "time": (space, 4) for name, space in _PATIENT.items()},
    **{space.lower() + "t": (space, 4) for space in _PATIENT.values()},
    **dict.fromkeys(("scannerxyz", "3drighthanded", "3dlefthanded"), ("unknown", 3)),
    **dict.fromkeys(("scannerxyztime", "3drighthandedtime", "3dlefthandedtime"), ("unknown", 4)),
    **dict.fromkeys(("rightup", "rightdown"), ("unknown", 2)),
}

#: encoding by its names in headers
ENCODINGS = {
    "raw": "",
    **dict.fromkeys(("gzip", "gz"), "gzip"),
    **dict.fromkeys(("bzip2", "bz2"), "bzip2"),
    **dict.fromkeys(("ascii", "text", "txt"), "text"),
    "hex": "hex",
}
