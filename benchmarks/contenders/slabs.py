"""What hand-written loops share: arrays of ours opened by others, slabs of a shard's depth."""

import json
import os
import shutil


def open_ts(path, name="image"):
    """An array of a Zarr store, by tensorstore."""
    import tensorstore as ts

    inner = os.path.join(path, name) if name else path
    return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": inner}}).result()


def metadata(like):
    """Of the image in a store of ours."""
    with open(os.path.join(like, "image", "zarr.json")) as f:
        return json.load(f)


def same_array(like, dest):
    """An empty array with the metadata of that of `like`: same chunks, same codecs; returns its depth of a slab."""
    os.makedirs(os.path.join(dest, "image"))
    for name in ("zarr.json", "image/zarr.json"):
        shutil.copyfile(os.path.join(like, name), os.path.join(dest, name))
    return depth(like)


def depth(like):
    return metadata(like)["chunk_grid"]["configuration"]["chunk_shape"][0]


def nifti_offset(path):
    with open(path, "rb") as f:
        f.seek(108)
        import struct

        return int(struct.unpack("<f", f.read(4))[0])


def map_nifti(path, mode="r"):
    """Voxels z, y, x of an int16 NIfTI, mapped."""
    import struct

    import numpy as np

    with open(path, "rb") as f:
        head = f.read(352)
    x, y, z = struct.unpack("<3h", head[42:48])
    return np.memmap(path, "<i2", mode, nifti_offset(path), (z, y, x))


def save_region(read, dest):
    """The region's bytes go to a file; what the reading alone took is told."""
    import time

    start = time.perf_counter()
    values = read()
    seconds = time.perf_counter() - start
    values.tofile(dest)
    return {"seconds": seconds}


def slices(text):
    """``0:4,5:9,1:2`` as slices of z, y, x."""
    return tuple(slice(*map(int, part.split(":"))) for part in text.split(","))
