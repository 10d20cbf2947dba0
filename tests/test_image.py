"""Images: laws under slicing, creation, properties, how they show themselves."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import values, write
from strategies import grids, slices

import chunkimg as ci


@settings(max_examples=80)
@given(grids(low=1, high=6), st.data())
def test_every_voxel_keeps_its_world_position(grid, data):
    """Each voxel holds its own world position; after any slicing, geometry and content must still agree."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    world = grid.to_world(index).transpose(3, 2, 1, 0)
    image = ci.from_array(world, ("c", "z", "y", "x"), affine=grid.affine, units=grid.units)
    for _ in range(data.draw(st.integers(1, 3))):
        cut = {d: data.draw(slices(image.sizes[d])) for d in "xyz"}
        image = image.isel(cut)
        expected = image.img.grid
    if data.draw(st.booleans()):
        image = image.transpose("y", "c", "x", "z")
    shape = expected.shape
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    found = image.img.to_world(index)
    np.testing.assert_allclose(found, image.transpose("x", "y", "z", "c").values, atol=1e-8)
    np.testing.assert_allclose(image.img.to_index(found), index, atol=1e-7)


@settings(max_examples=60)
@given(grids(low=2, high=7), st.data())
def test_isel_is_crop(grid, data):
    cut = {d: data.draw(slices(n)) for d, n in zip("xyz", grid.shape, strict=True)}
    image = ci.from_array(np.zeros(grid.shape[::-1]), affine=grid.affine, units=grid.units).isel(cut)
    expected = grid.crop(**cut)
    assert image.img.grid.shape == expected.shape
    if min(expected.shape) > 1:
        assert image.img.grid == expected
    assert image.img.grid.difference(expected).voxels < 1e-6


def test_geometry_attributes_are_those_of_the_grid():
    affine = np.array([[0, -2, 0.2, 9], [1, 0, 0.1, -4], [0, 0, -3, 2], [0, 0, 0, 1.0]])
    image = ci.from_array(np.zeros((6, 5, 4)), affine=affine)
    g = image.img.grid
    np.testing.assert_array_equal(image.img.affine, affine)
    assert image.img.spacing == g.spacing == pytest.approx((1, 2, np.sqrt(9.05)))
    assert image.img.origin == (9, -4, 2)
    assert image.img.orientation == "ALI"
    assert image.img.extent == pytest.approx((4, 10, 6 * np.sqrt(9.05)))
    assert image.img.center == pytest.approx(tuple(affine @ [1.5, 2, 2.5, 1])[:3])
    np.testing.assert_allclose(image.img.corners().mean(0), image.img.center)
    np.testing.assert_allclose(image.img.bounds[0], image.img.corners().min(0))
    assert (image.img.affine_at(0.0) == image.img.affine).all()
    with pytest.raises(AttributeError):
        image.img.affine = np.eye(4)


def test_crop_world_of_an_oblique_image():
    turn = np.deg2rad(35)
    affine = np.diag([1.0, 1, 2, 1])
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image = ci.from_array(np.zeros((10, 60, 60)), affine=affine)
    lo, hi = np.array([-3.0, 20, 4]), np.array([9.0, 31, 9])
    part = image.img.crop_world(lo, hi)
    # every voxel centre inside the box is kept; two corners alone would lose most of them
    index = np.stack(np.meshgrid(range(60), range(60), range(10), indexing="ij"), -1).reshape(-1, 3)
    inside = index[np.all((image.img.to_world(index) >= lo) & (image.img.to_world(index) <= hi), axis=1)]
    assert len(inside) > 100
    kept = part.img.to_index(image.img.to_world(inside))
    assert np.all(kept > -1e-6)
    assert np.all(kept < np.array(part.img.grid.shape) - 1 + 1e-6)
    two = np.abs(np.diff(image.img.to_index([lo, hi]), axis=0))[0]
    assert part.img.grid.shape[0] > two[0] + 2 or part.img.grid.shape[1] > two[1] + 2


