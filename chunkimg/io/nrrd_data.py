"""Where the voxels of an NRRD are: attached, in a file of their own, or in several."""

from __future__ import annotations

import errno
import math
import os
import re
from dataclasses import dataclass, replace

import chunkimg.io.nrrd_header as nh

from ..errors import FormatError, UnsupportedError
from ..lazy import LazyArray, ViewArray
from ..volume import DIMS
from .file_array import file_array
from .files import Layout
from .format import ReadOptions
from .nrrd_axes import SINGLE, Axes
from .nrrd_names import ENCODINGS
from .source import DecodedStream, FileSource
from .stack import StackArray

__all__ = ["DataFiles", "data_files", "is_plain_name", "voxels"]

_PATTERN = re.compile(r"%(0?\d{0,2})[du]")
#: of which each is looked at on opening
_MOST_FILES = 100_000
#: errors of a name that is no name
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR)


@dataclass(frozen=True)
class DataFiles:
    """Files that hold the voxels.

    Attributes
    ----------
    names : tuple of str
        As the header names them; empty where voxels are attached.
    axes : int
        Number of axes in each, where there are several.
    """

    names: tuple[str, ...] = ()
    axes: int = 0


def data_files(header: nh.NrrdHeader) -> DataFiles:
    """The field ``data file``: a name, a pattern with numbers, or a list.

    Raises
    ------
    FormatError
        If there are not as many files as the sizes need.
    """
    text = header.fields.get("data file")
    if text is None:
        return DataFiles()
    words = text.split()
    if text.startswith("SKIPLIST"):
        raise UnsupportedError(f"{header.path}: a list of data files with skips (SKIPLIST) is not read")
    if text.startswith("LIST"):
        names = tuple(line.text.strip() for line in header.lines if line.kind == "file")
        axes = _axes_in_each(header, text[len("LIST") :].split())
        _check_count(header, len(names), axes)
        return DataFiles(names, axes)
    if words and _PATTERN.search(words[0]):
        return _numbered(header, words)
    return DataFiles((text,))


def is_plain_name(name: str) -> bool:
    """Whether a header that names a file so means just that file."""
    return (
        name == name.strip()
        and name.isprintable()
        and not name.startswith(("LIST", "SKIPLIST", "-"))
        and (_PATTERN.search(name) is None)
    )


