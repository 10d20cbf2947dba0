"""The commands that compare and check: ``diff`` and ``validate``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .cli_common import numbers, progress_bar, report

__all__ = ["diff", "validate"]

_IGNORABLE = ("geometry", "dims", "type", "scaling", "times", "channels", "properties", "voxels")


def _levels(_: click.Context, __: click.Parameter, value: str) -> tuple[int, int]:
    try:
        found = [int(part) for part in value.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 2):
        raise click.BadParameter(f"{value!r} is no level; write one number for both images, or two as in 0,1")
    return found[0], found[-1]


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--tol", type=click.FloatRange(0), default=1e-3, show_default=True, help="Displacement allowed, voxels.")
@click.option("--atol", type=click.FloatRange(0), default=0.0, help="Voxels this close to each other count as equal.")
@click.option("--rtol", type=click.FloatRange(0), default=0.0, help="The same, times the value in B.")
@click.option("--stored", is_flag=True, help="Compare stored values, not image values (scaled).")
@click.option("--align", is_flag=True, help="Flip and permute the axes of B to those of A first.")
@click.option("--ignore", multiple=True, type=click.Choice(_IGNORABLE), help="Leave a part out; may be repeated.")
@click.option("--quick", is_flag=True, help="Do not compare voxels; reads headers only.")
@click.option("--level", callback=_levels, default="0", metavar="N[,N]", help="Resolution level of both, or of each.")
@click.option("--memory", type=click.IntRange(16), default=256, show_default=True, metavar="MIB", help="Budget.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def diff(a: str, b: str, as_json: bool, quick: bool, memory: int, ignore: tuple[str, ...], **options: Any) -> None:
    """Compare two images: geometry, structure, properties and voxels, in bounded memory.

    Exit code as of diff(1): 0 equal, 1 different, 2 where they could not be compared (or wrong usage). Lines that
    start with "note" tell of differences that do not count: how the same image is stored. A .nii.gz with voxels in
    another order than the other image is first put into a temporary file of the size of its voxels (see TMPDIR).

    \b
      chunkimg diff ct.nii.gz ct.ome.zarr
      chunkimg diff a.nii.gz b.nii.gz --atol 0.01 --ignore properties
      chunkimg diff ras.nii lpi.nii --align
    """  # noqa: D301
    from .compare import diff as compare

    parts = {*ignore, "voxels"} if quick else set(ignore)
    try:
        with progress_bar() as progress:
            found = compare(a, b, ignore=parts, budget=memory << 20, progress=progress, **options)
    except KeyboardInterrupt:
        click.echo("chunkimg: interrupted", err=True)
        sys.exit(2)
    except Exception as error:
        # 1 would say that they differ
        report(error)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(found.as_dict(), allow_nan=False))
    else:
        _print_difference(found, parts)
    sys.exit(0 if found.equal else 1)


def _print_difference(found: Any, ignored: set[str]) -> None:
    rows = [("A", found.sources[0]), ("B", found.sources[1])]
    rows += _geometry_rows(found, ignored)
    rows += list(found.structure.items())
    properties = found.properties
    rows += [("property", f"{k}: {v[0]!r} against {v[1]!r}") for k, v in properties.changed.items()]
    rows += [("property", f"{k}: {v!r} only in A") for k, v in properties.removed.items()]
    rows += [("property", f"{k}: {v!r} only in B") for k, v in properties.added.items()]
    if found.voxels is not None:
        rows += _voxel_rows(found.voxels)
    rows += [("note", text) for text in found.notes]
    rows.append(("result", "equal" if found.equal else "different"))
    width = max(len(name) for name, _ in rows)
    last = ""
    for name, text in rows:
        click.echo(f"{'' if name == last else name:<{width}}  {text}")
        last = name


def _geometry_rows(found: Any, ignored: set[str]) -> list[tuple[str, str]]:
    if found.geometry or "geometry" in ignored:
        return [("geometry", text) for text in found.geometry]
    apart = found.displacement
    if apart is None:
        return [("geometry", "none that can be used, in both")]
    unit = "" if apart.units[0] == "unknown" else f" {apart.units[0]}"
    return [("geometry", f"same: corners are at most {apart.voxels:.3g} voxels ({apart.length:.3g}{unit}) apart")]


def _voxel_rows(voxels: Any) -> list[tuple[str, str]]:
    if not voxels.differing and not voxels.worst:
        return [("voxels", f"all {voxels.count} are equal")]
    rows = [f"{voxels.differing} of {voxels.count} differ ({voxels.fraction:.3%})"]
    if voxels.one_nan:
        rows.append(f"{voxels.one_nan} are NaN in one only")
    at = ", ".join(f"{d} {k}" for d, k in (voxels.index or {}).items())
    world = "" if voxels.world is None else f", world {numbers(voxels.world)}"
    if voxels.worst is None:
        rows.append(f"first at {at}{world}")
    else:
        a, b = voxels.values
        rows.append(f"worst {_number(voxels.worst)} at {at}{world}: {_number(a)} against {_number(b)}")
        rows.append(f"mean |a - b| {voxels.mean:.6g}, RMS {voxels.rms:.6g}")
    return [("voxels", text) for text in rows]


def _number(value: Any) -> str:
    return str(value) if isinstance(value, (int, complex)) else f"{value:.9g}"


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--quick", is_flag=True, help="Decode no voxel: headers, metadata and sizes only.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--format", "format_", metavar="NAME", help="Format, where the name does not tell.")
@click.option("--memory", type=click.IntRange(16), default=256, show_default=True, metavar="MIB", help="Budget.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per path, on a line of its own.")
def validate(
    paths: tuple[str, ...], quick: bool, strict: bool, format_: str | None, memory: int, as_json: bool
) -> None:
    """Check files and stores: headers, sizes, metadata, geometry, and that every chunk decodes.

    Prints one line a finding: error, warning or note. Exit code 0 where there is no error, 1 where there is one
    (with --strict, or a warning), 2 for wrong usage.

    \b
      chunkimg validate ct.nii.gz ct.ome.zarr
      chunkimg validate --quick --json *.nii.gz
    """  # noqa: D301
    from .checking import validate as check

    bad = ("error", "warning") if strict else ("error",)
    failed = False
    for path in paths:
        with progress_bar() as progress:
            findings = check(path, quick=quick, format=format_, budget=memory << 20, progress=progress)
        valid = not any(f.severity in bad for f in findings)
        failed = failed or not valid
        if as_json:
            listed = [{"severity": f.severity, "where": f.where, "message": f.message} for f in findings]
            click.echo(json.dumps({"source": path, "valid": valid, "findings": listed}))
            continue
        for finding in findings:
            # most messages about files start with their name
            message = " ".join(finding.message.split())
            where = "" if message.startswith(finding.where) else f"{finding.where}: "
            click.echo(f"{finding.severity}: {where}{message}")
        click.echo(f"{path}: {'valid' if valid else 'not valid'}")
    if failed:
        sys.exit(1)
