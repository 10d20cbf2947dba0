"""Affine matrices of FSL (FLIRT) and AFNI."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff
import chunkimg.geometry.frames as frames

from ..errors import FormatError, GeometryError
from ..geometry import Grid
from .itk_files import numbers
from .types import Affine

__all__ = ["afni_transform", "flirt_coordinates", "fsl_transform", "without_obliquity"]

Array = NDArray[np.float64]


def fsl_transform(text: str, source: str, reference: Grid | None, moving: Grid | None) -> Affine:
    """The map that a matrix of FLIRT (``-omat``) stands for.

    FLIRT's matrix takes the moving image (``-in``) to the reference (``-ref``), both in voxels times voxel size, where
    x is counted from the other end if the determinant of the affine is positive (FSL: "What is the format of the
    matrix used by FLIRT?"). So it means nothing without both images. Of their headers FLIRT takes the numbers, whatever
    unit these are in.

    Parameters
    ----------
    text : str
        Four rows of four numbers.
    source : str
        File name, for errors.
    reference, moving : Grid
        Of the images that FLIRT was given, as they lie in their files.
    """
    if reference is None or moving is None:
        missing = " and ".join(n for n, g in (("reference", reference), ("moving", moving)) if g is None)
        raise GeometryError(
            f"{source}: a matrix of FLIRT is in voxels of its two images; give {missing}= (an image, a file or a Grid)"
        )
    found = numbers(text, source, "entries of a matrix of FLIRT")
    if found.size != 16:
        raise FormatError(f"{source}: a matrix of FLIRT has 16 numbers, found {found.size}")
    forth = _checked(found.reshape(4, 4), source)
    numbers_to_numbers = aff.inverse(flirt_coordinates(moving)) @ aff.inverse(forth) @ flirt_coordinates(reference)
    there, here = _to_mm(moving.units, reference.units), _to_mm(reference.units, moving.units)
    return _affine(there @ numbers_to_numbers @ aff.inverse(here), source)


def _to_mm(unit: str, other: str = "mm") -> Array:
    """A length in a unit to one in mm; one that is not known is taken to be another one, as resampling does."""
    known = next((u for u in (unit, other) if u in frames.UNITS), "mm")
    return np.diag([*[frames.mm_per(known)] * 3, 1.0])


def flirt_coordinates(grid: Grid) -> Array:
    """World to FLIRT's coordinates."""
    counted = grid.flip("x") if np.linalg.det(grid.matrix[:3, :3]) > 0 else grid
    return np.diag([*grid.spacing, 1.0]) @ aff.inverse(counted.matrix)


def afni_transform(
    text: str, source: str, reference: Grid | None = None, moving: Grid | None = None, row: int | None = None
) -> Affine:
    """The map that a matrix of AFNI (``.aff12.1D``) stands for.

    It takes points of the base to those of the source image, in DICOM order (LPS). AFNI works in coordinates without
    obliquity (those of the nearest grid along the axes of the body with the same first voxel): where an image is
    oblique it has to be given.

    Parameters
    ----------
    text : str
        Rows of twelve numbers, row by row of a 3×4 matrix; or three rows of four; lines with # are comments.
    source : str
        File name, for errors.
    reference, moving : Grid, optional
        Of base and source image.
    row : int, optional
        Which row, of a file with one per time step.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [numbers(line, source, "entries of a matrix of AFNI") for line in lines]
    if len(rows) == 3 and all(r.size == 4 for r in rows):
        rows = [np.concatenate(rows)]
    if not rows or any(r.size != 12 for r in rows):
        raise FormatError(f"{source}: a matrix of AFNI has 12 numbers in a row, found {[r.size for r in rows[:4]]}")
    if row is None and len(rows) > 1:
        raise GeometryError(f"{source}: holds {len(rows)} matrices, one per time step; choose one with row=")
    if not -len(rows) <= (row or 0) < len(rows):
        raise GeometryError(f"{source}: holds {len(rows)} matrices, row={row} is none of them")
    lps = _checked(np.vstack([rows[row or 0].reshape(3, 4), [0, 0, 0, 1]]), source)
    ras = frames.map_to_space(lps, "LPS", "RAS")
    if reference is not None:
        ras = ras @ without_obliquity(reference)
    if moving is not None:
        ras = aff.inverse(without_obliquity(moving)) @ ras
    return _affine(ras, source)


def without_obliquity(grid: Grid) -> Array:
    """World in mm, which AFNI converts to, to that in which it works; it depends on the first voxel."""
    to_mm = _to_mm(grid.units)
    return to_mm @ _cardinal(grid) @ aff.inverse(to_mm @ grid.matrix)


def _cardinal(grid: Grid) -> Array:
    """The affine of a grid without its obliquity: each axis along the world axis that it runs along most."""
    out = np.eye(4)
    out[:3, :3] = 0
    for axis, (world, sign) in enumerate(frames.axis_codes(grid.direction)):
        out[world, axis] = sign * grid.spacing[axis]
    out[:3, 3] = grid.origin
    return out


def _checked(matrix: Array, source: str) -> Array:
    try:
        found = aff.as_affine(matrix)
    except GeometryError as error:
        raise FormatError(f"{source}: {error}") from error
    if not aff.is_usable(found):
        raise FormatError(f"{source}: the matrix is singular or not finite:\n{found}")
    return found


def _affine(matrix: Array, source: str) -> Affine:
    matrix = _checked(np.vstack([matrix[:3], [0, 0, 0, 1]]), source)
    return Affine(tuple(map(tuple, matrix.tolist())), "mm")
