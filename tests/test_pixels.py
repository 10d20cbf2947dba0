"""Pixel types: what fits, what does not, and that nothing else changes."""

import itertools
import os

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nifti_files import values, write

import chunkimg as ci
import chunkimg.io.zarr_read
from chunkimg.image.build import to_volume
from chunkimg.image.computed import ComputedArray
from chunkimg.ops.pixels import CheckedCast, Rescale

AFFINE = np.array([[0.1, -1.9, 0.2, 31.5], [0.7, 0.1, 0.3, -12.25], [-0.1, 0.2, -2.9, 8.125], [0, 0, 0, 1]])
TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


def image_of(data, dims=None, **options):
    return ci.from_array(data, dims, affine=AFFINE, **options)


@pytest.fixture
def opened(tmp_path):
    """A store opened in some blocks, and the chunks of voxels that were decoded since."""

    def make(data, chunks, monkeypatch):
        ci.from_array(data, affine=AFFINE).img.save(tmp_path / "a.ome.zarr", chunks=16)
        image = ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks)
        decoded = []
        original = chunkimg.io.zarr_read._block
        monkeypatch.setattr(chunkimg.io.zarr_read, "_block", lambda s, p, w: decoded.append(p.at) or original(s, p, w))
        return image, decoded

    return make


# ---------------------------------------------------------------------------------------------- checked casts


@pytest.mark.parametrize("source", TYPES)
@settings(max_examples=60)
@given(data=st.data())
def test_what_is_cast_is_what_it_was(source, data):
    """Python's own numbers are the oracle."""
    kind = np.dtype(source)
    most = {"?": 1, "i1": 127, "u1": 255, "i2": 32767, "u2": 65535, "f2": 65504}.get(source, 2**31 - 1)
    near = st.sampled_from([0, 1, 2, 127, 255, 2**24 - 1, 2**24, 2**31 - 1]).map(lambda n: kind.type(min(n, most)))
    number = data.draw(hnp.from_dtype(kind) | near)
    target = np.dtype(data.draw(st.sampled_from(TYPES)))
    block = np.full((2, 1, 3), number, kind)
    with np.errstate(all="ignore"):
        wrapped = (np.real(block) if target.kind in "biuf" else block).astype(target)
    before, after = block.flat[0].item(), wrapped.flat[0].item()
    whole = target.kind in "biu" or kind.kind in "biu"
    same = before == after if whole else before != before or np.isfinite(before) == np.isfinite(after)
    if target.kind in "biuf" and kind.kind == "c":
        same = same and before.imag == 0
    if target.kind in "fc" and kind.kind in "iu":
        # not one by one: its neighbour would become the same number
        same = same and abs(before) <= 2 ** (np.finfo(target).nmant + 1)
    if not same:
        with pytest.raises(ValueError, match=f"do not fit {target}"):
            CheckedCast(target)(block)
        return
    found = CheckedCast(target)(block)
    np.testing.assert_array_equal(found, wrapped)
    assert found.dtype == target


def test_limits_of_types():
    for target, source in (("i8", "f8"), ("u8", "f8"), ("i4", "f4"), ("u4", "f4"), ("i8", "f4")):
        info = np.iinfo(target)
        cast = CheckedCast(np.dtype(target))
        for bad in (
            float(info.max) + 1,
            np.nan,
            np.inf,
            -np.inf,
            0.5,
            np.nextafter(float(info.min), -np.inf, dtype=source),
        ):
            with pytest.raises(ValueError, match="no whole numbers"):
                cast(np.array([1, bad], source))
        good = np.array([info.min, np.nextafter(np.dtype(source).type(float(info.max) + 1), 0, dtype=source)], source)
        assert cast(good).tolist() == [int(v) for v in good]
    with pytest.raises(ValueError, match="beyond -128 to 127, as 128"):
        CheckedCast(np.dtype("i1"))(np.array([5, 128], "u8"))
    with pytest.raises(ValueError, match="as 18446744073709551615"):
        CheckedCast(np.dtype("i8"))(np.array([5, 2**64 - 1], "u8"))
    with pytest.raises(ValueError, match="are too large, as 1e\\+39"):
        CheckedCast(np.dtype("f4"))(np.array([5, 1e39]))
    with pytest.raises(ValueError, match="are too large"):
        CheckedCast(np.dtype("c8"))(np.array([5, 1e39]))
    assert np.isinf(CheckedCast(np.dtype("f4"))(np.array([np.inf]))).all()
    with pytest.raises(ValueError, match="imaginary"):
        CheckedCast(np.dtype("f4"))(np.array([1, 1j]))


