"""Our tables of header fields, repairs and transforms, against nibabel's: names, offsets, every bit of the results."""

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader, intent_codes, xform_codes
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.quaternions import mat2quat
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader

import chunkimg as ci
from chunkimg.io import nifti_check
from chunkimg.io import nifti_fields as nf
from chunkimg.io import nifti_forms as forms
from chunkimg.io import nifti_header as nh

CLASSES = {
    ("nifti1", True): Nifti1Header,
    ("nifti1", False): Nifti1PairHeader,
    ("nifti2", True): Nifti2Header,
    ("nifti2", False): Nifti2PairHeader,
    ("analyze", False): Spm2AnalyzeHeader,
}
HEADERS = [(*key, order) for key in CLASSES for order in "<>"]
every_header = pytest.mark.parametrize(("kind", "single", "order"), HEADERS)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def ours(header, kind, order):
    return nf.from_bytes(header.binaryblock, kind, order)


def pick(rng, *values):
    return values[rng.integers(len(values))]


def random_header(rng, kind, single, order):
    """A header with valid, odd and broken values in every field that anything is made of."""
    header = CLASSES[kind, single](endianness=order)
    rank = int(rng.integers(1, 8))
    header["dim"] = [rank, *rng.integers(1, 40, rank), *[pick(rng, 0, 1)] * (7 - rank)]
    header["pixdim"] = [pick(rng, 1, -1, 0, 2), *rng.uniform(0.1, 5, 7) * rng.choice([1, 1, 1, -1, 0], 7)]
    header["datatype"], header["bitpix"] = pick(rng, (4, 16), (16, 32), (2, 16), (128, 24), (64, 64))
    header["vox_offset"] = pick(rng, 0, 0, 100, 352, 544, 560, 1000)
    header["scl_slope"], header["scl_inter"] = pick(rng, (0, 0), (1, 0), (2.5, -3), (np.nan, 0), (np.inf, 1))
    if kind == "analyze":
        header["origin"] = rng.integers(-60, 60, 5) * pick(rng, 0, 1)
        header["glmax"], header["glmin"] = pick(rng, (0, 0), (110, 10), (7, -3))
        header["cal_max"], header["cal_min"] = pick(rng, (0, 0), (0.8, 0.2), (3, -4.5))
        return header
    header["sform_code"], header["qform_code"] = rng.choice([0, 0, 1, 2, 3, 4, 5, 6, -1], 2)
    for name in ("srow_x", "srow_y", "srow_z"):
        header[name] = rng.normal(0, 3, 4)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion) * pick(rng, 1, 1, 1, 0.8)
    if rng.integers(3) == 0:
        # a half turn, up to rounding
        quaternion = np.array([0, *quaternion[1:]]) / np.linalg.norm(quaternion[1:])
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion[1:]
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = rng.normal(0, 100, 3)
    if kind == "nifti2":
        header["eol_check"] = pick(rng, (13, 10, 26, 10), (0, 0, 0, 0), (10, 26, 10, 0))
    return header


def best_affine(header):
    """nibabel's, of a repaired header; None where the quaternion is no rotation."""
    with np.errstate(all="ignore"):
        try:
            return header.get_best_affine()
        except ValueError:
            return None


# ---------------------------------------------------------------------------------------------- tables


@every_header
def test_every_field_lies_where_nibabel_has_it(kind, single, order):
    theirs = CLASSES[kind, single].template_dtype.newbyteorder(order)
    mine = nf.DTYPES[kind].newbyteorder(order)
    assert mine.names == theirs.names
    assert mine.itemsize == theirs.itemsize
    for name in theirs.names:
        assert mine.fields[name] == theirs.fields[name], name
    assert nf.kind_of(np.zeros((), mine)) == kind


@pytest.mark.parametrize(("kind", "single", "order"), [h for h in HEADERS if h[0] != "analyze"])
def test_blank_headers(kind, single, order):
    header = CLASSES[kind, single](endianness=order)
    header["pixdim"][4:] = 0
    assert nf.blank(kind, single, order).tobytes() == header.binaryblock


def test_types_and_codes():
    for code, (name, samples) in nf.TYPES.items():
        dtype = Nifti1Header._data_type_codes.dtype[code]
        assert dtype.itemsize == np.dtype(name).itemsize * max(1, samples)
        assert samples or dtype == np.dtype(name)
    assert set(intent_codes.value_set("code")) == nifti_check._INTENTS
    assert set(nf._XFORMS) == set(xform_codes.value_set("code"))


# ---------------------------------------------------------------------------------------------- meaning


