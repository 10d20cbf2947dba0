"""Threads that decode and encode: one pool a process, as many as it may use cores.

Dask's own threads, and as many readers as there are, hand their pieces to the same few workers, so that cores are not
fought over. Pieces never wait for other pieces.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pending", "each", "pool", "scratch", "start", "thread_count"]

Item = TypeVar("Item")

_MOST = 16
#: how much nicer workers are than the thread that reads for them
_BEHIND = 3
#: bytes of scratch memory that a thread keeps
_KEPT = 8 << 20
_END = object()
_pool: ThreadPoolExecutor | None = None
_opening = threading.Lock()
_here = threading.local()


def thread_count() -> int:
    """Threads that decode or encode at a time: one for each core that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, available)


def pool() -> ThreadPoolExecutor:
    """The workers of this process."""
    global _pool
    with _opening:
        if _pool is None:
            _pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="chunkimg", initializer=_begin)
        return _pool


def _begin() -> None:
    _here.works = True
    if sys.platform == "linux":
        # a thread's own there: who decodes a stream for the workers is not kept waiting by them (setpriority(2))
        with contextlib.suppress(OSError):
            me = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + _BEHIND)


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
    """A forked child has none of its parent's threads, one of which may have held the lock."""
    global _pool, _opening
    _pool, _opening = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Work(Generic[Item]):
    """Items that workers take one by one, until there are none or one has failed."""

    def __init__(self, function: Callable[[Item], Any], items: Iterable[Item]) -> None:
        self._function, self._items = function, iter(items)
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Take items and work on them; what goes wrong is kept in `error`."""
        try:
            while (item := self._next()) is not _END:
                self._function(item)
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
            self.stop()

    def _next(self) -> Any:
        with self._lock:
            return next(self._items, _END)

    def stop(self) -> None:
        """Give out no more."""
        with self._lock:
            self._items = iter(())


class Pending:
    """Work that goes on in the workers."""

    def __init__(self, workers: Sequence[Future[None]] = (), work: _Work[Any] | None = None) -> None:
        self._workers, self._work = workers, work

    def __add__(self, other: Pending) -> Pending:
        return _Several((self, other))

    def wait(self) -> None:
        """Return when all is done, or raise the first error; what had not begun when it was raised is left."""
        wait(self._workers)
        if self._work is not None and self._work.error is not None:
            raise self._work.error

    def finish(self) -> None:
        """Return when all is done; if it fails, or is interrupted, when nothing goes on any more."""
        try:
            self.wait()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave what has not begun, and return when the rest is done."""
        if self._work is not None:
            self._work.stop()
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
    """Begin to call a function with each item, in the workers, which take items as they go: there may be millions."""
    source = iter(items)
    first = list(itertools.islice(source, thread_count()))
    work = _Work(function, itertools.chain(first, source))
    workers: list[Future[None]] = []
    try:
        for _ in first:
            workers.append(pool().submit(work.run))
    except BaseException:
        # nobody would wait for what has begun
        Pending(workers, work).abandon()
        raise
    return Pending(workers, work)


def each(function: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Call a function with each item, in the workers, and return when all is done, or the first error is raised.

    A single item is done here, and so are all where this is called by a worker: waiting for others it would block one.
    """
    source = iter(items)
    first = list(itertools.islice(source, 2))
    every: Iterator[Item] = itertools.chain(first, source)
    if len(first) < 2 or getattr(_here, "works", False):
        for item in every:
            function(item)
        return
    start(function, every).finish()
