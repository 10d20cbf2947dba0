"""NRRD headers: lines of text that are kept as they stand.

The reader of pynrrd is not used: it takes ``key:=value`` pairs for fields of the same name, drops comments and what is
not ASCII, and knows no lists of data files, so that a header could not be written back as it was.

References
----------
Definition of NRRD File Format, https://teem.sourceforge.net/nrrd/format.html; where it is silent, teem 1.12 decides.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from ..errors import ChunkImgWarning, FormatError, UnsupportedError
from .nrrd_names import CANONICAL, DTYPES, SPACES, TYPES
from .source import FileSource

__all__ = ["MAGIC", "Line", "NrrdHeader", "dtype_of", "escape", "parse", "read", "type_name", "whole"]

MAGIC = b"NRRD"
#: versions read: NRRD00.01 is the oldest, 6 adds the encoding ZRL and two planar spaces
_VERSIONS = {"00.01": 1, "0001": 1, "0002": 2, "0003": 3, "0004": 4, "0005": 5, "0006": 6}
_MAX_HEADER, _MAX_LINES = 16 << 20, 200_000
_MAX_AXES = 16
#: the empty line that ends a header
_END = re.compile(rb"\n\r?\n")
_VECTOR = re.compile(r"\s*(none|\([^()]*\))\s*", re.IGNORECASE)
_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*')

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Line:
    """A line of a header.

    Attributes
    ----------
    text : str
        As it stands, without its end.
    kind : str
        ``"magic"``, ``"comment"``, ``"field"``, ``"key"`` or ``"file"`` (a name in a list of data files).
    name, value : str
        Canonical name of a field, or key, and what is said of it.
    """

    text: str
    kind: str
    name: str = ""
    value: str = ""


@dataclass(frozen=True)
class NrrdHeader:
    """A parsed header.

    Attributes
    ----------
    lines : tuple of Line
        In their order.
    path : str
        For messages.
    end : int
        Bytes up to and with the empty line that ends the header.
    newline, charset : str
        How lines end, and how text is coded.
    closed : bool
        Whether an empty line ends the header.
    """

    lines: tuple[Line, ...]
    path: str
    end: int
    newline: str = "\n"
    charset: str = "utf-8"
    closed: bool = True

    @cached_property
    def fields(self) -> dict[str, str]:
        """Field text by canonical name."""
        return {line.name: line.value for line in self.lines if line.kind == "field"}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Key/value pairs; of a key that is there twice the last."""
        return {line.name: line.value for line in self.lines if line.kind == "key"}

    @cached_property
    def dimension(self) -> int:
        """Number of axes."""
        (count,) = self.ints("dimension", 1)
        if not 1 <= count <= _MAX_AXES:
            raise FormatError(f"{self.path}: dimension is {count}; 1 to {_MAX_AXES} are expected")
        return count

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Sizes, fastest axis first."""
        sizes = self.ints("sizes", self.dimension)
        if min(sizes) < 1:
            raise FormatError(f"{self.path}: sizes are {sizes}; every axis has at least one sample")
        return sizes

    @cached_property
    def space_dimension(self) -> int:
        """Number of world axes that vectors are given in; 0 where there are none."""
        if "space" in self.fields:
            return self._space()[1]
        return self.ints("space dimension", 1)[0] if "space dimension" in self.fields else 0

    @cached_property
    def space(self) -> str:
        """What directions the world axes are of the patient: ``"LPS"``, ``"RAS"``, ``"LAS"`` or ``"unknown"``."""
        return self._space()[0] if "space" in self.fields else "unknown"

    def _space(self) -> tuple[str, int]:
        name = re.sub("[- ]", "", self.fields["space"].lower())
        if name not in SPACES:
            raise FormatError(f"{self.path}: space {self.fields['space'][:60]!r} is not one of the format")
        return SPACES[name]

    def ints(self, name: str, count: int) -> tuple[int, ...]:
        """Whole numbers of a field."""
        return self._numbers(name, count, whole)

    def floats(self, name: str, count: int) -> tuple[float, ...]:
        """Numbers of a field; NaN where nothing is known, everywhere if the field is absent."""
        return self._numbers(name, count, real) if name in self.fields else (math.nan,) * count

    def _numbers(self, name: str, count: int, convert: Callable[[str], Number]) -> tuple[Number, ...]:
        text = self.require(name)
        try:
            numbers = tuple(convert(part) for part in text.split())
        except ValueError:
            raise FormatError(f"{self.path}: {name} is {text[:80]!r}; {count} numbers are expected") from None
        if len(numbers) != count:
            raise FormatError(f"{self.path}: {name} has {len(numbers)} numbers ({text[:80]!r}); {count} are expected")
        return numbers

    def words(self, name: str) -> tuple[str | None, ...]:
        """Words of a per-axis field, None for those that say nothing (``???``, ``none``)."""
        if name not in self.fields:
            return (None,) * self.dimension
        words = self.fields[name].split()
        self._per_axis(name, len(words))
        return tuple(None if w.lower() in ("???", "none", "") else w for w in words)

    def quoted(self, name: str, count: int) -> tuple[str, ...]:
        """Strings in double quotes."""
        if name not in self.fields:
            return ("",) * count
        text, out, at = self.fields[name], [], 0
        while at < len(text):
            found = _QUOTED.match(text, at)
            if not found:
                raise FormatError(f"{self.path}: {name} is {text[:80]!r}; strings in double quotes are expected")
            out.append(found[1].replace('\\"', '"'))
            at = found.end()
        if len(out) != count:
            raise FormatError(f"{self.path}: {name} has {len(out)} strings ({text[:80]!r}); {count} are expected")
        return tuple(out)

    def vectors(self, name: str, count: int) -> tuple[tuple[float, ...] | None, ...]:
        """Vectors of a field, None for ``none`` and for those without a number; all None if it is absent."""
        if name not in self.fields:
            return (None,) * count
        text, at = self.fields[name], 0
        out: list[tuple[float, ...] | None] = []
        while at < len(text):
            found = _VECTOR.match(text, at)
            if not found:
                raise FormatError(f"{self.path}: {name} is {text[:80]!r}; vectors (a,b,c) or none are expected")
            out.append(self._vector(name, found[1]))
            at = found.end()
        if len(out) != count:
            raise FormatError(f"{self.path}: {name} has {len(out)} vectors ({text[:80]!r}); {count} are expected")
        return tuple(out)

    def _vector(self, name: str, text: str) -> tuple[float, ...] | None:
        if text.lower() == "none":
            return None
        try:
            numbers = tuple(real(n.strip()) for n in text[1:-1].split(","))
        except ValueError:
            raise FormatError(f"{self.path}: {name} has the vector {text[:80]!r}, which is not numbers") from None
        if len(numbers) != self.space_dimension:
            raise FormatError(
                f"{self.path}: {name} has the vector {text[:80]!r}; {self.space_dimension} numbers are expected, as "
                "space or space dimension says"
            )
        return None if all(math.isnan(n) for n in numbers) else numbers

    def _per_axis(self, name: str, found: int) -> None:
        if found != self.dimension:
            raise FormatError(
                f"{self.path}: {name} has {found} entries ({self.fields[name][:80]!r}), one for each of "
                f"{self.dimension} axes is expected"
            )

    def check(self) -> None:
        """Read every field that has an entry per axis or world axis, so that a wrong number of them is noticed."""
        for name in ("spacings", "thicknesses", "axis mins", "axis maxs"):
            self.floats(name, self.dimension)
        for name in ("centers", "kinds"):
            self.words(name)
        for name in ("labels", "units"):
            self.quoted(name, self.dimension)
        self.quoted("space units", self.space_dimension)
        self.vectors("space origin", 1)
        self.vectors("measurement frame", self.space_dimension)

    def require(self, name: str) -> str:
        """Text of a field that must be there."""
        if name not in self.fields:
            raise FormatError(f"{self.path}: the NRRD header has no field {name!r}, which it needs")
        return self.fields[name]


def read(source: FileSource) -> NrrdHeader:
    """Read and parse the header of a file; nothing of its voxels.

    Raises
    ------
    FormatError
        If it is not one, or does not end within 16 MiB.
    """
    count = 1 << 14
    while True:
        raw = source.head(count)
        if raw[:4] != MAGIC or len(raw) < count or _END.search(raw):
            header = parse(raw, source.path)
            _warn_of_misspelt(header)
            return header
        if count >= _MAX_HEADER:
            raise FormatError(f"{source.path}: no empty line ends the NRRD header within {count} bytes")
        count *= 4


def _warn_of_misspelt(header: NrrdHeader) -> None:
    for line in header.lines:
        meant = CANONICAL.get(re.sub("[-_ ]", "", line.name.lower())) if line.kind == "field" else None
        if meant is not None and line.name != meant:
            warnings.warn(
                f"{header.path}: {line.name[:40]!r} is not a field of the format and is not used; is {meant!r} meant?",
                ChunkImgWarning,
                stacklevel=4,
            )


def parse(raw: bytes, path: str) -> NrrdHeader:
    """Parse a header; what follows its empty line is not looked at."""
    first = raw[:80].split(b"\n")[0].rstrip()
    version = first[4:].decode("ascii", "replace")
    if not first.startswith(MAGIC):
        raise FormatError(f"{path}: an NRRD file starts with 'NRRD', found {raw[:8]!r}")
    if version not in _VERSIONS:
        raise FormatError(f"{path}: NRRD versions 0001 to 0006 are read, this is {version[:20]!r}")
    found = _END.search(raw)
    end = len(raw) if found is None else found.end()
    text = raw if found is None else raw[: found.start()]
    if text.count(b"\n") > _MAX_LINES:
        raise FormatError(f"{path}: the NRRD header has more than {_MAX_LINES} lines")
    texts = text.removesuffix(b"\n").split(b"\n")
    newline = "\r\n" if texts[0].endswith(b"\r") else "\n"
    charset = _charset(b"\n".join(texts))
    lines = [Line(version, "magic")]
    listing = False
    for text in texts[1:]:
        line = Line(text.decode(charset).rstrip("\r\n"), "file") if listing else _line(text.decode(charset), path)
        lines.append(line)
        listing = listing or (
            line.name == "data file" and line.kind == "field" and line.value.startswith(("LIST", "SKIPLIST"))
        )
    lines[0] = Line(texts[0].decode(charset).rstrip(), "magic")
    _refuse_twice(lines, path)
    return NrrdHeader(tuple(lines), path, end, newline, charset, found is not None)


def whole(text: str) -> int:
    """A whole number in plain digits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise ValueError(f"{text[:40]!r} is no whole number")
    return int(text)


