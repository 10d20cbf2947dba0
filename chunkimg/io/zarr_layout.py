"""Where the image is in a Zarr hierarchy: OME-Zarr of any layout, plain xarray, a lone array; what is no one image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ChunkImgError, FormatError, UnsupportedError
from . import zarr_store
from .ome_read import Axis, Multiscale, metadata_of, read_multiscale
from .zarr_array import decoding

__all__ = ["Found", "axes_of", "find", "label_names", "named_axes"]

#: how many paths an error names, and how many nodes it looks at to find them
_SHOWN, _LOOKED_AT = 8, 200
_SPACE = {"x", "y", "z"}
_DIMS = {"t": "t", "time": "t", "c": "c", "channel": "c", "channels": "c"}
#: axes of an array that has no names for them
_BARE = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}


@dataclass(frozen=True)
class Found:
    """An image in a Zarr hierarchy.

    Attributes
    ----------
    array : zarr.Array or FolderArray
        Voxels of the resolution level that was asked for.
    root : zarr.Group, FolderGroup or None
        The group that declares the image; None for an array that no group declares.
    paths : tuple of str
        Arrays of all levels, in the root.
    level : int
        Which of them it is.
    image : Multiscale or None
        The declaration as OME-Zarr.
    label : bool
        Whether it is a label image.
    """

    array: Any
    root: Any
    paths: tuple[str, ...]
    level: int = 0
    image: Multiscale | None = None
    label: bool = False

    @property
    def parent(self) -> Any:
        """The group around the array, in which its coordinates are; None for a lone array."""
        folder = self.paths[self.level].rpartition("/")[0] if self.paths else ""
        return zarr_store.child(self.root, folder) if folder and self.root is not None else self.root


def find(source: Any, level: int, storage_options: Mapping[str, Any] | None) -> Found:
    """The image of a source.

    Raises
    ------
    FormatError
        If metadata is damaged, or a level is not there.
    UnsupportedError
        If there is no image, or more than one; the message names paths to open.
    """
    node = zarr_store.open_node(source, storage_options)
    with decoding(source):
        if zarr_store.is_array(node):
            return _of_array(node, level, source)
        return _of_group(node, level, source)


def _of_group(group: Any, level: int, source: Any) -> Found:
    image = read_multiscale(dict(group.attrs), source)
    if image is not None:
        paths = tuple(each.path.strip("/") for each in image.levels)
        array = _array(group, paths, level, source)
        return Found(array, group, paths, level % len(paths), image, _is_label(group))
    series = _only_series(group, source)
    if series is not None:
        return _of_group(series, level, source)
    _refuse_collection(group, source)
    paths = _plain_levels(group, source)
    return Found(_array(group, paths, level, source), group, paths, level % len(paths))


def _array(group: Any, paths: Sequence[str], level: int, source: Any) -> Any:
    if not -len(paths) <= level < len(paths):
        raise FormatError(f"{source}: has {len(paths)} resolution levels, level {level} was asked for")
    array = zarr_store.child(group, paths[level])
    if array is None:
        raise FormatError(f"{source}: level {level} is declared at {paths[level]!r}, where there is no array")
    if not zarr_store.is_array(array):
        raise FormatError(f"{source}: level {level} is declared at {paths[level]!r}, which is no array")
    return array


def _of_array(array: Any, level: int, source: Any) -> Found:
    """An array given by its own path: a level of an image, or an image of its own."""
    if level not in (0, -1):
        raise FormatError(f"{source}: one array, level {level} was asked for; open the group that holds its levels")
    nearest = None
    for group, path in zarr_store.above(array):
        image = read_multiscale(dict(group.attrs), source)
        paths = () if image is None else tuple(each.path.strip("/") for each in image.levels)
        if path in paths:
            return Found(array, group, paths, paths.index(path), image, _is_label(group))
        nearest = nearest or (group, (path,))
    return Found(array, *(nearest or (None, ())))


def _is_label(group: Any) -> bool:
    """Whether an image is one of labels: it says so, or a group called labels lists it."""
    if "image-label" in metadata_of(dict(group.attrs)):
        return True
    place = str(group.store_path).split("/")
    if "labels" not in place[:-1]:
        return False
    return any(path in _listed(above) for above, path in zarr_store.above(group))


def _listed(group: Any) -> list[str]:
    """Paths that a group of labels lists."""
    attrs = dict(group.attrs)
    listed = metadata_of(attrs).get("labels", attrs.get("labels"))
    return [str(name).strip("/") for name in listed] if isinstance(listed, list) else []


def label_names(found: Found) -> list[str]:
    """Names of the label images beside an image."""
    if found.root is None:
        return []
    group = zarr_store.child(found.root, "labels")
    return _listed(group) if hasattr(group, "attrs") else []


# ---------------------------------------------------------------------------------------------- no one image


def _only_series(group: Any, source: Any) -> Any:
    """The one image of a collection as bioformats2raw writes it; None where the group is no such thing."""
    attrs = dict(group.attrs)
    if "bioformats2raw.layout" not in {**attrs, **metadata_of(attrs)} or "plate" in metadata_of(attrs):
        return None
    listing = zarr_store.child(group, "OME")
    named = metadata_of(dict(listing.attrs)).get("series") if hasattr(listing, "attrs") else None
    if isinstance(named, list):
        paths = [str(name) for name in named]
    else:
        # without a list, images are called 0, 1, 2 and so on
        each = map(str, range(_LOOKED_AT))
        paths = list(itertools.takewhile(lambda name: zarr_store.child(group, name) is not None, each))
    if len(paths) == 1:
        return zarr_store.child(group, paths[0])
    if not paths:
        raise FormatError(f"{source}: a collection of images without any, neither listed in OME nor called 0")
    raise UnsupportedError(f"{source}: a collection of {len(paths)} images; open one of them: {_paths(source, paths)}")


def _refuse_collection(group: Any, source: Any) -> None:
    attrs = dict(group.attrs)
    ome = metadata_of(attrs)
    if isinstance(ome.get("plate"), Mapping):
        wells = [str(w["path"]) for w in _entries(ome["plate"], "wells") if "path" in w]
        shown = [f"{w}/{p}" for w in wells[:_SHOWN] for p in _fields(zarr_store.child(group, w))][:_SHOWN]
        raise UnsupportedError(
            f"{source}: a plate of {len(wells)} wells, not one image; open an image of it: {_paths(source, shown)}"
        )
    if isinstance(ome.get("well"), Mapping):
        paths = _fields(group)
        raise UnsupportedError(f"{source}: a well of {len(paths)} images; open one of them: {_paths(source, paths)}")
    if isinstance(ome.get("scene"), Mapping):
        inputs = [t.get("input") for t in _entries(ome["scene"], "coordinateTransformations")]
        paths = [str(i["path"]) for i in inputs if isinstance(i, Mapping) and "path" in i]
        raise UnsupportedError(f"{source}: a scene of several images; open one of them: {_paths(source, paths)}")
    if _listed(group):
        raise UnsupportedError(f"{source}: a group of label images; open one of them: {_paths(source, _listed(group))}")


def _entries(owner: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = owner.get(key)
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _fields(well: Any) -> list[str]:
    """Paths of the images of a well."""
    ome = metadata_of(dict(well.attrs)) if hasattr(well, "attrs") else {}
    entry = ome.get("well")
    return [str(i["path"]) for i in _entries(entry, "images") if "path" in i] if isinstance(entry, Mapping) else []


def _paths(source: Any, paths: Sequence[str]) -> str:
    base = str(source).rstrip("/")
    shown = [f"{base}/{p}" for p in paths[:_SHOWN]]
    return ", ".join([*shown, *([f"… ({len(paths) - _SHOWN} more)"] if len(paths) > _SHOWN else [])]) or "none is there"


# ---------------------------------------------------------------------------------------------- plain xarray


def _plain_levels(group: Any, source: Any) -> tuple[str, ...]:
    """Paths of the one image of a group without OME metadata, or of its levels in scale0, scale1 and so on."""
    images = list(_images(group))
    if not images:
        scales = []
        for k in itertools.count():
            scale = zarr_store.child(group, f"scale{k}")
            inside = list(_images(scale)) if zarr_store.is_group(scale) else []
            if len(inside) != 1:
                break
            scales.append(f"scale{k}/{inside[0]}")
        if scales:
            return tuple(scales)
    if len(images) == 1:
        return (images[0],)
    if images:
        raise UnsupportedError(f"{source}: holds {len(images)} images; open one of them: {_paths(source, images)}")
    others = [n for n in zarr_store.names(group)[:_LOOKED_AT] if _member(group, n) is not None]
    raise UnsupportedError(
        f"{source}: this Zarr group declares no OME-Zarr image, and none of its arrays has axes called x, y, z (two at "
        f"least); if one is an image, open it by its path: {_paths(source, others)}"
    )


def _images(group: Any) -> Iterator[str]:
    """Names of the arrays of a group that have two or more axes of space by name."""
    for name in zarr_store.names(group)[:_LOOKED_AT]:
        node = _member(group, name)
        if zarr_store.is_array(node):
            axes = named_axes(node)
            if axes is not None and name not in axes and sum(a.lower() in _SPACE for a in axes) >= 2:
                yield name


def _member(group: Any, name: str) -> Any:
    """A node of a group, None if it cannot be opened: another of them may be the image."""
    try:
        with decoding(f"{group.store_path}/{name}"):
            return zarr_store.child(group, name)
    except (ChunkImgError, PermissionError):
        return None


def named_axes(array: Any) -> tuple[str, ...] | None:
    """Names of an array's axes (Zarr v3, or as xarray keeps them in v2), or None where not all have one."""
    found = zarr_store.dimension_names(array) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(found, (list, tuple)) or len(found) != array.ndim:
        return None
    return tuple(found) if all(isinstance(name, str) for name in found) else None


def axes_of(found: Found, source: Any) -> tuple[Axis, ...]:
    """The axes of the image's array, as OME-Zarr declares them, or by their names, or z, y, x of a lone array.

    Raises
    ------
    FormatError
        If OME-Zarr and the array contradict each other.
    UnsupportedError
        If nothing says what the axes are.
    """
    named = named_axes(found.array)
    if found.image is not None:
        declared = tuple(a.name for a in found.image.axes)
        if named is not None and named != declared and sorted(named) == sorted(declared):
            raise FormatError(
                f"{source}: OME-Zarr metadata has the axes {', '.join(declared)}, the array {found.array.path!r} "
                f"{', '.join(named)}: their order must be the same"
            )
        return found.image.axes
    bare = _BARE.get(found.array.ndim)
    if named is None and bare is None:
        raise UnsupportedError(
            f"{source}: the {found.array.ndim} axes of this array have no names, so nothing says what they are; name "
            "them t, c, z, y, x (dimension_names in Zarr v3, _ARRAY_DIMENSIONS in v2)"
        )
    return tuple(Axis(n, "space" if n.lower() in _SPACE else _DIMS.get(n.lower(), "")) for n in named or bare or ())
