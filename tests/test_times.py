"""Frames by time, and when they began and ended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkimg as ci

STARTS, LENGTHS = [0, 10, 40, 100], [10, 30, 60, 300]


def study(t, **properties):
    poses = [np.diag([2.0, 3, 4, 1]) + k * np.eye(4, k=3) for k in range(len(t))]
    data = np.arange(len(t) * 6).reshape(len(t), 1, 2, 3)
    return ci.from_array(data, t=t, affine=poses, properties=properties)


@pytest.mark.parametrize("suffix", [None, "a.ome.zarr"])
@pytest.mark.parametrize("chunks", [None, "auto"])
def test_frames_by_time(tmp_path, suffix, chunks):
    image = study(STARTS)
    if suffix:
        image.img.save(tmp_path / suffix)
        image = ci.open_image(tmp_path / suffix, chunks=chunks)
    for t, k in ((12.5, 1), (24, 1), (26, 2), (-7, 0), (1e9, 3)):
        found = image.sel(t=t, method="nearest")
        assert np.array_equal(found.values, image.values[k])
        assert np.array_equal(found.img.affine, image.img.affine_at(STARTS[k]))
        assert np.array_equal(found.img.affine, image.img.affine_at(t, method="nearest"))
        assert np.array_equal(found.img.affine_at(STARTS[k]), found.img.affine)
        assert found.img.origin == (k, 0, 0)
    some = image.sel(t=[9, 90], method="nearest")
    assert some.t.values.tolist() == [10, 100]
    assert some.img.affine_at(100)[0, 3] == 3
    # only frames that are there are near
    assert some.img.affine_at(39, method="nearest")[0, 3] == 1
    assert image.sel(t=slice(5, 50)).img.affine_at(40)[0, 3] == 2
    with pytest.raises(ci.GeometryError, match=r"no geometry is stored for t = 12\.5"):
        image.img.affine_at(12.5)
    with pytest.raises(ci.GeometryError, match="method is 'linear'"):
        image.img.affine_at(12.5, method="linear")


@given(st.lists(st.floats(0.1, 99), min_size=2, max_size=9), st.booleans())
def test_bounds_meet_halfway(steps, backwards):
    t = np.cumsum(steps)
    image = ci.from_array(np.zeros((len(t), 1, 1, 1)), t=t)
    found = (image.isel(t=slice(None, None, -1)) if backwards else image).img.time_bounds()
    found = found[::-1] if backwards else found
    assert found.shape == (len(t), 2)
    assert np.allclose(found[1:, 0], (t[1:] + t[:-1]) / 2)
    assert np.array_equal(found[1:, 0], found[:-1, 1])
    for at, k in ((0, 0), (-1, -1)):
        assert np.isclose(found[at].mean(), t[k])


def test_stored_bounds_are_found_for_any_frames(tmp_path):
    wanted = np.array([[0, 10], [10, 40], [40, 100], [100, 400]])
    for t in (STARTS, [5, 25, 70, 250]):
        image = study(t, FrameTimesStart=STARTS, FrameDuration=LENGTHS)
        assert np.array_equal(image.img.time_bounds(), wanted)
        assert np.array_equal(image.isel(t=[3, 1]).img.time_bounds(), wanted[[3, 1]])
        assert np.array_equal(image.sel(t=41, method="nearest").img.time_bounds(), wanted[[2 if t == STARTS else 1]])
        image.img.save(tmp_path / "a.ome.zarr", overwrite=True)
        assert np.array_equal(ci.open_image(tmp_path / "a.ome.zarr").img.time_bounds(), wanted)
    alone = study(STARTS, FrameDuration=[1, 2, 3, 4])
    assert alone.img.time_bounds().tolist() == [[0, 1], [10, 12], [40, 43], [100, 104]]


def test_what_is_not_known_is_not_guessed(nibabel_data):
    run = ci.open_image(nibabel_data / "example4d.nii.gz")
    step = float(run.t[1])
    assert np.allclose(run.img.time_bounds(), [[-step / 2, step / 2], [step / 2, 1.5 * step]])
    assert np.allclose(run.isel(t=[1]).img.time_bounds(), [[step / 2, 1.5 * step]])
    with pytest.raises(ci.GeometryError, match="no coordinate t"):
        ci.from_array(np.zeros((2, 2, 2))).img.time_bounds()
    with pytest.raises(ci.GeometryError, match="how long the one frame at t = 10 took"):
        study(STARTS).isel(t=[1]).img.time_bounds()
    with pytest.raises(ci.GeometryError, match="neither starts nor middles"):
        study([0, 1, 2, 3], FrameTimesStart=STARTS, FrameDuration=LENGTHS).img.time_bounds()
    with pytest.raises(ci.GeometryError, match="4 entries, FrameDuration has 3"):
        study(STARTS, FrameTimesStart=STARTS, FrameDuration=LENGTHS[:3]).img.time_bounds()
    with pytest.raises(ci.GeometryError, match="3 entries, the image 4 frames"):
        study(STARTS, FrameDuration=LENGTHS[:3]).img.time_bounds()
    for wrong in ("a", [], [[1]], [np.nan] * 4):
        with pytest.raises(ci.GeometryError, match="a list of numbers of seconds"):
            study(STARTS, FrameDuration=wrong).img.time_bounds()
    with pytest.raises(ci.GeometryError, match="negative"):
        study(STARTS, FrameDuration=[-1] * 4).img.time_bounds()


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("chunks", ["auto", None])
def test_no_frames_at_all(tmp_path, moving, chunks):
    grid = np.diag([2.0, 3, 4, 1])
    affine = np.stack([grid, grid + np.eye(4, k=3)]) if moving else grid
    ci.from_array(np.ones((2, 3, 4, 5), "u1"), affine=affine, t=[0, 2]).img.save(tmp_path / "a.ome.zarr")
    image = ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks).isel(t=slice(0, 0))
    assert image.img.resample(2).shape[0] == image.img.coarsen(2).shape[0] == image.img.smooth(2).shape[0] == 0
    assert image.img.stats().count == 0
    assert image.img.sample([(1, 2, 3)] * 4, "nearest").shape == (0, 4)
    table = image.img.label_stats()
    assert len(table) == 0 and table.t.shape == (0,)
    assert image.img.time_bounds().shape == (0, 2)
    for name in ("b.nii", "b.nrrd", "b.ome.zarr"):
        with pytest.raises(ci.GeometryError, match=r"no voxels, its sizes are \{'t': 0"):
            image.img.save(tmp_path / name)
