"""Expressions in which every voxel stands by itself, computed from the arrays they are made of, region by region."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..access import Access
from ..chunks import block_shape
from ..lazy import Block, LazyArray, Reader, Region
from ..workers import each

__all__ = ["ElementwiseArray", "Operand", "Step"]

#: bytes of a piece that a worker computes at a time: its operands and results stay in the cache
_PIECE = 4 << 20
#: pieces of whole chunks may be larger, up to this
_MOST = 16 << 20


@dataclass(frozen=True)
class Operand:
    """A value of an expression by its number: first those of its sources, then the results of its steps."""

    number: int


@dataclass(frozen=True)
class Step:
    """One call of a function that treats every voxel by itself; `Operand` among its arguments stand for values."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class ElementwiseArray(LazyArray):
    """The result of an expression.

    Pieces of a region are read and computed in the workers, each piece of all sources in one of them, so that nothing
    but the result is as large as the region. Sources that are better read by large regions (front to back, remote) are.

    Parameters
    ----------
    sources : sequence of LazyArray
        They are broadcast against each other as in NumPy.
    steps : sequence of Step
        The last one gives the result.
    shape : tuple of int
        Of the result.
    dtype : numpy dtype
        Of the result.
    token : object
        What identifies the expression, equal in every process.
    """

    def __init__(
        self,
        sources: Sequence[LazyArray],
        steps: Sequence[Step],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        token: Any,
    ) -> None:
        self.sources, self.steps, self.token = tuple(sources), tuple(steps), token
        self.shape, self.dtype = shape, np.dtype(dtype).newbyteorder("=")
        self.front_to_back = any(s.front_to_back for s in sources)
        whole = [s for s in sources if s.shape == shape]
        self.file_order = min(whole, key=lambda s: not s.front_to_back).file_order
        self.chunks = _common([s.chunks for s in sources if s.chunks is not None], self.shape)
        widest = max(a.dtype.itemsize for a in (self, *sources))
        unit = self.chunks or (1,) * self.ndim
        self.piecewise = all(s.piecewise for s in sources) and math.prod(unit) * widest <= _MOST
        self._piece = block_shape(self.shape, widest, unit=unit, order=self.file_order, target=_PIECE)

    @property
    def held(self) -> int:
        """Bytes per element: of the result, and of the sources where they are read by whole regions."""
        return self.dtype.itemsize + (0 if self.piecewise else sum(s.held for s in self.sources))

    @property
    def access(self) -> Access:
        """That of the dearest source."""
        return Access.worst(s.access for s in self.sources)

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the sources."""
        for source in self.sources:
            yield from source.leaves()

    def prepare(self) -> None:
        """That of all sources."""
        for source in self.sources:
            source.prepare()

    def _read(self, region: Region) -> Block:
        # the workers could not wait for Dask, which waits for workers
        self.prepare()
        if not self.piecewise or any(r.step != 1 for r in region):
            return self._computed(region, [s._read(_part(region, s.shape)) for s in self.sources])
        out = np.empty([len(r) for r in region], self.dtype)

        def compute(piece: Region) -> None:
            here = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(piece, region, strict=True))
            with ExitStack() as stack:
                out[here] = self._value([stack.enter_context(s.borrowed(_part(piece, s.shape))) for s in self.sources])

        each(compute, list(_cut(region, self._piece)))
        return out

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads sources that are read by whole regions through their readers, each in a thread of its own."""
        if self.piecewise:
            yield self._read
            return
        self.prepare()
        with ExitStack() as stack:
            readers = [stack.enter_context(s.reader()) for s in self.sources]
            threads = [stack.enter_context(ThreadPoolExecutor(1, "chunkimg-read")) for _ in readers[1:]]

            def read(region: Region) -> Block:
                parts = [_part(region, s.shape) for s in self.sources]
                others = [t.submit(r, p) for t, r, p in zip(threads, readers[1:], parts[1:], strict=True)]
                return self._computed(region, [readers[0](parts[0]), *(f.result() for f in others)])

            yield read

    def _computed(self, region: Region, blocks: list[Block]) -> Block:
        """The result for blocks of the sources, piece by piece in the workers."""
        out = np.empty([len(r) for r in region], self.dtype)

        def compute(piece: Region) -> None:
            out[_slices(piece)] = self._value([b[_slices(_part(piece, b.shape))] for b in blocks])

        widest = max(a.dtype.itemsize for a in (self, *self.sources))
        block = block_shape(out.shape, widest, order=self.file_order, target=_PIECE)
        each(compute, list(_cut(tuple(map(range, out.shape)), block)) if out.size else [])
        return out

    def _value(self, values: list[Any]) -> Any:
        for step in self.steps:
            args = [values[a.number] if isinstance(a, Operand) else a for a in step.args]
            values.append(step.function(*args, **step.kwargs))
        return values[-1]

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-elementwise", self.token)


def _part(region: Region, shape: tuple[int, ...]) -> Region:
    """What is read for a region of an array that is broadcast: axes of size 1 stand for all."""
    last = region[len(region) - len(shape) :]
    return tuple(range(n) if n == 1 else r for r, n in zip(last, shape, strict=True))


def _slices(region: Region) -> tuple[slice, ...]:
    return tuple(slice(r.start, r.stop) for r in region)


def _common(units: list[tuple[int, ...]], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The smallest pieces that cut no chunk of any source; None if there are no chunks."""
    if not units:
        return None
    units = [(1,) * (len(shape) - len(u)) + u for u in units]
    return tuple(min(math.lcm(*sizes), n) for *sizes, n in zip(*units, shape, strict=True))


def _cut(region: Region, block: Sequence[int]) -> Iterator[Region]:
    """Pieces of a region at multiples of `block`, in C order."""
    if not region:
        yield ()
        return
    first, size = region[0], block[0]
    for start in range(first.start // size * size, first.stop, size):
        along = range(max(start, first.start), min(start + size, first.stop))
        for rest in _cut(region[1:], block[1:]):
            yield (along, *rest)
