"""Checking Zarr stores: metadata, levels, geometry in every place where it stands, and that every chunk decodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ChunkImgError, UnsupportedError
from .format import CheckOptions, Finding, Format, ReadOptions
from .ome_read import level_paths
from .ome_schema import problems
from .zarr_chunks import check_chunks
from .zarr_image import check_image
from .zarr_names import ROOT_KEY
from .zarr_store import open_node
from .zarr_tree import Documents, Node, Tree

__all__ = ["check"]

#: attributes by which a group says that OME-NGFF applies to it (0.5; 0.4)
_OME_KEYS = ("ome", "multiscales", "plate", "well", "image-label", "bioformats2raw.layout")


def check(format: Format, source: Any, options: CheckOptions) -> Iterator[Finding]:
    """Findings about a Zarr store, all its images, levels and labels among them."""
    documents = _documents(source, options)
    tree = Tree(documents)
    nodes = tree.walk()
    if not documents.lists:
        text = "the store cannot list what it holds: nodes are those of its consolidated metadata, and chunks that are "
        yield Finding("note", str(source), text + "missing are not noticed")
    yield from (Finding("error", key, message) for key, message in tree.problems)
    yield from (Finding("note", path, "is no Zarr node: it has no metadata") for path in tree.strays)
    sound = not tree.problems
    for finding in _metadata(nodes, documents):
        sound = sound and finding.severity != "error"
        yield finding
    if sound and nodes[""].kind == "array":
        yield Finding("note", str(source), "an array, and no image: it states no axes and no position")
    elif sound:
        yield from _opens(format, source, nodes, options)
    if not options.quick:
        yield from _voxels(nodes, documents, options)


def _documents(source: Any, options: CheckOptions) -> Documents:
    node = open_node(source, options.storage_options, by_zarr=True)
    return Documents(node.store_path)


def _metadata(nodes: Mapping[str, Node], documents: Documents) -> Iterator[Finding]:
    """What can be said without reading a voxel."""
    for path, node in nodes.items():
        yield from _consolidated(node, nodes)
        if node.kind == "array":
            yield from _array_opens(path, documents)
        elif any(key in node.attrs for key in _OME_KEYS):
            yield from _schema(node)
        if node.kind == "group" and level_paths(node.attrs):
            yield from check_image(node, nodes, documents)
        elif node.kind == "group" and ROOT_KEY in node.attrs:
            text = f"the attribute {ROOT_KEY!r} says that this is an image, and OME-Zarr metadata names no level of it"
            yield Finding("error", path or "zarr.json", text)
        labels = node.attrs.get("labels", _ome(node).get("labels"))
        if node.kind == "group" and path.rpartition("/")[2] == "labels" and isinstance(labels, list):
            for name in labels:
                if node.key(str(name)) not in nodes:
                    yield Finding("error", path, f"the label image {name!r} is declared and not there")


def _ome(node: Node) -> Mapping[str, Any]:
    found = node.attrs.get("ome")
    return found if isinstance(found, dict) else {}


def _schema(node: Node) -> Iterator[Finding]:
    """Violations of the OME-NGFF schema."""
    for problem in problems(node.attrs):
        yield Finding("error", node.path or "zarr.json", f"OME-Zarr: {problem}")


def _consolidated(node: Node, nodes: Mapping[str, Node]) -> Iterator[Finding]:
    """Consolidated metadata against the documents of the nodes themselves: readers use the one or the other."""
    claimed = node.claims()
    for path, document in claimed.items():
        if path not in nodes:
            yield Finding(
                "error", path, "consolidated metadata declares this node, and its own metadata is missing or unreadable"
            )
            continue
        found = nodes[path]
        for name in _contradictions(document, found):
            yield Finding(
                "error", path, f"consolidated metadata contradicts the node's own in {name!r}: consolidate it again"
            )
    absent = [p for p in nodes if claimed and p not in claimed and p != node.path and p.startswith(node.key("") or p)]
    for path in absent:
        severity: Any = "note" if "labels" in path.split("/") else "warning"
        yield Finding(severity, path, "consolidated metadata does not know this node: some readers do not see it")


def _contradictions(document: Any, node: Node) -> list[str]:
    if not isinstance(document, dict):
        return ["metadata"]
    a, b = _spelt_out(document), _spelt_out(node.document)
    out = [
        key
        for key, value in a.items()
        if key not in ("attributes", "consolidated_metadata") and key in b and b[key] != value
    ]
    attributes = document.get("attributes")
    if isinstance(attributes, dict):
        keys = sorted({*attributes, *node.attrs})
        out += [f"attributes/{k}" for k in keys if attributes.get(k, ...) != node.attrs.get(k, ...)]
    return out


def _spelt_out(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata of a v3 array with its defaults, which a writer may leave out in one place and not in another."""
    from zarr.core.metadata.v3 import ArrayV3Metadata

    if document.get("node_type") != "array":
        return document
    try:
        return {**document, **ArrayV3Metadata.from_dict(dict(document)).to_dict()}
    except Exception:
        # what zarr does not understand is compared as it stands
        return document


def _array_opens(path: str, documents: Documents) -> Iterator[Finding]:
    try:
        documents.array(path)
    except (ChunkImgError, OSError) as error:
        yield Finding("error", path, str(error))


def _opens(format: Format, source: Any, nodes: Mapping[str, Node], options: CheckOptions) -> Iterator[Finding]:
    """Whether chunkimg reads the image at the root."""
    for level in range(len(level_paths(nodes[""].attrs)) or 1):
        try:
            format.open(source, ReadOptions(level=level, storage_options=options.storage_options))
        except UnsupportedError as error:
            yield Finding("warning", str(source), f"chunkimg does not open this as an image: {error}")
            return
        except (ChunkImgError, OSError) as error:
            yield Finding("error", str(source), f"level {level} does not open: {error}")


def _voxels(nodes: Mapping[str, Node], documents: Documents, options: CheckOptions) -> Iterator[Finding]:
    arrays = []
    for path, node in nodes.items():
        if node.kind == "array":
            try:
                arrays.append((path, documents.array(path)))
            except (ChunkImgError, OSError):
                # reported with the metadata
                continue
    if options.progress is not None:
        options.progress.start(sum(int(a.size) * a.dtype.itemsize for _, a in arrays))
    for path, array in arrays:
        yield from check_chunks(path, array, documents, options)
