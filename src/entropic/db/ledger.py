"""The ledger: one claim per key, who runs it, and what was published.

Every method that takes a connection runs inside a transaction (`Database.transact`), but for `claim_first`.
A claim that entropic did not make (`flaws.py`) is refused where it alone is asked for, and left out of many.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from entropic.db.claim_record import DELETING, IDLE, RUNNING, Claim, new_attempt
from entropic.db.claim_statements import Publication, claim_statements
from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.flaws import flaw
from entropic.db.statement import Statement
from entropic.db.tables import LATER, USED
from entropic.errors import UnreadableError
from entropic.support import process
from entropic.support.failure import Record, parse

_NOTHING = (None,) * len(LATER[USED:])
# A result on its way into its claim: id, attempt, size, mtime in ns, whether there are extra files, the checksum of the
# row, and what `LATER` names.
Result = tuple[str, str, int, int, bool, int, tuple[Any, ...]]


class Ledger:
    """The claims of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    lease
        Seconds that a claim counts as alive for other machines after its last heartbeat.
    """

    def __init__(self, database: Database, model: str, lease: float) -> None:
        self.database, self.model, self.lease = database, model, lease
        self._others: dict[str, Ledger] = {}  # itself is not among them: a circle would keep it
        self._made = claim_statements(database.wording, model, lease)
        self._publications: dict[bool, Publication] = {}
        # SQLite has no booleans, and its driver takes long to find out what it gets instead.
        self._flags: tuple[object, object] = (0, 1) if database.dialect.one_writer else (False, True)
        self._is_shared = database.is_shared

    def of(self, model: str) -> "Ledger":
        """Return the ledger of another model in the same database."""
        if model == self.model:
            return self
        if model not in self._others:
            self._others[model] = Ledger(self.database, model, self.lease)
        return self._others[model]

    # ---- looking ---------------------------------------------------------------------------------------------
    def lock(self, connection: Connection, id: str) -> tuple[Claim | None, set[str]]:
        """Lock the claim and return it, and the places that other models hold for the same id.

        On a server a claim must exist to be locked: one that is of no attempt is made, and waits for the first.
        """
        rows = connection.fetch(self._made.lock.sql, (id,))
        if self._made.add is not None and all(row[1] != self.model for row in rows):
            connection.execute(self._made.add.sql, self._made.add.values({"key": id}))
            rows = connection.fetch(self._made.lock.sql, (id,))
        mine, taken = None, set()
        for row in rows:
            if row[1] == self.model:
                mine = self._sound(row)
            elif row[8] is not None:
                taken.add(row[8])
        return mine, taken

    def find(self, id: str) -> Claim | None:
        """Return the claim as it stands, without a lock."""
        rows = self.database.connection().fetch(self._made.find.sql, self._made.find.values({"key": id}))
        return self._sound(rows[0]) if rows else None

    def find_many(self, ids: Iterable[str], within: Connection | None = None) -> Iterator[Claim]:
        """Return the claims of many keys, without a lock, perhaps within a transaction; some may have none."""
        return _sound_ones(self._made.find_many.fetch(self.database, ids, within))

    def all(self) -> Iterator[Claim]:
        """Return every claim of this model."""
        return _sound_ones(self.database.connection().fetch(self._made.all.sql, self._made.all.values({})))

    def flawed(self) -> Iterator[tuple[Claim, str]]:
        """Return the claims of this model that entropic did not make, each with what is wrong with it."""
        for row in self.database.connection().fetch(self._made.all.sql, self._made.all.values({})):
            claim = Claim(*row)
            if (found := flaw(claim)) is not None:
                yield claim, found

    def registered(self) -> list[str]:
        """Return where the registered files of all models in this database are, as it is recorded."""
        return [str(row[0]) for row in self.database.connection().fetch(self._made.registered.sql)]

    def pending(self) -> dict[tuple[str, str, str], Claim]:
        """Return the claims of all models that are running or deleting, by model, id and attempt."""
        rows = self.database.connection().fetch(self._made.pending.sql, self._made.pending.values({}))
        return {(claim.model, claim.id, claim.attempt): claim for claim in _sound_ones(rows)}

    def pending_of(self, owner: str) -> list[Claim]:
        """Return the claims of this model that a call holds."""
        return [one for one in self.pending().values() if one.owner == owner and one.model == self.model]

    def _sound(self, row: Any) -> Claim:
        claim = Claim(*row)
        found = flaw(claim)
        if found is None:
            return claim
        raise UnreadableError(
            f"the entry for {claim.id!r:.80} in the ledger of {self.database} was not written by entropic: {found}. "
            "Nothing was done with this key; restore its line of entropic_ledger from a backup, or delete that line"
        )

    def failure(self, id: str, within: Connection | None = None) -> Record:
        """Return what was recorded of the newest attempt's failure, perhaps within a transaction."""
        sql, values = self._made.failure.sql, self._made.failure.values({"key": id})
        rows = within.execute(sql, values).fetchall() if within else self.database.connection().fetch(sql, values)
        return parse(rows[0][0]) if rows and rows[0][0] else {}

    def failures(self, ids: Iterable[str] | None = None) -> Iterator[tuple[str, Record]]:
        """Return the recorded failures, of all keys or of some, by id."""
        if ids is None:
            found: Iterable[Any] = self.database.connection().fetch(
                self._made.failures.sql, self._made.failures.values({})
            )
        else:
            found = self._made.failures_of.fetch(self.database, ids)
        for id, failure in found:
            yield id, parse(failure)

    def checksums(self) -> dict[str, int | None]:
        """Return the checksum of every row of this model, by id."""
        return dict(self.database.connection().fetch(self._made.checksums.sql, self._made.checksums.values({})))

    def checksum(self, id: str, within: Connection | None = None) -> int | None:
        """Return the checksum of a row as it was stored, perhaps within a transaction; None if that is not known."""
        sql, values = self._made.checksum.sql, self._made.checksum.values({"key": id})
        rows = within.execute(sql, values).fetchall() if within else self.database.connection().fetch(sql, values)
        return rows[0][0] if rows else None

    def owner_of(self, name: str) -> tuple[str, str] | None:
        """Return the model and id of the run whose result, or extra files, have a name in `results_dir`, if any."""
        place = re.sub(r"\.\d+-[0-9a-f]{8}\.files\Z", "", name)
        id = re.split("[.=]", place)[0]
        statement = self._made.at_any if "=" in place else self._made.at  # a place with a hash does not tell its id
        below = re.sub("([!%_])", r"!\1", place) + "/%"  # the main file's, where the name is that of its folder
        values = {"key": id, "path_": place, "below_": below}
        rows = self.database.connection().fetch(statement.sql, statement.values(values))
        return (rows[0][0], rows[0][1]) if rows else None

    # ---- moving a claim --------------------------------------------------------------------------------------
    def claim(self, connection: Connection, old: Claim | None, id: str, owner: str, path: str) -> str:
        """Begin a new attempt and return its name."""
        attempt = new_attempt(old)
        statement = self._made.claim if old else self._made.insert
        connection.execute(
            statement.sql, statement.values({"key": id, "attempt_": attempt, "owner_": owner, "path_": path})
        )
        return attempt

    def claim_first(self, connection: Connection, id: str, owner: str, path: str) -> str | None:
        """Begin the first attempt of an id that no model has ever claimed; None if one has. Needs no transaction."""
        attempt = new_attempt(None)
        values = self._made.first_values(id, attempt, owner, path)
        return attempt if connection.change(self._made.first.sql, values) == 1 else None

    def claim_first_many(self, connection: Connection, paths: Mapping[str, str], owner: str) -> dict[str, str]:
        """Begin the first attempts of many ids, given with their places; return those that succeed, by id."""
        attempts = {id: new_attempt(None) for id in paths}
        # In the order of the keys, as everywhere: who locks several in another order meets a deadlock.
        values = [self._made.first_values(id, attempts[id], owner, paths[id]) for id in sorted(paths)]
        if connection.execute_many(self._made.first.sql, values) == len(attempts):
            return attempts
        found = self.find_many(attempts, connection)
        return {claim.id: claim.attempt for claim in found if claim.attempt == attempts[claim.id]}

    def publish(self, connection: Connection, result: Result) -> bool:
        """Record an attempt's result; False if it no longer holds the claim."""
        id, attempt, size, mtime_ns, extra, checksum, later = result
        flag = self._flags[extra]
        publisher = self._publisher() if self._is_shared else ()
        sql, values = self._publication(later[USED:] == _NOTHING)
        given = values(id, attempt, size, mtime_ns, flag, checksum, *later, *publisher)
        matched: int = connection.execute(sql, given).rowcount
        return matched == 1

    def publish_many(self, connection: Connection, results: Sequence[Result]) -> bool:
        """Record many results; False if any attempt no longer holds its claim."""
        flags, publisher = self._flags, self._publisher() if self._is_shared else ()
        sql, made = self._publication(all(result[-1][USED:] == _NOTHING for result in results))
        values = [
            made(*first, flags[extra], checksum, *later, *publisher) for *first, extra, checksum, later in results
        ]
        return connection.execute_many(sql, values) == len(values)

    @property
    def first_claim(self) -> Publication:
        """The statement of `claim_first`, and what takes its values."""
        return self._made.first.sql, self._made.first_values

    @property
    def publication_of_short(self) -> Publication:
        """The statement that publishes a short run where there is one writer, and what takes its values."""
        return self._publication(True)

    def _publication(self, is_short: bool) -> Publication:
        """Return the statement that publishes, made when it is first needed, and what takes its values."""
        found = self._publications.get(is_short)
        if found is None:
            found = self._publications[is_short] = self._made.publication(is_short)
        return found

    def _publisher(self) -> tuple[str, ...]:
        return (f"{process.identity()}.0",)  # no call, so it is dead

    def fail(self, connection: Connection, id: str, attempt: str, failure: dict[str, object]) -> bool:
        """Record that the attempt failed."""
        return self._fenced(connection, self._made.fail, id, attempt, RUNNING, failure_=json.dumps(failure))

    def record_vanished(self, connection: Connection, id: str, attempt: str, failure: dict[str, object]) -> bool:
        """Record that the attempt's result was removed by an outsider before it was published."""
        return self._fenced(connection, self._made.vanished, id, attempt, RUNNING, failure_=json.dumps(failure))

    def release(self, connection: Connection, id: str, attempt: str) -> bool:
        """Release a claim whose execution ended, or never began, without a result: anyone may claim the key."""
        return self._fenced(connection, self._made.release, id, attempt, RUNNING)

    def abandon(self, connection: Connection, id: str, attempt: str) -> bool:
        """Abandon a claim that somebody may still finish: from now on its owner counts as dead."""
        return self._fenced(connection, self._made.abandon, id, attempt, RUNNING)

    def hand_over(self, connection: Connection, id: str, attempt: str, owner: str) -> bool:
        """Give a claim to another owner, which runs the same attempt."""
        return self._fenced(connection, self._made.hand_over, id, attempt, RUNNING, owner_=owner)

    def reclaim(self, connection: Connection, old: Claim, attempt: str, owner: str) -> None:
        """Give the claim back to an attempt from which it was taken, and which is finished."""
        values = {"key": old.id, "attempt_": attempt, "owner_": owner, "path_": old.path}
        connection.execute(self._made.claim.sql, self._made.claim.values(values))

    def withdraw(self, connection: Connection, old: Claim) -> None:
        """Withdraw the attempt, and with it whatever was begun for the key until now."""
        connection.execute(self._made.discarding.sql, self._made.discarding.values({"key": old.id, **_withdrawn(old)}))

    def mark_deleting(self, connection: Connection, id: str, attempt: str, keep_failure: bool = False) -> None:
        """Mark that the row is gone and its file is being removed.

        Parameters
        ----------
        keep_failure
            Whether only an old result goes: a failure recorded since then is still worth knowing.
        """
        statement = self._made.discarding if keep_failure else self._made.deleting
        connection.execute(statement.sql, statement.values({"key": id, "attempt_": attempt, "state_": DELETING}))

    def vacate(self, connection: Connection, id: str, attempt: str) -> bool:
        """Record that the deleted row's file is gone."""
        return self._fenced(connection, self._made.cleared, id, attempt, DELETING)

    def register(
        self,
        connection: Connection,
        old: Claim | None,
        id: str,
        registered: str,
        size: int,
        mtime_ns: int,
        sum_: int,
    ) -> None:
        """Record where the file of a registered row is; a dead owner's attempt is withdrawn.

        A file at the key's own place is the user's from now on: runs get another place.
        """
        statement = self._made.register if old else self._made.register_new
        published = old.published if old is not None and old.path != registered else None
        values = {"key": id, "registered_": registered, "size_": size, "mtime_": mtime_ns, "checksum_": sum_}
        values["published_"] = published
        connection.execute(statement.sql, statement.values({**values, **_withdrawn(old)}))

    def set_origin(self, connection: Connection, id: str, later: Sequence[object]) -> None:
        """Record what `tables.LATER` names of a row that was just registered."""
        names = (f"{column.name}_" for column in LATER)
        values = dict(zip(names, later, strict=True))
        connection.execute(self._made.origin.sql, self._made.origin.values({"key": id, **values}))

    def record_extent(self, connection: Connection, id: str, size: int, mtime_ns: int) -> None:
        """Record the size and mtime of a file anew: of one that is registered, or was copied."""
        connection.execute(
            self._made.measured.sql, self._made.measured.values({"key": id, "size_": size, "mtime_": mtime_ns})
        )

    def drop(self, connection: Connection, old: Claim, id: str) -> None:
        """Record that the row alone is gone; its file, if it is ours, stays ours."""
        connection.execute(self._made.drop.sql, self._made.drop.values({"key": id, **_withdrawn(old)}))

    def renew(self, claims: Sequence[tuple[str, str]]) -> None:
        """Renew the leases of running attempts, given as (id, attempt)."""

        def work(connection: Connection) -> None:
            for id, attempt in claims:
                self._fenced(connection, self._made.renew, id, attempt, RUNNING)

        self.database.transact(work)

    def renewal(self, id: str, attempt: str) -> tuple[str, tuple[object, ...]]:
        """Return the statement that renews the lease of a running attempt, for somebody who runs it elsewhere."""
        return self._made.renew.sql, self._made.renew.values({"key": id, "held": attempt, "held_state": RUNNING})

    def wait_for(self, id: str, attempt: str, other: str | None) -> None:
        """Record which key the call that runs this attempt waits for."""
        values = {"key": id, "held": attempt, "held_state": RUNNING, "other": other}
        self.database.connection().change(self._made.wait_for.sql, self._made.wait_for.values(values))

    def _fenced(
        self, connection: Connection, statement: Statement, id: str, attempt: str, state: str, **values: object
    ) -> bool:
        given = {"key": id, "held": attempt, "held_state": state, **values}
        matched: int = connection.execute(statement.sql, statement.values(given)).rowcount
        return matched == 1


def _sound_ones(rows: Iterable[Any]) -> Iterator[Claim]:
    return (claim for row in rows if flaw(claim := Claim(*row)) is None)


def _withdrawn(old: Claim | None) -> dict[str, str]:
    """Return the attempt and state of a claim that nobody runs, and to which no attempt may come back."""
    return {"attempt_": new_attempt(old, over=True), "state_": IDLE}
