"""NRRD out and back: every field, key and comment kept, changes written as they are, read alike by others."""

import json
import warnings

import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given
from hypothesis import strategies as st
from nrrd_files import header, values, write
from strategies import grids

import chunkimg as ci
from chunkimg.io.nrrd_header import parse

#: fields that tell where and how voxels are stored, which is the new file's matter
STORAGE = {"data file", "line skip", "byte skip", "number"}
OBLIQUE = np.array([[0.7, 0.1, 0.02, -30.1], [-0.1, 1.2, 0.3, 12.7], [0.05, -0.2, 2.5, 7.25], [0, 0, 0, 1]])


def content(path):
    return parse(path.read_bytes(), str(path))


def said(path, *, storage=True):
    """Fields, keys and comments of a file, in their order."""
    return [
        (line.kind, line.name, line.value or line.text)
        for line in content(path).lines
        if line.kind in ("comment", "field", "key") and (storage or line.name not in STORAGE)
    ]


def changed(before, after):
    """Names of fields and keys that differ between two files."""
    a, b = ({(k, n): v for k, n, v in said(p) if k != "comment"} for p in (before, after))
    return {n for k, n in set(a) | set(b) if a.get((k, n)) != b.get((k, n))}


# ------------------------------------------------------------------------------------------------ untouched


@pytest.mark.parametrize("item", items("nrrd"))
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_untouched_files_keep_everything(item, suffix, tmp_path):
    if item["truth"]["verdict"] == "rejected-by-all":
        pytest.skip("no reference opens it")
    from pathlib import Path

    source = Path(item_path(item))
    ci.convert(source, tmp_path / "a.ome.zarr")
    ci.convert(tmp_path / "a.ome.zarr", tmp_path / f"b{suffix}")
    ci.open_image(tmp_path / "a.ome.zarr").img.save(tmp_path / f"c{suffix}")
    image = ci.open_image(source)
    for out in (tmp_path / f"b{suffix}", tmp_path / f"c{suffix}"):
        assert said(out, storage=False) == said(source, storage=False)
        again = ci.open_image(out)
        np.testing.assert_array_equal(again.values, image.values)
        assert ci.read_header(out).dtype == ci.read_header(source).dtype
        np.testing.assert_array_equal(again.img.affine, image.img.affine)
    raw = source.read_bytes()
    if content(source).fields["encoding"] == "raw" and suffix == source.suffix == ".nrrd":
        # what stands behind the voxels is nobody's
        assert raw.startswith((tmp_path / "b.nrrd").read_bytes())


@pytest.fixture
def source(tmp_path):
    """An oblique 4-D file with everything set."""
    extra = """
        # made by hand
        space: left-posterior-superior
        space directions: none (0.5,0.1,0) (-0.1,0.75,0.25) (0,0,2.0)
        kinds: vector domain domain domain
        labels: "flow" "i" "j" "k"
        thicknesses: nan nan nan 1.5
        space units: "mm" "mm" "mm"
        space origin: (-10.50,20,3)
        measurement frame: (1,0,0) (0,1,0) (0,0,1)
        sample units: cm/s
        content: a test
        DWMRI_b-value:=800
        remark:=one\\ntwo
    """
    return write(tmp_path / "source.nrrd", values((4, 5, 6, 3)), extra=extra)


def saved(image, tmp_path, **options):
    """An image saved directly; a save through Zarr must write the same."""
    image.img.save(tmp_path / "out.nrrd", **options)
    image.img.save(tmp_path / "out.ome.zarr")
    ci.convert(tmp_path / "out.ome.zarr", tmp_path / "out2.nrrd", **options)
    assert (tmp_path / "out2.nrrd").read_bytes() == (tmp_path / "out.nrrd").read_bytes()
    again = ci.open_image(tmp_path / "out.nrrd")
    np.testing.assert_array_equal(again.values, image.values)
    assert again.img.same_grid(image, tol=1e-9)
    return tmp_path / "out.nrrd"


def test_nothing_changed(source, tmp_path):
    assert saved(ci.open_image(source), tmp_path).read_bytes() == source.read_bytes()


