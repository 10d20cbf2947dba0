"""How Zarr stores are recognised, without zarr."""

from __future__ import annotations

import errno
import os

__all__ = ["METADATA", "ROOT_KEY", "is_node", "split_zip"]

_ZIP_MAGIC = b"PK\x03\x04"
#: documents of which a Zarr node has at least one
METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
#: what is told of paths where nothing is
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
#: root attribute that repeats geometry and properties: other tools drop attributes of arrays
ROOT_KEY = "chunkimg"


def is_node(folder: str) -> bool:
    """Whether a folder holds Zarr metadata.

    One that cannot be looked into is not taken for an empty one: times or a header would be left out.
    """
    return any(_exists(os.path.join(folder, name)) for name in METADATA)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in _NOWHERE:
            return False
        raise
    except ValueError:
        # a zero byte, as no path has it
        return False
    return True


def split_zip(path: str) -> tuple[str, str] | None:
    """A path as that of an existing zip file and the path within it, or None if it leads through no zip file."""
    head, inner = path.rstrip("/" + os.sep), ""
    while head and not os.path.exists(head):
        head, _, last = head.replace(os.sep, "/").rpartition("/")
        inner = f"{last}/{inner}".rstrip("/")
    if not os.path.isfile(head):
        return None
    with open(head, "rb") as f:
        return (head, inner) if f.read(4) == _ZIP_MAGIC else None
