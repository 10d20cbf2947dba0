"""Editing the text of an NRRD header: lines that are not changed stay as they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import chunkimg.io.nrrd_header as nh

from .nrrd_names import FIELDS

__all__ = ["HeaderText", "number", "quote", "vector"]

#: what says nothing of an axis, by field
_NOTHING = {
    **dict.fromkeys(("spacings", "thicknesses", "axis mins", "axis maxs"), "nan"),
    **dict.fromkeys(("centers", "kinds"), "???"),
    **dict.fromkeys(("labels", "units"), '""'),
    "space directions": "none",
}
_TOKEN = {
    "labels": re.compile(r'"(?:[^"\\]|\\.)*"'),
    "units": re.compile(r'"(?:[^"\\]|\\.)*"'),
    "space directions": re.compile(r"none|\([^()]*\)", re.IGNORECASE),
}
#: fields that say how many entries others have
_COUNTS = ("dimension", "space", "space dimension")
#: version of the format that each field came with
_SINCE = {"kinds": 3, "space": 4, "space dimension": 4, "space directions": 4, "measurement frame": 5}


class HeaderText:
    """Lines of a header that is being written.

    Parameters
    ----------
    template : NrrdHeader or None
        What is edited; None starts from nothing.
    """

    def __init__(self, template: nh.NrrdHeader | None) -> None:
        self.path = "header" if template is None else template.path
        self.newline = "\n" if template is None else template.newline
        self.charset = "utf-8" if template is None else template.charset
        first = nh.Line("NRRD0004", "magic")
        comment = nh.Line("# NRRD file format: https://teem.sourceforge.net/nrrd/format.html", "comment")
        # names of data files go with the field that announces them
        self.lines = [first, comment] if template is None else [x for x in template.lines if x.kind != "file"]

    @property
    def fields(self) -> dict[str, str]:
        """Field text by name."""
        return {line.name: line.value for line in self.lines if line.kind == "field"}

    def set(self, name: str, value: str) -> None:
        """Give a field a value; one that has it is left alone, one that is not there goes to its usual place."""
        line = nh.Line(f"{name}: {value}", "field", name, value)
        for k, old in enumerate(self.lines):
            if old.kind == "field" and old.name == name:
                if old.value != value:
                    self.lines[k] = line
                return
        rank = FIELDS.index(name)
        places = {x.name: k for k, x in enumerate(self.lines) if x.kind == "field"}
        later = [k for n, k in places.items() if n in FIELDS[rank:]]
        end = max(places.values()) + 1 if places else len(self.lines)
        # teem needs these before the fields whose entries they count
        first = 1 + max((places.get(n, 0) for n in _COUNTS if n != name), default=0)
        self.lines.insert(max(first, min(later, default=end)), line)
        self._since(_SINCE.get(name, 1))

    def drop(self, *names: str) -> None:
        """Remove fields."""
        self.lines = [x for x in self.lines if not (x.kind == "field" and x.name in names)]

    def set_key(self, key: str, value: str) -> None:
        """Give a key a value."""
        line = nh.Line(f"{nh.escape(key)}:={nh.escape(value)}", "key", key, value)
        places = [k for k, x in enumerate(self.lines) if x.kind == "key" and x.name == key]
        if places:
            self.lines[places[-1]] = line
            return
        self.lines.append(line)
        self._since(2)

    def drop_key(self, key: str) -> None:
        """Remove a key."""
        self.lines = [x for x in self.lines if not (x.kind == "key" and x.name == key)]

    def entries(self, name: str, count: int) -> list[str]:
        """Entries of a per-axis field as text; what says nothing where it is absent."""
        text = self.fields.get(name)
        if text is None:
            return [_NOTHING[name]] * count
        return _TOKEN[name].findall(text) if name in _TOKEN else text.split()

    def vectors(self, name: str) -> list[str]:
        """Vectors of a field as text."""
        return _TOKEN["space directions"].findall(self.fields.get(name, ""))

    def set_entries(self, name: str, entries: Sequence[str]) -> None:
        """Give a per-axis field its entries; one that says nothing of any axis goes."""
        if all(e.lower() == _NOTHING[name] for e in entries):
            self.drop(name)
        elif entries != self.entries(name, len(entries)) or name not in self.fields:
            self.set(name, " ".join(entries))

    def set_entry(self, name: str, k: int, count: int, entry: str | None) -> None:
        """Give one axis its entry of a per-axis field, or take it away."""
        entries = self.entries(name, count)
        entries[k] = _NOTHING[name] if entry is None else entry
        self.set_entries(name, entries)

    def rearrange(self, places: Sequence[int | None], count: int) -> None:
        """Make per-axis fields of new axes: for each the number of the old axis that it is, or None."""
        for name in _NOTHING:
            if name in self.fields:
                old = self.entries(name, count)
                self.set_entries(name, [_NOTHING[name] if k is None else old[k] for k in places])

    def _since(self, version: int) -> None:
        magic = self.lines[0].text
        if magic[4:].isdigit() and int(magic[4:]) < version:
            self.lines[0] = nh.Line(f"NRRD{version:04}", "magic")

    def header(self) -> nh.NrrdHeader:
        """The header as it would be read now."""
        return nh.parse(self.encode(closed=True), self.path)

    def encode(self, *, closed: bool) -> bytes:
        """The header's bytes; with the empty line that ends it, which voxels follow."""
        texts = [line.text for line in self.lines] + ([""] if closed else [])
        charset = self.charset
        try:
            "".join(texts).encode(charset)
        except UnicodeEncodeError:
            charset = "utf-8"
        return "".join(text + self.newline for text in texts).encode(charset)


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    if math.isnan(value):
        return "nan"
    # adding zero: there is no -0 in headers
    text = repr(float(value) + 0.0)
    return text.removesuffix(".0")


def vector(values: Iterable[float]) -> str:
    """A vector as headers have it."""
    return "(" + ",".join(number(v) for v in values) + ")"


def quote(text: str) -> str:
    """A string in double quotes, on one line."""
    return '"' + " ".join(text.split()).replace('"', '\\"') + '"'
