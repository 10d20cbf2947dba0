"""What is wrong with a file or store is found and named; what is sound is not complained of; nothing is raised."""

import gzip
import json
import shutil
import warnings

import numpy as np
import pytest
import zarr
from conftest import item_path, items
from nifti_files import AFFINE, rigid, values, write

import chunkimg as ci

NO_IMAGE_FILE = {"nifti/nibabel/nifti1.hdr", "nifti/nibabel/nifti2.hdr", "nifti/nifti-rs/avg152T1_LR_nifti.hdr.gz"}


def found(path, severity=None, **options):
    return [f"{f.where}: {f.message}" for f in ci.validate(path, **options) if severity in (None, f.severity)]


def has(findings, *parts):
    return any(all(part in f for part in parts) for f in findings)


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("item", items("nifti", "nifti-pair", "analyze"))
def test_real_files(item):
    errors = found(item_path(item), "error")
    refused = item["refs"].get("nibabel", {}).get("error")
    if refused is None:
        assert errors == []
    else:
        assert len(errors) == 1
        assert has(errors, "image file is missing")


@pytest.mark.parametrize("item", items("corrupt", "cifti"))
def test_what_is_no_image(item):
    assert len(found(item_path(item), "error")) == 1


def test_headers_that_contradict_themselves(tmp_path):
    data = values((5, 6, 7, 2), "i2")
    path = tmp_path / "a.nii"
    sound = {"qform": 1, "affine": rigid(), "xyzt_units": 10}
    write(path, data, **sound)
    assert [f for f in found(path) if "fourth" not in f and "between frames" not in f] == []
    moved = rigid()
    moved[0, 3] += 5
    cases = [
        ({"bitpix": 8}, "warning", "bitpix does not match"),
        ({"srow_x": moved[0]}, "warning", "5 mm"),
        ({"srow_x": moved[0], "qform_code": 2}, "note", "5 mm"),
        ({"sform_code": 0, "qform_code": 0}, "warning", "neither sform nor qform"),
        ({"quatern_b": 3}, "warning", "no rotation"),
        ({"pixdim": [1, 2, 3, 4, 1, 1, 1, 1]}, "warning", "pixdim is (2, 3, 4)"),
        ({"toffset": np.nan}, "warning", "toffset is not finite"),
        ({"srow_y": [0, 0, 0, 0]}, "warning", "singular"),
        ({"xyzt_units": 0}, "note", "unit of length is not stated"),
        ({"xyzt_units": 5}, "warning", "names no unit"),
        ({"intent_code": 777}, "warning", "intent_code 777"),
        ({"dim": [4, 5, 6, 7, 2, 9, 1, 1]}, "warning", "sizes [9, 1, 1] beyond"),
        ({"qform_code": 99}, "warning", "99"),
        ({"extra": b"\1\0\0\0" + b"\xff" * 12}, "warning", "extensions are damaged"),
    ]
    for fields, severity, text in cases:
        write(path, data, **{**sound, **fields})
        assert has(found(path, severity), text), (fields, ci.validate(path))
        assert found(path, "error") == [], fields


def test_sizes_of_files(tmp_path):
    data = values((5, 6, 7), "i2")
    path = tmp_path / "a.nii"
    write(path, data)
    raw = path.read_bytes()
    path.write_bytes(raw + b"123")
    assert has(found(path, "note"), "3 bytes follow the last voxel")
    assert found(path, "error") == []
    path.write_bytes(raw[:-1])
    assert has(found(path, "error"), "truncated")
    zipped = tmp_path / "b.nii.gz"
    for content, severity, text in [
        (raw + b"12345", "note", "5 bytes follow"),
        (raw[:-2], "error", f"{len(raw)} bytes of content are expected"),
        (raw[:100], "error", "expected nifti"),
    ]:
        zipped.write_bytes(gzip.compress(content))
        assert has(found(zipped, severity), text), text
    packed = gzip.compress(raw)
    for damaged in (packed[:-1], packed[:-9], packed[:-8] + b"\0" + packed[-7:], packed + b"not gzip"):
        zipped.write_bytes(damaged)
        assert len(found(zipped, "error")) == 1
    # the end of a stream is looked at only where voxels are decoded
    write(path, values((60, 61, 62), "i8"))
    zipped.write_bytes(gzip.compress(path.read_bytes(), 1)[:-1])
    assert has(found(zipped, "error"), "truncated")
    assert found(zipped, "error", quick=True) == []


