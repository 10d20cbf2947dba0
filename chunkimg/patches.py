"""Images in patches of one size, and put together from them: what networks are fed with, and give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import DTypeLike

from .errors import GeometryError
from .lazy import Block, LazyArray
from .lengths import Lengths, Voxels, counts, grid_of, lengths_in_unit
from .metadata import computed, is_label
from .ops.patches import WEIGHTS, AssembledArray, Computed, Given, Supply, Tiling
from .volume import CHANNEL_NAMES, Volume

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Patches", "assemble", "map_patches", "patches"]

#: voxels along x, y, z, or along all three; None for all that there are
Size = int | Sequence[int | None]


class Patches(Sequence["xr.DataArray"]):
    """The patches of an image: a sequence of lazy images, each where it lies; see `ImageAccessor.patches`.

    Attributes
    ----------
    tiling : Tiling
        Where they lie, axes z, y, x.
    """

    def __init__(self, image: xr.DataArray, volume: Volume, tiling: Tiling) -> None:
        self.image, self._volume, self.tiling = image, volume, tiling

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels of a patch along x, y, z."""
        z, y, x = self.tiling.size
        return x, y, z

    def start(self, k: int) -> tuple[int, int, int]:
        """The first voxel of a patch along x, y, z."""
        z, y, x = (r.start for r in self.tiling.box(self.tiling.place(range(len(self))[k])))
        return x, y, z

    def __len__(self) -> int:
        return len(self.tiling)

    @overload
    def __getitem__(self, key: int) -> xr.DataArray: ...
    @overload
    def __getitem__(self, key: slice) -> list[xr.DataArray]: ...
    def __getitem__(self, key: int | slice) -> xr.DataArray | list[xr.DataArray]:
        from .image.build import to_dataarray

        if isinstance(key, slice):
            return [self[k] for k in range(len(self))[key]]
        z, y, x = (slice(r.start, r.stop) for r in self.tiling.box(self.tiling.place(range(len(self))[key])))
        return to_dataarray(self._volume.crop(z=z, y=y, x=x), chunks=None)

    def __iter__(self) -> Iterator[xr.DataArray]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        across = " × ".join(str(len(s)) for s in reversed(self.tiling.starts))
        return f"<{len(self)} patches ({across}) of {' × '.join(map(str, self.size))} voxels along x, y, z>"


def patches(
    image: xr.DataArray,
    size: Size | None = None,
    overlap: Voxels = 0,
    *,
    size_mm: Lengths | None = None,
) -> Patches:
    """An image in patches; see `ImageAccessor.patches`."""
    from .image.build import to_volume

    volume = to_volume(image, require_grid=size_mm is not None)
    return Patches(image, volume, _tiling(volume, size, size_mm, overlap))


def map_patches(
    image: xr.DataArray,
    function: Callable[[Block], Any],
    size: Size | None = None,
    overlap: Voxels = 0,
    *,
    size_mm: Lengths | None = None,
    weights: str = "crop",
    dtype: DTypeLike | None = None,
    channels: int | Sequence[str] | None = None,
) -> xr.DataArray:
    """An image of what a function makes of each patch of another; see `ImageAccessor.map_patches`."""
    from .image.build import to_volume

    volume = to_volume(image, require_grid=size_mm is not None)
    tiling = _tiling(volume, size, size_mm, overlap)
    source = volume.values
    kind = source.dtype if dtype is None else np.dtype(dtype)
    timed = "t" in volume.dims
    of_frame = source.shape[1 if timed else 0 : -3]
    named = None
    if channels is not None:
        of_frame, named = _channels(channels)
    supply = Computed(source, function, tiling, (*of_frame, *tiling.size), kind)
    return _made(image, volume, supply, tiling, kind, weights, of_frame, named)


