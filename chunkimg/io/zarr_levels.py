"""Resolution levels of an image in a store, with what OME says of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ChunkImgError
from .ome_read import level_paths
from .zarr_tree import Documents, Node

__all__ = ["Level", "levels_of"]


@dataclass(frozen=True)
class Level:
    """One resolution level.

    Attributes
    ----------
    path : str
        Of its array.
    node : Node
        The array's metadata.
    array : zarr.Array
        The array.
    dims : tuple of str
        Names of its axes.
    fits : bool
        Whether as many axes are declared as the array has.
    scale, start : tuple of float or None
        What OME says.
    """

    path: str
    node: Node
    array: Any
    dims: tuple[str, ...]
    fits: bool
    scale: tuple[float, ...] | None
    start: tuple[float, ...] | None

    @property
    def sizes(self) -> dict[str, int]:
        """Size by dim."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    def sibling(self, name: str) -> str:
        """Path of another array beside this one."""
        folder = self.path.rpartition("/")[0]
        return f"{folder}/{name}" if folder else name


def levels_of(
    group: Node, nodes: Mapping[str, Node], documents: Documents
) -> tuple[list[Level], list[tuple[int, str]]]:
    """Levels of the first multiscale image that a group declares, and number and path of those that are not there.

    Arrays that are there and do not open are in neither.
    """
    levels: list[Level] = []
    missing = []
    for number, dataset in enumerate(_datasets(group)):
        found = _level(group, dataset, nodes, documents)
        if isinstance(found, Level):
            levels.append(found)
        elif found is not None:
            missing.append((number, found))
    return levels, missing


def _datasets(group: Node) -> list[Any]:
    source = group.attrs.get("ome")
    declared = source.get("multiscales") if isinstance(source, dict) else group.attrs.get("multiscales")
    # level_paths has found them
    return list(declared[0]["datasets"]) if level_paths(group.attrs) and declared else []


def _axes(group: Node) -> list[str]:
    """Names of the axes, in 0.4, 0.5 and 0.3; empty where none are declared."""
    source = group.attrs.get("ome")
    declared: Any = source.get("multiscales") if isinstance(source, dict) else group.attrs.get("multiscales")
    axes = declared[0].get("axes")
    if not isinstance(axes, list):
        return []
    return [str(a.get("name")) if isinstance(a, dict) else str(a) for a in axes]


def _level(group: Node, dataset: Any, nodes: Mapping[str, Node], documents: Documents) -> Level | str | None:
    """A level; its path where it does not open; None where that is reported with the arrays."""
    path = group.key(str(dataset["path"]).strip("/"))
    node = nodes.get(path)
    if node is None or node.kind != "array":
        return path
    try:
        array = documents.array(path)
    except (ChunkImgError, OSError):
        return None
    names = _axes(group) or list(node.document.get("dimension_names") or [])
    # NGFF before 0.3 names no axes
    fits = not names or len(names) == array.ndim
    if len(names) != array.ndim:
        names = [f"axis {k}" for k in range(array.ndim)]
    return Level(path, node, array, tuple(map(str, names)), fits, *_transforms(dataset, array.ndim))


def _transforms(dataset: Any, ndim: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    found: dict[str, tuple[float, ...]] = {}
    transforms = dataset.get("coordinateTransformations")
    for entry in transforms if isinstance(transforms, list) else ():
        kind = entry.get("type") if isinstance(entry, dict) else None
        values = entry.get(kind) if kind in ("scale", "translation") else None
        if isinstance(values, list) and len(values) == ndim and all(isinstance(v, (int, float)) for v in values):
            found[str(kind)] = tuple(map(float, values))
    return found.get("scale"), found.get("translation")
