"""`Volume`: a lazy array and all that is known of it; what formats hand to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .errors import GeometryError
from .geometry import Grid, Poses
from .lazy import LazyArray, ScaledArray, ViewArray
from .scaling import Scaling

__all__ = ["CHANNEL_NAMES", "DIMS", "OMERO", "PER_CHANNEL", "SAMPLES", "TimeAxis", "Volume", "pick_channels"]

#: every image has its dims in this order; z, y, x always, t and c where the source declares them
DIMS = ("t", "c", "z", "y", "x")

#: attributes of c that hold one entry per channel: names, and how OMERO shows them (colour, window, …)
CHANNEL_NAMES, OMERO = "names", "omero"
PER_CHANNEL = (CHANNEL_NAMES, OMERO)
#: kinds of channels that are what they are only together, and how many they are
SAMPLES = {"RGB": 3, "RGBA": 4, "complex": 2}


@dataclass(frozen=True)
class TimeAxis:
    """Values of ``t``, any increasing numbers.

    Attributes
    ----------
    values : tuple of float
        One per frame: seconds, or frame numbers where the source states no unit or step.
    units : str
        ``"s"`` or ``"unknown"``.
    step : float or None
        Nominal time between frames; None where the source states none. Kept for a single frame.
    """

    values: tuple[float, ...]
    units: str = "s"
    step: float | None = None

    def crop(self, r: range) -> TimeAxis:
        """Frames of a range."""
        step = None if self.step is None else self.step * abs(r.step)
        return TimeAxis(tuple(self.values[k] for k in r), self.units, step)

    def regular_step(self) -> float | None:
        """Time between frames where it is constant (to 1e-6 of itself), else None; the nominal one of one frame."""
        if len(self.values) < 2:
            return self.step
        mean = (self.values[-1] - self.values[0]) / (len(self.values) - 1)
        if self.step is not None and math.isclose(mean, self.step, rel_tol=1e-9):
            mean = self.step
        ideal = self.values[0] + mean * np.arange(len(self.values))
        slack = 1e-6 * abs(mean) + 4e-16 * max(abs(v) for v in self.values)
        return mean if np.abs(ideal - self.values).max() <= slack else None


@dataclass(frozen=True, eq=False)
class Volume:
    """A lazy image without xarray.

    Attributes
    ----------
    data : LazyArray
        *Stored* values, axes as in `dims`.
    dims : tuple of str
        A selection of `DIMS` in that order, with z, y, x.
    grid : Grid or None
        None where the source's geometry is unusable (singular or not finite).
    times : TimeAxis or None
        Where `dims` has t.
    time : float or None
        When a single frame without dim t was taken, in seconds, where that is known.
    scaling : Scaling or None
        How stored values become image values.
    properties : dict
        JSON-able metadata.
    rank : int
        Number of axes that the source declares.
    headers : dict
        What the source format kept of its own header, by the attribute key of `chunkimg.geometry.attrs`.
    poses : Poses or None
        Geometry per time step.
    channels : dict
        Attributes of the coordinate c.
    source : str
        For people: file name or URL.
    """

    data: LazyArray
    dims: tuple[str, ...]
    grid: Grid | None
    times: TimeAxis | None = None
    time: float | None = None
    scaling: Scaling | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    rank: int = 3
    headers: dict[str, bytes] = field(default_factory=dict)
    poses: Poses | None = None
    channels: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if self.dims != tuple(d for d in DIMS if d in self.dims) or not {"z", "y", "x"} <= set(self.dims):
            raise GeometryError(f"dims of an image are {DIMS} in this order (t and c optional), found {self.dims}")
        if len(self.dims) != self.data.ndim:
            raise GeometryError(f"{len(self.dims)} dims {self.dims} but {self.data.ndim} axes")
        if self.grid is not None and self.grid.shape != (self.sizes["x"], self.sizes["y"], self.sizes["z"]):
            raise GeometryError(f"the grid has (x, y, z) sizes {self.grid.shape}, the array {dict(self.sizes)}")
        if ("t" in self.dims) != (self.times is not None):
            raise GeometryError("an image with dim t has times, one without has none")

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size by dim."""
        return dict(zip(self.dims, self.data.shape, strict=True))

    @property
    def values(self) -> LazyArray:
        """Image values: stored values, scaled."""
        return self.data if self.scaling is None else ScaledArray(self.data, self.scaling)

    def crop(self, **slices: slice) -> Volume:
        """The part selected by slices per dim, lazily; positions follow.

        Raises
        ------
        GeometryError
            For a dim that the image does not have, or when nothing is left.
        """
        unknown = sorted(set(slices) - set(self.dims))
        if unknown:
            raise GeometryError(f"cannot crop along {', '.join(unknown)}: the image has dims {', '.join(self.dims)}")
        ranges = {d: range(n)[slices.get(d, slice(None))] for d, n in self.sizes.items()}
        for d, r in ranges.items():
            if len(r) == 0:
                raise GeometryError(f"{slices[d]} leaves nothing of the {self.sizes[d]} along {d}")
        if all(r == range(self.sizes[d]) for d, r in ranges.items()):
            return self
        spatial = {d: slices[d] for d in ("x", "y", "z") if d in slices}
        times = self.times.crop(ranges["t"]) if self.times else None
        poses = self.poses
        grid = self.grid.crop(**spatial) if self.grid else None
        if poses is not None and times is not None and grid is not None:
            poses = poses.subset(times.values)
            fixed = poses.fixed(grid)
            grid, poses = (grid, poses) if fixed is None else (fixed, None)
        channels = pick_channels(self.channels, ranges["c"]) if "c" in ranges else self.channels
        return replace(
            self,
            channels=channels,
            data=ViewArray(self.data, list(ranges.values())),
            grid=grid,
            times=times,
            poses=poses,
        )


def pick_channels(channels: Mapping[str, Any], picked: Sequence[int]) -> dict[str, Any]:
    """Attributes of c after some channels were picked: names, and step and offset of a spectral axis, follow.

    A part of a colour is none.
    """
    out = dict(channels)
    for key in PER_CHANNEL:
        if isinstance(out.get(key), (list, tuple)) and max(picked, default=-1) < len(out[key]):
            out[key] = [out[key][k] for k in picked]
    if SAMPLES.get(str(out.get("kind")), len(picked)) != len(picked):
        del out["kind"]
    step, offset = out.get("step"), out.get("offset")
    if not isinstance(step, (int, float)) or not isinstance(offset, (int, float)):
        return out
    if not isinstance(picked, range):
        return {k: v for k, v in out.items() if k not in ("step", "offset")}
    return {**out, "offset": offset + step * picked.start, "step": step * picked.step}
