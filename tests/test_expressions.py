"""Saved expressions: values against NumPy, whatever computes them, however blocks, chunks and budgets lie."""

import dask.array as da
import numpy as np
import pytest
from nifti_files import values, write

import chunkimg as ci
import chunkimg.io.zarr_read
from chunkimg.image.build import to_volume
from chunkimg.image.computed import ComputedArray
from chunkimg.image.expressions import elementwise
from chunkimg.lazy import LazyArray
from chunkimg.ops.elementwise import ElementwiseArray, Step

SHAPE = (30, 23, 41)  # x, y, z


@pytest.fixture
def pair(tmp_path):
    """Two images of one grid and their values, opened from files of a kind."""

    def make(kind, **options):
        out = []
        for k, seed in enumerate((0, 1)):
            stored = np.roll(values(SHAPE, "i2"), 7 * seed)
            write(tmp_path / f"{k}.nii", stored, scl_slope=0.5 if k else 1, scl_inter=3 if k else 0)
            if kind != ".nii":
                ci.convert(tmp_path / f"{k}.nii", tmp_path / f"{k}{kind}", **({"chunks": 16} if "zarr" in kind else {}))
            out.append(ci.open_image(tmp_path / f"{k}{kind}", **options))
        first = values(SHAPE, "i2").T
        second = np.roll(values(SHAPE, "i2"), 7).T * np.float32(0.5) + np.float32(3)
        return *out, first, second

    return make


ELEMENTWISE = {
    "difference": lambda a, b: a - b,
    "itself": lambda a, b: a * a,
    "type": lambda a, b: (a.astype("f8") - b) / 3,
    "comparison": lambda a, b: (a > b) & (a != 5),
    "negative": lambda a, b: -(abs(b) ** 2),
    "reflected": lambda a, b: 100 - a,
    "ufunc": lambda a, b: np.sqrt(np.maximum(a, 0)) + np.float32(1),
    "clip": lambda a, b: a.clip(-50, 100),
    "one source": lambda a, b: (a > 10).astype("u1"),
    "mean": lambda a, b: a - a.mean(),
    "norm": lambda a, b: (b - b.min()) / (b.max() - b.min()),
}
OTHERS = {
    "where": (lambda a, b: a.where(a > b, b), lambda a, b: np.where(a > b, a, b)),
    "nan": (lambda a, b: a.where(a > 3), lambda a, b: np.where(a > 3, a, np.float32(np.nan))),
    "fill": (lambda a, b: a.where(a > 3).fillna(b), lambda a, b: np.where(a > 3, a, b)),
    "profile": (lambda a, b: a - a.mean(("y", "x")), lambda a, b: a - a.mean((1, 2))[:, None, None]),
    "plane": (lambda a, b: a - a.max("z"), lambda a, b: a - a.max(0)),
}


def saved(image, path, **options):
    image.img.save(path, overwrite=True, **options)
    return ci.open_image(path).values


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".ome.zarr"])
@pytest.mark.parametrize("blocks", ["auto", {"z": 7, "y": 10}])
def test_values_of_expressions(tmp_path, pair, kind, blocks):
    a, b, x, y = pair(kind, chunks=blocks)
    cases = {n: (f(a, b), f(x, y)) for n, f in ELEMENTWISE.items()}
    cases |= {n: (f(a, b), g(x, y)) for n, (f, g) in OTHERS.items()}
    for name, (image, expected) in cases.items():
        assert isinstance(to_volume(image).data, ElementwiseArray), name
        assert to_volume(image).data.dtype == expected.dtype or name in ("mean", "profile", "fill", "nan", "plane"), (
            name
        )
        for out, options in (("o.nii", {}), ("o.ome.zarr", {"chunks": "8,16,32"})):
            if expected.dtype == bool:
                image, expected = image.astype("u1"), expected.astype("u1")
            found = saved(image, tmp_path / out, budget=1 << 20, **options)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=f"{name} {out}")


def test_of_views(tmp_path, pair):
    a, b, x, y = pair(".ome.zarr")
    cut = {"z": slice(5, 33, 2), "y": slice(None, None, -1), "x": slice(3, 20)}
    at = tuple(cut.values())
    inside = a.isel(cut) - b.isel(cut)
    assert isinstance(to_volume(inside).data, ElementwiseArray)
    for image in (inside, (a - b).isel(cut), (a - b).transpose("x", "z", "y").isel(cut)):
        assert not isinstance(to_volume(image).data, ComputedArray)
        np.testing.assert_array_equal(saved(image, tmp_path / "o.nii"), (x - y)[at])
        np.testing.assert_array_equal(saved(image, tmp_path / "o.ome.zarr", chunks=8), (x - y)[at])


def test_of_one_frame_or_mask(tmp_path):
    stored = values((9, 8, 7, 5), "i2")
    write(tmp_path / "t.nii", stored)
    a, x = ci.open_image(tmp_path / "t.nii", chunks={"t": 2}), stored.T
    first = a.isel(t=0, drop=True)
    for image, expected in ((a - first, x - x[0]), (a - a.mean("t"), x - x.mean(0)), (a * (first > 3), x * (x[0] > 3))):
        assert isinstance(to_volume(image).data, ElementwiseArray)
        np.testing.assert_allclose(saved(image, tmp_path / "o.nii"), expected, rtol=1e-6)
        np.testing.assert_allclose(saved(image, tmp_path / "o.ome.zarr"), expected, rtol=1e-6)


