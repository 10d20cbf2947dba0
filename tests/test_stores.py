"""Zarr stores of others, against what zarr-python, ngff-zarr and nibabel read of them."""

import math

import numpy as np
import pytest
import xarray as xr
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


@pytest.mark.parametrize("names", [("z", "y", "x"), ("Z", "Y", "X")])
@pytest.mark.parametrize("packed", [False, True])
def test_coordinates_of_plain_xarray_as_they_are_meant(tmp_path, names, packed):
    z, y, x = names
    coords = {z: 5.0 + 2 * np.arange(4), y: -3 + 1.5 * np.arange(5), x: 100 + 0.5 * np.arange(6)}
    ds = xr.Dataset({"im": (names, np.arange(120, dtype="i2").reshape(4, 5, 6))}, coords=coords)
    packing = {"dtype": "i4", "scale_factor": 0.25, "add_offset": 1.0, "_FillValue": -9999}
    ds.to_zarr(tmp_path / "a.zarr", encoding=dict.fromkeys(coords, packing) if packed else {}, consolidated=False)
    image = ci.open_image(tmp_path / "a.zarr")
    np.testing.assert_allclose(image.img.affine, [[0.5, 0, 0, 100], [0, 1.5, 0, -3], [0, 0, 2, 5], [0, 0, 0, 1]])


def test_a_url_that_nothing_reads_names_the_extra(monkeypatch):
    pytest.importorskip("fsspec")
    from fsspec.registry import known_implementations

    known = {"class": "not_installed.FileSystem", "err": "Install not_installed to access it"}
    monkeypatch.setitem(known_implementations, "nothing", known)
    with pytest.raises(ci.MissingExtraError, match=r"nothing://a\.ome\.zarr: Install.*chunkimg\[remote\]"):
        ci.open_image("nothing://a.ome.zarr")
