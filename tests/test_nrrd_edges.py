"""NRRD at the edges: times that were cut, old headers in odd order, names that mean something else, hostile input."""

import gzip
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from nrrd_files import encode, header, values, write

import chunkimg as ci
from chunkimg.io.nrrd_header import parse


def content(path):
    return parse(path.read_bytes(), str(path))


# ------------------------------------------------------------------------------------------------ times

FOUR = (
    "space: LPST\nspace directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,2)\nspace origin: (1,2,3,5)\n"
    'space units: "mm" "mm" "mm" "s"'
)
LISTED = (
    'kinds: space space space list\nlabels: "" "" "" "time"\nunits: "" "" "" "s"\n'
    "axis 3 index type:=numeric\naxis 3 index values:=0 1.5 7"
)
BORDERS = 'kinds: space space space time\naxis mins: nan nan nan 0\naxis maxs: nan nan nan 6\nunits: "" "" "" "s"'
STEPS = 'kinds: space space space time\nspacings: 1 1 1 2\naxis mins: nan nan nan 4\nunits: "" "" "" "ms"'


@pytest.mark.parametrize("extra", [FOUR, LISTED, BORDERS, STEPS])
@pytest.mark.parametrize("part", ["1:", ":2", "::2", "1:2", "::-1"])
def test_times_of_a_part(tmp_path, extra, part):
    image = ci.open_image(write(tmp_path / "a.nrrd", values((3, 4, 5, 6)), extra=extra))
    cut = image.isel(t=slice(*(int(n) if n else None for n in part.split(":"))))
    cut.img.save(tmp_path / "b.nrrd")
    again = ci.open_image(tmp_path / "b.nrrd")
    np.testing.assert_allclose(again.t.values, cut.t.values, rtol=1e-12)
    assert again.t.attrs.get("units") == "s"
    np.testing.assert_array_equal(again.values, cut.values)
    assert again.img.same_grid(image, tol=1e-9)


@pytest.mark.parametrize("extra", [FOUR, LISTED, BORDERS, STEPS])
def test_space_cut_or_time_dropped(tmp_path, extra):
    image = ci.open_image(write(tmp_path / "a.nrrd", values((3, 4, 5, 6)), extra=extra))
    for name, cut in (("b", image.isel(x=slice(1, None, 2))), ("c", image.isel(t=1, drop=True))):
        cut.img.save(tmp_path / f"{name}.nrrd")
        again = ci.open_image(tmp_path / f"{name}.nrrd")
        assert again.img.same_grid(cut, tol=1e-9)
        np.testing.assert_array_equal(again.values, cut.values)
        if "t" in cut.dims:
            np.testing.assert_allclose(again.t.values, image.t.values, rtol=1e-12)


def test_the_time_of_a_single_frame(tmp_path):
    for k, t in enumerate((3.25, 0.0)):
        frame = ci.from_array(np.zeros((1, 2, 3, 4)), t=[t])
        frame.img.save(tmp_path / f"{k}.nrrd")
        again = ci.open_image(tmp_path / f"{k}.nrrd")
        assert (again.t.values.tolist(), again.t.attrs["units"]) == ([t], "s")


def test_a_time_axis_is_labelled_beside_others(tmp_path):
    extra = 'kinds: space space space\nlabels: "i" "j" "k"'
    image = ci.open_image(write(tmp_path / "a.nrrd", values((4, 5, 6)), extra=extra))
    image.expand_dims(t=[0.0, 1.0]).img.save(tmp_path / "b.nrrd")
    assert content(tmp_path / "b.nrrd").fields["labels"] == '"i" "j" "k" "time"'
    assert ci.open_image(tmp_path / "b.nrrd").sizes["t"] == 2


# ------------------------------------------------------------------------------------------------ fields


