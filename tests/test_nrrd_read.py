"""NRRD as teem, pynrrd and SimpleITK read it; cases of the format's definition; what is damaged."""

import os
import warnings

import numpy as np
import pytest
from conftest import DATA, item_path, items
from nrrd_files import encode, header, values, write

import chunkimg as ci

# ------------------------------------------------------------------------------------------------ files of others


def reference(item):
    """Voxels as a reference reports them: teem reads every encoding; SimpleITK and pynrrd agree where they read."""
    refs = item["refs"]
    for name in ("teem", "pynrrd"):
        if "raw" in refs[name]:
            return refs[name]
    return refs["simpleitk"] | {"raw": refs["simpleitk"]["scaled"]}


@pytest.mark.parametrize("item", items("nrrd"))
def test_reads_what_the_references_read(item):
    path = item_path(item)
    if item["truth"]["verdict"] == "rejected-by-all":
        # files of voxels that do not exist, and a byte skip without meaning
        with pytest.raises(ci.FormatError, match=r"does not exist|byte skip is -5"):
            ci.open_image(path)
        return
    image, found = ci.open_image(path), ci.read_header(path)
    ref = reference(item)
    fields = item["refs"]["pynrrd"]["header"]
    assert tuple(found.sizes.values()) == image.shape
    assert image.size == ref["raw"]["n"] == np.prod(fields["sizes"])
    if "dtype" in item["truth"]:
        assert np.dtype(found.dtype) == np.dtype(item["truth"]["dtype"])
    data = image.values.astype("f8")
    for name in ("min", "max", "sum", "mean"):
        np.testing.assert_allclose(getattr(data, name)(), ref["raw"][name], rtol=1e-9)
    stored = as_stored(image, fields)
    for probe in ref.get("probes", []):
        np.testing.assert_allclose(stored[tuple(probe["ijk"][::-1])], probe["value"], rtol=1e-6)


def as_stored(image, fields):
    """Voxels in the order of the file, slowest axis first."""
    kinds = [str(k) for k in fields.get("kinds", [])]
    first = [k.endswith(("vector", "color", "matrix", "list")) for k in kinds[:1]] == [True]
    data = image.values
    if first:
        data = np.moveaxis(data, image.dims.index("c"), -1)
    return data.reshape(fields["sizes"][::-1])


@pytest.mark.parametrize("item", items("nrrd"))
def test_places_voxels_where_the_references_do(item):
    if item["truth"]["verdict"] == "rejected-by-all":
        pytest.skip("no reference opens it")
    image, sitk = ci.open_image(item_path(item)), item["refs"]["simpleitk"]
    fields = item["refs"]["pynrrd"]["header"]
    expected = item["truth"].get("affine_ras")
    if expected is None and "affine_ras" in sitk:
        expected = np.array(sitk["affine_ras"])
        if "space" not in fields:
            # SimpleITK takes a space that is not named for LPS; the format says no such thing, so numbers stay
            expected[:2] *= -1
    if "space" not in fields:
        assert image.img.space == "unknown"
    if expected is not None:
        np.testing.assert_allclose(image.img.affine, expected, atol=1e-6)


def test_the_unsupported_version_is_refused():
    path = DATA / "corrupt/panimg/image10x11x12_unsupported_version.nrrd"
    if not path.exists():
        pytest.skip("no test data")
    with pytest.raises(ci.FormatError, match="version"):
        ci.open_image(path)


# ------------------------------------------------------------------------------------------------ encodings

