"""What every test may use: a runner that counts, a way to open stores in the test's own folder, one open store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))

from contract.models import CountingRunner, SimResult  # noqa: E402  (importable only from here on)
from entropic import Store  # noqa: E402

settings.register_profile("quick", max_examples=100, deadline=None, derandomize=False)
settings.register_profile("ci", max_examples=1_000, deadline=None, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

OpenStore = Callable[..., Store[Any]]


@pytest.fixture
def runner() -> CountingRunner:
    """Writes the params as JSON and remembers every call."""
    return CountingRunner()


@pytest.fixture
def open_store(runner: CountingRunner, tmp_path: Path) -> OpenStore:
    """Open a store on this test's folder; whatever is named replaces the default."""

    def open_it(run: Any = runner, model: type = SimResult, **options: Any) -> Store[Any]:
        options.setdefault("results_dir", tmp_path / "results")
        options.setdefault("file_suffix", ".json")
        options.setdefault("db_url", f"sqlite:///{tmp_path / 'db.sqlite3'}")
        return Store(run, model, **options)

    return open_it


@pytest.fixture
def store(open_store: OpenStore) -> Store[SimResult]:
    """One store for `SimResult`, served by `runner`."""
    return open_store()
