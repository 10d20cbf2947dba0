"""chunkimg: medical and biological volumes larger than memory, as xarray DataArrays on Zarr.

Names are imported when they are used; see ``docs/`` and the README.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> module
_NAMES = {
    "ChunkImgError": "errors",
    "ChunkImgWarning": "errors",
    "FormatError": "errors",
    "GeometryError": "errors",
    "Grid": "geometry",
    "MissingExtraError": "errors",
    "UnsupportedError": "errors",
    "convert": "api",
    "diff": "compare",
    "from_array": "image.create",
    "from_nibabel": "interop.nibabel",
    "from_sitk": "interop.sitk",
    "open_image": "api",
    "open_pyramid": "api",
    "read_header": "api",
    "save": "api",
    "validate": "checking",
}

__all__ = [
    "ChunkImgError",
    "ChunkImgWarning",
    "FormatError",
    "GeometryError",
    "Grid",
    "MissingExtraError",
    "UnsupportedError",
    "convert",
    "diff",
    "from_array",
    "from_nibabel",
    "from_sitk",
    "open_image",
    "open_pyramid",
    "read_header",
    "save",
    "validate",
]

if TYPE_CHECKING:
    from .api import convert, open_image, open_pyramid, read_header, save
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
    from .image.create import from_array
    from .interop.nibabel import from_nibabel
    from .interop.sitk import from_sitk

#: what returns images, and so needs the accessor
_MAKES_IMAGES = {"from_array", "from_nibabel", "from_sitk", "open_image", "open_pyramid", "save"}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'chunkimg' has no attribute {name!r}")
    if name in _MAKES_IMAGES:
        importlib.import_module(f"{__name__}.accessor")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "xarray" in sys.modules:
    # xarray is there already, so registering .img costs nothing more; otherwise the first image does it
    importlib.import_module(f"{__name__}.accessor")
