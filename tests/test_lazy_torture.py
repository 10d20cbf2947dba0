"""Lazy arrays of every format and encoding index like NumPy, and read little more than they are asked for."""

import gzip
import math

import nibabel as nib
import nrrd_files
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.tests.test_fileslice import slicer_samples
from nifti_files import values, write
from strategies import slices
from zarr.storage import LocalStore

import chunkimg as ci
from chunkimg import chunks, gather
from chunkimg.io.files import FileArray
from chunkimg.io.format import ReadOptions
from chunkimg.io.registry import format_of
from chunkimg.io.source import DecodedStream
from chunkimg.io.streams import StreamArray
from chunkimg.lazy import ViewArray

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
SHAPE = (5, 4, 3)


def nifti(name, dtype="i2", shape=SHAPE, **header):
    """A function that writes a NIfTI file and returns its path."""

    def make(folder):
        path = folder / name
        write(path, values(shape, dtype), **header)
        return path

    return make


def gzipped(make):
    def compress(folder):
        path = folder / "compressed.nii.gz"
        path.write_bytes(gzip.compress(make(folder).read_bytes()))
        return path

    return compress


SOURCE = nifti("source.nii")


def converted(name, make=SOURCE, **options):
    """What chunkimg itself writes."""

    def convert(folder):
        ci.convert(make(folder), folder / name, **options)
        return folder / name

    return convert


def nrrd(encoding):
    """A NRRD file that no writer of ours made."""

    def make(folder):
        SOURCE(folder)
        return nrrd_files.write(folder / "a.nrrd", values(SHAPE, "i2").T, encoding)

    return make


def nrrd_stack(folder):
    """One file a slice."""
    SOURCE(folder)
    data = values(SHAPE, "i2").T
    for k, plane in enumerate(data):
        (folder / f"{k}.gz").write_bytes(nrrd_files.encode(np.ascontiguousarray(plane), "gzip"))
    path = folder / "a.nhdr"
    path.write_bytes(nrrd_files.header(data, "gzip", extra=f"data file: %d.gz 0 {len(data) - 1} 1 2"))
    return path


def sharded(name, **options):
    def convert(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "_MANY_CHUNKS", 2)
            path = converted(name, **options)(folder)
        assert zarr.open_array(path, path="image", mode="r").shards is not None
        return path

    return convert


#: a new encoding is one line
ENCODINGS = {
    "nii": nifti("a.nii"),
    "nii-big-endian": nifti("a.nii", ">i2", order=">"),
    "nifti2": nifti("a.nii", "f8", version=2),
    "nii-scaled": nifti("a.nii", scl_slope=0.25, scl_inter=-3),
    "nii-complex": nifti("a.nii", "c8"),
    "nii-rgb": nifti("a.nii", RGB),
    "nii-2d": nifti("a.nii", shape=(5, 4)),
    "pair": nifti("a.hdr", "u1", single=False),
    "nii.gz": gzipped(nifti("a.nii")),
    "nii.gz-scaled": gzipped(nifti("a.nii", scl_slope=0.25, scl_inter=-3)),
    "nii.gz-rgb": gzipped(nifti("a.nii", RGB)),
    **{f"nrrd-{encoding}": nrrd(encoding) for encoding in ("raw", "gzip", "bzip2", "hex", "ascii")},
    "nrrd-stack": nrrd_stack,
    "zarr": converted("a.ome.zarr", chunks={"z": 2, "y": 2, "x": 3}),
    "zarr-scaled": converted("a.ome.zarr", nifti("a.nii", scl_slope=0.25, scl_inter=-3)),
    "zarr-rgb": converted("a.ome.zarr", nifti("a.nii", RGB)),
    "zarr-sharded": sharded("a.ome.zarr", chunks={"z": 1, "y": 2, "x": 2}),
    "zarr-pyramid": converted("a.ome.zarr", pyramid=True),
}


def oracle(folder):
    """Values as nibabel reads them from the NIfTI file that everything here is made of, axes as in chunkimg."""
    source = next(p for p in (folder / "source.nii", folder / "a.nii", folder / "a.hdr") if p.exists())
    image = nib.load(source)
    data = np.asarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[n] for n in data.dtype.names], -1)
        return data.T
    data = data.reshape(data.shape + (1,) * (3 - data.ndim)).T
    return data.astype("f4") if data.dtype == np.float64 and image.get_data_dtype().kind == "i" else data


