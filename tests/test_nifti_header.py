"""NIfTI header facts, one by one."""

import os
import warnings

import numpy as np
import pytest
from nifti_files import AFFINE, rigid, values, write

import chunkimg as ci

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
RGBA = np.dtype([*RGB.descr, ("A", "u1")])
TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16", RGB, RGBA]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("version", [1, 2])
def test_every_type_in_both_byte_orders(dtype, order, version, tmp_path):
    data = values((5, 4, 3), dtype)
    write(tmp_path / "a.nii", data, order=order, version=version)
    image = ci.open_image(tmp_path / "a.nii")
    expected = data
    if data.dtype.kind == "V":
        expected = data[..., None].view("u1")
        assert image.dims == ("c", "z", "y", "x")
        assert image.transpose("x", "y", "z", "c").dtype == np.uint8
        np.testing.assert_array_equal(image.transpose("x", "y", "z", "c").values, expected)
    else:
        assert image.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(image.transpose("x", "y", "z").values, expected)


@pytest.mark.parametrize("code", [1536, 2048, 1, 0, 7])
def test_other_types_are_refused(code, tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), datatype=code)
    with pytest.raises(ci.FormatError, match=r"a\.nii.*datatype"):
        ci.open_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("slope", "inter", "dtype", "result"),
    [
        (0, 7, "i2", "i2"),
        (np.nan, 7, "i2", "i2"),
        (np.inf, 0, "i2", "i2"),
        (1, 0, "i2", "i2"),
        (2, 0, "i2", "f4"),
        (1, 5, "u1", "f4"),
        (0.5, -3, "i4", "f8"),
        (0.5, -3, "f4", "f4"),
        (0.5, -3, "f8", "f8"),
        (0.5, 3, "c8", "c8"),
    ],
)
def test_scaling(slope, inter, dtype, result, tmp_path):
    data = values((5, 4, 3), dtype)
    write(tmp_path / "a.nii", data, scl_slope=slope, scl_inter=inter)
    image = ci.open_image(tmp_path / "a.nii")
    assert image.dtype == np.dtype(result)
    expected = data
    if result != dtype or dtype[0] in "fc":
        # nifti1.h: complex numbers have both parts scaled
        offset = inter * (1 + 1j) if dtype[0] == "c" else inter
        expected = (data * np.float64(slope) + offset).astype(result)
    np.testing.assert_array_equal(image.transpose("x", "y", "z").values, expected)
    raw = ci.open_image(tmp_path / "a.nii", scaled=False)
    np.testing.assert_array_equal(raw.transpose("x", "y", "z").values, data)
    assert "scale_factor" not in image.attrs


def test_scaling_without_intercept_is_refused(tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), scl_slope=2, scl_inter=np.nan)
    with pytest.raises(ci.FormatError, match="scaling is invalid"):
        ci.open_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("shape", "dims", "sizes"),
    [
        ((5,), "zyx", (1, 1, 5)),
        ((5, 4), "zyx", (1, 4, 5)),
        ((5, 4, 3), "zyx", (3, 4, 5)),
        ((5, 4, 3, 1), "tzyx", (1, 3, 4, 5)),
        ((5, 4, 3, 2), "tzyx", (2, 3, 4, 5)),
        ((5, 4, 1, 1, 3), "tczyx", (1, 3, 1, 4, 5)),
        ((5, 4, 3, 2, 6), "tczyx", (2, 6, 3, 4, 5)),
        ((5, 4, 3, 2, 6, 1, 1), "tczyx", (2, 6, 3, 4, 5)),
    ],
)
def test_dims(shape, dims, sizes, tmp_path):
    data = values(shape, "i2")
    write(tmp_path / "a.nii", data)
    image = ci.open_image(tmp_path / "a.nii")
    assert "".join(image.dims) == dims
    assert image.shape == sizes
    index = tuple(n - 1 for n in shape)
    names = dict(zip("xyztc", index, strict=False))
    assert image.isel(names).values == data[index]
    ci.convert(tmp_path / "a.nii", tmp_path / "a.zarr")
    ci.convert(tmp_path / "a.zarr", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_axes_without_meaning_are_refused(tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3, 2, 1, 6), "i2"))
    with pytest.raises(ci.FormatError, match="beyond the fifth"):
        ci.open_image(tmp_path / "a.nii")
    write(tmp_path / "a.nii", values((5, 4, 3, 2, 3), RGB))
    with pytest.raises(ci.FormatError, match="one channel axis"):
        ci.open_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("code", "step", "start", "expected", "units"),
    [
        (8, 2.5, 10, [10.0, 12.5, 15.0], "s"),
        (16, 2500, 1500, [1.5, 4.0, 6.5], "s"),
        (24, 2500000, 0, [0.0, 2.5, 5.0], "s"),
        (0, 2.5, 1, [1.0, 3.5, 6.0], None),
        (8, 0, 5, [0.0, 1.0, 2.0], None),
    ],
)
def test_times(code, step, start, expected, units, tmp_path):
    pixdim = [1, 1, 1, 1, step, 0, 0, 0]
    write(tmp_path / "a.nii", values((5, 4, 3, 3), "i2"), pixdim=pixdim, toffset=start, xyzt_units=2 | code)
    image = ci.open_image(tmp_path / "a.nii")
    assert image.t.values.tolist() == expected
    assert image.t.attrs.get("units") == units


