"""chunkimg as an engine of xarray, and images that are indexed lazily without Dask."""

import gzip
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dask
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from conftest import item_path, items
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import AFFINE, values, write
from strategies import slices
from xarray.backends.plugins import guess_engine

import chunkimg as ci
from chunkimg.image.build import to_volume
from chunkimg.image.index import GridIndex
from chunkimg.lazy import ViewArray

SHAPE = (9, 8, 7, 3)
CHUNKS = [None, {}, "auto", -1, 3, {"z": 2}, {"z": 2, "y": 5, "x": "auto"}]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One scaled image as plain, compressed and paired NIfTI and as stores; stored values and image values."""
    folder = tmp_path_factory.mktemp("engine")
    stored = values(SHAPE, "i2")
    write(folder / "a.nii", stored, scl_slope=0.25, scl_inter=-3, descrip=b"kept")
    write(folder / "pair.hdr", stored, single=False, scl_slope=0.25, scl_inter=-3)
    (folder / "a.nii.gz").write_bytes(gzip.compress((folder / "a.nii").read_bytes()))
    ci.convert(folder / "a.nii", folder / "a.ome.zarr", chunks={"z": 2, "y": 3, "x": 4})
    ci.convert(folder / "a.nii", folder / "pyramid.ome.zarr", pyramid=True)
    return folder


STORED = values(SHAPE, "i2").T
VALUES = (STORED * 0.25 - 3).astype("f4")


def shifted_raises(image):
    with pytest.raises(ci.GeometryError, match="do not occupy the same space"):
        image - image.isel(x=slice(1, None))
    assert ((image - image).values == 0).all()


# ---------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize("chunks", CHUNKS, ids=repr)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "pair.hdr", "a.ome.zarr", "pyramid.ome.zarr"])
def test_open_dataset(files, name, chunks):
    ds = xr.open_dataset(files / name, engine="chunkimg", chunks=chunks)
    expected = ci.open_image(files / name)
    assert list(ds) == ["image"]
    assert ds.encoding["source"] == str(files / name)
    image = ds.image
    assert (image.chunks is None) == (chunks is None)
    assert image.identical(expected)
    assert image.dtype == np.float32
    assert all(isinstance(image.xindexes[d], GridIndex) for d in "xyz")
    np.testing.assert_array_equal(image.img.affine, expected.img.affine)
    np.testing.assert_allclose(image.img.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(image.values, VALUES)
    assert image.encoding["scale_factor"] == 0.25
    shifted_raises(image)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_without_naming_the_engine(files, name):
    for source in (files / name, str(files / name)):
        assert guess_engine(source) == "chunkimg"
        np.testing.assert_array_equal(xr.open_dataset(source).image.values, VALUES)
        np.testing.assert_array_equal(xr.open_dataarray(source, chunks={}).values, VALUES)
    shifted_raises(xr.open_dataset(files / name, create_default_indexes=False).image)


def test_other_engines_keep_their_files(files, tmp_path):
    assert guess_engine(str(files / "a.ome.zarr")) == "zarr"
    for name in ("pair.hdr", "pair.img"):
        with pytest.raises(ValueError, match="did not find a match"):
            guess_engine(files / name)
    if {"netcdf4", "h5netcdf", "scipy"} & set(xr.backends.list_engines()):
        xr.Dataset({"a": ("x", [1, 2])}).to_netcdf(tmp_path / "a.nc")
        assert guess_engine(tmp_path / "a.nc") in ("netcdf4", "h5netcdf", "scipy")
    engine = xr.backends.list_engines()["chunkimg"]
    assert not engine.guess_can_open(b"n+1")
    assert not engine.guess_can_open(str(tmp_path / "a.gz"))
    assert engine.guess_can_open("A.NII.GZ")
    assert engine.guess_can_open("a.nrrd")
    assert engine.guess_can_open("a.nhdr")


def test_options_reach_the_image(files):
    path = files / "a.nii"
    for raw in (
        {"scaled": False},
        {"mask_and_scale": False},
        {"mask_and_scale": {"image": False}},
        {"decode_cf": False},
    ):
        image = xr.open_dataset(path, engine="chunkimg", **raw).image
        assert image.dtype == np.int16
        np.testing.assert_array_equal(image.values, STORED)
    coarse = xr.open_dataset(files / "pyramid.ome.zarr", engine="chunkimg", level=-1).image
    assert coarse.sizes == ci.open_image(files / "pyramid.ome.zarr", level=-1).sizes
    assert list(xr.open_dataset(path, drop_variables="image")) == []
    assert "t" not in xr.open_dataset(path, drop_variables=["t", "absent"]).coords
    with pytest.raises(ci.FormatError, match="is not known"):
        xr.open_dataset(path, engine="chunkimg", format="nonsense")
    with pytest.raises(FileNotFoundError):
        xr.open_dataset(files / "absent.nii", engine="chunkimg")
    (files / "cut.nii").write_bytes((files / "a.nii").read_bytes()[:-1])
    with pytest.raises(ci.FormatError, match="truncated"):
        xr.open_dataset(files / "cut.nii")


def test_parameters_are_those_of_the_signature():
    from xarray.backends.plugins import detect_parameters

    from chunkimg.engine import ChunkImgEntrypoint

    found = detect_parameters(ChunkImgEntrypoint().open_dataset)
    assert found == ChunkImgEntrypoint.open_dataset_parameters


def test_images_of_unusable_geometry(tmp_path):
    write(tmp_path / "a.nii", values((4, 3, 2), "u1"), affine=np.zeros((4, 4)))
    with pytest.warns(ci.ChunkImgWarning):
        image = xr.open_dataset(tmp_path / "a.nii").image
    assert image.values.shape == (2, 3, 4)
    with pytest.raises(ci.GeometryError):
        _ = image.img.affine


def test_levels_as_a_tree(files):
    path = files / "pyramid.ome.zarr"
    expected = ci.open_pyramid(path)
    for options in ({}, {"chunks": {}}):
        tree = xr.open_datatree(path, engine="chunkimg", **options)
        assert tree.identical(expected)
        for level in tree.children.values():
            shifted_raises(level["image"])
    assert set(xr.open_groups(path, engine="chunkimg")) == {"/", *(f"/{name}" for name in expected.children)}
    with pytest.raises(ci.FormatError, match="open_image opens this file"):
        xr.open_datatree(files / "a.nii")


# ---------------------------------------------------------------------------------------------- planning


def sparse(path, sizes):
    write(path, np.zeros((1, 1, 1), "i2"), dim=[3, *sizes, 1, 1, 1, 1])
    with path.open("r+b") as f:
        f.truncate(352 + 2 * int(np.prod(sizes)))


def test_blocks_of_large_images(tmp_path):
    sparse(tmp_path / "a.nii", (1000, 1000, 300))
    planned = ci.open_image(tmp_path / "a.nii")
    depth = planned.chunks[0][0]
    assert xr.open_dataset(tmp_path / "a.nii", chunks={}).image.chunks == planned.chunks
    assert ci.open_image(tmp_path / "a.nii", chunks={}).chunks == planned.chunks
    auto = xr.open_dataset(tmp_path / "a.nii", chunks="auto").image.chunks
    assert all(n % depth == 0 for n in auto[0][:-1])
    assert len(auto[0]) > 1
    assert auto[1:] == ((1000,), (1000,))
    # planes may be cut as one likes
    assert xr.open_dataset(tmp_path / "a.nii", chunks={"y": 300}).image.chunks[1] == (300, 300, 300, 100)


def test_one_file_in_different_blocks(files):
    """Blocks of one file cut in two ways are different tasks."""
    a = ci.open_image(files / "a.nii", chunks={"z": 2})
    b = ci.open_image(files / "a.nii", chunks={"z": 3})
    assert a.data.name != b.data.name
    np.testing.assert_array_equal(dask.compute(a.data, b.data)[0], VALUES)
    np.testing.assert_array_equal((a + b).values, VALUES + VALUES)


# ---------------------------------------------------------------------------------------------- indexing


def numbers(n):
    return st.lists(st.integers(-n, n - 1), min_size=1, max_size=5)


@settings(max_examples=50)
@given(st.data())
def test_all_kinds_of_indexing(files, data):
    """Whatever chain of selections: what xarray makes of an array in memory."""
    name = data.draw(st.sampled_from(["a.nii", "a.nii.gz", "a.ome.zarr"]))
    lazy = xr.open_dataset(files / name, engine="chunkimg", cache=data.draw(st.booleans())).image
    memory = lazy.copy(data=VALUES)
    for _ in range(data.draw(st.integers(1, 3))):
        dims = data.draw(st.lists(st.sampled_from(memory.dims), unique=True)) if memory.dims else []
        kind = data.draw(st.sampled_from(["slices", "outer", "points", "transpose"]))
        size = data.draw(st.integers(1, 4))
        key = {}
        for d in dims:
            n = memory.sizes[d]
            if kind == "slices" and n:
                key[d] = data.draw(slices(n) | st.integers(-n, n - 1))
            elif kind == "outer" and n:
                key[d] = data.draw(numbers(n) | slices(n) | st.integers(-n, n - 1))
            elif kind == "points" and n:
                picks = data.draw(st.lists(st.integers(-n, n - 1), min_size=size, max_size=size))
                key[d] = xr.DataArray(picks, dims="points") if "points" not in memory.dims else slice(None)
        if kind == "transpose":
            order = data.draw(st.permutations(memory.dims))
            lazy, memory = lazy.transpose(*order), memory.transpose(*order)
        else:
            lazy, memory = lazy.isel(key), memory.isel(key)
        assert not lazy.variable._in_memory
    assert lazy.shape == memory.shape
    np.testing.assert_array_equal(lazy.values, memory.values)
    assert lazy.dims == memory.dims


def test_indexing_expected_of_backends(files):
    """The cases of xarray's own suite of backends."""
    ds = xr.open_dataset(files / "a.nii").image
    memory = ds.copy(data=VALUES)
    outer = [
        {"z": [0, 2, 4], "y": [1, 3], "x": slice(None)},
        {"z": slice(None, None, -1), "y": np.array([5, 0, 0, 7]), "x": np.array([True] * 4 + [False] * 5)},
        {"z": np.array([], int), "x": [1, 2]},
        {"t": 0, "z": [-1], "x": slice(5, 0, -2)},
        {"t": np.int64(1), "y": slice(2, 2)},
    ]
    a, b = xr.DataArray([0, 2, 3], dims="a"), xr.DataArray([[0, 3], [4, 5]], dims=["a2", "b"])
    points = [
        {"z": a, "y": a},
        {"t": xr.DataArray(2), "z": b, "y": b, "x": slice(None, None, -3)},
        {"z": a, "x": xr.DataArray([1, 1, 8], dims="a"), "y": slice(1, None, 2)},
        {"z": xr.DataArray([0, 1], dims="z"), "y": a},
        {"t": xr.DataArray([0, 2, 1], dims="a"), "z": a, "y": a, "x": a},
    ]
    for key in [*outer, *points]:
        found, expected = ds.isel(key), memory.isel(key)
        assert not found.variable._in_memory
        xr.testing.assert_identical(found, expected)
    xr.testing.assert_identical(ds.isel(z=a, y=a).isel(a=[2, 0], x=3), memory.isel(z=a, y=a).isel(a=[2, 0], x=3))
    x = float(ds.x[3])
    xr.testing.assert_identical(ds.sel(x=x + 1e-3, method="nearest"), memory.sel(x=x + 1e-3, method="nearest"))
    xr.testing.assert_identical(ds.where(ds > 0), memory.where(memory > 0))


