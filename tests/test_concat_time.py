"""Many images as one with time."""

import pickle
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import grids, slices

import chunkimg as ci
from chunkimg.image import build
from chunkimg.lazy import LazyArray
from chunkimg.ops.join import JoinedArray

AFFINE = np.array([[-2.0, 0.1, 0, 7], [0, 3, 0.2, 8], [0.3, 0, 5, 9], [0, 0, 0, 1]])


def frame(k, affine=AFFINE, shape=(3, 4, 5), dtype="i2", **options):
    return ci.from_array((np.arange(np.prod(shape)).reshape(shape) + 100 * k).astype(dtype), affine=affine, **options)


class Counted(LazyArray):
    """An array that says what was read of it."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, 0

    def _read(self, region):
        self.read += int(np.prod([len(r) for r in region]))
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def __dask_tokenize__(self):
        return ("counted", self.data.tobytes())


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_any_part_reads_only_what_it_shows(lengths, data):
    rng = np.random.default_rng(0)
    pieces = [Counted(rng.integers(0, 999, (n, 3, 2))) for n in lengths]
    array = JoinedArray(pieces, 0, pieces[0].dtype)
    whole = np.concatenate([p.data for p in pieces])
    key = tuple(data.draw(slices(n)) for n in whole.shape)
    assert np.array_equal(array[key], whole[key])
    assert sum(p.read for p in pieces) == whole[key].size


class Stream(Counted):
    """An array that is decoded front to back, in an order, and says how often it was begun."""

    def __init__(self, data, order):
        super().__init__(data)
        self.front_to_back, self.file_order, self.begun, self.at = True, order, 0, 0

    @contextmanager
    def reader(self):
        self.at = self.data.size

        def read(region):
            place = [r.start for r in region], [r.stop - 1 for r in region]
            strides = np.empty(self.ndim, int)
            strides[list(self.file_order)] = np.cumprod([1, *(self.shape[a] for a in self.file_order[:0:-1])])[::-1]
            first, last = (int(np.dot(p, strides)) for p in place)
            self.begun += first < self.at
            self.at = last
            return self._read(region)

        yield read


@pytest.mark.parametrize(
    ("orders", "sizes", "expected"),
    [
        # frame after frame; channels beside each other in the file, which are read in step; neither
        ([(0, 1, 2)] * 3, (2, 4, 1), (0, 1, 2)),
        ([(1, 2, 0)] * 3, (2, 4, 1), (1, 2, 0)),
        ([(1, 2, 0)] * 3, (1, 1, 1), (0, 1, 2)),
        ([(1, 2, 0), (0, 1, 2)], (2, 3), None),
        ([(1, 2, 0)] * 9, (2,) * 9, None),
    ],
)
def test_each_piece_is_decoded_once(orders, sizes, expected):
    rng = np.random.default_rng(0)
    pieces = [Stream(rng.integers(0, 999, (n, 5, 3)), order) for n, order in zip(sizes, orders, strict=True)]
    array = JoinedArray(pieces, 0, pieces[0].dtype)
    assert array.file_order == expected
    whole = np.concatenate([p.data for p in pieces])
    if expected is None:
        return
    slow = expected[0]
    with array.reader() as read:
        for k in range(array.shape[slow]):
            region = [range(n) for n in array.shape]
            region[slow] = range(k, k + 1)
            np.testing.assert_array_equal(read(tuple(region)), whole.take([k], slow))
    assert [p.begun for p in pieces] == [1] * len(pieces)


@given(grids(), st.integers(2, 5))
def test_frames_of_one_grid(grid, count):
    images = [frame(k, grid.matrix, grid.shape[::-1], "f4", units=grid.units) for k in range(count)]
    # headers round: twins are one grid
    shift = np.pad(np.asarray(grid.spacing)[:, None] * 1e-5, ((0, 1), (3, 0)))
    twins = [images[0], *(image.img.assign_geometry(affine=grid.matrix + shift) for image in images[1:])]
    found = ci.concat_time(twins)
    assert np.array_equal(found.values, np.stack([image.values for image in images]))
    assert found.img.grid == grid
    assert found.t.values.tolist() == list(range(count))
    assert "affine_at" not in found.attrs


@pytest.mark.parametrize("kind", ["numpy", "dask", "nii", "nii.gz", "ome.zarr", "lazy"])
def test_any_kind_of_image(kind, tmp_path):
    named = kind in ("numpy", "dask", "ome.zarr")
    images = [frame(k, properties={"subject": "s1", "number": k} if named else None) for k in range(4)]
    wanted = np.stack([image.values for image in images])
    if kind == "dask":
        images = [image.chunk({"z": 2}) + 0 for image in images]
    elif kind != "numpy":
        suffix, chunks = ("nii", None) if kind == "lazy" else (kind, "auto")
        for k, image in enumerate(images):
            image.img.save(tmp_path / f"{k}.{suffix}")
        images = [ci.open_image(tmp_path / f"{k}.{suffix}", chunks=chunks) for k in range(4)]
    found = ci.concat_time(images, t=[0, 10, 40, 100])
    assert found.dims == ("t", "z", "y", "x")
    assert (found.chunks is None) == (kind in ("numpy", "lazy"))
    assert np.array_equal(found.values, wanted)
    assert np.allclose(found.img.affine, AFFINE)
    assert found.t.attrs["units"] == "s"
    if named:
        assert found.img.properties.pop("subject") == "s1"
        assert "number" not in found.img.properties
    found.img.save(tmp_path / "all.ome.zarr")
    again = ci.open_image(tmp_path / "all.ome.zarr")
    assert again.t.values.tolist() == [0, 10, 40, 100]
    assert np.array_equal(again.values, wanted)
    assert again.dtype == np.dtype("i2")
    found.isel(t=slice(0, 2)).img.save(tmp_path / "two.nii.gz")
    theirs = nib.load(tmp_path / "two.nii.gz")
    assert np.array_equal(theirs.get_fdata().T, wanted[:2])
    assert theirs.header.get_zooms()[3] == 10
    # frames of the result are the images again
    for k, image in enumerate(images):
        assert np.array_equal(found.isel(t=k).values, image.values)
        assert image.img.same_grid(found.isel(t=k))


def test_hundreds_of_files_in_few_tasks(tmp_path):
    for k in range(200):
        frame(k, shape=(20, 30, 40)).img.save(tmp_path / f"{k:03}.nii.gz")
    opened = [ci.open_image(p, chunks=None) for p in sorted(tmp_path.glob("*.gz"))]
    found = ci.concat_time(opened)
    assert found.chunks is None
    assert np.array_equal(found[137, 3:5].values, opened[137][3:5].values)
    with_dask = ci.concat_time([ci.open_image(p) for p in sorted(tmp_path.glob("*.gz"))])
    assert with_dask.data.npartitions <= 2
    assert len(with_dask.data.dask) < 10
    assert np.array_equal(with_dask.values, found.values)
    assert len(pickle.dumps(build.to_volume(found).data)) < 200 * 2000
    found.img.save(tmp_path / "all.nii.gz", budget=4 << 20)
    assert np.array_equal(nib.load(tmp_path / "all.nii.gz").get_fdata().T, found.values)


def test_frames_scaled_each_in_its_own_way(tmp_path):
    frames = [frame(k, dtype="f4") for k in range(3)]
    for k, image in enumerate(frames):
        image.img.save(tmp_path / f"{k}.nii", dtype="i2", scaling=(0.5 * (k + 3), 0))
    opened = [ci.open_image(tmp_path / f"{k}.nii", chunks=None) for k in range(3)]
    found = ci.concat_time(opened)
    assert "scale_factor" not in found.encoding
    assert np.array_equal(found.values, np.stack([image.values for image in opened]))
    alike = ci.concat_time([opened[1], opened[1]])
    assert alike.encoding["scale_factor"] == 2
    assert build.to_volume(alike).data.dtype == np.dtype("i2")
    mixed = ci.concat_time([frame(0), frame(1, dtype="f4")])
    assert mixed.dtype == np.dtype("f4")
    assert np.array_equal(mixed.values[0], frame(0).values)


def test_runs_of_several_frames_follow_each_other(nibabel_data):
    run = ci.open_image(nibabel_data / "example4d.nii.gz")
    step = float(run.t[1] - run.t[0])
    later = run.assign_coords(t=run.t.copy(data=run.t.values + 2 * step))
    found = ci.concat_time([run, later])
    assert found.t.values.tolist() == [0, step, 2 * step, 3 * step]
    assert found.t.attrs["spacing"] == step
    assert np.array_equal(found.values, np.concatenate([run.values] * 2))
    assert found.attrs["nifti_header"] == run.attrs["nifti_header"]
    with pytest.raises(ci.GeometryError, match="do not increase: frame 1 is at"):
        ci.concat_time([run, run])
    assert ci.concat_time([run, run], t=[0, 1, 2, 7]).t.values.tolist() == [0, 1, 2, 7]
    one = ci.concat_time([run.isel(t=0), run.isel(t=1)])
    assert one.t.values.tolist() == run.t.values.tolist()
    assert one.img.grid == run.img.grid


def test_geometry_of_each_frame_is_kept():
    moved = AFFINE.copy()
    moved[:3, 3] += [0.5, -2, 1]
    images = [frame(0), frame(1, moved), frame(2)]
    found = ci.concat_time(images, t=[0, 2.5, 9])
    for k, (t, image) in enumerate(zip([0, 2.5, 9], images, strict=True)):
        assert np.array_equal(found.img.affine_at(t), image.img.affine)
        assert found.isel(t=k).img.grid == image.img.grid
        assert np.array_equal(found.isel(t=k).values, image.values)
    assert found.isel(t=[0, 2]).img.grid == images[0].img.grid
    # joined again, with what moves already
    more = ci.concat_time([found, frame(3, moved).assign_coords(t=12.0)], t=[0, 2.5, 9, 12])
    assert np.array_equal(more.img.affine_at(2.5), moved)
    assert np.array_equal(more.img.affine_at(12), moved)
    assert np.array_equal(more.img.affine_at(9), AFFINE)


def test_what_differs_is_listed():
    images = [
        frame(0),
        frame(1, shape=(3, 4, 6)),
        frame(2, units="um"),
        frame(3, space="unknown"),
        frame(4).img.as_label(),
        frame(5, dtype="c8"),
    ]
    with pytest.raises(ci.GeometryError) as error:
        ci.concat_time(images)
    text = str(error.value)
    for line in (
        "image 1: sizes {'z': 3, 'y': 4, 'x': 5} against {'z': 3, 'y': 4, 'x': 6}",
        "image 2: units mm against um",
        "image 3: space RAS against unknown",
        "image 4: one of them is a label map",
        "image 5: values int16 against complex64",
        "resample_to",
    ):
        assert line in text
    with pytest.raises(ci.GeometryError, match="and 3 more"):
        ci.concat_time([frame(0)] + [frame(0, units="um")] * 8)
    with pytest.raises(ci.GeometryError, match="2 times were given for 3 frames"):
        ci.concat_time([frame(0)] * 3, t=[0, 1])
    with pytest.raises(ci.GeometryError, match="do not increase"):
        ci.concat_time([frame(0)] * 3, t=[0, 2, 1])
    with pytest.raises(ci.GeometryError, match="not finite"):
        ci.concat_time([frame(0)] * 2, t=[0, np.inf])
    with pytest.raises(ci.GeometryError, match="no images"):
        ci.concat_time([])
    timed = frame(1).assign_coords(t=1.0)
    timed.t.attrs["units"] = "s"
    with pytest.raises(ci.GeometryError, match="image 0 says nothing of its time"):
        ci.concat_time([frame(0), timed])
