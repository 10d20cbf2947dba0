"""Contenders that take turns in one process: ``python -m benchmarks.warm SPEC``, started by the suite.

The spec is JSON: path, contenders (functions of ``contenders.warm``), regions, rounds, the source and what to compare.
Every region is compared with the source's; times are printed as JSON, by region and contender.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .data import voxels
from .verify import Wrong

Region = tuple[slice, slice, slice]


def _block(rng: np.random.Generator, shape: tuple[int, ...]) -> Region:
    sizes = [min(64, n) for n in shape]
    starts = [int(rng.integers(n - s + 1)) for n, s in zip(shape, sizes, strict=True)]
    # in the later half: what reads front to back has a way to go
    starts[0] = max(starts[0], min(shape[0] // 2 + starts[0] // 2, shape[0] - sizes[0]))
    z, y, x = (slice(a, a + s) for a, s in zip(starts, sizes, strict=True))
    return z, y, x


def _plane(axis: int) -> Callable[[np.random.Generator, tuple[int, ...]], Region]:
    def region(rng: np.random.Generator, shape: tuple[int, ...]) -> Region:
        at = int(rng.integers(shape[axis]))
        z, y, x = (slice(at, at + 1) if k == axis else slice(0, n) for k, n in enumerate(shape))
        return z, y, x

    return region


#: by name, where in the image; another place in each round
REGIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Region]] = {
    "64³": _block,
    "plane z": _plane(0),
    "plane y": _plane(1),
    "plane x": _plane(2),
}


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Times by region and contender, and why contenders failed; those take no further turns."""
    truth = voxels(spec["truth"])
    module = importlib.import_module("benchmarks.contenders.warm")
    failed: dict[str, str] = {}
    readers = {}
    for name, function in spec["contenders"].items():
        try:
            readers[name] = getattr(module, function)(spec["path"])
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    rng = np.random.default_rng(7)
    times: dict[str, dict[str, list[float]]] = {}
    for where in spec["regions"]:
        times[where] = {name: [] for name in readers}
        # a first turn warms up
        for turn in range(spec["rounds"] + 1):
            region = REGIONS[where](rng, truth.shape)
            expected = np.array(truth[region])
            for name in [n for n in readers if n not in failed]:
                try:
                    seconds = _timed(readers[name], region, expected)
                except Exception as error:
                    failed[name] = f"{where} at {region}: {type(error).__name__}: {error}"
                    continue
                if turn:
                    times[where][name].append(seconds)
    return {"times": times, "failed": failed}


def _timed(read: Callable[[Region], np.ndarray], region: Region, expected: np.ndarray) -> float:
    start = time.perf_counter()
    found = read(region)
    seconds = time.perf_counter() - start
    if not np.array_equal(found, expected):
        raise Wrong("differs from the source")
    return seconds


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
