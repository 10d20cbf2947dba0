"""Threads that decode and encode: one pool a process, as many as it may use cores.

Dask's own threads, and as many readers as there are, hand their pieces to the same few workers, so that cores are not
fought over. Pieces never wait for other pieces.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

__all__ = ["each", "pool", "thread_count"]

Item = TypeVar("Item")

_MOST = 16
_pool: ThreadPoolExecutor | None = None


def thread_count() -> int:
    """Threads that decode or encode at a time: one for each core that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, available)


def pool() -> ThreadPoolExecutor:
    """The workers of this process."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="chunkimg")
    return _pool


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def each(function: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Call a function with each item, in the workers, and return when all is done; a single item is done here.

    The first error is raised, and items that had not begun are left.
    """
    waiting = deque(items)
    if len(waiting) <= 1:
        for item in waiting:
            function(item)
        return

    def work() -> None:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                function(item)
            except BaseException:
                waiting.clear()
                raise

    workers: list[Future[None]] = [pool().submit(work) for _ in range(min(thread_count(), len(waiting)))]
    wait(workers)
    for done in workers:
        done.result()
