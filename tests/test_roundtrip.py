"""NIfTI to Zarr to NIfTI loses nothing and invents nothing; a change changes exactly its own fields."""

import gzip
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import item_path, items
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nifti_files import AFFINE, rigid, values, write

import chunkimg as ci


def content(path):
    raw = Path(path).read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def fields(raw):
    order = "<" if raw[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    cls = Nifti2Header if int.from_bytes(raw[:4], "little" if order == "<" else "big") == 540 else Nifti1Header
    header = cls(raw[: cls.sizeof_hdr], endianness=order, check=False)
    return {k: header[k].copy() for k in header}


def changed(before, after):
    """Names of the header fields that differ, with the elements of vectors."""
    a, b = fields(before), fields(after)
    out = set()
    for name in a:
        if a[name].ndim:
            out |= {
                f"{name}[{k}]"
                for k, (p, q) in enumerate(zip(a[name], b[name], strict=True))
                if p.tobytes() != q.tobytes()
            }
        elif a[name].tobytes() != b[name].tobytes():
            out.add(name)
    return out


@pytest.mark.parametrize("item", items("nifti"))
@pytest.mark.parametrize("pyramid", [False, True], ids=["single", "pyramid"])
def test_untouched_images_come_back_byte_for_byte(item, pyramid, tmp_path):
    source = item_path(item)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ci.convert(source, tmp_path / "a.ome.zarr", pyramid=pyramid)
        ci.convert(tmp_path / "a.ome.zarr", tmp_path / "a.nii")
        ci.convert(tmp_path / "a.ome.zarr", tmp_path / "a.nii.gz")
    assert content(tmp_path / "a.nii") == content(source)
    assert content(tmp_path / "a.nii.gz") == content(source)
    # the way through xarray is the same
    if not pyramid:
        ci.open_image(tmp_path / "a.ome.zarr").img.save(tmp_path / "b.nii")
        assert content(tmp_path / "b.nii") == content(source)


@pytest.mark.parametrize("item", items("nifti-pair"))
def test_untouched_pairs_come_back_byte_for_byte(item, tmp_path):
    if "error" in item["refs"]["nibabel"]:
        pytest.skip("no reference opens it")
    source = item_path(item)
    ci.convert(source, tmp_path / "a.ome.zarr")
    ci.convert(tmp_path / "a.ome.zarr", tmp_path / "a.hdr")
    assert content(tmp_path / "a.hdr") == content(source)
    image = next(
        p
        for p in (source.replace(".hdr", ".img"), source.replace(".hdr", ".img").removesuffix(".gz"))
        if Path(p).exists()
    )
    assert content(tmp_path / "a.img") == content(image)


@pytest.fixture(params=["<", ">"])
def source(request, tmp_path):
    """An oblique 4-D file with everything set: both transforms (different), scaling, extension, junk after strings."""
    extension = b"\1\0\0\0" + np.array([32, 6], request.param + "i4").tobytes() + b"hello extension".ljust(24, b"\0")
    path = tmp_path / "source.nii"
    write(
        path,
        values((7, 6, 5, 4), "i2"),
        order=request.param,
        extra=extension + b"\0" * (-(352 + 32) % 16),
        qform=2,
        sform=4,
        xyzt_units=2 | 16,
        pixdim=[-1, *np.linalg.norm(AFFINE[:3, :3], axis=0), 2500, 9, 9, 9],
        toffset=100,
        scl_slope=0.25,
        scl_inter=-7,
        descrip=b"a description\0junk",
        intent_name=b"name",
        cal_max=99,
        dim_info=57,
        dim=[4, 7, 6, 5, 4, 1, 0, 1],
        db_name=b"database",
        session_error=3,
        slice_duration=0.1,
    )
    return path


def saved(image, tmp_path, **options):
    """Header changes of an image saved directly, which must equal those of a save through Zarr."""
    image.img.save(tmp_path / "out.nii", **options)
    image.img.save(tmp_path / "out.ome.zarr", **options)
    ci.convert(tmp_path / "out.ome.zarr", tmp_path / "out2.nii")
    assert content(tmp_path / "out2.nii") == content(tmp_path / "out.nii")
    return content(tmp_path / "out.nii")


def test_nothing_changed(source, tmp_path):
    assert saved(ci.open_image(source), tmp_path) == content(source)


def test_crop_changes_size_and_offset(source, tmp_path):
    image = ci.open_image(source)
    out = saved(image.isel(x=slice(1, 5), z=slice(2, None)), tmp_path)
    offsets = {"srow_x[3]", "srow_y[3]", "srow_z[3]", "qoffset_x", "qoffset_y", "qoffset_z"}
    assert changed(content(source), out) == {"dim[1]", "dim[3]", *offsets}
    again = ci.open_image(tmp_path / "out.nii")
    np.testing.assert_allclose(again.img.affine, image.img.grid.crop(x=slice(1, 5), z=slice(2, None)).matrix, atol=1e-5)
    # the qform, which said something else, moved by the same voxels
    before, after = (Nifti1Header(raw[:348], endianness=None, check=False) for raw in (content(source), out))
    np.testing.assert_allclose(
        after.get_qform(), before.get_qform() @ [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]], atol=1e-4
    )
    np.testing.assert_array_equal(
        np.frombuffer(out[384:], again.encoding["dtype"].newbyteorder(">" if out[0] == 0 else "<")).reshape(4, 3, 6, 4),
        ci.open_image(source, scaled=False).isel(x=slice(1, 5), z=slice(2, None)).values,
    )