ENCODINGS = ["raw", "gzip", "bzip2", "ascii", "hex"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", ">f4", "<f8", "<i4"])
def test_every_encoding_attached_and_detached(tmp_path, encoding, dtype):
    data = values((5, 4, 7), dtype)
    attached = ci.open_image(write(tmp_path / "a.nrrd", data, encoding))
    np.testing.assert_array_equal(attached.values, data)
    assert attached.dtype == data.dtype.newbyteorder("=")
    (tmp_path / "voxels").write_bytes(encode(data, encoding))
    (tmp_path / "b.nhdr").write_bytes(header(data, encoding, extra="data file: ./voxels", newline="\r\n"))
    detached = ci.open_image(tmp_path / "b.nhdr")
    np.testing.assert_array_equal(detached.values, data)
    np.testing.assert_array_equal(detached[1:4, ::-2, 3].values, data[1:4, ::-2, 3])
    assert ci.read_header(tmp_path / "b.nhdr").access == ("random" if encoding == "raw" else "sequential")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_truncated_files_raise(tmp_path, encoding):
    data = (np.random.default_rng(0).random((9, 8, 7)) * 30000).astype("<i2")
    whole = write(tmp_path / "a.nrrd", data, encoding).read_bytes()
    start = whole.index(b"\n\n") + 2
    for size in (start, start + 1, start + (len(whole) - start) * 3 // 10, start + (len(whole) - start) * 9 // 10):
        (tmp_path / "b.nrrd").write_bytes(whole[:size])
        with pytest.raises(ci.FormatError, match=r"truncated|cut short|damaged"):
            ci.open_image(tmp_path / "b.nrrd").compute()
    (tmp_path / "b.nrrd").write_bytes(whole[: start - 8])
    with pytest.raises(ci.FormatError):
        ci.open_image(tmp_path / "b.nrrd")


def test_text_that_is_no_number(tmp_path):
    data = values((3, 4, 5), "u1")
    for text, reason in ((b"1 2 x 4", "truncated"), (b"1 " * 59 + b"x", "damaged"), (b"300 " * 60, "do not fit"),
                         (b"1" * 5000, "longer"), (b"1.5 " * 60, "damaged")):  # fmt: skip
        (tmp_path / "a.nrrd").write_bytes(header(data, "ascii") + b"\n" + text)
        with pytest.raises(ci.FormatError, match=reason):
            ci.open_image(tmp_path / "a.nrrd").compute()
    (tmp_path / "a.nrrd").write_bytes(header(data, "hex") + b"\n" + b"zz" * 60)
    with pytest.raises(ci.FormatError, match="damaged"):
        ci.open_image(tmp_path / "a.nrrd").compute()


def test_text_in_pieces_and_special_numbers(tmp_path):
    # more than one piece of a MiB, numbers cut anywhere
    data = (np.arange(60 * 60 * 60).reshape(60, 60, 60) / 7).astype("f8")
    np.testing.assert_array_equal(ci.open_image(write(tmp_path / "a.nrrd", data, "ascii")).values, data)
    body = b"nan,inf, -inf\n1e3 -0.5,2"
    (tmp_path / "b.nrrd").write_bytes(header(np.zeros((1, 2, 3), "f4"), "text") + b"\n" + body)
    np.testing.assert_array_equal(
        ci.open_image(tmp_path / "b.nrrd").values.ravel(), np.float32([np.nan, np.inf, -np.inf, 1000, -0.5, 2])
    )


def test_a_region_of_raw_costs_its_own_bytes(tmp_path, monkeypatch):
    data = values((64, 64, 64))
    image = ci.open_image(write(tmp_path / "a.nrrd", data))
    read = []
    preadv = os.preadv

    def counting(fd, buffers, offset):
        read.append(sum(b.nbytes for b in buffers))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    np.testing.assert_array_equal(image[20:22].values, data[20:22])
    assert sum(read) == 2 * 64 * 64 * 2


# ------------------------------------------------------------------------------------------------ where voxels are


def test_line_and_byte_skip(tmp_path):
    data = values((3, 4, 5), "<i2")
    body = encode(data, "raw")
    (tmp_path / "v").write_bytes(b"one\ntwo\nxyz" + body + b"tail")
    (tmp_path / "a.nhdr").write_bytes(header(data, extra="line skip: 2\nbyte skip: 3\ndata file: v"))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "a.nhdr").values, data)
    (tmp_path / "v").write_bytes(b"junk of any length" + body)
    (tmp_path / "b.nhdr").write_bytes(header(data, extra="byteskip: -1\ndatafile: v"))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.nhdr").values, data)
    # lines are skipped before decompressing, bytes after it
    (tmp_path / "v").write_bytes(b"line\n" + encode(np.frombuffer(b"xyz" + body, "u1"), "gzip"))
    (tmp_path / "c.nhdr").write_bytes(header(data, "gz", extra="line skip: 1\nbyte skip: 3\ndata file: v"))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "c.nhdr").values, data)
    (tmp_path / "d.nhdr").write_bytes(header(data, "gz", extra="line skip: 1\nbyte skip: -1\ndata file: v"))
    np.testing.assert_array_equal(ci.open_image(tmp_path / "d.nhdr").values, data)
    (tmp_path / "v").write_bytes(b"no lines")
    with pytest.raises(ci.FormatError, match="line skip"):
        ci.open_image(tmp_path / "c.nhdr")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii"])
