"""Statistics, histogram and quantiles of an image; how often each label occurs."""

from .slabs import open_ts

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def _plain(found):
    """Numbers of a mapping or an object with fields, by name."""
    found = found if hasattr(found, "keys") else vars(found)
    return {name: float(found[name]) for name in ("min", "max", "mean", "std")}


def ours(store):
    import chunkimg as ci

    image = ci.open_image(store)
    if not hasattr(image.img, "stats"):
        return {"skip": "this chunkimg has no .img.stats()"}
    return _plain(image.img.stats())


def dask(store):
    import dask
    import dask.array as da
    import xarray as xr

    data = xr.open_zarr(store).image.data
    number, _ = da.histogram(data, bins=65536, range=(-32768.5, 32767.5))
    wanted = {"min": data.min(), "max": data.max(), "mean": data.mean(dtype="f8"), "std": data.std(dtype="f8")}
    found, number = dask.compute(wanted, number)
    return {**{k: float(v) for k, v in found.items()}, "quantiles": _quantiles(number)}


def _quantiles(number):
    import numpy as np

    cumulated = np.cumsum(number)
    ranks = [np.floor(q * (cumulated[-1] - 1)) for q in QUANTILES]
    return {str(q): int(np.searchsorted(cumulated, r, "right")) - 32768 for q, r in zip(QUANTILES, ranks, strict=True)}


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


def ours_labels(store):
    import chunkimg as ci

    image = ci.open_image(store)
    if not hasattr(image.img, "count_labels"):
        return {"skip": "this chunkimg has no .img.count_labels()"}
    found = image.img.count_labels()
    pairs = found.items() if hasattr(found, "items") else zip(found["label"], found["count"], strict=True)
    return {"counts": {str(int(k)): int(v) for k, v in pairs}}


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
