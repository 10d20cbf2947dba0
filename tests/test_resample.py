"""Resampling against SimpleITK and scipy, and by laws: own grid, crops, any cut, frames and channels."""

import itertools
import math
import pickle
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import strategies as grids
import xarray as xr
from conftest import item_path, items, optional
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkimg as ci
from chunkimg import Grid, resampling
from chunkimg.geometry import affine as aff
from chunkimg.io.format import WriteOptions
from chunkimg.io.registry import format_to_write
from chunkimg.lazy import LazyArray, ScaledArray, ViewArray
from chunkimg.ops import boxes, interpolate, interpolate_kernels, machine_code
from chunkimg.ops.pad import PaddedArray, padded
from chunkimg.ops.resample import ResampledArray
from chunkimg.scaling import Scaling
from chunkimg.volume import TimeAxis, Volume

ndimage, sitk = optional("scipy.ndimage"), optional("SimpleITK")


class Stored(LazyArray):
    """An array that notes how much of it is read, whole chunks at a time."""

    def __init__(self, values, chunks=None, sequential=False):
        self.values, self.shape, self.dtype, self.chunks = values, values.shape, values.dtype, chunks
        self.front_to_back, self.piecewise = sequential, not sequential
        self.file_order = tuple(range(values.ndim))
        self.read, self.regions = 0, []

    def _read(self, region):
        self.regions.append(region)
        touched = [
            sum(min(c, n - k * c) for k in {i // c for i in r})
            for r, c, n in zip(region, self._units(), self.shape, strict=True)
        ]
        self.read += math.prod(touched)
        return self.values[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def _units(self):
        return self.chunks or (1,) * self.ndim

    def __dask_tokenize__(self):
        return id(self)

    @property
    def passes(self):
        return self.read / self.values.size


class Bend:
    """A map that is not affine."""

    matrix = None

    def map(self, points):
        out = points.copy()
        out[..., 0] += 2 * np.sin(points[..., 1] / 5)
        out[..., 2] += 1.5 * np.cos(points[..., 0] / 4)
        return out


def noise(shape, dtype="f4", seed=0):
    """Values that differ from voxel to voxel."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -1000), min(info.max, 3000), shape).astype(dtype)
    return (rng.random(shape) * 100).astype(dtype)


def turned(degrees, axis, shear=0.0):
    """A rotation matrix about one of x, y, z."""
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = a, -b, b, a
    out[0, 1] += shear
    return out


def volume_of(values, affine, dims=("z", "y", "x"), **more):
    data = values if isinstance(values, LazyArray) else Stored(values)
    grid = Grid(data.shape[-3:][::-1], tuple(map(tuple, np.asarray(affine).tolist())))
    times = TimeAxis(tuple(float(k) for k in range(data.shape[0]))) if "t" in dims else None
    return Volume(data, dims, grid, times=times, **more)


def to_sitk(values, grid):
    """A SimpleITK image in LPS, by hand."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.matrix
    out = sitk.GetImageFromArray(np.ascontiguousarray(values))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    out.SetSpacing(spacing.tolist())
    out.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    out.SetOrigin(lps[:3, 3].tolist())
    return out


def by_sitk(values, grid, ref, method, transform=None, fill=0.0):
    out = sitk.ResampleImageFilter()
    lps = to_sitk(np.zeros((1, 1, 1), "u1"), ref)
    out.SetSize(ref.shape)
    out.SetOutputSpacing(lps.GetSpacing())
    out.SetOutputDirection(lps.GetDirection())
    out.SetOutputOrigin(lps.GetOrigin())
    kinds = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}
    out.SetInterpolator(kinds[method])
    out.SetDefaultPixelValue(fill)
    if transform is not None:
        out.SetTransform(transform)
    return sitk.GetArrayFromImage(out.Execute(to_sitk(values, grid)))


def positions(grid, ref, matrix=None):
    """Where voxels of `ref` lie in `grid`, in voxels x, y, z; shape (z, y, x, 3)."""
    k, j, i = np.indices(ref.shape[::-1])
    world = ref.to_world(np.stack([i, j, k], -1))
    return grid.to_index(world if matrix is None else aff.apply(np.asarray(matrix), world))


def doubtful(at, shape, nearest=False):
    """Points so near to the border, or to the middle between voxels, that rounding decides."""
    n = np.array(shape)
    out = np.any((np.abs(at + 0.5) < 1e-3) | (np.abs(at - n + 0.5) < 1e-3), axis=-1)
    if nearest:
        out |= np.any(np.abs(at - np.floor(at) - 0.5) < 1e-4, axis=-1)
    return out


@st.composite
def references(draw, grid, shear=True):
    """Grids around a part of another one."""
    shape = draw(st.lists(st.integers(1, 9), min_size=3, max_size=3, unique=True))
    affine = draw(grids.affines(shear=shear, far=1.0))
    spacing, direction = aff.decompose(affine)
    matrix = aff.compose(spacing / spacing[0] * np.mean(grid.spacing) * draw(st.floats(0.3, 1.5)), direction, [0] * 3)
    middle = grid.to_world([draw(st.floats(0, n - 1)) for n in grid.shape])
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(tuple(shape), matrix, "RAS", grid.units)


# ------------------------------------------------------------------ against others


@settings(max_examples=60)
@given(st.data())
def test_as_simpleitk(data):
    grid = data.draw(grids.grids(low=2, shear=False, far=50.0))
    ref = data.draw(references(grid, shear=False))
    values = noise(grid.shape[::-1])
    image = ci.from_array(values, affine=grid.matrix, units=grid.units)
    at = positions(grid, ref)
    for method in ("linear", "nearest"):
        found = image.img.resample_to(ref, method, fill=-7)
        assert found.img.grid == ref and found.dtype == values.dtype
        expected = by_sitk(values, grid, ref, method, fill=-7)
        sure = ~doubtful(at, grid.shape, method == "nearest")
        limit = 1e-4 * np.ptp(values) if method == "linear" else 0
        assert np.abs(found.values - expected)[sure].max(initial=0) <= limit


@settings(max_examples=60)
@given(st.data())
def test_sheared_grids_as_scipy(data):
    grid, values = data.draw(grids.grids(low=2)), None
    ref = data.draw(references(grid))
    values = noise(grid.shape[::-1], "f8")
    found = ci.from_array(values, affine=grid.matrix, units=grid.units).img.resample_to(ref, fill=np.nan).values
    at = positions(grid, ref)
    for axis in range(3):
        # an axis that is nearly on voxels is taken to be there
        if np.abs(at[..., axis] - np.rint(at[..., axis])).max() <= 1e-3:
            at[..., axis] = np.rint(at[..., axis])
    expected = ndimage.map_coordinates(values, np.moveaxis(at, -1, 0)[::-1], order=1, mode="nearest")
    inside = np.all((at >= -0.5) & (at <= np.array(grid.shape) - 0.5), axis=-1)
    sure = ~doubtful(at, grid.shape)
    np.testing.assert_array_equal(np.isnan(found)[sure], ~inside[sure])
    np.testing.assert_allclose(found[sure & inside], expected[sure & inside], rtol=0, atol=1e-6)


OBLIQUE = items("nifti", "nrrd")


@pytest.mark.parametrize("item", OBLIQUE)
def test_real_images_as_simpleitk(item):
    try:
        image = ci.open_image(item_path(item), chunks=None)
        grid = image.img.grid
    except (ci.ChunkImgError, OSError):
        pytest.skip("not an image with a position")
    image = image.isel({d: 0 for d in ("t", "c") if d in image.dims})
    if image.size > 4 << 20 or min(grid.shape) < 2 or image.dtype.kind not in "iuf" or grid.space == "unknown":
        pytest.skip("large, flat or of another type")
    cosines = grid.direction.T @ grid.direction
    if not np.allclose(cosines, np.eye(3), atol=1e-5):
        pytest.skip("SimpleITK does without shear")
    values = image.values.astype("f4")
    if not np.all(np.isfinite(values)):
        pytest.skip("not finite")
    size = np.array(grid.extent)
    matrix = aff.compose(size / (37, 29, 23), turned(20, 0) @ turned(-11, 2) @ grid.direction, [0, 0, 0])
    matrix[:3, 3] = np.array(grid.center) - matrix[:3, :3] @ [18, 14, 11]
    ref = Grid((37, 29, 23), matrix, grid.space, grid.units)
    at = positions(grid, ref)
    for method in ("nearest",) if image.img.is_label else ("linear", "nearest"):
        found = image.astype("f4").img.resample_to(ref, method).values
        expected = by_sitk(values, grid, ref, method)
        sure = ~doubtful(at, grid.shape, method == "nearest")
        if method == "linear":
            assert np.abs(found - expected)[sure].max() <= 1e-3 * np.ptp(values)
        else:
            assert np.mean(found[sure] == expected[sure]) >= 0.9999
        # in the type of the image
        kept = image.img.resample_to(ref, method)
        assert kept.dtype == image.dtype
        if image.dtype.kind in "iu":
            np.testing.assert_allclose(kept.values.astype("f8"), found, rtol=1e-6, atol=0.51)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_types(dtype):
    shape = (9, 14, 23)
    if np.dtype(dtype).kind == "c":
        values = (noise(shape, "f8") + 1j * noise(shape, "f8", 1)).astype(dtype)
    else:
        values = noise(shape) > 50 if dtype == "?" else noise(shape, dtype)
    affine = aff.compose((0.7, 0.9, 2.1), turned(12, 1), (3, -4, 5))
    ref = Grid((40, 31, 17), aff.compose((0.45, 0.4, 1.1), turned(-9, 0), (1, -6, 7)))
    volume = volume_of(values, affine)
    wide = values.astype("c16" if np.iscomplexobj(values) else "f8")
    exact = resampling.resample_volume(volume_of(wide, affine), ref, "linear").data[:]
    found = resampling.resample_volume(volume, ref, "linear").data
    assert found.dtype == values.dtype
    if values.dtype.kind in "biu":
        assert np.abs(found[:].astype("f8") - exact).max() <= 0.5 + 1e-2
    else:
        np.testing.assert_allclose(found[:], exact, rtol=2e-3 if dtype == "f2" else 1e-5, atol=1e-4)
    nearest = resampling.resample_volume(volume, ref, "nearest").data
    at = positions(volume.grid, ref)
    index = np.clip(np.floor(at + 0.5).astype(int), 0, np.array(shape)[::-1] - 1)
    expected = values[index[..., 2], index[..., 1], index[..., 0]]
    inside = np.all((at >= -0.5) & (at <= np.array(shape)[::-1] - 0.5), axis=-1)
    sure = ~doubtful(at, shape[::-1], True)
    np.testing.assert_array_equal(nearest[:][sure], np.where(inside, expected, 0)[sure])


def test_large_integers_do_not_wrap():
    for dtype in ("i8", "u8", "i4", "u4", "i1", "u1", "i2", "u2"):
        info = np.iinfo(dtype)
        values = np.array([info.min, info.max], dtype)[(noise((4, 5, 6)) > 50).astype(int)]
        found = resampling.resample_volume(
            volume_of(values, np.eye(4)), Grid((9, 8, 7), aff.compose((0.5,) * 3, turned(3, 0), (0.2, 0.3, 0.1)))
        ).data[:]
        # next to the largest value there are others, as float64 sees them
        assert found.min() >= info.min and found.max() == info.max
        high = np.full((2, 2, 2), info.max, dtype)
        same = resampling.resample_volume(
            volume_of(high, np.eye(4)), Grid((2, 2, 2), aff.compose((0.3,) * 3, np.eye(3), (0.2,) * 3))
        )
        assert np.all(same.data[:] == info.max)


@settings(max_examples=60)
@given(st.data())
def test_cubic_as_scipy_and_simpleitk(data):
    grid = data.draw(grids.grids(low=1, shear=False, far=50.0))
    ref = data.draw(references(grid, shear=False))
    values = noise(grid.shape[::-1], "f8")
    image = ci.from_array(values, affine=grid.matrix, units=grid.units)
    at = positions(grid, ref)
    inside = np.all((at >= -0.5) & (at <= np.array(grid.shape) - 0.5), axis=-1)
    sure = ~doubtful(at, grid.shape)
    found = image.img.resample_to(ref, "cubic", fill=-7).values
    by_scipy = ndimage.map_coordinates(values, np.moveaxis(at, -1, 0)[::-1], order=3, mode="mirror")
    expected = np.where(inside, by_scipy, -7)
    np.testing.assert_allclose(found[sure], expected[sure], rtol=0, atol=1e-3)
    if min(grid.shape) > 4:
        other = by_sitk(values, grid, ref, "cubic", fill=-7)
        centre = sure & np.all((at > 0) & (at < np.array(grid.shape) - 1), axis=-1)
        np.testing.assert_allclose(found[centre], other[centre], rtol=0, atol=1e-3)


def test_cubic_splines_of_large_volumes():
    """What is cut off around parts does not show; integers are kept within their type."""
    _, volume, ref = rotated((120, 90, 100), "u1", chunks=(32, 32, 32))
    volume.data.values[...] = np.where(volume.data.values > 127, 255, 0)
    data = resampling.resample_volume(volume, ref, "cubic", fill=9).data
    at = positions(volume.grid, ref)
    where = np.moveaxis(at, -1, 0)[::-1]
    exact = ndimage.map_coordinates(volume.data.values.astype("f8"), where, order=3, mode="mirror")
    inside = np.all((at >= -0.5) & (at <= np.array(volume.grid.shape) - 0.5), axis=-1)
    expected = np.where(inside, np.clip(exact, 0, 255), 9)
    sure = ~doubtful(at, volume.grid.shape)
    found = data[:]
    assert exact.min() < -20 and exact.max() > 275
    assert np.abs(found - expected)[sure].max() <= 0.51
    assert np.abs(data[50:53, ::7, 3:].astype(int) - found[50:53, ::7, 3:]).max() <= 1
    wide = replace(volume, data=Stored(volume.data.values.astype("f4"), (32, 32, 32)))
    found = resampling.resample_volume(wide, ref, "cubic").data[:]
    assert np.abs(found - exact)[sure & inside].max() <= 255 * 1e-5


# ------------------------------------------------------------------ laws


@settings(max_examples=40)
@given(st.data())
def test_own_grid_crops_and_flips_are_bits(data):
    grid = data.draw(grids.grids(low=2))
    values = noise(grid.shape[::-1], "f8")
    values[0, 0, 0] = np.nan
    image = ci.from_array(values, affine=grid.matrix, units=grid.units)
    for method in ("linear", "nearest"):
        np.testing.assert_array_equal(image.img.resample_to(image, method).values, values)
        parts = {a: data.draw(grids.slices(n)) for a, n in zip("xyz", grid.shape, strict=True)}
        part = image.isel(parts)
        np.testing.assert_array_equal(image.img.resample_to(part, method).values, part.values)
        turned = grid.permute(data.draw(st.permutations("xyz"))).flip("y")
        again = image.img.resample_to(turned, method)
        np.testing.assert_array_equal(again.img.resample_to(image, method).values, values)
        around = grid.pad((1, 0, 3), (2, 1, 0))
        padded = image.img.resample_to(around, method, fill=-5)
        np.testing.assert_array_equal(padded.values, np.pad(values, ((3, 0), (0, 1), (1, 2)), constant_values=-5))
        np.testing.assert_array_equal(padded.img.resample_to(image, method).values, values)


def test_what_moves_whole_voxels_only_is_a_view():
    volume = volume_of(noise((5, 6, 7)), aff.compose((1, 2, 3), turned(10, 0), (4, 5, 6)))
    grid = volume.grid
    assert resampling.resample_volume(volume, grid).data is volume.data
    assert isinstance(resampling.resample_volume(volume, grid.crop(x=slice(None, None, -2))).data, ViewArray)
    assert isinstance(resampling.resample_volume(volume, grid.pad((1, 1, 1), (0, 0, 0))).data, PaddedArray)
    near = np.array(grid.matrix)
    near[:3, 3] += 1e-4
    twin = Grid(grid.shape, near)
    assert resampling.resample_volume(volume, twin).data is volume.data
    near[:3, 3] += 1e-2
    assert isinstance(resampling.resample_volume(volume, Grid(grid.shape, near)).data, ResampledArray)
    # nowhere near
    far = np.array(grid.matrix)
    far[:3, 3] = grid.to_world((1000, 0, 0))
    assert np.all(resampling.resample_volume(volume, Grid(grid.shape, far), fill=3).data[:] == 3)


@settings(max_examples=40)
@given(st.data())
def test_crop_then_resample_is_resample_then_crop(data):
    grid = data.draw(grids.grids(low=2))
    ref = data.draw(references(grid))
    image = ci.from_array(noise(grid.shape[::-1]), affine=grid.matrix, units=grid.units)
    parts = {a: data.draw(grids.slices(n)) for a, n in zip("xyz", ref.shape, strict=True)}
    at = positions(grid, ref)
    for method in ("linear", "nearest"):
        whole = image.img.resample_to(ref, method)
        part = image.img.resample_to(ref.crop(**parts), method)
        index = tuple(parts[a] for a in "zyx")
        sure = ~doubtful(at, grid.shape, method == "nearest")[index]
        np.testing.assert_allclose(part.values[sure], whole.isel(parts).values[sure], rtol=0, atol=0.2)
        assert part.img.same_grid(whole.isel(parts))


def rotated(shape=(60, 70, 80), dtype="i2", chunks=None, sequential=False, dims=("z", "y", "x"), axis=0):
    """A volume, and a grid turned against it by 20 degrees."""
    stored = Stored(noise(shape, dtype), chunks, sequential)
    size = shape[-3:][::-1]
    volume = volume_of(stored, aff.compose((0.7, 0.8, 1.25), turned(12, 1), (-20, 30, 40)), dims)
    matrix = aff.compose((0.9, 0.9, 0.9), turned(20, axis) @ volume.grid.direction, (0, 0, 0))
    sizes = tuple(round(n * s / 0.9) for n, s in zip(size, volume.grid.spacing, strict=True))
    matrix[:3, 3] = np.array(volume.grid.center) - matrix[:3, :3] @ ((np.array(sizes) - 1) / 2)
    return stored, volume, Grid(sizes, matrix)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("kind", [{}, {"chunks": (16, 16, 16)}, {"sequential": True}])
def test_any_cut_gives_the_same_bits(kind, method):
    _, volume, ref = rotated(**kind)
    data = resampling.resample_volume(volume, ref, method, fill=-3).data
    whole = data[:]
    expected = by_sitk(volume.data.values.astype("f4"), volume.grid, ref, method, fill=-3)
    sure = ~doubtful(positions(volume.grid, ref), volume.grid.shape, method == "nearest")
    assert np.abs(whole - expected)[sure].max() <= 0.51
    with data.reader() as read:
        for at in range(0, len(whole), 17):
            region = (range(at, min(at + 17, len(whole))), range(data.shape[1]), range(data.shape[2]))
            np.testing.assert_array_equal(read(region), whole[at : at + 17])
    np.testing.assert_array_equal(data[3:50:7, ::-2, 5:71:3], whole[3:50:7, ::-2, 5:71:3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[:9], whole[:9])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_chunk_is_read_about_once(axis):
    stored, volume, ref = rotated((120, 130, 140), chunks=(32, 32, 32), axis=axis)
    data = resampling.resample_volume(volume, ref).data
    with data.reader() as read:
        for at in range(0, data.shape[0], 20):
            read((range(at, min(at + 20, data.shape[0])), range(data.shape[1]), range(data.shape[2])))
    assert 0.8 < stored.passes <= 1.3
    stored.read = 0
    small = data[40:48, 60:68, 30:38]
    assert small.shape == (8, 8, 8) and stored.passes < 0.3


@pytest.mark.parametrize("full", [False, True])
def test_what_is_too_much_to_be_kept_goes_to_a_file(full, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    stored, volume, ref = rotated((120, 130, 140), chunks=(16, 16, 16))
    data = resampling.resample_volume(volume, ref).data
    whole = data[:]
    monkeypatch.setattr(boxes, "KEPT", 1 << 20)
    monkeypatch.setattr(boxes, "_SMALL", 1)
    if full:
        monkeypatch.setattr(boxes.os, "pwrite", no_space)
    stored.read = 0
    with data.reader() as read:
        for at in range(0, data.shape[0], 20):
            region = (range(at, min(at + 20, data.shape[0])), range(data.shape[1]), range(data.shape[2]))
            np.testing.assert_array_equal(read(region), whole[at : at + 20])
    assert stored.passes > 2 if full else 0.8 < stored.passes <= 1.3


@pytest.mark.parametrize("kind", [{"chunks": (16, 16, 16)}, {"sequential": True}, {}])
def test_views_and_scaled_values_are_read_by_chunks_of_their_source(kind):
    stored, volume, ref = rotated((60, 70, 80), **kind)
    shown = volume.crop(z=slice(55, 3, -1), y=slice(5, None), x=slice(70, None, -2))
    shown = replace(shown, scaling=Scaling(0.5, 3))
    values = shown.values[:]
    stored.read = 0
    data = resampling.resample_volume(shown, ref, fill=-1).data
    with data.reader() as read:
        found = [
            read((range(at, min(at + 9, data.shape[0])), range(data.shape[1]), range(data.shape[2])))
            for at in range(0, data.shape[0], 9)
        ]
    assert kind == {} or stored.passes <= 1
    expected = resampling.resample_volume(volume_of(values, shown.grid.matrix), ref, fill=-1).data[:]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_array_equal(data[:], expected)


@pytest.mark.parametrize("kind", [{"chunks": (16, 16, 16)}, {"sequential": True}, {}])
def test_padded_images_are_read_by_chunks_of_their_source(kind, monkeypatch):
    for name in ("_SMALL", "_LARGE") if "chunks" in kind else ():
        monkeypatch.setattr(boxes, name, 1 << 12)
    stored, volume, ref = rotated((60, 70, 80), **kind)
    wide = padded(volume, {"x": (3, 9), "y": (21, 0), "z": (5, 17)}, fill=-7)
    # beyond the padding on some sides, and far from the image within it
    ref = ref.pad((0, 40, 2), (5, 0, 30))
    values = wide.values[:]
    stored.read = 0
    data = resampling.resample_volume(wide, ref, fill=9).data
    with data.reader() as read:
        found = [
            read((range(at, min(at + 9, data.shape[0])), range(data.shape[1]), range(data.shape[2])))
            for at in range(0, data.shape[0], 9)
        ]
    assert kind == {} or stored.passes <= 1
    expected = resampling.resample_volume(volume_of(values, wide.grid.matrix), ref, fill=9).data[:]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_array_equal(data[:], expected)
    assert {-7, 9} <= set(np.unique(expected))


def test_a_sequential_source_is_read_once_by_a_pass():
    stored, volume, ref = rotated((60, 70, 80), sequential=True)
    data = resampling.resample_volume(volume, ref).data
    with data.reader() as read:
        for at in range(0, data.shape[0], 9):
            read((range(at, min(at + 9, data.shape[0])), range(data.shape[1]), range(data.shape[2])))
    assert stored.passes == 1


def test_frames_and_channels_are_carried_along():
    shape = (3, 2, 9, 11, 13)
    _, volume, ref = rotated(shape, "f4", dims=("t", "c", "z", "y", "x"))
    out = resampling.resample_volume(volume, ref)
    assert out.dims == volume.dims and out.times == volume.times and out.data.shape[:2] == (3, 2)
    for t in range(3):
        for c in range(2):
            alone = volume_of(volume.data.values[t, c], volume.grid.matrix)
            np.testing.assert_array_equal(out.data[t, c], resampling.resample_volume(alone, ref).data[:])


def test_each_frame_from_its_own_place():
    values = noise((3, 9, 11, 13))
    affines = [aff.compose((1, 1.5, 2), turned(4 * k, k), (k, 2, 3)) for k in range(3)]
    image = ci.from_array(values, affine=affines, t=[0, 2, 5])
    ref = Grid((8, 9, 10), aff.compose((1, 1, 1), turned(9, 2), (2, 3, 4)))
    found = image.img.resample_to(ref)
    assert found.img.grid == ref and found.img.affine_at(2).tolist() == ref.matrix.tolist()
    for k, affine in enumerate(affines):
        alone = ci.from_array(values[k], affine=affine).img.resample_to(ref)
        np.testing.assert_array_equal(found.isel(t=k).values, alone.values)
    with pytest.raises(ci.GeometryError, match="changes with time"):
        found.img.resample_to(image)
    assert found.img.resample_to(image.isel(t=1)).img.same_grid(image.isel(t=1))


# ------------------------------------------------------------------ transforms


class Affine:
    def __init__(self, matrix):
        self.matrix = matrix

    def map(self, points):
        return aff.apply(np.asarray(self.matrix), points)


def test_matrices():
    values, affine = noise((9, 14, 23)), aff.compose((0.7, 0.9, 2.1), turned(12, 1), (3, -4, 5))
    ref = Grid((20, 21, 17), aff.compose((0.6, 0.5, 1.1), turned(-9, 0), (1, -2, 7)))
    image = ci.from_array(values, affine=affine)
    matrix = aff.compose((1.1, 0.9, 1.05), turned(8, 2, shear=0.1), (1, 2, -1))
    lps = np.diag([-1, -1, 1, 1])
    moved = lps @ matrix @ lps
    transform = sitk.AffineTransform(moved[:3, :3].ravel().tolist(), moved[:3, 3].tolist())
    sure = ~doubtful(positions(image.img.grid, ref, matrix), values.shape[::-1])
    expected = by_sitk(values, image.img.grid, ref, "linear", transform)
    for given_ in (matrix, matrix.tolist(), Affine(matrix)):
        found = image.img.resample_to(ref, transform=given_).values
        assert np.abs(found - expected)[sure].max() <= 1e-3
    slow = Affine(matrix)
    by_points = image.img.resample_to(ref, transform=type("Map", (), {"matrix": None, "map": staticmethod(slow.map)})())
    assert np.abs(by_points.values - expected)[sure].max() <= 1e-3
    # there and back
    forth = image.img.resample_to(image, transform=matrix)
    same = image.img.resample_to(Grid(image.img.grid.shape, np.linalg.inv(matrix) @ affine), transform=matrix)
    np.testing.assert_allclose(same.values, values, atol=1e-3)
    assert forth.img.same_grid(image)
    for wrong in (np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(ci.GeometryError):
            image.img.resample_to(ref, transform=wrong)
    with pytest.raises(TypeError, match="4×4"):
        image.img.resample_to(ref, transform="a.tfm")


@pytest.mark.parametrize("dtype", ["f4", "i2", "u1", "f8"])
def test_maps_that_bend(dtype):
    values, affine = noise((19, 34, 43), dtype), aff.compose((0.7, 0.9, 1.1), turned(12, 1), (3, -4, 5))
    volume = volume_of(Stored(values, (8, 8, 8)), affine)
    ref = Grid((70, 41, 37), aff.compose((0.6, 0.5, 0.7), turned(-9, 0), (1, -6, 2)))
    at = volume.grid.to_index(Bend().map(ref.to_world(np.stack(np.indices(ref.shape[::-1])[::-1], -1))))
    inside = np.all((at >= -0.5) & (at <= np.array(values.shape[::-1]) - 0.5), axis=-1)
    sure = ~doubtful(at, volume.grid.shape, nearest=True)
    where = np.moveaxis(at, -1, 0)[::-1]
    for method, order in (("linear", 1), ("nearest", 0)):
        data = resampling.resample_volume(volume, ref, method, Bend(), 7).data
        expected = ndimage.map_coordinates(values.astype("f8"), where, order=order, mode="nearest")
        expected = np.where(inside, expected, 7)
        limit = 0.51 if values.dtype.kind in "iu" else 1e-3
        assert np.abs(data[:] - expected)[sure].max() <= (limit if order else 0)
        np.testing.assert_array_equal(data[5:30:3, 2:, ::-1], data[:][5:30:3, 2:, ::-1])


def test_a_map_may_wait_for_workers():
    from chunkimg.workers import each

    class Reading(Bend):
        def map(self, points):
            # as Dask does it, in a thread of its own
            other = threading.Thread(target=each, args=(lambda _: time.sleep(0.01), range(4)), daemon=True)
            other.start()
            other.join(30)
            assert not other.is_alive()
            return super().map(points)

    values = noise((40, 70, 150))
    image = ci.from_array(values, spacing=(1, 1, 1))
    np.testing.assert_array_equal(
        image.img.resample_to(image, transform=Reading()).values, image.img.resample_to(image, transform=Bend()).values
    )
    volume = volume_of(Stored(values), np.eye(4))
    for method in ("linear", "nearest"):
        data = resampling.resample_volume(volume, volume.grid, method, Reading()).data
        np.testing.assert_array_equal(data[3:40], image.img.resample_to(image, method, Bend()).values[3:])


def test_points_that_a_map_has_no_place_for_are_outside():
    class Torn(Bend):
        def map(self, points):
            return np.where(points[..., :1] > 3, np.nan, points)

    image = ci.from_array(noise((5, 6, 7)), spacing=(1, 1, 1))
    found = image.img.resample_to(image, transform=Torn(), fill=-1).values
    np.testing.assert_array_equal(found[..., :4], image.values[..., :4])
    assert np.all(found[..., 4:] == -1)


def test_a_map_that_tears_a_part_apart_is_read_in_pieces():
    class Scattered(Bend):
        def map(self, points):
            return points * [40, 40, 1]

    stored = Stored(noise((40, 600, 600), "f4"), (8, 64, 64))
    volume = volume_of(stored, np.eye(4))
    ref = Grid((15, 14, 30), np.eye(4))
    found = resampling.resample_volume(volume, ref, "nearest", Scattered()).data[:]
    np.testing.assert_array_equal(found, stored.values[:30, : 40 * 14 : 40, : 40 * 15 : 40])


# ------------------------------------------------------------------ what is refused, what is kept


def test_labels_are_not_mixed():
    labels = (noise((9, 8, 7)) // 13).astype("u2") * 100
    image = ci.from_array(labels, spacing=(1, 2, 3)).img.as_label()
    ref = Grid((9, 9, 9), aff.compose((0.8, 1.3, 2.2), turned(13, 1), (0, 1, -1)))
    found = image.img.resample_to(ref)
    assert found.dtype == labels.dtype and set(np.unique(found.values)) <= {0, *np.unique(labels)}
    assert found.img.is_label
    np.testing.assert_array_equal(found.values, image.img.resample_to(ref, "label").values)
    np.testing.assert_array_equal(found.values, image.img.resample_to(ref, "nearest").values)
    coarse = image.img.resample(spacing=5)
    assert set(np.unique(coarse.values)) <= set(np.unique(labels))
    with pytest.raises(ValueError, match="would invent"):
        image.img.resample_to(ref, "linear")
    with pytest.raises(ValueError, match="expected one of"):
        image.img.resample_to(ref, "lanczos")


def test_fill_is_a_value_of_the_type():
    image = ci.from_array(noise((3, 4, 5), "u1"), spacing=(1, 2, 3))
    for wrong in (-1, 256, 0.5, np.nan, "x", None, [1]):
        with pytest.raises(ValueError, match="fill"):
            image.img.resample_to(image, fill=wrong)
    assert np.isnan(image.astype("f4").img.resample_to(image.img.grid.pad((1, 0, 0), (0, 0, 0)), fill=np.nan)[0, 0, 0])


def test_worlds_must_be_one():
    image = ci.from_array(noise((3, 4, 5)), spacing=(1, 2, 3))
    unknown = ci.from_array(noise((3, 4, 5)), spacing=(1, 2, 3), space="unknown")
    with pytest.raises(ci.GeometryError, match="declare the unknown one"):
        image.img.resample_to(unknown)
    with pytest.raises(ci.GeometryError, match="declare the unknown one"):
        unknown.img.resample_to(image)
    np.testing.assert_array_equal(unknown.img.resample_to(unknown).values, unknown.values)
    # units are converted, LPS is turned
    microns = Grid((5, 4, 3), np.diag([1000.0, 2000, 3000, 1]), units="um")
    found = image.img.resample_to(microns)
    np.testing.assert_array_equal(found.values, image.values)
    assert found.img.units == "um" and found.img.spacing == (1000, 2000, 3000)
    lps = image.img.grid.to_space("LPS")
    np.testing.assert_array_equal(image.img.resample_to(lps).values, image.values)
    plain = xr.DataArray(np.zeros((2, 3, 4)), dims=("z", "y", "x"))
    with pytest.raises(ci.GeometryError):
        plain.img.resample_to(image)


def test_scaled_values_are_resampled():
    stored = noise((6, 7, 8), "i2")
    volume = volume_of(stored, np.eye(4))
    scaled = replace(volume, scaling=Scaling(0.5, 10))
    ref = Grid((9, 8, 7), aff.compose((0.8,) * 3, turned(9, 1), (0.3, 0.2, 0.1)))
    found = resampling.resample_volume(scaled, ref, fill=np.nan)
    assert found.scaling is None and found.data.dtype == np.float32
    expected = resampling.resample_volume(volume_of(stored.astype("f4") * 0.5 + 10, np.eye(4)), ref, fill=np.nan)
    np.testing.assert_array_equal(found.data[:], expected.data[:])
    assert isinstance(resampling.resample_volume(scaled, volume.grid).data, ScaledArray)


def test_voxels_of_no_weight_do_not_count():
    values = noise((6, 7, 8))
    values[3], values[:, 2, 4] = np.nan, np.inf
    volume = volume_of(values, np.eye(4))
    # only along z between voxels
    found = resampling.resample_volume(volume, Grid((8, 7, 5), aff.compose((1, 1, 1), np.eye(3), (0, 0, 0.5)))).data[:]
    with np.errstate(invalid="ignore"):
        expected = values[:-1] + np.float32(0.5) * (values[1:] - values[:-1])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("spacing", [1.0, 0.7, 1.1, 325.0])
def test_rounding_does_not_spread_what_is_no_number(dtype, spacing, monkeypatch):
    values = np.ones((1, 2, 41), dtype)
    values[..., ::2] = np.nan
    image = ci.from_array(values, spacing=(spacing, 1, 1))
    for _ in range(2):
        # every third voxel is where one of the image is, but for rounding
        found = image.img.resample((spacing / 3, 1, 1), "linear").values
        np.testing.assert_array_equal(found[..., 1::3], values)
        at = np.arange(41) * (spacing / 3) * 3
        points = np.stack([at, 0 * at, 0 * at], axis=1)
        np.testing.assert_array_equal(image.img.sample(points), values[0, 0])
        monkeypatch.setattr("chunkimg.ops.interpolate.kernel_of", lambda *_: None)


@settings(max_examples=40)
@given(grids.grids(low=2), st.tuples(*[st.floats(0.3, 3)] * 3))
def test_respaced(grid, factors):
    wanted = np.array(grid.spacing) * factors
    found = resampling.respaced(grid, wanted)
    np.testing.assert_allclose(found.spacing, wanted)
    np.testing.assert_allclose(found.center, grid.center, atol=1e-9)
    np.testing.assert_allclose(found.direction, grid.direction, atol=1e-12)
    apart = (np.array(found.extent) - grid.extent) / wanted
    assert np.all(np.abs(apart[np.array(found.shape) > 1]) <= 0.5 + 1e-9)
    # no voxel is made up
    values = noise(grid.shape[::-1])
    out = ci.from_array(values, affine=grid.matrix, units=grid.units).img.resample(spacing=wanted, method="nearest")
    assert set(out.values.ravel()) <= set(values.ravel())
    coarse = grid.coarsen(2, 2, 1) if min(grid.shape[:2]) % 2 == 0 and max(grid.shape[:2]) % 2 == 0 else None
    if coarse is not None:
        assert resampling.respaced(grid, coarse.spacing).same_as(coarse, 1e-6)


def test_spacing_that_is_none():
    image = ci.from_array(noise((3, 4, 5)), spacing=(1, 2, 3))
    for wrong in (0, -1, np.nan, (1, 2), (1, 2, 0)):
        with pytest.raises(ci.GeometryError, match="spacing"):
            image.img.resample(spacing=wrong)


def test_with_and_without_dask(tmp_path):
    values = noise((30, 40, 50), "i2")
    image = ci.from_array(values, affine=aff.compose((1, 1.2, 2), turned(10, 2), (5, 6, 7)))
    image.img.save(tmp_path / "a.ome.zarr", chunks=16)
    ref = Grid((41, 33, 29), aff.compose((1.1, 1.3, 2.2), turned(-10, 0), (9, 8, 7)))
    expected = image.img.resample_to(ref).values
    for chunks in ("auto", None, 13):
        opened = ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks)
        found = opened.img.resample_to(ref)
        assert (found.chunks is None) == (chunks is None)
        np.testing.assert_array_equal(found.values, expected)
        np.testing.assert_array_equal(found.isel(z=slice(3, 9), x=5).values, expected[3:9, :, 5])
        # what Dask alone can compute
        np.testing.assert_array_equal((opened + 1).cumsum("x").img.resample_to(opened).values, (values + 1).cumsum(2))
        np.testing.assert_array_equal(
            (opened + 1).img.resample_to(ref, fill=1).values, (image + 1).img.resample_to(ref, fill=1)
        )
    for name in ("b.ome.zarr", "b.nii", "b.nii.gz", "b.nrrd"):
        found.img.save(tmp_path / name)
        np.testing.assert_array_equal(ci.open_image(tmp_path / name).values, expected)
        assert ci.open_image(tmp_path / name).img.same_grid(found)


@pytest.mark.parametrize("chunks", [(5, 7, 9), None])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("transform", [None, Bend()])
def test_stores_are_made_of_it_in_one_pass(tmp_path, chunks, sequential, transform):
    values = noise((40, 50, 60), "i2")
    stored = Stored(values, chunks, sequential)
    ref = Grid((61, 43, 29), aff.compose((1.1, 1.3, 1.2), turned(-15, 2), (-3, 8, 4)))
    found = resampling.resample_volume(volume_of(stored, np.eye(4)), ref, "linear", transform, -1)
    assert found.data.lends == (transform is None)
    expected = resampling.resample_volume(volume_of(values, np.eye(4)), ref, "linear", transform, -1).data[:]
    assert len(np.unique(expected)) > 1000
    stored.read = 0
    format_to_write("a.zarr").write(found, str(tmp_path / "a.zarr"), WriteOptions(chunks={"z": 8, "y": 16, "x": 16}))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, expected)
    assert stored.passes <= 1 if chunks or sequential else stored.passes < 4


def test_the_result_of_dask_alone_is_resampled(tmp_path):
    import dask.array as da

    values = noise((30, 40, 50))
    image = ci.from_array(da.from_array(values, chunks=13).map_blocks(lambda b: b * 2), affine=np.diag([1, 2, 3, 1]))
    ref = Grid((41, 33, 29), aff.compose((1.1, 1.3, 2.2), turned(-10, 0), (1, 3, 5)))
    expected = ci.from_array(values * 2, affine=np.diag([1, 2, 3, 1])).img.resample_to(ref)
    found = image.img.resample_to(ref)
    found.img.save(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nrrd").values, expected.values)
    np.testing.assert_array_equal(found.values, expected.values)


# ------------------------------------------------------------------ machine code


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("shape", [(9, 14, 23), (1, 5, 9), (6, 1, 40), (7, 8, 1)])
def test_machine_code_and_numpy_give_the_same_bits(dtype, shape, monkeypatch):
    pytest.importorskip("llvmlite")
    values = noise(shape, "f4") > 50 if dtype == "?" else noise(shape, dtype)
    if values.dtype.kind == "f":
        values[0, ::3, ::5], values[-1, 0, 0] = np.nan, np.inf
    affine = aff.compose((0.7, 0.9, 2.1), turned(12, 1), (3, -4, 5))
    volume = volume_of(Stored(values, (4, 4, 4)), affine)
    middle = volume.grid.center
    # steps that are none along one axis too
    for spacing, turn in (((0.45, 0.4, 1.1), turned(-9, 0)), ((0.21, 0.9, 0.7), turned(12, 1))):
        matrix = aff.compose(spacing, turn, (0, 0, 0))
        matrix[:3, 3] = np.array(middle) - matrix[:3, :3] @ (22, 15, 8)
        ref = Grid((45, 31, 17), matrix)
        methods = ("linear", "nearest", "cubic") if np.all(np.isfinite(values)) else ("linear", "nearest")
        for method, transform in itertools.product(methods, (None, Bend())):
            data = resampling.resample_volume(volume, ref, method, transform, 1).data
            fast = data[:]
            strided = data[::2, 1::3, 2:40:5]
            with monkeypatch.context() as without:
                without.setattr(interpolate, "kernel_of", lambda *_: None)
                slow = data[:]
            np.testing.assert_array_equal(fast, slow)
            if method != "cubic":
                np.testing.assert_array_equal(strided, slow[::2, 1::3, 2:40:5])


def test_every_type_that_should_have_machine_code_has(monkeypatch):
    pytest.importorskip("llvmlite")
    for dtype in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "f2", "c8"):
        block = np.zeros((3, 4, 5), dtype)
        has = {m: interpolate_kernels.kernel_of(block, m, block) is not None for m in ("nearest", "linear", "cubic")}
        assert has == {"nearest": True, "linear": dtype not in ("i8", "f2", "c8"), "cubic": dtype in ("f4", "f8")}
    monkeypatch.setattr(machine_code, "_compiled", lambda *_: 1 / 0)
    caches = (machine_code._made, interpolate_kernels._kernel)
    for cached in caches:
        cached.cache_clear()
    try:
        assert interpolate_kernels.kernel_of(block, "nearest", block) is None
    finally:
        for cached in caches:
            cached.cache_clear()


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "i4", "f8"])
def test_mapped_memory_is_not_read_beyond_its_end(dtype, tmp_path):
    """A raw file that ends where a page does: a byte behind it would be a fault."""
    shape = (4, 32, 64 * 1024 // (128 * np.dtype(dtype).itemsize))
    values = noise(shape, dtype)
    path = tmp_path / "a.nhdr"
    ci.from_array(values, spacing=(1, 1, 1)).img.save(path)
    image = ci.open_image(path, chunks=None)
    ref = Grid(shape[::-1], aff.compose((1, 1, 1), turned(1, 0), (0.3, 0.1, 0.2)))
    last = Grid((2, 2, 2), aff.compose((0.2, 0.2, 0.2), np.eye(3), (shape[2] - 1.1, shape[1] - 1.1, shape[0] - 1.1)))
    for grid in (ref, last):
        for method in ("linear", "nearest"):
            found = image.img.resample_to(grid, method).values
            np.testing.assert_array_equal(
                found, ci.from_array(values, spacing=(1, 1, 1)).img.resample_to(grid, method).values
            )


# ------------------------------------------------------------------ the command line


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".ome.zarr"])
def test_the_command(suffix, tmp_path, command):
    values = noise((30, 41, 52), "i2")
    image = ci.from_array(values, affine=aff.compose((1, 1.2, 2), turned(10, 2), (5, 6, 7)))
    other = ci.from_array(noise((9, 8, 7)), affine=aff.compose((4, 5, 6), turned(-20, 0), (9, 10, 11)))
    source, ref, dest = str(tmp_path / f"a{suffix}"), str(tmp_path / "ref.nrrd"), str(tmp_path / f"b{suffix}")
    image.img.save(source)
    other.img.save(ref)
    command("resample", source, dest, "--like", ref, "--fill", "-7")
    found = ci.open_image(dest)
    np.testing.assert_array_equal(found.values, image.img.resample_to(other, fill=-7).values)
    assert found.img.same_grid(other) and found.dtype == np.int16
    command("resample", source, dest, "--spacing", 2, 2, 3, "--method", "nearest", "--overwrite")
    np.testing.assert_array_equal(ci.open_image(dest).values, image.img.resample((2, 2, 3), "nearest").values)
    for wrong in ([], ["--like", ref, "--spacing", 1, 1, 1]):
        command("resample", source, dest, *wrong, code=2)
    assert "no value of int16" in command("resample", source, dest, "--like", ref, "--fill", "0.5", code=1).err
    assert "expected one of" in command("resample", source, dest, "--like", ref, "--method", "sinc", code=1).err


def test_the_command_imports_neither_xarray_nor_dask(tmp_path):
    import subprocess
    import sys

    ci.from_array(noise((3, 4, 5)), spacing=(1, 2, 3)).img.save(tmp_path / "a.nii")
    code = f"""
import sys, chunkimg.cli as c
sys.argv[1:] = ["resample", {str(tmp_path / "a.nii")!r}, {str(tmp_path / "b.ome.zarr")!r}, "--spacing", "2", "2", "2"]
try: c.main()
except SystemExit as e: assert not e.code
print(sorted({{"xarray", "dask", "pandas", "zarr", "nibabel", "scipy"}} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