# ---------------------------------------------------------------------------------------------- pickling, tokens


@pytest.mark.parametrize("chunks", [None, {}, {"z": 2}], ids=repr)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.ome.zarr"])
def test_pickles_are_small(files, name, chunks):
    ds = xr.open_dataset(files / name, engine="chunkimg", chunks=chunks)
    raw = pickle.dumps(ds.isel(t=1))
    assert len(raw) < 20_000
    clone = pickle.loads(raw).image
    assert clone.variable._in_memory is False
    np.testing.assert_array_equal(clone.values, VALUES[1])
    shifted_raises(clone)


TOKENS = """
import sys, xarray as xr
from dask.base import tokenize
for path in sys.argv[1:]:
    ds = xr.open_dataset(path, engine="chunkimg")
    lazy = xr.open_dataset(path, engine="chunkimg", cache=False).image.variable._data
    blocks = xr.open_dataset(path, engine="chunkimg", chunks={}).image
    cached, chunked = ds.image.variable._data, ds.chunk().image.data.name
    print(tokenize(cached), tokenize(lazy), tokenize(blocks), chunked, tokenize(ds.image))
"""


def test_tokens_are_those_of_every_process(files, tmp_path):
    write(tmp_path / "a.nii", values(SHAPE, "i2"))
    sources = [str(files / n) for n in ("a.nii.gz", "pair.hdr", "a.ome.zarr")] + [str(tmp_path / "a.nii")]
    run = [sys.executable, "-W", "error", "-c", TOKENS, *sources]
    first, second = (subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    before = [line.split() for line in first.splitlines()]
    assert len({token for tokens in before for token in tokens[:-1]}) == 4 * len(sources)
    os.utime(tmp_path / "a.nii", (1, 1))
    third = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    after = [line.split() for line in third.splitlines()]
    assert after[:-1] == before[:-1]
    # the last token is that of the values, which have not changed
    assert [a != b for a, b in zip(after[-1], before[-1], strict=True)] == [True, True, True, True, False]


def test_tokens_see_the_selection(files):
    image = xr.open_dataset(files / "a.nii", cache=False).image
    names = [image, image.isel(t=1), image.isel(t=[1]), image.transpose(), image.isel(x=slice(None, None, -1))]
    assert len({tokenize(i.variable._data) for i in names}) == len(names)


# ---------------------------------------------------------------------------------------------- several files


@pytest.fixture
def subjects(tmp_path):
    paths = []
    for k in range(4):
        paths.append(tmp_path / f"sub-{k}.nii.gz")
        write(tmp_path / "raw", values((5, 4, 3), "i2", seed=k))
        paths[-1].write_bytes(gzip.compress((tmp_path / "raw").read_bytes()))
    return paths


@pytest.mark.parametrize("options", [{}, {"engine": "chunkimg"}, {"chunks": {"z": 2}}], ids=repr)
def test_open_mfdataset(subjects, options):
    ds = xr.open_mfdataset(subjects, parallel=True, combine="nested", concat_dim="subject", **options)
    assert ds.image.dims == ("subject", "z", "y", "x")
    np.testing.assert_array_equal(ds.image.values, [values((5, 4, 3), "i2", seed=k).T for k in range(4)])
    np.testing.assert_allclose(ds.image.img.affine, AFFINE, atol=1e-6)
    shifted_raises(ds.image)
    assert len(pickle.dumps(ds)) < 40_000
    mean = ds.image.mean("subject")
    np.testing.assert_allclose(mean.img.affine, AFFINE, atol=1e-6)


def test_open_mfdataset_along_time(subjects, tmp_path):
    ds = xr.open_mfdataset(subjects, combine="nested", concat_dim="t", parallel=True)
    ds = ds.assign_coords(t=("t", [0.0, 2.0, 4.0, 6.0], {"units": "s"}))
    ds.image.img.save(tmp_path / "all.nii")
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "all.nii").dataobj), ds.image.values.T)


