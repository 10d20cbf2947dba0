"""chunkimg: medical and biological volumes larger than memory, as xarray DataArrays on Zarr.

Names are imported when they are used; see ``docs/`` and the README.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._when_imported import when_imported

__version__ = "0.1.0"

#: public name -> module
_NAMES = {
    "Affine": "transforms.types",
    "ChunkImgError": "errors",
    "ChunkImgWarning": "errors",
    "Composite": "transforms.types",
    "DisplacementField": "transforms.types",
    "FormatError": "errors",
    "GeometryError": "errors",
    "Grid": "geometry",
    "MissingExtraError": "errors",
    "UnsupportedError": "errors",
    "assemble": "patches",
    "build_index": "api",
    "compose": "pixels",
    "concat_time": "image.concat",
    "convert": "api",
    "diff": "compare",
    "from_array": "image.create",
    "from_nibabel": "interop.nibabel",
    "from_sitk": "interop.sitk",
    "open_image": "api",
    "open_pyramid": "api",
    "read_header": "api",
    "read_transform": "transforms.read",
    "save": "api",
    "validate": "checking",
}

__all__ = [
    "Affine",
    "ChunkImgError",
    "ChunkImgWarning",
    "Composite",
    "DisplacementField",
    "FormatError",
    "GeometryError",
    "Grid",
    "MissingExtraError",
    "UnsupportedError",
    "assemble",
    "build_index",
    "compose",
    "concat_time",
    "convert",
    "diff",
    "from_array",
    "from_nibabel",
    "from_sitk",
    "open_image",
    "open_pyramid",
    "read_header",
    "read_transform",
    "save",
    "validate",
]

if TYPE_CHECKING:
    from .api import build_index, convert, open_image, open_pyramid, read_header, save
    from .checking import validate
    from .compare import diff
    from .errors import (
        ChunkImgError,
        ChunkImgWarning,
        FormatError,
        GeometryError,
        MissingExtraError,
        UnsupportedError,
    )
    from .geometry import Grid
    from .image.concat import concat_time
    from .image.create import from_array
    from .interop.nibabel import from_nibabel
    from .interop.sitk import from_sitk
    from .patches import assemble
    from .pixels import compose
    from .transforms.read import read_transform
    from .transforms.types import Affine, Composite, DisplacementField


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'chunkimg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# .img belongs to every DataArray, also where xarray is imported later and chunkimg is not called at all
when_imported("xarray", lambda: importlib.import_module(f"{__name__}.accessor"))
