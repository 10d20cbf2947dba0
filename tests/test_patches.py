"""Patches: where they lie, how they are put together, how often each is made."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import values, write
from strategies import grids, slices

import chunkimg as ci
import chunkimg.io.stream_write
import chunkimg.io.zarr_plan
import chunkimg.io.zarr_read
from chunkimg.chunks import regions
from chunkimg.image.build import to_volume
from chunkimg.lazy import LazyArray
from chunkimg.ops import leftovers
from chunkimg.ops import patches as ops
from chunkimg.ops.blend_kernel import blend_kernel
from chunkimg.ops.patches import AssembledArray, Computed, Tiling


def torchio_starts(n, size, overlap):
    """``GridSampler._get_patches_locations`` of TorchIO."""
    out = list(range(0, n + 1 - size, size - overlap))
    if out[-1] != n - size:
        out.append(n - size)
    return out


@st.composite
def tilings(draw, shape):
    """Of few patches: at most about four along an axis."""
    size = [draw(st.integers(-(-n // 3), n)) for n in shape]
    overlap = [draw(st.integers(0, max(0, s - -(-n // 4)))) for s, n in zip(size, shape, strict=True)]
    return tuple(size), tuple(overlap)


def image_of(data, dims=None, **options):
    return ci.from_array(data, dims, affine=AFFINE, **options)


AFFINE = np.array([[0.1, -1.9, 0.2, 31.5], [0.7, 0.1, 0.3, -12.25], [-0.1, 0.2, -2.9, 8.125], [0, 0, 0, 1]])


# ---------------------------------------------------------------------------------------------- where they lie


@settings(max_examples=40)
@given(data=st.data(), grid=grids())
def test_patches_lie_where_they_were(data, grid):
    size, overlap = data.draw(tilings(grid.shape))
    voxels = values(grid.shape, "i2").T
    image = ci.from_array(voxels, affine=grid.matrix, units=grid.units)
    tiles = image.img.patches(size, overlap)
    starts = [torchio_starts(n, s, o) for n, s, o in zip(grid.shape, size, overlap, strict=True)]
    expected = [(x, y, z) for z, y, x in itertools.product(*reversed(starts))]
    assert [tiles.start(k) for k in range(len(tiles))] == expected
    covered = np.zeros(grid.shape[::-1], int)
    for (x, y, z), tile in zip(expected, tiles, strict=True):
        at = slice(z, z + size[2]), slice(y, y + size[1]), slice(x, x + size[0])
        np.testing.assert_array_equal(tile.values, voxels[at])
        assert tile.img.grid == image.img.grid.crop(z=at[0], y=at[1], x=at[2])
        covered[at] += 1
    assert covered.min() == 1
    assert tiles[-1].equals(tiles[len(tiles) - 1])
    assert [t.img.origin for t in tiles[1:3]] == [tiles[k].img.origin for k in range(1, min(3, len(tiles)))]


def test_of_channels_and_times():
    image = image_of(values((9, 8, 7, 2, 3), "i2").T, t=[0, 1, 4])
    tiles = image.img.patches((4, 4, None), 1)
    assert tiles.size == (4, 4, 7)
    assert tiles[0].shape == (3, 2, 7, 4, 4)
    np.testing.assert_array_equal(tiles[1].values, image.values[..., :4, 3:7])
    np.testing.assert_array_equal(tiles[1].t, [0, 1, 4])
    with pytest.raises(IndexError):
        _ = tiles[len(tiles)]
    assert "× 7 voxels" in repr(tiles)


def test_size_in_millimetres():
    image = ci.from_array(np.zeros((20, 30, 40)), spacing=(1, 2, 4))
    assert image.img.patches(size_mm=12).size == (12, 6, 3)
    assert image.img.patches(size_mm=(12.1, 8, 80)).size == (13, 4, 20)
    assert image.img.assign_geometry(units="um").img.patches(size_mm=0.012).size == (12, 6, 3)


def test_a_patch_reads_its_own_voxels(tmp_path, monkeypatch):
    write(tmp_path / "a.nii", values((40, 36, 50), "i2"))
    ci.convert(tmp_path / "a.nii", tmp_path / "a.ome.zarr", chunks=16)
    decoded = []
    original = chunkimg.io.zarr_read._block
    image = ci.open_image(tmp_path / "a.ome.zarr")
    monkeypatch.setattr(chunkimg.io.zarr_read, "_block", lambda s, p, w: decoded.append(p.at) or original(s, p, w))
    tiles = image.img.patches(16)
    assert len(tiles) == 36
    tiles[0].load()
    assert decoded == [(0, 0, 0)]
    # the same patch again is the same voxels
    np.testing.assert_array_equal(tiles[35].values, image.values[-16:, -16:, -16:])


# ---------------------------------------------------------------------------------------------- put together


def reference(voxels, tiles, weights):
    """The sum over patches of what TorchIO's GridAggregator takes of each."""
    total, norm = np.zeros(voxels.shape), np.zeros(voxels.shape[-3:])
    window = np.ones(tiles.tiling.size)
    if weights == "hann":
        for axis, n in enumerate(tiles.tiling.size):
            line = np.hanning(n + 2)[1:-1]
            window = window * line.reshape([-1 if k == axis else 1 for k in range(3)])
    for k in range(len(tiles)):
        x, y, z = tiles.start(k)
        sz, sy, sx = tiles.tiling.size
        at = (slice(z, z + sz), slice(y, y + sy), slice(x, x + sx))
        total[(..., *at)] += (k + voxels[(..., *at)]) * window
        norm[at] += window
    return total / norm