def test_open_mfdataset_of_different_grids(subjects, tmp_path):
    write(tmp_path / "other.nii", values((5, 4, 3), "i2"), affine=AFFINE + np.eye(4)[:, [3, 3, 3, 0]])
    with pytest.raises(ci.GeometryError, match="do not occupy the same space"):
        xr.open_mfdataset([subjects[0], tmp_path / "other.nii"], combine="nested", concat_dim="subject", join="outer")


# ---------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("chunks", [None, {}, {"z": 2}, "image"], ids=repr)
@pytest.mark.parametrize("cache", [None, False])
def test_an_untouched_image_is_written_as_it_was(files, tmp_path, chunks, cache):
    for name in ("a.nii", "a.nii.gz", "a.ome.zarr"):
        if chunks == "image":
            image = ci.open_image(files / name, chunks=None)
        else:
            image = xr.open_dataset(files / name, engine="chunkimg", chunks=chunks, cache=cache).image
        for k, same in enumerate((image, image.chunk({"y": 3}), image.chunk({"x": 2}).chunk({"t": 1}))):
            same.img.save(tmp_path / f"{k}.nii", overwrite=True)
            assert (tmp_path / f"{k}.nii").read_bytes() == (files / "a.nii").read_bytes()
        assert not image.variable._in_memory


