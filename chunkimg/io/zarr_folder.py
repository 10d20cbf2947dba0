"""Zarr arrays and groups in local folders, read without zarr-python, whose import takes longer than most regions.

Documents that are not understood here (see `zarr_spec`) are left to zarr-python: `node` then returns None.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import FormatError
from ..lazy import Block
from .zarr_read import read_region
from .zarr_spec import ArraySpec

__all__ = ["FolderArray", "FolderGroup", "node"]

#: larger documents are not read here
_MOST = 64 << 20


@dataclass(frozen=True)
class FolderGroup:
    """A group.

    Attributes
    ----------
    root, path : str
        Folder of the store, and path of the node in it.
    zarr_format : int
        2 or 3.
    attrs : dict
        User attributes.
    """

    root: str
    path: str
    zarr_format: int
    attrs: Mapping[str, Any] = field(repr=False)

    @property
    def store_path(self) -> str:
        """Where it lies, for people."""
        return os.path.join(self.root, *self.path.split("/")) if self.path else self.root


@dataclass(frozen=True)
class FolderArray(FolderGroup):
    """An array.

    Attributes
    ----------
    spec : ArraySpec
        How it is stored.
    document : dict
        Its metadata.
    stamp : tuple of int or None
        Size and time of change of the file of its metadata, and identity of its folder; None if there is no file yet.
    """

    spec: ArraySpec = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    stamp: tuple[int, int, int] | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""
        return self.spec.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.spec.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type as stored."""
        return self.spec.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is compressed as one piece."""
        return self.spec.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """What is stored under one key where that is more than a chunk."""
        return self.spec.shards

    @property
    def dimension_names(self) -> Any:
        """Names of the axes (v3), or None."""
        return self.document.get("dimension_names")

    @property
    def document_name(self) -> str:
        """File of its metadata."""
        return os.path.join(self.store_path, "zarr.json" if self.zarr_format == 3 else ".zarray")

    def stamped(self) -> FolderArray:
        """The same, as it lies there now."""
        return replace(self, stamp=self._now())

    def require_same(self) -> None:
        """Raise if another array has taken its place: what is read of both would be of neither.

        Attributes may change, or the array grow: its folder is the same then. Of a copy on another machine the folder
        is another, and the file as old. Chunks that are not stored are zeros, but a store that is not there is none.
        """
        try:
            if self.stamp is None:
                os.stat(self.root)
                return
            now = self._now()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "the store is not there any more", self.root) from None
        if now[:2] != self.stamp[:2] and now[2] != self.stamp[2]:
            raise FormatError(f"{self.store_path}: the array has been replaced since it was opened; open it again")

    def _now(self) -> tuple[int, int, int]:
        found = os.stat(self.document_name)
        return found.st_size, found.st_mtime_ns, os.stat(self.store_path).st_ino

    def __getitem__(self, key: Any) -> Block:
        """All values (of coordinates and other small arrays)."""
        if key is not Ellipsis:
            raise TypeError("arrays in folders are read whole with [...], and by region with zarr_read.read_region")
        return read_region(self.store_path, self.spec, tuple(range(n) for n in self.shape))


def node(root: str, path: str = "") -> FolderGroup | FolderArray | None:
    """The node at a path of a store in a folder.

    None if there is none, or one that is left to zarr-python.
    """
    if {".", ".."} & set(path.split("/")):
        # no path in a store leads out of it
        return None
    folder = os.path.join(root, *path.split("/")) if path else root
    try:
        found = _of_v3(root, path, folder) if os.path.exists(f"{folder}/zarr.json") else _of_v2(root, path, folder)
    except (OSError, ValueError, RecursionError):
        return None
    return found


def _of_v3(root: str, path: str, folder: str) -> FolderGroup | FolderArray | None:
    document = _document(f"{folder}/zarr.json")
    attrs = None if document is None else document.get("attributes", {})
    if document is None or document.get("zarr_format") != 3 or not isinstance(attrs, dict):
        return None
    if document.get("node_type") == "group":
        return FolderGroup(root, path, 3, attrs)
    spec = ArraySpec.of(document)
    return None if spec is None else FolderArray(root, path, 3, attrs, spec, document).stamped()


def _of_v2(root: str, path: str, folder: str) -> FolderGroup | FolderArray | None:
    attrs = _document(f"{folder}/.zattrs") if os.path.exists(f"{folder}/.zattrs") else {}
    if attrs is None:
        return None
    if os.path.exists(f"{folder}/.zarray"):
        document = _document(f"{folder}/.zarray")
        spec = None if document is None else ArraySpec.of(document)
        return None if document is None or spec is None else FolderArray(root, path, 2, attrs, spec, document).stamped()
    group = _document(f"{folder}/.zgroup") if os.path.exists(f"{folder}/.zgroup") else None
    return FolderGroup(root, path, 2, attrs) if group is not None and group.get("zarr_format") == 2 else None


def _document(path: str) -> dict[str, Any] | None:
    with open(path, "rb") as file:
        raw = file.read(_MOST + 1)
    found = json.loads(raw) if len(raw) <= _MOST else None
    return found if isinstance(found, dict) else None
