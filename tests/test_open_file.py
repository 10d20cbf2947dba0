"""Temporary files leave nothing behind; a file that cannot be written to its end is named."""

import contextlib
import errno
import gzip
import os
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import chunkimg as ci
from chunkimg.image.build import to_volume
from chunkimg.open_file import OpenFile, naming, temporary_file
from chunkimg.ops import boxes, leftovers

resource = pytest.importorskip("resource")

LIMIT = 50_000


def image(depth=70):
    values = np.random.default_rng(0).integers(0, 30_000, (depth, 40, 50)).astype("i2")
    return ci.from_array(values, spacing=(1, 2, 3))


@contextlib.contextmanager
def no_file_is_larger(limit=LIMIT):
    """The system refuses to write more into any one file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """An image that is decoded front to back, in a folder of its own; temporary files have one too."""
    monkeypatch.setattr("chunkimg.lazy._TURNED", 1 << 16)
    for name in ("source", "work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    image().img.save(tmp_path / "source" / "a.nii")
    (tmp_path / "source" / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "source" / "a.nii").read_bytes()))
    return tmp_path / "source" / "a.nii.gz"


def turned(stream):
    return ci.open_image(stream, chunks=None).isel(z=slice(None, None, -1))


def assembled(stream):
    made = ci.open_image(stream, chunks=None).img.map_patches(
        np.array, (20, 16, 30), 3, weights="hann", dtype="float32"
    )
    array = to_volume(made).data
    with array.reader() as read:
        for z in range(0, 70, 10):
            read((range(z, z + 10), range(40), range(50)))


JOBS = {
    "zarr": lambda s: turned(s).img.save(s.parent.parent / "work" / "b.zarr", budget=1 << 20),
    "nii": lambda s: turned(s).img.save(s.parent.parent / "work" / "b.nii", budget=1 << 20),
    "nii.gz": lambda s: turned(s).img.save(s.parent.parent / "work" / "b.nii.gz", budget=1 << 20),
    "nhdr": lambda s: turned(s).img.save(s.parent.parent / "work" / "b.nhdr", budget=1 << 20),
    "resampled": lambda s: (
        ci.open_image(s, chunks=None).img.resample(2.5).img.save(s.parent.parent / "work" / "b.zarr")
    ),
    "assembled": assembled,
}


@pytest.mark.parametrize("job", JOBS)
def test_temporary_files_have_no_name(stream, monkeypatch, job):
    monkeypatch.setattr(leftovers, "_KEPT", 0)
    seen, write, into = set(), OpenFile.write, set()

    def watched(self, data, position):
        into.add(self.name)
        seen.update(os.listdir(tempfile.gettempdir()), os.listdir(stream.parent.parent / "work"))
        return write(self, data, position)

    monkeypatch.setattr(OpenFile, "write", watched)
    JOBS[job](stream)
    where = "work" if job.startswith("n") else "temporary"
    assert str(stream.parent.parent / where) in into, "no temporary file was written"
    assert seen <= {
        ".b.zarr.partial",
        ".b.nii.partial",
        ".b.nii.gz.partial",
        ".b.nhdr.partial",
        ".b.raw.partial",
        "b.raw",
    }
    assert os.listdir(tempfile.gettempdir()) == []


SLOW = """
import os, sys, time
import chunkimg as ci
from chunkimg import lazy, open_file
lazy._TURNED = 1 << 16
write = open_file.OpenFile.write
def slow(self, data, position):
    print("written", flush=True)
    time.sleep(0.05)
    return write(self, data, position)
open_file.OpenFile.write = slow
turned = ci.open_image(sys.argv[1], chunks=None, index=False).isel(z=slice(None, None, -1))
turned.img.save(sys.argv[2], budget=1 << 20)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_nothing_is_left_of_the_temporary_files_of_a_killed_process(stream):
    temporary = tempfile.gettempdir()
    command = [sys.executable, "-c", SLOW, str(stream), str(stream.parent.parent / "work" / "b.zarr")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": temporary}) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert os.listdir(temporary) == []


# ------------------------------------------------------------------ files that cannot be written to their end

NAMES = ["b.nii", "b.nii.gz", "b.hdr", "b.nrrd", "b.nhdr", "b.zarr", "b.zarr.zip"]


@pytest.mark.parametrize(
    ("name", "encoding"), [*((n, None) for n in NAMES), *(("b.nrrd", e) for e in ("gzip", "bzip2", "ascii", "hex"))]
)
def test_files_that_cannot_be_written_are_named(tmp_path, name, encoding):
    options = {} if encoding is None else {"encoding": encoding}
    with no_file_is_larger(), pytest.raises(OSError) as caught:
        image().img.save(tmp_path / name, **options)
    assert caught.value.errno == errno.EFBIG
    voxels = {"b.hdr": "b.img", "b.nhdr": "b.raw", "b.zarr": ".b.zarr.partial/image/c/0/0/0"}.get(name, name)
    assert caught.value.filename == str(tmp_path / voxels)
    assert repr(str(tmp_path / voxels)) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ["zarr", "nii", "nii.gz", "resampled", "assembled"])
