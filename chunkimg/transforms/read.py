"""Reading transforms of ITK, ANTs, FSL and AFNI."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff
import chunkimg.io.nifti_header as nh

from ..errors import FormatError, GeometryError, UnsupportedError
from ..geometry import Grid
from ..geometry.attrs import NIFTI_HEADER
from ..io.format import ReadOptions
from ..io.registry import SHARED, format_of, is_ours
from ..metadata import headers_of
from ..volume import Volume
from .itk import transform_of
from .itk_files import HDF5, TEXT, mat_records, refuse_other_mat, text_records, with_hdf5
from .linear import afni_transform, flirt_coordinates, fsl_transform, without_obliquity
from .types import Affine, Composite, DisplacementField

__all__ = ["kind_of", "read_transform"]

_FORMATS = ("itk", "fsl", "afni", "field")
#: intent codes of NIfTI (nifti1.h) -> world frame of the vectors. ITK writes LPS under VECTOR; under DISPVECT they are
#: RAS, as the standard has them (itkNiftiImageIO.h, ConvertRASVectors and ConvertRASDisplacementVectors)
_VECTORS = {1006: "RAS", 1007: "LPS"}
#: intent codes of FNIRT and TOPUP, whose vectors are in FLIRT's coordinates
_FNIRT = range(2006, 2020)
#: a matrix in text is not larger
_SHORT = 1 << 20
#: voxel: positions that differ by less are one
_SAME = 1e-3


def read_transform(
    path: Any,
    *,
    format: str | None = None,
    reference: Any = None,
    moving: Any = None,
    vectors: str | None = None,
    row: int | None = None,
) -> Affine | Composite | DisplacementField:
    """The transform in a file, as a map of world points (RAS+, mm) of the reference to those of the moving image.

    Parameters
    ----------
    path : str or path
        ITK and ANTs: ``.tfm``, ``.txt``, ``.mat``, ``.h5`` (needs ``chunkimg[transforms]``); a displacement field as an
        image: NIfTI with three components per voxel, NRRD, OME-Zarr; FSL: the matrix of FLIRT; AFNI: ``.aff12.1D``.
    format : str, optional
        ``"itk"``, ``"fsl"``, ``"afni"`` or ``"field"``, where name and content do not tell.
    reference, moving : xarray.DataArray, Grid, or path, optional
        The two images, as they lie in their files: for FSL always, for AFNI where they are oblique.
    vectors : str, optional
        World frame of the vectors of a field, ``"LPS"`` or ``"RAS"``; where the file tells by itself (NIfTI by its
        intent code, NRRD being ITK's, LPS) it need not be given.
    row : int, optional
        AFNI: which of several matrices.

    Returns
    -------
    Affine, DisplacementField or Composite
        Fields stay in their files until points are mapped.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    FormatError
        If the file is damaged, truncated or of no known kind.
    UnsupportedError
        If it holds a B-spline or another kind of transform that is not supported.
    GeometryError
        If images that are needed to understand it are missing, or do not lie as in their files.
    MissingExtraError
        If it is HDF5 and h5py is not installed.

    Examples
    --------
    >>> import chunkimg as ci
    >>> lines = "#Insight Transform File V1.0", "Transform: TranslationTransform_double_3_3", "Parameters: 5 0 2"
    >>> with open("/tmp/shift.tfm", "w") as file:
    ...     print(*lines, sep=chr(10), file=file)
    >>> ci.read_transform("/tmp/shift.tfm").map((0, 0, 0)).tolist()
    [-5.0, 0.0, 2.0]
    """
    name = os.fspath(path)
    kind = kind_of(name, format)
    if kind == "field":
        return _field(name, vectors)
    if kind == "itk":
        return _of_itk(name)
    text = _read(name, _SHORT).decode("latin-1")
    coordinates = flirt_coordinates if kind == "fsl" else without_obliquity
    fixed, moved = _grid(reference, "reference", coordinates), _grid(moving, "moving", coordinates)
    return fsl_transform(text, name, fixed, moved) if kind == "fsl" else afni_transform(text, name, fixed, moved, row)


def kind_of(name: str, format: str | None = None) -> str:
    """Which of the formats a file has, by name and first bytes.

    Parameters
    ----------
    name : str
        Its name.
    format : str, optional
        The format, if it is known.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name.
    FormatError
        If it is of no known kind.
    ValueError
        If `format` is none of ``"itk"``, ``"fsl"``, ``"afni"`` and ``"field"``.
    """
    if format is not None and format not in _FORMATS:
        raise ValueError(f"format is one of {', '.join(_FORMATS)}; found {format!r}")
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name}: no such file or folder")
    return format or _of_content(name)


def _of_content(name: str) -> str:
    lower = name.lower()
    if os.path.isdir(name) or is_ours(name) or lower.endswith(tuple(SHARED)):
        return "field"
    if lower.endswith(".1d"):
        return "afni"
    head = _read(name, 128, whole=False)
    if not head:
        raise FormatError(f"{name}: the file is empty; a transform is expected")
    if head.startswith((TEXT, HDF5, b"MATLAB")) or (lower.endswith(".mat") and b"\0" in head):
        return "itk"
    if lower.endswith(".mat"):
        return "fsl"
    raise FormatError(
        f"{name}: neither its name nor its first bytes ({head[:16]!r}) are of a known kind of transform "
        "(.tfm, .txt, .mat and .h5 of ITK, .mat of FLIRT, .aff12.1D of AFNI, images of vectors); "
        f"give format=, one of {', '.join(_FORMATS)}, if you know it"
    )


def _read(name: str, most: int, whole: bool = True) -> bytes:
    with open(name, "rb") as file:
        raw = file.read(most + 1)
    if whole and len(raw) > most:
        raise FormatError(f"{name}: larger than {most} bytes, and so no matrix")
    return raw[:most]


def _of_itk(name: str) -> Affine | Composite | DisplacementField:
    head = _read(name, 128, whole=False)
    if head.startswith(HDF5):
        return transform_of(with_hdf5(name), name)
    if head.startswith(TEXT):
        with open(name, "rb") as file:
            return transform_of(text_records(file.read(), name), name)
    refuse_other_mat(head, name)
    return transform_of(mat_records(_read(name, _SHORT), name), name)


def _grid(image: Any, what: str, coordinates: Callable[[Grid], NDArray[np.float64]]) -> Grid | None:
    """The grid of an image, wherever it is, which has the program's coordinates as in its file."""
    if image is None or isinstance(image, Grid):
        return image
    if isinstance(image, (str, os.PathLike)):
        image = format_of(image).open(image, ReadOptions())
    if isinstance(image, Volume):
        if image.grid is None:
            raise GeometryError(f"{image.source}: has no position: its affine is singular or not finite")
        return image.grid
    from ..image.build import grid_of

    grid = grid_of(image)
    stored = _stored_grid(image.attrs)
    if stored is not None:
        # numbers are compared, in whatever unit
        there, here = (coordinates(replace(g, units="mm")) for g in (stored, grid))
        apart = aff.apply(there, grid.corners()) - aff.apply(here, grid.corners())
        if np.abs(apart).max() > _SAME * min(grid.spacing):
            raise GeometryError(
                f"the {what} image was turned, cropped or resampled since it was opened, and the matrix counts voxels "
                f"as they lie in the file: give {what}= the path of the file that the program was given, or its Grid "
                "(image.img.grid, if that was this image, saved)"
            )
    return grid


def _stored_grid(attrs: Mapping[Any, Any]) -> Grid | None:
    """The grid of the NIfTI file that an image came from; None if it came from elsewhere."""
    raw = headers_of(attrs).get(NIFTI_HEADER)
    return (
        None if raw is None else nh.grid_of(nh.parse(raw, "header kept with the image"), "header kept with the image")
    )


def _field(name: str, vectors: str | None) -> DisplacementField:
    found = format_of(name)
    volume = found.open(name, ReadOptions())
    intent = volume.properties.get("intent_code")
    if vectors is None and intent in _FNIRT:
        raise UnsupportedError(
            f"{name}: is a field of FNIRT (intent code {intent}), whose vectors are in FLIRT's coordinates; convert "
            "it, for instance with wb_command -convert-warpfield -from-fnirt ... -to-itk"
        )
    known = "LPS" if found.name == "nrrd" else _VECTORS.get(intent) if isinstance(intent, int) else None
    if vectors is None and known is None:
        raise GeometryError(
            f"{name}: nothing says in which world frame its vectors are (NIfTI: intent code 1006 or 1007, found "
            f"{intent}); give vectors='LPS' (ITK, ANTs) or vectors='RAS'"
        )
    return DisplacementField(volume, vectors or known or "")
