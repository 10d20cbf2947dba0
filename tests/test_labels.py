"""Statistics of labels against SimpleITK, scipy and NumPy, and the law of merging: whatever the blocks."""

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import DATA, needs_data, optional
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import affines, grids

import chunkimg as ci
from chunkimg import label_stats as module
from chunkimg.geometry import Poses
from chunkimg.label_stats import label_stats
from chunkimg.lazy import LazyArray
from chunkimg.ops import labels as ops
from chunkimg.scaling import Scaling
from chunkimg.volume import TimeAxis, Volume

ndimage = optional("scipy.ndimage")

DIMS = {3: ("z", "y", "x"), 4: ("t", "z", "y", "x"), 5: ("t", "c", "z", "y", "x")}
SHAPE = (7, 30, 41)


class Stored(LazyArray):
    """An array that notes what is read of it, in blocks of any order in memory."""

    def __init__(self, values, chunks=None, order=None, front_to_back=False):
        self.values, self.shape, self.dtype, self.chunks = values, values.shape, values.dtype, chunks
        self.file_order, self.front_to_back = order, front_to_back
        self.reads, self.largest = 0, 0

    def _read(self, region):
        block = self.values[tuple(slice(r.start, r.stop, r.step) for r in region)]
        self.reads += block.size
        self.largest = max(self.largest, block.nbytes)
        return block

    def __dask_tokenize__(self):
        return id(self)


def volume(values, grid=None, **options):
    scaling = options.pop("scaling", None)
    dims = options.pop("dims", DIMS[values.ndim])
    times = TimeAxis(tuple(1.5 * k for k in range(len(values)))) if "t" in dims else None
    return Volume(Stored(values, **options), dims, grid, times=times, scaling=scaling)


def grid_of(shape, matrix=None, units="mm"):
    matrix = np.array(
        [[1.5, 0.2, 0, -7], [0.1, -2, 0.3, 9], [0, 0.2, 3, 5], [0, 0, 0, 1.0]] if matrix is None else matrix
    )
    return ci.Grid(shape[:-4:-1], matrix, "RAS", units)


def cells(shape=SHAPE, count=12, dtype="u2", seed=0):
    """Labels in connected pieces, some of them in several, and background."""
    rng = np.random.default_rng(seed)
    seeds = rng.random((3 * count, 3)) * shape
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)[..., None, :]
    nearest = np.argmin(((at - seeds) ** 2).sum(-1), -1)
    names = rng.permutation(np.concatenate([np.arange(1, count + 1), np.zeros(2 * count, int)]) * 7)
    return names[nearest].astype(dtype)


def expected(labels, label, grid, values=None):
    """One label by NumPy, voxel by voxel."""
    where = np.argwhere(labels == label)[:, ::-1]
    low, high = where.min(0), where.max(0)
    corners = np.array([[(low - 0.5, high + 0.5)[b >> k & 1][k] for k in range(3)] for b in range(8)])
    world = corners @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    out = {
        "voxels": len(where),
        "box_start": low,
        "box_stop": high + 1,
        "centroid_index": where.mean(0),
        "centroid": (where @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]).mean(0),
        "low": world.min(0),
        "high": world.max(0),
    }
    if values is not None:
        every = values[labels == label]
        each = every[every == every].astype("f8")
        out |= {"min": each.min(), "max": each.max(), "mean": each.mean(), "std": each.std(), "sum": each.sum()}
        out["nans"] = len(every) - len(each)
    return out


def check(found, labels, grid, values=None, background=0):
    names = [v for v in np.unique(labels).tolist() if v != background]
    assert found.label.tolist() == names
    for k, name in enumerate(names):
        for key, wanted in expected(labels, name, grid, values).items():
            exact = key in ("voxels", "box_start", "box_stop", "min", "max", "nans")
            got = getattr(found, key)[k]
            np.testing.assert_allclose(got, wanted, rtol=0 if exact else 1e-11, atol=0 if exact else 1e-9, err_msg=key)