def real(text: str) -> float:
    """A number; NaN and infinity are numbers."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _charset(raw: bytes) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _line(text: str, path: str) -> Line:
    text = text.rstrip("\r\n")
    if text.startswith("#"):
        return Line(text, "comment")
    before, colon, after = text.partition(":")
    name = CANONICAL.get(before.lower().replace(" ", ""))
    if colon and name and not after.startswith("="):
        return Line(text, "field", name, after.strip())
    if ":=" in text:
        key, _, value = text.partition(":=")
        return Line(text, "key", unescape(key.strip()), unescape(value.strip()))
    if colon:
        # no field of the format: kept, as writers invent them
        return Line(text, "field", before.strip(), after.strip())
    raise FormatError(f"{path}: the header line {text[:60]!r} is neither a field, a key/value pair nor a comment")


def unescape(text: str) -> str:
    r"""Key or value as meant: ``\n`` is a new line, ``\\`` a backslash."""
    return re.sub(r"\\[n\\]", lambda m: "\n" if m[0] == r"\n" else "\\", text)


def escape(text: str) -> str:
    """Inverse of `unescape`; other control characters than tabs become blanks."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(" " if ord(ch) < 32 and ch != "\t" else ch for ch in text)


def _refuse_twice(lines: list[Line], path: str) -> None:
    seen: dict[str, str] = {}
    for line in lines:
        if line.kind == "field" and seen.setdefault(line.name, line.value) != line.value:
            raise FormatError(f"{path}: the field {line.name!r} is there twice: {seen[line.name]!r} and {line.value!r}")


