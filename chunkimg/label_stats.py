"""Statistics of labels of any number, in one pass over images of any size and bounded memory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunks import BUDGET
from .errors import GeometryError
from .geometry import Grid
from .geometry import affine as aff
from .geometry.attrs import strict_json
from .geometry.frames import UNITS, mm_per
from .io.format import Progress
from .io.reduce import reduce_together
from .io.spool import spooled
from .labelling import names_of
from .lazy import Block, LazyArray, Region
from .ops.labels import LabelSums, Repeated, added, label_sums, merged
from .statistics import labels_of, require_real, volume_of
from .volume import Volume

__all__ = ["LabelStats", "label_stats"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: sums of each frame, by its index along t and c
_Found = dict[tuple[int, ...], list[LabelSums]]

_AXES = ("x", "y", "z")
#: columns of three numbers, and what they are called one by one
_TRIPLES = {
    "centroid": ("x", "y", "z"),
    "centroid_index": ("index_x", "index_y", "index_z"),
    "box_start": ("start_x", "start_y", "start_z"),
    "box_stop": ("stop_x", "stop_y", "stop_z"),
    "low": ("low_x", "low_y", "low_z"),
    "high": ("high_x", "high_y", "high_z"),
}


@dataclass(frozen=True, eq=False)
class LabelStats:
    """What :meth:`img.label_stats` returns: columns, read-only, of one row per label (and frame, and channel).

    Attributes
    ----------
    label : ndarray, shape (n,)
        Labels that occur, ascending, in each frame and channel.
    name : ndarray of str, shape (n,), or None
        Where the image knows names of labels (`as_label`); empty for those without.
    t, c : ndarray, shape (n,), or None
        Time and channel of the row, where the image or the intensities have such.
    voxels : ndarray of int64, shape (n,)
    volume_mm3 : ndarray, shape (n,), or None
        None where the unit of length is not known.
    centroid : ndarray, shape (n, 3), or None
        In world coordinates, in `units`; None where the voxels have no position.
    centroid_index : ndarray, shape (n, 3)
        The same in voxels along x, y, z.
    box_start, box_stop : ndarray of int64, shape (n, 3)
        Bounding box: along x, y, z the first voxel, and the one behind the last, as in a slice.
    low, high : ndarray, shape (n, 3), or None
        World-axis box around the outer edges of that bounding box, in `units`.
    mean, std, min, max, sum : ndarray, shape (n,), or None
        Of the intensities, NaN left out; `std` is that of the values themselves (``ddof=0``), as of NumPy. `sum` is an
        exact integer for integers where that fits 64 bits.
    nans : ndarray of int64, shape (n,), or None
        Intensities that are no numbers.
    units, space : str
        Of world coordinates.
    notes : tuple of str
        Why a column is missing.
    """

    label: Block
    voxels: Ints
    centroid_index: Floats
    box_start: Ints
    box_stop: Ints
    name: NDArray[Any] | None = None
    t: Floats | None = None
    c: Ints | None = None
    volume_mm3: Floats | None = None
    centroid: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    mean: Floats | None = None
    std: Floats | None = None
    min: Block | None = None
    max: Block | None = None
    sum: Block | None = None
    nans: Ints | None = None
    units: str = "unknown"
    space: str = "unknown"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for column in self.columns().values():
            column.setflags(write=False)

    def __len__(self) -> int:
        return int(self.label.size)

    def columns(self) -> dict[str, Block]:
        """The columns that there are, by name: of numbers, or of three numbers (x, y, z)."""
        first = ("label", "name", "t", "c", "voxels", "volume_mm3", "centroid")
        names = [*first, *(f.name for f in fields(self) if f.name not in first)]
        return {n: v for n in names if isinstance(v := getattr(self, n), np.ndarray)}

    def as_dict(self) -> dict[str, Any]:
        """Everything as strict JSON: one mapping per row in ``labels``, and what holds for all."""
        columns: dict[str, Any] = {name: column.tolist() for name, column in self.columns().items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        out = {"units": self.units, "space": self.space, "notes": list(self.notes), "labels": rows}
        result: dict[str, Any] = strict_json(out)
        return result

    def to_pandas(self) -> Any:
        """A pandas DataFrame: one column per number, the centroid as x, y, z."""
        import pandas as pd

        flat: dict[str, Block] = {}
        for name, column in self.columns().items():
            flat |= dict(zip(_TRIPLES[name], column.T, strict=True)) if name in _TRIPLES else {name: column}
        return pd.DataFrame(flat)


def label_stats(
    image: Any,
    intensity: Any = None,
    *,
    background: int | None = 0,
    tol: float = 1e-3,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> LabelStats:
    """Voxels, volume, centroid and bounding box of each label, and of intensities mean, std, min, max and sum.

    One pass over the images, in bounded memory, which beyond the budget grows with the number of labels only; numbers
    of voxels, centroids and boxes are exact whatever the blocks. Images with dims t or c have one row per label in each
    frame and channel; where only one of the two images has such a dim, the other counts for all of it.

    Parameters
    ----------
    image : xarray.DataArray or Volume
        Labels: integers, or floating point that holds whole numbers.
    intensity : xarray.DataArray or Volume, optional
        An image on the same grid.
    background : int or None
        A label that is left out; None for none.
    tol : float
        How many voxels a corner of `intensity` may be displaced and still count as the same place.
    budget : int
        Memory in bytes for what is held of both images at once.
    progress : Progress, optional
        Told what is read.

    Raises
    ------
    TypeError
        If labels are no whole numbers, or intensities complex.
    GeometryError
        If the images do not occupy the same space, or their frames or channels differ.
    """
    given = volume_of(image)
    labels = replace(given, data=labels_of(given), scaling=None)
    other = None if intensity is None else volume_of(intensity)
    frames = _Frames.of(labels, other)
    if other is not None:
        require_real(other.values.dtype)
        _require_same_place(labels, other, frames, tol)
    exact = other is not None and _sums_fit(other.values.dtype, labels)
    with ExitStack() as stack:
        sources = [frames.shown(volume, stack, budget) for volume in (labels, other) if volume is not None]
        step = _Step(len(frames.dims), background, exact)
        found: _Found = {}
        if sources[0].size:
            found = reduce_together(sources, step, _combined, budget=budget, progress=progress)
    return _table(labels, frames, {key: merged(parts) for key, parts in sorted(found.items())})


@dataclass(frozen=True)
class _Step:
    """What is done with a block: the sums of each frame in it."""

    outer: int
    background: int | None
    exact: bool

    def __call__(self, region: Region, block: Block, values: Block | None = None) -> _Found:
        start = [r.start for r in region]
        found: _Found = {}
        for at in np.ndindex(block.shape[: self.outer]):
            key = tuple(first + k for first, k in zip(start, at, strict=False))
            part = None if values is None else values[at]
            found[key] = [label_sums(block[at], start[self.outer :], self.background, part, self.exact)]
        return found


def _combined(total: _Found, more: _Found) -> _Found:
    for key, parts in more.items():
        total[key] = added(total.get(key, []), parts)
    return total


def _sums_fit(dtype: np.dtype[Any], labels: Volume) -> bool:
    """Whether sums of intensities in any part of a frame fit 64 bits, and those of a block are exact in float64."""
    if dtype.kind == "b":
        return True
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        return False
    most = max(int(np.iinfo(dtype).max), -int(np.iinfo(dtype).min))
    return _frame_size(labels) * most < 1 << 63


def _frame_size(labels: Volume) -> int:
    return int(np.prod([labels.sizes[d] for d in _AXES], dtype=object))


# ---------------------------------------------------------------------------------------------- frames and channels


@dataclass(frozen=True)
class _Frames:
    """Axes t and c of both images together."""

    dims: tuple[str, ...]
    sizes: tuple[int, ...]
    times: tuple[float, ...]

    @classmethod
    def of(cls, labels: Volume, other: Volume | None) -> _Frames:
        """Those of both.

        Raises
        ------
        GeometryError
            If they differ in number or time.
        """
        volumes = [v for v in (labels, other) if v is not None]
        dims = tuple(d for d in ("t", "c") if any(d in v.dims for v in volumes))
        sizes = []
        for d in dims:
            found = [v.sizes[d] for v in volumes if d in v.dims]
            if len(set(found)) > 1:
                what = "frames" if d == "t" else "channels"
                raise GeometryError(
                    f"the labels have {found[0]} {what}, the intensities {found[1]}; choose those that belong "
                    f"together with image.isel({d}=…): one without dim {d} counts for all"
                )
            sizes.append(found[0])
        times = [v.times.values for v in volumes if v.times is not None]
        if len(times) == 2 and not np.allclose(times[0], times[1], rtol=1e-6, atol=1e-9):
            raise GeometryError(
                f"the frames of labels and intensities are at other times: from {times[0][0]:g} to {times[0][-1]:g} "
                f"against {times[1][0]:g} to {times[1][-1]:g}"
            )
        if _frame_size(labels) * max(labels.data.shape) >= 1 << 63:
            raise ValueError(f"sums of indices of so many voxels do not fit 64 bits: {dict(labels.sizes)}")
        return cls(dims, tuple(sizes), times[0] if times else ())

    def shown(self, volume: Volume, stack: ExitStack, budget: int) -> LazyArray:
        """Values of an image with these axes and z, y, x."""
        array = volume.values
        missing = [(k, n) for k, (d, n) in enumerate(zip(self.dims, self.sizes, strict=True)) if d not in volume.dims]
        if array.front_to_back and any(n > 1 for _, n in missing):
            # it is read once per frame
            array = stack.enter_context(spooled(array, budget))
        for axis, count in missing:
            array = Repeated(array, axis, count)
        return array

    def grids(self, volume: Volume) -> list[Grid | None]:
        """The grid of an image at each time, or the one for all."""
        grid = volume.grid
        if volume.poses is None or volume.times is None or grid is None:
            return [grid]
        rows = [volume.poses.at(t, grid).tolist() for t in volume.times.values]
        return [replace(grid, affine=tuple(map(tuple, r))) for r in rows]


def _require_same_place(labels: Volume, other: Volume, frames: _Frames, tol: float) -> None:
    a, b = frames.grids(labels), frames.grids(other)
    for k in range(max(len(a), len(b))):
        first, second = a[min(k, len(a) - 1)], b[min(k, len(b) - 1)]
        if first is not None and second is not None:
            first.require_same_as(second, tol)
        elif first is not None or second is not None:
            lost = "labels" if first is None else "intensities"
            raise GeometryError(f"the voxels of the {lost} have no position, those of the other image do")
    shapes = [tuple(v.sizes[d] for d in _AXES) for v in (labels, other)]
    if shapes[0] != shapes[1]:
        raise GeometryError(f"the labels have (x, y, z) sizes {shapes[0]}, the intensities {shapes[1]}")


# ---------------------------------------------------------------------------------------------- the table


def _table(labels: Volume, frames: _Frames, found: dict[tuple[int, ...], LabelSums]) -> LabelStats:
    grids = frames.grids(labels)
    parts = []
    for key, sums in found.items():
        at = dict(zip(frames.dims, key, strict=True))
        grid = grids[min(at.get("t", 0), len(grids) - 1)]
        parts.append({**_named(frames, at, sums.labels.size), **_shape(sums), **_world(sums, grid), **_moments(sums)})
    if not parts:
        nothing = label_sums(np.zeros((1, 1, 1), labels.values.dtype), (0, 0, 0), 0)
        parts = [{**_named(frames, dict.fromkeys(frames.dims, 0), 0), **_shape(nothing), **_world(nothing, grids[0])}]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = names_of(labels.properties)
    if names:
        columns["name"] = np.array([names.get(v, "") for v in columns["label"].tolist()], np.str_)
    grid, notes = grids[0], []
    if grid is None:
        return LabelStats(**columns, notes=("no positions and volumes: the voxels have no position",))
    if "volume_mm3" not in columns:
        notes.append(
            f"no volumes: lengths are in unit {grid.units!r}; declare it with img.img.assign_geometry(units=...)"
        )
    return LabelStats(**columns, units=grid.units, space=grid.space, notes=tuple(notes))


def _named(frames: _Frames, at: dict[str, int], count: int) -> dict[str, Block]:
    out: dict[str, Block] = {}
    if "t" in at:
        out["t"] = np.asarray(frames.times[at["t"] : at["t"] + 1], np.float64).repeat(count)
    if "c" in at:
        out["c"] = np.full(count, at["c"], np.int64)
    return out


def _shape(sums: LabelSums) -> dict[str, Block]:
    return {
        "label": sums.labels,
        "voxels": sums.voxels,
        "centroid_index": (sums.sums / sums.voxels)[::-1].T,
        "box_start": sums.low[::-1].T,
        "box_stop": sums.high[::-1].T + 1,
    }


def _world(sums: LabelSums, grid: Grid | None) -> dict[str, Block]:
    if grid is None:
        return {}
    start, stop = sums.low[::-1].T, sums.high[::-1].T
    middle = grid.to_world((start + stop) / 2)
    half = (stop - start + 1) / 2 @ np.abs(grid.matrix[:3, :3]).T
    out: dict[str, Block] = {
        "centroid": aff.apply(grid.matrix, (sums.sums / sums.voxels)[::-1].T),
        "low": middle - half,
        "high": middle + half,
    }
    if grid.units in UNITS:
        voxel = abs(float(np.linalg.det(grid.matrix[:3, :3])))
        out["volume_mm3"] = sums.voxels * (voxel * mm_per(grid.units) ** 3)
    return out


def _moments(sums: LabelSums) -> dict[str, Block]:
    found = sums.values
    if found is None:
        return {}
    none = found.count == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        out: dict[str, Block] = {"mean": found.sum / found.count, "std": np.sqrt(found.squares / found.count)}
    low, high = (np.where(none, np.nan, v) if none.any() else v for v in (found.low, found.high))
    return {**out, "min": low, "max": high, "sum": found.sum, "nans": sums.voxels - found.count}