@pytest.mark.parametrize(
    ("said", "names", "cut"),
    [
        ("LIST", None, lambda d: list(d)),
        ("LIST 3", None, lambda d: list(d)),
        ("LIST 2", None, lambda d: list(d.reshape(-1, *d.shape[2:]))),
        ("LIST 4", None, lambda d: np.split(d, 3)),
        ("part%03d.bin 5 15 2", [f"part{k:03d}.bin" for k in range(5, 16, 2)], lambda d: list(d)),
        ("part%d.bin 3 1 -1 4", ["part3.bin", "part2.bin", "part1.bin"], lambda d: np.split(d, 3)),
    ],
)
def test_voxels_in_several_files(tmp_path, encoding, said, names, cut):
    data = values((6, 3, 4, 5), "<i2")
    pieces = cut(data)
    listed = names is None
    names = names or [f"slice {k}.bin" for k in range(len(pieces))]
    assert len(names) == len(pieces)
    for name, piece in zip(names, pieces, strict=True):
        (tmp_path / name).write_bytes(encode(np.ascontiguousarray(piece), encoding))
    text = header(data, encoding, extra="kinds: space space space list\ndata file: " + said)
    (tmp_path / "a.nhdr").write_bytes(text + ("\n".join(names) if listed else "").encode())
    image = ci.open_image(tmp_path / "a.nhdr")
    assert image.dims == ("c", "z", "y", "x")
    np.testing.assert_array_equal(image.values, data)
    np.testing.assert_array_equal(image[::-2, 1, ::2, 1:4].values, data[::-2, 1, ::2, 1:4])
    ci.convert(tmp_path / "a.nhdr", tmp_path / "b.zarr")
    np.testing.assert_array_equal(ci.open_image(tmp_path / "b.zarr").values, data)


def test_numbers_of_files_must_fit(tmp_path):
    data = values((6, 4, 5))
    for said, reason in (
        ("LIST\na\nb", "2 data files are named"),
        ("LIST 9\na", "number of axes"),
        ("LIST 3\na\nb\nc\nd", "equally"),
        ("p%d 1 100000000 1", "100000000 data files"),
        ("p%d 1 6 0", "not reached"),
        ("p%d 6 1 1", "not reached"),
        ("p%d 1 6 1", "does not exist"),
    ):
        (tmp_path / "a.nhdr").write_bytes(header(data, extra="data file: " + said))
        with pytest.raises(ci.FormatError, match=reason):
            ci.open_image(tmp_path / "a.nhdr")


def test_paths_that_leave_the_folder_are_refused(tmp_path):
    data = values((3, 4, 5))
    inner = tmp_path / "in"
    inner.mkdir()
    (tmp_path / "v").write_bytes(encode(data, "raw"))
    for name in ("../v", str(tmp_path / "v"), "x/../../v"):
        (inner / "a.nhdr").write_bytes(header(data, extra=f"data file: {name}"))
        with pytest.raises(ci.FormatError, match=r"outside the folder.*allow_outside"):
            ci.open_image(inner / "a.nhdr")
        np.testing.assert_array_equal(ci.open_image(inner / "a.nhdr", allow_outside=True).values, data)
    (inner / "v").symlink_to(tmp_path / "v")
    (inner / "a.nhdr").write_bytes(header(data, extra="data file: sub/../v"))
    np.testing.assert_array_equal(ci.open_image(inner / "a.nhdr").values, data)
    ci.convert(inner / "a.nhdr", tmp_path / "b.nrrd", allow_outside=True)


