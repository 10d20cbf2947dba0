"""Position and times of an image in an NRRD header."""

from __future__ import annotations

import math
import warnings

import numpy as np

from ..errors import ChunkImgError, ChunkImgWarning
from ..geometry import Grid
from ..geometry.frames import canonical_unit, from_seconds
from ..geometry.poses import snapped_steps
from ..volume import TimeAxis
from .nrrd_axes import axes_of, grid_of, time_unit, times_of
from .nrrd_edit import HeaderText, number, quote, vector
from .nrrd_header import NrrdHeader

__all__ = ["forget_samples", "moved_axes", "same_times", "says", "update_geometry", "update_times"]

_NAMES = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior", "LAS": "left-anterior-superior"}
_PLACE = ("space", "space dimension", "space directions", "space origin", "space units", "measurement frame")


def says(text: HeaderText, roles: list[str]) -> tuple[Grid | None, TimeAxis | None] | None:
    """Position and times that a header states as it stands; None if it states other axes, or is not whole."""
    try:
        header = text.header()
        axes = axes_of(header)
        if list(axes.roles) != roles:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ChunkImgWarning)
            return grid_of(header, axes), times_of(header, axes)
    except ChunkImgError:
        return None


# ------------------------------------------------------------------------------------------------ space


def update_geometry(
    text: HeaderText, before: NrrdHeader | None, grid: Grid | None, times: TimeAxis | None, roles: list[str], dest: str
) -> None:
    """Space, directions, origin and unit, where they are not what the header says already."""
    if grid is None:
        if before is None:
            warnings.warn(f"{dest}: the image has no position; none is written", ChunkImgWarning, stacklevel=4)
        return
    now = says(text, roles)
    # in a space of four dimensions the times are part of the directions
    joint = before is not None and before.space_dimension == 4
    if now is not None and _same_place(now[0], grid) and not (joint and not same_times(now[1], times)):
        return
    space = "unknown" if grid.space == "unknown" else "LPS"
    if before is not None and (before.space != "unknown") == (space != "unknown"):
        space = before.space
    planar = _is_planar(text, grid, roles)
    if not _keeps_space(before, space, planar):
        _forget(text, roles)
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


def moved_axes(before: Grid | None, now: Grid | None) -> dict[str, str]:
    """For axes that run along another one of the grid before, which that is; nothing where that is no permutation."""
    if before is None or now is None or before.space != now.space:
        return {}
    steps = snapped_steps(before.matrix, now.matrix)[:3, :3] != 0
    if not (np.all(steps.sum(axis=0) == 1) and np.all(steps.sum(axis=1) == 1)):
        return {}
    return {new: "xyz"[int(np.argmax(steps[:, k]))] for k, new in enumerate("xyz") if not steps[k, k]}


def forget_samples(text: HeaderText, before: Grid | None, now: Grid | None, roles: list[str]) -> None:
    """Take out thicknesses along axes whose samples are others, and labels of axes that run elsewhere."""
    if before is None or now is None or before.space != now.space:
        return
    steps = np.abs(snapped_steps(before.matrix, now.matrix)[:3, :3])
    nearest = (steps * np.array(before.spacing)[:, None]).argmax(axis=0)
    # otherwise labels went with their axes
    mixed = np.any(np.count_nonzero(steps, axis=0) != 1)
    for k, role in enumerate(roles):
        if role in ("x", "y", "z"):
            axis = "xyz".index(role)
            if sorted(steps[:, axis]) != [0, 0, 1]:
                text.set_entry("thicknesses", k, len(roles), None)
            if mixed and nearest[axis] != axis:
                text.set_entry("labels", k, len(roles), None)


def _same_place(a: Grid | None, b: Grid) -> bool:
    return a is not None and (a.affine, a.space, a.units) == (b.affine, b.space, b.units)


def _is_planar(text: HeaderText, grid: Grid, roles: list[str]) -> bool:
    """Whether the header has two world axes, and they are enough."""
    m = grid.matrix
    flat = "z" not in roles and np.array_equal(m[:3, 2], [0, 0, 1]) and not m[2, [0, 1, 3]].any()
    return bool(flat and text.fields.get("space dimension") == "2")


