"""The loops of `interpolate_kernels`, in LLVM's language: what is computed at each position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from .interpolate_loop import Loop
from .lines import ROUNDING, SLACK
from .splines import AFTER, BEFORE

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe(Loop):
    """A loop with its method."""

    def _values(self) -> Iterator[str]:
        """The value ``%result`` at each position ``%at``."""
        return {"nearest": self._nearest, "linear": self._linear, "cubic": self._cubic}[self.method]()

    # ------------------------------------------------------------------ nearest

    def _nearest(self) -> Iterator[str]:
        ints, reals = self.v("i32"), self.v("double")
        yield from self.splat("half", "double", self._constant(0.5 + SLACK, "double"))
        for a in "zyx":
            yield f"%up.{a} = fadd {reals} %at.{a}, %half"
            yield f"%voxel.{a} = fptosi {reals} %up.{a} to {ints}"
            yield f"%index.{a} = sub {ints} %voxel.{a}, %origin.{a}"
        x = "%index.x"
        if self.size == 2:
            # the last voxel is the upper half of a pair
            x = "%pair.x"
            yield f"%inner.x = icmp slt {ints} %index.x, %top.x"
            yield f"%pair.x = select {self.v('i1')} %inner.x, {ints} %index.x, {ints} %top.x"
            yield f"%upper.x = sub {ints} %index.x, %pair.x"
            yield from self.splat("sixteen", "i32", "16")
            yield f"%shift.x = mul {ints} %upper.x, %sixteen"
        yield from self._offset("%index.z", "%index.y", x)
        yield from self._gather("found", "%offset")
        if not self.pairs:
            yield f"%result = bitcast {self.v(self.gathered)} %found to {self.v(self.element)}"
            return
        if self.size == 2:
            yield f"%shifted = lshr {ints} %found, %shift.x"
        yield f"%result = trunc {ints} {'%shifted' if self.size == 2 else '%found'} to {self.v(self.element)}"

    # ------------------------------------------------------------------ linear

    def _linear(self) -> Iterator[str]:
        ints = self.v("i32")
        # integers are not spoilt by others that hardly count
        least = ROUNDING if self.name[0] == "f" else 0.0
        yield from self.splat("rounding", "double", self._constant(least, "double"))
        yield from self.splat("least", self.real, self._constant(least, self.real))
        for a in "zyx":
            yield from self._corner(a)
        yield from self._offset("%index.z", "%index.y", "%index.x")
        for z, y in itertools.product((0, 1), repeat=2):
            last = "%offset"
            for use, a in ((z, "z"), (y, "y")):
                if use:
                    yield f"%to.{z}{y}.{a} = add {ints} {last}, %near.{a}"
                    last = f"%to.{z}{y}.{a}"
            yield from self._pair(f"{z}{y}", last) if self.pairs else self._two(f"{z}{y}", last)
            yield from self._between(f"row.{z}{y}", f"%low.{z}{y}", f"%high.{z}{y}", "x")
        for z in (0, 1):
            yield from self._between(f"plane.{z}", f"%row.{z}0", f"%row.{z}1", "y")
        yield from self._between("value", "%plane.0", "%plane.1", "z")
        yield from self._rounded()

    def _corner(self, a: str) -> Iterator[str]:
        """The lower corner, how far behind it the point is, and what is to be added for the upper one."""
        ints, reals, mask = self.v("i32"), self.v("double"), self.v("i1")
        above = "%at"
        if self.name[0] == "f":
            above = "%up"
            yield f"%up.{a} = fadd {reals} %at.{a}, %rounding"
        yield f"%cut.{a} = fptosi {reals} {above}.{a} to {ints}"
        yield f"%lower.{a} = sub {ints} %cut.{a}, %origin.{a}"
        if self.pairs and a == "x":
            yield f"%inner.{a} = icmp slt {ints} %lower.{a}, %top.{a}"
            yield f"%index.{a} = select {mask} %inner.{a}, {ints} %lower.{a}, {ints} %top.{a}"
        else:
            yield f"%index.{a} = add {ints} %lower.{a}, zeroinitializer"
        yield f"%corner.{a} = add {ints} %index.{a}, %origin.{a}"
        yield f"%corner.real.{a} = sitofp {ints} %corner.{a} to {reals}"
        yield f"%part.wide.{a} = fsub {reals} %at.{a}, %corner.real.{a}"
        narrow = f"fptrunc {reals} %part.wide.{a} to {self.v('float')}"
        yield f"%part.{a} = {narrow if self.real == 'float' else f'bitcast {reals} %part.wide.{a} to {reals}'}"
        yield f"%counts.{a} = fcmp ogt {self.v(self.real)} %part.{a}, %least"
        # a voxel without weight may lie outside
        yield f"%near.{a} = select {mask} %counts.{a}, {ints} %next.{a}, {ints} zeroinitializer"

    def _pair(self, name: str, offset: str) -> Iterator[str]:
        """Both neighbours along x in 32 bits."""
        ints, bits, signed = self.v("i32"), 8 * self.size, self.name[0] == "i"
        yield from self._gather(f"pair.{name}", offset)
        right = "ashr" if signed else "lshr"
        for half, shift in (("low", 32 - bits), ("high", 32 - 2 * bits)):
            yield from self.splat(f"left.{half}.{name}", "i32", str(shift))
            yield from self.splat(f"right.{half}.{name}", "i32", str(32 - bits))
            yield f"%moved.{half}.{name} = shl {ints} %pair.{name}, %left.{half}.{name}"
            yield f"%int.{half}.{name} = {right} {ints} %moved.{half}.{name}, %right.{half}.{name}"
            yield f"%{half}.{name} = sitofp {ints} %int.{half}.{name} to {self.v('float')}"

    def _two(self, name: str, offset: str) -> Iterator[str]:
        """Both neighbours along x, one by one."""
        yield f"%beside.{name} = add {self.v('i32')} {offset}, %near.x"
        convert = {"i": "sitofp", "u": "uitofp", "f": "bitcast"}[self.name[0]]
        for half, place in (("low", offset), ("high", f"%beside.{name}")):
            yield from self._gather(f"raw.{half}.{name}", place)
            yield f"%{half}.{name} = {convert} {self.v(self.gathered)} %raw.{half}.{name} to {self.v(self.real)}"

    def _between(self, name: str, a: str, b: str, axis: str) -> Iterator[str]:
        reals = self.v(self.real)
        yield f"%{name}.apart = fsub {reals} {b}, {a}"
        yield f"%{name}.more = fmul {reals} %part.{axis}, %{name}.apart"
        if self.pairs:
            yield f"%{name} = fadd {reals} {a}, %{name}.more"
        else:
            yield f"%{name}.sum = fadd {reals} {a}, %{name}.more"
            yield f"%{name} = select {self.v('i1')} %counts.{axis}, {reals} %{name}.sum, {reals} {a}"

    # ------------------------------------------------------------------ cubic

    def _cubic(self) -> Iterator[str]:
        ints, n = self.v("i32"), BEFORE + 1 + AFTER
        yield from self.splat("before", "i32", str(BEFORE))
        for value, name in ((1.0, "whole"), (1 / 6, "sixth"), (1 / 2, "half"), (2 / 3, "most")):
            yield from self.splat(name, self.real, self._constant(value, self.real))
        for a in "zyx":
            yield from self._weights(a)
        yield from self._offset("%index.z", "%index.y", "%index.x")
        for z in range(n):
            plane = "%offset" if z == 0 else f"%to.{z}"
            if z:
                yield f"%to.{z} = add {ints} {'%offset' if z == 1 else f'%to.{z - 1}'}, %stride.z"
            for y in range(n):
                row = plane if y == 0 else f"%to.{z}.{y}"
                if y:
                    yield f"%to.{z}.{y} = add {ints} {plane if y == 1 else f'%to.{z}.{y - 1}'}, %stride.y"
                for x in range(n):
                    at = row if x == 0 else f"%to.{z}.{y}.{x}"
                    if x:
                        yield f"%to.{z}.{y}.{x} = add {ints} {row if x == 1 else f'%to.{z}.{y}.{x - 1}'}, %stride.x"
                    yield from self._gather(f"c.{z}.{y}.{x}", at)
                yield from self._weighed(f"c.{z}.{y}", "x")
            yield from self._weighed(f"c.{z}", "y")
        yield from self._weighed("c", "z")
        yield f"%result = bitcast {self.v(self.real)} %c to {self.v(self.real)}"

    def _weights(self, a: str) -> Iterator[str]:
        """The first of four coefficients, and the weights of all."""
        ints, wide, reals = self.v("i32"), self.v("double"), self.v(self.real)
        yield f"%cut.{a} = fptosi {wide} %at.{a} to {ints}"
        yield f"%cut.real.{a} = sitofp {ints} %cut.{a} to {wide}"
        yield f"%part.wide.{a} = fsub {wide} %at.{a}, %cut.real.{a}"
        narrow = f"fptrunc {wide} %part.wide.{a} to {reals}"
        yield f"%f.{a} = {narrow if self.real == 'float' else f'bitcast {wide} %part.wide.{a} to {wide}'}"
        yield f"%inner.{a} = sub {ints} %cut.{a}, %origin.{a}"
        yield f"%index.{a} = sub {ints} %inner.{a}, %before"
        yield f"%g.{a} = fsub {reals} %whole, %f.{a}"
        for name, other, k in (("f", 3, 1), ("g", 0, 2)):
            part, square = f"%{name}.{a}", f"%{name}{name}.{a}"
            yield f"{square} = fmul {reals} {part}, {part}"
            yield f"%{name}.cube.{a} = fmul {reals} {square}, {part}"
            yield f"%w.{a}.{other} = fmul {reals} %sixth, %{name}.cube.{a}"
            yield f"%{name}.half.{a} = fmul {reals} %half, {part}"
            yield f"%{name}.rest.{a} = fsub {reals} %whole, %{name}.half.{a}"
            yield f"%{name}.less.{a} = fmul {reals} {square}, %{name}.rest.{a}"
            yield f"%w.{a}.{k} = fsub {reals} %most, %{name}.less.{a}"

    def _weighed(self, name: str, axis: str) -> Iterator[str]:
        """The sum of four values, each times its weight."""
        reals = self.v(self.real)
        for k in range(4):
            yield f"%{name}.{k}.part = fmul {reals} %{name}.{k}, %w.{axis}.{k}"
        yield f"%{name}.two = fadd {reals} %{name}.0.part, %{name}.1.part"
        yield f"%{name}.three = fadd {reals} %{name}.two, %{name}.2.part"
        yield f"%{name} = fadd {reals} %{name}.three, %{name}.3.part"

    def _rounded(self) -> Iterator[str]:
        reals, kind = self.v(self.real), self.name[0]
        if kind == "f":
            yield f"%result = bitcast {reals} %value to {reals}"
            return
        short = "f32" if self.real == "float" else "f64"
        yield f"%whole = call {reals} @llvm.rint.v{self.lanes}{short}({reals} %value)"
        if self.pairs:
            yield f"%whole.int = fptosi {reals} %whole to {self.v('i32')}"
            yield f"%result = trunc {self.v('i32')} %whole.int to {self.v(self.element)}"
        else:
            yield f"%result = {'fptosi' if kind == 'i' else 'fptoui'} {reals} %whole to {self.v('i32')}"
