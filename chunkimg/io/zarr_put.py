"""Where the objects of a Zarr store go: a folder, or any store of zarr-python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..open_file import OpenFile, naming
from .commit import empty_folder
from .zarr_folder import FolderArray
from .zarr_spec import ArraySpec

__all__ = ["Folder", "Store", "ZarrStore"]


class Store(Protocol):
    """What a writer needs of a store; called from many threads."""

    def put(self, key: str, *parts: bytes) -> None:
        """Write an object, whole or not at all; what is in it comes in parts."""

    def has(self, key: str) -> bool:
        """Whether an object is there."""

    def array(self, path: str, spec: ArraySpec, document: Mapping[str, Any]) -> Any:
        """An array whose chunks are there and whose metadata is not yet, as `ZarrArray` takes it."""


class Folder:
    """A local folder.

    Parameters
    ----------
    path : str
        It exists.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def put(self, key: str, *parts: bytes) -> None:
        """Write a file; it appears under its name when it is whole."""
        path = f"{self.path}/{key}"
        partial = f"{path}.partial"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(partial, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(partial, flags, 0o666)
        try:
            file, end = OpenFile(fd, path), 0
            for part in parts:
                end = file.write(part, end)
        finally:
            os.close(fd)
        os.replace(partial, path)

    def get(self, key: str) -> bytes | None:
        """The content of a file, or None if there is none."""
        try:
            with open(f"{self.path}/{key}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """Remove everything."""
        empty_folder(Path(self.path))

    def remove(self, key: str) -> None:
        """Remove a file."""
        os.unlink(f"{self.path}/{key}")

    def has(self, key: str) -> bool:
        """Whether a file is there."""
        return os.path.exists(f"{self.path}/{key}")

    def array(self, path: str, spec: ArraySpec, document: Mapping[str, Any]) -> Any:
        """An array whose metadata is not there yet."""
        return FolderArray(self.path, path, document["zarr_format"], {}, spec, document)


class ZarrStore:
    """A store of zarr-python.

    Parameters
    ----------
    store : zarr.abc.store.Store
        Opened for writing.
    name : str
        What errors call it that name nothing.
    """

    def __init__(self, store: Any, name: str) -> None:
        self.store, self.name = store, name

    def put(self, key: str, *parts: bytes) -> None:
        """Write an object."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        with naming(self.name):
            sync(self.store.set(key, default_buffer_prototype().buffer.from_bytes(b"".join(parts))))

    def has(self, key: str) -> bool:
        """Whether an object is there."""
        from zarr.core.sync import sync

        return bool(sync(self.store.exists(key)))

    def array(self, path: str, spec: ArraySpec, document: Mapping[str, Any]) -> Any:
        """An array whose metadata is not there yet."""
        import zarr
        from zarr.storage import StorePath

        metadata: Any = dict(document)
        return zarr.Array(zarr.AsyncArray(metadata, StorePath(self.store, path)))
