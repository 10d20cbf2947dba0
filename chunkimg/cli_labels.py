"""The command ``chunkimg labels``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from .cli_common import progress_bar, region_options

__all__ = ["labels"]


@click.command()
@click.argument("file")
@click.option("--intensity", metavar="IMG", help="Statistics of the values of IMG, on the same grid, as well.")
@click.option("--background", type=int, default=0, show_default=True, help="The label that is left out.")
@click.option("--all", "every", is_flag=True, help="Leave no label out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@region_options
@click.option("--level", type=int, default=0, help="Resolution level to read.")
@click.option("--memory", type=click.IntRange(16), default=256, show_default=True, metavar="MIB", help="Budget.")
def labels(
    file: str,
    intensity: str | None,
    background: int,
    every: bool,
    as_json: bool,
    level: int,
    memory: int,
    **slices: Any,
) -> None:
    """Show voxels, volume, centroid and bounding box of each label of FILE, or of a part of it, in bounded memory.

    Exact, in one pass. Centroids are in world coordinates (RAS+, image's unit); boxes are ranges of voxels along x, y
    and z. Images with frames or channels have a row per label in each. JSON has world boxes too.

    \b
      chunkimg labels atlas.nii.gz
      chunkimg labels cells.ome.zarr/labels/nuclei --intensity cells.ome.zarr --json
    """  # noqa: D301
    from .io.format import ReadOptions
    from .io.registry import format_of
    from .label_stats import label_stats

    picked = {d: s for d, s in slices.items() if s is not None}
    volume, other = (
        None if name is None else format_of(name).open(name, ReadOptions(level=level)) for name in (file, intensity)
    )
    assert volume is not None
    if other is not None:
        # what only one of them has is cut there
        other = other.crop(**{d: s for d, s in picked.items() if d in other.dims})
        picked = {d: s for d, s in picked.items() if d in volume.dims or d not in other.dims}
    volume = volume.crop(**picked)
    with progress_bar() as progress:
        found = label_stats(
            volume, other, background=None if every else background, budget=memory << 20, progress=progress
        )
    if as_json:
        click.echo(json.dumps(found.as_dict(), allow_nan=False))
        return
    for line in _lines(found):
        click.echo(line)
    for note in found.notes:
        click.echo(f"chunkimg: note: {note}", err=True)


def _lines(found: Any) -> Iterator[str]:
    """A table, its columns to the right."""
    columns = {name: column.tolist() for name, column in found.columns().items()}
    table = {name: [_number(v) for v in columns[name]] for name in _FIRST if name in columns}
    if "centroid" in columns:
        table |= {f"centroid {d}": [_number(v[k]) for v in columns["centroid"]] for k, d in enumerate("xyz")}
    box = zip(columns["box_start"], columns["box_stop"], strict=True)
    ranges = [[f"{a}:{b}" for a, b in zip(start, stop, strict=True)] for start, stop in box]
    table |= {d: [r[k] for r in ranges] for k, d in enumerate("xyz")}
    table |= {name: [_number(v) for v in columns[name]] for name in _LAST if name in columns}
    rows = [list(table), *(list(row) for row in zip(*table.values(), strict=True))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))


_FIRST = ("label", "name", "t", "c", "voxels", "volume_mm3")
_LAST = ("mean", "std", "min", "max", "sum", "nans")


def _number(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
