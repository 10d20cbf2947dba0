"""Checking one multiscale image of a store: its levels, and its geometry wherever it is stated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from ..geometry import AXES
from .format import Finding
from .zarr_geometry import check_geometry
from .zarr_levels import Level, levels_of
from .zarr_tree import Documents, Node

__all__ = ["check_image"]

#: voxels: how far sizes and scales of levels may disagree beyond a voxel
_TOL = 1e-3


def check_image(group: Node, nodes: Mapping[str, Node], documents: Documents) -> Iterator[Finding]:
    """Findings about the first multiscale image that a group declares."""
    levels, missing = levels_of(group, nodes, documents)
    for number, path in missing:
        yield Finding("error", path, f"level {number} is declared here, and there is no readable array")
    for level in levels:
        yield from _names(level)
    for finer, coarser in itertools.pairwise(levels):
        yield from _steps(finer, coarser)
    yield from check_geometry(group, levels, nodes, documents)


def _names(level: Level) -> Iterator[Finding]:
    if not level.fits:
        yield Finding("error", level.path, f"the axes declared do not fit the array's shape {level.array.shape}")
    names = level.node.document.get("dimension_names") or level.node.attrs.get("_ARRAY_DIMENSIONS")
    if names and level.fits and tuple(names) != level.dims:
        text = f"dimension_names are {names}, the axes of the image {list(level.dims)}"
        yield Finding("warning", level.path, text)
    if level.scale is not None and not all(math.isfinite(s) and s > 0 for s in level.scale):
        yield Finding("error", level.path, f"the scale is {list(level.scale)}; positive numbers are expected")


def _steps(finer: Level, coarser: Level) -> Iterator[Finding]:
    """Whether a level is a coarser one of the level before."""
    if finer.dims != coarser.dims:
        text = f"has axes {coarser.dims}, the level before {finer.dims}: all levels have the same"
        yield Finding("error", coarser.path, text)
        return
    grown = [d for d in finer.dims if coarser.sizes[d] > finer.sizes[d]]
    if grown:
        text = f"is larger along {', '.join(grown)} than the level before: the finest level comes first"
        yield Finding("error", coarser.path, text)
    if finer.array.dtype != coarser.array.dtype:
        text = f"is of {coarser.array.dtype}, the level before of {finer.array.dtype}"
        yield Finding("warning", coarser.path, text)
    if finer.scale is None or coarser.scale is None:
        return
    for d, s, t in zip(finer.dims, finer.scale, coarser.scale, strict=True):
        apart = abs(finer.sizes[d] * s - coarser.sizes[d] * t)
        # a remainder of an odd size is cut off, or a voxel added for it
        if d in AXES and not apart <= max(s, t) * (1 + _TOL):
            text = f"its extent along {d} is {coarser.sizes[d] * t:g}, that of the level before {finer.sizes[d] * s:g}"
            yield Finding("warning", coarser.path, f"{text}: sizes and scales of the levels do not fit")
