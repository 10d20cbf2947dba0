"""Images with their axes reversed, or running along other directions of the body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..align import turned
from ..errors import GeometryError
from ..geometry import AXES, Grid
from ..geometry.frames import axes_towards
from ..volume import Volume

__all__ = ["axis_order", "flipped", "reoriented", "spatial_dims"]


def spatial_dims(dims: str | Sequence[str]) -> tuple[str, ...]:
    """Names of spatial axes, as one name, several, or one word such as ``"xy"``.

    Raises
    ------
    GeometryError
        If one is not x, y or z, or stands there twice.
    """
    names = tuple(dims) if isinstance(dims, Iterable) else ()
    if not names or not set(names) <= set(AXES) or len(set(names)) != len(names):
        raise GeometryError(
            f"an image is flipped along x, y or z, found {dims!r}; frames and channels are put in another order by isel"
        )
    return names


def flipped(volume: Volume, dims: str | Sequence[str]) -> Volume:
    """The image with the order of its voxels reversed along some axes; every voxel stays where it is.

    Raises
    ------
    GeometryError
        For an axis that is not x, y or z.
    """
    return turned(volume, {a: a for a in AXES}, spatial_dims(dims))


def axis_order(grid: Grid, codes: str) -> tuple[dict[str, str], list[str]]:
    """For x, y and z the axis of a grid that takes the name, and the axes that are reversed, to run along `codes`."""
    order = axes_towards(codes, grid.direction, grid.space)
    return {a: AXES[k] for a, (k, _) in zip(AXES, order, strict=True)}, [AXES[k] for k, back in order if back]


def reoriented(volume: Volume, codes: str) -> Volume:
    """The image with its axes permuted and reversed so that x, y, z run along given body directions.

    Nothing is resampled and every voxel stays where it is; the axes of an oblique image run along the directions that
    are nearest. Where geometry changes with time, those of the reference are meant.

    Parameters
    ----------
    volume : Volume
        An image that says where the patient is.
    codes : str
        Body directions in which x, y, z are to increase: ``"RAS"``, ``"LPS"``, ``"PIR"``, …

    Raises
    ------
    GeometryError
        If `codes` are no such directions, or the image has no position in a known space.
    """
    if volume.grid is None:
        raise GeometryError(f"{volume.source or 'the image'}: it has no position, so its axes have no direction")
    return turned(volume, *axis_order(volume.grid, codes))
