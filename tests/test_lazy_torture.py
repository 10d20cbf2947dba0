"""Lazy arrays of every format and encoding index like NumPy, and read little more than they are asked for."""

import gzip
import math

import nibabel as nib
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.tests.test_fileslice import slicer_samples
from nifti_files import values, write
from strategies import slices

import chunkimg as ci
from chunkimg import chunks
from chunkimg.io.files import FileArray
from chunkimg.io.format import ReadOptions
from chunkimg.io.registry import format_of
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


@pytest.mark.parametrize("encoding", ["nii", "nii-scaled", "nii-rgb", "nii.gz", "nii.gz-rgb", "zarr"])
@settings(max_examples=40)
@given(st.data())
def test_outer_and_points_are_those_of_numpy(encoding, tmp_path_factory, data):
    lazy, expected = opened(ENCODINGS[encoding], tmp_path_factory.mktemp("f"))
    if data.draw(st.booleans()):
        picks = [data.draw(index_lists(n).filter(len).map(lambda k, n=n: (k % n).tolist())) for n in expected.shape]
        axes = data.draw(st.permutations(range(expected.ndim)))
        lazy = ViewArray(lazy, picks, axes)
        expected = expected[np.ix_(*picks)].transpose(axes)
    key = data.draw(outer_keys(expected.shape))
    np.testing.assert_array_equal(lazy.outer(key), numpy_outer(expected, key))
    assert lazy.outer(key).dtype == expected.dtype.newbyteorder("=")
    key = data.draw(point_keys(expected.shape))
    arrays = [k for k in key if not isinstance(k, slice)]
    if arrays:
        np.testing.assert_array_equal(lazy.points(key), numpy_points(expected, key))
        assert lazy.points(key).dtype == expected.dtype.newbyteorder("=")
