"""What headers say of axes, slices and values is true of what was made of an image, or is not there."""

import nibabel as nib
import numpy as np
import pytest
from nifti_files import values, write

import chunkimg as ci

SLICES = {"slice_code": 3, "slice_end": 5, "slice_duration": 0.5}


def scan_of(tmp_path, slices="z", dtype="i2"):
    """A NIfTI of sizes 4, 5, 6 whose slices lie along an axis, and were taken alternating."""
    order = {"x": (2, 3, 1), "z": (1, 2, 3)}[slices]
    info = sum(axis << shift for axis, shift in zip(order, (0, 2, 4), strict=True))
    data = values((6, 5, 4) if slices == "x" else (4, 5, 6), dtype)
    affine = np.diag([2.0, 3, 4, 1])
    write(tmp_path / "scan.nii", data, affine=affine, dim_info=info, cal_min=-5, cal_max=9, descrip=b"scan", **SLICES)
    return ci.open_image(tmp_path / "scan.nii")


def written(image, path):
    image.img.save(path, overwrite=True)
    return nib.load(path).header


TURNED = np.array([[0, 0, 4.0, 1], [2, 0, 0, 1], [0, 3, 0, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("change", "info"),
    [
        (lambda i: i.img.resample(3), (0, 1, 2)),
        (lambda i: i.img.resample((2, 3, 5)), (0, 1, 2)),
        (lambda i: i.img.resample_to(ci.Grid((3, 4, 5), np.diag([3.0, 3, 3, 1]))), (0, 1, 2)),
        # its x runs along y of the image, y along z, z along x
        (lambda i: i.img.resample_to(ci.Grid((3, 4, 5), TURNED)), (2, 0, 1)),
        (lambda i: i.img.resample_to(i.isel(z=slice(None, None, -1))), (0, 1, 2)),
        (lambda i: i.img.resample_to(i, transform=np.eye(4) + 0.25 * np.eye(4, k=3)), (0, 1, 2)),
        (lambda i: i.img.coarsen(z=2), (0, 1, 2)),
    ],
)
def test_slices_that_are_not_there_any_more_have_no_order(tmp_path, change, info):
    header = written(change(scan_of(tmp_path)), tmp_path / "made.nii")
    axes = header.get_dim_info()
    # nibabel: where frequency, phase and slice lie
    assert axes == info
    if change(scan_of(tmp_path)).sizes["z"] != 6 or axes != (0, 1, 2):
        assert [int(header[k]) for k in ("slice_code", "slice_start", "slice_end", "slice_duration")] == [0] * 4
    assert header["descrip"].item() == b"scan"


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i.img.resample((1, 2, 4)),
        lambda i: i.img.resample_to(ci.Grid((9, 7, 6), np.diag([1.0, 2, 4, 1]))),
        lambda i: i.img.resample_to(i),
        lambda i: i.img.coarsen(x=2, y=2),
        lambda i: i.isel(x=slice(1, 3)),
    ],
)
def test_slices_that_stay_keep_their_order(tmp_path, change):
    image = scan_of(tmp_path)
    header = written(change(image), tmp_path / "made.nii")
    assert {k: header[k] for k in SLICES} == SLICES
    assert header.get_dim_info() == (0, 1, 2)


def test_slices_lie_where_dim_info_says(tmp_path):
    image = scan_of(tmp_path, "x")
    assert not set(SLICES) & set(image.img.coarsen(x=2).img.properties)
    assert set(SLICES) <= set(image.img.coarsen(z=2).img.properties)


def test_an_order_of_slices_that_were_cut_off_is_not_written(tmp_path):
    image = scan_of(tmp_path)
    with pytest.warns(ci.ChunkImgWarning, match=r"slice_code.* tell of 6 slices along z; the image has 4"):
        header = written(image.isel(z=slice(2, None)), tmp_path / "made.nii")
    assert [int(header[k]) for k in ("slice_code", "slice_start", "slice_end")] == [0, 0, 0]


def test_other_values_have_no_window(tmp_path):
    made = scan_of(tmp_path).img.astype_rescaled("u1")
    assert not {"cal_min", "cal_max"} & set(made.img.properties)
    header = written(made, tmp_path / "made.nii")
    assert (header["cal_min"], header["cal_max"], header["descrip"].item()) == (0, 0, b"scan")
    waves = scan_of(tmp_path, dtype="c8")
    assert not {"cal_min", "cal_max"} & set(waves.img.complex_part("phase").img.properties)
    assert waves.img.astype_checked("c16").img.properties["cal_max"] == 9
    # OMERO's windows, one for each channel
    image = ci.from_array(np.arange(48.0).reshape(2, 2, 3, 4), ("c", "z", "y", "x"))
    image.c.attrs.update(names=["a", "b"], omero=[{"color": "FF0000", "window": {"start": 5}}, {"color": "00FF00"}])
    made = image.img.astype_rescaled("u1")
    assert made.c.attrs == {"names": ["a", "b"], "omero": [{"color": "FF0000"}, {"color": "00FF00"}]}
    assert image.c.attrs["omero"][0]["window"] == {"start": 5}


NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 4 5 6
space directions: (2,0,0) (0,3,0) (0,0,4)
space origin: (1,2,3)
thicknesses: nan nan 3.5
labels: "across" "down" "along"
old min: -100
old max: 300
endian: little
encoding: raw

"""


@pytest.mark.parametrize(
    ("change", "thicknesses", "labels"),
    [
        (lambda i: i.isel(z=slice(1, 4)), "nan nan 3.5", '"across" "down" "along"'),
        (lambda i: i.img.reorient("PIR"), "nan 3.5 nan", '"down" "along" "across"'),
        (lambda i: i.img.coarsen(x=2), "nan nan 3.5", '"across" "down" "along"'),
        (lambda i: i.img.coarsen(z=2), None, '"across" "down" "along"'),
        (lambda i: i.img.resample((2, 3, 3)), None, '"across" "down" "along"'),
        (lambda i: i.img.resample_to(ci.Grid((3, 4, 5), TURNED + 0.1 * np.eye(4, k=1))), None, None),
    ],
)
def test_axes_of_nrrd(tmp_path, change, thicknesses, labels):
    (tmp_path / "scan.nrrd").write_bytes(NRRD.encode() + bytes(2 * 4 * 5 * 6))
    made = change(ci.open_image(tmp_path / "scan.nrrd"))
    made.img.save(tmp_path / "made.nrrd")
    lines = (tmp_path / "made.nrrd").read_bytes().split(b"\n\n")[0].decode().split("\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert (fields.get("thicknesses"), fields.get("labels")) == (thicknesses, labels)
    assert fields["old min"] == "-100"
    made.astype("f4").img.save(tmp_path / "other.nrrd")
    assert b"old m" not in (tmp_path / "other.nrrd").read_bytes()
    assert ci.open_image(tmp_path / "made.nrrd").img.same_grid(made)
