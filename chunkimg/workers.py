"""Threads that decode and encode: one pool a process, as many as it may use cores.

Dask's own threads, and as many readers as there are, hand their pieces to the same few workers, so that cores are not
fought over. Pieces never wait for other pieces.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pending", "each", "pool", "scratch", "start", "thread_count"]

Item = TypeVar("Item")

_MOST = 16
#: bytes of scratch memory that a thread keeps
_KEPT = 8 << 20
_pool: ThreadPoolExecutor | None = None
_here = threading.local()


def thread_count() -> int:
    """Threads that decode or encode at a time: one for each core that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, available)


def pool() -> ThreadPoolExecutor:
    """The workers of this process."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="chunkimg", initializer=_begin)
    return _pool


def _begin() -> None:
    _here.works = True


def scratch(nbytes: int) -> NDArray[np.uint8]:
    """Memory of this thread, the same each time: what was put there before is gone.

    Chunks come and go by the thousand; fresh memory for each would cost the kernel as much as the codec.
    """
    found: NDArray[np.uint8] | None = getattr(_here, "scratch", None)
    if found is None or len(found) < nbytes:
        found = np.empty(nbytes, np.uint8)
        # what a single large piece needed is not kept
        if nbytes <= _KEPT:
            _here.scratch = found
    return found[:nbytes]


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Pending:
    """Work that goes on in the workers."""

    def __init__(self, workers: Sequence[Future[None]] = (), waiting: deque[Any] | None = None) -> None:
        self._workers, self._waiting = workers, waiting

    def __add__(self, other: Pending) -> Pending:
        return _Several((self, other))

    def wait(self) -> None:
        """Return when all is done, or raise the first error; what had not begun when it was raised is left."""
        wait(self._workers)
        for done in self._workers:
            done.result()

    def abandon(self) -> None:
        """Leave what has not begun, and return when the rest is done."""
        if self._waiting is not None:
            self._waiting.clear()
        wait(self._workers)


class _Several(Pending):
    def __init__(self, parts: Sequence[Pending]) -> None:
        super().__init__()
        self._parts = parts

    def wait(self) -> None:
        """Wait for all."""
        for part in self._parts:
            part.wait()

    def abandon(self) -> None:
        """Leave all."""
        for part in self._parts:
            part.abandon()


def start(function: Callable[[Item], Any], items: Iterable[Item]) -> Pending:
    """Begin to call a function with each item, in the workers."""
    waiting = deque(items)

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

    return Pending([pool().submit(work) for _ in range(min(thread_count(), len(waiting)))], waiting)


def each(function: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Call a function with each item, in the workers, and return when all is done.

    A single item is done here, and so are all where this is called by a worker: waiting for others it would block one.
    """
    waiting = list(items)
    if len(waiting) > 1 and not getattr(_here, "works", False):
        start(function, waiting).wait()
        return
    for item in waiting:
        function(item)
