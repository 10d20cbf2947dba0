"""Deterministic test images of any size, written slab by slab, and the files that workloads read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .measure import run

#: part of the names of kept files; another one when a generator changes
VERSION = 2


def affine() -> np.ndarray:
    """An oblique affine with three different spacings."""
    a, b = np.radians(12), np.radians(-7)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = (tilt @ turn) * (-0.7, -0.7, 1.25)
    out[:3, 3] = 180.5, 171.25, -640.0
    return out


def to_index() -> np.ndarray:
    """World to voxels x, y, z of the images: by the affine that their headers hold, in float32."""
    return np.linalg.inv(affine().astype("f4").astype("f8"))


def turned(depth: int) -> tuple[tuple[int, ...], np.ndarray]:
    """A grid of 1 mm around the middle of an image of so many planes, turned by 20 degrees: sizes x, y, z; affine.

    Turned about the long axis of the image, and tilted by as much as leaves most of it inside, at any depth.
    """
    angle, tilt = np.radians(20), np.radians(20) * min(1, 256 / depth)
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    image = affine()
    spacing = np.linalg.norm(image[:3, :3], axis=0)
    shape = np.rint(spacing * (512, 512, depth)).astype(int)
    out = np.eye(4)
    out[:3, :3] = (image[:3, :3] / spacing) @ about_z @ about_x
    middle = image[:3, :3] @ ((np.array((512, 512, depth)) - 1) / 2) + image[:3, 3]
    out[:3, 3] = middle - out[:3, :3] @ ((shape - 1) / 2)
    return tuple(shape.tolist()), out


def coarse(depth: int, spacing: float) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """The grid of the same place with another spacing: sizes, and where voxel 0 lies and how far the next, in voxels.

    All x, y, z: the middle stays, sizes are rounded.
    """
    shape = np.array((512, 512, depth))
    step = spacing / np.linalg.norm(affine()[:3, :3], axis=0)
    sizes = np.floor(shape / step + 0.5).astype(int)
    return tuple(sizes.tolist()), (shape - 1 - step * (sizes - 1)) / 2, step


def write_points(path: Path, depth: int, count: int = 1_000_000) -> None:
    """World points all over an image of so many planes, in no order: NumPy's format, shape (count, 3)."""
    index = np.random.default_rng(7).uniform(0, np.array((512, 512, depth)) - 1, (count, 3))
    world = np.linalg.inv(to_index())
    with path.open("wb") as f:
        np.save(f, index @ world[:3, :3].T + world[:3, 3])


