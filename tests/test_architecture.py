"""The house: imports run one way, public names are locked, nothing imports what it does not need."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import chunkimg as ci

PACKAGE = Path(ci.__file__).parent

#: lower layers never import higher ones
LAYERS = [
    {"errors", "_later", "_when_imported", "open_file", "workers"},
    {"geometry"},
    {"access", "indexing"},
    {"gather", "scaling"},
    {"lazy"},
    {"volume"},
    {"align", "encode", "lengths", "metadata"},
    {"labelling"},
    {"chunks"},
    {"ops"},
    {
        "io.format",
        "io.decoders",
        "io.source",
        "io.codecs",
        "io.commit",
        "io.copy",
        "io.raw",
        "io.ome",
        "io.ome_read",
        "io.zarr_names",
        "io.zarr_spec",
        "io.zarr_chunk",
        "io.blosc_part",
        "io.zarr_read",
        "io.zarr_folder",
        "io.zarr_put",
        "io.zarr_append",
        "io.zarr_plan",
        "io.zarr_resume",
        "io.json_report",
        "io.ome_schema",
        "io.files",
        "io.streams",
        "io.file_array",
        "io.gzip_access",
        "io.gzip_along",
        "io.gzip_blocks",
        "io.gzip_build",
        "io.gzip_index",
        "io.gzip_read",
        "io.gzip_table",
        "io.nifti_fields",
        "io.nifti_forms",
        "io.nifti_header",
        "io.gzip_write",
        "io.encoders",
        "io.stack",
        "io.nrrd_header",
        "io.nrrd_names",
    },
    {
        "io.nifti_update",
        "io.stream_write",
        "io.nrrd_axes",
        "io.nrrd_edit",
        "io.nrrd_data",
        "io.zarr_array",
        "io.compare",
        "io.spool",
        "io.together",
        "io.reduce",
        "io.file_check",
    },
    {
        "io.zarr_zip",
        "io.zarr_store",
        "io.zarr_layout",
        "io.zarr_grid",
        "io.nrrd_props",
        "io.nrrd_place",
        "io.nrrd_kinds",
    },
    {"io.cluster", "io.nifti_write", "io.nrrd_write", "io.zarr_dest", "io.zarr_fill", "io.zarr_nodes", "io.zarr_write"},
    {"io.nifti", "io.nifti_zarr", "io.nrrd", "io.zarr", "io.zarr_open"},
    {"io.nifti_check", "io.zarr_tree", "io.zarr_chunks", "io.zarr_levels", "io.zarr_geometry", "io.zarr_image"},
    {"io.zarr_check"},
    {"io.registry"},
    {"image"},
    {"interop"},
    {"api", "checking", "compare", "filters", "patches", "resampling", "sampling", "statistics", "transforms"},
    {"label_stats"},
    {"pixels"},
    {"accessor"},
    {"cli_common"},
    {"cli_output"},
    {"cli_check", "cli_index", "cli_labels", "cli_reorient", "cli_resample", "cli_stats"},
    {"cli", "engine"},
    {"__main__", ""},
]


def _name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


@functools.cache
def modules():
    """Path of each module by its name."""
    return {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def layer(name):
    found = [k for k, names in enumerate(LAYERS) for n in names if name == n or (n and name.startswith(n + "."))]
    if not found and name == "io":
        return None
    assert found, f"{name} has no layer"
    return max(found)


def imports(name, path):
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("chunkimg.") for a in node.names if a.name.startswith("chunkimg."))
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                full = ".".join([*base, alias.name])
                yield full if full in modules() else ".".join(base)


@pytest.mark.once
def test_imports_run_one_way():
    for name, path in modules().items():
        if name == "":
            continue
        for other in imports(name, path):
            if other in ("", "io") or layer(name) is None:
                continue
            same_package = name.split(".")[0] == other.split(".")[0]
            assert layer(other) < layer(name) or (same_package and layer(other) <= layer(name)), (
                f"{name} imports {other}"
            )


@pytest.mark.once
def test_no_import_cycles():
    graph = {name: {o for o in imports(name, path) if o != name} for name, path in modules().items() if name}

    def reach(start):
        seen, todo = set(), list(graph.get(start, ()))
        while todo:
            x = todo.pop()
            if x not in seen:
                seen.add(x)
                todo += graph.get(x, ())
        return seen

    assert [name for name in graph if name in reach(name)] == []


@pytest.mark.once
def test_geometry_needs_numpy_alone():
    for path in (PACKAGE / "geometry").glob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.Import):
                outside = {a.name.split(".")[0] for a in node.names if not a.name.startswith("chunkimg.geometry.")}
                assert outside <= {"numpy", *sys.stdlib_module_names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module.split(".")[0] in {"numpy", *sys.stdlib_module_names}


@pytest.mark.once
def test_one_place_per_decision():
    """Signs are flipped in frames.py, attribute keys are spelt in attrs.py."""
    for name, path in modules().items():
        text = path.read_text()
        if name != "geometry.frames":
            assert "diag([-1" not in text, name
        if name not in ("geometry.attrs", "cli", "image.properties"):
            for key in ('"direction"]', '["affine_at"]', 'attrs["affine"]'):
                assert key not in text, f"{name}: {key}"


def test_public_names():
    assert sorted(ci.__all__) == sorted(ci._NAMES)
    for name in ci.__all__:
        assert getattr(ci, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ci.nonsense
    from chunkimg.accessor import ImageAccessor

    assert {n for n in dir(ImageAccessor) if n[0] != "_"} == {
        "access", "affine", "affine_at", "as_label", "assign_geometry", "astype_checked", "astype_rescaled", "bounds",
        "center", "coarsen", "complex_part", "corners", "count_labels", "crop_like", "crop_world", "direction",
        "extent", "flip", "grid", "histogram", "is_label", "label_colors", "label_names", "label_stats",
        "map_overlap", "map_patches", "numpy", "orientation", "origin", "pad", "patches", "properties", "reorient",
        "require_same_grid", "resample", "resample_to", "same_grid", "sample", "save", "smooth", "snap_to", "space",
        "spacing", "split", "stats", "time_bounds", "to_index", "to_nibabel", "to_nifti", "to_nrrd", "to_sitk",
        "to_world", "to_zarr", "units",
    }  # fmt: skip


def loaded(*codes):
    """Top-level modules that are imported after each of several pieces of code, run in turn in one fresh process."""
    show = "print('loaded:', *sorted(m for m in sys.modules if '.' not in m))"
    script = "\n".join(["import sys", *(f"{code}\n{show}" for code in codes)])
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    found = [set(line.split()[1:]) for line in out.splitlines() if line.startswith("loaded: ")]
    assert len(found) == len(codes)
    return found


def test_light_imports(tmp_path, nibabel_data):
    source = str(nibabel_data / "example4d.nii.gz")
    steps = [
        ("", {"xarray", "pandas", "dask", "zarr", "nibabel", "numpy", "rich", "isal"}),
        (f"chunkimg.read_header({source!r})", {"xarray", "pandas", "dask", "zarr"}),
        (f"chunkimg.validate({source!r})", {"xarray", "pandas", "dask", "zarr"}),
        (f"chunkimg.diff({source!r}, {source!r})", {"xarray", "pandas", "dask"}),
        *((f"chunkimg.convert({source!r}, {str(tmp_path / dest)!r})", {"xarray", "pandas", "dask"})
          for dest in ("a.nii.gz", "a.ome.zarr")),
    ]  # fmt: skip
    for (code, heavy), found in zip(steps, loaded(*(f"import chunkimg\n{code}" for code, _ in steps)), strict=True):
        assert found & heavy == set(), code


#: what commands between files and readers of regions do without
HEAVY = {"nibabel", "xarray", "pandas", "dask", "zarr", "numcodecs", "rich", "asyncio", "numba", "tensorstore"}
RUN = "import chunkimg.cli as c; sys.argv[1:] = {}\ntry: c.main()\nexcept SystemExit as e: assert not e.code"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_commands_between_files_import_little(suffix, tmp_path, nibabel_data):
    source, made = str(tmp_path / f"a{suffix}"), str(tmp_path / f"b{suffix}")
    ci.convert(nibabel_data / "anatomical.nii", source)
    commands = ["info", source], ["crop", source, made, "--x", "3:9"], ["convert", made, made + suffix]
    for command, found in zip(commands, loaded(*map(RUN.format, commands)), strict=True):
        assert found & HEAVY == set(), command


def test_version_and_help_import_nothing():
    for found in loaded(RUN.format(["--version"]), RUN.format(["--help"])):
        assert found & {"numpy", *HEAVY} == set()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_regions_without_dask_import_none(suffix, tmp_path, nibabel_data):
    source = str(tmp_path / f"a{suffix}")
    ci.convert(nibabel_data / "anatomical.nii", source)
    code = f"""
