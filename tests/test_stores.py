"""Zarr stores of others, against what zarr-python, ngff-zarr and nibabel read of them."""

import json
import math
import warnings

import numpy as np
import pytest
import zarr
from conftest import item_path, items

import chunkimg as ci
from chunkimg.geometry.frames import canonical_unit

#: more voxels than this are probed, not summed
LARGE = 1 << 25


def arrays_of(item):
    """What zarr-python read of the arrays of an item, by path; the header of a NIfTI-Zarr is no image."""
    found = item["refs"]["zarr"].get("arrays", {})
    return {path: facts for path, facts in found.items() if path != "/nifti"}


def declared(item):
    """The multiscales entry of the item's root, if it has arrays."""
    scales = item["refs"]["zarr"].get("multiscales")
    return scales[0] if scales and arrays_of(item) else None


@pytest.mark.parametrize("item", items("omezarr", "zarr"))
def test_every_array_by_its_path(item):
    """Shape, type, statistics and probes of each array are those of zarr-python."""
    for path, facts in arrays_of(item).items():
        where = item_path(item) + path
        if "error" in facts:
            # a draft's metadata that zarr-python refuses: tensorstore reads it
            facts = item["refs"]["tensorstore"]["arrays"][path]
        if "raw" not in facts:
            with pytest.raises(ci.FormatError, match="voxels are numbers"):
                ci.open_image(where)
            continue
        image = ci.open_image(where, scaled=False)
        stored = np.dtype(facts["dtype"])
        assert image.dtype == stored.newbyteorder("=")
        assert math.prod(image.shape) == math.prod(facts["shape"])
        # axes in the order of the store: none of these is permuted, z and y are added where they are missing
        assert [n for n in image.shape if n > 1] == [n for n in facts["shape"] if n > 1]
        for probe in facts.get("probes", []):
            flat = np.ravel_multi_index(probe["idx"], facts["shape"])
            index = tuple(int(i) for i in np.unravel_index(flat, image.shape))
            assert image.data[index].compute() == probe["value"], (path, probe)
        if image.size <= LARGE:
            values = image.values
            assert values.min() == facts["raw"]["min"] and values.max() == facts["raw"]["max"]
            exact = values.dtype.kind in "iub"
            total = int(values.sum(dtype="i8")) if exact else math.fsum(values.ravel().tolist())
            assert total == pytest.approx(facts["raw"]["sum"], rel=0 if exact else 1e-9)


@pytest.mark.parametrize("item", items("omezarr"))
def test_every_image_of_ome_zarr(item):
    """Levels are those that are declared; each lies where ngff-zarr says, unless a NIfTI header knows better."""
    image = declared(item)
    if image is None:
        pytest.skip("declares no image, or has no array")
    fields = ci.read_header(item_path(item)).fields
    assert fields["levels"] == [d["path"] for d in image["datasets"]]
    references = item["refs"]["ngff_zarr"].get("images")
    for level, dataset in enumerate(image["datasets"]):
        facts = arrays_of(item)["/" + dataset["path"]]
        found = ci.open_image(item_path(item), level=level)
        assert math.prod(found.shape) == math.prod(facts["shape"])
        if item["path"].startswith("nifti-zarr/"):
            continue
        assert found.img.space == "unknown"
        if references is None or "coordinateTransformations" not in dataset:
            continue
        reference = references[level]
        for k, d in enumerate("xyz"):
            if d in reference["dims"]:
                assert found.img.spacing[k] == pytest.approx(reference["scale"][d], rel=1e-12)
                assert found.img.origin[k] == pytest.approx(reference["translation"][d], rel=1e-12, abs=1e-12)
                assert found.img.units == canonical_unit(reference["axes_units"][d])


@pytest.mark.parametrize("item", items("omezarr", "zarr"))
def test_what_is_no_one_image_is_refused_with_a_reason(item):
    """What no reference reads is damage; collections name paths that open."""
    if declared(item) is not None:
        pytest.skip("an image")
    with pytest.raises(ci.FormatError) as caught:
        ci.open_image(item_path(item))
    message = str(caught.value)
    assert item_path(item) in message
    assert isinstance(caught.value, ci.UnsupportedError) == bool(arrays_of(item))
    if arrays_of(item):
        first = message.rpartition(": ")[2].split(", ")[0]
        assert ci.open_image(first).size > 0


