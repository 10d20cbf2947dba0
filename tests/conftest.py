"""Shared fixtures: real images of others, and nibabel's."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("chunkimg", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("chunkimg")

DATA = Path(os.environ.get("CHUNKIMG_TEST_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
HAVE_DATA = (DATA / "manifest.json").is_file()

if os.environ.get("CI") == "true" and not HAVE_DATA:
    raise pytest.UsageError(f"CI=true requires the test data: {DATA}/manifest.json is missing (CHUNKIMG_TEST_DATA)")

needs_data = pytest.mark.skipif(not HAVE_DATA, reason=f"test data not found in {DATA} (set CHUNKIMG_TEST_DATA)")


class _Absent:
    """Skips the test that first uses it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):
            # pytest itself looks at what a module holds
            raise AttributeError(attribute)
        pytest.skip(f"needs {self._name}")


def optional(name: str) -> Any:
    """A module that is an oracle; tests that use it are skipped where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _Absent(name)


def items(*kinds: str) -> list[Any]:
    """Items of the manifest of some kinds, as pytest parameters."""
    if not HAVE_DATA:
        return [pytest.param(None, marks=needs_data, id="no-data")]
    manifest = json.loads((DATA / "manifest.json").read_text())
    return [pytest.param(i, id=i["id"]) for i in manifest["items"] if i["kind"] in kinds]


def item_path(item: dict[str, Any]) -> str:
    """Path of an item's file."""
    return str(DATA / item["path"])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Indexes that are made on the way go to a folder of this run."""
    os.environ["CHUNKIMG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs the command line in this process; gives what it wrote to ``.out`` and ``.err``."""
    from chunkimg.cli import main

    def run(*args: object, code: int = 0) -> Any:
        monkeypatch.setattr("sys.argv", ["chunkimg", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        assert (ended.value.code or 0) == code, written
        return written

    return run


@pytest.fixture(scope="session")
def nibabel_data() -> Path:
    """Folder of the images in nibabel's wheel."""
    from nibabel.testing import data_path

    return Path(data_path)
