"""Images of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from .._later import later
from ..image import create
from ..labelling import colors_of, names_of
from ..metadata import is_label, properties_of
from .geometry import GeometryPart

if TYPE_CHECKING:
    import chunkimg.label_stats as label_stats
    import chunkimg.statistics as statistics

    from ..label_stats import LabelStats
    from ..statistics import LabelCounts
else:
    label_stats, statistics = later("chunkimg.label_stats"), later("chunkimg.statistics")

__all__ = ["LabelsPart"]


class LabelsPart(GeometryPart):
    """Label maps."""

    @property
    def is_label(self) -> bool:
        """Whether the voxels are labels."""
        return is_label(properties_of(self._image.attrs))

    @property
    def label_names(self) -> dict[int, str]:
        """Names by label, where the image knows them: of `as_label`, OME-Zarr or a segmentation of 3D Slicer."""
        return names_of(properties_of(self._image.attrs))

    @property
    def label_colors(self) -> dict[int, tuple[int, int, int, int]]:
        """Colours by label, where the image knows them: red, green, blue and opacity from 0 to 255."""
        return colors_of(properties_of(self._image.attrs))

    def as_label(
        self, names: Mapping[int, str] | None = None, colors: Mapping[int, Sequence[int]] | None = None
    ) -> xr.DataArray:
        """The image declared to hold labels, not intensities: pyramids then take modes, not means.

        Names and colours are kept in the property ``image-label`` and written to OME-Zarr (as ``image-label``) and to
        NRRD (as segments of 3D Slicer). NIfTI keeps that the image is one of labels, by its intent code.

        Parameters
        ----------
        names : mapping, optional
            Name by label. What the image has already is kept.
        colors : mapping, optional
            By label three or four whole numbers from 0 to 255: red, green, blue, opacity.

        Raises
        ------
        TypeError, ValueError
            If a label is no integer, a name no text, or a colour no such numbers.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> organs = ci.from_array(np.zeros((2, 3, 4), "u1"), spacing=(1, 1, 2))
        >>> organs = organs.img.as_label({1: "liver", 2: "spleen"}, colors={1: (221, 130, 101)})
        >>> organs[::-1].img.label_names, organs.img.label_colors
        ({1: 'liver', 2: 'spleen'}, {1: (221, 130, 101, 255)})
        """
        return create.as_label(self._image, names, colors)

    def count_labels(self, **options: Any) -> LabelCounts:
        """Labels that occur, 0 included, and the number of voxels of each: exact, in one pass, for any number of them.

        Parameters
        ----------
        **options
            ``budget``, ``progress``.

        Raises
        ------
        TypeError
            If the values are no whole numbers.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> cells = ci.from_array(np.array([[[0, 0, 7], [7, 7, 3]]], "u2"), spacing=(1, 1, 2))
        >>> cells.img.count_labels().as_dict()
        {0: 2, 3: 1, 7: 3}
        """
        return statistics.count_labels(self._image, **options)

    def label_stats(self, intensity: xr.DataArray | None = None, **options: Any) -> LabelStats:
        """Voxels, volume, centroid and bounding box of each label, with statistics of another image's values in it.

        In one pass and bounded memory, which grows with the number of labels only; exact whatever the blocks. World
        coordinates are RAS+, in the image's unit; volumes are in mm³. With dims t or c there is one row per label in
        each frame and channel; what one of both images lacks of these counts for all.

        Parameters
        ----------
        intensity : xarray.DataArray, optional
            An image on the same grid (within ``tol``, 1e-3 voxel).
        **options
            ``background`` (the label left out; 0, None for none), ``tol``, ``budget``, ``progress``.

        Returns
        -------
        LabelStats
            Columns of NumPy; ``.to_pandas()``, ``.as_dict()``.

        Raises
        ------
        TypeError
            If the values are no whole numbers.
        GeometryError
            If the images do not occupy the same space.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> cells = ci.from_array(np.array([[[0, 0, 7], [7, 7, 3]]], "u2"), spacing=(1, 1, 2))
        >>> signal = ci.from_array(np.array([[[9, 8, 1], [2, 3, 4]]], "i2"), spacing=(1, 1, 2))
        >>> found = cells.img.label_stats(signal)
        >>> found.label, found.volume_mm3, found.mean
        (array([3, 7], dtype=uint16), array([2., 6.]), array([4., 2.]))
        >>> found.centroid[1].tolist()
        [1.0, 0.6666666666666666, 0.0]
        """
        return label_stats.label_stats(self._image, intensity, **options)
