"""Random access into gzip: what is read through an index is what nibabel, NumPy and a plain decode read."""

import gzip
import multiprocessing
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from gzip_streams import NOISE, SHAPE, STREAMS, deflated, make_indexes_small, members, stream_file, voxels
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkimg as ci
from chunkimg.io import gzip_access, gzip_along, gzip_build, gzip_read, streams
from chunkimg.io.file_array import file_array
from chunkimg.io.files import Layout
from chunkimg.io.gzip_access import SUFFIX, GzipAccess
from chunkimg.io.gzip_read import IndexedStream
from chunkimg.io.gzip_write import GzipWriter
from chunkimg.io.source import FileSource
from chunkimg.lazy import ViewArray
from chunkimg.open_file import OpenFile


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    make_indexes_small(monkeypatch, tmp_path)
    monkeypatch.setattr(gzip_build, "_SPACING", 64 << 10)


@pytest.mark.parametrize("start", [0, 311])
@pytest.mark.parametrize("name", STREAMS)
def test_streams(tmp_path, name, start):
    content, stream = STREAMS[name]
    source = stream_file(tmp_path, stream, start)
    access = GzipAccess(source, len(content))
    access.build(None, False, None)
    index = access.find()
    assert index.path == source.path + SUFFIX
    assert index.bounds[0] == 0 and index.bounds[-1] == len(content)
    rng = np.random.default_rng(5)
    for _ in range(12):
        at, size = int(rng.integers(len(content))), int(rng.integers(1, 99_999))
        size = min(size, len(content) - at)
        out = bytearray(size)
        with IndexedStream(index, source, index.touched(np.array([at]), size)) as reader:
            reader.seek(at)
            reader.read_into(memoryview(out))
        assert out == content[at : at + size]
    out = bytearray(len(content))
    with IndexedStream(index, source, range(len(index))) as reader:
        reader.read_into(memoryview(out))
    assert out == content


@pytest.mark.parametrize(("name", "least", "most"), [("single", 5, 9), ("one block", 1, 1), ("tiny members", 1, 1)])
def test_number_of_checkpoints(tmp_path, name, least, most):
    content, stream = STREAMS[name]
    access = GzipAccess(stream_file(tmp_path, stream), len(content))
    access.build(None, False, None)
    assert least <= len(access.find()) <= most


def test_members_need_no_windows(tmp_path):
    with open(tmp_path / "stream.gz", "wb") as file, GzipWriter(OpenFile(file.fileno(), "a.gz"), 2) as sink:
        sink.write(memoryview(NOISE * 7))
    source = FileSource.open(tmp_path / "stream.gz")
    access = GzipAccess(source, 7 * len(NOISE))
    access.build(None, False, None)
    index = access.find()
    whole = [k for k in range(len(index)) if index.bounds[k] % (1 << 20) == 0]
    assert len(whole) == 4
    with open(index.path, "rb") as file:
        assert [index.window(file.fileno(), k) for k in whole] == [b""] * 4


# ------------------------------------------------------------------------------------------------ images


