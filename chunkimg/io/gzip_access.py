"""Where the index of a gzip file is kept, when it is used, and when it is made.

A file that carries its own (`gzip_table`) needs no other. Else it is looked for beside the file
(``ct.nii.gz.ci-index``) and then in the cache folder, each time that a region is read, so that every process and every
copy of a lazy array uses an index as soon as there is one. An index that does not fit is named in a warning and not
used; only speed depends on it.
"""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ChunkImgWarning, FormatError
from ..open_file import OpenFile
from .format import Progress
from .gzip_index import MAGIC, BadIndexError, GzipIndex, fingerprint, load
from .gzip_table import index_inside
from .source import FileSource

if TYPE_CHECKING:
    from pathlib import Path

    from .gzip_along import IndexRecorder

__all__ = ["SUFFIX", "GzipAccess", "cache_folder", "is_index"]

#: of files that hold an index
SUFFIX = ".ci-index"
#: bytes of all indexes in the cache folder
CACHE_LIMIT = 1 << 30
#: names of indexes that are being made, and seconds after which none is any more
_UNFINISHED = re.compile(re.escape(SUFFIX) + r"\.[0-9a-f]{8}\.partial$")
_DAY = 24 * 3600
#: content that is decoded rather than indexed
WORTH = 16 << 20

#: one thread of a process makes an index, the others wait for it
_making = threading.Lock()
#: what this process has tried in vain and said already: not again for each block
_vain: set[FileSource] = set()
_told: set[str] = set()
#: index files, by path and identity, that gave wrong bytes
_wrong: set[tuple[str, int, int]] = set()


def cache_folder() -> Path:
    """Folder of the indexes that are made on the way.

    Raises
    ------
    FileNotFoundError
        If nothing says where the user's files are, as in containers that run as a number without a name.
    """
    from pathlib import Path

    if own := os.environ.get("CHUNKIMG_CACHE"):
        return Path(own)
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):
        # the XDG specification has relative ones ignored
        folder = os.path.expanduser("~/.cache")
    if not os.path.isabs(folder):
        raise FileNotFoundError("this user has no home; set CHUNKIMG_CACHE to the folder in which indexes are kept")
    return Path(folder) / "chunkimg"


@dataclass(frozen=True)
class GzipAccess:
    """The index of a gzip file.

    Attributes
    ----------
    source : FileSource
        The gzip file.
    length : int
        Bytes of content that are of interest.
    option : "auto", str or False
        Look beside the file and in the cache, and make it in the cache; the path of the index (or of a folder for
        it); or neither look nor make.
    """

    source: FileSource
    length: int
    option: Any = "auto"

    def __post_init__(self) -> None:
        if self.option is False or self.option is None:
            object.__setattr__(self, "option", False)
        elif self.option is True or not isinstance(self.option, (str, os.PathLike)):
            raise FormatError(f"index is 'auto', the path of an index, or False; found {self.option!r}")
        elif self.option != "auto":
            object.__setattr__(self, "option", os.path.abspath(os.fspath(self.option)))

    def find(self) -> GzipIndex | None:
        """The index, if there is one that fits."""
        if self.option is False or self.source.coding != "gzip":
            return None
        if (inside := self._inside()) is not None:
            return inside
        mark = self._mark()
        for path in self._places(mark):
            try:
                found = self._at(path, mark)
            except BadIndexError as reason:
                self._tell(path, reason)
                continue
            if found is not None and _identity(path) not in _wrong:
                return found
        return None

    def ensure(self) -> GzipIndex | None:
        """The index; made now if there is none and one can be kept."""
        found = self.find()
        if found is not None or self.option is False or self.source.coding != "gzip":
            return found
        with _making:
            found = self.find()
            if found is None and self.source not in _vain:
                self._make_somewhere()
                found = self.find()
        return found

    def build(self, dest: str | os.PathLike[str] | None, force: bool, progress: Progress | None) -> str:
        """Make the index at a place (see `place`), unless one that fits is there; where it is.

        A file that carries its own gets no other: the path is its own.
        """
        if self._inside() is not None:
            return self.source.path
        path = self.place(dest)
        try:
            there = not force and self._at(path, self._mark()) is not None
        except BadIndexError:
            there = False
        if not there:
            self.make(path, progress)
        return path

    def distrust(self, index: GzipIndex, reason: BadIndexError) -> None:
        """Never use an index again that gave wrong bytes."""
        identity = _identity(index.path)
        if identity is not None:
            _wrong.add(identity)
        self._tell(index.path, reason)

    def hint(self) -> str:
        """How a region becomes cheaper."""
        if self.option is False:
            return "it was opened with index=False"
        if self.source in _vain:
            return "no index could be made, a warning said why"
        if self.length <= WORTH:
            return "that is little"
        also = "as does the first read of all of it, or of a region far inside"
        return f"`chunkimg index {self.source.name}` makes an index, {also}"

    def make(self, path: str, progress: Progress | None = None) -> None:
        """Make the index as a file, complete or not at all; an older one is replaced.

        Raises
        ------
        FileExistsError
            If something else is there under that name.
        FormatError
            If the gzip file is truncated or damaged.
        OSError
            If nothing can be written there.
        """
        from .gzip_build import write_index

        with _NewIndex(self.source, path) as new:
            write_index(self.source, self.length, self._mark(), new.file, progress)
            new.keep()

    @contextmanager
    def along(self) -> Iterator[IndexRecorder | None]:
        """Makes the index while the file is decoded from its start to its end, if one is wanted and there is none."""
        wanted = self.option is not False and self.source.coding == "gzip" and self.length > WORTH
        if not wanted or self.source in _vain or self.find() is not None:
            yield None
            return
        from .gzip_along import IndexRecorder

        with ExitStack() as stack:
            recorder = None
            # where nothing can be kept there is none, which only speed depends on
            with suppress(OSError):
                new = stack.enter_context(_NewIndex(self.source, self.place(self._preferred())))
                recorder = IndexRecorder(self.source, self.length, self._mark(), new.file)
            yield recorder
            if recorder is not None and recorder.complete:
                with suppress(OSError):
                    new.keep()

    def place(self, dest: str | os.PathLike[str] | None) -> str:
        """Path of the index: beside the file, in the cache (``"cache"``), in a folder, or as told."""
        if dest is None:
            return self.source.path + SUFFIX
        mark = self._mark()
        if dest == "cache":
            return str(cache_folder() / self._name(mark))
        path = os.path.abspath(os.fspath(dest))
        return os.path.join(path, self._name(mark)) if os.path.isdir(path) else path

    def _inside(self) -> GzipIndex | None:
        """The index that the file carries in itself."""
        found = index_inside(self.source)
        if found is None or found.length < self.length or _identity(found.path) in _wrong:
            return None
        return found

    def _preferred(self) -> str:
        """Where an index is made that nobody asked for."""
        return "cache" if self.option == "auto" else str(self.option)

    def _make_somewhere(self) -> None:
        for where in [self._preferred(), *([None] if self.option == "auto" else [])]:
            try:
                self.make(self.place(where))
                return
            except (OSError, ImportError, FormatError) as error:
                reason = error
            if not isinstance(reason, OSError):
                break
        _vain.add(self.source)
        _tell_once(f"{self.source.path}: no index can be made, so that each region is decoded from the start: {reason}")

    def _at(self, path: str, mark: bytes) -> GzipIndex | None:
        found = load(path, self.source, mark)
        if found is not None and found.length < self.length:
            raise BadIndexError(f"it covers {found.length} bytes of content, {self.length} are needed")
        return found

    def _places(self, mark: bytes) -> list[str]:
        """Paths at which an index may be."""
        if self.option != "auto":
            return [self.place(self.option)]
        places = [self.place(None)]
        with suppress(FileNotFoundError):
            places.append(str(cache_folder() / self._name(mark)))
        return places

    def _name(self, mark: bytes) -> str:
        """Name of the index in a folder of indexes: it changes with the content."""
        return f"{self.source.name[:40]}-{mark.hex()[:32]}{SUFFIX}"

    def _mark(self) -> bytes:
        with self.source.open_checked() as fd:
            return fingerprint(fd, self.source.size, self.source.start)

    def _tell(self, path: str, reason: BadIndexError) -> None:
        what = "the table in it" if path == self.source.path else f"the index of {self.source.path}"
        _tell_once(f"{path}: {what} is not used: {reason}")


