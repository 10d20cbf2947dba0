"""Comparing two images: geometry itemised, structure, properties, and voxels counted, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from .align import aligned, same_when_aligned
from .chunks import BUDGET
from .errors import FormatError
from .geometry import Grid, GridDifference
from .geometry.attrs import strict_json
from .io import nifti_header as nh
from .io.compare import VoxelDifference, compare_voxels
from .io.format import Progress, ReadOptions
from .io.registry import format_of
from .lazy import ViewArray, full_region
from .ops.difference import Tolerance
from .volume import TimeAxis, Volume

__all__ = ["PARTS", "ImageDifference", "PropertyDifference", "diff"]

#: what is compared, and can be ignored
PARTS = ("geometry", "dims", "type", "scaling", "times", "channels", "properties", "voxels")


@dataclass(frozen=True)
class PropertyDifference:
    """Properties that only the first image has, that only the second has, and both values of those that differ."""

    removed: dict[str, Any] = field(default_factory=dict)
    added: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed)


@dataclass(frozen=True)
class ImageDifference:
    """How two images differ; what :func:`chunkimg.diff` returns.

    Attributes
    ----------
    sources : pair of str
        Names of the two images.
    geometry : tuple of str
        Differences of position beyond the tolerance, as phrases.
    displacement : GridDifference or None
        The numbers behind them; None where an image has no usable geometry.
    structure : dict
        Other differences of what the images are, as phrases: of dims, type, scaling, times, channels.
    properties : PropertyDifference
        Differences of metadata; false if there are none.
    voxels : VoxelDifference or None
        None where voxels were not compared: ignored, or the sizes differ.
    notes : tuple of str
        Differences of how the images are stored, which do not make them different.
    """

    sources: tuple[str, str]
    geometry: tuple[str, ...] = ()
    displacement: GridDifference | None = None
    structure: dict[str, str] = field(default_factory=dict)
    properties: PropertyDifference = field(default_factory=PropertyDifference)
    voxels: VoxelDifference | None = None
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs."""
        same = not (self.geometry or self.structure or self.properties)
        return same and (self.voxels is None or self.voxels.differing == 0)

    def as_dict(self) -> dict[str, Any]:
        """Everything as strict JSON."""
        out: dict[str, Any] = {"equal": self.equal, **asdict(self)}
        if self.voxels is not None:
            out["voxels"]["fraction"] = self.voxels.fraction
        result: dict[str, Any] = strict_json(out)
        return result


def diff(
    a: Any,
    b: Any,
    *,
    level: int | tuple[int, int] = 0,
    stored: bool = False,
    tol: float = 1e-3,
    atol: float = 0.0,
    rtol: float = 0.0,
    align: bool = False,
    ignore: Collection[str] = (),
    budget: int = BUDGET,
    progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ImageDifference:
    """Compare two images of any formats, in bounded memory.

    Voxels are compared index by index where the sizes agree. Files need neither xarray nor Dask. A gzip file that
    cannot be read in step with the other image is put into a temporary file, of the size of its voxels, first.

    Parameters
    ----------
    a, b : str, path, URL, zarr Store or xarray.DataArray
        Two images.
    level : int or (int, int)
        Resolution level of both, or of each.
    stored : bool
        Compare stored values, and the intensity scaling; by default image values are compared, as `open_image` gives.
    tol : float
        How many voxels a corner of the image may be displaced and still count as the same place.
    atol, rtol : float
        Voxels within ``atol + rtol * |b|`` count as equal. NaN equals NaN.
    align : bool
        Flip and permute the axes of `b` to those of `a` first, so that the same image in another axis order is equal.
    ignore : collection of str
        Parts that are not compared, of `PARTS`.
    budget : int
        Memory in bytes for what is held of both images at once.
    progress : Progress, optional
        Told what is read.
    storage_options : mapping, optional
        For URLs, passed to fsspec.

    Returns
    -------
    ImageDifference
        ``.equal``, ``.geometry``, ``.structure``, ``.properties``, ``.voxels``, ``.notes``, ``.as_dict()``.

    Raises
    ------
    FormatError
        If an image is damaged.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> scan = f"{nibabel.__path__[0]}/tests/data/anatomical.nii"
    >>> ci.diff(scan, scan).equal
    True
    """
    unknown = sorted(set(ignore) - set(PARTS))
    if unknown:
        raise ValueError(f"cannot ignore {', '.join(unknown)}; the parts compared are {', '.join(PARTS)}")
    tolerance = Tolerance(atol, rtol)
    levels = (level, level) if isinstance(level, int) else level
    first, second = (_volume(s, k, storage_options) for s, k in zip((a, b), levels, strict=True))
    if align:
        second = aligned(second, first)
    displacement = None if first.grid is None or second.grid is None else first.grid.difference(second.grid)
    geometry = _geometry(first, second, displacement, tol)
    structure = _structure(first, second, stored)
    first, second = _without_single(first, second)
    voxels = None
    if "voxels" not in ignore and first.sizes == second.sizes:
        voxels = compare_voxels(first, second, stored=stored, tolerance=tolerance, budget=budget, progress=progress)
    return ImageDifference(
        sources=(_name(a, first), _name(b, second)),
        geometry=() if "geometry" in ignore else tuple(geometry),
        displacement=displacement,
        structure={k: v for k, v in structure.items() if k not in ignore},
        properties=PropertyDifference() if "properties" in ignore else _properties(first, second),
        voxels=voxels,
        notes=tuple(_notes(first, second, stored, bool(geometry), tol)),
    )


def _volume(source: Any, level: int, storage_options: Mapping[str, Any] | None) -> Volume:
    if hasattr(source, "dims") and hasattr(source, "coords"):
        from .image.build import to_volume

        return to_volume(source)
    return format_of(source).open(source, ReadOptions(level=level, storage_options=storage_options))


def _name(source: Any, volume: Volume) -> str:
    return volume.source or str(getattr(source, "name", None) or type(source).__name__)


# ---------------------------------------------------------------------------------------------- items


def _without_single(a: Volume, b: Volume) -> tuple[Volume, Volume]:
    """Both without the axes t and c of length one that the other does not have."""
    return _drop(a, b.dims), _drop(b, a.dims)


def _drop(volume: Volume, others: Collection[str]) -> Volume:
    extra = [d for d in ("t", "c") if d in volume.dims and d not in others and volume.sizes[d] == 1]
    if not extra:
        return volume
    kept = [k for k, d in enumerate(volume.dims) if d not in extra]
    return replace(
        volume,
        data=ViewArray(volume.data, full_region(volume.data.shape), kept),
        dims=tuple(volume.dims[k] for k in kept),
        times=None if "t" in extra else volume.times,
    )


def _geometry(a: Volume, b: Volume, displacement: GridDifference | None, tol: float) -> list[str]:
    if displacement is None:
        if a.grid is None and b.grid is None:
            return []
        return [
            f"voxels of the {'first' if a.grid is None else 'second'} image have no position, those of the other do"
        ]
    return displacement.reasons(tol) + _poses(a, b, tol)


def _poses(a: Volume, b: Volume, tol: float) -> list[str]:
    """Differences of the geometry per time step."""
    if a.poses is None and b.poses is None:
        return []
    grids = [_frames(v) for v in (a, b)]
    if len(grids[0]) != len(grids[1]):
        return [f"geometry per time step: {len(grids[0])} frames against {len(grids[1])}"]
    apart = [p.difference(q) for p, q in zip(*grids, strict=True)]
    out = [k for k, d in enumerate(apart) if not d.voxels <= tol]
    if not out:
        return []
    worst = max(out, key=lambda k: apart[k].voxels)
    return [
        f"geometry per time step: frames that differ: {len(out)} of {len(apart)}; in frame {worst} a corner is "
        f"displaced by {apart[worst].voxels:.4g} voxels"
    ]


def _frames(volume: Volume) -> list[Grid]:
    """The grid at each time."""
    assert volume.grid is not None
    grid = volume.grid
    if volume.poses is None or volume.times is None:
        return [grid] * volume.sizes.get("t", 1)
    poses = volume.poses
    rows = [poses.at(t, grid).tolist() for t in volume.times.values]
    return [Grid(grid.shape, tuple(map(tuple, r)), grid.space, grid.units) for r in rows]


def _structure(a: Volume, b: Volume, stored: bool) -> dict[str, str]:
    out = {}
    if dict(a.sizes) != dict(b.sizes):
        out["dims"] = f"{_sizes(a)} against {_sizes(b)}"
    types = [str((v.data if stored else v.values).dtype) for v in (a, b)]
    if types[0] != types[1]:
        out["type"] = f"{types[0]} against {types[1]}"
    if stored and a.scaling != b.scaling:
        out["scaling"] = f"{_scaling(a)} against {_scaling(b)}"
    times = _times(a, b)
    if times:
        out["times"] = times
    if "c" in a.dims and "c" in b.dims and strict_json(a.channels) != strict_json(b.channels):
        out["channels"] = f"{dict(a.channels)} against {dict(b.channels)}"
    return out


def _sizes(volume: Volume) -> str:
    return " × ".join(f"{d} {n}" for d, n in volume.sizes.items())


def _scaling(volume: Volume) -> str:
    scaling = volume.scaling
    return "unscaled" if scaling is None else f"{scaling.slope!r} · stored + {scaling.inter!r}"


def _times(a: Volume, b: Volume) -> str | None:
    p, q = _time_axis(a), _time_axis(b)
    if p is None or q is None:
        return None if p is q else f"{_show_times(p)} against {_show_times(q)}"
    if len(p.values) != len(q.values):
        return f"{_show_times(p)} against {_show_times(q)}"
    worst = max(range(len(p.values)), key=lambda k: abs(p.values[k] - q.values[k]))
    apart = abs(p.values[worst] - q.values[worst])
    # headers keep single precision
    same = apart <= 1e-6 * max(map(abs, (*p.values, *q.values)))
    if same and p.units == q.units:
        return None
    detail = "" if same else f"; frame {worst} is {apart:.6g} apart"
    return f"{_show_times(p)} against {_show_times(q)}{detail}"


def _time_axis(volume: Volume) -> TimeAxis | None:
    if volume.times is None and volume.time is not None:
        return TimeAxis((volume.time,))
    if volume.times is not None and len(volume.times.values) == 1 and volume.times.values[0] == 0:
        # a frame at no stated time
        return None
    return volume.times


def _show_times(times: TimeAxis | None) -> str:
    if times is None:
        return "none"
    unit = " s" if times.units == "s" else ""
    return f"{len(times.values)} from {times.values[0]:.7g} to {times.values[-1]:.7g}{unit}"


def _properties(a: Volume, b: Volume) -> PropertyDifference:
    p, q = strict_json(a.properties), strict_json(b.properties)
    return PropertyDifference(
        removed={k: v for k, v in p.items() if k not in q},
        added={k: v for k, v in q.items() if k not in p},
        changed={k: (v, q[k]) for k, v in p.items() if k in q and v != q[k]},
    )


# ---------------------------------------------------------------------------------------------- notes


def _notes(a: Volume, b: Volume, stored: bool, displaced: bool, tol: float) -> list[str]:
    out = []
    if dict(a.sizes) != dict(b.sizes):
        out.append("voxels are not compared: the sizes differ")
    elif displaced:
        out.append("voxels are compared by index, not by position")
    if displaced and same_when_aligned(b.grid, a.grid, tol):
        out.append("the images occupy the same space with their axes in another order: compare them aligned (--align)")
    out += _stored_notes(a, b, stored)
    if a.grid is not None and b.grid is not None and a.grid.space != b.grid.space:
        out.append(f"world space {a.grid.space} against {b.grid.space}")
    if a.rank != b.rank:
        out.append(f"axes that the sources declare: {a.rank} against {b.rank}")
    for key in sorted({*a.headers, *b.headers}):
        note = _header_note(key, a.headers.get(key), b.headers.get(key))
        if note:
            out.append(note)
    return out


def _stored_notes(a: Volume, b: Volume, stored: bool) -> list[str]:
    out = []
    if not stored and a.data.dtype != b.data.dtype:
        out.append(f"stored as {a.data.dtype} against {b.data.dtype}")
    if not stored and a.scaling != b.scaling:
        out.append(f"intensity scaling {_scaling(a)} against {_scaling(b)}")
    return out


def _header_note(key: str, a: bytes | None, b: bytes | None) -> str | None:
    if a is None or b is None:
        return f"only the {'first' if b is None else 'second'} image keeps a {key}"
    if a == b:
        return None
    return f"the {key} kept differs{_differing_fields(a, b)}"


def _differing_fields(a: bytes, b: bytes) -> str:
    """Fields in which two NIfTI headers differ, where both are such of one version."""
    try:
        p, q = nh.parse(a, "").fields, nh.parse(b, "").fields
    except FormatError:
        return ""
    shared = [k for k in p.dtype.names or () if k in (q.dtype.names or ())]
    names = [k for k in shared if not _same_field(p[k], q[k])]
    rest = [] if a[int(p["sizeof_hdr"]) :] == b[int(q["sizeof_hdr"]) :] else ["extensions"]
    order = ["byte order"] if p["dim"].dtype.isnative != q["dim"].dtype.isnative else []
    found = [*names, *order, *rest]
    return f" in {', '.join(found)}" if found else ""


def _same_field(p: Any, q: Any) -> bool:
    if p.shape != q.shape:
        return False
    return bool(np.array_equal(p, q, equal_nan=p.dtype.kind == "f" and q.dtype.kind == "f"))
