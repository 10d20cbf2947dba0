"""How the chunks of a Zarr array are stored, read from its metadata, as far as chunkimg codes chunks itself.

Arrays that this module does not describe (other codecs, types, grids) are left to zarr-python: nothing here guesses,
and what is not understood is None. Zarr v3 core specification; sharding: ZEP 2; v2: the Zarr storage specification 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["INDEX_ROW", "ArraySpec", "Compressor"]

_TYPES = {
    **{name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{name: np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128")},
}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: keys of array metadata that are understood; any other may change what the chunks mean
_V3 = {
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"),
    *("attributes", "dimension_names", "storage_transformers", "consolidated_metadata"),
}
_COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "lz4")
#: bytes of an entry in the index of a shard: where an inner chunk starts, and its size
INDEX_ROW = 16


@dataclass(frozen=True)
class Compressor:
    """A codec of bytes.

    Attributes
    ----------
    name : str
        ``"blosc"``, ``"zstd"``, ``"gzip"``, ``"zlib"`` or ``"lz4"`` (as numcodecs has it).
    level : int
        Of compression.
    inner, shuffle : str
        Of blosc: its compressor, and ``"noshuffle"``, ``"shuffle"`` or ``"bitshuffle"``.
    """

    name: str
    level: int = 0
    inner: str = ""
    shuffle: str = ""


@dataclass(frozen=True)
class ArraySpec:
    """Shape, type, chunks and codecs of an array.

    Attributes
    ----------
    shape : tuple of int
        Sizes.
    dtype : numpy dtype
        As stored, with byte order.
    chunks : tuple of int
        What is compressed as one piece.
    shards : tuple of int or None
        What is stored under one key where that is more than a chunk.
    axes : tuple of int or None
        The array's axes in the order in which a chunk stores them; None for their own order.
    compressor : Compressor or None
        How chunks are compressed.
    checksum : bool
        Whether a crc32c follows each chunk.
    index_checksum, index_first : bool
        Of shards: whether the index has a crc32c; whether it stands at the start, not the end.
    fill : int, float, complex or None
        Value of what is not stored.
    lead : str
        What keys start with: ``"c"``, or nothing.
    separator : str
        What stands between the numbers of a key.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None
    compressor: Compressor | None = None
    checksum: bool = False
    index_checksum: bool = True
    index_first: bool = False
    fill: complex | None = 0
    lead: str = "c"
    separator: str = "/"

    @property
    def unit(self) -> tuple[int, ...]:
        """What is stored under one key."""
        return self.chunks if self.shards is None else self.shards

    @property
    def per_shard(self) -> tuple[int, ...]:
        """Chunks of a shard along each axis."""
        return tuple(s // c for s, c in zip(self.unit, self.chunks, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """Uncompressed bytes of a chunk."""
        return math.prod(self.chunks) * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Bytes of the index of a shard."""
        return math.prod(self.per_shard) * INDEX_ROW + (4 if self.index_checksum else 0)

    def key(self, at: Sequence[int]) -> str:
        """Key of a chunk, or of a shard, by its position in the grid."""
        numbers = self.separator.join(map(str, at))
        if not self.lead:
            return numbers or "0"
        return f"{self.lead}{self.separator}{numbers}" if at else self.lead

    def touched(self, region: Sequence[range], step: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Positions, in a grid of pieces of `step`, of those that a region takes voxels from."""
        return itertools.product(*(_pieces(r, n) for r, n in zip(region, step, strict=True)))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ArraySpec | None:
        """What ``zarr.json`` (v3) or ``.zarray`` (v2) says; None where that is more than is understood here."""
        try:
            version = document.get("zarr_format")
            found = _of_v3(document) if version == 3 else _of_v2(document) if version == 2 else None
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return None
        return found if found is not None and _consistent(found) else None


def _pieces(r: range, size: int) -> Sequence[int]:
    if r.step <= size:
        return range(r.start // size, (r[-1] // size) + 1 if len(r) else 0)
    return [k // size for k in r]


def _consistent(spec: ArraySpec) -> bool:
    if not len(spec.shape) == len(spec.chunks) == len(spec.unit):
        return False
    if min(spec.shape, default=1) < 0 or min((*spec.chunks, *spec.unit), default=1) < 1 or spec.chunk_bytes > 1 << 40:
        return False
    if spec.axes is not None and sorted(spec.axes) != list(range(len(spec.shape))):
        return False
    return all(s % c == 0 for s, c in zip(spec.unit, spec.chunks, strict=True)) and math.prod(spec.per_shard) <= 1 << 26


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int for n in value):
        raise ValueError("sizes are a list of integers")
    return tuple(value)


def _of_v3(document: Mapping[str, Any]) -> ArraySpec | None:
    if document["node_type"] != "array" or not set(document) <= _V3 or document.get("storage_transformers"):
        return None
    grid, encoding = document["chunk_grid"], document["chunk_key_encoding"]
    if grid["name"] != "regular" or encoding["name"] not in ("default", "v2"):
        return None
    dtype = _TYPES[document["data_type"]]
    unit = _sizes(grid["configuration"]["chunk_shape"])
    default = encoding["name"] == "default"
    separator = (encoding.get("configuration") or {}).get("separator", "/" if default else ".")
    if separator not in ("/", "."):
        return None
    bare = ArraySpec(
        _sizes(document["shape"]), dtype, unit, fill=_fill(document["fill_value"], dtype), separator=separator
    )
    return _coded(bare if default else replace(bare, lead=""), document["codecs"])


def _fill(value: Any, dtype: np.dtype[Any]) -> complex:
    if dtype.kind == "c":
        real, imaginary = (_SPECIAL[v] if isinstance(v, str) else float(v) for v in value)
        return complex(real, imaginary)
    if dtype.kind == "f":
        return _SPECIAL[value] if isinstance(value, str) else float(value)
    if type(value) not in (int, bool) or not isinstance(np.array(value, dtype).item(), (int, bool)):
        raise ValueError("a fill value of integers is an integer")
    return int(value)


def _coded(spec: ArraySpec, codecs: Any, inside: bool = False) -> ArraySpec | None:
    """The codecs of a chunk, or of a shard and of the chunks in it."""
    rest = [_named(c) for c in codecs]
    if rest and rest[0][0] == "transpose":
        spec = replace(spec, axes=_sizes(rest.pop(0)[1]["order"]))
    if rest and rest[0][0] == "sharding_indexed":
        if inside or len(rest) > 1 or spec.axes is not None:
            return None
        return _sharded(spec, rest[0][1])
    name, config = rest.pop(0)
    endian = config.get("endian")
    if name != "bytes" or endian not in (None, "little", "big") or (endian is None and spec.dtype.itemsize > 1):
        return None
    spec = replace(spec, dtype=spec.dtype.newbyteorder(">" if endian == "big" else "<"))
    if rest and rest[-1][0] == "crc32c":
        spec = replace(spec, checksum=True)
        rest.pop()
    if len(rest) > 1:
        return None
    return replace(spec, compressor=_compressor(*rest[0])) if rest else spec


def _named(codec: Any) -> tuple[str, Mapping[str, Any]]:
    return (codec, {}) if isinstance(codec, str) else (codec["name"], codec.get("configuration") or {})


def _sharded(spec: ArraySpec, config: Mapping[str, Any]) -> ArraySpec | None:
    names = [_named(c) for c in config["index_codecs"]]
    little = names[0][0] == "bytes" and names[0][1].get("endian") == "little"
    place = config.get("index_location", "end")
    if not little or [n for n, _ in names[1:]] not in ([], ["crc32c"]) or place not in ("start", "end"):
        return None
    inner = replace(
        spec,
        shards=spec.chunks,
        chunks=_sizes(config["chunk_shape"]),
        index_checksum=len(names) > 1,
        index_first=place == "start",
    )
    return _coded(inner, config["codecs"], inside=True)


def _compressor(name: str, config: Mapping[str, Any]) -> Compressor:
    if name not in _COMPRESSORS[:3]:
        raise ValueError(name)
    if name == "blosc":
        return Compressor(name, config["clevel"], config["cname"], config["shuffle"])
    return Compressor(name, config["level"])


def _of_v2(document: Mapping[str, Any]) -> ArraySpec | None:
    if document.get("filters") or document["order"] not in ("C", "F") or not isinstance(document["dtype"], str):
        return None
    dtype = np.dtype(document["dtype"])
    if dtype.kind not in "biufc" or dtype.itemsize > 16:
        return None
    shape, chunks = _sizes(document["shape"]), _sizes(document["chunks"])
    stored = document.get("compressor")
    fill = None if document["fill_value"] is None else _fill(document["fill_value"], dtype)
    return ArraySpec(
        shape,
        dtype,
        chunks,
        axes=tuple(range(len(shape)))[::-1] if document["order"] == "F" and len(shape) > 1 else None,
        compressor=None if stored is None else _compressor_v2(stored),
        fill=fill,
        lead="",
        separator={".": ".", "/": "/"}[document.get("dimension_separator", ".")],
    )


def _compressor_v2(stored: Mapping[str, Any]) -> Compressor:
    name = stored["id"]
    if name not in _COMPRESSORS:
        raise ValueError(name)
    shuffles = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle", -1: ""}
    if name == "blosc":
        return Compressor(name, stored["clevel"], stored["cname"], shuffles[stored["shuffle"]])
    return Compressor(name, stored.get("level", 0))