@pytest.mark.parametrize("chunks", [None, "auto", {"z": 7}])
def test_checked_casts_are_lazy(tmp_path, opened, monkeypatch, chunks):
    data = values((20, 30, 40), "u1").astype("f4")
    image, decoded = opened(data, chunks, monkeypatch)
    cast = image.img.astype_checked("u1")
    assert cast.dtype == "u1" and not decoded
    assert (cast.chunks is None) == (chunks is None)
    assert cast.img.grid == image.img.grid
    cast.img.save(tmp_path / "b.ome.zarr", chunks=16)
    assert sorted(decoded) == sorted(itertools.product(range(2), range(2), range(3)))
    assert not isinstance(to_volume(cast).data, ComputedArray)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.ome.zarr").values, data)
    np.testing.assert_array_equal(cast.isel(x=slice(None, None, -2)).values, data[..., ::-2])
    wrong = (image + 2).img.astype_checked("u1")
    with pytest.raises(ValueError, match=r"as 256\.0"):
        wrong.img.save(tmp_path / "c.nii")
    assert not os.path.exists(tmp_path / "c.nii")


# ---------------------------------------------------------------------------------------------- rescaling


@settings(max_examples=80)
@given(data=st.data(), target=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]))
def test_rescaling_is_linear(data, target):
    kind = np.dtype(target)
    least, most = (0.0, 1.0) if kind.kind == "f" else (float(np.iinfo(kind).min), float(np.iinfo(kind).max))
    low = data.draw(st.floats(-1e6, 1e6))
    high = low + data.draw(st.floats(1e-3, 1e6))
    some = data.draw(st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=9))
    block = np.array([*some, low, high, -np.inf, np.inf])
    found = Rescale(low, high, least, most, kind)(block)
    assert found.dtype == kind
    assert found[-4:].tolist() == [least, most, least, most]
    exact = least + (np.clip(block, low, high) - low) / (high - low) * (most - least)
    slack = 0.5 + 1e-6 if kind.kind != "f" else 1e-6
    assert np.all(np.abs(found.astype("f8") - exact) <= slack + 1e-9 * abs(most))
    order = np.argsort(block, kind="stable")
    assert np.all(np.diff(found[order].astype("f8")) >= 0)


@pytest.mark.parametrize("chunks", [None, "auto"])
def test_ranges_of_rescaling(tmp_path, opened, monkeypatch, chunks):
    data = values((20, 30, 40), "i2")
    image, decoded = opened(data, chunks, monkeypatch)
    given_ = image.img.astype_rescaled("u1", range=(-1000, 1000))
    assert not decoded
    expected = np.rint((np.clip(data, -1000, 1000) + 1000.0) / 2000 * 255)
    np.testing.assert_array_equal(given_.values, expected)
    assert given_.img.grid == image.img.grid
    decoded.clear()
    whole = image.img.astype_rescaled("u2")
    assert len(decoded) == 12
    assert (int(whole.min()), int(whole.max())) == (0, 65535)
    low, high = np.percentile(data, [2, 98])
    shown = image.img.astype_rescaled("f4", percentiles=(2, 98))
    np.testing.assert_allclose(shown.values, (np.clip(data, low, high) - low) / (high - low), atol=1e-6)
    shown.img.save(tmp_path / "b.nii")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nii").values, shown.values)
    # image values are rescaled, not stored ones
    write(tmp_path / "s.nii", data.T, scl_slope=0.5, scl_inter=100)
    scaled = ci.open_image(tmp_path / "s.nii", chunks=chunks)
    np.testing.assert_array_equal(scaled.img.astype_rescaled("u1", range=(-400, 600)).values, expected)


