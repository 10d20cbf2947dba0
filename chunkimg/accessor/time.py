"""When the image was taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..image import times
from .geometry import GeometryPart

__all__ = ["TimePart"]


class TimePart(GeometryPart):
    """Frames in time. ``image.sel(t=12.5, method="nearest")`` takes one, with the geometry that it has."""

    def time_bounds(self) -> NDArray[np.float64]:
        """Start and end of each frame, shape (n, 2), in the unit of t (seconds, or frame numbers).

        They are those that the properties ``FrameTimesStart`` and ``FrameDuration`` state (PET in BIDS: seconds, one
        entry per frame of the study), where the values of t are the starts, or the middles, of frames of them;
        ``FrameDuration`` alone counts from t. Without these, a frame ends halfway to the next one, the outermost ones
        reach as far out as in, and a single one is as long as the nominal step.

        Raises
        ------
        GeometryError
            If the image has no times, a single frame has no length, or what properties state does not fit t.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> pet = ci.from_array(np.zeros((3, 1, 1, 1)), t=[0, 10, 40])
        >>> pet.img.time_bounds().tolist()
        [[-5.0, 5.0], [5.0, 25.0], [25.0, 55.0]]
        >>> pet.img.properties.update(FrameTimesStart=[0, 10, 40], FrameDuration=[10, 30, 60])
        >>> pet.sel(t=[10, 40]).img.time_bounds().tolist()
        [[10.0, 40.0], [40.0, 100.0]]
        """
        return times.time_bounds(self._image)
