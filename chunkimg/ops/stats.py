"""Statistics of values: what is kept of each block, how it is put together, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .counts import Counts, flat, pieces

__all__ = [
    "Histogram",
    "LabelCounts",
    "Moments",
    "Stats",
    "histogram_of_counts",
    "interpolated",
    "percentiles_of_counts",
    "quantile_ranks",
]


class Histogram(NamedTuple):
    """Counts per bin, and the edges of the bins (one more); as of `numpy.histogram`."""

    counts: NDArray[np.int64]
    edges: NDArray[Any]


class LabelCounts(NamedTuple):
    """Labels that occur, ascending, and the number of voxels of each."""

    labels: NDArray[Any]
    counts: NDArray[np.int64]

    def as_dict(self) -> dict[int, int]:
        """Number of voxels by label."""
        return dict(zip(self.labels.tolist(), self.counts.tolist(), strict=True))


@dataclass(frozen=True)
class Stats:
    """What :meth:`img.stats` returns.

    Attributes
    ----------
    count : int
        Values that are numbers.
    nans : int
        Values that are not; nothing else here includes them.
    min, max : int or float
        NaN where there is no number.
    sum : int or float
        Exact for integers, however large.
    mean, std : float
        `std` is that of the values themselves (``ddof=0``), as of NumPy.
    percentiles : dict
        Value by percentile, interpolated linearly between neighbours as of `numpy.percentile`.
    histogram : Histogram or None
        Where bins were asked for.
    """

    count: int
    nans: int
    min: int | float
    max: int | float
    sum: int | float
    mean: float
    std: float
    percentiles: dict[float, float] = field(default_factory=dict)
    histogram: Histogram | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings and lists."""
        out = asdict(self)
        out["percentiles"] = {f"{q:g}": value for q, value in self.percentiles.items()}
        if self.histogram is not None:
            out["histogram"] = {"counts": self.histogram.counts.tolist(), "edges": self.histogram.edges.tolist()}
        return out


@dataclass(frozen=True)
class Moments:
    """Number, range, sum and squared deviations of some values."""

    count: int = 0
    nans: int = 0
    min: int | float = math.nan
    max: int | float = math.nan
    sum: int | float = 0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """NaN of no values."""
        return self.sum / self.count if self.count else math.nan

    @classmethod
    def of_block(cls, block: Block) -> Moments:
        """Those of a block, piece by piece."""
        out = cls()
        for piece in pieces(flat(block)):
            out = out.merged(cls._of_piece(piece))
        return out

    @classmethod
    def _of_piece(cls, values: Block) -> Moments:
        nans = 0
        with np.errstate(invalid="ignore"):
            low = values.min()
        if low != low:
            known = values[~np.isnan(values)]
            if not known.size:
                return cls(nans=values.size)
            nans, values, low = values.size - known.size, known, known.min()
        wide = values.astype(np.float64)
        # squares of very large values are infinite, deviations from infinity are not a number
        with np.errstate(invalid="ignore", over="ignore"):
            total = float(wide.sum()) if values.dtype.kind == "f" else _exact_sum(values)
            wide -= total / values.size
            # their sum would be zero but for the rounding of the mean
            squares = float(np.dot(wide, wide)) - float(wide.sum()) ** 2 / values.size
        return cls(values.size, nans, low.item(), values.max().item(), total, squares)

    @classmethod
    def of_counts(cls, counts: Counts) -> Moments:
        """Those of distinct values, ascending, without NaN, that occur so many times."""
        values, times = counts
        if not values.size:
            return cls()
        number = int(times.sum())
        if values.dtype.kind == "f":
            wide, weights = values.astype(np.float64), times.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                total: int | float = float((wide * weights).sum())
                wide -= total / number
                squares = float((np.square(wide) * weights).sum())
        else:
            pairs = list(zip(values.tolist(), times.tolist(), strict=True))
            total = sum(v * n for v, n in pairs)
            squares = (number * sum(v * v * n for v, n in pairs) - total * total) / number
        return cls(number, 0, _number(values[0]), _number(values[-1]), total, squares)

    def merged(self, other: Moments) -> Moments:
        """Those of all values of both (Chan, Golub and LeVeque 1979)."""
        if not self.count or not other.count:
            kept = self if self.count else other
            nans = self.nans + other.nans
            return Moments(kept.count, nans, kept.min, kept.max, kept.sum, kept.squares)
        count = self.count + other.count
        apart = other.mean - self.mean
        if isinstance(self.sum, int) and isinstance(other.sum, int):
            # exact, where the means of large numbers are not
            apart = (other.sum * self.count - self.sum * other.count) / (self.count * other.count)
        return Moments(
            count,
            self.nans + other.nans,
            min(self.min, other.min),
            max(self.max, other.max),
            self.sum + other.sum,
            self.squares + other.squares + apart * apart * (self.count * other.count / count),
        )

    def stats(self, percentiles: Mapping[float, float], histogram: Histogram | None, nans: int = 0) -> Stats:
        """The result, with what else was asked for."""
        std = math.sqrt(self.squares / self.count) if self.count else math.nan
        return Stats(
            self.count,
            self.nans + nans,
            self.min,
            self.max,
            self.sum,
            self.mean,
            std,
            dict(percentiles),
            histogram,
        )


def _number(value: Any) -> int | float:
    """A number of Python; truth counts as 1."""
    out = value.item()
    return int(out) if isinstance(out, bool) else out


def _exact_sum(values: Block) -> int:
    """The sum of at most 2³¹ integers."""
    if values.dtype.itemsize < 8:
        return int(values.sum(dtype=np.int64))
    # halves, so that neither sum can wrap
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum(dtype=np.uint64))


# ---------------------------------------------------------------------------------------------- quantiles


def quantile_ranks(count: int, percentile: float) -> tuple[int, int, float]:
    """Ranks (from 0) of the two of so many values between which a percentile lies, and how far between them it is."""
    position = (count - 1) * (percentile / 100)
    below = math.floor(position)
    return below, min(below + 1, count - 1), position - below


def interpolated(low: int | float, high: int | float, between: float) -> float:
    """A value between two others, as NumPy computes it."""
    if low == high or between == 0:
        # also of infinities
        return float(low)
    apart = high - low
    if math.isinf(apart):
        return float(low * (1 - between) + high * between)
    return float(high - apart * (1 - between)) if between >= 0.5 else float(low + apart * between)


def percentiles_of_counts(counts: Counts, percentiles: Sequence[float]) -> dict[float, float]:
    """Percentiles of distinct values, ascending, that occur so many times."""
    values, times = counts
    upto = np.cumsum(times)
    out = {}
    for q in percentiles:
        if not values.size:
            out[q] = math.nan
            continue
        low, high, between = quantile_ranks(int(upto[-1]), q)
        a, b = (_number(values[np.searchsorted(upto, rank, side="right")]) for rank in (low, high))
        out[q] = interpolated(a, b, between)
    return out


def histogram_of_counts(counts: Counts, bins: int | Sequence[float], extent: tuple[float, float] | None) -> Histogram:
    """The histogram of distinct values that occur so many times: that of `numpy.histogram` of all of them."""
    values, times = counts
    found, edges = np.histogram(values, bins, extent, weights=times)
    return Histogram(found.astype(np.int64), edges)
