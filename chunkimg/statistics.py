"""Statistics of images of any size, in one pass over them (or few) and bounded memory.

Voxels of at most 16 bits are counted by their bit patterns, and all that can be asked follows from the counts exactly,
for scaled images too. Wider ones keep moments per block; their percentiles are found exactly as well, by one or more
further passes.

The passes run in threads of this process, also where a Dask client is active.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .chunks import BUDGET
from .io.format import Progress
from .io.reduce import reduce_blocks
from .lazy import Block, LazyArray
from .ops.count_kernel import worth
from .ops.counts import Counts, count_digits, count_values, digits, distinct_values, flat, merged
from .ops.pixels import CheckedCast, VoxelwiseArray
from .ops.ranks import Bin, RankSearch
from .ops.ranks import merged as merged_bins
from .ops.stats import (
    Histogram,
    LabelCounts,
    Moments,
    Stats,
    histogram_of_counts,
    interpolated,
    percentiles_of_counts,
    quantile_ranks,
)
from .volume import Volume

__all__ = [
    "PERCENTILES",
    "Histogram",
    "LabelCounts",
    "Stats",
    "count_labels",
    "histogram",
    "labels_of",
    "require_real",
    "stats",
    "volume_of",
]

#: what is reported unless others are asked for
PERCENTILES = (1.0, 25.0, 50.0, 75.0, 99.0)

Bounds = tuple[float, float]
T = TypeVar("T")


def stats(
    image: Any,
    percentiles: Sequence[float] | None = None,
    *,
    bins: int | Sequence[float] | None = None,
    range: Bounds | None = None,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> Stats:
    """Number, range, sum, mean, standard deviation and percentiles of all values of an image; NaN is left out.

    Values of at most 16 bits are read once. Wider ones are read again for percentiles (32 bits: once more, 64 bits:
    most often once or twice) and for a histogram without a range.

    Parameters
    ----------
    image : xarray.DataArray or Volume
        An image; any lazy expression of images.
    percentiles : sequence of float, optional
        From 0 to 100; exact, interpolated linearly as of `numpy.percentile`. By default :data:`PERCENTILES`.
    bins : int or sequence of float, optional
        A histogram as well: number of bins, or their edges.
    range : (float, float), optional
        Of the histogram; the range of the values by default.
    budget : int
        Memory in bytes for what is held of the image at once.
    progress : Progress, optional
        Told what is read, in each pass.

    Raises
    ------
    TypeError
        If the values are complex.
    ValueError
        If a percentile is not between 0 and 100, or the histogram has no finite range.
    """
    try:
        asked = tuple(float(q) for q in (PERCENTILES if percentiles is None else percentiles))
    except (TypeError, ValueError):
        raise ValueError(f"percentiles are numbers from 0 to 100, found {percentiles!r}") from None
    outside = [q for q in asked if not 0 <= q <= 100]
    if outside:
        raise ValueError(f"percentiles are numbers from 0 to 100, found {outside[0]:g}")
    volume = volume_of(image)
    reads = _Reads(budget, progress)
    if volume.data.dtype.itemsize <= 2:
        return _stats_by_counts(volume, asked, bins, range, reads)
    require_real(volume.values.dtype)
    return _stats_by_passes(volume.values, asked, bins, range, reads)


def histogram(
    image: Any,
    bins: int | Sequence[float] = 256,
    range: Bounds | None = None,
    *,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> Histogram:
    """How many values lie in each bin, and the edges of the bins: that of `numpy.histogram` of all values but NaN.

    Values of more than 16 bits are read twice where no range is given.

    Parameters
    ----------
    image, range, budget, progress
        As for `stats`.
    bins : int or sequence of float
        Number of bins, or their edges.
    """
    found = stats(image, (), bins=bins, range=range, budget=budget, progress=progress).histogram
    assert found is not None
    return found


def count_labels(image: Any, *, budget: int = BUDGET, progress: Progress | None = None) -> LabelCounts:
    """Labels that occur, the background 0 included, and the number of voxels of each; exact, in one pass.

    Memory grows with the number of labels only.

    Parameters
    ----------
    image, budget, progress
        As for `stats`.

    Raises
    ------
    TypeError
        If the values are no whole numbers.
    """
    source = labels_of(volume_of(image))
    reads = _Reads(budget, progress)
    if source.dtype.itemsize <= 2:
        values, counts = _counts_of_patterns(source, reads)
    else:
        start = np.empty(0, source.dtype), np.empty(0, np.int64)
        values, counts = reads(source, lambda block: count_values(flat(block)), merged, start)
    return LabelCounts(values, counts)


class _Reads:
    """How passes are made."""

    def __init__(self, budget: int, progress: Progress | None) -> None:
        self.budget, self.progress = budget, progress

    def __call__(self, source: LazyArray, step: Callable[[Block], T], combine: Callable[[T, T], T], nothing: T) -> T:
        """What is made of all blocks of `source`; `nothing` of an image without voxels."""
        if not source.size:
            return nothing
        return reduce_blocks(source, step, combine, budget=self.budget, progress=self.progress)


def volume_of(image: Any) -> Volume:
    """The volume of an image."""
    if isinstance(image, Volume):
        return image
    from .image.build import to_volume

    return to_volume(image)


def labels_of(volume: Volume) -> LazyArray:
    """Image values as integers; floating point that holds whole numbers is converted, others raise when they are read.

    Raises
    ------
    TypeError
        If they are complex.
    """
    values = volume.values
    if values.dtype.kind in "biu":
        return values
    if values.dtype.kind != "f":
        raise TypeError(f"labels are integers, this image holds {values.dtype}")
    whole = _WholeNumbers(np.dtype(np.int64 if values.dtype.itemsize > 4 else np.int32))
    return VoxelwiseArray(values, whole, whole.dtype, repr(whole))


@dataclass(frozen=True)
class _WholeNumbers:
    """Floating point as integers."""

    dtype: np.dtype[Any]

    def __call__(self, block: Block) -> Block:
        try:
            return CheckedCast(self.dtype)(block)
        except ValueError as error:
            raise TypeError(f"labels are integers; {error}") from error


def require_real(dtype: np.dtype[Any]) -> None:
    """Raise `TypeError` unless values are real numbers."""
    if dtype.kind not in "biuf":
        way = "; take a part of them: abs(image), image.real or image.imag" if dtype.kind == "c" else ""
        raise TypeError(f"statistics are of real numbers, this image holds {dtype}{way}")


# ---------------------------------------------------------------------------------------------- at most 16 bits


def _stats_by_counts(
    volume: Volume, percentiles: Sequence[float], bins: Any, extent: Bounds | None, reads: _Reads
) -> Stats:
    values, times = _counts_of_patterns(volume.data, reads)
    if volume.scaling is not None:
        values = volume.scaling.apply(values)
        order = np.argsort(values, kind="stable")
        values, times = values[order], times[order]
    nan = values != values
    nans = int(times[nan].sum())
    counts = values[~nan], times[~nan]
    moments = Moments.of_counts(counts)
    if bins is not None:
        _require_finite(moments, bins, extent)
    histogram = None if bins is None else histogram_of_counts(counts, bins, extent)
    return moments.stats(percentiles_of_counts(counts, percentiles), histogram, nans)


def _counts_of_patterns(source: LazyArray, reads: _Reads) -> Counts:
    require_real(source.dtype)
    fast = worth(source.nbytes)
    nothing = np.zeros(1 << 8 * source.dtype.itemsize, np.int64)
    table = reads(source, lambda block: count_digits(digits(flat(block))[0], fast), _added, nothing)
    values, times = distinct_values(source.dtype, table)
    return (values.view(np.uint8) if source.dtype.kind == "b" else values), times


def _added(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    a += b
    return a


# ---------------------------------------------------------------------------------------------- more bits


@dataclass(frozen=True)
class _Found:
    """What a pass brings of some blocks; None for what it was not made for."""

    moments: Moments | None = None
    digits: NDArray[np.int64] | None = None
    bins: dict[int, Bin] | None = None
    histogram: Histogram | None = None

    def merged(self, other: _Found) -> _Found:
        """That of both."""
        return _Found(
            _both(self.moments, other.moments, Moments.merged),
            _both(self.digits, other.digits, _added),
            _both(self.bins, other.bins, merged_bins),
            _both(self.histogram, other.histogram, lambda a, b: Histogram(a.counts + b.counts, a.edges)),
        )


def _both(a: T | None, b: T | None, combine: Callable[[T, T], T]) -> T | None:
    return None if a is None or b is None else combine(a, b)


@dataclass(frozen=True)
class _Step:
    """What a pass does with a block."""

    dtype: np.dtype[Any]
    moments: bool = False
    digits: bool = False
    fast: bool = False
    search: RankSearch | None = None
    bins: Any = None
    extent: Bounds | None = None

    def __call__(self, block: Block) -> _Found:
        block = block.astype(self.dtype, copy=False)
        moments = Moments.of_block(block) if self.moments else None
        return _Found(
            moments,
            self._first_digits(block, moments) if self.digits else None,
            None if self.search is None else self.search.count(block),
            None if self.bins is None else self._histogram(block),
        )

    def _first_digits(self, block: Block, moments: Moments | None) -> NDArray[np.int64]:
        values = flat(block)
        if moments is None or moments.nans:
            values = values[values == values]
        return count_digits(digits(values)[0], self.fast)

    def _histogram(self, block: Block) -> Histogram:
        with np.errstate(invalid="ignore"):
            counts, edges = np.histogram(flat(block), self.bins, self.extent)
        return Histogram(counts.astype(np.int64), edges)


def _stats_by_passes(
    source: LazyArray, percentiles: Sequence[float], bins: Any, extent: Bounds | None, reads: _Reads
) -> Stats:
    dtype = np.dtype(np.float64) if source.dtype.itemsize > 8 else source.dtype

    def scan(step: _Step) -> _Found:
        return reads(source, step, _Found.merged, step(np.empty(0, dtype)))

    # without a range, bins depend on the first pass
    later = extent is None and np.ndim(bins) == 0
    step = _Step(dtype, moments=True, digits=bool(percentiles), fast=worth(source.nbytes))
    found = scan(step if later else replace(step, bins=bins, extent=extent))
    moments, histogram = found.moments or Moments(), found.histogram
    if bins is not None and later:
        _require_finite(moments, bins, extent)
        extent = (dtype.type(moments.min), dtype.type(moments.max)) if moments.count else (0.0, 1.0)
    ranks = {q: quantile_ranks(moments.count, q) for q in percentiles if moments.count}
    search = RankSearch(dtype, 0, {})
    if found.digits is not None:
        search = RankSearch.start(dtype, found.digits, [k for low, high, _ in ranks.values() for k in (low, high)])
    while search.places or (bins is not None and histogram is None):
        deeper = search if search.places else None
        found = scan(_Step(dtype, search=deeper, bins=bins if histogram is None else None, extent=extent))
        histogram = found.histogram or histogram
        search = search if found.bins is None else search.deeper(found.bins)
    values = {q: interpolated(search.found[a], search.found[b], part) for q, (a, b, part) in ranks.items()}
    return moments.stats({q: values.get(q, math.nan) for q in percentiles}, histogram)


def _require_finite(moments: Moments, bins: Any, extent: Bounds | None) -> None:
    known = extent is not None or np.ndim(bins) == 1
    if not known and moments.count and not (math.isfinite(moments.min) and math.isfinite(moments.max)):
        raise ValueError(
            f"the values run from {moments.min} to {moments.max}; give the histogram a range=(low, high) or edges"
        )
