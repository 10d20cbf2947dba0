"""NRRD, attached (``.nrrd``) and detached (``.nhdr``)."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from typing import Any

import chunkimg.io.nrrd_header as nh

from ..errors import FormatError, UnsupportedError
from ..geometry.attrs import NRRD_HEADER
from ..lazy import LazyArray, ViewArray
from ..volume import DIMS, Volume
from .files import Layout, file_array
from .format import Header, ReadOptions, WriteOptions
from .nrrd_axes import SINGLE, Axes, axes_of, channels_of, grid_of, times_of
from .nrrd_props import properties_of
from .nrrd_write import write
from .source import DecodedStream, FileSource
from .stack import StackArray

__all__ = ["NrrdFormat"]

_PATTERN = re.compile(r"%(0?\d{0,3})[du]")


class NrrdFormat:
    """NRRD."""

    name = "nrrd"

    def sniff(self, source: FileSource) -> bool:
        """Whether the bytes start as an NRRD header does."""
        return source.head(4) == nh.MAGIC

    def read_header(self, source: Any, options: ReadOptions) -> Header:
        """Header fields and geometry."""
        volume, header = _open(os.fspath(source), options)
        fields: dict[str, Any] = {"version": header.lines[0].text, **header.fields}
        comments = [line.text.lstrip("# ") for line in header.lines if line.kind == "comment"]
        if comments:
            fields["comments"] = comments
        if header.keys:
            fields["keys"] = header.keys
        return Header.of(volume, "NRRD", nh.dtype_of(header).str, fields)

    def open(self, source: Any, options: ReadOptions) -> Volume:
        """Open lazily; only headers are read."""
        if options.level:
            raise FormatError(f"{source}: NRRD has one resolution level, level {options.level} was asked for")
        return _open(os.fspath(source), options)[0]

    def write(self, volume: Volume, dest: Any, options: WriteOptions) -> None:
        """Stream to ``.nrrd``, or to ``.nhdr`` and a file of voxels beside it."""
        write(volume, os.fspath(dest), options)


def _open(path: str, options: ReadOptions) -> tuple[Volume, nh.NrrdHeader]:
    source = FileSource.open(path)
    header = nh.read(source)
    axes = axes_of(header)
    data, dims = _data(source, header, axes, options)
    volume = Volume(
        data=data,
        dims=dims,
        grid=grid_of(header, axes),
        times=times_of(header, axes),
        properties=properties_of(header),
        rank=header.dimension,
        headers={NRRD_HEADER: source.head(header.end)},
        channels=channels_of(header, axes),
        source=path,
    )
    return volume, header


# ------------------------------------------------------------------------------------------------ voxels


def _data(
    source: FileSource, header: nh.NrrdHeader, axes: Axes, options: ReadOptions
) -> tuple[LazyArray, tuple[str, ...]]:
    """Lazy voxels with axes as in dims, and dims."""
    roles = [r for r in axes.roles if r != SINGLE]
    sizes = [n for n, r in zip(header.sizes, axes.roles, strict=True) if r != SINGLE]
    slow_roles, slow_sizes = roles[::-1], tuple(sizes[::-1])
    dims = tuple(d for d in DIMS if d in roles or d in "zyx")
    files, subdim = _data_files(header)
    if len(files) > 1 and SINGLE in axes.roles:
        raise UnsupportedError(f"{header.path}: voxels in several files, with an axis of one sample that is no dim")
    if len(files) <= 1:
        # axes that the file lacks have one voxel, and may stand anywhere
        absent = [d for d in dims if d not in slow_roles]
        order = absent + slow_roles
        shape = (1,) * len(absent) + slow_sizes
        where = tuple(order.index(d) for d in dims)
        one = _one_file(source, header, files, options)
        return file_array(
            one, Layout(_skip(one, header, shape), nh.dtype_of(header), shape, where), options.index
        ), dims
    whole = _several_files(header, files, subdim, slow_sizes, options)
    shown = [slow_roles.index(d) if d in slow_roles else None for d in dims]
    if shown == list(range(whole.ndim)):
        return whole, dims
    return ViewArray(whole, [range(n) for n in whole.shape], shown), dims


def _one_file(source: FileSource, header: nh.NrrdHeader, files: list[str], options: ReadOptions) -> FileSource:
    """Where the voxels are that lie in one file, attached or not."""
    if files:
        return _encoded(_data_source(header, files[0], options), header, 0)
    if not header.closed:
        raise FormatError(
            f"{header.path}: the header has neither an empty line with voxels behind it nor a field 'data file'; "
            "the file is truncated"
        )
    return _encoded(source, header, header.end)


def _several_files(
    header: nh.NrrdHeader, files: list[str], subdim: int, sizes: tuple[int, ...], options: ReadOptions
) -> LazyArray:
    """Voxels in several files, each of the `subdim` fastest axes (or a share of the slowest)."""
    outer = max(1, len(sizes) - subdim)
    rows = sizes[0] // len(files) if subdim >= len(sizes) else 1
    piece = (rows, *sizes[outer:])
    pieces = []
    for name in files:
        one = _encoded(_data_source(header, name, options), header, 0)
        layout = Layout(_skip(one, header, piece), nh.dtype_of(header), piece, tuple(range(len(piece))))
        pieces.append(file_array(one, layout, options.index))
    return StackArray(pieces, sizes, outer)


def _data_files(header: nh.NrrdHeader) -> tuple[list[str], int]:
    """Names of the files that hold the voxels (none where they are attached), and the number of axes in each."""
    text = header.fields.get("data file")
    if text is None:
        return [], 0
    words = text.split()
    if text.startswith("LIST"):
        names = [line.text.strip() for line in header.lines if line.kind == "file"]
        return _counted(header, names, len(names), _subdim(header, words[1:]))
    if len(words) >= 4 and _PATTERN.search(words[0]):
        try:
            low, high, step = (int(w) for w in words[1:4])
        except ValueError:
            raise FormatError(f"{header.path}: data file {text!r}: a pattern needs min, max and step") from None
        if step == 0 or (high - low) * step < 0:
            raise FormatError(f"{header.path}: data file {text!r}: {high} is not reached from {low} by {step}")
        numbers = range(low, high + (1 if step > 0 else -1), step)
        subdim = _subdim(header, words[4:])
        _counted(header, [], len(numbers), subdim)
        return [_numbered(words[0], n) for n in numbers], subdim
    return [text], 0


def _numbered(pattern: str, n: int) -> str:
    """Name of the n-th file of a pattern such as ``slice%03d.raw``."""
    found = _PATTERN.search(pattern)
    assert found is not None
    return pattern[: found.start()] + f"%{found[1]}d" % n + pattern[found.end() :]


def _subdim(header: nh.NrrdHeader, words: list[str]) -> int:
    if not words:
        return header.dimension - 1
    if not words[0].isdigit() or not 1 <= int(words[0]) <= header.dimension:
        raise FormatError(
            f"{header.path}: {words[0][:20]!r} is not the number of axes in each data file, 1 to {header.dimension}"
        )
    return int(words[0])


def _counted(header: nh.NrrdHeader, names: list[str], count: int, subdim: int) -> tuple[list[str], int]:
    """Check that as many files are named as the sizes need."""
    needed = math.prod(header.sizes[subdim:])
    if subdim == header.dimension:
        if count == 0 or header.sizes[-1] % count:
            raise FormatError(f"{header.path}: {count} data files cannot share {header.sizes[-1]} slices equally")
    elif count != needed:
        raise FormatError(
            f"{header.path}: {count} data files are named; sizes {header.sizes} with {subdim} axes in each file need "
            f"{needed}"
        )
    return names, subdim


def _data_source(header: nh.NrrdHeader, name: str, options: ReadOptions) -> FileSource:
    folder = os.path.dirname(os.path.abspath(header.path))
    path = os.path.normpath(os.path.join(folder, name))
    if not options.allow_outside and os.path.commonpath([folder, path]) != folder:
        raise FormatError(
            f"{header.path}: its data file {name!r} lies outside the folder of the header; if you trust this header, "
            "open it with allow_outside=True (--allow-outside)"
        )
    try:
        return FileSource.open(path)
    except FileNotFoundError:
        raise FormatError(f"{header.path}: its data file {name!r} does not exist") from None


def _encoded(source: FileSource, header: nh.NrrdHeader, start: int) -> FileSource:
    """A file of voxels as the header says it is encoded, from the first byte after the lines to skip."""
    text = header.require("encoding").lower()
    if text not in nh.ENCODINGS:
        known = ", ".join(nh.ENCODINGS)
        raise UnsupportedError(f"{header.path}: voxels are encoded as {text[:40]!r}; {known} are read")
    coding = nh.ENCODINGS[text]
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


FORMAT = NrrdFormat()
