"""chunkimg as an engine of xarray: ``xr.open_dataset("t1.nii.gz")``.

xarray imports this module when it looks for its engines. That registers the ``.img`` accessor as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

# registers .img
import chunkimg.accessor as _accessor  # noqa: F401

from .api import open_image, open_pyramid
from .io.registry import is_ours

__all__ = ["ChunkImgEntrypoint"]


class ChunkImgEntrypoint(BackendEntrypoint):
    """Opens medical and biological images as datasets with one variable, ``image``, with geometry.

    Files whose suffix says that they are images (``.nii``, ``.nii.gz``, …) are opened without ``engine=``. For others
    (``.hdr``/``.img``, which more than one format uses, and Zarr stores, which xarray opens itself) give
    ``engine="chunkimg"``.
    """

    description = "Open medical and biological images (NIfTI, OME-Zarr, …) with geometry"
    supports_groups = True
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        "drop_variables",
        "mask_and_scale",
        "level",
        "format",
        "scaled",
        "storage_options",
        "index",
        "allow_outside",
    )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the name means an image and nothing else; its content is looked at on opening."""
        return isinstance(filename_or_obj, (str, os.PathLike)) and is_ours(os.fspath(filename_or_obj))

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool | Mapping[str, bool] = True,
        level: int = 0,
        format: str | None = None,
        scaled: bool = True,
        storage_options: Mapping[str, Any] | None = None,
        index: Any = "auto",
        allow_outside: bool = False,
    ) -> xr.Dataset:
        """Open an image lazily; only headers are read.

        Parameters
        ----------
        filename_or_obj : str, path, URL or zarr Store
            See `chunkimg.open_image`.
        drop_variables : str or sequence of str, optional
            Variables to leave out.
        mask_and_scale : bool or mapping
            xarray's name of `scaled`, also set by ``decode_cf=False``: either being false gives stored values.
        level, format, scaled, storage_options, index, allow_outside
            See `chunkimg.open_image`.
        """
        if isinstance(mask_and_scale, Mapping):
            mask_and_scale = mask_and_scale.get("image", True)
        image = open_image(
            _expanded(filename_or_obj),
            chunks=None,
            level=level,
            format=format,
            scaled=scaled and mask_and_scale,
            storage_options=storage_options,
            index=index,
            allow_outside=allow_outside,
        )
        return _without(image.to_dataset(name="image"), drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> dict[str, xr.Dataset]:
        """The resolution levels of a store, by their path: ``/scale0`` is the finest."""
        tree = open_pyramid(_expanded(filename_or_obj), chunks=None, storage_options=storage_options)
        return {node.path: _without(node.to_dataset(), drop_variables) for node in tree.subtree}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        """The resolution levels of a store as a tree."""
        return xr.DataTree.from_dict(
            self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables, storage_options=storage_options)
        )


def _expanded(source: Any) -> Any:
    # xarray's other engines know ~
    return os.path.expanduser(source) if isinstance(source, str) else source


def _without(dataset: xr.Dataset, names: str | Iterable[str] | None) -> xr.Dataset:
    dropped = [names] if isinstance(names, str) else list(names or ())
    return dataset.drop_vars(dropped, errors="ignore")
