"""Flipping and reorienting: voxels in another order, each where it was."""

import itertools
import warnings

import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from conftest import item_path, items
from hypothesis import given, settings
from nibabel import orientations as no
from strategies import grids

import chunkimg as ci
from chunkimg.align import turned_properties
from chunkimg.api import write_volume
from chunkimg.image import build
from chunkimg.ops.orient import flipped, reoriented

CODES = ["".join(p) for letters in itertools.product("RL", "AP", "SI") for p in itertools.permutations(letters)]
HERE = {"x": "x", "y": "y", "z": "z"}


def image_of(grid, chunks=None, frames=None):
    shape = grid.shape[::-1] if frames is None else (frames, *grid.shape[::-1])
    data = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    if chunks:
        import dask.array as da

        data = da.from_array(data, chunks=chunks)
    return ci.from_array(data, affine=grid.matrix, space=grid.space, units=grid.units)


def positions(image):
    """World position of each voxel, by its value; values are all different."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij"), -1)[..., ::-1]
    world = image.img.to_world(index.reshape(-1, 3))
    return world[np.argsort(image.values.reshape(-1))]


@given(grids(), st.sampled_from(["x", "y", "z", "xz", ("z", "y", "x")]))
def test_flipped_voxels_stay_where_they_are(grid, dims):
    image = image_of(grid)
    found = image.img.flip(dims)
    axes = tuple("zyx".index(d) for d in dims)
    assert np.array_equal(found.values, np.flip(image.values, axes))
    assert np.abs(positions(found) - positions(image)).max() <= 1e-9
    again = found.img.flip(dims)
    assert again.equals(image)
    assert again.attrs == image.attrs
    assert again.img.grid == grid


@given(grids(), st.sampled_from(CODES))
def test_reoriented_voxels_stay_where_they_are(grid, codes):
    image = image_of(grid)
    found = image.img.reorient(codes)
    assert found.dims == image.dims
    assert np.abs(positions(found) - positions(image)).max() <= 1e-9
    assert all(np.all(np.diff(found[d]) > 0) for d in found.dims)
    volume = reoriented(build.to_volume(image), codes)
    assert volume.grid.same_as(found.img.grid, 1e-9)
    assert np.array_equal(volume.data[:], found.values)
    back = found.img.reorient(image.img.orientation)
    assert back.img.grid == grid
    assert back.identical(image)
    assert np.array_equal(back.x, image.x)
    if grid.shape[0] > 1:
        assert image.img.same_grid(back, 0)


@given(grids(), st.sampled_from(CODES), st.sampled_from(CODES))
def test_reorienting_twice_is_reorienting_once(grid, first, second):
    image = image_of(grid)
    assert image.img.reorient(first).img.orientation == first
    # whichever way its axes are named, an oblique grid has one order of axes that runs nearest to the body's
    assert image.img.reorient(first).img.reorient(second).identical(image.img.reorient(second))


def canonical(matrix, codes, data):
    """nibabel's own: as_reoriented with arrays in the order x, y, z."""
    turn = no.ornt_transform(no.io_orientation(matrix), no.axcodes2ornt(codes))
    return no.apply_orientation(data, turn), matrix @ no.inv_ornt_aff(turn, data.shape)


@pytest.mark.parametrize("item", items("nifti"))
def test_nibabel_reorients_alike(item):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = ci.open_image(item_path(item), chunks=None, scaled=False)
            theirs = nib.load(item_path(item))
            grid = image.img.grid
        except Exception:
            pytest.skip("not an image that both read")
        if grid.space == "unknown" or image.size > 1 << 22 or "c" in image.dims or image.ndim < 3:
            pytest.skip("has no orientation, channels, or is large")
        data = image.transpose("x", "y", "z", ..., missing_dims="ignore").values
        for codes in ("RAS", "LPS", "SLA"):
            voxels, affine = canonical(grid.matrix, codes, data)
            found = image.img.reorient(codes)
            assert np.array_equal(found.transpose("x", "y", "z", ...).values, voxels, equal_nan=data.dtype.kind in "fc")
            assert np.allclose(found.img.affine, affine, atol=1e-9 * max(1, np.abs(affine).max()))
        if theirs.shape[:3] == grid.shape and np.allclose(theirs.affine, grid.matrix):
            close = nib.as_closest_canonical(theirs)
            assert np.allclose(image.img.reorient("RAS").img.affine, close.affine, atol=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ILA"])
def test_simpleitk_reorients_alike(codes, nibabel_data):
    sitk = pytest.importorskip("SimpleITK")
    image = ci.open_image(nibabel_data / "anatomical.nii", chunks=None, scaled=False)
    theirs = image.img.to_sitk()
    # ITK names the directions that axes come from
    found, wanted = image.img.reorient(codes).img.to_sitk(), sitk.DICOMOrient(theirs, codes)
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(wanted))
    for name in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        assert np.allclose(getattr(found, name)(), getattr(wanted, name)(), atol=1e-6)
    flip = sitk.Flip(theirs, [True, False, True], False)
    mine = image.img.flip("xz").img.to_sitk()
    assert np.array_equal(sitk.GetArrayFromImage(mine), sitk.GetArrayFromImage(flip))


