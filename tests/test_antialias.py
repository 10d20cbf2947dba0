"""Resampling to larger voxels without aliasing, against scipy and SimpleITK, and by laws."""

import dataclasses

import numpy as np
import pytest
import strategies as grids
from conftest import item_path, items, optional
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import chunkimg as ci
from chunkimg import Grid
from chunkimg.geometry import affine as aff
from chunkimg.image.build import to_volume
from chunkimg.lazy import LazyArray
from chunkimg.ops import boxes, halos
from chunkimg.resampling import respaced_volume

ndimage, sitk = optional("scipy.ndimage"), optional("SimpleITK")
#: full width at half maximum of a Gaussian, in standard deviations
FWHM = 2 * np.sqrt(2 * np.log(2))


def noise(shape, dtype="f4", seed=0):
    return np.random.default_rng(seed).integers(-900, 2000, shape).astype(dtype)


def rotation(degrees, axis):
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = a, -b, b, a
    return out


def sitk_image(values, grid):
    return ci.from_array(values, affine=grid.matrix, space=grid.space, units=grid.units).img.to_sitk()


def widths(image, ref):
    """By hand: how wide the Gaussian is along x, y, z of the image, in standard deviations of its voxels."""
    steps = np.linalg.inv(image.img.affine[:3, :3]) @ np.asarray(ref.matrix)[:3, :3]
    return np.sqrt(np.maximum((steps**2).sum(axis=1) - 1, 0)) / FWHM


def smoothed_by_scipy(image, ref):
    wide = image.values.astype("f8")
    return image.astype("f8").copy(data=ndimage.gaussian_filter(wide, widths(image, ref)[::-1], mode="reflect"))


@settings(max_examples=30)
@given(st.data())
def test_as_scipy_and_then_resampled(data):
    shape = data.draw(st.tuples(*[st.integers(4, 14)] * 3))
    turn = rotation(data.draw(st.sampled_from([0, 90, 17])), data.draw(st.integers(0, 2)))
    affine = aff.compose(data.draw(st.tuples(*[st.floats(0.5, 2)] * 3)), turn @ np.diag([1, -1, 1]), (5, -6, 7))
    image = ci.from_array(noise(shape, "f8"), affine=affine)
    away = rotation(data.draw(st.sampled_from([0, 30])), data.draw(st.integers(0, 2)))
    ref = Grid((5, 4, 3), aff.compose(data.draw(st.tuples(*[st.floats(0.3, 6)] * 3)), turn @ away, (5, -6, 7)))
    # positions that all lie within 1e-3 voxel of whole ones are taken to be there, and steps with them
    rows = (np.linalg.inv(affine) @ np.asarray(ref.matrix))[:3]
    rest = np.abs(rows - np.rint(rows)) @ (4, 3, 2, 1)
    assume(np.all((rest < 1e-12) | (rest > 1e-3)))
    found = image.img.resample_to(ref, antialias=True)
    expected = smoothed_by_scipy(image, ref).img.resample_to(ref)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-9)
    assert found.img.grid == ref


@pytest.mark.parametrize("item", items("nifti", "nrrd"))
def test_real_images_as_scipy_and_simpleitk(item):
    try:
        image = ci.open_image(item_path(item), chunks=None)
        grid = image.img.grid
    except (ci.ChunkImgError, OSError):
        pytest.skip("not an image with a position")
    image = image.isel({d: 0 for d in ("t", "c") if d in image.dims})
    if image.size > 4 << 20 or min(grid.shape) < 8 or image.dtype.kind not in "iuf" or grid.space == "unknown":
        pytest.skip("large, flat or of another type")
    if image.img.is_label or not np.isfinite(image.values).all():
        pytest.skip("labels, or not finite")
    if not np.allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-5):
        pytest.skip("SimpleITK does without shear")
    spacing = [3.7 * s for s in image.img.spacing]
    found = image.img.resample(spacing, antialias=True)
    smooth = smoothed_by_scipy(image, found.img.grid)
    source = sitk_image(smooth.values, grid)
    out = sitk.ResampleImageFilter()
    out.SetReferenceImage(sitk_image(np.zeros(found.shape, "u1"), found.img.grid))
    out.SetInterpolator(sitk.sitkLinear)
    expected = sitk.GetArrayFromImage(out.Execute(source))
    span = float(np.ptp(image.values.astype("f8")))
    inner = tuple(slice(1, -1) for _ in range(3))
    apart = np.abs(found.values.astype("f8") - expected)[inner]
    # integers are rounded
    assert apart.max(initial=0) <= 1e-3 * span + (0.5 if image.dtype.kind in "iu" else 0)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "f4", "f8", "?"])
