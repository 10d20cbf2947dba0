"""The part of the table of workloads that is about work on images: points, smoothing, patches, larger voxels."""

from __future__ import annotations

from . import verify, verify_images
from .contenders.patches import OVERLAP, SIZE
from .suite import Contender, Workload
from .workloads_regions import DIRECT, TS

SITK, SCIPY, DASK = ("SimpleITK",), ("scipy",), ("dask_image", "scipy")
FAST = {"": "≥ 1.5", DIRECT: "≥ 1.5"}
FWHM, SPACING = 4, 2


def _points(name: str, method: str) -> Workload:
    return Workload(
        name,
        f"a million points of a Zarr store, {method}",
        (
            Contender("chunkimg", "points.ours", "ours"),
            Contender(DIRECT, "points.ours_direct", "ours"),
            Contender("decode alone", "points.decode", "limit", TS, check=verify.anything),
            Contender("scipy + tensorstore", "points.scipy", holds=1.2, needs=(*SCIPY, *TS), target=FAST),
            Contender("dask-image map_coordinates", "points.dask_image", needs=DASK, target=FAST),
            Contender("xr.open_zarr, vindex", "points.xarray_vindex", target=FAST),
            Contender("xr.open_zarr, interp", "points.xarray_interp", holds=12, needs=SCIPY, target=FAST),
        ),
        ("{ct_zarr}", "{points}", "{dest}", method),
        verify_images.sampled(method),
        ".npy",
    )


#: what approximates, and borders of its own
NEARLY = verify_images.smoothed(FWHM, 12, verify_images.INNER, 40)

IMAGES = (
    _points("W11", "linear"),
    _points("W11l", "nearest"),
    Workload(
        "W12",
        f"Zarr → Zarr, smoothed by {FWHM} mm (FWHM), float32",
        (
            Contender("chunkimg", "smooth.ours", "ours"),
            Contender(DIRECT, "smooth.ours_direct", "ours"),
            Contender("scipy + tensorstore", "smooth.scipy", holds=6, needs=(*SCIPY, *TS), target=FAST),
            Contender("dask-image", "smooth.dask_image", needs=DASK, target=FAST),
            Contender("dask map_overlap + scipy", "smooth.dask_overlap", needs=SCIPY, target=FAST),
            Contender(
                "SimpleITK recursive + tensorstore",
                "smooth.simpleitk_zarr",
                holds=7,
                needs=(*SITK, *TS),
                target=FAST,
                check=NEARLY,
            ),
            Contender(
                "SimpleITK discrete + tensorstore",
                "smooth.simpleitk_zarr_discrete",
                holds=7,
                needs=(*SITK, *TS),
                target=FAST,
                check=NEARLY,
            ),
        ),
        ("{ct_zarr}", "{dest}", str(FWHM)),
        verify_images.smoothed(FWHM),
        ".zarr",
    ),
    Workload(
        "W12n",
        f".nii → .nii, smoothed by {FWHM} mm (FWHM), float32",
        (
            Contender("chunkimg", "smooth.ours", "ours"),
            Contender(DIRECT, "smooth.ours_direct", "ours"),
            Contender("scipy + nibabel", "smooth.scipy_nifti", holds=6, needs=SCIPY, target=FAST),
            Contender(
                "nilearn",
                "smooth.nilearn",
                holds=10,
                needs=("nilearn",),
                target=FAST,
                # it keeps the type, with a scaling
                check=verify_images.smoothed(FWHM, 0.05),
            ),
            Contender("SimpleITK recursive", "smooth.simpleitk", holds=7, needs=SITK, target=FAST, check=NEARLY),
        ),
        ("{ct}", "{dest}", str(FWHM)),
        verify_images.smoothed(FWHM),
        ".nii",
    ),
    Workload(
        "W13",
        f"Zarr → Zarr through a function of patches of {SIZE}³ that share {OVERLAP}, weighted, float32",
        (
            Contender("chunkimg", "patches.ours", "ours"),
            Contender(DIRECT, "patches.ours_direct", "ours"),
            Contender("by hand in memory, tensorstore", "patches.in_memory", holds=7, needs=TS, target=FAST),
            Contender(
                "dask map_overlap, not weighted",
                "patches.dask_overlap",
                target=FAST,
                check=verify_images.overlapped(SIZE - OVERLAP, OVERLAP // 2),
            ),
        ),
        ("{ct_zarr}", "{dest}"),
        verify_images.patched(SIZE, OVERLAP),
        ".zarr",
    ),
    Workload(
        "W6a",
        f"Zarr → Zarr at {SPACING} mm, without aliasing, linear",
        (
            Contender("chunkimg", "resample.ours_coarse", "ours"),
            Contender(DIRECT, "resample.ours_coarse_direct", "ours"),
            Contender(
                "chunkimg resample",
                ("-m", "chunkimg", "resample"),
                "ours",
                arguments=("{ct_zarr}", "{dest}", "--spacing", *[str(SPACING)] * 3, "--antialias"),
            ),
            Contender("scipy + tensorstore", "resample.scipy_coarse", holds=6, needs=(*SCIPY, *TS), target=FAST),
            Contender("dask-image", "resample.dask_coarse", needs=DASK, target=FAST),
            Contender(
                "SimpleITK recursive + tensorstore",
                "resample.simpleitk_coarse",
                holds=7,
                needs=(*SITK, *TS),
                target=FAST,
                check=verify_images.coarsened(SPACING, 12, verify_images.INNER, 20),
            ),
        ),
        ("{ct_zarr}", "{dest}", str(SPACING)),
        verify_images.coarsened(SPACING),
        ".zarr",
    ),
)
