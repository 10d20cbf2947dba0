"""The command line, as a person or a batch job calls it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import chunkimg as ci


def run(*args, code=0):
    done = subprocess.run([sys.executable, "-m", "chunkimg", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def fmri(nibabel_data):
    return nibabel_data / "example4d.nii.gz"


def test_help_and_usage():
    for command in ("convert", "crop", "info"):
        assert command in run("--help").stdout
        assert "Usage" in run(command, "--help").stdout
    assert "DST" in run("convert", code=2).stderr
    assert "no range" in run("convert", "a", "b", "--x", "1:2:3:4", code=2).stderr
    assert "No such command" in run("nonsense", code=2).stderr
    assert run("--version").stdout.startswith("chunkimg")


def test_convert_there_and_back(fmri, tmp_path):
    import gzip

    done = run("convert", fmri, tmp_path / "a.ome.zarr", "--pyramid", "--chunks", "16,32,32", "--codec", "zstd:1")
    assert done.stderr == done.stdout == ""
    run("convert", tmp_path / "a.ome.zarr", tmp_path / "a.nii.gz")
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == gzip.decompress(fmri.read_bytes())
    header = ci.read_header(tmp_path / "a.ome.zarr")
    assert header.fields["chunks"] == [1, 16, 32, 32]
    assert len(header.fields["levels"]) == 2
    run("convert", tmp_path / "a.ome.zarr", tmp_path / "half.nii", "--level", 1)
    assert ci.open_image(tmp_path / "half.nii").shape == (2, 12, 48, 64)


def test_regions(fmri, tmp_path):
    whole = ci.open_image(fmri)
    run("convert", fmri, tmp_path / "a.nii", "--x", "10:-10:2", "--z", "::-1", "--t", "1")
    part = ci.open_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(part.values, whole.values[1:2, ::-1, :, 10:-10:2])
    np.testing.assert_allclose(part.img.to_world([3, 4, 5]), whole.img.to_world([16, 4, 18]), atol=1e-4)
    run("crop", fmri, tmp_path / "b.nii.gz", "--lo", -20, 0, 10, "--hi", 20, 40, 30)
    part = ci.open_image(tmp_path / "b.nii.gz")
    assert part.img.same_grid(whole.img.crop_world((-20, 0, 10), (20, 40, 30)))
    np.testing.assert_array_equal(part.values, whole.img.crop_world((-20, 0, 10), (20, 40, 30)).values)
    assert "both --lo and --hi" in run("crop", fmri, tmp_path / "c.nii", "--lo", 0, 0, 0, code=2).stderr
    assert "say what to keep" in run("crop", fmri, tmp_path / "c.nii", code=2).stderr
    assert (
        "outside the image"
        in run("crop", fmri, tmp_path / "c.nii", "--lo", 900, 0, 0, "--hi", 901, 1, 1, code=1).stderr
    )


def test_info(fmri, tmp_path):
    text = run("info", fmri).stdout
    assert "LAS" in text
    assert "t 2 × z 24 × y 96 × x 128" in text
    ci.convert(fmri, tmp_path / "a.ome.zarr")
    lines = run("info", "--json", fmri, tmp_path / "a.ome.zarr").stdout.splitlines()
    a, b = map(json.loads, lines)
    assert a["geometry"] == b["geometry"]
    assert a["geometry"]["affine"] == ci.open_image(fmri).img.affine.tolist()
    assert a["sizes"] == {"t": 2, "z": 24, "y": 96, "x": 128}
    assert a["header"]["extensions"] == [{"code": 6, "size": 32}, {"code": 6, "size": 32}]
    assert "header dim_info" in run("info", "--header", fmri).stdout


def test_errors_are_one_line(fmri, tmp_path):
    for args, what in [
        (("info", tmp_path / "absent.nii"), "no such file"),
        (("convert", fmri, tmp_path / "a.jpg"), "known suffix"),
        (("convert", fmri, tmp_path / "nowhere" / "a.nii"), "folder"),
        (("convert", fmri, tmp_path / "a.nii", "--c", "0:1"), "cannot crop along c"),
        (("convert", fmri, tmp_path / "a.zarr", "--chunks", "x"), "not understood"),
        (("convert", fmri, tmp_path / "a.nii", "--pyramid"), "pyramid"),
    ]:
        error = run(*args, code=1).stderr
        assert what in error
        assert error.startswith("chunkimg: error: ")
        assert error.count("\n") == 1
    (tmp_path / "cut.nii.gz").write_bytes(fmri.read_bytes()[:200000])
    error = run("convert", tmp_path / "cut.nii.gz", tmp_path / "a.ome.zarr", code=1).stderr
    assert "truncated" in error
    run("convert", fmri, tmp_path / "a.nii")
    assert "--overwrite" in run("convert", fmri, tmp_path / "a.nii", code=1).stderr
    run("convert", fmri, tmp_path / "a.nii", "--overwrite")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "cut.nii.gz"]


def test_warnings_are_one_line(tmp_path):
    image = ci.from_array(np.zeros((3, 4, 5)), spacing=(1, 2, 3), origin=(7, 0, 0), space="unknown")
    image.img.save(tmp_path / "a.ome.zarr")
    done = run("convert", tmp_path / "a.ome.zarr", tmp_path / "a.nii")
    assert done.stderr.startswith("chunkimg: warning: ")
    assert done.stderr.count("\n") == 1
