"""Arrays, channels, labels and collections of OME-Zarr, in stores made by zarr-python."""

import json
import warnings

import numpy as np
import pytest
import zarr
from store_files import ZYX, axis, root_metadata, store, voxels

import chunkimg as ci

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


# ---------------------------------------------------------------------------------------------- the rest


def test_sources_of_other_kinds(tmp_path):
    """URLs of any file system and paths in them; stores that are given as such."""
    fsspec = pytest.importorskip("fsspec")
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, scale=[3, 2, 1], version="0.5")
    stated = {"image-label": {}}
    store(tmp_path / "a.zarr" / "labels" / "n", voxels(3, 4, 5) % 2, ZYX, version="0.5", more=stated)
    memory = fsspec.filesystem("memory")
    for file in (p for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()):
        memory.pipe(f"/stores/a.zarr/{file.relative_to(tmp_path / 'a.zarr')}", file.read_bytes())
    expected = ci.open_image(tmp_path / "a.zarr").img.grid
    assert ci.open_image("memory://stores/a.zarr").img.grid == expected
    assert ci.open_image("memory://stores/a.zarr/0").img.grid == expected
    assert ci.open_image("memory://stores/a.zarr/labels/n").img.is_label
    assert ci.open_image(zarr.storage.LocalStore(tmp_path / "a.zarr")).img.grid == expected
    memory.rm("/stores", recursive=True)


def test_a_label_image_may_be_written_beside_its_image(tmp_path):
    """But nothing over what it is read from."""
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, version="0.5")
    image = ci.open_image(tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "a.zarr" / "labels", mode="a").attrs["ome"] = {"version": "0.5", "labels": ["n"]}
    (image > 30).img.save(tmp_path / "a.zarr" / "labels" / "n", format="zarr")
    label = ci.open_image(tmp_path / "a.zarr" / "labels" / "n")
    assert label.img.is_label and label.img.same_grid(image)
    with pytest.raises(ci.FormatError, match="read from this store"):
        (label + 1).img.save(tmp_path / "a.zarr", overwrite=True)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr").values, voxels(3, 4, 5))


def test_a_pyramid_of_others(tmp_path):
    data = voxels(4, 6, 8)
    store(tmp_path / "a.zarr", data, ZYX)
    root = zarr.open_group(tmp_path / "a.zarr", mode="a")
    root.create_array("1", data=data[:, ::2, ::2])
    scales = root.attrs["multiscales"]
    steps = [{"type": "scale", "scale": [1, 2, 2]}]
    scales[0]["datasets"].append({"path": "1", "coordinateTransformations": steps})
    root.attrs["multiscales"] = scales
    tree = ci.open_pyramid(tmp_path / "a.zarr")
    assert [tree[f"scale{k}"].image.img.spacing for k in range(2)] == [(1, 1, 1), (2, 2, 1)]
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.zarr", level=-1).values, data[:, ::2, ::2])
    with pytest.raises(ci.FormatError, match="has 2 resolution levels, level 2"):
        ci.open_image(tmp_path / "a.zarr", level=2)


def test_names_of_channels_do_not_fit_nifti(tmp_path):
    store(tmp_path / "a.zarr", voxels(2, 3, 4, 5), [axis("c", "channel"), *ZYX], more={"omero": OMERO})
    image = ci.open_image(tmp_path / "a.zarr").img.assign_geometry(space="RAS")
    with pytest.warns(ci.ChunkImgWarning, match="names and colours of channels"):
        image.img.save(tmp_path / "a.nii")


def test_command_line(tmp_path):
    import subprocess
    import sys

    def run(*args):
        command = [sys.executable, "-m", "chunkimg", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, version="0.5")
    store(tmp_path / "a.zarr" / "labels" / "n", voxels(3, 4, 5), ZYX, version="0.5")
    zarr.open_group(tmp_path / "a.zarr" / "labels", mode="a").attrs["ome"] = {"version": "0.5", "labels": ["n"]}
    assert "labels/n" in run("info", tmp_path / "a.zarr")
    run("convert", tmp_path / "a.zarr", tmp_path / "b.zarr", "--ome-version", "0.4")
    assert ci.read_header(tmp_path / "b.zarr").fields["zarr_format"] == 2
