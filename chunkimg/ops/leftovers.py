"""What regions that follow each other leave of the patches that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..chunks import BUDGET
from ..lazy import Block, Region

__all__ = ["Kept", "Piece"]

#: bytes of patches that are kept in memory for the regions to come; more are kept in files
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


class Kept:
    """Patches that are not used up yet, as far as regions in the order of the file can still want them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory: dict[tuple[int, ...], Piece] = {}
        self.files: dict[tuple[int, ...], tuple[int, ...]] = {}
        #: voxels that no region has taken
        self.left: dict[tuple[int, ...], int] = {}
        self.size = 0

    def take(self, key: tuple[int, ...], first: Sequence[int]) -> Piece | None:
        """What is kept of a patch, if it has what is wanted, from a first voxel on."""
        begin = self.files.get(key, self.memory[key].first if key in self.memory else None)
        if begin is None or any(f < b for f, b in zip(first, begin, strict=True)):
            return None
        return self.memory[key] if key in self.memory else Piece(np.load(self._file(key), mmap_mode="r"), begin)

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
            elif self.files.pop(key, None) is not None:
                self._file(key).unlink()
        elif new:
            rest = piece if region is None else piece.behind(region, zone)
            if self.size + rest.values.nbytes <= _KEPT:
                self.memory[key] = rest
                self.size += rest.values.nbytes
            else:
                np.save(self._file(key), rest.values)
                self.files[key] = rest.first

    def _file(self, key: tuple[int, ...]) -> Path:
        return self.folder / ("_".join(map(str, key)) + ".npy")
