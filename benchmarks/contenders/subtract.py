"""a − b, voxel by voxel, int16."""

from .slabs import map_nifti, nifti_offset, open_ts, same_array


def ours(a, b, dest):
    import chunkimg as ci

    (ci.open_image(a) - ci.open_image(b)).img.save(dest)


def tensorstore(a, b, dest):
    """By hand: slabs of a shard's depth; two are read while one is computed and one written."""
    deep = same_array(a, dest)
    first, second, out = open_ts(a), open_ts(b), open_ts(dest)

    def read(z):
        part = slice(z, min(z + deep, first.shape[0]))
        return first[part].read(), second[part].read()

    following, before = read(0), None
    for z in range(0, first.shape[0], deep):
        now, following = following, read(z + deep) if z + deep < first.shape[0] else None
        slab = now[0].result() - now[1].result()
        if before is not None:
            before.result()
        before = out[z : z + len(slab)].write(slab)
    before.result()


def dask_zarr(a, b, dest):
    import xarray as xr

    (xr.open_zarr(a).image - xr.open_zarr(b).image).to_dataset(name="image").to_zarr(dest, mode="w")


def _like(a, dest):
    """A file with the header of `a` and place for its voxels."""
    with open(a, "rb") as source, open(dest, "wb") as out:
        out.write(source.read(nifti_offset(a)))
        source.seek(0, 2)
        out.truncate(source.tell())


def memmap(a, b, dest):
    """By hand: slabs of 16 MiB of mapped files, written in order."""
    import numpy as np

    first, second = map_nifti(a), map_nifti(b)
    with open(a, "rb") as source, open(dest, "wb") as out:
        out.write(source.read(nifti_offset(a)))
        for z in range(0, len(first), 32):
            out.write(memoryview(np.subtract(first[z : z + 32], second[z : z + 32])).cast("B"))


def dask_nifti(a, b, dest):
    import dask.array as da

    _like(a, dest)
    difference = da.from_array(map_nifti(a)) - da.from_array(map_nifti(b))
    da.store(difference, map_nifti(dest, "r+"), lock=False)


def simpleitk(a, b, dest):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.ReadImage(a) - sitk.ReadImage(b), dest)


def simpleitk_streaming(a, b, dest, parts=5):
    """``streaming_subtract`` of SimpleITK's notebook on image details."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(a)
    reader.ReadImageInformation()
    size = reader.GetSize()
    result = sitk.Image(size, reader.GetPixelID(), reader.GetNumberOfComponents())
    result.SetSpacing(reader.GetSpacing())
    result.SetOrigin(reader.GetOrigin())
    result.SetDirection(reader.GetDirection())
    step = [*size[:-1], max(1, size[-1] // parts)]
    at = [0] * len(size)
    while at[-1] < size[-1]:
        step[-1] = min(step[-1], size[-1] - at[-1])
        reader.SetExtractIndex(at)
        reader.SetExtractSize(step)
        reader.SetFileName(a)
        first = reader.Execute()
        reader.SetFileName(b)
        result[:, :, at[-1] : at[-1] + step[-1]] = first - reader.Execute()
        at[-1] += step[-1]
    sitk.WriteImage(result, dest)
