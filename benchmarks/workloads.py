"""The table of workloads. A further contender is a function in ``contenders`` and a line here."""

from __future__ import annotations

from . import verify
from .suite import Contender, Workload
from .workloads_images import IMAGES
from .workloads_regions import DIRECT, REGIONS, TS
from .workloads_resample import RESAMPLING

CONVERT = ("-m", "chunkimg", "convert")
CT = verify.voxels_of(verify.ct)
DIFFERENCE = verify.voxels_of(verify.difference)
LIKE = ("{ct}", "{ct_zarr}", "{dest}")

STATS = "chunkimg stats, command line"
COUNT = ("-m", "chunkimg", "stats", "--json")
#: those of ours that count
EACH = ("", DIRECT, STATS)
NEAR = dict.fromkeys(EACH, "≤ 1.8")
SUM = "chunkimg, chunks=None, img.stats().sum"

#: what comes within 2 % of the size of SimpleITK's files, and what is nearest to it
FOUR = "chunkimg convert --gzip-level 4"
SMALL = "chunkimg convert --gzip-level 6"

CONVERSIONS = (
    Workload(
        "W1",
        ".nii → Zarr, defaults",
        (
            Contender("chunkimg convert", CONVERT, "ours"),
            Contender("by hand on tensorstore", "convert.tensorstore", "limit", TS, {"": "≤ 1.15"}, arguments=LIKE),
            Contender("by hand on zarr-python", "convert.zarr_python", "limit", arguments=LIKE),
            Contender("xarray + dask to_zarr", "convert.xarray_dask", holds=1.4, target={"": "≥ 4, output no smaller"}),
            Contender("nifti-zarr", "convert.nifti_zarr", holds=8.5, needs=("niizarr",), target={"": "≥ 10"}),
            Contender("zarrnii", "convert.zarrnii", holds=8.5, needs=("zarrnii",), target={"": "≥ 15"}),
            Contender("ngff-zarr API", "convert.ngff_zarr", needs=("ngff_zarr",)),
            Contender("ome-zarr-py", "convert.ome_zarr", needs=("ome_zarr",)),
        ),
        ("{ct}", "{dest}"),
        CT,
        ".ome.zarr",
    ),
    Workload(
        "W1p",
        ".nii → Zarr with all levels of a pyramid",
        (
            Contender(
                "chunkimg convert --pyramid",
                CONVERT,
                "ours",
                arguments=("{ct}", "{dest}", "--pyramid"),
                check=verify.mean_pyramid,
            ),
            Contender("chunkimg convert, one level", CONVERT, "limit", target={"": "≤ 1.5"}, check=CT),
            Contender(
                "ngff-zarr CLI",
                ("-m", "ngff_zarr.cli"),
                needs=("ngff_zarr", "itkwasm_image_io"),
                target={"": "≥ 8"},
                arguments=("-q", "-i", "{ct}", "-o", "{dest}"),
            ),
            Contender(
                "ngff-zarr dask_bin_shrink", "convert.ngff_zarr_shrink", needs=("ngff_zarr",), target={"": "≥ 1.8"}
            ),
            Contender(
                "ngff-zarr itkwasm_bin_shrink",
                "convert.ngff_zarr_itkwasm_shrink",
                needs=("ngff_zarr", "itkwasm_downsample"),
                target={"": "≥ 1.8"},
            ),
            Contender("ome-zarr-py", "convert.ome_zarr_pyramid", needs=("ome_zarr",)),
        ),
        ("{ct}", "{dest}"),
        verify.pyramid,
        ".ome.zarr",
    ),
    Workload(
        "W2",
        ".nii.gz (gzip level 6) → Zarr",
        (
            Contender("chunkimg convert", CONVERT, "ours"),
            Contender("chunkimg convert --no-index", CONVERT, "ours", arguments=("{ct_gz}", "{dest}", "--no-index")),
            Contender("nibabel + dask + xarray", "convert.xarray_dask", holds=1.4, target={"": "≥ 3"}),
            Contender(
                "start: a tiny image",
                CONVERT,
                "limit",
                arguments=("{tiny_gz}", "{dest}"),
                check=verify.anything,
            ),
            Contender(
                "decode alone, ISA-L",
                "convert.decode_isal",
                "limit",
                arguments=("{ct_gz}",),
                check=verify.anything,
                component=True,
            ),
            Contender(
                "encode alone, CPU time",
                "convert.encode_cpu",
                "limit",
                TS,
                arguments=("{ct}", "{ct_zarr}"),
                check=verify.anything,
                component=True,
            ),
        ),
        ("{ct_gz}", "{dest}"),
        CT,
        ".ome.zarr",
        derived=lambda took, cores: _gzip_limit(took, cores),
    ),
    Workload(
        "W3",
        "Zarr → .nii",
        (
            Contender("chunkimg convert", CONVERT, "ours"),
            Contender("by hand on tensorstore", "export.tensorstore", "limit", TS, {"": "≤ 1.3"}),
            Contender("decode alone", "export.decode", "limit", TS, arguments=("{ct_zarr}",), check=verify.anything),
            Contender("xarray + nibabel", "export.nibabel", holds=2.4, target={"": "≥ 3"}),
            Contender("SimpleITK", "export.simpleitk", holds=2.3, needs=("SimpleITK",)),
        ),
        ("{ct_zarr}", "{dest}"),
        CT,
        ".nii",
    ),
    Workload(
        "W3n",
        "Zarr → .nrrd, raw",
        (
            Contender("chunkimg convert", CONVERT, "ours"),
            Contender("by hand on tensorstore", "export.tensorstore", "limit", TS, {"": "≤ 1.3"}),
            Contender("xarray + pynrrd", "export.pynrrd", holds=2.4, needs=("nrrd",), target={"": "≥ 3"}),
            Contender("SimpleITK", "export.simpleitk", holds=2.3, needs=("SimpleITK",)),
        ),
        ("{ct_zarr}", "{dest}"),
        CT,
        ".nrrd",
    ),
    Workload(
        "W3z",
        "Zarr → .nii.gz",
        (
            Contender("chunkimg convert", CONVERT, "ours"),
            Contender(FOUR, CONVERT, "ours", arguments=("{ct_zarr}", "{dest}", "--gzip-level", "4")),
            Contender(SMALL, CONVERT, "ours", arguments=("{ct_zarr}", "{dest}", "--gzip-level", "6")),
            Contender("xarray + nibabel", "export.nibabel", holds=2.4, target={"": "≥ 5, file ≥ 0.98 of ours"}),
            Contender(
                "SimpleITK",
                "export.simpleitk_gz",
                holds=2.5,
                needs=("SimpleITK",),
                target={"": "", FOUR: "≥ 3.5", SMALL: "≥ 3.5 at its size"},
            ),
        ),
        ("{ct_zarr}", "{dest}"),
        CT,
        ".nii.gz",
    ),
    Workload(
        "W2i",
        "the index of a .nii.gz",
        (
            Contender(
                "chunkimg index", ("-m", "chunkimg", "index"), "ours", arguments=("{ct_gz}", "--output", "{dest}")
            ),
            Contender("decode alone, ISA-L", "convert.decode_isal", "limit"),
            Contender("decode alone, indexed_gzip", "convert.decode_indexed_gzip", "limit"),
        ),
        ("{ct_gz}",),
        suffix=".ci-index",
    ),
)

