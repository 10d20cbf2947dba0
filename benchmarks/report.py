"""Rows for people, a Markdown table a workload, and for machines."""

from __future__ import annotations

import statistics
from typing import Any

from .suite import Row, Workload

COLUMNS = ("contender", "median", "best", "ratio (target)", "anon MiB", "output MiB")


def table(workload: Workload, rows: list[Row], cores: int) -> str:
    """The rows of one workload."""
    cells = []
    for where in workload.regions or ("",):
        part = [r for r in rows if r.where == where or not workload.regions]
        ours = {r.contender.name: r for r in part if r.contender.role == "ours" and r.median}
        cells += [_cells(row, ours) for row in part]
        if workload.derived is not None:
            medians = {r.contender.name: r.median for r in part if r.median}
            cells += [(f"*{name}*", _time(s), "", note, "", "") for name, s, note in _derived(workload, medians, cores)]
    widths = [max(len(row[k]) for row in [COLUMNS, *cells]) for k in range(len(COLUMNS))]
    lines = [COLUMNS, tuple("-" * w for w in widths), *cells]
    body = "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in lines)
    notes = [f"- {r.contender.name}: {short(r.failed)}" for r in rows if r.failed]
    return "\n".join(
        [f"### {workload.name}: {workload.title}", "", body, *(["", *dict.fromkeys(notes)] if notes else [])]
    )


def short(reason: str) -> str:
    """First and last line of why something failed."""
    lines = reason.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"


def _derived(workload: Workload, medians: dict[str, float], cores: int) -> list[tuple[str, float, str]]:
    try:
        return workload.derived(medians, cores) if workload.derived is not None else []
    except KeyError:
        # a part of it was skipped or failed
        return []


def _cells(row: Row, ours: dict[str, Row]) -> tuple[str, ...]:
    name = f"{row.where}: {row.contender.name}" if row.where else row.contender.name
    if row.contender.role == "ours":
        name = f"**{name}**"
    if row.failed:
        return name, "FAILED", "", row.failed.partition(":")[0], "", ""
    if row.skipped or row.median is None:
        return name, "skipped", "", row.skipped, "", ""
    inner = ""
    if row.inner and not row.contender.component:
        inner = f" (inside {_time(statistics.median(row.inner))})"
    best = min(row.inner if row.contender.component else row.seconds)
    anon = f"{statistics.median(row.anon_mib):.0f}" if row.anon_mib else ""
    out = "" if row.output_mib is None else f"{row.output_mib:.1f}"
    return name, _time(row.median) + inner, _time(best), _ratios(row, ours), anon, out


def _time(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms"


def _ratios(row: Row, ours: dict[str, Row]) -> str:
    parts = []
    first = next(iter(ours), "")
    for name, text in (row.contender.target or {first: ""}).items():
        against, aim = ours.get(name or first), _aim(text, row.where)
        if against is None:
            continue
        inside = aim.startswith("inside")
        theirs, own = (_inside(row), _inside(against)) if inside else (row.median, against.median)
        if theirs and own:
            limit = row.contender.role == "limit"
            ratio = own / theirs if limit else theirs / own
            who = ("ours " if limit else "") if name in ("", first) else f"{name} "
            parts.append(f"{who}{ratio:.2f}×" + (f" ({aim})" if aim else ""))
    return ", ".join(parts)


def _inside(row: Row) -> float | None:
    return statistics.median(row.inner) if row.inner else None


def _aim(text: str, where: str) -> str:
    """The parts of a target that are about a region, or about all."""
    parts = [part.rpartition(": ") for part in text.split("; ")]
    return "; ".join(aim for region, _, aim in parts if region in ("", where))


def as_json(workload: Workload, rows: list[Row], cores: int) -> dict[str, Any]:
    """Everything that was measured."""
    medians = {r.contender.name: r.median for r in rows if r.median}
    derived = [] if workload.regions else _derived(workload, medians, cores)
    return {
        "name": workload.name,
        "title": workload.title,
        "rows": [
            {
                "contender": r.contender.name,
                "role": r.contender.role,
                "where": r.where,
                "target": r.contender.target,
                "median": r.median,
                "seconds": r.seconds,
                "inner_seconds": r.inner,
                "peak_anon_mib": r.anon_mib,
                "output_mib": r.output_mib,
                "skipped": r.skipped,
                "failed": r.failed,
            }
            for r in rows
        ],
        "derived": [{"name": n, "seconds": s, "note": note} for n, s, note in derived],
    }