def test_types_are_kept(dtype):
    values = noise((12, 13, 14)) > 500 if dtype == "?" else np.abs(noise((12, 13, 14))) % 120
    image = ci.from_array(values.astype(dtype), spacing=(1, 1, 2))
    found = image.img.resample((3, 2.5, 5), antialias=True)
    expected = image.astype("f8").img.resample((3, 2.5, 5), antialias=True).values
    assert found.dtype == image.dtype
    if image.dtype.kind in "iub":
        assert np.abs(found.values.astype("f8") - expected).max() <= 0.5 + 1e-4
    else:
        np.testing.assert_allclose(found.values, expected, rtol=1e-5)


def test_stripes_vanish():
    # one voxel high, one low: what larger voxels see is their mean
    values = np.zeros((24, 24, 24), "f4")
    values[::2] = 200
    image = ci.from_array(values, spacing=(1, 1, 1))
    bare = image.img.resample((1, 1, 4), "nearest").values
    assert set(np.unique(bare)) <= {0, 200}
    soft = image.img.resample((1, 1, 4), "nearest", antialias=True).values
    assert np.abs(soft[1:-1] - 100).max() < 5


@settings(max_examples=30)
@given(grids.grids(low=2), st.tuples(*[st.floats(0.2, 1)] * 3))
def test_smaller_voxels_are_not_smoothed(grid, factors):
    image = ci.from_array(noise(grid.shape[::-1]), affine=grid.matrix, units=grid.units)
    wanted = np.array(grid.spacing) * factors
    soft, bare = (image.img.resample(wanted, antialias=a) for a in (True, False))
    np.testing.assert_array_equal(soft.values, bare.values)
    np.testing.assert_array_equal(image.img.resample_to(image, antialias=True).values, image.values)


def test_a_turned_grid_of_the_same_voxels_is_not_smoothed():
    image = ci.from_array(noise((9, 10, 11)), spacing=(1, 1, 1))
    ref = Grid((8, 7, 6), aff.compose((1, 1, 1), rotation(33, 1) @ rotation(20, 2), (1, 2, 3)))
    np.testing.assert_array_equal(image.img.resample_to(ref, antialias=True).values, image.img.resample_to(ref).values)


def test_axes_are_smoothed_by_their_own_width():
    image = ci.from_array(noise((16, 18, 20), "f8"), affine=aff.compose((1, 2, 3), np.eye(3), (1, 2, 3)), space="RAS")
    coarse = image.img.resample((5, 4, 3), antialias=True)
    turned = image.img.reorient("SLP").img.resample((3, 5, 4), antialias=True)
    np.testing.assert_allclose(turned.img.reorient("RAS").values, coarse.values, rtol=0, atol=1e-9)


def test_a_matrix_that_scales_counts():
    image = ci.from_array(noise((12, 12, 12), "f8"), spacing=(1, 1, 1))
    scale = np.diag([3.0, 1.0, 1.0, 1.0])
    found = image.img.resample_to(image, transform=scale, antialias=True)
    smooth = ndimage.gaussian_filter(image.values, (0, 0, np.sqrt(8) / FWHM), mode="reflect")
    expected = image.copy(data=smooth).img.resample_to(image, transform=scale)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-9)


def test_labels_and_complex_values_are_refused():
    labels = ci.from_array(np.ones((4, 5, 6), "u1"), spacing=(1, 1, 1)).img.as_label()
    with pytest.raises(ValueError, match="coarsen"):
        labels.img.resample(2, antialias=True)
    with pytest.raises(ValueError, match="complex_part"):
        ci.from_array(np.ones((4, 5, 6), "c8"), spacing=(1, 1, 1)).img.resample(2, antialias=True)
    wide = ci.from_array(np.ones((4, 5, 6), "i8"), spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="no value of int64"):
        far = Grid((3, 3, 3), aff.compose((2, 2, 2), np.eye(3), (99, 0, 0)))
        wide.img.resample_to(far, fill=2**63 - 1, antialias=True)