def smooth(block):
    """Depends on the whole block."""
    return block - block.mean(dtype="f8")


@pytest.mark.parametrize("chunks", ["8,16,32", "16,16,16", "41,23,30"])
def test_what_only_dask_computes(tmp_path, pair, chunks):
    a, _, x, _ = pair(".ome.zarr", chunks={"z": 7, "y": 10, "x": 13})
    counted: list[int] = []

    def count(block):
        counted.append(block.size)
        return smooth(block)

    image = a.copy(data=a.data.map_blocks(count, dtype="f8", meta=np.empty((0, 0, 0))))
    assert isinstance(to_volume(image).data, ComputedArray)
    expected = np.empty(x.shape)
    for z in range(0, 41, 7):
        for y in range(0, 23, 10):
            for k in range(0, 30, 13):
                at = np.s_[z : z + 7, y : y + 10, k : k + 13]
                expected[at] = smooth(x[at])
    # slabs of the destination lie anyhow to the blocks: each block is computed once all the same
    np.testing.assert_allclose(saved(image, tmp_path / "o.ome.zarr", chunks=chunks, budget=1 << 20), expected)
    assert sum(counted) == x.size
    np.testing.assert_allclose(saved(image, tmp_path / "o.nii", budget=1 << 20), expected)
    assert sum(counted) == 2 * x.size


def test_shards_larger_than_blocks(tmp_path):
    """Dask's own writers lose data here (dask#12583)."""
    x = np.arange(13 * 24 * 31, dtype="f4").reshape(13, 24, 31)
    image = ci.from_array(da.from_array(x, chunks=(2, 5, 31)), spacing=(1, 2, 3))
    np.testing.assert_array_equal(saved(image + 1, tmp_path / "o.ome.zarr", chunks=8), x + 1)


def test_each_chunk_is_decoded_once(tmp_path, pair, monkeypatch):
    a, b, x, y = pair(".ome.zarr")
    seen: list[str] = []
    real = chunkimg.io.zarr_read._block

    def watched(spec, piece, wanted):
        seen.append(piece.file)
        return real(spec, piece, wanted)

    monkeypatch.setattr(chunkimg.io.zarr_read, "_block", watched)
    (a - b + a).img.save(tmp_path / "o.ome.zarr", chunks=16)
    images = [f for f in seen if "/image/" in f]
    assert len(images) == len(set(images)) == 2 * 3 * 2 * 2
    monkeypatch.undo()
    np.testing.assert_array_equal(ci.open_image(tmp_path / "o.ome.zarr").values, x - y + x)


def test_pieces_not_slabs_are_alive(tmp_path):
    """Operands are read and computed in pieces, however large the slab and however many they are."""
    write(tmp_path / "a.nii", np.zeros((256, 256, 160), "i2"))
    array = to_volume(ci.open_image(tmp_path / "a.nii") * 2).data
    (step,) = array.steps
    sizes = []

    def double(block):
        sizes.append(block.nbytes)
        return block * 2

    pieces = ElementwiseArray(array.sources, [Step(double, step.args[:1])], array.shape, array.dtype, "double")
    assert pieces[...].nbytes == sum(sizes) == 20 << 20
    assert max(sizes) <= 4 << 20 and pieces.held == 2


def test_functions_are_known_by_identity(pair):
    """A function of the user's that is called like one of NumPy's is not taken for it."""
    a, _, _, _ = pair(".nii")

    def sub(block, number):
        return block - block.mean() * number

    named = da.blockwise(sub, "zyx", a.data, "zyx", 1, None, dtype="f8", name="sub-1")
    assert elementwise(named) is None
    overlap = da.map_overlap(lambda b: b, a.data, depth=1, boundary="none", dtype="i2")
    assert elementwise(overlap) is None
    assert elementwise(a.data.rechunk((41, 5, 7))) is None
    assert elementwise(da.zeros((3, 4))) is None


def test_damage_is_named(tmp_path, pair):
    a, b, _, _ = pair(".ome.zarr")
    chunk = next(p for p in sorted((tmp_path / "1.ome.zarr" / "image" / "c").rglob("*")) if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(ci.FormatError, match=r"1\.ome\.zarr/image/c/0"):
        (a - b).img.save(tmp_path / "o.nii")
    assert not (tmp_path / "o.nii").exists()


def test_sources_of_both_kinds(tmp_path, pair):
    """A gzip and a store, read by large regions in step."""
    a, _, x, y = pair(".nii.gz")
    ci.convert(tmp_path / "1.nii", tmp_path / "b.ome.zarr")
    image = a - ci.open_image(tmp_path / "b.ome.zarr")
    array = to_volume(image).data
    assert isinstance(array, ElementwiseArray) and array.front_to_back and array.held == 4 + 2 + 4
    np.testing.assert_array_equal(saved(image, tmp_path / "o.nii.gz", budget=1 << 20), x - y)
    assert isinstance(array.sources[0], LazyArray)