def write_nifti(path: Path, mib: int, seed: int = 20) -> None:
    """A CT-like int16 ``.nii`` of 512 × 512 × n voxels, `mib` MiB: smooth anatomy and noise."""
    rng = np.random.default_rng(seed)

    def plane(z: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        body = np.hypot(x * (1.1 + 0.1 * np.sin(z / 90)), y * 1.4) < 0.9
        tissue = 40 + 60 * np.sin(6 * x + z / 40) * np.cos(5 * y - z / 70)
        # never the same twice: a codec with a large window would find the repetition
        noise = rng.standard_normal((512, 512), np.float32)
        return np.where(body, tissue + 20 * noise, -1000 + 5 * noise)

    _write_planes(path, mib, plane)


def write_labels(path: Path, mib: int) -> None:
    """A segmentation, int16, of some hundred regions with smooth borders, and background."""

    def plane(z: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        body = np.hypot(x * (1.1 + 0.1 * np.sin(z / 90)), y * 1.4) < 0.9
        row = (y + 1 + 0.1 * np.sin(9 * x + z / 31)) * 5
        column = (x + 1 + 0.1 * np.cos(7 * y - z / 23)) * 5
        region = 1 + np.floor(row) * 12 + np.floor(column) + 144 * (z // 96 % 4)
        return np.where(body, region, 0)

    _write_planes(path, mib, plane)


def write_cells(path: Path, mib: int, grid: tuple[int, int, int]) -> None:
    """Cells with curved walls of background between them, int32: so many along z (of 512 planes), y and x."""

    def plane(z: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        depth = z * grid[0] / 512 + 0.15 * np.sin(5 * x) * np.cos(4 * y)
        row = (y + 1) * grid[1] / 2 + 0.3 * np.sin(7 * x + z / 31)
        column = (x + 1) * grid[2] / 2 + 0.3 * np.cos(5 * y - z / 23)
        at = [np.floor(v) for v in (depth, row, column)]
        wall = np.min([v - f for v, f in zip((row, column), at[1:], strict=True)], axis=0) < 0.08
        return np.where(wall, 0, 1 + ((at[0] + 1) * (grid[1] + 2) + at[1] + 1) * (grid[2] + 2) + at[2] + 1)

    _write_planes(path, mib, plane, np.int32)


def _write_planes(
    path: Path, mib: int, plane: Callable[[int, np.ndarray, np.ndarray], np.ndarray], dtype: type = np.int16
) -> None:
    import nibabel as nib

    depth = mib * 2
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, depth))
    header.set_data_dtype(dtype)
    header.set_sform(affine(), 1)
    header.set_qform(affine(), 1)
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    with path.open("wb") as f:
        f.write(header.binaryblock + b"\0\0\0\0")
        for z in range(depth):
            f.write(plane(z, y, x).astype(dtype).tobytes())


def voxels(nifti: Path | str, dtype: str = "<i2") -> np.ndarray:
    """Those of an image written here, z, y, x, mapped."""
    depth = (os.path.getsize(nifti) - 352) // (512 * 512 * np.dtype(dtype).itemsize)
    return np.memmap(nifti, dtype, "r", 352, (depth, 512, 512))


def _write_many(path: Path, grid: tuple[int, int, int], edge: int = 16, *, filled: bool = True) -> None:
    """A plain xarray store of many tiny chunks, uint8, written chunk by chunk; its sum stands in its attributes."""
    from numcodecs import Zstd

    encode = Zstd(level=1).encode
    rng = np.random.default_rng(5)
    field = rng.integers(0, 8, (edge, edge, edge), "u1")
    image = path / "image"
    total = 0
    for z in range(grid[0] if filled else 0):
        for y in range(grid[1]):
            (image / "c" / str(z) / str(y)).mkdir(parents=True)
            for x in range(grid[2]):
                chunk = field + np.uint8((z + 3 * y + 5 * x) % 200)
                total += int(chunk.sum())
                (image / "c" / str(z) / str(y) / str(x)).write_bytes(encode(chunk.tobytes()))
    meta = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n * edge for n in grid],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [edge] * 3}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "attributes": {"sum": total},
        "dimension_names": ["z", "y", "x"],
    }
    image.mkdir(parents=True, exist_ok=True)
    (image / "zarr.json").write_text(json.dumps(meta))
    inner = {"kind": "inline", "must_understand": False, "metadata": {"image": meta}}
    root = {"zarr_format": 3, "node_type": "group", "attributes": {}, "consolidated_metadata": inner}
    (path / "zarr.json").write_text(json.dumps(root))


def grid_of(count: float) -> tuple[int, int, int]:
    """Chunks along z, y, x: about `count` of them; exactly for powers of ten from 10⁴ on."""
    side = max(2, round(count ** (1 / 3)))
    side = round(side, -1) if side >= 20 else side
    return max(1, round(count / side**2)), side, side


