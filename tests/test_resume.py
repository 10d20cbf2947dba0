"""Writes that were cut off and are taken up: only what is missing is done, and never into another image's pieces."""

import json
import os

import numpy as np
import pytest
from test_commit import kill_after

import chunkimg as ci
from chunkimg.io import zarr_append
from chunkimg.io.commit import partial_name
from chunkimg.io.zarr_plan import WritePlan
from chunkimg.io.zarr_resume import PLAN


def image(shape=(140, 120, 100), value=1):
    data = (np.arange(np.prod(shape)).reshape(shape) % 1000 + value).astype("i2")
    return ci.from_array(data, spacing=(1, 2, 3))


OPTIONS = {"chunks": "8,120,100", "budget": 1 << 20}


def cut_off(monkeypatch, source, dest, after, **options):
    """Begin a write that fails when `after` pieces are stored."""
    stored = []
    real = zarr_append.ArrayWriter._do

    def failing(self, *args):
        if len(stored) >= after:
            raise OSError("the disk is gone")
        stored.append(real(self, *args))

    with monkeypatch.context() as patch:
        patch.setattr(zarr_append.ArrayWriter, "_do", failing)
        with pytest.raises(OSError, match="the disk is gone"):
            ci.convert(source, dest, resume=True, **OPTIONS, **options)


def written(monkeypatch):
    """Positions of pieces that are encoded from now on."""
    out = []
    real = zarr_append.ArrayWriter._do
    monkeypatch.setattr(
        zarr_append.ArrayWriter, "_do", lambda self, *a: (out.append((self.path, a[1])), real(self, *a))
    )
    return out


@pytest.mark.parametrize("pyramid", [False, True])
def test_only_what_is_missing_is_done(tmp_path, monkeypatch, pyramid):
    image().img.save(tmp_path / "a.nii")
    dest = tmp_path / "a.ome.zarr"
    cut_off(monkeypatch, tmp_path / "a.nii", dest, 12, pyramid=pyramid)
    assert not dest.exists() and (partial_name(dest) / PLAN).exists()
    done = written(monkeypatch)
    ci.convert(tmp_path / "a.nii", dest, resume=True, pyramid=pyramid, **OPTIONS)
    finest = [at for path, at in done if path in ("image", "scale0/image")]
    assert 0 < len(finest) <= 18 - 5
    assert not partial_name(dest).exists() and not (dest / PLAN).exists()
    ci.convert(tmp_path / "a.nii", tmp_path / "b.ome.zarr", pyramid=pyramid, **OPTIONS)
    for level in range(2 if pyramid else 1):
        a, b = (ci.open_image(tmp_path / n, level=level) for n in ("a.ome.zarr", "b.ome.zarr"))
        assert a.equals(b) and a.img.grid == b.img.grid
    assert not [f for f in ci.validate(dest) if f.severity != "note"]


def test_another_write_is_never_taken_up(tmp_path, monkeypatch):
    image().img.save(tmp_path / "a.nii")
    image(value=7).img.save(tmp_path / "b.nii")
    dest = tmp_path / "a.ome.zarr"
    cut_off(monkeypatch, tmp_path / "a.nii", dest, 12)
    with pytest.raises(ci.FormatError, match=r"source \(another file, or changed\) differ"):
        ci.convert(tmp_path / "b.nii", dest, resume=True, **OPTIONS)
    with pytest.raises(ci.FormatError, match="levels differ"):
        ci.convert(tmp_path / "a.nii", dest, resume=True, **OPTIONS, codec="small")
    os.utime(tmp_path / "a.nii", (1, 1))
    with pytest.raises(ci.FormatError, match="source"):
        ci.convert(tmp_path / "a.nii", dest, resume=True, **OPTIONS)
    # and without resume it begins anew
    ci.convert(tmp_path / "b.nii", dest, **OPTIONS)
    assert ci.open_image(dest).equals(image(value=7))


def test_pieces_without_a_plan_are_not_trusted(tmp_path, monkeypatch):
    image().img.save(tmp_path / "a.nii")
    dest = tmp_path / "a.ome.zarr"
    cut_off(monkeypatch, tmp_path / "a.nii", dest, 12)
    (partial_name(dest) / PLAN).unlink()
    done = written(monkeypatch)
    ci.convert(tmp_path / "a.nii", dest, resume=True, **OPTIONS)
    assert len([at for path, at in done if path == "image"]) == 18
    (partial_name(tmp_path / "b.ome.zarr")).mkdir()
    (partial_name(tmp_path / "b.ome.zarr") / PLAN).write_text("{}")
    with pytest.raises(ci.FormatError, match="its plan cannot be read"):
        ci.convert(tmp_path / "a.nii", tmp_path / "b.ome.zarr", resume=True, **OPTIONS)


@pytest.mark.parametrize("lines", [2, 4])
def test_after_kill_9(tmp_path, lines):
    image((130, 130, 130)).img.save(tmp_path / "source.nii")
    dest = tmp_path / "a.ome.zarr"
    assert not kill_after(tmp_path, dest, lines, "overwrite", "{}")
    ci.convert(tmp_path / "source.nii", dest, budget=1 << 20, resume=True)
    assert ci.open_image(dest).equals(ci.open_image(tmp_path / "source.nii"))


def test_where_it_is_refused(tmp_path):
    import zarr

    with pytest.raises(ci.FormatError, match="resume= is for Zarr stores"):
        image().img.save(tmp_path / "a.nii", resume=True)
    with pytest.raises(ci.UnsupportedError, match="local folder"):
        image().img.save(zarr.storage.MemoryStore(), resume=True)


def test_a_plan_is_a_value(tmp_path):
    from chunkimg.api import plan_volume
    from chunkimg.image.build import to_volume

    image().img.save(tmp_path / "a.nii")
    volume = to_volume(ci.open_image(tmp_path / "a.nii"))
    plan = plan_volume(volume, tmp_path / "a.ome.zarr", pyramid=True, **OPTIONS)
    assert not (tmp_path / "a.ome.zarr").exists()
    assert plan == plan_volume(volume, "elsewhere.zarr", pyramid=True, **OPTIONS)
    assert WritePlan.from_json(plan.to_json()) == plan and json.loads(plan.to_json())["method"] == "mean"
    assert "chunks 8×120×100" in str(plan) and "18 objects" in str(plan)
    level = plan.levels[0]
    slabs = [region for part in range(4) for region in level.slabs(part, 4)]
    assert slabs == list(level.slabs()) and len(slabs) == level.slab_count
    keys = [key for region in slabs for key in level.keys(region)]
    assert len(set(keys)) == len(keys) == 18
    with pytest.raises(ci.FormatError, match="a plan is of Zarr stores"):
        plan_volume(volume, tmp_path / "a.nii")
