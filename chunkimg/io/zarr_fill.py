"""Carrying out the plan of a write: slabs are read once, and every level is made of them as they pass by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..lazy import Block, LazyArray, Region
from ..ops.downsample import CoarsenedArray, reducer
from ..workers import Pending, each
from .cluster import active_client, write_on_workers
from .copy import copy
from .spool import against_the_grain, spooled
from .zarr_append import ArrayWriter
from .zarr_plan import LevelPlan, WritePlan
from .zarr_put import Folder, Store

__all__ = ["fill"]

#: finer voxels that a worker reduces at a time
_WINDOW = 4 << 20


def fill(
    plan: WritePlan,
    source: LazyArray,
    store: Store,
    stored: Callable[[LevelPlan], LazyArray],
    progress: Callable[[int], Any] | None = None,
    done: Callable[[str], bool] | None = None,
) -> None:
    """Write all levels.

    Parameters
    ----------
    plan : WritePlan
        What is written.
    source : LazyArray
        Voxels of the finest level.
    store : Store
        Where they go.
    stored : callable
        Gives the array of a level that was written, to read it back: coarser levels are made of it where slabs are
        not whole planes.
    progress : callable, optional
        Called with numbers of bytes that are done.
    done : callable, optional
        Whether a key is stored already: slabs of which all is are left out.
    """
    in_order = source.front_to_back and source.file_order is not None
    if (in_order and not plan.levels[0].is_run) or against_the_grain(source):
        # decoded once, and read as stored pieces need it; what lies in a temporary file is read on this machine alone
        with spooled(source, plan.budget) as array:
            _fill(plan, array, store, stored, progress, done, here=True)
    else:
        _fill(plan, source, store, stored, progress, done, here=source.front_to_back)


def _fill(
    plan: WritePlan,
    source: LazyArray,
    store: Store,
    stored: Callable[[LevelPlan], LazyArray],
    progress: Callable[[int], Any] | None,
    done: Callable[[str], bool] | None,
    here: bool,
) -> None:
    z = plan.dims.index("z")
    levels = list(plan.levels)
    while levels:
        slabs = list(_missing(levels[0], done, progress))
        # slabs that are left out, or read elsewhere, do not pass by
        folder = store if isinstance(store, Folder) and not here else None
        client = None if folder is None else active_client()
        flows = levels[0].flows(z) and len(slabs) == levels[0].slab_count and client is None
        count = len(levels) if flows else 1
        writer = ArrayWriter(store, levels[0].path, levels[0].spec)
        if client is not None and folder is not None:
            write_on_workers(client, levels[0], source, folder, slabs, progress)
        elif count == 1 and writer.reads(source):
            with source.lender() as lend:
                writer.write_from(lend, slabs, progress).finish()
        else:
            copy(source, _Flow(levels[:count], z, plan.method, store, progress).write, slabs, progress)
        last, levels = levels[count - 1], levels[count:]
        if levels:
            source, here = CoarsenedArray(stored(last), levels[0].factors, plan.method), False


def _missing(
    level: LevelPlan, done: Callable[[str], bool] | None, progress: Callable[[int], Any] | None
) -> Iterator[Region]:
    """The slabs of which not all is stored. Pieces of zeros never are, so that they are done again."""
    for region in level.slabs():
        if done is None or not all(map(done, level.keys(region))):
            yield region
        elif progress is not None:
            progress(math.prod(map(len, region)) * level.spec.dtype.itemsize)


class _Flow:
    """Levels that are written at once. Of each, what does not fill whole stored pieces yet waits for the next slab."""

    def __init__(
        self, levels: list[LevelPlan], z: int, method: str, store: Store, progress: Callable[[int], Any] | None
    ) -> None:
        self._writer = ArrayWriter(store, levels[0].path, levels[0].spec)
        self._z, self._method, self._progress = z, method, progress
        self._next = _Flow(levels[1:], z, method, store, progress) if len(levels) > 1 else None
        self._depth = levels[0].spec.unit[z]
        self._shape, self._factors = levels[0].spec.shape, levels[0].factors
        # of the finer level, which is reduced to this one
        self._nbytes = math.prod((*self._shape, *self._factors, levels[0].spec.dtype.itemsize))
        #: finer planes that are too few for one of this level; planes of this level that are not written yet
        self._rest: Block | None = None
        self._ready: list[Block] = []

    def write(self, region: Region, block: Block) -> Pending:
        """Write a slab, and what it makes of coarser levels."""
        begun = self._writer.write(region, block)
        if self._next is None:
            return begun
        try:
            return begun + self._next._take(region, block, self._shape[self._z])
        except BaseException:
            begun.abandon()
            raise

    def _take(self, region: Region, block: Block, size: int) -> Pending:
        """Reduce planes of the finer level, whose size along z is `size`; write what is complete."""
        z, factor = self._z, self._factors[self._z]
        first = region[z].start - (0 if self._rest is None else self._rest.shape[z])
        if self._rest is not None:
            block = np.concatenate([self._rest, block], axis=z)
        whole = block.shape[z] // factor * factor
        at = (slice(None),) * z
        self._rest = block[(*at, slice(whole, None))].copy() if whole < block.shape[z] else None
        if whole:
            self._ready.append(self._reduced(block[(*at, slice(0, whole))]))
        last = region[z].stop == size
        stop = (first + whole) // factor
        out = self._flush(region, stop, last)
        if last:
            self._rest, self._ready = None, []
        return out

    def _flush(self, region: Region, stop: int, last: bool) -> Pending:
        """Write planes up to `stop` as far as they fill stored pieces; all if they are the last."""
        z = self._z
        start = stop - sum(b.shape[z] for b in self._ready)
        end = stop if last else stop // self._depth * self._depth
        if end <= start:
            return Pending()
        block = self._ready[0] if len(self._ready) == 1 else np.concatenate(self._ready, axis=z)
        at = (slice(None),) * z
        left = block[(*at, slice(end - start, None))]
        self._ready = [left.copy()] if left.shape[z] else []
        block = block[(*at, slice(0, end - start))]
        space = {z: range(start, end), z + 1: range(self._shape[z + 1]), z + 2: range(self._shape[z + 2])}
        here = tuple(space.get(a, r) for a, r in enumerate(region))
        if self._progress is not None:
            self._progress(block.nbytes)
        return self.write(here, block)

    def _reduced(self, block: Block) -> Block:
        out = np.empty([n // f for n, f in zip(block.shape, self._factors, strict=True)], block.dtype)
        z, factor = self._z, self._factors[self._z]
        reduce_blocks = reducer(self._method, self._nbytes)
        plane = block.nbytes // block.shape[z]
        step = max(1, math.ceil(_WINDOW / max(1, plane) / factor))
        at = (slice(None),) * z

        def reduce(start: int) -> None:
            fine = block[(*at, slice(start * factor, (start + step) * factor))]
            reduce_blocks(fine, self._factors, out[(*at, slice(start, start + step))])

        if out.size:
            each(reduce, range(0, out.shape[z], step))
        return out
