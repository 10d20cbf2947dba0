"""Every error that chunkimg raises on purpose.

::

    ChunkImgError
    ├── GeometryError (ValueError)     images that do not share a grid, geometry that is lost or unknown
    └── FormatError (ValueError)       a file or store that is not what it claims to be, or cannot hold an image
        └── UnsupportedError           a valid file with something chunkimg does not read or write
    MissingExtraError (ImportError)    an optional dependency; the message names the extra to install

and one warning, :class:`ChunkImgWarning`, for metadata that is lost or could not be used.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "ChunkImgError",
    "ChunkImgWarning",
    "FormatError",
    "GeometryError",
    "MissingExtraError",
    "UnsupportedError",
    "require",
]


class ChunkImgError(Exception):
    """Base of the errors that chunkimg raises on purpose."""


class GeometryError(ChunkImgError, ValueError):
    """Two images do not occupy the same space, or an image's position is lost or unknown."""


class FormatError(ChunkImgError, ValueError):
    """A file or store is damaged, is not of the format it claims, or cannot hold the image."""


class UnsupportedError(FormatError):
    """A valid file or store holds something that chunkimg does not support."""


class MissingExtraError(ChunkImgError, ImportError):
    """An optional dependency is not installed."""


class ChunkImgWarning(UserWarning):
    """Metadata is lost or was not usable; voxels and positions are right."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Parameters
    ----------
    module : str
        Name of the module to import.
    extra : str
        The chunkimg extra that installs it.

    Raises
    ------
    MissingExtraError
        If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        raise MissingExtraError(
            f"this needs the package {top!r}, which is not installed: pip install 'chunkimg[{extra}]'"
        ) from error