@settings(max_examples=20)
@given(data=st.data(), shape=st.lists(st.integers(1, 9), min_size=3, max_size=3, unique=True))
def test_of_all_patches(data, shape):
    size, overlap = data.draw(tilings(shape[::-1]))
    lead = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    voxels = values((*lead, *shape), "f4")
    dims = ("t", "c", "z", "y", "x") if len(lead) == 2 else data.draw(st.sampled_from("tc")) if lead else ""
    image = image_of(voxels, dims if len(lead) == 2 else [*dims, "z", "y", "x"])
    tiles = image.img.patches(size, overlap)
    whole = ci.assemble([t.values for t in tiles], like=tiles)
    assert whole.dims == image.dims
    assert whole.img.grid == image.img.grid
    np.testing.assert_array_equal(whole.values, voxels)
    np.testing.assert_array_equal(ci.assemble(list(tiles), like=image).values, voxels)
    numbered = [t.values + np.float32(k) for k, t in enumerate(tiles)]
    for weights in ("average", "hann"):
        found = ci.assemble(numbered, like=tiles, weights=weights)
        np.testing.assert_allclose(found.values, reference(voxels, tiles, weights), rtol=1e-5, atol=1e-4)
        assert found.dtype == "f4"
    # each voxel is from the patch whose centre is nearest
    source = ci.assemble([np.full(t.shape, k, "i4") for k, t in enumerate(tiles)], like=tiles).values
    at = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    centres = np.array([tiles.start(k) for k in range(len(tiles))])[:, ::-1] + np.array(size[::-1]) / 2
    away = np.abs(centres - (np.array(at) + 0.5))
    assert np.all(away[source[(..., *at)].flat[0]] <= away.min(axis=0) + 0.5)


@pytest.mark.parametrize("weights", ["crop", "average", "hann"])
@settings(max_examples=30)
@given(data=st.data())
def test_map_patches_does_not_depend_on_regions(weights, data):
    shape = data.draw(st.tuples(*[st.integers(1, 8)] * 4))
    size, overlap = data.draw(tilings(shape[:0:-1]))
    dim = data.draw(st.sampled_from("tc"))
    voxels = values(shape, "f4", data.draw(st.integers(0, 99)))
    image = image_of(voxels, [dim, "z", "y", "x"])
    calls = []

    def model(patch):
        calls.append(patch.shape)
        patch *= 2
        return patch - patch.mean(axis=(-1, -2, -3), keepdims=True)

    made = image.img.map_patches(model, size, overlap, weights=weights)
    assert not calls
    whole = made.values
    tiles = image.img.patches(size, overlap)
    assert len(calls) == len(tiles) * (shape[0] if dim == "t" else 1)
    assert set(calls) == {((shape[0],) if dim == "c" else ()) + tiles.tiling.size}
    by_hand = [2 * t.values - (2 * t.values).mean(axis=(-1, -2, -3), keepdims=True) for t in tiles]
    np.testing.assert_allclose(whole, ci.assemble(by_hand, like=tiles, weights=weights).values, rtol=1e-5, atol=1e-3)
    array = to_volume(made).data
    assert isinstance(array, AssembledArray)
    block = data.draw(st.tuples(*[st.integers(1, n) for n in shape]))
    out = np.zeros_like(whole)
    calls.clear()
    with pytest.MonkeyPatch().context() as patch, array.reader() as read:
        patch.setattr(leftovers, "_KEPT", data.draw(st.sampled_from([0, 500, 1 << 20])))
        for region in regions(shape, block):
            out[tuple(slice(r.start, r.stop) for r in region)] = read(region)
    np.testing.assert_array_equal(out, whole)
    assert len(calls) == len(tiles) * (shape[0] if dim == "t" else 1)
    key = tuple(data.draw(slices(n) | st.integers(-n, n - 1)) for n in shape)
    np.testing.assert_array_equal(array[key], whole[key])


