"""Transforms against SimpleITK, NumPy and the formulas of FSL and AFNI; what of a field is read; damaged files."""

import contextlib
import gzip
import itertools
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import AFFINE, write
from strategies import affines, grids
from test_points import Stored, image_of, scattered

import chunkimg as ci
from chunkimg.scaling import Scaling
from chunkimg.transforms import itk_files
from chunkimg.transforms.linear import fsl_transform

sitk = pytest.importorskip("SimpleITK")

RNG = np.random.default_rng(0)
POINTS = RNG.normal(0, 60, (50, 3))
FLIP = np.array([-1, -1, 1])


def theirs(transform, points):
    """Points (RAS) mapped by SimpleITK."""
    return np.array([transform.TransformPoint(p) for p in (points * FLIP).tolist()]) * FLIP


def same(ours, transform, points=POINTS, atol=1e-9):
    np.testing.assert_allclose(ours.map(points), theirs(transform, points), atol=atol)


def kinds():
    """One transform of each kind, its parameters all different."""
    center = (11.0, -7.5, 4.0)
    out = []
    for make, parameters in (
        (sitk.Euler3DTransform, (0.3, -0.5, 0.2, 5, 6, -7)),
        (sitk.VersorRigid3DTransform, (0.2, -0.3, 0.4, 5, 6, -7)),
        (sitk.Similarity3DTransform, (0.2, -0.3, 0.4, 5, 6, -7, 1.3)),
        (sitk.ScaleVersor3DTransform, (0.2, -0.3, 0.4, 5, 6, -7, 1.3, 0.8, 1.1)),
        (sitk.ScaleSkewVersor3DTransform, (0.2, -0.3, 0.4, 5, 6, -7, 1.3, 0.8, 1.1, 0.1, 0.2, 0.3, -0.1, -0.2, 0.15)),
        (sitk.ComposeScaleSkewVersor3DTransform, (0.2, -0.3, 0.4, 5, 6, -7, 1.3, 0.8, 1.1, 0.1, 0.2, 0.3)),
        (lambda: sitk.AffineTransform(3), (1.1, 0.2, -0.1, 0.05, 0.9, 0.3, -0.2, 0.1, 1.2, 5, 6, -7)),
        (lambda: sitk.ScaleTransform(3), (1.3, 0.8, 1.1)),
        (sitk.VersorTransform, (0.2, -0.3, 0.4)),
    ):
        one = make()
        one.SetCenter(center)
        one.SetParameters(parameters)
        out.append(one)
    zyx = sitk.Euler3DTransform(out[0])
    zyx.SetComputeZYX(True)
    return [*out, zyx, sitk.TranslationTransform(3, (5, 6, -7)), sitk.Transform(3, sitk.sitkIdentity)]


KINDS = kinds()
NAMES = [f"{k}-{t.GetName()}" for k, t in enumerate(KINDS)]


def field_of(shape=(9, 8, 7), seed=0, direction=None):
    """A displacement field of SimpleITK on an oblique grid, and the image it is of."""
    values = np.random.default_rng(seed).normal(0, 3, (*shape[::-1], 3))
    image = sitk.GetImageFromArray(values, isVector=True)
    image.SetSpacing((2.0, 3.0, 4.5))
    image.SetOrigin((-8.0, 5.0, 3.0))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.4, 0.5)
    image.SetDirection(turn.GetMatrix() if direction is None else direction)
    return sitk.DisplacementFieldTransform(sitk.Image(image)), image


def around(image, count=60):
    """World points (RAS) in and around an image of SimpleITK."""
    index = scattered(image.GetSize(), count, beyond=1.5)
    lps = [image.TransformContinuousIndexToPhysicalPoint(i) for i in index.tolist()]
    return np.array(lps) * FLIP


# ---------------------------------------------------------------------------------------------- types


@given(affines(), affines())
def test_affine_and_composite_are_matrices(a, b):
    one, two = ci.Affine(a), ci.Affine(b)
    points = np.append(POINTS, np.ones((50, 1)), axis=1)
    both = ci.Composite([one, two])
    np.testing.assert_allclose(both.map(POINTS), (points @ b.T @ a.T)[:, :3], atol=1e-6)
    np.testing.assert_allclose(both.matrix, a @ b, atol=1e-9)
    np.testing.assert_allclose(both.inverse().map(both.map(POINTS)), POINTS, atol=1e-5)
    np.testing.assert_array_equal(one.matrix, a)
    assert one == ci.Affine(a) and hash(one) == hash(ci.Affine(a)) and (one != two or np.array_equal(a, b))
    assert pickle.loads(pickle.dumps(both)) == both


