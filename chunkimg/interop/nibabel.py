"""nibabel images, both ways, lazily."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ..access import Access
from ..errors import GeometryError
from ..geometry import Grid
from ..geometry import affine as aff
from ..geometry.attrs import NIFTI_HEADER
from ..image.build import to_dataarray, to_volume
from ..io import nifti_header as nh
from ..io.nifti import layout_of, other_axes
from ..io.nifti_write import build_header
from ..lazy import Block, LazyArray, Region, ViewArray, full_region
from ..volume import Volume

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
    return cls(_Proxy(data, facts.shape, rgb), nh.affine_of(facts)[0], header)


class _DataObject(LazyArray):
    """A nibabel ``dataobj`` as a lazy array, axes as in nibabel; RGB voxels have a last axis of samples."""

    def __init__(self, dataobj: Any) -> None:
        self.dataobj = dataobj
        stored = np.dtype(dataobj.dtype)
        self.samples = len(stored.names) if stored.names else 0
        self.shape = (*dataobj.shape, self.samples) if self.samples else tuple(dataobj.shape)
        scaled = (getattr(dataobj, "slope", 1.0), getattr(dataobj, "inter", 0.0)) != (1.0, 0.0)
        self.dtype = np.dtype("u1") if self.samples else np.dtype("f8") if scaled else stored.newbyteorder("=")
        places = tuple(reversed(range(len(dataobj.shape))))
        self.file_order = (*places, len(places)) if self.samples else places
        self.token = uuid.uuid4().hex

    @property
    def access(self) -> Access:
        """As far as the name of its file tells."""
        packed = str(getattr(self.dataobj, "file_like", "")).lower().endswith((".gz", ".bz2", ".zst"))
        return Access("sequential" if packed else "random", "a region costs what nibabel reads for it")

    def _read(self, region: Region) -> Block:
        voxels = region[:-1] if self.samples else region
        block = self.dataobj[tuple(slice(r.start, r.stop, r.step) for r in voxels)]
        if not self.samples:
            return np.asarray(block, dtype=self.dtype)
        samples = np.ascontiguousarray(block)[..., None].view("u1")
        return samples[..., region[-1].start : region[-1].stop : region[-1].step]

    def __dask_tokenize__(self) -> Any:
        from dask.base import tokenize

        if isinstance(self.dataobj, np.ndarray):
            return ("chunkimg-nibabel", tokenize(self.dataobj))
        # a proxy does not tell what it would read: its own identity is all there is
        return ("chunkimg-nibabel", self.shape, self.dtype.str, self.token)


def from_nibabel(image: Any, *, chunks: Any = "auto") -> xr.DataArray:
    """An image of a nibabel `SpatialImage`; what nibabel reads on demand stays lazy.

    Axes are read as in a file: x, y, z, t (channels where the header says Hz, ppm or rad/s), channels.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
        Any image with an affine.
    chunks : "auto", int, tuple or dict
        Dask blocks.

    Raises
    ------
    GeometryError
        If the image has no affine.
    FormatError
        If it has axes beyond the fifth, or two channel axes.
    """
    if image.affine is None:
        raise GeometryError("the nibabel image has no affine, so nothing says where its voxels are")
    name = str(image.get_filename() or "nibabel image")
    facts, headers = _nifti_facts(image)
    source = _DataObject(image.dataobj)
    layout, dims = layout_of(facts, name)
    # layout_of lists file axes from slow to fast, nibabel from fast to slow, with the samples of RGB voxels last
    there = [len(layout.shape) - 1 - a for a in layout.axes]
    if source.samples:
        there = [len(image.shape) if a == 0 else a - 1 for a in there]
    axes = [a if a < source.ndim else None for a in there]
    data = ViewArray(source, [range(n) for n in source.shape], axes)
    times, channels = other_axes(facts, dims)
    nx, ny, nz = (*image.shape[:3], 1, 1, 1)[:3]
    matrix = aff.fill_singleton_axes(np.asarray(image.affine, dtype=np.float64), (nx, ny, nz))
    space, units = _space(image, facts)
    found = {k: nh.get_property(facts.fields, k) for k in nh.PROPERTIES} if headers else {}
    volume = Volume(
        data=data,
        dims=dims,
        grid=Grid((nx, ny, nz), tuple(map(tuple, matrix.tolist())), space, units),
        times=times,
        time=nh.time_of(facts) if headers else None,
        properties={k: v for k, v in found.items() if v != nh.PROPERTIES[k]},
        rank=len(image.shape),
        headers=headers,
        channels=channels,
        source=str(image.get_filename() or ""),
    )
    return to_dataarray(volume, chunks=chunks)


def _space(image: Any, facts: nh.HeaderFacts) -> tuple[str, str]:
    """Space and unit of length: of the header for NIfTI, none for Analyze, RAS+ mm (nibabel's world) for the others."""
    from nibabel.analyze import AnalyzeImage
    from nibabel.nifti1 import Nifti1Pair

    if isinstance(image, Nifti1Pair):
        fields = image.header
        coded = int(fields["sform_code"]) or int(fields["qform_code"])
        # with an affine of its own, set in memory, nibabel too takes the world for RAS+ when it saves
        moved = not np.allclose(image.affine, fields.get_best_affine())
        return "RAS" if coded or moved else "unknown", nh.units_of(facts)[0]
    return ("unknown", "unknown") if isinstance(image, AnalyzeImage) else ("RAS", "mm")


def _nifti_facts(image: Any) -> tuple[nh.HeaderFacts, dict[str, bytes]]:
    """The NIfTI header of an image with its shape and type, and its bytes where the image is NIfTI."""
    from nibabel.analyze import AnalyzeImage
    from nibabel.nifti1 import Nifti1Header, Nifti1Pair
    from nibabel.nifti2 import Nifti2Header

    if isinstance(image, Nifti1Pair):
        header = image.header.copy()
    else:
        header = Nifti2Header() if max(image.shape) > 32767 else Nifti1Header()
        # Analyze has a time step, without a unit; what others have is in units of their own
        header["pixdim"][4] = image.header["pixdim"][4] if isinstance(image, AnalyzeImage) else 0
    header.set_data_shape(image.shape)
    stored = np.dtype(image.dataobj.dtype)
    scaled = (getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)) != (1.0, 0.0)
    header.set_data_dtype(np.dtype("f8") if scaled else np.dtype("u1") if stored.kind == "b" else stored)
    if hasattr(header, "set_slope_inter"):
        header.set_slope_inter(1, 0)
    stream = io.BytesIO()
    header.write_to(stream)
    block = stream.getvalue()
    return nh.parse(block, "nibabel image"), {NIFTI_HEADER: block} if isinstance(image, Nifti1Pair) else {}