@pytest.mark.parametrize(
    ("dims", "order"),
    [(None, (0, 1, 2)), (("x", "y", "z"), (2, 1, 0)), (("y", "x", "z"), (2, 0, 1))],
)
def test_from_array_dims(dims, order):
    data = np.arange(24).reshape(2, 3, 4)
    image = ci.from_array(data, dims)
    assert image.dims == ("z", "y", "x")
    np.testing.assert_array_equal(image.values, data.transpose(order))


def test_from_array_spaces():
    data = np.zeros((4, 3, 2))
    lps = ci.from_array(data, spacing=(1, 2, 3), origin=(10, 20, 30), space="LPS")
    affine = np.array([[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    ras = ci.from_array(data, affine=affine)
    np.testing.assert_array_equal(lps.img.affine, ras.img.affine)
    assert lps.img.space == "RAS"
    assert lps.img.orientation == "LPS"
    unknown = ci.from_array(data, spacing=(1, 2, 3), space="unknown")
    assert (unknown.img.space, unknown.img.orientation) == ("unknown", None)
    flat = ci.from_array(np.zeros((3, 2)))
    assert flat.sizes == {"z": 1, "y": 3, "x": 2}
    assert flat.attrs["rank"] == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"dims": ("z", "y")}, "needs as many dims"),
        ({"dims": ("z", "y", "q")}, "needs as many dims"),
        ({"affine": np.eye(4), "spacing": (1, 1, 1)}, "not both"),
        ({"affine": np.diag([1.0, 0, 1, 1])}, "singular"),
        ({"space": "XYZ"}, "expected one of"),
        ({"t": [1.0]}, "without dim t"),
        ({"affine": np.stack([np.eye(4)] * 2)}, "one per frame"),
    ],
)
def test_from_array_refuses(options, what):
    with pytest.raises(ci.GeometryError, match=what):
        ci.from_array(np.zeros((4, 3, 2)), **options)


def test_assign_geometry():
    image = ci.from_array(np.zeros((4, 3, 2)), affine=np.diag([-1.0, 2, 3, 1]), properties={"descrip": "x"})
    assert image.img.assign_geometry(spacing=(5, 6, 7)).img.affine.diagonal().tolist() == [-5, 6, 7, 1]
    assert image.img.assign_geometry(origin=(5, 6, 7)).img.origin == (5, 6, 7)
    assert image.img.assign_geometry(units="um").img.units == "um"
    assert image.img.assign_geometry(affine=np.eye(4), space="LPS").img.orientation == "LPS"
    assert image.img.assign_geometry(units="um").img.properties["descrip"] == "x"
    plain = xr.DataArray(np.zeros((4, 3, 2)), dims=("z", "y", "x"))
    placed = plain.img.assign_geometry(affine=np.diag([1.0, 2, 3, 1]), space="RAS")
    assert placed.img.spacing == (1, 2, 3)
    with pytest.raises(ci.GeometryError, match="no position yet"):
        plain.img.assign_geometry(units="mm")
    # without a space nothing is claimed
    assert plain.img.assign_geometry(spacing=(1, 2, 3)).img.space == "unknown"


def test_snap_to():
    a = ci.from_array(np.ones((4, 3, 2)), affine=np.diag([1.0, 2, 3, 1]))
    shifted = np.diag([1.0, 2, 3, 1])
    shifted[0, 3] = 0.05
    b = ci.from_array(np.ones((4, 3, 2)), affine=shifted)
    with pytest.raises(ci.GeometryError):
        a - b
    assert (a - b.img.snap_to(a)).shape == a.shape
    assert b.img.snap_to(a).img.grid == a.img.grid
    with pytest.raises(ci.GeometryError, match=r"displaced by 0\.05"):
        b.img.snap_to(a, tol=0.01)
    with pytest.raises(ci.GeometryError, match="size"):
        b.isel(z=slice(0, 2)).img.snap_to(a)


