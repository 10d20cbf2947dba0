"""What is understood of array metadata is understood right; all else is left to zarr-python, with the same outcome."""

import copy
import itertools
import json

import numcodecs
import numpy as np
import pytest
import zarr
from packaging.version import Version
from test_stores_hostile import changed, places

import chunkimg as ci
from chunkimg.io import zarr_store
from chunkimg.io.zarr_array import ZarrArray
from chunkimg.io.zarr_folder import FolderArray, node
from chunkimg.io.zarr_spec import ArraySpec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


OLD = pytest.mark.skipif(Version(zarr.__version__) < Version("3.1.6"), reason="older zarr reads this otherwise itself")


def by_zarr(path):
    try:
        return np.asarray(zarr.open_array(path, mode="r")[...])
    except Exception as error:
        return error


def by_us(path):
    try:
        array = ZarrArray(zarr_store.open_node(str(path)))
        return array[...]
    except (ci.ChunkImgError, OSError, MemoryError) as error:
        return error


def same(path):
    """Whether we and zarr-python read the same, or neither reads; what is read."""
    ours, theirs = by_us(path), by_zarr(path)
    if isinstance(ours, Exception):
        return isinstance(theirs, Exception) or isinstance(ours, ci.UnsupportedError), ours
    assert not isinstance(theirs, Exception), theirs
    np.testing.assert_array_equal(ours, theirs)
    return True, ours


def written(path, data, **options):
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    return array


DATA = np.arange(7 * 9 * 11, dtype="i2").reshape(7, 9, 11)


