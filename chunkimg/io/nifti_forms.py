"""The transforms of NIfTI and Analyze headers as affines: sform, qform, and what is assumed without them.

Formulas are from ``nifti1.h``, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE"; every step is computed as nibabel
computes it (``nifti1.py``, ``quaternions.py``, ``spm99analyze.py``), so that affines are the same to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry.frames import rows_to_space
from .nifti_fields import Fields, kind_of, origin_fits

__all__ = ["base_affine", "best_affine", "qform", "quaternion_of", "sform"]

Array = NDArray[np.float64]

#: 1 - |(b, c, d)|² nearer to 0 than this is a half turn; NIfTI-2 is so read by nibabel from 3 · eps of float64 on
_HALF_TURN = {"nifti1": float(np.finfo(np.float32).eps * 3), "nifti2": float(np.finfo(np.float64).eps * 3)}


def best_affine(fields: Fields) -> Array | None:
    """The affine of repaired fields: of the sform, else of the qform (None if it is no rotation), else assumed."""
    if kind_of(fields) == "analyze":
        return _analyze_affine(fields)
    if int(fields["sform_code"]):
        return sform(fields)
    return qform(fields) if int(fields["qform_code"]) else base_affine(fields)


def sform(fields: Fields) -> Array:
    """nifti1.h, method 3."""
    out = np.eye(4)
    for k, name in enumerate(("srow_x", "srow_y", "srow_z")):
        out[k] = fields[name]
    return out


def qform(fields: Fields) -> Array | None:
    """nifti1.h, method 2; None if the quaternion is longer than 1."""
    vector = np.array([fields[name] for name in ("quatern_b", "quatern_c", "quatern_d")], dtype=np.longdouble)
    rest = 1.0 - vector @ vector
    if np.abs(rest) < _HALF_TURN[kind_of(fields)]:
        a = np.longdouble(0)
    elif rest < 0:
        return None
    else:
        a = np.longdouble(np.sqrt(rest))
    steps = fields["pixdim"][1:4].copy()
    steps[2] *= fields["pixdim"][0]
    out = np.eye(4)
    out[:3, :3] = np.dot(_rotation(a, *vector), np.diag(steps))
    out[:3, 3] = [fields[name] for name in ("qoffset_x", "qoffset_y", "qoffset_z")]
    return out


def _rotation(a: np.longdouble, b: np.longdouble, c: np.longdouble, d: np.longdouble) -> NDArray[np.longdouble]:
    """Rotation matrix of a quaternion, from https://en.wikipedia.org/wiki/Rotation_matrix#Quaternion."""
    s = 2.0 / (a * a + b * b + c * c + d * d)
    x, y, z = b * s, c * s, d * s
    ax, ay, az = a * x, a * y, a * z
    bx, by, bz = b * x, b * y, b * z
    cy, cz, dz = c * y, c * z, d * z
    return np.array(
        [
            [1.0 - (cy + dz), by - az, bz + ay],
            [by + az, 1.0 - (bx + dz), cz - ax],
            [bz - ay, cz + ax, 1.0 - (bx + cy)],
        ]
    )


def quaternion_of(affine: Array) -> tuple[float, float, float, int] | None:
    """b, c, d and qfac of an affine; None if it is sheared, which they cannot hold.

    The quaternion is the eigenvector of the largest eigenvalue in Bar-Itzhack (2000), "New method for extracting the
    quaternion from a rotation matrix", Journal of Guidance, Control and Dynamics 23(6):1085-1087.
    """
    matrix = affine[:3, :3]
    with np.errstate(all="ignore"):
        rotation = matrix / np.sqrt(np.sum(matrix * matrix, axis=0))
        qfac = 1 if np.linalg.det(rotation) > 0 else -1
        rotation[:, 2] *= qfac
        try:
            u, _, vt = np.linalg.svd(rotation)
        except np.linalg.LinAlgError:
            return None
    nearest = u @ vt
    if not np.allclose(nearest, rotation):
        return None
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = nearest
    lower = [
        [xx - yy - zz, 0, 0, 0],
        [yx + xy, yy - xx - zz, 0, 0],
        [zx + xz, zy + yz, zz - xx - yy, 0],
        [yz - zy, zx - xz, xy - yx, xx + yy + zz],
    ]
    values, vectors = np.linalg.eigh(np.array(lower) / 3.0)
    b, c, d, a = vectors[:, np.argmax(values)].tolist()
    # q and -q are the same rotation, a is not stored: it is read as positive
    return (b, c, d, qfac) if a >= 0 else (0.0 - b, 0.0 - c, 0.0 - d, qfac)


def base_affine(fields: Fields) -> Array:
    """Without a transform: spacings, the centre of the image at 0, x running to the left."""
    rank = min(int(fields["dim"][0]), 3)
    sizes, steps = np.ones(3), np.ones(3)
    sizes[:rank] = fields["dim"][1 : rank + 1]
    steps[:rank] = fields["pixdim"][1 : rank + 1]
    return _upright(-(sizes - 1) / 2.0 * steps, steps)


def _analyze_affine(fields: Fields) -> Array:
    """Of Analyze: spacings, x running to the left, and the origin that SPM names, counted from 1, if it is near."""
    steps = fields["pixdim"][1:4]
    if origin_fits(fields):
        return _upright(-(fields["origin"][:3] - 1) * steps, steps)
    return _upright(-(fields["dim"][1:4] - 1) / 2.0 * steps, steps)


def _upright(offset: NDArray[np.floating], steps: NDArray[np.floating]) -> Array:
    out = np.diag([*steps, 1.0])
    out[:3, 3] = offset
    return rows_to_space(out, "LAS", "RAS")
