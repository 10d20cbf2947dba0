"""Transforms of ITK: what its files say of each, as maps of the RAS+ world.

Parameters are ITK's (``SetParameters`` and ``SetFixedParameters`` of each class); points of ITK are LPS.

References
----------
ITK, Modules/Core/Transform/include/itk*Transform.hxx, ``ComputeMatrix`` and ``SetParameters``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff
import chunkimg.geometry.frames as frames

from ..errors import FormatError, GeometryError, UnsupportedError
from ..geometry import Grid
from ..lazy import Block, LazyArray, Region
from ..volume import Volume
from .types import Affine, Composite, DisplacementField

__all__ = ["FIELDS", "Record", "transform_of"]

Array = NDArray[np.float64]

#: kinds whose parameters are vectors; the registration methods that smooth theirs on updates write names of their own
FIELDS = frozenset(
    {
        "DisplacementFieldTransform",
        "BSplineSmoothingOnUpdateDisplacementFieldTransform",
        "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    }
)
_COMPOSITE = "CompositeTransform"
_NAME = re.compile(r"(\w+?)_(double|float)_(\d+)_(\d+)")
#: bytes of parameters that are read at once where only some of them are wanted
_SPAN = 64 << 20


@dataclass(frozen=True)
class Record:
    """One transform as a file has it.

    Attributes
    ----------
    kind : str
        ``AffineTransform_double_3_3`` and the like.
    parameters : LazyArray
        One-dimensional.
    fixed : ndarray
        Parameters that are not optimised: the centre, or the grid of a field.
    """

    kind: str
    parameters: LazyArray
    fixed: Array


def transform_of(records: Sequence[Record], source: str) -> Affine | Composite | DisplacementField:
    """The transform that the records of a file make: several are applied from the last to the first.

    Raises
    ------
    FormatError
        If numbers are missing, too many, or not finite.
    UnsupportedError
        If one is of a kind that is not supported.
    """
    # a file of a composite names it first and then its parts
    parts = [r for k, r in enumerate(records) if k or _name(r, source) != _COMPOSITE]
    if not parts:
        raise FormatError(f"{source}: holds no transform")
    made = [_made(r, source) for r in parts]
    return made[0] if len(made) == 1 else Composite(made)


def _name(record: Record, source: str) -> str:
    found = _NAME.fullmatch(record.kind)
    if found is None:
        raise FormatError(f"{source}: expected the name of an ITK transform, found {record.kind[:80]!r}")
    if found[3] != "3" or found[4] != "3":
        raise UnsupportedError(f"{source}: maps {found[3]} dimensions to {found[4]}; transforms here are of three")
    return found[1]


def _made(record: Record, source: str) -> Affine | DisplacementField:
    name = _name(record, source)
    if name in FIELDS:
        return _displacements(record, source)
    if name not in _AFFINE:
        raise UnsupportedError(
            f"{source}: holds a {name}, which is not supported; {', '.join(sorted([*_AFFINE, *FIELDS]))} are. "
            "Make a displacement field of it, for instance with SimpleITK.TransformToDisplacementField"
        )
    size, build = _AFFINE[name]
    if record.parameters.size != size:
        raise FormatError(f"{source}: a {name} has {size} parameters, found {record.parameters.size}")
    parameters = np.asarray(record.parameters, np.float64)
    if not (np.all(np.isfinite(parameters)) and np.all(np.isfinite(record.fixed))):
        raise FormatError(f"{source}: the parameters of its {name} are not finite")
    matrix, translation = build(parameters, record.fixed)
    lps = np.eye(4)
    lps[:3, :3] = matrix
    # the translation is what the centre of rotation makes; most kinds store the centre
    center = record.fixed[:3] if len(record.fixed) >= 3 else np.zeros(3)
    lps[:3, 3] = translation + center - matrix @ center
    try:
        return Affine(tuple(map(tuple, frames.map_to_space(lps, "LPS", "RAS").tolist())), "mm")
    except GeometryError as error:
        raise FormatError(f"{source}: {error}") from error


# ---------------------------------------------------------------------------------------------- affine kinds


def _general(p: Array, fixed: Array) -> tuple[Array, Array]:
    return p[:9].reshape(3, 3), p[9:12]


def _identity(p: Array, fixed: Array) -> tuple[Array, Array]:
    return np.eye(3), np.zeros(3)


def _translation(p: Array, fixed: Array) -> tuple[Array, Array]:
    return np.eye(3), p


def _scale(p: Array, fixed: Array) -> tuple[Array, Array]:
    return np.diag(p), np.zeros(3)


def _euler(p: Array, fixed: Array) -> tuple[Array, Array]:
    """Z X Y, or Z Y X where a fourth fixed parameter says so."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(p[:3]), np.sin(p[:3])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (z @ y @ x if len(fixed) > 3 and fixed[3] else z @ x @ y), p[3:6]


