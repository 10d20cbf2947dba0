"""Grids that are nothing like a cube at the origin: oblique, left-handed, permuted, sheared."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from chunkimg import Grid
from chunkimg.geometry import affine as aff


@st.composite
def affines(draw, shear=True, far=400.0):
    """Index-to-world affines with every spacing different."""
    # SimpleITK takes directions with numbers as small as 1e-311 for singular
    angles = [round(draw(st.floats(-3.1, 3.1)), 12) for _ in range(3)]
    cx, cy, cz = np.cos(angles)
    sx, sy, sz = np.sin(angles)
    rotation = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    matrix = rotation[:, draw(st.permutations([0, 1, 2]))] * draw(st.tuples(*[st.sampled_from([1, -1])] * 3))
    if shear and draw(st.booleans()):
        tilt = np.eye(3)
        tilt[0, 1], tilt[0, 2], tilt[1, 2] = [draw(st.floats(-0.6, 0.6)) for _ in range(3)]
        matrix = matrix @ tilt
    first = draw(st.floats(0.05, 5.0))
    spacing = first * np.array([1.0, draw(st.floats(1.1, 1.9)), draw(st.floats(2.1, 4.0))])
    origin = [draw(st.floats(-far, far)) for _ in range(3)]
    return aff.compose(spacing, matrix / np.linalg.norm(matrix, axis=0), origin)


@st.composite
def grids(draw, low=1, high=9, shear=True, far=400.0):
    """Grids with three different sizes."""
    shape = draw(st.lists(st.integers(low, high), min_size=3, max_size=3, unique=True))
    return Grid(tuple(shape), draw(affines(shear=shear, far=far)), "RAS", draw(st.sampled_from(["mm", "um"])))


@st.composite
def slices(draw, n):
    """Any slice that leaves something of n: negative bounds, strides, reversed."""
    bound = st.none() | st.integers(-n - 1, n + 1)
    s = draw(st.builds(slice, bound, bound, st.none() | st.sampled_from([1, 2, 3, -1, -2, -3])))
    return s if len(range(n)[s]) else slice(None, None, s.step)