def test_the_header_of_nifti_zarr_is_the_one_that_counts():
    """Position, times and scaling are nibabel's of the header; the header comes back in NIfTI, byte for byte."""
    import io

    import nibabel

    for parameter in items("omezarr"):
        item = parameter.values[0]
        if item is None or not item["path"].startswith("nifti-zarr/"):
            continue
        root = zarr.open_group(item_path(item), mode="r")
        raw = root["nifti"][...].tobytes()
        cls = nibabel.Nifti2Header if raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
        header = cls.from_fileobj(io.BytesIO(raw), check=False)
        image = ci.open_image(item_path(item))
        np.testing.assert_array_equal(image.img.affine, header.get_best_affine())
        assert image.img.space == "RAS" and image.img.orientation == "".join(nibabel.aff2axcodes(image.img.affine))
        assert image.img.units == "mm"
        if "t" in image.dims:
            np.testing.assert_allclose(np.diff(image.t), header["pixdim"][4])
        written = nibabel.Nifti2Image if cls is nibabel.Nifti2Header else nibabel.Nifti1Image
        again = image.img.to_nibabel()
        assert isinstance(again, written)
        for key in header:
            if key not in ("vox_offset", "magic", "scl_slope", "scl_inter"):
                np.testing.assert_array_equal(again.header[key], header[key], key)


# ---------------------------------------------------------------------------------------------- stores made here


def store(path, data, axes, *, scale=None, start=None, version="0.4", array=None, common=None, more=None, image=None):
    """An OME-Zarr with one level, written by zarr-python and by hand."""
    fmt = 3 if version >= "0.5" else 2
    root = zarr.open_group(path, mode="w", zarr_format=fmt)
    node = root.create_array("0", data=data, **(array or {}))
    steps = [{"type": "scale", "scale": scale or [1.0] * data.ndim}]
    if start is not None:
        steps.append({"type": "translation", "translation": start})
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], **(image or {})}
    if common is not None:
        entry["coordinateTransformations"] = common
    if fmt == 3:
        root.attrs["ome"] = {"version": version, "multiscales": [entry], **(more or {})}
    else:
        root.attrs.update({"multiscales": [{**entry, "version": version}], **(more or {})})
    return node


def axis(name, kind="space", unit=None, orientation=None):
    out = {"name": name}
    if kind is not None:
        out["type"] = kind
    if unit is not None:
        out["unit"] = unit
    if orientation is not None:
        out["orientation"] = {"type": "anatomical", "value": orientation}
    return out


def voxels(*shape, dtype="i2"):
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape)


ZYX = [axis("z", unit="micrometer"), axis("y", unit="micrometer"), axis("x", unit="micrometer")]


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


# ---------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", [">i2", "<u2", ">f4", "<f8", "|b1", ">c8", "|i1", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_types_and_orders_of_v2(tmp_path, dtype, order):
    data = np.asarray(voxels(3, 4, 5) % 7, dtype=dtype, order=order)
    store(tmp_path / "a.zarr", data, ZYX, array={"chunks": (2, 3, 4), "order": order, "fill_value": 0})
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(image.values, data)
    part = image.isel(z=slice(None, None, -1), x=slice(1, None, 2))
    np.testing.assert_array_equal(part.values, data[::-1, :, 1::2])


@pytest.mark.parametrize("fill", [0, 7, float("nan"), None])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_missing_chunks_are_the_fill_value(tmp_path, fill, version):
    if fill is None and version == "0.5":
        pytest.skip("v3 always has a fill value")
    data = voxels(4, 4, 4).astype("f4")
    node = store(tmp_path / "a.zarr", data, ZYX, version=version, array={"chunks": (2, 4, 4), "fill_value": fill})
    chunks = [p for p in (tmp_path / "a.zarr" / "0").rglob("*") if p.is_file() and "z" not in p.name]
    sorted(chunks)[0].unlink()
    found = ci.open_image(tmp_path / "a.zarr").values
    np.testing.assert_array_equal(found, node[...])
    np.testing.assert_array_equal(found[:2], np.full((2, 4, 4), 0 if fill is None else fill))
    np.testing.assert_array_equal(found[2:], data[2:])


