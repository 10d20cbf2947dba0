"""`GridIndex`: the physical-space check behind xarray's operators."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from xarray import Variable
from xarray.indexes import PandasIndex

from ..errors import GeometryError
from ..geometry.attrs import DIRECTION, SPACE, SPACING, UNITS

__all__ = ["TOLERANCE", "GridIndex"]

#: largest displacement, in voxels, of voxels that count as being in the same place
TOLERANCE = 1e-3

_WAY_OUT = (
    "Crop or resample one image to the other's grid first; where they are meant to be the same, use img.img.snap_to "
    "(or assign_geometry, if a header is wrong); img.img.require_same_grid(other) lists all differences"
)


@dataclass(frozen=True)
class _Place:
    """What the attributes of a coordinate say beyond its values."""

    direction: tuple[float, ...]
    spacing: float
    units: str
    space: str

    @classmethod
    def from_attrs(cls, attrs: Mapping[Any, Any]) -> _Place | None:
        try:
            direction = tuple(float(v) for v in attrs[DIRECTION])
            spacing = float(attrs[SPACING])
        except (KeyError, TypeError, ValueError):
            return None
        if len(direction) != 3:
            return None
        return cls(direction, spacing, str(attrs.get(UNITS, "unknown")), str(attrs.get(SPACE, "unknown")))


class GridIndex(PandasIndex):
    """Index of a spatial coordinate (x, y or z) that aligns images only where they occupy the same space.

    Equal within `TOLERANCE` voxel in world coordinates; anything else raises `GeometryError`, where xarray's own index
    would silently intersect (`a - b`), or fill with NaN (`ds["b"] = shifted`).
    Label look-up, slicing and everything else is that of `xarray.indexes.PandasIndex`.
    """

    __slots__ = ("place",)

    place: _Place | None

    def __init__(self, array: Any, dim: Hashable, coord_dtype: Any = None, *, fastpath: bool = False) -> None:
        super().__init__(array, dim, coord_dtype, fastpath=fastpath)
        self.place = None

    @classmethod
    def from_variables(cls, variables: Mapping[Any, Variable], *, options: Mapping[str, Any]) -> GridIndex:
        """Build from a coordinate variable and its attributes."""
        out: GridIndex = super().from_variables(variables, options=options)  # type: ignore[assignment]
        (variable,) = variables.values()
        out.place = _Place.from_attrs(variable.attrs)
        return out

    def _replace(self, index: Any, dim: Any = None, coord_dtype: Any = None) -> GridIndex:
        out: GridIndex = super()._replace(index, dim, coord_dtype)  # type: ignore[no-untyped-call]
        out.place = self.place
        return out

    @classmethod
    def concat(
        cls, indexes: Sequence[Any], dim: Hashable, positions: Iterable[Iterable[int]] | None = None
    ) -> GridIndex:
        """Join parts of one grid end to end."""
        out: GridIndex = super().concat(indexes, dim, positions)
        out.place = next((index.place for index in indexes if index.place is not None), None)
        for index in indexes:
            if index.place is not None and out.place is not None:
                apart = np.abs(np.subtract(index.place.direction, out.place.direction)).max()
                if apart > TOLERANCE or not _compatible(index.place.units, out.place.units):
                    raise GeometryError(
                        f"cannot concatenate along {dim}: the parts run in different directions or units, "
                        f"{out.place} and {index.place}"
                    )
        return out

    def isel(self, indexers: Mapping[Any, Any]) -> Any:
        """Positional selection; a single voxel that is left keeps its spacing and sense."""
        out = super().isel(indexers)
        if not isinstance(out, GridIndex) or self.place is None:
            return out
        indexer = indexers[self.dim]
        factor = indexer.step or 1 if isinstance(indexer, slice) else 1
        if len(out.index) == 1:
            out.place = replace(self.place, spacing=self._step() * factor)
        elif len(out.index) > 1:
            out.place = replace(self.place, spacing=abs(_step_of(out.index)))
        return out

    def create_variables(self, variables: Mapping[Any, Variable] | None = None) -> Any:
        """The coordinate variable, with its spacing brought up to date."""
        out = super().create_variables(variables)
        if self.place is not None:
            (variable,) = out.values()
            variable.attrs = {**variable.attrs, SPACING: self.place.spacing}
        return out

    def attributes(self) -> dict[str, Any]:
        """Attributes of the coordinate as the index knows them, also where an operation dropped them."""
        if self.place is None:
            return {}
        return {
            UNITS: self.place.units,
            DIRECTION: list(self.place.direction),
            SPACING: self.place.spacing,
            SPACE: self.place.space,
        }

    def _step(self) -> float:
        if len(self.index) > 1:
            return _step_of(self.index)
        return 1.0 if self.place is None else self.place.spacing

    def equals(self, other: Any, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Whether both indexes put every voxel at the same place, within `TOLERANCE` voxel.

        Alignment is what passes `exclude`: there a difference raises at once, with what differs, also where
        ``join="exact"`` would raise without saying (`where(cond, other)`). Other callers only want to know.
        """
        if not isinstance(other, GridIndex) or self.place is None or other.place is None:
            return bool(super().equals(other))
        same = self.dim == other.dim and not self._differences(other)
        if not same and exclude is not None:
            raise self._refuse(other)
        return same

    def _differences(self, other: GridIndex) -> list[str]:
        a, b = self.place, other.place
        if a is None or b is None:
            return ["one of the images has lost the direction of this axis"]
        out = []
        if len(self.index) != len(other.index):
            out.append(f"size {len(self.index)} against {len(other.index)} voxels")
        if not _compatible(a.units, b.units):
            out.append(f"units {a.units} against {b.units}")
        if not _compatible(a.space, b.space):
            out.append(f"space {a.space} against {b.space}")
        if not len(self.index) or not len(other.index):
            return out
        step, other_step = self._step(), other._step()
        common = min(len(self.index), len(other.index))
        c, d = (np.asarray(i.index, dtype=np.float64)[:common] for i in (self, other))
        gap = float(np.linalg.norm(np.outer(a.direction, c) - np.outer(b.direction, d), axis=0).max())
        if common == 1:
            # one voxel has no second end: its size must agree instead
            gap = max(gap, abs(step - other_step) / 2)
        # far from the origin float64 coordinates carry rounding of their own
        slack = 4 * np.finfo(np.float64).eps * float(max(np.abs(c).max(), np.abs(d).max()))
        if not gap <= TOLERANCE * abs(step) + slack:
            unit = "" if a.units == "unknown" else f" {a.units}"
            out.append(f"voxels are displaced by up to {gap / abs(step):.4g} voxels ({gap:.4g}{unit})")
            if abs(step - other_step) > 1e-6 * abs(step):
                out.append(f"spacing {step:.7g} against {other_step:.7g}")
            if np.abs(np.subtract(a.direction, b.direction)).max() > 1e-6:
                out.append(f"direction {_show(a.direction)} against {_show(b.direction)}")
        return out

    def _refuse(self, other: Any) -> GeometryError:
        if isinstance(other, GridIndex):
            what = "; ".join(self._differences(other)) or "the coordinates differ"
        else:
            what = "one of them has plain coordinates without direction"
        return GeometryError(f"the images do not occupy the same space: along {self.dim}: {what}. {_WAY_OUT}")

    def join(self, other: Any, how: str = "inner") -> GridIndex:
        """Refuse: xarray asks for a join only where two images differ."""
        raise self._refuse(other)

    def reindex_like(self, other: Any, method: Any = None, tolerance: Any = None) -> dict[Hashable, Any]:
        """Refuse, unless both are equal: reindexing would fill with NaN or move voxels to their neighbour."""
        if self.equals(other):
            return {self.dim: np.arange(len(self.index))}
        raise self._refuse(other)

    def __repr__(self) -> str:
        if self.place is None or not len(self.index):
            return f"GridIndex({self.dim})"
        return (
            f"GridIndex({self.dim}: {len(self.index)} voxels from {self.index[0]:.6g} in steps of {self._step():.6g} "
            f"{self.place.units} along {_show(self.place.direction)} {self.place.space})"
        )


def _step_of(index: pd.Index) -> float:
    return float(index[-1] - index[0]) / (len(index) - 1)


def _compatible(a: str, b: str) -> bool:
    return a == b or "unknown" in (a, b)


def _show(direction: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.7g}" for v in direction) + ")"
