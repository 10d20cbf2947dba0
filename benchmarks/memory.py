"""Peak anonymous memory of conversions, diff and validate: ``python -m benchmarks.memory --mib 4096 [--folder DIR]``.

Every voxel and header byte of each NIfTI result is compared with the source; stores are so as far as one is read back.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from .data import write_nifti
from .measure import run


def _digest(path: Path) -> str:
    from isal import igzip

    opened = igzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    digest = hashlib.blake2b()
    with opened as f:
        while block := f.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        source = folder / "ct.nii"
        write_nifti(source, options.mib)
        truth = _digest(source)
        steps = [
            ("ct.nii", "a.ome.zarr"),
            ("a.ome.zarr", "b.nii"),
            ("b.nii", "c.nii.gz"),
            ("c.nii.gz", "d.ome.zarr"),
            ("d.ome.zarr", "e.nii.gz"),
            ("ct.nii", "p.ome.zarr", "--pyramid"),
        ]
        print(f"{options.mib} MiB int16\n{'conversion':34} {'seconds':>8} {'peak anon MiB':>14}")
        for src, dst, *more in steps:
            took = run([sys.executable, "-m", "chunkimg", "convert", str(folder / src), str(folder / dst), *more])
            print(f"{src + ' -> ' + dst + ' ' + ' '.join(more):34} {took.seconds:8.1f} {took.peak_anon_mib:14.0f}")
            if dst.endswith((".nii", ".gz")) and _digest(folder / dst) != truth:
                sys.exit(f"{dst} differs from the source")
        pairs = [
            ("ct.nii", "c.nii.gz"),
            ("c.nii.gz", "c.nii.gz"),
            ("c.nii.gz", "a.ome.zarr"),
            ("a.ome.zarr", "d.ome.zarr"),
        ]
        for names in (*pairs, ("c.nii.gz",), ("a.ome.zarr",)):
            what = "diff" if len(names) == 2 else "validate"
            took = run([sys.executable, "-m", "chunkimg", what, *(str(folder / n) for n in names)])
            print(f"{what + ' ' + ' '.join(names):34} {took.seconds:8.1f} {took.peak_anon_mib:14.0f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
