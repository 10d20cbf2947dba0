"""NIfTI-Zarr (https://github.com/neuroscales/nifti-zarr): levels, scaling, channels, RGB, against nibabel."""

import nibabel
import numpy as np
import pytest
import zarr
from store_files import voxels

import chunkimg as ci

AFFINE = np.array([[0, -2, 0.1, 9], [1.5, 0, 0.1, -4], [0, 0.02, 3, 2], [0, 0, 0, 1.0]])


def header_of(shape, dtype, cls=nibabel.Nifti1Header, slope=None):
    header = cls()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_sform(AFFINE, 1)
    header.set_qform(None, 0)
    header.set_xyzt_units("mm", "sec")
    if slope is not None:
        header.set_slope_inter(*slope)
    header["pixdim"][4] = 2.5
    header["descrip"] = b"a scan"
    return header


def store(path, data, axes, header, *, version=2, as_string=False, levels=()):
    """As its reference implementation writes it; `levels` are (data, scale, translation) of coarser ones."""
    root = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for k, (values, scale, start) in enumerate([(data, [1.0] * data.ndim, [0.0] * data.ndim), *levels]):
        root.create_array(str(k), data=values)
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": start}]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    types = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": types.get(a, "space"), **({} if a == "c" else {"unit": "meter"})} for a in axes]
    entry = {"axes": named, "datasets": datasets}
    if version == 2:
        root.attrs["multiscales"] = [{**entry, "version": "0.4"}]
    else:
        root.attrs["ome"] = {"version": "0.5", "multiscales": [entry]}
    raw = header.binaryblock
    root.create_array("nifti", data=np.frombuffer(raw, f"S{len(raw)}" if as_string else "u1"))


@pytest.mark.parametrize("cls", [nibabel.Nifti1Header, nibabel.Nifti2Header])
@pytest.mark.parametrize("as_string", [False, True])
def test_the_header_comes_first(tmp_path, cls, as_string):
    """Before OME-Zarr metadata that contradicts it, and it comes back in NIfTI with all its fields."""
    data = voxels(3, 4, 6, 8)
    header = header_of((8, 6, 4, 3), "i2", cls, slope=(0.5, 10))
    store(tmp_path / "a.nii.zarr", data, "tzyx", header, as_string=as_string)
    image = ci.open_image(tmp_path / "a.nii.zarr")
    np.testing.assert_array_equal(image.img.affine, header.get_best_affine())
    assert image.img.units == "mm" and image.img.space == "RAS" and image.img.properties["descrip"] == "a scan"
    assert image.t.values.tolist() == [0, 2.5, 5] and image.t.attrs["units"] == "s"
    np.testing.assert_array_equal(image.values, data * 0.5 + 10)
    ci.convert(tmp_path / "a.nii.zarr", tmp_path / "a.nii")
    again = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(np.asarray(again.dataobj.get_unscaled()), data.T)
    with (tmp_path / "a.nii").open("rb") as f:
        stored = cls.from_fileobj(f)
    for key in header:
        if key not in ("vox_offset", "scl_slope", "scl_inter"):
            np.testing.assert_array_equal(stored[key], header[key], key)
    assert stored.get_slope_inter() == (0.5, 10)


def test_coarser_levels_follow_by_their_scale(tmp_path):
    """The affine of a level is that of the header times how OME-Zarr says levels lie to each other."""
    data = voxels(4, 6, 8)
    header = header_of((8, 6, 4), "i2")
    coarse = data[:, ::2, ::2]
    levels = [(coarse, [1.0, 2.0, 2.0], [0.0, 0.5, 0.25])]
    store(tmp_path / "a.nii.zarr", data, "zyx", header, levels=levels, version=3)
    expected = AFFINE.astype("f4").astype("f8") @ [[2, 0, 0, 0.25], [0, 2, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]]
    image = ci.open_image(tmp_path / "a.nii.zarr", level=1)
    np.testing.assert_allclose(image.img.affine, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(image.values, coarse)


def test_vectors_and_rgb(tmp_path):
    data = voxels(1, 3, 4, 6, 8)
    store(tmp_path / "a.nii.zarr", data, "tczyx", header_of((8, 6, 4, 1, 3), "i2"))
    image = ci.open_image(tmp_path / "a.nii.zarr")
    assert image.dims == ("t", "c", "z", "y", "x")
    ci.convert(tmp_path / "a.nii.zarr", tmp_path / "a.nii")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "a.nii").dataobj, data.transpose(4, 3, 2, 0, 1))

    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours = voxels(4, 6, 8, 3, dtype="u1").view(dtype)[..., 0]
    header = header_of((8, 6, 4), dtype)
    lower = colours.astype([("r", "u1"), ("g", "u1"), ("b", "u1")])
    store(tmp_path / "b.nii.zarr", lower, "zyx", header)
    image = ci.open_image(tmp_path / "b.nii.zarr")
    assert image.dims == ("c", "z", "y", "x") and image.c.attrs["kind"] == "RGB"
    ci.convert(tmp_path / "b.nii.zarr", tmp_path / "b.nii")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "b.nii").dataobj), colours.T)
