"""Arrays stored as one run of voxels in a file: raw, or inside a gzip stream or another encoding."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..access import Access
from ..errors import FormatError
from ..gather import fold, points
from ..indexing import Indices
from ..lazy import Block, LazyArray, Reader, Region
from .decoders import most_decoded
from .gzip_access import WORTH, GzipAccess
from .gzip_index import BadIndexError, GzipIndex
from .gzip_read import IndexedStream
from .source import DecodedStream, FileSource

__all__ = ["FileArray", "Layout", "StreamArray", "file_array"]

#: runs shorter than this are not worth a system call each
_SHORT_RUN = 64 << 10
#: what is decoded at once where only parts of it are wanted
_WINDOW = 4 << 20


@dataclass(frozen=True)
class Layout:
    """How voxels lie in a file.

    Attributes
    ----------
    offset : int
        Bytes before the first voxel.
    dtype : numpy dtype
        With the byte order of the file.
    shape : tuple of int
        Sizes, slowest axis first, as stored.
    axes : tuple of int
        For each axis of the array, the stored axis it shows (a channel axis may be fastest in the file).
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def file_array(source: FileSource, layout: Layout, index: Any = "auto") -> FileArray:
    """The lazy array of a file, or `FormatError` if a raw file is too short to hold it.

    Parameters
    ----------
    source : FileSource
        The file.
    layout : Layout
        How voxels lie in it.
    index : "auto", path or False
        Of gzip: where its index is kept, see `gzip_access.GzipAccess`.
    """
    needed = layout.offset + layout.nbytes
    size = source.size - source.start
    if source.coding:
        if needed > size * most_decoded(source.coding):
            raise FormatError(
                f"{source.path}: truncated: {needed} bytes of content are expected (shape {layout.shape[::-1]} of "
                f"{layout.dtype}), which {size} bytes of {source.coding.split(':')[0]} cannot hold"
            )
        return StreamArray(source, layout, index)
    if size < needed:
        raise FormatError(
            f"{source.path}: truncated: {layout.nbytes} bytes of voxels are expected from byte "
            f"{source.start + layout.offset} on "
            f"(shape {layout.shape[::-1]} of {layout.dtype}), the file has {source.size} bytes in all"
        )
    return FileArray(source, layout)


