"""Part of a blosc buffer: the blocks that hold some bytes, as a buffer of its own.

A buffer is blocks that are compressed each by itself, often one plane of a chunk: a plane costs no more than that.
README_CHUNK_FORMAT of c-blosc: a header of 16 bytes, where each block starts (int32 each), the blocks in any order.
"""

from __future__ import annotations

import numpy as np

__all__ = ["blosc_part"]

_HEADER = 16
_MEMCPYED = 0x2


def blosc_part(data: bytes, start: int, stop: int) -> tuple[bytes, int, int]:
    """A blosc buffer of the blocks that hold some of the bytes.

    Parameters
    ----------
    data : bytes
        A buffer, its header checked: the sizes it says are right.
    start, stop : int
        The bytes that are wanted, of those it decodes to.

    Returns
    -------
    bytes, int, int
        The buffer, and the bytes it decodes to. Where `data` does not look as it should, all of it: the decoder tells.
    """
    size, block = (int.from_bytes(data[k : k + 4], "little") for k in (4, 8))
    whole = data, 0, size
    if not 0 < block <= size or not 0 <= start < stop <= size:
        return whole
    count = -(-size // block)
    first, last = start // block, -(-stop // block)
    if last * block > size and first == last - 1 and first:
        # a buffer of less than one block is none
        first -= 1
    begin, end = first * block, min(last * block, size)
    if data[2] & _MEMCPYED:
        return _buffer(data, end - begin, data[_HEADER + begin : _HEADER + end]), begin, end
    body = _HEADER + 4 * count
    if body > len(data):
        return whole
    starts = np.frombuffer(data, "<i4", count, _HEADER)
    order = np.sort(starts)
    mine = starts[first:last]
    if order[0] < body or order[-1] >= len(data):
        return whole
    stops = np.append(order, len(data))[np.searchsorted(order, mine, "right")]
    blocks = [data[a:b] for a, b in zip(mine.tolist(), stops.tolist(), strict=True)]
    lead = _HEADER + 4 * len(blocks)
    places = lead + np.cumsum([0, *map(len, blocks[:-1])])
    return _buffer(data, end - begin, places.astype("<i4").tobytes() + b"".join(blocks)), begin, end


def _buffer(data: bytes, size: int, body: bytes) -> bytes:
    sizes = (size, int.from_bytes(data[8:12], "little"), _HEADER + len(body))
    return data[:4] + b"".join(n.to_bytes(4, "little") for n in sizes) + body
