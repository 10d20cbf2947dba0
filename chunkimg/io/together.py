"""Two arrays of the same shape read together: in an order that is cheap for both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ..chunks import block_shape, regions, slab_bytes
from ..lazy import LazyArray, Region
from .format import Progress
from .spool import spooled

__all__ = ["in_step"]


@contextmanager
def in_step(
    a: LazyArray, b: LazyArray, budget: int, progress: Progress | None
) -> Iterator[tuple[list[LazyArray], Iterator[Region]]]:
    """Both arrays, and slabs in an order that is cheap for both.

    A sequential source (gzip) sets the order. One that would have to be decoded again for every slab is put into a
    temporary file first.
    """
    arrays = [a, b]
    spool = _to_spool(a, b, budget)
    if progress is not None:
        progress.start(a.nbytes + b.nbytes + sum(arrays[k].nbytes for k in spool))
    with ExitStack() as stack:
        for k in spool:
            arrays[k] = stack.enter_context(spooled(arrays[k], budget, progress=progress))
        order, block = _slabs(arrays[0], arrays[1], budget)
        yield arrays, regions(a.shape, block, order)


def _to_spool(a: LazyArray, b: LazyArray, budget: int) -> list[int]:
    """Which of the two cannot be read in step with the other."""
    sequential = [k for k, s in enumerate((a, b)) if s.front_to_back]
    against = [k for k in sequential if (a, b)[k].file_order is None]
    if against or not sequential:
        # the other one, read alone, has its own order
        return against
    if len(sequential) == 2:
        return [] if _thick_order(a) == _thick_order(b) else [1]
    unit = _unit(a, b, budget)
    _, block = _slabs(a, b, budget)
    cuts = unit is not None and any(s < min(u, n) for s, u, n in zip(block, unit, a.shape, strict=True))
    return sequential if cuts else []


def _thick_order(array: LazyArray) -> list[int]:
    return [k for k in array.file_order or () if array.shape[k] > 1]


def _slabs(a: LazyArray, b: LazyArray, budget: int) -> tuple[Sequence[int] | None, tuple[int, ...]]:
    """Order of the axes, slowest first, and the shape of slabs."""
    first = a if a.front_to_back or not b.front_to_back else b
    order = first.file_order
    block = block_shape(
        a.shape,
        a.dtype.itemsize + b.dtype.itemsize,
        unit=_unit(a, b, budget),
        order=order,
        front_to_back=first.front_to_back,
        target=slab_bytes(budget),
    )
    return order, block


def _unit(a: LazyArray, b: LazyArray, budget: int) -> tuple[int, ...] | None:
    """What slabs should not cut: whole chunks of both where these are few, or of one; nothing where they are large."""
    if a.chunks is None or b.chunks is None:
        return a.chunks or b.chunks
    both = tuple(min(math.lcm(p, q), n) for p, q, n in zip(a.chunks, b.chunks, a.shape, strict=True))
    few = math.prod(both) <= 8 * max(math.prod(a.chunks), math.prod(b.chunks))
    most = 2 * slab_bytes(budget) // (a.dtype.itemsize + b.dtype.itemsize)
    fitting = [unit for unit in ([both] if few else []) + [a.chunks, b.chunks] if math.prod(unit) <= most]
    return fitting[0] if fitting else None