class _NewIndex:
    """A new index as a file, complete or not at all; an older one is replaced."""

    def __init__(self, source: FileSource, path: str) -> None:
        import secrets

        if os.path.isfile(path) and not path.endswith(SUFFIX) and not is_index(path):
            raise FileExistsError(f"{path} exists and is no index of chunkimg; it is not replaced")
        folder = os.path.dirname(path)
        os.makedirs(folder, 0o700 if _is_cache(folder) else 0o777, exist_ok=True)
        self._path, self._kept, self._closed = path, False, False
        self._partial = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(4)}.partial")
        fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        self.file = OpenFile(fd, path)
        self._source = source
        _sweep(folder)

    def __enter__(self) -> _NewIndex:
        # windows are parts of the image: who may not read the one may not read the other
        os.fchmod(self.file.fd, os.stat(self._source.path).st_mode & 0o666)
        return self

    def keep(self) -> None:
        """Give it its name; others in the cache give way to it."""
        self._close()
        os.replace(self._partial, self._path)
        self._kept = True
        if _is_cache(os.path.dirname(self._path)):
            _prune(self._path)

    def __exit__(self, *_: object) -> None:
        self._close()
        if not self._kept:
            # whoever cleared the folder meanwhile has done it
            with suppress(FileNotFoundError):
                os.unlink(self._partial)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self.file.fd)


def _is_cache(folder: str) -> bool:
    with suppress(FileNotFoundError):
        return folder == str(cache_folder())
    return False


def _sweep(folder: str) -> None:
    """Remove what killed processes left of new indexes: nobody makes one for a day."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _UNFINISHED.search(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY:
                os.unlink(entry.path)


def _prune(kept: str) -> None:
    """Remove indexes from the cache, those not used for longest first, until it is small enough."""
    found = []
    for entry in os.scandir(os.path.dirname(kept)):
        # another process may remove them too
        with suppress(OSError):
            if entry.name.endswith(SUFFIX) and entry.path != kept:
                about = entry.stat()
                found.append((max(about.st_atime, about.st_mtime), about.st_size, entry.path))
    spare = CACHE_LIMIT - os.path.getsize(kept)
    for _, size, path in sorted(found, reverse=True):
        spare -= size
        if spare < 0:
            with suppress(OSError):
                os.unlink(path)


def _tell_once(message: str) -> None:
    if message not in _told:
        _told.add(message)
        warnings.warn(message, ChunkImgWarning, stacklevel=4)


def _identity(path: str) -> tuple[str, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return path, found.st_ino, found.st_mtime_ns


def is_index(path: str) -> bool:
    """Whether a file looks like an index."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC
