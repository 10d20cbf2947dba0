"""Writing a NIfTI header over a template: every field that the image determines, and only where it differs.

An image that came from NIfTI carries that file's header. A field is replaced only where the image says something else
beyond float32 rounding, so that an untouched image is written back byte for byte, and a changed one with exactly the
fields changed that the change is about.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ChunkImgWarning, FormatError, GeometryError
from ..geometry import Grid
from ..geometry import affine as aff
from ..geometry.attrs import IMAGE_LABEL, LABEL
from ..geometry.frames import from_seconds
from ..geometry.poses import snapped_steps
from ..metadata import LABEL_INTENT
from ..scaling import Scaling
from ..volume import PER_CHANNEL, TimeAxis
from . import nifti_header as nh
from .nifti_fields import Fields
from .nifti_forms import base_affine, best_affine, quaternion_of

__all__ = [
    "update_channels",
    "update_geometry",
    "update_properties",
    "update_scaling",
    "update_time",
    "update_times",
    "update_units",
]

Array = NDArray[np.float64]

#: sform/qform code of an image whose source was no NIfTI: scanner-based, as ITK writes
_SCANNER, _ALIGNED = 1, 2


def _set(fields: Fields, name: str, value: float, index: int | None = None) -> None:
    """Set a number where it differs beyond the field's rounding."""
    old = fields[name] if index is None else fields[name][index]
    new = np.asarray(value).astype(old.dtype)
    if not (old == new or (np.isnan(old) and np.isnan(new))):
        if index is None:
            fields[name] = new
        else:
            fields[name][index] = new


def update_geometry(fields: Fields, template: nh.HeaderFacts | None, grid: Grid, dest: str) -> None:
    """sform, qform and pixdim[1..3] from a grid.

    Where the image moved by whole or half voxels (crop, flip, stride, coarsening, permuted axes), both transforms of a
    template move alike, also where they differ; any other move puts both where the image is.
    """
    if grid.space != "unknown":
        grid = grid.to_space("RAS")
    wanted = grid.matrix
    codes = int(fields["sform_code"]), int(fields["qform_code"])
    before = None if template is None else _usable_affine(template, grid)
    if before is None or template is None or codes == (0, 0):
        if template is not None and codes == (0, 0) and nh.affine_of(template)[1] != "unknown":
            raise GeometryError(
                f"{dest}: with sform_code and qform_code 0 the header could not say where the image lies; "
                "set one of these properties, or assign_geometry(space='unknown')"
            )
        if before is None or not np.array_equal(before, wanted):
            _write_new(fields, wanted, grid, dest)
    elif codes != (int(template.fields["sform_code"]), int(template.fields["qform_code"])) and 0 in (
        int(template.fields["sform_code"]),
        int(template.fields["qform_code"]),
    ):
        # a transform was declared or withdrawn by its code: what is left must hold the position
        _write_declared(fields, wanted, dest)
    else:
        _follow(fields, before, wanted)
    _check_position(fields, wanted, grid, dest)


def _usable_affine(template: nh.HeaderFacts, grid: Grid) -> Array | None:
    """The template's affine, if it is one and lies in the same space as the grid."""
    before, space = nh.affine_of(template)
    before = aff.fill_singleton_axes(before, (*template.shape[:3], 1, 1, 1)[:3])
    return before if aff.is_usable(before) and (space == grid.space or grid.space == "unknown") else None


def _follow(fields: Fields, before: Array, wanted: Array) -> None:
    """Move both transforms of a template as the image moved."""
    steps = snapped_steps(before, wanted)
    if np.array_equal(before, wanted) or np.array_equal(steps, np.eye(4)):
        return
    stepped = np.array_equal(steps * 2, np.round(steps * 2)) and np.count_nonzero(steps[:3, :3]) == 3
    if int(fields["sform_code"]):
        _set_rows(fields, wanted)
    if int(fields["qform_code"]):
        _move_qform(fields, wanted, steps if stepped else None)
    old = nh.repaired(fields)["pixdim"][1:4].astype(np.float64)
    for k, s in enumerate(np.abs(steps[:3, :3]).T @ old if stepped else aff.decompose(wanted)[0]):
        if s > 0 and (not stepped or steps[k, k] not in (1, -1)):
            _set(fields, "pixdim", float(s), k + 1)


