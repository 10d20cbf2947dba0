"""The command ``chunkimg resample``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .cli_output import output_options, write

if TYPE_CHECKING:
    from .geometry import Grid
    from .volume import Volume

__all__ = ["resample"]


@click.command()
@click.argument("src")
@click.argument("dst")
@click.option("--like", metavar="REF", help="The image whose grid is wanted.")
@click.option("--spacing", type=float, nargs=3, metavar="X Y Z", help="Voxel size that is wanted, in SRC's unit.")
@click.option(
    "--transform",
    "transforms",
    metavar="FILE",
    multiple=True,
    help="Of ITK, ANTs, FLIRT or AFNI: points of REF's world to those of SRC's. Of several the last is applied first.",
)
@click.option(
    "--transform-format",
    type=click.Choice(["itk", "fsl", "afni", "field"]),
    help="What FILE is, where name and content do not tell.",
)
@click.option("--vectors", type=click.Choice(["LPS", "RAS"]), help="Frame of a displacement field that tells none.")
@click.option("--row", type=int, help="AFNI: which of several matrices.")
@click.option("--method", metavar="NAME", help="linear (default), nearest, cubic, or label (default for label maps).")
@click.option("--fill", type=float, default=0, show_default=True, help="Value of voxels outside SRC.")
@click.option("--antialias", is_flag=True, help="Smooth SRC first where voxels become larger.")
@output_options
def resample(
    src: str,
    dst: str,
    like: str | None,
    spacing: Any,
    transforms: tuple[str, ...],
    transform_format: str | None,
    vectors: str | None,
    row: int | None,
    method: str | None,
    fill: float,
    antialias: bool,
    **options: Any,
) -> None:
    """Write SRC to DST on the grid of another image, or with another spacing, in bounded memory.

    Values keep their type, integers are rounded. The suffix of DST chooses the format, as for convert. Sources that are
    read front to back (gzip) are put into a temporary file first.

    \b
      chunkimg resample pet.nii.gz on-ct.ome.zarr --like ct.nii.gz
      chunkimg resample ct.ome.zarr iso.nii.gz --spacing 1 1 1 --antialias
      chunkimg resample moving.nii.gz moved.nii.gz --like fixed.nii.gz --transform 1Warp.nii.gz --transform 0Affine.mat
      chunkimg resample in.nii.gz out.nii.gz --like ref.nii.gz --transform omat.mat

    Matrices of FLIRT and AFNI count voxels of the images that these were given: SRC and REF, as they lie in their
    files.
    """  # noqa: D301
    from .io.format import ReadOptions
    from .io.registry import format_of
    from .resampling import grid_of, resample_volume, respaced, respaced_volume

    if (like is None) == (not spacing):
        raise click.UsageError("say where the voxels shall be: --like REF, or --spacing X Y Z")
    ref = None if like is None else grid_of(format_of(like).open(like, ReadOptions()))
    ways = _Ways(transform_format, vectors, row, ref, src, options["allow_outside"])
    way = ways.read(transforms)
    value: complex = int(fill) if fill.is_integer() else fill

    def change(volume: Volume) -> Volume:
        if ref is None and way is None:
            return respaced_volume(volume, spacing, method, value, antialias)
        grid = ref or respaced(grid_of(volume), spacing)
        return resample_volume(volume, grid, method, way, value, antialias)

    write(src, dst, change, options)


@dataclass(frozen=True)
class _Ways:
    """How transforms are read."""

    format: str | None
    vectors: str | None
    row: int | None
    ref: Grid | None
    src: str
    outside: bool

    def read(self, names: Sequence[str]) -> Any:
        """All of them as one; None if there are none."""
        from .transforms.read import kind_of
        from .transforms.types import Composite

        if not names:
            if self.format or self.vectors or self.row is not None:
                raise click.UsageError("--transform-format, --vectors and --row say how --transform FILE is read")
            return None
        kinds = [kind_of(name, self.format) for name in names]
        found = [self._one(name, kind, len(names)) for name, kind in zip(names, kinds, strict=True)]
        return found[0] if len(found) == 1 else Composite(found)

    def _one(self, name: str, kind: str, count: int) -> Any:
        from .io.format import ReadOptions
        from .io.registry import format_of
        from .transforms.read import read_transform

        if kind not in ("fsl", "afni"):
            return read_transform(name, format=kind, vectors=self.vectors)
        program = {"fsl": "FLIRT", "afni": "AFNI"}[kind]
        if self.ref is None:
            raise click.UsageError(f"{name} counts voxels of the images that {program} was given: --like its reference")
        if count > 1:
            raise click.UsageError(
                f"{name} counts voxels of the images that {program} was given, and of several transforms not all are "
                "between SRC and REF; compose them in Python: chunkimg.read_transform(..., reference=, moving=) and "
                "chunkimg.Composite"
            )
        moving = format_of(self.src).open(self.src, ReadOptions(allow_outside=self.outside))
        return read_transform(name, format=kind, reference=self.ref, moving=moving, row=self.row)
