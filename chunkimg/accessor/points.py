"""Values at points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from .._later import later
from .geometry import GeometryPart

if TYPE_CHECKING:
    import chunkimg.sampling as sampling
else:
    sampling = later("chunkimg.sampling")

__all__ = ["PointsPart"]


class PointsPart(GeometryPart):
    """The image at points of the world."""

    def sample(
        self, points: ArrayLike, method: str | None = None, fill: complex | None = None, **options: Any
    ) -> NDArray[Any]:
        """Values at points in the world; each block of the source is read once, in bounded memory.

        Parameters
        ----------
        points : array_like, shape (..., 3)
            World coordinates (RAS+), in the image's unit, in x, y, z order.
        method : str, optional
            ``"linear"``, ``"nearest"``, or ``"label"``, which is nearest; by default linear, and label for label maps.
        fill : number, optional
            Of points outside: more than half a voxel beyond the outermost voxel centres, or not finite. By default NaN,
            and 0 where the values are integers. Points up to there take the values at the border, as in ITK.
        **options
            ``budget``: bytes for blocks of a source that is read front to back.

        Returns
        -------
        ndarray, shape ([t,] [c,] ...)
            float64 (complex128) where values are interpolated, else of the image's type; t and c where the image has
            them, then the dims of `points`.

        Raises
        ------
        GeometryError
            If the image has no position, or points are no triples.
        ValueError
            If the method is not known, would mix labels, or the type of the image cannot hold `fill`.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
        >>> fmri.img.sample([(0, 0, 0), (9, 20, 1.5), (999, 0, 0)], "nearest")
        array([[438, 419,   0],
               [448, 425,   0]], dtype=int16)
        """
        return sampling.sample(self._image, points, method, fill, **options)
