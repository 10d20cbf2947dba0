"""Coding one chunk, and the index of a shard: bytes to voxels and back.

Compressed bytes are those of a stranger: nothing is decoded into more memory than the chunk has, and what does not fit
raises. Every function may be called from any thread; the codecs let go of the interpreter while they work.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from ..workers import scratch
from .blosc_part import blosc_part
from .zarr_spec import INDEX_ROW, ArraySpec, Compressor

__all__ = ["ABSENT", "BadChunkError", "decode", "decode_index", "encode", "encode_index"]

#: what stands in the index of a shard for a chunk that is not stored
ABSENT = 2**64 - 1
#: how zlib calls what surrounds deflated bytes
_GZIP, _ZLIB = 31, 15


class BadChunkError(Exception):
    """A chunk that cannot be decoded; who reads it says which one it is."""


def decode(spec: ArraySpec, data: bytes, wanted: Sequence[slice] | None = None) -> Block:
    """The voxels of a chunk, with the array's axes, in the byte order of the store.

    They lie in scratch memory of this thread: take what is wanted of them before it decodes another chunk.

    Parameters
    ----------
    spec : ArraySpec
        Of the array.
    data : bytes
        As stored.
    wanted : sequence of slice, optional
        The part of the chunk that is to be looked at; the rest may be left undefined.

    Raises
    ------
    BadChunkError
        If these are not the bytes of a chunk.
    """
    if spec.checksum:
        data = _checked(data, "chunk")
    expected = spec.chunk_bytes
    if spec.compressor is None:
        raw: Any = data
    elif expected == 0:
        raw = b""
    else:
        raw = _decompressed(spec.compressor, data, expected, None if wanted is None else _span(spec, wanted))
    if len(raw) != expected:
        raise BadChunkError(f"it holds {len(raw)} bytes decoded, {expected} are expected")
    flat = np.frombuffer(raw, spec.dtype)
    if spec.axes is None:
        return flat.reshape(spec.chunks)
    stored = flat.reshape([spec.chunks[a] for a in spec.axes])
    return stored.transpose(np.argsort(spec.axes))


def _checked(data: bytes, what: str) -> bytes:
    import google_crc32c

    body = data[:-4]
    if len(data) < 4 or google_crc32c.value(body) != int.from_bytes(data[-4:], "little"):
        raise BadChunkError(f"the checksum of the {what} is wrong")
    return body


def _span(spec: ArraySpec, wanted: Sequence[slice]) -> tuple[int, int]:
    """The first byte of a part of a chunk, and where the last one ends."""
    first, last = 0, 0
    for a in spec.axes or range(len(spec.chunks)):
        first = first * spec.chunks[a] + wanted[a].start
        last = last * spec.chunks[a] + wanted[a].stop - 1
    return first * spec.dtype.itemsize, (last + 1) * spec.dtype.itemsize


def _decompressed(compressor: Compressor, data: bytes, expected: int, span: tuple[int, int] | None) -> Any:
    name = compressor.name
    if name in ("gzip", "zlib"):
        return _inflated(data, _GZIP if name == "gzip" else _ZLIB, expected)
    if name == "blosc":
        # README_CHUNK_FORMAT of c-blosc: nbytes and cbytes at bytes 4 and 12; blosc itself trusts them
        nbytes, cbytes = (int.from_bytes(data[k : k + 4], "little") for k in (4, 12))
        if len(data) < 16 or cbytes != len(data) or nbytes != expected:
            raise BadChunkError(
                f"its blosc header says {cbytes} bytes for {nbytes} decoded; there are {len(data)}, for {expected}"
            )
        from numcodecs.blosc import decompress
    elif name == "zstd":
        _same_size(_zstd_size(data), expected)
        from numcodecs.zstd import decompress
    else:
        _same_size(int.from_bytes(data[:4], "little"), expected)
        from numcodecs.lz4 import decompress
    out = scratch(expected)
    target = out
    if name == "blosc" and span is not None and 2 * (span[1] - span[0]) < expected:
        data, start, stop = blosc_part(data, *span)
        target = out[start:stop]
    try:
        decompress(data, target)
    except (RuntimeError, ValueError) as error:
        raise BadChunkError(f"{name}: {error}") from error
    return out


def _same_size(stated: int | None, expected: int) -> None:
    if stated is not None and stated != expected:
        raise BadChunkError(f"it holds {stated} bytes decoded, {expected} are expected")


def _zstd_size(data: bytes) -> int | None:
    """Bytes that a zstd frame decodes to by its header; None if that does not say (RFC 8878, section 3.1.1.1)."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 6:
        raise BadChunkError("it is no zstd frame")
    flags = data[4]
    single = flags >> 5 & 1
    size = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    if not size:
        return None
    return int.from_bytes(data[at : at + size], "little") + (256 if size == 2 else 0)


