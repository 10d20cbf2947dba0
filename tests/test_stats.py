"""Statistics against NumPy, scipy and SimpleITK, whatever the type, the blocks and the kernel."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import chunkimg as ci
from chunkimg import statistics
from chunkimg.lazy import LazyArray
from chunkimg.ops import count_kernel, counts, machine_code, ranks
from chunkimg.ops.stats import Moments
from chunkimg.scaling import Scaling
from chunkimg.volume import Volume

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
FLOATS = ("f2", "f4", "f8")
PERCENTILES = (0, 0.1, 1, 25, 100 / 3, 50, 75, 99, 99.99, 100)
SHAPE = (7, 90, 131)


class Stored(LazyArray):
    """An array that notes how often its voxels are read."""

    def __init__(self, values, chunks=None, order=None):
        self.values, self.shape, self.dtype, self.chunks = values, values.shape, values.dtype, chunks
        self.file_order, self.front_to_back = order, order is not None
        self.reads, self.largest = 0, 0

    def _read(self, region):
        block = self.values[tuple(slice(r.start, r.stop, r.step) for r in region)]
        self.reads += block.size
        self.largest = max(self.largest, block.nbytes)
        return block

    def __dask_tokenize__(self):
        return id(self)

    @property
    def passes(self):
        return self.reads / self.values.size


def volume(values, scaling=None, **options):
    return Volume(Stored(values, **options), ("z", "y", "x"), None, scaling=scaling)


def integers(dtype, shape=SHAPE, seed=0):
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    few = rng.integers(max(info.min, -5), 6, shape).astype(dtype)
    wide = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    ends = np.array([info.min, info.max], dtype)[(few > 2).astype(int)]
    return {"few": few, "wide": wide, "ends": ends}


def floats(dtype, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    noise = (rng.normal(size=shape) * 20 - 3).astype(dtype)
    gaps = noise.copy()
    gaps[0, ::2] = np.nan
    gaps[3, 4, 5:9] = -np.nan
    zeros = np.where(noise > 0, noise, 0).astype(dtype)
    zeros[1, 2, ::3] = -0.0
    return {"noise": noise, "gaps": gaps, "zeros": zeros, "big": (noise * 10 + 3000).astype(dtype)}


def check(found, values):
    """A result against NumPy, for finite values."""
    values = np.asarray(values)
    numbers = values[values == values]
    wide = numbers.astype("f8")
    assert (found.count, found.nans) == (numbers.size, values.size - numbers.size)
    assert (found.min, found.max) == (numbers.min(), numbers.max())
    if values.dtype.kind == "f":
        assert found.sum == pytest.approx(math.fsum(wide.tolist()), rel=1e-11)
    else:
        assert found.sum == sum(numbers.tolist())
    scale = np.abs(wide).max()
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-14 * scale)
    assert found.std == pytest.approx(wide.std(), rel=1e-10)
    expected = np.percentile(wide, list(found.percentiles))
    # integers of 64 bits are rounded once, not before they are interpolated
    exact = values.dtype.itemsize < 8 or values.dtype.kind == "f"
    np.testing.assert_allclose(list(found.percentiles.values()), expected, rtol=0 if exact else 1e-15)
    if found.histogram is not None:
        count, edges = np.histogram(numbers, len(found.histogram.counts))
        np.testing.assert_array_equal(found.histogram.counts, count)
        np.testing.assert_array_equal(found.histogram.edges, edges)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype):
    for values in integers(dtype).values():
        for array in (values, np.asfortranarray(values)):
            check(statistics.stats(volume(array), PERCENTILES, bins=37, budget=1 << 20), values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(dtype):
    for values in floats(dtype).values():
        check(statistics.stats(volume(values), PERCENTILES, bins=37, budget=1 << 20), values)


def test_truth_counts_as_one():
    values = np.random.default_rng(0).random((3, 4, 5)) > 0.3
    found = ci.from_array(values, spacing=(1, 2, 3)).img.stats((50,))
    check(found, values.astype("u1"))
    assert found.min == 0 and type(found.min) is int
    assert found.sum == values.sum()
    assert ci.from_array(values, spacing=(1, 2, 3)).img.count_labels().as_dict() == {
        0: (~values).sum(),
        1: values.sum(),
    }


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u8", "f4", "f8"])
def test_any_blocks_give_the_same(dtype):
    rng = np.random.default_rng(1)
    values = (rng.normal(size=(20, 70, 300)) * 50 + 100).astype(dtype)
    whole = statistics.stats(volume(values), PERCENTILES, bins=11)
    for options in ({"chunks": (8, 32, 64)}, {"order": (1, 2, 0)}, {"chunks": (3, 70, 1)}):
        part = statistics.stats(volume(values, **options), PERCENTILES, bins=11, budget=1 << 20)
        assert (part.count, part.min, part.max, part.percentiles) == (
            whole.count,
            whole.min,
            whole.max,
            whole.percentiles,
        )
        np.testing.assert_array_equal(part.histogram.counts, whole.histogram.counts)
        assert part.sum == (pytest.approx(whole.sum, rel=1e-12) if values.dtype.kind == "f" else whole.sum)
        assert part.std == pytest.approx(whole.std, rel=1e-12)


def test_passes_and_blocks(monkeypatch):
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(40, 200, 300)) * 1000
    for dtype, most in (("u1", 1), ("i2", 1), ("i4", 2), ("f4", 2), ("f8", 4), ("i8", 4)):
        source = volume(noise.astype(dtype), chunks=(8, 50, 60))
        statistics.stats(source, (1, 50), bins=5, budget=4 << 20)
        assert source.data.passes <= most
        assert source.data.largest <= 1 << 20
    monkeypatch.setattr(ranks, "_GROUP", 50_000)
    for values in (np.where(noise > 0, noise.round(), 0.0), noise.astype("f4").astype("f8")):
        source = volume(values)
        check(statistics.stats(source), values)
        assert source.data.passes <= 3
    for options in ({}, {"bins": 7, "range": (-1, 1)}):
        source = volume(noise)
        statistics.stats(source, (), **options)
        assert source.data.passes == 1


def test_far_from_zero_nothing_is_lost():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=SHAPE)
    for offset in (1e6, -1e9, 1e12):
        found = statistics.stats(volume(noise + offset), (), budget=1 << 20)
        assert found.std == pytest.approx((noise + offset - offset).std(), rel=1e-3 if offset == 1e12 else 1e-6)
    steps = rng.integers(0, 2, SHAPE)
    for offset in (2**31 - 2, -(2**31), 2**40):
        assert statistics.stats(volume(steps + offset), ()).std == pytest.approx(steps.std(), rel=1e-9)


def test_infinities_and_nothing_but_nan():
    values = floats("f4")["gaps"]
    values[2, 2, 2], values[3, 3, 3:6] = -np.inf, np.inf
    for dtype in FLOATS:
        found = statistics.stats(volume(values.astype(dtype)), (0, 50, 100), bins=3, range=(-1, 1))
        assert (found.min, found.max) == (-math.inf, math.inf)
        assert math.isnan(found.mean) and math.isnan(found.std)
        assert found.percentiles[0] == -math.inf and found.percentiles[100] == math.inf
        assert found.percentiles[50] == np.nanmedian(values.astype(dtype).astype("f8"))
        np.testing.assert_array_equal(found.histogram.counts, np.histogram(values.astype(dtype), 3, (-1, 1))[0])
        with pytest.raises(ValueError, match="from -inf to inf; give the histogram a range"):
            statistics.histogram(volume(values.astype(dtype)), 3)
        empty = statistics.stats(volume(np.full((2, 3, 4), np.nan, dtype)), (50,), bins=4)
        assert (empty.count, empty.nans, empty.sum) == (0, 24, 0)
        assert all(math.isnan(v) for v in (empty.min, empty.max, empty.mean, empty.std, empty.percentiles[50]))
        assert empty.histogram.counts.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "i4", "f4"])
def test_scaled_images(dtype):
    values = floats(dtype)["gaps"] if dtype[0] == "f" else integers(dtype)["few"]
    for scaling in (Scaling(-2.5, 1000.25), Scaling(0.1, 0.0)):
        check(statistics.stats(volume(values, scaling), PERCENTILES, bins=19), scaling.apply(values))


@pytest.mark.parametrize("edges", [[-3, 0, 0.5, 4], np.linspace(-5, 5, 12)])
def test_histograms_with_edges(edges):
    for values in (integers("i2")["few"], integers("i8")["few"], floats("f4")["gaps"]):
        expected = np.histogram(values, edges)
        found = statistics.histogram(volume(values), edges, budget=1 << 20)
        np.testing.assert_array_equal(found.counts, expected[0])
        np.testing.assert_array_equal(found.edges, expected[1])


# ---------------------------------------------------------------------------------------------- labels


def label_map(dtype, number, shape=(31, 64, 87), seed=0):
    """Boxes of labels, as of a segmentation, in front of 0."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, dtype)
    info = np.iinfo(dtype)
    ids = rng.integers(max(info.min, -(2**62)), min(info.max, 2**62), number, dtype=dtype)
    for label in ids:
        at = [rng.integers(0, n) for n in shape]
        out[tuple(slice(a, a + rng.integers(2, 12)) for a in at)] = label
    return out


