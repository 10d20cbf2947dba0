"""Running a command in a fresh process, with wall time and peak anonymous memory (Linux)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTERVAL = 0.002


class RunFailed(RuntimeError):
    """A command that ended with an error; the message ends with what it said."""


@dataclass(frozen=True)
class Run:
    """What one run took, and what it printed."""

    seconds: float
    peak_anon_mib: float
    stdout: str = ""


class _Watch(threading.Thread):
    """Peak of the anonymous memory of a process and its children, sampled every 2 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.pages = pid, 0
        self._files: dict[int, int] = {}
        self._done = threading.Event()

    def run(self) -> None:
        count = 0
        while not self._done.wait(INTERVAL):
            if count % 16 == 0:
                self._find(self.pid)
            count += 1
            self.pages = max(self.pages, sum(self._anon(file) for file in self._files.values()))

    def stop(self) -> float:
        self._done.set()
        self.join()
        for file in self._files.values():
            os.close(file)
        return self.pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _find(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            if pid not in self._files:
                self._files[pid] = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                self._find(int(child))

    @staticmethod
    def _anon(file: int) -> int:
        # resident minus shared is RssAnon; statm is cheaper to read than status
        try:
            fields = os.pread(file, 128, 0).split()
        except OSError:
            return 0
        return int(fields[1]) - int(fields[2]) if len(fields) > 2 else 0


def environment(**more: str) -> dict[str, str]:
    """That of this process, with compiled modules kept."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | more


def run(command: list[str], *, timeout: float = 3600, **env: str) -> Run:
    """Run a command from the root of the repository, to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment(**env), cwd=ROOT, stdout=out, stderr=err)
        watch = _Watch(process.pid)
        watch.start()
        try:
            code = process.wait(timeout)
            seconds = time.perf_counter() - start
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{' '.join(command)} took longer than {timeout:g} s") from None
        finally:
            process.kill()
            process.wait()
            peak = watch.stop()
        if code:
            err.seek(0)
            said = err.read().decode(errors="replace").strip()[-1500:]
            raise RunFailed(f"{' '.join(command)} ended with {code}\n{said}")
        out.seek(0)
        return Run(seconds, peak, out.read().decode(errors="replace"))