@pytest.mark.parametrize("chunks", [None, {}, {"z": 2}], ids=repr)
def test_views_are_written_as_stored_values(files, tmp_path, chunks):
    image = xr.open_dataset(files / "a.nii.gz", chunks=chunks).image
    for k, view in enumerate(
        (
            image.isel(z=slice(None, None, -2), y=slice(1, 6), t=[0, 2]),
            image.transpose("x", "t", "z", "y").isel(y=3, z=slice(4)),
            image.isel(z=4, t=1),
            image.isel(z=slice(2, 6)).chunk({"z": 3}).isel(x=slice(None, None, -1)),
        )
    ):
        volume = to_volume(view)
        assert isinstance(volume.data, ViewArray)
        assert volume.data.dtype == np.int16
        view.img.save(tmp_path / f"{k}.nii")
        back = ci.open_image(tmp_path / f"{k}.nii", scaled=False)
        picked = view.copy(data=view.values)
        expected = np.rint((picked.transpose(*[d for d in "tzyx" if d in picked.dims]).values + 3) / 0.25)
        np.testing.assert_array_equal(back.values.squeeze(), expected.squeeze())
        assert back.attrs.get("scale_factor") is None
        assert ci.open_image(tmp_path / f"{k}.nii").encoding["scale_factor"] == 0.25


