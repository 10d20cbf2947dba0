"""The index of a gzip file that is made while all of it is read for something else."""

import itertools
import os
import shutil
import zlib

import nibabel as nib
import numpy as np
import pytest
from gzip_streams import MIXED, NOISE, STREAMS, deflated, make_indexes_small, members, stream_file, voxels
from hypothesis import given
from hypothesis import strategies as st

import chunkimg as ci
from chunkimg.io import gzip_access, gzip_along, gzip_blocks
from chunkimg.io.gzip_access import GzipAccess
from chunkimg.io.gzip_along import IndexRecorder
from chunkimg.io.gzip_blocks import Place, find_block
from chunkimg.io.gzip_index import fingerprint, load
from chunkimg.io.gzip_read import IndexedStream, inflate
from chunkimg.io.source import DecodedStream
from chunkimg.open_file import OpenFile

SPACING = 32 << 10


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    make_indexes_small(monkeypatch, tmp_path)
    monkeypatch.setattr(gzip_along, "_SPACING", SPACING)
    monkeypatch.setattr(gzip_along, "_PIECE", 1 << 10)
    monkeypatch.setattr(gzip_along, "_COMPARED", 5_000)


def blocked(data, size):
    """Members of one block each, as bgzip writes them, with an extra field and a name."""
    head = b"\x1f\x8b\x08\x0c\0\0\0\0\0\xff\x06\0BC\x02\0ab" + b"name\0"
    each = [data[at : at + size] for at in range(0, len(data), size)]
    tails = [zlib.crc32(part).to_bytes(4, "little") + len(part).to_bytes(4, "little") for part in each]
    return b"".join(head + deflated(part, 6, 8, -15) + tail for part, tail in zip(each, tails, strict=True))


MORE = {
    "blocks of bgzip": (NOISE, blocked(NOISE, 9_000)),
    "compressed more and more": (
        growing := b"".join((voxels(k)[:6] >> k).tobytes() for k in range(9)),
        deflated(growing, 6, 8, 31, 4),
    ),
    "little, then zeros, then much": (
        uneven := NOISE[:50_000] + bytes(6 << 20) + NOISE[50_000:],
        deflated(uneven, 6, 8, 31, 4),
    ),
    "many short blocks": (NOISE, deflated(NOISE, 6, 8, 31, 1)),
}
ALL = {**STREAMS, **MORE}
#: streams in which no block can be found that is of use, in the order of what they are
NONE = {"stored", "fixed codes", "one block", "zeros, one block"}


def recorded(tmp_path, stream, content, sizes, start=0):
    """The content as it is decoded, and the index that was made."""
    source = stream_file(tmp_path, stream, start)
    path = str(tmp_path / "made")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    with source.open_checked() as file:
        mark = fingerprint(file, source.size, source.start)
    recorder = IndexRecorder(source, len(content), mark, OpenFile(fd, path))
    out, at = bytearray(len(content)), 0
    with DecodedStream(source, recorder) as decoded:
        for size in itertools.cycle(sizes):
            if at >= len(out):
                break
            decoded.read_into(memoryview(out)[at : at + size])
            at += size
        decoded.finish()
        recorder.finish()
    os.close(fd)
    return out, source, load(path, source, mark) if recorder.complete else None


def each_interval(index, source):
    with IndexedStream(index, source, range(len(index))) as stream:
        for k in range(len(index)):
            out = bytearray(index.length_of(k))
            stream.read_into(memoryview(out))
            yield bytes(out)


@pytest.mark.parametrize("sizes", [[1 << 30], [50_001, 7, 70_000]], ids=["at once", "in parts"])
@pytest.mark.parametrize("start", [0, 311])
@pytest.mark.parametrize("name", ALL)
def test_streams(tmp_path, name, start, sizes):
    content, stream = ALL[name]
    out, source, index = recorded(tmp_path, stream, content, sizes, start)
    assert out == content
    if index is None:
        # blocks of what repeats are MiB long: too long for intervals as short as these
        assert name in NONE or "stored here" in name or name in ("zeros", "repeating")
        return
    assert name not in NONE
    assert b"".join(each_interval(index, source)) == content
    each = len(content) / len(index)
    # far apart where much comes of little: a block of zeros is MiB long
    assert SPACING / 2 <= each <= 8 * SPACING or len(content) < 2 * SPACING or "zeros" in name or name == "repeating"


def test_spacing(tmp_path, monkeypatch):
    content, stream = ALL["fast"]
    for spacing, least, most in ((16 << 10, 9, 30), (128 << 10, 2, 4)):
        monkeypatch.setattr(gzip_along, "_SPACING", spacing)
        _, _, index = recorded(tmp_path, stream, content, [1 << 30])
        assert least <= len(index) <= most


