"""Deterministic test images of any size, written slab by slab."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def affine() -> np.ndarray:
    """An oblique affine with three different spacings."""
    a, b = np.radians(12), np.radians(-7)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = (tilt @ turn) * (-0.7, -0.7, 1.25)
    out[:3, 3] = 180.5, 171.25, -640.0
    return out


def write_nifti(path: Path, mib: int) -> None:
    """A CT-like int16 ``.nii`` of 512 × 512 × n voxels, `mib` MiB: smooth anatomy and noise."""
    import nibabel as nib

    depth = mib * 2
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, depth))
    header.set_data_dtype(np.int16)
    header.set_sform(affine(), 1)
    header.set_qform(affine(), 1)
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    rng = np.random.default_rng(20)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    with path.open("wb") as f:
        f.write(header.binaryblock + b"\0\0\0\0")
        for z in range(depth):
            body = np.hypot(x * (1.1 + 0.1 * np.sin(z / 90)), y * 1.4) < 0.9
            tissue = 40 + 60 * np.sin(6 * x + z / 40) * np.cos(5 * y - z / 70)
            # never the same twice: a codec with a large window would find the repetition
            noise = rng.standard_normal((512, 512), np.float32)
            plane = np.where(body, tissue + 20 * noise, -1000 + 5 * noise)
            f.write(plane.astype("<i2").tobytes())
