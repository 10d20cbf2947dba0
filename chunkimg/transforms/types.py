"""Maps of the world: affine, by a field of displacements, and one after the other.

A transform says where a point of the reference (fixed) image lies in the moving image, as in ITK: ``map(points)`` takes
points of the reference's world to points of the moving image's, both RAS+, in the unit of the transform: mm where it
comes from a file, that of its image for a field. That is what resampling asks for, which converts units. Transforms are
immutable and pickle in a few kB, whatever the size of a field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import chunkimg.geometry.affine as aff
import chunkimg.geometry.frames as frames

from ..errors import GeometryError
from ..geometry import Grid
from ..lazy import ViewArray
from ..ops.points import Voxels, blended, corners_of, positions_in
from ..ops.scatter import Scatter
from ..volume import Volume

__all__ = ["Affine", "Composite", "DisplacementField"]

Array = NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]

#: components of a displacement
_SPACE = 3
#: bytes of a field that are read at once for some points; more are read block by block
_AT_ONCE = 32 << 20


@dataclass(frozen=True)
class Affine:
    """A linear map and a shift.

    Parameters
    ----------
    matrix : array_like, shape (4, 4) or (3, 4)
        World to world, RAS+.
    units : str, optional
        Unit of its lengths; that of the reference, whatever it is, by default.

    Raises
    ------
    GeometryError
        If it is singular or not finite.

    Examples
    --------
    >>> import chunkimg as ci
    >>> shift = ci.Affine([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, -2], [0, 0, 0, 1]])
    >>> shift.map((1, 2, 3)).tolist(), shift.inverse().map((6, 2, 1)).tolist()
    ([6.0, 2.0, 1.0], [1.0, 2.0, 3.0])
    """

    matrix: Rows
    units: str | None = None

    def __post_init__(self) -> None:
        matrix = aff.as_affine(self.matrix)
        if not aff.is_usable(matrix):
            raise GeometryError(f"the matrix of a transform is singular or not finite:\n{matrix}")
        object.__setattr__(self, "matrix", tuple(map(tuple, matrix.tolist())))

    def map(self, points: ArrayLike) -> Array:
        """World points of the moving image, shape (..., 3), of those of the reference."""
        return aff.apply(np.array(self.matrix), points)

    def inverse(self) -> Affine:
        """The map back."""
        return Affine(_rows(aff.inverse(np.array(self.matrix))), self.units)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-affine", self.matrix, self.units)


class DisplacementField:
    """Points are shifted by vectors that an image holds, interpolated linearly; points outside of it stay.

    The image is never read as a whole: mapping points reads the part of it around them. As in ITK's
    ``DisplacementFieldTransform``, points up to half a voxel outside the outermost voxel centres are inside.

    Parameters
    ----------
    image : xarray.DataArray or Volume
        Dims c, z, y, x with three channels: displacements along the axes x, y, z of the world, in the image's unit.
    vectors : str
        World frame of the displacements, ``"RAS"`` or ``"LPS"``, whatever that of the image's grid is.

    Raises
    ------
    GeometryError
        If the image has no three channels, several times, or no known position.

    Examples
    --------
    >>> import numpy as np, chunkimg as ci
    >>> shifts = np.zeros((3, 4, 5, 6))
    >>> shifts[0] = 2.5
    >>> field = ci.DisplacementField(ci.from_array(shifts, ("c", "z", "y", "x")))
    >>> field.map([(1, 1, 1), (99, 0, 0)]).tolist()
    [[3.5, 1.0, 1.0], [99.0, 0.0, 0.0]]
    """

    #: no affine map
    matrix: None = None

    def __init__(self, image: Any, vectors: str = "RAS") -> None:
        volume = _field(image)
        if frames.check_space(vectors) == "unknown":
            raise GeometryError("vectors names the world frame of the displacements, such as 'RAS' or 'LPS'")
        self._volume, self._vectors = volume, vectors

    @property
    def grid(self) -> Grid:
        """Where its vectors are."""
        assert self._volume.grid is not None
        return self._volume.grid

    @property
    def units(self) -> str:
        """Unit of the displacements, and of the points that are mapped: that of the image."""
        return self.grid.units

    def map(self, points: ArrayLike) -> Array:
        """World points of the moving image, shape (..., 3), of those of the reference."""
        given = np.asarray(points, np.float64)
        if given.shape[-1:] != (3,):
            raise GeometryError(f"points have shape (..., 3) in x, y, z order, found {given.shape}")
        out = given.reshape(-1, 3).copy()
        inside, at = positions_in(out, aff.inverse(self.grid.matrix), self.grid.shape)
        if len(inside):
            out[inside] += frames.rows_to_space(self._vectors_at(at), self._vectors, "RAS").T
        return out.reshape(given.shape)

    def _vectors_at(self, at: Array) -> Array:
        """Displacements between voxels, shape (3, n), at indices along z, y, x.

        Read in this thread: it is one of many that map points, and must not wait for others.
        """
        data, scaling = self._volume.data, self._volume.scaling
        low, high = np.floor(at.min(axis=1)).astype(int).tolist(), np.ceil(at.max(axis=1)).astype(int).tolist()
        region = (range(_SPACE), *(range(a, b + 1) for a, b in zip(low, high, strict=True)))
        if math.prod(map(len, region)) * data.dtype.itemsize <= _AT_ONCE:
            voxels = Voxels(data._read(region), scaling, at.shape[1])
            at = at - np.array(low)[:, None]
            first = at.astype(np.int64)
            part = at - first
            return blended(voxels, list(first), list(first + (part > 0)), list(part))
        scatter = Scatter(data, corners_of(at, "linear"), "linear", scaling)
        return scatter.gathered(scatter.source._read)

    def inverse(self) -> DisplacementField:
        """Refused: a field has no inverse in closed form.

        Raises
        ------
        GeometryError
            Always.
        """
        raise GeometryError(
            "a displacement field is not inverted; use the field of the other direction, which registration programs "
            "write beside it (1InverseWarp.nii.gz of ANTs)"
        )

    def __dask_tokenize__(self) -> Any:
        scaling = self._volume.scaling
        return (
            "chunkimg-displacement",
            self._volume.data.__dask_tokenize__(),
            self.grid.affine,
            self.grid.units,
            None if scaling is None else (scaling.slope, scaling.inter),
            self._vectors,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DisplacementField) and self.__dask_tokenize__() == other.__dask_tokenize__()

    def __hash__(self) -> int:
        return hash((self.grid, self._vectors))

    def __repr__(self) -> str:
        g = self.grid
        return f"DisplacementField({g.shape[0]}×{g.shape[1]}×{g.shape[2]}, {g.orientation}, {g.units})"


@dataclass(frozen=True)
class Composite:
    """Several transforms, the last of the list applied first, as in ITK's ``CompositeTransform`` and ANTs' ``-t -t``.

    ``Composite([a, b]).map(p)`` is ``a.map(b.map(p))``.

    Parameters
    ----------
    transforms : sequence of transforms
        At least one.

    Examples
    --------
    >>> import numpy as np, chunkimg as ci
    >>> double = ci.Affine(np.diag([2, 2, 2, 1]))
    >>> shift = ci.Affine([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> ci.Composite([double, shift]).map((1, 1, 1)).tolist()
    [12.0, 2.0, 2.0]
    """

    transforms: tuple[Any, ...]

    def __init__(self, transforms: Sequence[Any]) -> None:
        parts = tuple(transforms)
        foreign = [t for t in parts if not (hasattr(t, "map") and hasattr(t, "matrix"))]
        if foreign or not parts:
            raise TypeError(
                f"a composite is made of transforms, found {type(foreign[0]).__name__ if foreign else 'none at all'}; "
                "a 4×4 matrix is one as Affine(matrix)"
            )
        object.__setattr__(self, "transforms", parts)
        units = sorted({u for t in parts if (u := getattr(t, "units", None)) not in (None, "unknown")})
        if len(units) > 1:
            raise GeometryError(
                f"the transforms of a composite have lengths in {' and '.join(units)}; give all of them in one unit"
            )

    @property
    def units(self) -> str | None:
        """The unit of its parts; None where none of them names one."""
        return next((u for t in self.transforms if (u := getattr(t, "units", None)) not in (None, "unknown")), None)

    @cached_property
    def _steps(self) -> tuple[Any, ...]:
        """In the order in which they are applied; affine ones that follow each other are one."""
        out: list[Any] = []
        for step in _flat(self):
            if out and step.matrix is not None and out[-1].matrix is not None:
                out[-1] = Affine(_rows(np.asarray(step.matrix) @ np.asarray(out[-1].matrix)))
            else:
                out.append(step)
        return tuple(out)

    @property
    def matrix(self) -> Rows | None:
        """World to world, shape (4, 4), if all are affine."""
        (first, *more) = self._steps
        return None if more or first.matrix is None else _rows(np.asarray(first.matrix, np.float64))

    def map(self, points: ArrayLike) -> Array:
        """World points of the moving image, shape (..., 3), of those of the reference."""
        out = np.asarray(points, np.float64)
        for step in self._steps:
            out = step.map(out)
        return out

    def inverse(self) -> Composite:
        """The map back.

        Raises
        ------
        GeometryError
            If one of the transforms has none.
        """
        return Composite([t.inverse() for t in reversed(self.transforms)])

    def __getstate__(self) -> dict[str, Any]:
        return {"transforms": self.transforms}

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-composite", *(_token(t) for t in self.transforms))


def _flat(transform: Any) -> Iterator[Any]:
    """The transforms that one is made of, the one that is applied first first."""
    if isinstance(transform, Composite):
        for part in reversed(transform.transforms):
            yield from _flat(part)
    else:
        yield transform


def _token(transform: Any) -> Any:
    told = getattr(transform, "__dask_tokenize__", None)
    if told is not None:
        return told()
    from dask.base import tokenize

    return tokenize(transform)


def _rows(matrix: Array) -> Rows:
    return tuple(map(tuple, matrix.tolist()))


def _field(image: Any) -> Volume:
    """A volume with dims c, z, y, x that holds vectors at known places."""
    if isinstance(image, Volume):
        volume = image
    else:
        from ..image.build import to_volume
        from ..image.computed import ComputedArray, InlineArray

        volume = to_volume(image, require_grid=True)
        if isinstance(volume.data, ComputedArray):
            volume = replace(volume, data=InlineArray(volume.data.data))
        volume.data.prepare()
    sizes = volume.sizes
    if sizes.get("c") != _SPACE or sizes.get("t", 1) != 1:
        raise GeometryError(
            "a displacement field has dims c, z, y, x with three channels, its components along x, y, z; found "
            f"{dict(sizes)}" + ("; choose one time: image.isel(t=0)" if sizes.get("t", 1) > 1 else "")
        )
    if volume.data.dtype.kind not in "iuf":
        raise GeometryError(f"displacements are real numbers, found {volume.data.dtype}")
    if volume.grid is None or volume.grid.space == "unknown":
        raise GeometryError(
            "nothing says where this displacement field lies in the world; declare it with "
            "img.img.assign_geometry(space=...) if you know it"
        )
    volume = replace(volume, grid=volume.grid.to_space("RAS"))
    if "t" not in sizes:
        return volume
    data = ViewArray(volume.data, [range(n) for n in volume.data.shape], (1, 2, 3, 4))
    return replace(volume, data=data, dims=volume.dims[1:], times=None, poses=None)
