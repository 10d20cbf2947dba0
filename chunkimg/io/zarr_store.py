"""Zarr nodes of any source: folders, zip files, URLs, stores; and what lies above and below them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import ChunkImgError, FormatError, MissingExtraError, UnsupportedError
from . import zarr_folder
from .zarr_folder import FolderArray, FolderGroup
from .zarr_names import METADATA, is_node, split_zip

__all__ = [
    "above",
    "child",
    "codec_names",
    "dimension_names",
    "is_array",
    "is_group",
    "names",
    "open_node",
    "opened",
    "version_of",
]

#: how far above an array the group that declares its image may be (labels/nuclei/scale0/image)
_ABOVE = 3


def open_node(source: Any, storage_options: Mapping[str, Any] | None = None, *, by_zarr: bool = False) -> Any:
    """The Zarr group or array of a source: in a local folder without zarr-python, if it is understood so.

    Raises
    ------
    FormatError
        If there is none, or its metadata is damaged.
    MissingExtraError
        If it is a URL of a kind that nothing installed reads.
    """
    where, path = _place(source)
    if isinstance(where, str) and "://" not in where and not by_zarr:
        found = zarr_folder.node(os.path.abspath(where))
        if found is not None:
            return found
    options = dict(storage_options) if storage_options else None
    try:
        return opened(where, path, options)
    except FileNotFoundError as error:
        raise FormatError(
            f"{source}: no Zarr group or array is here: there is no zarr.json (v3), .zgroup or .zarray (v2); was its "
            "write interrupted?"
        ) from error
    except (OSError, MemoryError, ChunkImgError):
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"{source}: {error}; what S3 and HTTP need comes with: pip install 'chunkimg[remote]'"
        ) from error
    except Exception as error:
        raise FormatError(f"{source}: no Zarr group or array can be opened here: {error}") from error


def opened(where: Any, path: str | None, storage_options: dict[str, Any] | None = None) -> Any:
    """The node at a path of a store, also an array as a draft of Zarr v3 had it."""
    import zarr

    if isinstance(where, (str, os.PathLike)) and "://" not in os.fspath(where):
        from zarr.storage import LocalStore

        # zarr would take two colons in a name for a chain of file systems
        where, storage_options = LocalStore(os.fspath(where), read_only=True), None
    with _lenient():
        try:
            return zarr.open(where, mode="r", path=path, storage_options=storage_options)
        except TypeError:
            array = _draft_array(where, path or "")
            if array is None:
                raise
            return array


def _place(source: Any) -> tuple[Any, str | None]:
    """What zarr opens: a path, URL or store, and a path in it."""
    if not isinstance(source, (str, os.PathLike)):
        return source, None
    path = os.fspath(source)
    if "://" in path:
        return path, None
    inside = split_zip(path)
    if inside is None:
        return path, None
    from .zarr_zip import ZipFolder

    store, inner = ZipFolder.open_at(*inside)
    return store, inner or None


def _draft_array(where: Any, path: str) -> Any:
    """An array whose metadata has transpositions as a draft of Zarr v3 had them: order C or F instead of axes."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import LocalStore, StorePath

    if isinstance(where, (str, os.PathLike)):
        where = LocalStore(os.fspath(where), read_only=True)
    raw = sync(where.get(f"{path}/zarr.json".lstrip("/"), default_buffer_prototype()))
    document: Any = None if raw is None else json.loads(raw.to_bytes())
    if not isinstance(document, dict) or not isinstance(document.get("shape"), list):
        return None
    metadata: Any = {**document, "codecs": _with_axes(document.get("codecs"), len(document["shape"]))}
    return zarr.Array(zarr.AsyncArray(metadata, StorePath(where, path)))


def _with_axes(value: Any, ndim: int) -> Any:
    """JSON of codecs with every order C or F as a list of axes; codecs of shards have codecs within."""
    if isinstance(value, list):
        return [_with_axes(v, ndim) for v in value]
    if isinstance(value, dict):
        orders = {"C": list(range(ndim)), "F": list(range(ndim))[::-1]}
        named = {k: v for k, v in value.items() if k == "order" and isinstance(v, str)}
        return {k: orders.get(v, v) if k in named else _with_axes(v, ndim) for k, v in value.items()}
    return value


def is_array(node: Any) -> bool:
    """Whether a node is an array."""
    return hasattr(node, "chunks")


def is_group(node: Any) -> bool:
    """Whether a node is a group."""
    return node is not None and not is_array(node)


