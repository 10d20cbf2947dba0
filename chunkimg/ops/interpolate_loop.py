"""What the loops of `interpolate_kernels` have in common, in LLVM's language.

A function ``void NAME(block, numbers, reals, base, first, last, out)`` computes the points of all lines, some at a time
in the lanes of vectors: their positions, the corners around them, the values there, what is between, the result.

``numbers`` (int64), each z, y, x: strides of the block in bytes, its first voxel, its sizes; then the number of lines,
and the bytes of a line of `out`. ``reals`` (float64): steps z, y, x; first number and stride along lines; highest
position z, y, x.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Loop"]

_FRAME = """
define void @{name}(ptr %block, ptr %numbers, ptr %reals, ptr %base, ptr %first, ptr %last, ptr %out) {{
entry:
{setup}
  br label %rows
rows:
  %row = phi i64 [ 0, %entry ], [ %row.next, %row.end ]
  %more.rows = icmp slt i64 %row, %count
  br i1 %more.rows, label %row.begin, label %end
row.begin:
  %first.at = getelementptr i64, ptr %first, i64 %row
  %row.first = load i64, ptr %first.at, align 8
  %last.at = getelementptr i64, ptr %last, i64 %row
  %row.last = load i64, ptr %last.at, align 8
  %last.int = trunc i64 %row.last to i32
  %out.skip = mul i64 %row, %out.stride
  %out.row = getelementptr i8, ptr %out, i64 %out.skip
{line}
  br label %steps
steps:
  %k = phi i64 [ %row.first, %row.begin ], [ %k.next, %step ]
  %more = icmp slt i64 %k, %row.last
  br i1 %more, label %step, label %row.end
step:
{body}
  %k.next = add i64 %k, {lanes}
  br label %steps
row.end:
  %row.next = add i64 %row, 1
  br label %rows
end:
  ret void
}}
"""


@dataclass(frozen=True)
class Loop:
    """What a loop is for.

    Attributes
    ----------
    name : str
        Type of the values: kind and bytes.
    method : str
        ``"linear"``, ``"cubic"``, or ``"nearest"``, for which the type is ``u`` and the bytes.
    """

    name: str
    method: str

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return int(self.name[1:])

    @property
    def pairs(self) -> bool:
        """Whether 32 bits are gathered that hold a voxel and its neighbour."""
        return self.size < 4

    @property
    def lanes(self) -> int:
        """Points at a time."""
        wide = self.size == 8 or (self.method == "linear" and self.name in ("i4", "u4"))
        return 8 if wide else 16

    @property
    def real(self) -> str:
        """The type that is computed in."""
        return "float" if self.lanes == 16 else "double"

    @property
    def element(self) -> str:
        """The type of an element."""
        return {"f4": "float", "f8": "double"}.get(self.name, f"i{8 * self.size}")

    @property
    def gathered(self) -> str:
        """The type that is gathered."""
        return "i32" if self.pairs else self.element

    def text(self) -> str:
        """A module with the functions ``lines`` and ``points``."""
        n, short = self.lanes, {"float": "f32", "double": "f64"}
        gathered, stored = (short.get(t, t) for t in (self.gathered, self.element))
        return "\n".join(
            [
                f"declare {self.v(self.gathered)} @llvm.masked.gather.v{n}{gathered}.v{n}p0"
                f"(<{n} x ptr>, i32, <{n} x i1>, {self.v(self.gathered)})",
                f"declare void @llvm.masked.store.v{n}{stored}.p0({self.v(self.element)}, ptr, i32, <{n} x i1>)",
                f"declare {self.v('double')} @llvm.masked.load.v{n}f64.p0(ptr, i32, <{n} x i1>, {self.v('double')})",
                f"declare {self.v(self.real)} @llvm.rint.v{n}{short[self.real]}({self.v(self.real)})",
                *(self._function(name) for name in ("lines", "points")),
            ]
        )

    def v(self, scalar: str) -> str:
        """A vector of a type."""
        return f"<{self.lanes} x {scalar}>"

    def splat(self, name: str, scalar: str, value: str) -> Iterator[str]:
        """A vector of one value."""
        v = self.v(scalar)
        yield f"%{name}.one = insertelement {v} poison, {scalar} {value}, i64 0"
        yield f"%{name} = shufflevector {v} %{name}.one, {v} poison, <{self.lanes} x i32> zeroinitializer"

    def _function(self, name: str) -> str:
        parts = {"setup": self._setup(), "line": self._line(name == "lines"), "body": self._body(name == "lines")}
        texts = {k: "\n".join(f"  {line}" for line in lines) for k, lines in parts.items()}
        return _FRAME.format(name=name, lanes=self.lanes, **texts)

    def _setup(self) -> Iterator[str]:
        """What all lines share, as vectors."""
        for k, (name, axis) in enumerate(itertools.product(("stride", "origin", "size"), "zyx")):
            yield f"%{name}.{axis}.at = getelementptr i64, ptr %numbers, i64 {k}"
            yield f"%{name}.{axis}.long = load i64, ptr %{name}.{axis}.at, align 8"
            yield f"%{name}.{axis}.int = trunc i64 %{name}.{axis}.long to i32"
        for axis in "zyx":
            yield from self.splat(f"stride.{axis}", "i32", f"%stride.{axis}.int")
            yield from self.splat(f"origin.{axis}", "i32", f"%origin.{axis}.int")
            # neighbours of the last but one are in the block; of a single one none is needed
            yield f"%several.{axis} = icmp sgt i32 %size.{axis}.int, 1"
            yield f"%next.{axis}.int = select i1 %several.{axis}, i32 %stride.{axis}.int, i32 0"
            yield from self.splat(f"next.{axis}", "i32", f"%next.{axis}.int")
            yield f"%top.{axis}.less = sub i32 %size.{axis}.int, 2"
            yield f"%top.{axis}.int = select i1 %several.{axis}, i32 %top.{axis}.less, i32 0"
            yield from self.splat(f"top.{axis}", "i32", f"%top.{axis}.int")
        for k, name in ((9, "count"), (10, "out.stride")):
            yield f"%{name}.at = getelementptr i64, ptr %numbers, i64 {k}"
            yield f"%{name} = load i64, ptr %{name}.at, align 8"
        names = [*(f"step.{a}" for a in "zyx"), "start", "every", *(f"limit.{a}" for a in "zyx")]
        for k, name in enumerate(names):
            yield f"%{name}.at = getelementptr double, ptr %reals, i64 {k}"
            yield f"%{name}.one.value = load double, ptr %{name}.at, align 8"
            yield from self.splat(name, "double", f"%{name}.one.value")

    def _line(self, lines: bool) -> Iterator[str]:
        yield from self.splat("beyond", "i32", "%last.int")
        if lines:
            yield "%base.first = mul i64 %row, 3"
            for k, axis in enumerate("zyx"):
                yield f"%base.{axis}.number = add i64 %base.first, {k}"
                yield f"%base.{axis}.at = getelementptr double, ptr %base, i64 %base.{axis}.number"
                yield f"%base.{axis}.value = load double, ptr %base.{axis}.at, align 8"
                yield from self.splat(f"base.{axis}", "double", f"%base.{axis}.value")

    def _body(self, lines: bool) -> Iterator[str]:
        ints, reals = self.v("i32"), self.v("double")
        yield "%k.int = trunc i64 %k to i32"
        yield from self.splat("k.all", "i32", "%k.int")
        yield f"%k.lane = add {ints} %k.all, <{', '.join(f'i32 {j}' for j in range(self.lanes))}>"
        yield f"%mask = icmp slt {ints} %k.lane, %beyond"
        if lines:
            yield f"%k.real = sitofp {ints} %k.lane to {reals}"
            yield f"%k.far = fmul {reals} %k.real, %every"
            yield f"%along = fadd {reals} %k.far, %start"
        for axis in range(3):
            yield from self._position("zyx"[axis], axis, lines)
        yield from self._values()
        out, short = self.v(self.element), {"float": "f32", "double": "f64"}.get(self.element, self.element)
        yield f"%out.at = getelementptr {self.element}, ptr %out.row, i64 %k"
        store = f"@llvm.masked.store.v{self.lanes}{short}.p0"
        yield f"call void {store}({out} %result, ptr %out.at, i32 1, {self.v('i1')} %mask)"

    def _position(self, a: str, number: int, lines: bool) -> Iterator[str]:
        """Positions along an axis, inside the outermost centres."""
        reals = self.v("double")
        if lines:
            yield f"%far.{a} = fmul {reals} %step.{a}, %along"
            yield f"%place.{a} = fadd {reals} %far.{a}, %base.{a}"
        else:
            yield f"%skip.{a} = mul i64 %row.last, {number}"
            yield f"%point.{a} = add i64 %skip.{a}, %k"
            yield f"%place.{a}.at = getelementptr double, ptr %base, i64 %point.{a}"
            yield (
                f"%place.{a} = call {reals} @llvm.masked.load.v{self.lanes}f64.p0"
                f"(ptr %place.{a}.at, i32 8, {self.v('i1')} %mask, {reals} zeroinitializer)"
            )
        if self.method == "cubic":
            # mirrored at the outermost centres
            yield f"%minus.{a} = fneg {reals} %place.{a}"
            yield f"%ahead.{a} = fcmp ogt {reals} %place.{a}, %minus.{a}"
            yield f"%size.{a}.real = select {self.v('i1')} %ahead.{a}, {reals} %place.{a}, {reals} %minus.{a}"
            yield f"%twice.{a} = fadd {reals} %limit.{a}, %limit.{a}"
            yield f"%back.{a} = fsub {reals} %twice.{a}, %size.{a}.real"
            yield f"%short.{a} = fcmp olt {reals} %size.{a}.real, %back.{a}"
            yield f"%turned.{a} = select {self.v('i1')} %short.{a}, {reals} %size.{a}.real, {reals} %back.{a}"
            place = f"%turned.{a}"
        else:
            place = f"%place.{a}"
        yield f"%low.{a} = fcmp ogt {reals} {place}, zeroinitializer"
        yield f"%above.{a} = select {self.v('i1')} %low.{a}, {reals} {place}, {reals} zeroinitializer"
        yield f"%high.{a} = fcmp olt {reals} %above.{a}, %limit.{a}"
        yield f"%at.{a} = select {self.v('i1')} %high.{a}, {reals} %above.{a}, {reals} %limit.{a}"

    def _values(self) -> Iterator[str]:
        """The value ``%result`` at each position ``%at``."""
        raise NotImplementedError

    def _offset(self, z: str, y: str, x: str) -> Iterator[str]:
        ints = self.v("i32")
        for a, index in zip("zyx", (z, y, x), strict=True):
            yield f"%bytes.{a} = mul {ints} {index}, %stride.{a}"
        yield f"%bytes.zy = add {ints} %bytes.z, %bytes.y"
        yield f"%offset = add {ints} %bytes.zy, %bytes.x"

    def _gather(self, name: str, offset: str) -> Iterator[str]:
        n, kind = self.lanes, self.gathered
        short = {"float": "f32", "double": "f64"}.get(kind, kind)
        yield f"%{name}.at = getelementptr i8, ptr %block, {self.v('i32')} {offset}"
        yield (
            f"%{name} = call {self.v(kind)} @llvm.masked.gather.v{n}{short}.v{n}p0"
            f"(<{n} x ptr> %{name}.at, i32 1, {self.v('i1')} %mask, {self.v(kind)} zeroinitializer)"
        )

    def _constant(self, value: float, kind: str) -> str:
        """A number as LLVM takes it: the bits of a double, of one that a float holds where it is one."""
        if kind == "float":
            (value,) = struct.unpack(">f", struct.pack(">f", value))
        return f"0x{struct.pack('>d', value).hex().upper()}"