def test_the_folder_of_temporary_files_is_named(stream, monkeypatch, job):
    monkeypatch.setattr(leftovers, "_KEPT", 0)
    ci.open_image(stream, chunks=None).values  # noqa: B018  an index is no temporary file
    with no_file_is_larger(4096), pytest.raises(OSError, match="for a temporary file") as caught:
        JOBS[job](stream)
    beside = job.startswith("n")
    assert caught.value.filename == (str(stream.parent.parent / "work") if beside else tempfile.gettempdir())
    assert ("TMPDIR" in str(caught.value)) == (not beside)
    assert list((stream.parent.parent / "work").iterdir()) == []


def test_windows_that_do_not_fit_a_temporary_file_are_decoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    spare = boxes._Spare()
    with spare:
        for _ in range(2):
            assert spare.get((0,)) is None
        spare.put((0,), np.arange(9))
        assert spare.get((0,)) is None
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with boxes._Spare() as spare:
        for _ in range(2):
            assert spare.get((0,)) is None
        spare.put((0,), np.arange(9))
        np.testing.assert_array_equal(spare.get((0,)), np.arange(9))


@pytest.mark.parametrize("blocks", [True, False], ids=["found", "by indexed_gzip"])
def test_an_index_that_cannot_be_written(tmp_path, monkeypatch, blocks):
    values = np.random.default_rng(1).integers(0, 3000, (70, 200, 200)).astype("i2")
    ci.from_array(values).img.save(tmp_path / "a.nii")
    # stored blocks are not found on the way
    packed = gzip.compress((tmp_path / "a.nii").read_bytes(), 6 if blocks else 0)
    (tmp_path / "a.nii.gz").write_bytes(packed)
    monkeypatch.setattr("chunkimg.io.gzip_access.cache_folder", lambda: tmp_path / "cache")
    for module in ("gzip_access", "streams"):
        monkeypatch.setattr(f"chunkimg.io.{module}.WORTH", 1 << 16)
    with no_file_is_larger(2000 if blocks else 100):
        with pytest.raises(OSError) as caught:
            ci.build_index(tmp_path / "a.nii.gz")
        if blocks:
            assert caught.value.filename == str(tmp_path / "a.nii.gz.ci-index")
        else:
            assert "index" in str(caught.value)
        # without one everything is read as it is
        found = ci.open_image(tmp_path / "a.nii.gz", chunks=None)
        np.testing.assert_array_equal(found.values, values)
        with pytest.warns(ci.ChunkImgWarning, match="no index can be made"):
            np.testing.assert_array_equal(found[60:62, :3].values, values[60:62, :3])
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["a.nii", "a.nii.gz"]


def test_names_that_errors_have_stay():
    with pytest.raises(OSError, match="full: 'here'"), naming("there"):
        raise OSError(errno.ENOSPC, "full", "here")
    with pytest.raises(OSError, match="full, they say: 'there'"), naming("there", ", they say"):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match=r"^no number$"), naming("there"):
        raise OSError("no number")


def test_pieces_take_the_room_of_others():
    with temporary_file() as file:
        slots = leftovers._Slots(file)
        pieces = [leftovers.Piece(np.full((2, 3, n), n, "f4"), (n, 0, 0)) for n in (5, 7, 4, 5)]
        first, second = (slots.put(p) for p in pieces[:2])
        slots.remove(first)
        third, fourth = (slots.put(p) for p in pieces[2:])
        # in the smallest room that fits, else behind
        assert third.start == first.start and fourth.start == second.start + second.size
        for slot, piece in zip((second, third, fourth), pieces[1:], strict=True):
            found = slots.get(slot)
            assert found.first == piece.first
            np.testing.assert_array_equal(found.values, piece.values)
        assert os.fstat(file.fd).st_size == fourth.start + fourth.size
