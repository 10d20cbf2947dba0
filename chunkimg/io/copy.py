"""The copying engine: slabs from lazy arrays to a writer, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

from ..lazy import Block, LazyArray, Region
from ..workers import Pending

__all__ = ["copy", "read_ahead"]


def copy(
    source: LazyArray,
    write: Callable[[Region, Block], Pending | None],
    regions: Iterable[Region],
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Read each region in order and write it; one region is read ahead while another is written.

    Parameters
    ----------
    source : LazyArray
        Where voxels come from.
    write : callable
        Takes a region and its block. It may return before all is written, and then what is to be waited for; the next
        region is given to it meanwhile, so that workers never wait for the last piece of a region.
    regions : iterable of Region
        In the order in which the source is read.
    progress : callable, optional
        Called with the number of bytes of each block when it is written.
    """
    under_way: deque[tuple[Pending, int]] = deque()

    def finish_one() -> None:
        under_way[0][0].wait()
        _, size = under_way.popleft()
        if progress is not None:
            progress(size)

    try:
        with closing(read_ahead([source], regions)) as blocks:
            for region, (block,) in blocks:
                under_way.append((write(region, block) or Pending(), block.nbytes))
                # the next but one is read while the next is waited for: this one must be gone by then
                del block
                if len(under_way) > 1:
                    finish_one()
        while under_way:
            finish_one()
    except BaseException:
        # nothing is written any more when this function has ended
        for pending, _ in under_way:
            pending.abandon()
        raise


def read_ahead(
    sources: Sequence[LazyArray], regions: Iterable[Region]
) -> Generator[tuple[Region, tuple[Block, ...]], None, None]:
    """The blocks of each region in order, one per source; the next region is read meanwhile, each source in a thread.

    Close the iterator (`contextlib.closing`) where it may be left before its end. Its end asserts that the sources
    were sound as far as they were read.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(s.reader()) for s in sources]
        # a reader goes front to back, so that it never has two threads
        threads = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="chunkimg-read")) for _ in sources]
        waiting: tuple[Region, list[Any]] | None = None
        try:
            for region in regions:
                upcoming = region, [t.submit(read, region) for t, read in zip(threads, readers, strict=True)]
                if waiting is not None:
                    yield _finished(waiting)
                waiting = upcoming
            if waiting is not None:
                yield _finished(waiting)
        except BaseException:
            for future in waiting[1] if waiting is not None else ():
                future.cancel()
            raise


def _finished(waiting: tuple[Region, list[Any]]) -> tuple[Region, tuple[Block, ...]]:
    region, futures = waiting
    return region, tuple(f.result() for f in futures)
