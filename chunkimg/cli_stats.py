"""The command ``chunkimg stats``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click

from .cli_common import progress_bar, region_options

__all__ = ["stats"]


def _percentiles(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{value!r} are no percentiles; write numbers from 0 to 100 as in 1,50,99") from None


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--labels", is_flag=True, help="Count the voxels of each label instead.")
@click.option("--percentiles", callback=_percentiles, metavar="P,…", help="From 0 to 100; 1,25,50,75,99 by default.")
@click.option("--bins", type=click.IntRange(1), metavar="N", help="A histogram of so many bins as well.")
@click.option(
    "--range", "extent", type=float, nargs=2, metavar="LO HI", help="Of the histogram; all values by default."
)
@click.option("--stored", is_flag=True, help="Of stored values, not image values (scaled).")
@region_options
@click.option("--level", type=int, default=0, help="Resolution level to read.")
@click.option("--memory", type=click.IntRange(16), default=256, show_default=True, metavar="MIB", help="Budget.")
def stats(
    file: str,
    as_json: bool,
    labels: bool,
    percentiles: tuple[float, ...] | None,
    bins: int | None,
    extent: Any,
    stored: bool,
    level: int,
    memory: int,
    **slices: Any,
) -> None:
    """Show statistics of the voxels of FILE, or of a part of it, in bounded memory.

    Exact, percentiles too. Voxels of at most 16 bits are read once, wider ones once more for percentiles (64 bits: most
    often once or twice). NaN is counted and left out.

    \b
      chunkimg stats ct.nii.gz
      chunkimg stats ct.ome.zarr --z 100:200 --percentiles 0.5,99.5 --json
      chunkimg stats atlas.nrrd --labels
    """  # noqa: D301
    from . import statistics
    from .io.format import ReadOptions
    from .io.registry import format_of

    if labels and (bins is not None or percentiles is not None):
        raise click.UsageError("--labels counts labels alone; leave --bins and --percentiles out")
    if extent is not None and bins is None:
        raise click.UsageError("--range is that of a histogram: give --bins as well")
    volume = format_of(file).open(file, ReadOptions(level=level))
    volume = volume.crop(**{d: s for d, s in slices.items() if s is not None})
    volume = replace(volume, scaling=None) if stored else volume
    with progress_bar() as progress:
        if labels:
            found: Any = statistics.count_labels(volume, budget=memory << 20, progress=progress)
        else:
            found = statistics.stats(
                volume, percentiles, bins=bins, range=extent, budget=memory << 20, progress=progress
            )
    if as_json:
        click.echo(json.dumps(_as_json(found, labels), allow_nan=False))
    else:
        _print(_label_rows(found) if labels else _rows(found))


def _as_json(found: Any, labels: bool) -> Any:
    from .geometry.attrs import strict_json

    if labels:
        return {"labels": {str(label): count for label, count in found.as_dict().items()}}
    return strict_json(found.as_dict())


def _label_rows(found: Any) -> list[tuple[str, str]]:
    return [("label", "voxels"), *((str(label), str(count)) for label, count in found.as_dict().items())]


def _rows(found: Any) -> list[tuple[str, str]]:
    rows = [("values", str(found.count))]
    if found.nans:
        rows.append(("NaN", str(found.nans)))
    rows += [(name, _number(getattr(found, name))) for name in ("min", "max", "mean", "std", "sum")]
    rows += [(f"{q:g} %", _number(value)) for q, value in found.percentiles.items()]
    if found.histogram is not None:
        counts, edges = (part.tolist() for part in found.histogram)
        rows += [(f"from {_number(edge)}", str(count)) for edge, count in zip(edges, counts, strict=False)]
        rows.append((f"to {_number(edges[-1])}", ""))
    return rows


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"


def _print(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}".rstrip())
