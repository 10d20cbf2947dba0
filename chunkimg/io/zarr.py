"""OME-Zarr, NIfTI-Zarr and plain xarray stores."""

from __future__ import annotations

import os
from typing import Any

from ..volume import Volume
from .format import Header, ReadOptions, WriteOptions
from .zarr_names import is_node, split_zip

__all__ = ["ZarrFormat"]


class ZarrFormat:
    """Zarr stores: folders, zip files, URLs, and `zarr.abc.store.Store` objects."""

    name = "zarr"

    def sniff(self, source: Any) -> bool:
        """Whether a path is a folder with Zarr metadata, or leads to or into a zip file."""
        path = os.fspath(source)
        return is_node(path) or split_zip(path) is not None

    def read_header(self, source: Any, options: ReadOptions) -> Header:
        """Geometry, attributes and layout of the finest level."""
        from .zarr_open import header_of

        return header_of(source, options)

    def open(self, source: Any, options: ReadOptions) -> Volume:
        """Open one resolution level lazily."""
        from .zarr_open import opened

        return opened(source, options)

    def write(self, volume: Volume, dest: Any, options: WriteOptions) -> None:
        """Stream to a store."""
        from .zarr_write import write

        write(volume, dest, options)


FORMAT = ZarrFormat()