@given(
    level=st.integers(1, 9),
    memory=st.integers(1, 9),
    strategy=st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE]),
    sizes=st.lists(st.integers(1, 90_000), min_size=1, max_size=5).filter(lambda s: max(s) > 2_000),
    length=st.integers(150_000, len(NOISE)),
)
def test_any_stream(tmp_path_factory, level, memory, strategy, sizes, length):
    content = NOISE[-length:]
    stream = deflated(content, level, 8, 31, memory, strategy)
    out, source, index = recorded(tmp_path_factory.mktemp("any"), stream, content, sizes)
    assert out == content
    # of few long blocks none may start where it could be used
    assert index is not None and (len(index) > 1 or memory > 6)
    assert b"".join(each_interval(index, source)) == content


def test_places_are_blocks(tmp_path):
    content, stream = ALL["many short blocks"]
    source = stream_file(tmp_path, stream)
    with source.open_checked() as fd:
        first = gzip_blocks.first_block(fd, 0)
        assert first == Place(80, True)
        assert b"".join(inflate(fd, 80, None, b"", len(content))) == content
        found = []
        at = 11
        while (place := find_block(fd, at)) is not None:
            found.append(place)
            at = place.byte + 1
    # blocks of at most 127 symbols (memLevel 1), each of at least half a byte; the last one is not looked for
    assert len(content) / 2 / 300 < len(found)
    _, _, index = recorded(tmp_path, stream, content, [1 << 30])
    assert {index.bits(k)[0] for k in range(1, len(index))} <= {place.bit for place in found}


def test_wrong_places_are_never_kept(tmp_path, monkeypatch):
    content, stream = ALL["single"]
    rng = np.random.default_rng(2)

    def anywhere(fd, start):
        return Place(8 * start + int(rng.integers(1, 400)), False)

    monkeypatch.setattr(gzip_along, "find_block", anywhere)
    out, _, index = recorded(tmp_path, stream, content, [1 << 30])
    assert out == content
    # only the start of the stream is one, and an index of that alone is of no use
    assert index is None


def test_some_wrong_places_among_right_ones(tmp_path, monkeypatch):
    content, stream = ALL["fast"]
    true, calls = gzip_along.find_block, []

    def sometimes(fd, start):
        calls.append(start)
        return Place(8 * start + 11, False) if len(calls) % 3 == 0 else true(fd, start)

    monkeypatch.setattr(gzip_along, "find_block", sometimes)
    out, source, index = recorded(tmp_path, stream, content, [1 << 30])
    assert out == content
    assert len(calls) > len(index) >= 5
    assert b"".join(each_interval(index, source)) == content


@pytest.mark.parametrize("seed", range(40))
def test_damaged_streams(tmp_path, seed):
    rng = np.random.default_rng(seed)
    name = ["single", "members", "blocks of bgzip", "fast"][seed % 4]
    content, stream = ALL[name]
    bad = bytearray(stream)
    bad[int(rng.integers(12, len(bad)))] ^= 1 << int(rng.integers(8))
    try:
        out, source, index = recorded(tmp_path, bytes(bad), content, [1 << 30])
    except ci.FormatError:
        return
    assert out == content
    assert index is None or b"".join(each_interval(index, source)) == content


# ---------------------------------------------------------------------------------------------- files


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(voxels().T, np.diag([0.7, 0.8, 1.25, 1])), path)
    return path


def cached(tmp_path):
    folder = tmp_path / "cache"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii", ".nrrd", ".nii.gz"])
def test_conversion_leaves_an_index(scan, tmp_path, suffix):
    ci.convert(scan, tmp_path / f"copy{suffix}")
    assert len(cached(tmp_path)) == 1
    image = ci.open_image(scan)
    assert image.img.access == "indexed"
    np.testing.assert_array_equal(image[20, 5:9, ::3].values, voxels()[20, 5:9, ::3])
    np.testing.assert_array_equal(ci.open_image(tmp_path / f"copy{suffix}").values, voxels())
    made = os.stat(tmp_path / "cache" / cached(tmp_path)[0])
    ci.convert(scan, tmp_path / "again.nii")
    assert os.stat(tmp_path / "cache" / cached(tmp_path)[0]).st_mtime_ns == made.st_mtime_ns
    assert (tmp_path / "again.nii").read_bytes()[352:] == voxels().tobytes()


def test_statistics_leave_an_index(scan, tmp_path):
    assert ci.open_image(scan, chunks=None).img.stats().max == voxels().max()
    assert len(cached(tmp_path)) == 1


def test_none_is_made(scan, tmp_path, command):
    ci.convert(scan, tmp_path / "a.nii", index=False)
    command("convert", scan, tmp_path / "b.nii", "--no-index")
    ci.convert(scan, tmp_path / "c.nii", z=slice(0, 5))
    ci.open_image(scan, index=False, chunks=None).img.stats()
    assert cached(tmp_path) == []
    command("convert", scan, tmp_path / "d.nii")
    assert len(cached(tmp_path)) == 1


