"""What chunkimg writes as gzip carries its own index, and is plain gzip to everybody else."""

import gzip
import itertools
import os
import shutil
import struct
import subprocess
import warnings
import zlib

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from gzip_streams import SHAPE, make_indexes_small, voxels
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

import chunkimg as ci
from chunkimg.cli import cli
from chunkimg.io import gzip_table, gzip_write, streams
from chunkimg.io.gzip_access import SUFFIX, GzipAccess
from chunkimg.io.gzip_read import IndexedStream
from chunkimg.io.gzip_table import ROW, PieceTable, packed_table, read_table
from chunkimg.io.gzip_write import GzipWriter
from chunkimg.io.source import FileSource
from chunkimg.open_file import OpenFile

AFFINE = np.array([[0.64, 0, 0.6, -30], [0.48, 0, -0.8, 11], [0, -1.3, 0, 5.5], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Many pieces of small files."""
    make_indexes_small(monkeypatch, tmp_path)
    monkeypatch.setattr(gzip_write, "_PIECE", 10_007)


@pytest.fixture
def image():
    return ci.from_array(voxels(), affine=AFFINE)


@pytest.fixture
def scan(image, tmp_path):
    image.img.save(tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def table_in(path, start=0):
    data = path.read_bytes()[start:]
    return read_table(lambda at, count: data[at : at + count], len(data))


def written(content, tmp_path, name="stream.gz", start=0, level=None):
    path = tmp_path / name
    with open(path, "w+b") as file, GzipWriter(OpenFile(file.fileno(), "a.gz"), level, start) as sink:
        sink.write(memoryview(content))
    return path


def with_rapidgzip(path):
    rapidgzip = pytest.importorskip("rapidgzip")
    with rapidgzip.open(str(path), parallelization=2) as file:
        return file.read()


def with_indexed_gzip(path):
    indexed_gzip = pytest.importorskip("indexed_gzip")
    with indexed_gzip.IndexedGzipFile(str(path), spacing=64 << 10) as file:
        file.build_full_index()
        file.seek(0)
        return file.read()


def with_gunzip(path):
    if shutil.which("gunzip") is None:
        pytest.skip("gunzip is not installed")
    tested = subprocess.run(["gunzip", "-t", path], capture_output=True, check=False)
    assert (tested.returncode, tested.stderr) == (0, b"")
    return subprocess.run(["gunzip", "-c", path], capture_output=True, check=True).stdout


def with_zlib(path):
    data, out = path.read_bytes(), b""
    while data:
        decoder = zlib.decompressobj(31)
        out += decoder.decompress(data) + decoder.flush()
        assert decoder.eof
        data = decoder.unused_data
    return out


def opened_by(module, path):
    with module.open(path) as file:
        return file.read()


READERS = {
    "zlib": with_zlib,
    "gzip": lambda path: gzip.decompress(path.read_bytes()),
    "gzip file": lambda path: opened_by(gzip, path),
    "isal": lambda path: opened_by(igzip, path),
    "isal at once": lambda path: igzip.decompress(path.read_bytes()),
    "rapidgzip": with_rapidgzip,
    "indexed_gzip": with_indexed_gzip,
    "gunzip": with_gunzip,
}


# ------------------------------------------------------------------------------------------- to other readers


@pytest.mark.parametrize("size", [53, 10_007, 200_000])
@pytest.mark.parametrize("reader", READERS)
def test_other_readers(reader, size, tmp_path, monkeypatch):
    monkeypatch.setattr(gzip_write, "_PIECE", size)
    content = voxels().tobytes()
    path = written(content, tmp_path)
    rows = table_in(path).rows
    assert len(rows) == -(-len(content) // size)
    # 9 161 pieces: more rows than one extra field holds
    assert (len(rows) > 8191) == (size == 53)
    assert READERS[reader](path) == content


def test_imaging_readers(scan):
    sitk = pytest.importorskip("SimpleITK")
    assert np.array_equal(np.asanyarray(nib.load(scan).dataobj).T, voxels())
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(scan)), voxels())
    shown = nib.load(scan, keep_file_open=True)
    assert np.array_equal(np.asanyarray(shown.dataobj[50, 3:7, ::5]), voxels().T[50, 3:7, ::5])


def test_nrrd_readers(image, tmp_path):
    nrrd = pytest.importorskip("nrrd")
    sitk = pytest.importorskip("SimpleITK")
    image.img.save(tmp_path / "a.nrrd", encoding="gzip")
    assert np.array_equal(nrrd.read(str(tmp_path / "a.nrrd"))[0].T, voxels())
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "a.nrrd")), voxels())


# --------------------------------------------------------------------------------------------- to chunkimg


def test_read_at_once(scan, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("no index is made, no stream decoded from its start")

    lazy = ci.open_image(scan, chunks=None)
    monkeypatch.setattr(streams, "DecodedStream", never)
    monkeypatch.setattr(GzipAccess, "make", never)
    assert lazy.img.access == "indexed"
    assert "in the file itself" in lazy.img.access.cost
    rng = np.random.default_rng(1)
    for _ in range(20):
        lo = [int(rng.integers(n)) for n in SHAPE]
        where = tuple(
            slice(a, int(rng.integers(a + 1, n + 1)), int(rng.integers(1, 4))) for a, n in zip(lo, SHAPE, strict=True)
        )
        assert np.array_equal(lazy[where].values, voxels()[where])
    assert np.array_equal(lazy[:, ::-1, 7].values, voxels()[:, ::-1, 7])
    assert sorted(os.listdir(tmp_path)) == ["a.nii.gz"]


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.hdr.gz"])
def test_formats(name, image, tmp_path):
    image.img.save(tmp_path / name, **({} if name.endswith(".gz") else {"encoding": "gzip"}))
    lazy = ci.open_image(tmp_path / name, chunks=None)
    assert lazy.img.access == "indexed"
    assert np.array_equal(lazy[20, 5:9, ::3].values, voxels()[20, 5:9, ::3])
    if name == "a.nrrd":
        # the header may be edited: places count from the start of the gzip stream
        text = (tmp_path / name).read_bytes()
        (tmp_path / "b.nrrd").write_bytes(text.replace(b"\n\n", b"\n# a comment\n\n", 1))
        assert ci.open_image(tmp_path / "b.nrrd", chunks=None).img.access == "indexed"


def test_index_false_and_external(scan):
    assert ci.open_image(scan, index=False).img.access == "sequential"
    assert np.array_equal(ci.open_image(scan, index=False).values, voxels())


def test_build_index_makes_none(scan, tmp_path):
    assert ci.build_index(scan) == [str(scan)]
    assert ci.build_index(scan, dest=tmp_path / "else", force=True) == [str(scan)]
    found = CliRunner().invoke(cli, ["index", str(scan)])
    assert found.exit_code == 0 and "needs no index" in found.output
    assert sorted(os.listdir(tmp_path)) == ["a.nii.gz"]


def test_whole_and_sound(scan, tmp_path):
    assert [f for f in ci.validate(scan) if f.severity == "error"] == []
    ci.convert(scan, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == gzip.decompress(scan.read_bytes())


def test_same_again(image, tmp_path):
    for level in (None, 0, 3, 6):
        made = []
        for name in ("a.nii.gz", "b.nii.gz"):
            image.img.save(tmp_path / name, gzip_level=level, overwrite=True)
            made.append((tmp_path / name).read_bytes())
        assert made[0] == made[1]
        assert gzip.decompress(made[0])[352:] == voxels().tobytes()


def test_levels_without_zlib_ng(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "zlib_ng", None)
    path = written(voxels().tobytes(), tmp_path, level=6)
    first = zlib.compressobj(6, zlib.DEFLATED, -15)
    expected = first.compress(voxels().tobytes()[:10_007]) + first.flush(zlib.Z_FULL_FLUSH)
    assert path.read_bytes()[10 : 10 + len(expected)] == expected
    assert gzip.decompress(path.read_bytes()) == voxels().tobytes()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.img.gz", "a.nrrd"])
def test_left_out_where_it_is_not_wanted(name, image, tmp_path, command):
    """Readers in browsers take the end of the file for that of the content, and its last bytes for its length."""
    encoding = {"encoding": "gzip"} if name == "a.nrrd" else {}
    with_table, without = tmp_path / name, tmp_path / "b" / name
    without.parent.mkdir()
    image.img.save(with_table, **encoding)
    image.img.save(without, gzip_table=False, **encoding)
    head = with_table.read_bytes().index(gzip_table.HEAD)
    assert table_in(with_table, head) is not None
    assert with_table.read_bytes().startswith(without.read_bytes())
    stream = without.read_bytes()[head:]
    member = zlib.decompressobj(31)
    content = member.decompress(stream) + member.flush()
    assert member.eof and not member.unused_data
    assert int.from_bytes(stream[-4:], "little") == len(content) > image.nbytes - 1
    np.testing.assert_array_equal(ci.open_image(without).values, image.values)
    command("convert", with_table, tmp_path / f"c{name}", "--no-gzip-table")
    assert (tmp_path / f"c{name}").read_bytes()[-4:] == stream[-4:]
    with pytest.raises(ci.FormatError, match="gzip_table= is for"):
        image.img.save(tmp_path / "a.zarr", gzip_table=False)


def test_left_out_of_a_long_header(tmp_path):
    original = nib.Nifti1Image(voxels(), AFFINE)
    original.header.extensions.append(nib.nifti1.Nifti1Extension("comment", os.urandom(40_000)))
    nib.save(original, tmp_path / "a.nii")
    for table, name in ((True, "b.hdr.gz"), (False, "c.hdr.gz")):
        ci.convert(tmp_path / "a.nii", tmp_path / name, gzip_table=table)
        assert (table_in(tmp_path / name) is not None) == table
        np.testing.assert_array_equal(ci.open_image(tmp_path / name).values, ci.open_image(tmp_path / "a.nii").values)


@pytest.mark.parametrize("size", [0, 1, 10_006, 10_007])
def test_one_piece_has_no_table(size, tmp_path):
    path = written(bytes(size), tmp_path)
    assert gzip.decompress(path.read_bytes()) == bytes(size)
    assert table_in(path) is None
    assert path.read_bytes().count(b"\x1f\x8b\x08") == 1


# -------------------------------------------------------------------------------------------------- the layout


@given(
    st.lists(st.tuples(st.integers(4, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=9),
    st.integers(1, 2**32 - 1),
    st.data(),
)
def test_encode_decode(rows, step, data):
    table = PieceTable(np.array(rows, ROW), 0, step)
    content = (len(rows) - 1) * step + data.draw(st.integers(1, step))
    table = PieceTable(table.rows, content, step)
    place = sum(size for size, _ in rows) + 20
    packed = b"".join(packed_table(table))
    asked = []

    def read(at, count):
        asked.append((at, count))
        assert at >= place
        return packed[at - place : at - place + count]

    found = read_table(read, place + len(packed))
    assert found.rows.tolist() == rows and (found.content, found.step) == (content, step)
    assert len(asked) == 2
    assert gzip.decompress(packed) == b""
    # any other size of the stream, any other byte
    assert read_table(read, place + len(packed) + 1) is None
    at = data.draw(st.integers(0, len(packed) - 1))
    packed = packed[:at] + bytes([packed[at] ^ data.draw(st.integers(1, 255))]) + packed[at + 1 :]
    assert read_table(read, place + len(packed)) is None


def test_layout_as_documented(tmp_path):
    """The steps of docs/gzip.md, with struct alone."""
    content = voxels().tobytes()
    data = written(content, tmp_path).read_bytes()
    last = data[-70:]
    assert last[:10] == bytes.fromhex("1f8b08040000000000ff")
    assert struct.unpack("<H2sH", last[10:16]) == (48, b"CI", 44)
    magic, place, rows, length, step, crc_rows, crc = struct.unpack("<8sQQQIII", last[16:60])
    assert last[60:] == bytes.fromhex("03000000000000000000")
    assert (magic, rows, length, step) == (b"CITABLE1", -(-len(content) // 10_007), len(content), 10_007)
    assert zlib.crc32(last[16:56]) == crc
    head = data[place : place + 16]
    assert struct.unpack("<H2sH", head[10:]) == (8 * rows + 4, b"CI", 8 * rows)
    raw = data[place + 16 : place + 16 + 8 * rows]
    assert zlib.crc32(raw) == crc_rows
    assert place + 16 + len(raw) + 10 + 70 == len(data)
    at = 10
    for k, (size, checksum) in enumerate(struct.iter_unpack("<II", raw)):
        part = content[k * step : (k + 1) * step]
        assert zlib.decompressobj(-15).decompress(data[at : at + size]) == part and zlib.crc32(part) == checksum
        at += size
    assert data[at:place] == b"\x03\0" + struct.pack("<II", zlib.crc32(content), len(content))


def test_foreign_files_cost_one_read(tmp_path):
    data = gzip.compress(voxels().tobytes())
    asked = []

    def read(at, count):
        asked.append(count)
        return data[at : at + count]

    assert read_table(read, len(data)) is None
    assert asked == [70]
    assert read_table(read, 69) is None and len(asked) == 1


# ------------------------------------------------------------------------------- files that it does not fit


def changed(data, how):
    rows = read_table(lambda at, count: data[at : at + count], len(data)).rows
    table = len(data) - int(rows["size"].sum()) - 20
    return {
        "cut by one": lambda: data[:-1],
        "cut inside the table": lambda: data[: -table // 2],
        "without the last member": lambda: data[:-70],
        "without the table": lambda: data[:-table],
        "without the table, with the last member": lambda: data[:-table] + data[-70:],
        "zeros behind": lambda: data + bytes(512),
        "member behind": lambda: data + gzip.compress(b"more"),
        "twice": lambda: data + data,
        "member before": lambda: gzip.compress(b"") + data,
        "compressed again": lambda: gzip.compress(gzip.decompress(data)) + data[-table:],
    }[how]()


@pytest.mark.parametrize(
    "how",
    [
        "cut by one",
        "cut inside the table",
        "without the last member",
        "without the table",
        "without the table, with the last member",
        "zeros behind",
        "member behind",
        "twice",
        "member before",
        "compressed again",
    ],
)
def test_ignored_where_it_does_not_fit(how, scan, tmp_path):
    path = tmp_path / "b.nii.gz"
    path.write_bytes(changed(scan.read_bytes(), how))
    assert table_in(path) is None
    lazy = ci.open_image(path, chunks=None)
    if how.startswith("cut"):
        # the content is whole, and read as before; that the file is cut is what a check says
        with pytest.warns(ci.ChunkImgWarning, match="no index can be made"):
            assert np.array_equal(lazy[3].values, voxels()[3])
        assert any(f.severity == "error" for f in ci.validate(path))
        return
    assert np.array_equal(lazy.values, voxels())
    # another index is made and used instead
    assert np.array_equal(lazy[20, 5:9].values, voxels()[20, 5:9])
    ci.build_index(path)
    assert os.path.exists(str(path) + SUFFIX)
    assert lazy.img.access == "indexed"
    assert np.array_equal(lazy[20, 5:9].values, voxels()[20, 5:9])


def test_hostile_tables(tmp_path):
    """Consistent in their checksums, and wrong."""
    good = {"place": 520, "count": 3, "content": 25, "step": 10, "rows": [(100, 1), (150, 2), (250, 3)]}

    def fits(size=None, **change):
        told = good | change
        raw = np.array(told["rows"], ROW).tobytes()
        foot = struct.pack(
            "<8sQQQII", b"CITABLE1", told["place"], told["count"], told["content"], told["step"], zlib.crc32(raw)
        )
        parts = [gzip_table._empty_member(raw), gzip_table._empty_member(foot + struct.pack("<I", zlib.crc32(foot)))]
        data = b"".join(parts)
        total = size or 520 + len(data)

        def read(at, count):
            assert at >= 0 and count < 100_000
            return data[max(at - total + len(data), 0) :][:count]

        return read_table(read, total) is not None

    assert fits()
    for change in (
        {"place": 519},
        {"place": 2**63},
        {"count": 0},
        {"count": 2},
        {"count": 4},
        {"count": 2**40},
        {"count": 2**64 - 1},
        {"content": 20},
        {"content": 31},
        {"content": 0},
        {"content": 2**64 - 1},
        {"step": 0},
        {"step": 8},
        {"step": 2**32 - 1},
        {"rows": [(100, 1), (151, 2), (250, 3)]},
        {"rows": [(3, 1), (247, 2), (250, 3)]},
        {"rows": [(0, 1), (250, 2), (250, 3)]},
        {"rows": [(100, 1), (400, 2)]},
    ):
        assert not fits(**change), change
    # a file that is said to be huge: no memory for what its table is said to be
    assert not fits(2**50, place=2**50 - 2**41 - 1000, count=2**38, content=2**41, step=8)


def lying(scan, tmp_path, edit):
    """A file whose table is consistent and says something else."""
    data = scan.read_bytes()
    table = table_in(scan)
    rows = table.rows.copy()
    place = int(rows["size"].sum()) + 20
    table = edit(rows, table)
    path = tmp_path / "lie.nii.gz"
    path.write_bytes(data[:place] + b"".join(packed_table(table)))
    assert table_in(path) is not None
    return path


def swap_sizes(rows, table):
    rows["size"][3] += 7
    rows["size"][4] -= 7
    return PieceTable(rows, table.content, table.step)


def other_checksum(rows, table):
    rows["crc"][4] ^= 1
    return PieceTable(rows, table.content, table.step)


def more_content(rows, table):
    return PieceTable(rows, table.content * 50, table.step * 50)


def less_content_each(rows, table):
    return PieceTable(rows, table.content + (len(rows) - 1), table.step + 1)


@pytest.mark.parametrize("edit", [swap_sizes, other_checksum, more_content, less_content_each])
def test_lies_are_noticed(edit, scan, tmp_path):
    path = lying(scan, tmp_path, edit)
    lazy = ci.open_image(path, chunks=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for z, y in itertools.product(range(0, 23, 2), (0, 50)):
            assert np.array_equal(lazy[z, y : y + 9].values, voxels()[z, y : y + 9])
    assert [w for w in caught if "the table in it is not used" in str(w.message)]
    # an index of the ordinary kind has taken its place
    assert lazy.img.access == "indexed" and "in the file itself" not in lazy.img.access.cost


def test_damage_is_noticed(scan, tmp_path):
    data = bytearray(scan.read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "b.nii.gz").write_bytes(data)
    lazy = ci.open_image(tmp_path / "b.nii.gz", chunks=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ci.ChunkImgWarning)
        with pytest.raises(ci.FormatError, match=r"damaged|truncated"):
            _ = lazy.values


def test_fewer_bytes_than_the_header_needs(scan, tmp_path):
    """A table of less content than the image has is no index of it."""
    content = gzip.decompress(scan.read_bytes())
    path = written(content[:-20_000], tmp_path, "b.nii.gz")
    assert table_in(path) is not None
    lazy = ci.open_image(path, chunks=None)
    assert lazy.img.access == "sequential"
    with pytest.raises(ci.FormatError, match="truncated"):
        _ = lazy.values


# ------------------------------------------------------------------------------------------------------ writing


def test_interrupted(tmp_path):
    path = tmp_path / "a.gz"
    with (
        pytest.raises(RuntimeError),
        open(path, "w+b") as file,
        GzipWriter(OpenFile(file.fileno(), "a.gz"), None, 7) as sink,
    ):
        sink.write(memoryview(voxels().tobytes()))
        raise RuntimeError
    assert path.stat().st_size > 10_000
    assert path.read_bytes()[7:17] == bytes(10)


@given(st.lists(st.integers(0, 40_000), max_size=8), st.integers(0, 99))
def test_pieces_of_any_size(tmp_path_factory, sizes, start):
    path = tmp_path_factory.mktemp("any") / "a.gz"
    content = np.random.default_rng(len(sizes)).integers(0, 9, sum(sizes), np.uint8).tobytes()
    with open(path, "w+b") as file:
        file.write(bytes(start))
        file.flush()
        with GzipWriter(OpenFile(file.fileno(), "a.gz"), None, start) as sink:
            at = 0
            for size in sizes:
                sink.write(memoryview(content)[at : at + size])
                at += size
    assert gzip.decompress(path.read_bytes()[start:]) == content
    source = FileSource(str(path), path.stat().st_size, path.stat().st_mtime_ns, "gzip", start)
    index = GzipAccess(source, len(content)).find()
    assert (index is not None) == (len(content) > 10_007)
    if index is not None:
        out = bytearray(len(content))
        with IndexedStream(index, source, range(len(index))) as stream:
            stream.read_into(memoryview(out))
        assert out == content
