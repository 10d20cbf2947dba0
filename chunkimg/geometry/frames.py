"""World frames, units and axis codes: the only file that flips a sign.

A *space* names the world axes by the body direction in which they increase: ``"RAS"`` (right, anterior, superior;
NIfTI, nibabel), ``"LPS"`` (left, posterior, superior; DICOM, ITK), any of the other six such triples, or
``"unknown"`` for a source that does not say where the patient is.

References
----------
NIfTI-1 header ``nifti1.h``, section "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE" (RAS+).
DICOM PS3.3 C.7.6.2.1.1 "Image Position and Image Orientation" (LPS+).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryError

__all__ = [
    "OPPOSITE",
    "SPACES",
    "UNITS",
    "axes_towards",
    "axis_codes",
    "axis_letters",
    "body_direction",
    "body_letter",
    "canonical_time_unit",
    "canonical_unit",
    "check_space",
    "from_seconds",
    "in_unit",
    "map_to_space",
    "mm_per",
    "ome_unit",
    "ras_direction",
    "rows_to_space",
    "to_seconds",
]

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
_PAIRS = ("RL", "AP", "SI")
SPACES = (*("".join(letters) for letters in itertools.product(*_PAIRS)), "unknown")

_BODY = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}

#: canonical unit of length -> (millimetres per unit, other spellings)
UNITS: dict[str, tuple[float, tuple[str, ...]]] = {
    "m": (1e3, ("meter", "metre", "meters", "metres")),
    "cm": (10.0, ("centimeter", "centimetre", "centimeters", "centimetres")),
    "mm": (1.0, ("millimeter", "millimetre", "millimeters", "millimetres")),
    "um": (1e-3, ("micrometer", "micrometre", "micrometers", "micrometres", "micron", "microns", "\u00b5m", "\u03bcm")),
    "nm": (1e-6, ("nanometer", "nanometre", "nanometers", "nanometres")),
    "angstrom": (1e-7, ("\u00c5", "\u212b", "angstroms", "\u00e5ngstr\u00f6m")),
    "pm": (1e-9, ("picometer", "picometre")),
    "inch": (25.4, ("in", "inches")),
    "foot": (304.8, ("ft", "feet")),
    "yard": (914.4, ("yd", "yards")),
    "mile": (1609344.0, ("miles",)),
    "dm": (100.0, ("decimeter", "decimetre")),
    "hm": (1e5, ("hectometer", "hectometre")),
    "km": (1e6, ("kilometer", "kilometre")),
    "fm": (1e-12, ("femtometer", "femtometre")),
}
_SPELLINGS = {name: unit for unit, (_, names) in UNITS.items() for name in (unit, *names)}

#: canonical unit of time -> (units per second or seconds per unit, whichever is whole; other spellings)
_TIMES: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "s": (1.0, 1.0, ("second", "seconds", "sec")),
    "ms": (1e3, 1.0, ("millisecond", "milliseconds", "msec")),
    "us": (1e6, 1.0, ("microsecond", "microseconds", "usec", "\u00b5s", "\u03bcs")),
    "ns": (1e9, 1.0, ("nanosecond", "nanoseconds", "nsec")),
    "min": (1.0, 60.0, ("minute", "minutes")),
    "h": (1.0, 3600.0, ("hour", "hours")),
    "d": (1.0, 86400.0, ("day", "days")),
}
_TIME_SPELLINGS = {name: unit for unit, (_, _, names) in _TIMES.items() for name in (unit, *names)}


def check_space(space: str) -> str:
    """Return `space` if it is one of :data:`SPACES`, else raise `GeometryError`."""
    if space not in SPACES:
        raise GeometryError(f"space is {space!r}; expected one of {', '.join(SPACES)}")
    return space


def rows_to_space(affine: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Express an index-to-world affine, or world points in its first axis, in another space.

    Exact: only signs of rows change. ``unknown`` can be turned into nothing else.

    Parameters
    ----------
    affine : ndarray, shape (4, n) or (3, n)
        Rows are world axes of `source`.
    source, target : str
        Names from :data:`SPACES`.

    Raises
    ------
    GeometryError
        If exactly one of the two spaces is unknown.
    """
    check_space(source)
    check_space(target)
    out = np.array(affine, dtype=np.float64)
    if source == target:
        return out
    if "unknown" in (source, target):
        raise GeometryError(
            f"cannot turn space {source!r} into {target!r}: nothing says where the patient is; "
            "declare it with img.img.assign_geometry(space=...) if you know it"
        )
    for row, (a, b) in enumerate(zip(source, target, strict=True)):
        if a != b:
            # 0 - x instead of -x: zeros stay +0.0, so flipping twice is the identity bit for bit
            out[row] = 0.0 - out[row]
    return out


