"""Images made of images: as lazy as those, with Dask where they have it, and without where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from ..volume import Volume
from .build import to_dataarray, to_volume
from .views import is_dask

__all__ = ["blocks_of", "derived"]


def derived(image: xr.DataArray, change: Callable[[Volume], Volume], *, require_grid: bool = False) -> xr.DataArray:
    """The image of a volume that is made of an image's; axes that stay as they are keep their Dask blocks."""
    volume = to_volume(image, require_grid=require_grid)
    made = change(volume)
    blocks = blocks_of(image)
    if blocks is not None:
        blocks = {d: n for d, n in blocks.items() if made.sizes.get(d) == volume.sizes[d]}
    return to_dataarray(made, chunks=blocks)


def blocks_of(image: xr.DataArray) -> dict[str, Any] | None:
    """The Dask blocks of an image by dim; None if it does without Dask."""
    if not is_dask(image.variable._data):
        return None
    return {str(d): blocks for d, blocks in image.chunksizes.items()}
