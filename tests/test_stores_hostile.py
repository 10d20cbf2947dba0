"""Damaged and hostile metadata: an error of ours, soon and in little memory, or an image that is right."""

import copy
import errno
import json
import os
import warnings

import nibabel as nib
import numpy as np
import pytest
from store_files import ZYX, axis, store, voxels

import chunkimg as ci

WRONG = [None, 0, -1, 1.5, "x", "", [], {}, [None], [[]], {"a": 1}, True, 10**400, [1] * 9, "../../etc", ["x", "x"]]


def places(value, path=()):
    """Paths of every value in a JSON document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    if isinstance(value, list):
        for k, inner in enumerate(value):
            yield from places(inner, (*path, k))


def changed(document, path, value):
    out = copy.deepcopy(document)
    inner = out
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return out


def check(path, data):
    """Opening and reading raises what it should, or gives voxels of the store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ci.ChunkImgWarning)
        try:
            ci.read_header(path)
            image = ci.open_image(path)
            if image.size <= 1 << 20:
                assert np.isin(image.values, [*data.ravel(), 0]).all() or image.dtype != data.dtype
        except (ci.ChunkImgError, FileNotFoundError):
            pass


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("which", ["group", "array"])
def test_every_field_wrong_or_missing(tmp_path, version, which):
    """One value at a time is replaced by each wrong one, or removed."""
    data = voxels(2, 3, 4, 5)
    more = {"omero": {"channels": [{"label": "a", "color": "FFFFFF"}, {"label": "b"}]}, "image-label": {"colors": []}}
    path = tmp_path / "a.zarr"
    axes = [
        axis("c", "channel"),
        *[{**a, "orientation": {"type": "anatomical", "value": "left-to-right"}} for a in ZYX],
    ]
    common = [{"type": "scale", "scale": [1, 1, 1, 1]}]
    store(path, data, axes, scale=[1, 3, 2, 1], start=[0, 1, 2, 3], version=version, common=common, more=more)
    name = "zarr.json" if version == "0.5" else {"group": ".zattrs", "array": ".zarray"}[which]
    file = path / name if which == "group" else path / "0" / name
    document = json.loads(file.read_text())
    for place in places(document):
        for value in [..., *WRONG] if place else WRONG:
            file.write_text(json.dumps(changed(document, place, value) if place else value))
            check(path, data)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "\0" * 100, '{"zarr_format": 3}', "null", '{"zarr_format": 9}']
)
@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_documents_that_are_none(tmp_path, text, name):
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, version="0.5")
    (tmp_path / "a.zarr" / name).write_text(text)
    with pytest.raises(ci.FormatError, match=r"a\.zarr"):
        ci.open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("shape", [[1 << 62, 1, 1], [1 << 40, 1 << 40, 1], [0, 4, 5], [1 << 30, 4, 5]])
def test_impossible_sizes(tmp_path, shape):
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, version="0.5")
    file = tmp_path / "a.zarr" / "0" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "shape": shape}))
    with pytest.raises(ci.FormatError):
        ci.open_image(tmp_path / "a.zarr")


def test_damaged_chunks(tmp_path):
    store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX, version="0.5")
    image = ci.open_image(tmp_path / "a.zarr")
    (chunk,) = (p for p in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if p.is_file())
    whole = chunk.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\xff" * len(whole)):
        chunk.write_bytes(content)
        with pytest.raises(ci.FormatError, match=r"a\.zarr"):
            _ = image.values


def test_a_header_of_another_image(tmp_path, nibabel_data):
    node = store(tmp_path / "a.zarr", voxels(3, 4, 5), ZYX)
    import gzip

    import zarr

    with gzip.open(nibabel_data / "example4d.nii.gz") as f:
        raw = f.read(352)
    root = zarr.open_group(tmp_path / "a.zarr", mode="a")
    root.create_array("nifti", data=np.frombuffer(raw, "u1"))
    with pytest.raises(ci.FormatError, match=r"header is of \(128, 96, 24\) voxels.*\(5, 4, 3\)"):
        ci.open_image(tmp_path / "a.zarr")
    root.create_array("nifti", data=np.zeros(348, "u1"), overwrite=True)
    with pytest.raises(ci.FormatError, match="not a NIfTI"):
        ci.open_image(tmp_path / "a.zarr")
    assert node.shape == (3, 4, 5)


@pytest.mark.parametrize("name", ["t", "nifti", "z"])
def test_parts_that_cannot_be_looked_into_are_not_taken_for_absent(tmp_path, monkeypatch, name):
    """Else frames would be numbered, and the header gone, without a word."""
    image = nib.Nifti1Image(np.arange(48, dtype="i2").reshape(4, 3, 2, 2), np.diag([2.0, 3, 4, 1]))
    image.header.set_zooms((2, 3, 4, 1.5))
    nib.save(image, tmp_path / "a.nii")
    ci.convert(tmp_path / "a.nii", tmp_path / "a.ome.zarr")
    real = os.stat

    def stat(path, *args, **kwargs):
        if isinstance(path, (str, os.PathLike)) and f"a.ome.zarr/{name}/" in os.fspath(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os.path, "exists", lambda path: _there(stat, path))
    with pytest.raises(PermissionError, match=name):
        ci.open_image(tmp_path / "a.ome.zarr")


def _there(stat, path):
    try:
        stat(path)
    except OSError:
        return False
    return True


def test_colons_in_names_of_folders(tmp_path):
    ci.from_array(np.arange(24, dtype="i2").reshape(2, 3, 4)).img.save(tmp_path / "a::b.ome.zarr")
    assert [f for f in ci.validate(tmp_path / "a::b.ome.zarr") if f.severity == "error"] == []