def _move_qform(fields: Fields, wanted: Array, steps: Array | None) -> None:
    """Move the qform by the same steps, or to the new position; give it up where it cannot hold a shear."""
    old = nh.qform_of(fields)
    target = old @ steps if steps is not None and old is not None else wanted
    if _set_quaternion(fields, target):
        return
    if not int(fields["sform_code"]):
        _set_rows(fields, wanted)
        fields["sform_code"] = fields["qform_code"]
    _drop_qform(fields)


def _write_declared(fields: Fields, wanted: Array, dest: str) -> None:
    """Put the position in every transform whose code is set."""
    for k, s in enumerate(aff.decompose(wanted)[0]):
        _set(fields, "pixdim", float(s), k + 1)
    if int(fields["sform_code"]):
        _set_rows(fields, wanted)
    if int(fields["qform_code"]) and not _set_quaternion(fields, wanted):
        raise GeometryError(
            f"{dest}: qform_code is set, but a qform cannot hold the shear of this image; use the sform"
        )


def _write_new(fields: Fields, wanted: Array, grid: Grid, dest: str) -> None:
    """Both transforms of an image whose source was no NIfTI, or said nothing of its position."""
    for k, s in enumerate(grid.spacing):
        _set(fields, "pixdim", s, k + 1)
    if grid.space == "unknown":
        if np.allclose(base_affine(nh.repaired(fields)), wanted, rtol=1e-6, atol=1e-6 * min(grid.spacing)):
            # what readers assume without a transform is right: say no more than is known
            fields["sform_code"] = fields["qform_code"] = 0
            return
        warnings.warn(
            f"{dest}: the image does not say where the patient is, which NIfTI cannot express together with a position;"
            " it is written as an sform with code 2, and readers will take its axes for RAS+",
            ChunkImgWarning,
            stacklevel=2,
        )
    code = _SCANNER if grid.space != "unknown" else _ALIGNED
    fields["sform_code"] = int(fields["sform_code"]) or code
    _set_rows(fields, wanted)
    if _set_quaternion(fields, wanted):
        fields["qform_code"] = int(fields["qform_code"]) or code
    else:
        _drop_qform(fields)


def _set_rows(fields: Fields, wanted: Array) -> None:
    for name, row in zip(("srow_x", "srow_y", "srow_z"), wanted, strict=False):
        for k in range(4):
            _set(fields, name, float(row[k]), k)


def _set_quaternion(fields: Fields, target: Array) -> bool:
    """Set quaternion, offset and pixdim[0]; False if the target is sheared, which they cannot hold."""
    found = quaternion_of(target)
    if found is None:
        return False
    *quaternion, qfac = found
    old = nh.qform_of(fields)
    direction = aff.decompose(target)[1]
    # the rotation is kept as it stands in the file unless it turned: a crop moves the offset alone
    if old is None or not np.allclose(aff.decompose(old)[1], direction, atol=1e-5):
        for name, value in zip(("quatern_b", "quatern_c", "quatern_d"), quaternion, strict=True):
            _set(fields, name, value)
        _set(fields, "pixdim", qfac, 0)
    for k, name in enumerate(("qoffset_x", "qoffset_y", "qoffset_z")):
        _set(fields, name, float(target[k, 3]))
    return True


def _drop_qform(fields: Fields) -> None:
    for name in ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        _set(fields, name, 0)


