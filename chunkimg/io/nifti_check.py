"""Checking NIfTI and Analyze headers: fields that contradict each other, or leave open what readers then guess.

What is repaired on opening is named; the rest is from ``nifti1.h`` (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..geometry import Grid
from ..geometry import affine as aff
from . import file_check
from . import nifti_fields as nf
from . import nifti_header as nh
from .format import CheckOptions, Finding, Format
from .nifti import extensions, header_path
from .nifti_forms import sform as sform_of
from .source import FileSource

__all__ = ["check"]

#: voxels: single precision of a quaternion near a half turn displaces far corners by hundredths
_FORMS_TOL = 0.1

#: nifti1.h, "intent_code", and the codes of FSL's fnirt and topup, and of CIFTI-2
_INTENTS = {0, *range(2, 25), *range(1001, 1012), *range(2001, 2010), *range(2016, 2019), *range(3000, 3013)} - {3005}


def check(format: Format, source: Any, options: CheckOptions) -> Iterator[Finding]:
    """Findings about a NIfTI or Analyze file, or a pair."""
    header = FileSource.open(header_path(os.fspath(source)))
    block = header.head(540)
    facts = nh.parse(block, header.path)
    where = header.path
    # as stored, not as repaired on opening
    raw = nf.from_bytes(block[: facts.size], facts.kind, facts.byteorder)
    for text in _diagnosis(raw):
        yield Finding("warning", where, f"header: {text}")
    yield from _sizes(raw, facts, where)
    if facts.kind != "analyze":
        yield from _position(raw, facts, where)
        yield from _not_finite(raw, where)
        yield from _units(raw, facts, where)
        yield from _codes(raw, where)
        yield from _extensions(header, facts)
    yield from file_check.check(format, source, options)


def _diagnosis(raw: nf.Fields) -> list[str]:
    """What is repaired on opening."""
    # nifti1.h: a pixdim[0] of 0 means 1
    unset = float(raw["pixdim"][0]) == 0
    return [text for _, text in nf.repair(raw.copy()) if not (unset and "qfac" in text)]


def _sizes(raw: nf.Fields, facts: nh.HeaderFacts, where: str) -> Iterator[Finding]:
    rank = len(facts.shape)
    beyond = [int(n) for n in raw["dim"][rank + 1 :]]
    if any(n not in (0, 1) for n in beyond):
        yield Finding("warning", where, f"dim declares {rank} axes, and sizes {beyond} beyond them")


def _position(raw: nf.Fields, facts: nh.HeaderFacts, where: str) -> Iterator[Finding]:
    """Whether sform, qform and pixdim say the same."""
    sform, qform = int(raw["sform_code"]), int(raw["qform_code"])
    if sform <= 0 and qform <= 0:
        yield Finding(
            "warning",
            where,
            "neither sform nor qform is set: the file does not say where the patient is, readers guess",
        )
        return
    nx, ny, nz = (*facts.shape[:3], 1, 1, 1)[:3]
    grids = {}
    with np.errstate(all="ignore"):
        stored = {"sform": sform_of(facts.fields) if sform > 0 else None}
        stored["qform"] = nh.qform_of(facts.fields) if qform > 0 else None
    if qform > 0 and stored["qform"] is None:
        yield Finding("warning", where, f"the qform (code {qform}) is no rotation: its quaternion is not usable")
    for name, matrix in stored.items():
        if matrix is None:
            continue
        filled = aff.fill_singleton_axes(matrix, (nx, ny, nz))
        if aff.is_usable(filled):
            grids[name] = Grid((nx, ny, nz), tuple(map(tuple, filled.tolist())), units=nh.units_of(facts)[0])
    if len(grids) == 2:
        yield from _forms(grids["sform"], grids["qform"], (sform, qform), where)
    if "sform" in grids:
        yield from _spacing(raw, grids["sform"], where)


def _forms(s: Grid, q: Grid, codes: tuple[int, int], where: str) -> Iterator[Finding]:
    apart = s.difference(q)
    if apart.voxels <= _FORMS_TOL:
        return
    unit = "" if s.units == "unknown" else f" {s.units}"
    text = (
        f"sform (code {codes[0]}) and qform (code {codes[1]}) place a corner {apart.length:.4g}{unit} "
        f"({apart.voxels:.4g} voxels) apart; the sform is used, as in most readers"
    )
    # different codes name different spaces
    yield Finding("warning" if codes[0] == codes[1] else "note", where, text)


def _spacing(raw: nf.Fields, grid: Grid, where: str) -> Iterator[Finding]:
    declared = np.abs(raw["pixdim"][1:4].astype(np.float64))
    thick = np.asarray(grid.shape) > 1
    if not np.allclose(declared[thick], np.asarray(grid.spacing)[thick], rtol=1e-3):
        found = ", ".join(f"{v:.6g}" for v in grid.spacing)
        yield Finding(
            "warning",
            where,
            f"pixdim is ({', '.join(f'{v:.6g}' for v in declared)}), voxels of the sform are ({found})",
        )


def _not_finite(raw: nf.Fields, where: str) -> Iterator[Finding]:
    for name in raw.dtype.names or ():
        value = raw[name]
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            # many writers leave scaling that is not used so
            severity: Any = "note" if name in ("scl_slope", "scl_inter") else "warning"
            yield Finding(severity, where, f"{name} is not finite: {value.tolist()}")


def _units(raw: nf.Fields, facts: nh.HeaderFacts, where: str) -> Iterator[Finding]:
    code = int(raw["xyzt_units"])
    if code & 0x07 not in nh.UNIT_CODES or code & 0x38 not in {**nh.TIME_UNITS, **nh.CHANNEL_UNITS} or code & ~0x3F:
        yield Finding("warning", where, f"xyzt_units is {code}, which names no unit of nifti1.h")
    elif code & 0x07 == 0:
        yield Finding("note", where, "the unit of length is not stated (xyzt_units)")
    if len(facts.shape) > 3 and facts.shape[3] > 1:
        step = float(raw["pixdim"][4])
        if not (math.isfinite(step) and step > 0):
            yield Finding("note", where, f"the time between frames is not stated: pixdim[4] is {step:g}")
        elif code & 0x38 == 0:
            yield Finding("note", where, "the unit of the fourth axis is not stated (xyzt_units)")


def _codes(raw: nf.Fields, where: str) -> Iterator[Finding]:
    intent = int(raw["intent_code"])
    if intent not in _INTENTS:
        yield Finding("warning", where, f"intent_code {intent} is none of nifti1.h")


def _extensions(header: FileSource, facts: nh.HeaderFacts) -> Iterator[Finding]:
    """Whether header extensions fill the bytes before the voxels."""
    limit = facts.offset if facts.single else header.size
    if limit > 64 << 20:
        return
    prefix = header.head(limit)
    flag = prefix[facts.size : facts.size + 1]
    if flag in (b"", b"\0"):
        return
    end = facts.size + 4 + sum(e["size"] for e in extensions(prefix))
    if prefix[end:].strip(b"\0"):
        yield Finding(
            "warning", header.path, f"header extensions are damaged: they end at byte {end}, voxels start at {limit}"
        )
