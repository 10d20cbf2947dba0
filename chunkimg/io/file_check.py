"""Checking files of any format: the header opens, the size is right, and what is encoded decodes to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .files import FileArray
from .format import CheckOptions, Finding, Format, ReadOptions
from .source import DecodedStream

__all__ = ["check"]

#: what is decoded at once
_PIECE = 1 << 20


def check(format: Format, source: Any, options: CheckOptions) -> Iterator[Finding]:
    """Findings about a file of a format that has no check of its own, or that this one precedes.

    Raises
    ------
    ChunkImgError, OSError
        Where the file cannot be read any further.
    """
    volume = format.open(source, ReadOptions(storage_options=options.storage_options))
    files = [leaf for leaf in volume.data.leaves() if isinstance(leaf, FileArray)]
    encoded = [] if options.quick else [f for f in files if f.source.coding]
    if options.progress is not None and encoded:
        options.progress.start(sum(f.layout.offset + f.layout.nbytes for f in encoded))
    for file in files:
        if file in encoded:
            yield from _decoded(file, options)
        elif not file.source.coding:
            # that it is long enough was checked on opening
            extra = file.source.size - file.source.start - file.layout.offset - file.layout.nbytes
            yield from _extra(file, extra)


def _decoded(file: FileArray, options: CheckOptions) -> Iterator[Finding]:
    """Decode all of a file, its checksums among it, and count what comes out."""
    needed = file.layout.offset + file.layout.nbytes
    with DecodedStream(file.source) as stream:
        while count := len(stream.read_up_to(_PIECE)):
            if options.progress is not None:
                options.progress(count)
        found = stream.position
    if found < needed:
        yield Finding(
            "error",
            file.source.path,
            f"truncated: {needed} bytes of content are expected (shape {file.layout.shape[::-1]} of "
            f"{file.layout.dtype} from byte {file.layout.offset} on), it ends after {found}",
        )
    yield from _extra(file, found - needed)


def _extra(file: FileArray, count: int) -> Iterator[Finding]:
    if count > 0:
        yield Finding("note", file.source.path, f"{count} bytes follow the last voxel and belong to nothing")
