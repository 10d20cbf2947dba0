"""What a workload is, and how its contenders take turns."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import verify
from .data import Data
from .measure import RunFailed, run

#: medians of workloads in one process are of at least so many
WARM_ROUNDS = 7


@dataclass(frozen=True)
class Contender:
    """One of those that do the same work.

    Parameters
    ----------
    name : str
    call : str or tuple
        A function of ``contenders``, ``"convert.xarray_dask"``, or arguments of python: ``("-m", "chunkimg", ...)``.
    role : str
        ``"ours"``, ``"limit"`` (written by hand, or a part of the work alone) or ``"peer"``.
    needs : tuple
        Modules without which it is skipped.
    target : mapping
        What is aimed at, by name of the contender of ours (``""`` for the first): of peers, how many times our time
        they take; of limits, how many times theirs we take. Parts after ``;`` may name a region, ``"plane x: ≥ 10"``.
        What begins with "inside" is about the times that the functions tell. Shown, never asserted.
    arguments : tuple, optional
        Instead of the workload's: names of data in braces, ``"{dest}"`` for the output.
    check, suffix : optional
        Instead of the workload's.
    component : bool
        What counts is the time that the function itself tells, not that of the process.
    holds : float
        Images that it holds in memory; skipped where that is most of what the machine has.
    """

    name: str
    call: str | tuple[str, ...]
    role: Literal["ours", "limit", "peer"] = "peer"
    needs: tuple[str, ...] = ()
    target: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    check: verify.Check | None = None
    suffix: str | None = None
    component: bool = False
    holds: float = 0

    def missing(self) -> list[str]:
        return [n for n in self.needs if importlib.util.find_spec(n) is None]

    def why_not(self, mib: int) -> str:
        """Why it cannot run with images of `mib` MiB; empty where it can."""
        if missing := self.missing():
            return f"needs {', '.join(missing)}"
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        return f"would hold {self.holds * mib / 1024:.0f} GiB in memory" if self.holds * mib > 0.7 * there else ""


@dataclass(frozen=True)
class Workload:
    """Contenders with the same work: in fresh processes, or, with `regions`, in one that is warm."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    arguments: tuple[str, ...]
    check: verify.Check = verify.anything
    suffix: str = ""
    regions: tuple[str, ...] = ()
    #: rows computed from medians: (medians by name, cores) -> name, seconds, note
    derived: Callable[[dict[str, float], int], list[tuple[str, float, str]]] | None = None


@dataclass
class Row:
    """Figures of one contender."""

    contender: Contender
    where: str = ""
    seconds: list[float] = field(default_factory=list)
    inner: list[float] = field(default_factory=list)
    anon_mib: list[float] = field(default_factory=list)
    output_mib: float | None = None
    skipped: str = ""
    failed: str = ""

    @property
    def median(self) -> float | None:
        taken = self.inner if self.contender.component else self.seconds
        return statistics.median(taken) if taken else None


def run_workload(
    workload: Workload, data: Data, rounds: int, peers: bool = True, only: list[str] | None = None
) -> list[Row]:
    """All rounds of a workload; a contender that fails, or is wrong, says so in its row and stops."""
    wanted = [c for c in workload.contenders if peers or c.role != "peer"]
    if only is not None:
        wanted = [c for c in wanted if c.role == "ours" or any(fnmatch.fnmatch(c.name, name) for name in only)]
    rows = [Row(c, skipped=c.why_not(data.mib)) for c in wanted]
    return _warm(workload, data, rounds, rows) if workload.regions else _fresh(workload, data, rounds, rows)


def _fresh(workload: Workload, data: Data, rounds: int, rows: list[Row]) -> list[Row]:
    for row in rows:
        if not row.skipped:
            # whatever has to be made is made before anything is timed
            _command(workload, row, data)
    # one more round than is counted: it warms up
    for turn in range(rounds + 1):
        for row in rows:
            if not (row.skipped or row.failed):
                _turn(workload, row, data, counts=turn > 0)
    return rows


def _turn(workload: Workload, row: Row, data: Data, counts: bool) -> None:
    contender, dest = row.contender, _dest(workload, row, data)
    cache = data.scratch / "cache"
    try:
        took = run(_command(workload, row, data), CHUNKIMG_CACHE=str(cache), TMPDIR=str(data.scratch))
        # others may print too; what a function gives is the last line
        last = took.stdout.rstrip().rpartition("\n")[2]
        printed = json.loads(last) if isinstance(contender.call, str) and last.startswith("{") else {}
        if "skip" in printed:
            row.skipped = printed["skip"]
            return
        (contender.check or workload.check)(data, dest, last)
        row.output_mib = _size(dest) / 2**20 if dest.exists() else None
    except Exception as error:
        # whatever is wrong with an output; also one that cannot be read at all
        row.failed = f"{type(error).__name__}: {error}"
        return
    finally:
        _forget(dest, cache)
    if counts:
        row.seconds.append(took.seconds)
        row.anon_mib.append(took.peak_anon_mib)
        if "seconds" in printed:
            row.inner.append(printed["seconds"])


def _dest(workload: Workload, row: Row, data: Data) -> Path:
    suffix = row.contender.suffix
    return data.scratch / f"out{workload.suffix if suffix is None else suffix}"


def _command(workload: Workload, row: Row, data: Data) -> list[str]:
    call, given = row.contender.call, row.contender.arguments
    head = ("-m", "benchmarks.run_one", call) if isinstance(call, str) else call
    arguments = workload.arguments if given is None else given
    dest = _dest(workload, row, data)
    try:
        return [sys.executable, *head, *(_filled(a, data, dest) for a in arguments)]
    except RunFailed as error:
        row.failed = f"what it reads could not be made: {error}"
        return []


def _filled(argument: str, data: Data, dest: Path) -> str:
    if argument == "{dest}":
        return str(dest)
    return data[argument[1:-1]] if argument.startswith("{") else argument


def _forget(dest: Path, cache: Path) -> None:
    shutil.rmtree(dest) if dest.is_dir() else dest.unlink(missing_ok=True)
    # each run makes its own index; compiled code may stay
    for path in cache.glob("*.ci-index"):
        path.unlink()
    # what earlier outputs left to write is not part of the next one's time
    os.sync()


def _size(dest: Path) -> int:
    return sum(f.stat().st_size for f in ([dest] if dest.is_file() else dest.rglob("*")) if f.is_file())


def _warm(workload: Workload, data: Data, rounds: int, rows: list[Row]) -> list[Row]:
    try:
        return list(_warm_rows(workload, rows, _warm_times(workload, data, rounds, rows)))
    except RunFailed as error:
        return [Row(r.contender, where, failed=str(error)) for where in workload.regions for r in rows]


def _warm_times(workload: Workload, data: Data, rounds: int, rows: list[Row]) -> dict[str, Any]:
    spec = {
        "path": _filled(workload.arguments[0], data, data.scratch),
        "truth": data["ct"],
        "regions": workload.regions,
        "rounds": max(rounds, WARM_ROUNDS),
        "contenders": {r.contender.name: r.contender.call for r in rows if not r.skipped},
    }
    command = [sys.executable, "-m", "benchmarks.warm", json.dumps(spec)]
    printed = run(command, CHUNKIMG_CACHE=str(data.scratch / "cache"), TMPDIR=str(data.scratch)).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def _warm_rows(workload: Workload, rows: list[Row], found: dict[str, Any]) -> Iterator[Row]:
    for where in workload.regions:
        for row in rows:
            name = row.contender.name
            times = found["times"][where].get(name, [])
            yield Row(row.contender, where, times, skipped=row.skipped, failed=found["failed"].get(name, ""))
