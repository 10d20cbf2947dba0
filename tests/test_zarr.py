"""The stores we write: right in every reader, lossless, sharded right, refused where they must be."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from strategies import grids

import chunkimg as ci
from chunkimg.image.index import GridIndex


def sample(shape=(3, 20, 34, 51), dtype="i2", **options):
    rng = np.random.default_rng(5)
    smooth = np.add.outer(np.arange(shape[-3]) * 7, np.add.outer(np.arange(shape[-2]) * 3, np.arange(shape[-1])))
    data = (smooth + rng.integers(-20, 20, shape)).astype(dtype)
    affine = np.array([[0, -0.5, 0.1, 9], [0.7, 0, 0.1, -4], [0, 0.02, 1.3, 2], [0, 0, 0, 1.0]])
    options.setdefault("affine", affine)
    return ci.from_array(data, t=[0.5, 2.5, 4.5] if len(shape) == 4 else None, **options)


@pytest.fixture(params=["single", "pyramid"])
def store(request, tmp_path):
    path = tmp_path / "a.ome.zarr"
    image = sample()
    image.img.save(path, pyramid=request.param == "pyramid")
    return path, image, "scale0/" if request.param == "pyramid" else ""


def expected_ome(image):
    """Scale and translation along t, z, y, x: of the coordinates."""
    spacing, first = image.img.spacing, [float(image[d][0]) for d in "xyz"]
    return [2.0, *spacing[::-1]], [0.5, *first[::-1]]


def test_reopened_image_is_the_same(store):
    path, image, _ = store
    again = ci.open_image(path)
    xr.testing.assert_identical(again.drop_attrs().compute(), image.drop_attrs())
    assert again.img.grid == image.img.grid
    assert dict(again.img.properties) == dict(image.img.properties)
    assert again.dtype == image.dtype
    assert dict(again.attrs.items()) == dict(image.attrs.items())
    assert float(abs(again - image).max()) == 0


def test_plain_xarray(store):
    path, image, level = store
    plain = xr.open_zarr(path, group=level.strip("/") or None)
    assert list(plain.data_vars) == ["image"]
    np.testing.assert_array_equal(plain.image.values, image.values)
    for d in ("t", "z", "y", "x"):
        np.testing.assert_array_equal(plain[d].values, image[d].values)
        assert plain[d].attrs == image[d].attrs
    # and the accessor reads it, with xarray's own index
    assert plain.image.img.grid == image.img.grid
    tree = xr.open_datatree(path, engine="zarr")
    found = tree["scale0"]["image"] if level else tree["image"]
    np.testing.assert_array_equal(found.values, image.values)


def test_ngff_zarr(store):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    path, image, _ = store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ngff_zarr.from_ngff_zarr(str(path)).images[0]
    scale, start = expected_ome(image)
    assert list(found.dims) == ["t", "z", "y", "x"]
    assert [found.scale[d] for d in found.dims] == pytest.approx(scale, rel=1e-12)
    assert [found.translation[d] for d in found.dims] == pytest.approx(start, rel=1e-12)
    assert found.axes_units == {"t": "second", "z": "millimeter", "y": "millimeter", "x": "millimeter"}
    np.testing.assert_array_equal(np.asarray(found.data), image.values)


def test_ome_zarr_py(store):
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path, image, _level = store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = next(iter(Reader(parse_url(path))()))
        data = [np.asarray(d) for d in node.data]
    np.testing.assert_array_equal(data[0], image.values)
    scale, start = expected_ome(image)
    transforms = node.metadata["coordinateTransformations"][0]
    assert transforms[0]["scale"] == pytest.approx(scale, rel=1e-12)
    assert transforms[1]["translation"] == pytest.approx(start, rel=1e-12)


def test_ome_zarr_models_validates(store):
    pytest.importorskip("ome_zarr_models")
    import zarr
    from ome_zarr_models.v05.image import Image

    path, _image, level = store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Image.from_zarr(zarr.open_group(path, mode="r"))
    assert next(d.path for d in model.attributes.ome.multiscales[0].datasets) == f"{level}image"


def test_tensorstore(store):
    ts = pytest.importorskip("tensorstore")
    path, image, level = store
    opened = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{level}image"}}).result()
    assert opened.domain.labels == ("t", "z", "y", "x")
    np.testing.assert_array_equal(opened.read().result(), image.values)


def test_orientation_is_written_for_those_who_read_it(store):
    path, image, _ = store
    ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    assert image.img.orientation == "ALS"
    found = {a["name"]: a["orientation"]["value"] for a in ome["multiscales"][0]["axes"] if a["type"] == "space"}
    assert found == {"x": "posterior-to-anterior", "y": "right-to-left", "z": "inferior-to-superior"}


@settings(max_examples=15)
@given(grids(low=1, high=6))
def test_any_grid_comes_back_bit_for_bit(tmp_path_factory, grid):
    path = tmp_path_factory.mktemp("g") / "a.ome.zarr"
    image = ci.from_array(np.zeros(grid.shape[::-1], "u1"), affine=grid.affine, units=grid.units)
    image.img.save(path)
    assert ci.open_image(path).img.grid == grid
    part = ci.open_image(path).isel(x=slice(None, None, -1), z=slice(1, None) if grid.shape[2] > 1 else slice(None))
    part.img.save(path.with_name("b.ome.zarr"))
    again = ci.open_image(path.with_name("b.ome.zarr"))
    assert again.img.same_grid(part, tol=1e-9)
    # stored coordinates ascend, and OME's scale and translation are those of the coordinates
    assert all(np.all(np.diff(again[d].values) > 0) for d in "xyz")


def test_pyramid_of_means(tmp_path):
    image = sample((20, 134, 151), "f8")
    image.img.save(tmp_path / "a.ome.zarr", pyramid=True)
    tree = ci.open_pyramid(tmp_path / "a.ome.zarr")
    # z is twice as coarse: only x and y are halved first
    assert [tree[f"scale{k}"].image.shape for k in range(3)] == [(20, 134, 151), (20, 67, 75), (10, 33, 37)]
    for k, step, total in ((1, (2, 2, 1), (2, 2, 1)), (2, (2, 2, 2), (4, 4, 2))):
        step, total = (dict(zip("xyz", s, strict=True)) for s in (step, total))
        finer, level = tree[f"scale{k - 1}"].image, tree[f"scale{k}"].image
        expected = finer.coarsen(step, boundary="trim").mean()
        np.testing.assert_allclose(level.values, expected.values, rtol=1e-12)
        # half-voxel shifts: the same positions as xarray's own means of the coordinates, and exact
        for d in "xyz":
            np.testing.assert_allclose(level[d].values, expected[d].values, atol=1e-12)
        assert level.img.grid == image.img.grid.coarsen(**total)
        assert isinstance(level.xindexes["x"], GridIndex)
    assert ci.open_image(tmp_path / "a.ome.zarr", level=2).shape == (10, 33, 37)
    with pytest.raises(ci.FormatError, match="3 resolution levels"):
        ci.open_image(tmp_path / "a.ome.zarr", level=3)


def test_integer_means_are_rounded_to_nearest(tmp_path):
    data = np.array([[[0, 1], [1, 1]], [[-3, -3], [-3, -4]]], "i2").repeat(65, 0).repeat(65, 1)
    ci.from_array(data, spacing=(1, 1, 9)).img.save(tmp_path / "a.ome.zarr", pyramid=True)
    level = ci.open_pyramid(tmp_path / "a.ome.zarr")["scale1"].image
    expected = np.rint(data[:, :130].reshape(130, 65, 2, 1, 2).mean(axis=(2, 4)))
    assert level.dtype == np.int16
    np.testing.assert_array_equal(level.values, expected)


def test_pyramid_of_labels_invents_nothing(tmp_path):
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 3, 70, 900], (70, 70, 70), p=[0.4, 0.3, 0.2, 0.1]).astype("u2")
    image = ci.from_array(labels).img.as_label()
    assert image.img.is_label
    image.img.save(tmp_path / "a.ome.zarr", pyramid=True)
    level = ci.open_image(tmp_path / "a.ome.zarr", level=1)
    assert level.img.is_label
    assert set(np.unique(level)) <= {0, 3, 70, 900}
    blocks = labels.reshape(35, 2, 35, 2, 35, 2).transpose(0, 2, 4, 1, 3, 5).reshape(35, 35, 35, 8)
    counts = np.stack([(blocks == v).sum(-1) for v in (0, 3, 70, 900)], -1)
    chosen = np.searchsorted([0, 3, 70, 900], level.values)
    # the chosen value is as frequent as any; background loses a tie
    most = counts.max(-1)
    np.testing.assert_array_equal(np.take_along_axis(counts, chosen[..., None], -1)[..., 0], most)
    assert not np.any((level.values == 0) & (counts[..., 1:].max(-1) == most))
    # NIfTI says so by its intent code
    nifti = ci.from_array(labels, properties={"intent_code": 1002})
    assert nifti.img.is_label


@pytest.mark.parametrize("codec", [None, "blosc-zstd:1", "blosc-lz4", "zstd:5", "gzip:1", "none"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "c8", "?"])
def test_codecs_and_types(codec, dtype, tmp_path):
    image = sample((9, 10, 11), dtype)
    image.img.save(tmp_path / "a.zarr", codec=codec, chunks="4,8,8")
    again = ci.open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.values, image.values)
    assert again.dtype == image.dtype


@pytest.mark.parametrize("codec", ["lzma", "zstd:x", "zstd:99", "blosc-zstd:77"])
def test_unknown_codecs_are_refused(codec, tmp_path):
    with pytest.raises(ci.FormatError, match="codec"):
        sample((9, 10, 11)).img.save(tmp_path / "a.zarr", codec=codec)
    assert list(tmp_path.iterdir()) == []


def test_sharded_store_equals_its_source(tmp_path, monkeypatch):
    from chunkimg import chunks

    monkeypatch.setattr(chunks, "_MANY_CHUNKS", 20)
    monkeypatch.setattr(chunks, "_SHARD_CHUNKS", 8)
    image = sample((3, 37, 45, 51))
    # Dask blocks that cut shards: the writer must not (dask#12583)
    lazy = image.chunk(z=5, y=7, x=11) * 1
    lazy.img.save(tmp_path / "a.zarr", chunks="8,8,8")
    import zarr

    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["image"]
    assert array.shards is not None
    assert array.shards != array.chunks
    np.testing.assert_array_equal(array[...], image.values)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, image.values)
    ts = pytest.importorskip("tensorstore")
    opened = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/a.zarr/image"}}).result()
    np.testing.assert_array_equal(opened.read().result(), image.values)


def test_stores_and_urls(tmp_path):
    from zarr.storage import LocalStore, MemoryStore

    image = sample((9, 10, 11))
    for store in (MemoryStore(), LocalStore(tmp_path / "local")):
        image.img.save(store)
        np.testing.assert_array_equal(ci.open_image(store).values, image.values)
        with pytest.raises(FileExistsError, match=r"not empty|exists already"):
            image.img.save(store)
        (image + 1).img.save(store, overwrite=True)
        np.testing.assert_array_equal(ci.open_image(store).values, image.values + 1)
    pytest.importorskip("fsspec")
    url = "memory://chunkimg-test/a.ome.zarr"
    image.img.save(url)
    assert ci.open_image(url).img.grid == image.img.grid
    np.testing.assert_array_equal(ci.open_image(url).values, image.values)
    with pytest.raises(ci.FormatError, match="own source"):
        ci.open_image(url).img.save(url, overwrite=True)


def test_object_store_metadata_comes_last_root_at_the_end(tmp_path):
    from zarr.storage import MemoryStore

    class Watched(MemoryStore):
        order: list[str] = []

        async def set(self, key, value, byte_range=None):
            self.order.append(key)
            await super().set(key, value, byte_range)

    store = Watched()
    sample((70, 70, 70)).img.save(store, pyramid=True)
    documents = [k for k in store.order if k.endswith("zarr.json")]
    assert store.order[-len(documents) :] == documents
    assert documents[-1] == "zarr.json"
    assert documents.index("scale0/image/zarr.json") < documents.index("scale0/zarr.json")


def test_attributes_dropped_by_other_tools_are_recovered(tmp_path):
    image = sample((9, 10, 11), properties={"descrip": "kept"})
    image.img.save(tmp_path / "a.zarr")
    for name in ("zarr.json", "image/zarr.json"):
        path = tmp_path / "a.zarr" / name
        document = json.loads(path.read_text())
        if name != "zarr.json":
            document["attributes"] = {}
        document.pop("consolidated_metadata", None)
        path.write_text(json.dumps(document))
    again = ci.open_image(tmp_path / "a.zarr")
    assert again.img.grid == image.img.grid
    assert again.img.properties["descrip"] == "kept"


def test_metadata_is_strict_json(tmp_path):
    image = sample((9, 10, 11), properties={"nan": float("nan"), "array": np.arange(3), "complex": 1 + 2j})
    image.img.save(tmp_path / "a.zarr")

    def refuse(text):
        raise AssertionError(text)

    for path in (tmp_path / "a.zarr").rglob("zarr.json"):
        json.loads(path.read_text(), parse_constant=refuse)


def test_poses_and_irregular_times_survive(tmp_path):
    steps = np.stack([np.diag([1.0, 2, 3, 1])] * 3)
    steps[1, 0, 3], steps[2, :3, :3] = 5, steps[2, :3, :3] @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    image = ci.from_array(np.zeros((3, 4, 5, 6)), affine=steps, t=[0, 1.25, 7])
    image.img.save(tmp_path / "a.zarr")
    again = ci.open_image(tmp_path / "a.zarr")
    assert again.t.values.tolist() == [0, 1.25, 7]
    for t, a in zip(again.t.values, steps, strict=True):
        np.testing.assert_array_equal(again.img.affine_at(t), a)
    # follows crops in space and time
    part = again.isel(t=slice(1, None), x=slice(2, None))
    np.testing.assert_allclose(part.img.affine_at(7.0) @ [0, 0, 0, 1], steps[2] @ [2, 0, 0, 1])
    part.img.save(tmp_path / "b.zarr")
    reopened = ci.open_image(tmp_path / "b.zarr")
    np.testing.assert_allclose(reopened.img.affine_at(7.0) @ [0, 0, 0, 1], steps[2] @ [2, 0, 0, 1])
    with pytest.raises(ci.GeometryError, match=r"no geometry is stored for t = 0\.0"):
        reopened.img.affine_at(0.0)


def test_damaged_stores_are_refused(tmp_path):
    path = tmp_path / "a.zarr"
    sample((9, 10, 11)).img.save(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ci.FormatError, match="without Zarr metadata"):
        ci.open_image(tmp_path / "folder")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(ci.FormatError):
        ci.open_image(path)
    (path / "zarr.json").unlink()
    with pytest.raises(ci.FormatError):
        ci.open_image(path)
    (tmp_path / "b.zarr").write_text("a file")
    with pytest.raises(ci.FormatError, match="a Zarr store is a folder"):
        ci.open_image(tmp_path / "b.zarr")


def test_channels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype("u1")
    image = ci.from_array(rgb, ("z", "y", "x", "c"), spacing=(1, 2, 3))
    assert image.dims == ("c", "z", "y", "x")
    image.img.save(tmp_path / "a.zarr")
    again = ci.open_image(tmp_path / "a.zarr")
    assert again.c.dtype == np.int64
    np.testing.assert_array_equal(again.transpose("z", "y", "x", "c").values, rgb)


def test_means_of_extreme_values_do_not_wrap():
    from chunkimg.ops.downsample import mean_blocks

    for dtype in ("u8", "i8", "u4", "i4", "u2", "i1"):
        for value in (np.iinfo(dtype).max, np.iinfo(dtype).min):
            assert mean_blocks(np.full((2, 2, 2), value, dtype), (2, 2, 2)).item() == value
    for dtype in ("f4", "f8"):
        assert mean_blocks(np.full((2, 2), np.finfo(dtype).max, dtype), (2, 2)).item() == np.finfo(dtype).max
    big = np.array([2**62 + 1, 2**62 + 1, 2**62 + 1, 2**62 + 5], "i8").reshape(2, 2)
    assert mean_blocks(big, (2, 2)).item() == 2**62 + 2
    rng = np.random.default_rng(0)
    values = rng.integers(-1000, 1000, (8, 6)).astype("i8")
    expected = np.floor(values.reshape(4, 2, 3, 2).mean(axis=(1, 3)) + 0.5)
    np.testing.assert_array_equal(mean_blocks(values, (2, 2)), expected)


def test_a_store_is_never_written_over_while_it_is_read(tmp_path):
    from zarr.storage import LocalStore, MemoryStore

    pytest.importorskip("fsspec")
    image = sample((9, 10, 11))
    path = tmp_path / "a.ome.zarr"
    for there in (MemoryStore(), "memory://chunkimg-own/a.ome.zarr", LocalStore(path)):
        image.img.save(there)
        opened = ci.open_image(there)
        for derived in (opened, opened + 1, opened.isel(z=slice(None, None, -1))):
            with pytest.raises(ci.FormatError, match=r"read from this store|own source"):
                derived.img.save(there, overwrite=True)
        with pytest.raises(ci.FormatError, match=r"read from this store|own source"):
            ci.convert(there, there, overwrite=True)
        np.testing.assert_array_equal(ci.open_image(there).values, image.values)
    for dest in (path, str(path) + "/", f"file://{path}", LocalStore(path)):
        with pytest.raises(ci.FormatError, match=r"read from this store|own source"):
            (ci.open_image(path) + 1).img.save(dest, overwrite=True)
    image.img.save(f"file://{tmp_path}/b.ome.zarr")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.ome.zarr").values, image.values)


def test_folders_of_others_are_not_replaced(tmp_path):
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="other things"):
        sample((9, 10, 11)).img.save(tmp_path / "d.zarr", overwrite=True)
    assert (tmp_path / "d.zarr" / "thesis.txt").read_text() == "mine"


def test_zip_stores(tmp_path):
    from zarr.storage import ZipStore

    image = sample((9, 10, 11))
    with ZipStore(tmp_path / "a.zip", mode="w") as store:
        image.img.save(store)
    np.testing.assert_array_equal(ci.open_image(ZipStore(tmp_path / "a.zip", mode="r")).values, image.values)


@pytest.mark.parametrize("dest", [None, {}, 5])
def test_odd_destinations(dest):
    with pytest.raises(ci.FormatError, match="Zarr destination"):
        sample((9, 10, 11)).img.save(dest)


@pytest.mark.parametrize("dtype", ["S3", "U2", "M8[s]", "f16"])
def test_types_without_readers(dtype, tmp_path):
    image = ci.from_array(np.zeros((2, 3, 4)).astype("f8").astype("i8").astype(dtype))
    with pytest.raises(ci.UnsupportedError, match="do not share"):
        image.img.save(tmp_path / "a.zarr")


def test_damaged_chunks_and_coordinates(tmp_path):
    path = tmp_path / "a.zarr"
    sample((9, 10, 11)).img.save(path)
    (chunk,) = (p for p in (path / "image" / "c").rglob("*") if p.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ci.FormatError, match="damaged"):
        ci.open_image(path).compute()
    chunk.write_bytes(whole)
    (path / "x" / "c" / "0").write_bytes(b"\0" * 12)
    with pytest.raises(ci.FormatError, match="damaged"):
        ci.open_image(path)


def test_many_tiny_frames_make_few_chunks(tmp_path):
    frames = ci.from_array(np.arange(64 * 5000, dtype="i2").reshape(5000, 4, 4, 4))
    frames.img.save(tmp_path / "a.zarr")
    assert len([p for p in (tmp_path / "a.zarr" / "image").rglob("*") if p.is_file()]) < 50
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, frames.values)
