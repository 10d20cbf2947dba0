"""Where a Zarr store is written: a folder or a zip file that appears when it is complete, a URL, a store."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..open_file import naming
from ..volume import Volume
from .commit import check_destination, partial_directory, partial_file, partial_name
from .format import WriteOptions
from .zarr_array import ZarrArray
from .zarr_names import METADATA
from .zarr_put import Folder, ZarrStore

__all__ = ["destination"]

#: destinations of these names are zip files
_ZIPS = (".zip", ".ozx")


@contextmanager
def destination(dest: Any, volume: Volume, options: WriteOptions) -> Iterator[Any]:
    """The store to write to; a local folder appears under its name when all is done."""
    local = local_path(dest)
    if local is not None:
        _refuse_source(volume, local)
        path = check_destination(local, options.overwrite)
        if local.lower().endswith(_ZIPS):
            with _zipped(path, options.overwrite) as store:
                yield store
            return
        _check_replaceable(path)
        with partial_directory(path, options.overwrite, options.resume) as folder:
            yield Folder(str(folder))
        return
    from zarr.abc.store import Store
    from zarr.core.sync import sync
    from zarr.storage import FsspecStore

    store = dest
    if isinstance(dest, (str, os.PathLike)):
        store = FsspecStore.from_url(os.fspath(dest), storage_options=dict(options.storage_options or {}))
    if not isinstance(store, Store):
        raise FormatError(f"a Zarr destination is a path, a URL or a zarr Store; found {dest!r}")
    sync(store._ensure_open())
    _refuse_source(volume, store)
    _clear(store, options.overwrite)
    yield ZarrStore(store, str(store))


def local_path(dest: Any) -> str | None:
    """The path of a destination on this machine, however it was given."""
    if not isinstance(dest, (str, os.PathLike)):
        from zarr.storage import LocalStore

        return str(dest.root) if isinstance(dest, LocalStore) else None
    path = os.fspath(dest)
    if path.startswith("file://"):
        return path.removeprefix("file://")
    return None if "://" in path else path


def _refuse_source(volume: Volume, dest: Any) -> None:
    """Refuse to overwrite a store that the image is still to be read from."""
    for leaf in volume.data.leaves():
        if isinstance(leaf, ZarrArray) and _holds(dest, leaf.array.store_path):
            raise FormatError(
                f"{dest}: the image is read from this store, which cannot be replaced meanwhile; choose another name"
            )


def _holds(dest: Any, source: Any) -> bool:
    """Whether an array lies at or below a destination."""
    if isinstance(source, str):
        return isinstance(dest, str) and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(dest))
    from zarr.storage import LocalStore, MemoryStore

    store = source.store
    if isinstance(store, LocalStore):
        inside = Path(os.path.realpath(store.root), source.path)
        return isinstance(dest, str) and inside.is_relative_to(os.path.realpath(dest))
    if hasattr(store, "source"):
        return isinstance(dest, str) and os.path.realpath(store.source.path) == os.path.realpath(dest)
    if isinstance(store, MemoryStore):
        return isinstance(dest, MemoryStore) and store._store_dict is dest._store_dict
    # file systems make new wrappers for every store: class and path are what stays
    return not isinstance(dest, str) and (store is dest or str(store) == str(dest))


@contextmanager
def _zipped(path: Path, overwrite: bool) -> Iterator[Any]:
    """A store in a zip file without compression (RFC-9), which is none until its table of contents is written."""
    from zarr.storage import ZipStore

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder and is not replaced by a file")
    with partial_file(path, overwrite):
        store = ZipStore(partial_name(path), mode="w")
        store._sync_open()
        try:
            yield ZarrStore(store, str(path))
        finally:
            with naming(str(path)):
                store.close()
        with naming(str(path)), zipfile.ZipFile(partial_name(path), "a") as archive:
            archive.comment = b'{"ome": {"version": "0.5"}}'


def _check_replaceable(path: Any) -> None:
    """Refuse to replace a folder that is no Zarr store."""
    if path.is_dir() and any(path.iterdir()) and not any((path / name).exists() for name in METADATA):
        raise FileExistsError(f"{path} is a folder with other things than a Zarr store in it, and is not replaced")


def _clear(store: Any, overwrite: bool) -> None:
    """Refuse or empty a store that holds something; its root metadata goes first."""
    from zarr.core.sync import sync

    if sync(store.is_empty("")):
        return
    if not overwrite:
        raise FileExistsError(f"{store} is not empty; give overwrite=True (--overwrite) to replace its content")
    for name in METADATA:
        sync(store.delete(name))
    sync(store.clear())
