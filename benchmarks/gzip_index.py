"""Random access into a ``.nii.gz``: ``python -m benchmarks.gzip_index [--mib 512] [--rounds 5] [--folder DIR]``.

A region of 64³ voxels and a sagittal plane, read by chunkimg with its index on disk and the process warm, by nibabel,
and by indexed_gzip and rapidgzip (where installed) with theirs. The contenders take turns; each round reads another
place. Every result is compared with the voxels that were written.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .data import write_nifti


def compress(source: Path, dest: Path, level: int) -> None:
    with source.open("rb") as raw, gzip.GzipFile(dest, "wb", level, mtime=0) as out:
        shutil.copyfileobj(raw, out, 1 << 22)


def drain(opened: Any) -> None:
    with opened as file:
        while file.read(4 << 20):
            pass


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    out = call()
    return time.perf_counter() - start, out


def show(title: str, times: dict[str, list[float]], against: str = "nibabel") -> None:
    print(title)
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name, t in times.items():
        ratio = f"{middle[against] / middle[name]:8.1f} x" if name != against else ""
        print(f"  {name:28} median {middle[name]:8.4f} s   best {min(t):8.4f} s {ratio}")


def build(path: Path, rounds: int) -> None:
    """Time to make the index, against a plain decode by the library that finds the blocks."""
    import indexed_gzip

    import chunkimg as ci

    times: dict[str, list[float]] = {"indexed_gzip, plain decode": [], "chunkimg.build_index": []}
    for _ in range(rounds):
        times["indexed_gzip, plain decode"].append(timed(lambda: drain(indexed_gzip.IndexedGzipFile(str(path))))[0])
        times["chunkimg.build_index"].append(timed(lambda: ci.build_index(path, force=True))[0])
    show("making the index", times, "indexed_gzip, plain decode")
    plain, made = (statistics.median(t) for t in times.values())
    print(f"  the index costs {made / plain:.2f} of that plain decode")


def readers(path: Path, folder: Path) -> dict[str, Callable[[tuple[slice, ...]], Any]]:
    """By name, what reads a region given in z, y, x."""
    import indexed_gzip
    import nibabel

    import chunkimg as ci

    offset = 352
    shape = nibabel.load(path).shape[::-1]

    def from_bytes(file: Any, key: tuple[slice, ...]) -> np.ndarray:
        z, y, x = (range(n)[k] for n, k in zip(shape, key, strict=True))
        plane = shape[1] * shape[2] * 2
        out = np.empty((len(z), len(y), len(x)), "<i2")
        for k, at in enumerate(z):
            file.seek(offset + at * plane + y[0] * shape[2] * 2)
            rows = np.frombuffer(file.read(len(y) * shape[2] * 2), "<i2").reshape(len(y), -1)
            out[k] = rows[:, x.start : x.stop]
        return out

    image = ci.open_image(path)

    def by_nibabel(key: tuple[slice, ...]) -> Any:
        return np.asarray(nibabel.load(path).dataobj[key[::-1]]).T

    with indexed_gzip.IndexedGzipFile(str(path)) as file:
        file.build_full_index()
        file.export_index(str(folder / "igz"))

    def by_indexed_gzip(key: tuple[slice, ...]) -> Any:
        with indexed_gzip.IndexedGzipFile(str(path), index_file=str(folder / "igz")) as file:
            return from_bytes(file, key)

    out = {
        "nibabel": by_nibabel,
        "chunkimg": lambda key: image[key].values,
        "chunkimg, opening included": lambda key: ci.open_image(path)[key].values,
        "indexed_gzip": by_indexed_gzip,
    }
    try:
        import rapidgzip
    except ImportError:
        return out
    with rapidgzip.open(str(path), parallelization=0) as file:
        while file.read(1 << 24):
            pass
        file.export_index(str(folder / "rapid"))

    def by_rapidgzip(key: tuple[slice, ...]) -> Any:
        with rapidgzip.open(str(path), parallelization=0) as file:
            file.import_index(str(folder / "rapid"))
            return from_bytes(file, key)

    return {**out, "rapidgzip": by_rapidgzip}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--level", type=int, default=6, help="of the gzip file")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        raw, path = folder / "ct.nii", folder / "ct.nii.gz"
        write_nifti(raw, options.mib)
        compress(raw, path, options.level)
        truth = np.memmap(raw, "<i2", "r", 352, (options.mib * 2, 512, 512))
        build(path, max(2, options.rounds // 2))
        size = os.path.getsize(f"{path}.ci-index")
        print(f"  gzip {path.stat().st_size / 2**20:.0f} MiB for {options.mib} MiB of voxels")
        print(f"  index {size / 2**20:.2f} MiB: {size / 2**20 / (options.mib / 1024):.2f} MiB per GiB of voxels")
        contenders = readers(path, folder)
        rng = np.random.default_rng(7)
        depth = truth.shape[0]
        for title in ("region of 64 x 64 x 64", "sagittal plane"):
            times: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(options.rounds):
                z, y, x = (int(rng.integers(n - 64)) for n in truth.shape)
                z = depth // 2 + z % (depth // 2 - 64)
                whole = slice(0, depth), slice(0, 512), slice(x, x + 1)
                key = (slice(z, z + 64), slice(y, y + 64), slice(x, x + 64)) if "region" in title else whole
                for name, read in contenders.items():
                    took, found = timed(lambda read=read, key=key: read(key))
                    assert (np.asarray(found) == truth[key]).all(), name
                    times[name].append(took)
            show(title, times)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
