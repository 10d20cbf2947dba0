"""Modes of blocks of labels as machine code: speed, never another result.

Most blocks hold one label. Sixteen are looked at in one pass over their rows; of those that hold several, each label is
counted. `downsample` finds the same where there is no machine code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from ..lazy import Block
from .machine_code import machine_code

__all__ = ["mode_kernel"]

#: blocks that are looked at together
_LANES = 16
#: voxels of a block, at most
_MOST = 128

Kernel = Callable[[Block, Sequence[int], Block], None]

#: the mode of one block: the pairs of its rows are put side by side, then each is counted
_COUNT = """
define internal {word} @mode(ptr %corner, i64 %rows, i64 %planes, i64 %row.stride, i64 %plane.stride) noinline {{
entry:
  %values = alloca [{most} x {word}], align 64
  br label %z
z:
  %a = phi i64 [ 0, %entry ], [ %a.next, %z.next ]
  %n.z = phi i64 [ 0, %entry ], [ %n.next, %z.next ]
  %plane = mul i64 %a, %plane.stride
  br label %y
y:
  %b = phi i64 [ 0, %z ], [ %b.next, %y ]
  %n = phi i64 [ %n.z, %z ], [ %n.next, %y ]
  %row = mul i64 %b, %row.stride
  %away = add i64 %plane, %row
  %from = getelementptr i8, ptr %corner, i64 %away
  %pair = load <2 x {word}>, ptr %from, align 1
  %to = getelementptr {word}, ptr %values, i64 %n
  store <2 x {word}> %pair, ptr %to, align 1
  %n.next = add i64 %n, 2
  %b.next = add i64 %b, 1
  %y.left = icmp slt i64 %b.next, %rows
  br i1 %y.left, label %y, label %z.next
z.next:
  %a.next = add i64 %a, 1
  %z.left = icmp slt i64 %a.next, %planes
  br i1 %z.left, label %z, label %candidates
candidates:
  %i = phi i64 [ 0, %z.next ], [ %i.next, %judged ]
  %best = phi {word} [ 0, %z.next ], [ %best.next, %judged ]
  %most = phi i64 [ 0, %z.next ], [ %most.next, %judged ]
  %i.at = getelementptr {word}, ptr %values, i64 %i
  %candidate = load {word}, ptr %i.at, align 1
  br label %others
others:
  %j = phi i64 [ 0, %candidates ], [ %j.next, %others ]
  %count = phi i64 [ 0, %candidates ], [ %count.next, %others ]
  %j.at = getelementptr {word}, ptr %values, i64 %j
  %other = load {word}, ptr %j.at, align 1
  %equal = icmp eq {word} %other, %candidate
  %one = zext i1 %equal to i64
  %count.next = add i64 %count, %one
  %j.next = add i64 %j, 1
  %j.left = icmp slt i64 %j.next, %n.next
  br i1 %j.left, label %others, label %judged
judged:
  %more = icmp ugt i64 %count.next, %most
  %same = icmp eq i64 %count.next, %most
  %labelled = icmp ne {word} %candidate, 0
  %smaller = icmp {less} {word} %candidate, %best
  %was.background = icmp eq {word} %best, 0
  %preferred = or i1 %smaller, %was.background
  %wins = and i1 %labelled, %preferred
  %tie = and i1 %same, %wins
  %better = or i1 %more, %tie
  %best.next = select i1 %better, {word} %candidate, {word} %best
  %most.next = select i1 %better, i64 %count.next, i64 %most
  %i.next = add i64 %i, 1
  %i.left = icmp slt i64 %i.next, %n.next
  br i1 %i.left, label %candidates, label %end
end:
  ret {word} %best.next
}}
"""

#: blocks from i on, `lanes` of them: the first voxel of each, and whether another one differs
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
  br i1 %{name}.z.left, label %{name}.z, label %{name}.differ
{name}.differ:
  %{name}.out = getelementptr {word}, ptr %target, i64 %{name}.i
  store {values} %{name}.first, ptr %{name}.out, align 1
  %{name}.differs = icmp ne {values} %{name}.seen.y, zeroinitializer
  %{name}.bits = bitcast <{lanes} x i1> %{name}.differs to i{lanes}
  %{name}.mask = zext i{lanes} %{name}.bits to i32
  br label %{name}.mixed
{name}.mixed:
  %{name}.left = phi i32 [ %{name}.mask, %{name}.differ ], [ %{name}.left.next, %{name}.count ]
  %{name}.some = icmp ne i32 %{name}.left, 0
  br i1 %{name}.some, label %{name}.count, label %{name}.done
{name}.count:
  %{name}.lowest = call i32 @llvm.cttz.i32(i32 %{name}.left, i1 true)
  %{name}.less = sub i32 %{name}.left, 1
  %{name}.left.next = and i32 %{name}.left, %{name}.less
  %{name}.lane = zext i32 %{name}.lowest to i64
  %{name}.lane.two = shl i64 %{name}.lane, 1
  %{name}.block = getelementptr {word}, ptr %{name}.head, i64 %{name}.lane.two
  %{name}.mode = call {word} @mode(ptr %{name}.block, i64 %rows, i64 %planes, i64 %row.stride, i64 %plane.stride)
  %{name}.place = getelementptr {word}, ptr %{name}.out, i64 %{name}.lane
  store {word} %{name}.mode, ptr %{name}.place, align 1
  br label %{name}.mixed
{name}.done:
  %{name}.i.next = add i64 %{name}.i, {lanes}
  br label %{name}.loop"""

