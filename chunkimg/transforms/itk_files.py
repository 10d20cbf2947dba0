"""Files of ITK's transforms: text (``.tfm``, ``.txt``), MATLAB level 4 (``.mat``) and HDF5 (``.h5``).

References
----------
ITK, Modules/IO/Transform{InsightLegacy,Matlab,HDF5}/src; MATLAB, "Level 4 MAT-File Format".
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, UnsupportedError, require
from ..lazy import Block, LazyArray, Region
from .itk import Record

__all__ = ["HDF5", "TEXT", "mat_records", "numbers", "text_records", "with_hdf5"]

#: first bytes of each
TEXT, HDF5 = b"#Insight Transform File", b"\x89HDF\r\n\x1a\n"

#: type and size of the numbers of a matrix in MATLAB's level 4, by the digit P of its type
_PRECISIONS = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}
#: a name longer than this is damage
_LONGEST_NAME = 1 << 10
#: more fixed parameters than any kind has
_MOST_FIXED = 1 << 10
#: bytes of a heap of an HDF5 file, which are 4096 unless strings are long
_LARGEST_HEAP = 1 << 20


def numbers(text: str, source: str, what: str) -> NDArray[np.float64]:
    """Numbers with blanks between them."""
    try:
        return np.array(text.split(), np.float64)
    except ValueError as error:
        raise FormatError(f"{source}: {what} are numbers, found {text.strip()[:80]!r}") from error


def text_records(raw: bytes, source: str) -> list[Record]:
    """The transforms of a text file, ``Transform:``, ``Parameters:`` and ``FixedParameters:`` of each."""
    out: list[dict[str, str]] = []
    for line in raw.decode("latin-1").splitlines():
        key, colon, value = line.strip().partition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if key == "Transform":
            out.append({key: value.strip()})
        elif not colon or not out or key not in ("Parameters", "FixedParameters") or key in out[-1]:
            raise FormatError(
                f"{source}: expected lines Transform:, Parameters: and FixedParameters:, found {line.strip()[:80]!r}"
            )
        else:
            out[-1][key] = value
    return [
        Record(
            entry["Transform"],
            _Given(numbers(entry.get("Parameters", ""), source, "parameters")),
            numbers(entry.get("FixedParameters", ""), source, "fixed parameters"),
        )
        for entry in out
    ]


def mat_records(raw: bytes, source: str) -> list[Record]:
    """The transforms of a MATLAB file: pairs of matrices, parameters under the name of the kind, and ``fixed``."""
    found = list(_matrices(raw, source))
    if not found or len(found) % 2 or any(name != "fixed" for name, _ in found[1::2]):
        raise FormatError(
            f"{source}: an ITK transform is a matrix of parameters and one named 'fixed', found "
            f"{', '.join(repr(name[:40]) for name, _ in found[:6]) or 'nothing'}"
        )
    return [
        Record(kind, _Given(values), fixed) for (kind, values), (_, fixed) in zip(found[::2], found[1::2], strict=True)
    ]


def _matrices(raw: bytes, source: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Names and values of the matrices of a MATLAB file, level 4."""
    at = 0
    while at < len(raw):
        if len(raw) - at < 20:
            raise FormatError(f"{source}: truncated in the header of a matrix, at byte {at}")
        # the type is below 5000 in the byte order of the file; in the other one it is large, but for 0
        order = "<" if struct.unpack_from("<i", raw, at)[0] in range(5000) else ">"
        kind, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", raw, at)
        precision = kind // 10 % 10
        if kind not in range(2000) or kind % 10 or precision not in _PRECISIONS or imaginary:
            raise FormatError(f"{source}: no matrix of real numbers in MATLAB's level 4 at byte {at} (type {kind})")
        dtype = np.dtype(order + _PRECISIONS[precision])
        if min(rows, columns) < 0 or not 0 < length <= _LONGEST_NAME:
            raise FormatError(f"{source}: a matrix of {rows}×{columns} with a name of {length} bytes, at byte {at}")
        start = at + 20 + length
        stop = start + rows * columns * dtype.itemsize
        if stop > len(raw):
            raise FormatError(f"{source}: truncated: a matrix of {rows}×{columns} ends at byte {stop} of {len(raw)}")
        name = raw[at + 20 : start].rstrip(b"\0").decode("latin-1")
        yield name, np.frombuffer(raw, dtype, rows * columns, start).astype(np.float64)
        at = stop


# ---------------------------------------------------------------------------------------------- HDF5


