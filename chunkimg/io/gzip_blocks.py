"""Finding where deflate blocks start inside a gzip file, without decoding what stands before.

A block with codes of its own says so in its first bits, and the code that its codes are written in must be complete
(RFC 1951, section 3.2.7): that leaves one bit in some thousands, and a decoder refuses most of these. What is found is
plausible; whoever uses it compares what is decoded from there with a plain decoding.
"""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .gzip_index import WINDOW
from .gzip_read import from_bit

__all__ = ["Place", "find_block", "first_block"]

#: compressed bytes that are looked through at once, and in all
_PIECE, _MOST = 8 << 10, 256 << 10
#: header of a block, 17 bits, and the code of its codes, at most 57, from any bit of a byte on
_HEADER = 12
#: compressed bytes that a plausible block is tried on, more than its codes can take
_TRIED = 1 << 10
_NOTHING = bytes(WINDOW)
_MEMBER = b"\x1f\x8b\x08"
_EXTRA, _NAME, _COMMENT, _CHECKSUM = 4, 8, 16, 2
#: the longest header of a member that is understood: a full extra field, and names
_LONGEST = 72 << 10


class Place(NamedTuple):
    """Where a block starts.

    Attributes
    ----------
    bit : int
        Bit of the file.
    first : bool
        Whether a member starts with it, so that it refers to nothing before.
    """

    bit: int
    first: bool

    @property
    def byte(self) -> int:
        """The first byte of the file that holds nothing of the block before."""
        return -(-self.bit // 8)


def first_block(fd: int, start: int) -> Place | None:
    """The first block of the gzip member that starts at a byte; None if no member does."""
    after = _after_header(os.pread(fd, _LONGEST, start), 0)
    return None if after is None else Place(8 * (start + after), True)


def find_block(fd: int, start: int) -> Place | None:
    """The first place from a byte on that looks like the start of a block; None if there is none for a while."""
    for at in range(start, start + _MOST, _PIECE):
        data = os.pread(fd, _PIECE + _TRIED, at)
        look = data[: _PIECE + _HEADER]
        if len(look) <= _HEADER:
            return None
        found = [(bit, False) for bit in _plausible(look).tolist()]
        for bit, first in sorted(found + _members(look)):
            if _opens(data, bit, first):
                return Place(8 * at + bit, first)
    return None


def _opens(data: bytes, bit: int, first: bool) -> bool:
    """Whether a decoder makes something of the data from a bit on."""
    from isal import isal_zlib

    at, shift = divmod(bit, 8)
    decoder = isal_zlib.decompressobj(-15) if first else isal_zlib.decompressobj(-15, zdict=_NOTHING)
    try:
        return bool(decoder.decompress(from_bit(data[at : at + _TRIED], shift), WINDOW))
    except isal_zlib.error:  # type: ignore[misc]
        return False


# ---------------------------------------------------------------------------------------------- members


def _members(data: bytes) -> list[tuple[int, bool]]:
    """First blocks of the members whose headers start in some data."""
    found = []
    k = data.find(_MEMBER)
    while k >= 0:
        after = _after_header(data, k)
        if after is not None:
            found.append((8 * after, True))
        k = data.find(_MEMBER, k + 1)
    return found


def _after_header(data: bytes, at: int) -> int | None:
    """Where the header of a member ends (RFC 1952, section 2.3); None if that is no header."""
    if data[at : at + 3] != _MEMBER or len(data) < at + 10 or data[at + 3] & 0xE0:
        return None
    flags, at = data[at + 3], at + 10
    if flags & _EXTRA:
        if len(data) < at + 2:
            return None
        at += 2 + int(struct.unpack_from("<H", data, at)[0])
    for text in (_NAME, _COMMENT):
        if flags & text:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    at += 2 if flags & _CHECKSUM else 0
    return at if at < len(data) else None


# ---------------------------------------------------------------------------------------------- blocks


def _kraft() -> NDArray[np.uint16]:
    """Of five code lengths of three bits each: how much of a code they fill, of 128."""
    each = np.array([0, *(128 >> n for n in range(1, 8))], np.uint16)
    bits = np.arange(1 << 15)
    fills = np.zeros(bits.size, np.uint16)
    for shift in range(0, 15, 3):
        fills += each[bits >> shift & 7]
    return fills


_FILLS = _kraft()
_FIVE = np.uint64(0x7FFF)


def _plausible(data: bytes) -> NDArray[Any]:
    """Bits of `data`, its last 12 bytes left out, at which a block with codes of its own may start, no last block."""
    count = len(data) - _HEADER
    raw = np.frombuffer(data, np.uint8)
    pairs = raw[1 : count + 1].astype(np.uint16) << 8 | raw[:count]
    start = np.empty((count, 8), bool)
    for shift in range(8):
        # not the last block, type 2
        np.equal(pairs & np.uint16(7 << shift), np.uint16(4 << shift), out=start[:, shift])
    bits = np.flatnonzero(start)
    # eight bytes from each byte on
    words = np.array(np.ndarray((count + 4,), "<u8", data, strides=(1,)))
    header = (words[bits >> 3] >> (bits & 7).view(np.uint64)).astype(np.uint32) >> np.uint32(3)
    # at most 286 codes for bytes and lengths, 30 for distances
    allowed = ((header & np.uint32(0x1F)) < 30) & ((header & np.uint32(0x3E0)) < 30 << 5)
    bits, header = bits[allowed], header[allowed]
    behind = bits + 17
    lengths = words[behind >> 3] >> (behind & 7).view(np.uint64)
    given = 3 * ((header >> np.uint32(10) & np.uint32(15)) + np.uint32(4)).astype(np.uint64)
    lengths &= (np.uint64(1) << given) - np.uint64(1)
    filled = sum(_FILLS[lengths >> np.uint64(shift) & _FIVE] for shift in (0, 15, 30, 45))
    found: NDArray[Any] = bits[filled == 128]
    return found