def test_crops_flips_and_strides_change_place_and_size(source, tmp_path):
    image = ci.open_image(source)
    assert changed(source, saved(image.isel(z=slice(1, None)), tmp_path)) == {"sizes", "space origin"}
    (tmp_path / "more").mkdir()
    out = saved(image.isel(x=slice(None, None, -2)), tmp_path / "more")
    assert changed(source, out) == {"sizes", "space origin", "space directions"}
    assert content(out).vectors("space directions", 4)[1] == (-1.0, -0.2, 0.0)


def test_properties_change_their_lines(source, tmp_path):
    image = ci.open_image(source)
    image.img.properties["remark"] = "three"
    image.img.properties["content"] = "another test"
    image.img.properties["list"] = [1, 2.5, "x"]
    del image.img.properties["DWMRI_b-value"]
    out = saved(image, tmp_path)
    assert changed(source, out) == {"remark", "content", "list", "DWMRI_b-value"}
    assert content(out).keys == {"remark": "three", "list": json.dumps([1, 2.5, "x"])}
    assert ci.open_image(out).img.properties["sample_units"] == "cm/s"


def test_a_name_that_no_key_can_have_is_said(tmp_path):
    image = ci.from_array(values((2, 3, 4)), properties={"a:b": 1, "ok": "1"})
    with pytest.warns(ci.ChunkImgWarning, match="a:b"):
        image.img.save(tmp_path / "a.nrrd")
    assert content(tmp_path / "a.nrrd").keys == {"ok": "1"}


def test_channels_taken_away(source, tmp_path):
    out = saved(ci.open_image(source).isel(c=1, drop=True), tmp_path)
    fields = content(out).fields
    assert fields["kinds"] == "domain domain domain"
    assert fields["labels"] == '"i" "j" "k"'
    assert fields["thicknesses"] == "nan nan 1.5"
    assert fields["space directions"] == "(0.5,0.1,0) (-0.1,0.75,0.25) (0,0,2.0)"
    assert fields["dimension"] == "3"


def test_values_of_another_type(source, tmp_path):
    image = ci.open_image(source)
    out = saved(image.astype("f4") * 0.5, tmp_path)
    assert changed(source, out) == {"type"}
    np.testing.assert_array_equal(ci.open_image(out).values, image.values * np.float32(0.5))


def test_the_byte_order_is_kept(tmp_path):
    path = write(tmp_path / "source.nrrd", values((3, 4, 5), ">i2"), newline="\r\n")
    assert saved(ci.open_image(path), tmp_path).read_bytes() == path.read_bytes()


def test_old_spacings_become_directions_where_the_place_changes(tmp_path):
    extra = 'spacings: 2 3 4 5\naxis mins: 0 0 0 7\nunits: "mm" "mm" "mm" "s"\ncenters: node node node node'
    path = write(tmp_path / "source.nrrd", values((2, 3, 4, 5)), extra=extra)
    image = ci.open_image(path)
    assert saved(image, tmp_path).read_bytes() == path.read_bytes()
    (tmp_path / "more").mkdir()
    out = saved(image.isel(x=slice(1, None)), tmp_path / "more")
    fields = content(out).fields
    assert fields["space directions"] == "(2,0,0) (0,3,0) (0,0,4) none"
    assert (fields["space origin"], fields["space units"]) == ("(2,0,0)", '"mm" "mm" "mm"')
    assert (fields["spacings"], fields["units"]) == ("nan nan nan 5", '"" "" "" "s"')
    np.testing.assert_array_equal(ci.open_image(out).t.values, [7, 12])


# ------------------------------------------------------------------------------------------------ new files


