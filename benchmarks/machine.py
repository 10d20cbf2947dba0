"""What a result says of the machine and of what ran on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from .measure import ROOT

PACKAGES = (
    "chunkimg",
    "numpy",
    "xarray",
    "dask",
    "dask-image",
    "zarr",
    "numcodecs",
    "isal",
    "indexed-gzip",
    "nibabel",
    "tensorstore",
    "llvmlite",
    "numba",
    "zarrs",
    "scipy",
    "SimpleITK",
    "nilearn",
    "pynrrd",
    "ngff-zarr",
    "nifti-zarr",
    "ome-zarr",
    "zarrnii",
    "rapidgzip",
    "fastremap",
)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the working tree, where it is one."""
    try:
        return subprocess.check_output(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe() -> dict[str, object]:
    """Machine, versions, date and command."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "commit": _commit(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {p: v for p in PACKAGES if (v := _version(p)) is not None},
    }


def header(about: dict[str, object]) -> str:
    """The same for people."""
    versions = ", ".join(f"{p} {v}" for p, v in dict(about["versions"]).items())  # type: ignore[call-overload]
    return (
        f"{about['date']}, `{about['command']}`, commit {about['commit']}\n"
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}, "
        f"Python {about['python']}\n{versions}"
    )
