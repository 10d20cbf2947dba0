"""What OME-Zarr metadata says of axes and positions, in stores made by zarr-python."""

import json

import numpy as np
import pytest
import zarr
from store_files import ZYX, axis, store, voxels

import chunkimg as ci


def test_axes_in_another_order(tmp_path):
    """Axes of space go by their names; stored x, y, z (or z, x, y, c) is shown as z, y, x."""
    data = voxels(4, 5, 6)
    store(tmp_path / "a.zarr", data, [axis("x"), axis("y"), axis("z")], scale=[1, 2, 3], start=[10, 20, 30])
    image = ci.open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.values, data.transpose(2, 1, 0))
    assert image.img.spacing == (1, 2, 3) and image.img.origin == (10, 20, 30)

    data = voxels(3, 4, 5, 2)
    axes = [axis("z"), axis("x"), axis("y"), axis("band", "channel")]
    store(tmp_path / "b.zarr", data, axes, scale=[3, 1, 2, 1])
    image = ci.open_image(tmp_path / "b.zarr")
    assert image.dims == ("c", "z", "y", "x") and image.img.spacing == (1, 2, 3)
    np.testing.assert_array_equal(image.values, data.transpose(3, 0, 2, 1))


def test_axes_of_other_names(tmp_path):
    """By position: the last is x. A custom axis of size 1 is left out, a longer one has no place."""
    data = voxels(1, 4, 5, 6)
    axes = [axis("angle", None), axis("depth"), axis("height"), axis("width")]
    store(tmp_path / "a.zarr", data, axes, scale=[1, 3, 2, 1])
    image = ci.open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.values, data[0])
    assert image.img.spacing == (1, 2, 3)
    store(tmp_path / "b.zarr", voxels(2, 4, 5, 6), axes)
    with pytest.raises(ci.UnsupportedError, match="'angle' of size 2 has no place"):
        ci.open_image(tmp_path / "b.zarr")


def test_two_axes_of_space(tmp_path):
    data = voxels(5, 6)
    store(tmp_path / "a.zarr", data, [axis("y", unit="nanometer"), axis("x", unit="nanometer")], scale=[4, 30])
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.shape == (1, 5, 6) and image.attrs["rank"] == 2
    assert image.img.spacing == (30, 4, 1) and image.img.units == "nm"
    image.img.assign_geometry(units="mm", space="RAS").img.save(tmp_path / "a.nii")
    import nibabel

    assert nibabel.load(tmp_path / "a.nii").shape == (6, 5)


def test_units(tmp_path):
    """Units are kept where they agree, converted to that of x where they do not; what is unknown is kept as it is."""
    axes = [axis("z", unit="micrometer"), axis("y", unit="nanometer"), axis("x", unit="nanometer")]
    store(tmp_path / "a.zarr", voxels(3, 4, 5), axes, scale=[2, 325, 325], start=[1.5, 0, 0])
    grid = ci.open_image(tmp_path / "a.zarr").img.grid
    assert grid.units == "nm" and grid.spacing == (325, 325, 2000) and grid.origin == (0, 0, 1500)

    axes = [axis("z", unit="nanometer"), axis("y", unit="micrometer"), axis("x", unit="micrometer")]
    store(tmp_path / "b.zarr", voxels(3, 4, 5), axes, scale=[325, 2, 2])
    assert ci.open_image(tmp_path / "b.zarr").img.spacing == (2, 2, 0.325)

    for name, unit in (("angstrom", "angstrom"), ("inch", "inch"), ("foot", "foot"), ("parsec", "parsec")):
        store(tmp_path / "c.zarr", voxels(3, 4, 5), [axis(d, unit=name) for d in "zyx"])
        assert ci.open_image(tmp_path / "c.zarr").img.units == unit

    axes = [axis("z"), axis("y", unit="micrometer"), axis("x", unit="micrometer")]
    store(tmp_path / "d.zarr", voxels(3, 4, 5), axes, scale=[5, 2, 2])
    with pytest.warns(ci.ChunkImgWarning, match="different units"):
        grid = ci.open_image(tmp_path / "d.zarr").img.grid
    assert grid.units == "unknown" and grid.spacing == (2, 2, 5)