@given(grid=grids(), space=st.sampled_from(["RAS", "unknown"]))
def test_affines_come_back_bit_for_bit(grid, space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("law")
    units = grid.units if space == "RAS" else "unknown"
    image = ci.from_array(values(grid.shape[::-1]), affine=grid.matrix, space=space, units=units)
    for name in ("a.nrrd", "a.nhdr"):
        image.img.save(folder / name)
        again = ci.open_image(folder / name)
        np.testing.assert_array_equal(again.img.affine, image.img.affine)
        assert (again.img.space, again.img.units) == (space, units)
        np.testing.assert_array_equal(again.values, image.values)


@given(grid=grids(shear=False))
def test_nifti_and_nrrd_keep_the_affine_between_them(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("law")
    rounded = grid.matrix.astype("f4").astype("f8")
    with warnings.catch_warnings():
        # a qform cannot always follow an affine that was rounded
        warnings.simplefilter("ignore", ci.ChunkImgWarning)
        ci.from_array(values(grid.shape[::-1]), affine=rounded, units="mm").img.save(folder / "a.nii")
        ci.convert(folder / "a.nii", folder / "b.nrrd")
        ci.convert(folder / "b.nrrd", folder / "c.nii")
    for name in ("a.nii", "b.nrrd", "c.nii"):
        np.testing.assert_array_equal(ci.open_image(folder / name).img.affine, rounded)


ENCODINGS = ["raw", "gzip", "bzip2", "ascii", "hex"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"])
def test_every_type_in_every_encoding(tmp_path, encoding, dtype):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 2**63, (5, 6, 7), "u8").view("u8")
    data = data.astype(dtype) if np.dtype(dtype).kind in "fb" else data.view(dtype)[:, :, :7]
    if data.dtype.kind == "f":
        data[0, 0, :3] = np.nan, np.inf, -1e-300 if dtype == "f8" else -1e-40
    image = ci.from_array(data, affine=OBLIQUE)
    image.img.save(tmp_path / "a.nrrd", encoding=encoding)
    again = ci.open_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(again.values, data)
    assert again.dtype == (data.dtype if data.dtype.kind != "b" else np.dtype("u1"))
    image.img.save(tmp_path / "b.nhdr", encoding=encoding)
    assert len(list(tmp_path.glob("b.*"))) == 2
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nhdr").values, data)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii", "hex"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_simpleitk_reads_the_same(tmp_path, encoding, suffix):
    sitk = pytest.importorskip("SimpleITK")
    data = values((5, 6, 7), "f4")
    image = ci.from_array(data, affine=OBLIQUE, properties={"name": "x y"})
    image.img.save(tmp_path / f"a{suffix}", encoding=encoding)
    read = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), data)
    lps = read.TransformIndexToPhysicalPoint((3, 4, 2))
    np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], image.img.to_world([3, 4, 2]), atol=1e-12)
    assert read.GetMetaData("name") == "x y"


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_pynrrd_reads_the_same(tmp_path, encoding):
    nrrd = pytest.importorskip("nrrd")
    data = values((5, 6, 7), "i4")
    ci.from_array(data, affine=OBLIQUE, properties={"name": "x y"}).img.save(tmp_path / "a.nrrd", encoding=encoding)
    read, fields = nrrd.read(str(tmp_path / "a.nrrd"), index_order="C")
    np.testing.assert_array_equal(read, data)
    np.testing.assert_array_equal(fields["space directions"].T * [[-1], [-1], [1]], OBLIQUE[:3, :3])
    np.testing.assert_array_equal(fields["space origin"] * [-1, -1, 1], OBLIQUE[:3, 3])
    assert (fields["space"], fields["name"]) == ("left-posterior-superior", "x y")