@pytest.mark.parametrize("code", [32, 40, 48])
def test_spectral_fourth_axis_is_channels(code, tmp_path):
    pixdim = [1, 1, 1, 1, 25.5, 0, 0, 0]
    block = write(tmp_path / "a.nii", values((5, 4, 3, 6), "f4"), pixdim=pixdim, toffset=100, xyzt_units=2 | code)
    image = ci.open_image(tmp_path / "a.nii")
    assert image.dims == ("c", "z", "y", "x")
    assert image.c.attrs["step"] == 25.5
    image.img.save(tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:352] == block
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_units_are_kept_not_converted(code, tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), xyzt_units=code)
    image = ci.open_image(tmp_path / "a.nii")
    assert image.img.units == ["unknown", "m", "mm", "um"][code]
    np.testing.assert_allclose(image.img.affine, AFFINE, atol=1e-6)


def test_precedence_of_transforms(tmp_path):
    other = np.array(AFFINE)
    other[:3, 3] += 11
    write(tmp_path / "both.nii", values((5, 4, 3), "i2"), sform=4, qform=1)
    image = ci.open_image(tmp_path / "both.nii")
    np.testing.assert_allclose(image.img.affine, AFFINE, atol=1e-6)
    assert (image.img.properties["sform_code"], image.img.properties["qform_code"]) == (4, 1)
    write(tmp_path / "q.nii", values((5, 4, 3), "i2"), sform=0, qform=1)
    np.testing.assert_allclose(ci.open_image(tmp_path / "q.nii").img.affine, rigid(), atol=1e-5)
    write(tmp_path / "none.nii", values((5, 4, 3), "i2"), sform=0, qform=0)
    image = ci.open_image(tmp_path / "none.nii")
    s = np.linalg.norm(AFFINE[:3, :3], axis=0) * (-1, 1, 1)
    np.testing.assert_allclose(image.img.affine[:3, 3], -s * (2, 1.5, 1), rtol=1e-6)
    assert image.img.space == "unknown"
    with pytest.raises(ci.GeometryError, match="where the patient is"):
        image.img.grid.to_space("LPS")
    assert image.img.assign_geometry(space="LPS").img.orientation == "RPS"


@pytest.mark.parametrize("broken", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_unusable_geometry_opens_with_plain_indices(broken, tmp_path):
    affine = np.array(AFFINE)
    affine[:3] = broken[:3]
    rows = {f"srow_{a}": affine[k] for k, a in enumerate("xyz")}
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), sform=1, **rows)
    with pytest.warns(ci.ChunkImgWarning, match="no position"):
        image = ci.open_image(tmp_path / "a.nii")
    assert image.x.values.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ci.GeometryError):
        _ = image.img.affine
    assert "no position" in repr(image.img)
    # its header is kept: nothing is invented on the way through Zarr
    image.img.save(tmp_path / "a.zarr")
    again = ci.open_image(tmp_path / "a.zarr")
    with pytest.raises(ci.GeometryError):
        _ = again.img.affine
    again.img.save(tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"dim": [9, 5, 4, 3, 1, 1, 1, 1]}, "9 axes"),
        ({"dim": [3, 5, 0, 3, 1, 1, 1, 1]}, "sizes"),
        ({"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, "sizes"),
        ({"dim": [0, 5, 4, 3, 1, 1, 1, 1]}, "0 axes"),
        ({"dim": [5, 32767, 32767, 32767, 32767, 32767, 1, 1]}, "impossible|truncated"),
    ],
)
def test_invalid_sizes_are_refused(fields, what, tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), **fields)
    with pytest.raises(ci.FormatError, match=what):
        ci.open_image(tmp_path / "a.nii")


def test_vox_offset_beyond_the_file(tmp_path):
    path = tmp_path / "a.nii"
    write(path, values((5, 4, 3), "i2"))
    raw = bytearray(path.read_bytes())
    for value in (1e9, np.nan, -5.0, 352.5):
        raw[108:112] = np.float32(value).tobytes()
        path.write_bytes(raw)
        with pytest.raises(ci.FormatError):
            ci.open_image(path)


def test_pairs(tmp_path):
    data = values((5, 4, 3), "i2")
    write(tmp_path / "a.hdr", data, single=False)
    for name in ("a.hdr", "a.img"):
        image = ci.open_image(tmp_path / name)
        np.testing.assert_array_equal(image.transpose("x", "y", "z").values, data)
    ci.convert(tmp_path / "a.img", tmp_path / "b.hdr")
    assert (tmp_path / "b.hdr").read_bytes() == (tmp_path / "a.hdr").read_bytes()
    assert (tmp_path / "b.img").read_bytes() == (tmp_path / "a.img").read_bytes()
    ci.convert(tmp_path / "a.hdr", tmp_path / "c.img.gz")
    ci.convert(tmp_path / "c.hdr.gz", tmp_path / "d.nii")
    ci.convert(tmp_path / "d.nii", tmp_path / "e.hdr")
    assert (tmp_path / "e.hdr").read_bytes() == (tmp_path / "a.hdr").read_bytes()
    (tmp_path / "a.img").unlink()
    with pytest.raises(ci.FormatError, match="image file is missing"):
        ci.open_image(tmp_path / "a.hdr")


