"""The part of the table of workloads that is about resampling."""

from __future__ import annotations

from . import verify
from .suite import Contender, Workload
from .workloads_regions import TS

SITK, SCIPY, DASK = ("SimpleITK",), ("scipy",), ("dask_image",)
COMMAND = "chunkimg resample"
KERNEL = "chunkimg, kernel alone"
FAST = {"": "≥ 1.5", COMMAND: "≥ 1.5"}


def _ours(source: str, method: str) -> tuple[Contender, ...]:
    command = ("-m", "chunkimg", "resample")
    given = (source, "{dest}", "--like", "{turned}", "--method", method)
    return Contender("chunkimg", "resample.ours", "ours"), Contender(COMMAND, command, "ours", arguments=given)


def _stores(name: str, method: str) -> Workload:
    both, raw = (*SITK, *TS), ("{ct}", "{dest}", method)
    slow = {"": "≥ 5", COMMAND: "≥ 5"}
    return Workload(
        name,
        f"Zarr → Zarr at 1 mm, turned by 20°, {method}",
        (
            *_ours("{ct_zarr}", method),
            Contender("SimpleITK + tensorstore", "resample.simpleitk_zarr", holds=2.5, needs=both, target=FAST),
            Contender("dask-image", "resample.dask_image", needs=DASK, target=FAST),
            Contender("scipy + tensorstore", "resample.scipy", holds=2.5, needs=(*SCIPY, *TS)),
            Contender("nibabel", "resample.nibabel", needs=SCIPY, arguments=raw, suffix=".nii", target=slow, holds=10),
        ),
        ("{ct_zarr}", "{dest}", method),
        verify.resampled(method),
        ".zarr",
    )


def _files(name: str, method: str) -> Workload:
    return Workload(
        name,
        f".nii → .nii at 1 mm, turned by 20°, {method}",
        (
            *_ours("{ct}", method),
            Contender("SimpleITK", "resample.simpleitk", holds=2.5, needs=SITK, target=FAST),
            _kernel(KERNEL, "ours", method),
            _kernel("SimpleITK, kernel alone", "simpleitk", method),
        ),
        ("{ct}", "{dest}", method),
        verify.resampled(method),
        ".nii",
    )


def _kernel(name: str, who: str, method: str) -> Contender:
    """From memory to memory; the time that the function tells."""
    ours = who == "ours"
    return Contender(
        name,
        f"resample.{who}_kernel",
        "ours" if ours else "peer",
        needs=() if ours else SITK,
        target={} if ours else {KERNEL: "≥ 1.5"},
        arguments=("{ct}", method),
        check=verify.anything,
        component=True,
        holds=2,
    )


RESAMPLING = (
    _stores("W6", "linear"),
    _stores("W6l", "nearest"),
    _files("W6n", "linear"),
    _files("W6nl", "nearest"),
)
