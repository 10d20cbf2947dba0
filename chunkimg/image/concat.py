"""Images one after the other along time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import xarray as xr

from ..errors import GeometryError
from ..ops.concat import joined_in_time
from .build import assemble, require_images, to_dataarray, to_volume, whole
from .lazily import unwrapped
from .views import is_dask, viewed

__all__ = ["concat_time"]


def concat_time(images: Iterable[xr.DataArray], t: Sequence[float] | None = None) -> xr.DataArray:
    """One image of the frames of several, lazily: a series of scans, frames of a PET study, runs of an fMRI.

    All are of one shape. Grids that differ by less than 1e-3 voxel (headers round) are one grid, that of the first
    image; where they differ by more, each frame keeps its own geometry, as `img.affine_at` says
    (``img.isel(t=k)`` is where that image was). Properties that are the same in all are kept; so are stored values,
    where all are stored and scaled alike.

    Parameters
    ----------
    images : iterable of xarray.DataArray
        In the order of time. Each is one frame, or has dim t.
    t : sequence of float, optional
        Times in seconds, one per frame, increasing, regular or not. By default those of the images; frame numbers
        where no image says any.

    Returns
    -------
    xarray.DataArray
        Dims t, (c,) z, y, x. Without Dask where no image has it, else in a few large blocks of Dask, however many files
        they come from.

    Raises
    ------
    GeometryError
        If shapes, channels, units or spaces differ (it lists what does), or times do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkimg as ci
    >>> frames = [ci.from_array(np.full((2, 3, 4), k), spacing=(2, 2, 5)) for k in range(3)]
    >>> pet = ci.concat_time(frames, t=[0, 10, 40])
    >>> dict(pet.sizes), pet.t.values.tolist(), int(pet.sel(t=12.5, method="nearest")[0, 0, 0])
    ({'t': 3, 'z': 2, 'y': 3, 'x': 4}, [0.0, 10.0, 40.0], 1)
    """
    given = [whole(image) for image in require_images(images)]
    if not given:
        raise GeometryError("there are no images to concatenate")
    volume = joined_in_time([to_volume(image) for image in given], t)
    data = [image.variable._data for image in given]
    if any(is_dask(d) and viewed(d) is None for d in data):
        return _named(given, assemble(volume, _by_dask(given)))
    if any(is_dask(d) for d in data):
        return _named(given, to_dataarray(volume))
    out = to_dataarray(volume, chunks=None)
    return _named(given, out.copy(data=out.values) if all(unwrapped(d) is None for d in data) else out)


def _named(images: Sequence[xr.DataArray], out: xr.DataArray) -> xr.DataArray:
    names = {image.name for image in images}
    out.name = names.pop() if len(names) == 1 else out.name
    return out


def _by_dask(images: Sequence[xr.DataArray]) -> Any:
    """Blocks of Dask graphs that compute, as they are."""
    variables = []
    for image in images:
        variable = (image if is_dask(image.variable._data) else image.chunk()).variable
        variables.append(variable if "t" in variable.dims else variable.set_dims({"t": 1, **variable.sizes}))
    return xr.Variable.concat(variables, "t")._data