@pytest.mark.parametrize(
    ("options", "understood"),
    [
        ({"chunks": (3, 4, 5)}, True),
        ({"chunks": (3, 4, 5), "zarr_format": 2, "filters": [numcodecs.Delta("<i2")]}, False),
        ({"chunks": (3, 4, 5), "zarr_format": 2, "compressors": numcodecs.BZ2(1)}, False),
        ({"chunks": (3, 4, 5), "zarr_format": 2, "compressors": numcodecs.Zlib(1)}, True),
        ({"chunks": (3, 4, 5), "zarr_format": 2, "compressors": numcodecs.LZ4()}, True),
        ({"chunks": (3, 4, 5), "zarr_format": 2, "order": "F"}, True),
        ({"chunks": (3, 4, 5), "filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))}, True),
        ({"chunks": (3, 4, 5), "compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec()]}, False),
        ({"chunks": (3, 4, 5), "compressors": [zarr.codecs.Crc32cCodec(), zarr.codecs.BloscCodec()]}, False),
        ({"chunks": (3, 4, 5), "compressors": [zarr.codecs.BloscCodec(), zarr.codecs.Crc32cCodec()]}, True),
        ({"chunks": (3, 4, 5), "compressors": None}, True),
        ({"chunks": (3, 4, 5), "shards": (6, 8, 10)}, True),
        pytest.param(
            {
                "chunks": (6, 8, 10),
                "serializer": zarr.codecs.ShardingCodec(
                    chunk_shape=(6, 4, 5), codecs=[zarr.codecs.ShardingCodec(chunk_shape=(3, 4, 5))]
                ),
                "compressors": None,
            },
            False,
            marks=OLD,
        ),
    ],
)
def test_arrays_of_zarr_python(tmp_path, options, understood):
    written(tmp_path / "a.zarr", DATA, **options)
    assert isinstance(node(str(tmp_path / "a.zarr")), FolderArray) == understood
    alike, found = same(tmp_path / "a.zarr")
    assert alike
    np.testing.assert_array_equal(found, DATA)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_filters_of_numcodecs(tmp_path, dtype):
    zarr3 = pytest.importorskip("zarr.codecs.numcodecs")
    data = DATA.astype(dtype)
    for k, options in enumerate(
        [
            {"filters": [zarr3.BitRound(keepbits=3)]},
            {"filters": [zarr3.FixedScaleOffset(offset=0, scale=1, dtype=f"<{dtype}")]},
            {"compressors": [zarr3.BZ2(level=1)]},
        ]
    ):
        path = tmp_path / f"{k}.zarr"
        written(path, data, chunks=(3, 4, 5), **options)
        assert node(str(path)) is None
        assert same(path)[0]
    written(tmp_path / "b.zarr", DATA > 300, chunks=(3, 4, 5), filters=[zarr3.PackBits()])
    assert same(tmp_path / "b.zarr")[0]


def test_structured_types_are_left_to_zarr_python(tmp_path):
    data = np.zeros((4, 5, 6), [("r", "u1"), ("g", "u1"), ("b", "u1")])
    data["g"] = 7
    written(tmp_path / "a.zarr", data, chunks=(2, 2, 2), zarr_format=2)
    assert node(str(tmp_path / "a.zarr")) is None
    found = ZarrArray(zarr_store.open_node(str(tmp_path / "a.zarr")))[...]
    assert found.shape == (4, 5, 6, 3) and (found[..., 1] == 7).all()


def edited(path, change):
    file = next(p for p in (path / "zarr.json", path / ".zarray") if p.exists())
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(storage_transformers=[{"name": "x"}]),
        lambda d: d.update(surprise={"must_understand": True}),
        lambda d: d.update(surprise=5),
        lambda d: d.update(codecs=[]),
        lambda d: d["codecs"].append({"name": "surprise"}),
        lambda d: d["codecs"].insert(0, {"name": "surprise", "must_understand": False}),
        lambda d: d.update(chunk_grid={"name": "rectangular", "configuration": {"chunk_shape": [[3, 4], 4, 5]}}),
        lambda d: d.update(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [3, 4]}}),
        lambda d: d.update(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 4, 5]}}),
        lambda d: d.update(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2**60, 4, 5]}}),
        lambda d: d.update(fill_value="0x7fc0"),
        lambda d: d.update(fill_value=1.5),
        lambda d: d.update(data_type="int2"),
        lambda d: d.update(data_type={"name": "int16"}),
        lambda d: d["codecs"][0].update(configuration={}),
    ],
)
def test_what_is_not_understood_has_the_outcome_it_had(tmp_path, change):
    path = tmp_path / "a.zarr"
    written(path, DATA, chunks=(3, 4, 5))
    edited(path, change)
    assert node(str(path)) is None
    assert same(path)[0]


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=OLD), {"zarr_format": 2}, pytest.param({"shards": (4, 4, 4)}, marks=OLD)]
)
def test_every_field_wrong(tmp_path, options):
    """Each value is replaced by odd ones: where we read, zarr-python reads the same; else it is an error of ours."""
    path = tmp_path / "a.zarr"
    data = np.arange(3 * 4 * 5, dtype="i2").reshape(3, 4, 5)
    written(path, data, chunks=(2, 2, 2), compressors=None, **options)
    file = next(p for p in (path / "zarr.json", path / ".zarray") if p.exists())
    document = json.loads(file.read_text())
    document.pop("attributes", None)
    odd = [..., None, 0, -1, 2, 1.5, "x", "", "big", ".", "/", "F", [], {}, [1, 2], [2, 1, 0], True, 2**70, [2, 2, 2]]
    for place, value in itertools.product([p for p in places(document) if p], odd):
        file.write_text(json.dumps(changed(copy.deepcopy(document), place, value)))
        spec = ArraySpec.of(json.loads(file.read_text()))
        if spec is None or np.prod(spec.shape, dtype=object) > 1 << 20:
            continue
        ours = by_us(path)
        if not isinstance(ours, Exception):
            theirs = by_zarr(path)
            # where zarr-python refuses a document, ours may be more lenient, never different
            assert isinstance(theirs, Exception) or np.array_equal(ours, theirs), (place, value)


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        (ArraySpec((9, 9), np.dtype("i2"), (3, 3)), ["c/0/2", "c/2/0"]),
        (ArraySpec((9, 9), np.dtype("i2"), (3, 3), separator="."), ["c.0.2", "c.2.0"]),
        (ArraySpec((9, 9), np.dtype("i2"), (3, 3), lead="", separator="."), ["0.2", "2.0"]),
        (ArraySpec((9, 9), np.dtype("i2"), (3, 3), lead=""), ["0/2", "2/0"]),
    ],
)
def test_keys(spec, keys):
    assert [spec.key((0, 2)), spec.key((2, 0))] == keys
    assert [ArraySpec((), np.dtype("i2"), ()).key(()), ArraySpec((), np.dtype("i2"), (), lead="").key(())] == ["c", "0"]
