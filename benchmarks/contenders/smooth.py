"""Smoothing by a Gaussian of a full width at half maximum, to float32."""

import os

from ..data import affine
from .resample import created, group
from .slabs import map_nifti, open_ts


def ours(source, dest, fwhm, chunks="auto"):
    import chunkimg as ci

    ci.open_image(source, chunks=chunks).img.smooth(float(fwhm)).img.save(dest)


def ours_direct(source, dest, fwhm):
    ours(source, dest, fwhm, chunks=None)


def _sigma(fwhm):
    """Along z, y, x, in voxels."""
    import numpy as np

    spacing = np.linalg.norm(affine()[:3, :3], axis=0)
    return (float(fwhm) / np.sqrt(8 * np.log(2)) / spacing)[::-1].tolist()


def _stored(source, dest, values):
    created(source, dest, values.shape, "float32").write(values).result()


def scipy(source, dest, fwhm):
    from scipy.ndimage import gaussian_filter

    values = open_ts(source).read().result()
    _stored(source, dest, gaussian_filter(values, _sigma(fwhm), output="f4"))


def dask_image(source, dest, fwhm):
    import dask.array as da
    from dask_image.ndfilters import gaussian_filter

    group(dest)
    data = da.from_zarr(os.path.join(source, "image")).astype("f4")
    da.to_zarr(gaussian_filter(data, _sigma(fwhm)), os.path.join(dest, "image"))


def dask_overlap(source, dest, fwhm):
    import dask.array as da
    from scipy.ndimage import gaussian_filter

    group(dest)
    sigma = _sigma(fwhm)
    depth = tuple(int(4 * s + 0.5) for s in sigma)
    data = da.from_zarr(os.path.join(source, "image"))
    found = data.map_overlap(lambda b: gaussian_filter(b, sigma, output="f4"), depth, "reflect", dtype="f4")
    da.to_zarr(found, os.path.join(dest, "image"))


def _by_sitk(image, fwhm, kind):
    """Recursive: an approximation; discrete: another kernel, of the discrete heat equation."""
    import SimpleITK as sitk

    sigma = [s * w for s, w in zip(_sigma(fwhm)[::-1], image.GetSpacing(), strict=True)]
    image = sitk.Cast(image, sitk.sitkFloat32)
    if kind == "recursive":
        return sitk.SmoothingRecursiveGaussian(image, sigma)
    return sitk.DiscreteGaussian(image, [s * s for s in sigma], 64, 0.001, True)


def simpleitk_zarr(source, dest, fwhm, kind="recursive"):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(open_ts(source).read().result())
    found = _by_sitk(image, fwhm, kind)
    _stored(source, dest, sitk.GetArrayViewFromImage(found))


def simpleitk_zarr_discrete(source, dest, fwhm):
    simpleitk_zarr(source, dest, fwhm, "discrete")


def simpleitk(source, dest, fwhm):
    import SimpleITK as sitk

    sitk.WriteImage(_by_sitk(sitk.ReadImage(source), fwhm, "recursive"), dest)


def scipy_nifti(source, dest, fwhm):
    import nibabel as nib
    import numpy as np
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.asarray(map_nifti(source)), _sigma(fwhm), output="f4")
    nib.save(nib.Nifti1Image(values.T, affine()), dest)


def nilearn(source, dest, fwhm):
    from nilearn.image import smooth_img

    smooth_img(source, float(fwhm)).to_filename(dest)
