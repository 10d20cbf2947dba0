"""`Grid`: values, algebra, refusals."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import affines, grids, slices

from chunkimg import GeometryError, Grid
from chunkimg.geometry import affine as aff


@given(grids(), st.data())
def test_crop_keeps_world_positions(grid, data):
    cut = [data.draw(slices(n)) for n in grid.shape]
    part = grid.crop(*cut)
    indices = [np.arange(n)[s] for n, s in zip(grid.shape, cut, strict=True)]
    assert part.shape == tuple(map(len, indices))
    new = np.stack(np.meshgrid(*map(np.arange, part.shape), indexing="ij"), -1)
    old = np.stack(np.meshgrid(*indices, indexing="ij"), -1)
    np.testing.assert_allclose(part.to_world(new), grid.to_world(old), atol=1e-10)


@given(grids())
def test_flips_permutations_and_spaces_undo_themselves(grid):
    for axis in "xyz":
        np.testing.assert_allclose(grid.flip(axis).flip(axis).matrix, grid.matrix, rtol=0, atol=1e-11)
    assert grid.permute("zxy").permute("yzx") == grid
    assert grid.to_space("LPS").to_space("RAS") == grid
    assert np.array_equal(grid.to_space("LPS").matrix, np.diag([-1.0, -1, 1, 1]) @ grid.matrix)
    assert grid.to_space("LPS").orientation == grid.orientation


@given(grids(low=4))
def test_coarsen_and_pad(grid):
    coarse = grid.coarsen(x=2, y=3, z=4)
    # the centre of the first block is the mean of its voxel centres
    block = np.stack(np.meshgrid(range(2), range(3), range(4), indexing="ij"), -1).reshape(-1, 3)
    np.testing.assert_allclose(coarse.origin, grid.to_world(block).mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(coarse.spacing, np.multiply(grid.spacing, (2, 3, 4)), rtol=1e-12)
    padded = grid.pad((1, 2, 3), (4, 5, 6))
    assert padded.shape == tuple(np.add(grid.shape, (5, 7, 9)))
    np.testing.assert_allclose(padded.to_world([1, 2, 3]), grid.origin, atol=1e-10)


@given(grids(), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_index_and_world_are_inverse(grid, index):
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-8)


@given(grids(low=3), st.data())
def test_box_covers_a_world_box_and_little_more(grid, data):
    lo = grid.to_world([data.draw(st.floats(0, n - 1)) for n in grid.shape])
    hi = grid.to_world([data.draw(st.floats(0, n - 1)) for n in grid.shape])
    lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    cut = grid.box(lo, hi)
    corners = grid.to_index(aff.corner_indices((2, 2, 2)) * (hi - lo) + lo)
    for s, n, low, high in zip(cut, grid.shape, corners.min(0), corners.max(0), strict=True):
        # all of the box that lies in the image is inside the voxels, whose edges are at ± 1/2
        assert s.start - 0.5 <= max(low, -0.5) + 2e-6
        assert s.stop - 0.5 >= min(high, n - 0.5) - 2e-6
        # and no voxel lies wholly outside
        assert s.start + 0.5 >= low - 1e-5 or s.start == 0
        assert s.stop - 1.5 <= high + 1e-5 or s.stop == n


def test_box_of_axis_aligned_image():
    grid = Grid((10, 10, 10), np.diag([2.0, 2, 2, 1]))
    assert grid.box((2.9, 4, 5.5), (9, 9.1, 5.5)) == (slice(1, 5), slice(2, 6), slice(3, 4))
    # exactly on voxel edges: the neighbours are not touched
    assert grid.box((3, 3, 3), (7, 7, 7)) == (slice(2, 4),) * 3
    assert grid.box((-99, 0, 0), (99, 0, 0))[0] == slice(0, 10)
    with pytest.raises(GeometryError, match="outside the image along y"):
        grid.box((0, 30, 0), (1, 40, 1))
    with pytest.raises(GeometryError, match="three lower bounds"):
        grid.box((5, 0, 0), (1, 1, 1))


@given(affines(shear=False))
def test_orientation_agrees_with_nibabel(matrix):
    import nibabel as nib

    # nibabel pairs axes greedily; where the pairing is clear both agree
    cosines = np.sort(np.abs(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)), axis=0)
    grid = Grid((3, 4, 5), matrix)
    if np.all(cosines[2] > 0.8):
        assert grid.orientation == "".join(nib.aff2axcodes(matrix))
    assert sorted("RL".find(c) >= 0 for c in grid.orientation) == [False, False, True]


def test_unknown_space_has_no_orientation_and_cannot_be_turned():
    grid = Grid((3, 4, 5), np.eye(4), "unknown", "unknown")
    assert grid.orientation is None
    with pytest.raises(GeometryError, match="where the patient is"):
        grid.to_space("LPS")


def test_differences_are_itemised():
    grid = Grid((10, 11, 12), np.diag([1.0, 2, 3, 1]))
    moved = np.diag([1.0, 2, 3, 1])
    moved[1, 3] = 1.0
    difference = grid.difference(Grid((10, 11, 12), moved))
    assert difference.voxels == pytest.approx(0.5)
    assert difference.length == pytest.approx(1.0)
    assert difference.direction == 0
    with pytest.raises(GeometryError, match=r"displaced by 0\.5 voxels \(1 mm\).*origin"):
        grid.require_same_as(Grid((10, 11, 12), moved))
    with pytest.raises(GeometryError, match=r"size.*\(10, 11, 12\) against \(10, 11, 13\)"):
        grid.require_same_as(Grid((10, 11, 13), grid.affine))
    with pytest.raises(GeometryError, match="units mm against um"):
        grid.require_same_as(Grid((10, 11, 12), grid.affine, "RAS", "um"))
    turned = np.diag([1.0, 2, 3, 1])
    turned[:2, :2] = [[np.cos(0.1), -2 * np.sin(0.1)], [np.sin(0.1), 2 * np.cos(0.1)]]
    with pytest.raises(GeometryError, match=r"direction differs by 5\.7"):
        grid.require_same_as(Grid((10, 11, 12), turned))
    with pytest.raises(GeometryError, match="spacing"):
        grid.require_same_as(Grid((10, 11, 12), np.diag([1.0, 2, 3.1, 1])))
    assert grid.same_as(grid.to_space("LPS"))
    assert grid.same_as(Grid((10, 11, 12), grid.affine, "unknown", "unknown"))


@given(grids(low=2), st.floats(0, 1e-6), st.floats(1.1e-2, 5.0), st.sampled_from(range(3)))
def test_tolerance(grid, small, large, axis):
    for step, same in ((small, True), (large, False)):
        matrix = np.array(grid.matrix)
        matrix[:3, 3] += step * matrix[:3, axis]
        assert grid.same_as(Grid(grid.shape, matrix, grid.space, grid.units)) is same


@pytest.mark.parametrize(
    ("shape", "matrix", "what"),
    [
        ((3, 4), np.eye(4), "three sizes"),
        ((3, 4, 0), np.eye(4), "three sizes"),
        ((3, 4, 5), np.diag([1.0, 1, 0, 1]), "singular"),
        ((3, 4, 5), np.diag([1.0, 1, np.nan, 1]), "singular or not finite"),
        ((3, 4, 5), np.ones((4, 4)), "last row"),
        ((3, 4, 5), np.eye(3), "shape"),
    ],
)
def test_invalid_grids_are_refused(shape, matrix, what):
    with pytest.raises(GeometryError, match=what):
        Grid(shape, matrix)


def test_grid_is_a_value():
    grid = Grid((3, 4, 5), np.diag([1.0, 2, 3, 1]))
    assert hash(grid) == hash(Grid((3, 4, 5), np.diag([1, 2, 3, 1])))
    assert pickle.loads(pickle.dumps(grid)) == grid
    with pytest.raises(AttributeError):
        grid.shape = (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        grid.matrix[0, 0] = 5
    with pytest.raises(GeometryError, match="leaves no voxel"):
        grid.crop(x=slice(3, 3))


@given(affines(), st.sampled_from([(0,), (1,), (2,), (0, 1), (2, 0), (0, 1, 2)]))
def test_zero_columns_of_one_voxel_axes_become_unit_normals(matrix, empty):
    shape = [1 if k in empty else 7 for k in range(3)]
    cut = matrix.copy()
    cut[:3, list(empty)] = 0
    filled = aff.fill_singleton_axes(cut, shape)
    for k in range(3):
        if k not in empty:
            np.testing.assert_array_equal(filled[:, k], matrix[:, k])
            continue
        assert np.linalg.norm(filled[:3, k]) == pytest.approx(1)
        others = [filled[:3, j] for j in range(3) if j != k]
        np.testing.assert_allclose([filled[:3, k] @ o / np.linalg.norm(o) for o in others], 0, atol=1e-9)
    assert not aff.is_usable(aff.fill_singleton_axes(cut, [7, 7, 7]))
