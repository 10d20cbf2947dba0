"""Regions of Zarr arrays as zarr-python reads them, whoever wrote them."""

import math
import shutil

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkimg.io.zarr_folder import FolderArray, node
from chunkimg.io.zarr_read import read_region

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
V3 = zarr.codecs


def values(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.4
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if dtype.kind == "f":
        out = rng.normal(size=shape).astype(dtype)
        out.reshape(-1)[:4] = [np.nan, np.inf, -np.inf, -0.0][: out.size]
        return out
    limits = np.iinfo(dtype)
    native = dtype.newbyteorder("=")
    return np.asarray(rng.integers(limits.min, limits.max, shape, native, endpoint=True)).astype(dtype)


def written(path, data, **options):
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    return array


def understood(path):
    found = node(str(path))
    assert isinstance(found, FolderArray)
    return found


def whole(path):
    found = understood(path)
    return read_region(found.store_path, found.spec, tuple(map(range, found.shape)))


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype.newbyteorder("=") and found.dtype.isnative
    assert found.shape == expected.shape
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(expected.astype(found.dtype)).tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 2, "order": "F"},
        {"zarr_format": 3},
        {"zarr_format": 3, "shards": (6, 8, 10)},
        {"zarr_format": 3, "filters": [V3.TransposeCodec(order=(1, 2, 0))]},
    ],
)
def test_types(tmp_path, dtype, options):
    data = values((7, 9, 11), dtype)
    written(tmp_path / "a.zarr", data, chunks=(3, 4, 5), **options)
    assert_same_bits(whole(tmp_path / "a.zarr"), data)


@pytest.mark.parametrize("dtype", [">i2", ">f4", ">f8", ">c16"])
def test_big_endian(tmp_path, dtype):
    data = values((7, 9, 11), dtype)
    written(tmp_path / "a.zarr", data, chunks=(3, 4, 5), zarr_format=2)
    assert_same_bits(whole(tmp_path / "a.zarr"), data)
    written(tmp_path / "b.zarr", data, chunks=(3, 4, 5), serializer=V3.BytesCodec(endian="big"), shards=(6, 4, 5))
    assert_same_bits(whole(tmp_path / "b.zarr"), data)


def compressors():
    for cname in ("lz4", "lz4hc", "blosclz", "zlib", "zstd"):
        for k, shuffle in enumerate(("noshuffle", "shuffle", "bitshuffle")):
            yield f"blosc-{cname}-{shuffle}", V3.BloscCodec(cname=cname, shuffle=shuffle), numcodecs.Blosc(cname, 3, k)
    for level in (-3, 1, 9):
        yield f"zstd{level}", V3.ZstdCodec(level=level, checksum=level > 1), numcodecs.Zstd(level, level > 1)
    yield "gzip", V3.GzipCodec(level=5), numcodecs.GZip(5)
    yield "none", None, None
    yield "zlib", None, numcodecs.Zlib(1)
    yield "lz4", None, numcodecs.LZ4()


@pytest.mark.parametrize(("name", "v3", "v2"), list(compressors()))
def test_codecs(tmp_path, name, v3, v2):
    data = values((7, 9, 11), "i2") // 256
    written(tmp_path / "2.zarr", data, chunks=(3, 4, 5), compressors=v2, zarr_format=2)
    assert_same_bits(whole(tmp_path / "2.zarr"), data)
    if v3 is not None or name == "none":
        for k, more in enumerate([[], [V3.Crc32cCodec()]]):
            codecs = [*([v3] if v3 else []), *more]
            path = tmp_path / f"3{k}.zarr"
            written(path, data, chunks=(3, 4, 5), shards=(6, 4, 10), compressors=codecs or None)
            assert_same_bits(whole(path), data)
            assert understood(path).spec.checksum == bool(more)


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("checksum", [True, False])
def test_shards_with_holes(tmp_path, location, checksum):
    index = [V3.BytesCodec(), *([V3.Crc32cCodec()] if checksum else [])]
    codec = V3.ShardingCodec(
        chunk_shape=(3, 4, 5), codecs=[V3.BytesCodec(), V3.ZstdCodec()], index_codecs=index, index_location=location
    )
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=(13, 17, 11), dtype="i2", chunks=(6, 8, 10), serializer=codec, compressors=None, fill_value=-7
    )
    array[7:9, 2:5, 1:3] = 5
    array[0, 16, 10] = 1
    assert_same_bits(whole(path), array[...])
    spec = understood(path).spec
    assert (spec.index_first, spec.index_checksum) == (location == "start", checksum)
    assert (whole(path) == -7).sum() == 13 * 17 * 11 - 13