@pytest.mark.parametrize("chunks", [None, "auto", {"t": 1, "z": 5}])
def test_frames_and_what_is_said_of_them_come_along(chunks, nibabel_data):
    image = ci.open_image(nibabel_data / "example4d.nii.gz", chunks=chunks)
    found = image.img.reorient("SPR")
    assert found.dims == ("t", "z", "y", "x")
    assert found.t.identical(image.t)
    assert (found.chunks is None) == (chunks is None)
    back = found.img.reorient("LAS")
    assert back.identical(image)
    assert dict(back.encoding) == dict(image.encoding)
    assert back.img.affine.tobytes() == image.img.affine.tobytes()
    part = image.isel(t=1, z=slice(3, 20, 2), y=slice(None, None, -1))
    assert part.img.reorient("SPR").img.reorient(part.img.orientation).img.affine == pytest.approx(
        part.img.reorient(part.img.orientation).img.affine, abs=0
    )
    single = image.isel(z=3).img.reorient("SPR")
    assert dict(single.sizes) == {"t": 2, "z": 128, "y": 96, "x": 1}
    assert np.array_equal(
        single.values[:, :, ::-1, 0].transpose(0, 2, 1), image.isel(z=3).values[:, ::-1, ::-1][:, ::-1]
    )


def test_geometry_per_frame_turns_too():
    first = np.array([[0, 0, -3.0, 7], [-2.0, 0, 0, 5], [0, 1.5, 0.1, 2], [0, 0, 0, 1]])
    second = first.copy()
    second[:3, 3] += [1, 2, 3]
    second[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ second[:3, :3]
    image = ci.from_array(np.arange(2 * 4 * 3 * 2).reshape(2, 4, 3, 2), affine=[first, second], t=[0, 2.5])
    for found in (image.img.reorient("RAS"), image.img.flip("zx")):
        for t in (0, 2.5):
            wanted, frame = image.sel(t=t), found.sel(t=t)
            assert np.abs(positions(frame) - positions(wanted)).max() < 1e-12
            assert np.array_equal(found.img.affine_at(t), frame.img.affine)
    back = image.img.reorient("RAS").img.reorient(image.img.orientation)
    assert back.identical(image)
    # a single frame is turned by where it lies itself
    single = image.sel(t=2.5)
    assert single.img.reorient("RAS").img.orientation == "RAS"
    assert np.abs(positions(single.img.reorient("RAS")) - positions(single)).max() < 1e-12


def test_errors_say_what_is_possible():
    image = ci.from_array(np.zeros((2, 3, 4)))
    for wrong in ("RA", "RAR", "RLS", "xyz", 3, "RASS"):
        with pytest.raises(ci.GeometryError, match="three letters"):
            image.img.reorient(wrong)
    for wrong in ("t", "xx", "", "w"):
        with pytest.raises(ci.GeometryError, match="flipped along x, y or z"):
            image.img.flip(wrong)
    with pytest.raises(ci.GeometryError, match="unknown"):
        ci.from_array(np.zeros((2, 3, 4)), space="unknown").img.reorient("RAS")
    with pytest.raises(ci.GeometryError, match="dropped or reduced"):
        image.mean("z").img.reorient("RAS")
    assert image.img.reorient("ras").identical(image)


# ------------------------------------------------------------------------------------------- files


def test_header_fields_of_nifti_follow(tmp_path):
    matrix = np.array([[0, 0, 3.0, -10], [-2.0, 0, 0, 20], [0, 1.5, 0, 30], [0, 0, 0, 1]])
    source = nib.Nifti1Image(np.arange(4 * 5 * 6, dtype="i2").reshape(4, 5, 6), matrix)
    source.header.set_dim_info(freq=0, phase=1, slice=2)
    source.header.set_slice_duration(0.1)
    source.header["slice_code"], source.header["slice_start"], source.header["slice_end"] = 3, 1, 4
    source.set_qform(matrix, 1)
    source.set_sform(matrix @ np.diag([1, 1, 1, 1]), 2)
    nib.save(source, tmp_path / "a.nii")
    times = source.header.get_slice_times()
    image = ci.open_image(tmp_path / "a.nii")
    image.img.reorient("LAS").img.save(tmp_path / "b.nii")
    made = nib.load(tmp_path / "b.nii")
    assert made.header.get_dim_info() == (1, 2, 0)
    assert made.header.get_slice_times() == times[::-1]
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (2, 1)
    assert np.allclose(made.get_qform(), made.get_sform(), atol=1e-5)
    assert np.allclose(made.header.get_zooms(), (3, 2, 1.5))
    wanted, affine = canonical(matrix, "LAS", source.get_fdata())
    assert np.array_equal(made.get_fdata(), wanted)
    assert np.allclose(made.affine, affine)
    ci.open_image(tmp_path / "b.nii").img.reorient(image.img.orientation).img.save(tmp_path / "c.nii")
    assert (tmp_path / "c.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


@pytest.mark.parametrize("code", range(1, 7))
def test_slices_are_taken_in_the_mirrored_order(code):
    header = nib.Nifti1Header()
    header.set_data_shape((3, 4, 9))
    header.set_dim_info(slice=2)
    header.set_slice_duration(1)
    header["slice_code"], header["slice_start"], header["slice_end"] = code, 1, 6
    fields = {k: int(header[k]) for k in ("dim_info", "slice_code", "slice_start", "slice_end")}
    turned = turned_properties(fields, HERE, ["z"], {"x": 3, "y": 4, "z": 9})
    mirrored = header.copy()
    for name, value in turned.items():
        mirrored[name] = value
    assert mirrored.get_slice_times() == header.get_slice_times()[::-1]
    assert turned_properties(fields, HERE, ["x", "y"], {"x": 3, "y": 4, "z": 9}) == fields


def test_slices_of_no_known_axis_are_dropped():
    with pytest.warns(ci.ChunkImgWarning, match="slice_code"):
        assert turned_properties({"slice_code": 1, "slice_end": 3, "a": 1}, HERE, "x", {"x": 2}) == {"a": 1}


def test_extents_of_segments_follow():
    properties = {"Segment0_Extent": "10 12 20 20 32 35", "Segmentation_ReferenceImageExtentOffset": "10 18 30"}
    sizes = {"x": 8, "y": 9, "z": 7}
    found = turned_properties(properties, {"x": "z", "y": "x", "z": "y"}, ["z", "x"], sizes)
    labels = np.zeros((7, 9, 8), bool)
    labels[2:6, 2:3, 0:3] = True
    turned = labels[::-1, :, ::-1].transpose(1, 2, 0)
    z, y, x = (sorted({*map(int, np.nonzero(turned)[k])}) for k in range(3))
    assert found["Segment0_Extent"] == f"{x[0]} {x[-1]} {y[0]} {y[-1]} {z[0]} {z[-1]}"
    assert found["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert turned_properties({"Segment1_Extent": "0 -1 0 -1 0 -1"}, HERE, "x", sizes) == {
        "Segment1_Extent": "0 -1 0 -1 0 -1"
    }


NRRD = """NRRD0005
type: short
dimension: 3
space: left-posterior-superior
sizes: 2 3 4
space directions: (0,2,0) (0,0,-3) (1.5,0,0)
kinds: domain domain domain
centers: cell node cell
thicknesses: nan nan 1.25
labels: "row" "column" "slice"
endian: little
encoding: raw
space origin: (1,2,3)
measurement frame: (1,0,0) (0,0,1) (0,-1,0)
DWMRI_gradient_0000:=0 0 1

"""


def test_header_fields_of_nrrd_follow(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(NRRD.encode() + np.arange(24, dtype="<i2").tobytes())
    image = ci.open_image(tmp_path / "a.nrrd")
    image.img.reorient("LPS").img.save(tmp_path / "b.nrrd")
    text = (tmp_path / "b.nrrd").read_bytes().split(b"\n\n")[0].decode()
    for line in (
        "sizes: 4 2 3",
        "centers: cell cell node",
        "thicknesses: 1.25 nan nan",
        'labels: "slice" "row" "column"',
        "space directions: (1.5,0,0) (0,2,0) (0,0,3)",
        "space origin: (1,2,-3)",
        "measurement frame: (1,0,0) (0,0,1) (0,-1,0)",
        "DWMRI_gradient_0000:=0 0 1",
    ):
        assert line in text.splitlines(), text
    back = ci.open_image(tmp_path / "b.nrrd").img.reorient(image.img.orientation)
    back.img.save(tmp_path / "c.nrrd")
    assert (tmp_path / "c.nrrd").read_bytes() == (tmp_path / "a.nrrd").read_bytes()


def noise(shape):
    return np.random.default_rng(0).integers(-99, 999, shape).astype("i2")


@pytest.mark.parametrize("source", ["a.nii", "a.nii.gz", "a.ome.zarr", "a.nrrd"])
@pytest.mark.parametrize("dest", ["b.nii", "b.nii.gz", "b.ome.zarr"])
def test_written_in_slabs(tmp_path, source, dest, monkeypatch):
    data = noise((70, 90, 110))
    matrix = np.array([[0, 0, -0.5, 5], [-2.0, 0, 0, 9], [0, 1.5, 0, 1], [0, 0, 0, 1]])
    ci.from_array(data, affine=matrix).img.save(tmp_path / source)
    image = ci.open_image(tmp_path / source)
    for k, codes in enumerate(("RAS", "PSL", "ASR")):
        target = tmp_path / f"{k}{dest}"
        image.img.reorient(codes).img.save(target, budget=1 << 20)
        again = ci.open_image(target)
        wanted = reoriented(build.to_volume(image), codes)
        assert np.array_equal(again.values, wanted.data[:])
        assert again.img.orientation == codes
        assert again.img.grid.same_as(wanted.grid, 1e-5)
        straight = tmp_path / f"straight{k}{dest}"
        write_volume(wanted, str(straight))
        assert np.array_equal(ci.open_image(straight).values, again.values)


@pytest.mark.parametrize("dims", ["x", "yx", "z", "zyx"])
@pytest.mark.parametrize("dest", ["b.nii", "b.nii.gz", "b.ome.zarr"])
@pytest.mark.parametrize("large", [False, True])
def test_a_stream_shown_backwards_is_decoded_once(tmp_path, dims, dest, large, monkeypatch):
    """What is turned is decoded whole, or put into a temporary file if it is large."""
    if large:
        monkeypatch.setattr("chunkimg.lazy._TURNED", 0)
    from chunkimg.io.source import DecodedStream

    data = noise((60, 128, 128))
    ci.from_array(data).img.save(tmp_path / "a.nii")
    with open(tmp_path / "a.nii", "rb") as f:
        import gzip

        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(f.read(), 1))
    read = []
    plain = DecodedStream.read_up_to
    into = DecodedStream.read_into
    monkeypatch.setattr(DecodedStream, "read_up_to", lambda self, n: read.append(n) or plain(self, n))
    monkeypatch.setattr(DecodedStream, "read_into", lambda self, v: read.append(len(v)) or into(self, v))
    image = ci.open_image(tmp_path / "a.nii.gz", index=False)
    read.clear()
    flipped_one = flipped(build.to_volume(image), dims)
    write_volume(flipped_one, str(tmp_path / dest), budget=6 << 20)
    assert sum(read) <= 1.1 * data.nbytes
    assert {p.name for p in tmp_path.iterdir()} <= {"a.nii", "a.nii.gz", dest}
    axes = tuple("zyx".index(d) for d in dims)
    assert np.array_equal(ci.open_image(tmp_path / dest).values, np.flip(data, axes))


def test_command(tmp_path, command):
    matrix = np.array([[0, 0, -0.5, 5], [-2.0, 0, 0, 9], [0, 1.5, 0, 1], [0, 0, 0, 1]])
    ci.from_array(noise((3, 4, 5)), affine=matrix).img.save(tmp_path / "a.nii.gz")
    command("reorient", tmp_path / "a.nii.gz", tmp_path / "b.nrrd", "--to", "RAS")
    found = ci.open_image(tmp_path / "b.nrrd")
    assert found.img.orientation == "RAS"
    assert np.array_equal(found.values, ci.open_image(tmp_path / "a.nii.gz").img.reorient("RAS").values)
    assert "three letters" in command("reorient", tmp_path / "a.nii.gz", tmp_path / "c.nii", "--to", "RAX", code=1).err
    assert "exists" in command("reorient", tmp_path / "a.nii.gz", tmp_path / "b.nrrd", "--to", "RAS", code=1).err
    command("reorient", tmp_path / "a.nii.gz", tmp_path / "c.ome.zarr", "--to", "LPS", "--pyramid")
    assert ci.open_image(tmp_path / "c.ome.zarr").img.orientation == "LPS"


@settings(max_examples=20)
@given(grids(low=2), st.sampled_from(CODES))
def test_flat_stores_hold_it(grid, codes):
    """What is written is read as it was shown."""
    import tempfile

    image = image_of(grid).img.reorient(codes)
    with tempfile.TemporaryDirectory() as folder:
        image.img.save(f"{folder}/a.ome.zarr")
        again = ci.open_image(f"{folder}/a.ome.zarr")
        assert again.img.grid == image.img.grid
        assert np.array_equal(again.values, image.values)
