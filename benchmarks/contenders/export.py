"""Zarr to NIfTI and NRRD."""

from .slabs import depth, open_ts


def _slabs(store):
    """By hand: slabs in order, the next being read while one is written."""
    array, deep = open_ts(store), depth(store)
    tops = range(0, array.shape[0], deep)
    following = None
    for z in tops:
        now = following or array[z : min(z + deep, array.shape[0])].read()
        following = array[z + deep : min(z + 2 * deep, array.shape[0])].read() if z != tops[-1] else None
        yield now.result()


def tensorstore(store, dest):
    """Decode, and a loop that writes; the header is the one of the source."""
    import base64

    from .slabs import metadata

    attrs = metadata(store)["attributes"]
    with open(dest, "wb") as f:
        if dest.endswith(".nii"):
            f.write(base64.b64decode(attrs["nifti_header"]).ljust(352, b"\0")[:352])
        else:
            sizes = " ".join(map(str, attrs["shape"]))
            f.write(f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: raw\n\n".encode())
        for slab in _slabs(store):
            f.write(memoryview(slab).cast("B"))


def decode(store):
    """Every chunk decoded, nothing written."""
    for _ in _slabs(store):
        pass


def _values(store):
    import xarray as xr

    image = xr.open_zarr(store).image
    return image.values, image.attrs["affine"]


def nibabel(store, dest):
    import nibabel as nib

    values, affine = _values(store)
    nib.save(nib.Nifti1Image(values.T, affine), dest)


def pynrrd(store, dest):
    import nrrd

    values, affine = _values(store)
    fields = {"space": "RAS", "space directions": [row[:3] for row in zip(*affine[:3], strict=True)][:3]}
    nrrd.write(dest, values, {**fields, "encoding": "raw"}, index_order="C")


def _by_sitk(store, dest, compress):
    import SimpleITK as sitk
    import zarr

    sitk.WriteImage(sitk.GetImageFromArray(zarr.open_array(store, path="image", mode="r")[:]), dest, compress)


def simpleitk(store, dest):
    _by_sitk(store, dest, False)


def simpleitk_gz(store, dest):
    _by_sitk(store, dest, True)
