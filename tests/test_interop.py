"""nibabel and SimpleITK images, both ways."""

import nibabel as nib
import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given, settings
from nifti_files import AFFINE, rigid, values, write
from strategies import grids

import chunkimg as ci


def oblique(**options):
    options.setdefault("affine", rigid())
    return ci.from_array(np.random.default_rng(0).normal(size=(5, 6, 7)), **options)


def test_to_nibabel_is_lazy_and_right(nibabel_data):
    image = ci.open_image(nibabel_data / "example4d.nii.gz")
    ours, theirs = image.img.to_nibabel(), nib.load(nibabel_data / "example4d.nii.gz")
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert ours.dataobj.is_proxy
    np.testing.assert_array_equal(ours.dataobj[3:9, 5, ::2], theirs.dataobj[3:9, 5, ::2])
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
    assert ours.get_data_dtype() == theirs.get_data_dtype()
    assert (ours.header["sform_code"], ours.header["qform_code"]) == (1, 1)
    assert ours.header["descrip"] == theirs.header["descrip"]
    assert len(ours.header.extensions) == len(theirs.header.extensions) == 2
    assert ours.slicer[2:5].shape == (3, 96, 24, 2)


def test_nibabel_saves_what_we_hand_over(tmp_path, nibabel_data):
    image = ci.open_image(nibabel_data / "functional.nii")
    nib.save(image.img.to_nibabel(), tmp_path / "a.nii")
    again = ci.open_image(tmp_path / "a.nii")
    assert again.img.same_grid(image)
    np.testing.assert_allclose(again.values, image.values, rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz", "test.mgz"],
)
def test_from_nibabel(nibabel_data, name):
    theirs = nib.load(nibabel_data / name)
    image = ci.from_nibabel(theirs)
    np.testing.assert_array_equal(image.img.affine, theirs.affine)
    np.testing.assert_allclose(image.values.T, np.asarray(theirs.dataobj), rtol=1e-6)
    if not name.endswith("mgz"):
        assert image.img.grid == ci.open_image(nibabel_data / name).img.grid
        assert dict(image.img.properties) == dict(ci.open_image(nibabel_data / name).img.properties)
        np.testing.assert_array_equal(image.t, ci.open_image(nibabel_data / name).t) if "t" in image.dims else None


def test_from_nibabel_of_arrays(tmp_path):
    data = values((5, 4, 3), "i2")
    image = ci.from_nibabel(nib.Nifti1Image(data, AFFINE))
    np.testing.assert_array_equal(image.values, data.T)
    np.testing.assert_array_equal(image.img.affine, AFFINE)
    image.img.save(tmp_path / "a.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii").dataobj, data)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").affine, AFFINE, atol=1e-6)
    with pytest.raises(ci.GeometryError, match="no affine"):
        ci.from_nibabel(nib.Nifti1Image(data, None))