@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf, -2.5, 0.0, -0.0, None])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_fill_values(tmp_path, fill, zarr_format):
    path = tmp_path / "a.zarr"
    options = {} if fill is None else {"fill_value": fill}
    array = zarr.create_array(path, shape=(7, 9), dtype="f4", chunks=(3, 4), zarr_format=zarr_format, **options)
    assert_same_bits(whole(path), array[...])
    path = tmp_path / "b.zarr"
    if fill is not None:
        array = zarr.create_array(path, shape=(7, 9), dtype="c8", chunks=(3, 4), zarr_format=3, fill_value=fill + 1j)
        assert_same_bits(whole(path), array[...])


@pytest.mark.parametrize("name", ["default", "v2"])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("shape", [(), (5,), (7, 9, 11), (0, 3)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_keys_and_ranks(tmp_path, name, separator, shape, zarr_format):
    if (name, zarr_format) == ("default", 2):
        pytest.skip("no such keys")
    data = values(shape, "i4")
    chunks = tuple(max(1, (n + 1) // 2) for n in shape)
    encoding = {"name": name, "separator": separator}
    written(tmp_path / "a.zarr", data, chunks=chunks, chunk_key_encoding=encoding, zarr_format=zarr_format)
    assert_same_bits(whole(tmp_path / "a.zarr"), data)


def test_chunks_larger_than_the_array(tmp_path):
    data = values((3, 4, 5), "u2")
    written(tmp_path / "a.zarr", data, chunks=(8, 9, 10), shards=(16, 18, 20))
    assert_same_bits(whole(tmp_path / "a.zarr"), data)


@settings(max_examples=60)
@given(st.data())
def test_any_region(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("r") / "a.zarr"
    rank = data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(*[st.integers(1, 13)] * rank))
    chunks = data.draw(st.tuples(*[st.integers(1, 6)] * rank))
    shards = data.draw(st.none() | st.tuples(*[st.integers(1, 3)] * rank))
    options = {} if shards is None else {"shards": tuple(c * s for c, s in zip(chunks, shards, strict=True))}
    if shards is None and data.draw(st.booleans()):
        options["zarr_format"] = 2
    array = zarr.create_array(path, shape=shape, dtype="i4", chunks=chunks, fill_value=-1, **options)
    full = np.arange(math.prod(shape), dtype="i4").reshape(shape)
    some = tuple(slice(data.draw(st.integers(0, n - 1)), n) for n in shape)
    array[some] = full[some]
    steps = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 7])] * rank))
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    stops = [data.draw(st.integers(a, n)) for a, n in zip(starts, shape, strict=True)]
    region = tuple(map(range, starts, stops, steps))
    expected = array[...][tuple(slice(r.start, r.stop, r.step) for r in region)]
    found = understood(path)
    assert_same_bits(read_region(found.store_path, found.spec, region), expected)
    out = np.zeros(expected.shape, "i4")
    assert read_region(found.store_path, found.spec, region, out) is out
    np.testing.assert_array_equal(out, expected)
    shutil.rmtree(path)


CODECS = [
    [],
    [{"name": "zstd", "configuration": {"level": 3}}],
    [{"name": "gzip", "configuration": {"level": 3}}],
    [{"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}}, {"name": "crc32c"}],
]


@pytest.mark.parametrize("codecs", CODECS)
@pytest.mark.parametrize("sharded", [False, True])
def test_written_by_tensorstore(tmp_path, codecs, sharded):
    ts = pytest.importorskip("tensorstore")
    data = values((13, 17, 11), "f4")
    inner = [{"name": "transpose", "configuration": {"order": [2, 0, 1]}}, {"name": "bytes"}, *codecs]
    shard = {"name": "sharding_indexed", "configuration": {"chunk_shape": [3, 4, 5], "codecs": inner}}
    grid = {"name": "regular", "configuration": {"chunk_shape": [6, 8, 10] if sharded else [3, 4, 5]}}
    metadata = {
        "shape": list(data.shape),
        "data_type": "float32",
        "chunk_grid": grid,
        "codecs": [shard] if sharded else inner,
    }
    place = {"driver": "file", "path": str(tmp_path / "a.zarr")}
    array = ts.open({"driver": "zarr3", "kvstore": place, "metadata": metadata}, create=True).result()
    array.write(data).result()
    assert_same_bits(whole(tmp_path / "a.zarr"), data)
    place["path"] = str(tmp_path / "b.zarr")
    metadata = {"shape": list(data.shape), "chunks": [3, 4, 5], "dtype": ">f4", "order": "F"}
    array = ts.open({"driver": "zarr", "kvstore": place, "metadata": metadata}, create=True).result()
    array.write(data).result()
    assert_same_bits(whole(tmp_path / "b.zarr"), data)


@pytest.mark.parametrize("shards", [None, (6, 8, 10)])
def test_written_by_zarrs(tmp_path, shards):
    pytest.importorskip("zarrs")
    data = values((13, 17, 11), "u2")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        written(tmp_path / "a.zarr", data, chunks=(3, 4, 5), shards=shards, compressors=V3.ZstdCodec(level=3))
    assert_same_bits(whole(tmp_path / "a.zarr"), data)
