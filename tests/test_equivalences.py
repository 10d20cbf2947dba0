"""The same picture in other containers, codecs and axis orders: the same value at the same place in the world."""

import json

import numpy as np
import pytest
from conftest import DATA, HAVE_DATA, needs_data

import chunkimg as ci
from chunkimg.io.registry import FORMATS


def pairs():
    """Pairs whose values and geometry are equal to SimpleITK, within what float32 headers hold."""
    if not HAVE_DATA:
        return [pytest.param(None, marks=needs_data, id="no-data")]
    groups = json.loads((DATA / "equivalences.json").read_text())["groups"]
    return [pytest.param(p, id=f"{p['item']} = {p['vs']}") for group in groups for p in group["pairs"] if is_twin(p)]


def is_twin(pair):
    origin, spacing, direction = pair.get("geometry_max_diff") or (1, 1, 1)
    return bool(pair.get("voxels_equal")) and max(origin, spacing, direction) < 1e-3


def readable(name):
    """Whether its suffix is in the table of formats; what has none (a folder of slices) is not so far."""
    return name.lower().endswith(tuple(s for _, suffixes in FORMATS.values() for s in suffixes))


@pytest.mark.parametrize("pair", pairs())
def test_same_value_at_the_same_place(pair):
    if not (readable(pair["item"]) and readable(pair["vs"])):
        pytest.skip("a format that is not read yet")
    a, b = (ci.open_image(DATA / pair[key]) for key in ("item", "vs"))
    assert a.size == b.size and a.img.space == b.img.space
    index = np.stack(np.meshgrid(*(np.arange(n) for n in a.img.grid.shape), indexing="ij"), -1).reshape(-1, 3)
    found = b.img.to_index(a.img.to_world(index))
    nearest = np.rint(found).astype(int)
    assert np.abs(found - nearest).max() < 1e-3
    # raises for an index outside of the image
    assert len(np.unique(np.ravel_multi_index(nearest.T, b.img.grid.shape))) == len(index)
    (ax, ay, az), (bx, by, bz) = index.T, nearest.T
    np.testing.assert_array_equal(a.values[..., az, ay, ax], b.values[..., bz, by, bx])
