"""What regions that follow each other leave of the patches that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..chunks import BUDGET
from ..lazy import Block, Region
from ..open_file import OpenFile

__all__ = ["Kept", "Piece"]

#: bytes of patches that are kept in memory for the regions to come; more are kept in a file
_KEPT = BUDGET // 2


@dataclass(frozen=True)
class Piece:
    """A patch, or what is left of it.

    Attributes
    ----------
    values : ndarray, shape (..., z, y, x)
        Its voxels.
    first : tuple of int
        The first of them in the image, z, y, x.
    """

    values: Block
    first: tuple[int, ...]

    def behind(self, region: Region, zone: Sequence[range]) -> Piece:
        """Without what lies before the end of a region along one axis, if that has all of the zone along the others."""
        for axis in range(3):
            others = [(r, z) for k, (r, z) in enumerate(zip(region, zone, strict=True)) if k != axis]
            whole = all(r.step == 1 and r.start <= z.start and z.stop <= r.stop for r, z in others)
            done = region[axis].stop - self.first[axis]
            if whole and region[axis].step == 1 and region[axis].start <= zone[axis].start and done > 0:
                first = tuple(f + done * (k == axis) for k, f in enumerate(self.first))
                z, y, x = (slice(f - b, None) for f, b in zip(first, self.first, strict=True))
                return Piece(self.values[..., z, y, x].copy(), first)
        return self


@dataclass(frozen=True)
class _Slot:
    """Where a piece lies in a file.

    Attributes
    ----------
    start, size : int
        The bytes that are set apart.
    shape, dtype
        Of its voxels.
    first : tuple of int
        As of the piece.
    """

    start: int
    size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    first: tuple[int, ...]


@dataclass
class _Slots:
    """Pieces in a file; the room of those that were removed is used again."""

    file: OpenFile
    end: int = 0
    free: list[tuple[int, int]] = field(default_factory=list)

    def put(self, piece: Piece) -> _Slot:
        """Write a piece."""
        values = np.ascontiguousarray(piece.values)
        fitting = [(size, start) for size, start in self.free if size >= values.nbytes]
        size, start = min(fitting, default=(values.nbytes, self.end))
        if fitting:
            self.free.remove((size, start))
        else:
            self.end += size
        self.file.write(values.reshape(-1).view(np.uint8).data, start)
        return _Slot(start, size, values.shape, values.dtype, piece.first)

    def get(self, slot: _Slot) -> Piece:
        """Look at a piece that was written."""
        return Piece(self.file.mapped(slot.dtype, slot.start, slot.shape), slot.first)

    def remove(self, slot: _Slot) -> None:
        """Give its room to others."""
        self.free.append((slot.size, slot.start))


class Kept:
    """Patches that are not used up yet, as far as regions in the order of the file can still want them.

    Parameters
    ----------
    file : OpenFile
        An empty file, for those that are too many for memory.
    """

    def __init__(self, file: OpenFile) -> None:
        self.memory: dict[tuple[int, ...], Piece] = {}
        self.slots: dict[tuple[int, ...], _Slot] = {}
        self._file = _Slots(file)
        #: voxels that no region has taken
        self.left: dict[tuple[int, ...], int] = {}
        self.size = 0

    def take(self, key: tuple[int, ...], first: Sequence[int]) -> Piece | None:
        """What is kept of a patch, if it has what is wanted, from a first voxel on."""
        found = self.memory.get(key) or self.slots.get(key)
        if found is None or any(f < b for f, b in zip(first, found.first, strict=True)):
            return None
        return self._file.get(found) if isinstance(found, _Slot) else found

    def keep(
        self, key: tuple[int, ...], piece: Piece, region: Region | None, zone: Sequence[range], taken: int, full: int
    ) -> None:
        """Keep a patch, of whose zone (of so many voxels in all) some were taken, if any are left.

        Of one of which all channels were taken in a region only what lies behind that.
        """
        new = key not in self.left
        self.left[key] = self.left.get(key, full) - taken
        if self.left[key] <= 0:
            del self.left[key]
            if key in self.memory:
                self.size -= self.memory.pop(key).values.nbytes
            elif key in self.slots:
                self._file.remove(self.slots.pop(key))
        elif new:
            rest = piece if region is None else piece.behind(region, zone)
            if self.size + rest.values.nbytes <= _KEPT:
                self.memory[key] = rest
                self.size += rest.values.nbytes
            else:
                self.slots[key] = self._file.put(rest)