#: void modes(in, out, numbers): blocks along x and y, rows and planes of one; strides in bytes: of rows, planes, of out
_MODULE = """
declare i32 @llvm.cttz.i32(i32, i1)
{count}
define void @modes(ptr %in, ptr %out, ptr %numbers) {{
entry:
  {numbers}
  %wide.end = and i64 %n, -{lanes}
  %block.stride = mul i64 %rows, %row.stride
  br label %lines
lines:
  %j = phi i64 [ 0, %entry ], [ %j.next, %line.done ]
  %j.left = icmp slt i64 %j, %lines.n
  br i1 %j.left, label %line, label %end
line:
  %ahead = mul i64 %j, %block.stride
  %corner = getelementptr i8, ptr %in, i64 %ahead
  %ready = mul i64 %j, %out.stride
  %target = getelementptr i8, ptr %out, i64 %ready
  br label %wide.loop
wide.loop:
  %wide.i = phi i64 [ 0, %line ], [ %wide.i.next, %wide.done ]
  %wide.more.left = icmp slt i64 %wide.i, %wide.end
  br i1 %wide.more.left, label %wide.enter, label %one.loop
{wide}
one.loop:
  %one.i = phi i64 [ %wide.end, %wide.loop ], [ %one.i.next, %one.done ]
  %one.more.left = icmp slt i64 %one.i, %n
  br i1 %one.more.left, label %one.enter, label %line.done
{one}
line.done:
  %j.next = add i64 %j, 1
  br label %lines
end:
  ret void
}}
"""


def _text(kind: str, size: int) -> str:
    word = f"i{8 * size}"

    def step(name: str, lanes: int) -> str:
        def mask(first: int) -> str:
            return f"<{lanes} x i32> <{', '.join(f'i32 {2 * k + first}' for k in range(lanes))}>"

        kinds = {"pairs": f"<{2 * lanes} x {word}>", "values": f"<{lanes} x {word}>"}
        return _STEP.format(name=name, lanes=lanes, word=word, even=mask(0), odd=mask(1), **kinds)

    names = ("n", "lines.n", "rows", "planes", "row.stride", "plane.stride", "out.stride")
    numbers = "\n  ".join(
        f"%{n}.p = getelementptr i64, ptr %numbers, i64 {k}\n  %{n} = load i64, ptr %{n}.p, align 8"
        for k, n in enumerate(names)
    )
    count = _COUNT.format(word=word, most=_MOST, less="slt" if kind == "i" else "ult")
    return _MODULE.format(numbers=numbers, lanes=_LANES, count=count, wide=step("wide", _LANES), one=step("one", 1))


def mode_kernel(block: Block, factors: Sequence[int], out: Block | None) -> Kernel | None:
    """A function that puts modes of blocks of integers into `out`, for parts of such arrays; outside the GIL.

    None where there is no machine code, and for blocks that do not hold pairs of voxels along the last axis, which are
    neighbours in memory.
    """
    fits = block.ndim >= 3 and factors[-1] == 2 and set(factors[:-3]) <= {1} and math.prod(factors) <= _MOST
    rows = all(a is None or a.strides[-1] == a.itemsize for a in (block, out))
    if not (fits and rows and block.dtype.isnative):
        return None
    return _kernel(block.dtype.kind, block.itemsize)


@cache
def _kernel(kind: str, size: int) -> Kernel | None:
    code = machine_code(_text(kind, size), modes="ppp")
    if code is None:
        return None

    def kernel(block: Block, factors: Sequence[int], out: Block) -> None:
        planes, rows, _ = factors[-3:]
        assert out.strides[-1] == block.strides[-1] == size
        assert block.shape == tuple(n * f for n, f in zip(out.shape, factors, strict=True))
        for at in np.ndindex(out.shape[:-2]):
            source = block[(*at[:-1], slice(at[-1] * planes, (at[-1] + 1) * planes))]
            target = out[at]
            strides = source.strides[1], source.strides[0], target.strides[0]
            numbers = np.array([target.shape[1], target.shape[0], rows, planes, *strides], np.int64)
            code.functions["modes"](source.ctypes.data, target.ctypes.data, numbers.ctypes.data)

    return kernel