def test_spm_mat_beside_analyze_is_refused(tmp_path):
    write(tmp_path / "a.hdr", values((5, 4, 3), "i2"), single=False, magic=b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = ci.open_image(tmp_path / "a.hdr")
    assert image.img.space == "unknown"
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(ci.UnsupportedError, match=r"\.mat"):
        ci.open_image(tmp_path / "a.hdr")


def test_suffix_and_content_must_agree(tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"))
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii").read_bytes())
    with pytest.raises(ci.FormatError, match=r"named \.nii\.gz, but its content is not gzip"):
        ci.open_image(tmp_path / "b.nii.gz")
    ci.convert(tmp_path / "a.nii", tmp_path / "c.nii.gz")
    (tmp_path / "c.nii.gz").rename(tmp_path / "c.nii")
    with pytest.raises(ci.FormatError, match="its content is gzip"):
        ci.open_image(tmp_path / "c.nii")
    (tmp_path / "noname").write_bytes((tmp_path / "a.nii").read_bytes())
    assert ci.open_image(tmp_path / "noname").shape == (3, 4, 5)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ci.FormatError, match="format="):
        ci.open_image(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        ci.open_image(tmp_path / "absent.nii")
    (tmp_path / "empty.nii").touch()
    with pytest.raises(ci.FormatError, match="empty"):
        ci.open_image(tmp_path / "empty.nii")
    with pytest.raises(ci.FormatError, match="known suffix"):
        ci.convert(tmp_path / "a.nii", tmp_path / "a.jpg")
    with pytest.raises(ci.FormatError, match="not known"):
        ci.open_image(tmp_path / "a.nii", format="dicom")


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(ci.FormatError, match="not a regular file"):
        ci.open_image(tmp_path / "pipe.nii")


def test_a_changed_file_is_noticed(tmp_path):
    path = tmp_path / "a.nii"
    write(path, values((5, 4, 3), "i2"))
    image = ci.open_image(path)
    write(path, values((5, 4, 4), "i2"))
    with pytest.raises(ci.FormatError, match="changed since it was opened"):
        image.compute()


def test_every_flipped_bit_of_a_gzip_is_noticed_or_harmless(tmp_path):
    import gzip

    write(tmp_path / "a.nii", values((5, 4, 3), "i2"))
    whole = gzip.compress((tmp_path / "a.nii").read_bytes(), mtime=0)
    expected = ci.open_image(tmp_path / "a.nii").values
    rng = np.random.default_rng(0)
    refused = 0
    for at in range(10, len(whole) - 8):
        broken = bytearray(whole)
        broken[at] ^= 1 << rng.integers(8)
        (tmp_path / "b.nii.gz").write_bytes(broken)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ci.convert(tmp_path / "b.nii.gz", tmp_path / "c.nii", overwrite=True)
        except (ci.FormatError, ci.GeometryError):
            refused += 1
        else:
            np.testing.assert_array_equal(ci.open_image(tmp_path / "c.nii").values, expected)
    assert refused > 0.9 * (len(whole) - 18)


@pytest.mark.parametrize("dim", [[4, 2, 2, 2, 2**40, 1, 1, 1], [3, 2**40, 2, 2, 1, 1, 1, 1]])
def test_bombs_are_refused_at_once(dim, tmp_path):
    import gzip

    write(tmp_path / "a.nii", values((2, 2, 2), "i2"), version=2, dim=dim)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("a.nii", "b.nii.gz"):
        with pytest.raises(ci.FormatError, match="truncated"):
            ci.open_image(tmp_path / name)
        with pytest.raises(ci.FormatError, match="truncated"):
            ci.read_header(tmp_path / name)


@pytest.mark.parametrize("name", ["abc", "result.foo", "scan.zarr", "o.nii.gz/"])
def test_nifti_names(name, tmp_path):
    image = ci.from_array(np.zeros((2, 3, 4)))
    with pytest.raises((ci.FormatError, FileNotFoundError, IsADirectoryError)):
        image.img.to_nifti(f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


def test_large_planes_from_zarr_to_gz_are_spooled(tmp_path, monkeypatch):
    from chunkimg.io import stream_write

    image = ci.from_array(values((300, 200, 24), "i2").T, spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.zarr", chunks="8,64,64")
    spooled = []
    real = stream_write._spool
    monkeypatch.setattr(stream_write, "_spool", lambda *a: (spooled.append(1), real(*a))[1])
    monkeypatch.setattr(stream_write, "slab_bytes", lambda *_: 300 * 200 * 2 * 2)
    ci.convert(tmp_path / "a.zarr", tmp_path / "a.nii.gz")
    assert spooled
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nii.gz").values, image.values)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "a.zarr"]
