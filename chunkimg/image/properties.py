"""Properties of an image as a live mapping."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import xarray as xr

from ..errors import GeometryError
from ..geometry import attrs as keys
from ..metadata import check_property, properties_of
from .build import grid_of, poses_of

__all__ = ["Properties"]


class Properties(MutableMapping[str, Any]):
    """Metadata of an image; changes act on the image at once.

    Keys of the geometry (`affine`, `spacing`, `origin`, `direction`, `shape`, `space`, `units`) can be read: they are
    computed from the coordinates, so that they are right after any slicing. They cannot be set.
    """

    def __init__(self, image: xr.DataArray) -> None:
        self._image = image

    def _geometry(self, key: str) -> Any:
        if key == keys.POSES:
            poses = poses_of(self._image)
            return None if poses is None else keys.encode_poses(poses)
        grid = grid_of(self._image)
        values = {**keys.encode(grid)[1], keys.UNITS: grid.units}
        return values[key]

    def __getitem__(self, key: str) -> Any:
        if key in keys.GEOMETRY_KEYS or key == keys.UNITS:
            return self._geometry(key)
        if key in keys.INTERNAL_KEYS or key in keys.CF_KEYS:
            raise KeyError(key)
        return self._image.attrs[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"names of properties are strings, found {key!r}")
        check_property(key)
        self._image.attrs[key] = value

    def __delitem__(self, key: str) -> None:
        check_property(key)
        del self._image.attrs[key]

    def _keys(self) -> list[str]:
        own = list(properties_of(self._image.attrs))
        try:
            grid_of(self._image)
        except GeometryError:
            return own
        computed = sorted((keys.GEOMETRY_KEYS - {keys.POSES}) | {keys.UNITS})
        return [*computed, *([keys.POSES] if keys.POSES in self._image.attrs else []), *own]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def __contains__(self, key: object) -> bool:
        return key in self._keys()

    def __repr__(self) -> str:
        lines = [f"  {k}: {self[k]!r}" for k in self._keys()]
        return "\n".join(["Properties:", *lines]) if lines else "Properties: none"
