"""Larger voxels: each at the middle of its block, holding what the block's voxels say."""

import gzip

import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given, settings
from strategies import grids, slices

import chunkimg as ci
from chunkimg.image import build
from chunkimg.lazy import LazyArray
from chunkimg.ops.coarsen import FUNCS, BlocksArray, coarsened, factors_of

NUMPY = {"mean": np.mean, "median": np.median, "max": np.max, "min": np.min}
factors = st.tuples(*[st.integers(1, 4)] * 3)


def by_numpy(data, sizes, func):
    """Block by block."""
    shape = [-(-n // f) for n, f in zip(data.shape, sizes, strict=True)]
    out = np.empty(shape, data.dtype)
    for at in np.ndindex(*shape):
        block = data[tuple(slice(i * f, (i + 1) * f) for i, f in zip(at, sizes, strict=True))]
        if func == "mode":
            values, counts = np.unique(block, return_counts=True)
            best = values[counts == counts.max()]
            out[at] = min(best, key=lambda v: (v == 0, v))
        elif func == "nearest":
            out[at] = block[tuple((n - 1) // 2 for n in block.shape)]
        else:
            value = NUMPY[func](block.astype("f8"))
            out[at] = np.rint(value) if data.dtype.kind in "iu" else value
    return out


def image_of(grid, kind="numpy", dtype="i2", seed=0):
    data = np.random.default_rng(seed).integers(-9, 9, grid.shape[::-1]).astype(dtype)
    if kind == "dask":
        import dask.array as da

        data = da.from_array(data, chunks=3) * 1
    return ci.from_array(data, affine=grid.matrix, units=grid.units)


@settings(max_examples=60)
@given(
    grids(low=4), factors, st.sampled_from(sorted(FUNCS)), st.sampled_from(["trim", "pad"]),
    st.sampled_from(["numpy", "dask"]), st.sampled_from(["i2", "f4", "f8", "u1"]),
)  # fmt: skip
def test_blocks_are_those_of_numpy(grid, sizes, func, boundary, kind, dtype):
    image = image_of(grid, kind, dtype)
    x, y, z = sizes
    found = image.img.coarsen(x=x, y=y, z=z, func=func, boundary=boundary)
    data = image.values
    if boundary == "trim":
        data = data[tuple(slice(0, n // f * f) for n, f in zip(data.shape, (z, y, x), strict=True))]
    wanted = by_numpy(data, (z, y, x), func)
    assert found.dtype == image.dtype
    assert np.allclose(found.values, wanted, rtol=1e-6, atol=1e-5 if dtype == "f4" else 1e-12)
    if dtype in ("i2", "u1"):
        assert np.array_equal(found.values, wanted)
    # each is where the middle of its block is
    for at in ([0, 0, 0], [n - 1 for n in found.img.grid.shape]):
        middle = [i * f + (f - 1) / 2 for i, f in zip(at, sizes, strict=True)]
        slack = 1e-9 * (1 + np.abs(grid.matrix).max())
        assert np.abs(found.img.to_world(at) - image.img.to_world(middle)).max() <= slack
    # xarray puts whole blocks at the same places, but where it loses the size of a single one
    if boundary == "trim" and min(found.sizes.values()) > 1:
        theirs = image.coarsen(x=x, y=y, z=z, boundary="trim").mean()
        assert theirs.img.same_grid(found, 1e-6)


@pytest.mark.parametrize("func", sorted(FUNCS))
@pytest.mark.parametrize("sizes", [(1, 1, 6), (1, 5, 6), (4, 5, 6), (1, 1, 3)])
def test_the_image_is_left_as_it_is(func, sizes):
    data = np.random.default_rng(0).integers(-9, 9, (6, 5, 4)).astype("i2")
    kept = data.copy()
    x, y, z = sizes
    image = ci.from_array(data)
    for _ in range(2):
        found = image.img.coarsen(x=x, y=y, z=z, func=func).values
        np.testing.assert_array_equal(data, kept)
        np.testing.assert_allclose(found, by_numpy(kept, (z, y, x), func))


def test_values_that_are_nan_or_large():
    data = np.array([[[1, np.nan, 3, 4, 5, 1e308, 1.7e308, 1.7e308]]])
    image = ci.from_array(data)
    for func in ("mean", "median", "max", "min"):
        found = image.img.coarsen(x=2, func=func).values[0, 0]
        assert np.isnan(found[0])
        assert np.isfinite(found[1:]).all()
    wide = ci.from_array(np.array([[[2**62 + 1, 2**62 + 3, -(2**63), 2**63 - 1]]]))
    assert wide.img.coarsen(x=2, func="median").values.tolist() == [[[2**62 + 2, 0]]]
    assert wide.img.coarsen(x=4, func="max").values.tolist() == [[[2**63 - 1]]]


class Counted(LazyArray):
    """An array that says what was read of it."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, 0

    def _read(self, region):
        self.read += int(np.prod([len(r) for r in region]))
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def __dask_tokenize__(self):
        return ("counted", self.data.tobytes())


@given(st.data(), st.booleans())
def test_any_part_reads_its_blocks_alone(data, whole):
    source = Counted(np.random.default_rng(1).integers(0, 99, (7, 8, 5)))
    sizes = data.draw(factors)
    array = BlocksArray(source, sizes, "max", whole)
    full = array[:]
    source.read = 0
    key = tuple(data.draw(slices(n)) for n in array.shape)
    assert np.array_equal(array[key], full[key])
    spans = [range(n)[k] for n, k in zip(array.shape, key, strict=True)]
    box = [(max(s) - min(s) + 1) * f for s, f in zip(spans, sizes, strict=True)]
    assert source.read <= np.prod(box)


@pytest.mark.parametrize("item", items("nifti"))
def test_means_as_simpleitk(item):
    sitk = pytest.importorskip("SimpleITK")
    try:
        image = ci.open_image(item_path(item), chunks=None).astype("f8")
        theirs = image.img.to_sitk()
    except Exception:
        pytest.skip("not an image that both hold")
    if (
        image.size > 1 << 21
        or image.ndim != 3
        or image.img.space == "unknown"
        or min(image.shape) < 3
        or image.img.is_label
    ):
        pytest.skip("another kind of image")
    wanted = sitk.BinShrink(theirs, (2, 3, 1))
    found = image.img.coarsen(x=2, y=3)
    sizes = tuple(wanted.GetSize())
    assert sizes == found.img.grid.shape
    assert np.allclose(found.values, sitk.GetArrayFromImage(wanted), equal_nan=True)
    mine = found.img.to_sitk()
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(mine, name)(), getattr(wanted, name)(), atol=1e-5 * max(image.img.spacing))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
@pytest.mark.parametrize("chunks", [None, "auto"])
def test_files_are_read_once(tmp_path, suffix, chunks, monkeypatch):
    data = np.random.default_rng(0).integers(-100, 3000, (40, 50, 60)).astype("i2")
    plain = ci.from_array(data, spacing=(1, 2, 3))
    if suffix == ".nii.gz":
        plain.img.save(tmp_path / "a.nii", scaling=(-0.5, 10))
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes(), 1))
    else:
        plain.img.save(tmp_path / f"a{suffix}", scaling=(-0.5, 10))
    from chunkimg.io.source import DecodedStream

    read = []
    into = DecodedStream.read_into
    monkeypatch.setattr(DecodedStream, "read_into", lambda self, v: read.append(len(v)) or into(self, v))
    image = ci.open_image(tmp_path / f"a{suffix}", chunks=chunks, index=False)
    found = image.img.coarsen({"z": 3}, x=2, y=4, func="max", boundary="pad")
    assert (found.chunks is None) == (chunks is None)
    # of stored values, which run the other way
    assert found.encoding["scale_factor"] == -0.5
    wanted = by_numpy(image.values, (3, 4, 2), "max")
    assert np.array_equal(found.values, wanted)
    # a mean is no stored value
    mean = image.img.coarsen(x=2, y=2)
    assert "scale_factor" not in mean.encoding
    assert mean.dtype == np.dtype("f4")
    assert np.allclose(mean.values, by_numpy(image.values.astype("f8"), (1, 2, 2), "mean"), rtol=1e-6)
    for dest in ("b.nii", "b.nii.gz", "b.ome.zarr"):
        read.clear()
        found.img.save(tmp_path / dest, budget=1 << 20, overwrite=True)
        assert sum(read) <= 1.1 * data.nbytes
        again = ci.open_image(tmp_path / dest)
        assert np.array_equal(again.values, wanted)
        assert again.img.same_grid(found, 1e-5)


def test_labels_are_modes_and_never_means():
    data = np.array([[[0, 7, 7, 3], [7, 0, 3, 3]]], "u2")
    cells = ci.from_array(data).img.as_label()
    assert cells.img.coarsen(x=2, y=2).values.tolist() == [[[7, 3]]]
    assert cells.img.coarsen(x=2, y=2).img.is_label
    for func in ("mean", "median"):
        with pytest.raises(ci.UnsupportedError, match="of labels is none of them"):
            cells.img.coarsen(2, func=func)
    mask = ci.from_array(data > 0)
    assert mask.img.coarsen(x=2, y=2).values.tolist() == [[[True, True]]]
    assert mask.img.coarsen(x=2, y=2, func="min").values.tolist() == [[[False, True]]]


def test_frames_channels_and_poses_come_along(nibabel_data):
    fmri = ci.open_image(nibabel_data / "example4d.nii.gz")
    found = fmri.img.coarsen(2)
    assert dict(found.sizes) == {"t": 2, "z": 12, "y": 48, "x": 64}
    assert found.t.identical(fmri.t)
    assert np.array_equal(found.isel(t=1).values, fmri.isel(t=1).img.coarsen(2).values)
    poses = [np.diag([1.0, 2, 3, 1]), np.diag([1.0, 2, 3, 1]) + np.eye(4, k=3)]
    moving = ci.from_array(np.zeros((2, 4, 4, 4)), affine=poses, t=[0, 1])
    for t in (0, 1):
        wanted = moving.sel(t=t).img.coarsen(2).img.affine
        assert np.array_equal(moving.img.coarsen(2).img.affine_at(t), wanted)
        assert np.array_equal(moving.img.coarsen(2).sel(t=t).img.affine, wanted)
    # there is no order in which slices that are put together were taken
    scan = ci.from_array(np.zeros((4, 4, 4)), properties={"slice_code": 1, "slice_duration": 0.1, "descrip": "a"})
    assert set(scan.img.coarsen(x=2).img.properties) - set(scan.img.coarsen(2).img.properties) == {
        "slice_code",
        "slice_duration",
    }


def test_errors():
    image = ci.from_array(np.zeros((1, 5, 6), "i2"))
    for wrong in ({"t": 2}, 0, 1.5, {"x": -1}):
        with pytest.raises(ci.GeometryError, match="whole numbers of at least 1"):
            image.img.coarsen(wrong)
    with pytest.raises(ci.GeometryError, match="no whole block"):
        image.img.coarsen(2)
    assert image.img.coarsen(2, boundary="pad").shape == (1, 3, 3)
    with pytest.raises(ci.GeometryError, match="no multiples"):
        image.img.coarsen(y=2, boundary="exact")
    assert image.img.coarsen(x=2, boundary="exact").shape == (1, 5, 3)
    with pytest.raises(ci.GeometryError, match="boundary is 'cut'"):
        image.img.coarsen(x=2, boundary="cut")
    with pytest.raises(ci.GeometryError, match="expected one of max, mean"):
        image.img.coarsen(x=2, func="sum")
    with pytest.raises(ci.UnsupportedError, match="complex64 has no median"):
        image.astype("c8").img.coarsen(x=2, func="median")
    assert coarsened(build.to_volume(image), factors_of(1)).data.shape == (1, 5, 6)


@pytest.mark.parametrize("slope", [100.0, -0.5])
@pytest.mark.parametrize("func", ["mean", "median", "mode", "max", "min", "nearest"])
def test_scaled_images_are_reduced_by_their_values(tmp_path, func, slope):
    nifti = nib.Nifti1Image(np.random.default_rng(3).integers(0, 9, (6, 8, 10), "u1"), np.diag([1, 2, 3, 1]))
    nifti.header.set_slope_inter(slope, -10)
    nib.save(nifti, tmp_path / "a.nii")
    for chunks in ("auto", None):
        image = ci.open_image(tmp_path / "a.nii", chunks=chunks)
        found = image.img.coarsen(2, func=func)
        np.testing.assert_array_equal(found.values, (image + 0).img.coarsen(2, func=func).values)
        if func in ("mean", "median", "max", "min"):
            expected = getattr(image.load().coarsen(x=2, y=2, z=2), func)()
            np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("func", ["mean", "median", "mode", "max", "nearest"])
@pytest.mark.parametrize("dtype", [">i2", ">u8", ">f4"])
def test_values_of_the_other_byte_order_that_dask_computes(func, dtype):
    data = np.random.default_rng(2).integers(0, 200, (6, 5, 7)).astype(dtype)
    image = ci.from_array(data, spacing=(1, 2, 3))
    computed = image.chunk(2).map_blocks(lambda block: block)
    made = computed.img.coarsen(2, func=func)
    expected = image.img.coarsen(2, func=func)
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made.values, expected.values)
