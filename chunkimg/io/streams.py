"""Arrays stored as one run of voxels inside a gzip stream or another encoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..access import Access
from ..gather import points
from ..indexing import Indices
from ..lazy import Block, Reader, Region
from .files import SHORT_RUN, FileArray, Layout, split_runs, starts_of
from .gzip_access import WORTH, GzipAccess
from .gzip_index import BadIndexError, GzipIndex
from .gzip_read import IndexedStream
from .source import DecodedStream, FileSource

__all__ = ["StreamArray"]

#: what is decoded at once where only parts of it are wanted
_WINDOW = 4 << 20


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
            out = self._fill_from(stream, spans)
            self._at_end(stream)
            return out

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads regions with one decoder that goes on where the last one ended; checks the checksum at the end.

        A gzip stream that is read to its end without an index has one afterwards.
        """
        with self.gzip.along() as recorder, DecodedStream(self.source, recorder) as stream:

            def read(region: Region) -> Block:
                spans = self._spans(region)
                back, ahead = spans.start < stream.position, spans.start - stream.position > WORTH
                index = self.gzip.ensure() if back else self.gzip.find() if ahead else None
                if index is not None:
                    return self._read_indexed(index, spans)
                return self._fill_from(stream, spans)

            yield read
            if self._at_end(stream) and recorder is not None:
                recorder.finish()

    def _at_end(self, stream: DecodedStream) -> bool:
        """Whether the last voxel has been decoded; the checksum behind it is compared then."""
        if stream.position < self.layout.offset + self.layout.nbytes:
            return False
        stream.finish()
        return True

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
        outer, run = split_runs(shape, ranges)
        if not count or run * itemsize >= SHORT_RUN or run == count:
            starts = starts_of(shape, ranges, outer) if count else np.empty(0, np.int64)
            return cls(layout.offset + starts * itemsize, run * itemsize, lengths)
        inner = next(k for k in range(len(shape)) if k == len(shape) - 1 or math.prod(shape[k:]) * itemsize <= _WINDOW)
        rows = ranges[inner]
        window = (rows[-1] - rows[0] + 1, *shape[inner + 1 :])
        pick = (slice(None, None, rows.step), *(slice(r.start, r.stop, r.step) for r in ranges[inner + 1 :]))
        starts = starts_of(shape, [*ranges[:inner], rows, *(range(n) for n in shape[inner + 1 :])], inner)
        return cls(layout.offset + starts * itemsize, math.prod(window) * itemsize, lengths, window, pick)
