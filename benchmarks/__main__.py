"""The suite: ``python -m benchmarks [WORKLOAD ...] [--peers] [--size MIB] [--rounds N] [--json FILE] [--folder DIR]``.

Contenders do the same work, each in a fresh process, round by round in turn, after one round that is not counted; a
figure is the median of the rounds. What each run wrote is read back by others than chunkimg and compared with the
source; one that is wrong, or fails, is named, and the exit code is 1. Nothing is asserted of times.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import machine, report
from .data import Data
from .suite import Row, Workload, run_workload
from .workloads import WORKLOADS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.partition("\n\n")[2])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="names or patterns, W4*; all by default")
    parser.add_argument("--peers", action="store_true", help="run other tools too (pip install .[bench])")
    parser.add_argument("--only", action="append", metavar="NAME", help="ours and contenders with names like this")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="of each image (default 512)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, as JSON")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where generated data is kept for the next run")
    parser.add_argument("--list", action="store_true", help="name the workloads and their contenders, and end")
    options = parser.parse_args(arguments)
    chosen = choose(options.workloads, parser)
    if options.list:
        print("\n".join(describe(w, options.size) for w in chosen))
        return 0
    scratch = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=options.folder)).resolve()
    try:
        data = Data((options.folder or scratch / "data").resolve(), scratch, options.size)
        return run(chosen, data, options)
    finally:
        shutil.rmtree(scratch)


def choose(patterns: list[str], parser: argparse.ArgumentParser) -> list[Workload]:
    for pattern in patterns:
        if not any(fnmatch.fnmatch(w.name.lower(), pattern.lower()) for w in WORKLOADS):
            parser.error(f"no workload {pattern}; there are {', '.join(w.name for w in WORKLOADS)}")
    names = [p.lower() for p in patterns] or ["*"]
    return [w for w in WORKLOADS if any(fnmatch.fnmatch(w.name.lower(), n) for n in names)]


def describe(workload: Workload, mib: int) -> str:
    lines = [f"{workload.name}: {workload.title}"]
    for c in workload.contenders:
        why = c.why_not(mib)
        lines.append(f"    {c.role:5}  {c.name}" + (f"  (skipped: {why})" if why else ""))
    return "\n".join(lines)


def run(chosen: list[Workload], data: Data, options: argparse.Namespace) -> int:
    about = machine.describe()
    cores = int(str(about["cores"]))
    print(machine.header(about))
    print(f"{data.mib} MiB each image, {options.rounds} rounds; ratio: peers / ours, or ours / limit", flush=True)
    found: list[dict[str, Any]] = []
    failed: list[Row] = []
    for workload in chosen:
        rows = run_workload(workload, data, options.rounds, options.peers, options.only)
        print("\n" + report.table(workload, rows, cores), flush=True)
        found.append(report.as_json(workload, rows, cores))
        failed += [r for r in rows if r.failed]
        if options.json is not None:
            # after each: a long run that is interrupted leaves what it has
            everything = {"about": about, "size_mib": data.mib, "rounds": options.rounds, "workloads": found}
            options.json.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    for row in failed:
        print(f"failed: {row.contender.name}: {report.short(row.failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
