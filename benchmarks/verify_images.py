"""Whether values at points, smoothed, patched and coarser images are right: compared with scipy's, or with NumPy's."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .data import Data, affine, coarse, to_index, voxels
from .verify import Check, Wrong, largest

#: planes that are compared, as parts of all
PLANES = (0.0, 0.3, 0.55, 1.0)
#: those between are far from the ends, of which filters that approximate have their own opinion
INNER = (0.3, 0.55)

Plane = tuple[int, np.ndarray]


def sampled(method: str) -> Check:
    """The output holds the values at all points."""

    def check(data: Data, output: Path, printed: str) -> None:
        found, expected = np.load(output), _at_points(data["ct"], data["points"], method)
        if found.shape != expected.shape:
            raise Wrong(f"{found.shape} values, expected {expected.shape}")
        apart = np.abs(found - expected)
        if not apart.max() <= 1e-6:
            raise Wrong(f"{np.count_nonzero(apart > 1e-6)} values differ, by up to {apart.max():.4g}")

    return check


@functools.lru_cache
def _at_points(path: str, points: str, method: str) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    back = to_index()
    at = (np.load(points) @ back[:3, :3].T + back[:3, 3]).T[::-1]
    return map_coordinates(voxels(path), at, "f8", int(method == "linear"), "nearest", prefilter=False)


def smoothed(fwhm: float, within: float = 0.01, places: tuple[float, ...] = PLANES, border: int = 0) -> Check:
    """The output is the image, smoothed; some planes, compared where `border` voxels are around."""

    def check(data: Data, output: Path, printed: str) -> None:
        _compare(data, output, functools.partial(_smooth_planes, data["ct"], fwhm, places), "f4", within, border)

    return check


def coarsened(spacing: float, within: float = 0.51, places: tuple[float, ...] = PLANES, border: int = 0) -> Check:
    """The output is the image with larger voxels, smoothed before."""

    def check(data: Data, output: Path, printed: str) -> None:
        _compare(data, output, functools.partial(_coarse_planes, data["ct"], spacing, places), "i2", within, border)

    return check


def patched(size: int, overlap: int) -> Check:
    """The output is put together from patches less their means, weighted."""

    def check(data: Data, output: Path, printed: str) -> None:
        _compare(data, output, functools.partial(_patched_planes, data["ct"], size, overlap), "f4", 0.01)

    return check


def overlapped(step: int, halo: int) -> Check:
    """The output is made of blocks less the means of them with their halo."""

    def check(data: Data, output: Path, printed: str) -> None:
        _compare(data, output, functools.partial(_overlapped_planes, data["ct"], step, halo), "f4", 0.01)

    return check


def _compare(
    data: Data,
    output: Path,
    planes: Callable[[], tuple[tuple[int, ...], list[Plane]]],
    kind: str,
    within: float,
    border: int = 0,
) -> None:
    import nibabel as nib

    values = largest(output) if output.is_dir() else np.asanyarray(nib.load(output).dataobj).T
    shape, expected = planes()
    if tuple(values.shape) != shape or values.dtype.kind != np.dtype(kind).kind:
        raise Wrong(f"{values.dtype} of shape {values.shape}, expected {kind} of {shape}")
    inner = slice(border, -border or None)
    for z, plane in expected:
        apart = np.abs(np.asarray(values[z], np.float64) - plane)[inner, inner]
        if not apart.max() <= within:
            raise Wrong(f"plane {z} differs by up to {apart.max():.4g}")


def _at(n: int, places: tuple[float, ...]) -> list[int]:
    return [round(p * (n - 1)) for p in places]


def _smoothed_part(path: str, sigma: np.ndarray, low: int, high: int) -> np.ndarray:
    """Planes low to high of the image, smoothed along z, y, x; in float64."""
    from scipy.ndimage import gaussian_filter

    source, reach = voxels(path), int(4 * sigma[0] + 0.5)
    first, stop = max(0, low - 2 * reach), min(len(source), high + 2 * reach)
    # planes that are cut off are further away than the filter reaches
    return gaussian_filter(source[first:stop], sigma, output="f8")[low - first : high - first]


@functools.lru_cache
def _smooth_planes(path: str, fwhm: float, places: tuple[float, ...]) -> tuple[tuple[int, ...], list[Plane]]:
    source, spacing = voxels(path), np.linalg.norm(affine()[:3, :3], axis=0)[::-1]
    sigma = fwhm / np.sqrt(8 * np.log(2)) / spacing
    return source.shape, [(z, _smoothed_part(path, sigma, z, z + 1)[0]) for z in _at(len(source), places)]


@functools.lru_cache
def _coarse_planes(path: str, spacing: float, places: tuple[float, ...]) -> tuple[tuple[int, ...], list[Plane]]:
    from scipy.ndimage import map_coordinates

    depth = len(voxels(path))
    shape, first, step = (line[::-1] for line in coarse(depth, spacing))
    sigma = np.sqrt(np.maximum(np.square(step) - 1, 0) / (8 * np.log(2)))
    out = []
    for k in _at(shape[0], places):
        z, y, x = (
            f + s * np.arange(*r) for f, s, r in zip(first, step, ((k, k + 1), shape[1:2], shape[2:]), strict=True)
        )
        low = max(0, int(z[0]))
        part = _smoothed_part(path, sigma, low, min(depth, low + 2))
        at = np.meshgrid(z - low, y, x, indexing="ij")
        out.append((k, map_coordinates(part, at, order=1, mode="nearest")[0]))
    return shape, out


def _starts(n: int, size: int, overlap: int) -> list[int]:
    return [*range(0, n - size, size - overlap), n - size]


@functools.lru_cache
def _patched_planes(path: str, size: int, overlap: int) -> tuple[tuple[int, ...], list[Plane]]:
    source = voxels(path)
    sizes = [min(size, n) for n in source.shape]
    wz, wy, wx = (np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2 for n in sizes)
    starts = [_starts(n, s, overlap) for n, s in zip(source.shape, sizes, strict=True)]
    out = []
    for plane in _at(len(source), PLANES):
        total, weights = np.zeros((2, *source.shape[1:]))
        for z, y, x in itertools.product(*starts):
            if z <= plane < z + sizes[0]:
                there = slice(y, y + sizes[1]), slice(x, x + sizes[2])
                mean = source[z : z + sizes[0], *there].mean()
                window = wz[plane - z] * wy[:, None] * wx
                total[there] += window * (source[plane][there] - mean)
                weights[there] += window
        out.append((plane, total / weights))
    return source.shape, out


@functools.lru_cache
def _overlapped_planes(path: str, step: int, halo: int) -> tuple[tuple[int, ...], list[Plane]]:
    source = voxels(path)
    out = []
    for plane in _at(len(source), PLANES):
        made = np.empty(source.shape[1:])
        z = plane // step * step
        for y, x in itertools.product(*(range(0, n, step) for n in made.shape)):
            box = tuple(slice(max(0, k - halo), k + step + halo) for k in (z, y, x))
            there = slice(y, y + step), slice(x, x + step)
            made[there] = source[plane][there] - source[box].mean()
        out.append((plane, made))
    return source.shape, out
