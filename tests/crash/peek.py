"""What a test sees of a store from outside, without the library: executions, sidecars, claims, rows."""

import json
from dataclasses import dataclass
from pathlib import Path

from databases import Place


@dataclass
class Peek:
    """The state in which a crash left a store."""

    executions: list  # every start of the runner, in order
    finished: dict  # by id: the attempt whose complete sidecar the claim waits for, or that is published
    rows: dict  # by id: path of the result, for visible rows

    def content(self, id):
        """Return the content that the finished attempt of a key wrote; None if it has none."""
        found = [
            one["content"] for one in self.executions if (one["id"], one["attempt"]) == (id, self.finished.get(id))
        ]
        assert len(found) <= 1, f"attempt {self.finished[id]} was executed {len(found)} times"
        return found[0] if found else None


def executions(folder):
    path = Path(folder, "executions")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sidecars(folder):
    """Return the complete sidecars by (id, attempt)."""
    found = {}
    for path in Path(folder, "results", ".entropic").glob("*/*.json"):
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue  # published meanwhile
        if text.endswith("\n"):
            fields = json.loads(text)
            found[fields["id"], fields["attempt"]] = fields
    return found


def place_of(folder):
    """Return the database of the store in a folder."""
    return Place.at(Path(folder, "url").read_text())


# Both at one moment, while others work on: so it is one statement.
CLAIMS_AND_ROWS = """
    SELECT 'claim', id, attempt, state, published, path, registered FROM entropic_ledger
    UNION ALL SELECT 'row', id, NULL, NULL, NULL, NULL, NULL FROM points
"""


def claims(folder):
    """Return `{id: (attempt, state, published, path, registered)}` and the ids that have a row."""
    found = place_of(folder).fetch(CLAIMS_AND_ROWS)
    return {id: rest for what, id, *rest in found if what == "claim"}, {id for what, id, *_ in found if what == "row"}


def peek(folder):
    ledger, rows = claims(folder)
    complete, finished, files = sidecars(folder), {}, {}
    for id, (attempt, state, published, path, registered) in ledger.items():
        if state == "running" and (id, attempt) in complete:
            finished[id] = attempt
        elif id in rows and published and not registered and Path(folder, "results", path).exists():
            finished[id] = published
        if id in rows:
            files[id] = registered or path
    return Peek(executions(folder), finished, files)
