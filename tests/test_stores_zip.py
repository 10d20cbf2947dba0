"""Stores in zip files: read where they lie, by range, from threads and processes; damage is found; written at once."""

import pickle
import shutil
import warnings
import zipfile

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from store_files import ZYX, store, voxels

import chunkimg as ci


def packed(folder, dest, *, top="", method=zipfile.ZIP_STORED):
    """A folder in a zip file."""
    with zipfile.ZipFile(dest, "w", method) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, f"{top}{path.relative_to(folder)}")
    return dest


@pytest.fixture(params=["0.4", "0.5"])
def folder(request, tmp_path):
    """A store with labels, its chunks large enough to be compressed well."""
    path = tmp_path / "a.ome.zarr"
    options = {"chunks": (4, 8, 8)}
    store(path, voxels(8, 16, 24), ZYX, scale=[3, 2, 1], version=request.param, array=options)
    stated = {"image-label": {"version": request.param}}
    store(path / "labels" / "n", voxels(8, 16, 24) % 5, ZYX, version=request.param, array=options, more=stated)
    return path


@pytest.mark.parametrize("name", ["a.ome.zarr.zip", "a.ozx", "a.zip", "A.ZARR.ZIP", "a.bin"])
@pytest.mark.parametrize("top", ["", "a.ome.zarr/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reading(folder, tmp_path, name, top, method):
    dest = packed(folder, tmp_path / name, top=top, method=method)
    image = ci.open_image(dest)
    assert image.img.grid == ci.open_image(folder).img.grid
    np.testing.assert_array_equal(image.values, voxels(8, 16, 24))
    np.testing.assert_array_equal(image[2:3, ::5, 7].values, voxels(8, 16, 24)[2:3, ::5, 7])
    labels = ci.open_image(f"{dest}/labels/n")
    assert labels.img.is_label
    np.testing.assert_array_equal(labels.values, voxels(8, 16, 24) % 5)
    assert ci.open_image(f"{dest}/0").img.grid == image.img.grid
    with pytest.raises(ci.FormatError, match="no Zarr group or array"):
        ci.open_image(f"{dest}/nothing")


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_from_threads_and_processes(tmp_path, scheduler):
    data = voxels(64, 32, 32, dtype="i4")
    store(tmp_path / "a.zarr", data, ZYX, version="0.5", array={"chunks": (4, 16, 16), "shards": (16, 32, 32)})
    dest = packed(tmp_path / "a.zarr", tmp_path / "a.zarr.zip")
    shutil.rmtree(tmp_path / "a.zarr")
    image = ci.open_image(dest, chunks={"z": 8})
    assert len(pickle.dumps(image.data)) < 100_000
    with dask.config.set(scheduler=scheduler, num_workers=2):
        np.testing.assert_array_equal((image + 1).values, data + 1)


def test_a_zip_of_several_stores(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for top in ("a.zarr", "b.zarr"):
            for path in (p for p in folder.rglob("*") if p.is_file()):
                archive.write(path, f"{top}/{path.relative_to(folder)}")
    with pytest.raises(ci.FormatError, match=r"2 Zarr stores.*two\.zip/a\.zarr"):
        ci.open_image(tmp_path / "two.zip")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "two.zip" / "b.zarr").values, voxels(8, 16, 24))


def test_what_is_no_store(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ci.FormatError, match="holds no Zarr store"):
        ci.open_image(tmp_path / "a.zip")
    (tmp_path / "b.zarr.zip").write_bytes(b"no zip")
    with pytest.raises(ci.FormatError, match="neither"):
        ci.open_image(tmp_path / "b.zarr.zip")
    with pytest.raises(FileNotFoundError):
        ci.open_image(tmp_path / "c.zarr.zip")


def test_every_truncation_is_found(folder, tmp_path):
    whole = packed(folder, tmp_path / "a.zarr.zip").read_bytes()
    for keep in np.linspace(2, len(whole) - 1, 23).astype(int):
        (tmp_path / "b.zarr.zip").write_bytes(whole[:keep])
        with pytest.raises(ci.FormatError):
            ci.open_image(tmp_path / "b.zarr.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_is_found(folder, tmp_path, method):
    """In a chunk: its checksum is that of the table of contents."""
    dest = packed(folder, tmp_path / "a.zarr.zip", method=method)
    with zipfile.ZipFile(dest) as archive:
        chunk = max(archive.infolist(), key=lambda i: (i.filename.startswith("0/"), i.file_size))
    content = bytearray(dest.read_bytes())
    content[chunk.header_offset + 30 + len(chunk.filename) + chunk.compress_size // 2] ^= 0x55
    dest.write_bytes(content)
    with pytest.raises(ci.FormatError, match="damaged"):
        _ = ci.open_image(dest).values


def test_a_file_that_changed_is_not_read_on(folder, tmp_path):
    dest = packed(folder, tmp_path / "a.zarr.zip")
    image = ci.open_image(dest)
    packed(folder, dest, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(ci.FormatError, match="has changed"):
        _ = image.values


@pytest.mark.parametrize("name", ["a.zarr.zip", "a.ozx"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_writing(tmp_path, name, pyramid):
    """Uncompressed entries, read by zarr-python and xarray; nothing under the name before it is complete."""
    data = voxels(20, 130, 140)
    image = ci.from_array(data, spacing=(1, 2, 3), origin=(4, 5, 6))
    image.img.save(tmp_path / name, pyramid=pyramid)
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.testzip() is None
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert len(archive.namelist()) == len(set(archive.namelist()))
        assert archive.comment == b'{"ome": {"version": "0.5"}}'
    again = ci.open_image(tmp_path / name)
    assert again.img.grid == image.img.grid
    np.testing.assert_array_equal(again.values, data)
    opened = zarr.storage.ZipStore(tmp_path / name, mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = xr.open_zarr(opened, group="scale0" if pyramid else None)
        np.testing.assert_array_equal(plain.image.values, data)
    opened.close()
    with pytest.raises(FileExistsError):
        image.img.save(tmp_path / name)
    with pytest.raises(ci.FormatError, match=r"own source|read from this store"):
        again.img.save(tmp_path / name, overwrite=True)
    (again + 0).astype("i2").isel(z=slice(0, 5)).img.save(tmp_path / f"b{name}")
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"b{name}"]


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(block):
        raise RuntimeError("no")

    image = ci.from_array(voxels(20, 30, 40))
    with pytest.raises(RuntimeError, match="no"):
        image.copy(data=image.chunk().data.map_blocks(fail, dtype="i2")).img.save(tmp_path / "a.zarr.zip")
    assert list(tmp_path.iterdir()) == []