@pytest.mark.parametrize("dtype", INTEGERS)
def test_counts_of_labels(dtype):
    noise = integers(dtype)
    few = np.random.default_rng(4).integers(0, 100, (4, 50, 70)).astype(dtype)
    for values in (label_map(dtype, 3), label_map(dtype, 900), few, *noise.values(), np.full((2, 3, 4), 7, dtype)):
        expected = np.unique(values, return_counts=True)
        found = statistics.count_labels(volume(np.asfortranarray(values), chunks=(5, 16, 40)), budget=1 << 20)
        np.testing.assert_array_equal(found.labels, expected[0])
        np.testing.assert_array_equal(found.counts, expected[1])
        assert found.labels.dtype == values.dtype and found.counts.dtype == np.int64
        assert found.as_dict() == dict(zip(expected[0].tolist(), expected[1].tolist(), strict=True))


def test_many_labels_in_many_blocks(monkeypatch):
    monkeypatch.setattr(counts, "_PIECE", 1000)
    monkeypatch.setattr(counts, "_GROUP", 7000)
    rng = np.random.default_rng(5)
    values = np.repeat(rng.integers(0, 2**60, (40, 60, 50)), 5, axis=2)
    found = statistics.count_labels(volume(values, chunks=(10, 20, 50)), budget=1 << 20)
    expected = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found.labels, expected[0])
    np.testing.assert_array_equal(found.counts, expected[1])


