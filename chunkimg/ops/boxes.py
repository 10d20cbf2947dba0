"""Boxes of an array that are wanted here and there, and overlap: what is decoded for one is kept for the next.

Raw files are mapped. Of stored chunks (or runs of an encoded file) the last ones are kept, up to `KEPT` bytes, so that
boxes which move through the array decode each about once. Where a whole pass shows that this is too little, chunks that
give way go to a temporary file, and come back from there. For a whole pass over an array that is decoded front to back,
its voxels are put into a temporary file first, of their size.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..chunks import BUDGET, block_shape, regions
from ..lazy import Block, LazyArray, Reader, Region, ScaledArray, ViewArray
from ..open_file import OpenFile, temporary_file
from .gaussian import Gaussian
from .overlap import OverlapArray
from .pad import PaddedArray

__all__ = ["KEPT", "Boxes", "open_boxes"]

#: bytes of decoded chunks that are kept
KEPT = BUDGET // 2
#: chunks are taken together up to so many bytes: where they are read by workers, and where one thread asks for all
_SMALL, _LARGE = 256 << 10, 4 << 20
#: part of the windows that may be decoded twice before a temporary file is begun
_TWICE = 0.05
#: a box of this side is smoothed by itself where it takes no more than so many bytes with what lies around it
_SIDE, _MOST = 96, 64 << 20
#: bytes that are written to a temporary file at a time
_RUN = 16 << 20

#: number of a window along each axis
Key = tuple[int, ...]
Windows = Mapping[Key, Block]


class Boxes(Protocol):
    """Where boxes come from."""

    @property
    def anywhere(self) -> bool:
        """Whether workers may ask for boxes; else only the thread that opened them, which may `fetch` for them."""

    def keys(self, box: Region) -> list[Key]:
        """The windows that a box touches."""

    def fetch(self, keys: Iterable[Key]) -> Windows:
        """Windows, decoded."""

    @property
    def window_bytes(self) -> int:
        """Bytes of a window."""

    def take(self, box: Region, windows: Windows | None = None) -> AbstractContextManager[Block]:
        """The values of a box, to be looked at within the context; from windows that were fetched, if there are any."""


@contextmanager
def open_boxes(source: LazyArray, whole: bool) -> Iterator[Boxes]:
    """Boxes of an array.

    Parameters
    ----------
    source : LazyArray
        The array.
    whole : bool
        Whether boxes are taken from everywhere in it, as in a pass that is worth a temporary file.
    """
    source.prepare()
    spools = source.front_to_back and whole
    if isinstance(source, ScaledArray):
        # what is kept is what is stored
        with open_boxes(source.source, whole) as inner:
            yield _Through(inner, lambda box: (box, None), source.scaling.apply)
    elif isinstance(source, OverlapArray) and _smooths(source):
        # smoothing a little twice costs less than keeping what is smoothed, in a wider type
        with open_boxes(source.source, whole) as inner:
            yield _Smoothed(source, inner)
    elif isinstance(source, PaddedArray) and source.mode == "constant":
        # its chunks lie across those of what it surrounds
        with open_boxes(source.source, whole) as inner:
            yield _Padded(source, inner)
    elif isinstance(source, ViewArray) and _is_grid(source) and not (spools and source.file_order is not None):
        with open_boxes(source.source, whole) as inner:
            yield _Through(inner, partial(_shown, source), source._turned)
    elif spools:
        with _spooled(source) as values:
            yield _Mapped(source, lambda box: _lend(values, box))
    elif source.piecewise and source.chunks is None:
        yield _Mapped(source, source.borrowed)
    else:
        with ExitStack() as stack:
            read: Reader = source._read
            size = _SMALL
            if not source.piecewise:
                read, size = stack.enter_context(source.reader()), _LARGE
            yield _Kept(source, read, size, stack.enter_context(_Spare()) if whole else None)


class _Mapped:
    """Boxes that cost no more than their own bytes."""

    anywhere = True
    window_bytes = 0

    def __init__(self, source: LazyArray, lend: Callable[[Region], AbstractContextManager[Block]]) -> None:
        self.source, self._lend = source, lend

    def keys(self, box: Region) -> list[Key]:
        return []

    def fetch(self, keys: Iterable[Key]) -> Windows:
        return {}

    def take(self, box: Region, windows: Windows | None = None) -> AbstractContextManager[Block]:
        return self._lend(box)


class _Kept:
    """Boxes put together from windows of whole chunks, of which the last ones used are kept."""

    def __init__(self, source: LazyArray, read: Reader, size: int, spare: _Spare | None) -> None:
        self.source, self.anywhere, self._read, self._spare = source, source.piecewise, read, spare
        order = source.file_order
        self.unit = block_shape(
            source.shape,
            source.dtype.itemsize,
            unit=source.chunks,
            order=order,
            front_to_back=source.front_to_back and order is not None,
            target=size,
        )
        self.window_bytes = math.prod(self.unit) * source.dtype.itemsize
        self._windows: OrderedDict[Key, Block] = OrderedDict()
        self._reading: dict[Key, threading.Lock] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def keys(self, box: Region) -> list[Key]:
        spans = [range(r.start // n, -(-r.stop // n)) for r, n in zip(box, self.unit, strict=True)]
        order = self.source.file_order or range(len(spans))
        turned = itertools.product(*(spans[a] for a in order))
        return [tuple(dict(zip(order, at, strict=True))[a] for a in range(len(spans))) for at in turned]

    def fetch(self, keys: Iterable[Key]) -> Windows:
        return {key: self._window(key) for key in keys}

    @contextmanager
    def take(self, box: Region, windows: Windows | None = None) -> Iterator[Block]:
        found = self.fetch(self.keys(box)) if windows is None else windows
        keys = self.keys(box)
        if len(keys) == 1:
            first = [k * n for k, n in zip(keys[0], self.unit, strict=True)]
            yield found[keys[0]][tuple(slice(r.start - f, r.stop - f) for r, f in zip(box, first, strict=True))]
            return
        out = np.empty([len(r) for r in box], self.source.dtype)
        for key in keys:
            spans = [range(k * n, k * n + n) for k, n in zip(key, self.unit, strict=True)]
            parts = [range(max(r.start, s.start), min(r.stop, s.stop)) for r, s in zip(box, spans, strict=True)]
            here = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(parts, box, strict=True))
            there = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(parts, spans, strict=True))
            out[here] = found[key][there]
        yield out

    def _window(self, key: Key) -> Block:
        # the first that wants a window reads it, others wait for that
        with self._lock:
            lock = self._reading.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                found = self._windows.get(key)
                if found is not None:
                    self._windows.move_to_end(key)
                    return found
            block = None if self._spare is None else self._spare.get(key)
            if block is None:
                spans = zip(key, self.unit, self.source.shape, strict=True)
                block = self._read(tuple(range(k * n, min((k + 1) * n, size)) for k, n, size in spans))
            for old, gone in self._keep(key, block):
                if self._spare is not None:
                    self._spare.put(old, gone)
            return block

    def _keep(self, key: Key, block: Block) -> list[tuple[Key, Block]]:
        """Keep a window; those that give way to it."""
        out = []
        with self._lock:
            self._windows[key] = block
            self._bytes += block.nbytes
            while self._bytes > KEPT and len(self._windows) > 1:
                old, gone = self._windows.popitem(last=False)
                self._bytes -= gone.nbytes
                self._reading.pop(old, None)
                out.append((old, gone))
        return out


class _Spare:
    """Windows in a temporary file, from when so many have been decoded twice that it pays; on a full disk, no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[Key] = set()
        self._again, self._end = 0, 0
        self._places: dict[Key, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}
        self._file: OpenFile | None = None
        self._open = ExitStack()
        self._full = False

    def __enter__(self) -> _Spare:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def get(self, key: Key) -> Block | None:
        """A window of the file; None if it has to be decoded."""
        with self._lock:
            place = self._places.get(key)
            if place is None:
                self._again += key in self._seen
                self._seen.add(key)
        if place is None or self._file is None:
            return None
        start, shape, dtype = place
        out = np.empty(shape, dtype)
        view = out.reshape(-1).view(np.uint8).data
        while len(view):
            count = os.preadv(self._file.fd, [view], start)
            if not count:
                raise OSError(f"a temporary file ends after {start} bytes")
            view, start = view[count:], start + count
        return out

    def put(self, key: Key, block: Block) -> None:
        """Take a window that gives way, if that is worth it."""
        with self._lock:
            if self._full or key in self._places or self._again <= _TWICE * len(self._seen):
                return
            start, self._end = self._end, self._end + block.nbytes
        try:
            with self._lock:
                self._file = self._file or self._open.enter_context(temporary_file())
            self._file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data, start)
        except OSError:
            # it is only faster
            self._full = True
            return
        with self._lock:
            self._places[key] = start, block.shape, block.dtype