def test_flip_changes_directions(source, tmp_path):
    image = ci.open_image(source)
    out = saved(image.isel(y=slice(None, None, -1)), tmp_path)
    names = {n.split("[")[0] for n in changed(content(source), out)}
    assert names == {
        "srow_x",
        "srow_y",
        "srow_z",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "pixdim",
    }
    # of pixdim only qfac: a flip makes a left-handed frame right-handed
    assert {n for n in changed(content(source), out) if n.startswith("pixdim")} == {"pixdim[0]"}
    again = ci.open_image(tmp_path / "out.nii")
    index = np.array([[0, 0, 0], [6, 5, 4]])
    np.testing.assert_allclose(again.img.to_world(index), image.img.to_world([[0, 5, 0], [6, 0, 4]]), atol=1e-4)


def test_stride_changes_spacing(source, tmp_path):
    out = saved(ci.open_image(source).isel(x=slice(None, None, 2)), tmp_path)
    names = changed(content(source), out)
    assert names == {"dim[1]", "pixdim[1]", "srow_x[0]", "srow_y[0]", "srow_z[0]"}


def test_time_crop(source, tmp_path):
    out = saved(ci.open_image(source).isel(t=slice(1, 3)), tmp_path)
    assert changed(content(source), out) == {"dim[4]", "toffset"}
    assert fields(out)["toffset"] == 2600
    # a single frame keeps when it was; NIfTI has no other place for it
    out = content_of(ci.open_image(source).isel(t=3), tmp_path / "frame.nii")
    assert changed(content(source), out) == {"dim[0]", "dim[4]", "toffset"}
    assert float(ci.open_image(tmp_path / "frame.nii").t) == pytest.approx(7.6)
    ci.convert(tmp_path / "frame.nii", tmp_path / "frame.ome.zarr")
    assert float(ci.open_image(tmp_path / "frame.ome.zarr").t) == pytest.approx(7.6)
    assert float(xr.open_zarr(tmp_path / "frame.ome.zarr").image.t) == pytest.approx(7.6)
    ci.convert(tmp_path / "frame.ome.zarr", tmp_path / "frame2.nii")
    assert content(tmp_path / "frame2.nii") == out


def content_of(image, path):
    image.img.save(path)
    return content(path)


def test_computation_changes_type_and_scaling(source, tmp_path):
    image = ci.open_image(source)
    out = saved(image * 2, tmp_path)
    assert changed(content(source), out) == {"datatype", "bitpix", "scl_slope", "scl_inter"}
    again = ci.open_image(tmp_path / "out.nii")
    np.testing.assert_array_equal(again.values, image.values * 2)
    assert out[348:384] == content(source)[348:384]


