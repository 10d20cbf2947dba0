"""Gzip streams of many kinds, and the settings under which small ones have indexes."""

import gzip
import zlib

import numpy as np
from isal import isal_zlib

from chunkimg.io import gzip_access, streams
from chunkimg.io.source import FileSource

SHAPE = (23, 96, 110)  # z, y, x: 474 KiB of int16


def voxels(seed=3):
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    return (40 * np.sin(z / 5) + y * 3 + x + rng.normal(0, 9, SHAPE)).astype("<i2")


def members(data, size):
    return b"".join(gzip.compress(data[at : at + size], mtime=0) for at in range(0, len(data), size))


def deflated(data, *how):
    compressor = zlib.compressobj(*how)
    return compressor.compress(data) + compressor.flush()


def one_block(data):
    compressor = isal_zlib.compressobj(0, isal_zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


NOISE = voxels().tobytes()
#: parts that can be compressed and parts that cannot, which are stored, from a byte on
MIXED = b"".join(
    part
    for k in range(60)
    for part in (
        bytes(np.random.default_rng(k).integers(0, 3, 20_000 + 7 * k, np.uint8)),
        np.random.default_rng(k).bytes(9_000 + 501 * k),
    )
)
#: name -> content, stream
STREAMS = {
    "single": (NOISE, gzip.compress(NOISE, 6, mtime=0)),
    "fast": (NOISE, gzip.compress(NOISE, 1, mtime=0)),
    "members": (NOISE, members(NOISE, 70_001)),
    "small members": (NOISE, members(NOISE, 3_000)),
    "tiny members": (NOISE[:5000], members(NOISE[:5000], 1)),
    "empty members": (NOISE, gzip.compress(b"") * 5 + members(NOISE, 200_000).join([b"", gzip.compress(b"") * 3])),
    "members of several blocks": (NOISE, members(NOISE, 300_003)),
    "padded": (NOISE, members(NOISE, 50_000) + bytes(777)),
    "padded between": (NOISE, gzip.compress(NOISE[:99_999]) + bytes(40) + gzip.compress(NOISE[99_999:])),
    "stored": (NOISE, deflated(NOISE, 0, 8, 31)),
    "stored here and there": (MIXED, gzip.compress(MIXED, 6, mtime=0)),
    "stored here and there, members": (MIXED, members(MIXED, 150_000)),
    "fixed codes": (NOISE, deflated(NOISE, 6, 8, 31, 9, zlib.Z_FIXED)),
    "one block": (NOISE, one_block(NOISE)),
    "zeros": (bytes(30 << 20), gzip.compress(bytes(30 << 20))),
    "zeros, one block": (bytes(9 << 20), one_block(bytes(9 << 20))),
    "repeating": (bytes(range(256)) * 9000, gzip.compress(bytes(range(256)) * 9000)),
    "one byte": (b"a", gzip.compress(b"a")),
}


def stream_file(tmp_path, stream, start=0):
    path = tmp_path / "stream.gz"
    path.write_bytes(b"text before\n"[:start].ljust(start) + stream)
    source = FileSource.open(path)
    return FileSource(source.path, source.size, source.mtime_ns, "gzip", start)


def make_indexes_small(monkeypatch, tmp_path):
    """Indexes of small files, a cache of the test's own."""
    for module in (streams, gzip_access):
        monkeypatch.setattr(module, "WORTH", 64 << 10)
    monkeypatch.setenv("CHUNKIMG_CACHE", str(tmp_path / "cache"))