def version_of(node: Any) -> int:
    """Version of Zarr of a node, 2 or 3."""
    return int(node.zarr_format if isinstance(node, FolderGroup) else node.metadata.zarr_format)


def dimension_names(array: Any) -> Any:
    """Names of an array's axes as Zarr v3 has them, or None."""
    return array.dimension_names if isinstance(array, FolderArray) else getattr(array.metadata, "dimension_names", None)


def codec_names(array: Any) -> list[str]:
    """Names of the codecs of bytes of an array."""
    if isinstance(array, FolderArray):
        named = [] if array.spec.compressor is None else [array.spec.compressor.name]
        return [*named, *(["crc32c"] if array.spec.checksum else [])]
    return [str(getattr(c, "codec_id", None) or c.to_dict()["name"]) for c in array.compressors]


def child(group: Any, path: str) -> Any:
    """The node at a path of a group, or None; what consolidated metadata does not know is looked for in the store."""
    if isinstance(group, FolderGroup):
        inner = _joined(group.path, path)
        found = None if is_array(group) else zarr_folder.node(group.root, inner)
        if found is not None or not is_node(os.path.join(group.root, inner)):
            return found
        # zarr-python understands more, or says what is wrong
        group = opened(group.root, group.path)
    return _child_by_zarr(group, path)


def _child_by_zarr(group: Any, path: str) -> Any:
    import zarr
    from zarr.storage import StorePath

    with _lenient():
        try:
            return group[path]
        except (KeyError, FileNotFoundError):
            if group.metadata.consolidated_metadata is None:
                return None
        try:
            place = StorePath(group.store, _joined(group.path, path))
            return zarr.open(place, mode="r", zarr_format=group.metadata.zarr_format)
        except (KeyError, FileNotFoundError):
            return None


@contextmanager
def _lenient() -> Iterator[None]:
    """Let pass what zarr warns about in metadata that others wrote, which it reads all the same."""
    import zarr.errors

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", getattr(zarr.errors, "ZarrUserWarning", UserWarning))
        yield


def _joined(*parts: str) -> str:
    return "/".join(p.strip("/") for p in parts if p.strip("/"))


def names(group: Any) -> list[str]:
    """Names of what lies in a group, sorted, numbers by value.

    Raises
    ------
    UnsupportedError
        If the store cannot list.
    """
    listed = os.listdir(group.store_path) if isinstance(group, FolderGroup) else _listed(group)
    found = {n.strip("/") for n in listed} - set(METADATA) - {".zmetadata"}
    return sorted(found, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))


def _listed(group: Any) -> list[str]:
    from zarr.core.sync import sync

    async def collect() -> list[str]:
        return [name async for name in group.store.list_dir(group.path)]

    if not group.store.supports_listing:
        raise UnsupportedError(f"{group.store_path}: what lies in this group cannot be listed here; give a path in it")
    return sync(collect())


def above(node: Any) -> Iterator[tuple[Any, str]]:
    """The groups above a node, nearest first, each with the path of the node in it."""
    if isinstance(node, FolderGroup):
        yield from _folders_above(node)
        return
    import zarr

    place, path = node.store_path, ""
    for _ in range(_ABOVE):
        parent = _parent(place)
        if parent is None:
            return
        place, name = parent
        path = _joined(name, path)
        try:
            group = zarr.open_group(place, mode="r")
        except FileNotFoundError:
            return
        yield group, path


def _folders_above(node: FolderGroup) -> Iterator[tuple[Any, str]]:
    folder, path = node.store_path, ""
    for _ in range(_ABOVE):
        folder, name = os.path.split(folder)
        path = _joined(name, path)
        group = zarr_folder.node(folder)
        if group is None or is_array(group):
            return
        yield group, path


def _parent(place: Any) -> tuple[Any, str] | None:
    """The place above another, in its store or in the folder around it, and the name of that other."""
    from zarr.storage import FsspecStore, LocalStore, StorePath

    if place.path:
        head, _, name = place.path.rpartition("/")
        return StorePath(place.store, head), name
    if isinstance(place.store, LocalStore):
        root = place.store.root.absolute()
        return (StorePath(LocalStore(root.parent, read_only=True)), root.name) if is_node(str(root.parent)) else None
    if isinstance(place.store, FsspecStore):
        head, _, name = place.store.path.rstrip("/").rpartition("/")
        if head.strip("/") and not head.endswith((":", ":/")):
            return StorePath(FsspecStore(place.store.fs, path=head, read_only=True)), name
    return None
