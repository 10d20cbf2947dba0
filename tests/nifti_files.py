"""Small NIfTI files with any header field set, written without nibabel's own opinions."""

from __future__ import annotations

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header

AFFINE = np.array([[0.1, -1.9, 0.2, 31.5], [0.7, 0.1, 0.3, -12.25], [-0.1, 0.2, -2.9, 8.125], [0, 0, 0, 1]])


def rigid(affine=AFFINE):
    """The nearest affine without shear."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    out = np.array(affine)
    out[:3, :3] = (u @ v) * spacing
    return out


def values(shape, dtype, seed=0):
    """Random values, x fastest; structured for RGB."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "V":
        return rng.integers(0, 256, (*shape, dtype.itemsize)).astype("u1").view(dtype)[..., 0]
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if dtype.kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -(2**40)), min(info.max, 2**40), shape).astype(dtype)


def write(
    path, data, *, order="<", version=1, extra=b"\0\0\0\0", single=True, affine=AFFINE, sform=1, qform=0, **fields
):
    """Write data (x, y, z, … order) with header fields as given; returns the header bytes before the voxels."""
    cls = Nifti2Header if version == 2 else Nifti1Header if single else Nifti1PairHeader
    header = cls(endianness=order)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header["scl_slope"], header["scl_inter"] = 1, 0
    if qform:
        header.set_qform(rigid(affine), qform)
    if sform:
        header.set_sform(affine, sform)
    for name, value in fields.items():
        header[name] = value
    header["vox_offset"] = int(header["sizeof_hdr"]) + len(extra) if single else 0
    block = header.binaryblock + extra
    raw = data.astype(data.dtype.newbyteorder(order)).tobytes(order="F")
    if single:
        path.write_bytes(block + raw)
    else:
        path.write_bytes(block)
        path.with_suffix(".img").write_bytes(raw)
    return block
