"""entropic on PostgreSQL: the same lines as on SQLite, with the database on a server of this machine.

The server is that of `ENTROPIC_TEST_POSTGRESQL`, which `run.py` sets; each folder has a database of its own there.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from systems import entropic_store


class System(entropic_store.System):
    """One store whose database is on a server."""

    def __init__(self, folder: Path) -> None:
        from databases import Place, Servers

        told = folder / "url"
        if not told.exists():
            told.write_text(Place.on_server(Servers(folder).shared("postgresql")).url)
        super().__init__(folder, told.read_text())
