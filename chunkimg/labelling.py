"""What labels are called and shown as: the property ``image-label``, as OME-Zarr has it, and segments of 3D Slicer.

``image-label`` lists colours and properties by label (https://ngff.openmicroscopy.org/0.5/#label-md); the name of a
label is one of its properties. Segmentations of 3D Slicer have keys ``Segment0_Name``, ``Segment0_Color`` and so on
(https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .geometry.attrs import IMAGE_LABEL, LABEL
from .metadata import is_label

__all__ = ["beyond_segments", "colors_of", "image_label_of", "names_of", "segmented", "with_labels"]

Color = tuple[int, int, int, int]

_VALUE = "label-value"
#: properties of a label that others call its name
_NAMES = ("name", "label-name", "label", "class")
_SEGMENT = re.compile(r"Segment(\d+)_(LabelValue|Name|Color|Layer)")
_EXTENT = re.compile(r"Segment\d+_Extent")
#: of a segmentation whose labels lie in one layer
_SLICER = {
    "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
    "Segmentation_MasterRepresentation": "Binary labelmap",
    "Segmentation_ReferenceImageExtentOffset": "0 0 0",
}


def names_of(properties: Mapping[str, Any]) -> dict[int, str]:
    """Names by label, as far as there are any."""
    stated = _entries(properties, "properties")
    found = {v: next((str(e[k]) for k in _NAMES if isinstance(e.get(k), str)), None) for v, e in stated}
    names = {v: name for v, name in found.items() if name is not None}
    return {**{v: s["Name"] for v, s in _segments(properties).items() if "Name" in s}, **names}


def colors_of(properties: Mapping[str, Any]) -> dict[int, Color]:
    """Colours by label, red, green, blue and opacity from 0 to 255, as far as there are any."""
    out = {}
    for value, segment in _segments(properties).items():
        color = _of_fractions(segment.get("Color", ""))
        if color is not None:
            out[value] = color
    for value, entry in _entries(properties, "colors"):
        color = _whole(entry.get("rgba"))
        if color is not None:
            out[value] = color
    return out


def with_labels(
    properties: Mapping[str, Any],
    names: Mapping[int, str] | None,
    colors: Mapping[int, Sequence[int]] | None,
) -> dict[str, Any]:
    """Properties of an image of labels, with names and colours added to those that it has.

    Raises
    ------
    TypeError, ValueError
        If a label is no integer, a name no text, or a colour not three or four numbers from 0 to 255.
    """
    for what, given in (("names", names), ("colors", colors)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{what} are a dict by label, found {given!r:.80}")
    out = {**properties, LABEL: True}
    named = {_label(k): _name(k, v) for k, v in (names or {}).items()}
    coloured = {_label(k): _color(k, v) for k, v in (colors or {}).items()}
    if not named and not coloured:
        return out
    stated = image_label_of(properties)
    rows = {v: dict(e) for v, e in _entries({IMAGE_LABEL: stated}, "properties")}
    shown = {v: dict(e) for v, e in _entries({IMAGE_LABEL: stated}, "colors")}
    for value, name in named.items():
        rows[value] = {_VALUE: value, **rows.get(value, {}), "name": name}
    for value, color in coloured.items():
        shown[value] = {_VALUE: value, **shown.get(value, {}), "rgba": list(color)}
    for key, entries in (("colors", shown), ("properties", rows)):
        if entries:
            stated[key] = [entries[v] for v in sorted(entries)]
    return {**out, IMAGE_LABEL: stated}


def image_label_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What OME-Zarr says of labels: what the image has as ``image-label``, with segments of 3D Slicer."""
    stated = properties.get(IMAGE_LABEL)
    out = dict(stated) if isinstance(stated, Mapping) else {}
    named = {v for v, _ in _entries(properties, "properties")}
    coloured = {v for v, _ in _entries(properties, "colors")}
    names, colors = names_of(properties), colors_of(properties)
    more = [{_VALUE: v, "name": names[v]} for v in sorted(set(names) - named)]
    if more:
        out["properties"] = [*_list(out.get("properties")), *more]
    shown = [{_VALUE: v, "rgba": list(colors[v])} for v in sorted(set(colors) - coloured)]
    if shown:
        out["colors"] = [*_list(out.get("colors")), *shown]
    if "properties" in out:
        # readers want the same labels in both lists; a colour is not made up
        unnamed = sorted(set(colors) - {v for v, _ in _entries({IMAGE_LABEL: out}, "properties")})
        out["properties"] = [*_list(out["properties"]), *({_VALUE: v} for v in unnamed)]
    return out


