"""What is wrong with OME-Zarr metadata: the rules of the specifications 0.1 to 0.6, as phrases.

Rules are those of the official JSON schemas and of the text of the specifications
(https://ngff.openmicroscopy.org/0.4/, https://ngff.openmicroscopy.org/0.5/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .json_report import Report, is_count, is_number, is_numbers, is_positive, is_text, is_whole

__all__ = ["problems"]

_NAMED_TYPES = ("time", "channel", "space")
_OLD_AXES = ("t", "c", "z", "y", "x")
_NAME = re.compile(r"[A-Za-z0-9]+")
_WELL = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9]+")
_GROUP = re.compile(r"[A-Za-z0-9_.-]+")
_COLOR = re.compile(r"[0-9A-Fa-f]{6}")


def problems(attrs: Mapping[str, Any], *, strict: bool = False) -> list[str]:
    """What in the attributes of a group breaks the OME-Zarr specification; empty if nothing does.

    Parameters
    ----------
    attrs : mapping
        All attributes of a Zarr group: of an image, a label image, a plate, a well, or a collection of images.
    strict : bool
        Report too what the specification recommends, and what its text demands but its schemas let pass: as many
        numbers in a transformation as there are axes, colours of six hexadecimal digits.

    Examples
    --------
    >>> from chunkimg.io.ome_schema import problems
    >>> problems({"ome": {"version": "0.5", "multiscales": []}})
    ['ome.multiscales: at least 1 entry is expected']
    """
    report = Report(strict)
    ome, prefix = attrs, ""
    if "ome" in attrs:
        ome, prefix = attrs["ome"], "ome."
        if not report.is_object(ome, "ome"):
            return report.found
        report.version(ome, "ome", ("0.5", "0.6"), required=True)
    present = [key for key in _RULES if key in ome]
    if not present:
        report.say(prefix or "attributes", f"one of {', '.join(_RULES)} is expected")
    for key in present:
        _RULES[key](report, ome[key], f"{prefix}{key}", ome if prefix else {})
    return report.found


# ---------------------------------------------------------------------------------------------- images


def _multiscales(report: Report, value: Any, where: str, ome: Mapping[str, Any]) -> None:
    for place, image in report.objects(value, where):
        version = ome.get("version") if ome else image.get("version")
        if not ome:
            report.version(image, place, ("0.1", "0.2", "0.3", "0.4"))
            report.advise(image, place, "version")
        report.field(image, "name", place, is_text, "a string")
        report.advise(image, place, "name", "type", "metadata")
        if version in ("0.1", "0.2", "0.3"):
            _old_image(report, image, place, version)
        else:
            _image(report, image, place, isinstance(version, str) and version.startswith("0.6"))


def _old_image(report: Report, image: Mapping[str, Any], where: str, version: str) -> None:
    """Versions without transformations; axes are five, or (0.3) named by letters."""
    axes = image.get("axes")
    if version == "0.3" and not (
        isinstance(axes, list) and len(axes) >= 2 and axes == [a for a in _OLD_AXES if a in axes]
    ):
        known = ", ".join(_OLD_AXES)
        report.say(f"{where}.axes", f"names out of {known} in this order are expected, found {axes!r:.80}")
    for place, dataset in report.objects(image.get("datasets"), f"{where}.datasets"):
        report.field(dataset, "path", place, is_text, "a string", required=True)


def _image(report: Report, image: Mapping[str, Any], where: str, systems: bool) -> None:
    if systems:
        counts = _coordinate_systems(report, image, where)
    else:
        counts = {_axes(report, image.get("axes"), f"{where}.axes")}
    key = "coordinateTransformations"
    for place, dataset in report.objects(image.get("datasets"), f"{where}.datasets"):
        report.field(dataset, "path", place, is_text, "a string", required=True)
        _transforms(report, dataset.get(key), f"{place}.{key}", counts, systems)
    if key in image and systems:
        _other_transforms(report, image[key], f"{where}.{key}")
    elif key in image:
        _transforms(report, image[key], f"{where}.{key}", counts, systems)


def _coordinate_systems(report: Report, image: Mapping[str, Any], where: str) -> set[int]:
    """Of 0.6: named lists of axes; the numbers of axes they have."""
    counts = set()
    for place, system in report.objects(image.get("coordinateSystems"), f"{where}.coordinateSystems"):
        report.field(system, "name", place, lambda v: isinstance(v, str) and v != "", "a name", required=True)
        counts.add(_axes(report, system.get("axes"), f"{place}.axes"))
    return counts


def _axes(report: Report, value: Any, where: str) -> int:
    """Check axes; how many there are."""
    axes = report.objects(value, where, at_least=2)
    if len(axes) > 5:
        report.say(where, f"at most 5 axes are expected, found {len(axes)}")
    names, types = [], []
    for place, axis in axes:
        if report.field(axis, "name", place, is_text, "a string", required=True):
            names.append(axis["name"])
        report.field(axis, "unit", place, is_text, "a string")
        if report.field(axis, "type", place, is_text, "a string"):
            types.append(axis["type"])
    for name in sorted({n for n in names if names.count(n) > 1}):
        report.say(where, f"axes have distinct names, {name!r} stands there more than once")
    if axes and not 2 <= types.count("space") <= 3:
        report.say(where, f"2 or 3 axes of type space are expected, found {types.count('space')}")
    _axis_order(report, [a.get("type") for _, a in axes], where)
    return len(axes)


def _axis_order(report: Report, types: Sequence[Any], where: str) -> None:
    """Time, then channels or others, then space."""
    ranks = [{"time": 0, "space": 2}.get(t, 1) if isinstance(t, str) else 1 for t in types]
    if ranks != sorted(ranks):
        report.say(where, f"axes are ordered time, channel (or others), space; found {', '.join(map(str, types))}")
    for kind in _NAMED_TYPES[:2]:
        if types.count(kind) > 1:
            report.say(where, f"one axis of type {kind} is expected at most, found {types.count(kind)}")


def _transforms(report: Report, value: Any, where: str, counts: set[int], systems: bool) -> None:
    steps = report.objects(value, where)
    if systems:
        for place, step in steps:
            _ends(report, step, place, "path", "name")
    if systems and len(steps) == 1 and steps[0][1].get("type") == "sequence":
        steps = report.objects(steps[0][1].get("transformations"), f"{steps[0][0]}.transformations", at_least=2)
    kinds = [step.get("type") for _, step in steps]
    if systems and kinds == ["identity"]:
        return
    for place, step in steps:
        kind = step.get("type")
        if kind not in ("scale", "translation"):
            report.say(f"{place}.type", f"scale or translation is expected, found {kind!r:.80}")
            continue
        sound = report.field(step, kind, place, is_numbers, "a list of two numbers or more", required=True)
        if sound and report.strict and len(step[kind]) not in counts:
            report.say(f"{place}.{kind}", f"one number per axis is expected, found {len(step[kind])}")
    if steps and kinds.count("scale") != 1:
        report.say(where, f"exactly one scale is expected, found {kinds.count('scale')}")
    if kinds.count("translation") > 1 or ("scale" in kinds and "translation" in kinds[: kinds.index("scale")]):
        report.say(where, "one translation at most is expected, after the scale")


def _other_transforms(report: Report, value: Any, where: str) -> None:
    """Of 0.6: from one coordinate system to another, of any type."""
    for place, step in report.objects(value, where):
        report.field(step, "type", place, is_text, "a string", required=True)
        _ends(report, step, place, "name", "name")


def _ends(report: Report, step: Mapping[str, Any], where: str, source: str, target: str) -> None:
    """What a transformation of 0.6 leads from and to: objects with a path or a name, or (drafts) strings."""
    for end, key in (("input", source), ("output", target)):
        kind = partial(_is_end, key)
        report.field(step, end, where, kind, f"an object with a {key}", required=True)


def _is_end(key: str, value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get(key), str))


def _omero(report: Report, value: Any, where: str, ome: Mapping[str, Any]) -> None:
    if not report.is_object(value, where):
        return
    if "channels" not in value:
        report.say(where, "'channels' is missing")
        return
    old = not ome
    for place, channel in _distinct_or_not(report, value["channels"], f"{where}.channels"):
        for key in ("label", "family"):
            report.field(channel, key, place, is_text, "a string")
        report.field(channel, "active", place, lambda v: isinstance(v, bool), "true or false")
        if report.field(channel, "color", place, is_text, "a string", old or report.strict) and report.strict:
            report.field(channel, "color", place, lambda v: bool(_COLOR.fullmatch(v)), "RRGGBB in hexadecimal digits")
        _window(report, channel, place, old or report.strict)


def _distinct_or_not(report: Report, value: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The objects of a list; two channels may be shown alike."""
    if not isinstance(value, list):
        report.say(where, f"a list is expected, found {value!r:.80}")
        return []
    return [(f"{where}[{k}]", v) for k, v in enumerate(value) if report.is_object(v, f"{where}[{k}]")]