# ---------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8"])
def test_label_types(dtype):
    labels = cells(count=9, dtype=dtype)
    ends = np.iinfo(dtype)
    labels[labels == 7] = ends.max
    labels[labels == 14] = ends.min if ends.min else ends.max - 1
    grid = grid_of(SHAPE)
    for array in (labels, np.asfortranarray(labels), labels[::-1, ::2, ::-1]):
        own = grid_of(array.shape)
        check(label_stats(volume(array, own), budget=1 << 20), array, own)
    check(label_stats(volume(labels, grid), background=None), labels, grid, background=None)
    check(label_stats(volume(labels, grid), background=ends.max), labels, grid, background=ends.max)
    check(label_stats(volume(labels, grid), background=-(2**70)), labels, grid, background=None)


def test_truth_is_a_label():
    mask = cells() > 0
    grid = grid_of(SHAPE)
    found = label_stats(volume(mask, grid))
    check(found, mask.astype("u1"), grid)
    assert label_stats(volume(mask, grid), background=None).label.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_intensity_types(dtype):
    rng = np.random.default_rng(1)
    labels, grid = cells(), grid_of(SHAPE)
    kind = np.dtype(dtype).kind
    if kind in "iu":
        ends = np.iinfo(dtype)
        values = rng.integers(max(ends.min, -1000), min(ends.max, 3000), SHAPE).astype(dtype)
        values[::3, ::4, ::5] = ends.max if np.dtype(dtype).itemsize < 8 else 1 << 52
    else:
        values = (rng.normal(size=SHAPE) * 30 + (0 if kind == "b" else 100)).clip(-3e4, 3e4) > 0
        values = values if kind == "b" else (rng.normal(size=SHAPE) * 30 + 100).astype(dtype)
    found = label_stats(volume(labels, grid), volume(values, grid), budget=1 << 20)
    check(found, labels, grid, values.astype("u1") if kind == "b" else values)
    whole = kind in "biu" and np.dtype(dtype).itemsize <= 4
    assert found.sum.dtype == ("i8" if whole else "f8")
    if whole:
        assert found.sum.tolist() == [sum(values[labels == name].tolist()) for name in found.label]


def test_sums_beyond_float64_are_exact():
    labels, values = np.ones((2, 3, 4), "u1"), np.full((2, 3, 4), 2**32 - 1, "u4")
    assert label_stats(volume(labels), volume(values)).sum.tolist() == [24 * (2**32 - 1)]
    huge = Volume(_Huge((1 << 14, 1 << 14, 1 << 14)), DIMS[3], None)
    assert module._sums_fit(np.dtype("u2"), huge) and not module._sums_fit(np.dtype("i4"), huge)
    with pytest.raises(ValueError, match="do not fit 64 bits"):
        label_stats(Volume(_Huge((1 << 21, 1 << 21, 1 << 21)), DIMS[3], None))


class _Huge(LazyArray):
    def __init__(self, shape):
        self.shape, self.dtype = shape, np.dtype("u1")

    def _read(self, region):
        raise AssertionError("nothing is to be read")

    def __dask_tokenize__(self):
        return self.shape


def test_sums_of_indices_far_out_are_exact():
    # as at the far end of an image of 10^12 voxels
    block = np.ones((4, 5, 6), "u1")
    far = 10**9
    found = ops.label_sums(block, (far, 2 * far, 3 * far), None)
    assert found.sums[:, 0].tolist() == [
        120 * far + 30 * sum(range(4)),
        240 * far + 24 * sum(range(5)),
        360 * far + 20 * sum(range(6)),
    ]
    assert found.high[:, 0].tolist() == [far + 3, 2 * far + 4, 3 * far + 5]


def test_nan_and_infinity():
    labels = np.array([[[1, 1, 1, 2, 2, 3, 3, 4]]], "u1")
    values = np.array([[[1, np.nan, 5, np.nan, np.nan, np.inf, 1, -2]]], "f4")
    found = label_stats(volume(labels), volume(values))
    assert found.nans.tolist() == [1, 2, 0, 0]
    np.testing.assert_array_equal(found.mean, [3, np.nan, np.inf, -2])
    np.testing.assert_array_equal(found.std, [2, np.nan, np.nan, 0])
    np.testing.assert_array_equal(found.min, [1, np.nan, 1, -2])
    np.testing.assert_array_equal(found.max, [5, np.nan, np.inf, -2])
    json.dumps(found.as_dict(), allow_nan=False)


