"""Regions in a process that is warm: each function prepares a file and gives what reads a region (z, y, x) of it."""

from .slabs import map_nifti, open_ts


def ours(path):
    import chunkimg as ci

    image = ci.open_image(path)
    return lambda region: image[region].values


def ours_direct(path):
    import chunkimg as ci

    image = ci.open_image(path, chunks=None)
    return lambda region: image[region].values


def ours_opening(path):
    import chunkimg as ci

    return lambda region: ci.open_image(path)[region].values


def xarray_dask(path):
    import xarray as xr

    image = xr.open_zarr(path).image
    return lambda region: image[region].values


def tensorstore(path):
    array = open_ts(path)
    return lambda region: array[region].read().result()


def memmap(path):
    import numpy as np

    voxels = _mapped(path)
    return lambda region: np.array(voxels[region])


def _mapped(path):
    if path.endswith(".nii"):
        return map_nifti(path)
    import nrrd
    import numpy as np

    with open(path, "rb") as f:
        sizes = nrrd.read_header(f)["sizes"]
        offset = f.tell()
    return np.memmap(path, "<i2", "r", offset, tuple(int(n) for n in sizes[::-1]))


def nibabel(path):
    import nibabel as nib
    import numpy as np

    return lambda region: np.asarray(nib.load(path).dataobj[region[::-1]]).T


def nibabel_open(path):
    """One object kept: with indexed_gzip it holds the index that it makes."""
    import nibabel as nib
    import numpy as np

    proxy = nib.load(path).dataobj
    return lambda region: np.asarray(proxy[region[::-1]]).T


def simpleitk(path):
    """By its reader's regions, which only NIfTI has."""
    import SimpleITK as sitk

    def read(region):
        reader = sitk.ImageFileReader()
        reader.SetFileName(path)
        reader.ReadImageInformation()
        bounds = [range(n)[s] for n, s in zip(reader.GetSize(), region[::-1], strict=True)]
        reader.SetExtractIndex([b.start for b in bounds])
        reader.SetExtractSize([len(b) for b in bounds])
        return sitk.GetArrayFromImage(reader.Execute())

    return read


def simpleitk_whole(path):
    import SimpleITK as sitk

    return lambda region: sitk.GetArrayFromImage(sitk.ReadImage(path))[region].copy()


def pynrrd(path):
    import nrrd

    return lambda region: nrrd.read(path, index_order="C")[0][region].copy()


def _rows(path):
    """Reads a region from the decoded bytes of a file object: whole rows, plane by plane."""
    import nibabel
    import numpy as np

    shape = nibabel.load(path).shape[::-1]

    def read(file, region):
        z, y, x = (range(n)[k] for n, k in zip(shape, region, strict=True))
        plane = shape[1] * shape[2] * 2
        out = np.empty((len(z), len(y), len(x)), "<i2")
        for k, at in enumerate(z):
            file.seek(352 + at * plane + y[0] * shape[2] * 2)
            rows = np.frombuffer(file.read(len(y) * shape[2] * 2), "<i2").reshape(len(y), -1)
            out[k] = rows[:, x.start : x.stop]
        return out

    return read


def indexed_gzip(path):
    """With its index in a file."""
    import tempfile

    import indexed_gzip

    index, rows = tempfile.mktemp(), _rows(path)
    with indexed_gzip.IndexedGzipFile(path) as file:
        file.build_full_index()
        file.export_index(index)

    def read(region):
        with indexed_gzip.IndexedGzipFile(path, index_file=index) as file:
            return rows(file, region)

    return read


def rapidgzip(path):
    """With its index in a file; what stays open can abort the interpreter."""
    import tempfile

    import rapidgzip

    index, rows = tempfile.mktemp(), _rows(path)
    with rapidgzip.open(path, parallelization=0) as file:
        while file.read(1 << 24):
            pass
        file.export_index(index)

    def read(region):
        with rapidgzip.open(path, parallelization=0) as file:
            file.import_index(index)
            return rows(file, region)

    return read