@every_header
def test_repairs_are_those_of_nibabel(kind, single, order, rng):
    for _ in range(200):
        header = random_header(rng, kind, single, order)
        fields = ours(header, kind, order)
        text = type(header).diagnose_binaryblock(header.binaryblock, order)
        problems = nf.repair(fields)
        expected = [line.replace("nifti1", "NIfTI") for line in text.splitlines() if line]
        assert sorted(t for _, t in problems) == sorted(expected)
        levels = nibabel_level(header)
        header.check_fix(logger=Silent(), error_level=100)
        assert max((level for level, _ in problems), default=0) == levels
        assert fields.tobytes() == header.binaryblock


class Silent:
    def log(self, *_):
        pass


def nibabel_level(header):
    """The gravest of nibabel's findings, by the level from which on it raises."""
    for level in (40, 35, 30, 20, 10):
        try:
            type(header)(header.binaryblock, header.endianness, False).check_fix(Silent(), level)
        except HeaderDataError:
            return level
    return 0


@every_header
def test_affines_are_those_of_nibabel_to_the_last_bit(kind, single, order, rng):
    seen = 0
    for _ in range(400):
        header = random_header(rng, kind, single, order)
        fields = ours(header, kind, order)
        header.check_fix(logger=Silent(), error_level=100)
        nf.repair(fields)
        expected, found = best_affine(header), forms.best_affine(fields)
        if expected is None:
            assert found is None
            continue
        seen += 1
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)
        if kind != "analyze":
            np.testing.assert_array_equal(forms.sform(fields), header.get_sform())
            np.testing.assert_array_equal(forms.base_affine(fields), header.get_base_affine())
    assert seen > 200


@pytest.mark.parametrize(("kind", "single", "order"), [h for h in HEADERS if h[0] != "analyze"])
def test_quaternions_are_those_of_nibabel(kind, single, order, rng):
    refused = 0
    for k in range(300):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        if k % 4 == 0:
            # cardinal axes: half turns, mirrors, permutations
            rotation = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        affine = np.eye(4)
        affine[:3, :3] = rotation * rng.uniform(0.2, 6, 3)
        affine[:3, 3] = rng.normal(0, 100, 3)
        if k % 5 == 0:
            affine[0, 1] += pick(rng, 1e-9, 1e-2, 1)
        header = CLASSES[kind, single](endianness=order)
        try:
            header.set_qform(affine, 1, strip_shears=False)
        except HeaderDataError:
            assert forms.quaternion_of(affine) is None
            refused += 1
            continue
        fields = nf.blank(kind, single, order)
        *quaternion, qfac = forms.quaternion_of(affine)
        for name, value in zip(("quatern_b", "quatern_c", "quatern_d"), quaternion, strict=True):
            fields[name] = value
            assert fields[name] == header[name]
        assert qfac == header["pixdim"][0]
        fields["pixdim"][:4] = header["pixdim"][:4]
        fields["qoffset_x"], fields["qoffset_y"], fields["qoffset_z"] = affine[:3, 3]
        np.testing.assert_array_equal(forms.qform(fields), header.get_qform())
        np.testing.assert_allclose(forms.qform(fields), affine, atol=1e-4, rtol=1e-5)
    assert refused > 10


def test_quaternions_hold_the_rotation(rng):
    for _ in range(300):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        affine = np.eye(4)
        affine[:3, :3] = rotation
        *found, qfac = forms.quaternion_of(affine)
        assert qfac == 1
        np.testing.assert_allclose(found, mat2quat(rotation)[1:], atol=1e-12)


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_no_quaternion_of_what_is_no_rotation(matrix):
    assert forms.quaternion_of(matrix) is None


@every_header
def test_scaling_is_that_of_nibabel(kind, single, order, rng):
    for _ in range(100):
        header = random_header(rng, kind, single, order)
        header["vox_offset"], header["pixdim"][1:4] = 0, 1
        if kind == "nifti2":
            header["eol_check"] = (13, 10, 26, 10)
        header["datatype"], header["bitpix"] = 4, 16
        facts = nh.parse(header.binaryblock, "x")
        found = nh.scaling_of(facts, "x")
        slope, inter = header.get_slope_inter()
        expected = None if slope is None or (slope, inter) == (1, 0) else (slope, inter)
        assert (None if found is None else (found.slope, found.inter)) == expected


@pytest.mark.parametrize("shape", [(163842, 1, 1), (163842, 1, 1, 5), (40000, 1, 1, 3)])
def test_long_vectors_of_freesurfer(shape):
    header = Nifti1Header()
    if shape[0] == 40000:
        with pytest.warns(UserWarning, match="Freesurfer"):
            header.set_data_shape(shape)
    else:
        header.set_data_shape(shape)
    assert nh.parse(header.binaryblock, "x").shape == header.get_data_shape() == shape
    header["glmin"], header["dim"][1:4] = 0, (-1, 1, 1)
    with pytest.raises(ci.FormatError, match="glmin"):
        nh.parse(header.binaryblock, "x")