def test_every_byte_of_a_gzip_file_counts(tmp_path):
    write(tmp_path / "a.nii", values((20, 21, 22), "i2"))
    packed = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes()))
    rng = np.random.default_rng(4)
    # behind the fields of the gzip header that mean nothing
    for at in rng.integers(10, len(packed), 60).tolist():
        packed[at] ^= 16
        (tmp_path / "a.nii.gz").write_bytes(packed)
        assert found(tmp_path / "a.nii.gz", "error"), at
        packed[at] ^= 16
    (tmp_path / "a.nii.gz").write_bytes(packed)
    assert found(tmp_path / "a.nii.gz", "error") == []


def test_absent_and_foreign_things(tmp_path):
    assert has(found(tmp_path / "absent.nii", "error"), "no such file")
    (tmp_path / "folder").mkdir()
    assert has(found(tmp_path / "folder", "error"), "without Zarr metadata")
    (tmp_path / "empty.nii").write_bytes(b"")
    assert has(found(tmp_path / "empty.nii", "error"), "empty")
    (tmp_path / ".a.nii.partial").write_bytes(b"")
    write(tmp_path / "a.nii", values((3, 4, 5), "u1"))
    assert has(found(tmp_path / "a.nii", "note"), "interrupted")


# ---------------------------------------------------------------------------------------------- stores


def sample():
    rng = np.random.default_rng(8)
    return ci.from_array(rng.integers(1, 999, (2, 70, 66, 80)).astype("i2"), affine=AFFINE, t=[0.5, 2.5])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    write(folder / "a.nii", np.ascontiguousarray(sample().values.T), xyzt_units=10)
    ci.convert(folder / "a.nii", folder / "pyramid.ome.zarr", pyramid=True, chunks=32)
    sample().img.save(folder / "single.ome.zarr", chunks=32)
    return folder


@pytest.fixture
def store(sound, tmp_path):
    shutil.copytree(sound / "pyramid.ome.zarr", tmp_path / "a.ome.zarr")
    return tmp_path / "a.ome.zarr"


@pytest.mark.parametrize("name", ["pyramid.ome.zarr", "single.ome.zarr"])
def test_sound_stores(name, sound):
    assert ci.validate(sound / name) == []


def test_other_sound_stores(tmp_path, nibabel_data):
    ci.convert(nibabel_data / "example4d.nii.gz", tmp_path / "part.ome.zarr", x=slice(10, 50), z=slice(None, None, -1))
    assert found(tmp_path / "part.ome.zarr", "error") == found(tmp_path / "part.ome.zarr", "warning") == []
    assert has(found(tmp_path / "part.ome.zarr", "note"), "template only")
    for k, options in enumerate([{"affine": np.eye(4)}, {"spacing": (1, 2, 3), "space": "unknown"}]):
        image = ci.from_array(np.arange(1, 61).reshape(3, 4, 5), **options)
        image.img.save(tmp_path / f"{k}.ome.zarr")
        assert ci.validate(tmp_path / f"{k}.ome.zarr") == []
    write(tmp_path / "lost.nii", values((3, 4, 5), "u1"), srow_x=[0, 0, 0, 0])
    with pytest.warns(ci.ChunkImgWarning):
        ci.convert(tmp_path / "lost.nii", tmp_path / "lost.ome.zarr")
    assert found(tmp_path / "lost.ome.zarr", "error") == []


def edit(store, path, change):
    """Change a metadata document, and drop the consolidated copies."""
    for name in {path, "zarr.json"}:
        document = json.loads((store / name).read_text())
        document.pop("consolidated_metadata", None)
        if name == path:
            change(document)
        (store / name).write_text(json.dumps(document))


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(document):
        for key in keys:
            document = document[key]
        document[last] = value

    return change


