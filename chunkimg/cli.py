"""The command line: ``chunkimg`` and ``python -m chunkimg``. Exit code 0, 1 for an error, 2 for wrong usage."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import click

from . import __version__
from .cli_common import keep_memory, numbers, region_options, report
from .cli_output import output_options, write
from .errors import ChunkImgError, ChunkImgWarning

if TYPE_CHECKING:
    from .volume import Volume

__all__ = ["main"]


class _Group(click.Group):
    """A group some of whose commands are imported when they are asked for."""

    #: command -> module that defines it
    elsewhere: ClassVar = {
        "diff": "cli_check",
        "labels": "cli_labels",
        "reorient": "cli_reorient",
        "resample": "cli_resample",
        "stats": "cli_stats",
        "validate": "cli_check",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.elsewhere:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(f".{self.elsewhere[cmd_name]}", __package__), cmd_name)
        return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chunkimg")
def cli() -> None:
    """Medical and biological volumes larger than memory: NIfTI, NRRD and OME-Zarr, geometry kept exact."""


@cli.command()
@click.argument("src")
@click.argument("dst")
@region_options
@output_options
def convert(src: str, dst: str, **options: Any) -> None:
    """Convert SRC to DST, or a part of it, in bounded memory.

    The suffix of DST chooses the format: .nii, .hdr or .img (a pair), each also with .gz behind; .nrrd, .nhdr; .zarr,
    .zarr.zip or .ozx. Stored values, intensity scaling and headers are kept; NIfTI to Zarr and back gives the same
    bytes. NRRD has no intensity scaling: scaled values are written.

    \b
      chunkimg convert ct.nii.gz ct.ome.zarr --pyramid
      chunkimg convert ct.ome.zarr slab.nii.gz --z 100:120
    """  # noqa: D301
    region = {d: options.pop(d) for d in "xyztc"}
    write(src, dst, lambda volume: volume.crop(**{d: s for d, s in region.items() if s is not None}), options)


@cli.command()
@click.argument("src")
@click.argument("dst")
@click.option("--lo", type=float, nargs=3, metavar="X Y Z", help="Lower corner of a world box (RAS+, image's unit).")
@click.option("--hi", type=float, nargs=3, metavar="X Y Z", help="Upper corner of the world box.")
@region_options
@output_options
def crop(src: str, dst: str, lo: Any, hi: Any, **options: Any) -> None:
    """Write the part of SRC that covers a box in world coordinates, and/or a range of voxels or frames.

    \b
      chunkimg crop ct.nii.gz heart.nii.gz --lo -40 -30 0 --hi 40 30 80
    """  # noqa: D301
    region = {d: s for d in "xyztc" if (s := options.pop(d)) is not None}
    if (lo is None) != (hi is None):
        raise click.UsageError("a world box needs both --lo and --hi")
    if lo is None and not region:
        raise click.UsageError("say what to keep: --lo and --hi, or --x, --y, --z, --t, --c")
    write(src, dst, lambda volume: _cropped(volume, None if lo is None else (lo, hi), region), options)


def _cropped(volume: Volume, box: Any, region: dict[str, slice]) -> Volume:
    if box is not None:
        if volume.grid is None:
            raise ChunkImgError(f"{volume.source}: its voxels have no position, so a world box means nothing")
        x, y, z = volume.grid.box(*box)
        volume = volume.crop(x=x, y=y, z=z)
    return volume.crop(**region)


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file, on a line of its own.")
@click.option("--header", is_flag=True, help="Show the format's own header fields too.")
def info(files: tuple[str, ...], as_json: bool, header: bool) -> None:
    """Show what images are and where they lie; reads headers only."""
    from .io.format import ReadOptions
    from .io.registry import format_of

    failed = False
    for at, name in enumerate(files):
        try:
            found = format_of(name).read_header(name, ReadOptions())
        except (ChunkImgError, OSError) as error:
            report(error)
            failed = True
            continue
        if as_json:
            import json

            click.echo(json.dumps(_as_json(found), allow_nan=False))
            continue
        if at:
            click.echo()
        _print_header(found, header)
    if failed:
        sys.exit(1)


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--output", metavar="PATH", help="File of the index, or a folder; beside each file by default.")
@click.option("--cache", is_flag=True, help="Keep it in the cache folder of the user instead.")
@click.option("--force", is_flag=True, help="Make it anew even if there is one that fits.")
def index(files: tuple[str, ...], output: str | None, cache: bool, force: bool) -> None:
    """Make indexes that give random access to images in gzip, ahead of their first use."""
    from .cli_index import index_files

    if cache and output is not None:
        raise click.UsageError("give --output or --cache, not both")
    index_files(files, "cache" if cache else output, force)


def _as_json(header: Any) -> dict[str, Any]:
    from .geometry.attrs import strict_json

    grid = header.grid
    out: dict[str, Any] = {
        "source": header.source,
        "format": header.format,
        "sizes": header.sizes,
        "dtype": header.dtype,
        "access": header.access,
        "scaling": None if header.scaling is None else dict(zip(("slope", "inter"), header.scaling, strict=True)),
        "geometry": None,
        "times": header.times,
        "time_units": header.time_units,
        "properties": header.properties,
        "header": header.fields,
    }
    if grid is not None:
        out["geometry"] = {
            "affine": grid.affine,
            "spacing": grid.spacing,
            "origin": grid.origin,
            "direction": grid.direction,
            "orientation": grid.orientation,
            "space": grid.space,
            "units": grid.units,
            "bounds": grid.bounds,
        }
    result: dict[str, Any] = strict_json(out)
    return result


def _print_header(header: Any, fields: bool) -> None:
    sizes = " × ".join(f"{d} {n}" for d, n in header.sizes.items())
    rows = [("source", header.source), ("image", f"{header.format}: {sizes}, {header.dtype}")]
    grid = header.grid
    if grid is None:
        rows.append(("geometry", "none that can be used"))
    else:
        unit = "" if grid.units == "unknown" else f" {grid.units}"
        world = "" if grid.space == "unknown" else f", {grid.space}+"
        rows += [
            ("spacing", f"{numbers(grid.spacing)}{unit} (x, y, z)"),
            ("orientation", grid.orientation or "unknown: the source does not say where the patient is"),
            ("bounds", f"{numbers(grid.bounds[0])} to {numbers(grid.bounds[1])}{unit}{world}"),
            *(("affine" if k == 0 else "", numbers(row)) for k, row in enumerate(grid.affine[:3])),
        ]
    if header.times is not None:
        unit = " s" if header.time_units == "s" else ""
        rows.append(("time", f"frames: {len(header.times)}, from {header.times[0]:g} to {header.times[-1]:g}{unit}"))
    rows.append(("access", f"{header.access}: {header.access.cost}"))
    if header.scaling is not None:
        rows.append(("scaling", f"value = {header.scaling[0]:g} · stored + {header.scaling[1]:g}"))
    if header.fields.get("labels"):
        rows.append(("labels", ", ".join(f"labels/{name}" for name in header.fields["labels"])))
    rows += [(key, str(value)) for key, value in header.properties.items()]
    if fields:
        rows += [(f"header {key}", str(value)) for key, value in header.fields.items()]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, ChunkImgWarning):
        click.echo(f"chunkimg: warning: {message}", err=True)


def _stop_when_told() -> None:
    """Take SIGTERM, as schedulers send it, for Ctrl-C: what is half-written and temporary is removed. Once."""
    import signal

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def main() -> None:
    """Run the command line."""
    keep_memory()
    _stop_when_told()
    warnings.simplefilter("default", ChunkImgWarning)
    warnings.showwarning = _show_warning
    try:
        cli.main(prog_name="chunkimg", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2 if isinstance(error, click.UsageError) else 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("chunkimg: interrupted; nothing was written", err=True)
        sys.exit(1)
    except Exception as error:
        report(error)
        sys.exit(1)
    sys.exit(0)
