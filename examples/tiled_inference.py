"""Run a network over a volume larger than memory, patch by patch, into OME-Zarr.

    python examples/tiled_inference.py CT.nii.gz labels.ome.zarr scores.ome.zarr

The network is a stand-in of three lines; put yours in its place (for PyTorch: ``torch.from_numpy(patch)`` in,
``.cpu().numpy()`` out). Patches overlap; each goes through the network once for what is saved, and what later parts
still need of it waits, in a temporary file where it is much. The results lie where the scan lies. Run with ``--demo``
to make a small scan first.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import chunkimg as ci

CLASSES = ["air", "soft tissue", "bone"]


def network(patch: np.ndarray) -> np.ndarray:
    """Scores of each class for each voxel: axes (z, y, x) in, (c, z, y, x) out."""
    centres = np.array([-1000, 40, 900], "f4")
    return np.exp(-np.square((patch - centres[:, None, None, None]) / 300))


def classes(patch: np.ndarray) -> np.ndarray:
    """The most probable class of each voxel."""
    return network(patch).argmax(axis=0).astype("u1")


def segment(scan: str, labels: str, scores: str, size: tuple[int, int, int], overlap: int) -> None:
    """Write the most probable class of each voxel, and the scores of all classes."""
    ct = ci.open_image(scan).img.smooth(1.5)
    # labels are never blended: each voxel is from the patch whose centre is nearest
    found = ct.img.map_patches(classes, size, overlap, dtype="u1")
    found.img.as_label().img.save(labels, overwrite=True)
    # scores are, by weights that fall towards the border of a patch; here the network gives channels
    blended = ct.img.map_patches(network, size, overlap, weights="hann", channels=CLASSES)
    blended.img.save(scores, overwrite=True)


def demo(folder: Path) -> list[str]:
    """A scan of a ball of bone in tissue in air, oblique; and names for what is made of it."""
    z, y, x = np.ogrid[-1:1:40j, -1:1:150j, -1:1:120j]
    radius = np.sqrt(z**2 + y**2 + x**2)
    voxels = np.where(radius < 0.3, 900, np.where(radius < 0.8, 40, -1000))
    voxels = voxels + np.random.default_rng(0).normal(0, 30, voxels.shape)
    affine = [[0.9, -0.1, 0.1, -50], [0.1, 0.9, -0.2, -60], [-0.1, 0.2, 2.4, 100], [0, 0, 0, 1]]
    ci.from_array(voxels.astype("i2"), affine=affine).img.save(folder / "ct.nii.gz")
    return [str(folder / name) for name in ("ct.nii.gz", "labels.ome.zarr", "scores.ome.zarr")]


def show(scan: str, labels: str, scores: str) -> None:
    """What was found."""
    found = ci.open_image(labels)
    found.img.require_same_grid(ci.open_image(scan))
    for k, count in found.img.count_labels().as_dict().items():
        mean = float(ci.open_image(scores).isel(c=k).where(found == k).mean())
        print(f"{CLASSES[k]}: {count} voxels, mean score {mean:.2f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="SCAN LABELS SCORES")
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args()
    if options.demo:
        with tempfile.TemporaryDirectory() as folder:
            files = demo(Path(folder))
            segment(*files, size=(96, 96, 32), overlap=16)
            show(*files)
    elif len(options.files) == 3:
        segment(*options.files, size=(96, 96, 96), overlap=16)
        show(*options.files)
    else:
        parser.error("give SCAN LABELS SCORES, or --demo")


if __name__ == "__main__":
    main()
