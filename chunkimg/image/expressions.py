"""Which Dask arrays are expressions of voxels that each stand by themselves, and of which opened files.

Such an expression is computed by `ops.elementwise` from the files themselves, in pieces that suit how they are stored
and what is written, whatever the Dask blocks are. Functions are known by identity, never by the names of layers. Small
operands of any other kind (means, say) are computed by Dask, once; all else is Dask's to compute.
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lazy import LazyArray
from ..ops.elementwise import ElementwiseArray, Operand, Step
from .computed import HeldArray
from .views import MOVES, OPENED, is_dask, viewed

if TYPE_CHECKING:
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

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
#: operands up to this many bytes, such as means, are computed once and kept
_SMALL = 32 << 20
_LITERALS = (bool, int, float, complex, str, type, np.generic, np.dtype, type(None))


class _NoExpressionError(Exception):
    """The graph holds something else."""


def elementwise(data: Any) -> LazyArray | None:
    """The expression that a Dask array is; None if it is not one, or if it is for the workers of a cluster."""
    if not is_dask(data) or 0 in data.shape or _has_client():
        return None
    try:
        return _moved(data) or _Reading(data).result()
    except _NoExpressionError:
        return None


def _moved(data: da.Array) -> LazyArray | None:
    """The view of an expression that a Dask array is, if its last layers do nothing but move voxels."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph
    from dask.utils import key_split

    graph, above, name = data.dask, [], data.name
    while key_split(name) in MOVES and len(graph.dependencies[name]) == 1:
        above.append(name)
        (name,) = graph.dependencies[name]
    chunks = _opened_chunks(graph, name)
    if not above or chunks is None:
        return None
    expression = _Reading(da.Array(_with_all_below(graph, name), name, chunks, dtype=data.dtype)).result()
    # opened like a file, it is seen through the moves as a file is
    opened = da.from_array(expression, chunks=chunks, name=name).dask
    layers = {**opened.layers, **{n: graph.layers[n] for n in above}}
    dependencies = {**opened.dependencies, **{n: graph.dependencies[n] for n in above}}
    found = viewed(da.Array(HighLevelGraph(layers, dependencies), data.name, data.chunks, dtype=data.dtype))
    return None if found is None else found[1](expression)


def _opened_chunks(graph: HighLevelGraph, name: str) -> tuple[tuple[int, ...], ...] | None:
    """The blocks of an expression, where one of its operands is a file as it was opened; None if they are not known."""
    from dask.blockwise import Blockwise

    todo = [name]
    while todo:
        name = todo.pop()
        layer = graph.layers[name]
        if not isinstance(layer, Blockwise):
            continue
        if name.startswith(OPENED):
            return next((d.chunks for d in layer.io_deps.values() if hasattr(d, "chunks")), None)
        rank = len(layer.output_indices)
        blocks = {n: tuple(k) for n, k in layer.numblocks.items() if len(k) == rank}
        # an operand with fewer blocks is broadcast
        todo += [n for n, k in blocks.items() if n in graph.layers and k == tuple(map(max, *blocks.values(), k))]
    return None


def _with_all_below(graph: HighLevelGraph, name: str) -> HighLevelGraph:
    """A layer and those that it depends on."""
    from dask.highlevelgraph import HighLevelGraph

    below: dict[str, Any] = {}
    todo = [name]
    while todo:
        layer = todo.pop()
        if layer not in below:
            below[layer] = graph.layers[layer]
            todo += graph.dependencies[layer]
    return HighLevelGraph(below, {n: graph.dependencies[n] for n in below})


def _has_client() -> bool:
    """Whether Dask would compute with `distributed` here; to ask Dask imports it."""
    if "distributed" not in sys.modules:
        return False
    from dask.base import get_scheduler

    return "distributed" in type(getattr(get_scheduler(), "__self__", None)).__module__


class _Reading:
    """One pass through a graph, from the result down to the files."""

    def __init__(self, data: da.Array) -> None:
        from dask.array.chunk import astype

        self.data = data
        self.functions = _FUNCTIONS | {astype}
        #: blocks along each axis of every layer that was met; axes of operands are the last ones of the result
        self.blocks: dict[str, tuple[int, ...]] = {data.name: data.numblocks}
        self.sources: dict[str, LazyArray] = {}
        self.held: list[HeldArray] = []
        self.steps: dict[str, tuple[Any, list[Any]]] = {}

    def result(self) -> LazyArray:
        """The expression."""
        self._visit(self.data.name)
        sources = list(self.sources.values())
        if not any(s.shape == self.data.shape for s in sources):
            raise _NoExpressionError
        sequential = {s.file_order if s.shape == self.data.shape else None for s in sources if s.front_to_back}
        if not self.steps or len(sequential) > 1 or None in sequential:
            # sources that go front to back must do so together
            raise _NoExpressionError
        numbers = {name: k for k, name in enumerate([*self.sources, *self.steps])}
        steps = []
        for task, args in self.steps.values():
            known = tuple(Operand(numbers[a.name]) if isinstance(a, _Named) else a for a in args)
            steps.append(Step(task.func, known, dict(task.kwargs)))
        return ElementwiseArray(sources, steps, self.data.shape, self.data.dtype, self.data.name)

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
        self.blocks.update((a.name, tuple(layer.numblocks[a.name])) for a in args if isinstance(a, _Named))
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
        """What another layer is: a view of a file, or else something small, that is computed once."""
        import dask.array as da

        part = _with_all_below(self.data.dask, name)
        array = da.Array(part, name, self._chunks(name), dtype=self.data.dtype)
        found = viewed(array)
        source = None if found is None else found[1](found[0])
        if source is None and 8 * array.size <= _SMALL:
            return HeldArray(array, self.held)
        if source is None or not _broadcasts(source.shape, self.data.shape):
            raise _NoExpressionError
        return source

    def _chunks(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Blocks of an operand: those of the result, or one voxel that stands for all along an axis.

        With one block either may be the case, then the first is assumed; what is read of it has its own shape.
        """
        out = []
        for mine, chunks in zip(reversed(self.blocks[name]), reversed(self.data.chunks), strict=False):
            if mine not in (1, len(chunks)):
                raise _NoExpressionError
            out.append(chunks if mine == len(chunks) else (1,))
        return tuple(reversed(out))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False))


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
            last = len(layer.output_indices) - len(index)
            if tuple(index) != tuple(layer.output_indices)[max(0, last) :]:
                raise _NoExpressionError
            return _Named(value)
        arg = value
    if isinstance(arg, _LITERALS) or (isinstance(arg, np.ndarray) and arg.ndim == 0):
        return arg
    raise _NoExpressionError
