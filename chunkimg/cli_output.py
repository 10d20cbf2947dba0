"""Commands that write an image: their options, and what they do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .cli_common import progress_bar

if TYPE_CHECKING:
    from .volume import Volume

__all__ = ["output_options", "write"]


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of how an image is read and written; `write` takes them."""
    options = [
        click.option("--overwrite", is_flag=True, help="Replace DST if it exists, once the new one is complete."),
        click.option("--pyramid", is_flag=True, help="Zarr: add coarser resolution levels."),
        click.option("--downsample", type=click.Choice(["mean", "mode"]), help="Pyramid: mean, or mode for labels."),
        click.option("--chunks", metavar="SIZES", help="Zarr: 128, or 64,128,128 (z,y,x), or z=64,y=128,x=128."),
        click.option(
            "--codec",
            metavar="NAME",
            help="Zarr: fast, balanced (default) or small; or blosc-zstd, blosc-lz4, zstd, gzip (e.g. zstd:5), none.",
        ),
        click.option("--resume", is_flag=True, help="Zarr: go on where the same command was cut off."),
        click.option("--plan", "plan_only", is_flag=True, help="Zarr: print what would be written, and write nothing."),
        click.option("--ome-version", type=click.Choice(["0.4", "0.5"]), help="Zarr: version of OME-Zarr to write."),
        click.option("--nifti-version", "version", type=click.IntRange(1, 2), help="NIfTI: version to write."),
        click.option(
            "--gzip-level",
            type=click.IntRange(0, 9),
            help="NIfTI .gz, NRRD gzip: 0 to 3 (default, fast), 4 to 9 (small).",
        ),
        click.option(
            "--no-gzip-table",
            is_flag=True,
            help="NIfTI .gz, NRRD gzip: no table behind the voxels; for viewers in browsers.",
        ),
        click.option(
            "--encoding",
            type=click.Choice(["raw", "gzip", "bzip2", "ascii", "hex"]),
            help="NRRD: how voxels are stored; as in the source, else raw, by default.",
        ),
        click.option("--no-index", is_flag=True, help="Gzip: make no index of SRC on the way, and use none."),
        click.option("--allow-outside", is_flag=True, help="NRRD: follow data files outside the header's folder."),
        click.option(
            "--memory", type=click.IntRange(16), default=256, show_default=True, metavar="MIB", help="Budget."
        ),
        click.option("--level", "source_level", type=int, default=0, help="Resolution level of SRC to read."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def write(src: str, dst: str, change: Callable[[Volume], Volume], options: dict[str, Any]) -> None:
    """Write what `change` makes of an image to DST; `options` are those of `output_options`."""
    from .api import plan_volume, write_volume
    from .io.format import ReadOptions
    from .io.registry import format_of

    level = options.pop("source_level")
    options["budget"] = options.pop("memory") << 20
    wanted = False if options.pop("no_index") else "auto"
    outside = options.pop("allow_outside")
    no_table = options.pop("no_gzip_table")
    volume = format_of(src).open(src, ReadOptions(level=level, index=wanted, allow_outside=outside))
    volume = change(volume)
    plan_only = options.pop("plan_only")
    given = {k: v for k, v in options.items() if v is not None and v is not False}
    if no_table:
        given["gzip_table"] = False
    if plan_only:
        click.echo(plan_volume(volume, dst, **given))
        return
    with progress_bar() as progress:
        write_volume(volume, dst, progress=progress, **given)