def _inflated(data: bytes, wbits: int, expected: int) -> bytes:
    from isal import isal_zlib

    decoder = isal_zlib.decompressobj(wbits)
    try:
        out = bytes(decoder.decompress(data, expected + 1))
    except isal_zlib.error as error:  # type: ignore[misc]
        raise BadChunkError(f"gzip: {error}") from error
    if not decoder.eof:
        raise BadChunkError(f"gzip: more than {expected} bytes, or cut short")
    return out if wbits == _ZLIB or not decoder.unused_data.strip(b"\0") else _members(data, expected)


def _members(data: bytes, expected: int) -> bytes:
    """What gzip of several members decodes to (RFC 1952, 2.2)."""
    from isal import igzip, isal_zlib

    try:
        with igzip.IGzipFile(fileobj=io.BytesIO(data)) as file:
            return bytes(file.read(expected + 1))
    except (OSError, EOFError, isal_zlib.error) as error:  # type: ignore[misc]
        raise BadChunkError(f"gzip: {error}") from error


def encode(spec: ArraySpec, block: Block) -> tuple[bytes, bytes]:
    """The bytes of a chunk, and its checksum or nothing; at the end of the array `block` may be less than a chunk."""
    if block.shape != spec.chunks:
        whole = np.full(spec.chunks, 0 if spec.fill is None else spec.fill, spec.dtype)
        whole[tuple(map(slice, block.shape))] = block
        block = whole
    if spec.axes is not None:
        block = block.transpose(spec.axes)
    data = _compressed(spec.compressor, _contiguous(block, spec.dtype))
    return data, _crc(data) if spec.checksum else b""


def _contiguous(block: Block, dtype: np.dtype[Any]) -> Block:
    if block.flags.c_contiguous and block.dtype == dtype:
        return block
    out = scratch(block.size * dtype.itemsize).view(dtype).reshape(block.shape)
    out[...] = block
    return out


def _crc(data: bytes) -> bytes:
    import google_crc32c

    return int(google_crc32c.value(data)).to_bytes(4, "little")


def _compressed(compressor: Compressor | None, block: NDArray[Any]) -> bytes:
    if compressor is None:
        return block.tobytes()
    if compressor.name == "blosc":
        from numcodecs.blosc import Blosc

        shuffle = ("noshuffle", "shuffle", "bitshuffle").index(compressor.shuffle)
        return bytes(Blosc(compressor.inner, compressor.level, shuffle).encode(block))
    if compressor.name == "zstd":
        from numcodecs.zstd import compress

        return bytes(compress(block, compressor.level))
    if compressor.name != "gzip":
        raise ValueError(f"chunks are not written with {compressor.name}")
    import zlib

    # like numcodecs: no time in the header, so that the same image gives the same store
    packer = zlib.compressobj(compressor.level, zlib.DEFLATED, 31)
    return packer.compress(block.reshape(-1).data.cast("B")) + packer.flush()


def decode_index(spec: ArraySpec, data: bytes, size: int) -> NDArray[np.uint64]:
    """Start and size of each chunk of a shard, shape (chunks, 2); `ABSENT` twice for one that is not stored.

    Parameters
    ----------
    spec : ArraySpec
        Of the array.
    data : bytes
        The index.
    size : int
        Bytes of the shard.
    """
    if len(data) != spec.index_bytes:
        raise BadChunkError(f"it has {size} bytes, its index alone takes {spec.index_bytes}")
    body = _checked(data, "index of the shard") if spec.index_checksum else data
    index = np.frombuffer(body, "<u8").reshape(-1, 2)
    stored = index[:, 0] != ABSENT
    ends = index[stored].sum(axis=1)
    if np.any(ends > size) or np.any(ends < index[stored, 0]) or np.any(index[~stored, 1] != ABSENT):
        raise BadChunkError(f"its index has chunks that lie beyond its {size} bytes")
    return index


def encode_index(spec: ArraySpec, sizes: list[int]) -> bytes:
    """The index of a shard whose chunks lie one behind the other in order; size 0 for one that is not stored."""
    index = np.full((math.prod(spec.per_shard), 2), ABSENT, "<u8")
    at = spec.index_bytes if spec.index_first else 0
    for k, size in enumerate(sizes):
        if size:
            index[k] = at, size
            at += size
    data = index.tobytes()
    assert len(data) == len(sizes) * INDEX_ROW
    return data + _crc(data) if spec.index_checksum else data
