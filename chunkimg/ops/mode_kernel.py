"""Which blocks of labels hold one label only, as machine code: speed, never another result.

The first label of each block is taken, and whether another one differs from it is noted, in one pass over the rows;
`downsample` takes these steps one after the other where there is no machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .machine_code import machine_code

__all__ = ["uniform_kernel"]

#: blocks that are worked on at a time
_LANES = 16

Kernel = Callable[[Block, int, int, Block, NDArray[np.uint8]], None]

#: blocks from %i on: `lanes` of them, whose voxels along x are pairs
_STEP = """
{name}.enter:
  %{name}.two = shl i64 %{name}.i, 1
  %{name}.head = getelementptr {word}, ptr %corner, i64 %{name}.two
  %{name}.pair = load {pairs}, ptr %{name}.head, align 1
  %{name}.first = shufflevector {pairs} %{name}.pair, {pairs} poison, {even}
  br label %{name}.z
{name}.z:
  %{name}.a = phi i64 [ 0, %{name}.enter ], [ %{name}.a.next, %{name}.z.next ]
  %{name}.seen.z = phi {values} [ zeroinitializer, %{name}.enter ], [ %{name}.seen.y, %{name}.z.next ]
  %{name}.plane = mul i64 %{name}.a, %plane.stride
  br label %{name}.y
{name}.y:
  %{name}.b = phi i64 [ 0, %{name}.z ], [ %{name}.b.next, %{name}.y ]
  %{name}.seen = phi {values} [ %{name}.seen.z, %{name}.z ], [ %{name}.seen.y, %{name}.y ]
  %{name}.row = mul i64 %{name}.b, %row.stride
  %{name}.away = add i64 %{name}.plane, %{name}.row
  %{name}.at = getelementptr i8, ptr %{name}.head, i64 %{name}.away
  %{name}.both = load {pairs}, ptr %{name}.at, align 1
  %{name}.evens = shufflevector {pairs} %{name}.both, {pairs} poison, {even}
  %{name}.odds = shufflevector {pairs} %{name}.both, {pairs} poison, {odd}
  %{name}.other = xor {values} %{name}.evens, %{name}.first
  %{name}.beside = xor {values} %{name}.odds, %{name}.first
  %{name}.more = or {values} %{name}.other, %{name}.beside
  %{name}.seen.y = or {values} %{name}.seen, %{name}.more
  %{name}.b.next = add i64 %{name}.b, 1
  %{name}.y.left = icmp slt i64 %{name}.b.next, %rows
  br i1 %{name}.y.left, label %{name}.y, label %{name}.z.next
{name}.z.next:
  %{name}.a.next = add i64 %{name}.a, 1
  %{name}.z.left = icmp slt i64 %{name}.a.next, %planes
  br i1 %{name}.z.left, label %{name}.z, label %{name}.done
{name}.done:
  %{name}.differs = icmp ne {values} %{name}.seen.y, zeroinitializer
  %{name}.flag = zext {bits} %{name}.differs to {bytes}
  %{name}.out = getelementptr {word}, ptr %values.row, i64 %{name}.i
  store {values} %{name}.first, ptr %{name}.out, align 1
  %{name}.note = getelementptr i8, ptr %flags.row, i64 %{name}.i
  store {bytes} %{name}.flag, ptr %{name}.note, align 1
  %{name}.i.next = add i64 %{name}.i, {lanes}
  br label %{name}.loop"""

#: void uniform(in, out, flags, numbers): blocks along x and y; rows and planes of one; strides in bytes of y and z
_MODULE = """
define void @uniform(ptr %in, ptr %out, ptr %flags, ptr %numbers) {{
entry:
  {numbers}
  %wide.end = and i64 %n, -{lanes}
  %block.stride = mul i64 %rows, %row.stride
  br label %lines
lines:
  %j = phi i64 [ 0, %entry ], [ %j.next, %line.done ]
  %j.left = icmp slt i64 %j, %count
  br i1 %j.left, label %line, label %end
line:
  %ahead = mul i64 %j, %block.stride
  %corner = getelementptr i8, ptr %in, i64 %ahead
  %done = mul i64 %j, %n
  %values.row = getelementptr {word}, ptr %out, i64 %done
  %flags.row = getelementptr i8, ptr %flags, i64 %done
  br label %wide.loop
wide.loop:
  %wide.i = phi i64 [ 0, %line ], [ %wide.i.next, %wide.done ]
  %wide.left = icmp slt i64 %wide.i, %wide.end
  br i1 %wide.left, label %wide.enter, label %one.loop
{wide}
one.loop:
  %one.i = phi i64 [ %wide.end, %wide.loop ], [ %one.i.next, %one.done ]
  %one.left = icmp slt i64 %one.i, %n
  br i1 %one.left, label %one.enter, label %line.done
{one}
line.done:
  %j.next = add i64 %j, 1
  br label %lines
end:
  ret void
}}
"""


def _text(size: int) -> str:
    word = f"i{8 * size}"

    def step(name: str, lanes: int) -> str:
        def mask(first: int) -> str:
            return f"<{lanes} x i32> <{', '.join(f'i32 {2 * k + first}' for k in range(lanes))}>"

        kinds = {"pairs": f"<{2 * lanes} x {word}>", "values": f"<{lanes} x {word}>"}
        flags = {"bits": f"<{lanes} x i1>", "bytes": f"<{lanes} x i8>"}
        return _STEP.format(name=name, lanes=lanes, word=word, even=mask(0), odd=mask(1), **kinds, **flags)

    names = ("n", "count", "rows", "planes", "row.stride", "plane.stride")
    numbers = "\n  ".join(
        f"%{n}.p = getelementptr i64, ptr %numbers, i64 {k}\n  %{n} = load i64, ptr %{n}.p, align 8"
        for k, n in enumerate(names)
    )
    return _MODULE.format(numbers=numbers, lanes=_LANES, word=word, wide=step("wide", _LANES), one=step("one", 1))


@cache
def uniform_kernel(size: int) -> Kernel | None:
    """A function for integers of `size` bytes, outside the GIL; None where there is no machine code.

    It takes planes (z, y, x) of one row of blocks along z, whose neighbours along x are neighbours in memory, how many
    planes and rows a block has, where the first labels go and where it is noted which blocks hold others, both of shape
    (y blocks, x blocks) and contiguous. Blocks have two voxels along x.
    """
    code = machine_code(_text(size), uniform="pppp")
    if code is None:
        return None

    def kernel(block: Block, planes: int, rows: int, out: Block, flags: NDArray[np.uint8]) -> None:
        assert block.strides[2] == block.itemsize == size and out.flags.c_contiguous and flags.flags.c_contiguous
        assert out.shape == flags.shape and block.shape == (planes, rows * out.shape[0], 2 * out.shape[1])
        strides: list[Any] = [block.strides[1], block.strides[0]]
        numbers = np.array([out.shape[1], out.shape[0], rows, planes, *strides], np.int64)
        code.functions["uniform"](block.ctypes.data, out.ctypes.data, flags.ctypes.data, numbers.ctypes.data)

    return kernel