@settings(max_examples=60)
@given(data=st.data())
def test_machine_code_adds_the_same_bits(data):
    pytest.importorskip("llvmlite")
    kernel = blend_kernel()
    assert kernel is not None
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = [data.draw(st.integers(1, 40 if k == 2 else 5)) for k in range(3)]
    before, behind = ([data.draw(st.integers(0, 3)) for _ in range(3)] for _ in range(2))
    around = [a + n + b for a, n, b in zip(before, shape, behind, strict=True)]
    here = tuple(slice(a, a + n) for a, n in zip(before, shape, strict=True))
    patch = rng.normal(size=around).astype("f4")
    patch[tuple(data.draw(st.integers(0, n - 1)) for n in around)] = data.draw(st.sampled_from([0, np.nan, np.inf]))
    turn = data.draw(st.sampled_from([slice(None), slice(None, None, -1)]))
    z, y, x = (rng.normal(size=n) for n in shape)
    found = rng.normal(size=around)
    expected = found.copy()
    expected[here] += patch[here][turn] * (z[:, None, None] * y[:, None] * x)
    kernel(found[here], patch[here][turn], (z, y, x))
    # what lies around stays as it was
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_weights_with_and_without_machine_code(monkeypatch, order):
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(ops, "_WORTH", 1)
    voxels = values((23, 19, 15, 3), "f4").T
    image = image_of(voxels, ("t", "z", "y", "x"), t=[0, 1, 2])

    def function(patch):
        return np.asarray(np.stack([patch, np.cos(patch)]), order=order)

    made = image.img.map_patches(function, (9, 8, 7), 3, weights="hann", channels=2)
    keys = (..., (slice(1, None), slice(None), slice(2, 13, 3), slice(3, 17, 2), slice(1, 20)), (0, 1, 3, 4))
    asked = []
    monkeypatch.setattr(ops, "blend_kernel", lambda: asked.append(1) or blend_kernel())
    fast = [made[key].values for key in keys]
    assert bool(asked) == (order == "C")
    monkeypatch.setattr(ops, "blend_kernel", lambda: None)
    for key, found in zip(keys, fast, strict=True):
        np.testing.assert_array_equal(made[key].values, found)


