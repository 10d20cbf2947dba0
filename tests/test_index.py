"""Images combine only where they occupy the same space."""

import copy
import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import grids

import chunkimg as ci
from chunkimg.image.index import GridIndex


def image_on(grid, value=1.0):
    data = np.full(grid.shape[::-1], value)
    return ci.from_array(data, affine=grid.affine, units=grid.units)


def moved(grid, step, axis=0):
    matrix = np.array(grid.matrix)
    matrix[:3, 3] += step * matrix[:3, axis]
    return ci.Grid(grid.shape, matrix, grid.space, grid.units)


ALIGNING = {
    "subtract": lambda a, b: a - b,
    "compare": lambda a, b: a > b,
    "fillna": lambda a, b: a.fillna(b),
    "where": lambda a, b: a.where(b > 0),
    "where other": lambda a, b: a.where(a > 5, b),
    "assign to dataset": lambda a, b: a.to_dataset(name="a").assign(b=b),
    "set item": lambda a, b: a.to_dataset(name="a").__setitem__("b", b),
    "reindex_like": lambda a, b: a.reindex_like(b),
    "align": lambda a, b: xr.align(a, b, join="inner"),
    "align outer": lambda a, b: xr.align(a, b, join="outer"),
    "merge": lambda a, b: xr.merge([a.rename("p"), b.rename("q")], join="outer"),
    "concat": lambda a, b: xr.concat([a, b], "t", join="outer"),
    "combine_first": lambda a, b: a.combine_first(b),
    "dot": lambda a, b: xr.dot(a, b),
    "broadcast": lambda a, b: xr.broadcast(a, b),
    "apply_ufunc": lambda a, b: xr.apply_ufunc(np.add, a, b, join="inner"),
    "ufunc": lambda a, b: np.add(a, b),
}


@pytest.mark.parametrize("name", ALIGNING)
@pytest.mark.parametrize("what", ["shift", "size", "units", "spacing", "turn"])
def test_another_grid_raises(name, what):
    grid = ci.Grid((4, 5, 6), np.array([[0, -2, 0.2, 9], [1, 0, 0.1, -4], [0, 0, 3, 2], [0, 0, 0, 1.0]]))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
    other = {
        "shift": moved(grid, 0.02, 1),
        "size": grid.crop(z=slice(0, 5)),
        "units": ci.Grid(grid.shape, grid.affine, "RAS", "um"),
        "spacing": ci.Grid(grid.shape, np.array(grid.matrix) * [1.01, 1, 1, 1]),
        "turn": ci.Grid(grid.shape, turn @ grid.matrix),
    }[what]
    expected = {
        "shift": "displaced by up to",
        "size": "size [56] against [56]",
        "units": "units (mm against um|um against mm)",
        "spacing": "spacing",
        "turn": "direction",
    }[what]
    with pytest.raises(ci.GeometryError, match=expected) as error:
        ALIGNING[name](image_on(grid), image_on(other))
    assert "snap_to" in str(error.value)


def test_in_place_arithmetic_raises_too():
    grid = ci.Grid((4, 5, 6), np.diag([1.0, 2, 3, 1]))
    a = image_on(grid)
    # xarray wraps the error of in-place operations in one of its own
    with pytest.raises((ci.GeometryError, xr.MergeError)):
        a += image_on(moved(grid, 0.5))
    assert np.all(a.values == 1)


@settings(max_examples=60)
@given(grids(), st.floats(0, 1e-6), st.floats(1.1e-2, 3), st.sampled_from(range(3)))
def test_tolerance(grid, small, large, axis):
    a = image_on(grid, 3.0)
    result = a - image_on(moved(grid, small, axis), 1.0)
    assert result.shape == a.shape
    assert np.all(result.values == 2.0)
    # rounding that float32 headers bring
    twin = ci.Grid(grid.shape, grid.matrix * [[1 + 1e-9], [1], [1 - 1e-9], [1]], grid.space, grid.units)
    assert (a - image_on(twin)).shape == a.shape
    with pytest.raises(ci.GeometryError):
        a - image_on(moved(grid, large, axis))


def test_unknown_units_combine_with_any():
    grid = ci.Grid((4, 5, 6), np.diag([1.0, 2, 3, 1]))
    mask = ci.from_array(np.ones((6, 5, 4)), affine=grid.affine, units="unknown", space="unknown")
    assert (image_on(grid) * mask).shape == (6, 5, 4)


