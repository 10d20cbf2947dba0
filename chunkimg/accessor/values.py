"""What the voxels of an image are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from .._later import later
from ..access import Access
from ..image import show
from .geometry import GeometryPart

if TYPE_CHECKING:
    import chunkimg.pixels as pixels
    import chunkimg.statistics as statistics

    from ..statistics import Histogram, Stats
else:
    pixels, statistics = later("chunkimg.pixels"), later("chunkimg.statistics")

__all__ = ["ValuesPart"]


class ValuesPart(GeometryPart):
    """Reading, types, channels, and statistics of all values."""

    @property
    def access(self) -> Access:
        """``"random"``, ``"indexed"`` or ``"sequential"``, of its dearest source; `cost` says what a region costs."""
        return show.access_of(self._image)

    def numpy(self) -> NDArray[Any]:
        """The values in memory, axes in the order of the image's dims."""
        return np.asarray(self._image.values)

    def stats(self, percentiles: Sequence[float] | None = None, **options: Any) -> Stats:
        """Number, range, sum, mean, standard deviation and percentiles of all values, streaming; NaN is left out.

        Exact for values of at most 16 bits, scaled or not, in one pass; wider ones are read again for percentiles,
        which are exact too. The passes run on this machine, also with a Dask client.

        Parameters
        ----------
        percentiles : sequence of float, optional
            From 0 to 100, interpolated as of `numpy.percentile`; by default 1, 25, 50, 75 and 99; ``()`` for none.
        **options
            ``bins`` and ``range``: a histogram as well, in the same pass; ``budget``: bytes in memory at once;
            ``progress``.

        Raises
        ------
        TypeError
            If the values are complex.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> found = scan.img.stats([50, 99.9])
        >>> found.min, found.max, found.percentiles[50]
        (-610, 30393, 8935.0)
        """
        return statistics.stats(self._image, percentiles, **options)

    def histogram(
        self, bins: int | Sequence[float] = 256, range: tuple[float, float] | None = None, **options: Any
    ) -> Histogram:
        """Counts per bin and the edges of the bins, as of `numpy.histogram` of all values but NaN, streaming.

        Parameters
        ----------
        bins : int or sequence of float
            Number of bins, or their edges.
        range : (float, float), optional
            That of the values by default; values of more than 16 bits are then read twice.
        **options
            ``budget``, ``progress``.
        """
        return statistics.histogram(self._image, bins, range, **options)

    def astype_checked(self, dtype: DTypeLike) -> xr.DataArray:
        """The image in another type, lazily, whose values are all held by it: nothing wraps round or is cut off.

        ``image.astype`` is NumPy's: 300 becomes 44 in uint8, 2.7 becomes 2.

        Parameters
        ----------
        dtype : dtype
            An integer type takes whole numbers in its range; floating point rounds to the nearest, and takes integers
            as far as it holds each of them (float32: ±2²⁴); a real type takes complex numbers without imaginary parts.

        Raises
        ------
        ValueError
            When values are read or saved, if one does not fit. Nothing incomplete is left where it was to be saved.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.array([[[1.0, 2.0, 300.0]]]))
        >>> image.img.astype_checked("u2").values
        array([[[  1,   2, 300]]], dtype=uint16)
        >>> image.img.astype_checked("u1").values
        Traceback (most recent call last):
            ...
        ValueError: values do not fit uint8: some are no whole numbers that it holds, as 300.0; take a wider type, ...
        """
        return pixels.astype_checked(self._image, dtype)

    def astype_rescaled(
        self,
        dtype: DTypeLike,
        *,
        range: tuple[float, float] | None = None,
        percentiles: tuple[float, float] | None = None,
    ) -> xr.DataArray:
        """The image in another type, lazily, with a range of values stretched over all that the type holds.

        Values are mapped linearly, those beyond the range become its ends, and integers are rounded to the nearest. An
        integer type of at most 32 bits is filled from its smallest to its largest value, floating point from 0 to 1.

        Parameters
        ----------
        dtype : dtype
            Of the result.
        range : (float, float), optional
            Which values become the smallest and the largest. By default those of the image, for which it is read once,
            at once. Of an image of one value, all become the smallest.
        percentiles : (float, float), optional
            The range as percentiles, exact, as of `stats`; the image is read at once.

        Raises
        ------
        TypeError
            If the image holds labels or complex numbers, or for other types.
        ValueError
            If the range is none; when values are read, if there is NaN and the type is an integer.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> shown = scan.img.astype_rescaled("u1", percentiles=(1, 99))
        >>> int(shown.min()), int(shown.max())
        (0, 255)
        """
        return pixels.astype_rescaled(self._image, dtype, range=range, percentiles=percentiles)

    def complex_part(self, part: str) -> xr.DataArray:
        """A part of a complex image, lazily, in floating point of half its size, where it lies.

        Parameters
        ----------
        part : str
            ``"real"``, ``"imag"``, ``"magnitude"``, or ``"phase"`` (in radians, from -π to π).

        Raises
        ------
        TypeError
            If the image is not complex.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.array([[[3 + 4j, -2]]], "c8"))
        >>> image.img.complex_part("magnitude").values
        array([[[5., 2.]]], dtype=float32)
        """
        return pixels.complex_part(self._image, part)

    def split(self) -> list[xr.DataArray]:
        """An image for each channel, lazily; `chunkimg.compose` puts them together again.

        Raises
        ------
        GeometryError
            If the image has no dim c.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.zeros((2, 3, 4, 5)), ("c", "z", "y", "x"))
        >>> [dict(channel.sizes) for channel in image.img.split()]
        [{'z': 3, 'y': 4, 'x': 5}, {'z': 3, 'y': 4, 'x': 5}]
        """
        return pixels.split(self._image)