def test_rgb_records_of_nifti_zarr(tmp_path):
    dtype = np.dtype([("r", "u1"), ("g", "u1"), ("b", "u1")])
    data = np.zeros((3, 4, 5), dtype)
    for k, name in enumerate("rgb"):
        data[name] = voxels(3, 4, 5) + 60 * k
    store(tmp_path / "a.zarr", data, ZYX)
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.dims == ("c", "z", "y", "x") and image.dtype == "u1"
    np.testing.assert_array_equal(image.values, np.stack([data[n] for n in "rgb"]))
    np.testing.assert_array_equal(image.isel(c=1, z=slice(None, None, 2)).values, data["g"][::2])


@pytest.mark.parametrize("dtype", ["<U5", "|S3", "<M8[s]", [("a", "<i2"), ("b", "<f4")]])
def test_what_are_no_voxels(tmp_path, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store(tmp_path / "a.zarr", np.zeros((3, 4, 5), dtype), ZYX)
    with pytest.raises(ci.UnsupportedError, match="voxels are numbers"):
        ci.open_image(tmp_path / "a.zarr")


def test_a_codec_that_is_not_installed(tmp_path):
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX)
    document = tmp_path / "a.zarr" / "0" / ".zarray"
    document.write_text(json.dumps({**json.loads(document.read_text()), "compressor": {"id": "imagecodecs_jpegxl"}}))
    with pytest.raises(ci.UnsupportedError, match=r"imagecodecs_jpegxl.*install the package 'imagecodecs'"):
        ci.open_image(tmp_path / "a.zarr")


def test_an_array_by_its_path(tmp_path):
    """A level of an image is that level, in its place; a lone array of three axes is z, y, x."""
    data = voxels(3, 4, 5)
    store(tmp_path / "a.zarr", data, ZYX, scale=[3, 2, 1])
    for where in (tmp_path / "a.zarr" / "0", zarr.storage.StorePath(zarr.storage.LocalStore(tmp_path / "a.zarr"), "0")):
        assert ci.open_image(where).img.grid == ci.open_image(tmp_path / "a.zarr").img.grid
    with pytest.raises(ci.FormatError, match="level 1 was asked for"):
        ci.open_image(tmp_path / "a.zarr" / "0", level=1)
    zarr.create_array(tmp_path / "b.zarr", data=data)
    image = ci.open_image(tmp_path / "b.zarr")
    np.testing.assert_array_equal(image.values, data)
    assert image.img.space == "unknown" and image.img.spacing == (1, 1, 1)
    zarr.create_array(tmp_path / "c.zarr", data=voxels(2, 3, 4, 5))
    with pytest.raises(ci.UnsupportedError, match="have no names"):
        ci.open_image(tmp_path / "c.zarr")


# ---------------------------------------------------------------------------------------------- channels, labels

OMERO = {
    "channels": [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 0, "min": 0, "end": 9, "max": 10}, "active": True},
        {"label": "GFP", "color": "00FF00", "window": {"start": 1, "min": 0, "end": 8, "max": 10}, "active": False},
    ]
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_of_omero(tmp_path, version):
    """Names and the rest are read, follow a selection, and are written again."""
    more = {"omero": OMERO}
    store(tmp_path / "a.zarr", voxels(2, 3, 4, 5), [axis("c", "channel"), *ZYX], version=version, more=more)
    image = ci.open_image(tmp_path / "a.zarr")
    assert image.c.attrs["names"] == ["DAPI", "GFP"]
    image.img.save(tmp_path / "b.zarr", ome_version=version)
    assert root_metadata(tmp_path / "b.zarr")["omero"] == OMERO
    image.isel(c=[1]).img.save(tmp_path / "c.zarr", ome_version=version)
    assert root_metadata(tmp_path / "c.zarr")["omero"]["channels"] == OMERO["channels"][1:]
    assert ci.open_image(tmp_path / "c.zarr").c.attrs["names"] == ["GFP"]