class _Through:
    """Boxes of what is made of another array, or shows it."""

    def __init__(
        self,
        inner: Boxes,
        below: Callable[[Region], tuple[Region, tuple[slice, ...] | None]],
        made: Callable[[Block], Block],
    ) -> None:
        self._inner, self._below, self._made = inner, below, made
        self.anywhere, self.window_bytes = inner.anywhere, inner.window_bytes

    def keys(self, box: Region) -> list[Key]:
        return self._inner.keys(self._below(box)[0])

    def fetch(self, keys: Iterable[Key]) -> Windows:
        return self._inner.fetch(keys)

    @contextmanager
    def take(self, box: Region, windows: Windows | None = None) -> Iterator[Block]:
        region, pick = self._below(box)
        with self._inner.take(region, windows) as block:
            yield self._made(block if pick is None else block[pick])


class _Smoothed:
    """Boxes smoothed one by one, by whoever takes them, from what lies in and around them."""

    def __init__(self, source: OverlapArray, inner: Boxes) -> None:
        self._source, self._inner = source, inner
        self.anywhere, self.window_bytes = inner.anywhere, inner.window_bytes

    def keys(self, box: Region) -> list[Key]:
        return self._inner.keys(self._source.around(box))

    def fetch(self, keys: Iterable[Key]) -> Windows:
        return self._inner.fetch(keys)

    @contextmanager
    def take(self, box: Region, windows: Windows | None = None) -> Iterator[Block]:
        with self._inner.take(self._source.around(box), windows) as block:
            made = self._source.made(block, box)
        yield made