def test_fields_stand_where_teem_finds_them(tmp_path):
    data = values((4, 5, 6))
    text = "NRRD0004\nendian: little\nencoding: raw\ntype: short\ndimension: 3\nsizes: 6 5 4\nspacings: 2 3 4\n"
    (tmp_path / "a.nrrd").write_bytes(text.encode() + b"\n" + data.tobytes())
    ci.open_image(tmp_path / "a.nrrd").isel(x=slice(1, None)).img.save(tmp_path / "b.nrrd")
    names = [line.name for line in content(tmp_path / "b.nrrd").lines if line.kind == "field"]
    assert names.index("dimension") < min(names.index(n) for n in ("sizes", "space directions", "space dimension"))
    assert names.index("space dimension") < min(names.index(n) for n in ("space directions", "space origin"))


@pytest.mark.parametrize("gap", [" ", "  ", "\t", ""])
def test_vectors_apart_or_not(tmp_path, gap):
    extra = f"space: LPS\nspace directions: (2,0,0){gap}(0, 3,0){gap}(0,0,4)"
    image = ci.open_image(write(tmp_path / "a.nrrd", values((4, 5, 6)), extra=extra))
    cut = image.isel(z=slice(1, None))
    cut.img.save(tmp_path / "b.nrrd")
    assert ci.open_image(tmp_path / "b.nrrd").img.same_grid(cut, tol=1e-12)
    # the numbers are the same: the line stays
    assert content(tmp_path / "b.nrrd").fields["space directions"] == extra.split(": ")[-1]


def test_kinds_of_a_fixed_size_go_with_it(tmp_path):
    image = ci.open_image(write(tmp_path / "a.nrrd", values((4, 5, 3), "u1"), extra="kinds: RGB-color space space"))
    image.isel(c=slice(0, 2)).img.save(tmp_path / "b.nrrd")
    assert content(tmp_path / "b.nrrd").fields["kinds"] == "list space space"
    assert ci.open_image(tmp_path / "b.nrrd").sizes["c"] == 2


def test_borders_without_spacings_are_followed(tmp_path):
    extra = "axis mins: 0 0 0\naxis maxs: 12 15 16"
    image = ci.open_image(write(tmp_path / "a.nrrd", values((4, 5, 6)), extra=extra))
    np.testing.assert_array_equal(image.img.spacing, (2, 3, 4))
    for part in ({"x": slice(1, None)}, {"z": slice(0, 2)}, {"y": slice(None, None, -2)}):
        image.isel(part).img.save(tmp_path / "b.nrrd", overwrite=True)
        assert ci.open_image(tmp_path / "b.nrrd").img.same_grid(image.isel(part), tol=1e-12)


def test_axes_of_one_sample_that_are_no_dim(tmp_path):
    extra = "kinds: vector domain domain domain list"
    data = values((1, 4, 5, 6, 3))
    image = ci.open_image(write(tmp_path / "a.nrrd", data, extra=extra))
    assert image.dims == ("c", "z", "y", "x")
    image.img.save(tmp_path / "b.nrrd")
    assert (tmp_path / "b.nrrd").read_bytes() == (tmp_path / "a.nrrd").read_bytes()
    image.isel(c=1, drop=True).img.save(tmp_path / "c.nrrd")
    assert ci.open_image(tmp_path / "c.nrrd").dims == ("z", "y", "x")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "c.nrrd").values, data[0, ..., 1])


