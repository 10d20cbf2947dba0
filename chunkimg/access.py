"""What reading a region of an image costs."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Access"]

#: from cheap to dear
_KINDS = ("random", "indexed", "sequential")


class Access(str):
    """``"random"``, ``"indexed"`` or ``"sequential"``, and in words what a region costs.

    Attributes
    ----------
    cost : str
        For people.

    Examples
    --------
    >>> access = Access("random", "its own bytes")
    >>> access == "random", access.cost
    (True, 'its own bytes')
    """

    cost: str

    def __new__(cls, kind: str, cost: str) -> Access:
        """One of the three."""
        if kind not in _KINDS:
            raise ValueError(f"access is one of {', '.join(_KINDS)}; found {kind!r}")
        made = super().__new__(cls, kind)
        made.cost = cost
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.cost

    @staticmethod
    def worst(of: Iterable[Access]) -> Access:
        """The dearest."""
        return max(of, key=_KINDS.index, default=Access("random", "a region costs the Dask blocks that it touches"))