def map_to_space(matrix: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Express a world-to-world affine, shape (4, 4), in another space; exact, as `rows_to_space`."""
    return rows_to_space(rows_to_space(matrix, source, target).T, source, target).T


def axis_codes(direction: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    """For each image axis, the world axis it runs along most, and its sign.

    The assignment is the one-to-one pairing with the largest sum of absolute direction cosines, after removing
    shear by polar decomposition, so that no world axis is used twice in oblique scans.

    Parameters
    ----------
    direction : ndarray, shape (3, 3)
        Column k is the world direction of image axis k (x, y, z).

    Returns
    -------
    tuple of (int, int)
        ``(world axis, +1 or -1)`` per image axis.
    """
    u, _, vt = np.linalg.svd(direction)
    cosines = u @ vt
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(cosines[w, k]) for k, w in enumerate(order)),
    )
    return tuple((w, 1 if cosines[w, k] >= 0 else -1) for k, w in enumerate(best))


def axis_letters(direction: NDArray[np.float64], space: str) -> str | None:
    """Orientation of the image axes as letters, e.g. ``"LPS"``; None where the space is unknown.

    Letter k is the body direction in which image axis k (x, y, z) increases, as in nibabel's ``aff2axcodes``.
    """
    if space == "unknown":
        return None
    return "".join(space[world] if sign > 0 else OPPOSITE[space[world]] for world, sign in axis_codes(direction))


def axes_towards(codes: str, direction: NDArray[np.float64], space: str) -> list[tuple[int, bool]]:
    """Which image axes run along given body directions, as nearly as can be, and whether they do so backwards.

    Parameters
    ----------
    codes : str
        Three letters, as of `axis_letters`, one of each pair R/L, A/P, S/I, in any order.
    direction, space
        Of the image.

    Returns
    -------
    list of (int, bool)
        Per letter.

    Raises
    ------
    GeometryError
        If `codes` are no such letters, or the space is unknown.
    """
    letters = codes.upper() if isinstance(codes, str) else ""
    if len(letters) != 3 or {frozenset(p) & set(letters) for p in _PAIRS} != {frozenset(x) for x in letters}:
        raise GeometryError(
            "an orientation is three letters, one of each pair R/L, A/P and S/I, such as RAS, LPS or PIR; "
            f"found {codes!r}"
        )
    if space == "unknown":
        raise GeometryError(
            f"the image's space is unknown: nothing says which of its axes runs towards {letters}; "
            "declare it with img.img.assign_geometry(space=...) if you know it"
        )
    along = axis_codes(direction)
    out = []
    for letter in letters:
        world = next(k for k, towards in enumerate(space) if letter in (towards, OPPOSITE[towards]))
        axis = next(k for k, (w, _) in enumerate(along) if w == world)
        out.append((axis, (along[axis][1] > 0) != (space[world] == letter)))
    return out


def body_direction(letter: str) -> str:
    """``"R"`` -> ``"left to right"``: the direction in which an axis of this letter runs."""
    return f"{_BODY[OPPOSITE[letter]]} to {_BODY[letter]}"


def body_letter(direction: str) -> str | None:
    """``"left to right"`` or ``"left-to-right"`` -> ``"R"``, inverse of `body_direction`; None for other words."""
    words = direction.replace("-", " ")
    return next((letter for letter in OPPOSITE if body_direction(letter) == words), None)


def ras_direction(letter: str) -> tuple[float, float, float]:
    """Unit vector in RAS+ of an axis that increases towards a letter: ``"L"`` -> (-1, 0, 0)."""
    x, y, z = (1.0 if letter == towards else -1.0 if letter == OPPOSITE[towards] else 0.0 for towards in "RAS")
    return x, y, z


def canonical_unit(name: str | None) -> str:
    """Canonical short name of a unit of length; names that are not known are kept, none is ``"unknown"``."""
    if not name:
        return "unknown"
    return _SPELLINGS.get(name, _SPELLINGS.get(name.lower(), name))


def ome_unit(unit: str) -> str | None:
    """Name of a unit of length in OME-Zarr, or None where it has none."""
    entry = UNITS.get(canonical_unit(unit))
    # long names of metric units; the others are called what we call them
    return None if entry is None else entry[1][0] if entry[1][0].endswith("meter") else canonical_unit(unit)


def mm_per(unit: str) -> float:
    """Millimetres per `unit`.

    Raises
    ------
    GeometryError
        If the unit is unknown.
    """
    try:
        return UNITS[canonical_unit(unit)][0]
    except KeyError:
        raise GeometryError(
            f"lengths of this image are in unit {unit!r}, which cannot be converted to mm; declare the unit with "
            f"img.img.assign_geometry(units=...), one of {', '.join(UNITS)}"
        ) from None


def in_unit(value: float, unit: str, target: str) -> float:
    """A length in another unit; multiplies or divides by whole numbers where that is possible: 325 nm is 0.325 um.

    Raises
    ------
    GeometryError
        If one of the units is unknown.
    """
    per = mm_per(unit) / mm_per(target)
    if per < 1 and math.isclose(round(1 / per) * per, 1.0, rel_tol=1e-12):
        return value / round(1 / per)
    return value * (round(per) if math.isclose(per, round(per), rel_tol=1e-12) else per)


def canonical_time_unit(name: str | None) -> str:
    """Canonical short name of a unit of time; names that are not known are kept, none is ``"unknown"``."""
    if not name:
        return "unknown"
    return _TIME_SPELLINGS.get(name, _TIME_SPELLINGS.get(name.lower(), name))


def to_seconds(value: float, unit: str) -> float | None:
    """A duration in seconds, or None where the unit is not one of time; divides by whole numbers: 2300 ms is 2.3 s."""
    entry = _TIMES.get(canonical_time_unit(unit))
    return None if entry is None else value * entry[1] / entry[0]


def from_seconds(value: float, unit: str) -> float:
    """A duration of `value` seconds in a unit of time; inverse of `to_seconds`."""
    per_second, seconds, _ = _TIMES[canonical_time_unit(unit)]
    return value * per_second / seconds