KEEPING = {
    "isel": lambda a: a.isel(z=slice(1, 4)),
    "list": lambda a: a.isel(z=[1, 2, 3]),
    "sel": lambda a: a.sel(z=slice(a.z.values[1], a.z.values[3])),
    "where": lambda a: a.where(a.z > a.z.values[2], drop=True),
    "concat": lambda a: xr.concat([a.isel(z=slice(0, 2)), a.isel(z=slice(2, None))], "z"),
    "mean over t": lambda a: a.expand_dims(t=[0.0, 1.0]).mean("t"),
    "map_blocks": lambda a: a.chunk(z=2).map_blocks(lambda b: b + 1),
    "pickle": lambda a: pickle.loads(pickle.dumps(a)),
    "deepcopy": copy.deepcopy,
    "copy": lambda a: a.copy(),
    "rename": lambda a: a.rename("other"),
    "transpose": lambda a: a.transpose("x", "z", "y"),
    "sort": lambda a: a.sortby("z", ascending=False),
    "groupby": lambda a: a.groupby("z").map(lambda b: b * 2),
    "dataset": lambda a: a.to_dataset(name="q")["q"],
    "compute": lambda a: a.chunk().compute(),
    "keep_attrs": lambda a: xr.apply_ufunc(np.abs, a, keep_attrs=False),
    "expression": lambda a: (a * 2 + 1).where(a > 0).fillna(0).astype("f4"),
}


@pytest.mark.parametrize("name", KEEPING)
def test_index_and_position_survive(name):
    grid = ci.Grid((4, 5, 6), np.array([[0, -2, 0.2, 9], [1, 0, 0.1, -4], [0, 0, -3, 2], [0, 0, 0, 1.0]]))
    a = image_on(grid)
    out = KEEPING[name](a)
    for axis in "xyz":
        assert isinstance(out.xindexes[axis], GridIndex)
    # z positions of the result, in world coordinates, are those of the source
    found = out.img.to_world(np.stack([[0, 0, k] for k in range(out.sizes["z"])]))
    source = a.img.to_world([[0, 0, k] for k in range(6)])
    for point in found:
        assert np.abs(source - point).max(axis=1).min() < 1e-9
    assert out.img.space == "RAS"
    with pytest.raises(ci.GeometryError):
        out - image_on(moved(grid, 0.5, 2))


def test_single_voxels_keep_spacing_and_sense():
    grid = ci.Grid((4, 5, 6), np.array([[0, -2, 0.2, 9], [1, 0, 0.1, -4], [0, 0, -3, 2], [0, 0, 0, 1.0]]))
    a = image_on(grid)
    for cut in (slice(2, 3), slice(0, None, 9), slice(4, 3, -1)):
        out = a.isel(z=cut)
        np.testing.assert_allclose(out.img.affine, grid.crop(z=cut).matrix, atol=1e-12)
    flipped = a.isel(z=slice(None, None, -1)).isel(z=slice(0, 1))
    np.testing.assert_allclose(flipped.img.affine, grid.flip("z").crop(z=slice(0, 1)).matrix, atol=1e-12)
    # a scalar coordinate is one voxel
    assert a.isel(z=3).img.grid.shape == (4, 5, 1)
    np.testing.assert_allclose(a.isel(z=3).img.affine, grid.crop(z=slice(3, 4)).matrix, atol=1e-12)


def test_lost_geometry_raises_on_asking():
    a = image_on(ci.Grid((4, 5, 6), np.diag([1.0, 2, 3, 1])))
    for lost in (
        a.mean("z"),
        a.stack(p=("y", "x")),
        a.drop_vars("y"),
        a.isel(z=[0, 1, 3]),
        a.pad(z=1),
        xr.DataArray(np.zeros((2, 3, 4)), dims=("z", "y", "x")),
    ):
        with pytest.raises(ci.GeometryError):
            _ = lost.img.affine
    # a plain coarsen or interp keeps the position, with a plain index
    coarse = a.coarsen(z=2).mean()
    assert coarse.img.grid == a.img.grid.coarsen(z=2)


def test_images_from_frames_may_be_subtracted():
    a = ci.from_array(np.arange(48.0).reshape(2, 4, 3, 2), spacing=(1, 2, 3), t=[0.0, 2.0])
    assert float((a.isel(t=1) - a.isel(t=0)).mean()) == 24.0