def opened(make, folder):
    path = make(folder)
    return format_of(path).open(path, ReadOptions()).values, oracle(folder)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nibabels_slicing_torture(encoding, tmp_path):
    lazy, expected = opened(ENCODINGS[encoding], tmp_path)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype.newbyteorder("=")
    every = list(slicer_samples(expected.shape))
    # nibabel's samples of 4-D arrays are 16 000, and a read by zarr costs a millisecond
    count = 1500 if isinstance(next(lazy.leaves()), FileArray) else 400
    samples = every[:: max(1, len(every) // count)]
    for key in {repr(k): k for k in [*samples, *every[-24:]]}.values():
        found, wanted = lazy[key], expected[key]
        assert found.shape == wanted.shape, key
        np.testing.assert_array_equal(found, wanted, err_msg=repr(key))


def index_lists(n):
    return st.lists(st.integers(-n, n - 1), min_size=0, max_size=6).map(lambda k: np.array(k, int))


@st.composite
def outer_keys(draw, shape):
    return tuple(draw(st.one_of(slices(n), st.integers(-n, n - 1), index_lists(n))) for n in shape)


@st.composite
def point_keys(draw, shape):
    """Indices as xarray hands them down: arrays that broadcast against each other, and slices."""
    common = draw(st.lists(st.integers(0, 4), min_size=0, max_size=3))
    key = []
    for n in shape:
        if draw(st.integers(0, 3)) == 0:
            key.append(draw(slices(n)))
        else:
            sizes = [draw(st.sampled_from([1, k])) for k in common]
            count = math.prod(sizes)
            flat = draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count))
            key.append(np.array(flat, int).reshape(sizes))
    return tuple(key)


def numpy_outer(data, key):
    drop = tuple(0 if isinstance(k, int) else slice(None) for k in key)
    lists = [
        np.arange(n)[k] if isinstance(k, slice) else np.atleast_1d(k) for n, k in zip(data.shape, key, strict=True)
    ]
    return data[np.ix_(*[np.where(k < 0, k + n, k) for n, k in zip(data.shape, lists, strict=True)])][drop]


def numpy_points(data, key):
    from xarray.core.indexing import NumpyIndexingAdapter, VectorizedIndexer

    return np.asarray(NumpyIndexingAdapter(data).vindex[VectorizedIndexer(key)])


@pytest.mark.parametrize(
    "encoding", ["nii", "nii-scaled", "nii-rgb", "nii.gz", "nii.gz-rgb", "nrrd-ascii", "nrrd-stack", "zarr"]
)
@settings(max_examples=25)
@given(st.data())
def test_outer_and_points_are_those_of_numpy(encoding, tmp_path_factory, data):
    lazy, expected = opened(ENCODINGS[encoding], tmp_path_factory.mktemp("f"))
    if data.draw(st.booleans()):
        picks = [data.draw(index_lists(n).filter(len).map(lambda k, n=n: (k % n).tolist())) for n in expected.shape]
        axes = data.draw(st.permutations(range(expected.ndim)))
        lazy = ViewArray(lazy, picks, axes)
        expected = expected[np.ix_(*picks)].transpose(axes)
    key = data.draw(outer_keys(expected.shape))
    np.testing.assert_array_equal(lazy.take_outer(key), numpy_outer(expected, key))
    assert lazy.take_outer(key).dtype == expected.dtype.newbyteorder("=")
    key = data.draw(point_keys(expected.shape))
    arrays = [k for k in key if not isinstance(k, slice)]
    if arrays:
        np.testing.assert_array_equal(lazy.take_points(key), numpy_points(expected, key))
        assert lazy.take_points(key).dtype == expected.dtype.newbyteorder("=")


# ---------------------------------------------------------------------------------------------- what is read


def counted(monkeypatch):
    """Voxels of all regions that files are asked for from now on."""
    asked = []
    for kind, name in ((FileArray, "_read_open"), (StreamArray, "_fill_from")):
        real = getattr(kind, name)

        def count(self, file, region, real=real):
            asked.append(math.prod(getattr(region, "shape", None) or map(len, region)))
            return real(self, file, region)

        monkeypatch.setattr(kind, name, count)
    return asked


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ((0, [0, 15], slice(None)), 2 * 4000),
        (([0, 59], [0, 19], [0, 3999]), 8),
        (([3, 1, 59, 1], slice(5), 7), 3 * 5),
        (([0, 20, 40], [5, 6, 7], slice(None, None, -100)), 9 * 40),
        ((slice(None, None, -1), 0, 0), 60),
        ((0, [0, 1, 3, 7, 19], slice(10)), 50),
        # in one row a few unwanted voxels cost nothing
        ((0, 0, [0, 1, 5, 9, 3000]), 10 + 1),
    ],
)
def test_outer_reads_what_is_wanted(tmp_path, monkeypatch, key, most):
    data = values((4000, 20, 60), "u1")
    write(tmp_path / "a.nii", data)
    lazy = format_of(tmp_path / "a.nii").open(tmp_path / "a.nii", ReadOptions()).data
    asked = counted(monkeypatch)
    np.testing.assert_array_equal(lazy.take_outer(key), numpy_outer(data.T, key))
    assert sum(asked) <= most


