"""nibabel images, both ways, lazily."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ..errors import GeometryError
from ..geometry import Grid
from ..geometry import affine as aff
from ..geometry.attrs import NIFTI_HEADER
from ..geometry.frames import canonical_unit
from ..image.build import to_dataarray, to_volume
from ..io import nifti_header as nh
from ..io.nifti_write import build_header
from ..lazy import Block, LazyArray, Region, ViewArray, full_region
from ..volume import DIMS, TimeAxis, Volume

__all__ = ["from_nibabel", "to_nibabel"]

_ORDER = ("x", "y", "z", "t", "c")


class _Proxy:
    """Voxels in nibabel's axis order (x, y, z, t, c), read on demand: an image's ``dataobj``."""

    is_proxy = True

    def __init__(self, data: LazyArray, shape: tuple[int, ...], rgb: bool) -> None:
        self._data, self.shape, self._rgb = data, shape, rgb
        self.ndim = len(shape)
        samples = [(name, "u1") for name in "RGBA"]
        self.dtype = np.dtype(samples[: data.shape[-1]]) if rgb else data.dtype

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key] if self._rgb or self.shape != self._data.shape else self._data[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Block:
        out = self._data._read(full_region(self._data.shape))
        if self._rgb:
            out = np.ascontiguousarray(out).view(self.dtype)
        out = out.reshape(self.shape)
        return out if dtype is None else out.astype(dtype)


def to_nibabel(image: xr.DataArray) -> Any:
    """A `nibabel.Nifti1Image` (`Nifti2Image` for sizes above 32767) of an image; voxels are read on demand.

    Parameters
    ----------
    image : xarray.DataArray
        An image.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        Axes x, y, z(, t, c); sform, qform and fields as `save` would write them; ``dataobj`` is lazy.

    Raises
    ------
    FormatError, GeometryError
        If NIfTI cannot hold the image.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    volume = to_volume(image)
    volume = replace(volume, data=volume.values, scaling=None)
    block, _, _ = build_header(volume, "nibabel image")
    facts = nh.parse(block, "nibabel image")
    cls: Any = Nifti2Image if facts.kind == "nifti2" else Nifti1Image
    header = cls.header_class.from_fileobj(io.BytesIO(block), check=False)
    names = [d for d in _ORDER if d in volume.dims]
    axes = [volume.dims.index(d) for d in names]
    rgb = facts.channels > 0
    data = ViewArray(volume.data, [range(n) for n in volume.data.shape], axes)
    return cls(_Proxy(data, facts.shape, rgb), nh.repaired(header).get_best_affine(), header)


class _DataObject(LazyArray):
    """A nibabel ``dataobj`` as a lazy array."""

    def __init__(self, dataobj: Any) -> None:
        self.dataobj = dataobj
        self.shape = tuple(dataobj.shape)
        scaled = (getattr(dataobj, "slope", 1.0), getattr(dataobj, "inter", 0.0)) != (1.0, 0.0)
        self.dtype = np.dtype(np.float64) if scaled else np.dtype(dataobj.dtype).newbyteorder("=")
        self.file_order = tuple(reversed(range(len(self.shape))))
        self.token = uuid.uuid4().hex

    def _read(self, region: Region) -> Block:
        block = self.dataobj[tuple(slice(r.start, r.stop, r.step) for r in region)]
        return np.asarray(block, dtype=self.dtype)

    def __dask_tokenize__(self) -> Any:
        from dask.base import tokenize

        if isinstance(self.dataobj, np.ndarray):
            return ("chunkimg-nibabel", tokenize(self.dataobj))
        # a proxy does not tell what it would read: its own identity is all there is
        return ("chunkimg-nibabel", self.shape, self.dtype.str, self.token)


def from_nibabel(image: Any, *, chunks: Any = "auto") -> xr.DataArray:
    """An image of a nibabel `SpatialImage` of 2 to 5 axes; what nibabel reads on demand stays lazy.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
        Axes x, y, z(, t(, c)).
    chunks : "auto", int, tuple or dict
        Dask blocks.

    Raises
    ------
    GeometryError
        If the image has no affine, or more than five axes.
    """
    if image.affine is None:
        raise GeometryError("the nibabel image has no affine, so nothing says where its voxels are")
    if not 1 <= len(image.shape) <= 5:
        raise GeometryError(f"the nibabel image has {len(image.shape)} axes {image.shape}; at most five are expected")
    facts, headers = _nifti_facts(image)
    names = _ORDER[: len(image.shape)]
    dims = tuple(d for d in DIMS if d in names or d in ("z", "y", "x"))
    source = _DataObject(image.dataobj)
    picks = [range(n) for n in source.shape]
    data = ViewArray(source, picks, [names.index(d) if d in names else None for d in dims])
    sizes = dict(zip(dims, data.shape, strict=True))
    shape = (sizes["x"], sizes["y"], sizes["z"])
    matrix = aff.fill_singleton_axes(np.asarray(image.affine, dtype=np.float64), shape)
    named = facts is None or int(facts.fields["sform_code"]) or int(facts.fields["qform_code"])
    units = nh.units_of(facts)[0] if facts is not None else canonical_unit("mm")
    times = None
    if "t" in sizes:
        same = facts is not None and len(facts.shape) > 3 and facts.shape[3] == sizes["t"]
        frames = TimeAxis(tuple(float(k) for k in range(sizes["t"])), "unknown", None)
        times = nh.times_of(facts) if same and facts is not None else frames
    properties = {}
    if facts is not None:
        found = {k: nh.get_property(facts.fields, k) for k in nh.PROPERTIES}
        properties = {k: v for k, v in found.items() if v != nh.PROPERTIES[k]}
    volume = Volume(
        data=data,
        dims=dims,
        grid=Grid(shape, tuple(map(tuple, matrix.tolist())), "RAS" if named else "unknown", units),
        times=times,
        properties=properties,
        rank=len(image.shape),
        headers=headers,
        source=str(image.get_filename() or ""),
    )
    return to_dataarray(volume, chunks=chunks)


def _nifti_facts(image: Any) -> tuple[nh.HeaderFacts | None, dict[str, bytes]]:
    """The header of a NIfTI image, brought up to date with its affine and shape."""
    from nibabel.nifti1 import Nifti1Pair

    if not isinstance(image, Nifti1Pair):
        return None, {}
    header = image.header.copy()
    header.set_data_shape(image.shape)
    stream = io.BytesIO()
    header.write_to(stream)
    block = stream.getvalue()
    try:
        return nh.parse(block, "nibabel image"), {NIFTI_HEADER: block}
    except ValueError:
        # a voxel type that NIfTI cannot declare; the image itself is fine
        return None, {}
