"""What OME-Zarr metadata says of an image: axes, levels, positions, channels (versions 0.1 to 0.5, simple 0.6).

Positions along an axis are ``start + scale * index``: the transformations of a level in their order, then those of all
levels. Versions before 0.4 know no positions; the axes of 0.1 and 0.2 are t, c, z, y, x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, UnsupportedError
from ..volume import CHANNEL_NAMES, DIMS, OMERO

__all__ = ["Axis", "Level", "Multiscale", "channels_of", "dims_of", "level_paths", "metadata_of", "read_multiscale"]

_OLD = ("0.1", "0.2", "0.3")
_SPACE = ("z", "y", "x")
_TYPES = {"time": "t", "channel": "c", "space": "space"}
#: what axes of no stated type are called
_NAMES = {"t": "t", "time": "t", "c": "c", "channel": "c", "channels": "c", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Axis:
    """An axis of an image: its name, what it is (``"t"``, ``"c"``, ``"space"`` or ``""``), unit and orientation."""

    name: str
    kind: str
    unit: str | None = None
    orientation: str | None = None


@dataclass(frozen=True)
class Level:
    """A resolution level: path of its array, and positions along its axes; None where nothing is said of them."""

    path: str
    scale: tuple[float, ...] | None = None
    start: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Multiscale:
    """An image: version of the specification, axes, levels (finest first).

    `unused` names transformations to other coordinate systems, which positions do not take part in.
    """

    version: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    unused: tuple[str, ...] = ()


def metadata_of(attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OME-Zarr metadata among the attributes of a group: under ``ome`` since 0.5."""
    ome = attrs.get("ome")
    return ome if isinstance(ome, Mapping) else attrs


def read_multiscale(attrs: Mapping[str, Any], where: Any) -> Multiscale | None:
    """The (first) image that the attributes of a group declare, or None if they declare none.

    Raises
    ------
    FormatError
        If the declaration is damaged.
    UnsupportedError
        If positions are given in a way that is not supported.
    """
    ome = metadata_of(attrs)
    if "multiscales" not in ome:
        return None
    declared = ome["multiscales"]
    if not isinstance(declared, list) or not declared or not isinstance(declared[0], Mapping):
        raise FormatError(f"{where}: a list of images is expected in 'multiscales', found {declared!r:.80}")
    image = declared[0]
    version = str(ome.get("version") if ome is not attrs else image.get("version", ""))
    systems = image.get("coordinateSystems")
    datasets = _objects(image.get("datasets"), "datasets", where)
    stated = image.get("axes") if systems is None else _intrinsic(systems, datasets, where)
    axes = _axes(stated, version, where)
    own = image.get("coordinateTransformations") or []
    own = _objects(own, "coordinateTransformations", where) if own else []
    # with an output they lead to coordinate systems other than that of the levels
    common = [t for t in own if "output" not in t]
    unused = tuple(str(t.get("type")) for t in own if "output" in t and t.get("type") != "identity")
    said = version not in _OLD and any(isinstance(a, Mapping) for a in stated or [])
    levels = tuple(_level(d, common, len(axes), said, where) for d in datasets)
    return Multiscale(version, axes, levels, unused)


def level_paths(attrs: Mapping[str, Any]) -> list[str]:
    """Paths of the levels that the attributes of a group declare, finest first; empty where they do not so."""
    declared = metadata_of(attrs).get("multiscales")
    try:
        return [str(d["path"]) for d in declared[0]["datasets"]]  # type: ignore[index]
    except (TypeError, KeyError, IndexError):
        return []


def _objects(value: Any, name: str, where: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(v, Mapping) for v in value):
        raise FormatError(f"{where}: a list of objects is expected in {name!r}, found {value!r:.80}")
    return value


# ---------------------------------------------------------------------------------------------- axes


def _intrinsic(systems: Any, datasets: Sequence[Mapping[str, Any]], where: Any) -> Any:
    """The axes of the coordinate system that levels lead to (0.6)."""
    transforms = _objects(datasets[0].get("coordinateTransformations"), "coordinateTransformations", where)
    output = transforms[-1].get("output")
    name = output.get("name") if isinstance(output, Mapping) else output
    found = [s for s in _objects(systems, "coordinateSystems", where) if s.get("name") == name]
    if len(found) != 1:
        raise FormatError(f"{where}: levels lead to the coordinate system {name!r}, of which there are {len(found)}")
    return found[0].get("axes")


def _axes(value: Any, version: str, where: Any) -> tuple[Axis, ...]:
    if value is None and version in (*_OLD, ""):
        return tuple(Axis(name, _NAMES[name]) for name in DIMS)
    if not isinstance(value, list) or not 1 <= len(value) <= 5:
        raise FormatError(f"{where}: a list of 2 to 5 axes is expected in 'axes', found {value!r:.80}")
    axes = tuple(_axis(a, where) for a in value)
    names = [a.name for a in axes]
    if len(set(names)) < len(names):
        raise FormatError(f"{where}: axes need distinct names, found {', '.join(names)}")
    if not 2 <= sum(a.kind == "space" for a in axes) <= 3:
        raise FormatError(f"{where}: 2 or 3 axes of space are expected, found {', '.join(names)}")
    return axes