def test_properties_are_live_and_geometry_is_read_only(nibabel_data):
    image = ci.open_image(nibabel_data / "example4d.nii.gz")
    properties = image.img.properties
    properties["operator"] = "someone"
    assert image.attrs["operator"] == "someone"
    image.attrs["operator"] = "someone else"
    assert properties["operator"] == "someone else"
    del properties["operator"]
    assert "operator" not in image.attrs
    for key in ("affine", "spacing", "origin", "direction", "shape", "space", "units"):
        assert key in properties
        with pytest.raises(ci.GeometryError, match="cannot be set"):
            properties[key] = 1
        with pytest.raises(ci.GeometryError, match="cannot be set"):
            del properties[key]
    part = image.isel(x=slice(3, 9))
    assert part.img.properties["shape"] == [6, 96, 24]
    assert part.img.properties["affine"] == part.img.affine.tolist() != image.img.properties["affine"]
    assert "nifti_header" not in properties
    with pytest.raises(KeyError):
        properties["nifti_header"] = "x"
    with pytest.raises(KeyError):
        _ = properties["absent"]
    assert "descrip" in repr(properties)
    assert len(properties) == len(list(properties))


def test_shows_itself(nibabel_data, tmp_path):
    image = ci.open_image(nibabel_data / "functional.nii")
    text = repr(image.img)
    for part in (
        "t 20 × z 3 × y 21 × x 17",
        "float32",
        "(4, 4, 8) mm",
        "LAS",
        "right to left",
        "every 2 s",
        "stored",
        "functional.nii",
        "Dask",
    ):
        assert part in text
    markup = image.assign_attrs(evil="<script>").img._repr_html_()
    assert "<table>" in markup
    assert "&lt;script&gt;" in markup
    assert "<script>" not in markup
    assert "in memory" in repr(image.compute().img)
    assert "no position" in repr(image.mean("z").img)


def test_units_are_checked_in_operators(tmp_path):
    write(tmp_path / "a.nii", values((5, 4, 3), "i2"), xyzt_units=2)
    write(tmp_path / "b.nii", values((5, 4, 3), "i2"), xyzt_units=3)
    with pytest.raises(ci.GeometryError, match="units"):
        ci.open_image(tmp_path / "a.nii") - ci.open_image(tmp_path / "b.nii")


def test_chunks_option(tmp_path):
    write(tmp_path / "a.nii", values((50, 40, 30), "i2"))
    assert ci.open_image(tmp_path / "a.nii", chunks={"z": 10}).data.chunks[0] == (10, 10, 10)
    assert ci.open_image(tmp_path / "a.nii", chunks=25).data.chunks[2] == (25, 25)
    assert ci.open_image(tmp_path / "a.nii").data.npartitions == 1


def moving(t=(0.0, 1.0, 2.0)):
    steps = np.stack([np.eye(4)] * len(t))
    steps[1, 0, 3] = 10
    return ci.from_array(np.zeros((len(t), 4, 5, 6)), affine=steps, t=t), steps


def test_a_single_frame_has_its_own_position(tmp_path):
    image, steps = moving()
    for frame in (image.isel(t=1), image.isel(t=[1]), image.sel(t=1.0), image.isel(t=1, x=slice(1, None))):
        expected = steps[1] @ [frame.x.values[0], 0, 0, 1]
        np.testing.assert_array_equal(frame.img.to_world((0, 0, 0)), expected[:3])
        np.testing.assert_array_equal(frame.img.affine_at(1.0), frame.img.affine)
        for name in ("a.nii", "a.ome.zarr"):
            frame.img.save(tmp_path / name, overwrite=True)
            np.testing.assert_array_equal(ci.open_image(tmp_path / name).img.to_world((0, 0, 0)), expected[:3])
    assert image.isel(t=1).img.crop_world((10, 0, 0), (12, 3, 3)).sizes["x"] == 3
    image.img.save(tmp_path / "all.ome.zarr")
    ci.convert(tmp_path / "all.ome.zarr", tmp_path / "one.nii", t=slice(1, 2))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "one.nii").img.origin, (10, 0, 0))


