"""Resampling to 1 mm isotropic on a grid that is turned by 20 degrees; and to larger voxels, without aliasing."""

import json
import os
import time

from ..data import affine, coarse, turned
from .slabs import map_nifti, open_ts

ORDER = {"nearest": 0, "linear": 1}
CHUNK = 128


def _grid(depth):
    import chunkimg as ci

    shape, matrix = turned(depth)
    return ci.Grid(shape, matrix)


def ours(source, dest, method):
    import chunkimg as ci

    image = ci.open_image(source, chunks=None)
    image.img.resample_to(_grid(image.sizes["z"]), method).img.save(dest)


def ours_kernel(source, method, rounds=3):
    """What is in memory, to memory."""
    import numpy as np

    import chunkimg as ci
    from chunkimg.resampling import resample_volume

    values = np.array(map_nifti(source))
    image = ci.from_array(values, affine=affine())
    from chunkimg.image.build import to_volume

    data = resample_volume(to_volume(image), _grid(len(values)), method).data
    return {"seconds": min(_timed(lambda: data[:]) for _ in range(rounds))}


def _timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _sitk_filter(depth, method):
    import numpy as np
    import SimpleITK as sitk

    shape, matrix = turned(depth)
    out = sitk.ResampleImageFilter()
    out.SetSize(shape)
    lps = np.diag([-1.0, -1, 1, 1]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    out.SetOutputSpacing(spacing.tolist())
    out.SetOutputDirection((lps[:3, :3] / spacing).ravel().tolist())
    out.SetOutputOrigin(lps[:3, 3].tolist())
    out.SetInterpolator({"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}[method])
    return out


def simpleitk_kernel(source, method, rounds=3):
    import SimpleITK as sitk

    image = sitk.ReadImage(source)
    work = _sitk_filter(image.GetSize()[2], method)
    return {"seconds": min(_timed(lambda: work.Execute(image)) for _ in range(rounds))}


def simpleitk(source, dest, method):
    """From NIfTI to NIfTI."""
    import SimpleITK as sitk

    image = sitk.ReadImage(source)
    sitk.WriteImage(_sitk_filter(image.GetSize()[2], method).Execute(image), dest)


def simpleitk_zarr(source, dest, method):
    """From Zarr to Zarr, read and written whole by tensorstore."""
    import numpy as np
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(open_ts(source).read().result())
    lps = np.diag([-1.0, -1, 1, 1]) @ affine()
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    found = _sitk_filter(image.GetSize()[2], method).Execute(image)
    values = sitk.GetArrayViewFromImage(found)
    created(source, dest, values.shape).write(values).result()


def created(source, dest, shape, dtype=None):
    """An array with the chunks and codecs of that of `source`, and maybe another type of four bytes."""
    with open(os.path.join(source, "image", "zarr.json")) as f:
        meta = json.load(f)
    os.makedirs(os.path.join(dest, "image"))
    kept = ("zarr_format", "node_type", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
    with open(os.path.join(dest, "image", "zarr.json"), "w") as f:
        made = json.dumps({**{k: meta[k] for k in kept}, "shape": shape, "attributes": {}})
        f.write(made if dtype is None else made.replace('"int16"', f'"{dtype}"').replace('size": 2', 'size": 4'))
    group(dest)
    return open_ts(dest)


def group(dest):
    os.makedirs(dest, exist_ok=True)
    with open(os.path.join(dest, "zarr.json"), "w") as f:
        json.dump({"zarr_format": 3, "node_type": "group", "attributes": {}}, f)


def _matrix(depth):
    """Voxels z, y, x of the grid to those of the image, and the shape z, y, x."""
    import numpy as np

    shape, matrix = turned(depth)
    found = (np.linalg.inv(affine()) @ matrix)[:3]
    return found[::-1, [2, 1, 0]], found[::-1, 3], shape[::-1]


def dask_image(source, dest, method):
    import dask.array as da
    from dask_image.ndinterp import affine_transform

    data = da.from_zarr(os.path.join(source, "image"))
    matrix, offset, shape = _matrix(data.shape[0])
    out = affine_transform(
        data, matrix, offset, output_shape=shape, output_chunks=(CHUNK,) * 3, order=ORDER[method], prefilter=False
    )
    group(dest)
    da.to_zarr(out, os.path.join(dest, "image"))


def scipy(source, dest, method):
    import numpy as np
    from scipy.ndimage import affine_transform

    values = open_ts(source).read().result()
    matrix, offset, shape = _matrix(len(values))
    found = affine_transform(values, matrix, offset, shape, order=ORDER[method], prefilter=False)
    created(source, dest, shape).write(np.ascontiguousarray(found)).result()


def nibabel(source, dest, method):
    import nibabel as nib
    from nibabel.processing import resample_from_to

    image = nib.load(source)
    shape, matrix = turned(image.shape[2])
    nib.save(resample_from_to(image, (shape, matrix), order=ORDER[method]), dest)


# ---------------------------------------------------------------------------------------------- without aliasing


def ours_coarse(source, dest, spacing, chunks="auto"):
    import chunkimg as ci

    image = ci.open_image(source, chunks=chunks)
    image.img.resample(float(spacing), antialias=True).img.save(dest)


def ours_coarse_direct(source, dest, spacing):
    ours_coarse(source, dest, spacing, chunks=None)


def _sigma(step):
    """Of a Gaussian that makes voxels, seen as such, `step` times as wide."""
    import numpy as np

    return np.sqrt(np.maximum(step**2 - 1, 0) / (8 * np.log(2)))


def _coarsened(smoothed, first, step, shape):
    """Whole numbers from what was smoothed; axes z, y, x."""
    import numpy as np
    from scipy.ndimage import affine_transform

    return np.rint(affine_transform(smoothed, step, first, shape, order=1, mode="nearest"))


def scipy_coarse(source, dest, spacing):
    from scipy.ndimage import gaussian_filter

    values = open_ts(source).read().result()
    shape, first, step = (line[::-1] for line in coarse(len(values), float(spacing)))
    smoothed = gaussian_filter(values, _sigma(step), output="f4")
    created(source, dest, shape).write(_coarsened(smoothed, first, step, shape).astype("i2")).result()


def dask_coarse(source, dest, spacing):
    import dask.array as da
    import numpy as np
    from dask_image.ndfilters import gaussian_filter
    from dask_image.ndinterp import affine_transform

    data = da.from_zarr(os.path.join(source, "image")).astype("f4")
    shape, first, step = (line[::-1] for line in coarse(data.shape[0], float(spacing)))
    smoothed = gaussian_filter(data, _sigma(step))
    # its own way of one number per axis loses the offset
    out = affine_transform(smoothed, np.diag(step), first, output_shape=shape, output_chunks=(CHUNK,) * 3, order=1)
    group(dest)
    da.to_zarr(da.rint(out).astype("i2"), os.path.join(dest, "image"))


def simpleitk_coarse(source, dest, spacing):
    """A recursive Gaussian, which is an approximation."""
    import SimpleITK as sitk

    values = open_ts(source).read().result()
    shape, first, step = coarse(len(values), float(spacing))
    image = sitk.Cast(sitk.GetImageFromArray(values), sitk.sitkFloat32)
    sigma = _sigma(step)
    for axis in range(3):
        if sigma[axis]:
            image = sitk.RecursiveGaussian(image, float(sigma[axis]), direction=axis)
    found = sitk.Resample(image, shape, sitk.Transform(), sitk.sitkLinear, first.tolist(), step.tolist())
    whole = sitk.Cast(sitk.Round(found), sitk.sitkInt16)
    created(source, dest, shape[::-1]).write(sitk.GetArrayViewFromImage(whole)).result()