def test_composite_has_the_order_of_simpleitk():
    shift, turn = KINDS[10], KINDS[0]
    field, image = field_of()
    parts = [turn, field, shift, KINDS[6], KINDS[3]]
    ours = [ci.Affine(np.eye(4)) for _ in parts]
    for k, part in enumerate(parts):
        ours[k] = ci.DisplacementField(ci.from_sitk(image), "LPS") if part is field else matrix_of(part)
    points = around(image)
    for order in itertools.permutations(range(5)):
        same(ci.Composite([ours[k] for k in order]), sitk.CompositeTransform([parts[k] for k in order]), points)
    nested = ci.Composite([ours[0], ci.Composite([ours[1], ci.Composite([ours[2], ours[3]])])])
    same(nested, sitk.CompositeTransform(parts[:4]), points)
    assert nested.matrix is None
    with pytest.raises(ci.GeometryError, match="other direction"):
        nested.inverse()
    again = ci.Composite([ours[0], ci.Composite([ours[1], ci.Composite([ours[2], ours[3]])])])
    assert again == nested and again.__dask_tokenize__() == nested.__dask_tokenize__()
    assert ci.Composite(ours[1:3]).__dask_tokenize__() != ci.Composite(ours[2:0:-1]).__dask_tokenize__()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(nested)).map(points), nested.map(points))


def matrix_of(transform):
    """An affine transform of SimpleITK by what it does to four points."""
    zero, *ends = theirs(transform, np.vstack([np.zeros(3), np.eye(3)]))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = (np.array(ends) - zero).T, zero
    return ci.Affine(out)


def test_what_is_no_transform():
    with pytest.raises(ci.GeometryError, match="singular"):
        ci.Affine(np.diag([1, 1, 0, 1]))
    with pytest.raises(ci.GeometryError, match="shape"):
        ci.Affine(np.eye(3))
    with pytest.raises(TypeError, match=r"found ndarray; a 4×4 matrix is one as Affine\(matrix\)"):
        ci.Composite([np.eye(4)])
    with pytest.raises(TypeError, match="none at all"):
        ci.Composite([])
    for shape, dims in (((4, 5, 6), "zyx"), ((2, 4, 5, 6), "czyx"), ((2, 3, 4, 5, 6), "tczyx")):
        with pytest.raises(ci.GeometryError, match="three channels"):
            ci.DisplacementField(ci.from_array(np.zeros(shape), tuple(dims)))
    vectors = np.zeros((3, 4, 5, 6))
    with pytest.raises(ci.GeometryError, match="nothing says where"):
        ci.DisplacementField(ci.from_array(vectors, tuple("czyx"), space="unknown"))
    with pytest.raises(ci.GeometryError, match="real numbers"):
        ci.DisplacementField(ci.from_array(vectors + 1j, tuple("czyx")))
    with pytest.raises(ci.GeometryError, match="found \\(2,\\)"):
        ci.DisplacementField(ci.from_array(vectors, tuple("czyx"))).map((1, 2))


# ---------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize("kind", ["memory", "dask", "lazy", "scaled", "expression"])
def test_fields_against_simpleitk(kind, tmp_path):
    transform, image = field_of()
    ours = ci.from_sitk(image)
    if kind == "dask":
        ours = ours.chunk({"z": 3, "y": 5, "x": 2})
    if kind in ("lazy", "expression"):
        ours.img.save(tmp_path / "a.ome.zarr", chunks=(3, 4, 2, 5))
        ours = ci.open_image(tmp_path / "a.ome.zarr", chunks=None if kind == "lazy" else "auto")
        ours = ours if kind == "lazy" else ours * 2 - ours
    if kind == "scaled":
        ours.img.save(tmp_path / "a.nii.gz", dtype="i4", scaling=(1e-8, 0))
        ours = ci.open_image(tmp_path / "a.nii.gz")
    field = ci.DisplacementField(ours, "LPS")
    points = around(image, 200)
    moved = np.any(theirs(transform, points) != points, axis=1)
    assert 30 < moved.sum() < 190
    same(field, transform, points, atol=1e-6)
    np.testing.assert_array_equal(field.map(points[~moved]), points[~moved])
    again = pickle.loads(pickle.dumps(field))
    # an array in memory that is a view is another one when it has been pickled
    assert (again == field and hash(again) == hash(field)) or kind == "memory"
    np.testing.assert_array_equal(
        again.map(points[:24].reshape(2, 3, 4, 3)), field.map(points[:24]).reshape(2, 3, 4, 3)
    )
    nowhere = field.map([[np.nan, 0, 0], [np.inf, 1, 1]])
    assert np.isnan(nowhere[0, 0]) and nowhere[1, 0] == np.inf


@settings(max_examples=25)
@given(grids(low=2, high=8), st.data())
def test_fields_in_any_frame(grid, data):
    vectors = np.random.default_rng(1).integers(-9, 9, (3, *grid.shape[::-1])).astype("i2")
    image = image_of(Stored(vectors, chunks=(1, 2, 2, 2)), grid, ("c", "z", "y", "x"), scaling=Scaling(0.5, 1))
    at = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    points = grid.to_world(at)
    space = data.draw(st.sampled_from(["RAS", "LPS", "LAI"]))
    signs = [1 if a == b else -1 for a, b in zip(space, "RAS", strict=True)]
    expected = points + (vectors.transpose(3, 2, 1, 0) * 0.5 + 1) * signs
    np.testing.assert_allclose(ci.DisplacementField(image, space).map(points), expected, atol=1e-9)
    turned = image_of(image.data, grid.to_space("LPS"), ("c", "z", "y", "x"), scaling=Scaling(0.5, 1))
    np.testing.assert_allclose(ci.DisplacementField(turned, space).map(points), expected, atol=1e-9)


