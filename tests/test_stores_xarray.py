"""Plain xarray stores: dims and coordinates called x, y, z."""

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from store_files import voxels

import chunkimg as ci


def saved(dataset, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(path, **options)
    return path


def volume(dims=("z", "y", "x"), units=None, **more):
    sizes = {"t": 3, "c": 2, "z": 4, "y": 5, "x": 6}
    attrs = {} if units is None else {"units": units}
    coords = {
        "z": ("z", 10 + 3.0 * np.arange(4), attrs),
        "y": ("y", 20 - 0.5 * np.arange(5), attrs),
        "x": ("x", 30 + 0.25 * np.arange(6), attrs),
    }
    coords = {d: c for d, c in coords.items() if d in dims}
    return xr.DataArray(voxels(*(sizes[d] for d in dims)), dims=dims, coords={**coords, **more}, name="image")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_coordinates_are_positions(tmp_path, zarr_format, consolidated):
    """In an unknown space, in the unit they state; a coordinate may descend."""
    data = volume(units="um")
    path = saved(data.to_dataset(), tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=consolidated)
    image = ci.open_image(path)
    np.testing.assert_array_equal(image.values, data.values)
    assert image.img.space == "unknown" and image.img.units == "um" and image.img.spacing == (0.25, 0.5, 3)
    index = np.array([4, 3, 2])
    np.testing.assert_allclose(image.img.to_world(index), [30 + 0.25 * 4, 20 - 0.5 * 3, 10 + 3 * 2])
    assert ci.open_image(path / "image").img.grid == image.img.grid
    assert not {"_ARRAY_DIMENSIONS"} & set(image.attrs)


def test_order_of_dims_channels_and_times(tmp_path):
    """As spatial-image has them: channels last, time in any unit."""
    data = volume(("t", "z", "y", "x", "c"), t=("t", [0.0, 500.0, 1000.0], {"units": "ms"}), c=("c", [0, 1]))
    image = ci.open_image(saved(data.to_dataset(), tmp_path / "a.zarr"))
    assert image.dims == ("t", "c", "z", "y", "x") and image.t.values.tolist() == [0, 0.5, 1]
    np.testing.assert_array_equal(image.values, data.transpose("t", "c", "z", "y", "x").values)
    flat = volume(("y", "x", "c")).rename(c="channel")
    image = ci.open_image(saved(flat.to_dataset(), tmp_path / "b.zarr"))
    np.testing.assert_array_equal(image.values[:, 0], flat.transpose("channel", "y", "x").values)
    other = volume().expand_dims(wavelength=[488]).rename("image")
    assert ci.open_image(saved(other.to_dataset(), tmp_path / "c.zarr")).dims == ("z", "y", "x")
    many = volume(("t", "z", "y", "x")).rename(t="wavelength")
    with pytest.raises(ci.UnsupportedError, match="'wavelength' of size 3"):
        ci.open_image(saved(many.to_dataset(), tmp_path / "d.zarr"))


def test_scaling_and_missing_values(tmp_path):
    """CF scaling is applied; missing values stay the numbers that are stored."""
    encoding = {"image": {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -9999}}
    data = volume().astype("f8") * 0.5 + 10
    path = saved(data.to_dataset(), tmp_path / "a.zarr", encoding=encoding)
    image = ci.open_image(path)
    np.testing.assert_array_equal(image.values, data.values)
    assert ci.open_image(path, scaled=False).dtype == "i2"
    assert ci.read_header(path).scaling == (0.5, 10.0)


def test_several_variables(tmp_path):
    """One is chosen by its path; what has no two axes of space does not count."""
    data = volume()
    dataset = xr.Dataset({"a": data, "b": data + 1, "mean": data.mean(("y", "x"))})
    path = saved(dataset, tmp_path / "a.zarr")
    with pytest.raises(ci.UnsupportedError, match=r"holds 2 images.*a\.zarr/a, .*a\.zarr/b"):
        ci.open_image(path)
    np.testing.assert_array_equal(ci.open_image(path / "b").values, data.values + 1)
    single = saved(dataset.drop_vars("a"), tmp_path / "b.zarr")
    np.testing.assert_array_equal(ci.open_image(single).values, data.values + 1)


def test_coordinates_that_are_no_grid(tmp_path):
    data = volume().assign_coords(z=[0.0, 1.0, 5.0, 6.0])
    path = saved(data.to_dataset(), tmp_path / "a.zarr")
    with pytest.warns(ci.ChunkImgWarning, match="'z' is not regular"):
        image = ci.open_image(path)
    np.testing.assert_array_equal(image.values, data.values)
    with pytest.raises(ci.GeometryError):
        _ = image.img.affine
    # none at all: voxels are counted
    image = ci.open_image(saved(data.drop_vars(["x", "y", "z"]).to_dataset(), tmp_path / "b.zarr"))
    np.testing.assert_array_equal(image.img.affine, np.eye(4))
    assert image.img.space == "unknown" and image.img.units == "unknown"


def test_coordinates_in_different_units(tmp_path):
    data = volume()
    for d, unit in (("x", "um"), ("y", "um"), ("z", "nm")):
        data[d].attrs["units"] = unit
    grid = ci.open_image(saved(data.to_dataset(), tmp_path / "a.zarr")).img.grid
    assert grid.units == "um" and grid.spacing == pytest.approx((0.25, 0.5, 0.003), rel=1e-12)


def test_a_tree_of_scales(tmp_path):
    """As multiscale-spatial-image has them, without OME metadata."""
    data = volume()
    coarse = data.coarsen(y=2, x=2, boundary="trim").mean()
    tree = xr.DataTree.from_dict({"scale0": data.to_dataset(), "scale1": coarse.to_dataset(name="image")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree.to_zarr(tmp_path / "a.zarr")
    assert ci.read_header(tmp_path / "a.zarr").fields["levels"] == ["scale0/image", "scale1/image"]
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, data.values)
    found = ci.open_image(tmp_path / "a.zarr", level=1)
    np.testing.assert_array_equal(found.values, coarse.values)
    np.testing.assert_allclose(found.img.origin, [30.125, 19.75, 10])


def test_nothing_that_is_an_image(tmp_path):
    data = xr.DataArray(np.zeros((3, 4)), dims=("lat", "lon"), name="temperature")
    path = saved(data.to_dataset(), tmp_path / "a.zarr")
    with pytest.raises(ci.UnsupportedError, match=r"none of its arrays has axes called x, y, z.*a\.zarr/temperature"):
        ci.open_image(path)
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(ci.UnsupportedError, match="none is there"):
        ci.open_image(tmp_path / "b.zarr")
