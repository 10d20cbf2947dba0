"""Whether what a contender wrote is right: read back by others than chunkimg, and compared with the source."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .data import Data, affine, turned, voxels

#: planes compared at a time
SLAB = 32


class Wrong(RuntimeError):
    """An output that is not what it has to be."""


@dataclass(frozen=True)
class Truth:
    """Voxels as they have to be: shape z, y, x, and planes by range."""

    shape: tuple[int, ...]
    planes: Callable[[int, int], np.ndarray]


#: (data, output, what was printed)
Check = Callable[[Data, Path, str], None]


def ct(data: Data) -> Truth:
    source = voxels(data["ct"])
    return Truth(source.shape, lambda a, b: source[a:b])


def box(data: Data) -> Truth:
    part = np.array(voxels(data["ct"])[data.box])
    return Truth(part.shape, lambda a, b: part[a:b])


def difference(data: Data) -> Truth:
    a, b = voxels(data["ct"]), voxels(data["b"])
    return Truth(a.shape, lambda lo, hi: a[lo:hi] - b[lo:hi])


def voxels_of(truth: Callable[[Data], Truth]) -> Check:
    """The output holds these voxels, in whatever format."""

    def check(data: Data, output: Path, printed: str) -> None:
        expected = truth(data)
        at = 0
        for found in _slabs(output, expected):
            if not np.array_equal(found, expected.planes(at, at + len(found))):
                raise Wrong(f"voxels of planes {at} to {at + len(found)} differ from the source")
            at += len(found)
        if at != expected.shape[0]:
            raise Wrong(f"{at} planes, expected {expected.shape[0]}")

    return check


def _slabs(output: Path, expected: Truth) -> Iterator[np.ndarray]:
    if output.is_dir():
        return _zarr_slabs(largest(output), expected.shape)
    return _file_slabs(output, expected.shape)


def arrays(store: Path) -> list[Any]:
    """Arrays of a store that can be levels of an image, largest first; by zarr-python."""
    import zarr

    root = zarr.open(store, mode="r")
    found = [root] if isinstance(root, zarr.Array) else list(_arrays(root))
    images = [a for a in found if sum(n > 1 for n in a.shape) >= 3]
    return sorted(images, key=lambda a: -math.prod(a.shape))


def _arrays(group: Any) -> Iterator[Any]:
    yield from (a for _, a in group.arrays())
    for _, inner in group.groups():
        yield from _arrays(inner)


def largest(store: Path) -> Any:
    found = arrays(store)
    if not found:
        raise Wrong("there is no image in it")
    return found[0]


def _zarr_slabs(array: Any, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Planes z of an array with axes of length 1, and spatial ones in whichever direction they are stored."""
    long = [k for k, n in enumerate(array.shape) if n > 1]
    sizes = tuple(array.shape[k] for k in long)
    if sizes not in (shape, shape[::-1]):
        raise Wrong(f"shape {array.shape}, expected {shape}")
    backwards = sizes != shape
    axis = long[-1] if backwards else long[0]
    depth = (array.shards or array.chunks)[axis]
    for at in range(0, shape[0], max(depth, SLAB)):
        key: list[Any] = [slice(None) if k in long else 0 for k in range(array.ndim)]
        key[axis] = slice(at, at + max(depth, SLAB))
        found = array[tuple(key)]
        yield found.T if backwards else found


