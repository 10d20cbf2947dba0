"""Modules that are imported when something of them is first used."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

__all__ = ["later"]


class _Later(ModuleType):
    """Stands for a module of the same name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def later(name: str) -> Any:
    """A stand-in for a module, which is imported when one of its names is asked for."""
    return _Later(name)