OME = ("attributes", "ome", "multiscales", 0, "datasets")
SCALE, SHIFT = ("coordinateTransformations", 0, "scale"), ("coordinateTransformations", 1, "translation")


@pytest.mark.parametrize(
    ("path", "change", "where", "text"),
    [
        ("scale0/image/zarr.json", put("attributes", "affine", 0, 3, 5.0), "scale0/image", "'affine'"),
        # by a whole voxel, as a crop would have it
        ("scale0/image/zarr.json", put("attributes", "affine", 0, 3, AFFINE[0, 3] + 0.1), "scale0/image", "corner"),
        ("scale0/image/zarr.json", put("attributes", "affine", 0, 0, -0.1), "scale0/image", "'affine'"),
        ("scale0/image/zarr.json", put("attributes", "direction", 1, 1, "x"), "scale0/image", "'direction'"),
        ("scale0/image/zarr.json", put("attributes", "space", "LPS"), "scale0/image", "'space'"),
        ("zarr.json", put("attributes", "chunkimg", "attrs", "affine", 1, 3, 5.0), "zarr.json", "corner"),
        ("zarr.json", put("attributes", "chunkimg", "units", "um"), "zarr.json", "unit"),
        ("zarr.json", put("attributes", "chunkimg", 7), "zarr.json", "no copy"),
        ("zarr.json", put("attributes", "ome", {}), "zarr.json", "no level"),
        ("zarr.json", put(*OME, 0, *SCALE, 2, 1.0), "scale0/image", "OME's scale along y"),
        ("zarr.json", put(*OME, 1, *SCALE, 3, -1.0), "scale1/image", "positive"),
        ("zarr.json", put(*OME, 1, *SHIFT, 1, 1.0), "scale1/image", "OME's translation along z"),
        ("zarr.json", put(*OME, 0, *SHIFT, 0, 9.0), "scale0/image", "first frame"),
        ("zarr.json", put(*OME, 0, "coordinateTransformations", None), "scale0/image", "no scale"),
        ("zarr.json", put(*OME, 1, "path", "scale9/image"), "scale9/image", "level 1"),
        ("zarr.json", put("attributes", "other", float("nan")), "zarr.json", "NaN is not JSON"),
        ("scale1/x/zarr.json", put("attributes", "direction", [1.0, 0.0, 0.0]), "scale1/image", ""),
        ("scale0/z/zarr.json", put("attributes", {}), "scale0/image", "direction"),
        ("scale0/z/zarr.json", put("shape", [69]), "scale0/z", "70 voxels"),
        ("scale0/image/zarr.json", put("shape", [2, 70, 66, 81]), "scale0/x", "81 voxels"),
        ("scale0/image/zarr.json", put("codecs", 7), "scale0/image", ""),
        ("scale0/image/zarr.json", put("shape", [2, 10, 66, 80]), "scale1/image", "is larger along z"),
        ("nifti/zarr.json", put("data_type", "nonsense"), "nifti", ""),
    ],
)  # fmt: skip
def test_metadata_that_was_altered(path, change, where, text, store):
    edit(store, path, change)
    assert has(found(store, "error", quick=True), f"{where}: ", text), ci.validate(store, quick=True)
    assert not has(found(store), "cannot go on")