# ------------------------------------------------------------------------------------------------ axes


def opened(tmp_path, shape, extra, dtype="u1"):
    """An image with sizes given fastest first."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ci.open_image(write(tmp_path / "a.nrrd", values(shape[::-1], dtype), extra=extra))


CUBE = "space: left-posterior-superior\nspace origin: (1,2,3)\n"
SPACED = "space directions: (2,0,0) (0,3,0) (0,0,4)"


@pytest.mark.parametrize(
    ("shape", "extra", "dims", "attributes"),
    [
        ((5, 4, 3), "", "zyx", {}),
        ((5, 4), "", "zyx", {}),
        ((5,), "", "zyx", {}),
        ((5, 4, 3, 2), "", "czyx", {}),
        ((5, 4, 3, 2), 'units: "mm" "mm" "mm" "s"', "tzyx", {}),
        ((5, 4, 3, 2), "kinds: space space space time", "tzyx", {}),
        ((5, 4, 3, 2), "kinds: domain domain domain list", "czyx", {"kind": "list"}),
        ((5, 4, 3, 2), 'kinds: domain domain domain list\nlabels: "" "" "" "time"', "tzyx", {}),
        ((2, 5, 4, 3), "kinds: complex space space space", "czyx", {"kind": "complex"}),
        ((3, 5, 4), "kinds: RGB-color space space", "czyx", {"kind": "RGB"}),
        ((3, 5, 4), "kinds: 3-color domain domain", "czyx", {"kind": "RGB"}),
        ((4, 5, 4), "kinds: RGBA-color domain domain", "czyx", {"kind": "RGBA"}),
        ((5, 4, 3), "kinds: space space RGB-color", "czyx", {"kind": "RGB"}),
        ((6, 5, 4, 3), "kinds: 3D-symmetric-matrix space space space", "czyx", {"kind": "3D-symmetric-matrix"}),
        ((6, 5, 4, 3), 'kinds: vector ??? ??? ???\nlabels: "u" "" "" ""', "czyx", {"kind": "vector", "label": "u"}),
        ((6, 5, 4, 3), "spacings: nan 1 2 3", "czyx", {}),
        ((2, 5, 4, 3), CUBE + "space directions: none (2,0,0) (0,3,0) (0,0,4)", "czyx", {}),
        ((5, 4, 3, 2), CUBE + SPACED + " none", "czyx", {}),
        ((5, 4, 3, 2), CUBE + SPACED + ' none\nunits: "" "" "" "msec"', "tzyx", {}),
        ((2, 5, 4, 3, 6), CUBE + "kinds: vector space space space time\nspace directions: none (2,0,0) (0,3,0) (0,0,4)"
         " none", "tczyx", {"kind": "vector"}),
        ((2, 5, 4, 3, 1), CUBE + "space directions: none (2,0,0) (0,3,0) (0,0,4) none", "czyx", {}),
    ],
)  # fmt: skip
def test_what_axes_are(tmp_path, shape, extra, dims, attributes):
    image = opened(tmp_path, shape, extra)
    assert "".join(image.dims) == dims
    assert image.size == np.prod(shape)
    if "c" in dims:
        assert dict(image.c.attrs) == attributes
    np.testing.assert_array_equal(np.sort(image.values.ravel()), np.sort(values(shape, "u1").ravel()))


def test_channels_are_moved_from_anywhere(tmp_path):
    data = values((5, 4, 3, 2))
    for at, kinds in enumerate(("x x x v", "x x v x", "x v x x", "v x x x")):
        names = kinds.replace("x", "domain").replace("v", "vector")
        image = ci.open_image(write(tmp_path / "a.nrrd", data, extra=f"kinds: {names}"))
        np.testing.assert_array_equal(image.values, np.moveaxis(data, at, 0))


@pytest.mark.parametrize(
    ("shape", "extra", "reason"),
    [
        ((2, 5, 4, 3, 2), "kinds: vector space space space list", r"axis 4 .*fits no dim"),
        ((2, 5, 4, 3, 2), 'kinds: time space space space time', r"axis 4 .*fits no dim"),
        ((2, 3), "kinds: vector list", "fits no dim"),
        ((6,), "kinds: vector", "no axis is one of space"),
        ((5, 4, 3, 2), "", None),
        ((5, 4, 3, 2, 2), "", r"axis 4 \(size 2, kind not stated\) fits no dim"),
        ((5, 4, 3, 2), "space: LPST\nspace directions: (1,0,0,0) (0,1,0,0) (0,0,1,2) (0,0,0,1)", "space and time"),
        ((5, 4), "space dimension: 5\nspace directions: (1,0,0,0,0) (0,1,0,0,0)", "space dimension is 5"),
    ],
)  # fmt: skip
def test_axes_that_fit_no_dim_are_named(tmp_path, shape, extra, reason):
    if reason is None:
        assert opened(tmp_path, shape, extra).dims == ("c", "z", "y", "x")
        return
    with pytest.raises(ci.FormatError, match=reason):
        opened(tmp_path, shape, extra)


# ------------------------------------------------------------------------------------------------ position

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "space", "flip"),
    [
        ("left-posterior-superior", "RAS", (-1, -1, 1)),
        ("LPS", "RAS", (-1, -1, 1)),
        ("right-anterior-superior", "RAS", (1, 1, 1)),
        ("ras", "RAS", (1, 1, 1)),
        ("LAS", "RAS", (-1, 1, 1)),
        ("left-anterior-superior", "RAS", (-1, 1, 1)),
        ("scanner-xyz", "unknown", (1, 1, 1)),
        ("3D-right-handed", "unknown", (1, 1, 1)),
        ("3D-left-handed", "unknown", (1, 1, 1)),
    ],
)
def test_spaces(tmp_path, name, space, flip):
    text = f"space: {name}\nspace directions: (2,0.5,0) (-0.25,3,0) (0.125,0,-4)\nspace origin: (10,-20,30.5)"
    image = opened(tmp_path, (5, 4, 3), text)
    expected = np.array([[2, -0.25, 0.125, 10], [0.5, 3, 0, -20], [0, 0, -4, 30.5], [0, 0, 0, 1]])
    np.testing.assert_array_equal(image.img.affine, np.diag([*flip, 1]) @ expected)
    assert image.img.space == space
    assert image.img.units == ("mm" if space == "RAS" else "unknown")


@pytest.mark.parametrize(
    ("extra", "spacing", "origin", "units"),
    [
        ("", (1, 1, 1), (0, 0, 0), "unknown"),
        ("spacings: 2 3 4", (2, 3, 4), (0, 0, 0), "unknown"),
        ("spacings: 2 3 nan", (2, 3, 1), (0, 0, 0), "unknown"),
        ('spacings: 2 3 4\nunits: "mm" "mm" "mm"', (2, 3, 4), (0, 0, 0), "mm"),
        ('spacings: 2 3 4\nunits: "mm" "um" "cm"', (2, 0.003, 40), (0, 0, 0), "mm"),
        # cells are what nothing is said of: the first sample lies half a step inside the minimum
        ("spacings: 2 3 4\naxis mins: 10 20 30", (2, 3, 4), (11, 21.5, 32), "unknown"),
        ("spacings: 2 3 4\naxis mins: 10 20 30\ncenters: cell node ???", (2, 3, 4), (11, 20, 32), "unknown"),
        ("axis mins: 0 0 0\naxis maxs: 10 12 12", (2, 3, 4), (1, 1.5, 2), "unknown"),
        ("axismins: 0 0 0\naxismaxs: 8 9 8\ncenterings: node node node", (2, 3, 4), (0, 0, 0), "unknown"),
        ("space dimension: 3\nspacings: 2 3 4\nspace origin: (1,2,3)\nspace directions: none none none", (2, 3, 4),
         (1, 2, 3), "unknown"),
        ('space dimension: 3\nspace units: "microns" "microns" "microns"\n' + SPACED, (2, 3, 4), (0, 0, 0), "um"),
        ('space dimension: 3\nspace units: "mm" "mm" "um"\n' + SPACED, (2, 3, 0.004), (0, 0, 0), "mm"),
        ('space: LPS\nspace units: "m" "m" "m"\n' + SPACED, (2, 3, 4), (0, 0, 0), "m"),
        ('space: LPS\nspace units: "" "" ""\n' + SPACED, (2, 3, 4), (0, 0, 0), "unknown"),
    ],
)  # fmt: skip
def test_positions_without_orientation(tmp_path, extra, spacing, origin, units):
    image = opened(tmp_path, (5, 4, 3), extra)
    np.testing.assert_allclose(image.img.spacing, spacing, rtol=1e-15)
    np.testing.assert_allclose(np.abs(image.img.origin), origin, rtol=1e-15)
    assert image.img.units == units


def test_two_dimensions_in_three(tmp_path):
    image = opened(tmp_path, (5, 4), "space: LPS\nspace directions: (0,2,0) (0,0,3)\nspace origin: (1,2,3)")
    np.testing.assert_array_equal(image.img.affine, [[0, 0, -1, -1], [-2, 0, 0, -2], [0, 3, 0, 3], [0, 0, 0, 1]])


def test_an_unusable_position_opens_with_indices(tmp_path):
    write(tmp_path / "a.nrrd", values((3, 4, 5)), extra=CUBE + "space directions: (1,0,0) (2,0,0) (0,0,1)")
    with pytest.warns(ci.ChunkImgWarning, match="no position"):
        image = ci.open_image(tmp_path / "a.nrrd")
    with pytest.raises(ci.GeometryError):
        _ = image.img.affine
    np.testing.assert_array_equal(image.values, values((3, 4, 5)))


# ------------------------------------------------------------------------------------------------ time, keys


@pytest.mark.parametrize(
    ("extra", "times", "units"),
    [
        ("kinds: space space space time", (0, 1, 2), None),
        ("kinds: space space space time\nspacings: 1 1 1 0.5", (0, 0.5, 1), None),
        ('kinds: space space space time\nspacings: 1 1 1 2500\nunits: "" "" "" "ms"', (0, 2.5, 5), "s"),
        ('spacings: 1 1 1 2\naxis mins: nan nan nan 10\ncenters: ??? ??? ??? node\nunits: "" "" "" "s"',
         (10, 12, 14), "s"),
        ('spacings: 1 1 1 2\naxis mins: nan nan nan 10\nunits: "" "" "" "s"', (11, 13, 15), "s"),
        ('kinds: space space space list\nlabels: "" "" "" "time"\nunits: "" "" "" "s"\n'
         "axis 3 index type:=numeric\naxis 3 index values:=0 1.5 7", (0, 1.5, 7), "s"),
        ("space: LPST\nspace directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,2)\nspace origin: (0,0,0,5)\n"
         'space units: "mm" "mm" "mm" "s"', (5, 7, 9), "s"),
    ],
)  # fmt: skip
def test_times(tmp_path, extra, times, units):
    image = opened(tmp_path, (5, 4, 2, 3), extra)
    assert image.dims == ("t", "z", "y", "x")
    np.testing.assert_allclose(image.t.values, times, rtol=1e-12)
    assert image.t.attrs.get("units") == units


def test_keys_comments_and_text(tmp_path):
    extra = "content: a phantom\nsample units: HU µ\nmeasurement frame: (1,0,0) (0,1,0) (0,0,1)\nspace: LPS\n"
    extra += SPACED + "\n# a remark\nDWMRI_b-value:=800\nline:=one\\ntwo \\\\ three\nspacing:= 3 \ninvented: 7"
    path = write(tmp_path / "a.nrrd", values((3, 4, 5)), extra=extra.replace("measurement frame", "measurementframe"))
    image = ci.open_image(path)
    properties = dict(image.img.properties)
    assert properties["DWMRI_b-value"] == "800"
    assert properties["line"] == "one\ntwo \\ three"
    assert (properties["content"], properties["sample_units"]) == ("a phantom", "HU µ")
    assert properties["measurement_frame"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    # a key that is named as geometry is stays in the header, and is not taken for it
    assert properties["spacing"] == [2, 3, 4]
    fields = ci.read_header(path).fields
    assert fields["keys"]["spacing"] == "3"
    assert fields["comments"] == ["a remark"]
    assert fields["invented"] == "7"


def test_a_segmentation_of_slicer_is_one_of_labels(tmp_path):
    extra = CUBE + SPACED + "\nSegment0_ID:=Segment_1\nSegment0_LabelValue:=1\nSegment0_Name:=liver"
    image = ci.open_image(write(tmp_path / "a.seg.nrrd", values((3, 4, 5), "u1"), extra=extra))
    assert image.img.is_label
    assert not opened(tmp_path, (5, 4, 3), CUBE + SPACED).img.is_label


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"NRRD0005", b"NRRD0009"), "version"),
        ((b"type: short", b"type: shirt"), "type 'shirt'"),
        ((b"type: short", b"type: block\nblock size: 2"), "opaque"),
        ((b"dimension: 3", b"dimension: 2"), "sizes has 3 numbers"),
        ((b"dimension: 3", b"dimension: 0"), "dimension is 0"),
        ((b"dimension: 3\n", b""), "no field 'dimension'"),
        ((b"sizes: 5 4 3", b"sizes: 5 4 0"), "at least one sample"),
        ((b"sizes: 5 4 3", b"sizes: 5 4 -3"), "at least one sample"),
        ((b"sizes: 5 4 3", b"sizes: 5 4 x"), "3 numbers are expected"),
        ((b"sizes: 5 4 3", b"sizes: 5000000 4000000 3000000"), "truncated"),
        ((b"sizes: 5 4 3\n", b""), "no field 'sizes'"),
        ((b"endian: little\n", b""), "no field 'endian'"),
        ((b"endian: little", b"endian: middle"), "endian is"),
        ((b"encoding: raw", b"encoding: zrl"), "encoded as 'zrl'"),
        ((b"encoding: raw\n", b""), "no field 'encoding'"),
        ((b"encoding: raw", b"encoding: gzip"), "damaged|cut short|truncated"),
        ((b"encoding: raw", b"encoding: raw\nencoding: gzip"), "twice"),
        ((b"encoding: raw", b"encoding: raw\nno separator"), "neither a field"),
        ((b"encoding: raw", b"encoding: raw\nspace: outer"), "space 'outer'"),
        ((b"encoding: raw", b"encoding: raw\nspace: LPS\nspace directions: (1,0) (0,1) (1,1)"), "3 numbers are exp"),
        ((b"encoding: raw", b"encoding: raw\nspace: LPS\nspace directions: (1,0,0) (0,1,0)"), "2 vectors"),
        ((b"encoding: raw", b"encoding: raw\nspace: LPS\nspace directions: 1 0 0"), "vectors"),
        ((b"encoding: raw", b"encoding: raw\nspace: LPS\nspace origin: (a,b,c)"), "not numbers"),
        ((b"encoding: raw", b"encoding: raw\nkinds: domain"), "one for each"),
        ((b"encoding: raw", b"encoding: raw\nunits: mm mm mm"), "double quotes"),
        ((b"encoding: raw", b"encoding: raw\nspacings: 1 2"), "spacings has 2"),
        ((b"encoding: raw", b"encoding: raw\nbyte skip: -2"), "byte skip"),
        ((b"encoding: raw", b"encoding: raw\nline skip: -2"), "line skip"),
    ],
)
def test_bad_headers_say_what_is_wrong(tmp_path, change, reason):
    raw = write(tmp_path / "a.nrrd", values((3, 4, 5), "<i2")).read_bytes()
    assert change[0] in raw
    (tmp_path / "a.nrrd").write_bytes(raw.replace(*change, 1))
    with pytest.raises(ci.FormatError, match=reason) as caught:
        ci.open_image(tmp_path / "a.nrrd").compute()
    assert "a.nrrd" in str(caught.value)


def test_a_header_without_end_is_not_read_forever(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"# x\n" * (6 << 20))
    with pytest.raises(ci.FormatError, match="no empty line"):
        ci.open_image(tmp_path / "a.nrrd")