def assemble(patches: Sequence[Any], like: Patches | xr.DataArray, *, weights: str = "crop") -> xr.DataArray:
    """Put patches together to one image, lazily: what `img.patches` took apart, or what was made of it.

    For a function of patches of an image that does not fit in memory, use ``img.map_patches``, which makes them as
    they are needed.

    Parameters
    ----------
    patches : sequence of array or DataArray
        One for each patch of `like`, in the same order. Arrays (NumPy or lazy) have the axes of the patches they were
        made of; an axis of channels may be added, or its size be another, the same in all.
    like : Patches or DataArray
        What `img.patches` gave; or an image, where all patches are images, whose geometry then tells where they belong:
        they must have one size and form a grid that covers the image, as those of `img.patches` do.
    weights : str
        What becomes of voxels that several patches hold: ``"crop"`` takes the value of that whose centre is nearest
        along each axis, bit for bit; ``"average"`` the mean of all; ``"hann"`` a mean whose weights fall towards the
        border of a patch. Means are of floating point only.

    Returns
    -------
    xarray.DataArray
        An image on the grid of `like`. Patches are read when it is.

    Raises
    ------
    GeometryError
        If patches that are images lie elsewhere, or do not form a grid that covers the image.
    ValueError
        If number or shapes of the patches do not fit.
    TypeError
        If there are weights for values that are no floating point.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
    >>> tiles = scan.img.patches(16, overlap=4)
    >>> negative = ci.assemble([-tile.values for tile in tiles], like=tiles)
    >>> bool((negative == -scan).all()), negative.img.same_grid(scan)
    (True, True)
    """
    if not isinstance(patches, Sequence):
        raise TypeError(
            f"patches are a sequence, found {type(patches).__name__}: a list of all; img.map_patches(function, ...) "
            "makes one after the other"
        )
    tiles = like if isinstance(like, Patches) else _tiles_of(patches, like)
    if len(patches) != len(tiles):
        raise ValueError(f"{len(tiles)} patches are expected, {len(patches)} were given")
    volume = tiles._volume
    arrays = tuple(_array(p, volume, tiles.tiling, k) for k, p in enumerate(patches))
    shapes = sorted({a.shape for a in arrays})
    timed = volume.sizes["t"] if "t" in volume.dims else None
    lead = shapes[0][:-3] if timed is None else shapes[0][1:-3]
    expected = (*(() if timed is None else (timed,)), *lead, *tiles.tiling.size)
    if len(shapes) > 1 or shapes[0] != expected or len(lead) > 1:
        raise ValueError(
            f"patches of shape {expected} (or with channels) are expected, found {shapes[0]}, {shapes[-1]}"
        )
    named: dict[str, Any] | None = None if lead == tuple(volume.sizes[d] for d in volume.dims if d == "c") else {}
    kind = np.result_type(*(a.dtype for a in arrays))
    return _made(tiles.image, volume, Given(arrays, tiles.tiling), tiles.tiling, kind, weights, lead, named)


def _made(
    image: xr.DataArray,
    volume: Volume,
    supply: Supply,
    tiling: Tiling,
    kind: np.dtype[Any],
    weights: str,
    lead: tuple[int, ...],
    channels: dict[str, Any] | None,
) -> xr.DataArray:
    from .image.build import to_dataarray
    from .image.derived import blocks_of

    if weights not in WEIGHTS:
        raise ValueError(f"weights is one of {', '.join(WEIGHTS)}; found {weights!r}")
    if weights != "crop" and kind.kind not in "fc":
        way = "labels are not averaged" if is_label(volume.properties) else "let the function give dtype='float32'"
        raise TypeError(f"weights={weights!r} makes means, which {kind} does not hold: {way}, or use weights='crop'")
    timed = "t" in volume.dims
    full = (*((volume.sizes["t"],) if timed else ()), *lead)
    dims = (*("t" for _ in range(timed)), *("c" for _ in lead), "z", "y", "x")
    made = computed(volume, AssembledArray(supply, tiling, full, timed, kind, weights), dims, channels)
    if blocks_of(image) is None:
        return to_dataarray(made, chunks=None)
    blocks = dict(zip("zyx", tiling.blocks(kind.itemsize * math.prod(lead)), strict=True))
    return to_dataarray(made, chunks={**blocks, **({"t": 1} if timed else {})})


