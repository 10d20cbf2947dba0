"""64³ voxels in a fresh process."""

from .slabs import open_ts, save_region, slices


def ours(source, region, dest):
    import chunkimg as ci

    image = ci.open_image(source)
    return save_region(lambda: image[slices(region)].values, dest)


def ours_direct(source, region, dest):
    import chunkimg as ci

    image = ci.open_image(source, chunks=None)
    return save_region(lambda: image[slices(region)].values, dest)


def xarray_dask(store, region, dest):
    import xarray as xr

    image = xr.open_zarr(store).image
    return save_region(lambda: image[slices(region)].values, dest)


def xarray_direct(store, region, dest):
    import xarray as xr

    image = xr.open_zarr(store, chunks=None).image
    return save_region(lambda: image[slices(region)].values, dest)


def tensorstore(store, region, dest):
    array = open_ts(store)
    return save_region(lambda: array[slices(region)].read().result(), dest)


def nibabel(source, region, dest):
    import nibabel as nib

    proxy = nib.load(source).dataobj
    return save_region(lambda: proxy[slices(region)[::-1]].T, dest)


def indexed_gzip(source, region, dest):
    """Without an index: what it does by itself."""
    import indexed_gzip
    import nibabel as nib
    import numpy as np

    z, y, x = slices(region)
    with indexed_gzip.IndexedGzipFile(source) as f:
        header = nib.Nifti1Header(f.read(348))
        sizes, offset = header.get_data_shape(), int(header["vox_offset"])

        def read():
            plane = sizes[0] * sizes[1] * 2
            f.seek(offset + z.start * plane)
            return np.frombuffer(f.read((z.stop - z.start) * plane), "<i2").reshape(-1, sizes[1], sizes[0])[:, y, x]

        return save_region(read, dest)


def xarray_crop(store, region, dest):
    """What a user writes for a crop: xarray, Dask, nibabel."""
    import nibabel as nib
    import numpy as np
    import xarray as xr

    image = xr.open_zarr(store).image
    part = slices(region)
    affine = np.array(image.attrs["affine"], float)
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in part[::-1]]
    nib.save(nib.Nifti1Image(image[part].values.T, affine), dest)
