"""Images under dask.distributed: pickled small, computed in other processes, the same names everywhere."""

import pickle
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest
from dask.base import tokenize
from nifti_files import values, write

import chunkimg as ci
from chunkimg.image.build import to_volume
from chunkimg.image.computed import ComputedArray
from chunkimg.ops.downsample import mean_blocks


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, worker_dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
def test_compute_and_save_on_workers(tmp_path, client, name):
    write(tmp_path / "source.nii", values((30, 20, 10), "i2"), scl_slope=0.5, scl_inter=3)
    if not (tmp_path / name).exists():
        ci.convert(tmp_path / "source.nii", tmp_path / name)
    image = ci.open_image(tmp_path / name, chunks={"z": 3})
    expected = values((30, 20, 10), "i2").T * 0.5 + 3
    np.testing.assert_allclose(image.compute().values, expected)
    difference = image * 2 - image
    assert isinstance(to_volume(difference).data, ComputedArray)
    difference.img.save(tmp_path / "out.nii")
    np.testing.assert_allclose(ci.open_image(tmp_path / "out.nii").values, expected)
    difference.img.save(tmp_path / "out.ome.zarr", chunks="4,8,8")
    np.testing.assert_allclose(ci.open_image(tmp_path / "out.ome.zarr").values, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["file", "expression"])
def test_workers_write_the_store(tmp_path, client, kind, monkeypatch):
    """One task per slab, on the workers; nothing is encoded here."""
    from chunkimg.io import zarr_fill

    data = values((140, 120, 100), "i2")
    write(tmp_path / "source.nii", data)
    image = ci.open_image(tmp_path / "source.nii", chunks={"z": 17})
    expected = data.T
    if kind == "expression":
        image, expected = image + image, data.T + data.T
    tasks = []
    real = zarr_fill.write_on_workers
    monkeypatch.setattr(
        zarr_fill,
        "write_on_workers",
        lambda c, level, src, st, slabs, p: (tasks.append(len(slabs)), real(c, level, src, st, slabs, p)),
    )
    monkeypatch.setattr(zarr_fill, "copy", None)
    image.img.save(tmp_path / "out.ome.zarr", pyramid=True, chunks="8,120,140", budget=1 << 20)
    assert tasks == [5, 2, 1, 1] and {p.name for p in tmp_path.iterdir()} == {"source.nii", "out.ome.zarr"}
    np.testing.assert_array_equal(ci.open_image(tmp_path / "out.ome.zarr").values, expected)
    assert not [f for f in ci.validate(tmp_path / "out.ome.zarr") if f.severity == "error"]
    coarse = ci.open_image(tmp_path / "out.ome.zarr", level=1)
    factors = [n // m for n, m in zip(expected.shape, coarse.shape, strict=True)]
    whole = mean_blocks(expected, factors)
    np.testing.assert_array_equal(coarse.values, whole)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
def test_pickles_are_small_and_names_stable(tmp_path, name):
    write(tmp_path / "source.nii", values((30, 20, 10), "i2"), scl_slope=0.5, scl_inter=3)
    if name != "a.nii":
        ci.convert(tmp_path / "source.nii", tmp_path / name)
    else:
        (tmp_path / "source.nii").rename(tmp_path / name)
    image = ci.open_image(tmp_path / name)
    leaf = dict(image.data.dask)[f"original-{image.data.name}"]
    assert len(pickle.dumps(leaf)) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(leaf))[2:4], leaf[2:4])
    code = f"import chunkimg as ci; print(ci.open_image({str(tmp_path / name)!r}).data.name)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == image.data.name
    assert tokenize(image) == tokenize(ci.open_image(tmp_path / name))
    assert ci.open_image(tmp_path / name, scaled=False).data.name != image.data.name


class _Held:
    """A function of neighbourhoods that waits until a file is there."""

    def __init__(self, value, until=None):
        self.value, self.until = value, until

    def __call__(self, block):
        if self.until is not None:
            (self.until.parent / f"begun-{uuid.uuid4().hex}").touch()
            end = time.monotonic() + 60
            while not self.until.exists() and time.monotonic() < end:
                time.sleep(0.02)
        return np.full_like(block, self.value)

    def __dask_tokenize__(self):
        return ("held", self.value)


@pytest.mark.filterwarnings("ignore")
def test_tasks_of_a_write_that_failed_do_not_write_into_the_next_one(tmp_path, client, monkeypatch):
    """The first write fails while its tasks run; they end while a second one of the same name is under way."""
    from chunkimg.io import cluster

    write(tmp_path / "source.nii", values((12, 10, 16), "i2"))
    image = ci.open_image(tmp_path / "source.nii", chunks=None)
    go, marks = tmp_path / "go", tmp_path
    first = image.img.map_overlap(_Held(7, go), depth=1)
    second = image.img.map_overlap(_Held(9), depth=1)
    real = cluster._submitted
    submitted = []

    def fail(*args):
        submitted.append(real(*args))
        while not list(marks.glob("begun-*")):
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "_submitted", fail)
    with pytest.raises(KeyboardInterrupt):
        first.img.save(tmp_path / "out.ome.zarr", chunks="16,10,12")
    monkeypatch.setattr(cluster, "_submitted", real)

    def stored(nodes, *args):
        # all voxels of the second are there: let the first one's task end, now
        go.touch()
        done = submitted[0].exception() if not submitted[0].cancelled() else None
        assert done is None or isinstance(done, ci.FormatError)
        time.sleep(1)

    from chunkimg.io import zarr_write

    whole = zarr_write.fill
    monkeypatch.setattr(zarr_write, "fill", lambda *args: (whole(*args), stored(*args)))
    second.img.save(tmp_path / "out.ome.zarr", chunks="16,10,12")
    assert set(np.unique(ci.open_image(tmp_path / "out.ome.zarr", chunks=None).values)) == {9}
