"""Padding and cropping: voxels that stay are where they were."""

from dataclasses import replace

import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given, settings
from strategies import grids, slices

import chunkimg as ci
from chunkimg.image import build
from chunkimg.lazy import LazyArray
from chunkimg.ops.pad import MODES, PaddedArray, padded, widths

pairs = st.tuples(st.integers(0, 11), st.integers(0, 11))


def image_of(grid, kind="numpy"):
    data = np.arange(np.prod(grid.shape), dtype="i4").reshape(grid.shape[::-1])
    if kind == "dask":
        import dask.array as da

        # blocks of one voxel are among what is left at the ends
        data = da.from_array(data, chunks=(4, 3, 5))
    return ci.from_array(data, affine=grid.matrix, space=grid.space, units=grid.units)


@settings(max_examples=40)
@given(grids(), pairs, pairs, pairs, st.sampled_from(MODES), st.sampled_from(["numpy", "dask"]))
def test_padding_is_that_of_numpy(grid, x, y, z, mode, kind):
    image = image_of(grid, kind)
    found = image.img.pad(x=x, y=y, z=z, mode=mode)
    assert np.array_equal(found.values, np.pad(image.values, (z, y, x), mode=mode))
    assert found.dtype == image.dtype
    first = [p[0] for p in (x, y, z)]
    scale = max(grid.spacing) * 1e-9 + 1e-12 * np.abs(grid.matrix).max()
    assert np.abs(found.img.to_world(first) - image.img.origin).max() <= scale
    assert np.abs(found.img.affine[:3, :3] - grid.matrix[:3, :3]).max() <= 1e-12 * np.abs(grid.matrix).max()
    # cut off again, it is the same, bit for bit
    inner = found.isel(
        x=slice(x[0], x[0] + grid.shape[0]), y=slice(y[0], y[0] + grid.shape[1]), z=slice(z[0], z[0] + grid.shape[2])
    )
    assert inner.img.grid == grid
    assert np.array_equal(inner.values, image.values)
    assert np.array_equal(found.img.crop_like(image).values, image.values)
    # and it is an image of ours: another place is refused
    if found.sizes != image.sizes:
        with pytest.raises(ci.GeometryError):
            found + image


class Counted(LazyArray):
    """An array that says what was read of it."""

    def __init__(self, data, **facts):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, []
        self.__dict__.update(facts)

    def _read(self, region):
        self.read.append(region)
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def __dask_tokenize__(self):
        return ("counted", id(self.data))


@given(st.data(), st.sampled_from(MODES))
def test_any_part_reads_only_what_it_shows(data, mode):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
    values = np.arange(np.prod(shape), dtype="i2").reshape(shape)
    source = Counted(values)
    before, after = (data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))) for _ in range(2))
    array = PaddedArray(source, before, after, mode, -7)
    extra = {"constant_values": -7} if mode == "constant" else {}
    whole = np.pad(values, list(zip(before, after, strict=True)), mode=mode, **extra)
    key = tuple(data.draw(slices(n)) for n in whole.shape)
    assert np.array_equal(array[key], whole[key])
    if mode in ("constant", "edge"):
        rows = [i - before[0] for i in range(whole.shape[0])[key[0]]]
        shown = {min(max(i, 0), shape[0] - 1) for i in rows} if mode == "edge" else set(rows) & set(range(shape[0]))
        taken = {i for region in source.read for i in region[0]}
        assert taken <= set(range(min(shown), max(shown) + 1)) if shown else not taken


def test_nothing_is_read_of_what_lies_outside():
    source = Counted(np.ones((3, 4), "i2"))
    array = PaddedArray(source, (5, 0), (0, 0))
    assert not array[:5].any()
    assert source.read == []


