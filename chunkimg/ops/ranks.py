"""Values at given ranks of more values than fit in memory: found exactly, 16 bits of them in each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .counts import digit_order, flat, pieces

__all__ = ["Bins", "RankSearch"]

_BITS = 16


@dataclass(frozen=True)
class Bins:
    """Values that begin with certain bits: how often each next digit occurs, and their least and greatest patterns."""

    tables: NDArray[np.int64]
    low: tuple[int, ...]
    high: tuple[int, ...]

    def merged(self, other: Bins) -> Bins:
        """Those of both."""
        low = tuple(map(min, self.low, other.low))
        return Bins(self.tables + other.tables, low, tuple(map(max, self.high, other.high)))


@dataclass(frozen=True)
class RankSearch:
    """What is known so far of the values at some ranks, of a type of 32 or 64 bits.

    Attributes
    ----------
    dtype : dtype
        Type of the values.
    depth : int
        Digits known of what is looked for.
    wanted : dict
        By rank: the leading digits of its value as one number, and its rank among the values that have these.
    found : dict
        Value by rank.
    """

    dtype: np.dtype[Any]
    depth: int
    wanted: dict[int, tuple[int, int]]
    found: dict[int, int | float] = field(default_factory=dict)

    @classmethod
    def start(cls, dtype: np.dtype[Any], table: NDArray[np.int64], ranks: Sequence[int]) -> RankSearch:
        """Begin with how often each first digit occurs; NaN is not counted there."""
        order = digit_order(dtype)
        out = cls(dtype, 1, {rank: _descend(table, order, rank) for rank in sorted(set(ranks))})
        # with the first digit of an infinity there is, besides it, only NaN
        ends = {rank: out._value(digit << out._rest) for rank, (digit, _) in out.wanted.items()}
        infinite = {rank: value for rank, value in ends.items() if dtype.kind == "f" and np.isinf(value)}
        return out._settled(infinite)

    @property
    def prefixes(self) -> list[int]:
        """Leading digits of the values that are still looked for; none when all are found."""
        return sorted({prefix for prefix, _ in self.wanted.values()})

    @property
    def _rest(self) -> int:
        """Bits not known."""
        return 8 * self.dtype.itemsize - _BITS * self.depth

    def count(self, block: Block) -> Bins:
        """The next digit of the values of a block that begin with one of the prefixes."""
        prefixes = self.prefixes
        chosen: list[list[NDArray[Any]]] = [[np.empty(0, f"u{block.itemsize}")] for _ in prefixes]
        for piece in pieces(np.ascontiguousarray(flat(block))):
            patterns = piece.view(f"u{piece.itemsize}")
            heads = patterns >> self._rest
            for k, prefix in enumerate(prefixes):
                chosen[k].append(patterns[heads == prefix])
        tables, low, high = [], [], []
        for parts in chosen:
            values = np.concatenate(parts)
            following = (values >> (self._rest - _BITS)) & ((1 << _BITS) - 1)
            tables.append(np.bincount(following.astype(np.intp), minlength=1 << _BITS))
            low.append(int(values.min()) if values.size else 1 << 64)
            high.append(int(values.max()) if values.size else -1)
        return Bins(np.array(tables), tuple(low), tuple(high))

    def deeper(self, bins: Bins) -> RankSearch:
        """What is known after one more digit of all values was counted."""
        at = {prefix: k for k, prefix in enumerate(self.prefixes)}
        wanted, found = {}, {}
        for rank, (prefix, inside) in self.wanted.items():
            k = at[prefix]
            if bins.low[k] == bins.high[k]:
                found[rank] = self._value(bins.low[k])
                continue
            first = prefix >> _BITS * (self.depth - 1)
            digit, inside = _descend(bins.tables[k], digit_order(self.dtype, first), inside)
            wanted[rank] = (prefix << _BITS | digit, inside)
        out = RankSearch(self.dtype, self.depth + 1, wanted, self.found)._settled(found)
        return out if out._rest else out._settled({rank: out._value(p) for rank, (p, _) in out.wanted.items()})

    def _settled(self, found: dict[int, int | float]) -> RankSearch:
        wanted = {rank: place for rank, place in self.wanted.items() if rank not in found}
        return RankSearch(self.dtype, self.depth, wanted, {**self.found, **found})

    def _value(self, pattern: int) -> int | float:
        value: int | float = np.array(pattern, f"u{self.dtype.itemsize}").view(self.dtype).item()
        return value


def _descend(table: NDArray[np.int64], order: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """The digit of the value at a rank, and its rank among those with that digit."""
    upto = np.cumsum(table[order])
    at = int(np.searchsorted(upto, rank, side="right"))
    return int(order[at]), rank - (int(upto[at - 1]) if at else 0)