def test_poses_are_never_dropped_silently(tmp_path):
    image, steps = moving()
    np.testing.assert_array_equal(image.img.assign_geometry(units="um").img.affine_at(1.0), steps[1])
    with pytest.raises(ci.GeometryError, match="changes with time"):
        image.img.assign_geometry(spacing=(1, 2, 3))
    with pytest.raises(ci.GeometryError, match="changes with time"):
        image.img.snap_to(image)
    later = image.assign_coords(t=image.t + 10)
    for name in ("a.nii", "a.ome.zarr"):
        with pytest.raises(ci.GeometryError, match="no geometry is stored for t = 10"):
            later.img.save(tmp_path / name)
    with pytest.raises(ci.GeometryError, match="its coordinate t"):
        _ = image.mean("t").img.affine


@pytest.mark.parametrize("name", ["scale_factor", "add_offset", "_FillValue", "coordinates", "nifti_header"])
def test_reserved_names_are_no_properties(name, tmp_path):
    data = np.arange(60.0).reshape(3, 4, 5)
    with pytest.raises(KeyError, match="reserved"):
        ci.from_array(data, properties={name: 3})
    image = ci.from_array(data)
    with pytest.raises(KeyError, match="reserved"):
        image.img.properties[name] = 3
    if name != "nifti_header":
        # put there behind our back, it still changes no voxel
        image.assign_attrs({name: 3}).img.save(tmp_path / "a.ome.zarr")
        np.testing.assert_array_equal(ci.open_image(tmp_path / "a.ome.zarr").values, data)
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.ome.zarr").image.values, data)
    with pytest.raises(ci.GeometryError, match="computed"):
        ci.from_array(data, properties={"affine": 1})


def test_points_are_no_grid():
    image = ci.from_array(np.zeros((7, 6, 5)))
    along = xr.DataArray(range(5), dims="p")
    with pytest.raises(ci.GeometryError, match="points, not a grid"):
        _ = image.isel(x=along, y=along).img.grid


@pytest.mark.parametrize(
    "options",
    [{"spacing": (1, 2)}, {"spacing": (1, -2, 3)}, {"origin": (1, 2)}, {"direction": np.diag([2.0, 2, 2])}],
)
def test_from_array_checks_its_geometry(options):
    with pytest.raises(ci.GeometryError, match=r"three|length 1"):
        ci.from_array(np.zeros((4, 3, 2)), **options)


def test_geometry_from_arrays():
    image = ci.from_array(np.zeros((4, 3, 2)), spacing=np.array([1, 2, 3]), origin=np.array([4.0, 5, 6]))
    assert (image.img.spacing, image.img.origin) == ((1, 2, 3), (4, 5, 6))
    with pytest.raises(ci.GeometryError, match="known to be RAS"):
        image.img.assign_geometry(space="LPS")


def test_times_in_other_units(tmp_path):
    image = ci.from_array(np.zeros((2, 3, 4, 5)), t=[0, 1])
    image.t.attrs["units"] = "min"
    for name in ("a.nii", "a.ome.zarr"):
        image.img.save(tmp_path / name)
        assert ci.open_image(tmp_path / name).t.values.tolist() == [0, 60]


def test_the_same_grid_is_the_same_in_each_frame():
    here = np.diag([2.0, 3, 4, 1])
    there = here + np.eye(4, k=3)
    still = ci.from_array(np.zeros((3, 4, 5)), affine=here)
    moving = ci.from_array(np.zeros((2, 3, 4, 5)), affine=[here, there], t=[0, 1])
    otherwise = ci.from_array(np.zeros((2, 3, 4, 5)), affine=[here, there + np.eye(4, k=3)], t=[0, 1])
    for a, b in ((still, moving), (moving, still), (moving, otherwise)):
        assert not a.img.same_grid(b)
        with pytest.raises(ci.GeometryError, match="a corner is displaced"):
            a.img.require_same_grid(b)
    assert moving.img.same_grid(moving + 1)
    assert moving.isel(t=0).img.same_grid(still)
    assert not moving.isel(t=1).img.same_grid(still)
    more = ci.from_array(np.zeros((3, 3, 4, 5)), affine=[here, there, here], t=[0, 1, 2])
    assert not moving.img.same_grid(more)
    with pytest.raises(ci.GeometryError, match="not as many"):
        moving.img.require_same_grid(more)
