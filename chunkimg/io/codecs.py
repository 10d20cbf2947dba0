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

#: profile -> codec of integers, of floating point, of labels and truth values
PROFILES = {
    "fast": ("blosc-lz4:5", "blosc-lz4:5", "zstd:1"),
    "balanced": ("blosc-zstd:1", "blosc-zstd:1", "zstd:1"),
    "small": ("blosc-zstd:6", "blosc-zstd:6", "zstd:9"),
}


def compressor(name: str | None, dtype: np.dtype[Any], labels: bool = False) -> Compressor | None:
    """How chunks are compressed; all of these are read by zarr-python, tensorstore, zarrs and zarrita.

    Parameters
    ----------
    name : str or None
        A profile: ``"fast"``, ``"balanced"`` (also for None) or ``"small"``; or one of `NAMES`, with an optional level
        as in ``"zstd:5"``. Blosc shuffles the bits of integers and the bytes of floating point. Labels are compressed
        by plain zstd, which finds long runs that shuffling would cut.
    dtype : numpy dtype
        Type of the voxels.
    labels : bool
        Whether voxels are labels.

    Raises
    ------
    FormatError
        If the name or level is not known.
    """
    by_kind = PROFILES.get("balanced" if name is None else name)
    if by_kind is not None:
        name = by_kind[2 if labels or dtype.kind == "b" else 1 if dtype.kind in "fc" else 0]
    assert name is not None
    kind, _, text = name.partition(":")
    if kind not in NAMES or (text and not text.isdigit()):
        known = ", ".join((*PROFILES, *NAMES))
        raise FormatError(f"codec {name!r} is not known; choose one of {known}, those with a level as in zstd:5")
    level = int(text) if text else _DEFAULT.get(kind, 0)
    if level > _LEVELS[kind]:
        raise FormatError(f"codec {name!r}: levels of {kind} go up to {_LEVELS[kind]}")
    if kind == "none":
        return None
    if not kind.startswith("blosc"):
        return Compressor(kind, level)
    shuffle = "shuffle" if dtype.kind in "fc" or dtype.itemsize == 1 else "bitshuffle"
    return Compressor("blosc", level, kind.removeprefix("blosc-"), shuffle)
