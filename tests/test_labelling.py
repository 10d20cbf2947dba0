"""Names and colours of labels: kept by images, read from and written to OME-Zarr, NRRD and NIfTI."""

import json
import warnings

import nibabel
import numpy as np
import pytest
from conftest import DATA, needs_data, optional
from hypothesis import given
from hypothesis import strategies as st

import chunkimg as ci
from chunkimg import labelling
from chunkimg.geometry.attrs import IMAGE_LABEL

nrrd, sitk = optional("nrrd"), optional("SimpleITK")

NAMES = {1: "liver", 2: "spleen", 900: "Milz, links"}
COLORS = {1: (221, 130, 101, 255), 900: (0, 1, 254, 128)}


def organs(**options):
    labels = np.random.default_rng(0).choice([0, 1, 2, 900], (5, 6, 7)).astype("u2")
    return ci.from_array(labels, spacing=(1, 1.5, 2), origin=(3, -4, 5), **options)


def named():
    return organs().img.as_label(NAMES, COLORS)


def test_an_image_knows_its_labels():
    image = named()
    for kept in (image, image[1:3, ::-1], image.isel(x=2), image.transpose("x", "y", "z"), image.copy(deep=True)):
        assert kept.img.is_label and kept.img.label_names == NAMES and kept.img.label_colors == COLORS
    plain = organs()
    assert not plain.img.is_label and plain.img.label_names == {} and plain.img.label_colors == {}
    assert plain.img.as_label().img.properties == {**plain.img.properties, "is_label": True}


def test_names_are_added_to_those_there():
    image = named()
    more = image.img.as_label({2: "Spleen", 3: "kidney"}, {2: (1, 2, 3)})
    assert more.img.label_names == {**NAMES, 2: "Spleen", 3: "kidney"}
    assert more.img.label_colors == {**COLORS, 2: (1, 2, 3, 255)}
    # the image that it was made of is as it was
    assert image.img.label_names == NAMES and image.img.label_colors == COLORS


def test_what_others_say_of_labels_is_kept():
    stated = {
        "colors": [
            {"label-value": float("inf"), "rgba": [0, 0, 0, 0]},
            {"label-value": 4.0, "rgba": [1, 2, 3, 4], "shade": "dark"},
            {"label-value": 5},
            "nonsense",
        ],
        "properties": [{"label-value": 4, "area": 7, "class": "nucleus"}, {"label-value": 5, "area": 8}],
        "source": {"image": "../../"},
    }
    image = organs(properties={"is_label": True, IMAGE_LABEL: stated})
    assert image.img.label_names == {4: "nucleus"} and image.img.label_colors == {4: (1, 2, 3, 4)}
    more = image.img.as_label({5: "cell"}, {4: (9, 9, 9)}).img.properties[IMAGE_LABEL]
    assert more["properties"] == [stated["properties"][0], {"label-value": 5, "area": 8, "name": "cell"}]
    four = {"label-value": 4.0, "rgba": [9, 9, 9, 255], "shade": "dark"}
    assert more["colors"] == [four, {"label-value": 5}]
    assert more["source"] == stated["source"]
    assert image.img.properties[IMAGE_LABEL] == stated


def test_refused():
    image = organs()
    for names in ({"1": "liver"}, {1.0: "liver"}, {1: 5}):
        with pytest.raises(TypeError):
            image.img.as_label(names)
    for color in ((1, 2), (1, 2, 256), (-1, 0, 0), (0.5, 0.5, 0.5), "red", (1, 2, 3, 4, 5)):
        with pytest.raises(ValueError, match="colour of label 3"):
            image.img.as_label(colors={3: color})


@given(st.dictionaries(st.integers(-(2**31), 2**32), st.text()), st.dictionaries(st.integers(0, 99), st.binary()))
def test_any_names_come_back(names, colors):
    colors = {k: (*b"\1\2\3", *v)[-4:] for k, v in colors.items()}
    out = labelling.with_labels({"a": 1}, names, colors)
    assert labelling.names_of(out) == names and labelling.colors_of(out) == {
        k: (*v, 255)[:4] for k, v in colors.items()
    }
    out = json.loads(json.dumps(out))
    assert labelling.names_of(out) == names