def test_small_deviations_of_large_values():
    rng = np.random.default_rng(2)
    labels = cells((9, 40, 50), 5)
    values = 1e8 + rng.normal(size=labels.shape) * 1e-3
    found = label_stats(volume(labels, chunks=(2, 11, 50)), volume(values), budget=1 << 20)
    for k, name in enumerate(found.label):
        assert found.std[k] == pytest.approx(values[labels == name].std(), rel=1e-6)


def test_against_scipy():
    labels, values = cells((20, 33, 47), 40) // 7, np.random.default_rng(3).normal(size=(20, 33, 47))
    found = label_stats(volume(labels), volume(values), budget=1 << 20)
    nd = ndimage
    index = found.label
    np.testing.assert_allclose(found.mean, nd.mean(values, labels, index), rtol=1e-12)
    np.testing.assert_allclose(found.std, nd.standard_deviation(values, labels, index), rtol=1e-11)
    np.testing.assert_array_equal(found.min, nd.minimum(values, labels, index))
    np.testing.assert_allclose(
        found.centroid_index[:, ::-1], nd.center_of_mass(np.ones_like(labels), labels, index), rtol=1e-12
    )
    boxes = nd.find_objects(labels)
    for name, start, stop in zip(index, found.box_start, found.box_stop, strict=True):
        assert boxes[name - 1] == tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))


# ---------------------------------------------------------------------------------------------- real images


PAIRS = [
    ("nrrd/pyradiomics/brain1_label.nrrd", "nrrd/pyradiomics/brain1_image.nrrd"),
    ("nifti/totalseg/example_seg_roi_subset.nii.gz", "nifti/totalseg/example_ct_sm.nii.gz"),
    # oblique; its own values, as labels
    ("", "nrrd/itk/HeadMRVolumeWithDirection.nhdr"),
]


@needs_data
@pytest.mark.parametrize(("labels", "image"), PAIRS, ids=["lps", "ct", "oblique"])
def test_against_simpleitk(labels, image):
    sitk = pytest.importorskip("SimpleITK")
    values = ci.open_image(DATA / image).astype("i4").img.assign_geometry(units="mm")
    if (DATA / labels).is_file():
        named = ci.open_image(DATA / labels).astype("i4").img.snap_to(values)
    else:
        named = values // 60
        assert np.abs(values.img.affine[:3, :3]).astype(bool).sum() > 3
    found = named.img.label_stats(values)
    ones = named.img.to_sitk()
    oracle = sitk.LabelIntensityStatisticsImageFilter()
    oracle.Execute(ones, values.img.to_sitk())
    assert found.label.tolist() == list(oracle.GetLabels())
    for k, name in enumerate(found.label.tolist()):
        box = oracle.GetBoundingBox(name)
        assert found.voxels[k] == oracle.GetNumberOfPixels(name)
        assert found.box_start[k].tolist() == list(box[:3])
        assert (found.box_stop - found.box_start)[k].tolist() == list(box[3:])
        assert found.volume_mm3[k] == pytest.approx(oracle.GetPhysicalSize(name), rel=1e-6)
        lps = np.array(oracle.GetCentroid(name)) * [-1, -1, 1]
        np.testing.assert_allclose(found.centroid[k], lps, atol=1e-4)
        assert found.mean[k] == pytest.approx(oracle.GetMean(name), rel=1e-9)
        assert (found.min[k], found.max[k]) == (oracle.GetMinimum(name), oracle.GetMaximum(name))
        assert found.sum[k] == oracle.GetSum(name)
        if found.voxels[k] > 1:
            n = found.voxels[k]
            # that of SimpleITK is of a sample
            assert found.std[k] * np.sqrt(n / (n - 1)) == pytest.approx(
                oracle.GetStandardDeviation(name), rel=1e-6, abs=1e-6
            )


@needs_data
def test_labels_in_gzip():
    source = DATA / "nifti/totalseg/example_seg_roi_subset.nii.gz"
    labels = ci.open_image(source, chunks=None)
    found = labels.img.label_stats(labels)
    values = labels.values
    check(found, values, labels.img.grid, values)


# ---------------------------------------------------------------------------------------------- laws