def segmented(properties: Mapping[str, Any], sizes: Mapping[str, int], moved: bool = False) -> dict[str, Any]:
    """Properties with names and colours of ``image-label`` as keys of a segmentation of 3D Slicer.

    Segments that there are keep their keys, but for the extents in voxels of an image that was `moved` (cropped,
    flipped); what else ``image-label`` holds is left out.
    """
    extent = " ".join(f"0 {sizes[d] - 1}" for d in ("x", "y", "z"))
    out = {k: v for k, v in properties.items() if k != IMAGE_LABEL}
    if moved:
        out |= {k: extent for k in out if _EXTENT.fullmatch(k)}
    if IMAGE_LABEL not in properties or not is_label(properties):
        return out
    names, colors = names_of(properties), colors_of(properties)
    there = {v: s["number"] for v, s in _segments(properties).items()}
    new = max((int(m[1]) for k in properties if (m := _SEGMENT.match(k))), default=-1) + 1
    fresh = sorted({*names, *colors} - set(there))
    for number, value in enumerate(fresh, new):
        out |= _SLICER
        own = {
            "ID": f"Segment_{value}",
            "LabelValue": str(value),
            "Layer": "0",
            "Extent": extent,
            "Name": names.get(value, f"Segment_{value}"),
            "NameAutoGenerated": "0" if value in names else "1",
            "ColorAutoGenerated": "0" if value in colors else "1",
            "Tags": "|",
        }
        out |= {f"Segment{number}_{key}": text for key, text in own.items()}
        there[value] = str(number)
    before = _segments(properties)
    for value, which in there.items():
        if value in names:
            out[f"Segment{which}_Name"] = names[value]
        if value in colors and colors[value] != _of_fractions(before.get(value, {}).get("Color", "")):
            out[f"Segment{which}_Color"] = " ".join(f"{c / 255:.6g}" for c in colors[value][:3])
    return out


def beyond_segments(properties: Mapping[str, Any]) -> list[str]:
    """What ``image-label`` holds that segments of 3D Slicer have no keys for."""
    stated = properties.get(IMAGE_LABEL)
    if not isinstance(stated, Mapping):
        return []
    rows = {k for _, e in _entries(properties, "properties") for k in e} - {_VALUE, *_NAMES}
    opacity = {"opacity"} if any(c[3] != 255 for c in colors_of(properties).values()) else set()
    return sorted({*(set(stated) - {"colors", "properties", "version", "source"}), *rows, *opacity})


# ---------------------------------------------------------------------------------------------- reading


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _entries(properties: Mapping[str, Any], key: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Entries of a list of ``image-label`` that name a label, with it; the first of each."""
    stated = properties.get(IMAGE_LABEL)
    found: dict[int, Mapping[str, Any]] = {}
    for entry in _list(stated.get(key)) if isinstance(stated, Mapping) else ():
        value = entry.get(_VALUE) if isinstance(entry, Mapping) else None
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            found.setdefault(int(value), entry)
    return list(found.items())


def _segments(properties: Mapping[str, Any]) -> dict[int, dict[str, str]]:
    """Segments of 3D Slicer by label, with their ``number``; none of those that share a label in several layers."""
    by_number: dict[str, dict[str, str]] = {}
    for key, text in properties.items():
        m = _SEGMENT.fullmatch(key)
        if m and isinstance(text, str):
            by_number.setdefault(m[1], {"number": m[1]})[m[2]] = text
    out: dict[int, dict[str, str]] = {}
    layers = {s.get("Layer", "0").strip() for s in by_number.values()}
    for segment in by_number.values() if len(layers) == 1 else ():
        value = segment.get("LabelValue", "").strip()
        if re.fullmatch(r"-?\d+", value):
            out.setdefault(int(value), segment)
    return out


def _of_fractions(text: str) -> Color | None:
    """A colour of three numbers from 0 to 1."""
    try:
        parts = [float(part) for part in text.split()]
    except ValueError:
        return None
    if len(parts) != 3 or not all(0 <= p <= 1 for p in parts):
        return None
    r, g, b = (round(255 * p) for p in parts)
    return r, g, b, 255


def _whole(values: Any) -> Color | None:
    """Three or four whole numbers from 0 to 255."""
    numbers = _list(values)
    if len(numbers) not in (3, 4) or not all(isinstance(v, int) and 0 <= v <= 255 for v in numbers):
        return None
    r, g, b, a = [*numbers, 255][:4]
    return r, g, b, a


# ---------------------------------------------------------------------------------------------- checking


def _label(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"names and colours are by label, an integer; found {value!r}") from None


def _name(label: Any, name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of label {label} is a text, found {name!r}")
    return name


def _color(label: Any, color: Iterable[Any]) -> Color:
    try:
        found = _whole([operator.index(c) for c in color])
    except TypeError:
        found = None
    if found is None:
        raise ValueError(
            f"the colour of label {label} is three or four whole numbers from 0 to 255 (red, green, blue, opacity), "
            f"found {color!r}"
        )
    return found