def test_refusals_of_rescaling():
    image = image_of(values((4, 5, 6), "f4"))
    assert not image_of(np.full((2, 3, 4), 7.0)).img.astype_rescaled("u1").values.any()
    for options in ({"range": (3, 3)}, {"range": (0, np.inf)}, {"percentiles": (5, 101)}, {"percentiles": (9, 1)}):
        with pytest.raises(ValueError, match="two numbers"):
            image.img.astype_rescaled("u1", **options)
    with pytest.raises(ValueError, match="either"):
        image.img.astype_rescaled("u1", range=(0, 1), percentiles=(0, 1))
    for kind in ("u8", "?", "c8"):
        with pytest.raises(TypeError, match="rescaled to integers"):
            image.img.astype_rescaled(kind)
    with pytest.raises(TypeError, match="labels"):
        (image > 0).astype("u1").img.as_label().img.astype_rescaled("u2")
    with pytest.raises(TypeError, match="complex_part"):
        (image * 1j).img.astype_rescaled("u2")
    holes = image.where(image > 0)
    with pytest.raises(ValueError, match="fillna"):
        holes.img.astype_rescaled("u1").load()
    assert np.isnan(holes.img.astype_rescaled("f4").values).sum() == np.isnan(holes.values).sum()
    with pytest.raises(ValueError, match="give range"):
        (holes / 0).img.astype_rescaled("u1")


# ---------------------------------------------------------------------------------------------- complex


@pytest.mark.parametrize("chunks", [None, "auto"])
@pytest.mark.parametrize("kind", ["c8", "c16"])
def test_parts_of_complex_images(tmp_path, chunks, kind):
    stored = values((9, 8, 7, 2), kind)
    write(tmp_path / "a.nii", stored)
    image = ci.open_image(tmp_path / "a.nii", chunks=chunks)
    oracles = {"real": np.real, "imag": np.imag, "magnitude": np.abs, "phase": np.angle}
    for part, oracle in oracles.items():
        found = image.img.complex_part(part)
        assert found.dtype == f"f{int(kind[1:]) // 2}"
        assert (found.chunks is None) == (chunks is None)
        assert found.img.grid == image.img.grid
        np.testing.assert_array_equal(found.values, oracle(stored.T))
        found.img.save(tmp_path / f"{part}.nii")
        np.testing.assert_array_equal(nibabel.load(tmp_path / f"{part}.nii").get_fdata(), oracle(stored))
    with pytest.raises(TypeError, match="not complex"):
        found.img.complex_part("real")
    with pytest.raises(ValueError, match="a part is one of"):
        image.img.complex_part("angle")
    # xarray's own keep the geometry, too
    assert image.real.img.grid == abs(image).img.grid == image.img.grid


# ---------------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".ome.zarr"])
@pytest.mark.parametrize("chunks", [None, "auto"])
def test_compose_and_split(tmp_path, suffix, chunks):
    data = values((9, 8, 7, 3), "u1").T
    for k, channel in enumerate(data):
        properties = {"of": "one", "number": k} if suffix in (".nrrd", ".ome.zarr") else {}
        image_of(channel, properties=properties).img.save(tmp_path / f"{k}{suffix}")
    images = [ci.open_image(tmp_path / f"{k}{suffix}", chunks=chunks) for k in range(3)]
    both = ci.compose(images, names=["a", "b", "c"])
    assert both.dims == ("c", "z", "y", "x")
    assert (both.chunks is None) == (chunks is None)
    np.testing.assert_array_equal(both.values, data)
    np.testing.assert_array_equal(both[::-2, 2:5, ::2, 1].values, data[::-2, 2:5, ::2, 1])
    both.img.require_same_grid(images[0])
    if suffix in (".nrrd", ".ome.zarr"):
        assert both.img.properties["of"] == "one"
        assert "number" not in both.img.properties
    both.img.save(tmp_path / "all.ome.zarr")
    again = ci.open_image(tmp_path / "all.ome.zarr", chunks=chunks)
    assert again.c.attrs["names"] == ["a", "b", "c"]
    np.testing.assert_array_equal(again.values, data)
    parts = again.img.split()
    assert [p.c.attrs["names"] for p in parts] == [["a"], ["b"], ["c"]]
    for part, channel in zip(parts, data, strict=True):
        assert part.dims == ("z", "y", "x")
        assert (part.chunks is None) == (chunks is None)
        np.testing.assert_array_equal(part.values, channel)
    for pieces in (parts, [again.isel(c=k) for k in range(3)]):
        turned = ci.compose(pieces[::-1])
        assert turned.c.attrs["names"] == ["c", "b", "a"]
        np.testing.assert_array_equal(turned.values, data[::-1])
    more = ci.compose([again, parts[0]])
    assert more.c.attrs["names"] == ["a", "b", "c", "a"]
    np.testing.assert_array_equal(more.values, data[[0, 1, 2, 0]])


