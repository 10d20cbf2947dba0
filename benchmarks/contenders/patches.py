"""Tiled inference: a cheap function of patches that overlap, put together again."""

import itertools
import math
import os

from .resample import created, group
from .slabs import open_ts

SIZE, OVERLAP = 96, 32


def function(patch):
    """Stands for a network: less its mean, so that it is seen where patches were cut."""
    return patch - patch.mean(dtype="f8").astype("f4")


def ours(source, dest, chunks="auto"):
    import chunkimg as ci

    image = ci.open_image(source, chunks=chunks)
    size = [min(SIZE, image.sizes[d]) for d in "xyz"]
    made = image.img.map_patches(function, size, OVERLAP, weights="hann", dtype="f4")
    made.img.save(dest)


def ours_direct(source, dest):
    ours(source, dest, chunks=None)


def _starts(n):
    size = min(SIZE, n)
    return [*range(0, n - size, SIZE - OVERLAP), n - size]


def in_memory(source, dest):
    """By hand, as `sliding_window_inference` and `GridAggregator` do it: sums and weights of the whole image."""
    import numpy as np

    values = open_ts(source).read().result()
    total, weights = np.zeros(values.shape, "f4"), np.zeros(values.shape, "f4")
    size = [min(SIZE, n) for n in values.shape]
    z, y, x = (np.square(np.sin(np.pi * np.arange(1, n + 1) / (n + 1))) for n in size)
    window = (z[:, None, None] * y[:, None] * x).astype("f4")
    for first in itertools.product(*map(_starts, values.shape)):
        box = tuple(slice(k, k + n) for k, n in zip(first, size, strict=True))
        total[box] += window * function(values[box].astype("f4"))
        weights[box] += window
    total /= weights
    created(source, dest, values.shape, "float32").write(total).result()


def dask_overlap(source, dest):
    """Blocks with a halo, which is cut off: nothing is weighted, and blocks at borders are smaller."""
    import dask.array as da

    group(dest)
    data = da.from_zarr(os.path.join(source, "image")).rechunk(SIZE - OVERLAP).astype("f4")
    found = data.map_overlap(function, depth=OVERLAP // 2, boundary="none")
    da.to_zarr(found.rechunk(math.lcm(SIZE - OVERLAP, 128)), os.path.join(dest, "image"))