TILTED = [[1.4, 0.3, 0, 3], [-0.2, 1.6, 0.4, -4], [0.1, 0, 2, 5], [0, 0, 0, 1]]
OPERATIONS = {
    "crop_world": lambda i: i.img.crop_world((4, -2, 6), (7, 1, 11)),
    "reorient": lambda i: i.img.reorient("PIR"),
    "flip": lambda i: i.img.flip("x"),
    "pad": lambda i: i.img.pad(x=2, z=(1, 3)),
    "coarsen": lambda i: i.img.coarsen(x=2, y=2),
    "resample": lambda i: i.img.resample(0.8),
    "resample_to": lambda i: i.img.resample_to(ci.from_array(np.zeros((7, 8, 9)), affine=TILTED)),
    "concat_time": lambda i: ci.concat_time([i, i], t=[0.0, 2.0]),
    "astype": lambda i: i.astype("i8"),
    "isel": lambda i: i[::2, 1:, ::-1],
}


@pytest.mark.parametrize("chunks", ["auto", None])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_invents_a_label(tmp_path, name, chunks):
    named().img.save(tmp_path / "a.ome.zarr")
    made = OPERATIONS[name](ci.open_image(tmp_path / "a.ome.zarr", chunks=chunks))
    assert made.img.is_label and made.img.label_names == NAMES and made.img.label_colors == COLORS
    assert {1, 2} <= set(np.unique(made).tolist()) <= {0, 1, 2, 900}
    # statistics are of what was made
    found = made.img.label_stats(background=None)
    assert found.voxels.sum() == made.size
    if "t" not in made.dims:
        assert dict(zip(found.label.tolist(), found.voxels.tolist(), strict=True)) == made.img.count_labels().as_dict()


def test_what_would_invent_labels_is_refused():
    image = named()
    for refused in (
        lambda: image.img.smooth(2),
        lambda: image.img.resample(1.0, method="linear"),
        lambda: image.img.sample([[3, -4, 5]], method="linear"),
        lambda: image.img.coarsen(x=2, func="mean"),
    ):
        with pytest.raises((TypeError, ValueError, ci.ChunkImgError), match="label"):
            refused()


# ---------------------------------------------------------------------------------------------- OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_zarr(tmp_path, version, pyramid):
    named().img.save(tmp_path / "a.ome.zarr", ome_version=version, pyramid=pyramid)
    image = ci.open_image(tmp_path / "a.ome.zarr")
    assert image.img.is_label and image.img.label_names == NAMES and image.img.label_colors == COLORS
    root = json.loads((tmp_path / "a.ome.zarr" / ("zarr.json" if version == "0.5" else ".zattrs")).read_text())
    stated = root["attributes"]["ome"]["image-label"] if version == "0.5" else root["image-label"]
    assert stated["properties"] == [{"label-value": k, "name": v} for k, v in NAMES.items()]
    assert stated["colors"] == [{"label-value": k, "rgba": list(v)} for k, v in COLORS.items()]
    assert ci.validate(tmp_path / "a.ome.zarr") == []
    image.img.save(tmp_path / "b.ome.zarr")
    assert ci.diff(named(), tmp_path / "a.ome.zarr").equal and ci.diff(image, tmp_path / "b.ome.zarr").equal
    again = ci.open_image(tmp_path / "b.ome.zarr")
    assert again.img.label_names == NAMES and again.img.label_colors == COLORS


def test_zarr_without_names_says_that_it_is_of_labels(tmp_path):
    organs().img.as_label().img.save(tmp_path / "a.ome.zarr")
    root = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())
    assert root["attributes"]["ome"]["image-label"] == {"version": "0.5"}
    assert dict(ci.open_image(tmp_path / "a.ome.zarr").img.properties)["is_label"] is True
    assert IMAGE_LABEL not in ci.open_image(tmp_path / "a.ome.zarr").img.properties
    organs().img.save(tmp_path / "b.ome.zarr")
    assert "image-label" not in (tmp_path / "b.ome.zarr" / "zarr.json").read_text()