@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_colours_in_files(tmp_path, kind, suffix):
    count = len(kind)
    data = values((9, 8, 7, count), "u1").T
    for k, channel in enumerate(data):
        image_of(channel).img.save(tmp_path / f"{k}.nii.gz")
    made = ci.compose([ci.open_image(tmp_path / f"{k}.nii.gz") for k in range(count)], kind=kind)
    made.img.save(tmp_path / f"a{suffix}")
    again = ci.open_image(tmp_path / f"a{suffix}")
    assert again.c.attrs["kind"] == kind
    np.testing.assert_array_equal(again.values, data)
    if suffix != ".nrrd":
        file = nibabel.load(tmp_path / f"a{suffix}")
        assert int(file.header["datatype"]) == {"RGB": 128, "RGBA": 2304}[kind]
        samples = np.asarray(file.dataobj)
        np.testing.assert_array_equal(np.stack([samples[n] for n in samples.dtype.names]), data.transpose(0, 3, 2, 1))
        np.testing.assert_allclose(file.affine, AFFINE, rtol=1e-6)


def test_channels_in_time(tmp_path):
    data = values((9, 8, 7, 2, 3), "i2").T  # t, c, z, y, x
    frames = [image_of(data[:, c], t=[0, 2, 3]) for c in range(2)]
    both = ci.compose([frames[0], frames[1].astype("i4")])
    assert both.dims == ("t", "c", "z", "y", "x") and both.dtype == "i4"
    np.testing.assert_array_equal(both.values, data)
    np.testing.assert_array_equal(both.t, [0, 2, 3])
    both.img.save(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.ome.zarr").values, data)
    with pytest.raises(ci.GeometryError, match="other times"):
        ci.compose([frames[0], image_of(data[:, 1], t=[0, 2, 4])])


def test_compressed_channels_are_decoded_once(tmp_path, monkeypatch):
    from chunkimg.io import streams

    data = values((30, 20, 10, 3), "u1").T
    for k, channel in enumerate(data):
        image_of(channel).img.save(tmp_path / f"{k}.nii")
        ci.convert(tmp_path / f"{k}.nii", tmp_path / f"{k}.nii.gz")
    taken = []
    original = streams.DecodedStream.read_into
    monkeypatch.setattr(
        streams.DecodedStream, "read_into", lambda s, b: taken.append(len(b.cast("B"))) or original(s, b)
    )
    monkeypatch.setattr(chunkimg.io.stream_write, "slab_bytes", lambda budget, source: 3000)
    images = [ci.open_image(tmp_path / f"{k}.nii.gz", index=False) for k in range(3)]
    ci.compose(images, kind="RGB").img.save(tmp_path / "a.nii.gz")
    assert sum(taken) == data.nbytes
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nii.gz").values, data)


def test_refusals_of_channels():
    image = image_of(values((4, 5, 6), "u1"))
    with pytest.raises(ci.GeometryError, match=r"image 1 against the first: .*resample"):
        ci.compose([image, image.img.assign_geometry(origin=(0, 0, 0))])
    with pytest.raises(ci.GeometryError, match="image 1 has dims t, z, y, x"):
        ci.compose([image, image_of(values((2, 4, 5, 6), "u1"))])
    with pytest.raises(ValueError, match="no images"):
        ci.compose([])
    for names in (["a"], "ab"):
        with pytest.raises(ValueError, match="names are 2"):
            ci.compose([image, image], names=names)
    for images in ([image, image], [image.astype("i2")] * 3):
        with pytest.raises(ValueError, match="kind is 'RGB'"):
            ci.compose(images, kind="RGB")
    with pytest.raises(ci.GeometryError, match="no channels"):
        image.img.split()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.ome.zarr"])
def test_a_part_of_a_colour_is_none(tmp_path, name):
    rgb = ci.compose([ci.from_array(np.full((2, 3, 4), k, "u1")) for k in range(3)], kind="RGB")
    rgb.isel(c=slice(0, 2)).img.save(tmp_path / name)
    part = ci.open_image(tmp_path / name)
    assert "RGB" not in part.c.attrs.values()
    np.testing.assert_array_equal(part.values.reshape(2, -1)[:, 0], [0, 1])
    rgb.img.flip("x").img.save(tmp_path / name, overwrite=True)
    assert ci.open_image(tmp_path / name).c.attrs["kind"] == "RGB"
