"""Every NIfTI and Analyze file of others: geometry, shape, type, statistics and probes as the references read them."""

import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, item_path, items

import chunkimg as ci
from chunkimg.geometry.affine import fill_singleton_axes
from chunkimg.lazy import full_region

NIFTI = items("nifti", "nifti-pair", "analyze")
AXES = ("x", "y", "z", "t", "c")


def open_quietly(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ci.open_image(path, **options)


def reference(item):
    """nibabel's reading, or None if it refuses the file."""
    found = item["refs"].get("nibabel", {})
    return None if "error" in found else found


def expected_affine(item, shape):
    """The references' affine where they agree; else the rule that decides, from facts of the header."""
    nib = reference(item)
    affine = np.array(nib["affine_ras"])
    if item["truth"]["verdict"] == "differ" and "affine" in " ".join(item["notes"]):
        sform, qform = nib.get("sform", {}).get("code", 0), nib.get("qform", {}).get("code", 0)
        if sform:
            # nifti1.h does not rank the two; nibabel, FSL and AFNI take the sform, which can hold shear
            affine = np.array(nib["sform"]["affine"])
        else:
            # neither code: position is not stated; nibabel's default is centred on the origin, x to the left
            assert not qform
            zooms = np.array([-1, 1, 1]) * nib["zooms"][:3]
            affine = np.diag([*zooms, 1.0])
            affine[:3, 3] = -zooms * (np.array(nib["shape"][:3]) - 1) / 2
    return fill_singleton_axes(affine, shape)


def in_file_order(image):
    """Values as an array with axes x, y, z, t, c; missing ones have size 1."""
    values = image.values
    dims = list(image.dims)
    for axis in AXES:
        if axis not in dims:
            values, dims = values[..., None], [*dims, axis]
    return values.transpose([dims.index(a) for a in AXES])


@pytest.mark.parametrize("item", NIFTI)
def test_geometry_shape_and_type(item):
    nib = reference(item)
    if nib is None:
        with pytest.raises((ci.FormatError, FileNotFoundError)):
            ci.open_image(item_path(item))
        return
    image = open_quietly(item_path(item), scaled=False)
    shape = tuple(image.sizes.get(a, 1) for a in AXES)
    dtype = item["truth"]["dtype"] or nib["dtype"]
    rgb = dtype.startswith("[")
    listed = tuple(nib["shape"]) + (1,) * (5 - len(nib["shape"]))
    assert shape == (*listed[:4], dtype.count("u1")) if rgb else shape == listed
    assert image.dtype == (np.uint8 if rgb else np.dtype(dtype).newbyteorder("="))
    assert image.attrs["rank"] == len(nib["shape"])
    np.testing.assert_allclose(image.img.affine, expected_affine(item, shape[:3]), rtol=0, atol=1e-6)
    named = any(nib.get(form, {}).get("code", 0) for form in ("sform", "qform"))
    if item["kind"] == "analyze":
        # Analyze has no field for where the patient is; what NIfTI keeps there is something else
        named = False
    assert image.img.space == ("RAS" if named else "unknown")
    assert image.img.orientation == ("".join(nib["axcodes"]) if named else None)
    if "units" in nib:
        assert image.img.units == {"meter": "m", "mm": "mm", "micron": "um", "unknown": "unknown"}[nib["units"][0]]
    header = ci.read_header(item_path(item))
    assert header.grid == image.img.grid
    assert header.sizes == dict(image.sizes)


@pytest.mark.parametrize("item", NIFTI)
def test_statistics_and_probes(item):
    nib = reference(item)
    if nib is None:
        pytest.skip("no reference opens it")
    stored = in_file_order(open_quietly(item_path(item), scaled=False))
    image = open_quietly(item_path(item))
    values = in_file_order(image)
    raw = nib["raw"]
    if isinstance(raw.get("sum"), (int, float)):
        wide = stored.astype(np.float64)
        assert np.nanmin(wide) == pytest.approx(raw["min"], rel=1e-6)
        assert np.nanmax(wide) == pytest.approx(raw["max"], rel=1e-6)
        assert np.nansum(wide) == pytest.approx(raw["sum"], rel=1e-6)
        if "scaled" in raw:
            assert np.nanmean(values.astype(np.float64)) == pytest.approx(raw["scaled"]["mean"], rel=1e-6)
    slope = nib["slope_inter_used"][0] if "slope_inter_used" in nib else 1.0
    if slope == 1.0 and nib["slope_inter_used"][1] == 0.0:
        # slope 0, NaN or 1: not scaled (nifti1.h, "DATA SCALING"), the stored type is kept
        assert values.dtype == stored.dtype
    assert nib["probes"]
    for probe in nib["probes"]:
        at = tuple(probe["ijk"]) + (0,) * (4 - len(probe["ijk"]))
        found = (values[at] if values.shape[4] > 1 else values[*at, 0]) if len(at) == 4 else values[at]
        wanted = as_number(probe.get("scaled", probe.get("raw")), values.dtype)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def as_number(value, dtype):
    if dtype.kind == "c":
        return complex(*value) if isinstance(value, list) else complex(str(value).replace(" ", ""))
    return value


@pytest.mark.parametrize("item", items("corrupt", "cifti"))
def test_corrupt_files_are_refused(item):
    with pytest.raises(ci.FormatError) as error:
        ci.open_image(item_path(item)).compute()
    # names the file
    assert os.path.basename(item["path"]) in str(error.value)


@pytest.mark.parametrize(
    "item", [p for p in NIFTI if p.values[0] and p.values[0]["path"].endswith((".nii", ".nii.gz"))]
)
def test_truncated_files_are_never_read_as_zeros(item, tmp_path):
    if reference(item) is None:
        pytest.skip("no reference opens it")
    content = Path(item_path(item)).read_bytes()
    name = os.path.basename(item["path"])
    for part in (0.3, 0.9, 1 - 1 / len(content)):
        (tmp_path / name).write_bytes(content[: int(len(content) * part)])
        with pytest.raises(ci.FormatError, match=r"truncated|damaged|cut short|not a NIfTI|not gzip|content is not"):
            ci.convert(tmp_path / name, tmp_path / "out.nii")
        assert sorted(os.listdir(tmp_path)) == [name]


@pytest.mark.skipif(not DATA.exists(), reason="no data")
def test_times():
    path = DATA / "nifti"
    t = ci.open_image(path / "dcmstack/two_time_vol.nii.gz").t
    assert t.values.tolist() == [0.0, 3.0]
    assert t.attrs["units"] == "s"
    t = ci.open_image(path / "derived/timeseries_1x1x1xT.nii.gz").t
    header = ci.read_header(path / "derived/timeseries_1x1x1xT.nii.gz").fields
    assert t.values[1] - t.values[0] == pytest.approx(0.72)
    assert t.values[0] == pytest.approx(header["toffset"])
    # 4th axis without unit or time step: frame numbers
    t = ci.open_image(path / "nifti-rs/complex32.nii")
    assert "t" not in t.dims


@pytest.mark.parametrize("item", items("nifti")[::9])
def test_open_reads_the_header_alone(item, monkeypatch):
    if item is None:
        pytest.skip("no data")
    from chunkimg.io import files, streams

    def fail(*_):
        raise AssertionError("voxels were read")

    monkeypatch.setattr(files.FileArray, "_read", fail)
    monkeypatch.setattr(streams.StreamArray, "_read", fail)
    image = open_quietly(item_path(item))
    repr(image), repr(image.img), image.img._repr_html_(), image.img.affine, image.isel(z=slice(0, 1)).img.bounds


@pytest.mark.parametrize("item", items("nifti")[::7])
def test_regions_equal_the_whole(item):
    if item is None or reference(item) is None:
        pytest.skip("no data")
    image = open_quietly(item_path(item))
    leaf = dict(image.data.dask)[f"original-{image.data.name}"]
    whole = leaf._read(full_region(leaf.shape))
    rng = np.random.default_rng(3)
    for _ in range(12):
        key = tuple(
            slice(*sorted(rng.integers(0, n + 1, 2)), int(rng.integers(1, 4)))
            if rng.random() < 0.8
            else int(rng.integers(n))
            for n in leaf.shape
        )
        np.testing.assert_array_equal(leaf[key], whole[key])
        reverse = tuple(slice(None, None, -1) if rng.random() < 0.5 else slice(None) for _ in leaf.shape)
        np.testing.assert_array_equal(leaf[reverse], whole[reverse])


@pytest.mark.parametrize("item", items("nifti")[::11])
def test_slicing_agrees_with_simpleitk(item):
    sitk = pytest.importorskip("SimpleITK")
    if item is None or "error" in item["refs"]["simpleitk"] or len(item["refs"]["simpleitk"]["size"]) != 3:
        pytest.skip("not 3-D in SimpleITK")
    image = open_quietly(item_path(item))
    if image.img.space == "unknown" or image.ndim != 3 or item["truth"]["verdict"] == "differ":
        pytest.skip("read differently")
    theirs = sitk.ReadImage(item_path(item))
    n = theirs.GetSize()
    for key in (
        (slice(-5, None), slice(None), slice(1, -1)),
        (slice(None, None, -1),) * 3,
        (slice(1, None, 2), slice(None), slice(-1, 0, -2)),
    ):
        if any(len(range(k)[s]) < 2 for k, s in zip(n, key, strict=True)):
            continue
        cut = theirs[key]
        x, y, z = key
        ours = image.isel(x=x, y=y, z=z)
        corners = [[0, 0, 0], [s - 1 for s in cut.GetSize()]]
        for corner in corners:
            point = np.array(cut.TransformIndexToPhysicalPoint(corner)) * (-1, -1, 1)
            np.testing.assert_allclose(ours.img.to_world(corner), point, atol=1e-3 * min(image.img.spacing))
        np.testing.assert_allclose(ours.values, sitk.GetArrayFromImage(cut), rtol=1e-6)


def test_probe_sanity():
    """The manifest's facts are what this file takes them for."""
    assert math.isclose(as_number([1.0, 2.0], np.dtype("c8")).imag, 2.0)
