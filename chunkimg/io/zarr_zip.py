"""Zarr stores in zip files: read by byte range, stateless, from any number of threads and processes.

Each read opens the file, reads one entry and closes it, as all sources do here. Entries that are not compressed, which
is how Zarr stores are zipped (RFC-9, https://ngff.openmicroscopy.org/rfc/9/), are read in part where a part is asked.
"""

from __future__ import annotations

import asyncio
import functools
import os
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from ..errors import FormatError, UnsupportedError
from .source import FileSource
from .zarr_names import METADATA

__all__ = ["ZipFolder"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")


@functools.lru_cache(maxsize=8)
def _entries(source: FileSource) -> dict[str, zipfile.ZipInfo]:
    """The table of contents; `source` says which state of the file it is of."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            return {i.filename: i for i in archive.infolist() if not i.is_dir()}
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError) as error:
        raise FormatError(f"{source.path}: not a zip file, or cut short or damaged: {error}") from error


class ZipFolder(Store):
    """A folder in a zip file as a read-only store.

    Parameters
    ----------
    source : FileSource
        The zip file, as it was when it was opened.
    prefix : str
        The folder, ending in ``/``; empty for the top.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, source: FileSource, prefix: str = "") -> None:
        super().__init__(read_only=True)
        self.source, self.prefix = source, prefix
        self._is_open = True

    @classmethod
    def open_at(cls, path: str, inner: str) -> tuple[ZipFolder, str]:
        """The store in a zip file, at its top or in the one folder that has Zarr metadata, and the path in it.

        Parameters
        ----------
        path : str
            The zip file.
        inner : str
            A path within; it may begin with the folder of the store.

        Raises
        ------
        FormatError
            If there is no store, or more than one to choose from.
        """
        source = FileSource.open(path)
        names = _entries(source)
        if any(name in names for name in METADATA):
            return cls(source), inner
        tops = {name.partition("/")[0] for name in names}
        found = sorted(top for top in tops if any(f"{top}/{name}" in names for name in METADATA))
        first, _, rest = inner.partition("/")
        if first in found:
            return cls(source, f"{first}/"), rest
        if len(found) == 1:
            return cls(source, f"{found[0]}/"), inner
        if found:
            raise FormatError(f"{path}: holds {len(found)} Zarr stores; open one by its path, {path}/{found[0]}")
        raise FormatError(f"{path}: this zip file holds no Zarr store: no zarr.json (v3) or .zgroup (v2) is in it")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZipFolder) and (self.source, self.prefix) == (other.source, other.prefix)

    def __hash__(self) -> int:
        return hash((self.source, self.prefix))

    def __str__(self) -> str:
        return f"zip://{self.source.path}/{self.prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"ZipFolder('{self}')"

    # ------------------------------------------------------------------ reading

    def _read(self, key: str, request: ByteRequest | None) -> bytes | None:
        entry = _entries(self.source).get(self.prefix + key)
        if entry is None:
            return None
        if entry.flag_bits & 1:
            raise UnsupportedError(f"{self}: {key} is encrypted; unpack the zip file first")
        start, stop = _bounds(request, entry.file_size)
        if entry.compress_type == zipfile.ZIP_STORED:
            with self.source.open_checked() as fd:
                out = self._bytes(fd, self._begin(fd, entry) + start, stop - start, key)
            if request is None:
                self._check(key, entry, out)
            return out
        if entry.compress_type != zipfile.ZIP_DEFLATED:
            raise UnsupportedError(
                f"{self}: {key} is compressed by method {entry.compress_type}; zip Zarr stores without compression"
            )
        with self.source.open_checked() as fd:
            packed = self._bytes(fd, self._begin(fd, entry), entry.compress_size, key)
        try:
            whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.file_size + 1)
        except zlib.error as error:
            raise FormatError(f"{self}: {key} is damaged: {error}") from error
        self._check(key, entry, whole)
        return whole[start:stop]

    def _begin(self, fd: int, entry: zipfile.ZipInfo) -> int:
        """Byte at which the data of an entry starts, behind its local header."""
        head = self._bytes(fd, entry.header_offset, _LOCAL_HEADER.size, entry.filename)
        magic, name, extra = _LOCAL_HEADER.unpack(head)
        if magic != b"PK\x03\x04":
            raise FormatError(f"{self}: {entry.filename} is not where the table of contents says; the file is damaged")
        return int(entry.header_offset + _LOCAL_HEADER.size + name + extra)

    def _bytes(self, fd: int, start: int, count: int, key: str) -> bytes:
        out = os.pread(fd, count, start)
        while len(out) < count:
            more = os.pread(fd, count - len(out), start + len(out))
            if not more:
                raise FormatError(f"{self}: truncated: {key} needs {count} bytes, {len(out)} are there")
            out += more
        return out

    def _check(self, key: str, entry: zipfile.ZipInfo, data: bytes) -> None:
        if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
            raise FormatError(f"{self}: {key} is damaged: its size or checksum is not that of the table of contents")

    # ------------------------------------------------------------------ zarr's protocol

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Bytes of an entry."""
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Bytes of several entries."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is an entry."""
        return self.prefix + key in _entries(self.source)

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse."""
        self._check_writable()

    async def set_partial_values(self, key_start_values: Any) -> None:
        """Refuse; asked of stores by zarr before 3.1.3."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Keys that start with a prefix."""
        for name in _entries(self.source):
            if name.startswith(self.prefix + prefix):
                yield name.removeprefix(self.prefix)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        seen: dict[str, Any] = {}
        async for key in self.list_prefix(folder):
            seen[key.removeprefix(folder).partition("/")[0]] = None
        for name in seen:
            yield name


def _bounds(request: ByteRequest | None, size: int) -> tuple[int, int]:
    if isinstance(request, RangeByteRequest):
        return min(request.start, size), min(request.end, size)
    if isinstance(request, OffsetByteRequest):
        return min(request.offset, size), size
    if isinstance(request, SuffixByteRequest):
        return max(0, size - request.suffix), size
    return 0, size