@pytest.mark.parametrize(
    ("names", "colors"), [(NAMES, None), (None, COLORS), (dict.fromkeys(COLORS, "x"), COLORS), ({1: "x"}, COLORS)]
)
def test_zarr_is_valid_to_ome_zarr_models(tmp_path, names, colors):
    """Where some labels have names and no colours it wants more than the specification does."""
    models = pytest.importorskip("ome_zarr_models.v05.image_label")
    import zarr

    organs().img.as_label(names, colors).img.save(tmp_path / "a.ome.zarr", pyramid=True)
    found = models.ImageLabel.from_zarr(zarr.open_group(tmp_path / "a.ome.zarr", mode="r"))
    label = found.ome_attributes.image_label
    assert {c.label_value: tuple(c.rgba) for c in label.colors or ()} == (colors or {})


@needs_data
@pytest.mark.parametrize("atlas", ["nifti/mricron/aal.nii.gz", "nifti/itk/LPSLabels.nii.gz"])
def test_pyramids_lose_only_labels_that_are_small(tmp_path, atlas):
    """Labels of every level are those of the one before, but for those that are nowhere a most frequent one."""
    image = ci.open_image(DATA / atlas).astype("u2").img.as_label()
    dots = image.values.copy()
    dots[10::20, 11::20, 13::20] = 999
    dots = image.copy(data=dots)
    for k, labels in enumerate((image, dots)):
        labels.img.save(tmp_path / f"{k}.ome.zarr", pyramid=True)
        before, level = labels.values, 1
        while level == 1 or max(before.shape) > 128:
            coarse = ci.open_image(tmp_path / f"{k}.ome.zarr", level=level)
            assert coarse.img.is_label
            kept, there = set(np.unique(coarse).tolist()), set(np.unique(before).tolist())
            assert kept <= there
            factors = [a // b for a, b in zip(before.shape, coarse.shape, strict=True)]
            for label in there - kept:
                cut = (before == label)[tuple(slice(0, n * f) for n, f in zip(coarse.shape, factors, strict=True))]
                voxels = cut.reshape(*(m for n, f in zip(coarse.shape, factors, strict=True) for m in (n, f)))
                # it has no block for itself, not even half of one
                assert voxels.sum((1, 3, 5)).max() <= np.prod(factors) / 2
            assert (999 in kept) is False
            before, level = coarse.values, level + 1


# ---------------------------------------------------------------------------------------------- NRRD


def test_nrrd(tmp_path):
    with pytest.warns(ci.ChunkImgWarning, match="opacity of them: not written"):
        named().img.save(tmp_path / "a.seg.nrrd")
    image = ci.open_image(tmp_path / "a.seg.nrrd")
    opaque = {k: (*v[:3], 255) for k, v in COLORS.items()}
    assert image.img.is_label and image.img.label_names == NAMES and image.img.label_colors == opaque
    np.testing.assert_array_equal(image, organs())
    for header in (nrrd.read_header(str(tmp_path / "a.seg.nrrd")), _keys_of_itk(tmp_path / "a.seg.nrrd")):
        assert header["Segment0_ID"] == "Segment_1" and header["Segment0_LabelValue"] == "1"
        assert [header[f"Segment{k}_Name"] for k in range(3)] == list(NAMES.values())
        assert [float(v) for v in header["Segment2_Color"].split()] == pytest.approx([0, 1 / 255, 254 / 255], abs=1e-6)
        assert header["Segment1_Extent"] == "0 6 0 5 0 4" and header["Segment1_Layer"] == "0"
        assert (header["Segment1_ColorAutoGenerated"], header["Segment1_NameAutoGenerated"]) == ("1", "0")
        assert "image-label" not in header


def _keys_of_itk(path):
    image = sitk.ReadImage(str(path))
    return {k: image.GetMetaData(k) for k in image.GetMetaDataKeys()}


def test_nrrd_says_what_it_has_no_keys_for(tmp_path):
    stated = {"properties": [{"label-value": 1, "name": "a", "area": 3}], "colors": [], "origin": "x"}
    with pytest.warns(ci.ChunkImgWarning, match="alone; area, origin of them: not written"):
        organs(properties={IMAGE_LABEL: stated}).img.save(tmp_path / "a.nrrd")
    assert ci.open_image(tmp_path / "a.nrrd").img.label_names == {1: "a"}


SEGMENTS = {
    "Segment0_ID": "S1",
    "Segment0_LabelValue": "2",
    "Segment0_Layer": "0",
    "Segment0_Name": "spleen",
    "Segment0_Color": "0.5 0.250001 1",
    "Segment0_Extent": "1 3 2 4 0 1",
    "Segment7_ID": "S7",
    "Segment7_LabelValue": "900",
    "Segment7_Layer": "0",
    "Segment7_Name": "x",
}


def segmentation(path, **changed):
    header = {"space": "left-posterior-superior", "space directions": np.diag([1, 1.5, 2]), "space origin": [0, 0, 0]}
    with warnings.catch_warnings():
        # pynrrd calls datetime.utcnow
        warnings.simplefilter("ignore", DeprecationWarning)
        nrrd.write(str(path), organs().values.T, {**header, **SEGMENTS, **changed})
    return ci.open_image(path)


def test_a_segmentation_of_slicer(tmp_path):
    image = segmentation(tmp_path / "a.seg.nrrd")
    assert image.img.label_names == {2: "spleen", 900: "x"} and image.img.label_colors == {2: (128, 64, 255, 255)}
    # untouched, every key comes back as it was; other formats get names and colours
    image.img.save(tmp_path / "b.seg.nrrd")
    header = nrrd.read_header(str(tmp_path / "b.seg.nrrd"))
    assert {k: header[k] for k in SEGMENTS} == SEGMENTS
    image.img.save(tmp_path / "b.ome.zarr")
    assert ci.diff(tmp_path / "a.seg.nrrd", tmp_path / "b.ome.zarr").equal
    stated = json.loads((tmp_path / "b.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]["image-label"]
    assert stated["colors"] == [{"label-value": 2, "rgba": [128, 64, 255, 255]}]
    # renamed, the segment is the same one; a new one has the next number
    image.img.as_label({2: "Spleen", 3: "kidney"}).img.save(tmp_path / "c.seg.nrrd")
    header = nrrd.read_header(str(tmp_path / "c.seg.nrrd"))
    assert {k: header[k] for k in SEGMENTS} == {**SEGMENTS, "Segment0_Name": "Spleen"}
    assert (header["Segment8_LabelValue"], header["Segment8_Name"]) == ("3", "kidney")


def test_extents_of_a_crop_are_those_of_the_image(tmp_path):
    segmentation(tmp_path / "a.seg.nrrd")[1:, 2:, ::-1].img.save(tmp_path / "b.seg.nrrd")
    assert nrrd.read_header(str(tmp_path / "b.seg.nrrd"))["Segment0_Extent"] == "0 6 0 3 0 3"


def test_segments_in_layers_have_no_label_of_their_own(tmp_path):
    image = segmentation(tmp_path / "a.seg.nrrd", Segment7_Layer="1")
    assert image.img.is_label and image.img.label_names == {}


# ---------------------------------------------------------------------------------------------- NIfTI


def test_nifti(tmp_path):
    with pytest.warns(ci.ChunkImgWarning, match="names and colours of labels"):
        named().img.save(tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").header["intent_code"] == 1002
    image = ci.open_image(tmp_path / "a.nii.gz")
    assert image.img.is_label and image.img.label_names == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        organs().img.as_label().img.save(tmp_path / "b.nii.gz")


def test_from_nifti_to_zarr(tmp_path):
    nifti = nibabel.Nifti1Image(organs().values.T, np.eye(4))
    nifti.header.set_intent(1002)
    nibabel.save(nifti, tmp_path / "a.nii.gz")
    ci.convert(tmp_path / "a.nii.gz", tmp_path / "a.ome.zarr")
    root = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())
    assert root["attributes"]["ome"]["image-label"] == {"version": "0.5"}
    assert ci.diff(tmp_path / "a.nii.gz", tmp_path / "a.ome.zarr").equal
    ci.convert(tmp_path / "a.ome.zarr", tmp_path / "b.nii.gz")
    assert nibabel.load(tmp_path / "b.nii.gz").header["intent_code"] == 1002


# ---------------------------------------------------------------------------------------------- statistics


def test_statistics_have_names(command, tmp_path):
    found = named().img.label_stats()
    assert found.label.tolist() == [1, 2, 900] and found.name.tolist() == list(NAMES.values())
    assert found.to_pandas()["name"].tolist() == list(NAMES.values())
    assert organs().img.label_stats().name is None
    some = organs().img.as_label({2: "spleen"}).img.label_stats(background=None)
    assert some.name.tolist() == ["", "", "spleen", ""]
    named().img.save(tmp_path / "a.ome.zarr")
    assert "spleen" in command("labels", tmp_path / "a.ome.zarr").out