def test_times(tmp_path):
    axes = [axis("t", "time", "millisecond"), *ZYX]
    store(tmp_path / "a.zarr", voxels(4, 2, 3, 5), axes, scale=[2300, 1, 1, 1], start=[100, 0, 0, 0])
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.t.values.tolist() == [0.1, 2.4, 4.7, 7.0] and image.t.attrs["units"] == "s"
    store(tmp_path / "b.zarr", voxels(4, 2, 3, 5), [axis("t", "time"), *ZYX])
    image = ci.open_image(tmp_path / "b.zarr")
    assert image.t.values.tolist() == [0, 1, 2, 3] and "units" not in image.t.attrs


#: words of RFC-4 -> unit vector in RAS+
WORDS = {
    "left-to-right": (1, 0, 0),
    "right-to-left": (-1, 0, 0),
    "posterior-to-anterior": (0, 1, 0),
    "anterior-to-posterior": (0, -1, 0),
    "inferior-to-superior": (0, 0, 1),
    "superior-to-inferior": (0, 0, -1),
}


@pytest.mark.parametrize(
    "words",
    [
        ("right-to-left", "anterior-to-posterior", "inferior-to-superior"),
        ("left-to-right", "posterior-to-anterior", "superior-to-inferior"),
        ("superior-to-inferior", "left-to-right", "anterior-to-posterior"),
    ],
)
def test_orientation_of_rfc_4(tmp_path, words):
    """Coordinates along an axis (scale and translation) increase in the direction it names: world = D · (x, y, z)."""
    axes = [axis(d, unit="millimeter", orientation=w) for d, w in zip("zyx", words[::-1], strict=True)]
    scale, start = [3.0, 2.0, 0.5], [-30.0, 20.0, 10.0]
    store(tmp_path / "a.zarr", voxels(4, 5, 6), axes, scale=scale, start=start)
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.img.space == "RAS"
    direction = np.array([WORDS[w] for w in words], float).T
    index = np.array([5, 3, 2])
    expected = direction @ (np.array(start[::-1]) + np.array(scale[::-1]) * index)
    np.testing.assert_array_equal(image.img.to_world(index), expected)
    # a length-one z completes a plane to a right-handed frame
    store(tmp_path / "b.zarr", voxels(5, 6), axes[1:], scale=scale[1:], start=start[1:])
    flat = ci.open_image(tmp_path / "b.zarr").img.grid.direction
    np.testing.assert_array_equal(flat[:, :2], direction[:, :2])
    assert np.linalg.det(flat) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("right-to-left", None, "inferior-to-superior"),
        ("right-to-left", "left-to-right", "inferior-to-superior"),
        ("right-to-left", "dorsal-to-ventral", "rostral-to-caudal"),
    ],
)
def test_orientation_that_does_not_tell_is_not_used(tmp_path, words):
    axes = [axis(d, unit="millimeter", orientation=w) for d, w in zip("zyx", words[::-1], strict=True)]
    store(tmp_path / "a.zarr", voxels(4, 5, 6), axes, scale=[3, 2, 1])
    with pytest.warns(ci.ChunkImgWarning, match="they are not used"):
        image = ci.open_image(tmp_path / "a.zarr")
    assert image.img.space == "unknown" and image.img.spacing == (1, 2, 3)


def test_orientation_round_trip_without_our_attributes(tmp_path):
    """An axis-aligned image of ours keeps its position where all that is left of its metadata is OME-Zarr's."""
    affine = [[0, -2.0, 0, 5], [0, 0, 3.0, -7], [-0.5, 0, 0, 11], [0, 0, 0, 1]]
    image = ci.from_array(voxels(4, 5, 6), affine=affine)
    image.img.save(tmp_path / "a.zarr")
    strip(tmp_path / "a.zarr", coordinates=True, image=True, root=True)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").img.affine, affine)


def strip(path, *, coordinates=False, image=False, root=False):
    """Drop attributes of ours, as other tools do when they rewrite a store."""
    for document in path.rglob("zarr.json"):
        content = json.loads(document.read_text())
        content.pop("consolidated_metadata", None)
        attrs, name = content["attributes"], document.parent.name
        if name in ("x", "y", "z") and coordinates:
            attrs.clear()
        if name == "image" and image:
            attrs.clear()
        if document.parent == path and root:
            attrs.pop("chunkimg")
        document.write_text(json.dumps(content))


