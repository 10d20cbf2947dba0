"""Subtract two big volumes, file to file, with flat memory.

    python examples/streaming_subtract.py A.nii.gz B.nii.gz difference.nii.gz

SimpleITK's tutorial on streaming does this region by region with readers and a writer set up by hand, for formats
whose ImageIO can stream; for ``.nii.gz`` each region decodes the whole file, and the region sizes are yours to find.
Here both images stay lazy, are checked to occupy the same space, and the result is written slab by slab: a few hundred
MiB, whatever the size. Run with ``--demo N`` to make two images of N MiB first and to see the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np

import chunkimg as ci


def subtract(a: str, b: str, out: str) -> None:
    """Write a - b."""
    first, second = ci.open_image(a), ci.open_image(b)
    # unsigned integers wrap round in NumPy (3 - 5 is 65534 in uint16): subtract in a signed type that holds the result
    difference = first.astype("int32") - second.astype("int32")
    difference.img.save(out, overwrite=True)


def demo(mib: int) -> None:
    """Make two images, subtract them, check a plane, and show the peak memory."""
    import dask.array as da

    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/{n}.nii" for n in "ab"]
        depth = mib * 2
        plane = np.arange(512 * 512, dtype="u2").reshape(512, 512) % 4096
        for k, name in enumerate(names):
            data = da.from_array(plane)[None] + da.arange(depth, chunks=64, dtype="u2")[:, None, None] * np.uint16(k)
            ci.from_array(data, spacing=(0.7, 0.7, 1.25), origin=(-179, -170, 20)).img.save(name)
        out = f"{folder}/difference.nii"
        subtract(*names, out)
        found = ci.open_image(out).isel(z=7)
        assert int(found.min()) == int(found.max()) == -7
        size = Path(out).stat().st_size / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"two images of {mib} MiB, difference {size:.0f} MiB (int32); peak resident memory {peak:.0f} MiB")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="A B OUT")
    parser.add_argument("--demo", type=int, metavar="MIB")
    options = parser.parse_args()
    if options.demo:
        demo(options.demo)
    elif len(options.files) == 3:
        subtract(*options.files)
    else:
        parser.error("give A B OUT, or --demo MIB")


if __name__ == "__main__":
    main()
