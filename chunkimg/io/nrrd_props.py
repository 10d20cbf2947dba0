"""Properties of an image in an NRRD header: key/value pairs, and the fields that describe voxels."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import ChunkImgWarning, FormatError
from ..geometry.attrs import LABEL
from ..metadata import reserved
from .nrrd_edit import HeaderText, vector
from .nrrd_header import NrrdHeader

__all__ = ["properties_of", "update_properties"]

#: property by the field that holds it
_TEXTS = {"content": "content", "sample_units": "sample units"}
_FRAME = "measurement_frame"
#: keys of 3D Slicer that hold times, which the time axis tells
_INDEX = re.compile(r"axis \d+ index (type|values)")


def properties_of(header: NrrdHeader) -> dict[str, Any]:
    """Properties; keys whose names mean something else here stay in the header."""
    out: dict[str, Any] = {k: v for k, v in header.keys.items() if not reserved(k) and not _INDEX.fullmatch(k)}
    if LABEL in out:
        out[LABEL] = out[LABEL].lower() in ("true", "1", "yes")
    for name, field in _TEXTS.items():
        if header.fields.get(field):
            out[name] = header.fields[field]
    if "measurement frame" in header.fields:
        # in the header's own space, as it stands there
        columns = header.vectors("measurement frame", min(header.space_dimension, 3))
        out[_FRAME] = [None if v is None else list(v) for v in columns]
    return out


def update_properties(text: HeaderText, before: NrrdHeader | None, properties: Mapping[str, Any], dest: str) -> None:
    """Write properties that changed; what is no text becomes JSON."""
    old = {} if before is None else properties_of(before)
    for name in set(old) - set(properties):
        if name in _TEXTS:
            text.drop(_TEXTS[name])
        elif name == _FRAME:
            text.drop("measurement frame")
        else:
            text.drop_key(name)
    for name, value in properties.items():
        if name not in old or old[name] != value:
            _update(text, name, value, dest)


def _update_frame(text: HeaderText, value: Any, dest: str) -> None:
    """A measurement frame has a meaning in the space that it was given in, which only its own header says."""
    count = len(text.vectors("space origin")[0].split(",")) if text.vectors("space origin") else 0
    whole = isinstance(value, (list, tuple)) and len(value) == count
    if "measurement frame" not in text.fields or not whole:
        warnings.warn(
            f"{dest}: the property {_FRAME} is {count} vectors in the space of the NRRD that the image came from; "
            f"{value!r:.60} is not written",
            ChunkImgWarning,
            stacklevel=2,
        )
        return
    try:
        text.set("measurement frame", " ".join("none" if v is None else vector(v) for v in value))
    except (TypeError, ValueError):
        raise FormatError(f"{dest}: the property {_FRAME} is a list of vectors, found {value!r:.60}") from None


def _update(text: HeaderText, name: str, value: Any, dest: str) -> None:
    if name in _TEXTS:
        text.set(_TEXTS[name], " ".join(str(value).split()))
    elif name == _FRAME:
        _update_frame(text, value, dest)
    elif not name.strip() or ":" in name or name.startswith("#"):
        warnings.warn(
            f"{dest}: NRRD cannot have a key named {name!r}; what it holds is not written (OME-Zarr keeps it)",
            ChunkImgWarning,
            stacklevel=2,
        )
    else:
        text.set_key(name, value if isinstance(value, str) else json.dumps(value))
