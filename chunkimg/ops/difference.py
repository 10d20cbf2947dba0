"""How the values of two arrays differ: counted exactly, block by block, without overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chunks import block_shape, regions
from ..lazy import Block, Region

__all__ = ["Tally", "Tolerance", "Worst", "absolute_difference"]

#: temporaries are made for this many bytes of a block at a time
_PIECE = 1 << 20


@dataclass(frozen=True)
class Tolerance:
    """Values within ``absolute + relative * |b|`` of each other count as equal; NaN equals NaN."""

    absolute: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the {name} tolerance is a number of at least 0, found {value}")

    def exceeded(self, apart: NDArray[Any], b: Block) -> NDArray[np.bool_]:
        """Which differences are not within the tolerance; `b` are the second values."""
        if not self.absolute and not self.relative:
            return np.asarray(apart != 0)
        slack = np.full(b.shape, float(self.absolute))
        if self.relative:
            with np.errstate(invalid="ignore"):
                slack += self.relative * np.abs(b.astype("c16" if b.dtype.kind == "c" else "f8"))
        # against infinity everything would be within a relative tolerance
        return np.asarray(~(apart <= slack) | ~np.isfinite(apart.astype("f8")))


@dataclass(frozen=True)
class Worst:
    """The largest difference: how large, at which index (in the order of the axes), and the two values there."""

    difference: int | float
    index: tuple[int, ...]
    values: tuple[Any, Any]


@dataclass
class Tally:
    """Differences of the blocks seen so far.

    Attributes
    ----------
    count : int
        Values compared.
    differing : int
        Pairs beyond the tolerance.
    one_nan : int
        Pairs of which one is NaN, the other not; they are among the differing and in no statistic of size.
    worst : Worst or None
        The largest difference of two numbers (also within the tolerance); None where there is none. The first in the
        order of the blocks.
    first : tuple of int or None
        Index of the first differing pair that was met.
    """

    tolerance: Tolerance = field(default_factory=Tolerance)
    count: int = 0
    differing: int = 0
    one_nan: int = 0
    worst: Worst | None = None
    first: tuple[int, ...] | None = None
    _sum: float = field(default=0.0, init=False)
    _squares: float = field(default=0.0, init=False)

    @property
    def mean(self) -> float:
        """Mean absolute difference of all pairs of numbers."""
        return self._sum / numbers if (numbers := self.count - self.one_nan) else 0.0

    @property
    def rms(self) -> float:
        """Root of the mean squared difference of all pairs of numbers."""
        return math.sqrt(self._squares / numbers) if (numbers := self.count - self.one_nan) else 0.0

    def add(
        self,
        region: Region,
        a: Block,
        b: Block,
        values: tuple[Callable[[Block], Block], Callable[[Block], Block]] | None = None,
    ) -> None:
        """Compare the blocks of a region, piece by piece; `values` turn stored values into those to be compared."""
        for piece in _pieces(a):
            part_a, part_b = a[piece], b[piece]
            if values is not None:
                part_a, part_b = values[0](part_a), values[1](part_b)
            self._add_piece(region, piece, part_a, part_b)

    def _add_piece(self, region: Region, piece: tuple[slice, ...], a: Block, b: Block) -> None:
        self.count += a.size
        unequal = np.asarray(a != b)
        nans = _isnan(a) & _isnan(b)
        if nans.any():
            unequal &= ~nans
        where = np.flatnonzero(unequal.reshape(-1))
        # ints of 64 bits against floats are compared as floats: what rounds to the same may differ
        if _needs_long(a.dtype, b.dtype):
            where = np.arange(a.size)
        if not where.size:
            return
        at_a, at_b = a.reshape(-1)[where], b.reshape(-1)[where]
        apart = absolute_difference(at_a, at_b)
        nan = _isnan(at_a) != _isnan(at_b)
        out = self.tolerance.exceeded(apart, at_b) | nan
        out &= ~(_isnan(at_a) & _isnan(at_b))
        self.differing += int(np.count_nonzero(out))
        self.one_nan += int(np.count_nonzero(nan))

        def index(k: int) -> tuple[int, ...]:
            inner = np.unravel_index(int(where[k]), a.shape)
            return tuple(r[s.start + int(i)] for r, s, i in zip(region, piece, inner, strict=True))

        if self.first is None and out.any():
            self.first = index(int(np.argmax(out)))
        self._measure(apart, at_a, at_b, index)

    def _measure(self, apart: NDArray[Any], a: Block, b: Block, index: Callable[[int], tuple[int, ...]]) -> None:
        known = apart if apart.dtype.kind in "uO" else np.where(np.isnan(apart), 0, apart)
        sizes = known.astype("f8")
        with np.errstate(over="ignore"):
            self._sum += float(sizes.sum())
            self._squares += float(np.square(sizes).sum())
        k = int(np.argmax(known))
        largest = _plain(known[k])
        if largest > (0 if self.worst is None else self.worst.difference):
            self.worst = Worst(largest, index(k), (_plain(a[k]), _plain(b[k])))


def absolute_difference(a: Block, b: Block) -> NDArray[Any]:
    """``|a - b|`` without overflow: exact for integers (as uint64, or Python integers), else float64 or wider.

    Equal infinities are 0 apart.
    """
    a, b = (v.view("u1") if v.dtype == np.bool_ else v for v in (a, b))
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return _integer_difference(a, b)
    wide: Any = np.longdouble if _needs_long(a.dtype, b.dtype) else np.float64
    if "c" in (a.dtype.kind, b.dtype.kind):
        wide = np.complex128
    a, b = a.astype(wide), b.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.where(a == b, 0.0, np.abs(a - b)))


def _integer_difference(a: Block, b: Block) -> NDArray[Any]:
    if max(a.dtype.itemsize, b.dtype.itemsize) < 8:
        return np.asarray(np.abs(a.astype("i8") - b.astype("i8"))).view("u8")
    if a.dtype.kind != b.dtype.kind and _has_extremes(a, b):
        apart = a.astype(object) - b.astype(object)
        return np.asarray(abs(apart), dtype=object)
    target = "u8" if "u" in (a.dtype.kind, b.dtype.kind) and min(a.min(), b.min()) >= 0 else "i8"
    a, b = a.astype(target), b.astype(target)
    larger = a > b
    # two's complement: the wrapped difference of the larger and the smaller is the true one
    a, b = a.view("u8"), b.view("u8")
    return np.asarray(np.where(larger, a - b, b - a))


def _has_extremes(a: Block, b: Block) -> bool:
    """Whether no one integer type of 64 bits holds both."""
    return bool(min(a.min(), b.min()) < 0 and max(int(a.max()), int(b.max())) > np.iinfo("i8").max)


def _needs_long(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether an integer of 64 bits meets floating point, which float64 cannot hold exactly."""
    return any(p.kind in "iu" and p.itemsize == 8 and q.kind == "f" for p, q in ((a, b), (b, a)))


def _isnan(values: Block) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind in "fc" else np.zeros(values.shape, bool)


def _plain(value: Any) -> Any:
    """A number of Python."""
    if isinstance(value, np.longdouble):
        return int(value) if value == np.floor(value) and np.isfinite(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def _pieces(block: Block) -> Iterator[tuple[slice, ...]]:
    shape = block_shape(block.shape, block.dtype.itemsize, order=_memory_order(block), target=_PIECE)
    for region in regions(block.shape, shape):
        yield tuple(slice(r.start, r.stop) for r in region)


def _memory_order(block: Block) -> Sequence[int]:
    return sorted(range(block.ndim), key=lambda k: -block.strides[k])
