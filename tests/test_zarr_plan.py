"""The plan of a write, and what comes of it: every voxel once, levels as NumPy makes them, in every reader."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import zarr

import chunkimg as ci
from chunkimg.io import registry
from chunkimg.io.format import ReadOptions, WriteOptions
from chunkimg.io.zarr_append import ArrayWriter
from chunkimg.io.zarr_folder import FolderArray, node
from chunkimg.io.zarr_plan import LevelPlan, WritePlan
from chunkimg.io.zarr_put import Folder
from chunkimg.io.zarr_read import read_region
from chunkimg.io.zarr_spec import ArraySpec, Compressor
from chunkimg.io.zarr_write import plan_of
from chunkimg.ops.downsample import mean_blocks, mode_blocks

TYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
MIB = 1 << 20


def noise(shape, dtype="i2"):
    return np.random.default_rng(4).integers(0, 99, shape).astype(dtype)


def assert_levels(path, finest, reduce):
    """Each level is the one before, reduced by NumPy."""
    tree = ci.open_pyramid(path)
    names = sorted(n for n in tree.children if n.startswith("scale"))
    assert len(names) > 1
    expected = finest
    for k, name in enumerate(names):
        found = tree[name].image.values
        if k:
            factors = [a // b for a, b in zip(expected.shape, found.shape, strict=True)]
            assert set(factors) <= {1, 2}
            expected = reduce(expected, factors)
        np.testing.assert_array_equal(found, expected)


SHAPES = [
    # planes that are cut, with nothing behind them
    ((1, 1501, 901), {"budget": MIB}),
    ((1, 1501, 901), {"budget": MIB, "chunks": {"y": 100, "x": 333}}),
    # slabs that are tiles
    ((90, 401, 300), {"budget": MIB, "chunks": {"z": 64, "y": 40, "x": 50}}),
    # odd depths of chunks and slabs
    ((131, 129, 71), {"budget": MIB, "chunks": {"z": 5, "y": 40, "x": 50}}),
    ((131, 129, 71), {"budget": MIB, "chunks": {"z": 7, "y": 129, "x": 71}}),
    ((131, 129, 71), {"budget": MIB, "chunks": {"z": 1, "y": 129, "x": 71}}),
    ((131, 129, 71), {"budget": 8 * MIB}),
    ((131, 129, 71), {}),
    ((3, 2, 67, 66, 65), {"budget": MIB, "chunks": {"z": 3, "y": 20, "x": 65}}),
]


@pytest.mark.parametrize(("shape", "options"), SHAPES)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_are_those_of_the_whole_array(tmp_path, shape, options, version):
    image = ci.from_array(noise(shape), spacing=(1, 1, 1))
    image.img.save(tmp_path / "a.zarr", pyramid=True, ome_version=version, **options)
    assert_levels(tmp_path / "a.zarr", image.values, mean_blocks)
    image.img.save(tmp_path / "b.zarr", pyramid=True, downsample="mode", ome_version=version, **options)
    assert_levels(tmp_path / "b.zarr", image.values, mode_blocks)


@pytest.mark.parametrize("name", ["s.nii", "s.nii.gz", "s.nrrd"])
@pytest.mark.parametrize("options", [{"budget": MIB}, {"budget": MIB, "chunks": {"z": 5}}, {}])
def test_levels_of_files(tmp_path, name, options):
    rgb = ci.from_array(noise((67, 131, 140, 3), "u1"), ("z", "y", "x", "c"), spacing=(1, 1, 1))
    for k, image in enumerate([rgb, ci.from_array(noise((67, 131, 140), "f4"), spacing=(1, 1, 3))]):
        source = tmp_path / f"{k}{name}"
        image.img.save(source)
        ci.convert(source, tmp_path / f"{k}.zarr", pyramid=True, **options)
        assert_levels(tmp_path / f"{k}.zarr", ci.open_image(source).values, mean_blocks)


@pytest.mark.parametrize("name", ["s.nii.gz", "s.nrrd"])
def test_chunks_deeper_than_the_budget_holds_of_planes(tmp_path, name):
    """A file that is decoded front to back is decoded once all the same."""
    image = ci.from_array(noise((40, 300, 350)), spacing=(1, 1, 1))
    image.img.save(tmp_path / name)
    chunks = {"z": 32, "y": 40, "x": 50}
    assert not a_plan(tmp_path / name, chunks=chunks, budget=MIB).levels[0].is_run
    ci.convert(tmp_path / name, tmp_path / "a.zarr", pyramid=True, chunks=chunks, budget=MIB)
    assert_levels(tmp_path / "a.zarr", image.values, mean_blocks)


def a_plan(source, **options):
    volume = registry.format_of(str(source)).open(str(source), ReadOptions())
    return plan_of(volume, "a.zarr", WriteOptions(**options))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.nii"
    ci.from_array(noise((67, 131, 140)), spacing=(1, 1, 1)).img.save(path)
    return path


@pytest.mark.parametrize("options", [{}, {"ome_version": "0.4"}, {"codec": "none"}, {"pyramid": True, "budget": MIB}])
def test_plans_are_values(source, options):
    plan = a_plan(source, **options)
    text = plan.to_json()
    assert WritePlan.from_json(text) == plan
    assert hash(WritePlan.from_json(text)) == hash(plan)
    assert len(text) < 5000
    # the same in another process
    code = f"import test_zarr_plan as t; print(t.a_plan({str(source)!r}, **{options!r}).to_json())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="tests")
    assert out.stdout.strip() == text
    for level, line in zip(plan.levels, str(plan).splitlines(), strict=True):
        assert line.startswith(f"{level.path}: z {level.spec.shape[0]} × y ")


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_parts_cover_everything_once(parts, order):
    spec = ArraySpec((23, 34, 45), np.dtype("<i2"), (3, 4, 5), (6, 8, 10))
    level = LevelPlan("image", spec, (1, 1, 1), (12, 16, 20), order)
    seen, keys = np.zeros(spec.shape, int), []
    for part in range(parts):
        mine = set()
        for region in level.slabs(part, parts):
            seen[tuple(slice(r.start, r.stop) for r in region)] += 1
            mine.update(level.keys(region))
        keys.extend(mine)
    assert (seen == 1).all()
    assert len(keys) == len(set(keys)) == math.prod(-(-n // u) for n, u in zip(spec.shape, spec.unit, strict=True))
    with pytest.raises(ValueError, match="numbered from 0"):
        list(level.slabs(parts, parts))


# ---------------------------------------------------------------------------------------------- what is stored


@pytest.mark.parametrize("fill", [0, 3, -0.0, math.nan, None])
def test_only_what_differs_from_the_fill_value_is_stored(tmp_path, fill):
    block = np.zeros((4, 6), "f4")
    block[:2] = 3
    block[2:, :3] = -0.0
    block[2, 4] = math.nan
    block[0, 0] = math.nan
    for k, shards in enumerate([None, (4, 6)]):
        spec = ArraySpec((4, 6), np.dtype("<f4"), (2, 3), shards, compressor=Compressor("zstd", 1), fill=fill)
        store = Folder(str(tmp_path / str(k)))
        ArrayWriter(store, "a", spec).write((range(4), range(6)), block).wait()
        found = read_region(f"{store.path}/a", spec, (range(4), range(6)))
        assert found.tobytes() == block.tobytes()
    stored = {p.relative_to(tmp_path / "0/a/c").as_posix() for p in (tmp_path / "0/a/c").rglob("*") if p.is_file()}
    left_out = {"3": {"0/1"}, "-0.0": {"1/0"}}.get(str(fill), set())
    assert stored == {"0/0", "0/1", "1/0", "1/1"} - left_out


def test_zeros_are_not_stored_and_other_nothings_are(tmp_path):
    data = np.zeros((8, 8, 24), "f4")
    data[..., 8:16] = -0.0
    data[..., 16:] = np.nan
    image = ci.from_array(data)
    image.img.save(tmp_path / "3.zarr", chunks=8)
    image.img.save(tmp_path / "2.zarr", chunks=8, ome_version="0.4")
    assert {p.name for p in (tmp_path / "3.zarr" / "image" / "c" / "0" / "0").iterdir()} == {"1", "2"}
    assert {p.name for p in (tmp_path / "2.zarr" / "image" / "0" / "0").iterdir()} == {"0", "1", "2"}
    for name in ("2.zarr", "3.zarr"):
        assert ci.open_image(tmp_path / name).values.tobytes() == data.tobytes()


@pytest.mark.parametrize("codec", [None, "fast", "small", "zstd:5", "gzip", "none", "blosc-lz4", "blosc-zstd:9"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_stores_in_other_readers(tmp_path, codec, version):
    for dtype in TYPES:
        path = tmp_path / f"{dtype}.zarr"
        data = noise((9, 20, 31), dtype)
        data[:, :, :8] = 0
        image = ci.from_array(data)
        image.img.save(path, codec=codec, chunks={"z": 4, "y": 7, "x": 8}, ome_version=version)
        assert isinstance(node(str(path), "image"), FolderArray)
        np.testing.assert_array_equal(ci.open_image(path).values, data)
        array = zarr.open_consolidated(path)["image"]
        np.testing.assert_array_equal(array[...], data)
        np.testing.assert_array_equal(zarr.open_group(path, use_consolidated=False)["image"][...], data)
        if version == "0.5":
            assert_documents(path)


def assert_documents(path):
    """Metadata that zarr-python would write again as it is, but for empty members, which zarrita asks for."""
    from zarr.core.metadata import ArrayV3Metadata

    for file in path.rglob("zarr.json"):
        document = json.loads(file.read_text())
        if document["node_type"] == "array":
            again = json.loads(json.dumps(ArrayV3Metadata.from_dict(document).to_dict()))
            assert filled(again) == filled(document)
            codecs = document["codecs"]
            inner = [c for codec in codecs for c in codec.get("configuration", {}).get("codecs", [])]
            assert all("configuration" in codec for codec in codecs + inner if codec["name"] == "bytes")


def filled(document):
    """The same without empty members."""
    if isinstance(document, dict):
        return {k: filled(v) for k, v in document.items() if v not in (None, {}, [])}
    return [filled(v) for v in document] if isinstance(document, list) else document


@pytest.mark.parametrize("shards", [None, (8, 14, 16)])
@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_in_tensorstore_and_zarrs(tmp_path, dtype, shards):
    ts = pytest.importorskip("tensorstore")
    from chunkimg.io.codecs import PROFILES, compressor
    from chunkimg.io.zarr_nodes import Nodes, spec_of

    data = noise((9, 20, 31), dtype)
    data[:, :, :8] = 0
    region = tuple(map(range, data.shape))
    for version in (2, 3) if shards is None else (3,):
        store = Folder(str(tmp_path / str(version)))
        nodes = Nodes(store, version)
        nodes.group("", {})
        for name in PROFILES:
            spec = spec_of(version, data.shape, data.dtype, (4, 7, 8), shards, compressor(name, data.dtype))
            nodes.array(name, spec, ("z", "y", "x"), {})
            ArrayWriter(store, name, spec).write(region, data).wait()
        nodes.commit()
        for name in PROFILES:
            place = {"driver": "file", "path": f"{store.path}/{name}"}
            array = ts.open({"driver": "zarr3" if version == 3 else "zarr", "kvstore": place}).result()
            np.testing.assert_array_equal(array.read().result(), data)
            np.testing.assert_array_equal(zarr.open_array(f"{store.path}/{name}", mode="r")[...], data)
        if version == 3:
            pytest.importorskip("zarrs")
            with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
                for name in PROFILES:
                    np.testing.assert_array_equal(zarr.open_array(f"{store.path}/{name}", mode="r")[...], data)