def dtype_of(header: NrrdHeader) -> np.dtype[np.generic]:
    """Type of the stored voxels, with byte order.

    Raises
    ------
    FormatError, UnsupportedError
        If the type is not one of the format, is a block, or the byte order is missing.
    """
    text = header.require("type")
    if text.lower() == "block":
        raise UnsupportedError(f"{header.path}: voxels of type block are opaque bytes, which are not read")
    code = DTYPES.get(" ".join(text.lower().split()))
    if code is None:
        raise FormatError(f"{header.path}: type {text[:40]!r} is not one of the format")
    dtype: np.dtype[np.generic] = np.dtype(code)
    endian = header.fields.get("endian", "").lower()
    if endian not in ("", "little", "big"):
        raise FormatError(f"{header.path}: endian is {endian[:20]!r}; little or big are expected")
    if dtype.itemsize == 1 or header.require("encoding").lower() in ("ascii", "text", "txt"):
        return dtype
    if not endian:
        raise FormatError(f"{header.path}: the header has no field 'endian', which type {text} needs")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def type_name(dtype: np.dtype[np.generic]) -> str:
    """Name of a type in a header.

    Raises
    ------
    UnsupportedError
        If NRRD has none.
    """
    code = f"{dtype.kind}{dtype.itemsize}"
    if code not in TYPES:
        raise UnsupportedError(f"NRRD has no type for {dtype} voxels; give dtype= to store them in another one")
    return TYPES[code][0]
