"""Stores for what is asked of rows: on SQLite, since the rows are alike on every database (`tests/contract`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entropic import Base, Store

MakeStore = Callable[..., Store[Any]]


@pytest.fixture
def make(tmp_path: Path) -> MakeStore:
    """Make a store whose runner calls `write(path, params)`."""

    def make_it(model: type[Base], write: Callable[[str, dict[str, Any]], Any], suffix: str, **options: Any) -> Any:
        def run(params: dict[str, Any]) -> None:
            write(params["result_file"], params)

        return Store(run, model, tmp_path / "results", suffix, f"sqlite:///{tmp_path / 'db.sqlite3'}", **options)

    return make_it