def _window(report: Report, channel: Mapping[str, Any], where: str, required: bool) -> None:
    if report.field(channel, "window", where, lambda v: isinstance(v, Mapping), "an object", required):
        for key in ("start", "min", "end", "max"):
            report.field(channel["window"], key, f"{where}.window", is_number, "a number", required=True)


# ---------------------------------------------------------------------------------------------- labels


def _label(report: Report, value: Any, where: str, ome: Mapping[str, Any]) -> None:
    if not report.is_object(value, where):
        return
    if not ome:
        report.version(value, where, ("0.1", "0.2", "0.3", "0.4"))
        report.advise(value, where, "version")
    report.advise(value, where, "colors")
    if "colors" in value:
        seen: list[Any] = []
        for place, color in report.objects(value["colors"], f"{where}.colors"):
            if report.field(color, "label-value", place, is_number, "a number", required=True):
                if color["label-value"] in seen:
                    report.say(place, f"the label {color['label-value']} has a colour already")
                seen.append(color["label-value"])
            report.field(color, "rgba", place, _is_rgba, "a list of four whole numbers from 0 to 255")
    if "properties" in value:
        for place, entry in report.objects(value["properties"], f"{where}.properties"):
            report.field(entry, "label-value", place, is_whole, "a whole number", required=True)
    if report.field(value, "source", where, lambda v: isinstance(v, Mapping), "an object"):
        report.field(value["source"], "image", f"{where}.source", is_text, "a string")


