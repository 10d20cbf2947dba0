"""README, documents and examples are run; what they claim is what happens."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import chunkimg as ci

ROOT = Path(__file__).parent.parent


@pytest.mark.filterwarnings("ignore")
def test_readme_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    scope = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["fmri"].img.orientation == "LAS"
    printed = capsys.readouterr().out
    assert "size 128 against 21" in printed
    assert {p.name for p in tmp_path.iterdir()} == {
        "change.nii.gz",
        "fmri.ome.zarr",
        "plain.ome.zarr",
        "again.nii",
        "fmri.nrrd",
    }


def test_every_operation_stands_in_the_table():
    from chunkimg import accessor

    table = (ROOT / "README.md").read_text().split("## Operations")[1].split("\n## ")[0]
    parts = ("Space", "Resampling", "Points", "Filters", "Labels", "Values", "Time")
    operations = [
        name
        for part in parts
        for name, member in vars(getattr(accessor, f"{part}Part")).items()
        if callable(member) and not name.startswith("_") and name != "numpy"
    ]
    assert len(operations) > 20
    assert [name for name in operations if f".img.{name}(" not in table] == []


def test_readme_commands(tmp_path, monkeypatch, capsys):
    """The console block, on a scan that all of it applies to."""
    from chunkimg.cli import cli

    monkeypatch.chdir(tmp_path)
    numbers = np.arange(130 * 70 * 90, dtype="i4").reshape(130, 70, 90) % 1000
    scan = ci.from_array(numbers, spacing=(1, 1, 1), origin=(-45, -35, -10))
    scan.img.save("ct.nii.gz")
    commands = re.findall(r"^\$ chunkimg (.*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 13
    for command in commands:
        try:
            cli.main(shlex.split(command, comments=True), standalone_mode=False)
        except SystemExit as ended:
            # commands that tell by their exit code: nothing differs, nothing is wrong
            assert not ended.code, command
    assert ci.open_image("slab.nii.gz").sizes["z"] == 20
    assert ci.open_image("heart.nii.gz").img.bounds[0] == (-40.5, -30.5, -0.5)


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)
    assert len(commands) == 2
    test_command = commands[1].split("&&")[-1].strip().removeprefix(".venv/bin/")
    assert test_command == "python -m pytest -n auto"
    assert test_command in (ROOT / ".ci" / "run").read_text()


@pytest.mark.filterwarnings("ignore")
def test_tour(capsys):
    runpy.run_path(str(ROOT / "examples" / "tour.py"))
    printed = capsys.readouterr().out
    assert "refused: the images do not occupy the same space: along" in printed
    assert "FSL3.3" in printed


@pytest.mark.filterwarnings("ignore")
def test_streaming_subtract(tmp_path, monkeypatch, capsys):
    data = np.random.default_rng(0).integers(0, 60000, (2, 9, 8, 7)).astype("u2")
    for name, values in zip("ab", data, strict=True):
        ci.from_array(values, spacing=(1, 2, 3)).img.save(tmp_path / f"{name}.nii.gz")
    names = [str(tmp_path / n) for n in ("a.nii.gz", "b.nii.gz", "out.nii.gz")]
    monkeypatch.setattr(sys, "argv", ["streaming_subtract.py", *names])
    runpy.run_path(str(ROOT / "examples" / "streaming_subtract.py"), run_name="__main__")
    np.testing.assert_array_equal(ci.open_image(names[2]).values, data[0].astype(int) - data[1])


@pytest.mark.filterwarnings("ignore")
def test_tiled_inference(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tiled_inference.py", "--demo"])
    runpy.run_path(str(ROOT / "examples" / "tiled_inference.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["air", "soft tissue", "bone"]
    assert sum(int(line.split()[-5]) for line in printed) == 40 * 150 * 120


def test_links_in_documents():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_readme_needs_nothing_but_the_core():
    """nibabel.testing imports pytest, which a user does not have."""
    for path in [ROOT / "README.md", *(ROOT / "examples").glob("*.py"), *Path(ci.__file__).parent.rglob("*.py")]:
        assert "nibabel.testing" not in path.read_text(), path