def test_any_region_and_any_format_have_the_same_values(tmp_path):
    image = ci.from_array(noise((2, 30, 41, 52), "i2"), spacing=(1, 1.2, 2), t=[0, 3])
    image.img.save(tmp_path / "a.ome.zarr", chunks=16)
    whole = image.img.resample((2.5, 3, 4), antialias=True)
    expected = whole.values
    for chunks in ("auto", None):
        found = ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks).img.resample((2.5, 3, 4), antialias=True)
        np.testing.assert_array_equal(found.isel(t=1, z=slice(3, 9), x=5).values, expected[1, 3:9, :, 5])
        found.img.save(tmp_path / "b.nii.gz", overwrite=True)
        np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nii.gz").values, expected)


class Raw(LazyArray):
    """Voxels that notes how many are read, whole or in chunks."""

    piecewise = True

    def __init__(self, data, chunks):
        self.data, self.shape, self.dtype, self.chunks, self.read = data, data.shape, data.dtype, chunks, 0
        self.file_order = (0, 1, 2)

    def _read(self, region):
        self.read += int(np.prod([len(r) for r in region]))
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)].copy()

    def __dask_tokenize__(self):
        return ("raw", id(self))


@pytest.mark.parametrize("chunks", [None, (64, 128, 128)])
def test_what_is_read_of_files_and_chunks(chunks, monkeypatch):
    monkeypatch.setattr(boxes, "KEPT", 16 << 20)
    monkeypatch.setattr(halos, "_KEPT", 16 << 20)
    source = Raw(noise((192, 260, 280), "i2"), chunks)
    volume = dataclasses.replace(
        to_volume(ci.from_array(np.zeros(source.shape, "i2"), spacing=(1, 1.1, 1.2))), data=source
    )
    made = respaced_volume(volume, 3.5, antialias=True).data
    with made.reader() as read:
        whole = [range(n) for n in made.shape]
        for start in range(0, made.shape[0], 20):
            read((range(start, min(start + 20, made.shape[0])), *whole[1:]))
    assert source.read <= 1.6 * source.size
    source.read = 0
    made._read((range(30, 34), range(40, 44), range(40, 44)))
    assert source.read <= (source.size // 100 if chunks is None else 8 * np.prod(chunks))


def test_the_command(tmp_path, command):
    image = ci.from_array(noise((20, 31, 42), "i2"), spacing=(1, 1.2, 2))
    image.img.save(tmp_path / "a.nii")
    command("resample", tmp_path / "a.nii", tmp_path / "b.nrrd", "--spacing", 3, 3, 3, "--antialias")
    expected = image.img.resample(3, antialias=True)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nrrd").values, expected.values)


# ------------------------------------------------------------------ frames with places of their own


def moving():
    affines = [aff.compose((1, 1.5, 2), rotation(4 * k, k), (k, 2, 3)) for k in range(3)]
    return affines, ci.from_array(noise((3, 9, 11, 13)), affine=affines, t=[0, 2, 5])


@pytest.mark.parametrize("antialias", [False, True])
def test_frames_keep_their_places(antialias, tmp_path):
    affines, image = moving()
    found = image.img.resample((2, 2, 2.5), antialias=antialias)
    for k, (t, affine) in enumerate(zip((0, 2, 5), affines, strict=True)):
        alone = ci.from_array(image.values[k], affine=affine).img.resample((2, 2, 2.5), antialias=antialias)
        np.testing.assert_allclose(found.isel(t=k).values, alone.values, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.img.affine_at(t), alone.img.affine, rtol=0, atol=1e-9)
    found.img.save(tmp_path / "a.ome.zarr")
    again = ci.open_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(again.values, found.values)
    np.testing.assert_allclose(again.img.affine_at(5), found.img.affine_at(5), rtol=0, atol=1e-12)
