"""Position and times of an image in an NRRD header."""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import ChunkImgWarning
from ..geometry import Grid
from ..geometry.frames import canonical_unit, from_seconds
from ..volume import TimeAxis
from .nrrd_axes import Axes, grid_of, time_unit, times_of
from .nrrd_edit import HeaderText, number, quote, vector
from .nrrd_header import NrrdHeader

__all__ = ["update_geometry", "update_times"]

_NAMES = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior", "LAS": "left-anterior-superior"}
_PLACE = ("space", "space dimension", "space directions", "space origin", "space units", "measurement frame")


def update_geometry(
    text: HeaderText,
    before: NrrdHeader | None,
    axes: Axes | None,
    grid: Grid | None,
    roles: list[str],
    dest: str,
) -> None:
    """Space, directions, origin and unit, where they are not the template's."""
    old = None if before is None or axes is None else _grid(before, axes)
    if grid is None:
        if before is None:
            warnings.warn(f"{dest}: the image has no position; none is written", ChunkImgWarning, stacklevel=3)
        return
    same = old is not None and (old.affine, old.space, old.units) == (grid.affine, grid.space, grid.units)
    if same and axes is not None and _spatial(roles) == _spatial(axes.roles):
        return
    space = "unknown" if grid.space == "unknown" else "LPS"
    if before is not None and (before.space != "unknown") == (space != "unknown"):
        space = before.space
    planar = _is_planar(text, grid, roles)
    if not _keeps_space(before, axes, space, planar):
        _forget(text, before, roles)
    if space != "unknown":
        text.set("space", text.fields.get("space", _NAMES[space]))
    elif "space" not in text.fields:
        text.set("space dimension", "2" if planar else "3")
    count = 2 if planar else 3
    matrix = (grid if space == "unknown" else grid.to_space(space)).matrix
    columns = {role: vector(matrix[:count, k]) for k, role in enumerate("xyz")}
    _set_vectors(text, "space directions", [columns.get(r, "none") for r in roles])
    _set_vectors(text, "space origin", [vector(matrix[:count, 3])])
    _update_unit(text, grid, space, count)


def _grid(header: NrrdHeader, axes: Axes) -> Grid | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChunkImgWarning)
        return grid_of(header, axes)


def _spatial(roles: tuple[str, ...] | list[str]) -> list[str]:
    return [r for r in roles if r in "xyz"]


def _is_planar(text: HeaderText, grid: Grid, roles: list[str]) -> bool:
    """Whether the header has two world axes, and they are enough."""
    m = grid.matrix
    flat = "z" not in roles and np.array_equal(m[:3, 2], [0, 0, 1]) and not m[2, [0, 1, 3]].any()
    return bool(flat and text.fields.get("space dimension") == "2")


def _keeps_space(before: NrrdHeader | None, axes: Axes | None, space: str, planar: bool) -> bool:
    """Whether directions in the template's space can be replaced one by one."""
    if before is None or axes is None or all(v is None for v in axes.vectors):
        return False
    return before.space == space and before.space_dimension == (2 if planar else 3)


def _forget(text: HeaderText, before: NrrdHeader | None, roles: list[str]) -> None:
    """Take out what the template says of positions."""
    if before is not None and "measurement frame" in before.fields:
        warnings.warn(
            f"{before.path}: its measurement frame belongs to the space it was in, and is not written",
            ChunkImgWarning,
            stacklevel=4,
        )
    text.drop(*_PLACE)
    for k, role in enumerate(roles):
        if role in "xyz":
            for name in ("spacings", "axis mins", "axis maxs", "units"):
                text.set_entry(name, k, len(roles), None)


def _set_vectors(text: HeaderText, name: str, vectors: list[str]) -> None:
    """Write vectors unless the same numbers stand there."""
    old = text.fields.get(name, "").replace(") (", ")|(").replace(" none", "|none").replace("none ", "none|").split("|")
    if [_numbers(v) for v in old] != [_numbers(v) for v in vectors]:
        text.set(name, " ".join(vectors))


def _numbers(text: str) -> list[float] | None:
    text = text.strip()
    return [float(n) for n in text[1:-1].split(",")] if text.startswith("(") else None


def _update_unit(text: HeaderText, grid: Grid, space: str, count: int) -> None:
    implied = "unknown" if space == "unknown" else "mm"
    if grid.units == implied and "space units" not in text.fields:
        return
    unit = "" if grid.units == "unknown" else grid.units
    old = [canonical_unit(u.strip('" ')) for u in text.fields.get("space units", "").split()]
    if old != [canonical_unit(unit)] * count:
        text.set("space units", " ".join([quote(unit)] * count))


def update_times(
    text: HeaderText, before: NrrdHeader | None, axes: Axes | None, times: TimeAxis | None, roles: list[str]
) -> None:
    """Step, start and unit of the time axis; irregular times as a list, as 3D Slicer keeps them."""
    was = None if axes is None else axes.at("t")
    if was is not None and (times is None or was != roles.index("t")):
        text.drop_key(f"axis {was} index type")
        text.drop_key(f"axis {was} index values")
    if times is None:
        return
    old = None if before is None or axes is None else times_of(before, axes)
    k, count = roles.index("t"), len(roles)
    same_place = axes is not None and axes.at("t") == k
    if old is not None and same_place and _same(old, times):
        return
    unit = "s"
    if before is not None and axes is not None and axes.at("t") is not None:
        unit = time_unit(before, axes.roles.index("t")) or "s"
    seconds = times.units == "s"
    values = [from_seconds(v, unit) if seconds else v for v in times.values]
    step = times.regular_step()
    listed = f"axis {k} index values" in (before.keys if before is not None else {})
    text.set_entry("units", k, count, quote(unit) if seconds else None)
    text.set_entry("axis maxs", k, count, None)
    if listed or (step is None and len(values) > 1):
        text.set_key(f"axis {k} index type", "numeric")
        text.set_key(f"axis {k} index values", " ".join(number(v) for v in values))
        text.set_entry("labels", k, count, quote("time"))
        return
    if step is not None and seconds:
        step = from_seconds(step, unit)
    frames = step is None or (times.units == "unknown" and times.step is None)
    text.set_entry("spacings", k, count, None if frames or step is None else number(step))
    text.set_entry("axis mins", k, count, None if frames else number(values[0]))
    # the start is the first sample's own time, not the border of a cell around it
    text.set_entry("centers", k, count, None if frames else "node")


def _same(a: TimeAxis, b: TimeAxis) -> bool:
    """Whether times are those of the header, of which frames at the end may have been cut off."""
    return a.units == b.units and a.step == b.step and a.values[: len(b.values)] == b.values
