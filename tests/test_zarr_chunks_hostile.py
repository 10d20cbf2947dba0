"""Damaged and hostile chunks: an error that names the file, soon, in little memory; never other voxels."""

import errno
import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import zlib

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs.zstd import compress

import chunkimg as ci
from chunkimg.io.zarr_chunk import ABSENT, BadChunkError, decode, decode_index, encode, encode_index
from chunkimg.io.zarr_put import Folder
from chunkimg.io.zarr_spec import ArraySpec, Compressor

N = 1000
DATA = bytes(k // 7 % 256 for k in range(N))


def spec(name, count=N, **more):
    return ArraySpec((count,), np.dtype("u1"), (count,), compressor=Compressor(name, 3), **more)


def zstd_frame(count, value=7):
    """A zstd frame that does not say its size: runs of one value (RFC 8878)."""
    blocks, left = [], count
    while left:
        n = min(left, 128 << 10)
        left -= n
        blocks.append(((n << 3) | 2 | (not left)).to_bytes(3, "little") + bytes([value]))
    return b"\x28\xb5\x2f\xfd\x00\x50" + b"".join(blocks)


LZ4 = bytes(numcodecs.LZ4().encode(DATA))
BLOSC = bytes(numcodecs.Blosc("lz4", 5, 1).encode(np.frombuffer(DATA, "u1")))
GZIP, ZLIB, ZSTD = gzip.compress(DATA, mtime=0), zlib.compress(DATA), bytes(compress(DATA, 3))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", GZIP),
        ("gzip", gzip.compress(DATA[:400], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(DATA[400:], mtime=0)),
        ("gzip", GZIP + bytes(9)),
        ("gzip", gzip.compress(DATA, 0, mtime=0)),
        ("zlib", ZLIB),
        ("lz4", LZ4),
        ("blosc", BLOSC),
        ("zstd", ZSTD),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sound_chunks(name, data):
    assert decode(spec(name), data).tobytes() == DATA


def test_zstd_without_a_size():
    assert decode(spec("zstd"), zstd_frame(N)).tobytes() == b"\7" * N


def lied(data, at, value):
    return data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *[(name, data[:cut])
          for name, data in [("gzip", GZIP), ("zlib", ZLIB), ("lz4", LZ4), ("blosc", BLOSC), ("zstd", ZSTD)]
          for cut in (0, 1, 3, 7, 15, 16, 17, len(data) // 2, len(data) - 1)],
        # fewer or more than the chunk has
        ("gzip", gzip.compress(DATA[:-1], mtime=0)), ("gzip", gzip.compress(DATA + b"x", mtime=0)),
        ("gzip", GZIP + GZIP),
        ("zlib", zlib.compress(DATA[:-1])), ("zlib", zlib.compress(DATA + b"x")),
        ("zstd", bytes(compress(DATA[:-1]))), ("zstd", bytes(compress(DATA + b"x"))),
        ("zstd", zstd_frame(N - 1)), ("zstd", zstd_frame(N + 1)), ("zstd", zstd_frame(1 << 30)),
        ("lz4", bytes(numcodecs.LZ4().encode(DATA[:-1]))),
        ("lz4", lied(bytes(numcodecs.LZ4().encode(DATA[:-1])), 0, N)),
        ("blosc", bytes(numcodecs.Blosc("lz4").encode(DATA[:-1]))),
        # bombs, and sizes that are lies
        ("gzip", gzip.compress(bytes(64 << 20), mtime=0)), ("zlib", zlib.compress(bytes(64 << 20))),
        ("blosc", lied(BLOSC, 4, 2**31 - 1)), ("blosc", lied(BLOSC, 12, 2**31 - 1)), ("blosc", lied(BLOSC, 12, 16)),
        ("blosc", lied(lied(bytes(numcodecs.Blosc("lz4").encode(DATA[:500])), 4, N), 8, N)),
        ("blosc", lied(BLOSC, 8, 0)), ("blosc", lied(BLOSC, 8, 2**32 - 1)),
        ("lz4", lied(LZ4, 0, 2**32 - 1)), ("lz4", lied(LZ4, 0, 0)),
        ("zstd", b"\x28\xb5\x2f\xfd\xe0" + (2**62).to_bytes(8, "little") + ZSTD[6:]),
        # others' bytes
        ("gzip", ZLIB), ("zlib", GZIP), ("zstd", GZIP), ("gzip", GZIP + b"rest"), ("zstd", ZSTD + b"rest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_chunks(name, data):
    with pytest.raises(BadChunkError):
        decode(spec(name), data)


def test_indexes_of_shards():
    shard = ArraySpec((8,), np.dtype("u1"), (2,), (8,))
    sound = encode_index(shard, [2, 0, 2, 2])
    assert decode_index(shard, sound, 100).tolist() == [[0, 2], [ABSENT, ABSENT], [2, 2], [4, 2]]
    with pytest.raises(BadChunkError, match="index alone"):
        decode_index(shard, sound[:-1], len(sound) - 1)
    for k in range(len(sound)):
        flipped = bytearray(sound)
        flipped[k] ^= 1
        with pytest.raises(BadChunkError, match="checksum"):
            decode_index(shard, bytes(flipped), 100)
    bare = ArraySpec((8,), np.dtype("u1"), (2,), (8,), index_checksum=False)
    for row in [(99, 2), (2**63, 2**63), (ABSENT - 1, 3), (0, ABSENT), (ABSENT, 0), (ABSENT, 2), (5, 2**64 - 5)]:
        index = np.array([(0, 2), row, (2, 2), (4, 2)], "<u8").tobytes()
        with pytest.raises(BadChunkError, match="lie beyond"):
            decode_index(bare, index, 100)


FUZZ = """
import os, random, resource, sys
import numpy as np
import chunkimg as ci
from chunkimg.io.zarr_folder import node
from chunkimg.io.zarr_read import read_region
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
random.seed(int(sys.argv[2]))
bad = wrong = 0
for name in sorted(os.listdir(sys.argv[1])):
    array = node(os.path.join(sys.argv[1], name))
    region = tuple(map(range, array.shape))
    sound = read_region(array.store_path, array.spec, region)
    files = [os.path.join(d, f) for d, _, fs in os.walk(array.store_path) for f in fs if not f.endswith("json")]
    for _ in range(int(sys.argv[3])):
        file = random.choice(files)
        with open(file, "rb") as f:
            whole = f.read()
        data = bytearray(whole)
        for _ in range(random.choice([1, 1, 1, 4])):
            data[random.randrange(min(len(data), random.choice([16, 32, 10**9])))] ^= 1 << random.randrange(8)
        if random.random() < 0.2:
            data = data[: random.randrange(len(data))]
        with open(file, "wb") as f:
            f.write(data)
        try:
            found = read_region(array.store_path, array.spec, region)
            wrong += not np.array_equal(found, sound) and array.spec.checksum
        except ci.FormatError as error:
            assert file in str(error)
            bad += 1
        with open(file, "wb") as f:
            f.write(whole)
print(bad, wrong)
"""


def test_flipped_bits_and_cuts(tmp_path):
    data = (np.arange(7 * 8 * 12) // 5).astype("i2").reshape(7, 8, 12)
    codecs = zarr.codecs
    each = {f"blosc-{c}": codecs.BloscCodec(cname=c) for c in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")}
    each.update(zstd=codecs.ZstdCodec(), gzip=codecs.GzipCodec(), none=None)
    for name, codec in each.items():
        for k, more in enumerate([[], [codecs.Crc32cCodec()]]):
            for shards in (None, (8, 8, 8)):
                chain = [*([codec] if codec else []), *more] or None
                zarr.create_array(
                    tmp_path / f"{name}{k}{shards is None}", shape=data.shape, dtype="i2", chunks=(4, 4, 8),
                    shards=shards, compressors=chain,
                )[...] = data  # fmt: skip
    args = [sys.executable, "-c", FUZZ, str(tmp_path), "1", "120"]
    out = subprocess.run(args, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr[-2000:]
    bad, wrong = map(int, out.stdout.split())
    assert bad > 2000 and wrong == 0


# ---------------------------------------------------------------------------------------------- files


@pytest.fixture
def store(tmp_path):
    data = np.random.default_rng(0).integers(1, 99, (9, 20, 31)).astype("i2")
    ci.from_array(data).img.save(tmp_path / "a.zarr", chunks=8)
    return tmp_path / "a.zarr", data, tmp_path / "a.zarr" / "image" / "c" / "1" / "2" / "0"


def test_missing_chunks_are_the_fill_value(store):
    path, data, chunk = store
    chunk.unlink()
    found = ci.open_image(path).values
    assert (found[8:, 16:, :8] == 0).all()
    found[8:, 16:, :8] = data[8:, 16:, :8]
    np.testing.assert_array_equal(found, data)


def test_links(store):
    path, data, chunk = store
    chunk.rename(path.parent / "annexed")
    chunk.symlink_to(path.parent / "annexed")
    np.testing.assert_array_equal(ci.open_image(path).values, data)
    (path.parent / "annexed").unlink()
    with pytest.raises(ci.FormatError, match=r"a link to .*annexed, which is not there"):
        _ = ci.open_image(path).values


def test_no_files(store):
    path, _, chunk = store
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(ci.FormatError, match=r"1/2/0: .*no file"):
        _ = ci.open_image(path).values
    chunk.rmdir()
    os.mkfifo(chunk)
    with pytest.raises(ci.FormatError, match=r"1/2/0: .*no file"):
        _ = ci.open_image(path).values


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_what_may_not_be_read_is_not_taken_for_missing(store, monkeypatch):
    path, _, chunk = store
    if os.geteuid():
        chunk.chmod(0)
    else:
        real = os.open
        refuse = PermissionError(errno.EACCES, "Permission denied", str(chunk))

        def opened(name, *args, **more):
            if str(name) == str(chunk):
                raise refuse
            return real(name, *args, **more)

        monkeypatch.setattr(os, "open", opened)
    with pytest.raises(PermissionError, match="1/2/0"):
        _ = ci.open_image(path).values
    chunk.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_errors_of_disks_name_the_file(store, monkeypatch):
    path, _, _ = store
    image = ci.open_image(path)

    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(OSError, match=r"Input/output error.*image/c/"):
        _ = image.values


def test_a_store_that_was_taken_away_is_not_zeros(store):
    path, data, _ = store
    image = ci.open_image(path)
    path.rename(path.with_name("elsewhere.zarr"))
    with pytest.raises(FileNotFoundError, match=r"not there any more.*a\.zarr"):
        _ = image.values
    path.with_name("elsewhere.zarr").rename(path)
    np.testing.assert_array_equal(image.values, data)


def test_no_path_leads_out_of_a_store(store):
    path, _, _ = store
    ci.from_array(np.zeros((3, 4, 5), "i2")).img.save(path.parent / "b.zarr")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../b.zarr/image"
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ci.FormatError):
        ci.open_image(path)


@pytest.mark.parametrize("size", [0, 2**40, 2**60, 2**70])
def test_impossible_chunks(store, size):
    path, _, _ = store
    file = path / "image" / "zarr.json"
    document = json.loads(file.read_text())
    document["chunk_grid"]["configuration"]["chunk_shape"] = [size, 8, 8]
    file.write_text(json.dumps(document))
    # other readers may know the array by consolidated metadata, which are sound
    with pytest.raises((ci.FormatError, MemoryError)):
        _ = ci.open_image(path / "image").values


def test_chunks_of_one_voxel_are_read_in_little_memory(tmp_path):
    """Many chunks, none of them stored."""
    import tracemalloc

    zarr.create_array(tmp_path / "a.zarr", shape=(12, 70, 90), dtype="u1", chunks=(1, 1, 1), compressors=None)
    image = ci.open_image(tmp_path / "a.zarr", chunks=None)
    tracemalloc.start()
    assert not image.values.any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # less than 14 bytes a chunk
    assert peak < 1 << 20


# ---------------------------------------------------------------------------------------------- writing


def running():
    return [t.name for t in threading.enumerate() if t.name.startswith("chunkimg-read")]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("odd")])
@pytest.mark.parametrize("options", [{}, {"pyramid": True}])
def test_an_error_in_a_worker_ends_the_write(tmp_path, monkeypatch, error, options):
    """The first error is raised, nothing is written afterwards, nothing is left."""
    real, put = Folder.put, []

    def fails(self, key, *data):
        put.append(key)
        if len(put) > 20:
            raise error
        real(self, key, *data)

    monkeypatch.setattr(Folder, "put", fails)
    image = ci.from_array(np.random.default_rng(0).integers(0, 99, (150, 150, 150)).astype("i2"))
    with pytest.raises(type(error), match=str(error.args[-1])):
        image.img.save(tmp_path / "a.zarr", chunks=16, budget=1 << 20, **options)
    count = len(put)
    assert list(tmp_path.iterdir()) == []
    assert running() == []
    assert len(put) == count < 60


class Interrupting:
    def start(self, total):
        pass

    def __call__(self, count):
        raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, {"pyramid": True}])
def test_an_interrupt_ends_the_write(tmp_path, monkeypatch, options):
    real, put = Folder.put, []

    def slow(self, key, *data):
        put.append(key)
        threading.Event().wait(0.002)
        real(self, key, *data)

    monkeypatch.setattr(Folder, "put", slow)
    image = ci.from_array(np.random.default_rng(0).integers(0, 99, (150, 150, 150)).astype("i2"))
    with pytest.raises(KeyboardInterrupt):
        image.img.save(tmp_path / "a.zarr", chunks=16, budget=1 << 20, progress=Interrupting(), **options)
    count = len(put)
    assert list(tmp_path.iterdir()) == []
    threading.Event().wait(0.05)
    assert len(put) == count
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- Dask


def test_graphs_of_local_stores(store):
    import pickle

    from dask.base import tokenize

    path, _, _ = store
    image = ci.open_image(path, chunks={"z": 4})
    assert len(pickle.dumps(image.data.dask)) < 20_000
    code = f"import chunkimg as ci; from dask.base import tokenize; print(tokenize(ci.open_image({str(path)!r})))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == tokenize(ci.open_image(path))
    assert tokenize(pickle.loads(pickle.dumps(ci.open_image(path)))) == other
    ci.from_array(np.ones((9, 20, 31), "i2")).img.save(path, chunks=8, overwrite=True)
    assert tokenize(ci.open_image(path)) != other


def test_encode_and_decode_are_a_pair():
    for axes in (None, (2, 0, 1)):
        for dtype in ("<i2", ">f4"):
            pair = ArraySpec(
                (5, 6, 7), np.dtype(dtype), (3, 4, 5), axes=axes, compressor=Compressor("zstd", 1), checksum=True
            )
            block = np.arange(60, dtype=dtype).reshape(3, 4, 5)
            np.testing.assert_array_equal(decode(pair, b"".join(encode(pair, block))), block)
            part = decode(pair, b"".join(encode(pair, block[:2, :, :3])))
            np.testing.assert_array_equal(part[:2, :, :3], block[:2, :, :3])
            assert part[2:].max() == part[..., 3:].max() == 0
