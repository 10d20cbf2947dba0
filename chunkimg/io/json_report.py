"""A list of what was found wrong in a JSON document, and checks of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Report", "is_count", "is_number", "is_numbers", "is_positive", "is_text", "is_whole"]


class Report:
    """What was found, and checks of single values."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.found: list[str] = []

    def say(self, where: str, text: str) -> None:
        """Note what is wrong at a place."""
        self.found.append(f"{where.rstrip('.')}: {text}")

    def is_object(self, value: Any, where: str) -> bool:
        """Whether a value is an object."""
        if isinstance(value, Mapping):
            return True
        self.say(where, f"an object is expected, found {value!r:.80}")
        return False

    def objects(self, value: Any, where: str, at_least: int = 1) -> list[tuple[str, Mapping[str, Any]]]:
        """The objects in a list of distinct ones, each with its place."""
        if not isinstance(value, list):
            self.say(where, f"a list is expected, found {value!r:.80}")
            return []
        if len(value) < at_least:
            self.say(where, f"at least {at_least} {'entry is' if at_least == 1 else 'entries are'} expected")
        for k, one in enumerate(value):
            if one in value[:k]:
                self.say(f"{where}[{k}]", "the same entry stands before it")
        return [(f"{where}[{k}]", v) for k, v in enumerate(value) if self.is_object(v, f"{where}[{k}]")]

    def field(
        self,
        owner: Mapping[str, Any],
        key: str,
        where: str,
        kind: Callable[[Any], bool],
        what: str,
        required: bool = False,
    ) -> bool:
        """Whether a field is there and of its kind."""
        if key not in owner:
            if required:
                self.say(where, f"{key!r} is missing")
            return False
        if not kind(owner[key]):
            self.say(f"{where}.{key}", f"{what} is expected, found {owner[key]!r:.80}")
            return False
        return True

    def advise(self, owner: Mapping[str, Any], where: str, *names: str) -> None:
        """Report recommended fields that are missing, where asked to be strict."""
        for key in names:
            if self.strict and key not in owner:
                self.say(where, f"{key!r} is recommended and missing")

    def version(self, owner: Mapping[str, Any], where: str, known: Sequence[str], required: bool = False) -> None:
        """The version is one of those known; 0.6 is still in the making and has suffixes."""
        if self.field(owner, "version", where, is_text, "a string", required):
            given = owner["version"]
            if given not in known and not ("0.6" in known and given.startswith("0.6")):
                self.say(f"{where}.version", f"one of {', '.join(known)} is expected, found {given!r:.80}")


def is_text(value: Any) -> bool:
    """A string."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """A number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """A whole number, however it is written."""
    return is_number(value) and (isinstance(value, int) or value.is_integer())


def is_count(value: Any) -> bool:
    """A whole number from 0 on."""
    return is_whole(value) and value >= 0


def is_positive(value: Any) -> bool:
    """A whole number from 1 on."""
    return is_whole(value) and value > 0


def is_numbers(value: Any) -> bool:
    """A list of two numbers or more."""
    return isinstance(value, list) and len(value) >= 2 and all(map(is_number, value))