NIFTI = ("{ct}", "{b}", "{dest}")
JOBS = (
    Workload(
        "W5",
        "a − b, Zarr → Zarr (SimpleITK: .nii → .nii, it reads no Zarr)",
        (
            Contender("chunkimg", "subtract.ours", "ours"),
            Contender("by hand on tensorstore", "subtract.tensorstore", "limit", TS, {"": "≤ 1.2"}),
            Contender("xr.open_zarr", "subtract.dask_zarr", target={"": "≥ 1.7"}),
            Contender(
                "SimpleITK streaming_subtract, .nii",
                "subtract.simpleitk_streaming",
                holds=2.8,
                needs=("SimpleITK",),
                target={"": "≥ 3"},
                arguments=NIFTI,
                suffix=".nii",
            ),
        ),
        ("{ct_zarr}", "{b_zarr}", "{dest}"),
        DIFFERENCE,
        ".ome.zarr",
    ),
    Workload(
        "W5n",
        "a − b, .nii → .nii",
        (
            Contender("chunkimg", "subtract.ours", "ours"),
            Contender("by hand on memmap", "subtract.memmap", "limit", target={"": "≤ 1.2"}),
            Contender("dask over memmap", "subtract.dask_nifti", holds=2.2, target={"": "≥ 1.7"}),
            Contender("SimpleITK", "subtract.simpleitk", holds=3.2, needs=("SimpleITK",)),
            Contender(
                "SimpleITK streaming_subtract",
                "subtract.simpleitk_streaming",
                holds=2.8,
                needs=("SimpleITK",),
                target={"": "≥ 6"},
            ),
        ),
        NIFTI,
        DIFFERENCE,
        ".nii",
    ),
    Workload(
        "W8",
        "minimum, maximum, mean, deviation, histogram and exact quantiles of a Zarr store",
        (
            Contender("chunkimg", "stats.ours", "ours"),
            Contender(DIRECT, "stats.ours_direct", "ours"),
            Contender(STATS, (*COUNT, "--bins", "256"), "ours"),
            Contender(
                "decode alone", "export.decode", "limit", TS, dict.fromkeys(EACH, "≤ 1.8"), check=verify.anything
            ),
            Contender("dask", "stats.dask", target=dict.fromkeys(EACH, "≥ 3")),
            Contender("SimpleITK, no histogram", "stats.simpleitk", holds=2.3, needs=("SimpleITK",)),
        ),
        ("{ct_zarr}",),
        verify.statistics,
    ),
    Workload(
        "W8l",
        "how often each label occurs in a Zarr store",
        (
            Contender("chunkimg", "stats.ours_labels", "ours"),
            Contender(DIRECT, "stats.ours_labels_direct", "ours"),
            Contender(STATS, (*COUNT, "--labels"), "ours"),
            Contender(
                "decode alone", "export.decode", "limit", TS, dict.fromkeys(EACH, "≤ 1.8"), check=verify.anything
            ),
            Contender("np.unique", "stats.numpy_labels", holds=1.6, needs=TS, target=dict.fromkeys(EACH, "≥ 3")),
            Contender("dask", "stats.dask_labels", target=dict.fromkeys(EACH, "≥ 3")),
            Contender("fastremap", "stats.fastremap_labels", holds=1.2, needs=("fastremap", "tensorstore")),
        ),
        ("{labels_zarr}",),
        verify.label_counts,
    ),
    *(
        Workload(
            name,
            f"voxels, centroid and intensities of each of {count} labels, of two Zarr stores",
            (
                Contender("chunkimg", "labels.ours", "ours"),
                Contender(DIRECT, "labels.ours_direct", "ours"),
                Contender(
                    "decode alone",
                    "labels.decode",
                    "limit",
                    TS,
                    dict.fromkeys(("", DIRECT), "≤ 5"),
                    check=verify.anything,
                ),
                Contender(
                    "dask-image",
                    "labels.dask_image",
                    holds=holds,
                    needs=("dask_image",),
                    target=dict.fromkeys(("", DIRECT), "≥ 3"),
                ),
                Contender("SimpleITK", "labels.simpleitk", holds=4, needs=("SimpleITK", "tensorstore")),
                Contender("scipy.ndimage", "labels.scipy", holds=8, needs=("scipy", "tensorstore")),
            ),
            (f"{{{data}_zarr}}", "{ct_zarr}", "{dest}"),
            verify.label_statistics(data),
            ".npz",
        )
        # dask-image goes over the image once per label and number: it takes minutes for 64 labels in 8 MiB (--size 8)
        for name, count, data, holds in (("W10", 500, "cells500", 80), ("W10k", 100_000, "cells100k", 1e4))
    ),
    Workload(
        "W7l",
        ".nii of labels → Zarr with a pyramid of modes",
        (
            Contender(
                "chunkimg convert --pyramid",
                CONVERT,
                "ours",
                arguments=("{labels}", "{dest}", "--pyramid", "--downsample", "mode"),
            ),
            Contender("dask + scipy.stats.mode", "labels.dask_scipy_mode", needs=("scipy",), target={"": "≥ 5"}),
            Contender(
                "ngff-zarr dask_image_mode",
                "labels.ngff_zarr_mode",
                needs=("ngff_zarr", "dask_image"),
                target={"": "≥ 5"},
                # levels of its own
                check=verify.anything,
            ),
            Contender(
                "ngff-zarr itkwasm_label_image",
                "labels.ngff_zarr_label_image",
                needs=("ngff_zarr", "itkwasm_downsample"),
                target={"": "≥ 5"},
                check=verify.anything,
            ),
        ),
        ("{labels}", "{dest}"),
        verify.label_pyramid,
        ".ome.zarr",
    ),
    Workload(
        "W9",
        "sum over 10⁴ chunks of 16³ at 512 MiB; their number goes with --size",
        (
            Contender("chunkimg", "many.ours", "ours"),
            Contender(SUM, "many.ours_stats", "ours"),
            Contender("by hand on tensorstore", "many.tensorstore", "limit", TS, {"": "≤ 4", SUM: "≤ 4"}),
            Contender("xr.open_zarr", "many.xarray_dask", target={"": "≥ 4", SUM: "≥ 4"}),
        ),
        ("{many4}",),
        verify.printed_sum("many4"),
    ),
    Workload(
        "W9b",
        "sum over 10⁵ chunks of 16³ at 512 MiB; their number goes with --size",
        (
            Contender("chunkimg", "many.ours", "ours"),
            Contender(SUM, "many.ours_stats", "ours"),
            Contender("by hand on tensorstore", "many.tensorstore", "limit", TS, {"": "≤ 4", SUM: "≤ 4"}),
            Contender("xr.open_zarr", "many.xarray_dask", target={"": "≥ 12", SUM: "≥ 12"}),
        ),
        ("{many5}",),
        verify.printed_sum("many5"),
    ),
    Workload(
        "W9p",
        "opening and planning a sum over 10⁶ chunks at 512 MiB (target: < 2 s, < 300 MiB); nothing is read",
        (
            Contender("chunkimg", "many.plan_ours", "ours"),
            Contender("xr.open_zarr", "many.plan_xarray"),
        ),
        ("{many6}",),
    ),
)

WORKLOADS = (*CONVERSIONS, *REGIONS, *JOBS, *RESAMPLING, *IMAGES)


def _gzip_limit(took: dict[str, float], cores: int) -> list[tuple[str, float, str]]:
    """Decoding and encoding on all cores; and ours without its start."""
    limit = (took["decode alone, ISA-L"] + took["encode alone, CPU time"]) / cores
    ours = took["chunkimg convert"] - took["start: a tiny image"]
    return [
        ("(decode + encode) / cores", limit, f"ours, less its start, {ours / limit:.2f}× (≤ 1.25)"),
        ("ours, less its start", ours, ""),
    ]
