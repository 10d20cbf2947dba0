"""Codecs of Zarr arrays: names, and the default per kind of data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import FormatError

__all__ = ["NAMES", "compressor"]

#: name -> highest level
_LEVELS = {"blosc-zstd": 9, "blosc-lz4": 9, "zstd": 22, "gzip": 9, "none": 0}
NAMES = tuple(_LEVELS)


def compressor(name: str | None, dtype: np.dtype[Any], labels: bool = False) -> Any:
    """A zarr compressor.

    Parameters
    ----------
    name : str or None
        One of `NAMES`, with an optional level as in ``"zstd:5"``; None for the default: plain zstd for labels and
        single bytes, blosc zstd with bit-shuffling for integers and byte-shuffling for floating point. All are read by
        zarr-python, tensorstore, zarrs and zarrita.
    dtype : numpy dtype
        Type of the voxels.
    labels : bool
        Whether voxels are labels.

    Raises
    ------
    FormatError
        If the name or level is not known.
    """
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    if name is None:
        name = "zstd:1" if labels or dtype.kind == "b" else "blosc-zstd:3"
    kind, _, text = name.partition(":")
    if kind not in NAMES or (text and not text.isdigit()):
        raise FormatError(f"codec {name!r} is not known; choose one of {', '.join(NAMES)}, with a level as in zstd:5")
    level = int(text) if text else None
    if level is not None and level > _LEVELS[kind]:
        raise FormatError(f"codec {name!r}: levels of {kind} go up to {_LEVELS[kind]}")
    if kind == "none":
        return None
    if kind == "zstd":
        return ZstdCodec(level=3 if level is None else level)
    if kind == "gzip":
        return GzipCodec(level=5 if level is None else level)
    shuffle: Any = "shuffle" if dtype.kind in "fc" or dtype.itemsize == 1 else "bitshuffle"
    if kind == "blosc-lz4":
        return BloscCodec(cname="lz4", clevel=5 if level is None else level, shuffle=shuffle)
    return BloscCodec(cname="zstd", clevel=3 if level is None else level, shuffle=shuffle)
