"""Checking files and stores: what is wrong with them, as a list."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .chunks import BUDGET
from .errors import ChunkImgError, ChunkImgWarning, MissingExtraError
from .io.commit import partial_name
from .io.format import CheckOptions, Finding, Progress
from .io.registry import check_of, format_of

__all__ = ["validate"]


def validate(
    source: Any,
    *,
    quick: bool = False,
    format: str | None = None,
    budget: int = BUDGET,
    progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Check a file or a store, and list what is found; whatever is wrong with it, nothing is raised for that.

    A file: its header, its size, and every byte of an encoded one with its checksums. A store: its metadata, the
    geometry in all places where it is stated, and every chunk of every array, in bounded memory.

    Parameters
    ----------
    source : str, path, URL or zarr Store
        What to check.
    quick : bool
        Decode no voxel.
    format : str, optional
        Where the name does not tell.
    budget : int
        Memory in bytes for what is decoded at once.
    progress : Progress, optional
        Told what is decoded.
    storage_options : mapping, optional
        For URLs, passed to fsspec.

    Returns
    -------
    list of Finding
        With ``severity`` (``"error"``, ``"warning"``, ``"note"``), ``where`` and ``message``. Sound where none is an
        error.

    Examples
    --------
    >>> import chunkimg as ci
    >>> import nibabel
    >>> ci.validate(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
    []
    """
    options = CheckOptions(quick, budget, progress, storage_options)
    findings: list[Finding] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ChunkImgWarning)
        try:
            found = format_of(source, format)
            findings.extend(check_of(found)(found, source, options))
        except MissingExtraError:
            raise
        except (ChunkImgError, OSError) as error:
            findings.append(Finding("error", str(source), str(error) or type(error).__name__))
        except Exception as error:
            # metadata can be hostile in more ways than are foreseen: what stops the check is a finding too
            findings.append(Finding("error", str(source), f"the check cannot go on: {type(error).__name__}: {error}"))
    findings += [Finding("warning", str(source), str(w.message)) for w in caught]
    findings += _leftovers(source)
    return list(dict.fromkeys(findings))


def _leftovers(source: Any) -> Iterator[Finding]:
    """What interrupted writes left beside a local file or store."""
    if not isinstance(source, (str, os.PathLike)) or "://" in os.fspath(source):
        return
    path = Path(os.path.abspath(source))
    partial, old = partial_name(path), path.with_name(f".{path.name}.replaced")
    if partial.exists():
        yield Finding("note", str(partial), "a write of this name goes on, or was interrupted and left this behind")
    if old.exists():
        yield Finding("note", str(old), "an overwrite was interrupted: this is what stood here before")