@pytest.mark.parametrize("item", items("nifti"))
def test_padding_as_simpleitk(item):
    sitk = pytest.importorskip("SimpleITK")
    try:
        image = ci.open_image(item_path(item), chunks=None, scaled=False)
        theirs = image.img.to_sitk()
    except Exception:
        pytest.skip("not an image that both hold")
    if image.size > 1 << 20 or image.ndim != 3 or image.dtype.kind not in "iuf" or image.img.space == "unknown":
        pytest.skip("another kind of image")
    low, high = (3, 0, 1), (2, 4, 0)
    width = dict(zip("xyz", zip(low, high, strict=True), strict=True))
    for mode, their in (("constant", sitk.ConstantPad), ("symmetric", sitk.MirrorPad), ("wrap", sitk.WrapPad)):
        fill = {"constant": (7,)}.get(mode, ())
        wanted = their(theirs, low, high, *fill)
        found = image.img.pad(width, mode=mode, fill=7)
        assert np.array_equal(found.values, sitk.GetArrayFromImage(wanted), equal_nan=image.dtype.kind == "f")
        place = found.isel(x=slice(0, 2), y=slice(0, 2), z=slice(0, 2)).img.to_sitk()
        assert np.allclose(place.GetOrigin(), wanted.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("chunks", [None, "auto"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
def test_a_scaled_scan_keeps_its_stored_values(tmp_path, chunks, suffix, nibabel_data):
    data = np.random.default_rng(0).integers(-100, 3000, (20, 30, 40)).astype("i2")
    plain = ci.from_array(data, affine=np.diag([2.0, 3, 4, 1]) + np.eye(4, k=3))
    plain.img.save(tmp_path / f"a{suffix}", scaling=(0.5, -1024))
    image = ci.open_image(tmp_path / f"a{suffix}", chunks=chunks)
    found = image.img.pad(3, fill=-1000)
    assert (found.chunks is None) == (chunks is None)
    assert found.encoding["scale_factor"] == 0.5
    volume = build.to_volume(found)
    assert volume.data.dtype == np.dtype("i2")
    assert isinstance(volume.data, PaddedArray) or volume.data.ndim == 3
    assert np.array_equal(found.values, np.pad(image.values, 3, constant_values=-1000))
    for dest in ("b.nii", "b.nii.gz", "b.ome.zarr"):
        found.img.save(tmp_path / f"{chunks}{dest}", budget=1 << 20)
        again = ci.open_image(tmp_path / f"{chunks}{dest}")
        assert np.array_equal(again.values, found.values)
        assert again.encoding["dtype"] == np.dtype("i2")
        assert again.img.same_grid(found, 1e-5)
    # no stored value stands for this one
    odd = image.img.pad(1, fill=0.3)
    assert "scale_factor" not in odd.encoding
    assert odd.values[0, 0, 0] == np.float32(0.3)
    assert np.array_equal(odd.values[1:-1, 1:-1, 1:-1], image.values)
    for mode in ("edge", "reflect", "wrap"):
        image.img.pad(z=(4, 30), x=2, mode=mode).img.save(tmp_path / f"{mode}{suffix}", budget=1 << 20, overwrite=True)
        again = ci.open_image(tmp_path / f"{mode}{suffix}")
        assert np.array_equal(again.values, np.pad(image.values, ((4, 30), (0, 0), (2, 2)), mode=mode))


def test_frames_channels_and_what_is_said_come_along(nibabel_data):
    fmri = ci.open_image(nibabel_data / "example4d.nii.gz")
    found = fmri.assign_coords(subject="s1").rename("bold").img.pad({"z": (1, 2)}, x=3)
    assert dict(found.sizes) == {"t": 2, "z": 27, "y": 96, "x": 134}
    assert found.t.identical(fmri.assign_coords(subject="s1").t)
    assert (found.name, str(found.subject.values)) == ("bold", "s1")
    assert {k: v for k, v in found.attrs.items() if k not in fmri.attrs or fmri.attrs[k] != v} == {}
    assert found.img.properties["shape"] == [134, 96, 27]
    first = np.eye(4)
    poses = [first, first + np.eye(4, k=3)]
    moved = ci.from_array(np.arange(48).reshape(2, 4, 3, 2), affine=poses, t=[0, 1])
    wider = moved.img.pad(x=1, y=(2, 0))
    for t in (0, 1):
        assert np.allclose(wider.img.affine_at(t) @ [1, 2, 0, 1], moved.img.affine_at(t)[:, 3], atol=1e-12)
        single = moved.sel(t=t).img.pad(x=1, y=(2, 0))
        assert np.array_equal(single.img.affine, wider.img.affine_at(t))


def test_the_order_of_slices_is_counted_from_the_new_first():
    header = nib.Nifti1Header()
    header.set_data_shape((3, 4, 9))
    header.set_dim_info(slice=2)
    header.set_slice_duration(1)
    header["slice_code"] = 1
    fields = {k: int(header[k]) for k in ("dim_info", "slice_code", "slice_start", "slice_end")}
    image = ci.from_array(np.zeros((9, 4, 3)), properties=fields).img.pad(z=(2, 3))
    padded_header = header.copy()
    padded_header.set_data_shape((3, 4, 14))
    for name in fields:
        padded_header[name] = image.img.properties[name]
    assert padded_header.get_slice_times() == (None,) * 2 + header.get_slice_times() + (None,) * 3


def test_errors_of_padding():
    image = ci.from_array(np.zeros((2, 3, 4), "i2"))
    for width, match in (
        ({"t": 1}, "frames"),
        ({"w": 1}, "found w"),
        (-1, "not negative"),
        ((1, 2, 3), "a pair"),
        (1.5, "number of voxels"),
    ):
        with pytest.raises(ci.GeometryError, match=match):
            image.img.pad(width)
    with pytest.raises(ci.GeometryError, match="expected one of constant"):
        image.img.pad(1, mode="linear_ramp")
    for fill in (np.nan, 1.5, 40000, 1j, "a"):
        with pytest.raises(ci.GeometryError, match="no value of int16"):
            image.img.pad(1, fill=fill)
    assert image.astype("f4").img.pad(1, fill=np.nan).isnull().sum() == 4 * 5 * 6 - 24
    for sides, match in (({"before": 2}, "three numbers"), ({"after": (1, 2)}, "three numbers")):
        with pytest.raises(ci.GeometryError, match=match):
            image.img.pad(**sides)
    with pytest.raises(ci.GeometryError, match="not both"):
        image.img.pad(1, before=(1, 2, 3))
    with pytest.raises(ci.GeometryError, match="not negative"):
        image.img.pad(before=(1, 2, -3))
    by_side = image.img.pad(before=(1, 2, 3), after=(0, 4, 1))
    assert by_side.identical(image.img.pad(x=(1, 0), y=(2, 4), z=(3, 1)))
    assert image.img.pad().identical(image)
    assert padded(build.to_volume(image), widths(0)).data.shape == (2, 3, 4)


@settings(max_examples=60)
@given(grids(low=2), st.data())
def test_cropping_to_a_part_finds_it(grid, data):
    image = image_of(grid)
    bounds = {d: sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
              for d, n in image.sizes.items()}  # fmt: skip
    part = image.isel({d: slice(*b) for d, b in bounds.items()})
    found = image.img.crop_like(part.img.flip(data.draw(st.sampled_from(["x", "yz"]))))
    assert found.identical(part)
    # a twin whose grid is a little off is no reason for more voxels
    shift = 1e-4 * np.asarray(grid.spacing)
    twin = found.img.assign_geometry(affine=found.img.affine + np.pad(shift[:, None], ((0, 1), (3, 0))))
    if found.img.grid.same_as(twin.img.grid, 5e-4):
        assert image.img.crop_like(twin).sizes == found.sizes


@settings(max_examples=60)
@given(grids(low=2, far=5.0), grids(low=1, far=5.0))
def test_cropping_covers_all_corners_that_lie_inside(grid, other):
    image, like = image_of(grid), image_of(replace(other, units=grid.units))
    index = image.img.to_index(like.img.corners())
    try:
        found = image.img.crop_like(like)
    except ci.GeometryError as error:
        assert "lies outside the image along" in str(error)
        size = np.asarray(grid.shape)
        assert np.any((index.max(axis=0) < 0) | (index.min(axis=0) > size - 1))
        return
    low, high = np.asarray(image.img.to_index(found.img.origin)), np.asarray(found.img.grid.shape)
    inside = np.clip(index, -0.5, np.asarray(grid.shape) - 0.5)
    assert np.all(inside >= low - 0.5 - 2e-3)
    assert np.all(inside <= low + high - 0.5 + 2e-3)
    # and no voxel less would do
    assert np.all(inside.min(axis=0) - low <= 0.5 + 1e-6)
    assert np.all(low + high - 1 - inside.max(axis=0) <= 0.5 + 1e-6)


def test_cropping_covers_every_frame():
    moves = [np.eye(4), np.eye(4) + 2 * np.eye(4, k=3)]
    moving = ci.from_array(np.zeros((2, 9, 9, 9)), affine=moves, t=[0, 1])
    still = ci.from_array(np.zeros((2, 2, 2)), origin=(4, 4, 4))
    assert dict(moving.img.crop_like(still).sizes) == {"t": 2, "z": 2, "y": 2, "x": 4}
    assert moving.sel(t=1).img.crop_like(still).x.size == 2
    assert dict(ci.from_array(np.zeros((20, 20, 20))).img.crop_like(moving).sizes) == {"z": 9, "y": 9, "x": 11}
    with pytest.raises(ci.GeometryError, match="um in the other"):
        moving.img.crop_like(ci.from_array(np.zeros((2, 2, 2)), units="um"))
