"""Means and modes of blocks against a plain reading of what they are."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkimg.lazy import full_region
from chunkimg.ops import downsample
from chunkimg.ops.downsample import METHODS, CoarsenedArray, _sorting_network, mean_blocks, mode_blocks, reducer
from chunkimg.ops.mode_kernel import mode_kernel

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
CASES = [
    ((7, 9, 13), (2, 2, 2)),
    ((2, 3, 4, 10, 11), (1, 1, 2, 2, 2)),
    ((5, 6, 9), (1, 2, 2)),
    ((9, 7, 6), (3, 2, 1)),
    ((8, 9, 10), (4, 3, 5)),
    ((3, 4, 5), (1, 1, 1)),
    ((4, 300, 3), (2, 150, 1)),
    ((1, 4, 5), (2, 2, 2)),
]


def blocks(a, factors):
    """Blocks one by one: index, and the values as a list."""
    for at in np.ndindex(*(n // f for n, f in zip(a.shape, factors, strict=True))):
        yield at, a[tuple(slice(k * f, k * f + f) for k, f in zip(at, factors, strict=True))].reshape(-1).tolist()


def samples(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return [rng.random(shape) > 0.4]
    info = np.iinfo(dtype)
    few = rng.integers(max(info.min, -2), 3, shape).astype(dtype)
    patches = few[np.ix_(*(np.arange(n) // 3 for n in shape))]
    return [few, patches, rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)]


def expected_mean(values, dtype):
    mean = Fraction(sum(values), len(values))
    if np.dtype(dtype).itemsize == 8:
        return (mean + Fraction(1, 2)).__floor__()
    return round(mean)  # to even


def expected_mode(values):
    return max(Counter(values).items(), key=lambda item: (item[1], item[0] != 0, -item[0]))[0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape, factors", CASES)
@pytest.mark.parametrize("dtype", [*INTEGERS, "?"])
def test_blocks_of_integers(dtype, shape, factors, order):
    for values in samples(dtype, shape):
        block = np.asarray(values, order=order)
        mean, mode = mean_blocks(block, factors), mode_blocks(block, factors)
        np.testing.assert_array_equal(mode_blocks(block, factors, fast=True), mode)
        assert mean.dtype == mode.dtype == block.dtype
        assert mean.shape == mode.shape == tuple(n // f for n, f in zip(shape, factors, strict=True))
        for at, found in blocks(block, factors):
            assert mean[at] == expected_mean(found, dtype)
            assert mode[at] == expected_mode(found)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_blocks_of_floats(dtype):
    rng = np.random.default_rng(1)
    block = rng.normal(100, 30, (6, 9, 11)).astype(dtype)
    expected = block[:, :8, :10].astype("c16").reshape(3, 2, 4, 2, 5, 2).mean(axis=(1, 3, 5))
    # half precision is rounded once, at the end
    np.testing.assert_allclose(mean_blocks(block, (2, 2, 2)), expected, 2**-11 if dtype == "f2" else 1e-6)
    labels = rng.integers(0, 3, (6, 9, 11)).astype(dtype)
    labels[0, 0, 0] = np.nan
    mode = mode_blocks(labels, (2, 2, 2))
    for at, values in blocks(labels, (2, 2, 2)):
        numbers = [v for v in values if v == v]
        assert mode[at] == expected_mode([v.real for v in numbers])


def test_windows_join_without_seams():
    """Blocks far larger than what is worked on at once."""
    rng = np.random.default_rng(2)
    block = rng.integers(-9, 9, (20, 301, 410)).astype("i2")
    cut = block[:, :300].reshape(10, 2, 150, 2, 205, 2)
    np.testing.assert_array_equal(mean_blocks(block, (2, 2, 2)), np.rint(cut.mean(axis=(1, 3, 5))))
    labels = (block // 3).astype("i2")
    parts = np.moveaxis(labels[:, :300].reshape(10, 2, 150, 2, 205, 2), (1, 3, 5), (0, 1, 2)).reshape(8, -1)
    counts = np.array([np.count_nonzero(parts == v, axis=0) for v in range(-3, 3)], float)
    # ties: 0 loses, then the smaller
    counts -= np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.5])[:, None]
    for fast in (False, True):
        found = mode_blocks(labels, (2, 2, 2), fast=fast)
        np.testing.assert_array_equal(found.reshape(-1), counts.argmax(axis=0) - 3)


@settings(max_examples=80)
@given(data=st.data())
def test_machine_code_gives_the_same_modes(data):
    pytest.importorskip("llvmlite")
    dtype = data.draw(st.sampled_from(INTEGERS))
    factors = (*data.draw(st.tuples(*[st.integers(1, 5)] * 2)), 2)
    shape = [
        f * n for f, n in zip(factors, data.draw(st.tuples(*[st.integers(1, 5)] * 2, st.integers(1, 70))), strict=True)
    ]
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    limits = np.iinfo(dtype)
    values = np.array([0, 1, limits.min, limits.max, 7, limits.max // 2 + 1], dtype)[: data.draw(st.integers(1, 6))]
    wide = rng.choice(values, (shape[0], shape[1] + 2, shape[2] + 5))
    wide[rng.random(wide.shape) < data.draw(st.sampled_from([0, 0.5, 0.99]))] = values[-1]
    block = wide[:, 1 : shape[1] + 1, 3 : shape[2] + 3]
    # what lies beside the result stays as it was
    room = np.full((shape[0] // factors[0] + 1, shape[1] // factors[1] + 1, shape[2] // 2 + 1), 7, dtype)
    out = room[:-1, :-1, :-1]
    kernel = mode_kernel(block, factors, out)
    assert kernel is not None
    kernel(block, factors, out)
    np.testing.assert_array_equal(out, mode_blocks(block, factors))
    assert np.all(room[-1] == 7) and np.all(room[:, -1] == 7) and np.all(room[:, :, -1] == 7)


def test_large_jobs_alone_ask_for_machine_code(monkeypatch):
    asked = []
    monkeypatch.setattr(downsample, "mode_kernel", lambda *_: asked.append(1))
    block = np.zeros((4, 4, 4), "u1")
    reducer("mode", 1 << 20)(block, (2, 2, 2))
    reducer("mean", 1 << 30)(block, (2, 2, 2))
    assert not asked
    reducer("mode", 1 << 30)(block, (2, 2, 2))
    assert asked


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["i2", "?", "f4", "u8"])
def test_into_an_array(method, dtype):
    rng = np.random.default_rng(3)
    block = rng.integers(0, 2, (4, 6, 10)).astype(dtype)
    whole = np.zeros((5, 3, 5), dtype)
    part = whole[1:3]
    assert METHODS[method](block, (2, 2, 2), part) is part
    np.testing.assert_array_equal(whole[1:3], METHODS[method](block, (2, 2, 2)))
    assert not whole[0].any() and not whole[3:].any()
    with pytest.raises(ValueError, match=r"make \w+ of shape \(2, 3, 5\)"):
        METHODS[method](block, (2, 2, 2), np.zeros((2, 3, 4), dtype))


def test_sorting_networks_sort():
    """A network that sorts all zeros and ones sorts everything."""
    for n in range(1, 11):
        network = _sorting_network(n)
        lines = np.array([[b >> k & 1 for b in range(2**n)] for k in range(n)])
        for a, b in network:
            lines[a], lines[b] = np.minimum(lines[a], lines[b]), np.maximum(lines[a], lines[b])
        assert (np.diff(lines, axis=0) >= 0).all()


def test_coarsened_array_reads_regions():
    from chunkimg.image.computed import ComputedArray

    rng = np.random.default_rng(4)
    values = rng.integers(0, 5, (2, 9, 14, 12)).astype("u2")
    for method, reduce in METHODS.items():
        array = CoarsenedArray(ComputedArray(values), (1, 2, 2, 2), method)
        whole = reduce(values, (1, 2, 2, 2))
        np.testing.assert_array_equal(array._read(full_region(array.shape)), whole)
        np.testing.assert_array_equal(array[1:, 1:3, 2:7:2, 5], whole[1:, 1:3, 2:7:2, 5])


def test_a_pyramid_is_a_job_of_the_size_of_its_finest_level(monkeypatch, tmp_path):
    import chunkimg as ci

    asked = []
    values = (np.arange(96**3) // 999).astype("u2").reshape(96, 96, 96)
    labels = ci.from_array(values, spacing=(1, 1, 1)).img.as_label()
    monkeypatch.setattr(downsample, "mode_kernel", lambda *_: asked.append(1))
    monkeypatch.setattr(downsample, "_WORTH", values.nbytes + 1)
    labels.img.save(tmp_path / "a.ome.zarr", pyramid=True, chunks=32)
    assert not asked
    monkeypatch.setattr(downsample, "_WORTH", values.nbytes)
    labels.img.save(tmp_path / "b.ome.zarr", pyramid=True, chunks=32)
    assert asked
    one, other = (ci.open_image(tmp_path / name, level=1).values for name in ("a.ome.zarr", "b.ome.zarr"))
    np.testing.assert_array_equal(one, other)
