"""Neighbourhoods: values against scipy, whatever the blocks are; where they lie; what is read for them."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import item_path, items, optional
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import values, write
from strategies import grids, slices

import chunkimg as ci
import chunkimg.io.stream_write
import chunkimg.io.zarr_plan
import chunkimg.io.zarr_read
from chunkimg.chunks import regions
from chunkimg.filters import smoothed
from chunkimg.geometry import affine as aff
from chunkimg.image.build import to_volume
from chunkimg.lazy import LazyArray, ScaledArray, ViewArray
from chunkimg.lengths import reach
from chunkimg.ops import gaussian, gaussian_kernel, halos, overlap
from chunkimg.ops.gaussian import Gaussian
from chunkimg.ops.gaussian_kernel import correlate_kernel
from chunkimg.ops.halos import lattice, overlapping
from chunkimg.ops.overlap import Halo, OverlapArray, Whole
from chunkimg.ops.pad import PaddedArray
from chunkimg.scaling import Scaling
from chunkimg.volume import Volume

ndimage = optional("scipy.ndimage")

#: names of boundaries here and in scipy
MODES = {"reflect": "reflect", "mirror": "mirror", "edge": "nearest", "constant": "constant"}


class Memory(LazyArray):
    """An array in memory that notes what is read of it."""

    def __init__(self, data, chunks=None, order=None, front_to_back=False, piecewise=False):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.file_order = order or tuple(range(data.ndim))
        self.chunks, self.front_to_back, self.piecewise = chunks, front_to_back, piecewise
        self.read = []

    def _read(self, region):
        self.read.append(region)
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)].copy()

    def counts(self):
        """How often each voxel was read."""
        out = np.zeros(self.shape, int)
        for region in self.read:
            out[tuple(slice(r.start, r.stop, r.step) for r in region)] += 1
        return out

    def chunk_counts(self):
        """How often each chunk was touched."""
        out = np.zeros([-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True)], int)
        for region in self.read:
            out[tuple(slice(r.start // c, -(-r.stop // c)) for r, c in zip(region, self.chunks, strict=True))] += 1
        return out

    def __dask_tokenize__(self):
        return ("memory", self.data.tobytes())


def sharper(block):
    """Looks one voxel far along z, two along y, three along x."""
    return ndimage.uniform_filter(block.astype("f8"), (3, 5, 7)) - block


@pytest.fixture
def small_slabs(monkeypatch):
    """Slabs of small images are as many as of large ones."""
    for module in (chunkimg.io.zarr_plan, chunkimg.io.stream_write):
        monkeypatch.setattr(module, "slab_bytes", lambda budget, source: 40_000)


def random(shape, dtype="f4", seed=0):
    return values(shape, dtype, seed)


# ---------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("boundary", MODES)
@settings(max_examples=60)
@given(data=st.data())
def test_padding_is_that_of_scipy(boundary, data):
    """Also where the halo is larger than the image."""
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    depth = data.draw(st.tuples(*[st.integers(0, 11)] * 3))
    image = random(shape, "i4")
    space = tuple(
        range(a, b) for a, b in (sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape) if a < b
    )
    if len(space) < 3:
        return
    halo = Halo(depth, boundary, 7)
    box = halo.around(space, shape)
    found = halo.padded(image[tuple(slice(r.start, r.stop) for r in box)], box, space, shape)
    at = np.ix_(*(np.arange(r.start - d, r.stop + d) for r, d in zip(space, depth, strict=True)))
    points = np.stack([np.broadcast_to(a, found.shape) for a in at]).astype("f8")
    expected = ndimage.map_coordinates(image.astype("f8"), points, order=0, mode=MODES[boundary], cval=7)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("boundary", MODES)
@pytest.mark.parametrize("chunks", [None, "auto", {"z": 3, "y": 4, "x": 100}])
def test_map_overlap_is_the_function_of_the_whole(tmp_path, small_slabs, boundary, chunks):
    write(tmp_path / "a.nii", random((11, 9, 8, 3), "i2"), scl_slope=0.5, scl_inter=2)
    image = ci.open_image(tmp_path / "a.nii", chunks=chunks)
    found = image.img.map_overlap(
        lambda b: ndimage.median_filter(b, (3, 5, 7)), depth=(3, 2, 1), boundary=boundary, fill=-4
    )
    whole = ndimage.median_filter(image.values, (1, 3, 5, 7), mode=MODES[boundary], cval=-4)
    np.testing.assert_array_equal(found.values, whole)
    found.img.save(tmp_path / "b.ome.zarr", chunks=4)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.ome.zarr").values, whole)
    assert found.img.grid == image.img.grid
    np.testing.assert_array_equal(found.t, image.t)
    assert (found.chunks is None) == (chunks is None)
    assert found.dtype == "f4"


@pytest.mark.parametrize("item", items("nifti", "nrrd")[:12])
def test_smooth_on_images_of_others(item):
    image = ci.open_image(item_path(item))
    if image.dtype.kind == "c" or image.size > 1 << 22 or image.img.is_label or image.img.units == "unknown":
        pytest.skip("complex, large, labels or without unit")
    found = image.img.smooth((5, 4, 3))
    sigma = [f / (2 * np.sqrt(2 * np.log(2))) / s for f, s in zip((3, 4, 5), image.img.spacing[::-1], strict=True)]
    flat = image.values.astype("f4").reshape(-1, *image.shape[-3:])
    expected = np.stack([ndimage.gaussian_filter(v, sigma) for v in flat]).reshape(image.shape)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())
    assert found.img.grid == image.img.grid
    assert found.dtype == "f4"


def test_smooth_like_nibabel(nibabel_data):
    pytest.importorskip("scipy.ndimage")
    import nibabel
    from nibabel.processing import smooth_image

    for name in ("anatomical.nii", "example4d.nii.gz"):
        file = nibabel.load(nibabel_data / name)
        image = ci.open_image(nibabel_data / name)
        fwhm = (4, 6, 5)
        expected = smooth_image(file.__class__(file.get_fdata(dtype="f4"), file.affine), [*fwhm, 0][: file.ndim])
        found = image.img.smooth(fwhm, boundary="edge")
        np.testing.assert_allclose(found.values.T, np.asarray(expected.dataobj), rtol=1e-4, atol=0.02)


def test_smooth_of_a_point_is_a_gaussian_in_space():
    """The width at half maximum is what was asked for, in world millimetres, on an oblique grid in micrometres."""
    data = np.zeros((41, 61, 81), "f4")
    data[20, 30, 40] = 1
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(random((3, 3)))[0] * (300, 400, 500)
    image = ci.from_array(data, affine=affine, units="um")
    smooth = image.img.smooth(5)
    index = np.indices(data.shape)[::-1].reshape(3, -1).T
    away = np.linalg.norm(image.img.to_world(index) - image.img.to_world((40, 30, 20)), axis=1) / 1000
    expected = smooth.values.max() * 0.5 ** np.square(away / 2.5)
    np.testing.assert_allclose(smooth.values.reshape(-1), expected, atol=2e-3 * expected.max())
    assert abs(float(smooth.sum(dtype="f8")) - 1) < 1e-3


@settings(max_examples=80)
@given(data=st.data(), grid=grids(low=2, high=8))
def test_smoothing_does_not_depend_on_blocks(data, grid):
    shape = grid.shape[::-1]
    array = random((2, *shape), "f4", data.draw(st.integers(0, 99)))
    chunks = data.draw(st.none() | st.tuples(*[st.integers(1, n) for n in array.shape]))
    order = tuple(data.draw(st.permutations(range(4))))
    source = Memory(array, chunks, order, data.draw(st.booleans()) and chunks is None, data.draw(st.booleans()))
    volume = Volume(source, ("c", "z", "y", "x"), grid)
    widths = [data.draw(st.sampled_from([0, 0.7, 1.3])) * s * 2 for s in grid.spacing]
    if grid.units == "um":
        widths = [w / 1000 for w in widths]
    made = smoothed(volume, widths)
    assert made.grid == grid
    whole = made.data._read(tuple(map(range, array.shape)))
    sigma = [w / np.sqrt(8 * np.log(2)) / s for w, s in zip(widths, grid.spacing, strict=True)]
    sigma = [s * (1000 if grid.units == "um" else 1) for s in sigma]
    expected = np.stack([ndimage.gaussian_filter(v, sigma[::-1]) for v in array])
    np.testing.assert_allclose(whole, expected, atol=1e-3)
    block = data.draw(st.tuples(*[st.integers(1, n) for n in array.shape]))
    out = np.zeros_like(whole)
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(halos, "_KEPT", data.draw(st.sampled_from([1, 300, 1 << 20])))
        patch.setattr(overlap, "_SMALLEST", 20)
        with made.data.reader() as read:
            for region in regions(array.shape, block, order):
                out[tuple(slice(r.start, r.stop) for r in region)] = read(region)
        np.testing.assert_array_equal(out, whole)
        key = tuple(data.draw(slices(n) | st.integers(-n, n - 1)) for n in array.shape)
        np.testing.assert_array_equal(made.data[key], whole[key])


@settings(max_examples=60)
@given(data=st.data())
def test_machine_code_gives_the_same_bits(data):
    pytest.importorskip("llvmlite")
    kernel = correlate_kernel()
    assert kernel is not None
    axis = data.draw(st.integers(0, 2))
    reach = data.draw(st.integers(0, 5))
    shape = [data.draw(st.integers(1, 90 if k == 2 else 6)) for k in range(3)]
    shape[axis] += 2 * reach
    block = random(shape, "f4", data.draw(st.integers(0, 99)))
    block[tuple(data.draw(st.integers(0, n - 1)) for n in shape)] = data.draw(
        st.sampled_from([0, np.nan, np.inf, -0.0])
    )
    weights = random(reach + 1, "f4")
    expected = gaussian.correlate(block, weights, axis)
    # what lies behind stays as it was
    room = np.full(expected.size + 64, 77, "f4")
    found = room[: expected.size].reshape(expected.shape)
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(gaussian_kernel, "_TILE", data.draw(st.sampled_from([1, 7, 64, 1024])))
        kernel(block, weights, axis, found)
    np.testing.assert_array_equal(found, expected)
    assert np.all(room[expected.size :] == 77)


@pytest.mark.parametrize("fast", [False, True])
def test_large_blocks(monkeypatch, fast):
    if fast:
        pytest.importorskip("llvmlite")
    made = []
    original = gaussian_kernel.correlate_kernel
    monkeypatch.setattr(gaussian, "correlate_kernel", lambda: made.append(1) or (original() if fast else None))
    block = random((60, 90, 100), "i2")
    found = ci.from_array(block, spacing=(1, 2, 3)).img.smooth(5)
    sigma = [5 / np.sqrt(8 * np.log(2)) / s for s in (3, 2, 1)]
    expected = ndimage.gaussian_filter(block.astype("f4"), sigma)
    np.testing.assert_allclose(found.values, expected, atol=0.1)
    assert made


def test_nan_and_wide_types():
    data = random((6, 7, 8), "f8")
    data[3, 3, 3] = np.nan
    found = ci.from_array(data).img.smooth(1, truncate=3).values
    expected = ndimage.gaussian_filter(data, 1 / np.sqrt(8 * np.log(2)), truncate=3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert np.isnan(found).sum() == 27


# ---------------------------------------------------------------------------------------------- depth


def test_depth_in_millimetres():
    seen = []

    def note(block):
        seen.append(block.shape)
        return block

    def shape_of(image, **options):
        seen.clear()
        image.img.map_overlap(note, **options).load()
        return tuple(np.subtract(seen[0], image.shape) // 2)

    image = ci.from_array(np.zeros((2, 3, 4)), spacing=(1, 2, 4))
    assert shape_of(image, depth_mm=4) == (1, 2, 4)
    assert shape_of(image, depth_mm=4.1) == (2, 3, 5)
    assert shape_of(image, depth_mm=(0, 1, 12)) == (3, 1, 0)
    assert shape_of(image, depth=(1, 2, 3)) == (3, 2, 1)
    assert shape_of(image.img.assign_geometry(units="um"), depth_mm=4e-3) == (1, 2, 4)
    # planes of a sheared grid are closer than its voxels: the ball must fit between them
    sheared = np.array([[1, 0.8, 0, 0], [0, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = ci.from_array(np.zeros((2, 3, 4)), affine=sheared)
    assert shape_of(image, depth_mm=1) == (1, 2, 2)


@settings(max_examples=40)
@given(grid=grids(), radius=st.floats(0.1, 20))
def test_a_ball_lies_within_the_depth(grid, radius):
    volume = Volume(Memory(np.zeros(grid.shape[::-1], "u1")), ("z", "y", "x"), grid)
    depth = reach(volume, "depth_mm", radius if grid.units == "mm" else radius / 1000)
    rng = np.random.default_rng(0)
    away = rng.normal(size=(500, 3))
    away *= radius / np.linalg.norm(away, axis=1)[:, None]
    index = away @ np.linalg.inv(grid.matrix[:3, :3]).T
    assert np.all(np.abs(index) <= np.array(depth) + 1e-5)
    assert np.all(np.array(depth) <= radius * np.linalg.norm(aff.inverse(grid.matrix)[:3, :3], axis=1) + 1)


# ---------------------------------------------------------------------------------------------- what is read


def passed(made, block, order=None):
    with made.reader() as read:
        for region in regions(made.shape, block, order):
            read(region)


def test_a_stream_is_read_once_front_to_back():
    for order, block in (
        ((0, 1, 2, 3), (1, 4, 9, 8)),
        ((0, 1, 2, 3), (1, 1, 4, 8)),
        ((0, 1, 2, 3), (2, 20, 9, 8)),
        ((1, 2, 3, 0), (3, 3, 9, 8)),
        ((1, 0, 2, 3), (1, 1, 9, 8)),
        ((0, 3, 2, 1), (1, 20, 9, 3)),
    ):
        source = Memory(random((3, 20, 9, 8)), None, order, front_to_back=True)
        made = OverlapArray(source, Gaussian((1, 0.5, 0.7)), Halo(Gaussian((1, 0.5, 0.7)).depth), "f4", 0)
        passed(made, block, order)
        assert np.all(source.counts() == 1), order
        firsts = [tuple(region[a].start for a in order) for region in source.read]
        assert firsts == sorted(firsts), order


@pytest.mark.parametrize("piecewise", [False, True])
def test_chunks_are_read_once(piecewise):
    source = Memory(random((2, 40, 36, 31)), (1, 8, 9, 10), piecewise=piecewise)
    gaussian = Gaussian((1, 0.6, 0.7))
    made = OverlapArray(source, gaussian, Halo(gaussian.depth), "f4", 0)
    passed(made, (1, 8, 9, 31))
    assert np.all(source.chunk_counts() == 1)


def test_little_is_read_twice_where_little_is_kept(monkeypatch):
    source = Memory(random((64, 48, 40)), (16, 12, 10), piecewise=True)
    # the rows around one row of chunks, but not three layers
    monkeypatch.setattr(halos, "_KEPT", 6 * 16 * 12 * 40 * 4)
    gaussian = Gaussian((0.5, 0.5, 0.5))
    passed(OverlapArray(source, gaussian, Halo(gaussian.depth), "f4", 0), (16, 12, 40))
    # each chunk whole once, and its first and last two planes for the layers beside it
    assert source.counts().max() <= 3
    assert source.counts().sum() <= 1.3 * source.size


def test_chunks_below_views():
    source = Memory(random((40, 36, 31)), (8, 9, 10))
    view = ViewArray(source, [range(3, 40), range(30, 2, -1), range(5, 20)], [2, 0, None, 1])
    assert lattice(ScaledArray(view, Scaling(2, 1))) == ((5, 10), (5, 8), (0, 1), (4, 9))
    for axis, ((first, size), n) in enumerate(zip(lattice(view), view.shape, strict=True)):
        if view.axes[axis] is not None:
            whole = [p // source.chunks[view.axes[axis]] for p in view.picks[view.axes[axis]]]
            cuts = [i for i in range(1, n) if whole[i] != whole[i - 1]]
            assert cuts == [c for c in range(first, n, size) if c]
    assert lattice(ViewArray(source, [range(0, 40, 2), range(36), range(31)])) is None
    with overlapping(ViewArray(source, [range(3, 40), range(30, 2, -1), range(5, 20)])) as read:
        for z, y in itertools.product((0, 10, 20), (0, 10)):
            read((range(z, z + 15), range(y, y + 15), range(15)))
    assert np.all(source.chunk_counts() <= 1)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_chunks_below_padding(mode):
    source = Memory(random((40, 36, 31)), (8, 9, 10))
    wide = PaddedArray(source, (3, 9, 0), (5, 0, 12), mode)
    assert lattice(wide) == ((3, 8), (0, 9), (0, 10))
    values = wide[:]
    source.read.clear()
    with overlapping(wide) as read:
        for z, y, x in itertools.product(range(0, 48, 12), range(0, 45, 15), range(0, 43, 20)):
            box = tuple(range(a, min(a + 15, n)) for a, n in zip((z, y, x), wide.shape, strict=True))
            np.testing.assert_array_equal(read(box), values[tuple(slice(r.start, r.stop) for r in box)])
    # those at the border are read for what lies beyond it, too
    counts = source.chunk_counts() if mode == "constant" else source.chunk_counts()[1:-1, 1:-1, :1]
    assert mode == "reflect" or np.all(counts <= 1)


@pytest.mark.parametrize("chunks", [None, "auto", {"z": 16}])
def test_saving_decodes_each_chunk_once(tmp_path, monkeypatch, small_slabs, chunks):
    stored = random((40, 36, 50), "i2")
    write(tmp_path / "a.nii", stored, xyzt_units=2)
    ci.convert(tmp_path / "a.nii", tmp_path / "a.ome.zarr", chunks=16)
    decoded = []
    original = chunkimg.io.zarr_read._block
    image = ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks)
    monkeypatch.setattr(chunkimg.io.zarr_read, "_block", lambda s, p, w: decoded.append(p.at) or original(s, p, w))
    smooth = image.img.smooth((4, 5, 6))
    assert not decoded
    smooth.img.save(tmp_path / "b.ome.zarr", chunks=16)
    assert sorted(decoded) == sorted(itertools.product(range(4), range(3), range(3)))
    sigma = [f / np.sqrt(8 * np.log(2)) / s for f, s in zip((6, 5, 4), image.img.spacing[::-1], strict=True)]
    expected = ndimage.gaussian_filter(stored.T.astype("f4"), sigma)
    np.testing.assert_allclose(ci.open_image(tmp_path / "b.ome.zarr").values, expected, atol=0.05)
    # in expressions, once for each time it is named
    decoded.clear()
    (image - smooth).img.save(tmp_path / "d.nii")
    if chunks is not None:
        assert sorted(decoded) == sorted(2 * list(itertools.product(range(4), range(3), range(3))))
    # a part costs what is around it
    decoded.clear()
    smooth.isel(z=slice(20, 24), y=slice(20, 24), x=slice(20, 24)).img.save(tmp_path / "c.nii")
    assert len(decoded) <= 27


def test_gzip_is_decoded_once(tmp_path, monkeypatch, small_slabs):
    from chunkimg.io import streams

    write(tmp_path / "a.nii", random((40, 36, 50), "i2"), xyzt_units=2)
    ci.convert(tmp_path / "a.nii", tmp_path / "a.nii.gz")
    taken = []
    original = streams.DecodedStream.read_into
    monkeypatch.setattr(
        streams.DecodedStream, "read_into", lambda s, b: taken.append(len(b.cast("B"))) or original(s, b)
    )
    image = ci.open_image(tmp_path / "a.nii.gz", index=False)
    image.img.smooth(6).img.save(tmp_path / "b.nii.gz")
    assert sum(taken) == 40 * 36 * 50 * 2
    plain = ci.open_image(tmp_path / "a.nii").img.smooth(6).values
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nii.gz").values, plain)


def test_of_computed_images(tmp_path, small_slabs):
    """Of what only Dask computes, each block once; expressions of files without it."""
    write(tmp_path / "a.nii", random((20, 18, 32), "i2"), xyzt_units=2)
    image = ci.open_image(tmp_path / "a.nii", chunks={"z": 8, "y": 9})
    counted = []

    def count(block):
        counted.append(block.shape)
        return block.astype("f4") - block[:1]

    opaque = image.copy(data=image.data.map_blocks(count, dtype="f4", meta=np.empty((0, 0, 0), "f4")))
    smooth = opaque.img.smooth(6)
    smooth.img.save(tmp_path / "o.ome.zarr", chunks=8)
    assert len(counted) == 8
    np.testing.assert_array_equal(ci.open_image(tmp_path / "o.ome.zarr").values, opaque.img.smooth(6).values)
    difference = image - image.img.smooth(6)
    np.testing.assert_allclose(difference.values, image.values - image.img.smooth(6).values)
    difference.img.save(tmp_path / "d.nii")
    np.testing.assert_allclose(ci.open_image(tmp_path / "d.nii").values, difference.values)


def test_in_memory_voxels_are_never_changed():
    data = random((5, 6, 7))
    kept = data.copy()

    def spoil(block):
        block[...] = 0
        return block

    assert not ci.from_array(data).img.map_overlap(spoil, depth=0).values.any()
    np.testing.assert_array_equal(data, kept)


def test_pickles_and_is_told_apart():
    volume = to_volume(ci.from_array(random((5, 6, 7)), spacing=(1, 2, 3)))
    made = smoothed(volume, 3).data
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again[:], made[:])
    assert again.__dask_tokenize__() == made.__dask_tokenize__() != smoothed(volume, 3.1).data.__dask_tokenize__()
    whole = Whole(sharper, (1, 2, 3), np.dtype("f8"))
    tokens = {str(OverlapArray(volume.data, whole, Halo((1, 2, 3), b), "f8").__dask_tokenize__()) for b in MODES}
    assert len(tokens) == 4


def test_on_workers(tmp_path):
    distributed = pytest.importorskip("distributed")
    write(tmp_path / "a.nii", random((20, 18, 32), "i2"), xyzt_units=2)
    image = ci.open_image(tmp_path / "a.nii", chunks={"z": 8})
    expected = (image * 2).img.smooth(6).values
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        for k, made in enumerate((image, image * 2)):
            made.img.smooth(6).img.save(tmp_path / f"{k}.ome.zarr", chunks=8)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "1.ome.zarr").values, expected)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "0.ome.zarr").values, image.img.smooth(6).values)


# ---------------------------------------------------------------------------------------------- refusals


def test_labels():
    labels = ci.from_array(random((5, 6, 7), "u1")).img.as_label()
    with pytest.raises(TypeError, match="assign_attrs"):
        labels.img.smooth(3)
    mask = (labels == 3).astype("f4").assign_attrs(is_label=False)
    assert mask.img.smooth(3).dtype == "f4"
    kept = labels.img.map_overlap(lambda b: ndimage.grey_dilation(b, 3), depth=1)
    assert kept.img.is_label
    np.testing.assert_array_equal(kept.values, ndimage.grey_dilation(labels.values, 3))
    assert not labels.img.map_overlap(sharper, depth=3, dtype="f8").img.is_label


def test_refusals():
    image = ci.from_array(random((5, 6, 7), "i2"))
    for options in ({}, {"depth": 1, "depth_mm": 1}):
        with pytest.raises(ValueError, match="either"):
            image.img.map_overlap(sharper, **options)
    for options in ({"depth": -1}, {"depth": 1.5}, {"depth": (1, 2)}, {"depth_mm": -1}, {"depth_mm": (1, np.nan, 1)}):
        with pytest.raises(ValueError, match="at least 0"):
            image.img.map_overlap(sharper, **options)
    with pytest.raises(ValueError, match="boundary is one of"):
        image.img.map_overlap(sharper, depth=1, boundary="wrap")
    for fill in (np.nan, 0.5, 1e9):
        with pytest.raises(ValueError, match="no value of int16"):
            image.img.map_overlap(sharper, depth=1, fill=fill)
    with pytest.raises(TypeError, match="dtype='float64'"):
        image.img.map_overlap(sharper, depth=3).load()
    with pytest.raises(ValueError, match="it gave"):
        image.img.map_overlap(lambda b: b[1:], depth=3).load()
    with pytest.raises(TypeError, match="complex"):
        (image * 1j).img.smooth(2)
    unknown = image.img.assign_geometry(units="furlong")
    with pytest.raises(ci.GeometryError, match="furlong"):
        unknown.img.smooth(2)
    with pytest.raises(ci.GeometryError, match="furlong"):
        unknown.img.map_overlap(sharper, depth_mm=2)
    assert unknown.img.map_overlap(sharper, depth=3, dtype="f8").shape == image.shape
    with pytest.raises(ci.GeometryError):
        image.mean("z").img.smooth(2)


def test_geometry_that_changes_with_time():
    turned = np.diag([1, 2, 3, 1.0])
    moved = turned.copy()
    moved[:3, 3] = 5, 6, 7
    image = ci.from_array(random((2, 5, 6, 7)), affine=[turned, moved], t=[0, 2])
    smooth = image.img.smooth(3)
    np.testing.assert_array_equal(smooth.img.affine_at(2), moved)
    larger = ci.from_array(random((2, 5, 6, 7)), affine=[turned, turned @ np.diag([0.5, 1, 1, 1])], t=[0, 2])
    with pytest.raises(ci.GeometryError, match="changes with time"):
        larger.img.smooth(3)
    assert larger.isel(t=1).img.smooth(3).shape == (5, 6, 7)


def test_halos_that_no_memory_holds_are_refused():
    image = ci.from_array(np.zeros((6, 5, 7), "u1"), affine=np.diag([0.0008, 0.0013, 0.0026, 1]))
    with pytest.raises(ci.GeometryError, match=r"GiB; is the unit right\?"):
        image.img.smooth(2)
    with pytest.raises(TypeError, match="a function of a block is expected, found str"):
        image.img.map_overlap("abs", depth=1)