def test_stored_values_are_an_image_of_their_own(source, tmp_path):
    out = saved(ci.open_image(source, scaled=False), tmp_path)
    assert changed(content(source), out) == {"scl_slope", "scl_inter"}


def test_dtype_and_scaling_options(source, tmp_path):
    image = ci.open_image(source)
    out = content_of_with(image, tmp_path / "a.nii", dtype="i4", scaling=(0.25, -7))
    assert changed(content(source), out) == {"datatype", "bitpix"}
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nii").values, image.values)
    out = content_of_with(image, tmp_path / "b.nii", scaling=(0.5, -7), dtype="i4")
    assert changed(content(source), out) == {"datatype", "bitpix", "scl_slope"}
    with pytest.raises(ci.FormatError, match="do not fit int8"):
        image.img.save(tmp_path / "c.nii", dtype="i1")
    assert not list(tmp_path.glob("*c.nii*"))


def content_of_with(image, path, **options):
    image.img.save(path, **options)
    return content(path)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("descrip", "other", {"descrip"}),
        ("cal_max", 5.5, {"cal_max"}),
        ("intent_code", 1002, {"intent_code"}),
        ("sform_code", 2, {"sform_code"}),
        ("slice_duration", None, {"slice_duration"}),
        ("my_own_key", {"a": [1, 2]}, set()),
    ],
)
def test_property_changes_its_field(source, tmp_path, name, value, expected):
    image = ci.open_image(source)
    if value is None:
        del image.img.properties[name]
    else:
        image.img.properties[name] = value
    homeless = (
        pytest.warns(ci.ChunkImgWarning, match="no field for my_own_key") if name == "my_own_key" else nullcontext()
    )
    with homeless:
        assert changed(content(source), saved(image, tmp_path)) == expected


def test_labels_say_so(source, tmp_path):
    labels = ci.open_image(source, scaled=False).img.as_label()
    assert changed(content(source), saved(labels, tmp_path)) == {"intent_code", "scl_slope", "scl_inter"}
    assert ci.open_image(tmp_path / "out.nii").img.is_label


def test_new_geometry(source, tmp_path):
    image = ci.open_image(source)
    out = saved(image.img.assign_geometry(units="um"), tmp_path)
    assert changed(content(source), out) == {"xyzt_units"}
    assert fields(out)["xyzt_units"] == 3 | 16
    turned = image.img.assign_geometry(spacing=(1, 2, 3))
    names = {n.split("[")[0] for n in changed(content(source), saved(turned.copy(), tmp_path_again(tmp_path)))}
    assert {"srow_x", "srow_y", "srow_z", "pixdim"} <= names <= {
        "srow_x", "srow_y", "srow_z", "pixdim", "qform_code",
        "qoffset_x", "qoffset_y", "qoffset_z", "quatern_b", "quatern_c", "quatern_d",
    }  # fmt: skip
    np.testing.assert_allclose(ci.open_image(tmp_path / "again" / "out.nii").img.spacing, (1, 2, 3), rtol=1e-6)


def tmp_path_again(tmp_path):
    (tmp_path / "again").mkdir()
    return tmp_path / "again"


