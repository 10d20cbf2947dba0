"""Slabs of a plan written by the workers of dask.distributed, one task each, into a folder that all of them share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import FormatError
from ..lazy import Block, LazyArray, Region
from .zarr_append import ArrayWriter
from .zarr_plan import LevelPlan
from .zarr_put import Folder
from .zarr_resume import PLAN

__all__ = ["active_client", "write_on_workers"]


def active_client() -> Any:
    """The client of dask.distributed that is active here, or None; it is not imported to tell."""
    module = sys.modules.get("distributed")
    if module is None:
        return None
    try:
        return module.get_client()
    except ValueError:
        return None


def write_on_workers(
    client: Any,
    level: LevelPlan,
    source: LazyArray,
    store: Folder,
    slabs: Iterable[Region],
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Write slabs of a level, in any order.

    Parameters
    ----------
    client : distributed.Client
        Whose workers write.
    level : LevelPlan
        What is written.
    source : LazyArray
        Voxels of the level; workers read them by themselves.
    store : Folder
        At the same path on all machines.
    slabs : iterable of tuple of range
        Which.
    progress : callable, optional
        Called with numbers of bytes that are done.

    Raises
    ------
    FormatError
        If what a worker wrote is not here: they do not share the folder.
    """
    from distributed import as_completed

    here = _Joined(store.path, store.get(PLAN))
    futures = [_submitted(client, level, source, here, region) for region in slabs]
    try:
        for _, (keys, size) in as_completed(futures, with_results=True):
            absent = [key for key in keys if not store.has(key)]
            if absent:
                raise FormatError(
                    f"{store.path}: a worker wrote {absent[0]}, and it is not here; the folder must be shared by this "
                    "machine and all workers, under the same path"
                )
            if progress is not None:
                progress(size)
    except BaseException:
        client.cancel(futures)
        raise


class _Joined(Folder):
    """The folder of a write, on a worker.

    A task that has begun goes on when its write has failed or was interrupted. Another write may have taken the name of
    the folder by then: what is left of the first one must not come between.
    """

    def __init__(self, path: str, plan: bytes | None) -> None:
        super().__init__(path)
        self._plan = plan

    def put(self, key: str, *parts: bytes) -> None:
        """Write a file, if the folder is still that of the same plan."""
        found = self.get(PLAN)
        if found is None or found != self._plan:
            raise FormatError(
                f"{self.path} is not on this worker, or no longer of the same write; the folder must be shared by all "
                "workers, under the same path"
            )
        super().put(key, *parts)


def _submitted(client: Any, level: LevelPlan, source: LazyArray, store: Folder, region: Region) -> Any:
    block = source.task(region)
    if block is None:
        return client.submit(_read_and_write, level, source, store, region, pure=False)
    from dask.delayed import delayed

    return client.compute(delayed(_write, pure=False)(level, store, region, block))


def _read_and_write(level: LevelPlan, source: LazyArray, store: Folder, region: Region) -> tuple[list[str], int]:
    with source.reader() as read:
        return _write(level, store, region, read(region))


def _write(level: LevelPlan, store: Folder, region: Region, block: Block) -> tuple[list[str], int]:
    """Write a slab; the keys of what was stored, and the number of bytes."""
    ArrayWriter(store, level.path, level.spec).write(region, np.asarray(block)).wait()
    return [key for key in level.keys(region) if store.has(key)], block.nbytes
