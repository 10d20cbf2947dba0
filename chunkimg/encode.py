"""Storing values in another type, with range check, or complex ones as pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import FormatError
from .lazy import Block, LazyArray, PassThrough, Reader, Region
from .scaling import Scaling
from .volume import Volume

__all__ = ["ComplexParts", "EncodedArray", "store_as"]


class EncodedArray(PassThrough):
    """Stored values of image values: ``round((value - inter) / slope)``.

    Raises
    ------
    FormatError
        On reading, if a value does not fit the type (too large, or NaN for integers): nothing wraps around.
    """

    def __init__(self, source: LazyArray, dtype: np.dtype[Any], scaling: Scaling | None) -> None:
        super().__init__(source)
        self.scaling = scaling
        self.shape, self.dtype = source.shape, dtype.newbyteorder("=")
        self.file_order, self.chunks = source.file_order, source.chunks

    def _encode(self, block: Block) -> Block:
        values = block
        if self.scaling is not None:
            values = (block.astype(np.float64) - self.scaling.inter) / self.scaling.slope
        if self.dtype.kind in "iu":
            if values.dtype.kind == "f":
                values = np.rint(values)
            limits = np.iinfo(self.dtype)
            if values.dtype.kind == "c" or (
                values.size and not (values.min() >= limits.min and values.max() <= limits.max)
            ):
                span = f"{values.min()} to {values.max()}" if values.dtype.kind != "c" else "complex numbers"
                raise FormatError(f"values {span} do not fit {self.dtype}; give a scaling= or a wider dtype=")
        elif values.dtype.kind == "c" and self.dtype.kind != "c":
            raise FormatError(f"complex values do not fit {self.dtype}")
        return values.astype(self.dtype)

    def _through(self, read: Reader, region: Region) -> Block:
        return self._encode(read(region))

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-encoded", self.source.__dask_tokenize__(), self.dtype.str, self.scaling)


class ComplexParts(PassThrough):
    """Real and imaginary parts of complex values, along a new, last axis."""

    def __init__(self, source: LazyArray) -> None:
        super().__init__(source)
        self.shape, self.dtype = (*source.shape, 2), np.empty(0, source.dtype).real.dtype
        self.chunks = None if source.chunks is None else (*source.chunks, 2)
        self.file_order = None if source.file_order is None else (*source.file_order, source.ndim)

    def _through(self, read: Reader, region: Region) -> Block:
        values = np.ascontiguousarray(read(region[:-1]))
        return values[..., None].view(self.dtype)[..., region[-1].start : region[-1].stop : region[-1].step]

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-complex-parts", self.source.__dask_tokenize__())


def store_as(volume: Volume, dtype: DTypeLike | None, scaling: Scaling | tuple[float, float] | None) -> Volume:
    """A volume with the same image values, stored in another type or with another scaling.

    Parameters
    ----------
    volume : Volume
        The image.
    dtype : dtype, optional
        Type to store; by default that of the values.
    scaling : (slope, inter), optional
        Image values are ``slope * stored + inter``; without it, values are stored as they are.
    """
    if dtype is None and scaling is None:
        return volume
    rule = None
    if scaling is not None:
        slope, inter = (scaling.slope, scaling.inter) if isinstance(scaling, Scaling) else scaling
        if not (np.isfinite(slope) and np.isfinite(inter) and slope != 0):
            raise FormatError(f"scaling is (slope, inter), finite and slope not 0; found {scaling}")
        rule = None if (slope, inter) == (1.0, 0.0) else Scaling(float(slope), float(inter))
    target = np.dtype(dtype) if dtype is not None else volume.data.dtype
    if target.kind not in "biufc":
        raise FormatError(f"dtype is {target}; voxels are numbers")
    if rule == volume.scaling and target == volume.data.dtype:
        return volume
    return replace(volume, data=EncodedArray(volume.values, target, rule), scaling=rule)