def _check_position(fields: Fields, wanted: Array, grid: Grid, dest: str) -> None:
    """Read the header as it will be read, and compare."""
    stored = best_affine(nh.repaired(fields))
    written = np.full((4, 4), np.nan) if stored is None else aff.fill_singleton_axes(stored, grid.shape)
    corners = aff.corner_indices(grid.shape, 0.5)
    apart = (aff.apply(written, corners) - aff.apply(wanted, corners)) @ aff.inverse(wanted)[:3, :3].T
    worst = float(np.abs(apart).max())
    if not worst <= 0.5:
        raise GeometryError(
            f"{dest}: the header cannot hold this position in float32: voxels would be displaced by {worst:.3g} voxels;"
            " write NIfTI-2 (version=2) or OME-Zarr"
        )
    if worst > 1e-3:
        warnings.warn(
            f"{dest}: rounding of the header's float32 displaces voxels by up to {worst:.2g} voxels; "
            "write NIfTI-2 (version=2) or OME-Zarr to keep them exact",
            ChunkImgWarning,
            stacklevel=2,
        )


def update_units(fields: Fields, template: nh.HeaderFacts | None, units: str, time_unit: str | None, dest: str) -> None:
    """xyzt_units from the unit of length and, where given, the unit of time."""
    length, fourth = nh.units_of(template) if template is not None else ("unknown", "unknown")
    codes = {name: code for code, name in nh.UNIT_CODES.items()}
    code = int(fields["xyzt_units"])
    if units != length:
        if units not in codes:
            warnings.warn(f"{dest}: NIfTI cannot say that lengths are in {units}", ChunkImgWarning, stacklevel=2)
        code = (code & ~0x07) | codes.get(units, 0)
    if time_unit is not None and time_unit != fourth:
        times = {name: c for c, name in nh.TIME_UNITS.items()}
        code = (code & ~0x38) | times[time_unit]
    _set(fields, "xyzt_units", code)


def update_times(fields: Fields, template: nh.HeaderFacts | None, times: TimeAxis | None, dest: str) -> None:
    """pixdim[4] and toffset; the file's unit of time is kept.

    Times that are not regular are lost with a warning: NIfTI holds a start and a step.
    """
    if times is None:
        return
    before = nh.times_of(template) if template is not None else None
    if before is not None and _same_times(before, times):
        return
    if times.step is None and times.units == "unknown":
        # frame numbers, no times
        return
    step = times.regular_step()
    if step is None and len(times.values) > 1:
        warnings.warn(
            f"{dest}: NIfTI holds one time step, the image's {len(times.values)} times are irregular; "
            "the mean step is written, the times are lost (OME-Zarr keeps them)",
            ChunkImgWarning,
            stacklevel=2,
        )
        step = (times.values[-1] - times.values[0]) / (len(times.values) - 1)
    if step is not None and step < 0:
        raise FormatError(f"{dest}: NIfTI frames follow each other in time; sort the image by t first")
    unit = nh.units_of(template)[1] if template is not None else times.units
    if (times.units == "s" and unit not in nh.TIME_UNITS.values()) or unit == "unknown":
        unit = times.units
    start, delta = times.values[0], step or 0.0
    if times.units == "s":
        start, delta = from_seconds(start, unit), from_seconds(delta, unit)
    if delta:
        _set(fields, "pixdim", delta, 4)
    _set(fields, "toffset", start)


def update_time(fields: Fields, template: nh.HeaderFacts | None, time: float | None) -> None:
    """Set toffset to the time of a single frame."""
    if time is None:
        return
    unit = nh.units_of(template)[1] if template is not None else "s"
    offset = from_seconds(time, unit if unit in ("s", "ms", "us") else "s")
    if not math.isclose(offset, float(fields["toffset"]), rel_tol=1e-7):
        _set(fields, "toffset", offset)


def _same_times(a: TimeAxis, b: TimeAxis) -> bool:
    if (a.units, a.step) != (b.units, b.step) and not (
        a.units == b.units and a.step and b.step and math.isclose(a.step, b.step, rel_tol=1e-7)
    ):
        return False
    common = min(len(a.values), len(b.values))
    scale = max(1e-30, *(abs(v) for v in a.values[:common]), abs(a.step or 0.0))
    return bool(np.allclose(a.values[:common], b.values[:common], rtol=0, atol=1e-7 * scale))


