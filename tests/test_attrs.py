"""The law: geometry in coordinates and attributes, there and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import grids, slices

from chunkimg import GeometryError
from chunkimg.geometry import Poses
from chunkimg.geometry import attrs as keys


@given(grids())
def test_decode_of_encode_is_the_grid(grid):
    coordinates, attrs = keys.encode(grid)
    assert keys.decode(coordinates, attrs) == grid
    # and through JSON, as in a store
    stored = {a: (values, json.loads(json.dumps(meta))) for a, (values, meta) in coordinates.items()}
    assert keys.decode(stored, json.loads(json.dumps(attrs))) == grid
    assert keys.validate(coordinates, attrs) == []


@given(grids())
def test_world_is_direction_times_coordinates(grid):
    coordinates, _ = keys.encode(grid)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    position = np.stack(np.meshgrid(*(coordinates[a][0] for a in "xyz"), indexing="ij"), -1)
    direction = np.array([coordinates[a][1]["direction"] for a in "xyz"]).T
    np.testing.assert_allclose(position @ direction.T, grid.to_world(index), atol=1e-9)
    for a in "xyz":
        assert np.all(np.diff(coordinates[a][0]) > 0)


@given(grids(low=2), st.data())
def test_any_slice_of_the_coordinates_is_the_crop(grid, data):
    cut = {a: data.draw(slices(n)) for a, n in zip("xyz", grid.shape, strict=True)}
    coordinates, attrs = keys.encode(grid)
    sliced = {a: (values[cut[a]], meta) for a, (values, meta) in coordinates.items()}
    expected = grid.crop(**cut)
    if all(len(sliced[a][0]) > 1 for a in "xyz"):
        assert keys.decode(sliced, attrs) == expected
    alone = keys.decode(sliced, {})
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in expected.shape])).reshape(3, -1).T
    np.testing.assert_allclose(alone.to_world(corners), expected.to_world(corners), atol=1e-9)


@given(grids(low=2), grids(low=2))
def test_a_reference_that_does_not_fit_is_ignored(grid, other):
    coordinates, _ = keys.encode(grid)
    _, foreign = keys.encode(other)
    assert keys.decode(coordinates, foreign).difference(grid).voxels < 1e-6


def test_lost_geometry_is_refused():
    grid_coords, attrs = keys.encode(make_grid())
    for axis in "xyz":
        with pytest.raises(GeometryError, match=f"no coordinate '{axis}'"):
            keys.decode({k: v for k, v in grid_coords.items() if k != axis}, attrs)

    def changed(values=None, **meta):
        x, old = grid_coords["x"]
        new = {k: v for k, v in {**old, **meta}.items() if v is not None}
        return {**grid_coords, "x": (x if values is None else values, new)}

    with pytest.raises(GeometryError, match="not regular"):
        keys.decode(changed(np.array([0.0, 1, 3, 4])), attrs)
    with pytest.raises(GeometryError, match="not finite"):
        keys.decode(changed(np.array([0.0, 1, np.nan, 3])), attrs)
    with pytest.raises(GeometryError, match="no usable 'direction'"):
        keys.decode(changed(direction=None), attrs)
    with pytest.raises(GeometryError, match="no usable 'direction'"):
        keys.decode(changed(direction=[1, 1, 1]), attrs)
    with pytest.raises(GeometryError, match="one voxel and no usable 'spacing'"):
        keys.decode(changed(np.array([1.0]), spacing=None), attrs)
    with pytest.raises(GeometryError, match="disagree in 'units'"):
        keys.decode(changed(units="um"), attrs)
    with pytest.raises(GeometryError, match="singular"):
        keys.decode(changed(direction=grid_coords["y"][1]["direction"]), attrs)


def make_grid():
    from chunkimg import Grid

    return Grid((4, 5, 6), np.array([[0, -2, 0, 9], [1, 0, 0.1, -4], [0, 0, 3, 2], [0, 0, 0, 1.0]]))


def test_validate_names_what_contradicts():
    coordinates, attrs = keys.encode(make_grid())
    assert "contradicts" in keys.validate(coordinates, {**attrs, "spacing": [1, 1, 1]})[0]
    moved = [row[:] for row in attrs["affine"]]
    moved[0][3] += 0.3
    found = keys.validate(coordinates, {**attrs, "affine": moved})
    assert any("does not belong to the coordinates" in f for f in found)
    assert "not a usable 4x4" in keys.validate(coordinates, {"affine": "nonsense"})[0]
    assert "'space'" in keys.validate(coordinates, {**attrs, "space": "LPS"})[0]


@given(grids(low=3), st.data())
def test_poses_follow_crops(grid, data):
    shifts = [np.eye(4) for _ in range(3)]
    for k, s in enumerate(shifts):
        s[:3, 3] = [k, -2.5 * k, 0.25 * k]
    affines = [s @ grid.matrix for s in shifts]
    poses = Poses(grid.affine, (0.0, 1.5, 7.25), tuple(affines))
    for t, a in zip(poses.times, affines, strict=True):
        np.testing.assert_array_equal(poses.at(t, grid), a)
    cut = [data.draw(slices(n)) for n in grid.shape]
    index = np.array([1.0, 0.5, -2.0])
    part = grid.crop(*cut)
    old = [range(n)[s].start + range(n)[s].step * i for n, s, i in zip(grid.shape, cut, index, strict=True)]
    moved = poses.at(7.25, part) @ [*index, 1]
    np.testing.assert_allclose(moved[:3], (affines[2] @ [*old, 1])[:3], atol=1e-8)
    assert keys.decode_poses({"affine_at": json.loads(json.dumps(keys.encode_poses(poses)))}) == poses


def test_poses_refuse():
    eye = np.eye(4)
    with pytest.raises(GeometryError, match="2 times but 1 affines"):
        Poses(eye, (0.0, 1.0), (eye,))
    with pytest.raises(GeometryError, match="increase"):
        Poses(eye, (1.0, 1.0), (eye, eye))
    with pytest.raises(GeometryError, match="t = 1"):
        Poses(eye, (0.0, 1.0), (eye, np.zeros((4, 4)) + np.diag([0, 0, 0, 1])))
    with pytest.raises(GeometryError, match=r"no geometry is stored for t = 0\.5"):
        Poses(eye, (0.0, 1.0), (eye, eye)).at(0.5, make_grid())
    with pytest.raises(GeometryError, match="damaged"):
        keys.decode_poses({"affine_at": {"t": [0]}})


def test_strict_json():
    value = {"a": np.float32(1.5), "b": (1, np.nan), "c": np.arange(3), "d": float("-inf"), 5: b"x", "e": 1 + 2j}
    out = keys.strict_json(value)
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    assert out == {"a": 1.5, "b": [1, "NaN"], "c": [0, 1, 2], "d": "-Infinity", "5": "x", "e": [1.0, 2.0]}
