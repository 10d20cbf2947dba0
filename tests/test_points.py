"""Values at points against SimpleITK, scipy and NumPy, from every kind of source, and how much is read for them."""

import gzip
import itertools
import math

import numpy as np
import pytest
import xarray as xr
from conftest import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import AFFINE, values, write
from strategies import grids, slices

import chunkimg as ci
from chunkimg import sampling
from chunkimg.geometry import Grid
from chunkimg.io import streams
from chunkimg.io.source import DecodedStream
from chunkimg.io.zarr_array import ZarrArray
from chunkimg.lazy import LazyArray, ViewArray
from chunkimg.ops.points import corners_of
from chunkimg.ops.scatter import Scatter, _sorted
from chunkimg.scaling import Scaling
from chunkimg.volume import Volume

OBLIQUE = (
    "dicom/dcm_qa_nih/EPI_PE=AP_3.nii",
    "nifti/nipype/ds003_sub-01_mc.nii.gz",
    "nrrd/itk/HeadMRVolumeWithDirection.nhdr",
    "nrrd/pyradiomics/brain1_image.nrrd",
    "nifti/orientations/SRP.nii.gz",
)


class Stored(LazyArray):
    """An array that notes which regions of it are read."""

    def __init__(self, values, chunks=None, order=None, piecewise=True):
        self.values, self.shape, self.dtype, self.chunks = values, values.shape, values.dtype, chunks
        self.file_order, self.front_to_back, self.piecewise = order, order is not None, piecewise
        self.regions = []

    def _read(self, region):
        self.regions.append(region)
        return self.values[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def __dask_tokenize__(self):
        return id(self)

    def times_read(self):
        """How often each voxel was read."""
        out = np.zeros(self.shape, int)
        for region in self.regions:
            out[tuple(slice(r.start, r.stop, r.step) for r in region)] += 1
        return out


def image_of(data, grid, dims=("z", "y", "x"), **more):
    times = ci.volume.TimeAxis(tuple(map(float, range(data.shape[0])))) if "t" in dims else None
    return Volume(data, dims, grid, times=times, **more)


def oracle(block, index, method, fill):
    """Values of a 3-D block (z, y, x) at indices in x, y, z order, by NumPy alone."""
    out = []
    for point in np.asarray(index)[:, ::-1]:
        if not all(-0.5 <= p <= n - 0.5 for p, n in zip(point, block.shape, strict=True)):
            out.append(fill)
            continue
        at = [min(max(p, 0), n - 1) for p, n in zip(point, block.shape, strict=True)]
        if method == "nearest":
            out.append(block[tuple(math.floor(p + 0.5) for p in at)])
            continue
        total = 0.0
        for ends in itertools.product((0, 1), repeat=3):
            weight = math.prod(p % 1 if e else 1 - p % 1 for p, e in zip(at, ends, strict=True))
            if weight:
                total += weight * block[tuple(math.floor(p) + e for p, e in zip(at, ends, strict=True))]
        out.append(total)
    return np.array(out)


def scattered(shape, count, seed=0, beyond=1.0):
    """Indices all over an image of shape (x, y, z) and a little beyond."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-beyond, np.asarray(shape) - 1 + beyond, (count, 3))


# ---------------------------------------------------------------------------------------------- values


@needs_data
@pytest.mark.parametrize("name", OBLIQUE)
@pytest.mark.parametrize("chunks", ["auto", None])
def test_real_images_against_simpleitk(name, chunks):
    sitk = pytest.importorskip("SimpleITK")
    image = ci.open_image(DATA / name, chunks=chunks)
    frame = image.isel(t=1) if "t" in image.dims else image
    theirs = sitk.Cast(frame.img.to_sitk(), sitk.sitkFloat64)
    world = frame.img.to_world(scattered(frame.img.grid.shape, 400))
    lps = world if frame.img.space == "unknown" else world * [-1, -1, 1]
    at = np.array([theirs.TransformPhysicalPointToContinuousIndex(p) for p in lps.tolist()])
    inside = np.all((at >= -0.5) & (at < np.array(theirs.GetSize()) - 0.5), axis=1)
    assert 20 < inside.sum() < 400
    beyond = 7
    for method, theirs_is in (("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)):
        found = frame.img.sample(world, method, fill=beyond)
        expected = [
            theirs.EvaluateAtPhysicalPoint(p, theirs_is) if i else beyond
            for p, i in zip(lps.tolist(), inside, strict=True)
        ]
        scale = float(np.ptp(np.asarray(sitk.GetArrayViewFromImage(theirs))))
        np.testing.assert_allclose(found, expected, rtol=0, atol=scale * 1e-9)
        if "t" in image.dims:
            np.testing.assert_array_equal(image.img.sample(world, method, fill=beyond)[1], found)


def test_against_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    data = values((40, 33, 21), "f4").T
    image = ci.from_array(data, affine=AFFINE)
    index = scattered((40, 33, 21), 2000, beyond=0)
    found = image.img.sample(image.img.to_world(index))
    np.testing.assert_allclose(
        found, ndimage.map_coordinates(data.astype("f8"), index[:, ::-1].T, order=1, mode="nearest"), atol=1e-9
    )


@settings(max_examples=60)
@given(st.data())
def test_any_view_of_any_source(data):
    grid = data.draw(grids(low=1, high=7))
    nx, ny, nz = grid.shape
    extra = data.draw(st.sampled_from([(), ("t",), ("c",), ("t", "c")]))
    sizes = tuple({"t": 3, "c": 2}[d] for d in extra)
    shape = (*sizes, nz, ny, nx)
    stored = np.random.default_rng(0).integers(-99, 99, shape).astype("i2")
    chunks = data.draw(st.none() | st.tuples(*(st.integers(1, n) for n in shape)))
    order = data.draw(st.none() | st.permutations(range(len(shape))).map(tuple)) if chunks is None else None
    source = Stored(stored, chunks, order, data.draw(st.booleans()))
    scaling = data.draw(st.sampled_from([None, Scaling(0.5, 3.0)]))
    volume = image_of(source, grid, (*extra, "z", "y", "x"), scaling=scaling)
    moves = {d: data.draw(slices(n)) for d, n in volume.sizes.items() if d != "t"}
    view = volume.crop(**moves).crop(**({"t": slice(None, None, 2)} if "t" in extra else {}))
    block = stored[tuple(moves.get(d, slice(None, None, 2)) for d in volume.dims)]
    block = block if scaling is None else scaling.apply(block)
    index = scattered(view.grid.shape, 40, data.draw(st.integers(0, 99)))
    if data.draw(st.booleans()):
        index = np.round(index)
    method = data.draw(st.sampled_from(["linear", "nearest"]))
    found = sampling.sample(
        view, view.grid.to_world(index), method, fill=-5, budget=data.draw(st.sampled_from([1, 1 << 28]))
    )
    frames = block.reshape(-1, *block.shape[-3:])
    expected = [oracle(f, index, method, -5) for f in frames]
    expected = np.array(expected).reshape(*block.shape[:-3], len(index))
    near = np.abs(index % 1 - 0.5) < 1e-6
    if method == "nearest":
        # halfway between two voxels rounding decides
        index = index[~near.any(axis=1)]
        found, expected = found[..., ~near.any(axis=1)], expected[..., ~near.any(axis=1)]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == block.dtype
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float64
    assert source.times_read().max(initial=0) <= 1


@settings(max_examples=30)
@given(grids(low=2, high=8), st.data())
def test_voxel_centres_have_the_values_of_voxels(grid, data):
    values = np.random.default_rng(0).normal(size=grid.shape[::-1])
    values[values > 1.5] = np.nan
    values[values < -1.5] = np.inf
    image = image_of(Stored(values, chunks=(1, 2, 3)), grid)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    for method in ("linear", "nearest"):
        found = sampling.sample(image, grid.to_world(index), method)
        np.testing.assert_array_equal(found, values.transpose(2, 1, 0))


def test_border_rule():
    data = np.arange(24, dtype="i2").reshape(2, 3, 4)
    image = ci.from_array(data, spacing=(1, 1, 1))
    inside = [(-0.5, 0, 0), (3.5, 0, 0), (-0.25, -0.25, -0.25), (3.25, 2.25, 1.25)]
    np.testing.assert_array_equal(image.img.sample(inside), [0, 3, 0, 23])
    np.testing.assert_array_equal(image.img.sample(inside, "nearest"), [0, 3, 0, 23])
    outside = [(-0.51, 0, 0), (3.51, 0, 0), (0, 0, 1.6), (np.nan, 0, 0), (np.inf, 0, 0)]
    assert np.isnan(image.img.sample(outside)).all()
    np.testing.assert_array_equal(image.img.sample(outside, "nearest"), [0] * 5)
    np.testing.assert_array_equal(image.img.sample(outside, fill=-3), [-3] * 5)


def test_shapes_and_types():
    data = values((6, 5, 4, 3, 2), "i2").T  # c, t, z, y, x
    image = ci.from_array(data, ("c", "t", "z", "y", "x"), affine=AFFINE)
    world = image.img.to_world(scattered((6, 5, 4), 24, beyond=-0.5).reshape(2, 3, 4, 3))
    assert image.img.sample(world).shape == (3, 2, 2, 3, 4)
    assert image.img.sample(world[0, 0, 0]).shape == (3, 2)
    assert image.img.sample(np.empty((0, 3))).shape == (3, 2, 0)
    assert image.isel(t=0, c=1).img.sample(world[0, 0, 0]).shape == ()
    assert image.img.sample(world, "nearest").dtype == np.int16
    np.testing.assert_array_equal(image.isel(t=2, c=1).img.sample(world), image.img.sample(world)[2, 1])
    # frames and channels in any order and number
    odd = image.isel(t=[2, 0, 2, 1], c=[1, 0])
    np.testing.assert_allclose(
        odd.isel(x=slice(None, None, -1)).img.sample(world), image.img.sample(world)[[2, 0, 2, 1]][:, [1, 0]], atol=1e-9
    )
    # a single slice is an image too
    flat = image.isel(z=2, t=1)
    here = flat.img.to_world([(2, 3, 0), (2, 3, 0.4), (2, 3, 0.6)])
    np.testing.assert_array_equal(flat.img.sample(here, "nearest"), data[:, 1, 2, 3, 2][:, None] * [1, 1, 0])
    waves = ci.from_array(np.arange(8).reshape(2, 2, 2) * (1 + 2j))
    np.testing.assert_allclose(waves.img.sample((0.5, 0.5, 0.5)), 3.5 * (1 + 2j))
    np.testing.assert_array_equal(ci.from_array(np.eye(3)[None] > 0).img.sample((1.5, 1, 0)), 0.5)


def test_poses_of_frames():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 4, 5, 6))
    affines = [AFFINE + np.r_[[[0, 0, 0, k]], np.zeros((3, 4))] for k in range(3)]
    image = ci.from_array(data, affine=affines, t=[0, 1, 2.5])
    world = image.img.to_world(scattered((6, 5, 4), 30))
    found = image.img.sample(world, fill=0)
    for k in range(3):
        index = ci.Grid((6, 5, 4), affines[k]).to_index(world)
        np.testing.assert_allclose(found[k], oracle(data[k], index, "linear", 0), atol=1e-9)


def test_labels_are_not_mixed():
    labels = ci.from_array(np.array([[[0, 40, 7]]], "u1"), spacing=(1, 1, 1)).img.as_label()
    found = labels.img.sample([(0.4, 0, 0), (0.6, 0, 0), (9, 0, 0)])
    assert found.tolist() == [0, 40, 0] and found.dtype == np.uint8
    with pytest.raises(ValueError, match="between labels there are none"):
        labels.img.sample((0, 0, 0), "linear")


def test_what_is_refused():
    image = ci.from_array(np.zeros((2, 3, 4), "u1"))
    with pytest.raises(ValueError, match="linear, nearest, label; found 'cubic'"):
        image.img.sample((0, 0, 0), "cubic")
    for fill in (-1, 256, 0.5, np.nan, 1j, "a"):
        with pytest.raises(ValueError, match="is no value of uint8"):
            image.img.sample((0, 0, 0), "nearest", fill)
    with pytest.raises(ci.GeometryError, match=r"shape \(..., 3\) in x, y, z order, found \(2,\)"):
        image.img.sample((0, 0))
    with pytest.raises(ci.GeometryError, match="reduced"):
        image.mean("z").img.sample((0, 0, 0))


# ---------------------------------------------------------------------------------------------- sources


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One image in every kind of source, and its values (z, y, x)."""
    folder = tmp_path_factory.mktemp("points")
    data = values((70, 61, 52), "i2")
    write(folder / "a.nii", data, scl_slope=0.25, scl_inter=-3)
    write(folder / "big.nii", data, order=">", scl_slope=0.25, scl_inter=-3)
    for name in ("a.nii.gz", "a.nrrd", "a.ome.zarr", "a.zarr.zip"):
        ci.convert(folder / "a.nii", folder / name, **({"chunks": 16} if "zarr" in name else {}))
    return folder, data.T * 0.25 - 3


@pytest.mark.parametrize("name", ["a.nii", "big.nii", "a.nii.gz", "a.nrrd", "a.ome.zarr", "a.zarr.zip"])
@pytest.mark.parametrize("chunks", ["auto", None, {"z": 11, "y": 23}])
def test_every_source(written, name, chunks):
    folder, block = written
    image = ci.open_image(folder / name, chunks=chunks)
    index = scattered((70, 61, 52), 300)
    world = image.img.to_world(index)
    shown = {
        "whole": (image, block),
        "part": (image.isel(x=slice(5, 60, 2), z=slice(40, 3, -1)), block[40:3:-1, :, 5:60:2]),
        "turned": (image.transpose("x", "y", "z"), block),
        "computed": (image * 2 - image, block),
        "other": (xr.where(image > 0, image, 0), np.where(block > 0, block, 0)),
    }
    for what, (one, expected) in shown.items():
        at = one.img.to_index(world)
        for method in ("linear", "nearest"):
            np.testing.assert_allclose(
                one.img.sample(world, method, fill=9), oracle(expected, at, method, 9), atol=1e-8, err_msg=what
            )


def test_each_block_is_read_once(monkeypatch):
    # every chunk is a block, however small
    monkeypatch.setattr("chunkimg.ops.scatter._BLOCK", 1)
    data = np.random.default_rng(0).integers(0, 9999, (60, 70, 80)).astype("i4")
    for chunks in ((20, 30, 40), (60, 1, 80), (7, 70, 80)):
        grid = Grid((80, 70, 60), np.diag([1, 2, 3, 1]))
        index = scattered(grid.shape, 20_000, beyond=0)
        source = Stored(data, chunks)
        scatter = Scatter(source, corners_of(index.T[::-1], "linear"), "linear")
        scatter.gathered(source._read)
        read = [tuple(r.start // c for r, c in zip(region, chunks, strict=True)) for region in source.regions]
        assert len(read) == len(set(read)) == math.prod(-(-n // c) for n, c in zip(data.shape, chunks, strict=True))
        for region in source.regions:
            assert all(r.start // c == (r.stop - 1) // c for r, c in zip(region, chunks, strict=True))


@pytest.mark.parametrize("count", [1, 300, 1 << 16, (1 << 16) + 1, 1 << 33])
def test_numbers_of_blocks_are_sorted_however_many_there_are(count):
    key = np.random.default_rng(0).integers(max(0, count - 70_000), count, 3000)
    key[::3] %= 100
    np.testing.assert_array_equal(_sorted(key, count), np.argsort(key, kind="stable"))


def test_only_blocks_with_points_are_read(monkeypatch, tmp_path):
    write(tmp_path / "a.nii", values((90, 80, 70), "i2"))
    ci.convert(tmp_path / "a.nii", tmp_path / "a.ome.zarr", chunks=(8, 16, 32))
    monkeypatch.setattr("chunkimg.ops.scatter._BLOCK", 8192)
    read = []
    real = ZarrArray._read
    monkeypatch.setattr(ZarrArray, "_read", lambda self, region: (read.append(region), real(self, region))[1])
    image = ci.open_image(tmp_path / "a.ome.zarr", chunks=None)
    image.img.sample(image.img.to_world([(40, 20, 9), (45, 21, 10), (63.5, 40, 40)]))
    assert len(read) == 3
    assert sum(math.prod(map(len, r)) for r in read) == 6 * 2 * 2 + 2
    read.clear()
    image.isel(x=slice(3, None)).img.sample(image.img.to_world([(40, 20, 9)]))
    assert [math.prod(map(len, r)) for r in read] == [1]


@pytest.mark.parametrize("view", ["whole", "reversed", "transposed"])
def test_one_pass_over_a_gzip_stream(tmp_path, monkeypatch, view):
    write(tmp_path / "a.nii", values((60, 50, 220, 3), "i2"))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    image = ci.open_image(tmp_path / "a.nii.gz", chunks=None, index=False)
    data = ci.open_image(tmp_path / "a.nii").values
    opened, largest = [], []
    real, fill = DecodedStream.__init__, streams.StreamArray._fill_from
    monkeypatch.setattr(DecodedStream, "__init__", lambda self, *a: (opened.append(1), real(self, *a))[1])
    monkeypatch.setattr(
        streams.StreamArray,
        "_fill_from",
        lambda self, s, spans: (largest.append(math.prod(spans.shape)), fill(self, s, spans))[1],
    )
    if view == "reversed":
        image, data = image.isel(z=slice(None, None, -1), t=[2, 0]), data[[2, 0], ::-1]
    if view == "transposed":
        image = image.transpose("x", "y", "z", "t")
    index = scattered((60, 50, 220), 500, beyond=0)
    found = image.img.sample(image.img.to_world(index), budget=1 << 20)
    for frame, expected in zip(found, data, strict=True):
        np.testing.assert_allclose(frame, oracle(expected, index, "linear", 0), atol=1e-6)
    assert len(opened) == 1
    assert len(largest) > 3 and max(largest) * 2 <= 2 << 20


def test_memory_does_not_grow_with_the_image():
    class Endless(LazyArray):
        """Terabytes that are made up."""

        shape, dtype, chunks, piecewise = (1 << 14, 1 << 14, 1 << 14), np.dtype("u2"), (64, 64, 64), True
        largest = 0

        def _read(self, region):
            Endless.largest = max(Endless.largest, math.prod(map(len, region)))
            z, y, x = np.ix_(*region)
            return ((z + y + x) % 1000).astype("u2")

        def __dask_tokenize__(self):
            return "endless"

    grid = Grid((1 << 14,) * 3, np.diag([0.5, 0.5, 0.5, 1]))
    index = np.floor(scattered(grid.shape, 2000, beyond=-1))
    volume = image_of(Endless(), grid)
    np.testing.assert_array_equal(sampling.sample(volume, grid.to_world(index)), index.sum(axis=1) % 1000)
    assert Endless.largest <= 8 * 64**3
    view = ViewArray(volume.data, [range(5, 9), range(7, 3, -1), range(1 << 14)], (2, None, 0, 1))
    np.testing.assert_array_equal(
        sampling.sample(image_of(view, Grid((4, 4, 1), np.eye(4)), ("c", "z", "y", "x")), (1, 2, 0)),
        (7 + 6 + np.arange(1 << 14)) % 1000,
    )