def test_labels_are_integers():
    with pytest.raises(TypeError, match=r"labels are integers; .*whole numbers.*, as -?\d"):
        statistics.count_labels(volume(floats("f4")["noise"]))
    with pytest.raises(TypeError, match="labels are integers"):
        statistics.count_labels(volume(integers("u1")["few"], Scaling(2.0, 0.5)))
    with pytest.raises(TypeError, match="labels are integers, this image holds complex64"):
        statistics.count_labels(volume(np.ones((2, 3, 4), "c8")))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_labels_in_floating_point(dtype):
    values = np.random.default_rng(3).integers(-3, 900, (5, 6, 70)).astype(dtype)
    found = statistics.count_labels(volume(values))
    expected = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found.labels, expected[0])
    np.testing.assert_array_equal(found.counts, expected[1])
    assert found.labels.dtype.kind == "i"
    doubled = statistics.count_labels(volume(integers("u1")["few"], Scaling(2.0, 1.0)))
    assert doubled.as_dict() == {
        2 * k + 1: n for k, n in statistics.count_labels(volume(integers("u1")["few"])).as_dict().items()
    }


# ---------------------------------------------------------------------------------------------- kernel


def digit_cases():
    rng = np.random.default_rng(6)
    noise = rng.integers(0, 1 << 16, 300_001).astype("u2")
    yield from (noise, noise[:3], noise[:0], noise[::-2], np.full(200_000, 65535, "u2"), np.repeat(noise[:999], 301))
    yield noise.astype("f4").view("u2")[1::2]
    unaligned = np.frombuffer(b"\0" + noise.tobytes(), "u1", offset=1)[: 2 * 1001].view("u2")
    yield unaligned
    fixed = noise.copy()
    fixed.flags.writeable = False
    yield fixed


def test_the_kernel_counts_as_numpy_does():
    pytest.importorskip("llvmlite", reason="the kernel needs the extra [fast]")
    assert count_kernel.count_kernel() is not None
    for digit in digit_cases():
        expected = np.bincount(digit, minlength=1 << 16)
        np.testing.assert_array_equal(counts.count_digits(digit, fast=True), expected)
        np.testing.assert_array_equal(counts.count_digits(digit, fast=False), expected)