def test_nifti2_and_pairs_keep_the_fields(source, tmp_path):
    ci.convert(source, tmp_path / "a.nii", version=2)
    assert (tmp_path / "a.nii").read_bytes()[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    a, b = ci.open_image(source), ci.open_image(tmp_path / "a.nii")
    assert b.img.grid == a.img.grid
    np.testing.assert_array_equal(a.values, b.values)
    assert dict(a.img.properties) == dict(b.img.properties)
    assert ci.read_header(tmp_path / "a.nii").fields["extensions"] == ci.read_header(source).fields["extensions"] != []
    ci.convert(tmp_path / "a.nii", tmp_path / "b.hdr", version=1)
    assert ci.open_image(tmp_path / "b.hdr").img.grid == a.img.grid
    assert ci.read_header(tmp_path / "b.hdr").fields["extensions"] == ci.read_header(source).fields["extensions"]


def test_large_sizes_choose_nifti2(tmp_path):
    image = ci.from_array(np.zeros((1, 1, 40000), "u1"), spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.nii")
    assert ci.read_header(tmp_path / "a.nii").format == "NIfTI-2"
    with pytest.raises(ci.FormatError, match="need version 2"):
        image.img.save(tmp_path / "b.nii", version=1)


def test_what_nifti_cannot_hold(tmp_path):
    image = ci.from_array(np.zeros((3, 4, 5)), spacing=(1, 2, 3))
    with pytest.raises(ci.UnsupportedError, match="no datatype for float16"):
        image.astype("f2").img.save(tmp_path / "a.nii")
    steps = np.stack([np.diag([1.0, 2, 3, 1])] * 2)
    steps[1, 0, 3] = 5
    moving = ci.from_array(np.zeros((2, 3, 4, 5)), affine=steps)
    with pytest.raises(ci.GeometryError, match="one per time step"):
        moving.img.save(tmp_path / "a.nii")
    irregular = ci.from_array(np.zeros((3, 3, 4, 5)), spacing=(1, 2, 3), t=[0, 1, 5])
    with pytest.warns(ci.ChunkImgWarning, match="irregular"):
        irregular.img.save(tmp_path / "a.nii")
    far = ci.from_array(np.zeros((3, 4, 5)), spacing=(1e-4, 1, 1), origin=(1e4 + 1 / 3, 0, 0))
    with pytest.raises(ci.GeometryError, match="float32"):
        far.img.save(tmp_path / "b.nii")
    far.img.save(tmp_path / "b.nii", version=2)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nii").img.affine, far.img.affine)
    unknown = ci.from_array(np.zeros((3, 4, 5)), spacing=(1, 2, 3), origin=(7, 0, 0), space="unknown")
    with pytest.warns(ci.ChunkImgWarning, match="where the patient is"):
        unknown.img.save(tmp_path / "c.nii")
    with pytest.warns(ci.ChunkImgWarning, match="cut off"):
        image.assign_attrs(descrip="x" * 100).img.save(tmp_path / "d.nii")
    with pytest.raises(ci.FormatError, match="pyramid"):
        image.img.save(tmp_path / "e.nii", pyramid=True)
    with pytest.raises(ci.FormatError, match="chunks"):
        image.img.save(tmp_path / "e.nii", chunks="64")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "b.nii", "c.nii", "d.nii"]


def test_masks_and_vectors(tmp_path):
    image = ci.from_array(np.arange(60.0).reshape(3, 4, 5), spacing=(1, 2, 3))
    (image > 10).img.save(tmp_path / "mask.nii")
    mask = ci.open_image(tmp_path / "mask.nii")
    assert mask.dtype == np.uint8
    assert int(mask.sum()) == 49
    assert float((image * mask).sum()) == np.arange(11, 60).sum()
    field = ci.from_array(np.random.default_rng(0).normal(size=(3, 3, 4, 5)), ("c", "z", "y", "x"), spacing=(1, 2, 3))
    field.img.save(tmp_path / "field.nii.gz")
    again = ci.open_image(tmp_path / "field.nii.gz")
    assert ci.read_header(tmp_path / "field.nii.gz").fields["dim"][:6] == [5, 5, 4, 3, 1, 3]
    np.testing.assert_array_equal(again.isel(t=0).values, field.values)


def test_gz_is_read_by_others(source, tmp_path):
    import nibabel as nib

    sitk = pytest.importorskip("SimpleITK")
    ci.convert(source, tmp_path / "a.nii.gz")
    expected = ci.open_image(source).transpose("x", "y", "z", "t").values
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii.gz").get_fdata(), expected, rtol=1e-6)
    np.testing.assert_allclose(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "a.nii.gz")).T, expected, rtol=1e-6)
    for level in (0, 1, 2, 3, 4, 9):
        ci.open_image(source).img.save(tmp_path / "b.nii.gz", gzip_level=level, overwrite=True)
        assert content(tmp_path / "b.nii.gz") == content(source)
    with pytest.raises(ci.FormatError, match="levels are 0 to 3"):
        ci.open_image(source).img.save(tmp_path / "c.nii.gz", gzip_level=10)


