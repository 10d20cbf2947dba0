"""What the commands of the command line share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .errors import ChunkImgError

__all__ = ["keep_memory", "numbers", "progress_bar", "region_options", "report"]

if TYPE_CHECKING:
    _SliceType = click.ParamType[slice]
else:
    # generic at run time only from click 8.2 on
    _SliceType = click.ParamType


class _Slice(_SliceType):
    """``10:20``, ``::2``, ``:-5``, ``::-1``, or one index."""

    name = "START:STOP[:STEP]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> slice:
        if isinstance(value, slice):
            return value
        try:
            parts = [int(p) if p.strip() else None for p in str(value).split(":")]
        except ValueError:
            parts = []
        if len(parts) == 1 and parts[0] is not None:
            return slice(parts[0], parts[0] + 1 or None)
        if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] == 0):
            self.fail(f"{value!r} is no range; write START:STOP, START:STOP:STEP (any may be empty) or one index")
        return slice(*parts)


def region_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options --x, --y, --z, --t, --c, slices."""
    for dim, what in (("c", "channels"), ("t", "frames"), ("z", "voxels"), ("y", "voxels"), ("x", "voxels")):
        text = f"Part along {dim}, in {what}: START:STOP[:STEP], as in Python."
        command = click.option(f"--{dim}", type=_Slice(), help=text)(command)
    return command


def report(error: BaseException) -> None:
    """Say on stderr what went wrong, in one line."""
    expected = isinstance(error, (ChunkImgError, OSError, ValueError, TypeError))
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    click.echo(f"chunkimg: error: {text or type(error).__name__}", err=True)


def numbers(values: Any) -> str:
    """Numbers as a person reads them."""
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


def keep_memory() -> None:
    """Let this process, which is the command's own, keep the memory of chunks that come and go (glibc; else nothing).

    By default glibc hands pieces of some MiB back to the system each time they are freed, and the system clears the
    next ones: 55 000 page faults and 0.15 s in converting 512 MiB (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD).
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(-3, 8 << 20)
    mallopt(-1, 64 << 20)


class _Bar:
    """Progress in bytes."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None

    def start(self, total: int) -> None:
        """The number of bytes to come."""
        self._task = self._bar.add_task("", total=total)

    def __call__(self, count: int) -> None:
        self._bar.advance(self._task, count)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)