@pytest.fixture
def small_slabs(monkeypatch):
    for module in (chunkimg.io.zarr_plan, chunkimg.io.stream_write):
        monkeypatch.setattr(module, "slab_bytes", lambda budget, source: 20_000)


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".ome.zarr"])
@pytest.mark.parametrize("chunks", [None, "auto", {"z": 9}])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_each_patch_is_made_once(tmp_path, monkeypatch, small_slabs, kind, chunks, kept):
    monkeypatch.setattr(leftovers, "_KEPT", kept)
    stored = values((31, 29, 40, 2), "i2")
    write(tmp_path / "a.nii", stored)
    ci.convert(tmp_path / "a.nii", tmp_path / f"b{kind}")
    calls = []

    def model(patch):
        calls.append(patch.shape)
        return -patch.astype("i4")

    image = ci.open_image(tmp_path / f"b{kind}", chunks=chunks)
    made = image.img.map_patches(model, (16, 12, 10), (4, 3, 2), dtype="i4")
    assert (made.chunks is None) == (chunks is None)
    for out in ("c.ome.zarr", "c.nii.gz", "c.nii"):
        calls.clear()
        made.img.save(tmp_path / out, **({"chunks": 8} if "zarr" in out else {}))
        assert len(calls) == 2 * len(image.img.patches((16, 12, 10), (4, 3, 2)))
        np.testing.assert_array_equal(ci.open_image(tmp_path / out).values, -stored.T.astype("i4"))
    calls.clear()
    np.testing.assert_array_equal(made.values, -stored.T.astype("i4"))
    # Dask blocks are cut where cropped patches meet
    assert len(calls) == 2 * len(image.img.patches((16, 12, 10), (4, 3, 2)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_only_what_is_left_of_a_patch_is_kept(monkeypatch, axis):
    monkeypatch.setattr(leftovers, "_KEPT", 0)
    saved, put = [], leftovers._Slots.put
    monkeypatch.setattr(leftovers._Slots, "put", lambda self, p: (saved.append(p.values.shape), put(self, p))[1])
    shape, size = [7, 8, 9], [4, 5, 6]
    shape[axis], size[axis] = 40, 16
    made = image_of(values(shape[::-1], "f4").T).img.map_patches(np.array, size[::-1], 3, weights="hann")
    array, found = to_volume(made).data, []
    with array.reader() as read:
        for start in (0, 13, 26):
            region = [range(n) for n in shape]
            region[axis] = range(start, min(start + 13, 40))
            found.append(read(tuple(region)))
        # at 0 and 13 the last three voxels are left, at 24, where the last patch begins, 14
        assert {n[axis] for n in saved} == {3, 14}
        # what was there before is made again
        again = read(tuple(range(2) for _ in shape))
    np.testing.assert_array_equal(
        np.concatenate(found, axis), made.values[tuple(slice(None, 39 if a == axis else None) for a in range(3))]
    )
    np.testing.assert_array_equal(again, made.values[:2, :2, :2])


@settings(max_examples=60)
@given(data=st.data(), shape=st.tuples(*[st.integers(1, 60)] * 3))
def test_dask_blocks_cut_no_patch(data, shape):
    size, overlap = data.draw(tilings(shape))
    tiling = Tiling.of(shape, size, overlap)
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(ops, "dask_block_bytes", lambda: data.draw(st.sampled_from([1, 1000, 100_000])))
        blocks = tiling.blocks(2)
    for along, n, shares in zip(blocks, shape, tiling.shares("crop"), strict=True):
        assert sum(along) == n
        assert set(np.cumsum(along)) <= {zone.stop for zone, _ in shares}


def test_channels_of_a_model(tmp_path):
    image = image_of(values((9, 8, 7, 3), "i2").T, t=[0, 1, 5])

    def model(patch):
        return np.stack([patch < 0, patch >= 0, patch > 100]).astype("f4")

    made = image.img.map_patches(model, 4, 1, dtype="f4", channels=["low", "high", "bright"], weights="hann")
    assert made.dims == ("t", "c", "z", "y", "x")
    assert made.c.attrs["names"] == ["low", "high", "bright"]
    np.testing.assert_allclose(made.isel(c=1).values, image.values >= 0)
    made.img.save(tmp_path / "a.ome.zarr")
    again = ci.open_image(tmp_path / "a.ome.zarr")
    np.testing.assert_allclose(again.values, made.values)
    assert again.c.attrs["names"] == ["low", "high", "bright"]
    tiles = image.isel(t=0).img.patches(4)
    np.testing.assert_array_equal(
        ci.assemble([model(t.values) for t in tiles], like=tiles).values, made.isel(t=0).values > 0.5
    )
    assert image.img.map_patches(lambda p: p[None] > 0, 4, dtype=bool, channels=1).shape == (3, 1, 7, 8, 9)


def test_patches_in_files(tmp_path):
    """What jobs of a cluster made of a patch each: read when they are needed, found by where they lie."""
    image = image_of(values((20, 18, 16), "i2").T)
    tiles = image.img.patches((8, 9, 10), 2)
    for k, tile in enumerate(tiles):
        (tile * 2).img.save(tmp_path / f"{k}.nii")
    parts = [ci.open_image(tmp_path / f"{k}.nii") for k in range(len(tiles))]
    whole = ci.assemble(parts, like=image)
    whole.img.save(tmp_path / "whole.nii")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "whole.nii").values, image.values * 2)
    for wrong in (parts[1:], parts[::-1], [*parts[:-1], parts[-1][1:]]):
        with pytest.raises(ci.GeometryError, match="do not form a grid"):
            ci.assemble(wrong, like=image)
    with pytest.raises(ci.GeometryError, match="patch 0 lies elsewhere"):
        ci.assemble(parts[::-1], like=tiles)