class _Padded:
    """Boxes of an array inside a constant."""

    def __init__(self, source: PaddedArray, inner: Boxes) -> None:
        self._source, self._inner = source, inner
        self.anywhere, self.window_bytes = inner.anywhere, inner.window_bytes

    def keys(self, box: Region) -> list[Key]:
        inside = self._source.inside(box)
        return self._inner.keys(inside) if all(map(len, inside)) else []

    def fetch(self, keys: Iterable[Key]) -> Windows:
        return self._inner.fetch(keys)

    @contextmanager
    def take(self, box: Region, windows: Windows | None = None) -> Iterator[Block]:
        inside = self._source.inside(box)
        if tuple(map(len, inside)) == tuple(map(len, box)):
            with self._inner.take(inside, windows) as block:
                yield block
            return
        out = np.full([len(r) for r in box], self._source.fill, self._source.dtype)
        if all(map(len, inside)):
            first = [r.start - b for r, b in zip(box, self._source.before, strict=True)]
            with self._inner.take(inside, windows) as block:
                out[tuple(slice(r.start - f, r.stop - f) for r, f in zip(inside, first, strict=True))] = block
        yield out


def _smooths(source: OverlapArray) -> bool:
    sides = [min(_SIDE, n) + 2 * d for n, d in zip(source.shape[-3:], source.halo.depth, strict=True)]
    return isinstance(source.function, Gaussian) and math.prod(sides) * source.dtype.itemsize <= _MOST


def _is_grid(view: ViewArray) -> bool:
    return all(isinstance(p, range) for p in view.picks)


def _shown(view: ViewArray, box: Region) -> tuple[Region, tuple[slice, ...]]:
    """The box of the source that holds one of a view, and what of it that shows."""
    picks = [p for p in view._source_picks(box) if isinstance(p, range)]
    region = tuple(range(min(p[0], p[-1]), max(p[0], p[-1]) + 1) for p in picks)
    return region, tuple(slice(None, None, p.step if len(p) > 1 else None) for p in picks)


@contextmanager
def _spooled(source: LazyArray) -> Iterator[Block]:
    """All values, in a temporary file that is mapped."""
    order: Sequence[int] = source.file_order or range(source.ndim)
    slab = block_shape(source.shape, source.dtype.itemsize, order=order, front_to_back=True, target=_RUN)
    with temporary_file() as file:
        end = 0
        with source.reader() as read:
            for region in regions(source.shape, slab, order):
                block = np.ascontiguousarray(read(region).transpose(order))
                end = file.write(block.reshape(-1).data.cast("B"), end)
        yield file.mapped(source.dtype, 0, [source.shape[a] for a in order]).transpose(np.argsort(order))


@contextmanager
def _lend(values: Block, box: Region) -> Iterator[Block]:
    yield values[tuple(slice(r.start, r.stop) for r in box)]