def _channels(channels: int | Sequence[str]) -> tuple[tuple[int], dict[str, Any]]:
    """Number of channels, and what is known of them."""
    if isinstance(channels, (int, np.integer)):
        return (int(channels),), {}
    return (len(channels),), {CHANNEL_NAMES: list(channels)}


def _tiling(volume: Volume, size: Size | None, size_mm: Lengths | None, overlap: Voxels) -> Tiling:
    shape = [volume.sizes[d] for d in "xyz"]
    if (size is None) == (size_mm is None):
        raise ValueError("give either size= (voxels along x, y, z) or size_mm=")
    if size_mm is not None:
        grid = grid_of(volume)
        lengths = lengths_in_unit("size_mm", size_mm, grid)
        # a whole number of voxels up to rounding is that number
        asked: Sequence[int | None] = [
            max(1, math.ceil(w / s - 1e-6)) for w, s in zip(lengths, grid.spacing, strict=True)
        ]
    else:
        asked = [size] * 3 if np.ndim(size) == 0 else list(size)  # type: ignore[arg-type, list-item]
        if len(asked) != 3:
            raise ValueError(f"size is a number of voxels, or three along x, y, z; found {size!r}")
    sizes = counts("size", [n if s is None else s for s, n in zip(asked, shape, strict=True)], 1)
    shared = counts("overlap", overlap)
    for axis, s, n, o in zip("xyz", sizes, shape, shared, strict=True):
        if s > n:
            raise ValueError(
                f"patches of {s} voxels along {axis} are larger than the image, which has {n}: give None there to take "
                "all of it, or pad the image"
            )
        if o >= s and s < n:
            raise ValueError(f"patches of {s} voxels along {axis} cannot share {o} with the next")
    return Tiling.of(shape[::-1], sizes[::-1], shared[::-1])


def _array(patch: Any, volume: Volume, tiling: Tiling, k: int) -> LazyArray:
    """A patch as a lazy array; one that is an image must lie where it belongs."""
    import xarray as xr

    from .image.build import to_volume
    from .image.computed import ComputedArray

    if isinstance(patch, LazyArray):
        return patch
    if not isinstance(patch, xr.DataArray):
        return ComputedArray(patch if hasattr(patch, "dask") else np.asarray(patch))
    found = to_volume(patch)
    if found.grid is not None and volume.grid is not None:
        z, y, x = (slice(r.start, r.stop) for r in tiling.box(tiling.place(k)))
        try:
            volume.grid.crop(x=x, y=y, z=z).require_same_as(found.grid)
        except GeometryError as error:
            raise GeometryError(f"patch {k} lies elsewhere: {error}") from error
    return found.values


def _tiles_of(patches: Sequence[Any], like: xr.DataArray) -> Patches:
    """The patches of an image that lie where images lie, in their order."""
    import xarray as xr

    from .image.build import grid_of, to_volume

    if not all(isinstance(p, xr.DataArray) for p in patches) or not patches:
        raise TypeError(
            "where like= is an image, patches are images, which know where they lie; else give like=patches"
        )
    volume = to_volume(like, require_grid=True)
    whole = volume.grid
    assert whole is not None
    found = [grid_of(p) for p in patches]
    firsts = np.rint([whole.to_index(g.origin) for g in found]).astype(int)[:, ::-1]
    sizes = {g.shape[::-1] for g in found}
    z, y, x = (tuple(sorted(set(along.tolist()))) for along in firsts.T)
    tiling = Tiling(whole.shape[::-1], min(sizes), (z, y, x))
    wanted = [[r.start for r in tiling.box(tiling.place(k))] for k in range(len(tiling))]
    if len(sizes) > 1 or wanted != firsts.tolist() or not tiling.covers():
        raise GeometryError(
            f"{len(patches)} patches of {len(sizes)} sizes do not form a grid that covers the image, in the order of "
            "img.patches: x fastest, z slowest"
        )
    return Patches(like, volume, tiling)
