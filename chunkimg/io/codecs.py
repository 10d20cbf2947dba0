"""Codecs of Zarr arrays: names, and the default per kind of data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import FormatError

__all__ = ["NAMES", "compressor"]

#: name -> highest level
_LEVELS = {"blosc-zstd": 9, "blosc-lz4": 9, "zstd": 22, "gzip": 9, "none": 0}
_DEFAULT = {"blosc-zstd": 3, "blosc-lz4": 5, "zstd": 3, "gzip": 5}
NAMES = tuple(_LEVELS)


def compressor(name: str | None, dtype: np.dtype[Any], labels: bool = False, zarr_format: int = 3) -> Any:
    """A zarr compressor, or several; those of Zarr v3 notice damage by a checksum.

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
    zarr_format : int
        2 or 3: they know the same codecs by different objects.

    Raises
    ------
    FormatError
        If the name or level is not known.
    """
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
    shuffle = "shuffle" if dtype.kind in "fc" or dtype.itemsize == 1 else "bitshuffle"
    level = _DEFAULT[kind] if level is None else level
    return (_v2 if zarr_format == 2 else _v3)(kind, level, shuffle)


def _v3(kind: str, level: int, shuffle: Any) -> Any:
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    packed: Any = BloscCodec(cname="lz4" if kind == "blosc-lz4" else "zstd", clevel=level, shuffle=shuffle)
    if kind == "zstd":
        packed = ZstdCodec(level=level)
    elif kind == "gzip":
        packed = GzipCodec(level=level)
    # of 300 single flipped bits in a chunk blosc and zstd noticed 10 to 60, with a checksum all
    return packed, Crc32cCodec()


def _v2(kind: str, level: int, shuffle: str) -> Any:
    import numcodecs

    if kind == "zstd":
        return numcodecs.Zstd(level=level)
    if kind == "gzip":
        return numcodecs.GZip(level=level)
    flag = numcodecs.Blosc.SHUFFLE if shuffle == "shuffle" else numcodecs.Blosc.BITSHUFFLE
    return numcodecs.Blosc(cname="lz4" if kind == "blosc-lz4" else "zstd", clevel=level, shuffle=flag)