def test_invalid_headers_are_refused_as_by_nibabel():
    header = Nifti1Header()
    header.set_data_shape((3, 4, 5))
    header["vox_offset"] = 100
    with pytest.raises(ci.FormatError, match="header is invalid: vox offset 100 too low"):
        nh.parse(header.binaryblock, "x")
    header = Nifti2Header()
    header.set_data_shape((3, 4, 5))
    header["eol_check"] = (10, 26, 10, 0)
    with pytest.raises(ci.FormatError, match="header is invalid: EOL check"):
        nh.parse(header.binaryblock, "x")
    header = Spm2AnalyzeHeader()
    header.set_data_shape((3, 4, 5))
    header["datatype"] = 512
    with pytest.raises(ci.FormatError, match="header is invalid: data code 512"):
        nh.parse(header.binaryblock, "x")


def test_repairs_are_logged(caplog):
    header = Nifti1Header()
    header.set_data_shape((3, 4, 5))
    header["pixdim"][2] = -2
    with caplog.at_level("INFO", logger="chunkimg"):
        facts = nh.parse(header.binaryblock, "x")
    assert facts.fields["pixdim"][2] == 2
    assert [r.message for r in caplog.records] == ["pixdim[1,2,3] should be positive"]


# ---------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("old", "new"), [("nifti1", "nifti2"), ("nifti2", "nifti1")])
def test_other_versions_have_the_same_fields(old, new, order, rng):
    for _ in range(100):
        header = random_header(rng, old, True, order)
        header["pixdim"] = np.abs(header["pixdim"])
        header["slice_end"], header["descrip"], header["intent_name"] = 17, b"text", b"name"
        header.check_fix(logger=Silent(), error_level=100)
        fields = ours(header, old, order)
        shape = header.get_data_shape()
        found = nf.converted(fields, shape, new, True, order, "x")
        expected = CLASSES[new, True].from_header(header, check=False)
        rank = len(shape)
        for name in set(found.dtype.names) - {"sizeof_hdr", "magic", "vox_offset", "dim", "pixdim", "eol_check"}:
            assert np.array_equal(found[name], expected[name], equal_nan=found[name].dtype.kind == "f"), name
        for name in ("dim", "pixdim"):
            np.testing.assert_array_equal(found[name][: rank + 1], expected[name][: rank + 1])
            # what stands beyond the rank is kept
            np.testing.assert_array_equal(found[name][rank + 1 :], fields[name][rank + 1 :].astype(found[name].dtype))
        fresh = nf.blank(new, True, order)
        for name in ("sizeof_hdr", "magic", *(["eol_check"] if new == "nifti2" else [])):
            np.testing.assert_array_equal(found[name], fresh[name])


@pytest.mark.parametrize(("name", "value"), [("slice_end", 70000), ("cal_max", 1e300), ("intent_code", 1 << 20)])
def test_what_has_no_room_in_nifti1_is_refused(name, value, tmp_path):
    image = ci.from_array(np.arange(60, dtype="i2").reshape(3, 4, 5), spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.nii", version=2)
    header = Nifti2Header((tmp_path / "a.nii").read_bytes()[:540], check=False)
    header[name] = value
    (tmp_path / "a.nii").write_bytes(header.binaryblock + (tmp_path / "a.nii").read_bytes()[540:])
    with pytest.raises(ci.FormatError, match=name):
        ci.convert(tmp_path / "a.nii", tmp_path / "b.nii", version=1)


@pytest.mark.parametrize("slope", [1e-60, 1e60])
def test_scaling_without_room_in_nifti1_is_refused(slope, tmp_path):
    image = ci.from_array(np.arange(60, dtype="i2").reshape(3, 4, 5), spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.nii", version=2)
    header = Nifti2Header((tmp_path / "a.nii").read_bytes()[:540], check=False)
    header["scl_slope"], header["scl_inter"] = slope, 0
    (tmp_path / "a.nii").write_bytes(header.binaryblock + (tmp_path / "a.nii").read_bytes()[540:])
    with pytest.raises(ci.FormatError, match=r"scl_slope|scaling"):
        ci.convert(tmp_path / "a.nii", tmp_path / "b.nii", version=1)


def test_long_axes_that_are_cropped_away_fit_nifti1(tmp_path):
    data = np.arange(40000 * 6, dtype="i2").reshape(2, 3, 40000)
    ci.from_array(data, spacing=(1, 2, 3)).img.save(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\x1c\x02\0\0"
    ci.convert(tmp_path / "a.nii", tmp_path / "b.nii", x=slice(39000, 39100), version=1)
    found = Nifti1Header((tmp_path / "b.nii").read_bytes()[:348])
    assert found.get_data_shape() == (100, 3, 2)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nii").values, data[..., 39000:39100])
