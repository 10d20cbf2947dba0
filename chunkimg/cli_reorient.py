"""The command ``chunkimg reorient``."""

from __future__ import annotations

from typing import Any

import click

from .cli_output import output_options, write

__all__ = ["reorient"]


@click.command()
@click.argument("src")
@click.argument("dst")
@click.option(
    "--to",
    "codes",
    required=True,
    metavar="CODES",
    help="Directions in which x, y, z are to increase, one letter of each pair R/L, A/P, S/I: RAS, LPS, PIR, …",
)
@output_options
def reorient(src: str, dst: str, codes: str, **options: Any) -> None:
    """Write SRC to DST with its axes permuted and reversed to run along directions of the body.

    Nothing is resampled, and every voxel stays where it is in the world; the axes of an oblique image run along the
    directions that are nearest. The suffix of DST chooses the format, as for convert.

    \b
      chunkimg reorient sagittal.nii.gz ras.nii.gz --to RAS
    """  # noqa: D301
    from .ops.orient import reoriented

    write(src, dst, lambda volume: reoriented(volume, codes), options)
