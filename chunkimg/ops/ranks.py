"""Values at given ranks of more values than fit in memory: found exactly, 16 bits of them in each pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .counts import digit_order, flat, pieces

__all__ = ["Bin", "RankSearch", "merged"]

_BITS = 16
#: so many values are kept, and sorted at the end
_FEW = 1 << 17
#: values that are looked through before what is found is counted
_GROUP = 1 << 20


@dataclass(frozen=True)
class Bin:
    """Values that begin with certain bits: how often each next digit occurs, or all of them where they are few.

    Attributes
    ----------
    low, high : int
        Their least and greatest pattern.
    table : ndarray or None
        Counts by the next digit.
    patterns : ndarray or None
        The patterns of all.
    """

    low: int
    high: int
    table: NDArray[np.int64] | None = None
    patterns: NDArray[Any] | None = None

    def merged(self, other: Bin) -> Bin:
        """That of both."""
        return Bin(
            min(self.low, other.low),
            max(self.high, other.high),
            None if self.table is None or other.table is None else self.table + other.table,
            None
            if self.patterns is None or other.patterns is None
            else np.concatenate([self.patterns, other.patterns]),
        )


@dataclass(frozen=True)
class Place:
    """Where a value is looked for.

    Attributes
    ----------
    prefix : int
        Its leading digits, as one number.
    size : int
        Number of values that begin with these.
    inside : int
        Its rank among them.
    """

    prefix: int
    size: int
    inside: int


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
        By rank: where its value is.
    found : dict
        Value by rank.
    """

    dtype: np.dtype[Any]
    depth: int
    wanted: dict[int, Place]
    found: dict[int, int | float] = field(default_factory=dict)

    @classmethod
    def start(cls, dtype: np.dtype[Any], table: NDArray[np.int64], ranks: Sequence[int]) -> RankSearch:
        """Begin with how often each first digit occurs; NaN is not counted there."""
        order = digit_order(dtype)
        out = cls(dtype, 1, {rank: _descend(table, order, rank) for rank in sorted(set(ranks))})
        # with the first digit of an infinity there is, besides it, only NaN
        ends = {rank: out._value(at.prefix << out._rest) for rank, at in out.wanted.items()}
        infinite = {rank: value for rank, value in ends.items() if dtype.kind == "f" and np.isinf(value)}
        return out._settled(infinite)

    @property
    def places(self) -> dict[int, Place]:
        """By prefix, where values are still looked for; none when all are found."""
        return {at.prefix: at for at in self.wanted.values()}

    @property
    def _rest(self) -> int:
        """Bits not known."""
        return 8 * self.dtype.itemsize - _BITS * self.depth

    def count(self, block: Block) -> dict[int, Bin]:
        """What a block holds of the values that begin with each of the prefixes."""
        places = self.places
        none = np.empty(0, f"u{block.itemsize}")
        bins = {prefix: self._bin(none, at.size) for prefix, at in places.items()}
        values = np.ascontiguousarray(flat(block)).view(none.dtype)
        for start in range(0, values.size, _GROUP):
            parts: dict[int, list[NDArray[Any]]] = {prefix: [none] for prefix in places}
            for patterns in pieces(values[start : start + _GROUP]):
                heads = patterns >> self._rest
                for prefix, found in parts.items():
                    found.append(patterns[heads == prefix])
            for prefix, found in parts.items():
                if any(p.size for p in found):
                    bins[prefix] = bins[prefix].merged(self._bin(np.concatenate(found), places[prefix].size))
        return bins

    def _bin(self, patterns: NDArray[Any], size: int) -> Bin:
        low, high = (int(patterns.min()), int(patterns.max())) if patterns.size else (1 << 64, -1)
        if size <= _FEW:
            return Bin(low, high, patterns=patterns)
        following = (patterns >> (self._rest - _BITS)) & ((1 << _BITS) - 1)
        return Bin(low, high, np.bincount(following.astype(np.intp), minlength=1 << _BITS))

    def deeper(self, bins: Mapping[int, Bin]) -> RankSearch:
        """What is known after `count` of all blocks, merged."""
        wanted, found = {}, {}
        for rank, at in self.wanted.items():
            here = bins[at.prefix]
            if here.patterns is not None:
                found[rank] = np.partition(here.patterns.view(self.dtype), at.inside)[at.inside].item()
            elif here.low == here.high:
                found[rank] = self._value(here.low)
            elif here.table is not None:
                first = at.prefix >> _BITS * (self.depth - 1)
                wanted[rank] = _descend(here.table, digit_order(self.dtype, first), at.inside, at.prefix << _BITS)
        out = RankSearch(self.dtype, self.depth + 1, wanted, {**self.found, **found})
        return out if out._rest else out._settled({rank: out._value(at.prefix) for rank, at in wanted.items()})

    def _settled(self, found: dict[int, int | float]) -> RankSearch:
        wanted = {rank: place for rank, place in self.wanted.items() if rank not in found}
        return RankSearch(self.dtype, self.depth, wanted, {**self.found, **found})

    def _value(self, pattern: int) -> int | float:
        value: int | float = np.array(pattern, f"u{self.dtype.itemsize}").view(self.dtype).item()
        return value


def merged(a: dict[int, Bin], b: dict[int, Bin]) -> dict[int, Bin]:
    """What both hold, by prefix."""
    return {prefix: a[prefix].merged(b[prefix]) for prefix in a}


def _descend(table: NDArray[np.int64], order: NDArray[np.int64], rank: int, before: int = 0) -> Place:
    """Where the value at a rank is, one digit deeper."""
    upto = np.cumsum(table[order])
    at = int(np.searchsorted(upto, rank, side="right"))
    digit = int(order[at])
    return Place(before | digit, int(table[digit]), rank - (int(upto[at - 1]) if at else 0))