@pytest.fixture
def scan(tmp_path):
    """Path of a .nii.gz, its voxels in dims order."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(voxels().T, np.diag([0.7, 0.8, 1.25, 1])), path)
    return str(path), voxels()


def lazy(path, index="auto"):
    from chunkimg.io.format import ReadOptions
    from chunkimg.io.nifti import FORMAT

    return FORMAT.open(path, ReadOptions(index=index)).data


@pytest.fixture
def used(monkeypatch):
    """Counts the intervals that are decoded."""
    seen = []
    original = IndexedStream._decode
    monkeypatch.setattr(IndexedStream, "_decode", lambda self, k: [seen.append(k), original(self, k)][1])
    return seen


indices = st.tuples(
    *(
        st.one_of(st.integers(0, n - 1), st.slices(n).filter(lambda s, n=n: len(range(n)[s]) > 0), st.just(slice(None)))
        for n in SHAPE
    )
)


def test_any_region(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("any") / "ct.nii.gz")
    nib.save(nib.Nifti1Image(voxels().T, np.eye(4)), path)
    ci.build_index(path)
    array = lazy(path)
    reference = np.asarray(nib.load(path).dataobj).T

    @given(indices)
    @settings(max_examples=60)
    def check(key):
        np.testing.assert_array_equal(array[key], reference[key])

    check()
    assert array.access == "indexed"


@pytest.mark.parametrize("dtype", [">i2", "<f4", "u1", ">f8"])
def test_types_and_axes(tmp_path, dtype, used):
    """Elements lie across the ends of intervals; a channel axis that is fastest in the file."""
    data = np.arange(3 * 40 * 50 * 31).reshape(40, 50, 31, 3).astype(dtype)
    (tmp_path / "raw.gz").write_bytes(gzip.compress(b"head!" + data.tobytes()))
    array = file_array(FileSource.open(tmp_path / "raw.gz"), Layout(5, np.dtype(dtype), data.shape, (3, 0, 1, 2)))
    array.gzip.build(None, False, None)
    for key in (np.s_[:, 30:37:2, ::7, 3], np.s_[1], np.s_[:, ::-1, 20:31], np.s_[2, 39, 49, 30], np.s_[:, :, :, 5]):
        np.testing.assert_array_equal(array[key], data.transpose(3, 0, 1, 2)[key])
    assert used


def test_made_by_a_read_far_inside_and_kept(scan, used):
    path, data = scan
    image = ci.open_image(path)
    assert image.img.access == "sequential" and "chunkimg index" in image.img.access.cost
    before = pickle.dumps(image)
    np.testing.assert_array_equal(image.isel(z=slice(0, 2)).values, data[:2])
    np.testing.assert_array_equal(image.values, data)
    assert not used and image.img.access == "sequential"
    np.testing.assert_array_equal(image.isel(z=20, y=slice(3, 9)).values, data[20, 3:9])
    assert used and image.img.access == "indexed"
    assert not os.path.exists(path + SUFFIX)
    made = os.listdir(os.environ["CHUNKIMG_CACHE"])
    assert len(made) == 1 and made[0].startswith("ct.nii.gz-") and made[0].endswith(SUFFIX)
    # what was opened before finds it too, and nothing is made twice
    stamp = os.stat(os.path.join(os.environ["CHUNKIMG_CACHE"], made[0])).st_mtime_ns
    del used[:]
    np.testing.assert_array_equal(pickle.loads(before).isel(x=7).values, data[:, :, 7])
    assert used and os.stat(os.path.join(os.environ["CHUNKIMG_CACHE"], made[0])).st_mtime_ns == stamp


def test_access(scan, tmp_path):
    path, _ = scan
    ci.build_index(path)
    image = ci.open_image(path)
    nib.save(nib.load(path), tmp_path / "raw.nii")
    raw = ci.open_image(tmp_path / "raw.nii")
    assert image.img.access == "indexed" and path + SUFFIX in image.img.access.cost
    assert raw.img.access == "random" and "own bytes" in raw.img.access.cost
    assert (image + raw).img.access == "indexed"
    assert ci.open_image(path, index=False).img.access == "sequential"
    assert (image + ci.open_image(path, index=False)).img.access == "sequential"
    assert raw.load().img.access == "random"
    copied = pickle.loads(pickle.dumps(image.img.access))
    assert copied == "indexed" and copied.cost == image.img.access.cost
    assert ci.read_header(path).access == "indexed"
    ci.save(raw, tmp_path / "a.ome.zarr")
    assert ci.open_image(tmp_path / "a.ome.zarr").img.access == "random"


def test_where_it_is_kept(scan, tmp_path, used):
    path, data = scan
    (tmp_path / "folder").mkdir()
    for option, place in (
        (tmp_path / "own" / "my.index", tmp_path / "own"),
        (str(tmp_path / "folder"), tmp_path / "folder"),
    ):
        image = ci.open_image(path, index=option)
        np.testing.assert_array_equal(image.isel(z=-1).values, data[-1])
        assert len(os.listdir(place)) == 1 and image.img.access == "indexed"
    assert not os.path.exists(os.environ["CHUNKIMG_CACHE"]) and not os.path.exists(path + SUFFIX)
    del used[:]
    np.testing.assert_array_equal(ci.open_image(path, index=False).isel(z=-1).values, data[-1])
    assert not used and not os.path.exists(os.environ["CHUNKIMG_CACHE"])
    for wrong in (True, 3):
        with pytest.raises(ci.FormatError, match="index is 'auto'"):
            ci.open_image(path, index=wrong)


def test_nothing_else_is_overwritten(scan, tmp_path):
    path, data = scan
    precious = tmp_path / "notes.txt"
    precious.write_text("precious")
    with pytest.raises(FileExistsError, match="is no index"):
        ci.build_index(path, dest=precious)
    image = ci.open_image(path, index=precious)
    with pytest.warns(ci.ChunkImgWarning) as seen:
        np.testing.assert_array_equal(image.isel(z=-1).values, data[-1])
    assert ["is no index" in str(w.message) for w in seen] == [True, True]
    assert precious.read_text() == "precious"


# ------------------------------------------------------------------------------------------------ never trusted


@pytest.mark.parametrize("keep_time", [False, True])
def test_another_file_of_the_same_size(scan, keep_time):
    path, data = scan
    nib.save(nib.Nifti1Image(data.T, np.eye(4)), path)
    plain = Path(path).read_bytes()
    stored = deflated(gzip.decompress(plain), 0, 8, 31)
    Path(path).write_bytes(stored)
    before = os.stat(path)
    ci.build_index(path)
    other = np.ascontiguousarray(data[::-1])
    content = bytearray(gzip.decompress(stored))
    content[352:] = other.tobytes()
    replaced = deflated(bytes(content), 0, 8, 31)
    assert len(replaced) == len(stored)
    Path(path).write_bytes(replaced)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.warns(ci.ChunkImgWarning, match=r"ct\.nii\.gz\.ci-index.*stale"):
        image = ci.open_image(path)
        assert image.img.access == "sequential"
    np.testing.assert_array_equal(image.isel(z=20).values, other[20])
    assert image.img.access == "indexed"


def test_copied_file_keeps_its_index(scan, tmp_path):
    import shutil

    path, data = scan
    ci.build_index(path)
    (tmp_path / "elsewhere").mkdir()
    for name in (path, path + SUFFIX):
        shutil.copyfile(name, tmp_path / "elsewhere" / os.path.basename(name))
    image = ci.open_image(tmp_path / "elsewhere" / "ct.nii.gz")
    assert image.img.access == "indexed"
    np.testing.assert_array_equal(image.isel(y=5).values, data[:, 5])


def forget():
    for known in (gzip_access._vain, gzip_access._told, gzip_access._wrong):
        known.clear()


@pytest.mark.filterwarnings("ignore::chunkimg.ChunkImgWarning")
def test_damage_anywhere_is_noticed(scan, monkeypatch):
    path, data = scan
    ci.build_index(path)
    # none is made in its place
    monkeypatch.setattr(streams, "WORTH", 1 << 40)
    good = Path(path + SUFFIX).read_bytes()
    array = lazy(path)
    rng = np.random.default_rng(11)
    places = [*range(100), *rng.integers(100, len(good), 60).tolist(), *range(len(good) - 80, len(good))]
    for at in places:
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(8))
        Path(path + SUFFIX).write_bytes(bad)
        forget()
        np.testing.assert_array_equal(array[:, :, 3], data[:, :, 3])
        noticed = [m for m in gzip_access._told if path + SUFFIX in m]
        assert len(noticed) == 1, at
    Path(path + SUFFIX).write_bytes(good)
    forget()
    assert array.access == "indexed" and not gzip_access._told


@pytest.mark.filterwarnings("ignore::chunkimg.ChunkImgWarning")
def test_truncated_index(scan):
    path, data = scan
    ci.build_index(path)
    good = Path(path + SUFFIX).read_bytes()
    array = lazy(path)
    for size in (0, 1, 8, 40, 96, len(good) // 2, len(good) - 36, len(good) - 1, len(good) + 1):
        Path(path + SUFFIX).write_bytes(good[:size].ljust(size, b"x"))
        forget()
        assert array.access == "sequential" and len(gzip_access._told) == 1
        np.testing.assert_array_equal(array[3, 4], data[3, 4])


def test_a_consistent_lie_is_noticed(scan):
    """Checksums of the index file are right, one of the content is not."""
    path, data = scan
    from chunkimg.io import gzip_index

    original = gzip_index.IndexWriter.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip_index.IndexWriter, "add", lambda self, b, c, w, crc: original(self, b, c, w, crc ^ 1))
        ci.build_index(path)
    array = lazy(path)
    assert array.access == "indexed"
    with pytest.warns(ci.ChunkImgWarning, match="other bytes than when the index was made"):
        np.testing.assert_array_equal(array[20], data[20])
    # known as wrong from then on, and replaced by one in the cache
    np.testing.assert_array_equal(array[21, 3:5], data[21, 3:5])
    assert array.access == "indexed" and os.environ["CHUNKIMG_CACHE"] in array.access.cost


def test_file_damaged_after_it_was_indexed(scan):
    """Head and tail are as they were: the checksum of the interval tells, and what is wrong is never returned."""
    path, data = scan
    content = gzip.decompress(Path(path).read_bytes())
    stream = bytearray(members(content, 100_000))
    Path(path).write_bytes(stream)
    ci.build_index(path)
    stream[len(stream) // 2] ^= 255
    Path(path).write_bytes(stream)
    array = lazy(path)
    np.testing.assert_array_equal(array[-1], data[-1])
    with pytest.warns(ci.ChunkImgWarning, match="not used"), pytest.raises(ci.FormatError):
        array[:, :, 3]


def test_truncated_file(scan):
    path, data = scan
    stream = Path(path).read_bytes()
    Path(path).write_bytes(stream[: len(stream) // 2])
    with pytest.raises(ci.FormatError, match=r"ct\.nii\.gz"):
        ci.build_index(path)
    image = ci.open_image(path)
    with pytest.warns(ci.ChunkImgWarning, match="no index can be made"):
        np.testing.assert_array_equal(image.isel(z=6, y=3).values, data[6, 3])
    with pytest.raises(ci.FormatError, match="truncated"):
        _ = image.isel(z=-1).values
    assert not os.path.exists(path + SUFFIX) and not os.path.exists(os.environ["CHUNKIMG_CACHE"] + "/x")


@pytest.mark.filterwarnings("ignore::chunkimg.ChunkImgWarning")
@pytest.mark.parametrize("seed", range(4))
def test_damaged_streams_never_give_an_index_that_differs(tmp_path, seed):
    rng = np.random.default_rng(seed)
    made = 0
    for _ in range(25):
        name = ("single", "members", "small members")[int(rng.integers(3))]
        content, stream = STREAMS[name]
        bad = bytearray(stream)
        for _ in range(int(rng.integers(3))):
            bad[int(rng.integers(12, len(bad)))] = int(rng.integers(256))
        bad += bytes(int(rng.integers(50)))
        source = stream_file(tmp_path, bytes(bad))
        access = GzipAccess(source, len(content))
        try:
            access.build(None, True, None)
        except ci.FormatError:
            continue
        made += 1
        out = bytearray(len(content))
        with IndexedStream(access.find(), source, range(len(access.find()))) as reader:
            reader.read_into(memoryview(out))
        assert out == gzip.decompress(bytes(bad))
    assert made


def test_nowhere_to_write(scan, monkeypatch, used):
    path, data = scan

    def refuse(self, path, progress=None):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(GzipAccess, "make", refuse)
    image = ci.open_image(path)
    with pytest.warns(ci.ChunkImgWarning, match="no index can be made") as seen:
        for z in (15, 20, 10):
            np.testing.assert_array_equal(image.isel(z=z).values, data[z])
    assert len(seen) == 1 and not used


def test_cache_that_cannot_be_written(scan, monkeypatch, tmp_path):
    path, data = scan
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("CHUNKIMG_CACHE", str(tmp_path / "occupied"))
    image = ci.open_image(path)
    np.testing.assert_array_equal(image.isel(z=15).values, data[15])
    assert os.path.exists(path + SUFFIX) and image.img.access == "indexed"


def test_without_indexed_gzip(scan, monkeypatch, used):
    path, data = scan
    # blocks of fixed codes are found by nobody else, and the file is too long for an index without them
    monkeypatch.setattr(gzip_along, "_REST", 2)
    plain = gzip.decompress(Path(path).read_bytes())
    Path(path).write_bytes(deflated(plain, 6, 8, 31, 9, zlib.Z_FIXED))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "indexed_gzip", None)
        image = ci.open_image(path)
        with pytest.warns(ci.ChunkImgWarning, match="indexed_gzip"):
            np.testing.assert_array_equal(image.isel(z=15).values, data[15])
    assert image.img.access == "sequential"
    ci.build_index(path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "indexed_gzip", None)
        np.testing.assert_array_equal(image.isel(z=15).values, data[15])
    assert image.img.access == "indexed" and used


# ------------------------------------------------------------------------------------------------ conversions


def test_backwards_conversion_uses_the_index(scan, tmp_path, used, monkeypatch):
    path, data = scan
    # as of voxels that are too many to be turned in memory
    monkeypatch.setattr("chunkimg.lazy._TURNED", 0)
    image = ci.open_image(path).isel(z=slice(None, None, -1), y=slice(None, None, 3))
    image.img.save(tmp_path / "flipped.nii", budget=1 << 20)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "flipped.nii").dataobj).T, data[::-1, ::3])
    assert used
    used.clear()
    # most of them are decoded once, into a temporary file
    ci.convert(path, tmp_path / "flipped.ome.zarr", z=slice(None, None, -1))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "flipped.ome.zarr").values, data[::-1])
    assert not used


def test_forward_conversion_is_one_plain_pass(scan, tmp_path, used):
    path, data = scan
    ci.build_index(path)
    ci.convert(path, tmp_path / "copy.nii")
    assert not used
    ci.convert(path, tmp_path / "end.nii", z=slice(18, 23))
    assert used
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "copy.nii").dataobj).T, data)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "end.nii").dataobj).T, data[18:])


def test_view_reads_backwards_through_its_reader(scan, used):
    path, data = scan
    ci.build_index(path)
    view = ViewArray(lazy(path), [range(22, -1, -1), range(0, 96, 5), (4, 90, 7)])
    with view.reader() as read:
        found = read((range(23), range(20), range(3)))
    np.testing.assert_array_equal(found, data[::-1, ::5][:, :, [4, 90, 7]])
    assert used


# ------------------------------------------------------------------------------------------------ processes


def _build_again_and_again(path, times):
    gzip_build._SPACING = 64 << 10
    for _ in range(times):
        ci.build_index(path, force=True)


def test_two_processes_at_once(scan):
    path, data = scan
    ci.build_index(path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build_again_and_again, args=(path, 8)) for _ in range(2)]
    for worker in workers:
        worker.start()
    array = lazy(path)
    while any(worker.is_alive() for worker in workers):
        np.testing.assert_array_equal(array[20, ::9], data[20, ::9])
        assert array.access == "indexed"
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(os.listdir(os.path.dirname(path))) == ["ct.nii.gz", "ct.nii.gz" + SUFFIX]


def test_dask_processes_share_it(scan):
    path, data = scan
    image = ci.open_image(path, chunks={"z": 6})
    ci.build_index(path)
    found = image.isel(x=slice(3, 9)).compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(found.values, data[:, :, 3:9])
    assert not os.path.exists(os.environ["CHUNKIMG_CACHE"])


def test_another_process_finds_it(scan):
    path, _ = scan
    ci.build_index(path, dest="cache")
    code = f"import chunkimg as ci; print(ci.open_image({path!r}).img.access)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "indexed"


# ------------------------------------------------------------------------------------------------ building ahead


def test_build_index(scan, tmp_path):
    path, _ = scan
    counts = []

    class Count:
        def start(self, total):
            counts.append(total)

        def __call__(self, count):
            counts.append(-count)

    assert ci.build_index(path, progress=Count()) == [path + SUFFIX]
    assert counts[0] == 352 + voxels().nbytes and sum(counts) == 0
    stamp = os.stat(path + SUFFIX).st_ino
    assert ci.build_index(path) == [path + SUFFIX] and os.stat(path + SUFFIX).st_ino == stamp
    ci.build_index(path, force=True)
    assert os.stat(path + SUFFIX).st_ino != stamp
    nib.save(nib.load(path), tmp_path / "plain.nii")
    with pytest.raises(ci.FormatError, match="not gzip"):
        ci.build_index(tmp_path / "plain.nii")


def test_who_may_read_it(scan):
    path, _ = scan
    for mode in (0o600, 0o640, 0o444):
        os.chmod(path, mode)
        (made,) = ci.build_index(path, force=True)
        assert os.stat(made).st_mode & 0o777 == mode
    ci.build_index(path, dest="cache")
    assert os.stat(os.environ["CHUNKIMG_CACHE"]).st_mode & 0o777 == 0o700


def test_pair(tmp_path):
    nib.save(nib.Nifti1Pair(voxels().T, np.eye(4)), tmp_path / "a.img.gz")
    assert ci.build_index(tmp_path / "a.hdr.gz") == [str(tmp_path / "a.img.gz") + SUFFIX]
    assert ci.open_image(tmp_path / "a.img.gz").img.access == "indexed"


def test_command_line(scan, tmp_path):
    from chunkimg.cli import cli

    path, _ = scan
    run = CliRunner().invoke
    made = run(cli, ["index", path])
    assert made.exit_code == 0 and f"{path}{SUFFIX}" in made.output and "MiB" in made.output
    assert "indexed" in run(cli, ["info", path]).output
    assert '"access": "indexed"' in run(cli, ["info", "--json", path]).output
    made = run(cli, ["index", "--cache", "--force", path])
    assert made.exit_code == 0 and len(os.listdir(os.environ["CHUNKIMG_CACHE"])) == 1
    made = run(cli, ["index", "--output", str(tmp_path / "other.idx"), path])
    assert made.exit_code == 0 and (tmp_path / "other.idx").exists()
    nib.save(nib.load(path), tmp_path / "plain.nii")
    made = run(cli, ["index", str(tmp_path / "plain.nii"), path])
    assert made.exit_code == 1 and "not gzip" in made.output and f"{path}{SUFFIX}" in made.output
    assert run(cli, ["index", "--cache", "--output", "x", path]).exit_code == 2
    assert run(cli, ["index", "--output", "x", path, path]).exit_code == 2


def test_threads_of_a_reader_end(scan):
    import threading

    path, _ = scan
    ci.build_index(path)
    array = lazy(path)
    _ = array[:, 4]
    assert not [t for t in threading.enumerate() if t.name.startswith("chunkimg-")]
    assert gzip_read.thread_count() >= 1


def test_flipped_bits_are_noticed_by_whoever_reads_the_last_voxel(scan):
    """Most decode to other voxels, some to more of them, without an error: what tells is the checksum behind them."""
    path, _ = scan
    content = gzip.decompress(Path(path).read_bytes())
    stream = bytearray(gzip.compress(content, 6))
    random = np.random.default_rng(0)
    for at in random.integers(len(stream) // 4, len(stream) - 9, 60):
        stream[at] ^= 4
        Path(path).write_bytes(stream)
        with pytest.raises(ci.FormatError):
            lazy(path, False)[:]
        stream[at] ^= 4