class FileArray(LazyArray):
    """Voxels of a raw file; a region costs its own bytes."""

    piecewise = True

    def __init__(self, source: FileSource, layout: Layout) -> None:
        self.source, self.layout = source, layout
        self.shape = tuple(layout.shape[a] for a in layout.axes)
        self.dtype = layout.dtype.newbyteorder("=")
        self.file_order = tuple(layout.axes.index(a) for a in range(len(layout.shape)))
        self._first = source.start + layout.offset

    def _read(self, region: Region) -> Block:
        with self.source.open_checked() as fd:
            return self._read_open(fd, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads regions through one open file."""
        with self.source.open_checked() as fd:
            yield lambda region: self._read_open(fd, region)

    @contextmanager
    def borrowed(self, region: Region) -> Iterator[Block]:
        """The mapped file, where its bytes are in the machine's order."""
        if not self.layout.dtype.isnative:
            yield self._read(region)
            return
        ranges = self._stored_ranges(region)
        with self.source.open_checked() as fd, self._mapped(fd) as whole:
            yield whole[tuple(slice(r.start, r.stop, r.step) for r in ranges)].transpose(self.layout.axes)

    def _read_open(self, fd: int, region: Region) -> Block:
        ranges = self._stored_ranges(region)
        outer, run = _split_runs(self.layout.shape, ranges)
        out = np.empty([len(r) for r in ranges], self.layout.dtype)
        if out.size and (run * out.itemsize >= _SHORT_RUN or run == out.size):
            flat = out.reshape(-1)
            for count, at in enumerate(_starts(self.layout.shape, ranges, outer).tolist()):
                self._fill(fd, flat[count * run : (count + 1) * run], self._first + at * out.itemsize)
        elif out.size:
            self._copy_mapped(fd, ranges, out)
        return self._finished(out)

    def _fill(self, fd: int, part: Block, position: int) -> None:
        view = part.data.cast("B")
        while len(view):
            count = os.preadv(fd, [view], position)
            if not count:
                raise FormatError(f"{self.source.path}: truncated while it was read, at byte {position}")
            view = view[count:]
            position += count

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        # NumPy picks out of mapped pages: one system call, however many points
        every, shape = fold(at, rest)
        order = self.file_order
        assert order is not None
        with self.source.open_checked() as fd, self._mapped(fd) as whole:
            out: Block = whole[tuple(every[a] for a in order)]
        return out.astype(self.dtype, copy=False).reshape(shape)

    def _copy_mapped(self, fd: int, ranges: Sequence[range], out: Block) -> None:
        with self._mapped(fd) as whole:
            out[...] = whole[tuple(slice(r.start, r.stop, r.step) for r in ranges)]

    @contextmanager
    def _mapped(self, fd: int) -> Iterator[Block]:
        # open_checked has just compared the size, so that no page lies beyond the end of the file; what is yielded must
        # not outlive the mapping
        layout = self.layout
        with mmap.mmap(fd, self._first + layout.nbytes, access=mmap.ACCESS_READ) as mapped:
            whole: Block = np.ndarray(layout.shape, layout.dtype, mapped, self._first)
            yield whole

    def _stored_ranges(self, region: Region) -> list[range]:
        assert self.file_order is not None
        return [region[k] for k in self.file_order]

    def _finished(self, out: Block) -> Block:
        """Native byte order, in the block's own memory; axes in the order of the array."""
        if not out.dtype.isnative:
            out = out.byteswap(inplace=True).view(self.dtype)
        return out.transpose(self.layout.axes)

    def __dask_tokenize__(self) -> Any:
        layout = self.layout
        return ("chunkimg-file", self.source.token(), layout.offset, layout.dtype.str, layout.shape, layout.axes)


class StreamArray(FileArray):
    """Voxels inside an encoded stream: all that stands before a region is decoded too, but never held.

    A gzip stream that has an index is decoded from the last checkpoint before each piece of the region instead. The
    index is looked for whenever a region is read.
    """

    front_to_back = True
    piecewise = False

    def __init__(self, source: FileSource, layout: Layout, index: Any = "auto") -> None:
        super().__init__(source, layout)
        self.gzip = GzipAccess(source, layout.offset + layout.nbytes, index)

    @property
    def access(self) -> Access:
        """``"indexed"`` if there is an index at this moment."""
        index = self.gzip.find()
        if index is not None:
            return Access("indexed", index.cost())
        cost = "a region costs decoding all that stands before it"
        return Access("sequential", f"{cost}; {self.gzip.hint()}" if self.source.coding == "gzip" else cost)

    def _read(self, region: Region) -> Block:
        spans = self._spans(region)
        far = spans.stop > WORTH and 2 * math.prod(len(r) for r in region) * self.dtype.itemsize < spans.stop
        index = self.gzip.ensure() if far else self.gzip.find()
        if index is not None:
            return self._read_indexed(index, spans)
        with DecodedStream(self.source) as stream:
            return self._fill_from(stream, spans)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads regions with one decoder that goes on where the last one ended; checks the checksum at the end."""
        with DecodedStream(self.source) as stream:

            def read(region: Region) -> Block:
                spans = self._spans(region)
                if spans.start - stream.position > WORTH and (index := self.gzip.find()) is not None:
                    return self._read_indexed(index, spans)
                return self._fill_from(stream, spans)

            yield read
            if stream.position >= self.layout.offset + self.layout.nbytes:
                stream.finish()

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        return points(self, at, rest)

    @contextmanager
    def borrowed(self, region: Region) -> Iterator[Block]:
        """Decoded."""
        yield self._read(region)

    def _read_indexed(self, index: GzipIndex, spans: _Spans) -> Block:
        try:
            return self._fill_indexed(index, spans)
        except BadIndexError as error:
            self.gzip.distrust(index, error)
        # the index is wrong, or the file was damaged after it was made: the checksum at its end tells
        with DecodedStream(self.source) as stream:
            out = self._fill_from(stream, spans)
            stream.seek(self.layout.offset + self.layout.nbytes)
            stream.finish()
            return out

    def _fill_indexed(self, index: GzipIndex, spans: _Spans) -> Block:
        with IndexedStream(index, self.source, index.touched(spans.starts, spans.size)) as stream:
            return self._fill_from(stream, spans)

    def _spans(self, region: Region) -> _Spans:
        return _Spans.of(self.layout, self._stored_ranges(region))

    def _fill_from(self, stream: DecodedStream | IndexedStream, spans: _Spans) -> Block:
        out = np.empty(spans.shape, self.layout.dtype)
        if not out.size:
            return self._finished(out)
        if spans.pick is None:
            runs = out.reshape(len(spans.starts), -1)
            for run, at in zip(runs, spans.starts.tolist(), strict=True):
                stream.seek(at)
                stream.read_into(run.data)
        else:
            window = np.empty(spans.window, out.dtype)
            outer = np.ndindex(*spans.shape[: out.ndim - window.ndim])
            for place, at in zip(outer, spans.starts.tolist(), strict=True):
                stream.seek(at)
                stream.read_into(window.reshape(-1).data)
                out[place] = window[spans.pick]
        return self._finished(out)


@dataclass(frozen=True)
class _Spans:
    """The runs of bytes of the content that a region is taken from, front to back.

    Attributes
    ----------
    starts : ndarray of int64
        First byte of each.
    size : int
        Bytes of each.
    shape : tuple of int
        Of the region, as stored.
    window : tuple of int
        Of what a run holds, as stored, where only parts of it are wanted.
    pick : tuple of slice or None
        What is taken out of that window; None if a run is taken whole.
    """

    starts: NDArray[np.int64]
    size: int
    shape: tuple[int, ...]
    window: tuple[int, ...] = ()
    pick: tuple[slice, ...] | None = None

    @property
    def start(self) -> int:
        """First byte of all."""
        return int(self.starts[0]) if len(self.starts) else 0

    @property
    def stop(self) -> int:
        """Where the last one ends."""
        return int(self.starts[-1]) + self.size if len(self.starts) else 0

    @classmethod
    def of(cls, layout: Layout, ranges: Sequence[range]) -> _Spans:
        """Whole runs where they are long, else windows of the stored array that hold them."""
        shape, itemsize = layout.shape, layout.dtype.itemsize
        lengths = tuple(len(r) for r in ranges)
        count = math.prod(lengths)
        outer, run = _split_runs(shape, ranges)
        if not count or run * itemsize >= _SHORT_RUN or run == count:
            starts = _starts(shape, ranges, outer) if count else np.empty(0, np.int64)
            return cls(layout.offset + starts * itemsize, run * itemsize, lengths)
        inner = next(k for k in range(len(shape)) if k == len(shape) - 1 or math.prod(shape[k:]) * itemsize <= _WINDOW)
        rows = ranges[inner]
        window = (rows[-1] - rows[0] + 1, *shape[inner + 1 :])
        pick = (slice(None, None, rows.step), *(slice(r.start, r.stop, r.step) for r in ranges[inner + 1 :]))
        starts = _starts(shape, [*ranges[:inner], rows, *(range(n) for n in shape[inner + 1 :])], inner)
        return cls(layout.offset + starts * itemsize, math.prod(window) * itemsize, lengths, window, pick)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def _split_runs(shape: Sequence[int], ranges: Sequence[range]) -> tuple[int, int]:
    """How many leading axes are stepped through one by one, and the elements of the contiguous runs below them."""
    run, outer = 1, len(shape)
    for k in reversed(range(len(shape))):
        if ranges[k].step != 1 and len(ranges[k]) > 1:
            break
        run *= len(ranges[k])
        outer = k
        if len(ranges[k]) != shape[k]:
            break
    return outer, run


def _starts(shape: Sequence[int], ranges: Sequence[range], outer: int) -> NDArray[np.int64]:
    """Elements at which runs start, front to back, if the first `outer` axes are stepped through one by one."""
    strides = _strides(shape)
    starts = np.array([sum(ranges[k].start * strides[k] for k in range(outer, len(shape)))], np.int64)
    for k in range(outer):
        starts = (starts[:, None] + np.asarray(ranges[k], np.int64) * strides[k]).reshape(-1)
    return starts