def root_metadata(path):
    attrs = dict(zarr.open_group(path, mode="r").attrs)
    return attrs.get("ome", attrs)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels(tmp_path, version):
    """Label images are listed, open by their path and keep colours; consolidated metadata may not know them."""
    path = tmp_path / "a.zarr"
    store(path, voxels(3, 4, 5), ZYX, scale=[3, 2, 1], version=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)
    stated = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}], "source": {"image": "../../"}}
    store(path / "labels" / "nuclei", voxels(3, 4, 5) % 3, ZYX, version=version, more={"image-label": stated})
    store(path / "labels" / "cells", voxels(3, 4, 5) % 2, ZYX, version=version)
    group = zarr.open_group(path / "labels", mode="a", zarr_format=3 if version == "0.5" else 2)
    listed = {"labels": ["nuclei", "cells"]}
    group.attrs.update({"ome": {"version": "0.5", **listed}} if version == "0.5" else listed)

    assert ci.read_header(path).fields["labels"] == ["nuclei", "cells"]
    assert not ci.open_image(path).img.is_label
    nuclei = ci.open_image(path / "labels" / "nuclei")
    assert nuclei.img.is_label and nuclei.img.properties["image-label"] == stated
    assert ci.open_image(path / "labels" / "cells").img.is_label
    with pytest.raises(ci.UnsupportedError, match="labels/nuclei"):
        ci.open_image(path / "labels")
    nuclei.img.save(tmp_path / "b.zarr", ome_version=version)
    assert root_metadata(tmp_path / "b.zarr")["image-label"]["colors"] == stated["colors"]
    # a folder that is called labels makes no labels
    (tmp_path / "labels").mkdir()
    store(tmp_path / "labels" / "c.zarr", voxels(3, 4, 5), ZYX, version=version)
    assert not ci.open_image(tmp_path / "labels" / "c.zarr").img.is_label


# ---------------------------------------------------------------------------------------------- collections


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates_and_wells_name_images(tmp_path, version):
    path = tmp_path / "p.zarr"
    wells = [{"path": f"{r}/{c}", "rowIndex": 0, "columnIndex": 0} for r in "AB" for c in range(1, 8)]
    fmt = 3 if version == "0.5" else 2
    for place, attrs in (("", {"plate": {"wells": wells}}), ("A/1", {"well": {"images": [{"path": "0"}]}})):
        group = zarr.open_group(path / place, mode="a", zarr_format=fmt)
        group.attrs.update({"ome": {"version": version, **attrs}} if fmt == 3 else attrs)
    store(path / "A" / "1" / "0", voxels(3, 4, 5), ZYX, version=version)
    with pytest.raises(ci.UnsupportedError, match=r"plate of 14 wells.*p\.zarr/A/1/0"):
        ci.open_image(path)
    with pytest.raises(ci.UnsupportedError, match=r"well of 1 images.*p\.zarr/A/1/0"):
        ci.open_image(path / "A" / "1")
    assert ci.open_image(path / "A" / "1" / "0").shape == (3, 4, 5)


@pytest.mark.parametrize("listed", [False, True])
def test_collections_of_bioformats2raw(tmp_path, listed):
    path = tmp_path / "a.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    names = ["first", "second"] if listed else ["0", "1"]
    with pytest.raises(ci.FormatError, match="without any"):
        ci.open_image(path)
    store(path / names[0], voxels(3, 4, 5), ZYX)
    if listed:
        root.create_group("OME").attrs["series"] = names[:1]
    assert ci.open_image(path).shape == (3, 4, 5)
    store(path / names[1], voxels(3, 4, 5), ZYX)
    if listed:
        root["OME"].attrs["series"] = names
    with pytest.raises(ci.UnsupportedError, match=f"collection of 2 images.*a.zarr/{names[0]}, .*a.zarr/{names[1]}"):
        ci.open_image(path)
