"""Which Dask arrays are expressions of voxels that each stand by themselves, and of which opened files.

Such an expression is computed by `ops.elementwise` from the files themselves, in pieces that suit how they are stored
and what is written, whatever the Dask blocks are. Functions are known by identity, never by the names of layers; a graph
with anything else in it is Dask's to compute.
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lazy import LazyArray
from ..ops.elementwise import ElementwiseArray, Operand, Step
from .views import is_dask, viewed

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["elementwise"]

_FUNCTIONS = frozenset(
    {
        *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
        *(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, operator.invert),
        *(operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge),
        *(operator.neg, operator.pos, operator.abs),
        *(np.where, np.clip, np.round, np.real, np.imag, np.nan_to_num, np.isclose),
    }
)
_LITERALS = (bool, int, float, complex, str, type, np.generic, np.dtype, type(None))


class _NoExpressionError(Exception):
    """The graph holds something else."""


def elementwise(data: Any) -> LazyArray | None:
    """The expression that a Dask array is; None if it is not one, or if it is for the workers of a cluster."""
    if not is_dask(data) or 0 in data.shape or _has_client():
        return None
    try:
        return _Reading(data).result()
    except _NoExpressionError:
        return None


def _has_client() -> bool:
    """Whether Dask would compute with `distributed` here; to ask Dask imports it."""
    if "distributed" not in sys.modules:
        return False
    from dask.base import get_scheduler

    return "istributed" in type(getattr(get_scheduler(), "__self__", None)).__module__


class _Reading:
    """One pass through a graph, from the result down to the files."""

    def __init__(self, data: da.Array) -> None:
        from dask.array.chunk import astype

        self.data = data
        self.functions = _FUNCTIONS | {astype}
        self.sources: dict[str, LazyArray] = {}
        self.steps: dict[str, tuple[Any, list[Any]]] = {}

    def result(self) -> LazyArray:
        """The expression."""
        self._visit(self.data.name)
        sources = list(self.sources.values())
        sequential = {s.file_order for s in sources if s.front_to_back}
        if not self.steps or len(sequential) > 1 or None in sequential:
            # sources that go front to back must do so together
            raise _NoExpressionError
        numbers = {name: k for k, name in enumerate([*self.sources, *self.steps])}
        steps = []
        for task, args in self.steps.values():
            known = tuple(Operand(numbers[a.name]) if isinstance(a, _Named) else a for a in args)
            steps.append(Step(task.func, known, dict(task.kwargs)))
        return ElementwiseArray(sources, steps, self.data.dtype, self.data.name)

    def _visit(self, name: str) -> None:
        # without recursion: expressions may be long
        todo = [name]
        while todo:
            name = todo[-1]
            if name in self.steps or name in self.sources:
                todo.pop()
                continue
            step = self._step(name)
            if step is None:
                self.sources[name] = self._source(name)
            else:
                missing = [a.name for a in step[1] if isinstance(a, _Named) and not self._known(a.name)]
                if missing:
                    todo += missing
                else:
                    self.steps[name] = step

    def _known(self, name: str) -> bool:
        return name in self.steps or name in self.sources

    def _step(self, name: str) -> tuple[Any, list[Any]] | None:
        """The task of a layer and its arguments, if it treats every voxel by itself."""
        from dask.blockwise import Blockwise

        layer = self.data.dask.layers[name]
        if not isinstance(layer, Blockwise) or layer.new_axes or layer.io_deps:
            return None
        task = layer.task
        if not self._allowed(task):
            return None
        args = [_argument(a, layer) for a in task.args]
        return (task, args) if any(isinstance(a, _Named) for a in args) else None

    def _allowed(self, task: Any) -> bool:
        function, kwargs = getattr(task, "func", None), getattr(task, "kwargs", None) or {}
        if not all(isinstance(v, _LITERALS) for v in kwargs.values()):
            return False
        if isinstance(function, np.ufunc):
            return function.signature is None and function.nout == 1 and set(kwargs) <= {"dtype", "casting"}
        try:
            return function in self.functions
        except TypeError:
            return False

    def _source(self, name: str) -> LazyArray:
        """The view of a file that a layer is."""
        import dask.array as da
        from dask.highlevelgraph import HighLevelGraph

        graph, below, todo = self.data.dask, {}, [name]
        while todo:
            layer = todo.pop()
            if layer not in below:
                below[layer] = graph.layers[layer]
                todo += graph.dependencies[layer]
        part = HighLevelGraph(below, {n: graph.dependencies[n] for n in below})
        # operands of one shape have the same blocks; if this one has another shape, its view tells
        found = viewed(da.Array(part, name, self.data.chunks, dtype=self.data.dtype))
        if found is None:
            raise _NoExpressionError
        leaf, through = found
        source = through(leaf)
        if source.shape != self.data.shape:
            raise _NoExpressionError
        return source


class _Named:
    """A result of another layer."""

    def __init__(self, name: str) -> None:
        self.name = name


def _argument(arg: Any, layer: Any) -> Any:
    """An argument of a blockwise task: the layer that it comes from, block by block, or its value."""
    from dask._task_spec import TaskRef

    if isinstance(arg, TaskRef):
        position = str(arg.key).removeprefix("__dask_blockwise__")
        if not position.isdigit():
            raise _NoExpressionError
        value, index = layer.indices[int(position)]
        if index is not None:
            if tuple(index) != tuple(layer.output_indices):
                raise _NoExpressionError
            return _Named(value)
        arg = value
    if isinstance(arg, _LITERALS) or (isinstance(arg, np.ndarray) and arg.ndim == 0):
        return arg
    raise _NoExpressionError
