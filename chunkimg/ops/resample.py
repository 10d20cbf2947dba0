"""Resampling: the values of an image at the voxels of another grid, lazily, in bounded memory."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..lazy import Block, Derived, LazyArray, Lender, Reader, Region, ViewArray, full_region
from ..workers import each, thread_count
from .boxes import KEPT, Boxes, Windows, open_boxes
from .interpolate import interpolate_lines, interpolate_points, rounded, working_type
from .lines import SLACK, Box
from .pad import PaddedArray
from .places import AffinePlace, Located, Place, Points
from .splines import AFTER, BEFORE, MARGIN, coefficients

__all__ = ["METHODS", "ResampledArray", "resampled"]

#: how values between voxels are found; ``"label"`` is the nearest, for values that must not be mixed
METHODS = ("nearest", "linear", "cubic", "label")

#: voxels of a part that one worker makes at a time, z, y, x
_PART = (32, 64, 128)
#: bytes of the box of the image that it needs for them
_BOX = 4 << 20
#: bytes above which a part is cut again, where a map of the world tears it apart
_MOST = 32 << 20
#: bytes of windows that are fetched for several parts at once
_TOGETHER = KEPT // 2


def resampled(
    source: LazyArray, shape: Sequence[int], places: Sequence[Place], method: str, fill: complex
) -> LazyArray:
    """An array resampled: a view, padded where it must be, if all voxels lie on voxels, else a `ResampledArray`.

    Parameters
    ----------
    source, shape, places, method, fill
        As for `ResampledArray`.
    """
    only = places[0] if len(places) == 1 else None
    moves = only.moves() if isinstance(only, AffinePlace) else None
    if moves is None:
        return ResampledArray(source, shape, places, method, fill)
    lead = source.ndim - 3
    picks: list[range] = [range(n) for n in source.shape]
    axes = list(range(source.ndim))
    at = [range(n) for n in (*source.shape[:lead], *shape)]
    for k, (along, step, start) in enumerate(zip(*moves, strict=True)):
        # x, y, z to axes of arrays
        mine, theirs = source.ndim - 1 - k, source.ndim - 1 - along
        inside = _within(start, step, at[theirs], source.shape[mine])
        picks[mine] = range(start + step * inside.start, start + step * inside.stop, step) if inside else range(0)
        axes[theirs], at[theirs] = mine, inside
    whole = all(p == range(n) for p, n in zip(picks, source.shape, strict=True)) and axes == sorted(axes)
    view = source if whole else ViewArray(source, picks, axes)
    full = (*source.shape[:lead], *shape)
    if at == list(full_region(full)):
        return view
    return PaddedArray(view, [r.start for r in at], [n - r.stop for r, n in zip(at, full, strict=True)], fill=fill)


def _within(start: int, step: int, along: range, n: int) -> range:
    """The numbers i of `along` for which ``start + step * i`` is one of n voxels."""
    low, high = (-start, n - 1 - start) if step > 0 else (start - n + 1, start)
    first, last = -(-low // abs(step)), high // abs(step)
    return range(max(first, along.start), max(max(first, along.start), min(last + 1, along.stop)))


@dataclass(frozen=True)
class _Part:
    """Some voxels of the result: where they go, and where they lie in the image.

    Attributes
    ----------
    at : tuple of slice
        In the block that is made, all axes.
    box : tuple of range
        What of the image they need, all axes.
    located : Located
        Their points.
    """

    at: tuple[slice, ...]
    box: Region
    located: Located


class ResampledArray(Derived):
    """Values of an array at the voxels of another grid; axes before the last three are carried along.

    A region is made in parts, in the workers, each from the box of the source that it needs; decoded chunks are kept
    from one part to the next, and by a `reader` from one region to the next, in bounded memory. Results do not depend
    on how regions are cut. A reader of a source that is decoded front to back puts it into a temporary file first.

    Parameters
    ----------
    source : LazyArray
        Last axes z, y, x.
    shape : (int, int, int)
        Sizes of the grid, z, y, x.
    places : sequence of Place
        Where its voxels lie in the source: one, or one per index of the first axis.
    method : str
        One of `METHODS`.
    fill : number
        Value of voxels that lie outside.
    """

    def __init__(
        self, source: LazyArray, shape: Sequence[int], places: Sequence[Place], method: str, fill: complex
    ) -> None:
        self.source, self.places, self.method, self.fill = source, tuple(places), method, fill
        self.shape, self.dtype = (*source.shape[:-3], *shape), source.dtype

    def _read(self, region: Region) -> Block:
        with open_boxes(self.source, whole=False) as boxes:
            return self._made(boxes, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Keeps what was decoded from one region to the next."""
        with open_boxes(self.source, whole=True) as boxes:
            yield lambda region: self._made(boxes, region)

    @property
    def lends(self) -> bool:
        """Where workers may ask for boxes, and no map of the world waits for workers."""
        return self._is_affine and (self.source.piecewise or self.source.front_to_back)

    @contextmanager
    def lender(self) -> Iterator[Lender]:
        """Keeps what was decoded from one region to the next."""
        with open_boxes(self.source, whole=True) as boxes:
            assert boxes.anywhere, "what is not read by all threads is not lent to them"
            yield lambda region: nullcontext(self._made(boxes, region))

    @property
    def _is_affine(self) -> bool:
        return all(isinstance(p, AffinePlace) for p in self.places)

    def _made(self, boxes: Boxes, region: Region) -> Block:
        out = np.full([len(r) for r in region], self.fill, self.dtype)

        def make(parts: Iterable[_Part], windows: Windows | None = None) -> None:
            for part in parts:
                with boxes.take(part.box, windows) as values:
                    self._interpolate(part, values.reshape(values.shape[-3:]), out[part.at])

        if boxes.anywhere and self._is_affine:
            each(lambda cut: make(self._located(*cut)), self._cuts(region))
        elif boxes.anywhere:
            # a map may read an image of its own, and wait for workers
            with ThreadPoolExecutor(thread_count(), "chunkimg-map") as threads:
                deque(threads.map(lambda cut: make(self._located(*cut)), self._cuts(region)), maxlen=0)
        else:
            for group, windows in self._groups(boxes, region):
                each(partial(make, windows=windows), [[part] for part in group])
        return out

    def _cuts(self, region: Region) -> Iterator[tuple[Region, Region]]:
        """Parts of a region of one frame and channel: in the result, and in the block that is made.

        They go along the longest axis last, so that what neighbours share is kept until all have had it.
        """
        size = self._part_size()
        starts = [range(0, len(r), n) for r, n in zip(region[-3:], size, strict=True)]
        order = sorted(range(3), key=lambda a: -len(region[a - 3]))
        for lead in itertools.product(*(range(len(r)) for r in region[:-3])):
            for turned in itertools.product(*(starts[a] for a in order)):
                at = [k for _, k in sorted(zip(order, turned, strict=True))]
                here = (*((k, 1) for k in lead), *zip(at, size, strict=True))
                cuts = [slice(k, k + n) for k, n in here]
                block = tuple(range(len(r))[c] for r, c in zip(region, cuts, strict=True))
                yield tuple(r[c] for r, c in zip(region, cuts, strict=True)), block

    def _part_size(self) -> list[int]:
        """Sizes z, y, x of parts, so that what they need of the source is not much more than `_BOX`."""
        size = list(_PART)
        steps = self.places[0].steps()
        while math.prod(steps @ size + 2 + sum(self._margins())) * self.dtype.itemsize > _BOX and max(size) > 1:
            size[int(np.argmax(steps.sum(axis=0) * size))] //= 2
            size = [max(1, n) for n in size]
        return size

    def _located(self, part: Region, here: Region) -> Iterator[_Part]:
        """What of a part lies in the source."""
        place = self.places[part[0].start if len(self.places) > 1 else 0]
        located = place.locate(part[-3:], self.source.shape[-3:])
        if located is None:
            return
        box = self._box(located)
        if math.prod(map(len, box)) * self.dtype.itemsize > _MOST and max(map(len, part[-3:])) > 1:
            axis = max(range(-3, 0), key=lambda a: len(part[a]))
            half = len(part[axis]) // 2
            for piece in (slice(0, half), slice(half, None)):
                cut, at = list(part), list(here)
                cut[axis], at[axis] = part[axis][piece], here[axis][piece]
                yield from self._located(tuple(cut), tuple(at))
            return
        lead = part[:-3]
        yield _Part(tuple(slice(r.start, r.stop) for r in here), (*lead, *box), located)

    def _margins(self) -> tuple[int, int]:
        """Voxels before and behind the one at or below a point that are needed for it."""
        if self.method == "cubic":
            return BEFORE + MARGIN, AFTER + MARGIN
        return 0, int(self.method == "linear")

    def _box(self, located: Located) -> Region:
        """Voxels z, y, x that points need."""
        shift = 0.5 + SLACK if self.method in ("nearest", "label") else 0.0
        before, behind = self._margins()
        out = []
        for low, high, n in zip(located.low, located.high, self.source.shape[-3:], strict=True):
            first, last = (math.floor(min(max(p, 0.0), n - 1.0) + shift) for p in (low, high))
            out.append(range(max(0, first - before), min(last + 1 + behind, n)))
        return tuple(out)

    def _groups(self, boxes: Boxes, region: Region) -> Iterator[tuple[list[_Part], Windows]]:
        """Parts whose windows are fetched together by this thread, which alone may read."""
        group: list[_Part] = []
        wanted: dict[tuple[int, ...], None] = {}
        for part in itertools.chain.from_iterable(itertools.starmap(self._located, self._cuts(region))):
            keys = boxes.keys(part.box)
            more = {**wanted, **dict.fromkeys(keys)}
            if group and len(more) * boxes.window_bytes > _TOGETHER:
                yield group, boxes.fetch(wanted)
                group, more = [], dict.fromkeys(keys)
            group, wanted = [*group, part], more
        if group:
            yield group, boxes.fetch(wanted)

    def _interpolate(self, part: _Part, values: Block, out: Block) -> None:
        box = Box(values, tuple(r.start for r in part.box[-3:]), self.source.shape[-3:])
        method = "nearest" if self.method == "label" else self.method
        if method == "cubic":
            box = coefficients(box, working_type(self.dtype))
        out = out.reshape(out.shape[-3:])
        points = part.located.points
        if isinstance(points, Points):
            out[points.inside] = rounded(interpolate_points(box, points.positions, method), self.dtype)
            return
        # the result has the fill already
        made = out.astype(box.block.dtype)
        interpolate_lines(box, points, method, made)
        out[...] = made if method != "cubic" else rounded(made, self.dtype)

    def __dask_tokenize__(self) -> Any:
        places = [p.token() for p in self.places]
        return ("chunkimg-resampled", self.source.__dask_tokenize__(), self.shape, places, self.method, self.fill)
