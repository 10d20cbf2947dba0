"""What the voxels of an image are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chunkimg.statistics as statistics

from ..access import Access
from ..image import show
from ..statistics import PERCENTILES, Histogram, Stats
from .geometry import GeometryPart

__all__ = ["ValuesPart"]


class ValuesPart(GeometryPart):
    """Reading, and statistics of all values."""

    @property
    def access(self) -> Access:
        """``"random"``, ``"indexed"`` or ``"sequential"``, of its dearest source; `cost` says what a region costs."""
        return show.access_of(self._image)

    def numpy(self) -> NDArray[Any]:
        """The values in memory, axes in the order of the image's dims."""
        return np.asarray(self._image.values)

    def stats(self, percentiles: Sequence[float] = PERCENTILES, **options: Any) -> Stats:
        """Number, range, sum, mean, standard deviation and percentiles of all values, streaming; NaN is left out.

        Exact for values of at most 16 bits, scaled or not, in one pass; wider ones are read again for percentiles,
        which are exact too. The passes run on this machine, also with a Dask client.

        Parameters
        ----------
        percentiles : sequence of float
            From 0 to 100, interpolated as of `numpy.percentile`; ``()`` for none.
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