def _numbered(header: nh.NrrdHeader, words: list[str]) -> DataFiles:
    """Files of a pattern: ``slice%03d.raw`` min max step, and the number of axes in each."""
    try:
        low, high, step = (nh.whole(w) for w in words[1:4])
    except ValueError:
        raise FormatError(
            f"{header.path}: data file {' '.join(words)[:80]!r}: a pattern needs min, max and step behind it"
        ) from None
    if step == 0 or (high - low) * step < 0:
        raise FormatError(f"{header.path}: data file {words[0][:80]!r}: {high} is not reached from {low} by {step}")
    axes = _axes_in_each(header, words[4:])
    _check_count(header, (high - low) // step + 1, axes)
    found = _PATTERN.search(words[0])
    assert found is not None
    before, after = words[0][: found.start()], words[0][found.end() :]
    numbers = range(low, high + (1 if step > 0 else -1), step)
    return DataFiles(tuple(before + f"%{found[1]}d" % n + after for n in numbers), axes)


def _axes_in_each(header: nh.NrrdHeader, words: list[str]) -> int:
    if not words:
        return header.dimension - 1
    if len(words) > 1 or not words[0].isdecimal() or not 1 <= int(words[0][:9]) <= header.dimension:
        raise FormatError(
            f"{header.path}: {' '.join(words)[:20]!r} is not the number of axes in each data file, 1 to "
            f"{header.dimension}"
        )
    return int(words[0])


def _check_count(header: nh.NrrdHeader, count: int, axes: int) -> None:
    """Check that as many files are named as the sizes need."""
    if count > _MOST_FILES:
        raise UnsupportedError(f"{header.path}: {count} data files are named; at most {_MOST_FILES} are read")
    needed = math.prod(header.sizes[axes:])
    if axes == header.dimension:
        if count == 0 or header.sizes[-1] % count:
            raise FormatError(f"{header.path}: {count} data files cannot share {header.sizes[-1]} slices equally")
    elif count != needed:
        raise FormatError(
            f"{header.path}: {count} data files are named; sizes {header.sizes} with {axes} axes in each file need "
            f"{needed}"
        )


# ------------------------------------------------------------------------------------------------ voxels


def voxels(
    source: FileSource, header: nh.NrrdHeader, axes: Axes, options: ReadOptions
) -> tuple[LazyArray, tuple[str, ...]]:
    """Lazy voxels with axes as in dims, and dims."""
    roles = [r for r in axes.roles if r != SINGLE][::-1]
    sizes = tuple(n for n, r in zip(header.sizes, axes.roles, strict=True) if r != SINGLE)[::-1]
    dims = tuple(d for d in DIMS if d in roles or d in "zyx")
    files = data_files(header)
    if len(files.names) > 1:
        if SINGLE in axes.roles:
            raise UnsupportedError(f"{header.path}: voxels in several files, with an axis of one sample that is no dim")
        whole = _several(header, files, sizes, options)
        shown = [roles.index(d) if d in roles else None for d in dims]
        plain = shown == list(range(whole.ndim))
        return (whole if plain else ViewArray(whole, [range(n) for n in whole.shape], shown)), dims
    # axes that the file lacks have one voxel, and may stand anywhere
    order = [d for d in dims if d not in roles] + roles
    shape = (1,) * (len(order) - len(sizes)) + sizes
    one = _one(source, header, files, options)
    layout = Layout(_skip(one, header, shape), nh.dtype_of(header), shape, tuple(order.index(d) for d in dims))
    return file_array(one, layout, options.index), dims


def _one(source: FileSource, header: nh.NrrdHeader, files: DataFiles, options: ReadOptions) -> FileSource:
    """The file that holds all voxels, attached or not."""
    if files.names:
        return _encoded(_file(header, files.names[0], options), header, 0)
    if not header.closed:
        raise FormatError(
            f"{header.path}: the header has neither an empty line with voxels behind it nor a field 'data file'; "
            "the file is truncated"
        )
    return _encoded(source, header, header.end)


def _several(header: nh.NrrdHeader, files: DataFiles, sizes: tuple[int, ...], options: ReadOptions) -> LazyArray:
    """Voxels in several files, each of some of the fastest axes (or a share of the slowest)."""
    outer = max(1, len(sizes) - files.axes)
    rows = sizes[0] // len(files.names) if files.axes >= len(sizes) else 1
    piece = (rows, *sizes[outer:])
    pieces = []
    for name in files.names:
        one = _encoded(_file(header, name, options), header, 0)
        layout = Layout(_skip(one, header, piece), nh.dtype_of(header), piece, tuple(range(len(piece))))
        pieces.append(file_array(one, layout, options.index))
    return StackArray(pieces, sizes, outer)


def _file(header: nh.NrrdHeader, name: str, options: ReadOptions) -> FileSource:
    folder = os.path.dirname(os.path.abspath(header.path))
    path = os.path.normpath(os.path.join(folder, name))
    if not options.allow_outside and os.path.commonpath([folder, path]) != folder:
        raise FormatError(
            f"{header.path}: its data file {name[:80]!r} lies outside the folder of the header; if you trust this "
            "header, open it with allow_outside=True (--allow-outside)"
        )
    try:
        return FileSource.open(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_FILE:
            raise
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{header.path}: its data file {name[:80]!r} does not exist") from None


def _encoded(source: FileSource, header: nh.NrrdHeader, start: int) -> FileSource:
    """A file of voxels as the header says it is encoded, from the first byte after the lines to skip."""
    text = header.require("encoding").lower()
    if text not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise UnsupportedError(f"{header.path}: voxels are encoded as {text[:40]!r}; {known} are read")
    coding = ENCODINGS[text]
    if coding == "text":
        coding = f"text:{nh.dtype_of(header).newbyteorder('=').str}"
    lines = header.ints("line skip", 1)[0] if "line skip" in header.fields else 0
    if lines < 0:
        raise FormatError(f"{header.path}: line skip is {lines}; lines are skipped forwards")
    if lines:
        start = _after_lines(source, start, lines)
    skip = _byte_skip(header)
    if coding.startswith(("text", "hex")):
        if skip < 0:
            raise FormatError(f"{header.path}: byte skip is {skip}; in text, bytes are skipped forwards")
        start += skip
    return replace(source, coding=coding, start=start)


def _byte_skip(header: nh.NrrdHeader) -> int:
    skip = header.ints("byte skip", 1)[0] if "byte skip" in header.fields else 0
    if skip < -1:
        raise FormatError(f"{header.path}: byte skip is {skip}; -1 (voxels end the file) and 0 upwards have a meaning")
    return skip


def _after_lines(source: FileSource, start: int, count: int) -> int:
    """The byte after some lines."""
    with open(source.path, "rb") as f:
        f.seek(start)
        while piece := f.read(1 << 20):
            at = -1
            while count and (at := piece.find(b"\n", at + 1)) >= 0:
                count -= 1
            if not count:
                return start + at + 1
            start += len(piece)
    raise FormatError(f"{source.path}: line skip asks for {count} more lines than the file has")


def _skip(source: FileSource, header: nh.NrrdHeader, shape: tuple[int, ...]) -> int:
    """Bytes of the content before the first voxel."""
    skip = _byte_skip(header)
    if source.coding.startswith(("text", "hex")):
        return 0
    if skip >= 0:
        return skip
    needed = math.prod(shape) * nh.dtype_of(header).itemsize
    total = _decoded_size(source) if source.coding else source.size - source.start
    if total < needed:
        raise FormatError(
            f"{source.path}: truncated: {needed} bytes of voxels are expected at its end, its content has {total} bytes"
        )
    return total - needed


def _decoded_size(source: FileSource) -> int:
    """Size of the content of a compressed file, which only decoding tells."""
    with DecodedStream(source) as stream:
        while stream.read_up_to(1 << 20):
            pass
        return stream.position
