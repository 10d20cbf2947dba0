"""Writes that are complete or not there: sibling ``.<name>.partial``, renamed when done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FormatError
from ..open_file import OpenFile

__all__ = [
    "check_destination",
    "empty_folder",
    "partial_directory",
    "partial_file",
    "partial_name",
    "set_aside",
]


def partial_name(dest: Path) -> Path:
    """Where a destination is written before it is complete."""
    return dest.with_name(f".{dest.name}.partial")


def check_destination(dest: str, overwrite: bool) -> Path:
    """The destination as an absolute path, if it may be written.

    Raises
    ------
    FileExistsError
        If it exists and `overwrite` is false.
    FileNotFoundError
        If its folder does not exist.
    """
    # a link is followed: what it points to is replaced, where it lies
    path = Path(os.path.realpath(dest)) if os.path.islink(dest) else Path(os.path.abspath(dest))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{dest}: the folder {path.parent} does not exist")
    empty = path.is_dir() and not any(path.iterdir())
    if os.path.lexists(path) and not overwrite and not empty:
        raise FileExistsError(f"{dest} exists already; give overwrite=True (--overwrite) to replace it")
    return path


@contextmanager
def partial_file(dest: Path, overwrite: bool = False) -> Iterator[OpenFile]:
    """A file to write `dest` in; it appears under its name when the context is left normally."""
    partial = partial_name(dest)
    fd = _open_locked(partial)
    try:
        os.ftruncate(fd, 0)
        yield OpenFile(fd, str(dest))
        _require_ours(fd, partial)
        _place(partial, dest, overwrite)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


@contextmanager
def set_aside(path: Path) -> Iterator[Callable[[], None]]:
    """A function that takes a file away, while what belongs to it is replaced; it comes back if that fails."""
    aside = path.with_name(f".{path.name}.replaced")
    taken = False

    def take() -> None:
        nonlocal taken
        if path.is_file():
            os.replace(path, aside)
            taken = True

    try:
        yield take
    except BaseException:
        if taken:
            os.replace(aside, path)
        raise
    # or what a killed writer left there
    aside.unlink(missing_ok=True)


def _place(partial: Path, dest: Path, overwrite: bool) -> None:
    if dest.is_dir() and not dest.is_symlink():
        raise IsADirectoryError(f"{dest} is a folder and is not replaced by a file")
    if not overwrite:
        try:
            # fails where the name has been taken meanwhile, which a rename would not notice
            os.link(partial, dest)
        except FileExistsError:
            raise FileExistsError(f"{dest} has appeared while it was being written, and is not replaced") from None
        except OSError:
            # no hard links here
            if os.path.lexists(dest):
                raise
        else:
            partial.unlink()
            return
    os.replace(partial, dest)


def _open_locked(partial: Path) -> int:
    while True:
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(fd, partial)
            if _is_at(fd, partial):
                if os.fstat(fd).st_nlink == 1:
                    return fd
                # a writer that was killed had given it its name already: it is complete, and not to be written into
                partial.unlink()
        except BaseException:
            os.close(fd)
            raise
        # else another writer renamed it between open and lock: it is theirs
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    """Whether what is open is still what has this name."""
    return os.path.lexists(path) and os.path.samestat(os.fstat(fd), os.stat(path))


def _require_ours(fd: int, partial: Path) -> None:
    if not _is_at(fd, partial):
        raise FormatError(f"{partial} was removed while it was being written; nothing was put in place, write again")


@contextmanager
def partial_directory(dest: Path, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder to write `dest` in; it appears under its name when the context is left normally.

    What a killed writer left behind is removed first, as is what a failed one has written, unless writes are to be
    taken up where they ended; a live writer is never disturbed.
    """
    partial = partial_name(dest)
    if partial.is_symlink():
        raise FormatError(f"{partial} is a link, and nothing is written through it; remove it")
    partial.mkdir(exist_ok=True)
    fd = os.open(partial, os.O_RDONLY) if sys.platform != "win32" else -1
    try:
        _lock(fd, partial)
        try:
            if not resume:
                empty_folder(partial)
            yield partial
            if fd >= 0:
                _require_ours(fd, partial)
            _swap(partial, dest, overwrite)
        except BaseException:
            if not resume:
                _abandon(partial)
            raise
    finally:
        if fd >= 0:
            os.close(fd)


def _abandon(partial: Path) -> None:
    """Remove a folder in which threads of a failed write may still be finishing what they had begun."""
    import shutil

    for wait in (0.0, 0.01, 0.05, 0.2, 1.0):
        time.sleep(wait)
        shutil.rmtree(partial, ignore_errors=True)
        if not partial.exists():
            return


def empty_folder(folder: Path) -> None:
    """Remove what is in a folder, files first: a store without its root metadata does not open."""
    import shutil

    entries = [(entry.is_dir() and not entry.is_symlink(), entry) for entry in folder.iterdir()]
    for is_folder, entry in sorted(entries):
        if is_folder:
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _swap(partial: Path, dest: Path, overwrite: bool) -> None:
    old = dest.with_name(f".{dest.name}.replaced")
    there = os.path.lexists(dest)
    if there:
        if not overwrite and not (dest.is_dir() and not any(dest.iterdir())):
            raise FileExistsError(f"{dest} has appeared while it was being written, and is not replaced")
        if os.path.lexists(old):
            _remove(old)
        if not _exchanged(partial, dest, old):
            os.rename(dest, old)
            os.rename(partial, dest)
    else:
        os.rename(partial, dest)
    # or of a writer that was killed before it came to this
    if os.path.lexists(old) and (there or overwrite):
        _remove(old)


def _exchanged(partial: Path, dest: Path, old: Path) -> bool:
    """Exchange two folders in one step (renameat2(2)), what was replaced being `old` then; False where that cannot be.

    The complete one is called `old` first: as soon as nothing is called `partial`, the next writer may begin.
    """
    import ctypes

    here, exchange = -100, 2
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    os.rename(partial, old)
    if rename(here, os.fsencode(old), here, os.fsencode(dest), exchange) == 0:
        return True
    os.rename(old, partial)
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        empty_folder(path)
        path.rmdir()
    else:
        path.unlink()


def _lock(fd: int, partial: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FormatError(
            f"another process is writing here at this moment ({partial} is locked); wait for it or choose another name"
        ) from None
    except OSError:
        # file systems without locks: two writers at once are then the caller's to avoid
        return
