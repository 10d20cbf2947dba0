"""One pass over an array: something is made of each block, and put together, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from typing import TypeVar

from ..chunks import BUDGET, block_shape, regions
from ..lazy import Block, LazyArray, Region
from ..workers import pool, thread_count
from .copy import read_ahead
from .format import Progress
from .together import in_step

__all__ = ["reduce_blocks", "reduce_together"]

T = TypeVar("T")

#: blocks alive at once: one is read, one is handed over, some are worked on, with what is decoded for them
_ALIVE = 8
_STEPS = 4


def reduce_blocks(
    source: LazyArray,
    step: Callable[[Block], T],
    combine: Callable[[T, T], T],
    *,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> T:
    """``combine(… combine(step(block 0), step(block 1)) …)`` over the blocks of an array, in their order.

    Steps run in the workers while the next block is read. The order, and so every rounding, depends on the array and
    the budget alone.

    Parameters
    ----------
    source : LazyArray
        With at least one element.
    step : callable
        Takes a block, in any memory order, which it must not change.
    combine : callable
        Puts two results together; it may change the first.
    budget : int
        Memory in bytes for what is held of the array at once.
    progress : Progress, optional
        Told the bytes to be read and those done.
    """
    return reduce_together([source], lambda _, block: step(block), combine, budget=budget, progress=progress)


def reduce_together(
    sources: Sequence[LazyArray],
    step: Callable[..., T],
    combine: Callable[[T, T], T],
    *,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> T:
    """As `reduce_blocks`, of one array or of two of the same shape; ``step(region, *blocks)`` is told the region too.

    A sequential source that cannot be read in step with the other is put into a temporary file first.
    """
    if len(sources) == 2:
        with in_step(sources[0], sources[1], budget, progress) as (arrays, slabs):
            return _reduced(arrays, slabs, step, combine, progress)
    (source,) = sources
    order = source.file_order
    block = block_shape(
        source.shape,
        source.dtype.itemsize,
        unit=source.chunks,
        order=order,
        front_to_back=source.front_to_back and order is not None,
        target=max(1 << 20, budget // _ALIVE),
    )
    if progress is not None:
        progress.start(source.nbytes)
    return _reduced(sources, regions(source.shape, block, order), step, combine, progress)


def _reduced(
    sources: Sequence[LazyArray],
    cuts: Iterable[Region],
    step: Callable[..., T],
    combine: Callable[[T, T], T],
    progress: Progress | None,
) -> T:
    threads = min(_STEPS, thread_count())
    total: list[T] = []
    waiting: deque[tuple[Future[T], int]] = deque()

    def finish() -> None:
        future, size = waiting.popleft()
        total[:] = [combine(total[0], future.result()) if total else future.result()]
        if progress is not None:
            progress(size)

    try:
        with closing(read_ahead(sources, cuts)) as blocks:
            for region, values in blocks:
                waiting.append((pool().submit(step, region, *values), sum(v.nbytes for v in values)))
                # what is handed on must be gone before the next is read
                del values
                if len(waiting) >= threads:
                    finish()
        while waiting:
            finish()
    except BaseException:
        for future, _ in waiting:
            future.cancel()
        wait([future for future, _ in waiting])
        raise
    return total[0]