@pytest.mark.parametrize(
    "fields",
    [
        {"pixdim": [0, 2, 3, 4, 0, 0, 0, 0], "sform_code": 0, "qform_code": 1},
        {"pixdim": [0, 2, 3, 4, 0, 0, 0, 0], "sform_code": 0, "qform_code": 0},
        {"pixdim": [1, -2, 3, 4, 0, 0, 0, 0]},
        {"quatern_b": 1.5, "qform_code": 1},
    ],
    ids=["qfac 0", "no codes", "negative pixdim", "no rotation"],
)
def test_headers_that_need_repair_can_be_cropped(fields, tmp_path):
    write(tmp_path / "a.nii", values((5, 6, 7), "i2"), qform=1, **fields)
    image = ci.open_image(tmp_path / "a.nii")
    assert saved(image, tmp_path) == content(tmp_path / "a.nii")
    image.img.to_nibabel()
    part = image.isel(x=slice(2, 5))
    unknown = image.img.space == "unknown"
    with pytest.warns(ci.ChunkImgWarning, match="where the patient is") if unknown else nullcontext():
        part.img.save(tmp_path / "b.nii")
    np.testing.assert_allclose(ci.open_image(tmp_path / "b.nii").img.affine, part.img.affine, atol=1e-5)


def test_permuted_axes_permute_the_voxel_sizes(tmp_path):
    write(tmp_path / "a.nii", values((5, 6, 7), "i2"), qform=1)
    image = ci.open_image(tmp_path / "a.nii").rename(x="y", y="x")
    image.img.save(tmp_path / "b.nii")
    np.testing.assert_allclose(fields_of(tmp_path / "b.nii")["pixdim"][1:4], image.img.spacing, rtol=1e-6)
    np.testing.assert_allclose(ci.open_image(tmp_path / "b.nii").img.affine, image.img.affine, atol=1e-5)


def fields_of(path):
    return fields(content(path))


def test_form_codes_as_properties(tmp_path):
    write(tmp_path / "a.nii", values((5, 6, 7), "i2"), affine=rigid())
    image = ci.open_image(tmp_path / "a.nii")
    image.img.properties["qform_code"] = 1
    image.img.save(tmp_path / "b.nii")
    header = Nifti1Header(content(tmp_path / "b.nii")[:348])
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)
    image.img.properties["sform_code"] = 0
    image.img.save(tmp_path / "c.nii")
    np.testing.assert_allclose(ci.open_image(tmp_path / "c.nii").img.affine, image.img.affine, atol=1e-5)
    image.img.properties["qform_code"] = 0
    with pytest.raises(ci.GeometryError, match="could not say where"):
        image.img.save(tmp_path / "d.nii")


def test_numbers_that_json_lacks_survive_a_store(tmp_path):
    write(tmp_path / "a.nii", values((5, 6, 7), "i2"), cal_max=np.nan, intent_p1=np.inf)
    assert saved(ci.open_image(tmp_path / "a.nii"), tmp_path) == content(tmp_path / "a.nii")


def test_spectral_channels_follow_selection(tmp_path):
    pixdim = [1, 1, 1, 1, 0.5, 0, 0, 0]
    write(tmp_path / "a.nii", values((5, 6, 7, 6), "f4"), pixdim=pixdim, toffset=10, xyzt_units=2 | 40)
    image = ci.open_image(tmp_path / "a.nii")
    image.isel(c=slice(1, None, 2)).img.save(tmp_path / "b.nii")
    found = fields_of(tmp_path / "b.nii")
    assert (found["dim"][4], found["pixdim"][4], found["toffset"]) == (3, 1.0, 10.5)
    ci.convert(tmp_path / "a.nii", tmp_path / "c.nii", c=slice(1, None, 2))
    assert content(tmp_path / "c.nii") == content(tmp_path / "b.nii")
    image.isel(c=2).img.save(tmp_path / "d.nii")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "d.nii").values.squeeze(), image.values[2])


def test_complex_scaling_in_plain_xarray(tmp_path):
    write(tmp_path / "a.nii", values((5, 6, 7), "c8"), scl_slope=2, scl_inter=3)
    image = ci.open_image(tmp_path / "a.nii")
    image.img.save(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.ome.zarr").image.values, image.values)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.ome.zarr").values, image.values)