@pytest.mark.parametrize(
    ("times", "units"),
    [((0.0, 2.0, 4.0), "s"), ((1.5, 2.0, 2.5), "s"), ((1.0, 2.0, 7.0), "s"), ((0.0, 1.0, 2.0), None)],
)
@pytest.mark.parametrize("channels", [False, True])
def test_times_and_channels(tmp_path, times, units, channels):
    dims = ("t", "c", "z", "y", "x") if channels else ("t", "z", "y", "x")
    data = values((3, 2, 4, 5, 6) if channels else (3, 4, 5, 6))
    image = ci.from_array(data, dims, affine=OBLIQUE)
    image = image.assign_coords(t=("t", list(times), {"units": units} if units else {}))
    image.img.save(tmp_path / "a.nrrd")
    again = ci.open_image(tmp_path / "a.nrrd")
    assert again.dims == dims
    np.testing.assert_array_equal(again.values, data)
    np.testing.assert_array_equal(again.t.values, times)
    assert again.t.attrs.get("units") == units
    part = again.isel(t=slice(1, None), x=slice(1, None))
    part.img.save(tmp_path / "b.nrrd")
    last = ci.open_image(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(last.t.values, times[1:] if units else (0, 1))
    np.testing.assert_array_equal(last.values, data[1:, ..., 1:])
    one = again.isel(t=1, drop=True)
    one.img.save(tmp_path / "c.nrrd")
    assert not content(tmp_path / "c.nrrd").keys
    np.testing.assert_array_equal(ci.open_image(tmp_path / "c.nrrd").values, data[1])


def test_time_is_read_by_simpleitk_as_components(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    data = values((3, 4, 5, 6))
    ci.from_array(data, ("t", "z", "y", "x"), affine=OBLIQUE).img.save(tmp_path / "a.nrrd")
    read = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(np.moveaxis(sitk.GetArrayFromImage(read), -1, 0), data)


def test_rgb_and_complex_are_fastest(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    data = values((3, 4, 5, 6), "u1")
    image = ci.from_array(data, ("c", "z", "y", "x"), affine=OBLIQUE)
    image.c.attrs["kind"] = "RGB"
    image.img.save(tmp_path / "a.nrrd")
    assert content(tmp_path / "a.nrrd").fields["kinds"] == "RGB-color domain domain domain"
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nrrd").values, data)
    np.testing.assert_array_equal(
        np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd"))), -1, 0), data
    )
    numbers = values((4, 5, 6), "f4") * np.complex64(1 - 2j)
    ci.from_array(numbers, affine=OBLIQUE).img.save(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.nrrd"))), numbers)
    again = ci.open_image(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(again.values, [numbers.real, numbers.imag])


def test_scaled_values_are_written_as_values(nibabel_data, tmp_path):
    import nibabel

    source = nibabel.load(nibabel_data / "example4d.nii.gz")
    scaled = nibabel.Nifti1Image(np.asanyarray(source.dataobj)[..., 0].astype("i2"), source.affine, source.header)
    scaled.header.set_data_dtype("i2")
    scaled.to_filename(tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()
    head = nibabel.Nifti1Header(raw[:348])
    head["scl_slope"], head["scl_inter"] = 0.5, 3
    (tmp_path / "a.nii").write_bytes(bytes(head.binaryblock) + raw[348:])
    ci.convert(tmp_path / "a.nii", tmp_path / "a.nrrd")
    again = ci.open_image(tmp_path / "a.nrrd")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again.values.transpose(), nibabel.load(tmp_path / "a.nii").get_fdata())


def test_what_nrrd_cannot_hold_is_refused(tmp_path):
    image = ci.from_array(values((3, 4, 5), "f4"))
    for options, reason in (
        ({"chunks": 8}, "Zarr"),
        ({"pyramid": True}, "resolution"),
        ({"version": 2}, "NIfTI"),
        ({"encoding": "zrl"}, "not one of NRRD"),
        ({"dtype": "f2"}, "no type for float16"),
    ):
        with pytest.raises(ci.FormatError, match=reason):
            image.img.save(tmp_path / "a.nrrd", **options)
    channels = ci.from_array(values((2, 3, 4, 5), "f4") * 1j, ("c", "z", "y", "x"))
    with pytest.raises(ci.FormatError, match="complex"):
        channels.img.save(tmp_path / "a.nrrd")
    with pytest.raises(ci.FormatError, match="called"):
        image.img.to_nrrd(tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []


def test_a_header_of_several_files_becomes_one(tmp_path):
    data = values((3, 4, 5))
    for k, piece in enumerate(data):
        (tmp_path / f"p{k}").write_bytes(piece.tobytes())
    (tmp_path / "a.nhdr").write_bytes(header(data, extra="a:=b\ndata file: LIST\np0\np1\np2"))
    ci.convert(tmp_path / "a.nhdr", tmp_path / "b.nhdr")
    assert changed(tmp_path / "a.nhdr", tmp_path / "b.nhdr") == {"data file"}
    assert (tmp_path / "b.raw").read_bytes() == data.tobytes()
    ci.convert(tmp_path / "a.nhdr", tmp_path / "c.nrrd")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "c.nrrd").values, data)