def test_scales_of_levels_that_do_not_fit(store):
    # of a store that is not ours
    def change(document):
        del document["attributes"]["chunkimg"]
        document["attributes"]["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]["scale"][1] *= 2

    for folder in (store / "scale0", store / "scale1"):
        for name in "xyzt":
            shutil.rmtree(folder / name)
    edit(store, "scale0/image/zarr.json", put("attributes", {}))
    edit(store, "zarr.json", change)
    assert has(found(store, "warning", quick=True), "scale1/image", "along z", "do not fit")


def test_coordinates_that_were_altered(store):
    edit(store, "zarr.json", lambda document: None)
    for path, index, shift, where in [
        ("scale0/y", 3, 0.1, "scale0/image"),
        ("scale1/x", 0, 0.1, "scale1/image"),
        ("scale0/z", slice(None), 0.1, "scale0/image"),
        ("scale1/z", slice(None), 0.1, "scale1/image"),
        ("scale0/t", 1, -7, "scale0/t"),
    ]:
        array = zarr.open_array(store / path, mode="r+")
        before = array[...]
        array[index] = array[index] + shift
        assert has(found(store, "error", quick=True), f"{where}: "), (path, ci.validate(store, quick=True))
        array[...] = before
        assert found(store, "error", quick=True) == []


def test_nodes_that_are_gone(store):
    (store / "scale1/image/zarr.json").unlink()
    errors = found(store, "error")
    assert has(errors, "scale1/image: ", "consolidated metadata declares")
    assert has(errors, "scale1/image: ", "level 1")
    shutil.rmtree(store / "scale0/x")
    assert has(found(store, "error"), "scale0/image: ", "coordinate x")
    (store / "zarr.json").write_text("{")
    assert len(found(store, "error")) == 1
    (store / "zarr.json").unlink()
    assert has(found(store, "error"), "without Zarr metadata")


def test_consolidated_metadata_that_is_stale(store):
    document = json.loads((store / "scale0/image/zarr.json").read_text())
    document["attributes"]["descrip"] = "altered"
    (store / "scale0/image/zarr.json").write_text(json.dumps(document))
    assert has(found(store, "error", quick=True), "scale0/image: ", "consolidated", "attributes/descrip")
    zarr.create_group(store / "extra")
    assert has(found(store, "warning", quick=True), "extra: ", "does not know this node")


def test_headers_that_were_kept(store):
    array = zarr.open_array(store / "nifti", mode="r+")
    raw = array[...]
    array[...] = 0
    assert has(found(store, "warning"), "nifti: ", "not usable")
    array[...] = raw
    assert found(store) == []
    # srow_x[3]
    array[280 + 12 : 280 + 16] = np.frombuffer(np.float32(99).tobytes(), "u1")
    assert has(found(store, "warning"), "nifti: ", "places a corner")
    assert has(found(store, "warning"), "scale0/image: ", "is not the header kept")


def chunks(folder):
    return sorted(p for p in (folder / "c").rglob("*") if p.is_file())


def test_every_bad_chunk_is_named(store):
    picked = [chunks(store / "scale0/image")[k] for k in (0, 27, -1)] + [chunks(store / "scale1/image")[5]]
    for path in picked[:2]:
        path.write_bytes(path.read_bytes()[:-9])
    for path in picked[2:]:
        raw = bytearray(path.read_bytes())
        # blosc: size of the block in bytes
        raw[4] ^= 0xFF
        path.write_bytes(raw)
    errors = {f.where for f in ci.validate(store) if f.severity == "error"}
    assert errors == {str(p.relative_to(store)) for p in picked}
    assert found(store, "error", quick=True) == []


@pytest.mark.parametrize("codec", [None, "blosc-lz4", "zstd", "gzip"])
def test_any_flipped_bit_in_our_chunks_is_found(tmp_path, codec):
    rng = np.random.default_rng(1)
    image = ci.from_array(rng.integers(0, 99, (4, 40, 40)).astype("i2"), spacing=(1, 2, 3))
    image.img.save(tmp_path / "a.zarr", chunks=20, codec=codec)
    for path in chunks(tmp_path / "a.zarr" / "image"):
        raw = path.read_bytes()
        for at in rng.integers(0, len(raw), 5).tolist():
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
            errors = [f.where for f in ci.validate(tmp_path / "a.zarr") if f.severity == "error"]
            assert str(path.relative_to(tmp_path / "a.zarr")) in errors
        path.write_bytes(raw)


def test_shards(tmp_path):
    path = tmp_path / "a.zarr"
    group = zarr.create_group(path)
    array = group.create_array("image", shape=(40, 40, 40), chunks=(10, 10, 10), shards=(20, 20, 20), dtype="u2")
    array[...] = np.random.default_rng(1).integers(1, 9, (40, 40, 40))
    assert found(path, "error") == []
    bad, index = chunks(path / "image")[2], chunks(path / "image")[5]
    raw = bytearray(bad.read_bytes())
    # magic number of the first and of a later zstd frame in the shard
    frames = [k for k in range(len(raw)) if raw[k : k + 4] == b"\x28\xb5\x2f\xfd"]
    assert len(frames) == 8
    for k in (frames[0], frames[5]):
        raw[k] ^= 1
    bad.write_bytes(raw)
    raw = bytearray(index.read_bytes())
    raw[-10] ^= 1
    index.write_bytes(raw)
    errors = {f.where: f.message for f in ci.validate(path) if f.severity == "error"}
    assert set(errors) == {str(bad.relative_to(path)), str(index.relative_to(path))}
    assert "2 of 8 chunks of the shard" in errors[str(bad.relative_to(path))]


def test_many_bad_chunks_are_limited(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(80, 8), chunks=(1, 8), dtype="u2")
    array[...] = 5
    for path in chunks(tmp_path / "a.zarr"):
        path.write_bytes(b"?")
    errors = found(tmp_path / "a.zarr", "error")
    assert len(errors) == 51
    assert "30 more" in errors[-1]


def test_what_is_not_stored(tmp_path):
    data = np.zeros((32, 32, 32), "i2")
    data[:16] = 4
    ci.from_array(data, spacing=(1, 2, 3)).img.save(tmp_path / "a.ome.zarr", chunks=16)
    assert has(found(tmp_path / "a.ome.zarr", "note"), "image: 4 of 8 chunks are not stored", "fill value 0")
    assert found(tmp_path / "a.ome.zarr", "error") == found(tmp_path / "a.ome.zarr", "warning") == []
    shutil.rmtree(tmp_path / "a.ome.zarr/image/c")
    assert has(found(tmp_path / "a.ome.zarr", "warning"), "none of its 8 chunks")
    (tmp_path / "a.ome.zarr/image/c/9/0").mkdir(parents=True)
    (tmp_path / "a.ome.zarr/image/c/9/0/0").write_bytes(b"x")
    (tmp_path / "a.ome.zarr/image/junk").write_bytes(b"x")
    assert has(found(tmp_path / "a.ome.zarr", "warning"), "outside the array", "c/9/0/0")
    assert has(found(tmp_path / "a.ome.zarr", "note"), "junk")


def test_labels_and_second_images(store):
    inner = zarr.open_group(store, mode="r+")
    labels = inner.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["cells", "gone"]}})
    cells = labels.create_group("cells")
    entry = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
    axes = [{"name": d, "type": "space"} for d in "zyx"]
    cells.attrs["ome"] = {"version": "0.5", "image-label": {}, "multiscales": [{"axes": axes, "datasets": [entry]}]}
    errors = found(store, "error")
    assert has(errors, "labels: ", "'gone'")
    assert has(errors, "labels/cells/0: ", "level 0")
    array = cells.create_array("0", shape=(4, 5, 6), dtype="u1", chunks=(4, 5, 6), compressors=None)
    array[...] = 3
    (store / "labels/cells/0/c/0/0/0").write_bytes(b"short")
    assert has(found(store, "error"), "labels/cells/0/c/0/0/0: ")


