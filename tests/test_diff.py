"""Two images compared: values against NumPy and Python integers, geometry itemised, memory and reads bounded."""

import itertools
import json

import numpy as np
import pytest
from conftest import DATA, HAVE_DATA, item_path, items, needs_data
from nifti_files import values, write

import chunkimg as ci
from chunkimg.compare import PARTS
from chunkimg.io import compare as engine
from chunkimg.io.source import DecodedStream
from chunkimg.lazy import full_region
from chunkimg.ops.difference import Tally, Tolerance

AFFINE = np.array([[0, -0.5, 0.1, 9], [0.7, 0, 0.1, -4], [0, 0.02, 1.3, 2], [0, 0, 0, 1.0]])


def image(shape=(6, 7, 8), dtype="i2", seed=3, **options):
    options.setdefault("affine", AFFINE)
    data = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    return ci.from_array(data, **options)


def tally(a, b, *tolerance):
    out = Tally(Tolerance(*tolerance))
    out.add(full_region(a.shape), a, b)
    return out


# ---------------------------------------------------------------------------------------------- values

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


@pytest.mark.parametrize("types", list(itertools.combinations_with_replacement(INTEGERS, 2)), ids="-".join)
def test_integers_are_exact(types):
    def extremes(dtype):
        info = np.iinfo(dtype)
        return [info.min, info.max, 0, 1, info.max - 1, info.min + 1, info.max // 2]

    for one, two in (types, types[::-1]):
        pairs = list(itertools.product(extremes(one), extremes(two)))
        a = np.array([p for p, _ in pairs], one).reshape(7, 7)
        b = np.array([q for _, q in pairs], two).reshape(7, 7)
        truth = [abs(p - q) for p, q in pairs]
        found = tally(a, b)
        assert found.differing == sum(d != 0 for d in truth)
        assert found.worst.difference == max(truth)
        assert abs(int(a[found.worst.index]) - int(b[found.worst.index])) == max(truth)
        assert found.worst.values == (int(a[found.worst.index]), int(b[found.worst.index]))
        assert found.mean == pytest.approx(sum(truth) / 49, rel=1e-12)
        assert found.rms == pytest.approx((sum(d * d for d in truth) / 49) ** 0.5, rel=1e-12)


def test_large_integers_against_floats():
    # float64 cannot tell them apart
    a, b = np.array([2**53 + 1, 7, 2**62], "i8"), np.array([2.0**53, 7.0, 2.0**62])
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("no type of this machine holds both")
    assert np.float64(a[0]) == b[0]
    for found in (tally(a, b), tally(b, a)):
        assert (found.differing, found.worst.difference, found.worst.index) == (1, 1, (0,))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_floats_as_numpy_has_them(dtype):
    rng = np.random.default_rng(2)
    a = rng.normal(size=(5, 6, 7)).astype(dtype)
    b = np.where(rng.random(a.shape) < 0.3, a, a + rng.normal(size=a.shape)).astype(dtype)
    apart = np.abs(a.astype("c16") - b.astype("c16"))
    found = tally(a, b)
    assert found.differing == np.count_nonzero(a != b)
    assert found.worst.difference == pytest.approx(apart.max(), rel=1e-12)
    assert found.worst.index == np.unravel_index(apart.argmax(), a.shape)
    assert found.mean == pytest.approx(apart.mean(), rel=1e-9)
    assert found.rms == pytest.approx(np.sqrt((apart**2).mean()), rel=1e-9)
    for atol, rtol in ((0.4, 0), (0, 0.5), (0.1, 0.2)):
        close = np.isclose(a.astype("c16"), b.astype("c16"), rtol=rtol, atol=atol)
        assert tally(a, b, atol, rtol).differing == np.count_nonzero(~close)


def test_nan_and_infinity():
    nan, inf = np.nan, np.inf
    a = np.array([nan, nan, 1, inf, inf, -inf, 2, 0.0])
    b = np.array([nan, 1, nan, inf, -inf, 5, 2.25, -0.0])
    for tolerance in ((), (0, 0.5), (1e9, 1e9)):
        found = tally(a, b, *tolerance)
        close = np.isclose(a, b, equal_nan=True, atol=(tolerance or (0,))[0], rtol=(tolerance or (0, 0))[1])
        assert found.differing == np.count_nonzero(~close)
        assert found.one_nan == 2
        assert found.worst.difference == inf
    only = tally(np.array([1.0, nan]), np.array([1.0, 3.0]))
    assert (only.differing, only.one_nan, only.worst, only.first) == (1, 1, None, (1,))
    with pytest.raises(ValueError, match="at least 0"):
        Tolerance(-1)


def test_booleans():
    a, b = np.array([True, False, True]), np.array([True, True, False])
    assert (tally(a, b).differing, tally(a, b).worst.difference) == (2, 1)


# ---------------------------------------------------------------------------------------------- images


def small(*kinds):
    return [p for p in items(*kinds) if p.values[0] is None or p.values[0].get("bytes", 0) < 200_000]


@pytest.mark.parametrize("item", small("nifti", "nifti-pair"))
def test_conversions_are_equal(item, tmp_path):
    if not HAVE_DATA or "error" in item["refs"].get("nibabel", {}):
        pytest.skip("not an image that the references read")
    ci.convert(item_path(item), tmp_path / "a.ome.zarr")
    found = ci.diff(item_path(item), tmp_path / "a.ome.zarr")
    assert found.equal, found
    assert found.notes == ()
    assert found.voxels.count == np.prod(list(ci.read_header(item_path(item)).sizes.values()))
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_voxel(tmp_path):
    a = image((3, 6, 7, 8), t=[0.5, 2.5, 4.5])
    b = a.copy()
    b[1, 2, 3, 4] += 7
    b[2, 5, 6, 7] -= 3
    a.img.save(tmp_path / "a.nii.gz")
    b.img.save(tmp_path / "b.ome.zarr", chunks=4)
    found = ci.diff(tmp_path / "a.nii.gz", tmp_path / "b.ome.zarr")
    assert not found.equal
    assert found.geometry == ()
    assert found.properties.removed == {"sform_code": 1}
    assert found.structure == {}
    voxels = found.voxels
    assert (voxels.count, voxels.differing, voxels.worst) == (3 * 6 * 7 * 8, 2, 7)
    assert voxels.index == {"x": 4, "y": 3, "z": 2, "t": 1}
    assert voxels.world == pytest.approx(tuple(a.img.to_world((4, 3, 2))), abs=1e-5)
    assert voxels.values == (int(a[1, 2, 3, 4]), int(a[1, 2, 3, 4]) + 7)
    assert voxels.mean == pytest.approx(10 / voxels.count)
    assert voxels.rms == pytest.approx((58 / voxels.count) ** 0.5)
    assert voxels.fraction == 2 / voxels.count
    # images as well as files, and nothing is changed by comparing
    assert ci.diff(a, tmp_path / "a.nii.gz", ignore=["properties"]).equal
    assert ci.diff(a, b).voxels.differing == 2
    assert ci.diff(a, b, atol=3).voxels.differing == 1
    assert ci.diff(a, b, atol=7).equal


def test_geometry_is_itemised():
    a = image()
    moved = np.array(AFFINE)
    moved[:3, 3] += 0.25 * AFFINE[:3, 0]
    found = ci.diff(a, image(affine=moved))
    assert found.displacement.voxels == pytest.approx(0.25)
    assert found.displacement.length == pytest.approx(0.25 * np.linalg.norm(AFFINE[:3, 0]))
    assert any("displaced by 0.25 voxels" in text for text in found.geometry)
    assert any("origin" in text for text in found.geometry)
    assert found.voxels.differing == 0
    assert not found.equal
    assert any("by index" in note for note in found.notes)
    assert ci.diff(a, image(affine=moved), tol=0.26).equal
    assert ci.diff(a, image(affine=moved), ignore=["geometry"]).equal
    wider = AFFINE @ np.diag([1.5, 1, 1, 1])
    assert any("spacing" in text for text in ci.diff(a, image(affine=wider)).geometry)
    assert any("units" in text for text in ci.diff(a, image(units="um")).geometry)
    assert ci.diff(a, image(space="LPS", affine=np.diag([-1, -1, 1, 1]) @ AFFINE)).equal


def test_structure_and_properties():
    a = image(properties={"same": 1, "gone": "x", "other": [1, 2]})
    b = image(properties={"same": 1, "new": None, "other": [1, 3]}).astype("f4")
    found = ci.diff(a, b)
    assert found.structure == {"type": "int16 against float32"}
    assert found.properties.removed == {"gone": "x"}
    assert found.properties.added == {"new": None}
    assert found.properties.changed == {"other": ([1, 2], [1, 3])}
    assert found.voxels.differing == 0
    assert ci.diff(a, b, ignore=("type", "properties")).equal
    with pytest.raises(ValueError, match="geometry, dims"):
        ci.diff(a, b, ignore=["nonsense"])
    sized = ci.diff(a, image((6, 7, 9)))
    assert sized.voxels is None
    assert "x 8 against" in sized.structure["dims"]
    assert not sized.equal


def test_times_and_channels():
    shape = (3, 4, 5, 6)
    a = image(shape, t=[0.0, 2.0, 4.0])
    assert ci.diff(a, image(shape, t=[0.0, 2.0, 4.0 + 1e-7])).equal
    assert "frame 2" in ci.diff(a, image(shape, t=[0.0, 2.0, 4.5])).structure["times"]
    one = ci.from_array(a.values[:1], affine=AFFINE, t=[3.0])
    # an axis of one frame is a difference, and no reason not to compare voxels
    found = ci.diff(one, ci.from_array(a.values[0], affine=AFFINE))
    assert set(found.structure) == {"dims", "times"}
    assert found.voxels.differing == 0


def test_scaling(tmp_path):
    data = values((5, 6, 7), "i2")
    write(tmp_path / "a.nii", data, scl_slope=2, scl_inter=1)
    write(tmp_path / "b.nii", (data.astype("f4") * 2 + 1))
    found = ci.diff(tmp_path / "a.nii", tmp_path / "b.nii")
    assert found.equal
    assert any("stored as int16 against float32" in note for note in found.notes)
    assert any("scaling 2.0" in note for note in found.notes)
    assert any("scl_slope" in note for note in found.notes)
    raw = ci.diff(tmp_path / "a.nii", tmp_path / "b.nii", stored=True)
    assert set(raw.structure) == {"type", "scaling"}
    assert raw.voxels.worst == np.abs(data.astype("f8") - (data.astype("f4") * 2 + 1)).max()


def test_levels(tmp_path):
    a = image((140, 70, 80))
    a.img.save(tmp_path / "a.ome.zarr", pyramid=True)
    ci.convert(tmp_path / "a.ome.zarr", tmp_path / "one.nii", level=1)
    assert ci.diff(tmp_path / "a.ome.zarr", tmp_path / "one.nii", level=(1, 0), ignore=["properties"]).equal
    assert ci.diff(tmp_path / "a.ome.zarr", tmp_path / "a.ome.zarr", level=1).equal


def test_poses():
    def posed(shift):
        out = image((3, 4, 5, 6), t=[0.0, 1.0, 2.0])
        affines = np.array([AFFINE] * 3)
        affines[2, 0, 3] += 1
        affines[1, 0, 3] += shift
        table = {"reference": AFFINE.tolist(), "t": [0.0, 1.0, 2.0], "affine": affines.tolist()}
        return out.assign_attrs(affine_at=table)

    assert ci.diff(posed(0), posed(0)).equal
    found = ci.diff(posed(0), posed(0.7))
    assert len(found.geometry) == 1
    assert "1 of 3; in frame 1" in found.geometry[0]
    b = posed(0).copy(data=posed(0).values)
    b[2, 1, 2, 3] += 9
    world = AFFINE @ [3, 2, 1, 1] + [1, 0, 0, 0]
    assert ci.diff(posed(0), b).voxels.world == pytest.approx(tuple(world[:3]))


def test_unusable_geometry(tmp_path):
    data = values((5, 6, 7), "i2")
    write(tmp_path / "a.nii", data)
    write(tmp_path / "b.nii", data, srow_x=[0, 0, 0, 0])
    with pytest.warns(ci.ChunkImgWarning):
        found = ci.diff(tmp_path / "a.nii", tmp_path / "b.nii")
    assert "no position" in found.geometry[0]
    assert found.voxels.differing == 0
    with pytest.warns(ci.ChunkImgWarning), pytest.raises(ci.GeometryError, match="cannot be aligned"):
        ci.diff(tmp_path / "a.nii", tmp_path / "b.nii", align=True)


# ---------------------------------------------------------------------------------------------- axes


def groups():
    if not HAVE_DATA:
        return [pytest.param(None, marks=needs_data)]
    found = json.loads((DATA / "equivalences.json").read_text())["groups"]
    nifti = [[i for i in g["items"] if i.endswith((".nii", ".nii.gz"))] for g in found if "axis orders" in g["why"]]
    return [pytest.param(g, id=g[0]) for g in nifti if len(g) > 1]


@pytest.mark.parametrize("group", groups())
def test_one_volume_in_many_orders(group):
    first = DATA / group[0]
    for other in group[1:]:
        assert not ci.diff(first, DATA / other).equal
        assert any("--align" in note for note in ci.diff(first, DATA / other, ignore=["voxels"]).notes)
        found = ci.diff(first, DATA / other, align=True)
        assert found.equal, (other, found)
        assert found.voxels.worst is None


@pytest.mark.parametrize("order", list(itertools.permutations("zyx")), ids="".join)
def test_alignment_is_exact(order):
    a = image((4, 5, 6))
    for flips in itertools.product((1, -1), repeat=3):
        values_b = a.values.transpose(["zyx".index(d) for d in order])[tuple(slice(None, None, f) for f in flips)]
        # column k of the affine belongs to image axis "xyz"[k]
        columns = [a.img.affine[:3, "xyz".index(d)] * f for d, f in zip(order, flips, strict=True)][::-1]
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(columns).T
        first = [(a.sizes[d] - 1) * (f < 0) for d, f in zip(order, flips, strict=True)]
        at = dict(zip(order, first, strict=True))
        matrix[:3, 3] = a.img.to_world([at["x"], at["y"], at["z"]])
        b = ci.from_array(values_b, affine=matrix)
        found = ci.diff(a, b, align=True)
        assert found.equal, (order, flips, found)
        # what is turned is not what lies elsewhere
        matrix[0, 3] += 0.3
        assert not ci.diff(a, ci.from_array(values_b, affine=matrix), align=True).equal


# ---------------------------------------------------------------------------------------------- bounds


@pytest.fixture
def watched(monkeypatch):
    """Counts decoder starts and bytes, and the largest pair of blocks compared."""
    seen = {"starts": 0, "bytes": 0, "block": 0, "slabs": 0}
    opened, read, added = DecodedStream._open, DecodedStream.read_up_to, engine.Tally.add
    into = DecodedStream.read_into

    def count_open(self):
        seen["starts"] += 1
        return opened(self)

    def count_read(self, count):
        out = read(self, count)
        seen["bytes"] += len(out)
        return out

    def count_into(self, buffer):
        seen["bytes"] += len(buffer.cast("B"))
        return into(self, buffer)

    def count_add(self, region, a, b, values=None):
        seen["block"] = max(seen["block"], a.nbytes + b.nbytes)
        seen["slabs"] += 1
        return added(self, region, a, b, values)

    monkeypatch.setattr(DecodedStream, "_open", count_open)
    monkeypatch.setattr(DecodedStream, "read_up_to", count_read)
    monkeypatch.setattr(DecodedStream, "read_into", count_into)
    monkeypatch.setattr(engine.Tally, "add", count_add)
    return seen


def volume(path):
    from chunkimg.io.format import ReadOptions
    from chunkimg.io.registry import format_of

    return format_of(path).open(path, ReadOptions())


def compare(a, b, watched, budget=6 << 20):
    watched.update(starts=0, bytes=0)
    return engine.compare_voxels(a, b, stored=True, tolerance=Tolerance(), budget=budget)


@pytest.mark.parametrize("other", ["b.nii", "b.nii.gz", "b.ome.zarr", "pieces.ome.zarr"])
def test_streams_are_decoded_once_in_slabs(other, tmp_path, watched):
    data = values((120, 130, 100, 2), "i2")
    write(tmp_path / "a.nii.gz.nii", data)
    ci.convert(tmp_path / "a.nii.gz.nii", tmp_path / "a.nii.gz")
    ci.convert(tmp_path / "a.nii.gz", tmp_path / other, **({"chunks": 32} if "pieces" in other else {}))
    a, b = volume(tmp_path / "a.nii.gz"), volume(tmp_path / other)
    streams = 2 if other == "b.nii.gz" else 1
    for one, two in ((a, b), (b, a)):
        found = compare(one, two, watched)
        assert (found.count, found.differing) == (data.size, 0)
        assert watched["starts"] == streams
        assert watched["bytes"] <= streams * (data.nbytes + 4096)
    # one slab of both within a sixth of the budget, but for whole chunks
    chunk = b.data.chunks or (1,)
    assert watched["block"] <= max(2 << 20, 4 * np.prod(chunk))
    assert watched["slabs"] > 6


def test_streams_that_cannot_be_read_in_step(tmp_path, watched, monkeypatch):
    monkeypatch.setattr("chunkimg.lazy._TURNED", 0)
    data = values((60, 50, 40), "u1")
    write(tmp_path / "a.nii", data)
    ci.convert(tmp_path / "a.nii", tmp_path / "a.nii.gz")
    ci.convert(tmp_path / "a.nii", tmp_path / "flipped.nii.gz", z=slice(None, None, -1))
    a = volume(tmp_path / "a.nii.gz")
    from chunkimg.align import aligned

    turned = aligned(volume(tmp_path / "flipped.nii.gz"), a)
    assert turned.data.file_order is None
    for one, two in ((a, turned), (turned, a)):
        assert compare(one, two, watched, 1 << 20).differing == 0
        assert watched["starts"] == 2
        assert watched["bytes"] <= 2 * (data.nbytes + 4096)


def test_channel_orders_that_cross(tmp_path, watched):
    rgb = values((30, 20, 10), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    write(tmp_path / "rgb.nii", rgb)
    ci.convert(tmp_path / "rgb.nii", tmp_path / "rgb.nii.gz")
    split = np.stack([rgb["R"], rgb["G"], rgb["B"]], axis=-1)[:, :, :, None, :]
    split[3, 4, 5, 0, 1] ^= 8
    write(tmp_path / "split.nii", np.ascontiguousarray(split))
    ci.convert(tmp_path / "split.nii", tmp_path / "split.nii.gz")
    found = ci.diff(tmp_path / "rgb.nii.gz", tmp_path / "split.nii.gz")
    assert set(found.structure) == {"channels", "dims"}
    assert (found.voxels.differing, found.voxels.worst) == (1, 8)
    assert found.voxels.index == {"x": 3, "y": 4, "z": 5, "c": 1}


def test_damage_is_an_error_not_a_difference(tmp_path):
    data = values((60, 50, 40), "i2")
    write(tmp_path / "a.nii", data)
    ci.convert(tmp_path / "a.nii", tmp_path / "b.nii.gz")
    raw = bytearray((tmp_path / "b.nii.gz").read_bytes())
    raw[-6] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(raw)
    with pytest.raises(ci.FormatError, match="damaged"):
        ci.diff(tmp_path / "a.nii", tmp_path / "b.nii.gz")


# ---------------------------------------------------------------------------------------------- command line


def test_command(tmp_path, command):
    run = command
    a = image()
    b = a.copy()
    b[2, 3, 4] += 7
    a.img.save(tmp_path / "a.nii")
    b.img.save(tmp_path / "b.nii")
    text = run("diff", tmp_path / "a.nii", tmp_path / "b.nii", code=1).out
    assert "1 of 336 differ" in text
    assert "worst 7 at x 4, y 3, z 2" in text
    assert text.rstrip().endswith("different")
    assert "equal" in run("diff", tmp_path / "a.nii", tmp_path / "b.nii", "--atol", 7).out
    assert "equal" in run("diff", tmp_path / "a.nii", tmp_path / "b.nii", "--quick").out
    found = json.loads(run("diff", "--json", tmp_path / "a.nii", tmp_path / "b.nii", code=1).out)
    assert found["equal"] is False
    assert found["voxels"]["worst"] == 7
    assert found["displacement"]["voxels"] == 0
    # trouble is not a difference
    for other in ("absent.nii", "a.txt"):
        (tmp_path / "a.txt").write_text("no image")
        error = run("diff", tmp_path / "a.nii", tmp_path / other, code=2).err
        assert error.startswith("chunkimg: error: ")
        assert error.count("\n") == 1
    assert "no level" in run("diff", tmp_path / "a.nii", tmp_path / "b.nii", "--level", "1,2,3", code=2).err


def test_parts_of_the_command_are_those_of_the_library():
    from chunkimg.cli_check import _IGNORABLE

    assert _IGNORABLE == PARTS


def test_an_indexed_gzip_is_still_decoded_front_to_back(tmp_path, monkeypatch):
    image = ci.from_array(np.random.default_rng(0).integers(0, 999, (60, 300, 300)).astype("i2"), spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.nii.gz")
    image.img.save(tmp_path / "b.zarr", chunks=64)
    ci.build_index(tmp_path / "a.nii.gz")
    opened = []
    real = DecodedStream._open
    monkeypatch.setattr(DecodedStream, "_open", lambda self: (opened.append(1), real(self))[1])
    for pair in (("a.nii.gz", "b.zarr"), ("b.zarr", "a.nii.gz"), ("a.nii.gz", "a.nii.gz")):
        opened.clear()
        result = ci.diff(tmp_path / pair[0], tmp_path / pair[1], budget=1 << 20)
        assert result.voxels.differing == 0
        # headers, and one pass over the voxels (two, where they are put in order first)
        assert len(opened) <= 10
