"""Statistics, histogram and quantiles of an image; how often each label occurs."""

from .slabs import open_ts

PERCENTILES = (1, 25, 50, 75, 99)
BINS = 256


def ours(store, chunks="auto"):
    import chunkimg as ci

    image = ci.open_image(store, chunks=chunks)
    if not hasattr(image.img, "stats"):
        return {"skip": "this chunkimg has no .img.stats()"}
    found = image.img.stats(PERCENTILES, bins=BINS)
    moments = {name: float(getattr(found, name)) for name in ("min", "max", "mean", "std")}
    return {
        **moments,
        "percentiles": {str(int(q)): float(v) for q, v in found.percentiles.items()},
        "histogram": found.histogram.counts.tolist(),
    }


def ours_direct(store):
    return ours(store, chunks=None)


def dask(store):
    """All in one computation; percentiles and the histogram follow from how often each value occurs."""
    import dask
    import dask.array as da
    import numpy as np
    import xarray as xr

    data = xr.open_zarr(store).image.data
    number, _ = da.histogram(data, bins=65536, range=(-32768.5, 32767.5))
    wanted = {"min": data.min(), "max": data.max(), "mean": data.mean(dtype="f8"), "std": data.std(dtype="f8")}
    found, number = dask.compute(wanted, number)
    moments = {name: float(value) for name, value in found.items()}
    values, cumulated = np.arange(-32768, 32768), np.cumsum(number)
    percentiles = {}
    for q in PERCENTILES:
        rank = q / 100 * (cumulated[-1] - 1)
        low, high = values[np.searchsorted(cumulated, [np.floor(rank), np.ceil(rank)], "right")]
        percentiles[str(q)] = float(low + (high - low) * (rank % 1))
    histogram, _ = np.histogram(values, BINS, (moments["min"], moments["max"]), weights=number)
    return {**moments, "percentiles": percentiles, "histogram": histogram.astype(int).tolist()}


def simpleitk(store):
    """Its statistics filter, without histogram."""
    import math

    import SimpleITK as sitk
    import zarr

    image = sitk.GetImageFromArray(zarr.open_array(store, path="image", mode="r")[:])
    filtered = sitk.StatisticsImageFilter()
    filtered.Execute(image)
    out = {name.lower(): float(getattr(filtered, f"Get{name}")()) for name in ("Mean", "Sigma", "Minimum", "Maximum")}
    n = image.GetNumberOfPixels()
    std = out["sigma"] * math.sqrt((n - 1) / n)
    return {"min": out["minimum"], "max": out["maximum"], "mean": out["mean"], "std": std}


def ours_labels(store, chunks="auto"):
    import chunkimg as ci

    image = ci.open_image(store, chunks=chunks)
    if not hasattr(image.img, "count_labels"):
        return {"skip": "this chunkimg has no .img.count_labels()"}
    return _counts(*image.img.count_labels())


def ours_labels_direct(store):
    return ours_labels(store, chunks=None)


def _counts(labels, number):
    return {"counts": {str(int(k)): int(v) for k, v in zip(labels, number, strict=True)}}


def numpy_labels(store):
    import numpy as np

    return _counts(*np.unique(open_ts(store).read().result(), return_counts=True))


def dask_labels(store):
    import dask
    import dask.array as da
    import xarray as xr

    return _counts(*dask.compute(*da.unique(xr.open_zarr(store).image.data, return_counts=True)))


def fastremap_labels(store):
    import fastremap

    return _counts(*fastremap.unique(open_ts(store).read().result(), return_counts=True))
