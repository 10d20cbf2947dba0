"""Weighted sums along an axis as machine code: speed, never another result.

Many sums are computed at a time; the steps, their order and their type are those of `gaussian`, which does the work
where there is no machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .machine_code import machine_code

__all__ = ["correlate_kernel"]

#: sums computed at a time
_LANES = 32
#: values of a row that are summed before the next row where rows lie far apart: what is near stays in the cache
_TILE = 1024

Values = NDArray[np.float32]
Kernel = Callable[[Values, Values, int, Values], None]

#: one sum, or `_LANES` of them: of the value in the middle, then pairs at growing distance
_SUM = """
{name}.enter:
  %{name}.at = getelementptr float, ptr %centre, i64 %{name}.j
  %{name}.first = load {type}, ptr %{name}.at, align 4
  %{name}.w0 = load float, ptr %weights, align 4
  {w0}
  %{name}.start = fmul {type} %{name}.first, %{name}.v0
  br label %{name}.taps
{name}.taps:
  %{name}.k = phi i64 [ 1, %{name}.enter ], [ %{name}.k.next, %{name}.tap ]
  %{name}.sum = phi {type} [ %{name}.start, %{name}.enter ], [ %{name}.sum.next, %{name}.tap ]
  %{name}.more = icmp sle i64 %{name}.k, %reach
  br i1 %{name}.more, label %{name}.tap, label %{name}.done
{name}.tap:
  %{name}.away = mul i64 %{name}.k, %step
  %{name}.back = sub i64 0, %{name}.away
  %{name}.pa = getelementptr float, ptr %{name}.at, i64 %{name}.back
  %{name}.pb = getelementptr float, ptr %{name}.at, i64 %{name}.away
  %{name}.a = load {type}, ptr %{name}.pa, align 4
  %{name}.b = load {type}, ptr %{name}.pb, align 4
  %{name}.both = fadd {type} %{name}.a, %{name}.b
  %{name}.pw = getelementptr float, ptr %weights, i64 %{name}.k
  %{name}.w = load float, ptr %{name}.pw, align 4
  {w}
  %{name}.weighted = fmul {type} %{name}.both, %{name}.v
  %{name}.sum.next = fadd {type} %{name}.sum, %{name}.weighted
  %{name}.k.next = add i64 %{name}.k, 1
  br label %{name}.taps
{name}.done:
  %{name}.to = getelementptr float, ptr %target, i64 %{name}.j
  store {type} %{name}.sum, ptr %{name}.to, align 4
  %{name}.j.next = add i64 %{name}.j, {lanes}
  br label %{name}.loop"""

_SPLAT = """%{name}.{to}.one = insertelement {type} poison, float %{name}.{of}, i64 0
  %{name}.{to} = shufflevector {type} %{name}.{to}.one, {type} poison, <{lanes} x i32> zeroinitializer"""

#: void correlate(in, out, weights, numbers): reach, rows, values of a row; distances of taps, rows in, rows out
_MODULE = """
define void @correlate(ptr %in, ptr %out, ptr %weights, ptr %numbers) {{
entry:
  {numbers}
  %offset = mul i64 %reach, %step
  %wide.end = and i64 %n, -{lanes}
  br label %rows
rows:
  %row = phi i64 [ 0, %entry ], [ %row.next, %row.done ]
  %row.more = icmp slt i64 %row, %rowcount
  br i1 %row.more, label %row.enter, label %end
row.enter:
  %in.row = mul i64 %row, %in.stride
  %in.at = add i64 %in.row, %offset
  %centre = getelementptr float, ptr %in, i64 %in.at
  %out.at = mul i64 %row, %out.stride
  %target = getelementptr float, ptr %out, i64 %out.at
  br label %wide.loop
wide.loop:
  %wide.j = phi i64 [ 0, %row.enter ], [ %wide.j.next, %wide.done ]
  %wide.left = icmp slt i64 %wide.j, %wide.end
  br i1 %wide.left, label %wide.enter, label %one.loop
{wide}
one.loop:
  %one.j = phi i64 [ %wide.end, %wide.loop ], [ %one.j.next, %one.done ]
  %one.left = icmp slt i64 %one.j, %n
  br i1 %one.left, label %one.enter, label %row.done
{one}
row.done:
  %row.next = add i64 %row, 1
  br label %rows
end:
  ret void
}}
"""


def _text() -> str:
    vector = f"<{_LANES} x float>"
    weights = (("w0", "v0"), ("w", "v"))
    splat = {of: _SPLAT.format(name="wide", of=of, to=to, type=vector, lanes=_LANES) for of, to in weights}
    same = {of: f"%one.{to} = bitcast float %one.{of} to float" for of, to in weights}
    names = ("reach", "rowcount", "n", "step", "in.stride", "out.stride")
    numbers = "\n  ".join(
        f"%{n}.p = getelementptr i64, ptr %numbers, i64 {k}\n  %{n} = load i64, ptr %{n}.p, align 8"
        for k, n in enumerate(names)
    )
    return _MODULE.format(
        numbers=numbers,
        lanes=_LANES,
        wide=_SUM.format(name="wide", type=vector, lanes=_LANES, **splat),
        one=_SUM.format(name="one", type="float", lanes=1, **same),
    )


@cache
def correlate_kernel() -> Kernel | None:
    """A function like `gaussian.correlate`, of C-contiguous arrays, with the one for its result last; outside the GIL.

    None where there is no machine code.
    """
    code = machine_code(_text(), correlate="pppp")
    if code is None:
        return None

    def kernel(block: Values, weights: Values, axis: int, out: Values) -> None:
        for array in (block, weights, out):
            assert array.dtype == np.float32 and array.flags.c_contiguous
        nz, ny, nx = block.shape
        reach = len(weights) - 1
        oz, oy, ox = out.shape
        # rows, values of each, distances of taps, of rows in and out
        layout = {
            0: (oz, ny * nx, ny * nx, ny * nx, ny * nx),
            1: (nz, oy * nx, nx, ny * nx, oy * nx),
            2: (nz * ny, ox, 1, nx, ox),
        }
        rows, n, *apart = layout[axis]
        tile = _TILE if axis == 0 else n
        for first in range(0, n, tile):
            numbers = np.array([reach, rows, min(tile, n - first), *apart], np.int64)
            start = 4 * first
            places = block.ctypes.data + start, out.ctypes.data + start, weights.ctypes.data, numbers.ctypes.data
            code.functions["correlate"](*places)

    return kernel