def test_a_field_is_read_around_the_points():
    vectors = np.zeros((3, 100, 110, 120), "f4")
    grid = ci.Grid((120, 110, 100), AFFINE)
    source = Stored(vectors)
    field = ci.DisplacementField(image_of(source, grid, ("c", "z", "y", "x")))
    field.map(grid.to_world([(20.5, 30.5, 40.5), (22, 33, 44), (-9, 0, 0)]))
    assert source.regions == [(range(3), range(40, 45), range(30, 34), range(20, 23))]
    source.regions.clear()
    field.map(grid.to_world([(-9, 0, 0)]))
    assert source.regions == []


def test_far_points_are_mapped_in_bounded_memory(monkeypatch):
    monkeypatch.setattr("chunkimg.transforms.types._AT_ONCE", 1 << 16)
    monkeypatch.setattr("chunkimg.ops.scatter._BLOCK", 1 << 16)
    vectors = np.random.default_rng(0).normal(size=(3, 60, 50, 40)).astype("f4")
    grid = ci.Grid((40, 50, 60), AFFINE)
    source = Stored(vectors)
    index = scattered(grid.shape, 500)
    field = ci.DisplacementField(image_of(source, grid, ("c", "z", "y", "x")))
    found = field.map(grid.to_world(index))
    assert len(source.regions) > 10
    assert source.times_read().max() == 1
    whole = ci.DisplacementField(ci.from_array(vectors, tuple("czyx"), affine=AFFINE))
    monkeypatch.setattr("chunkimg.transforms.types._AT_ONCE", 1 << 30)
    np.testing.assert_allclose(found, whole.map(grid.to_world(index)), atol=1e-9)


# ---------------------------------------------------------------------------------------------- files of ITK


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5", ".hdf5"])
@pytest.mark.parametrize("transform", KINDS, ids=NAMES)
def test_kinds_in_every_file(tmp_path, transform, suffix):
    if "h" in suffix:
        pytest.importorskip("h5py")
    if suffix == ".mat" and not transform.GetParameters():
        pytest.skip("SimpleITK cannot write an identity without parameters as .mat")
    path = tmp_path / f"a{suffix}"
    sitk.WriteTransform(transform, str(path))
    ours = ci.read_transform(path)
    assert isinstance(ours, ci.Affine)
    same(ours, transform)
    np.testing.assert_allclose(ours.inverse().map(theirs(transform, POINTS)), POINTS, atol=1e-9)


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_composites(tmp_path, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    field, image = field_of()
    points = around(image)
    whole = sitk.CompositeTransform([KINDS[3], field, KINDS[0], KINDS[10]])
    sitk.WriteTransform(whole, str(tmp_path / f"a{suffix}"))
    ours = ci.read_transform(tmp_path / f"a{suffix}")
    assert isinstance(ours, ci.Composite) and len(ours.transforms) == 4
    same(ours, whole, points, atol=1e-6)
    sitk.WriteTransform(field, str(tmp_path / f"b{suffix}"))
    alone = ci.read_transform(tmp_path / f"b{suffix}")
    assert isinstance(alone, ci.DisplacementField) and alone.grid.shape == (9, 8, 7)
    same(alone, field, points, atol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).map(points), ours.map(points))
    if suffix == ".h5":
        assert len(pickle.dumps(ours)) < 4000


def test_a_field_in_hdf5_is_read_around_the_points(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    field, image = field_of((40, 30, 50))
    sitk.WriteTransform(field, str(tmp_path / "a.h5"))
    read = []
    real = itk_files._Stored._read
    monkeypatch.setattr(itk_files._Stored, "_read", lambda self, r: (read.append(len(r[0])), real(self, r))[1])
    ours = ci.read_transform(tmp_path / "a.h5")
    points = around(image, 200)
    near = ours.grid.to_world([(3.5, 4.5, 5.5), (4, 5, 7)])
    assert read == []
    ours.map(near)
    assert read == [3 * 40 * (2 * 30 + 2)]
    monkeypatch.setattr("chunkimg.transforms.itk._SPAN", 1)
    same(ours, field, points, atol=1e-6)
    # of a file that was changed meanwhile nothing is made up
    sitk.WriteTransform(field_of((4, 3, 5))[0], str(tmp_path / "a.h5"))
    with pytest.raises(ci.FormatError, match="changed since"):
        ours.map(points)


def test_transforms_of_single_precision(tmp_path):
    double = matrix_of(KINDS[6])
    parameters = " ".join(map(str, KINDS[6].GetParameters()))
    (tmp_path / "a.txt").write_text(
        "#Insight Transform File V1.0\n# Transform 0\nTransform: MatrixOffsetTransformBase_float_3_3\n"
        f"Parameters: {parameters}\nFixedParameters: 11 -7.5 4\n"
    )
    np.testing.assert_allclose(ci.read_transform(tmp_path / "a.txt").map(POINTS), double.map(POINTS))
    raw = b"".join(
        np.array([1010 if order == ">" else 10, len(v), 1, 0, len(n)], order + "i4").tobytes()
        + n + np.array(v, order + "f4").tobytes()
        for order in (">",)
        for n, v in ((b"AffineTransform_float_3_3\0", KINDS[6].GetParameters()), (b"fixed\0", (11, -7.5, 4)))
    )  # fmt: skip
    (tmp_path / "a.mat").write_bytes(raw)
    np.testing.assert_allclose(ci.read_transform(tmp_path / "a.mat").map(POINTS), double.map(POINTS), atol=1e-4)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr"])
def test_fields_in_images(tmp_path, name):
    field, image = field_of()
    sitk.WriteImage(image, str(tmp_path / name))
    back = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat64))
    ours = ci.read_transform(tmp_path / name)
    assert isinstance(ours, ci.DisplacementField)
    same(ours, back, around(image), atol=1e-5)
    same(ours, field, around(image), atol=1e-4)