def test_computed_images_are_written_as_computed(files, tmp_path):
    for chunks in (None, {}):
        image = xr.open_dataset(files / "a.nii", chunks=chunks).image
        (image * 2).img.save(tmp_path / "double.nii", overwrite=True)
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "double.nii").dataobj).T, VALUES * 2)
        image.roll(x=2).img.save(tmp_path / "rolled.nii", overwrite=True)
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "rolled.nii").dataobj).T, np.roll(VALUES, 2, -1))
    changed = ci.open_image(files / "a.nii", chunks=None)
    changed[0, 0, 0, 0] = 77
    changed.img.save(tmp_path / "changed.nii")
    assert np.asarray(nib.load(tmp_path / "changed.nii").dataobj)[0, 0, 0, 0] == 77
    np.testing.assert_array_equal(ci.open_image(files / "a.nii").values, VALUES)


def test_an_image_is_never_written_over_its_source(files):
    for chunks in (None, {}):
        with pytest.raises(ci.FormatError, match="its own source"):
            xr.open_dataset(files / "a.nii", chunks=chunks).image.img.save(files / "a.nii", overwrite=True)


def test_plain_xarray_writes_it(files, tmp_path):
    ds = xr.open_dataset(files / "a.nii", chunks={}, scaled=False)
    ds.to_zarr(tmp_path / "a.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False).image
    np.testing.assert_array_equal(back.values, STORED)
    np.testing.assert_allclose(back.img.affine, AFFINE, atol=1e-6)


# ---------------------------------------------------------------------------------------------- files of others


@pytest.mark.parametrize("item", items("nifti", "nifti-pair", "analyze", "nrrd"))
def test_files_of_others(item, tmp_path):
    path = item_path(item)
    try:
        expected = ci.open_image(path)
    except (ci.ChunkImgError, FileNotFoundError) as error:
        with pytest.raises(type(error)):
            xr.open_dataset(path, engine="chunkimg")
        return
    image = xr.open_dataset(path, engine="chunkimg", cache=False).image
    rng = np.random.default_rng(0)
    some = {d: rng.integers(0, n, min(n, 4)) for d, n in image.sizes.items()}
    xr.testing.assert_identical(image.isel(some), expected.isel(some))
    points = {d: xr.DataArray(rng.integers(0, n, 20), dims="points") for d, n in image.sizes.items()}
    np.testing.assert_array_equal(image.isel(points).values, expected.values[tuple(p.values for p in points.values())])
    if expected.nbytes < 4 << 20:
        suffix = "nrrd" if item["kind"] == "nrrd" else "nii"
        for k, same in enumerate((expected, image, xr.open_dataset(path, engine="chunkimg", chunks={}).image)):
            same.img.save(tmp_path / f"{k}.{suffix}")
        assert len({(tmp_path / f"{k}.{suffix}").read_bytes() for k in range(3)}) == 1


# ---------------------------------------------------------------------------------------------- without Dask


def test_images_without_dask(files):
    image = ci.open_image(files / "a.nii.gz", chunks=None)
    assert image.chunks is None
    assert "read when it is asked for" in repr(image.img)
    part = image.isel(z=slice(None, None, -1)).transpose("z", "x", "y", "t").isel(y=[5, 0])
    assert not part.variable._in_memory
    np.testing.assert_array_equal(part.values, VALUES[:, ::-1].transpose(1, 3, 2, 0)[:, :, [5, 0]])
    np.testing.assert_array_equal(image.values, VALUES)
    assert not image.variable._in_memory  # nothing is kept unless one asks for it
    np.testing.assert_array_equal((image + 1).values, VALUES + 1)
    np.testing.assert_array_equal(image.img.numpy(), VALUES)
    assert image.load().variable._in_memory
    shifted_raises(image)


def test_reading_needs_no_dask(files):
    code = f"""
import sys
sys.modules["dask.array"] = None
import chunkimg as ci
image = ci.open_image({str(files / "a.nii")!r}, chunks=None)
print(image.isel(t=1, z=slice(None, None, -2)).img.spacing, image.isel(t=1, z=2, y=3, x=4).item(), repr(image.img)[:9])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(float(VALUES[1, 2, 3, 4])) in out


def test_statistics_and_saving_need_no_dask(files, tmp_path):
    code = f"""
import sys
sys.modules["dask"] = sys.modules["dask.array"] = None
import chunkimg as ci
image = ci.open_image({str(files / "a.nii")!r}, chunks=None)
plane = image.isel(t=1, y=3)
print(plane.img.stats(()).sum)
plane.transpose("x", "z").img.save({str(tmp_path / "plane.nii")!r})
image.isel(z=2, x=slice(None, None, -1)).img.save({str(tmp_path / "part.ome.zarr")!r})
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) == pytest.approx(VALUES[1, :, 3].sum(dtype=float))
    image = ci.open_image(files / "a.nii")
    for name, expected in (("plane.nii", image.isel(t=1, y=[3])), ("part.ome.zarr", image.isel(z=[2])[..., ::-1])):
        saved = ci.open_image(tmp_path / name)
        np.testing.assert_array_equal(saved.values, expected.values)
        np.testing.assert_allclose(saved.img.affine, expected.img.affine, atol=1e-4)


