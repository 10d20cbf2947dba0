"""Values at a million points of the world, in no order."""

from ..data import to_index
from .slabs import open_ts

ORDER = {"nearest": 0, "linear": 1}


def ours(store, points, dest, method, chunks="auto"):
    import numpy as np

    import chunkimg as ci

    np.save(dest, ci.open_image(store, chunks=chunks).img.sample(np.load(points), method))


def ours_direct(store, points, dest, method):
    ours(store, points, dest, method, chunks=None)


def decode(store, points, dest, method):
    """The image, chunk row by chunk row, and nothing else."""
    array = open_ts(store)
    deep = array.chunk_layout.read_chunk.shape[0]
    for z in range(0, array.shape[0], deep):
        array[z : z + deep].read().result()


def _index(points):
    """Positions in voxels z, y, x, shape (3, n)."""
    import numpy as np

    back = to_index()
    return np.ascontiguousarray((np.load(points) @ back[:3, :3].T + back[:3, 3]).T[::-1])


def scipy(store, points, dest, method):
    import numpy as np
    from scipy.ndimage import map_coordinates

    values, kind = open_ts(store).read().result(), "f8" if method == "linear" else None
    np.save(dest, map_coordinates(values, _index(points), kind, ORDER[method], "nearest", prefilter=False))


def dask_image(store, points, dest, method):
    import dask.array as da
    import numpy as np
    import xarray as xr
    from dask_image.ndinterp import map_coordinates

    data, at = xr.open_zarr(store).image.data, da.from_array(_index(points), chunks=(3, -1))
    # its result has the type of the image
    data = data.astype("f8") if method == "linear" else data
    found = map_coordinates(data, at, order=ORDER[method], mode="nearest", prefilter=False)
    np.save(dest, found.compute())


def xarray_vindex(store, points, dest, method):
    """Voxels picked by `vindex`, eight for each point where values are interpolated."""
    import itertools

    import dask
    import numpy as np
    import xarray as xr

    data, at = xr.open_zarr(store).image.data, _index(points)
    if method == "nearest":
        return np.save(dest, data.vindex[tuple(np.floor(at + 0.5).astype(int))].compute())
    low = np.minimum(at.astype(int), np.array(data.shape)[:, None] - 2)
    corners = list(itertools.product((0, 1), repeat=3))
    picked = dask.compute(*(data.vindex[tuple(low + np.array(c)[:, None])] for c in corners))
    weights = (
        np.prod([p if c else 1 - p for p, c in zip(at - low, corner, strict=True)], axis=0) for corner in corners
    )
    return np.save(dest, sum(w * v for w, v in zip(weights, picked, strict=True)))


def xarray_interp(store, points, dest, method):
    import numpy as np
    import xarray as xr

    image = xr.open_zarr(store).image
    image = image.drop_vars(set(image.coords)).assign_coords({d: np.arange(image.sizes[d]) for d in "zyx"})
    where = {d: xr.DataArray(line, dims="point") for d, line in zip("zyx", _index(points), strict=True)}
    np.save(dest, image.interp(where, method=method).values)
