"""The benchmarks run, at a size where times mean nothing: that what they compare is still there, and is compared."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import chunkimg as ci
from benchmarks import verify, verify_images
from benchmarks.__main__ import main
from benchmarks.data import Data, grid_of, voxels, write_nifti
from benchmarks.measure import run
from benchmarks.suite import Contender, Workload, run_workload
from benchmarks.workloads import WORKLOADS

#: contenders and checks; that images are right with the lowest versions too is what all other tests say
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture
def data(folder, tmp_path):
    return Data(folder, tmp_path, 8)


def test_everything_that_the_table_names_is_there():
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)
    for workload in WORKLOADS:
        names = [c.name for c in workload.contenders]
        assert len(set(names)) == len(names)
        assert workload.contenders[0].role == "ours"
        for c in workload.contenders:
            if isinstance(c.call, str):
                module, function = ("warm", c.call) if workload.regions else c.call.split(".")
                assert callable(getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)), c
            for argument in workload.arguments if c.arguments is None else c.arguments:
                if argument.startswith("{"):
                    assert argument == "{dest}" or hasattr(Data, f"_{argument[1:-1]}"), argument
            assert set(c.target) <= {"", *names}


def test_fresh_and_warm(folder, tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    out = tmp_path / "out.json"
    options = ["--size", "8", "--rounds", "1", "--folder", str(folder), "--json", str(out)]
    assert main(["w3", "W4wn", "--peers", "--only", "SimpleITK", *options]) == 0
    printed = capsys.readouterr().out
    assert "### W3: Zarr → .nii" in printed and "FAILED" not in printed
    found = json.loads(out.read_text())
    assert found["about"]["cores"] and found["about"]["versions"]["numpy"] == np.__version__
    fresh, warm = found["workloads"]
    assert [(r["contender"], r["role"]) for r in fresh["rows"]] == [("chunkimg convert", "ours"), ("SimpleITK", "peer")]
    for row in fresh["rows"]:
        assert len(row["seconds"]) == len(row["peak_anon_mib"]) == 1
        assert row["peak_anon_mib"][0] > 10 and 8 <= row["output_mib"] < 8.1
    assert len(warm["rows"]) == 4 * 3 and all(len(r["seconds"]) == 7 for r in warm["rows"])
    # what is made is gone, what is generated is kept for the next run
    assert [p.name for p in folder.iterdir()] == ["v2-8-ct.nii"]


def test_a_zarr_store_of_ours_is_what_it_has_to_be(data, tmp_path):
    verify.voxels_of(verify.ct)(data, Path(data["ct_zarr"]), "")
    with pytest.raises(verify.Wrong, match="no coarser levels"):
        verify.pyramid(data, Path(data["ct_zarr"]), "")
    ci.convert(data["ct"], tmp_path / "levels.zarr", pyramid=True)
    verify.mean_pyramid(data, tmp_path / "levels.zarr", "")
    coarse = verify.arrays(tmp_path / "levels.zarr")[1]
    coarse = zarr.open_array(tmp_path / "levels.zarr" / coarse.path, mode="r+")
    coarse[3, 20, 20] += 2
    with pytest.raises(verify.Wrong, match="not the mean"):
        verify.mean_pyramid(data, tmp_path / "levels.zarr", "")


def test_what_is_wrong_or_fails_is_named(data):
    contenders = (
        Contender("wrong", ("-c", "import shutil, sys; shutil.copy(sys.argv[2], sys.argv[3])"), "ours"),
        Contender("broken", ("-c", "raise SystemExit('no such codec')")),
        Contender("nothing", ("-c", "")),
        Contender("elsewhere", "no.function", needs=("a_module_that_is_nowhere",)),
        Contender("fine", ("-c", "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[3])")),
    )
    write_nifti(data.scratch / "other.nii", 8, seed=3)
    data._paths["other"] = str(data.scratch / "other.nii")
    work = Workload("W", "", contenders, ("{ct}", "{other}", "{dest}"), verify.voxels_of(verify.ct), ".nii")
    wrong, broken, nothing, elsewhere, fine = run_workload(work, data, 1)
    assert "voxels of planes 0 to 16 differ" in wrong.failed and not wrong.seconds
    assert "no such codec" in broken.failed
    assert "FileNotFoundError" in nothing.failed
    assert elsewhere.skipped == "needs a_module_that_is_nowhere"
    assert not fine.failed and len(fine.seconds) == 1


def test_what_would_not_fit_into_memory_is_skipped(capsys):
    heavy = Contender("heavy", "no.function", holds=3)
    assert heavy.why_not(8) == "" and heavy.why_not(1 << 30) == "would hold 3145728 GiB in memory"
    assert main(["W5n", "--list", "--size", str(1 << 30)]) == 0
    assert "SimpleITK streaming_subtract  (skipped: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["W77", "--list"])


def test_peak_of_anonymous_memory_is_seen():
    code = "import time; held = bytearray(b'1') * (200 << 20); time.sleep(0.1)"
    assert 200 < run([sys.executable, "-c", code]).peak_anon_mib < 300


def test_data_are_the_same_every_time(data, tmp_path):
    write_nifti(tmp_path / "again.nii", 8)
    assert (tmp_path / "again.nii").read_bytes() == Path(data["ct"]).read_bytes()
    image = voxels(data["ct"])
    assert image.shape == (16, 512, 512) and image.min() < -1000 < 100 < image.max()
    assert [int(np.prod(grid_of(10.0**k))) for k in (4, 5, 6)] == [10**4, 10**5, 10**6]


def test_statistics_of_labels_are_what_they_have_to_be(data, tmp_path):
    from benchmarks.contenders import labels

    out = tmp_path / "a.npz"
    labels.ours_direct(data["cells500_zarr"], data["ct_zarr"], out)
    check = verify.label_statistics("cells500")
    check(data, out, "")
    with np.load(out) as found:
        said = dict(found)
    assert 50 < len(said["label"]) < 500
    for key in ("voxels", "centroid", "mean", "std", "min", "sum"):
        np.savez(out, **{**said, key: np.where(np.arange(len(said[key])) == 3, 1, said[key].T).T})
        with pytest.raises(verify.Wrong, match=f"{key} of labels differs"):
            check(data, out, "")


def test_a_pyramid_of_labels_is_what_it_has_to_be(data, tmp_path):
    ci.convert(data["labels"], tmp_path / "a.zarr", pyramid=True, downsample="mode")
    verify.label_pyramid(data, tmp_path / "a.zarr", "")
    coarse = verify.arrays(tmp_path / "a.zarr")[1]
    coarse = zarr.open_array(tmp_path / "a.zarr" / coarse.path, mode="r+")
    coarse[3, 100, 100] += 1
    with pytest.raises(verify.Wrong, match="not the mode"):
        verify.label_pyramid(data, tmp_path / "a.zarr", "")


def test_values_at_points_are_what_they_have_to_be(data, tmp_path):
    pytest.importorskip("scipy")
    from benchmarks.contenders import points

    out = tmp_path / "a.npy"
    for method, wrong in (("linear", 1e-5), ("nearest", 1)):
        points.ours_direct(data["ct_zarr"], data["points"], out, method)
        check = verify_images.sampled(method)
        check(data, out, "")
        found = np.load(out)
        assert len(found) == 10**6
        found[12345] += wrong
        np.save(out, found)
        with pytest.raises(verify.Wrong, match="1 values differ"):
            check(data, out, "")


@pytest.mark.parametrize(
    ("call", "more", "check"),
    [
        ("smooth.ours_direct", "4", verify_images.smoothed(4)),
        ("smooth.scipy", "4", verify_images.smoothed(4)),
        ("resample.ours_coarse_direct", "2", verify_images.coarsened(2)),
        ("patches.ours_direct", None, verify_images.patched(96, 32)),
        ("patches.dask_overlap", None, verify_images.overlapped(64, 16)),
    ],
)
def test_work_on_images_is_what_it_has_to_be(data, tmp_path, call, more, check):
    pytest.importorskip("scipy")
    module, function = call.split(".")
    contender = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)
    contender(data["ct_zarr"], str(tmp_path / "a.zarr"), *([] if more is None else [more]))
    check(data, tmp_path / "a.zarr", "")
    found = verify.largest(tmp_path / "a.zarr")
    found = zarr.open_array(tmp_path / "a.zarr" / found.path, mode="r+")
    found[-1, 100, 100] += 2
    with pytest.raises(verify.Wrong, match=f"plane {found.shape[0] - 1} differs"):
        check(data, tmp_path / "a.zarr", "")
