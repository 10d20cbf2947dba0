"""The nodes of a Zarr store as their metadata documents say, whatever consolidated metadata claims."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FormatError
from .zarr_array import decoding
from .zarr_store import opened

__all__ = ["Documents", "Node", "Tree"]

#: documents larger than this are not read as metadata
_MAX_DOCUMENT = 256 << 20
_V2 = (".zarray", ".zgroup")


@dataclass(frozen=True)
class Node:
    """A group or an array.

    Attributes
    ----------
    path : str
        Inside the store; the root is empty.
    kind : str
        ``"group"`` or ``"array"``.
    document : dict
        The metadata document, without attributes and without consolidated metadata of other nodes.
    attrs : dict
        Attributes.
    consolidated : dict
        Document by path relative to this node, where it holds such; in Zarr v2 by file name.
    """

    path: str
    kind: str
    document: dict[str, Any]
    attrs: dict[str, Any]
    consolidated: dict[str, Any] = field(default_factory=dict)

    def claims(self) -> dict[str, Any]:
        """Documents of other nodes that this one repeats, by their path."""
        out = {}
        for key, document in self.consolidated.items():
            path, _, name = key.rpartition("/")
            if name in _V2:
                attributes = self.consolidated.get(f"{path}/.zattrs".lstrip("/"), {})
                out[self.key(path)] = {**document, "attributes": attributes} if isinstance(document, dict) else document
            elif name != ".zattrs":
                out[self.key(key)] = document
        return out

    def key(self, name: str = "") -> str:
        """A key below this node."""
        return "/".join(part for part in (self.path, name) if part)


class Documents:
    """Reads keys of a store, synchronously.

    Parameters
    ----------
    place : zarr StorePath
        Store, and the path in it that is the root here.
    """

    def __init__(self, place: Any) -> None:
        self.store, self.root = place.store, place.path.strip("/")

    def full(self, key: str) -> str:
        """A key of the store for one below the root."""
        return "/".join(part for part in (self.root, key) if part)

    def get(self, key: str) -> bytes | None:
        """What is stored under a key, or None."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        found = sync(self.store.get(self.full(key), default_buffer_prototype()))
        return None if found is None else bytes(found.to_bytes())

    def head(self, key: str, count: int) -> tuple[bytes, int]:
        """The first bytes stored under a key, and the size of all."""
        from zarr.abc.store import RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        full = self.full(key)
        found = sync(self.store.get(full, default_buffer_prototype(), RangeByteRequest(0, count)))
        return (b"", 0) if found is None else (bytes(found.to_bytes()), int(sync(self.store.getsize(full))))

    def names(self, path: str) -> list[str]:
        """Names directly below a path."""
        from zarr.core.sync import sync

        async def listed() -> list[str]:
            return [str(name).strip("/") async for name in self.store.list_dir(self.full(path))]

        return sorted({name for name in sync(listed()) if name})

    def keys(self, path: str) -> Iterator[str]:
        """All keys below a path, relative to it, without holding more than a few thousand."""
        from zarr.core.sync import sync

        prefix = self.full(path)
        prefix = f"{prefix}/" if prefix else ""
        source = self.store.list_prefix(prefix)

        async def some() -> list[str]:
            out: list[str] = []
            async for key in source:
                out.append(str(key).removeprefix(prefix))
                if len(out) == 4096:
                    break
            return out

        while batch := sync(some()):
            yield from batch

    def array(self, path: str) -> Any:
        """The array at a path, opened by its own metadata.

        Raises
        ------
        FormatError
            If zarr cannot.
        """
        with decoding(path):
            array = opened(self.store, self.full(path))
        if not hasattr(array, "shape"):
            raise FormatError(f"{path}: is no array")
        return array

    @property
    def lists(self) -> bool:
        """Whether the store can say what it holds."""
        return bool(self.store.supports_listing)


class Tree:
    """Walks a store; what is wrong with documents is collected in `problems` as (key, message)."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.problems: list[tuple[str, str]] = []
        #: folders that are no node
        self.strays: list[str] = []

    def walk(self) -> dict[str, Node]:
        """All nodes by path, parents before their children."""
        out: dict[str, Node] = {}
        waiting = [""]
        while waiting:
            path = waiting.pop()
            node = self.node(path)
            if node is None:
                if path:
                    self.strays.append(path)
                continue
            out[path] = node
            if node.kind == "group":
                waiting += [p for p in reversed(self._children(node)) if p not in out]
        return out

    def _children(self, node: Node) -> list[str]:
        """Paths of what may be nodes below one."""
        if not self.documents.lists:
            return sorted(p for p in node.claims() if p)
        names = self.documents.names(node.path)
        return [node.key(name) for name in names if not name.startswith(".") and name != "zarr.json"]

    def node(self, path: str) -> Node | None:
        """The node at a path, or None where there is none that can be read."""
        prefix = f"{path}/" if path else ""
        document = self._read(f"{prefix}zarr.json")
        if document is not None:
            consolidated = _mapping(_mapping(document.pop("consolidated_metadata", None)).get("metadata"))
            attrs = _mapping(document.pop("attributes", None))
            return Node(path, str(document.get("node_type", "")), document, dict(attrs), dict(consolidated))
        for name in _V2:
            document = self._read(prefix + name)
            if document is not None:
                attrs = self._read(f"{prefix}.zattrs") or {}
                consolidated = _mapping((self._read(f"{prefix}.zmetadata") or {}).get("metadata"))
                kind = "array" if name == ".zarray" else "group"
                return Node(path, kind, document, dict(attrs), dict(consolidated))
        return None

    def _read(self, key: str) -> dict[str, Any] | None:
        raw = self.documents.get(key)
        if raw is None:
            return None
        try:
            return strict_document(raw)
        except FormatError as error:
            if (key, str(error)) not in self.problems:
                self.problems.append((key, str(error)))
        try:
            loose = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        return loose if isinstance(loose, dict) else None


def strict_document(raw: bytes) -> dict[str, Any]:
    """A JSON object as the JSON standard has it.

    Raises
    ------
    FormatError
        If it is not that; NaN and infinities are no JSON.
    """
    if len(raw) > _MAX_DOCUMENT:
        raise FormatError(f"{len(raw)} bytes of metadata; more than {_MAX_DOCUMENT} are not read")

    def refuse(name: str) -> Any:
        raise FormatError(f"{name} is not JSON: strict readers (tensorstore among them) refuse the node")

    try:
        found = json.loads(raw, parse_constant=refuse)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"is not a JSON object but {type(found).__name__}")
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
