"""Number, centroid and intensities of the voxels of each label; pyramids of label images."""

from .slabs import map_nifti, open_ts

MOMENTS = ("mean", "std", "min", "max", "sum")


def _save(dest, **columns):
    import numpy as np

    with open(dest, "wb") as f:
        np.savez(f, **columns)


def ours(labels, image, dest, chunks="auto"):
    import chunkimg as ci

    names = ci.open_image(labels, chunks=chunks)
    if not hasattr(names.img, "label_stats"):
        return {"skip": "this chunkimg has no .img.label_stats()"}
    found = names.img.label_stats(ci.open_image(image, chunks=chunks))
    moments = {name: getattr(found, name) for name in MOMENTS}
    return _save(dest, label=found.label, voxels=found.voxels, centroid=found.centroid_index, **moments)


def ours_direct(labels, image, dest):
    return ours(labels, image, dest, chunks=None)


def decode(labels, image, dest):
    """Both images, chunk row by chunk row, and nothing else."""
    arrays = [open_ts(labels), open_ts(image)]
    deep = arrays[0].chunk_layout.read_chunk.shape[0]
    for z in range(0, arrays[0].shape[0], deep):
        for reading in [a[z : z + deep].read() for a in arrays]:
            reading.result()


def dask_image(labels, image, dest):
    import dask
    import dask.array as da
    import numpy as np
    import xarray as xr
    from dask_image import ndmeasure

    names, values = (xr.open_zarr(store).image.data for store in (labels, image))
    index = da.unique(names).compute()
    index = index[index != 0]
    found = dask.compute(
        ndmeasure.area(values, names, index),
        ndmeasure.center_of_mass(da.ones_like(values), names, index),
        ndmeasure.mean(values, names, index),
        ndmeasure.standard_deviation(values, names, index),
        ndmeasure.minimum(values, names, index),
        ndmeasure.maximum(values, names, index),
        ndmeasure.sum_labels(values, names, index),
    )
    area, centre, *moments = map(np.asarray, found)
    _save(dest, label=index, voxels=area, centroid=centre[:, ::-1], **dict(zip(MOMENTS, moments, strict=True)))


def scipy(labels, image, dest):
    """In memory."""
    import numpy as np
    from scipy import ndimage

    names, values = (open_ts(store).read().result() for store in (labels, image))
    voxels = np.bincount(names.reshape(-1))
    index = np.flatnonzero(voxels)[1:]
    centre = np.array(ndimage.center_of_mass(np.ones(names.shape, "u1"), names, index))
    moments = (
        ndimage.mean(values, names, index),
        ndimage.standard_deviation(values, names, index),
        ndimage.minimum(values, names, index),
        ndimage.maximum(values, names, index),
        ndimage.sum_labels(values, names, index),
    )
    found = dict(zip(MOMENTS, moments, strict=True))
    _save(dest, label=index, voxels=voxels[index], centroid=centre[:, ::-1], **found)


def simpleitk(labels, image, dest):
    """In memory; its centroids are positions, and those of an image without any are indices."""
    import numpy as np
    import SimpleITK as sitk

    names, values = (sitk.GetImageFromArray(open_ts(store).read().result()) for store in (labels, image))
    found = sitk.LabelIntensityStatisticsImageFilter()
    found.Execute(names, values)
    index = np.array(found.GetLabels())
    voxels = np.array([found.GetNumberOfPixels(k) for k in index.tolist()])
    get = (found.GetMean, found.GetStandardDeviation, found.GetMinimum, found.GetMaximum, found.GetSum)
    moments = {name: np.array([g(k) for k in index.tolist()]) for name, g in zip(MOMENTS, get, strict=True)}
    # that of a sample
    moments["std"] *= np.sqrt((voxels - 1) / voxels)
    centre = np.array([found.GetCentroid(k) for k in index.tolist()])
    _save(dest, label=index, voxels=voxels, centroid=centre, **moments)


# ---------------------------------------------------------------------------------------------- pyramids


class _Mapped:
    """Voxels that Dask reads block by block; a memmap itself would be copied into the graph."""

    def __init__(self, source):
        voxels = map_nifti(source)
        self.source, self.shape, self.dtype, self.ndim = source, voxels.shape, voxels.dtype, voxels.ndim

    def __getitem__(self, key):
        import numpy as np

        return np.array(map_nifti(self.source)[key])


def _ngff_zarr(source, dest, method):
    import dask.array as da
    import ngff_zarr as nz

    lazy = da.from_array(_Mapped(source), chunks=128, name=source)
    image = nz.to_ngff_image(lazy, dims=("z", "y", "x"), scale={"z": 1.25, "y": 0.7, "x": 0.7})
    levels = nz.to_multiscales(image, method=nz.Methods(method), chunks=128)
    nz.to_ngff_zarr(dest, levels, version="0.5")


def ngff_zarr_mode(source, dest):
    _ngff_zarr(source, dest, "dask_image_mode")


def ngff_zarr_label_image(source, dest):
    _ngff_zarr(source, dest, "itkwasm_label_image")


def dask_scipy_mode(source, dest):
    """By hand: `dask.array.coarsen` with the mode of scipy, level by level from the store."""
    import dask.array as da
    import numpy as np
    import zarr
    from scipy import stats

    def most(block, axis=None):
        if axis is None:
            # Dask asks for the type
            return block
        turned = np.moveaxis(block, axis, range(block.ndim - len(axis), block.ndim))
        return stats.mode(turned.reshape(*turned.shape[: -len(axis)], -1), axis=-1).mode.astype(block.dtype)

    level = da.from_array(_Mapped(source), chunks=128, name=source)
    group = zarr.open_group(dest, mode="w")
    for k in range(4):
        if k:
            before = da.from_zarr(group[f"scale{k - 1}"])
            level = da.coarsen(most, before, dict.fromkeys(range(3), 2), trim_excess=True).rechunk(128)
        made = group.create_array(f"scale{k}", shape=level.shape, chunks=(128, 128, 128), dtype=level.dtype)
        da.store(level, made, lock=False)
