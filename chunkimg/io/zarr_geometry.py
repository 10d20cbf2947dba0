"""Checking the geometry of an image in a store: coordinates, attributes, OME and headers must say the same."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ChunkImgError, FormatError, GeometryError
from ..geometry import AXES, Grid, frames
from ..geometry import attrs as keys
from ..geometry.attrs import NIFTI_HEADER
from . import nifti_header as nh
from .format import Finding
from .ome_read import read_multiscale
from .zarr_array import decoding
from .zarr_levels import Level
from .zarr_names import ROOT_KEY
from .zarr_tree import Documents, Node

__all__ = ["check_geometry"]

#: voxels: how far statements of one position may be apart
_TOL = 1e-3
#: coordinates longer than this are not read
_MAX_LENGTH = 1 << 26
#: a level, its grid, and its coordinates
_Read = tuple[Level, Grid | None, dict[str, keys.Coordinate]]


def check_geometry(
    group: Node, levels: Sequence[Level], nodes: Mapping[str, Node], documents: Documents
) -> Iterator[Finding]:
    """Findings about the positions of all levels of an image."""
    grids = []
    for level in levels:
        read = _read_grid(level, group, nodes, documents)
        if isinstance(read, Finding):
            yield read
            continue
        grids.append((level, *read))
        yield from _coordinates_agree(level, *read, group)
    # what is stated once is of the finest level
    finest = grids[0] if grids and grids[0][0] is levels[0] else None
    if finest is not None and ROOT_KEY in group.attrs:
        yield from _ours(group, grids)
    yield from _header(group, None if finest is None else finest[1], levels, documents, nodes)


# ---------------------------------------------------------------------------------------------- coordinates


def _read_grid(
    level: Level, group: Node, nodes: Mapping[str, Node], documents: Documents
) -> tuple[Grid | None, dict[str, keys.Coordinate]] | Finding:
    """Grid and coordinates x, y, z (and t) of a level; the grid is None where no geometry is stated."""
    ours = ROOT_KEY in group.attrs
    spatial: dict[str, keys.Coordinate] = {}
    for name in (*AXES, "t"):
        path = level.sibling(name)
        if path == level.path or path not in nodes or nodes[path].kind != "array":
            continue
        try:
            values = _coordinate(path, level.sizes.get(name), documents)
        except (ChunkImgError, OSError) as error:
            if ours or keys.DIRECTION in nodes[path].attrs:
                return Finding("error", path, str(error))
            # an array of that name that is no coordinate
            continue
        if values is not None:
            spatial[name] = values, dict(nodes[path].attrs)
    stated = any(keys.DIRECTION in spatial[a][1] for a in AXES if a in spatial)
    missing = [a for a in AXES if a not in spatial]
    if missing and (ours or stated):
        return Finding("error", level.path, f"the coordinate {', '.join(missing)} beside it is missing or unreadable")
    if not stated:
        lost = _reference(level, group)
        if lost is not None:
            return Finding("error", level.path, "its coordinates have lost their direction: voxels have no position")
        return None, spatial
    try:
        return keys.decode({a: spatial[a] for a in AXES}, {}), spatial
    except GeometryError as error:
        return Finding("error", level.path, str(error))


def _coordinate(path: str, size: int | None, documents: Documents) -> Any:
    array = documents.array(path)
    if array.ndim == 0:
        return None
    if size is not None and array.shape != (size,):
        raise FormatError(f"the coordinate has shape {array.shape}, the image {size} voxels along it")
    if array.ndim != 1 or array.size > _MAX_LENGTH or array.dtype.kind not in "iuf":
        raise FormatError(f"a coordinate has one axis of numbers; found {array.dtype} of shape {array.shape}")
    with decoding(path):
        return np.asarray(array[...], np.float64)


def _coordinates_agree(
    level: Level, grid: Grid | None, spatial: Mapping[str, keys.Coordinate], group: Node
) -> Iterator[Finding]:
    """OME's scale and translation, and the image's attributes, against the coordinates."""
    if grid is not None:
        attrs = dict(level.node.attrs)
        for text in keys.validate({a: spatial[a] for a in AXES}, attrs):
            yield Finding("error", level.path, text)
        yield from _ome_agrees(level, spatial)
    times = spatial.get("t")
    if times is not None and ROOT_KEY in group.attrs:
        values = times[0]
        if not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
            yield Finding("error", level.sibling("t"), "times are not finite or do not increase")
        elif level.start is not None and "t" in level.dims:
            stated = level.start[level.dims.index("t")]
            if not math.isclose(stated, float(values[0]), rel_tol=1e-6, abs_tol=1e-9):
                yield Finding("error", level.path, f"OME places the first frame at {stated:g}, t at {values[0]:g}")


def _ome_agrees(level: Level, spatial: Mapping[str, keys.Coordinate]) -> Iterator[Finding]:
    for name in AXES:
        if name not in level.dims:
            continue
        values, attrs = spatial[name]
        k = level.dims.index(name)
        step = float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else float(attrs[keys.SPACING])
        if level.scale is not None and abs(level.scale[k] - abs(step)) * len(values) > _TOL * abs(step):
            text = f"OME's scale along {name} is {level.scale[k]!r}, the step of the coordinate {step!r}"
            yield Finding("error", level.path, text)
        if level.start is not None and abs(level.start[k] - values[0]) > _TOL * abs(step):
            text = f"OME's translation along {name} is {level.start[k]!r}, the coordinate starts at {values[0]!r}"
            yield Finding("error", level.path, text)


def _reference(level: Level, group: Node) -> Any:
    """The affine that attributes of the image, or of the root, state; None where there is none."""
    root = group.attrs.get(ROOT_KEY)
    copy = root.get("attrs") if isinstance(root, dict) else None
    return keys.reference_of(level.node.attrs) or keys.reference_of(copy if isinstance(copy, dict) else {})


# ---------------------------------------------------------------------------------------------- our own stores


def _ours(group: Node, grids: Sequence[_Read]) -> Iterator[Finding]:
    """What stands in several places of a store that chunkimg wrote must be the same in all."""
    root = group.attrs[ROOT_KEY] if isinstance(group.attrs[ROOT_KEY], dict) else {}
    copy = root.get("attrs")
    if not isinstance(copy, dict):
        yield Finding("error", group.path or "zarr.json", f"the attribute {ROOT_KEY!r} holds no copy of the image's")
        copy = {}
    for level, _, _ in grids:
        yield from _copied(level, copy)
    first, finest, _ = grids[0]
    if finest is None:
        return
    if root.get("units") != finest.units:
        text = f"the unit is {root.get('units')!r} in the attribute {ROOT_KEY!r}, {finest.units!r} in the coordinates"
        yield Finding("error", group.path or "zarr.json", text)
    yield from _ome_says_so(group, finest, [level for level, _, _ in grids])
    yield from _reference_fits(first.path, first.node.attrs, finest)
    yield from _reference_fits(group.path or "zarr.json", copy, finest)
    for level, grid, _ in grids:
        if grid is not None and (level.scale is None or level.start is None):
            yield Finding("error", level.path, "OME-Zarr metadata states no scale, or no translation, of this level")
    for level, grid, _ in grids[1:]:
        yield from _level_fits(level, grid, first, finest)


def _ome_says_so(group: Node, finest: Grid, levels: Sequence[Level]) -> Iterator[Finding]:
    """Unit, orientation and the transformations of all levels, by which other readers place the image."""
    where = group.path or "zarr.json"
    try:
        image = read_multiscale(group.attrs, where)
    except ChunkImgError as error:
        yield Finding("error", where, str(error))
        return
    for axis in image.axes if image is not None else ():
        if axis.kind != "space" or axis.name not in AXES:
            continue
        if axis.unit is not None and frames.canonical_unit(axis.unit) != finest.units:
            text = f"OME's unit of {axis.name} is {axis.unit!r}, that of the coordinates {finest.units!r}"
            yield Finding("error", where, text)
        letters = finest.orientation
        runs = None if letters is None else frames.body_direction(letters[AXES.index(axis.name)]).replace(" ", "-")
        if axis.orientation is not None and axis.orientation != runs:
            text = f"OME's orientation of {axis.name} is {axis.orientation!r}, by the coordinates {runs!r}"
            yield Finding("error", where, text)
    stated = {} if image is None else {group.key(each.path.strip("/")): each for each in image.levels}
    for level in levels:
        each = stated.get(level.path)
        if each is not None and (each.scale, each.start) != (level.scale, level.start):
            yield Finding(
                "error", level.path, "OME-Zarr has transformations of all levels that move this one elsewhere"
            )


def _copied(level: Level, copy: Mapping[str, Any]) -> Iterator[Finding]:
    names = [k for k in copy if k in level.node.attrs and level.node.attrs[k] != copy[k]]
    geometry = ", ".join(k for k in names if k in keys.GEOMETRY_KEYS)
    rest = ", ".join(k for k in names if k not in keys.GEOMETRY_KEYS)
    if geometry:
        text = f"{geometry} in the attribute {ROOT_KEY!r} of the root and in those of the image contradict each other"
        yield Finding("error", level.path, text)
    if rest:
        yield Finding("warning", level.path, f"{rest}: not the same in the image and in {ROOT_KEY!r} of the root")


def _reference_fits(where: str, attrs: Mapping[str, Any], finest: Grid) -> Iterator[Finding]:
    """Whether the affine that attributes state is that of the coordinates."""
    stated = keys.reference_of(attrs)
    if stated is None:
        yield Finding("warning", where, "the reference affine is missing: positions are right to rounding only")
        return
    apart = finest.difference(Grid(finest.shape, stated, finest.space, finest.units))
    if not apart.voxels <= _TOL:
        text = f"the affine places a corner {apart.voxels:.4g} voxels from where the coordinates do"
        yield Finding("error", where, text)


def _level_fits(level: Level, grid: Grid | None, first: Level, finest: Grid) -> Iterator[Finding]:
    """Whether a level covers blocks of the finest one."""
    if grid is None:
        yield Finding("error", level.path, f"has no position, {first.path} does")
        return
    factors = [max(1, round(s / f)) for s, f in zip(grid.spacing, finest.spacing, strict=True)]
    try:
        expected = finest.coarsen(*factors)
    except GeometryError as error:
        yield Finding("error", level.path, str(error))
        return
    reasons = expected.difference(grid).reasons(_TOL)
    if reasons:
        text = f"does not lie on blocks of {' × '.join(map(str, factors))} voxels of {first.path}: {'; '.join(reasons)}"
        yield Finding("error", level.path, text)


# ---------------------------------------------------------------------------------------------- headers


def _header(
    group: Node, grid: Grid | None, levels: Sequence[Level], documents: Documents, nodes: Mapping[str, Node]
) -> Iterator[Finding]:
    """The NIfTI header kept: readable, the same in both places, and of this image."""
    path = group.key("nifti")
    if path not in nodes or nodes[path].kind != "array":
        return
    try:
        with decoding(path):
            raw = _bytes(documents.array(path))
        facts = nh.parse(raw, path)
    except (ChunkImgError, OSError) as error:
        yield Finding("warning", path, f"the NIfTI header kept is not usable: {error}")
        return
    for level in levels:
        text = level.node.attrs.get(NIFTI_HEADER)
        if isinstance(text, str) and _decoded(text) != raw:
            yield Finding("warning", level.path, f"the attribute {NIFTI_HEADER!r} is not the header kept in {path}")
    if grid is None or not levels:
        return
    shape = (*facts.shape[:3], 1, 1, 1)[:3]
    if shape != grid.shape:
        text = f"the NIfTI header kept is of sizes {shape}, the image has {grid.shape}: it serves as a template only"
        yield Finding("note", path, text)
        return
    with np.errstate(all="ignore"):
        affine, space = nh.affine_of(facts)
    try:
        stated = Grid(grid.shape, tuple(map(tuple, affine.tolist())), space, grid.units)
    except GeometryError:
        return
    apart = grid.difference(stated)
    if not apart.voxels <= _TOL:
        text = f"the NIfTI header kept places a corner {apart.voxels:.4g} voxels from where the coordinates do"
        yield Finding("warning", path, text)


def _bytes(array: Any) -> bytes:
    if array.ndim != 1 or array.size > _MAX_LENGTH:
        raise FormatError(f"a header is a run of bytes; found shape {array.shape}")
    return np.asarray(array[...]).tobytes()


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