OBLIQUE = np.array([[0, -0.5, 0.1, 9], [0.7, 0, 0.1, -4], [0, 0.02, 1.3, 2], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("left", ["coordinates", "image", "root"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_each_copy_of_the_position_is_enough(tmp_path, left, pyramid):
    """Coordinates, attributes of the image and of the root each place an oblique image and its coarser levels."""
    image = ci.from_array(voxels(40, 66, 130), affine=OBLIQUE, units="um")
    image.img.save(tmp_path / "a.zarr", pyramid=pyramid)
    count = len(ci.read_header(tmp_path / "a.zarr").fields["levels"])
    before = [ci.open_image(tmp_path / "a.zarr", level=k).img.grid for k in range(count)]
    strip(tmp_path / "a.zarr", coordinates=left != "coordinates", image=left == "root", root=left != "root")
    if left == "image":
        # nor any coordinates
        import shutil

        for name in ("x", "y", "z"):
            for folder in [*tmp_path.glob(f"a.zarr/{name}"), *tmp_path.glob(f"a.zarr/scale*/{name}")]:
                shutil.rmtree(folder)
    for k, grid in enumerate(before):
        found = ci.open_image(tmp_path / "a.zarr", level=k).img.grid
        assert found.shape == grid.shape and found.space == "RAS"
        np.testing.assert_allclose(found.affine, grid.affine, rtol=0, atol=1e-12)


def test_transformations_in_their_order(tmp_path):
    """Those of the level, then those of all levels."""
    common = [{"type": "scale", "scale": [1, 1, 10]}, {"type": "translation", "translation": [0, 5, 0]}]
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, scale=[3, 2, 1], start=[0, 1, 7], common=common)
    grid = ci.open_image(tmp_path / "a.zarr").img.grid
    assert grid.spacing == (10, 2, 3) and grid.origin == (70, 6, 0)


def test_coordinate_systems_of_0_6(tmp_path):
    systems = [{"name": "other", "axes": ZYX[::-1]}, {"name": "world", "axes": ZYX}]
    steps = [{"type": "scale", "scale": [3, 2, 1]}, {"type": "translation", "translation": [30, 20, 10]}]
    whole = {"type": "sequence", "transformations": steps, "input": {"path": "0"}, "output": {"name": "world"}}
    image = {"coordinateSystems": systems, "datasets": [{"path": "0", "coordinateTransformations": [whole]}]}
    store(tmp_path / "a.zarr", voxels(3, 4, 5), None, version="0.6.dev4", image=image)
    grid = ci.open_image(tmp_path / "a.zarr").img.grid
    assert grid.spacing == (1, 2, 3) and grid.origin == (10, 20, 30)
    turned = {"type": "rotation", "rotation": [[0, 1], [1, 0]], "input": {"name": "world"}, "output": {"name": "other"}}
    store(tmp_path / "b.zarr", voxels(3, 4, 5), None, version="0.6.dev4", image=image, common=[turned])
    with pytest.warns(ci.ChunkImgWarning, match=r"\(rotation\) are not applied"):
        assert ci.open_image(tmp_path / "b.zarr").img.grid == grid


@pytest.mark.parametrize(
    "step", [{"type": "scale", "path": "scales"}, {"type": "affine", "affine": [[1, 0], [0, 1]]}, {"type": "rotation"}]
)
def test_positions_that_are_not_read_are_refused(tmp_path, step):
    image = {"datasets": [{"path": "0", "coordinateTransformations": [step]}]}
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, image=image)
    with pytest.raises(ci.UnsupportedError, match=step["type"]):
        ci.open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_old_versions(tmp_path, version):
    """Before 0.4 axes have no units and levels no positions: voxels are counted, coarser levels have none."""
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    data = voxels(1, 2, 3, 4, 6)
    root.create_array("0", data=data)
    root.create_array("1", data=data[..., ::2, ::2])
    entry = {"version": version, "datasets": [{"path": "0"}, {"path": "1"}]}
    root.attrs["multiscales"] = [{**entry, "axes": ["t", "c", "z", "y", "x"]} if version == "0.3" else entry]
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.dims == ("t", "c", "z", "y", "x") and image.img.spacing == (1, 1, 1) and image.img.units == "unknown"
    with pytest.warns(ci.ChunkImgWarning, match="does not say where"):
        coarse = ci.open_image(tmp_path / "a.zarr", level=1)
    np.testing.assert_array_equal(coarse.values, data[..., ::2, ::2])
    with pytest.raises(ci.GeometryError):
        _ = coarse.img.affine