def update_scaling(fields: Fields, template: nh.HeaderFacts | None, scaling: Scaling | None, dest: str) -> None:
    """scl_slope and scl_inter."""
    before = nh.scaling_of(template, dest) if template is not None else None
    if template is not None and before == scaling and scaling is None:
        return
    slope, inter = (scaling.slope, scaling.inter) if scaling is not None else (1.0, 0.0)
    if template is None or before != scaling:
        for name, value in (("scl_slope", slope), ("scl_inter", inter)):
            _set(fields, name, value)
    stored = float(fields["scl_slope"]), float(fields["scl_inter"])
    if not np.allclose(stored, (slope, inter), rtol=1e-6, atol=0):
        raise FormatError(f"{dest}: the scaling ({slope}, {inter}) cannot be held in float32; convert the image first")


def update_channels(fields: Fields, channels: Mapping[str, Any], dest: str) -> None:
    """Step and offset of a spectral fourth axis; names of channels are lost with a warning."""
    if set(PER_CHANNEL) & set(channels):
        warnings.warn(
            f"{dest}: NIfTI has no field for names and colours of channels; they are not written (OME-Zarr keeps them)",
            ChunkImgWarning,
            stacklevel=2,
        )
    if channels.get("kind") == "spectral":
        for key, name, index in (("step", "pixdim", 4), ("offset", "toffset", None)):
            if isinstance(channels.get(key), (int, float)):
                _set(fields, name, channels[key], index)


def update_properties(
    fields: Fields, template: nh.HeaderFacts | None, properties: Mapping[str, Any], dest: str
) -> None:
    """Fields of `nifti_header.PROPERTIES`; a property that was deleted is unset, one without a field is named."""
    _name_homeless(properties, dest)
    if properties.get(LABEL) and not properties.get("intent_code"):
        properties = {**properties, "intent_code": LABEL_INTENT}
    for name, unset in nh.PROPERTIES.items():
        value = _number(properties.get(name, unset), unset)
        if name in ("sform_code", "qform_code") and name not in properties:
            continue
        old = None if template is None else nh.get_property(template.fields, name)
        if old == value or (old != old and value != value):
            continue
        if isinstance(unset, str):
            room = fields[name].dtype.itemsize
            raw = str(value).encode("latin-1", "replace")
            if len(raw) > room:
                warnings.warn(
                    f"{dest}: {name} has room for {room} bytes in NIfTI; {value!r} is cut off",
                    ChunkImgWarning,
                    stacklevel=2,
                )
            fields[name] = raw[:room]
        elif isinstance(value, (int, float)):
            try:
                with np.errstate(over="raise"):
                    _set(fields, name, value)
            except (OverflowError, FloatingPointError, ValueError):
                raise FormatError(f"{dest}: the property {name} = {value!r} does not fit its NIfTI field") from None
        else:
            raise FormatError(f"{dest}: the property {name} is a number in NIfTI, found {value!r}")


def _name_homeless(properties: Mapping[str, Any], dest: str) -> None:
    """Say what NIfTI has no field for."""
    lost = sorted(set(properties) - set(nh.PROPERTIES) - {LABEL, IMAGE_LABEL})
    kept_by = {"names and colours of labels": "OME-Zarr keeps them, NRRD most"} if IMAGE_LABEL in properties else {}
    if lost:
        kept_by[", ".join(lost)] = "OME-Zarr keeps it"
    for what, where in kept_by.items():
        warnings.warn(
            f"{dest}: NIfTI has no field for {what}; what they hold is not written ({where})",
            ChunkImgWarning,
            stacklevel=3,
        )


def _number(value: Any, unset: Any) -> Any:
    """A number that went through strict JSON, or a format that knows only text, is one again."""
    if not isinstance(value, str) or isinstance(unset, str):
        return value
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
