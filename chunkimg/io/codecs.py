"""Codecs of Zarr arrays: names and profiles, by kind of data. Figures: benchmarks/RESULTS.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import FormatError
from .zarr_spec import Compressor

__all__ = ["NAMES", "PROFILES", "compressor"]

#: name -> highest level
_LEVELS = {"blosc-zstd": 9, "blosc-lz4": 9, "zstd": 22, "gzip": 9, "none": 0}
_DEFAULT = {"blosc-zstd": 3, "blosc-lz4": 5, "zstd": 3, "gzip": 5}
NAMES = tuple(_LEVELS)
_SHUFFLES = ("shuffle", "bitshuffle", "noshuffle")

#: profile -> kind of data -> codec. Shuffling cuts the long runs of labels and does nothing for single bytes
PROFILES = {
    "fast": {
        "bytes": "blosc-lz4:5:bitshuffle",
        "integers": "blosc-lz4:5:bitshuffle",
        "floats": "blosc-lz4:5:shuffle",
        "labels": "zstd:1",
    },
    "balanced": {
        "bytes": "zstd:1",
        "integers": "blosc-zstd:1:shuffle",
        "floats": "blosc-zstd:1:shuffle",
        "labels": "zstd:3",
    },
    "small": {
        "bytes": "zstd:9",
        "integers": "blosc-zstd:6:bitshuffle",
        "floats": "blosc-zstd:6:shuffle",
        "labels": "zstd:9",
    },
}


def compressor(name: str | None, dtype: np.dtype[Any], labels: bool = False) -> Compressor | None:
    """How chunks are compressed; all of these are read by zarr-python, tensorstore, zarrs and zarrita.

    Parameters
    ----------
    name : str or None
        A profile: ``"fast"``, ``"balanced"`` (also for None) or ``"small"``; or one of `NAMES`, with an optional level
        as in ``"zstd:5"``, and for blosc an optional filter as in ``"blosc-zstd:5:bitshuffle"``. Without one, blosc
        shuffles the bits of integers and the bytes of floating point.
    dtype : numpy dtype
        Type of the voxels.
    labels : bool
        Whether voxels are labels.

    Raises
    ------
    FormatError
        If the name, level or filter is not known.
    """
    by_kind = PROFILES.get("balanced" if name is None else name)
    if by_kind is not None:
        name = by_kind[_kind(dtype, labels)]
    assert name is not None
    kind, *more = name.split(":")
    shuffle = more.pop() if len(more) == 2 and kind.startswith("blosc") else None
    if kind not in NAMES or len(more) > 1 or not all(m.isdigit() for m in more) or shuffle not in (None, *_SHUFFLES):
        known = ", ".join((*PROFILES, *NAMES))
        raise FormatError(f"codec {name!r} is not known; choose one of {known}, those with a level as in zstd:5")
    level = int(more[0]) if more else _DEFAULT.get(kind, 0)
    if level > _LEVELS[kind]:
        raise FormatError(f"codec {name!r}: levels of {kind} go up to {_LEVELS[kind]}")
    if kind == "none":
        return None
    if not kind.startswith("blosc"):
        return Compressor(kind, level)
    usual = "shuffle" if dtype.kind in "fc" or dtype.itemsize == 1 else "bitshuffle"
    return Compressor("blosc", level, kind.removeprefix("blosc-"), shuffle or usual)


def _kind(dtype: np.dtype[Any], labels: bool) -> str:
    if labels or dtype.kind == "b":
        return "labels"
    if dtype.kind in "fc":
        return "floats"
    return "bytes" if dtype.itemsize == 1 else "integers"