def _versor(p: Array) -> Array:
    """Rotation of the vector part of a unit quaternion."""
    x, y, z = p[:3].tolist()
    w = math.sqrt(max(0.0, 1 - (x * x + y * y + z * z)))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _rotation(p: Array, fixed: Array) -> tuple[Array, Array]:
    return _versor(p), np.zeros(3)


def _rigid(p: Array, fixed: Array) -> tuple[Array, Array]:
    return _versor(p), p[3:6]


def _similarity(p: Array, fixed: Array) -> tuple[Array, Array]:
    return _versor(p) * p[6], p[3:6]


def _scale_versor(p: Array, fixed: Array) -> tuple[Array, Array]:
    """Scales stand in the place of the ones in the formula of the rotation: this is how ITK defines it."""
    return _versor(p) + np.diag(p[6:9] - 1), p[3:6]


def _scale_skew_versor(p: Array, fixed: Array) -> tuple[Array, Array]:
    skew = np.zeros((3, 3))
    skew[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] = p[9:15]
    return _versor(p) + np.diag(p[6:9] - 1) + skew, p[3:6]


def _compose_scale_skew_versor(p: Array, fixed: Array) -> tuple[Array, Array]:
    skew = np.eye(3)
    skew[[0, 0, 1], [1, 2, 2]] = p[9:12]
    return _versor(p) @ np.diag(p[6:9]) @ skew, p[3:6]


_Build = Callable[[Array, Array], tuple[Array, Array]]
#: kind -> number of parameters, and what makes of them a matrix and a translation
_AFFINE: dict[str, tuple[int, _Build]] = {
    "AffineTransform": (12, _general),
    "ComposeScaleSkewVersor3DTransform": (12, _compose_scale_skew_versor),
    "Euler3DTransform": (6, _euler),
    "IdentityTransform": (0, _identity),
    "MatrixOffsetTransformBase": (12, _general),
    "ScaleSkewVersor3DTransform": (15, _scale_skew_versor),
    "ScaleTransform": (3, _scale),
    "ScaleVersor3DTransform": (9, _scale_versor),
    "Similarity3DTransform": (7, _similarity),
    "TranslationTransform": (3, _translation),
    "VersorRigid3DTransform": (6, _rigid),
    "VersorTransform": (3, _rotation),
}


# ---------------------------------------------------------------------------------------------- fields


def _displacements(record: Record, source: str) -> DisplacementField:
    """Fixed parameters: size, origin, spacing, direction (row by row)."""
    fixed = record.fixed
    if len(fixed) != 18 or not np.all(np.isfinite(fixed)) or np.any(fixed[:3] < 1) or np.any(fixed[:3] % 1):
        raise FormatError(
            f"{source}: a displacement field has 18 fixed parameters (size, origin, spacing, direction), "
            f"found {len(fixed)}: {fixed[:18].tolist()}"
        )
    nx, ny, nz = (int(n) for n in fixed[:3])
    if 3 * nx * ny * nz != record.parameters.size:
        raise FormatError(
            f"{source}: a displacement field of {nx}×{ny}×{nz} has {3 * nx * ny * nz} numbers, "
            f"found {record.parameters.size}"
        )
    matrix = aff.compose(fixed[6:9], fixed[9:].reshape(3, 3), fixed[3:6])
    try:
        grid = Grid((nx, ny, nz), tuple(map(tuple, matrix.tolist())), "LPS").to_space("RAS")
    except GeometryError as error:
        raise FormatError(f"{source}: {error}") from error
    data = _Vectors(record.parameters, (nz, ny, nx))
    return DisplacementField(Volume(data, ("c", "z", "y", "x"), grid, source=source), vectors="LPS")


class _Vectors(LazyArray):
    """Vectors one after the other, x fastest, as an array c, z, y, x."""

    def __init__(self, flat: LazyArray, sizes: tuple[int, int, int]) -> None:
        self.flat, self.shape, self.dtype = flat, (3, *sizes), flat.dtype
        self.file_order = (1, 2, 3, 0)

    def _read(self, region: Region) -> Block:
        c, z, y, x = region
        out = np.empty([len(r) for r in region], self.dtype)
        _, _, ny, nx = self.shape
        row = 3 * nx
        once = (z[-1] - z[0] + 1) * ny * row * self.dtype.itemsize <= _SPAN if out.size else False
        for layers in [z] if once else [range(k, k + 1) for k in z] if out.size else []:
            first, last = layers[0] * ny + y[0], layers[-1] * ny + y[-1]
            run = self.flat._read((range(first * row, (last + 1) * row),))
            rows = [(k * ny + j) - first for k in layers for j in y]
            block = run.reshape(-1, nx, 3)[rows, x.start : x.stop : x.step, c.start : c.stop : c.step]
            at = slice(None) if once else slice(z.index(layers[0]), z.index(layers[0]) + 1)
            out[:, at] = block.reshape(len(layers), len(y), len(x), len(c)).transpose(3, 0, 1, 2)
        return out

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-vectors", self.flat.__dask_tokenize__(), self.shape)
