"""Parts of blosc buffers decode to what the whole decodes to."""

import contextlib

import numpy as np
import pytest
from numcodecs.blosc import Blosc, decompress

from chunkimg.io.blosc_part import blosc_part
from chunkimg.io.zarr_chunk import BadChunkError, decode
from chunkimg.io.zarr_spec import ArraySpec, Compressor

RNG = np.random.default_rng(0)
SHAPE = (13, 37, 41)
CONTENTS = {
    "smooth": (np.arange(np.prod(SHAPE)) // 7 % 300).reshape(SHAPE),
    "noise": RNG.integers(-9999, 9999, SHAPE),
    "zero": np.zeros(SHAPE),
}


@pytest.mark.parametrize("codec", ["zstd", "lz4", "blosclz", "zlib"])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
@pytest.mark.parametrize("blocksize", [0, 1000, 4096])
def test_parts(codec, shuffle, blocksize):
    for content in CONTENTS.values():
        for dtype in ("u1", "i2", "f8"):
            raw = content.astype(dtype).tobytes()
            data = Blosc(codec, 1, shuffle, blocksize).encode(content.astype(dtype))
            for start, stop in ((0, 1), (0, len(raw)), (len(raw) - 1, len(raw)), (4095, 4097), (900, 9000)):
                part, begin, end = blosc_part(data, start, stop)
                assert begin <= start < stop <= end <= len(raw)
                assert bytes(decompress(part)) == raw[begin:end]


def test_a_part_is_small():
    data = bytes(Blosc("zstd", 1, 2, 4096).encode(CONTENTS["noise"].astype("i2")))
    part, begin, end = blosc_part(data, 9000, 9100)
    assert (begin, end) == (8192, 12288) and len(part) < len(data) / 4


@pytest.mark.parametrize("axes", [None, (2, 1, 0)])
def test_wanted_voxels_of_a_chunk(axes):
    x = CONTENTS["smooth"].astype("i2")
    spec = ArraySpec(SHAPE, np.dtype("<i2"), SHAPE, axes=axes, compressor=Compressor("blosc", 1, "zstd", "bitshuffle"))
    data = Blosc("zstd", 1, 2, 4096).encode(np.ascontiguousarray(x if axes is None else x.transpose(axes)))
    for wanted in (
        np.s_[3:4, 0:37, 0:41],
        np.s_[2:9:3, 5:6, 7:8],
        np.s_[0:13, 0:37, 40:41],
        np.s_[12:13, 36:37, 0:41:2],
    ):
        np.testing.assert_array_equal(decode(spec, data, wanted)[wanted], x[wanted])


def test_damage_in_a_part():
    x = CONTENTS["noise"].astype("i2") // 64
    spec = ArraySpec(SHAPE, np.dtype("<i2"), SHAPE, compressor=Compressor("blosc", 1, "zstd", "bitshuffle"))
    data = bytes(Blosc("zstd", 1, 2, 4096).encode(x))
    for at in (*range(4, 120), *range(120, len(data), 97)):
        for value in (0, 255, data[at] ^ 16):
            bad = data[:at] + bytes([value]) + data[at + 1 :]
            with contextlib.suppress(BadChunkError):
                assert decode(spec, bad, np.s_[5:6, 0:37, 0:41]).shape == SHAPE
    with pytest.raises(BadChunkError):
        decode(spec, data[:-1], np.s_[5:6, 0:37, 0:41])