def test_a_stream_is_decoded_once(tmp_path, monkeypatch):
    data = values((400, 200, 60), "u1")
    write(tmp_path / "a.nii", data)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes(), 1))
    lazy = format_of(tmp_path / "a.nii.gz").open(tmp_path / "a.nii.gz", ReadOptions()).values
    opened = []
    real = DecodedStream._open
    monkeypatch.setattr(DecodedStream, "_open", lambda self: (opened.append(self), real(self))[1])
    monkeypatch.setattr(gather, "_WINDOW", 1000)
    rng = np.random.default_rng(0)
    scattered = tuple(rng.integers(0, n, 500) for n in lazy.shape)
    z, y, x = np.array([50, 2, 2, 9]), np.array([100, 5, 7]), np.array([399, 0, 17])
    for key in ((z, y, x), (slice(0, 50, 7), y, slice(3)), (slice(None, None, -9), slice(None), x)):
        asked = counted(monkeypatch)
        np.testing.assert_array_equal(lazy.take_outer(key), numpy_outer(data.T, key))
        # what one region holds is bounded, however far apart the indices are
        assert max(asked) <= 400 * 200
        assert len(opened) == 1
        opened.clear()
    np.testing.assert_array_equal(lazy.take_points(scattered), data.T[scattered])
    assert len(opened) == 1
    flipped = ViewArray(lazy, [range(59, -1, -1), range(200), range(400)])
    np.testing.assert_array_equal(flipped.take_points(scattered), data.T[::-1][scattered])
    assert len(opened) == 2


def test_chunks_are_read_once(tmp_path, monkeypatch):
    data = values((64, 60, 50), "i2")
    write(tmp_path / "a.nii", data)
    path = tmp_path / "a.ome.zarr"
    ci.convert(tmp_path / "a.nii", path, chunks={"z": 10, "y": 10, "x": 16})
    lazy = format_of(path).open(path, ReadOptions()).values
    chunks_read = []
    real = LocalStore.get

    async def get(self, key, *args, **kwargs):
        chunks_read.append(key)
        return await real(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get", get)
    expected = data.T
    diagonal = np.arange(50)
    cases = {
        "points": (
            lambda a: a.take_points((diagonal, diagonal, diagonal)),
            expected[diagonal, diagonal, diagonal],
            5 + 3,
        ),
        "through": (
            lambda a: a.take_points((diagonal[:4], diagonal[:4], slice(None))),
            expected[diagonal[:4], diagonal[:4]],
            4,
        ),
        "far": (lambda a: a.take_outer(([0, 49], [0, 59], [0, 63])), expected[np.ix_([0, 49], [0, 59], [0, 63])], 8),
        "stride": (lambda a: a[::49, 0, 0], expected[::49, 0, 0], 2),
        "dense": (lambda a: a.take_outer(([9, 0, 5], 0, 0)), expected[[9, 0, 5], 0, 0], 1),
        "backwards": (lambda a: a[9::-1, 10:20, 3], expected[9::-1, 10:20, 3], 1),
    }
    for name, (read, wanted, count) in cases.items():
        for shown in (lazy, ViewArray(lazy, [range(n) for n in lazy.shape])):
            chunks_read.clear()
            np.testing.assert_array_equal(read(shown), wanted)
            assert len(chunks_read) == len(set(chunks_read)) <= count, (name, chunks_read)


def test_points_of_a_file_cost_one_mapping(tmp_path, monkeypatch):
    data = values((40, 30, 20), "i2")
    write(tmp_path / "a.nii", data, order=">", scl_slope=2, scl_inter=1)
    lazy = format_of(tmp_path / "a.nii").open(tmp_path / "a.nii", ReadOptions()).values
    asked = counted(monkeypatch)
    rng = np.random.default_rng(0)
    points = tuple(rng.integers(0, n, (50, 40)) for n in lazy.shape)
    np.testing.assert_array_equal(lazy.take_points(points), data.T[points] * 2.0 + 1)
    assert asked == []
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(ci.FormatError, match="has changed"):
        lazy.take_points(points)
