"""The lazy array of a file, raw or encoded."""

from __future__ import annotations

from typing import Any

from ..errors import FormatError
from .decoders import most_decoded
from .files import FileArray, Layout
from .source import FileSource

__all__ = ["file_array"]


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
        from .streams import StreamArray

        return StreamArray(source, layout, index)
    if size < needed:
        raise FormatError(
            f"{source.path}: truncated: {layout.nbytes} bytes of voxels are expected from byte "
            f"{source.start + layout.offset} on "
            f"(shape {layout.shape[::-1]} of {layout.dtype}), the file has {source.size} bytes in all"
        )
    return FileArray(source, layout)
