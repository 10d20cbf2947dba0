"""Writing runs of voxels into a raw file, in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..lazy import Block, Region
from ..open_file import OpenFile

__all__ = ["RunWriter", "stored_shape"]


def stored_shape(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Sizes as stored, slowest axis first."""
    return tuple(shape[a] for a in order)


class RunWriter:
    """Writes blocks at their place in a file.

    Parameters
    ----------
    file : OpenFile
        The file.
    offset : int
        First byte of the voxels.
    dtype : numpy dtype
        Stored type with byte order.
    shape : tuple of int
        Stored sizes, slowest first.
    order : sequence of int
        Axes of the blocks from slowest to fastest in the file.
    """

    def __init__(
        self, file: OpenFile, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Sequence[int]
    ) -> None:
        self.file, self.offset, self.dtype, self.shape, self.order = file, offset, dtype, shape, tuple(order)

    def reserve(self) -> None:
        """Claim the space, so that a full disk is noticed at once."""
        self.file.reserve(self.offset + math.prod(self.shape) * self.dtype.itemsize)

    def __call__(self, region: Region, block: Block) -> None:
        """Write a block to its region."""
        stored = np.ascontiguousarray(block.transpose(self.order), dtype=self.dtype)
        ranges = [region[a] for a in self.order]
        outer = next((k for k in reversed(range(len(ranges))) if len(ranges[k]) != self.shape[k]), 0)
        strides = [math.prod(self.shape[k + 1 :]) for k in range(len(self.shape))]
        rows = stored.reshape(math.prod(stored.shape[:outer]), -1)
        starts = np.zeros(1, dtype=np.int64)
        for k in range(outer):
            starts = (starts[:, None] + np.asarray(ranges[k], dtype=np.int64) * strides[k]).reshape(-1)
        starts = starts + (ranges[outer].start * strides[outer] if ranges else 0)
        for start, row in zip(starts.tolist(), rows, strict=True):
            self.file.write(row.data.cast("B"), self.offset + start * self.dtype.itemsize)
