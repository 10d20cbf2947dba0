"""Regions of a raw NRRD, against numpy.memmap, SimpleITK and pynrrd: warm, in one process, interleaved.

``python -m benchmarks.nrrd_regions --mib 512``. Every region is compared with the memmap's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import chunkimg as ci
from benchmarks.data import write_nifti
from chunkimg.io.format import ReadOptions
from chunkimg.io.registry import format_of

REGIONS = {
    "64³": (slice(300, 364), slice(200, 264), slice(100, 164)),
    "8 planes z": (slice(400, 408), slice(None), slice(None)),
    "plane y": (slice(None), slice(256, 257), slice(None)),
    "plane x (sagittal)": (slice(None), slice(None), slice(256, 257)),
}


def _timed(read: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    out = read()
    return time.perf_counter() - start, out


def _readers(path: Path, shape: tuple[int, ...], offset: int) -> dict[str, Callable[..., np.ndarray]]:
    image, direct = ci.open_image(path), ci.open_image(path, chunks=None)
    array = format_of(path).open(path, ReadOptions()).data
    readers: dict[str, Callable[..., np.ndarray]] = {
        "memmap": lambda region: np.array(np.memmap(path, "<i2", "r", offset, shape)[region]),
        "chunkimg": lambda region: image[region].values,
        "chunkimg without Dask": lambda region: direct[region].values,
        "chunkimg, lazy array": lambda region: array[region],
    }
    try:
        import SimpleITK as sitk

        readers["SimpleITK"] = lambda region: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[region].copy()
    except ImportError:
        pass
    try:
        import nrrd

        readers["pynrrd"] = lambda region: nrrd.read(str(path), index_order="C")[0][region].copy()
    except ImportError:
        pass
    return readers


def main() -> None:
    """Print medians and ratios to memmap."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ct.nrrd")
        write_nifti(Path(folder, "ct.nii"), options.mib)
        ci.convert(Path(folder, "ct.nii"), path)
        shape = (options.mib * 2, 512, 512)
        offset = path.stat().st_size - 2 * int(np.prod(shape))
        readers = _readers(path, shape, offset)
        for name, region in REGIONS.items():
            expected = readers["memmap"](region)
            times: dict[str, list[float]] = {reader: [] for reader in readers}
            for _ in range(options.repeat):
                for reader, read in readers.items():
                    seconds, out = _timed(lambda read=read, region=region: read(region))  # type: ignore[misc]
                    assert np.array_equal(out, expected), (reader, name)
                    times[reader].append(seconds)
            middle = {reader: statistics.median(seconds) for reader, seconds in times.items()}
            cells = [f"{r} {t * 1e3:.1f} ms ({t / middle['memmap']:.1f}x)" for r, t in middle.items()]
            print(f"{name}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
