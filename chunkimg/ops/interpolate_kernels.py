"""Interpolation as machine code, where the extra ``[fast]`` is installed: speed, never another result.

LLVM makes each loop from a text in its own language when it is first wanted, in a tenth of a second. Sixteen points (or
eight, in float64) are computed at a time by vector instructions, with gathers where the processor has them; of integers
of at most 16 bits one gather brings both neighbours along x. The steps, their order and their types are those of
`interpolate`, which does the work where llvmlite is missing or cannot be used here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .interpolate_text import Recipe
from .lines import Box, Lines

__all__ = ["Kernel", "kernel_of"]

#: bytes behind a block that gathers of four bytes may touch
_BEHIND = 4
#: types whose values are interpolated by machine code; of others the nearest is taken by the size of their elements
_LINEAR = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"})
#: types of coefficients
_CUBIC = frozenset({"f4", "f8"})

_making = threading.Lock()


class Kernel:
    """One loop, for one type of values."""

    def __init__(self, recipe: Recipe, functions: dict[str, Callable[..., Any]], engine: Any) -> None:
        # the machine code lives as long as its engine
        self.recipe, self._functions, self._engine = recipe, functions, engine

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
        self._functions[name](*(a.ctypes.data for a in arrays))


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


def _kernel(name: str, method: str) -> Kernel | None:
    with _making:
        return _made(name, method)


@cache
def _made(name: str, method: str) -> Kernel | None:
    if sys.byteorder != "little":
        return None
    recipe = Recipe(name, method)
    try:
        functions, engine = _compiled(recipe.text())
    except Exception:
        # whatever is the matter with the LLVM found here: it is only faster
        return None
    return Kernel(recipe, functions, engine)


def _compiled(text: str) -> tuple[dict[str, Callable[..., Any]], Any]:
    """The functions, and what must live as long as they do."""
    import ctypes

    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    host = {"cpu": binding.get_host_cpu_name(), "features": binding.get_host_cpu_features().flatten()}
    machine = target.create_target_machine(opt=3, **host)
    module = binding.parse_assembly(text)
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    # ctypes releases the GIL while it runs
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7)
    return {name: prototype(engine.get_function_address(name)) for name in ("lines", "points")}, engine