def _axis(value: Any, where: Any) -> Axis:
    if isinstance(value, str):
        # 0.3
        return Axis(value, _NAMES.get(value, ""))
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise FormatError(f"{where}: an axis with a name is expected, found {value!r:.80}")
    name, kind, unit = value["name"], value.get("type"), value.get("unit")
    known = _NAMES.get(name.lower(), "") if kind is None else _TYPES.get(str(kind), "")
    orientation = value.get("orientation")
    given = orientation.get("value") if isinstance(orientation, Mapping) else orientation
    return Axis(name, known, str(unit) if unit else None, str(given) if given is not None else None)


def dims_of(axes: Sequence[Axis], shape: Sequence[int], where: Any) -> tuple[str | None, ...]:
    """The dim that each axis is, None for an axis of size 1 that is neither space, time nor channel.

    Axes of space are x, y, z by their names where these are names of such; else the last is x, then y, z.

    Raises
    ------
    FormatError
        If axes do not fit the array.
    UnsupportedError
        If an axis has no place in an image.
    """
    if len(axes) != len(shape):
        raise FormatError(
            f"{where}: the array has {len(shape)} axes of sizes {tuple(shape)}, its metadata names "
            f"{len(axes)}: {', '.join(a.name for a in axes)}"
        )
    spatial = [a.name.lower() for a in axes if a.kind == "space"]
    named = set(spatial) <= set(_SPACE) and len(set(spatial)) == len(spatial)
    places = iter(spatial if named else _SPACE[-len(spatial) :])
    out: list[str | None] = []
    for axis, size in zip(axes, shape, strict=True):
        dim = next(places) if axis.kind == "space" else axis.kind or None
        if (dim is None and size != 1) or (dim is not None and dim in out):
            raise UnsupportedError(
                f"{where}: the axis {axis.name!r} of size {size} has no place in an image, which has the axes t, c, z, "
                "y, x, each once; store its parts as images of their own"
            )
        out.append(dim)
    return tuple(out)


# ---------------------------------------------------------------------------------------------- positions


def _level(
    dataset: Mapping[str, Any], common: Sequence[Mapping[str, Any]], count: int, said: bool, where: Any
) -> Level:
    path = dataset.get("path")
    if not isinstance(path, str) or not path.strip("/"):
        raise FormatError(f"{where}: the path of a level is expected, found {path!r:.80}")
    given = dataset.get("coordinateTransformations")
    if given is None and not said:
        return Level(path)
    steps = [*_objects(given, "coordinateTransformations", f"{where}: level {path}"), *common]
    scale, start = [1.0] * count, [0.0] * count
    for step in _flat(steps, f"{where}: level {path}"):
        kind, factors = _numbers(step, count, f"{where}: level {path}")
        if kind == "scale":
            scale = [s * f for s, f in zip(scale, factors, strict=True)]
            start = [s * f for s, f in zip(start, factors, strict=True)]
        else:
            start = [s + f for s, f in zip(start, factors, strict=True)]
    return Level(path, tuple(scale), tuple(start))


def _flat(steps: Sequence[Mapping[str, Any]], where: str) -> list[Mapping[str, Any]]:
    """Steps with sequences (0.6) unrolled and identities left out."""
    out: list[Mapping[str, Any]] = []
    for step in steps:
        if step.get("type") == "sequence":
            inner = _objects(step.get("transformations"), "transformations", where)
            if any(s.get("type") == "sequence" for s in inner):
                raise UnsupportedError(f"{where}: sequences of transformations in sequences are not supported")
            out.extend(s for s in inner if s.get("type") != "identity")
        elif step.get("type") != "identity":
            out.append(step)
    return out


def _numbers(step: Mapping[str, Any], count: int, where: str) -> tuple[str, list[float]]:
    kind = step.get("type")
    if kind not in ("scale", "translation"):
        raise UnsupportedError(
            f"{where}: positions are given by a transformation of type {kind!r:.40}; scales and translations are read"
        )
    if "path" in step and kind not in step:
        raise UnsupportedError(
            f"{where}: the {kind} stands in an array of its own at {step['path']!r:.80}; numbers in the metadata are "
            "supported"
        )
    value = step.get(kind)
    numeric = isinstance(value, list) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    if not isinstance(value, list) or not numeric or len(value) != count or not all(map(_finite, value)):
        raise FormatError(f"{where}: {count} numbers are expected in {kind!r}, one per axis, found {value!r:.80}")
    if kind == "scale" and 0 in value:
        raise FormatError(f"{where}: a scale of 0 puts all voxels in one place: {value!r:.80}")
    return str(kind), [float(v) for v in value]


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


# ---------------------------------------------------------------------------------------------- channels


def channels_of(attrs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Names of channels, and how OMERO shows each (colour, window, …), where there is one entry per channel."""
    omero = metadata_of(attrs).get("omero")
    entries = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(entries, list) or len(entries) != count or not all(isinstance(e, Mapping) for e in entries):
        return {}
    out: dict[str, Any] = {}
    if any("label" in e for e in entries):
        out[CHANNEL_NAMES] = [str(e.get("label", "")) for e in entries]
    shown = [{str(k): v for k, v in e.items() if k != "label"} for e in entries]
    if any(shown):
        out[OMERO] = shown
    return out
