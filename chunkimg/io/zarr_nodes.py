"""Groups and arrays of a store that is being written: chunks go to the store, metadata waits in memory.

Every metadata document is kept until all voxels are there and then written bottom-up, the root last: only then does
anything open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..geometry.attrs import strict_json
from .zarr_chunk import encode
from .zarr_put import Store
from .zarr_spec import ArraySpec, Compressor

__all__ = ["Nodes", "spec_of"]


class Nodes:
    """The nodes of a store.

    Parameters
    ----------
    store : Store
        Where chunks go at once, and metadata in the end.
    zarr_format : 2 or 3
        Version of Zarr.
    """

    def __init__(self, store: Store, zarr_format: Literal[2, 3]) -> None:
        self.store, self.zarr_format = store, zarr_format
        self._waiting: dict[str, dict[str, Any]] = {}

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """A group."""
        attrs = strict_json(attributes)
        if self.zarr_format == 3:
            self._add(path, "zarr.json", {"attributes": attrs, "zarr_format": 3, "node_type": "group"})
        else:
            self._add(path, ".zgroup", {"zarr_format": 2})
            self._add(path, ".zattrs", attrs)

    def array(self, path: str, spec: ArraySpec, dims: Sequence[str], attributes: Mapping[str, Any]) -> None:
        """An array, whose chunks are written by others."""
        attrs = strict_json(attributes)
        if self.zarr_format == 3:
            document = {**_v3(spec), "attributes": attrs}
            if dims:
                document["dimension_names"] = list(dims)
            self._add(path, "zarr.json", {**document, "zarr_format": 3, "node_type": "array"})
        else:
            self._add(path, ".zarray", _v2(spec))
            self._add(path, ".zattrs", {**attrs, "_ARRAY_DIMENSIONS": list(dims)})

    def small(self, path: str, values: Any, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
        """An array of one chunk, with its values."""
        values = np.asarray(values)
        spec = spec_of(self.zarr_format, values.shape, values.dtype, values.shape)
        self.array(path, spec, dims, attributes)
        self.store.put(f"{path}/{spec.key((0,) * values.ndim)}", *encode(spec, values))

    def reopened(self, path: str, spec: ArraySpec) -> Any:
        """An array whose chunks are there, to be read while its metadata still waits."""
        name = "zarr.json" if self.zarr_format == 3 else ".zarray"
        return self.store.array(path, spec, self._waiting[f"{path}/{name}"])

    def commit(self) -> None:
        """Write all metadata, the innermost first, the root last."""
        if self.zarr_format == 3:
            inner = {k.removesuffix("/zarr.json"): v for k, v in sorted(self._waiting.items()) if k != "zarr.json"}
            self._waiting["zarr.json"]["consolidated_metadata"] = {
                "kind": "inline",
                "must_understand": False,
                "metadata": inner,
            }
        else:
            known = dict(sorted(self._waiting.items()))
            self._waiting[".zmetadata"] = {"metadata": known, "zarr_consolidated_format": 1}
        for key in sorted(self._waiting, key=_order):
            self.store.put(key, json.dumps(self._waiting[key], indent=2, allow_nan=False).encode("utf-8"))

    def _add(self, path: str, name: str, document: dict[str, Any]) -> None:
        self._waiting[f"{path}/{name}" if path else name] = document


def spec_of(
    zarr_format: Literal[2, 3],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    compressor: Compressor | None = None,
) -> ArraySpec:
    """How an array is stored: little-endian, with a checksum per chunk where the version has one."""
    little = np.dtype(dtype).newbyteorder("<")
    shape, chunks = tuple(shape), tuple(chunks)
    if zarr_format == 2:
        # xarray takes the fill value of v2 for missing data: there is none, and every chunk is written
        return ArraySpec(shape, little, chunks, compressor=compressor, fill=None, lead="")
    # of 300 single flipped bits in a chunk blosc and zstd noticed 10 to 60, with a checksum all
    pieces = None if shards is None else tuple(shards)
    return ArraySpec(shape, little, chunks, pieces, compressor=compressor, checksum=compressor is not None)


def _order(key: str) -> tuple[int, bool, str]:
    """Inner documents first; within a node that which makes it one comes last."""
    return -key.count("/"), key.rpartition("/")[2] in ("zarr.json", ".zgroup", ".zarray"), key


def _v3(spec: ArraySpec) -> dict[str, Any]:
    """Metadata of an array as the Zarr v3 core specification has it."""
    dtype = spec.dtype
    zero: Any = {"b": False, "f": 0.0, "c": [0.0, 0.0]}.get(dtype.kind, 0)
    # a single byte needs no configuration by the specification; zarrita 0.2 wants the member nevertheless
    endian = {"endian": "little"} if dtype.itemsize > 1 else {}
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": endian}]
    if spec.compressor is not None:
        codecs.append({"name": spec.compressor.name, "configuration": _configuration(spec.compressor, dtype)})
    if spec.checksum:
        codecs.append({"name": "crc32c"})
    if spec.shards is not None:
        inside = {
            "chunk_shape": list(spec.chunks),
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": inside}]
    return {
        "shape": list(spec.shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.unit)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": spec.separator}},
        "fill_value": zero,
        "codecs": codecs,
        "storage_transformers": [],
    }


def _configuration(compressor: Compressor, dtype: np.dtype[Any]) -> dict[str, Any]:
    if compressor.name == "blosc":
        shuffle = {"cname": compressor.inner, "clevel": compressor.level, "shuffle": compressor.shuffle}
        return {"typesize": dtype.itemsize, **shuffle, "blocksize": 0}
    return {"level": compressor.level, **({"checksum": False} if compressor.name == "zstd" else {})}


def _v2(spec: ArraySpec) -> dict[str, Any]:
    """Metadata of an array as the Zarr storage specification 2 has it."""
    return {
        "shape": list(spec.shape),
        "chunks": list(spec.chunks),
        "dtype": spec.dtype.str,
        "fill_value": None,
        "order": "C",
        "filters": None,
        "dimension_separator": spec.separator,
        "compressor": None if spec.compressor is None else _id(spec.compressor),
        "zarr_format": 2,
    }


def _id(compressor: Compressor) -> dict[str, Any]:
    if compressor.name != "blosc":
        return {"id": compressor.name, "level": compressor.level}
    shuffle = ("noshuffle", "shuffle", "bitshuffle").index(compressor.shuffle)
    return {"id": "blosc", "cname": compressor.inner, "clevel": compressor.level, "shuffle": shuffle, "blocksize": 0}