def test_the_intent_of_a_field_tells_its_frame(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(6, 5, 4, 1, 3)).astype("f4")
    grid = ci.Grid((6, 5, 4), AFFINE)
    points = grid.to_world(scattered(grid.shape, 20, beyond=-0.1))
    expected = {
        v: ci.DisplacementField(ci.from_array(vectors[:, :, :, 0].T, tuple("czyx"), affine=AFFINE), v).map(points)
        for v in ("RAS", "LPS")
    }
    for intent, frame in ((1006, "RAS"), (1007, "LPS")):
        write(tmp_path / "a.nii", vectors, intent_code=intent)
        np.testing.assert_allclose(ci.read_transform(tmp_path / "a.nii").map(points), expected[frame], atol=1e-4)
    write(tmp_path / "a.nii", vectors)
    with pytest.raises(ci.GeometryError, match="give vectors='LPS'"):
        ci.read_transform(tmp_path / "a.nii")
    for frame, found in expected.items():
        np.testing.assert_allclose(ci.read_transform(tmp_path / "a.nii", vectors=frame).map(points), found, atol=1e-4)
    write(tmp_path / "a.nii", vectors, intent_code=2006)
    with pytest.raises(ci.UnsupportedError, match="FNIRT"):
        ci.read_transform(tmp_path / "a.nii")


# ---------------------------------------------------------------------------------------------- damaged files


TEXTS = {
    "": "is empty",
    "#Insight Transform File V1.0\n": "no transform",
    "#Insight Transform File V1.0\nParameters: 1": "expected lines",
    "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 2\n": "12 parameters, found 2",
    "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 x": "are numbers",
    "#Insight Transform File V1.0\nTransform: TranslationTransform_double_3_3\nParameters: 1 nan 3": "not finite",
    "#Insight Transform File V1.0\nTransform: ScaleTransform_double_3_3\nParameters: 1 0 3": "singular",
    "#Insight Transform File V1.0\nTransform: nonsense\nParameters: 1 0 3": "name of an ITK transform",
    "#Insight Transform File V1.0\nTransform: CompositeTransform_double_3_3\n": "no transform",
    "#Insight Transform File V1.0\nTransform: DisplacementFieldTransform_double_3_3\nParameters: 1 0 3": "18 fixed",
    "#Insight Transform File V1.0\nTransform: DisplacementFieldTransform_double_3_3\nParameters: 1 0 3\n"
    "FixedParameters: 100000 100000 100000 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1": "3000000000000000 numbers, found 3",
    "#Insight Transform File V1.0\nTransform: DisplacementFieldTransform_double_3_3\nParameters: 1 0 3\n"
    "FixedParameters: 1 1 1 0 0 0 1 1 0 1 0 0 0 1 0 0 0 1": "singular",
    "1 2 3\n4 5 6\n": "known kind",
}


@pytest.mark.parametrize("text", TEXTS)
def test_damaged_text(tmp_path, text):
    (tmp_path / "a.tfm").write_text(text)
    with pytest.raises(ci.FormatError, match=TEXTS[text]):
        ci.read_transform(tmp_path / "a.tfm")


def test_what_is_not_supported(tmp_path):
    sitk.WriteTransform(sitk.BSplineTransform(3), str(tmp_path / "a.tfm"))
    with pytest.raises(ci.UnsupportedError, match=r"BSplineTransform, which is not supported.*TransformToDisplacement"):
        ci.read_transform(tmp_path / "a.tfm")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "a.tfm"))
    with pytest.raises(ci.UnsupportedError, match="maps 2 dimensions"):
        ci.read_transform(tmp_path / "a.tfm")
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(200))
    with pytest.raises(ci.UnsupportedError, match="level 5"):
        ci.read_transform(tmp_path / "a.mat")
    with pytest.raises(ValueError, match="itk, fsl, afni, field; found 'ants'"):
        ci.read_transform(tmp_path / "a.mat", format="ants")
    with pytest.raises(FileNotFoundError):
        ci.read_transform(tmp_path / "nothing.tfm")


