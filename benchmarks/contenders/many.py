"""Sums over very many chunks, and what planning them costs."""

from .slabs import open_ts


def ours(store):
    import chunkimg as ci

    return {"sum": int(ci.open_image(store).sum().compute())}


def ours_stats(store):
    import chunkimg as ci

    return {"sum": ci.open_image(store, chunks=None).img.stats(()).sum}


def xarray_dask(store):
    import xarray as xr

    return {"sum": int(xr.open_zarr(store).image.sum().compute())}


def tensorstore(store):
    """By hand: slabs of about 64 MiB."""
    import numpy as np

    array = open_ts(store)
    plane = array.shape[1] * array.shape[2]
    deep = max(16, (64 << 20) // plane // 16 * 16)
    slabs = (array[z : min(z + deep, array.shape[0])] for z in range(0, array.shape[0], deep))
    return {"sum": sum(int(np.sum(slab.read().result(), dtype="u8")) for slab in slabs)}


def plan_ours(store):
    import time

    import chunkimg as ci

    start = time.perf_counter()
    total = ci.open_image(store).sum()
    len(total.__dask_graph__())
    return {"seconds": time.perf_counter() - start}


def plan_xarray(store):
    import time

    import xarray as xr

    start = time.perf_counter()
    total = xr.open_zarr(store).image.sum()
    len(total.__dask_graph__())
    return {"seconds": time.perf_counter() - start}