def _keeps_space(before: NrrdHeader | None, space: str, planar: bool) -> bool:
    """Whether directions in the template's space can be replaced one by one."""
    if before is None or "space directions" not in before.fields:
        return False
    if all(v is None for v in before.vectors("space directions", before.dimension)):
        return False
    return before.space == space and before.space_dimension == (2 if planar else 3)


def _forget(text: HeaderText, roles: list[str]) -> None:
    """Take out what the template says of positions."""
    if "measurement frame" in text.fields:
        warnings.warn(
            f"{text.path}: its measurement frame belongs to the space it was in, and is not written",
            ChunkImgWarning,
            stacklevel=5,
        )
    text.drop(*_PLACE)
    for k, role in enumerate(roles):
        if role in "xyz":
            for name in ("spacings", "axis mins", "axis maxs", "units"):
                text.set_entry(name, k, len(roles), None)


def _set_vectors(text: HeaderText, name: str, vectors: list[str]) -> None:
    """Write vectors unless the same numbers stand there."""
    old = text.vectors(name)
    if [_numbers(v) for v in old] != [_numbers(v) for v in vectors]:
        text.set(name, " ".join(vectors))


def _numbers(text: str) -> list[float] | None:
    return [float(n) for n in text[1:-1].split(",")] if text.startswith("(") else None


def _update_unit(text: HeaderText, grid: Grid, space: str, count: int) -> None:
    implied = "unknown" if space == "unknown" else "mm"
    if grid.units == implied and "space units" not in text.fields:
        return
    unit = "" if grid.units == "unknown" else grid.units
    old = [canonical_unit(u.strip('" ')) for u in text.fields.get("space units", "").split()]
    if old != [canonical_unit(unit)] * count:
        text.set("space units", " ".join([quote(unit)] * count))


# ------------------------------------------------------------------------------------------------ time


def update_times(text: HeaderText, before: NrrdHeader | None, times: TimeAxis | None, roles: list[str]) -> None:
    """Step, start and unit of the time axis; irregular times as a list, as 3D Slicer keeps them."""
    axes = None if before is None else axes_of(before)
    was = None if axes is None else axes.at("t")
    if was is not None and (times is None or was != roles.index("t")):
        text.drop_key(f"axis {was} index type")
        text.drop_key(f"axis {was} index values")
    if times is None:
        return
    now = says(text, roles)
    if now is not None and same_times(now[1], times):
        return
    k, count = roles.index("t"), len(roles)
    unit = "s" if before is None or was is None else time_unit(before, was) or "s"
    seconds = times.units == "s"
    values = [from_seconds(v, unit) if seconds else v for v in times.values]
    listed = f"axis {k} index values" in text.header().keys
    text.set_entry("units", k, count, quote(unit) if seconds else None)
    text.set_entry("axis maxs", k, count, None)
    step = times.regular_step()
    if listed or (step is None and (seconds or len(values) > 1)):
        text.set_key(f"axis {k} index type", "numeric")
        text.set_key(f"axis {k} index values", " ".join(number(v) for v in values))
        return
    if step is not None and seconds:
        step = from_seconds(step, unit)
    frames = step is None or (times.units == "unknown" and times.step is None)
    text.set_entry("spacings", k, count, None if frames or step is None else number(step))
    text.set_entry("axis mins", k, count, None if frames else number(values[0]))
    # the start is the first sample's own time, not the border of a cell around it
    text.set_entry("centers", k, count, None if frames else "node")


def same_times(a: TimeAxis | None, b: TimeAxis | None) -> bool:
    """Whether the times of a header are those of the image; frame numbers need not start with the same one."""
    if a is None or b is None:
        return a is b
    if a.units != b.units or len(a.values) != len(b.values):
        return False
    if a.units == "unknown" and a.step is None and b.step is None and a.values[0] == 0:
        return b.regular_step() == 1.0 or len(b.values) == 1
    scale = max(abs(v) for v in b.values) * 4e-16
    return all(math.isclose(x, y, rel_tol=1e-12, abs_tol=scale) for x, y in zip(a.values, b.values, strict=True))