def test_huge_claims_cost_nothing(store, monkeypatch):
    edit(store, "scale0/image/zarr.json", put("shape", [1 << 40] * 4))
    assert found(store, "error")
    grid = ("chunk_grid", "configuration", "chunk_shape", [1, 1 << 20, 1 << 20, 1 << 20])
    edit(store, "scale0/image/zarr.json", put(*grid))
    assert has(found(store, "warning"), "memory budget")


def test_v2_stores(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    array = group.create_array("0", shape=(8, 9, 10), chunks=(4, 9, 10), dtype=">i2")
    array[...] = np.arange(720).reshape(8, 9, 10)
    entry = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
    axes = [{"name": d, "type": "space"} for d in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [entry]}]
    assert found(tmp_path / "a.zarr", "error") == []
    (tmp_path / "a.zarr/0/1.0.0").write_bytes(b"bad")
    assert has(found(tmp_path / "a.zarr", "error"), "0/1.0.0: ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(tmp_path / "a.zarr", zarr_format=2)
    shutil.rmtree(tmp_path / "a.zarr/0")
    assert has(found(tmp_path / "a.zarr", "error"), "0: ", "consolidated metadata declares")


def test_memory_stores():
    from zarr.storage import MemoryStore

    store = MemoryStore()
    sample().img.save(store)
    assert found(store, "error") == []
    key = next(k for k in store._store_dict if k.startswith("image/c/"))
    store._store_dict[key] = store._store_dict[key][:-5]
    assert has(found(store, "error"), f"{key}: ")


def test_stores_that_cannot_list():
    from zarr.storage import MemoryStore

    class Silent(MemoryStore):
        supports_listing = False

        def list_dir(self, prefix):
            raise NotImplementedError

        list_prefix = list_dir

    kept = {}
    sample().img.save(MemoryStore(kept), pyramid=True)
    assert has(found(Silent(kept), "note"), "cannot list")
    assert found(Silent(kept), "error") == found(Silent(kept), "warning") == []
    key = next(k for k in kept if k.startswith("scale1/image/c/"))
    kept[key] = kept[key][:-5]
    assert has(found(Silent(kept), "error"), f"{key}: ")


def test_schema(store):
    edit(store, "zarr.json", put("attributes", "ome", "multiscales", 0, "axes", 0, "name", 7))
    assert has(found(store, "error", quick=True), "OME-Zarr: ")


@pytest.mark.parametrize("item", items("omezarr", "zarr"))
def test_stores_of_others_raise_nothing(item):
    assert not has(found(item_path(item)), "cannot go on")


# ---------------------------------------------------------------------------------------------- command line


def test_command(store, tmp_path, command):
    write(tmp_path / "a.nii", values((5, 6, 7), "i2"), sform=0)
    text = command("validate", store, tmp_path / "a.nii").out
    assert f"{store}: valid\n" in text
    assert "warning: " in text
    assert text.count("\n") == 4
    assert "not valid" in command("validate", "--strict", tmp_path / "a.nii", code=1).out
    bad = chunks(store / "scale0/image")[3]
    bad.write_bytes(b"bad")
    out = command("validate", "--json", store, tmp_path / "a.nii", tmp_path / "absent.nii", code=1).out
    first, second, third = map(json.loads, out.splitlines())
    assert [first["valid"], second["valid"], third["valid"]] == [False, True, False]
    assert first["findings"][0]["where"] == str(bad.relative_to(store))
    assert {f["severity"] for f in second["findings"]} == {"warning", "note"}
    command("validate", "--quick", store)
    command("validate", code=2)


def test_consolidated_attributes_and_gaps_of_v2(tmp_path):
    image = ci.from_array(values((4, 20, 20), "i2"), spacing=(1, 2, 3), origin=(5, 6, 7))
    image.img.save(tmp_path / "a.zarr", ome_version="0.4", chunks=8)
    assert found(tmp_path / "a.zarr", "error") == []
    document = tmp_path / "a.zarr" / ".zmetadata"
    held = json.loads(document.read_text())
    held["metadata"]["x/.zattrs"]["direction"] = [-1.0, 0.0, 0.0]
    document.write_text(json.dumps(held))
    assert has(found(tmp_path / "a.zarr", "error", quick=True), "attributes/direction")
    image.img.save(tmp_path / "b.zarr", ome_version="0.4", chunks=8)
    (tmp_path / "b.zarr" / "image" / "0" / "1" / "1").unlink()
    assert has(found(tmp_path / "b.zarr", "error"), "1 of 9 chunks are missing")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["axes"][-1].update(unit="micrometer"), "unit of x"),
        (lambda m: m["axes"][-1]["orientation"].update(value="right-to-left"), "orientation of x"),
        (lambda m: m.update(coordinateTransformations=[{"type": "scale", "scale": [1, 1, 5]}]), "all levels"),
    ],
)
def test_what_ome_says_of_our_stores(tmp_path, change, said):
    image = ci.from_array(values((4, 20, 20), "i2"), spacing=(1, 2, 3), origin=(5, 6, 7))
    image.img.save(tmp_path / "a.zarr")
    document = tmp_path / "a.zarr" / "zarr.json"
    held = json.loads(document.read_text())
    change(held["attributes"]["ome"]["multiscales"][0])
    document.write_text(json.dumps(held))
    assert has(found(tmp_path / "a.zarr", "error", quick=True), said)