def test_whole_results_do_not_depend_on_the_kernel(monkeypatch):
    pytest.importorskip("llvmlite", reason="the kernel needs the extra [fast]")
    for values in (integers("i2")["wide"], integers("u2")["few"], floats("f4")["gaps"], integers("i8")["wide"]):
        results = []
        for limit in (0, 1 << 60):
            monkeypatch.setattr(count_kernel, "_WORTH", limit)
            assert count_kernel.worth(values.nbytes) == (limit == 0)
            results.append(statistics.stats(volume(values), PERCENTILES, bins=9, budget=1 << 20).as_dict())
        assert results[0] == results[1]


def test_without_a_kernel_numpy_does_the_work(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such LLVM")

    monkeypatch.setattr(machine_code, "_compiled", broken)
    monkeypatch.setattr(count_kernel, "_WORTH", 0)
    made = (machine_code._made, count_kernel.count_kernel)
    for cached in made:
        cached.cache_clear()
    try:
        assert count_kernel.count_kernel() is None
        check(statistics.stats(volume(integers("i2")["wide"])), integers("i2")["wide"])
    finally:
        for cached in made:
            cached.cache_clear()


def test_small_jobs_do_not_load_the_kernel(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "a.nii"
    ci.from_array(np.arange(60, dtype="i2").reshape(3, 4, 5), spacing=(1, 2, 3)).img.save(path)
    heavy = ("llvmlite", "xarray", "dask", "pandas")
    code = f"""
import sys
from chunkimg.cli import main
sys.argv[1:] = ["stats", {str(path)!r}]
try:
    main()
finally:
    print([m for m in {heavy!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------------------------------------- images


def test_of_images(tmp_path):
    rng = np.random.default_rng(7)
    values = rng.integers(-1000, 3000, (3, 9, 31, 17)).astype("i2")
    image = ci.from_array(values, ("t", "z", "y", "x"), spacing=(1, 2, 3))
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.ome.zarr"):
        image.img.save(tmp_path / name)
        for chunks in ("auto", None):
            opened = ci.open_image(tmp_path / name, chunks=chunks)
            check(opened.img.stats(PERCENTILES, bins=10), values)
            check(opened.isel(t=1, z=slice(2, 7), x=slice(None, None, -2)).img.stats(), values[1, 2:7, :, ::-2])
            np.testing.assert_array_equal(opened.img.histogram(12)[0], np.histogram(values, 12)[0])
            assert opened.img.count_labels().counts.sum() == values.size


def test_of_expressions(tmp_path):
    rng = np.random.default_rng(8)
    values = rng.integers(0, 255, (9, 31, 17)).astype("u1")
    ci.from_array(values, spacing=(1, 2, 3)).img.save(tmp_path / "a.ome.zarr", chunks=8)
    image = ci.open_image(tmp_path / "a.ome.zarr")
    check((image * 0.5 - 3).img.stats(PERCENTILES, bins=10), values * 0.5 - 3)
    check((image.astype("i4") - 100).img.stats(), values.astype("i4") - 100)
    assert (image > 100).img.count_labels().as_dict() == {0: (values <= 100).sum(), 1: (values > 100).sum()}
    masked = image.where(image > 30)
    assert masked.img.stats(()).nans == (values <= 30).sum()


def test_what_has_no_order_is_refused():
    values = np.ones((2, 3, 4), "c8")
    image = ci.from_array(values, spacing=(1, 2, 3))
    for ask in (image.img.stats, image.img.histogram):
        with pytest.raises(TypeError, match=r"real numbers, this image holds complex64; take a part"):
            ask()
    for wrong in (-1, 100.5, math.nan):
        with pytest.raises(ValueError, match="percentiles are numbers from 0 to 100"):
            abs(image).img.stats([wrong])


def test_against_simpleitk(nibabel_data):
    sitk = pytest.importorskip("SimpleITK")
    for name in ("anatomical.nii", "functional.nii"):
        image = ci.open_image(nibabel_data / name)
        image = image.isel(t=1) if "t" in image.dims else image
        other = sitk.StatisticsImageFilter()
        other.Execute(image.img.to_sitk())
        found = image.img.stats()
        assert (found.min, found.max) == (other.GetMinimum(), other.GetMaximum())
        assert found.sum == pytest.approx(other.GetSum(), rel=1e-9)
        assert found.mean == pytest.approx(other.GetMean(), rel=1e-9)
        # ITK divides by one less than the count
        sigma = found.std * math.sqrt(found.count / (found.count - 1))
        assert sigma == pytest.approx(other.GetSigma(), rel=1e-6)


def test_labels_against_simpleitk_and_scipy():
    sitk = pytest.importorskip("SimpleITK")
    ndimage = pytest.importorskip("scipy.ndimage")
    values = label_map("u2", 40)
    image = ci.from_array(values, spacing=(0.7, 1.1, 2.3))
    found = image.img.count_labels().as_dict()
    other = sitk.LabelShapeStatisticsImageFilter()
    other.Execute(image.img.to_sitk())
    assert {k: n for k, n in found.items() if k} == {k: other.GetNumberOfPixels(k) for k in other.GetLabels()}
    labels = list(found)
    assert list(found.values()) == ndimage.sum_labels(np.ones(values.shape), values, labels).tolist()


def test_moments_merge_in_any_grouping():
    rng = np.random.default_rng(9)
    parts = [rng.normal(loc, 2, (n, 3, 5)) for loc, n in ((1e5, 4), (-3, 1), (7e4, 30), (0, 2))]
    whole = np.concatenate(parts)
    each = [Moments.of_block(p) for p in parts]
    left = each[0].merged(each[1]).merged(each[2]).merged(each[3]).merged(Moments())
    right = Moments().merged(each[0]).merged(each[1].merged(each[2].merged(each[3])))
    for found in (left, right):
        assert found.count == whole.size
        assert found.mean == pytest.approx(whole.mean(), rel=1e-13)
        assert math.sqrt(found.squares / found.count) == pytest.approx(whole.std(), rel=1e-13)


# ---------------------------------------------------------------------------------------------- command line


def run(*args):
    from chunkimg.cli import cli

    return CliRunner().invoke(cli, ["stats", *map(str, args)])


def test_command(tmp_path):
    rng = np.random.default_rng(10)
    values = rng.integers(0, 50, (9, 31, 17)).astype("i2")
    path = tmp_path / "a.nii.gz"
    ci.from_array(values, spacing=(1, 2, 3)).img.save(path)
    text = dict(line.split(None, 1) for line in run(path).stdout.splitlines() if "%" not in line)
    assert int(text["values"]) == values.size
    assert int(text["sum"]) == values.sum()
    assert float(text["std"]) == pytest.approx(values.std(), rel=1e-7)
    part = values[2:4, :, ::-3]
    result = run(path, "--json", "--z", "2:4", "--x", "::-3", "--percentiles", "5,50", "--bins", 7, "--range", 0, 40)
    found = json.loads(result.stdout)
    assert found["percentiles"] == {"5": np.percentile(part, 5), "50": np.percentile(part, 50)}
    assert found["histogram"]["counts"] == np.histogram(part, 7, (0, 40))[0].tolist()
    assert found["sum"] == part.sum()
    labels = json.loads(run(path, "--labels", "--json").stdout)["labels"]
    assert labels == {str(k): int(n) for k, n in zip(*np.unique(values, return_counts=True), strict=True)}
    rows = [line.split() for line in run(path, "--labels").stdout.splitlines()]
    assert rows[0] == ["label", "voxels"] and rows[1] == ["0", str((values == 0).sum())]
    assert "from 0" in run(path, "--bins", 3).stdout


def test_command_on_nothing_but_nan_and_stored_values(tmp_path):
    ci.from_array(np.full((2, 3, 4), np.nan, "f4"), spacing=(1, 2, 3)).img.save(tmp_path / "a.nii")
    found = json.loads(run(tmp_path / "a.nii", "--json").stdout)
    assert (found["count"], found["nans"], found["min"]) == (0, 24, "NaN")
    values = np.arange(24, dtype="i2").reshape(2, 3, 4)
    ci.from_array(values * 0.5, spacing=(1, 2, 3)).img.save(tmp_path / "b.nii", dtype="i2", scaling=(0.5, 0))
    assert json.loads(run(tmp_path / "b.nii", "--json").stdout)["max"] == 11.5
    assert json.loads(run(tmp_path / "b.nii", "--json", "--stored").stdout)["max"] == 23
    assert "NaN     24" in run(tmp_path / "a.nii").stdout


def test_command_with_wrong_options(tmp_path):
    path = tmp_path / "a.nii"
    ci.from_array(np.full((2, 3, 4), 0.5, "f4"), spacing=(1, 2, 3)).img.save(path)
    for args in (["--labels", "--bins", 3], ["--range", 0, 1], ["--percentiles", "a"]):
        assert run(path, *args).exit_code == 2
    with pytest.raises(TypeError, match="labels are integers"):
        raise run(path, "--labels").exception
