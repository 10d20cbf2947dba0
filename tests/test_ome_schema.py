"""Valid and invalid OME-Zarr metadata, told apart as the official conformance suites do."""

import json
from pathlib import Path

import pytest
import zarr
from conftest import item_path, items

from chunkimg.io.ome_schema import problems


def cases():
    """Every case of every suite."""
    for parameter in items("json-suite"):
        item = parameter.values[0]
        if item is None:
            yield parameter
            continue
        suite = json.loads(Path(item_path(item)).read_text())
        strict = "strict" in suite["schema"]["id"]
        for k, case in enumerate(suite["tests"]):
            name = f"{item['id']}-{k}-{case.get('formerly', '')}"
            yield pytest.param((case["data"], case["valid"], strict), id=name)


@pytest.mark.parametrize("case", list(cases()))
def test_official_suites(case):
    data, valid, strict = case
    found = problems(data, strict=strict)
    assert (found == []) == valid, found
    assert all(": " in text for text in found)


@pytest.mark.parametrize("item", items("omezarr"))
def test_stores_of_the_conformance_set(item):
    """Groups of the 0.6 drafts say themselves whether they are valid."""
    attrs = json.loads(open_root(item)).get("attributes", {})
    if "_conformance" not in attrs:
        pytest.skip("says nothing of its conformance")
    valid = attrs["_conformance"].get("valid", True)
    assert (problems(attrs) == []) == valid


def open_root(item):
    document = Path(item_path(item)) / "zarr.json"
    return document.read_text() if document.is_file() else "{}"


@pytest.mark.parametrize("item", items("omezarr"))
def test_what_others_hold_valid_is_valid(item):
    """Images that ome-zarr-models accepts break no rule but that of 0.4 on channels, which it does not check."""
    if not item["truth"].get("ome_valid"):
        pytest.skip("not valid, or not judged")
    found = problems(dict(zarr.open_group(item_path(item), mode="r").attrs))
    assert [text for text in found if not text.startswith("omero.channels")] == []


def image(**changes):
    axes = [{"name": d, "type": "space"} for d in "zyx"]
    steps = [{"type": "scale", "scale": [1, 1, 1]}]
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], **changes}
    return {"ome": {"version": "0.5", "multiscales": [entry]}}


def test_messages_name_the_place():
    assert problems(image()) == []
    axes = [{"name": d, "type": "space"} for d in "yx"] + [{"name": "t", "type": "time"}]
    assert problems(image(axes=axes)) == [
        "ome.multiscales[0].axes: axes are ordered time, channel (or others), space; found space, space, time"
    ]
    steps = [{"type": "translation", "translation": [0, 0, 0]}, {"type": "scale", "scale": [1, 1, 1]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    assert problems(image(datasets=datasets)) == [
        "ome.multiscales[0].datasets[0].coordinateTransformations: one translation at most is expected, after the scale"
    ]


def test_strict_reports_what_the_schemas_let_pass():
    steps = [{"type": "scale", "scale": [1, 1]}]
    found = image(name="a", type="b", metadata={}, datasets=[{"path": "0", "coordinateTransformations": steps}])
    assert problems(found) == []
    assert problems(found, strict=True) == [
        "ome.multiscales[0].datasets[0].coordinateTransformations[0].scale: one number per axis is expected, found 2"
    ]


HOSTILE = [None, 0, "x", [], {}, [None], [[]], {"a": 1}, True, 1e400, 10**400, [0] * 7, [{"name": {}}], [{"type": []}]]


@pytest.mark.parametrize("key", ["multiscales", "omero", "image-label", "labels", "plate", "well", "series", "scene"])
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_makes_it_fail(key, value):
    """Any JSON is judged, none raises."""
    for attrs in ({key: value}, {"ome": {"version": value, key: value}}, {"ome": value}):
        assert all(isinstance(text, str) for text in problems(attrs))
    for field in ("axes", "datasets", "coordinateTransformations", "coordinateSystems", "name"):
        problems(image(**{field: value}))
        problems(image(datasets=[{field: value, "path": value}]))