class Data:
    """The files that workloads name, made when they are first asked for.

    What only the generators determine is kept in `folder`; what chunkimg writes lies in `scratch` and is made anew in
    each session.

    Parameters
    ----------
    folder, scratch : Path
    mib : int
        Size of each image; numbers of chunks go with it, nominal at 512.
    """

    def __init__(self, folder: Path, scratch: Path, mib: int) -> None:
        self.folder, self.scratch, self.mib = folder, scratch, mib
        self._paths: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._paths:
            self._paths[name] = str(getattr(self, f"_{name}")())
        return self._paths[name]

    @property
    def depth(self) -> int:
        """Planes of each image."""
        return self.mib * 2

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """64³ voxels in z, y, x that begin on no chunk border."""
        z = max(0, min(self.depth // 2 + 13, self.depth - 64))
        return slice(z, min(z + 64, self.depth)), slice(201, 265), slice(101, 165)

    def chunks(self, nominal: float) -> int:
        """A number of chunks that goes with the size."""
        return int(np.prod(grid_of(nominal * self.mib / 512)))

    def _region(self) -> str:
        return ",".join(f"{s.start}:{s.stop}" for s in self.box)

    def _z(self) -> str:
        return f"{self.box[0].start}:{self.box[0].stop}"

    def _y(self) -> str:
        return f"{self.box[1].start}:{self.box[1].stop}"

    def _x(self) -> str:
        return f"{self.box[2].start}:{self.box[2].stop}"

    def _kept(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.folder / f"v{VERSION}-{self.mib}-{name}"
        if not path.exists():
            print(f"making {path.name} ...", file=sys.stderr, flush=True)
            partial = path.with_name(path.name + ".partial")
            if partial.is_dir():
                shutil.rmtree(partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            make(partial)
            partial.rename(path)
        return path

    def _ct(self) -> Path:
        return self._kept("ct.nii", lambda path: write_nifti(path, self.mib))

    def _b(self) -> Path:
        return self._kept("b.nii", lambda path: write_nifti(path, self.mib, seed=21))

    def _labels(self) -> Path:
        return self._kept("labels.nii", lambda path: write_labels(path, self.mib))

    def _cells500(self) -> Path:
        return self._kept("cells500.nii", lambda path: write_cells(path, self.mib, (8, 8, 8)))

    def _cells100k(self) -> Path:
        return self._kept("cells100k.nii", lambda path: write_cells(path, self.mib, (46, 46, 46)))

    def _ct_gz(self) -> Path:
        # not the name of ct.nii with .gz: SimpleITK would read that one instead
        def make(path: Path) -> None:
            with open(self["ct"], "rb") as raw, gzip.GzipFile(path, "wb", 6, mtime=0) as out:
                shutil.copyfileobj(raw, out, 1 << 22)

        return self._kept("ct6.nii.gz", make)

    def _turned(self) -> Path:
        """An image of the turned grid; of its voxels, a hole, nothing is read."""

        def make(path: Path) -> None:
            import nibabel as nib

            shape, matrix = turned(self.depth)
            header = nib.Nifti1Header()
            header.set_data_shape(shape)
            header.set_data_dtype(np.uint8)
            header.set_sform(matrix, 1)
            header.set_xyzt_units("mm", "sec")
            header["vox_offset"] = 352
            with path.open("wb") as f:
                f.write(header.binaryblock)
                f.truncate(352 + int(np.prod(shape)))

        return self._kept("turned.nii", make)

    def _points(self) -> Path:
        return self._kept("points.npy", lambda path: write_points(path, self.depth))

    def _many4(self) -> Path:
        return self._kept("many4.zarr", lambda path: _write_many(path, grid_of(1e4 * self.mib / 512)))

    def _many5(self) -> Path:
        return self._kept("many5.zarr", lambda path: _write_many(path, grid_of(1e5 * self.mib / 512)))

    def _many6(self) -> Path:
        grid = grid_of(1e6 * self.mib / 512)
        return self._kept("many6.zarr", lambda path: _write_many(path, grid, filled=False))

    def _made(self, name: str, *command: str) -> Path:
        path = self.scratch / "made" / name
        path.parent.mkdir(exist_ok=True)
        run([sys.executable, "-m", "chunkimg", *command[:2], str(path), *command[2:]])
        return path

    def _ct_zarr(self) -> Path:
        return self._made("ct.ome.zarr", "convert", self["ct"])

    def _ct_zarr64(self) -> Path:
        return self._made("ct64.ome.zarr", "convert", self["ct"], "--chunks", "64")

    def _b_zarr(self) -> Path:
        return self._made("b.ome.zarr", "convert", self["b"])

    def _labels_zarr(self) -> Path:
        return self._made("labels.ome.zarr", "convert", self["labels"])

    def _cells500_zarr(self) -> Path:
        return self._made("cells500.ome.zarr", "convert", self["cells500"])

    def _cells100k_zarr(self) -> Path:
        return self._made("cells100k.ome.zarr", "convert", self["cells100k"])

    def _ct_nrrd(self) -> Path:
        return self._made("ct.nrrd", "convert", self["ct"])

    def _tiny_gz(self) -> Path:
        return self._made("tiny.nii.gz", "convert", self["ct"], "--z", "0:2", "--y", "0:16", "--x", "0:16")

    def _own_gz(self) -> Path:
        return self._made("own.nii.gz", "convert", self["ct"])

    def _indexed_gz(self) -> Path:
        path = self.scratch / "made" / "indexed.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(self["ct_gz"])
        run([sys.executable, "-m", "chunkimg", "index", str(path)])
        return path
