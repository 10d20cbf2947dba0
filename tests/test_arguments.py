"""Wrong arguments are named: what was expected, what was found."""

import numpy as np
import pytest

import chunkimg as ci
from chunkimg.lazy import Derived, LazyArray, ScaledArray, ViewArray
from chunkimg.scaling import Scaling


@pytest.fixture
def image():
    return ci.from_array(np.arange(120, dtype="i2").reshape(4, 5, 6), spacing=(1, 1, 2))


WRONG = [
    (lambda i: i.img.sample("abc"), ci.GeometryError, "points are numbers"),
    (lambda i: i.img.sample([[1, 2]]), ci.GeometryError, r"shape \(\.\.\., 3\)"),
    (lambda i: ci.compose(i), TypeError, "found one image"),
    (lambda i: ci.compose([i, 3]), TypeError, "found int"),
    (lambda i: ci.concat_time(i), TypeError, "found one image"),
    (lambda i: ci.concat_time([i, None]), TypeError, "found NoneType"),
    (lambda i: i.img.flip(0), ci.GeometryError, "found 0"),
    (lambda i: i.img.flip("xx"), ci.GeometryError, "found 'xx'"),
    (lambda i: i.img.astype_rescaled("u1", range=(1, 2, 3)), ValueError, r"two numbers.*\(1, 2, 3\)"),
    (lambda i: i.img.astype_rescaled("u1", range=5), ValueError, "two numbers.*5"),
    (lambda i: i.img.astype_rescaled("u1", percentiles=(1, 2, 3)), ValueError, r"two numbers.*\(1, 2, 3\)"),
    (lambda i: i.img.astype_rescaled("u1", percentiles=(1, 101)), ValueError, "from 0 to 100"),
    (lambda i: i.img.smooth(3, truncate=-1), ValueError, "truncate is a positive number.*-1"),
    (lambda i: i.img.smooth("a"), ValueError, "fwhm_mm is a length.*'a'"),
    (lambda i: i.img.patches("a"), ValueError, "size is a number of voxels.*'a'"),
    (lambda i: i.img.patches((1, 2)), ValueError, r"size is a number of voxels.*\(1, 2\)"),
    (lambda i: i.img.resample("a"), ci.GeometryError, "a spacing is one positive number.*'a'"),
    (lambda i: i.img.resample(1e-9), ci.GeometryError, "is the unit right"),
    (lambda i: i.img.resample_to(i, transform="a.mat"), TypeError, "read_transform"),
    (lambda i: i.img.crop_like(5), TypeError, "found int"),
    (lambda i: i.img.as_label(names=5), TypeError, "names are a dict by label, found 5"),
    (lambda i: i.img.as_label(colors=["red"]), TypeError, "colors are a dict by label"),
    (lambda i: i.img.label_stats(5), TypeError, "found int"),
    (lambda i: i.img.stats("a"), ValueError, "percentiles are numbers from 0 to 100, found 'a'"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=[str(k) for k in range(len(WRONG))])
def test_wrong_arguments(image, call, error, words):
    with pytest.raises(error, match=words):
        call(image)


def test_an_empty_file_is_no_transform(tmp_path):
    (tmp_path / "a.mat").touch()
    with pytest.raises(ci.FormatError, match=r"a\.mat: the file is empty"):
        ci.read_transform(tmp_path / "a.mat")


class Prepared(LazyArray):
    """Counts how often it was prepared."""

    def __init__(self):
        self.shape, self.dtype, self.count = (3, 4, 5), np.dtype("i2"), 0

    def prepare(self):
        self.count += 1

    def _read(self, region):
        return np.zeros([len(r) for r in region], self.dtype)

    def __dask_tokenize__(self):
        return id(self)


def test_what_is_derived_prepares_its_source():
    source = Prepared()
    view = ViewArray(ScaledArray(source, Scaling(2.0, 1.0)), [range(3), range(2), range(5)])
    assert isinstance(view, Derived)
    view.prepare()
    assert source.count == 1 and list(view.leaves()) == [source]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.ome.zarr"])
def test_an_encoding_is_that_of_nrrd(tmp_path, name):
    with pytest.raises(ci.FormatError, match="encoding= is for NRRD"):
        ci.from_array(np.zeros((2, 3, 4), "i2")).img.save(tmp_path / name, encoding="gzip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [ci.open_image, ci.read_header, lambda s: ci.convert(s, "b.nii")])
def test_what_no_image_is_read_from(call, tmp_path):
    for source in (5, 5.0, None, True, b"a.nii", ["a.nii"], ("a.nii",)):
        with pytest.raises(TypeError, match=rf"a path, a URL or a Zarr store; found {type(source).__name__} "):
            call(source)
    with pytest.raises(FileNotFoundError, match="the path is empty"):
        call("")
    with pytest.raises(ci.FormatError, match="folder without Zarr metadata"):
        call(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ci.FormatError, match="neither its name nor its first bytes"):
        call(tmp_path / "a.txt")
