"""The part of the table of workloads that is about regions, in fresh processes and in warm ones."""

from __future__ import annotations

from . import verify
from .suite import Contender, Workload

TS = ("tensorstore",)
DIRECT = "chunkimg, chunks=None"
REGIONS = (
    Workload(
        "W4",
        "64³ voxels of a Zarr store of 64³ chunks, fresh process",
        (
            Contender("chunkimg", "region.ours", "ours"),
            Contender(DIRECT, "region.ours_direct", "ours"),
            Contender("tensorstore", "region.tensorstore", "limit", TS, {"": "inside ≤ 2", DIRECT: "inside ≤ 2"}),
            Contender("xr.open_zarr", "region.xarray_dask", target={"": "≥ 1.2", DIRECT: "≥ 1.8"}),
            Contender("xr.open_zarr, chunks=None", "region.xarray_direct", target={"": "", DIRECT: ""}),
        ),
        ("{ct_zarr64}", "{region}", "{dest}"),
        verify.region_bytes,
    ),
    Workload(
        "W4z",
        "64³ voxels of an indexed .nii.gz, fresh process",
        (
            Contender("chunkimg", "region.ours", "ours"),
            Contender(DIRECT, "region.ours_direct", "ours"),
            Contender("nibabel", "region.nibabel", target={"": "≥ 3", DIRECT: "≥ 3"}),
            Contender("indexed_gzip, no index kept", "region.indexed_gzip"),
        ),
        ("{indexed_gz}", "{region}", "{dest}"),
        verify.region_bytes,
    ),
    Workload(
        "W4o",
        "64³ voxels of a .nii.gz that chunkimg wrote, without an index, fresh process",
        (
            Contender("chunkimg", "region.ours", "ours"),
            Contender(DIRECT, "region.ours_direct", "ours"),
            Contender("nibabel", "region.nibabel", target={"": "", DIRECT: ""}),
        ),
        ("{own_gz}", "{region}", "{dest}"),
        verify.region_bytes,
    ),
    Workload(
        "W4c",
        "crop 64³ voxels of a Zarr store to .nii",
        (
            Contender(
                "chunkimg crop",
                ("-m", "chunkimg", "crop"),
                "ours",
                arguments=("{ct_zarr64}", "{dest}", "--z", "{z}", "--y", "{y}", "--x", "{x}"),
            ),
            Contender("xarray + dask + nibabel", "region.xarray_crop", target={"": "≥ 4"}),
        ),
        ("{ct_zarr64}", "{region}", "{dest}"),
        verify.voxels_of(verify.box),
        ".nii",
    ),
    Workload(
        "W4w",
        "regions of a Zarr store of 64³ chunks, warm",
        (
            Contender("chunkimg", "ours", "ours"),
            Contender(DIRECT, "ours_direct", "ours"),
            Contender("tensorstore", "tensorstore", "limit", TS, {"": "≤ 1.5 + 3 ms", DIRECT: "≤ 1.5 + 3 ms"}),
            Contender(
                "xr.open_zarr",
                "xarray_dask",
                target={"": "plane z: ≥ 3; plane y: ≥ 3; plane x: ≥ 3; 64³: ≥ 1.5", DIRECT: ""},
            ),
        ),
        ("{ct_zarr64}",),
        regions=("plane z", "plane y", "plane x", "64³"),
    ),
    Workload(
        "W4wz",
        "regions of an indexed .nii.gz, warm",
        (
            Contender("chunkimg", "ours", "ours"),
            Contender(DIRECT, "ours_direct", "ours"),
            Contender("chunkimg, opening included", "ours_opening", "ours"),
            Contender("nibabel", "nibabel", target={"": "64³: ≥ 25", DIRECT: ""}),
            Contender("nibabel, kept open", "nibabel_open"),
            Contender("indexed_gzip, its index", "indexed_gzip"),
            Contender("rapidgzip, its index", "rapidgzip", needs=("rapidgzip",)),
        ),
        ("{indexed_gz}",),
        regions=("64³", "plane x"),
    ),
    Workload(
        "W4wn",
        "regions of a raw .nii, warm",
        (
            Contender("chunkimg", "ours", "ours"),
            Contender(DIRECT, "ours_direct", "ours"),
            Contender("numpy.memmap", "memmap", "limit", target={"": "plane x: ≤ 2", DIRECT: "plane x: ≤ 2"}),
            Contender("nibabel", "nibabel", target={"": "plane x: ≥ 10", DIRECT: "plane x: ≥ 10"}),
            Contender("SimpleITK", "simpleitk", needs=("SimpleITK",)),
        ),
        ("{ct}",),
        regions=("64³", "plane z", "plane y", "plane x"),
    ),
    Workload(
        "W4wr",
        "regions of a raw .nrrd, warm",
        (
            Contender("chunkimg", "ours", "ours"),
            Contender(DIRECT, "ours_direct", "ours"),
            Contender(
                "numpy.memmap",
                "memmap",
                "limit",
                needs=("nrrd",),
                target={"": "plane x: ≤ 2", DIRECT: "plane x: ≤ 2"},
            ),
            Contender(
                "pynrrd", "pynrrd", holds=1.2, needs=("nrrd",), target={"": "plane x: ≥ 10", DIRECT: "plane x: ≥ 10"}
            ),
            Contender(
                "SimpleITK",
                "simpleitk_whole",
                holds=2,
                needs=("SimpleITK",),
                target={"": "plane x: ≥ 10", DIRECT: "plane x: ≥ 10"},
            ),
        ),
        ("{ct_nrrd}",),
        regions=("64³", "plane z", "plane y", "plane x"),
    ),
)