@pytest.mark.parametrize("suffix", [".mat", ".h5"])
def test_truncated_and_changed_bytes(tmp_path, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    whole = tmp_path / f"whole{suffix}"
    sitk.WriteTransform(KINDS[6], str(whole))
    raw, path = whole.read_bytes(), tmp_path / f"a{suffix}"
    for size in range(1, len(raw), 1 if suffix == ".mat" else 97):
        path.write_bytes(raw[:size])
        with pytest.raises(ci.FormatError):
            ci.read_transform(path, format="itk")
    rng = np.random.default_rng(0)
    for _ in range(200):
        bad = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bytes(bad))
        with contextlib.suppress(ci.FormatError):
            assert isinstance(ci.read_transform(path, format="itk"), (ci.Affine, ci.Composite))


def test_names_of_fixed_length_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    sitk.WriteTransform(KINDS[0], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["TransformGroup/0"]
        name = group["TransformType"][0]
        del group["TransformType"]
        group.create_dataset("TransformType", data=np.array([name], f"S{len(name)}"))
        # as ITK spelt it for years
        group.move("TransformParameters", "TranformParameters")
    same(ci.read_transform(tmp_path / "a.h5"), KINDS[0])


def test_fields_of_ants_in_hdf5(tmp_path):
    """Single precision, compressed in pieces."""
    h5py = pytest.importorskip("h5py")
    field, image = field_of((20, 21, 22))
    sitk.WriteTransform(field, str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["TransformGroup/0"]
        values = group["TransformParameters"][:].astype("f4")
        del group["TransformParameters"]
        group.create_dataset("TransformParameters", data=values, chunks=(1000,), compression="gzip")
        group["TransformType"][0] = b"DisplacementFieldTransform_float_3_3"
    same(ci.read_transform(tmp_path / "a.h5"), field, around(image, 300), atol=1e-5)


def test_hdf5_needs_h5py(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(itk_files.HDF5 + bytes(100))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ci.MissingExtraError, match=r"chunkimg\[transforms\]"):
        ci.read_transform(tmp_path / "a.h5")


# ---------------------------------------------------------------------------------------------- FSL and AFNI


def flirt_coordinates(grid, index):
    """Voxels times voxel size, x from the other end if the affine's determinant is positive."""
    out = np.array(index, float)
    if np.linalg.det(np.array(grid.affine)[:3, :3]) > 0:
        out[..., 0] = grid.shape[0] - 1 - out[..., 0]
    return out * grid.spacing


@settings(max_examples=60)
@given(grids(low=2), grids(low=2), affines(shear=False, far=20))
def test_flirt(reference, moving, matrix):
    ours = fsl_transform("\n".join(" ".join(map(repr, row)) for row in matrix.tolist()), "a.mat", reference, moving)
    index = scattered(moving.shape, 20)
    # FLIRT's matrix takes its input, the moving image, to the reference
    there = flirt_coordinates(moving, index) @ matrix[:3, :3].T + matrix[:3, 3]
    expected = moving.to_world(index)
    at = there / reference.spacing
    if np.linalg.det(reference.matrix[:3, :3]) > 0:
        at[:, 0] = reference.shape[0] - 1 - at[:, 0]
    in_mm = {"mm": 1, "um": 1e-3}
    found = ours.map(reference.to_world(at) * in_mm[reference.units]) / in_mm[moving.units]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("units", list(itertools.product(["mm", "um", "m", "unknown"], repeat=2)), ids="-".join)
def test_flirt_takes_the_numbers_of_headers_in_whatever_unit(tmp_path, units):
    (tmp_path / "a.mat").write_text("1 0 0 2\n0 1 0 -3\n0 0 1 0\n0 0 0 1\n")
    data = np.arange(5 * 6 * 7.0).reshape(5, 6, 7)
    reference = ci.from_array(data, spacing=(1, 3, 2), units=units[0])
    moving = ci.from_array(data, spacing=(2, 3, 2), units=units[1])
    transform = ci.read_transform(tmp_path / "a.mat", reference=reference, moving=moving)
    moved = moving.img.resample_to(reference, "nearest", transform, fill=-1)
    # 6 - i of the reference is 2 (6 - k) + 2 of the moving image, and 3 j is 3 l - 3
    expected = np.full((5, 6, 4), -1.0)
    expected[:, :-1, :-1] = data[:, 1:, 4:]
    np.testing.assert_array_equal(moved.values[:, :, ::2], expected)


def test_images_that_lie_otherwise_than_in_their_files(tmp_path):
    (tmp_path / "a.mat").write_text("1 0.1 0 2\n-0.1 1 0 -3\n0 0 1 0\n0 0 0 1\n")
    (tmp_path / "a.aff12.1D").write_text("1 0 0 3 0 1 0 0 0 0 1 0")
    write(tmp_path / "a.nii", np.zeros((5, 6, 7), "u1"))
    image = ci.open_image(tmp_path / "a.nii")
    read = {name: partial(ci.read_transform, tmp_path / name, moving=image) for name in ("a.mat", "a.aff12.1D")}
    whole = {name: one(reference=image).matrix for name, one in read.items()}
    # FLIRT counts x from one end, whatever its direction is
    np.testing.assert_allclose(read["a.mat"](reference=image.img.flip("x")).matrix, whole["a.mat"], atol=1e-9)
    for other in (image.img.reorient("PIR"), image.img.flip("y"), image.isel(z=slice(2, None)), image.img.coarsen(2)):
        for name, one in read.items():
            with pytest.raises(ci.GeometryError, match=r"the reference image was turned.*or its Grid"):
                one(reference=other)
            # the grid is taken at its word
            assert np.abs(np.array(one(reference=other.img.grid).matrix) - whole[name]).max() > 0.01
            other.img.save(tmp_path / "b.nii", overwrite=True)
            np.testing.assert_allclose(
                one(reference=ci.open_image(tmp_path / "b.nii")).matrix, one(reference=other.img.grid).matrix, atol=1e-4
            )
    # the last planes are not counted from
    assert read["a.mat"](reference=image.isel(z=slice(2))).matrix == whole["a.mat"]


def test_flirt_files(tmp_path):
    (tmp_path / "a.mat").write_text("1 0 0 2 \n0 1 0 0 \n0 0 1 0 \n0 0 0 1 \n")
    image = ci.from_array(np.zeros((4, 5, 6)), spacing=(2, 2, 2))
    image.img.save(tmp_path / "a.nii")
    for one in (image, image.img.grid, tmp_path / "a.nii", str(tmp_path / "a.nii")):
        # x runs to the left there: two to the left of the moving image is where the reference is
        ours = ci.read_transform(tmp_path / "a.mat", reference=one, moving=one)
        np.testing.assert_allclose(ours.map((0, 0, 0)), (2, 0, 0), atol=1e-12)
    with pytest.raises(ci.GeometryError, match="give reference and moving="):
        ci.read_transform(tmp_path / "a.mat")
    for text, error in (("1 2 3", "16 numbers, found 3"), ("a b", "are numbers"), ("0 " * 16, "last row")):
        (tmp_path / "b.mat").write_text(text)
        with pytest.raises(ci.FormatError, match=error):
            ci.read_transform(tmp_path / "b.mat", reference=image, moving=image)
    (tmp_path / "b.mat").write_text("0 0 0 0 " * 3 + "0 0 0 1")
    with pytest.raises(ci.FormatError, match="singular"):
        ci.read_transform(tmp_path / "b.mat", reference=image, moving=image)
    (tmp_path / "b.mat").write_text("1 " * (1 << 20))
    with pytest.raises(ci.FormatError, match="larger than"):
        ci.read_transform(tmp_path / "b.mat", reference=image, moving=image)


def test_afni(tmp_path):
    matrix = np.array(matrix_of(KINDS[6]).matrix)
    lps = matrix * np.outer([*FLIP, 1], [*FLIP, 1])
    line = " ".join(map(repr, lps[:3].ravel().tolist()))
    path = tmp_path / "a.aff12.1D"
    path.write_text(f"# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):\n{line}\n")
    np.testing.assert_allclose(ci.read_transform(path).map(POINTS), matrix_of(KINDS[6]).map(POINTS), atol=1e-9)
    path.write_text("\n".join(" ".join(map(repr, row)) for row in lps[:3].tolist()))
    np.testing.assert_allclose(ci.read_transform(path).matrix, matrix, atol=1e-12)
    path.write_text(f"{'1 0 0 0 0 1 0 0 0 0 1 0'}\n{line}\n")
    with pytest.raises(ci.GeometryError, match="2 matrices, one per time step; choose one with row="):
        ci.read_transform(path)
    np.testing.assert_allclose(ci.read_transform(path, row=1).matrix, matrix, atol=1e-12)
    with pytest.raises(ci.GeometryError, match="row=2 is none"):
        ci.read_transform(path, row=2)
    path.write_text("1 2 3\n")
    with pytest.raises(ci.FormatError, match="12 numbers in a row"):
        ci.read_transform(path)


def test_afni_works_without_obliquity(tmp_path):
    path = tmp_path / "a.aff12.1D"
    path.write_text("1 0 0 3 0 1 0 0 0 0 1 0")
    grid = ci.Grid((6, 5, 4), AFFINE)
    # of the oblique grid: first voxel and sizes, axes along those of the body (x runs backwards along y of the world)
    sizes = np.linalg.norm(AFFINE[:3, :3], axis=0)
    plain = np.array([[0, -sizes[1], 0], [sizes[0], 0, 0], [0, 0, -sizes[2]]])
    index = scattered(grid.shape, 20)
    shifted = index @ plain.T + AFFINE[:3, 3] + [-3, 0, 0]
    ours = ci.read_transform(path, reference=grid, moving=grid)
    expected = grid.to_world((shifted - AFFINE[:3, 3]) @ np.linalg.inv(plain).T)
    np.testing.assert_allclose(ours.map(grid.to_world(index)), expected, atol=1e-9)


def test_the_document():
    text = (Path(__file__).parent.parent / "docs" / "transforms.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(code, "transforms.md", "exec"), {})


def test_a_field_in_gzip_without_an_index(tmp_path):
    field, image = field_of()
    vectors = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3)[:, :, :, None].astype("f4")
    affine = np.array(ci.from_sitk(image).img.affine)
    write(tmp_path / "a.nii", vectors, affine=affine, intent_code=1007)
    (tmp_path / "1Warp.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    same(ci.read_transform(tmp_path / "1Warp.nii.gz"), field, around(image, 200), atol=1e-4)


def test_resampling_on_the_command_line(tmp_path, command):
    affine = np.array([[0.64, 0, 0.6, -3], [0.48, 0, -0.8, 11], [0, -1.3, 0, 5.5], [0, 0, 0, 1]])
    values = RNG.integers(-900, 900, (10, 12, 13)).astype("i2")
    moving = ci.from_array(values, affine=affine)
    fixed = ci.from_array(np.zeros((9, 14, 11), "i2"), affine=affine @ np.diag([1.1, 0.9, 1.2, 1]))
    for name, image in (("fixed.nii.gz", fixed), ("moving.nii.gz", moving)):
        image.img.save(tmp_path / name)
    transform = kinds()[3]
    transform.SetParameters((0.02, -0.03, 0.04, 1, 2, -1, 1.1, 0.9, 1.05))
    sitk.WriteTransform(transform, str(tmp_path / "a.tfm"))
    dest = tmp_path / "b.nii.gz"
    files = [tmp_path / name for name in ("moving.nii.gz", "b.nii.gz", "fixed.nii.gz", "a.tfm")]
    command(
        "resample", files[0], dest, "--like", files[2], "--transform", files[3], "--fill", "-7", "--method", "nearest"
    )
    read = [sitk.ReadImage(f) for f in (files[0], files[2])]
    expected = sitk.Resample(read[0], read[1], transform, sitk.sitkNearestNeighbor, -7)
    expected = sitk.GetArrayFromImage(expected)
    found = ci.open_image(dest)
    assert found.img.same_grid(fixed)
    assert np.mean(found.values != expected) <= 1e-3 and len(np.unique(expected)) > 50


@pytest.fixture
def pair(tmp_path):
    """An oblique image and a grid of which both have axes of their own, in files."""
    affine = np.array([[0.64, 0, 0.6, -3], [0.48, 0, -0.8, 11], [0, -1.3, 0, 5.5], [0, 0, 0, 1]])
    turned = np.array([[-1.1, 0, 0, 11.5], [0, 0.9, 0, 0], [0, 0, 1.2, 0], [0, 0, 0, 1]])
    moving = ci.from_array(RNG.integers(-900, 900, (10, 12, 13)).astype("i2"), affine=affine)
    fixed = ci.from_array(np.zeros((9, 14, 11), "i2"), affine=affine @ turned)
    moving.img.save(tmp_path / "moving.ome.zarr")
    fixed.img.save(tmp_path / "fixed.nii.gz")
    return moving, fixed


@pytest.mark.parametrize("name", ["omat.mat", "omat.txt", "a.aff12.1D"])
def test_matrices_of_flirt_and_afni_on_the_command_line(tmp_path, command, pair, name):
    moving, fixed = pair
    matrix = np.array([[0.99, 0.1, 0, -1], [-0.1, 0.98, 0.05, 0.5], [0, -0.05, 1, 1.5], [0, 0, 0, 1]])
    afni = name.endswith("1D")
    rows = [" ".join(map(repr, row)) for row in matrix.tolist()]
    (tmp_path / name).write_text(f"{'0 ' * 12}\n{' '.join(rows[:3])}\n" if afni else "\n".join(rows))
    kind = {"format": "fsl"} if name.endswith("txt") else {"row": 1} if afni else {}
    options = [
        text for key, value in kind.items() for text in (f"--{key}".replace("format", "transform-format"), value)
    ]
    src, dest, ref = (tmp_path / n for n in ("moving.ome.zarr", "b.nii", "fixed.nii.gz"))
    command("resample", src, dest, "--like", ref, "--transform", tmp_path / name, "--fill", -7, *options)
    transform = ci.read_transform(tmp_path / name, reference=fixed, moving=moving, **kind)
    expected = moving.img.resample_to(fixed, transform=transform, fill=-7).values
    assert len(np.unique(expected)) > 50
    found = ci.open_image(dest)
    assert found.img.same_grid(fixed)
    # geometry has been through float32
    assert np.abs(found.values.astype(int) - expected).max() <= 2
    message = command("resample", src, dest, "--spacing", 1, 1, 1, "--transform", tmp_path / name, *options, code=2)
    assert "--like" in message.err


def test_several_transforms_on_the_command_line(tmp_path, command, pair):
    moving = pair[0]
    image = field_of(direction=np.eye(3).ravel().tolist())[1]
    image.SetOrigin((-10.0, -18.0, -10.0))
    sitk.WriteImage(image, str(tmp_path / "1Warp.nrrd"))
    affine = kinds()[3]
    affine.SetParameters((0.02, -0.03, 0.04, 1, 2, -1, 1.1, 0.9, 1.05))
    sitk.WriteTransform(affine, str(tmp_path / "0Affine.tfm"))
    parts = {n: ci.read_transform(tmp_path / n) for n in ("0Affine.tfm", "1Warp.nrrd")}
    outcomes = []
    for order in (("1Warp.nrrd", "0Affine.tfm"), ("0Affine.tfm", "1Warp.nrrd")):
        given_ = [text for name in order for text in ("--transform", tmp_path / name)]
        like = "--like", tmp_path / "fixed.nii.gz"
        command("resample", tmp_path / "moving.ome.zarr", tmp_path / "b.ome.zarr", *like, *given_, "--overwrite")
        transform = ci.Composite([parts[name] for name in order])
        outcomes.append(ci.open_image(tmp_path / "b.ome.zarr").values)
        expected = moving.img.resample_to(ci.open_image(tmp_path / "fixed.nii.gz"), transform=transform)
        np.testing.assert_array_equal(outcomes[-1], expected.values)
    assert np.mean(outcomes[0] != outcomes[1]) > 0.2


def test_what_of_transforms_cannot_be_told_on_the_command_line(tmp_path, command, pair):
    for name, text in (("a.mat", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1"), ("a.1D", "1 0 0 0 0 1 0 0 0 0 1 0")):
        (tmp_path / name).write_text(text)
        like = "resample", tmp_path / "moving.ome.zarr", tmp_path / "b.nii", "--like", tmp_path / "fixed.nii.gz"
        both = "--transform", tmp_path / name, "--transform", tmp_path / name
        assert "compose them in Python" in command(*like, *both, code=2).err
    assert "--transform FILE" in command(*like, "--row", 1, code=2).err
    vectors = np.zeros((6, 5, 4, 1, 3), "f4")
    vectors[..., 0] = 1
    write(tmp_path / "field.nii", vectors, affine=np.diag([9, 9, 9, 1]))
    field = "--transform", tmp_path / "field.nii"
    assert "in which world frame" in command(*like, *field, code=1).err
    moved = {}
    for frame in ("LPS", "RAS"):
        command(*like, *field, "--vectors", frame, "--overwrite")
        moved[frame] = ci.open_image(tmp_path / "b.nii").values
    assert (moved["LPS"] != moved["RAS"]).any()


def test_units_are_converted(tmp_path):
    data = np.random.default_rng(4).random((9, 14, 11)).astype("f4")
    image = {"mm": ci.from_array(data), "um": ci.from_array(data, affine=np.diag([1000, 1000, 1000, 1]), units="um")}
    expected = np.zeros_like(data)
    # points two voxels on along x
    expected[:, :, :-2] = data[:, :, 2:]
    shift = sitk.TranslationTransform(3, (-2.0, 0.0, 0.0))
    sitk.WriteTransform(shift, str(tmp_path / "a.tfm"))
    made = {"file": ci.read_transform(tmp_path / "a.tfm")}
    made["named"] = ci.Affine([[1, 0, 0, 2000], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "um")
    for unit, per in (("mm", 1), ("um", 1000)):
        vectors = np.zeros((3, *data.shape), "f4")
        vectors[0] = 2 * per
        grid = np.diag([per, per, per, 1])
        made[unit] = ci.DisplacementField(ci.from_array(vectors, ("c", "z", "y", "x"), affine=grid, units=unit))
    for name, transform in made.items():
        for unit in image:
            moved = image[unit].img.resample_to(image[unit], transform=transform)
            np.testing.assert_allclose(moved.values, expected, atol=1e-5, err_msg=f"{name}, {unit}")
    # a unit that is not known is that of the other image
    unknown = image["um"].img.assign_geometry(units="unknown")
    np.testing.assert_allclose(image["um"].img.resample_to(unknown, transform=made["file"]).values, expected, atol=1e-5)
    # a matrix is in the unit of the reference
    matrix = np.array(made["named"].matrix)
    np.testing.assert_allclose(image["um"].img.resample_to(image["um"], transform=matrix).values, expected, atol=1e-5)
    assert ci.Composite([made["file"], made["mm"]]).units == "mm"
    with pytest.raises(ci.GeometryError, match="mm and um"):
        ci.Composite([made["file"], made["um"]])


def test_transforms_of_others_need_not_be_pickled():
    class Shift:
        matrix = None

        def map(self, points):
            return points + 1

    image = ci.from_array(np.arange(4 * 5 * 6, dtype="f4").reshape(4, 5, 6))
    moved = image.chunk().img.resample_to(image.chunk(), transform=Shift())
    np.testing.assert_array_equal(moved.values[:-1, :-1, :-1], image.values[1:, 1:, 1:])