@pytest.mark.parametrize("length", [16_300, 16_370, 16_384, 16_390, 65_536])
def test_long_headers_wherever_they_end(tmp_path, length):
    extra = "\n".join(f"Segment{k}_Name:=name of segment {k}" for k in range(length // 36))
    extra += "\nlast:=" + "x" * (length % 36)
    data = values((3, 4, 5))
    image = ci.open_image(write(tmp_path / "a.nrrd", data, extra=extra))
    np.testing.assert_array_equal(image.values, data)
    assert image.img.properties["Segment7_Name"] == "name of segment 7"


def test_a_misspelt_field_is_said(tmp_path):
    path = write(tmp_path / "a.nrrd", values((3, 4, 5)), extra="space-directions: (1,0,0) (0,1,0) (0,0,1)")
    with pytest.warns(ci.ChunkImgWarning, match="is 'space directions' meant"):
        ci.open_image(path)


def test_measurement_frames_stay_with_their_space(tmp_path):
    frame = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    image = ci.from_array(values((3, 4, 5)), properties={"measurement_frame": frame})
    with pytest.warns(ci.ChunkImgWarning, match="measurement_frame"):
        image.img.save(tmp_path / "a.nrrd")
    extra = "space: RAS\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (0,0,0)\nmeasurement frame: "
    path = write(tmp_path / "b.nrrd", values((3, 4, 5)), extra=extra + "(1,0,0) (0,0,1) (0,1,0)")
    image = ci.open_image(path)
    image.isel(x=slice(2)).img.save(tmp_path / "c.nrrd")
    assert content(tmp_path / "c.nrrd").fields["measurement frame"] == "(1,0,0) (0,0,1) (0,1,0)"
    image.img.properties["measurement_frame"] = "junk"
    with pytest.warns(ci.ChunkImgWarning, match="3 vectors"):
        image.img.save(tmp_path / "d.nrrd")


# ------------------------------------------------------------------------------------------------ destinations


def detached(folder, name, data_file, data):
    (folder / data_file).write_bytes(encode(data, "raw"))
    (folder / name).write_bytes(header(data, extra=f"data file: {data_file}"))
    return folder / name


def test_voxels_of_others_are_not_replaced(tmp_path):
    data = values((4, 5, 6))
    # the data file of the image itself, under the name that the new file's would have
    source = detached(tmp_path, "a.nhdr", "b.raw", data)
    with pytest.raises(ci.FormatError, match="is read from"):
        ci.open_image(source)[:2].img.save(tmp_path / "b.nhdr", overwrite=True)
    np.testing.assert_array_equal(ci.open_image(source).values, data)
    # a file that belongs to nobody here
    (tmp_path / "c.raw").write_bytes(b"precious")
    detached(tmp_path, "c.nhdr", "other.bin", data)
    with pytest.raises(FileExistsError, match=r"is not what c\.nhdr refers to"):
        ci.from_array(data).img.save(tmp_path / "c.nhdr", overwrite=True)
    assert (tmp_path / "c.raw").read_bytes() == b"precious"
    # its own is
    detached(tmp_path, "d.nhdr", "d.raw", data)
    ci.from_array(data + 1).img.save(tmp_path / "d.nhdr", overwrite=True)
    np.testing.assert_array_equal(ci.open_image(tmp_path / "d.nhdr").values, data + 1)


def test_a_linked_header_keeps_its_voxels_beside_it(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    data = values((4, 5, 6))
    detached(tmp_path / "B", "a.nhdr", "a.raw", data)
    (tmp_path / "A" / "a.nhdr").symlink_to(tmp_path / "B" / "a.nhdr")
    ci.from_array(data + 1).img.save(tmp_path / "A" / "a.nhdr", overwrite=True)
    for folder in "AB":
        path = tmp_path / folder / "a.nhdr"
        np.testing.assert_array_equal(ci.open_image(os.path.realpath(path)).values, data + 1)
    assert not (tmp_path / "A" / "a.raw").exists()


@pytest.mark.parametrize(("name", "beside"), [("a.nhdr", "a.raw"), ("a.hdr", "a.img")])
def test_a_failed_overwrite_keeps_the_old_header(tmp_path, monkeypatch, name, beside):
    data = values((4, 5, 6))
    ci.from_array(data).img.save(tmp_path / name)
    real = os.replace

    def failing(old, new):
        if Path(new).name == beside:
            raise OSError(5, "input/output error")
        return real(old, new)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="input/output"):
        ci.from_array(data + 1).img.save(tmp_path / name, overwrite=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(ci.open_image(tmp_path / name).values, data)
    assert {p.name for p in tmp_path.iterdir()} == {name, beside}


@pytest.mark.parametrize("name", ["LIST.nhdr", "x%03d 1 2 1.nhdr", " lead.nhdr", "a\nb.nhdr", "%d.nhdr"])
def test_names_that_mean_something_else_are_refused(tmp_path, name):
    with pytest.raises(ci.FormatError, match="another name"):
        ci.from_array(values((3, 4, 5))).img.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ hostile


def test_a_file_compressed_as_a_whole_is_refused(tmp_path):
    data = np.random.default_rng(0).integers(0, 60000, (16, 32, 64)).astype("u2")
    whole = write(tmp_path / "a.nrrd", data).read_bytes()
    (tmp_path / "a.nrrd.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "b.nrrd").write_bytes(gzip.compress(whole))
    for name in ("a.nrrd.gz", "b.nrrd"):
        with pytest.raises(ci.FormatError, match=r"as a whole.*gunzip"):
            ci.open_image(tmp_path / name)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("data file: a\0b", "does not exist"),
        ("data file: " + "x" * 5000, "does not exist"),
        ("data file: loop", "does not exist"),
        ("data file: .", "does not exist|not a regular file|outside"),
        ("data file: p%d 0 99999999999999999999 1", "min, max and step"),
        ("data file: p%d 1 10000000 1", "at most"),
        ("data file: p%d 1", "min, max and step"),
        ("data file: SKIPLIST\n1 a", "SKIPLIST"),
        ("kinds: space space time\nspace: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)", "axis 2 has the kind time"),
        ("thicknesses: 1", "thicknesses has 1"),
        ("spacings: 1,2,3", "spacings"),
        ("labels: a b c", "double quotes"),
        ("spacings: 1_0 1 1", "3 numbers"),
        ("spacings: \u0663 1 1", "3 numbers"),
        ("space: LPS\nmeasurement frame: (1,0,0)", "measurement frame has 1"),
        ("sizes: 5 4 99999999", "twice"),
    ],
)
def test_hostile_fields(tmp_path, extra, reason):
    os.symlink("loop", tmp_path / "loop")
    path = tmp_path / "a.nhdr"
    path.write_bytes(header(values((3, 4, 5)), extra=extra))
    with pytest.raises(ci.FormatError, match=reason):
        ci.open_image(path).compute()


def test_a_line_of_blanks_is_no_end(tmp_path):
    data = values((3, 4, 5))
    (tmp_path / "a.nrrd").write_bytes(header(data) + b"  \n\n" + data.tobytes())
    with pytest.raises(ci.FormatError, match="neither a field"):
        ci.open_image(tmp_path / "a.nrrd")


def test_underscores_are_no_numbers(tmp_path):
    data = values((1, 1, 2), "u1")
    (tmp_path / "a.nrrd").write_bytes(header(data, "ascii") + b"\n1_0 2\n")
    with pytest.raises(ci.FormatError, match="underscore"):
        ci.open_image(tmp_path / "a.nrrd").compute()


def test_times_that_are_not_finite(tmp_path):
    path = write(
        tmp_path / "a.nrrd", values((3, 4, 5, 6)), extra="kinds: space space space time\nspacings: 1 1 1 1e308"
    )
    with pytest.raises(ci.FormatError, match="not finite"):
        ci.open_image(path)


def test_bombs_are_refused_quickly_and_cheaply(tmp_path):
    data = values((3, 4, 5))
    tracemalloc.start()
    start = time.perf_counter()
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"#\n" * (5 << 20) + b"\n")
    with pytest.raises(ci.FormatError, match="lines"):
        ci.open_image(tmp_path / "a.nrrd")
    for sizes, encoding in (("1 1 200000000", "bzip2"), ("1 1 16000000", "bzip2"), ("1000 1000 1000", "hex")):
        text = header(data, encoding).replace(b"sizes: 5 4 3", b"sizes: " + sizes.encode())
        (tmp_path / "b.nrrd").write_bytes(text + b"\nBZh9" + bytes(2))
        with pytest.raises(ci.FormatError, match=r"sizes are|truncated"):
            ci.open_image(tmp_path / "b.nrrd")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
    # seconds, where it took a minute: a bound of the work, not a measurement
    assert time.perf_counter() - start < 60