def test_rgb_through_nibabel(tmp_path):
    rgb = values((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    write(tmp_path / "a.nii", rgb)
    image = ci.open_image(tmp_path / "a.nii")
    there = image.img.to_nibabel()
    np.testing.assert_array_equal(np.asarray(there.dataobj), rgb)
    image.img.save(tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


@settings(max_examples=40)
@given(grids(low=2, shear=False))
def test_sitk_places_every_voxel_alike(grid):
    pytest.importorskip("SimpleITK")
    image = ci.from_array(
        np.arange(np.prod(grid.shape)).reshape(grid.shape[::-1]), affine=grid.affine, units=grid.units
    )
    theirs = image.img.to_sitk()
    assert theirs.GetSize() == grid.shape
    for index in ([0, 0, 0], [n - 1 for n in grid.shape], [1, 0, 1]):
        point = np.array(theirs.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(point, grid.to_world(index), atol=1e-8)
        assert theirs[index] == image.values[tuple(index[::-1])]
    again = ci.from_sitk(theirs, units=grid.units)
    assert again.img.same_grid(image, tol=1e-6)
    np.testing.assert_array_equal(again.values, image.values)


def test_sitk_kinds():
    sitk = pytest.importorskip("SimpleITK")
    frames = ci.from_array(np.arange(48.0).reshape(2, 4, 3, 2), affine=rigid(), t=[1.0, 3.5])
    again = ci.from_sitk(frames.img.to_sitk())
    assert again.t.values.tolist() == [1.0, 3.5]
    assert again.img.same_grid(frames)
    vectors = ci.from_array(np.arange(72.0).reshape(3, 4, 3, 2), ("c", "z", "y", "x"), affine=rigid())
    there = vectors.img.to_sitk()
    assert there.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(ci.from_sitk(there).values, vectors.values)
    flat = ci.from_sitk(sitk.Image([4, 3], sitk.sitkUInt8))
    assert flat.sizes == {"z": 1, "y": 3, "x": 4}
    with pytest.raises(ci.GeometryError, match="sheared"):
        oblique(affine=np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])).img.to_sitk()


def test_sitk_reads_what_we_write(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    image = oblique()
    image.img.save(tmp_path / "a.nii.gz")
    theirs = sitk.ReadImage(tmp_path / "a.nii.gz")
    for index in ([0, 0, 0], [6, 5, 4]):
        point = np.array(theirs.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(point, image.img.to_world(index), atol=1e-4)
    np.testing.assert_allclose(sitk.GetArrayFromImage(theirs), image.values)


def test_missing_extra_names_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ci.MissingExtraError, match=r"pip install 'chunkimg\[sitk\]'"):
        oblique().img.to_sitk()


@pytest.mark.parametrize("item", items("nifti", "analyze"))
def test_from_nibabel_agrees_with_open_image(item):
    try:
        ours = ci.open_image(item_path(item))
    except ci.FormatError:
        pytest.skip("not opened")
    theirs = ci.from_nibabel(nib.load(item_path(item)))
    assert theirs.sizes == ours.sizes
    assert theirs.img.grid == ours.img.grid
    assert dict(theirs.coords["t"].attrs if "t" in theirs.coords else {}) == dict(
        ours.coords["t"].attrs if "t" in ours.coords else {}
    )
    np.testing.assert_allclose(theirs.values, ours.values, rtol=1e-6)


def test_affines_set_in_memory_count():
    theirs = nib.Nifti1Image(values((5, 4, 3), "i2"), AFFINE)
    theirs.header["sform_code"] = theirs.header["qform_code"] = 0
    assert ci.from_nibabel(theirs).img.space == "RAS"
    np.testing.assert_array_equal(ci.from_nibabel(theirs).img.affine, AFFINE)


def test_metadata_of_simpleitk_is_typed_again(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), descrip=b"text", cal_max=7, intent_code=1002, affine=rigid())
    for image in (
        ci.from_sitk(sitk.ReadImage(tmp_path / "a.nii")),
        ci.from_sitk(ci.open_image(tmp_path / "a.nii").img.to_sitk()),
    ):
        assert image.img.properties["cal_max"] == 7.0
        assert image.img.properties["descrip"] == "text"
        assert image.img.is_label
        image.img.save(tmp_path / "b.nii", overwrite=True)
        assert ci.read_header(tmp_path / "b.nii").fields["cal_max"] == 7.0
        assert ci.open_image(tmp_path / "b.nii").img.same_grid(ci.open_image(tmp_path / "a.nii"))


@pytest.mark.parametrize("item", items("nifti")[::5])
def test_real_scans_go_to_simpleitk(item):
    pytest.importorskip("SimpleITK")
    image = ci.open_image(item_path(item))
    if image.img.space == "unknown" or image.ndim > 3 or "shear" in item["id"]:
        pytest.skip("not a 3-D image with a place")
    assert ci.from_sitk(image.img.to_sitk()).img.same_grid(image)


def test_gzip_of_many_pieces_is_one_stream_to_others(tmp_path):
    import gzip
    import subprocess

    sitk = pytest.importorskip("SimpleITK")
    data = values((150, 130, 110), "i2")
    ci.from_array(data.T, affine=rigid()).img.save(tmp_path / "a.nii.gz")
    raw = (tmp_path / "a.nii.gz").read_bytes()
    # 4 MiB of voxels are several pieces, each ended by a full flush (RFC 1951, section 3.2.4: an empty stored block)
    assert raw.count(b"\0\0\xff\xff") >= 4
    assert gzip.decompress(raw)[352:] == data.tobytes(order="F")
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), data)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "a.nii.gz")).T, data)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nii.gz").values.T, data)
    subprocess.run(["gunzip", "-t", str(tmp_path / "a.nii.gz")], check=True)
