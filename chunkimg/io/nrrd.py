"""NRRD, attached (``.nrrd``) and detached (``.nhdr``)."""

from __future__ import annotations

import os
from typing import Any

import chunkimg.io.nrrd_header as nh

from ..errors import FormatError
from ..geometry.attrs import NRRD_HEADER
from ..volume import Volume
from .format import Header, ReadOptions, WriteOptions
from .nrrd_axes import axes_of, channels_of, grid_of, times_of
from .nrrd_data import voxels
from .nrrd_props import properties_of
from .source import FileSource

__all__ = ["NrrdFormat"]


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
        from .nrrd_write import write

        write(volume, os.fspath(dest), options)


def _open(path: str, options: ReadOptions) -> tuple[Volume, nh.NrrdHeader]:
    source = FileSource.open(path)
    if source.coding:
        raise FormatError(
            f"{path}: compressed as a whole; an NRRD compresses its voxels alone: decompress the file with gunzip first"
        )
    header = nh.read(source)
    axes = axes_of(header)
    data, dims = voxels(source, header, axes, options)
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


FORMAT = NrrdFormat()