import chunkimg
image = chunkimg.open_image({source!r}, chunks=None)
image[2:5, 3:7, 1:9].values, image.isel(x=slice(4, 0, -1)).img.affine
"""
    whole = f"image = chunkimg.open_image({source!r}); image[2:5, 3:7, 1:9].values"
    without, with_dask = loaded(code, whole)
    assert without & {"dask", "nibabel", "zarr", "rich", "numba"} == set()
    assert "dask" in with_dask and with_dask & {"nibabel", "zarr", "rich", "numba"} == set()


def test_images_without_dask(tmp_path, nibabel_data):
    ci.convert(nibabel_data / "example4d.nii.gz", tmp_path / "a.ome.zarr")
    store = str(tmp_path / "a.ome.zarr")
    code = f"import chunkimg; chunkimg.open_image({store!r}, chunks=None)[1:2, 3:5, :, ::-9].values"
    (found,) = loaded(code)
    assert found & {"dask", "zarr", "nibabel"} == set()


def test_accessor_is_registered_either_way(nibabel_data):
    for code in (
        "import xarray as xr, chunkimg; xr.DataArray([0]).img",
        f"import chunkimg as ci; ci.open_image({str(nibabel_data / 'anatomical.nii')!r}).img.affine",
        "import numpy as np, chunkimg as ci; ci.from_array(np.zeros((2, 3, 4))).img.affine",
    ):
        subprocess.run([sys.executable, "-c", code], check=True)


def test_warnings_of_ours_are_errors_here():
    import warnings

    with pytest.raises(ci.ChunkImgWarning):
        warnings.warn("x", ci.ChunkImgWarning, stacklevel=1)
