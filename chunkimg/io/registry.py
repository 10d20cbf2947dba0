"""Which format a source or destination is of: one table, deterministic matching."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import FormatError, UnsupportedError
from .format import CheckOptions, Finding, Format
from .source import FileSource
from .zarr_names import split_zip

__all__ = ["FORMATS", "check_of", "format_of", "format_to_write", "is_ours"]

#: name -> (module, suffixes); modules are imported when they are needed
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nifti": ("chunkimg.io.nifti", (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")),
    "nrrd": ("chunkimg.io.nrrd", (".nrrd", ".nhdr")),
    "zarr": ("chunkimg.io.zarr", (".zarr", ".zarr.zip", ".ozx", ".zip")),
}

#: suffixes that other software uses too, for the same files or for others: they say nothing of who should open a file
SHARED = frozenset({".hdr", ".img", ".hdr.gz", ".img.gz", *FORMATS["zarr"][1]})
#: formats that are checked by a module of their own: its `check` is like `file_check.check`, which serves the others
_CHECKS = {
    "nifti": "chunkimg.io.nifti_check",
    "zarr": "chunkimg.io.zarr_check",
}


#: what zarr-python would try to open
_NO_SOURCE = (bytes, bytearray, int, float, complex, list, tuple, set)


def load(name: str) -> Format:
    """The format object of a name in `FORMATS`."""
    if name not in FORMATS:
        raise FormatError(f"format {name!r} is not known; expected one of {', '.join(sorted(FORMATS))}")
    module = importlib.import_module(FORMATS[name][0])
    return module.FORMAT  # type: ignore[no-any-return]


def check_of(format: Format) -> Callable[[Format, Any, CheckOptions], Iterator[Finding]]:
    """The function that checks files or stores of a format."""
    module = importlib.import_module(_CHECKS.get(format.name, "chunkimg.io.file_check"))
    return module.check  # type: ignore[no-any-return]


def _by_suffix(path: str) -> tuple[str, str] | None:
    """Format name and the longest suffix that a path ends in."""
    lower = path.lower()
    names = [(s, name) for name, (_, suffixes) in FORMATS.items() for s in suffixes]
    # a folder may be named with a slash behind
    matches = [(s, n) for s, n in names if (lower.rstrip("/") if n == "zarr" else lower).endswith(s)]
    if not matches:
        return None
    suffix, name = max(matches, key=lambda m: len(m[0]))
    return name, suffix


def _name_of(path: str) -> str | None:
    """The format that a name tells, or None."""
    named = _by_suffix(path)
    return None if named is None else named[0]


def is_ours(path: str) -> bool:
    """Whether a path ends in a suffix that means an image of a known format and nothing else."""
    named = _by_suffix(path)
    return named is not None and named[1] not in SHARED


def format_of(source: Any, format: str | None = None) -> Format:
    """The format of a source: as told, else by its longest suffix; the bytes must agree.

    Raises
    ------
    FileNotFoundError
        If there is nothing at that path.
    FormatError
        If no format fits, or name and content disagree.
    TypeError
        If the source is of a type that no image is read from.
    """
    if source is None or isinstance(source, _NO_SOURCE):
        raise TypeError(
            f"an image is read from a path, a URL or a Zarr store; found {type(source).__name__} {source!r:.40}"
        )
    if not isinstance(source, (str, os.PathLike)):
        return load(format or "zarr")
    path = os.fspath(source)
    if not path:
        raise FileNotFoundError("the path is empty; give that of a file or folder")
    if "://" in path:
        return _remote(path, format)
    zipped = split_zip(path)
    if not os.path.exists(path) and zipped is None:
        raise FileNotFoundError(f"{path}: no such file or folder")
    if zipped is not None and (zipped[1] or (format or _name_of(path) or "zarr") == "zarr"):
        return load("zarr")
    if os.path.isdir(path):
        found = load(format or "zarr")
        if found.name != "zarr" or not found.sniff(path):
            raise FormatError(
                f"{path} is a folder without Zarr metadata (zarr.json or .zgroup); it is not an image, or the write of "
                "it was interrupted"
            )
        return found
    return _of_file(path, format)


def _of_file(path: str, format: str | None) -> Format:
    named = _by_suffix(path)
    name = format or (named[0] if named else None)
    if name == "zarr":
        raise FormatError(f"{path}: a Zarr store is a folder or a zip file, this is neither")
    if path.lower().endswith((".img", ".img.gz")) and name == "nifti":
        # the voxels of a pair; the header beside them is what is sniffed on opening
        return load(name)
    source = FileSource.open(path)
    if name is not None:
        found = load(name)
        _agree(source, found, named[1] if named else "")
        return found
    for candidate in FORMATS:
        if candidate != "zarr" and load(candidate).sniff(source):
            return load(candidate)
    raise FormatError(
        f"{path}: neither its name nor its first bytes ({source.head(8)!r}) are of a known format "
        f"({', '.join(sorted(FORMATS))}); give format= if you know it"
    )


def _agree(source: FileSource, found: Format, suffix: str) -> None:
    if suffix.endswith(".gz") and source.coding != "gzip":
        raise FormatError(
            f"{source.path}: named {suffix}, but its content is not gzip (it starts with {source.head(8)!r}); "
            "rename it if it is not compressed"
        )
    if suffix and not suffix.endswith(".gz") and source.coding == "gzip":
        known = f"{suffix}.gz" in FORMATS[found.name][1]
        hint = f"name it {suffix}.gz" if known else "decompress it with gunzip first"
        raise FormatError(f"{source.path}: named {suffix}, but its content is gzip as a whole; {hint}")
    if not found.sniff(source):
        raise FormatError(
            f"{source.path}: expected {found.name}{f' by its name {suffix}' if suffix else ''}, "
            f"but its content is not: it starts with {source.head(8)!r}"
        )


def _remote(url: str, format: str | None) -> Format:
    named = _by_suffix(url)
    name = format or (named[0] if named else "zarr")
    if name != "zarr":
        raise UnsupportedError(f"{url}: only Zarr stores are read from URLs so far; copy the file here first")
    return load(name)


def format_to_write(dest: Any, format: str | None = None) -> Format:
    """The format to write a destination in: as told, else by its longest suffix."""
    if not isinstance(dest, (str, os.PathLike)):
        return load(format or "zarr")
    named = _by_suffix(os.fspath(dest))
    if format is None and named is None:
        known = ", ".join(sorted(s for _, suffixes in FORMATS.values() for s in suffixes))
        raise FormatError(f"{os.fspath(dest)}: its name ends in no known suffix ({known}); rename it or give format=")
    return load(format or (named[0] if named else ""))
