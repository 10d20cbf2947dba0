"""The loop that counts values, as machine code: speed, never another result."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from .machine_code import machine_code

__all__ = ["TABLES", "count_kernel", "worth"]

#: bytes of a job from which making the kernel costs less than it saves (measured)
_WORTH = 128 << 20
#: tables between which neighbours alternate: adding to one place twice in a row would wait for memory
TABLES = 4

Kernel = Callable[[NDArray[np.uint16], NDArray[np.uint32]], None]

#: counts one value: its place, the load, the counter of its table
_STEP = """
  %at{j} = add i64 %k, {j}
  %offset{j} = mul i64 %at{j}, %stride
  %place{j} = getelementptr i8, ptr %values, i64 %offset{j}
  %value{j} = load i16, ptr %place{j}, align 1
  %wide{j} = zext i16 %value{j} to i64
  %slot{j} = add i64 %wide{j}, {first}
  %counter{j} = getelementptr i32, ptr %tables, i64 %slot{j}
  %old{j} = load i32, ptr %counter{j}, align 4
  %new{j} = add i32 %old{j}, 1
  store i32 %new{j}, ptr %counter{j}, align 4"""

#: void count(values, n, stride in bytes, tables): groups of `TABLES` values, then the rest one by one
_MODULE = """
define void @count(ptr %values, i64 %n, i64 %stride, ptr %tables) {{
entry:
  %grouped = and i64 %n, -{tables}
  br label %groups
groups:
  %i = phi i64 [ 0, %entry ], [ %i.next, %group ]
  %more = icmp slt i64 %i, %grouped
  br i1 %more, label %group, label %singles
group:
  %k = add i64 %i, 0{steps}
  %i.next = add i64 %i, {tables}
  br label %groups
singles:
  %s = phi i64 [ %grouped, %groups ], [ %s.next, %single ]
  %left = icmp slt i64 %s, %n
  br i1 %left, label %single, label %end
single:
  %s.offset = mul i64 %s, %stride
  %s.place = getelementptr i8, ptr %values, i64 %s.offset
  %s.value = load i16, ptr %s.place, align 1
  %s.wide = zext i16 %s.value to i64
  %s.counter = getelementptr i32, ptr %tables, i64 %s.wide
  %s.old = load i32, ptr %s.counter, align 4
  %s.new = add i32 %s.old, 1
  store i32 %s.new, ptr %s.counter, align 4
  %s.next = add i64 %s, 1
  br label %singles
end:
  ret void
}}
"""


def worth(nbytes: int) -> bool:
    """Whether the kernel pays for a job of so many bytes."""
    return nbytes >= _WORTH and find_spec("llvmlite") is not None


@cache
def count_kernel() -> Kernel | None:
    """A function that adds counts of 1-D values to tables of shape (`TABLES`, 65536), outside the GIL.

    None where there is no machine code.
    """
    steps = "".join(_STEP.format(j=j, first=j << 16) for j in range(TABLES))
    code = machine_code(_MODULE.format(tables=TABLES, steps=steps), count="pqqp")
    if code is None:
        return None

    def kernel(values: NDArray[np.uint16], tables: NDArray[np.uint32]) -> None:
        assert tables.shape == (TABLES, 1 << 16) and tables.flags.c_contiguous
        assert values.ndim == 1 and values.dtype == np.uint16 and tables.dtype == np.uint32
        code.functions["count"](values.ctypes.data, values.size, values.strides[0], tables.ctypes.data)

    return kernel
