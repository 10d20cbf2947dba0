"""OME-Zarr 0.4, written on request: right in every reader, lossless, complete or not there."""

import gzip
import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import chunkimg as ci
from chunkimg.io.ome_schema import problems

AFFINE = np.array([[0, -0.5, 0.1, 9], [0.7, 0, 0.1, -4], [0, 0.02, 1.3, 2], [0, 0, 0, 1.0]])


@pytest.fixture(params=["single", "pyramid"])
def store(request, tmp_path):
    path = tmp_path / "a.ome.zarr"
    data = np.random.default_rng(3).integers(-5, 900, (3, 2, 40, 66, 130)).astype("i2")
    image = ci.from_array(data, affine=AFFINE, t=[0.5, 2.5, 4.5], units="um")
    image.c.attrs["names"] = ["a", "b"]
    image.img.save(path, ome_version="0.4", pyramid=request.param == "pyramid", chunks=(1, 1, 16, 32, 64))
    return path, image, "scale0/" if request.param == "pyramid" else ""


def test_reopened_image_is_the_same(store):
    path, image, _ = store
    again = ci.open_image(path)
    xr.testing.assert_identical(again.drop_attrs().compute(), image.drop_attrs())
    assert again.img.grid == image.img.grid
    assert dict(again.attrs) == dict(image.attrs)
    assert again.c.attrs["names"] == ["a", "b"]
    assert ci.read_header(path).fields["zarr_format"] == 2 and ci.read_header(path).fields["ome_version"] == "0.4"


def test_it_is_version_2_throughout(store):
    path, _image, level = store
    assert not list(path.rglob("zarr.json"))
    document = json.loads((path / level / "image" / ".zarray").read_text())
    assert document["dimension_separator"] == "/" and document["order"] == "C" and document["dtype"] == "<i2"
    assert (path / level / "image" / "0" / "0" / "0" / "0" / "0").is_file()
    attrs = json.loads((path / level / "image" / ".zattrs").read_text())
    assert attrs["_ARRAY_DIMENSIONS"] == ["t", "c", "z", "y", "x"]
    assert (path / ".zmetadata").is_file()
    assert problems(dict(zarr.open_group(path, mode="r").attrs)) == []


def test_plain_xarray(store):
    """Zeros are values, in the image and its coordinates."""
    path, image, level = store
    assert (image.values == 0).any()
    for consolidated in (True, False):
        plain = xr.open_zarr(path, group=level.strip("/") or None, consolidated=consolidated)
        assert list(plain.data_vars) == ["image"] and plain.image.dtype == "i2"
        np.testing.assert_array_equal(plain.image.values, image.values)
        for d in ("t", "z", "y", "x"):
            np.testing.assert_array_equal(plain[d].values, image[d].values)
        assert plain.image.img.grid == image.img.grid


def test_other_readers(store):
    """ngff-zarr, ome-zarr-py, tensorstore; and ome-zarr-models validates."""
    ngff_zarr, ts = pytest.importorskip("ngff_zarr"), pytest.importorskip("tensorstore")
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v04.image import Image

    path, image, level = store
    scale, start = [2.0, 1, *image.img.spacing[::-1]], [0.5, 0, *(float(image[d][0]) for d in "zyx")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ngff_zarr.from_ngff_zarr(str(path)).images[0]
        assert [found.scale[d] for d in found.dims] == pytest.approx(scale, rel=1e-12)
        assert [found.translation[d] for d in found.dims] == pytest.approx(start, rel=1e-12)
        np.testing.assert_array_equal(np.asarray(found.data), image.values)
        node = next(iter(Reader(parse_url(path))()))
        np.testing.assert_array_equal(np.asarray(node.data[0]), image.values)
        model = Image.from_zarr(zarr.open_group(path, mode="r"))
        assert model.attributes.multiscales[0].datasets[0].path == f"{level}image"
    opened = ts.open({"driver": "zarr", "kvstore": {"driver": "file", "path": f"{path}/{level}image"}}).result()
    np.testing.assert_array_equal(opened.read().result(), image.values)


@pytest.mark.parametrize("codec", [None, "zstd:5", "gzip", "blosc-lz4", "none"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "c8", "?"])
def test_codecs_and_types(tmp_path, codec, dtype):
    data = (np.arange(7 * 8 * 9).reshape(7, 8, 9) % 5).astype(dtype)
    ci.from_array(data).img.save(tmp_path / "a.zarr", ome_version="0.4", codec=codec)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, data)
    array = zarr.open_array(tmp_path / "a.zarr" / "image", mode="r")
    np.testing.assert_array_equal(array[...], data)
    assert len(array.compressors) == (codec != "none")


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zarr.zip"])
def test_nifti_comes_back_byte_for_byte(nibabel_data, tmp_path, name):
    scan = nibabel_data / "example4d.nii.gz"
    ci.convert(scan, tmp_path / name, ome_version="0.4")
    ci.convert(tmp_path / name, tmp_path / "b.nii")
    with gzip.open(scan) as f:
        assert (tmp_path / "b.nii").read_bytes() == f.read()
    # and from one version to the other
    ci.convert(tmp_path / name, tmp_path / "c.ome.zarr")
    ci.convert(tmp_path / "c.ome.zarr", tmp_path / "c.nii")
    assert (tmp_path / "c.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_metadata_comes_last(tmp_path):
    """In a store without renaming nothing opens until all is there: the root's .zgroup is the last that is written."""
    keys = []

    class Recorder(zarr.storage.MemoryStore):
        async def set(self, key, value, byte_range=None):
            keys.append(key)
            await super().set(key, value)

    ci.from_array(np.zeros((4, 5, 6))).img.save(Recorder(), ome_version="0.4", pyramid=True)
    first = min(k for k, key in enumerate(keys) if key.rpartition("/")[2].startswith(".z"))
    assert all(key.rpartition("/")[2].startswith(".z") for key in keys[first:])
    assert keys[-1] == ".zgroup" or (keys[-1].startswith(".z") and ".zgroup" in keys[-3:])


def test_what_is_not_written(tmp_path):
    image = ci.from_array(np.zeros((4, 5, 6), "u1"))
    with pytest.raises(ci.FormatError, match=r"0\.4 and 0\.5 are written"):
        image.img.save(tmp_path / "a.zarr", ome_version="0.3")
    with pytest.raises(ci.FormatError, match="ome_version= is for Zarr"):
        image.img.save(tmp_path / "a.nii", ome_version="0.4")
    assert list(tmp_path.iterdir()) == []
