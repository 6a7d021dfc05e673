"""The servers that the tests start leave each other alone, however many runs of the tests go on at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from databases import MariaDB, present

pytestmark = pytest.mark.slow  # what MariaDB needs may be missing where the quick tests run


def test_one_that_is_made_removes_no_temporary_tables_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    anothers = tmp_path / "#sql-temptable-1-1-1.MAD"
    anothers.touch()

    def make(kind: str) -> MariaDB:
        server = MariaDB(tmp_path / kind)
        server.find()
        server.folder.mkdir()
        server.initialise()
        return server

    present(make, "mariadb")
    assert anothers.exists()
