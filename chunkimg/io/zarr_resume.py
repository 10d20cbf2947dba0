"""Taking up a write that was cut off: its plan lies beside the pieces until all are there.

Pieces appear under their names when they are whole (see `zarr_put.Folder`), so that what is there is right, if it is of
the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from ..errors import FormatError, UnsupportedError
from .zarr_plan import WritePlan
from .zarr_put import Folder, Store

__all__ = ["PLAN", "recorded"]

#: the plan of a write that is not complete
PLAN = "chunkimg-plan.json"


@contextmanager
def recorded(store: Store, plan: WritePlan, resume: bool) -> Iterator[None]:
    """Keep the plan in a folder while it is carried out.

    Raises
    ------
    FormatError
        If what is to be taken up is of another plan.
    UnsupportedError
        If the destination is no local folder, and a write is to be taken up.
    """
    if not isinstance(store, Folder):
        if resume:
            raise UnsupportedError("resume= takes up what lies in a local folder; this destination is none")
        yield
        return
    found = store.get(PLAN) if resume else None
    if found is not None:
        _require_same(store.path, found, plan)
    elif resume:
        # nothing, or pieces of who knows what
        store.clear()
    store.put(PLAN, plan.to_json().encode("utf-8"))
    yield
    store.remove(PLAN)


def _require_same(path: str, found: bytes, plan: WritePlan) -> None:
    try:
        before = WritePlan.from_json(found.decode("utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{path}: its plan cannot be read ({error}); begin anew, without resume") from error
    differ = [f.name for f in fields(plan) if getattr(before, f.name) != getattr(plan, f.name)]
    if differ:
        what = ", ".join("source (another file, or changed)" if name == "source" else name for name in differ)
        raise FormatError(
            f"{path}: what lies here is of another write: {what} differ; give the same source and options, or begin "
            "anew, without resume"
        )