@pytest.mark.parametrize("item", items("nifti", "nrrd")[:8])
def test_identity_on_images_of_others(item, tmp_path):
    image = ci.open_image(item_path(item))
    if image.size > 1 << 22:
        pytest.skip("large")
    size = [max(1, n // 2) for n in image.img.grid.shape]
    made = image.img.map_patches(lambda p: p, size, [s // 3 for s in size])
    np.testing.assert_array_equal(made.values, image.values)
    assert made.img.grid == image.img.grid
    assert made.dtype == image.dtype


def test_labels_and_refusals():
    labels = image_of(values((9, 8, 7), "u1").T).img.as_label()
    assert labels.img.map_patches(lambda p: p, 4).img.is_label
    assert not labels.img.map_patches(lambda p: p * 0.5, 4, dtype="f8").img.is_label
    with pytest.raises(TypeError, match="labels are not averaged"):
        labels.img.map_patches(lambda p: p, 4, weights="hann")
    image = image_of(values((9, 8, 7), "i2").T)
    with pytest.raises(TypeError, match="dtype='float32'"):
        image.img.map_patches(lambda p: p, 4, weights="average")
    with pytest.raises(ValueError, match="weights is one of"):
        image.img.map_patches(lambda p: p, 4, weights="max")
    with pytest.raises(ValueError, match="16 voxels along x are larger than the image, which has 9"):
        image.img.patches(16)
    with pytest.raises(ValueError, match="cannot share 4"):
        image.img.patches(4, 4)
    with pytest.raises(ValueError, match="either size"):
        image.img.patches()
    for size in (0, 1.5, (1, 2, 0)):
        with pytest.raises(ValueError, match="size is a number"):
            image.img.patches(size)
    with pytest.raises(ci.GeometryError, match="unit"):
        image.img.assign_geometry(units="px").img.patches(size_mm=3)
    with pytest.raises(ValueError, match=r"a patch of shape \(4, 4, 4\)"):
        image.img.map_patches(lambda p: p[1:], 4).load()
    with pytest.raises(TypeError, match="dtype='float64'"):
        image.img.map_patches(lambda p: p / 2, 4).load()
    tiles = image.img.patches(4)
    arrays = [t.values for t in tiles]
    with pytest.raises(ValueError, match="12 patches are expected, 11"):
        ci.assemble(arrays[1:], like=tiles)
    with pytest.raises(ValueError, match="are expected, found"):
        ci.assemble([*arrays[1:], arrays[0][1:]], like=tiles)
    with pytest.raises(TypeError, match="sequence, found generator"):
        ci.assemble((a for a in arrays), like=tiles)
    with pytest.raises(TypeError, match="like=patches"):
        ci.assemble(arrays, like=image)


class Stream(LazyArray):
    """An array that goes front to back, and notes how often each voxel was read."""

    front_to_back = True

    def __init__(self, data, order):
        self.data, self.shape, self.dtype, self.file_order = data, data.shape, data.dtype, order
        self.counts = np.zeros(data.shape, int)

    def _read(self, region):
        at = tuple(slice(r.start, r.stop, r.step) for r in region)
        self.counts[at] += 1
        return self.data[at].copy()

    def __dask_tokenize__(self):
        return ("stream", self.data.tobytes())


@pytest.mark.parametrize(
    ("order", "block"),
    [
        ((0, 1, 2, 3), (1, 3, 9, 8)),
        ((0, 1, 2, 3), (1, 1, 2, 8)),
        ((1, 2, 3, 0), (3, 3, 9, 8)),
        ((1, 0, 2, 3), (1, 1, 9, 8)),
        ((0, 3, 2, 1), (1, 20, 9, 3)),
    ],
)
def test_a_stream_is_read_once_for_patches(order, block):
    """Whatever is slowest in the file: time, or planes of all times."""
    source = Stream(values((3, 20, 9, 8), "i2"), order)
    tiling = Tiling.of((20, 9, 8), (7, 4, 5), (2, 1, 2))
    calls = []

    def model(patch):
        calls.append(patch.shape)
        return -patch

    made = AssembledArray(Computed(source, model, tiling, tiling.size, source.dtype), tiling, (3,), True, "i2", "crop")
    assert made.file_order == order
    out = np.zeros_like(source.data)
    with made.reader() as read:
        for region in regions(made.shape, block, order):
            out[tuple(slice(r.start, r.stop) for r in region)] = read(region)
    np.testing.assert_array_equal(out, -source.data)
    assert np.all(source.counts == 1)
    assert calls == [tiling.size] * (3 * len(tiling))


def test_without_dask(tmp_path):
    """None of this imports it for images that do without."""
    image_of(values((20, 18, 16), "f4").T).img.save(tmp_path / "a.ome.zarr")
    code = f"""
import sys
import chunkimg as ci
image = ci.open_image({str(tmp_path / "a.ome.zarr")!r}, chunks=None)
made = image.img.map_patches(abs, 8, 2).img.smooth(3).img.astype_rescaled("u1", range=(0, 99))
made.img.save({str(tmp_path / "b.nii")!r})
ci.compose([made, image.img.patches(8)[3].img.astype_checked("f8")][:1]).img.save({str(tmp_path / "b.nrrd")!r})
assert not {{"dask", "zarr", "scipy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