def _is_rgba(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(is_whole(v) and 0 <= v <= 255 for v in value)


def _labels(report: Report, value: Any, where: str, _: Mapping[str, Any]) -> None:
    if not isinstance(value, list) or not all(map(is_text, value)):
        report.say(where, f"a list of paths is expected, found {value!r:.80}")


# ---------------------------------------------------------------------------------------------- collections


def _plate(report: Report, value: Any, where: str, ome: Mapping[str, Any]) -> None:
    if not report.is_object(value, where):
        return
    if not ome:
        report.version(value, where, ("0.1", "0.2", "0.3", "0.4"))
        report.advise(value, where, "version")
    report.advise(value, where, "name")
    report.field(value, "name", where, is_text, "a string")
    report.field(value, "field_count", where, is_positive, "a positive whole number")
    for key in ("columns", "rows"):
        for place, line in report.objects(value.get(key), f"{where}.{key}"):
            report.field(line, "name", place, _is_name, "letters and digits", required=True)
    for place, well in report.objects(value.get("wells"), f"{where}.wells"):
        # rows before columns: a rule of 0.5 that examples of the other versions break
        expected = _well_path(value, well) if ome.get("version") == "0.5" else None
        report.field(well, "path", place, partial(_is_well_path, expected), expected or "row/column", required=True)
        for key in ("rowIndex", "columnIndex"):
            report.field(well, key, place, is_count, "a whole number from 0 on", required=True)
    for place, run in _distinct_or_not(report, value.get("acquisitions", []), f"{where}.acquisitions"):
        report.field(run, "id", place, is_count, "a whole number from 0 on", required=True)
        report.field(run, "maximumfieldcount", place, is_positive, "a positive whole number")
        report.advise(run, place, "name", "maximumfieldcount")
        for key in ("starttime", "endtime"):
            report.field(run, key, place, is_count, "whole seconds since 1970")
        for key in ("name", "description"):
            report.field(run, key, place, is_text, "a string")


def _well_path(plate: Mapping[str, Any], well: Mapping[str, Any]) -> str | None:
    """Row and column of a well, by its indices."""
    try:
        row, column = plate["rows"][well["rowIndex"]]["name"], plate["columns"][well["columnIndex"]]["name"]
    except (LookupError, TypeError):
        return None
    return f"{row}/{column}"


def _is_well_path(expected: str | None, value: Any) -> bool:
    return isinstance(value, str) and bool(_WELL.fullmatch(value)) and expected in (None, value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _well(report: Report, value: Any, where: str, ome: Mapping[str, Any]) -> None:
    if not report.is_object(value, where):
        return
    if not ome:
        report.version(value, where, ("0.1", "0.2", "0.3", "0.4"))
        report.advise(value, where, "version")
    # from 0.6 on any name of a group will do
    loose = str(ome.get("version", "")).startswith("0.6")
    for place, image in report.objects(value.get("images"), f"{where}.images"):
        kind = _is_group_name if loose else _is_name
        report.field(image, "path", place, kind, "letters and digits", required=True)
        report.field(image, "acquisition", place, is_whole, "a whole number")


def _is_group_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_GROUP.fullmatch(value)) and value.strip(".") != "" and value[:2] != "__"


def _layout(report: Report, value: Any, where: str, _: Mapping[str, Any]) -> None:
    if value != 3:
        report.say(where, f"3 is expected, found {value!r:.80}")


def _series(report: Report, value: Any, where: str, _: Mapping[str, Any]) -> None:
    if not isinstance(value, list) or not value or not all(map(is_text, value)):
        report.say(where, f"a list of paths is expected, found {value!r:.80}")


def _scene(report: Report, value: Any, where: str, _: Mapping[str, Any]) -> None:
    if report.is_object(value, where):
        _other_transforms(report, value.get("coordinateTransformations"), f"{where}.coordinateTransformations")


_RULES: dict[str, Callable[[Report, Any, str, Mapping[str, Any]], None]] = {
    "multiscales": _multiscales,
    "omero": _omero,
    "image-label": _label,
    "labels": _labels,
    "plate": _plate,
    "well": _well,
    "bioformats2raw.layout": _layout,
    "series": _series,
    "scene": _scene,
}
