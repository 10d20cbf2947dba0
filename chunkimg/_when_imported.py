"""Doing something when another module is imported, without importing it now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:
    # importlib.abc imports tempfile, shutil and more; the import system asks for no base class
    Loader = MetaPathFinder = object

__all__ = ["when_imported"]


def when_imported(name: str, then: Callable[[], object]) -> None:
    """Call `then` once, after module `name` has been imported; at once if it has been."""
    if name in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Waiting(name, then))


class _Waiting(MetaPathFinder):
    """Finds one module with the finders of everyone else; leaves when it is imported, not when it is looked for."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((s for s in found if s is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Following(spec.loader, self)
        return spec

    def imported(self) -> None:
        """Leave, and do what was waiting."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._then()


class _Following(Loader):
    """Another loader, and what follows it."""

    def __init__(self, loader: Loader, waiting: _Waiting) -> None:
        self._loader, self._waiting = loader, waiting

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # from here on the module is what it would have been without us
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._waiting.imported()
