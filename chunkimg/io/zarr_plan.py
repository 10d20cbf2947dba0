"""The plan of a write: which pieces of which arrays, in which slabs, with which codecs. A small value, nothing runs.

A plan depends on the image and the options, never on the machine: every worker and every restart makes the same one. It
can be printed, kept as JSON, and cut into parts whose slabs share no stored piece, so that they run anywhere, in any
order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..chunks import block_shape, regions, slab_bytes
from ..lazy import LazyArray, Region
from .zarr_spec import ArraySpec, Compressor

__all__ = ["LevelPlan", "WritePlan", "identity"]


@dataclass(frozen=True)
class LevelPlan:
    """One resolution level.

    Attributes
    ----------
    path : str
        Of its array in the store.
    spec : ArraySpec
        How the array is stored.
    factors : tuple of int
        Voxels of the level before that become one, per axis.
    slab : tuple of int
        What is read and written at a time: whole chunks or shards.
    order : tuple of int
        Axes from slowest to fastest, in which slabs follow each other.
    """

    path: str
    spec: ArraySpec
    factors: tuple[int, ...]
    slab: tuple[int, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, path: str, spec: ArraySpec, factors: Sequence[int], source: LazyArray, budget: int) -> LevelPlan:
        """The level with slabs that suit how `source` is read."""
        sequential = source.front_to_back and source.file_order is not None
        order = source.file_order or tuple(range(source.ndim))
        shape, itemsize, unit, target = spec.shape, source.dtype.itemsize, spec.unit, slab_bytes(budget, source)
        slab = block_shape(shape, itemsize, unit=unit, order=order, front_to_back=sequential, target=target)
        if any(s % u and s != n for s, u, n in zip(slab, unit, shape, strict=True)):
            # stored pieces are deeper than what the budget holds of planes: see `is_run`
            slab = block_shape(shape, itemsize, unit=unit, order=order, target=target)
        return cls(path, spec, tuple(factors), slab, tuple(order))

    @property
    def slab_count(self) -> int:
        """Number of slabs."""
        return math.prod(-(-n // s) for n, s in zip(self.spec.shape, self.slab, strict=True))

    def slabs(self, part: int = 0, parts: int = 1) -> Iterator[Region]:
        """The slabs of one of several parts, in the order in which they are read."""
        if not 0 <= part < parts:
            raise ValueError(f"part {part} of {parts}: parts are numbered from 0")
        count = self.slab_count
        first, stop = count * part // parts, count * (part + 1) // parts
        yield from regions(self.spec.shape, self.slab, self.order, first, stop)

    def keys(self, region: Region) -> Iterator[str]:
        """Keys of what a slab stores."""
        for at in self.spec.touched(region, self.spec.unit):
            yield f"{self.path}/{self.spec.key(at)}"

    @property
    def is_run(self) -> bool:
        """Whether slabs are runs of a file in this order, one behind the other."""
        cut = [k for k, a in enumerate(self.order) if self.slab[a] < self.spec.shape[a]]
        return all(self.slab[a] == 1 for a in self.order[: cut[-1]]) if cut else True

    def flows(self, z: int) -> bool:
        """Whether slabs are whole planes one behind the other along axis `z`.

        Coarser levels are then made of them as they pass by.
        """
        cut = [a for a in self.order if self.slab[a] < self.spec.shape[a]]
        return not {z + 1, z + 2} & set(cut) and (z not in cut or cut[-1] == z)


@dataclass(frozen=True)
class WritePlan:
    """All levels of an image.

    Attributes
    ----------
    source : str
        Identity of what is written, see `identity`.
    dims : tuple of str
        Of the arrays.
    method : str
        How voxels of a level become one of the next: ``"mean"`` or ``"mode"``.
    budget : int
        Memory in bytes.
    levels : tuple of LevelPlan
        Finest first.
    """

    source: str
    dims: tuple[str, ...]
    method: str
    budget: int
    levels: tuple[LevelPlan, ...]

    def to_json(self) -> str:
        """The plan as text that `from_json` reads."""
        out = asdict(self)
        for level in out["levels"]:
            level["spec"]["dtype"] = level["spec"]["dtype"].str
        return json.dumps(out)

    @classmethod
    def from_json(cls, text: str) -> WritePlan:
        """The plan that `to_json` wrote."""
        found = json.loads(text)
        levels = tuple(_level(level) for level in found.pop("levels"))
        return cls(**{**found, "dims": tuple(found["dims"])}, levels=levels)

    def __str__(self) -> str:
        """The plan for people, one line a level."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for level in self.levels:
            spec = level.spec
            sizes = " × ".join(f"{d} {n}" for d, n in zip(self.dims, spec.shape, strict=True))
            count = math.prod(-(-n // c) for n, c in zip(spec.shape, spec.unit, strict=True))
            mib = math.prod(level.slab) * spec.dtype.itemsize / 2**20
            pieces = f"chunks {_by(spec.chunks)}" + ("" if spec.shards is None else f" in shards {_by(spec.shards)}")
            yield (
                f"{level.path}: {sizes}, {spec.dtype.name}, {pieces}, {_codec(spec.compressor)}; "
                f"{count} objects in {level.slab_count} slabs of {mib:.3g} MiB"
            )


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _codec(compressor: Compressor | None) -> str:
    if compressor is None:
        return "not compressed"
    name = f"{compressor.name} {compressor.inner}".strip()
    return f"{name} level {compressor.level}" + (f", {compressor.shuffle}" if compressor.shuffle else "")


def _level(found: Mapping[str, Any]) -> LevelPlan:
    spec: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found["spec"].items()}
    compressor = None if spec["compressor"] is None else Compressor(**spec["compressor"])
    made = ArraySpec(**{**spec, "dtype": np.dtype(spec["dtype"]), "compressor": compressor})
    factors, slab, order = (tuple(found[name]) for name in ("factors", "slab", "order"))
    return LevelPlan(found["path"], made, factors, slab, order)


def identity(data: LazyArray, attributes: Any) -> str:
    """What tells an image from another: where its voxels come from (path, size, time of change), and its attributes."""
    told = repr((data.__dask_tokenize__(), json.dumps(attributes, sort_keys=True, default=str)))
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
