"""Adding weighted patches as machine code: speed, never another result.

Some voxels of a row are computed at a time; the steps, their order and their type are those of `patches`, which does
the work where there is no machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .machine_code import machine_code

__all__ = ["blend_kernel"]

#: voxels computed at a time
_LANES = 8

Kernel = Callable[[NDArray[np.float64], NDArray[np.float32], Sequence[NDArray[np.float64]]], None]

#: one voxel, or `_LANES` of them
_STEP = """
{name}.loop:
  %{name}.k = phi i64 [ {first}, %{before} ], [ %{name}.k.next, %{name}.step ]
  %{name}.more = icmp slt i64 %{name}.k, {stop}
  br i1 %{name}.more, label %{name}.step, label %{after}
{name}.step:
  %{name}.x.at = getelementptr double, ptr %x, i64 %{name}.k
  %{name}.x = load {wide}, ptr %{name}.x.at, align 8
  %{name}.value.at = getelementptr float, ptr %value.row, i64 %{name}.k
  %{name}.narrow = load {narrow}, ptr %{name}.value.at, align 4
  %{name}.value = fpext {narrow} %{name}.narrow to {wide}
  %{name}.weight = fmul {wide} {zy}, %{name}.x
  %{name}.part = fmul {wide} %{name}.value, %{name}.weight
  %{name}.sum.at = getelementptr double, ptr %out.row, i64 %{name}.k
  %{name}.sum = load {wide}, ptr %{name}.sum.at, align 8
  %{name}.more.sum = fadd {wide} %{name}.sum, %{name}.part
  store {wide} %{name}.more.sum, ptr %{name}.sum.at, align 8
  %{name}.k.next = add i64 %{name}.k, {lanes}
  br label %{name}.loop"""

#: void blend(out, values, z, y, x, numbers): planes, rows, voxels of a row; bytes from plane to plane and row to row of
#: `out`, then of the values
_MODULE = """
define void @blend(ptr %out, ptr %values, ptr %z, ptr %y, ptr %x, ptr %numbers) {{
entry:
  {numbers}
  %wide.end = and i64 %nx, -{lanes}
  br label %planes
planes:
  %p = phi i64 [ 0, %entry ], [ %p.next, %plane.end ]
  %p.more = icmp slt i64 %p, %nz
  br i1 %p.more, label %plane, label %end
plane:
  %z.at = getelementptr double, ptr %z, i64 %p
  %z.value = load double, ptr %z.at, align 8
  %out.plane.skip = mul i64 %p, %out.z
  %out.plane = getelementptr i8, ptr %out, i64 %out.plane.skip
  %value.plane.skip = mul i64 %p, %values.z
  %value.plane = getelementptr i8, ptr %values, i64 %value.plane.skip
  br label %rows
rows:
  %r = phi i64 [ 0, %plane ], [ %r.next, %row.end ]
  %r.more = icmp slt i64 %r, %ny
  br i1 %r.more, label %row, label %plane.end
row:
  %y.at = getelementptr double, ptr %y, i64 %r
  %y.value = load double, ptr %y.at, align 8
  %zy = fmul double %z.value, %y.value
  %zy.one = insertelement <{lanes} x double> poison, double %zy, i64 0
  %zy.all = shufflevector <{lanes} x double> %zy.one, <{lanes} x double> poison, <{lanes} x i32> zeroinitializer
  %out.row.skip = mul i64 %r, %out.y
  %out.row = getelementptr i8, ptr %out.plane, i64 %out.row.skip
  %value.row.skip = mul i64 %r, %values.y
  %value.row = getelementptr i8, ptr %value.plane, i64 %value.row.skip
  br label %wide.loop
{wide}
{one}
row.end:
  %r.next = add i64 %r, 1
  br label %rows
plane.end:
  %p.next = add i64 %p, 1
  br label %planes
end:
  ret void
}}
"""


def _text() -> str:
    names = ("nz", "ny", "nx", "out.z", "out.y", "values.z", "values.y")
    numbers = "\n  ".join(
        f"%{n}.p = getelementptr i64, ptr %numbers, i64 {k}\n  %{n} = load i64, ptr %{n}.p, align 8"
        for k, n in enumerate(names)
    )
    vectors = {"wide": f"<{_LANES} x double>", "narrow": f"<{_LANES} x float>", "zy": "%zy.all", "lanes": _LANES}
    single = {"wide": "double", "narrow": "float", "zy": "%zy", "lanes": 1}
    places = {"first": "0", "before": "row", "stop": "%wide.end", "after": "one.loop"}
    rest = {"first": "%wide.end", "before": "wide.loop", "stop": "%nx", "after": "row.end"}
    return _MODULE.format(
        numbers=numbers,
        lanes=_LANES,
        wide=_STEP.format(name="wide", **vectors, **places),
        one=_STEP.format(name="one", **single, **rest),
    )


@cache
def blend_kernel() -> Kernel | None:
    """A function that adds ``values * (z * y * x)``, axes z, y, x, to an array; outside the GIL.

    Values are float32, all else float64; voxels along x lie side by side. None where there is no machine code.
    """
    code = machine_code(_text(), blend="pppppp")
    if code is None:
        return None

    def kernel(out: NDArray[np.float64], values: NDArray[np.float32], weights: Sequence[NDArray[np.float64]]) -> None:
        assert out.dtype == np.float64 and values.dtype == np.float32 and values.shape == out.shape
        assert out.strides[2] == out.itemsize and values.strides[2] == values.itemsize
        z, y, x = (np.ascontiguousarray(w, np.float64) for w in weights)
        numbers = np.array([*out.shape, *out.strides[:2], *values.strides[:2]], np.int64)
        arrays: tuple[NDArray[Any], ...] = (out, values, z, y, x, numbers)
        code.functions["blend"](*(a.ctypes.data for a in arrays))

    return kernel