def with_hdf5(path: str) -> list[Record]:
    """The transforms of an HDF5 file; parameters stay in the file until they are asked for.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    """
    out = []
    with _opened(path) as file:
        group = file["TransformGroup"]
        for k in range(len(group)):
            entry = group[str(k)]
            fixed, parameters = (_member(entry, name) for name in ("FixedParameters", "Parameters"))
            if fixed is not None and fixed.size > _MOST_FIXED:
                raise FormatError(f"{path}: transform {k} has {fixed.size} fixed parameters; none has so many")
            out.append(
                Record(
                    _text(entry["TransformType"], path),
                    _Given(np.empty(0)) if parameters is None else _Stored(path, parameters),
                    np.empty(0) if fixed is None else np.asarray(fixed, np.float64).reshape(-1),
                )
            )
    return out


def _member(entry: Any, name: str) -> Any:
    """A data set of a group, under its name or as ITK misspelt it before 4.8; None if it is not there."""
    found = entry.get(f"Transform{name}", entry.get(f"Tranform{name}"))
    if found is not None and (found.dtype.kind not in "iuf" or found.ndim != 1):
        raise FormatError(f"{entry.file.filename}: {found.name} holds {found.dtype}, {found.ndim}-D; numbers expected")
    return found


def _text(dataset: Any, path: str) -> str:
    """The one string of a data set, of any length.

    Strings lie in a heap of the file, in which the HDF5 library looks for them in an endless loop where it is damaged;
    so they are looked up here (HDF5 File Format Specification 3.0, III.E and VIII).
    """
    if dataset.size == 1 and dataset.dtype.kind == "S" and dataset.dtype.itemsize <= _LONGEST_NAME:
        return bytes(np.asarray(dataset).reshape(-1)[0]).decode("latin-1")
    place = dataset.id.get_offset()
    if dataset.size != 1 or dataset.dtype.kind != "O" or place is None:
        raise FormatError(f"{path}: {dataset.name} holds {dataset.dtype}, of size {dataset.size}; a string is expected")
    with open(path, "rb") as file:
        file.seek(place)
        length, heap, number = struct.unpack("<IQI", file.read(16).ljust(16, b"\0"))
        file.seek(min(heap, os.fstat(file.fileno()).st_size))
        raw = file.read(16)
        size = min(int.from_bytes(raw[8:16], "little"), _LARGEST_HEAP) if raw[:4] == b"GCOL" else 0
        raw += file.read(max(0, size - 16))
    at = 16
    while at + 16 <= len(raw):
        index, size = struct.unpack_from("<H6xQ", raw, at)
        if index == number and length <= min(size, _LONGEST_NAME) and at + 16 + length <= len(raw):
            return raw[at + 16 : at + 16 + length].rstrip(b"\0").decode("latin-1")
        if index == 0 or size > len(raw):
            break
        at += 16 + -(-size // 8) * 8
    raise FormatError(f"{path}: the string of {dataset.name} is not where it should be: the file is damaged")


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """An HDF5 file; what is wrong with it is a `FormatError`."""
    h5py = require("h5py", "transforms")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FormatError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(f"{path}: no ITK transform in HDF5, or a damaged one: {error}") from error


class _Given(LazyArray):
    """Parameters that were read already."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def _read(self, region: Region) -> Block:
        return self.values[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-given", hashlib.blake2b(self.values.tobytes()).hexdigest())


class _Stored(LazyArray):
    """A one-dimensional data set of an HDF5 file, opened for each read."""

    def __init__(self, path: str, dataset: Any) -> None:
        self.path, self.name = path, str(dataset.name)
        self.shape, self.dtype = tuple(dataset.shape), np.dtype(dataset.dtype).newbyteorder("=")
        status = os.stat(path)
        self._file = (status.st_size, status.st_mtime_ns)

    def _read(self, region: Region) -> Block:
        (r,) = region
        with _opened(self.path) as file:
            block: Block = file[self.name][r.start : r.stop : r.step]
        if block.shape != (len(r),):
            raise FormatError(f"{self.path}: changed since it was opened")
        return block.astype(self.dtype, copy=False)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-hdf5", os.path.abspath(self.path), self.name, self._file)


def refuse_other_mat(raw: bytes, source: str) -> None:
    """Say so where a ``.mat`` is of a later MATLAB.

    Raises
    ------
    UnsupportedError
        If it is.
    """
    if raw.startswith((b"MATLAB 5.0", b"MATLAB 7.3")):
        raise UnsupportedError(f"{source}: is a MATLAB file of level 5 or later; transforms of ITK are of level 4")