@settings(max_examples=60)
@given(st.data())
def test_any_blocks_give_the_same(data):
    """Statistics of the whole are the merged ones of any cut of it."""
    grid = data.draw(grids(low=1, high=14))
    shape = grid.shape[::-1]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = rng.integers(0, data.draw(st.sampled_from([2, 5, 300])), shape).astype("i4") * data.draw(
        st.sampled_from([1, 90_001])
    )
    if data.draw(st.booleans()):
        labels = np.repeat(labels, 3, axis=2)[..., : shape[2]]
    values = rng.integers(-50, 900, shape).astype(data.draw(st.sampled_from(["i2", "f4"])))
    cuts = [sorted(data.draw(st.sets(st.integers(1, n), max_size=3)) | {0, n}) for n in shape]
    parts = []
    for corner in np.ndindex(*(len(c) - 1 for c in cuts)):
        at = tuple(slice(c[k], c[k + 1]) for c, k in zip(cuts, corner, strict=True))
        sums = ops.label_sums(labels[at], [s.start for s in at], 0, values[at], values.dtype.kind == "i")
        parts = ops.added(parts, [sums])
    together = ops.merged(parts)
    whole = ops.label_sums(labels, (0, 0, 0), 0, values, values.dtype.kind == "i")
    for name in ("labels", "voxels", "sums", "low", "high"):
        np.testing.assert_array_equal(getattr(together, name), getattr(whole, name))
    for name in ("count", "sum", "low", "high"):
        np.testing.assert_array_equal(getattr(together.values, name), getattr(whole.values, name))
    np.testing.assert_allclose(together.values.squares, whole.values.squares, rtol=1e-12, atol=1e-9)
    found = label_stats(volume(labels, grid, chunks=tuple(max(1, n // 2) for n in shape)), volume(values, grid))
    check(found, labels, grid, values)


@settings(max_examples=25)
@given(affines(), st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_flips_and_permutations_move_nothing(matrix, order, flips):
    labels, values = cells(), np.random.default_rng(4).integers(0, 99, SHAPE).astype("u1")
    image = ci.from_array(labels, affine=matrix)
    signal = ci.from_array(values, affine=matrix)
    turned = tuple(slice(None, None, -1 if f else 1) for f in flips)
    a, b = image.img.label_stats(signal), image[turned].img.label_stats(signal[turned])
    np.testing.assert_array_equal(a.voxels, b.voxels)
    np.testing.assert_array_equal(a.sum, b.sum)
    scale = np.abs(matrix).max() * 100
    for name in ("centroid", "low", "high", "mean", "volume_mm3"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-12 * scale)


def test_groups_and_rows_longer_than_a_group(monkeypatch):
    labels, grid = cells((5, 21, 60), 20), grid_of((5, 21, 60))
    values = np.random.default_rng(5).normal(size=labels.shape)
    for group in (1, 7, 61, 600):
        monkeypatch.setattr(ops, "_GROUP", group)
        check(label_stats(volume(labels, grid), volume(values, grid)), labels, grid, values)


def test_labels_are_moved_a_few_times_however_many_parts():
    moved = []
    part = [ops.label_sums(np.full((1, 1, 1), k, "i4"), (k, 0, 0), None) for k in range(1, 1025)]
    parts = []
    for each in part:
        before = {id(p) for p in parts}
        parts = ops.added(parts, [each])
        moved.append(sum(p.labels.size for p in parts if id(p) not in before))
    found = ops.merged(parts)
    assert found.labels.tolist() == list(range(1, 1025)) and found.low[0].tolist() == found.labels.tolist()
    assert sum(moved) <= 1024 * 12


# ---------------------------------------------------------------------------------------------- frames, channels


def test_frames_have_rows_of_their_own():
    labels = np.stack([cells(seed=k) for k in range(3)])
    values = np.random.default_rng(6).integers(0, 999, labels.shape).astype("u2")
    found = label_stats(volume(labels, grid_of(SHAPE)), volume(values, grid_of(SHAPE)), budget=1 << 20)
    for k, t in enumerate((0.0, 1.5, 3.0)):
        rows = np.flatnonzero(found.t == t)
        assert found.label[rows].tolist() == [n for n in np.unique(labels[k]).tolist() if n]
        for row in rows:
            wanted = expected(labels[k], found.label[row], grid_of(SHAPE), values[k])
            np.testing.assert_allclose(found.centroid[row], wanted["centroid"], atol=1e-9)
            assert (found.voxels[row], found.sum[row]) == (wanted["voxels"], wanted["sum"])
    assert found.c is None


@pytest.mark.parametrize("front_to_back", [False, True])
def test_one_atlas_for_all_frames(front_to_back):
    labels = cells()
    values = np.random.default_rng(7).integers(0, 999, (4, 2, *SHAPE)).astype("i2")
    order = (2, 1, 0) if front_to_back else None
    atlas = volume(np.asfortranarray(labels), grid_of(SHAPE), order=order, front_to_back=front_to_back)
    found = label_stats(atlas, volume(values, grid_of(SHAPE)), budget=1 << 20)
    names = [n for n in np.unique(labels).tolist() if n]
    assert found.label.tolist() == names * 8
    assert found.c.tolist() == [c for _ in range(4) for c in range(2) for _ in names]
    wanted = [values[t, c][labels == n].mean() for t in range(4) for c in range(2) for n in names]
    np.testing.assert_allclose(found.mean, wanted, rtol=1e-12)
    if front_to_back:
        # it was put into a temporary file, and read from there
        assert atlas.data.reads == labels.size


def test_frames_that_move():
    labels = np.stack([cells(seed=0)] * 2)
    grid = grid_of(SHAPE)
    moved = grid.matrix.copy()
    moved[:3, 3] += [3, 4, 5]
    poses = Poses(grid.affine, (0.0, 1.5), (grid.affine, tuple(map(tuple, moved.tolist()))))
    tracked = Volume(Stored(labels), DIMS[4], grid, times=TimeAxis((0.0, 1.5)), poses=poses)
    found = label_stats(tracked)
    half = len(found) // 2
    np.testing.assert_allclose(found.centroid[half:] - found.centroid[:half], [[3, 4, 5]] * half, atol=1e-9)
    still = Volume(Stored(labels), DIMS[4], grid, times=TimeAxis((0.0, 1.5)))
    with pytest.raises(ci.GeometryError, match="displaced"):
        label_stats(tracked, still)
    with pytest.raises(ci.GeometryError, match="displaced"):
        label_stats(volume(labels[0], grid), tracked)


def test_frames_that_do_not_belong_together():
    labels = volume(np.zeros((2, *SHAPE), "u1"), grid_of(SHAPE))
    with pytest.raises(ci.GeometryError, match=r"2 frames, the intensities 3.*isel\(t="):
        label_stats(labels, volume(np.zeros((3, *SHAPE), "u1"), grid_of(SHAPE)))
    late = Volume(Stored(np.zeros((2, *SHAPE), "u1")), DIMS[4], grid_of(SHAPE), times=TimeAxis((7.0, 9.0)))
    with pytest.raises(ci.GeometryError, match="other times"):
        label_stats(labels, late)


# ---------------------------------------------------------------------------------------------- places, units


def test_units():
    labels = np.ones(SHAPE, "u1")
    matrix = np.diag([2.0, 3, 4, 1])
    for units, size in (("mm", 24.0), ("um", 24e-9), ("m", 24e9)):
        found = label_stats(volume(labels, grid_of(SHAPE, matrix, units)))
        assert found.volume_mm3[0] == pytest.approx(labels.size * size, rel=1e-12)
        assert found.centroid[0].tolist() == [40, 43.5, 12] and found.units == units
    found = label_stats(volume(labels, grid_of(SHAPE, matrix, "unknown")))
    assert found.volume_mm3 is None and "assign_geometry(units=" in found.notes[0]
    found = label_stats(volume(labels))
    assert found.centroid is None and "no position" in found.notes[0] and found.voxels[0] == labels.size


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_labels_in_floating_point(dtype):
    labels, grid = cells(), grid_of(SHAPE)
    expected = label_stats(volume(labels, grid), volume(labels, grid)).columns()
    for image in (volume(labels.astype(dtype), grid), volume(labels, grid, scaling=Scaling(3.0, 0.0))):
        factor = 1 if image.scaling is None else 3
        found = label_stats(image, volume(labels, grid)).columns()
        for name, column in expected.items():
            np.testing.assert_array_equal(found[name], column * factor if name == "label" else column)


def test_refused():
    labels, grid = cells(), grid_of(SHAPE)
    with pytest.raises(TypeError, match=r"labels are integers.*\.5"):
        label_stats(volume(labels + np.float32(0.5), grid))
    with pytest.raises(TypeError, match=r"labels are integers.*complex64"):
        label_stats(volume(labels.astype("c8"), grid))
    with pytest.raises(TypeError, match=r"real numbers.*complex"):
        label_stats(volume(labels, grid), volume(labels.astype("c8"), grid))
    shifted = grid.matrix.copy()
    shifted[0, 3] += 0.01
    with pytest.raises(ci.GeometryError, match="displaced"):
        label_stats(volume(labels, grid), volume(labels, grid_of(SHAPE, shifted)))
    assert len(label_stats(volume(labels, grid), volume(labels, grid_of(SHAPE, shifted)), tol=0.1))
    with pytest.raises(ci.GeometryError, match="size"):
        label_stats(volume(labels, grid), volume(labels[1:], grid_of((6, *SHAPE[1:]))))
    with pytest.raises(ci.GeometryError, match="intensities have no position"):
        label_stats(volume(labels, grid), volume(labels))
    with pytest.raises(ci.GeometryError, match=r"sizes \(41, 30, 7\), the intensities \(41, 30, 6\)"):
        label_stats(volume(labels), volume(labels[1:]))


def test_scaled_intensities():
    labels, grid = cells(), grid_of(SHAPE)
    stored = np.random.default_rng(8).integers(0, 200, SHAPE).astype("u1")
    found = label_stats(volume(labels, grid), volume(stored, grid, scaling=Scaling(0.5, -3.0)))
    check(found, labels, grid, stored * 0.5 - 3)


# ---------------------------------------------------------------------------------------------- what comes out


def test_nothing_but_background():
    found = label_stats(volume(np.zeros(SHAPE, "u2"), grid_of(SHAPE)), volume(np.zeros(SHAPE, "f4"), grid_of(SHAPE)))
    assert len(found) == 0 and found.label.dtype == "u2" and found.centroid.shape == (0, 3)
    assert found.as_dict()["labels"] == [] and len(found.to_pandas()) == 0


def test_table():
    labels = ci.from_array(np.array([[[0, 4, 4], [4, 0, 9]]], "u1"), spacing=(1, 2, 3))
    found = labels.img.label_stats(labels)
    with pytest.raises(ValueError, match="read-only"):
        found.voxels[0] = 1
    frame = found.to_pandas()
    assert frame.columns.tolist() == [
        "label", "voxels", "volume_mm3", "x", "y", "z", "index_x", "index_y", "index_z", "start_x", "start_y",
        "start_z", "stop_x", "stop_y", "stop_z", "low_x", "low_y", "low_z", "high_x", "high_y", "high_z", "mean", "std",
        "min", "max", "sum", "nans",
    ]  # fmt: skip
    assert frame.loc[1, ["label", "x", "y", "stop_y", "low_y", "high_z"]].tolist() == [9, 2, 2, 2, 1, 1.5]
    assert found.as_dict() == {
        "units": "mm",
        "space": "RAS",
        "notes": [],
        "labels": [
            {
                "label": 4,
                "voxels": 3,
                "volume_mm3": 18.0,
                "centroid": [1.0, 2 / 3, 0.0],
                "centroid_index": [1.0, 1 / 3, 0.0],
                "box_start": [0, 0, 0],
                "box_stop": [3, 2, 1],
                "low": [-0.5, -1.0, -1.5],
                "high": [2.5, 3.0, 1.5],
                "mean": 4.0,
                "std": 0.0,
                "min": 4,
                "max": 4,
                "sum": 12,
                "nans": 0,
            },
            {
                "label": 9,
                "voxels": 1,
                "volume_mm3": 6.0,
                "centroid": [2.0, 2.0, 0.0],
                "centroid_index": [2.0, 1.0, 0.0],
                "box_start": [2, 1, 0],
                "box_stop": [3, 2, 1],
                "low": [1.5, 1.0, -1.5],
                "high": [2.5, 3.0, 1.5],
                "mean": 9.0,
                "std": 0.0,
                "min": 9,
                "max": 9,
                "sum": 9,
                "nans": 0,
            },
        ],
    }


def test_a_box_crops_to_the_label():
    labels = ci.from_array(cells(), affine=grid_of(SHAPE).affine)
    found = labels.img.label_stats()
    for k, name in enumerate(found.label):
        part = labels.img.crop_world(found.low[k], found.high[k])
        assert (part == name).sum() == found.voxels[k]


# ---------------------------------------------------------------------------------------------- one pass, memory


def test_one_pass_in_blocks():
    labels, values = np.zeros((64, 64, 512), "u2"), np.zeros((64, 64, 512), "f4")
    labels[::2] = 5
    a, b = volume(labels, chunks=(8, 8, 64)), volume(values, chunks=(16, 8, 32))
    assert label_stats(a, b, budget=4 << 20).voxels.tolist() == [32 * 64 * 512]
    assert a.data.reads == b.data.reads == labels.size
    assert a.data.largest + b.data.largest <= 1 << 20


class _Slabs(LazyArray):
    """Labels that are made when they are read."""

    def __init__(self, depth, count):
        self.shape, self.dtype, self.count = (depth, 128, 128), np.dtype("i4"), count

    def _read(self, region):
        z, y, x = np.ix_(*(np.asarray(r) for r in region))
        return ((z * 131 + y // 4 * 7 + x // 8) % self.count + 1).astype("i4")

    def __dask_tokenize__(self):
        return (self.shape, self.count)


def test_memory_is_flat_in_the_size_of_the_image():
    def peak(depth, count):
        tracemalloc.start()
        try:
            found = label_stats(Volume(_Slabs(depth, count), DIMS[3], None), budget=4 << 20)
            assert len(found) == count and found.voxels.sum() == depth * 128 * 128
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # of 40 MiB of labels
    assert peak(640, 50) < 4 * (4 << 20)
    assert peak(640, 5000) < 4 * (4 << 20) + 5000 * 1000


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path):
    grid = grid_of(SHAPE)
    labels, values = cells(), np.random.default_rng(9).integers(0, 99, (2, *SHAPE)).astype("i2")
    ci.from_array(labels, affine=grid.affine).img.save(tmp_path / "labels.nii.gz")
    ci.from_array(values, affine=grid.affine).img.save(tmp_path / "series.ome.zarr")
    return tmp_path / "labels.nii.gz", tmp_path / "series.ome.zarr", labels


def test_command(files, command):
    names, series, labels = files
    out = json.loads(command("labels", names, "--intensity", series, "--t", "1", "--json").out)
    found = ci.open_image(names).img.label_stats(ci.open_image(series)[1:])
    assert out == found.as_dict() and len(out["labels"]) == len(np.unique(labels)) - 1
    rows = [line.split() for line in command("labels", names).out.splitlines()]
    assert rows[0] == ["label", "voxels", "volume_mm3", "centroid", "x", "centroid", "y", "centroid", "z", *"xyz"]
    start, stop = found.box_start[0], found.box_stop[0]
    assert rows[1][:2] == [str(found.label[0]), str(found.voxels[0])]
    assert rows[1][-3:] == [f"{a}:{b}" for a, b in zip(start, stop, strict=True)]
    part = json.loads(command("labels", names, "--z", "2:5", "--all", "--json").out)
    assert sum(row["voxels"] for row in part["labels"]) == labels[2:5].size
    assert "dims z, y, x" in command("labels", names, "--t", "0", code=1).err
    assert "2 frames" not in command("labels", names, "--intensity", series).err


def test_command_says_why_a_column_is_missing(tmp_path, command):
    ci.from_array(cells(), spacing=(1, 1, 1), units="unknown").img.save(tmp_path / "a.nii")
    said = command("labels", tmp_path / "a.nii")
    assert "no volumes" in said.err and "volume" not in said.out


def test_command_needs_neither_xarray_nor_dask(files):
    names, series, *_ = files
    script = f"""
import sys, chunkimg.cli as c
sys.argv[1:] = ["labels", {str(names)!r}, "--intensity", {str(series)!r}]
try: c.main()
except SystemExit as e: assert not e.code
print(sorted({{"xarray", "dask", "pandas", "nibabel", "zarr"}} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
