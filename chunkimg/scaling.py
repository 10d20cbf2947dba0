"""Stored values to image values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .indexing import Block

__all__ = ["Scaling"]


@dataclass(frozen=True)
class Scaling:
    """Stored values to image values: ``value = slope * stored + inter``.

    Values are computed in float64 and rounded once: to float32 for integers of at most 16 bits and float32, else
    float64. For complex numbers real and imaginary parts are scaled alike (``nifti1.h``, "DATA SCALING").
    """

    slope: float
    inter: float

    def dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Type of image values for a stored type."""
        if stored.kind == "c":
            return stored
        if stored.kind == "f":
            return np.dtype("f8") if stored.itemsize > 4 else np.dtype("f4")
        return np.dtype("f4") if stored.itemsize <= 2 else np.dtype("f8")

    def apply(self, stored: Block) -> Block:
        """Image values of a block of stored values."""
        out = np.empty(stored.shape, self.dtype(stored.dtype))
        inter = self.inter * (1 + 1j) if stored.dtype.kind == "c" else self.inter
        wide = np.dtype("c16") if stored.dtype.kind == "c" else np.dtype("f8")
        # plane by plane, so that the float64 intermediate stays in the cache
        flat_in = stored.reshape(-1) if stored.flags.c_contiguous else np.ascontiguousarray(stored).reshape(-1)
        flat_out = out.reshape(-1)
        step = 1 << 16
        for at in range(0, flat_in.size, step):
            part = np.multiply(flat_in[at : at + step], self.slope, dtype=wide)
            part += inter
            flat_out[at : at + step] = part
        return out
