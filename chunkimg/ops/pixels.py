"""What voxels are: casts that lose nothing, rescaling, parts of complex numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lazy import Block, LazyArray
from .elementwise import ElementwiseArray, Operand, Step

__all__ = [
    "PARTS",
    "CheckedCast",
    "Rescale",
    "VoxelwiseArray",
    "is_range",
    "part_of_complex",
    "span_of",
]

#: parts of complex numbers
PARTS: dict[str, Callable[[Block], Block]] = {
    "real": np.real,
    "imag": np.imag,
    "magnitude": np.abs,
    "phase": np.angle,
}


@dataclass(frozen=True)
class CheckedCast:
    """Values in another type, if that holds them: integers exactly, floating point rounded to the nearest.

    Raises
    ------
    ValueError
        When called: for values beyond the type, fractions and NaN where it is an integer, integers that floating point
        holds no longer one by one, imaginary parts where it is real.
    """

    dtype: np.dtype[Any]

    def __call__(self, block: Block) -> Block:
        """The block in the type."""
        values = block
        if values.dtype.kind == "c" and self.dtype.kind != "c":
            self._require(np.imag(values) == 0, values, "have imaginary parts")
            values = np.real(values)
        if self.dtype.kind == "b":
            self._require((values == 0) | (values == 1), values, "are neither 0 nor 1")
        elif self.dtype.kind in "iu":
            self._check_integers(values)
        elif values.dtype.kind in "iu":
            most = 2 ** (np.finfo(self.dtype).nmant + 1)
            self._check_range(values, -most, most, f"are integers beyond ±{most}, not all of which {self.dtype} holds")
        with np.errstate(over="ignore"):
            out = values.astype(self.dtype)
        both_float = self.dtype.kind in "fc" and values.dtype.kind in "fc"
        # parts of complex numbers count, not their size
        if both_float and np.finfo(self.dtype).max < np.finfo(values.dtype).max:
            self._require(np.isfinite(out) | ~np.isfinite(values), values, "are too large")
        return out

    def _check_integers(self, values: Block) -> None:
        limits = np.iinfo(self.dtype)
        if values.dtype.kind == "f":
            wide = values.astype(np.float64) if values.dtype.itemsize < 4 else values
            # the first number beyond an integer type is a power of two, that floating point holds
            inside = (wide >= float(limits.min)) & (wide < float(limits.max + 1))
            self._require(inside & (wide == np.floor(wide)), values, "are no whole numbers that it holds")
        else:
            self._check_range(values, limits.min, limits.max, f"lie beyond {limits.min} to {limits.max}")

    def _check_range(self, values: Block, low: int, high: int, what: str) -> None:
        if values.size and values.dtype.kind in "iu" and not (low <= int(values.min()) and int(values.max()) <= high):
            raise self._error(int(values.min() if int(values.min()) < low else values.max()), what)

    def _require(self, right: Any, values: Block, what: str) -> None:
        if not np.all(right):
            raise self._error(values[~np.asarray(right)][0], what)

    def _error(self, value: Any, what: str) -> ValueError:
        return ValueError(
            f"values do not fit {self.dtype}: some {what}, as {value}; take a wider type, img.astype_rescaled, "
            "or round or clip them first"
        )


@dataclass(frozen=True)
class Rescale:
    """Values from a range linearly to another, clipped there; rounded to the nearest for integers.

    Raises
    ------
    ValueError
        When called, if there is NaN and the type is an integer.
    """

    low: float
    high: float
    least: float
    most: float
    dtype: np.dtype[Any]

    def __call__(self, block: Block) -> Block:
        """The block rescaled."""
        values = block.astype(np.float64)
        np.clip(values, self.low, self.high, out=values)
        values -= self.low
        # divided, so that the upper end is the upper end; what has no width is its lower end
        values /= (self.high - self.low) or 1.0
        values *= self.most - self.least
        values += self.least
        if self.dtype.kind in "iu":
            if np.isnan(values).any():
                raise ValueError(f"the image holds NaN, for which {self.dtype} has no value: image.fillna(...) first")
            np.rint(values, out=values)
        return values.astype(self.dtype)


class VoxelwiseArray(ElementwiseArray):
    """A function of each voxel of an array by itself.

    Parameters
    ----------
    source : LazyArray
        The array.
    function : callable
        Takes a block, gives one of the same shape.
    dtype : numpy dtype
        Of the result.
    name : str
        What tells the function from others.
    """

    def __init__(self, source: LazyArray, function: Callable[[Block], Block], dtype: np.dtype[Any], name: str) -> None:
        super().__init__([source], [Step(function, (Operand(0),))], source.shape, dtype, name)

    def __dask_tokenize__(self) -> Any:
        # asked for only now: what identifies a source may be long to find
        return ("chunkimg-voxelwise", self.sources[0].__dask_tokenize__(), self.token)


def part_of_complex(source: LazyArray, part: str) -> LazyArray:
    """A part of complex values, in floating point of half their size."""
    dtype = np.empty(0, source.dtype).real.dtype
    return VoxelwiseArray(source, PARTS[part], dtype, part)


def span_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Where values of a type lie: of integers all that it holds, of floating point 0 to 1.

    Raises
    ------
    TypeError
        For types whose values float64 does not hold, and complex ones.
    """
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        raise TypeError(f"values are rescaled to integers of at most 32 bits or to floating point, not to {dtype}")
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def is_range(given: Any) -> bool:
    """Whether these are two finite numbers in order."""
    try:
        low, high = (float(v) for v in given)
    except (TypeError, ValueError):
        return False
    return math.isfinite(low) and math.isfinite(high) and low < high