def test_reading_from_many_threads(files):
    image = xr.open_dataset(files / "a.nii.gz", cache=False).image
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda k: image.isel(t=k % 3, z=k % 7, y=[k % 8, 0]).values, range(100)))
    for k, part in enumerate(parts):
        np.testing.assert_array_equal(part, VALUES[k % 3, k % 7, [k % 8, 0]])
    lazy = dask.delayed(xr.open_dataset)(files / "a.nii", engine="chunkimg")
    np.testing.assert_array_equal(dask.delayed(lambda ds: ds.image.values)(lazy).compute(), VALUES)


def test_loading_without_blocking(files):
    import asyncio

    image = xr.open_dataset(files / "a.nii.gz").image.isel(z=[1, 5])
    assert asyncio.run(image.load_async()).variable._in_memory
    np.testing.assert_array_equal(image.values, VALUES[:, [1, 5]])


# ---------------------------------------------------------------------------------------------- the accessor


def test_plain_xarray_users_have_the_accessor(files):
    store, file = str(files / "a.ome.zarr"), str(files / "a.nii")
    running = []
    for code in (
        f"import chunkimg, xarray as xr; xr.open_zarr({store!r}).image.img.affine",
        f"import chunkimg, xarray; chunkimg.convert; xarray.open_zarr({store!r}, chunks=None).image.img.affine",
        f"import xarray as xr; xr.open_dataset({file!r}).image.img.affine",
        f"import xarray as xr; xr.open_dataset({store!r}).image.img.affine",
        "import chunkimg, sys, importlib.util as u; assert u.find_spec('xarray'); import xarray; "
        "xarray.DataArray(0).img; assert 'chunkimg' not in repr((xarray.__loader__, xarray.__spec__, sys.meta_path))",
        "import chunkimg.image.views, xarray; xarray.DataArray(0).img",
    ):
        running.append(subprocess.Popen([sys.executable, "-W", "error", "-c", code]))
    assert [process.wait() for process in running] == [0] * len(running)
