"""Images of labels."""

from __future__ import annotations

from typing import Any

import xarray as xr

import chunkimg.statistics as statistics

from ..image import create
from ..metadata import is_label, properties_of
from ..statistics import LabelCounts
from .geometry import GeometryPart

__all__ = ["LabelsPart"]


class LabelsPart(GeometryPart):
    """Label maps."""

    @property
    def is_label(self) -> bool:
        """Whether the voxels are labels."""
        return is_label(properties_of(self._image.attrs))

    def as_label(self) -> xr.DataArray:
        """The image declared to hold labels, not intensities (pyramids then take modes, not means)."""
        return create.as_label(self._image)

    def count_labels(self, **options: Any) -> LabelCounts:
        """Labels that occur, 0 included, and the number of voxels of each: exact, in one pass, for any number of them.

        Parameters
        ----------
        **options
            ``budget``, ``progress``.

        Raises
        ------
        TypeError
            If the values are no integers.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> cells = ci.from_array(np.array([[[0, 0, 7], [7, 7, 3]]], "u2"), spacing=(1, 1, 2))
        >>> cells.img.count_labels().as_dict()
        {0: 2, 3: 1, 7: 3}
        """
        return statistics.count_labels(self._image, **options)
