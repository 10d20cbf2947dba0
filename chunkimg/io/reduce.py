"""One pass over an array: something is made of each block, and put together, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import closing
from typing import TypeVar

from ..chunks import BUDGET, block_shape, regions
from ..lazy import Block, LazyArray
from ..workers import pool, thread_count
from .copy import read_ahead
from .format import Progress

__all__ = ["reduce_blocks"]

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
    order = source.file_order
    block = block_shape(
        source.shape,
        source.dtype.itemsize,
        unit=source.chunks,
        order=order,
        front_to_back=source.front_to_back and order is not None,
        target=max(1 << 20, budget // _ALIVE),
    )
    threads = min(_STEPS, thread_count())
    if progress is not None:
        progress.start(source.nbytes)
    total: list[T] = []
    waiting: deque[tuple[Future[T], int]] = deque()

    def finish() -> None:
        future, size = waiting.popleft()
        total[:] = [combine(total[0], future.result()) if total else future.result()]
        if progress is not None:
            progress(size)

    try:
        with closing(read_ahead([source], regions(source.shape, block, order))) as blocks:
            for _, (values,) in blocks:
                waiting.append((pool().submit(step, values), values.nbytes))
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
