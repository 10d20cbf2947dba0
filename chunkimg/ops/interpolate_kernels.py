"""Interpolation as machine code: speed, never another result.

Sixteen points (or eight, in float64) are computed at a time by vector instructions, with gathers where the processor
has them; of integers of at most 16 bits one gather brings both neighbours along x. The steps, their order and their
types are those of `interpolate`, which does the work where there is no machine code.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .interpolate_text import Recipe
from .lines import Box, Lines
from .machine_code import MachineCode, machine_code

__all__ = ["Kernel", "kernel_of"]

#: bytes behind a block that gathers of four bytes may touch
_BEHIND = 4
#: types whose values are interpolated by machine code; of others the nearest is taken by the size of their elements
_LINEAR = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"})
#: types of coefficients
_CUBIC = frozenset({"f4", "f8"})


class Kernel:
    """One loop, for one type of values."""

    def __init__(self, recipe: Recipe, code: MachineCode) -> None:
        self.recipe, self._code = recipe, code

    def lines(self, box: Box, lines: Lines, out: Block) -> None:
        """Values at the points of lines, as of `interpolate.interpolate_lines`."""
        self._run("lines", box, lines.base, lines.step, (lines.start, lines.stride), (lines.first, lines.last), out)

    def points(self, box: Box, points: NDArray[np.float64], out: Block) -> None:
        """Values at points, as of `interpolate.interpolate_points`."""
        number = np.zeros(1, np.int64), np.full(1, points.shape[1], np.int64)
        self._run("points", box, np.ascontiguousarray(points), np.zeros(3), (0, 1), number, out)

    def _run(
        self,
        name: str,
        box: Box,
        base: NDArray[np.float64],
        step: NDArray[np.float64],
        count: tuple[int, int],
        ends: tuple[NDArray[np.int64], NDArray[np.int64]],
        out: Block,
    ) -> None:
        block = _readable(box.block, self.recipe.size < 4)
        whole = [block.strides, box.origin, box.block.shape, ends[0].shape, (out.shape[-1] * out.itemsize,)]
        numbers = np.array([n for part in whole for n in part], np.int64)
        reals = np.array([*step, *count, *(n - 1 for n in box.shape)], np.float64)
        arrays = (block, numbers, reals, np.ascontiguousarray(base), *ends, out)
        self._code.functions[name](*(a.ctypes.data for a in arrays))


def _readable(block: Block, narrow: bool) -> Block:
    """A block whose elements a 32-bit distance apart can be gathered, four bytes at a time."""
    reach = sum((n - 1) * abs(s) for n, s in zip(block.shape, block.strides, strict=True))
    apart = block.strides[2] != block.itemsize or (block.itemsize == 1) or block.shape[2] == 1
    if reach < 1 << 31 and min(block.strides) >= 0 and not (narrow and apart):
        return block
    padded = np.empty(block.nbytes + _BEHIND, np.uint8)
    out = padded[: block.nbytes].view(block.dtype).reshape(block.shape)
    out[...] = block
    return out


def kernel_of(block: Block, method: str, out: Block) -> Kernel | None:
    """The loop for a block; None where there is none: NumPy does the work then."""
    dtype = block.dtype
    if not (dtype.isnative and out.flags.c_contiguous and out.dtype == dtype and out.size and block.nbytes < 1 << 31):
        return None
    name = f"{dtype.kind}{dtype.itemsize}" if dtype.kind != "b" else "u1"
    if method == "nearest":
        return _kernel(f"u{dtype.itemsize}", method) if dtype.itemsize in (1, 2, 4, 8) else None
    return _kernel(name, method) if name in (_LINEAR if method == "linear" else _CUBIC) else None


@cache
def _kernel(name: str, method: str) -> Kernel | None:
    if sys.byteorder != "little":
        return None
    recipe = Recipe(name, method)
    code = machine_code(recipe.text(), lines="p" * 7, points="p" * 7)
    return None if code is None else Kernel(recipe, code)
