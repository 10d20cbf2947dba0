"""The copying engine: slabs from a lazy array to a writer, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..lazy import Block, LazyArray, Region

__all__ = ["copy"]


def copy(
    source: LazyArray,
    write: Callable[[Region, Block], None],
    regions: Iterable[Region],
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Read each region in order and write it; one region is read ahead while another is written.

    Parameters
    ----------
    source : LazyArray
        Where voxels come from.
    write : callable
        Takes a region and its block.
    regions : iterable of Region
        In the order in which the source is read.
    progress : callable, optional
        Called with the number of bytes of each block when it is written.
    """
    with source.reader() as read, ThreadPoolExecutor(1, thread_name_prefix="chunkimg-read") as ahead:
        waiting: tuple[Region, Any] | None = None
        try:
            for region in regions:
                upcoming = region, ahead.submit(read, region)
                if waiting is not None:
                    _finish(waiting, write, progress)
                waiting = upcoming
            if waiting is not None:
                _finish(waiting, write, progress)
        except BaseException:
            if waiting is not None:
                waiting[1].cancel()
            raise


def _finish(
    waiting: tuple[Region, Any], write: Callable[[Region, Block], None], progress: Callable[[int], Any] | None
) -> None:
    region, future = waiting
    block = future.result()
    write(region, block)
    if progress is not None:
        progress(block.nbytes)
