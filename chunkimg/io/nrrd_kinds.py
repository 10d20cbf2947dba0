"""Kinds of axes in an NRRD header that is being written."""

from __future__ import annotations

from ..volume import Volume
from .nrrd_axes import SINGLE
from .nrrd_edit import HeaderText, quote

__all__ = ["fits_kind", "name_axes"]

#: samples that axes of a kind have (Definition of NRRD File Format, section 6, "kinds")
_SIZES = {
    "stub": 1, "scalar": 1, "complex": 2, "2-vector": 2, "3-color": 3, "rgb-color": 3, "hsv-color": 3, "xyz-color": 3,
    "4-color": 4, "rgba-color": 4, "3-vector": 3, "3-gradient": 3, "3-normal": 3, "4-vector": 4, "quaternion": 4,
    "2d-symmetric-matrix": 3, "2d-masked-symmetric-matrix": 4, "2d-matrix": 4, "2d-masked-matrix": 5,
    "3d-symmetric-matrix": 6, "3d-masked-symmetric-matrix": 7, "3d-matrix": 9, "3d-masked-matrix": 10,
}  # fmt: skip
_NOT_OF_ONE = ("???", "none", "domain", "space")


def fits_kind(text: HeaderText, k: int, size: int) -> bool:
    """Whether an axis may have so many samples."""
    if "kinds" not in text.fields:
        return True
    kind = text.fields["kinds"].split()[k].lower()
    return _SIZES.get(kind, size) == size


def name_axes(text: HeaderText, volume: Volume, roles: list[str]) -> None:
    """Say what each axis is; kinds that say so already stay.

    Time is a list labelled so, as in 3D Slicer's sequences: ITK refuses an axis of kind time beside three of space.
    """
    count = len(roles)
    kinds = text.entries("kinds", count)
    for k, role in enumerate(roles):
        kind = kinds[k].lower()
        if role in ("t", "c", SINGLE):
            stale = kind in _NOT_OF_ONE or (role == "c" and _SIZES.get(kind, volume.sizes["c"]) != volume.sizes["c"])
            if stale or (role == "t" and kind not in ("time", "list")):
                kinds[k] = _channel_kind(volume) if role == "c" else "list"
            if role == "t" and text.entries("labels", count)[k] == '""':
                text.set_entry("labels", k, count, quote("time"))
        elif kind in ("???", "none"):
            kinds[k] = "domain"
    text.set_entries("kinds", kinds)


def _channel_kind(volume: Volume) -> str:
    kind, count = str(volume.channels.get("kind", "")), volume.sizes["c"]
    named = {("RGB", 3): "RGB-color", ("RGBA", 4): "RGBA-color", ("complex", 2): "complex", ("vector", count): "vector"}
    return named.get((kind, count), "list")
