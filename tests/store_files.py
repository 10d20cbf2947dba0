"""OME-Zarr stores written by zarr-python and by hand."""

import math

import numpy as np
import zarr


def store(path, data, axes, *, scale=None, start=None, version="0.4", array=None, common=None, more=None, image=None):
    """An OME-Zarr with one level, written by zarr-python and by hand."""
    fmt = 3 if version >= "0.5" else 2
    root = zarr.open_group(path, mode="w", zarr_format=fmt)
    # data= of create_array writes shards wrongly before zarr 3.1.3
    node = root.create_array("0", shape=data.shape, dtype=data.dtype, **(array or {}))
    node[...] = data
    steps = [{"type": "scale", "scale": scale or [1.0] * data.ndim}]
    if start is not None:
        steps.append({"type": "translation", "translation": start})
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], **(image or {})}
    if common is not None:
        entry["coordinateTransformations"] = common
    if fmt == 3:
        root.attrs["ome"] = {"version": version, "multiscales": [entry], **(more or {})}
    else:
        root.attrs.update({"multiscales": [{**entry, "version": version}], **(more or {})})
    return node


def axis(name, kind="space", unit=None, orientation=None):
    out = {"name": name}
    if kind is not None:
        out["type"] = kind
    if unit is not None:
        out["unit"] = unit
    if orientation is not None:
        out["orientation"] = {"type": "anatomical", "value": orientation}
    return out


def voxels(*shape, dtype="i2"):
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape)


ZYX = [axis("z", unit="micrometer"), axis("y", unit="micrometer"), axis("x", unit="micrometer")]


def root_metadata(path):
    attrs = dict(zarr.open_group(path, mode="r").attrs)
    return attrs.get("ome", attrs)
