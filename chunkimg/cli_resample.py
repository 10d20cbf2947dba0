"""The command ``chunkimg resample``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .cli_output import output_options, write

if TYPE_CHECKING:
    from .volume import Volume

__all__ = ["resample"]


@click.command()
@click.argument("src")
@click.argument("dst")
@click.option("--like", metavar="REF", help="The image whose grid is wanted.")
@click.option("--spacing", type=float, nargs=3, metavar="X Y Z", help="Voxel size that is wanted, in SRC's unit.")
@click.option("--transform", metavar="FILE", help="Of ITK or ANTs: points of REF's world to those of SRC's.")
@click.option("--method", metavar="NAME", help="linear (default), nearest, cubic, or label (default for label maps).")
@click.option("--fill", type=float, default=0, show_default=True, help="Value of voxels outside SRC.")
@click.option("--antialias", is_flag=True, help="Smooth SRC first where voxels become larger.")
@output_options
def resample(
    src: str,
    dst: str,
    like: str | None,
    spacing: Any,
    transform: str | None,
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
      chunkimg resample moving.nii.gz moved.nii.gz --like fixed.nii.gz --transform 0GenericAffine.mat
    """  # noqa: D301
    from .io.format import ReadOptions
    from .io.registry import format_of
    from .resampling import grid_of, resample_volume, respaced, respaced_volume

    if (like is None) == (not spacing):
        raise click.UsageError("say where the voxels shall be: --like REF, or --spacing X Y Z")
    ref = None if like is None else grid_of(format_of(like).open(like, ReadOptions()))
    way: Any = None
    if transform is not None:
        from .transforms.read import read_transform

        way = read_transform(transform)
    value: complex = int(fill) if fill.is_integer() else fill

    def change(volume: Volume) -> Volume:
        if ref is None and way is None:
            return respaced_volume(volume, spacing, method, value, antialias)
        grid = ref or respaced(grid_of(volume), spacing)
        return resample_volume(volume, grid, method, way, value, antialias)

    write(src, dst, change, options)