def _file_slabs(output: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    with gzip.open(output) if output.suffix == ".gz" else output.open("rb") as f:
        found, dtype = (_nrrd_header if output.suffix == ".nrrd" else _nifti_header)(f)
        if found != shape:
            raise Wrong(f"shape {found}, expected {shape}")
        plane = math.prod(shape[1:]) * dtype.itemsize
        for at in range(0, shape[0], SLAB):
            raw = f.read(min(SLAB, shape[0] - at) * plane)
            yield np.frombuffer(raw, dtype).reshape(-1, *shape[1:])


def _nifti_header(f: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    import nibabel as nib

    head = f.read(352)
    if head[:4] != (348).to_bytes(4, "little"):
        raise Wrong("no NIfTI-1 header")
    header = nib.Nifti1Header(head[:348])
    slope = float(header["scl_slope"])
    if not (np.isnan(slope) or slope in (0, 1)):
        raise Wrong(f"values are scaled by {slope}")
    f.read(int(header["vox_offset"]) - 352)
    return header.get_data_shape()[::-1], header.get_data_dtype()


def _nrrd_header(f: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    fields: dict[str, str] = {}
    while line := f.readline().strip():
        name, _, value = line.decode().partition(": ")
        fields[name] = value
    if fields["encoding"] != "raw" or fields["endian"] != "little":
        raise Wrong(f"encoding {fields['encoding']}, {fields['endian']} endian")
    types = {"short": "<i2", "int16": "<i2", "signed short": "<i2", "int": "<i4", "int32": "<i4"}
    return tuple(map(int, fields["sizes"].split()))[::-1], np.dtype(types[fields["type"]])


def pyramid(data: Data, output: Path, printed: str) -> None:
    """Level 0 holds the voxels; further levels get smaller."""
    voxels_of(ct)(data, output, printed)
    if len(arrays(output)) < 2:
        raise Wrong("there are no coarser levels")


def mean_pyramid(data: Data, output: Path, printed: str) -> None:
    """Level 0 holds the voxels; each further level the mean of the one before, to within rounding."""
    pyramid(data, output, printed)
    levels = arrays(output)
    for fine, coarse in itertools.pairwise(levels):
        factors = [round(a / b) for a, b in zip(fine.shape, coarse.shape, strict=True)]
        for at in range(0, coarse.shape[0], SLAB):
            source = fine[at * factors[0] : (at + SLAB) * factors[0]]
            # windows that are whole
            whole = [n // f for n, f in zip(source.shape, factors, strict=True)]
            z, y, x = (n * f for n, f in zip(whole, factors, strict=True))
            parts = source[:z, :y, :x].reshape([k for pair in zip(whole, factors, strict=True) for k in pair])
            found = coarse[at : at + SLAB][tuple(map(slice, whole))]
            if np.abs(parts.mean((1, 3, 5), dtype="f4") - found).max(initial=0) > 0.51:
                raise Wrong(f"{coarse.path} is not the mean of {fine.path} at planes {at} to {at + SLAB}")


def region_bytes(data: Data, output: Path, printed: str) -> None:
    """The output is the region, plain bytes."""
    if output.read_bytes() != np.array(voxels(data["ct"])[data.box]).tobytes():
        raise Wrong("the region differs from the source")


def printed_sum(store: str) -> Check:
    """What was printed is the sum of the voxels."""

    def check(data: Data, output: Path, printed: str) -> None:
        meta = json.loads(Path(data[store], "image", "zarr.json").read_text())
        expected, found = meta["attributes"]["sum"], json.loads(printed)["sum"]
        if found != expected:
            raise Wrong(f"sum {found}, expected {expected}")

    return check


def anything(data: Data, output: Path, printed: str) -> None:
    """Nothing comes out that could be wrong."""


@functools.lru_cache
def counts(path: str) -> np.ndarray:
    """How often each value of int16 occurs, from -32768 on; counted once."""
    source = voxels(path)
    total = np.zeros(65536, "i8")
    for at in range(0, len(source), SLAB):
        total += np.bincount(source[at : at + SLAB].ravel().astype("i4") + 32768, minlength=65536)
    return total


def statistics(data: Data, output: Path, printed: str) -> None:
    """Moments, percentiles and histogram that were printed are right; of the latter two, those that there are."""
    found = json.loads(printed)
    number = counts(data["ct"])
    values = np.flatnonzero(number) - 32768
    times = number[number > 0]
    n, mean = times.sum(), float((values * times).sum() / times.sum())
    expected = {
        "min": values[0],
        "max": values[-1],
        "mean": mean,
        "std": math.sqrt(float(((values - mean) ** 2 * times).sum() / n)),
    }
    cumulated = np.cumsum(times)
    for name in found.get("percentiles", {}):
        rank = int(name) / 100 * (n - 1)
        low, high = values[np.searchsorted(cumulated, [math.floor(rank), math.ceil(rank)], "right")]
        expected[name] = low + (high - low) * (rank % 1)
    for name, value in expected.items():
        said = found.get("percentiles", {}).get(name, found.get(name))
        if not math.isclose(said, value, rel_tol=1e-6):
            raise Wrong(f"{name} is {said}, expected {value}")
    histogram = found.get("histogram", [])
    histogram = histogram["counts"] if isinstance(histogram, dict) else histogram
    bins, _ = np.histogram(values, max(1, len(histogram)), (values[0], values[-1]), weights=times)
    if histogram and histogram != bins.tolist():
        raise Wrong("the histogram differs")


def label_counts(data: Data, output: Path, printed: str) -> None:
    """What was printed is how often each label occurs."""
    number = counts(data["labels"])
    expected = {str(int(k) - 32768): int(number[k]) for k in np.flatnonzero(number)}
    said = json.loads(printed)
    found = said["labels"] if "labels" in said else said["counts"]
    if found != expected:
        raise Wrong(f"counts of {len(found)} labels differ from those of {len(expected)}")


@functools.cache
def _label_truth(labels: str, image: str) -> dict[str, np.ndarray]:
    """Of each label by NumPy, plane by plane."""
    names, values = voxels(labels, "<i4"), voxels(image)
    size = int(names.max()) + 1
    sums = {key: np.zeros(size) for key in ("voxels", "x", "y", "z", "sum", "squares")}
    low, high = np.full(size, 32767, np.int16), np.full(size, -32768, np.int16)
    y, x = (np.asarray(v, np.float64).reshape(-1) for v in np.mgrid[: names.shape[1], : names.shape[2]])
    for z, (plane, shown) in enumerate(zip(names, values, strict=True)):
        flat, each = plane.reshape(-1), shown.reshape(-1).astype(np.float64)
        for key, weights in (("voxels", None), ("x", x), ("y", y), ("sum", each), ("squares", each**2)):
            sums[key] += np.bincount(flat, weights, size)
        sums["z"] += z * np.bincount(flat, minlength=size)
        np.minimum.at(low, flat, shown.reshape(-1))
        np.maximum.at(high, flat, shown.reshape(-1))
    there = np.flatnonzero(sums["voxels"])
    there = there[there != 0]
    n = sums["voxels"][there]
    mean = sums["sum"][there] / n
    centroid = np.stack([sums[d][there] / n for d in "xyz"], -1)
    std = np.sqrt(np.maximum(sums["squares"][there] / n - mean**2, 0))
    return {
        "label": there,
        "voxels": n,
        "centroid": centroid,
        "mean": mean,
        "std": std,
        "min": low[there],
        "max": high[there],
        "sum": sums["sum"][there],
    }


def label_statistics(labels: str) -> Check:
    """What was saved, or printed, of each label is right."""

    def check(data: Data, output: Path, printed: str) -> None:
        if output.exists():
            with np.load(output) as found:
                said = dict(found)
        else:
            rows = json.loads(printed)["labels"]
            said = {key: np.array([row[key] for row in rows]) for key in rows[0]}
            said["centroid"] = said["centroid_index"]
        for key, expected in _label_truth(data[labels], data["ct"]).items():
            found = said[key]
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-6, atol=1e-4):
                raise Wrong(f"{key} of labels differs: {found[:3]} ..., expected {expected[:3]} ...")

    return check


def label_pyramid(data: Data, output: Path, printed: str) -> None:
    """Level 0 holds the labels; further levels get smaller and hold no other label, each a most frequent one."""
    source = voxels(data["labels"])
    levels = arrays(output)
    if len(levels) < 2:
        raise Wrong("there are no coarser levels")
    before = np.squeeze(levels[0][...])
    if not np.array_equal(before, source):
        raise Wrong("voxels differ from the source")
    for array in levels[1:]:
        level = np.squeeze(array[...])
        factors = [round(a / b) for a, b in zip(before.shape, level.shape, strict=True)]
        parts = [
            before[tuple(slice(k, n * f, f) for k, f, n in at)]
            for at in (
                list(zip(corner, factors, level.shape, strict=True))
                for corner in itertools.product(*(range(f) for f in factors))
            )
        ]
        votes = [np.sum([p == part for p in parts], axis=0, dtype=np.uint8) for part in parts]
        if not np.array_equal(np.sum([level == p for p in parts], axis=0, dtype=np.uint8), np.max(votes, axis=0)):
            raise Wrong(f"level of shape {level.shape} is not the mode of the one before")
        before = level


@functools.lru_cache
def _expected(path: str, method: str) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Some planes as scipy has them, and where that is certain: not at the border, nor halfway between voxels."""
    from scipy.ndimage import map_coordinates

    source = voxels(path)
    shape, matrix = turned(len(source))
    to_index = np.linalg.inv(affine()) @ matrix
    out = []
    for z in np.linspace(0, shape[2] - 1, 5)[1:-1].astype(int).tolist():
        y, x = np.indices(shape[1::-1])
        at = np.einsum("ij,jyx->iyx", to_index[:3], np.stack([x, y, np.full_like(x, z), np.ones_like(x)]))[::-1]
        sure = np.all([(a > 0.01) & (a < n - 1.01) for a, n in zip(at, source.shape, strict=True)], axis=0)
        if method == "nearest":
            sure &= np.all(np.abs(at - np.floor(at) - 0.5) > 1e-4, axis=0)
        low = max(0, int(at[0].min()) - 2)
        part = np.array(source[low : max(low, int(at[0].max())) + 3])
        at[0] -= low
        wide = part.astype("f4") if method == "linear" else part
        out.append((z, map_coordinates(wide, at, order=int(method == "linear"), mode="nearest"), sure))
    return out


def resampled(method: str) -> Check:
    """The output is the image on the turned grid; integers may be rounded or cut off."""

    def check(data: Data, output: Path, printed: str) -> None:
        import nibabel as nib

        shape, _ = turned(data.depth)
        values = largest(output) if output.is_dir() else np.asarray(nib.load(output).dataobj).T
        if tuple(values.shape) != shape[::-1]:
            raise Wrong(f"shape {values.shape}, expected {shape[::-1]}")
        for z, plane, sure in _expected(data["ct"], method):
            if not sure.any():
                raise Wrong(f"of plane {z} nothing is certain")
            apart = np.abs(values[z].astype("f8") - plane)[sure]
            wrong = np.mean(apart > (1.1 if method == "linear" else 0))
            if wrong > (0 if method == "linear" else 1e-4):
                raise Wrong(f"of plane {z} {100 * wrong:.3g} % differ, by up to {apart.max():.4g}")

    return check
