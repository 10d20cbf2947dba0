"""The command ``chunkimg index``."""

from __future__ import annotations

import os
import sys

import click

from .cli_common import progress_bar, report
from .errors import ChunkImgError

__all__ = ["index_files"]


def index_files(files: tuple[str, ...], dest: str | None, force: bool) -> None:
    """Make the index of each file and say where it is; the exit code is 1 if one of them cannot be indexed."""
    from .api import build_index
    from .io.gzip_access import is_index

    if dest not in (None, "cache") and len(files) > 1 and not os.path.isdir(str(dest)):
        raise click.UsageError("--output names one file; for several files give a folder that exists")
    failed = False
    for name in files:
        try:
            with progress_bar() as bar:
                made = build_index(name, dest=dest, force=force, progress=bar)
        except (ChunkImgError, OSError) as error:
            report(error)
            failed = True
            continue
        for path in made:
            if not is_index(path):
                click.echo(f"{path} needs no index: it carries one")
                continue
            size, of = os.path.getsize(path), os.path.getsize(name)
            click.echo(f"{path}  {size / 2**20:.2f} MiB, {100 * size / of:.2g} % of {name}")
    if failed:
        sys.exit(1)