def test_none_beside_one_that_is_there(scan, tmp_path):
    ci.build_index(scan)
    ci.convert(scan, tmp_path / "a.nii")
    assert cached(tmp_path) == []


def test_at_the_place_that_is_named(scan, tmp_path):
    ci.convert(scan, tmp_path / "a.nii", index=tmp_path / "mine")
    assert cached(tmp_path) == [] and (tmp_path / "mine").is_file()
    assert ci.open_image(scan, index=tmp_path / "mine").img.access == "indexed"


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_damaged_files_have_none(scan, tmp_path, how):
    data = bytearray(scan.read_bytes())
    if how == "cut":
        data = data[: len(data) * 2 // 3]
    else:
        data[-5] ^= 1  # the length of the content
        data[-3] ^= 1
    scan.write_bytes(data)
    with pytest.raises(ci.FormatError):
        ci.convert(scan, tmp_path / "a.nii")
    assert cached(tmp_path) == []


def test_nowhere_to_keep_it(scan, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CHUNKIMG_CACHE", str(tmp_path / "file" / "below"))
    ci.convert(scan, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[352:] == voxels().tobytes()


def test_disk_full_on_the_way(scan, tmp_path, monkeypatch):
    real = os.pwrite

    def pwrite(fd, data, position):
        if position > 40_000:
            raise OSError(28, "No space left on device")
        return real(fd, data, position)

    monkeypatch.setattr("chunkimg.io.gzip_index.os.pwrite", pwrite)
    ci.convert(scan, tmp_path / "a.nrrd", encoding="raw")
    monkeypatch.undo()
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nrrd").values, voxels())
    assert [name for name in cached(tmp_path) if name.endswith(gzip_access.SUFFIX)] == []


def test_cache_folder_removed_on_the_way(scan, tmp_path, monkeypatch):
    real = IndexRecorder.finish
    monkeypatch.setattr(IndexRecorder, "finish", lambda self: (shutil.rmtree(tmp_path / "cache"), real(self)))
    ci.convert(scan, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[352:] == voxels().tobytes()
    assert not (tmp_path / "cache").exists()


def test_indexes_that_killed_processes_left_are_removed(scan, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    old, young, other = (f".x.nii.gz.ci-index.{k:08x}.partial" for k in range(3))
    other += ".txt"
    for name in (old, young, other):
        (folder / name).write_bytes(b"half")
    for name in (old, other):
        os.utime(folder / name, (1e9, 1e9))
    ci.convert(scan, tmp_path / "a.nii")
    left = {p.name for p in folder.iterdir()}
    assert old not in left and {young, other} < left and len(left) == 3


def test_read_backwards_and_again(scan, tmp_path):
    image = ci.open_image(scan, chunks=None)
    image.isel(z=slice(None, None, -1)).img.save(tmp_path / "flipped.nii", budget=1 << 20)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "flipped.nii").dataobj).T, voxels()[::-1])


def test_stored_parts(tmp_path):
    stream = members(MIXED, 150_000)
    access = GzipAccess(stream_file(tmp_path, stream), len(MIXED))
    with access.along() as recorder, DecodedStream(access.source, recorder) as decoded:
        assert decoded.read_up_to(len(MIXED)) == MIXED
        decoded.finish()
        recorder.finish()
    assert recorder.complete == (access.find() is not None)


def test_cache_is_kept_small(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    paths = []
    for k in range(4):
        paths.append(tmp_path / f"{k}.nii.gz")
        nib.save(nib.Nifti1Image(voxels(k).T, np.eye(4)), paths[-1])
    ci.convert(paths[0], tmp_path / "0.nii")
    (made,) = folder.iterdir()
    monkeypatch.setattr(gzip_access, "CACHE_LIMIT", int(2.5 * made.stat().st_size))
    (folder / "note.txt").write_text("of somebody else")
    os.utime(made, (1e9, 1e9))
    for k in range(1, 4):
        ci.convert(paths[k], tmp_path / f"{k}.nii")
        (now,) = folder.glob(f"{k}.nii.gz*")
        os.utime(now, (1e9 + k, 1e9 + k))
    assert [name.split("-")[0] for name in cached(tmp_path)] == ["2.nii.gz", "3.nii.gz", "note.txt"]


def test_a_user_without_a_home_gets_no_folder_called_tilde(scan, tmp_path, monkeypatch):
    monkeypatch.delenv("CHUNKIMG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    # what expanduser does where neither HOME nor the table of users has a folder
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ci.convert(scan, tmp_path / "a.nii")
    image = ci.open_image(scan, chunks=None)
    np.testing.assert_array_equal(image[-2:].values, voxels()[-2:])
    assert list(here.iterdir()) == [] and image.img.access == "indexed"
    assert (tmp_path / f"{scan.name}.ci-index").exists()
    with pytest.raises(FileNotFoundError, match="CHUNKIMG_CACHE"):
        ci.build_index(scan, dest="cache")
