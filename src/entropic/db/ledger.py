"""The ledger: one claim per key, who runs it, and what was published.

States of a claim, and nothing else moves them:

    (none) -> running -> idle        claimed, then published, released, or withdrawn
              running -> failed      the runner raised
    idle, failed -> running          claimed again
    any -> deleting -> idle          the row is deleted, then its file

Every method that takes a connection runs inside a transaction (`Database.transact`), but for `claim_first`.
A claim that entropic did not make (`flaws.py`) is refused where it alone is asked for, and left out of many.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.dialects.portable import Dialect
from entropic.db.engine import Database
from entropic.db.flaws import flaw
from entropic.db.statement import ByKeys, Statement, fixed
from entropic.db.tables import ledger, meta
from entropic.errors import UnreadableError
from entropic.support import process
from entropic.support.failure import Record, parse

IDLE, RUNNING, DELETING, FAILED = "idle", "running", "deleting", "failed"
DISTRUSTED = -1  # the recorded size of a result that a power cut may have damaged: no file has it
LEASE = 60.0  # s, unless a store is given another
LONGEST_LEASE = "longest_lease"  # the name of that setting, which is recorded once a store has a longer one
UNUSED = "0-00000000"  # the attempt of a claim that was made only to be locked

_c = ledger.c
_COLUMNS = (
    *(_c.id, _c.model, _c.attempt, _c.state, _c.owner, _c.since, _c.lease_until, _c.waits_for, _c.path),
    *(_c.published, _c.size, _c.mtime_ns, _c.extra, _c.registered, _c.failure.is_not(None)),
)


@dataclass(slots=True)
class Claim:
    """What the ledger says of one key."""

    id: str
    model: str
    attempt: str
    state: str
    owner: str | None
    since: float | None
    lease_until: float | None
    waits_for: str | None
    path: str | None
    published: str | None
    size: int | None
    mtime_ns: int | None
    extra: bool | None
    registered: str | None
    failed: bool  # whether the newest attempt that came to an end failed
    now: float  # the database's time when this was read
    longest: str | None  # the longest lease that any store has, if that is not the usual one

    @property
    def dead(self) -> bool:
        """Whether nobody who can still finish holds this claim: see `process.state`, elsewhere the lease decides.

        One that lasts longer than any lease was made, or renewed, while a clock was ahead, and says nothing. (A lease
        more is left to it: a living owner renews its own, once the clock is right again.)
        """
        found = process.state(self.owner)
        if found != "elsewhere":
            return found == "dead"
        return not self.now <= (self.lease_until or 0.0) <= self.now + 2 * longest_lease(self.longest)

    @property
    def gone(self) -> bool:
        """Whether it is dead, or this host was started again since its owner, which worked here, was last heard of.

        For who looks and repairs: hosts may share a name, so nobody takes over by that alone.
        """
        if self.dead or self.owner is None:
            return self.dead
        heard = max(self.since or 0.0, (self.lease_until or 0.0) - longest_lease(self.longest))
        return process.is_of_earlier_boot(self.owner, self.now - heard)

    @property
    def placed_elsewhere(self) -> bool:
        """Whether another host, as far as is recorded, has published what lies at its place."""
        return self.state == IDLE and self.published is not None and process.state(self.owner) == "elsewhere"


def longest_lease(recorded: str | None) -> float:
    """Return the longest lease of any store, in seconds, given what is recorded of it."""
    try:
        found = float(recorded or LEASE)
    except ValueError:
        return LEASE
    return found if LEASE < found < float("inf") else LEASE


def new_attempt(old: Claim | None, over: bool = False) -> str:
    """Return a name for the next attempt, which was never used and never will be again.

    `<generation>-<order>`: the attempts of one generation compete for the same next row, and later ones are larger. A
    generation is over when one of it is published, or the row is deleted (`over`).
    """
    if old is None:
        return f"1-{_random() >> 1:08x}"
    generation, order = _parts(old.attempt)
    later = order + 1 + (_random() >> 16)
    if over or old.published == old.attempt or old.attempt == UNUSED or later >= 1 << 32:
        return f"{generation + 1}-{_random() >> 1:08x}"
    return f"{generation}-{later:08x}"


def generation(attempt: str) -> int:
    """Return the number of those attempts that compete with one for the same row."""
    return _parts(attempt)[0]


def _parts(attempt: str) -> tuple[int, int]:
    number, _, rest = attempt.partition("-")
    return int(number), int(rest[:8], 16)


def _random() -> int:
    return int.from_bytes(os.urandom(4))


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
        self._others: dict[str, Ledger] = {model: self}

        def compiled(statement: Any) -> Statement:
            return Statement(statement, database.sql)

        dialect, now = database.dialect, database.dialect.now
        mine = (_c.id == bindparam("key")) & (_c.model == model)
        held = mine & (_c.attempt == bindparam("held")) & (_c.state == bindparam("held_state"))
        longest = sa.select(meta.c.value).where(meta.c.name == fixed(LONGEST_LEASE)).scalar_subquery()
        claims = sa.select(*_COLUMNS, now, longest)
        set_ = sa.update(ledger).where(mine).values
        fenced = sa.update(ledger).where(held).values
        nobody = {"owner": sa.null(), "since": sa.null(), "lease_until": sa.null(), "waits_for": sa.null()}
        until = now + bindparam("lease_", lease)
        running = {
            "attempt": bindparam("attempt_"),
            "state": RUNNING,
            "owner": bindparam("owner_"),
            "since": now,
            "lease_until": until,
            "waits_for": sa.null(),
            "path": bindparam("path_"),
        }
        recorded: dict[str, Any] = {"size": bindparam("size_"), "mtime_ns": bindparam("mtime_")}
        key = {"id": bindparam("key"), "model": sa.literal(model)}
        moved = {"attempt": bindparam("attempt_"), "state": bindparam("state_"), **nobody}
        unregistered = {"registered": sa.null(), "checksum": sa.null(), "failure": sa.null()}

        self._lock = compiled(dialect.locked(claims.where(_c.id == bindparam("key"))))
        nothing = {"attempt": sa.literal(UNUSED), "state": sa.literal(IDLE)}
        self._add = None if dialect.one_writer else compiled(dialect.ensure(ledger, {**key, **nothing}))
        self._find = compiled(claims.where(mine))
        self._find_many = ByKeys(database, claims.where(_c.model == model), _c.id)
        self._all = compiled(claims.where(_c.model == model))
        self._registered = compiled(sa.select(_c.registered).where(_c.registered.is_not(None)))
        self._pending = compiled(claims.where(_c.state.in_([sa.literal(RUNNING), sa.literal(DELETING)])))
        at = sa.select(_c.model, _c.id).where((_c.path == bindparam("path_")) & _c.published.is_not(None))
        self._at, self._at_any = compiled(at.where(_c.id == bindparam("key"))), compiled(at)
        self._insert = compiled(sa.insert(ledger).values(**key, **running))
        self._first = compiled(_first(dialect, {**key, **running}))
        self._first_values = self._first.taking("key", "attempt_", "owner_", "path_")
        self._claim = compiled(set_(**running))
        # On a server it stays recorded who placed the file, and when: other hosts may see it a little later.
        placed = nobody if dialect.one_writer else {**nobody, "owner": bindparam("owner_"), "since": now}
        self._publish = compiled(
            fenced(
                state=IDLE,
                published=bindparam("held"),
                extra=bindparam("extra_"),
                checksum=bindparam("checksum_"),
                failure=sa.null(),
                registered=sa.null(),
                **placed,
                **recorded,
            )
        )
        self._publish_values = self._publish.taking(
            *("key", "held", "size_", "mtime_", "extra_", "checksum_", "held_state"),
            *(() if dialect.one_writer else ("owner_",)),
        )
        self._fail = compiled(fenced(state=FAILED, failure=bindparam("failure_"), **nobody))
        self._vanished = compiled(
            fenced(state=FAILED, failure=bindparam("failure_"), published=sa.null(), extra=sa.null(), **nobody)
        )
        self._release = compiled(fenced(state=IDLE, **nobody))
        self._abandon = compiled(fenced(owner=sa.null(), waits_for=sa.null()))
        self._deleting = compiled(set_(**moved, **unregistered))
        self._discarding = compiled(set_(**moved))
        self._cleared = compiled(
            fenced(state=IDLE, published=sa.null(), extra=sa.null(), size=sa.null(), mtime_ns=sa.null())
        )
        registered = {
            "registered": bindparam("registered_"),
            "checksum": bindparam("checksum_"),
            "failure": sa.null(),
            **recorded,
            "published": bindparam("published_"),
        }
        self._register_new = compiled(
            sa.insert(ledger).values(**key, attempt=bindparam("attempt_"), state=bindparam("state_"), **registered)
        )
        self._register = compiled(set_(**moved, **registered))
        self._drop = compiled(set_(**moved, **unregistered))
        self._renew = compiled(fenced(lease_until=until))
        self._wait_for = compiled(fenced(waits_for=bindparam("other")))
        self._measured = compiled(set_(**recorded))
        self._failure = compiled(sa.select(_c.failure).where(mine))
        failures = sa.select(_c.id, _c.failure).where(_c.model == model, _c.failure.is_not(None))
        self._failures = compiled(failures)
        self._failures_of = ByKeys(database, failures, _c.id)
        self._checksums = compiled(sa.select(_c.id, _c.checksum).where(_c.model == model))

    def of(self, model: str) -> "Ledger":
        """Return the ledger of another model in the same database."""
        if model not in self._others:
            self._others[model] = Ledger(self.database, model, self.lease)
        return self._others[model]

    # ---- looking ---------------------------------------------------------------------------------------------
    def lock(self, connection: Connection, id: str) -> tuple[Claim | None, set[str]]:
        """Lock the claim and return it, and the places that other models hold for the same id.

        On a server a claim must exist to be locked: one that is of no attempt is made, and waits for the first.
        """
        rows = connection.fetch(self._lock.sql, (id,))
        if self._add is not None and all(row[1] != self.model for row in rows):
            connection.execute(self._add.sql, self._add.values({"key": id}))
            rows = connection.fetch(self._lock.sql, (id,))
        mine, taken = None, set()
        for row in rows:
            if row[1] == self.model:
                mine = self._sound(row)
            elif row[8] is not None:
                taken.add(row[8])
        return mine, taken

    def find(self, id: str) -> Claim | None:
        """Return the claim as it stands, without a lock."""
        rows = self.database.connection().fetch(self._find.sql, self._find.values({"key": id}))
        return self._sound(rows[0]) if rows else None

    def find_many(self, ids: Iterable[str], within: Connection | None = None) -> Iterator[Claim]:
        """Return the claims of many keys, without a lock, perhaps within a transaction; some may have none."""
        return _sound_ones(self._find_many.fetch(ids, within))

    def all(self) -> Iterator[Claim]:
        """Return every claim of this model."""
        return _sound_ones(self.database.connection().fetch(self._all.sql, self._all.values({})))

    def flawed(self) -> Iterator[tuple[Claim, str]]:
        """Return the claims of this model that entropic did not make, each with what is wrong with it."""
        for row in self.database.connection().fetch(self._all.sql, self._all.values({})):
            claim = Claim(*row)
            if (found := flaw(claim)) is not None:
                yield claim, found

    def registered(self) -> list[str]:
        """Return where the registered files of all models in this database lie, as it is recorded."""
        return [str(row[0]) for row in self.database.connection().fetch(self._registered.sql)]

    def pending(self) -> dict[tuple[str, str, str], Claim]:
        """Return the claims of all models that are running or deleting, by model, id and attempt."""
        rows = self.database.connection().fetch(self._pending.sql, self._pending.values({}))
        return {(claim.model, claim.id, claim.attempt): claim for claim in _sound_ones(rows)}

    def _sound(self, row: Any) -> Claim:
        claim = Claim(*row)
        found = flaw(claim)
        if found is None:
            return claim
        raise UnreadableError(
            f"what the ledger in {self.database} says of {claim.id!r:.80} was not made by entropic: {found}; nothing "
            "is done with this key. Restore its line of entropic_ledger from a backup, or delete that line"
        )

    def failure(self, id: str, within: Connection | None = None) -> Record:
        """Return what was recorded of the newest attempt's failure, perhaps within a transaction."""
        sql, values = self._failure.sql, self._failure.values({"key": id})
        rows = within.execute(sql, values).fetchall() if within else self.database.connection().fetch(sql, values)
        return parse(rows[0][0]) if rows and rows[0][0] else {}

    def failures(self, ids: Iterable[str] | None = None) -> Iterator[tuple[str, Record]]:
        """Return the recorded failures, of all keys or of some, by id."""
        if ids is None:
            found: Iterable[Any] = self.database.connection().fetch(self._failures.sql, self._failures.values({}))
        else:
            found = self._failures_of.fetch(ids)
        for id, failure in found:
            yield id, parse(failure)

    def checksums(self) -> dict[str, int | None]:
        """Return the checksum of every row of this model, by id."""
        return dict(self.database.connection().fetch(self._checksums.sql, self._checksums.values({})))

    def owner_of(self, name: str) -> tuple[str, str] | None:
        """Return the model and id of the run whose result, or extra files, have a name in `results_dir`, if any."""
        place = re.sub(r"\.\d+-[0-9a-f]{8}\.files\Z", "", name)
        id = re.split("[.=]", place)[0]
        statement = self._at_any if "=" in place else self._at  # a place with a hash does not tell its id
        rows = self.database.connection().fetch(statement.sql, statement.values({"key": id, "path_": place}))
        return (rows[0][0], rows[0][1]) if rows else None

    # ---- moving a claim --------------------------------------------------------------------------------------
    def claim(self, connection: Connection, old: Claim | None, id: str, owner: str, path: str) -> str:
        """Begin a new attempt and return its name."""
        attempt = new_attempt(old)
        statement = self._claim if old else self._insert
        connection.execute(
            statement.sql, statement.values({"key": id, "attempt_": attempt, "owner_": owner, "path_": path})
        )
        return attempt

    def claim_first(self, connection: Connection, id: str, owner: str, path: str) -> str | None:
        """Begin the first attempt of an id that no model has ever claimed; None if one has. Needs no transaction."""
        attempt = new_attempt(None)
        values = self._first_values(id, attempt, owner, path)
        return attempt if connection.change(self._first.sql, values) == 1 else None

    def claim_first_many(self, connection: Connection, paths: Mapping[str, str], owner: str) -> dict[str, str]:
        """Begin the first attempts of many ids, given with their places; return those that succeed, by id."""
        attempts = {id: new_attempt(None) for id in paths}
        # In the order of the keys, as everywhere: who locks several in another order meets a deadlock.
        values = [self._first_values(id, attempts[id], owner, paths[id]) for id in sorted(paths)]
        if connection.execute_many(self._first.sql, values) == len(attempts):
            return attempts
        found = self.find_many(attempts, connection)
        return {claim.id: claim.attempt for claim in found if claim.attempt == attempts[claim.id]}

    def publish(
        self,
        connection: Connection,
        id: str,
        attempt: str,
        size: int,
        mtime_ns: int,
        extra: bool,
        checksum: int,
    ) -> bool:
        """Record the attempt's result; False if the attempt no longer holds the claim (the fence)."""
        values = self._publish_values(id, attempt, size, mtime_ns, extra, checksum, RUNNING, *self._publisher())
        matched: int = connection.execute(self._publish.sql, values).rowcount
        return matched == 1

    def publish_many(self, connection: Connection, results: Sequence[tuple[Any, ...]]) -> bool:
        """Record many results, each given as for `publish`; False if any attempt no longer holds its claim."""
        values = [self._publish_values(*result, RUNNING, *self._publisher()) for result in results]
        return connection.execute_many(self._publish.sql, values) == len(values)

    def _publisher(self) -> tuple[str, ...]:
        return () if self.database.dialect.one_writer else (f"{process.identity()}.0",)  # no call, so it is dead

    def fail(self, connection: Connection, id: str, attempt: str, failure: dict[str, Any]) -> bool:
        """Record that the attempt failed."""
        return self._fenced(connection, self._fail, id, attempt, RUNNING, failure_=json.dumps(failure))

    def vanished(self, connection: Connection, id: str, attempt: str, failure: dict[str, Any]) -> bool:
        """Record that the attempt's result was removed by an outsider before it was published."""
        return self._fenced(connection, self._vanished, id, attempt, RUNNING, failure_=json.dumps(failure))

    def release(self, connection: Connection, id: str, attempt: str) -> bool:
        """Give back a claim whose execution has ended, or never began, without a result."""
        return self._fenced(connection, self._release, id, attempt, RUNNING)

    def abandon(self, connection: Connection, id: str, attempt: str) -> bool:
        """Give up a claim that somebody may still finish: from now on its owner counts as dead."""
        return self._fenced(connection, self._abandon, id, attempt, RUNNING)

    def reclaim(self, connection: Connection, old: Claim, attempt: str, owner: str) -> None:
        """Give the claim back to an attempt from which it was taken, and which is finished."""
        values = {"key": old.id, "attempt_": attempt, "owner_": owner, "path_": old.path}
        connection.execute(self._claim.sql, self._claim.values(values))

    def withdraw(self, connection: Connection, old: Claim) -> None:
        """Give up the claim, and with it whatever was begun for it until now."""
        connection.execute(self._discarding.sql, self._discarding.values({"key": old.id, **_withdrawn(old)}))

    def deleting(self, connection: Connection, id: str, attempt: str, keep_failure: bool = False) -> None:
        """Mark that the row is gone and its file is being removed.

        Parameters
        ----------
        keep_failure
            Whether only an old result goes: a failure recorded since then is still worth knowing.
        """
        statement = self._discarding if keep_failure else self._deleting
        connection.execute(statement.sql, statement.values({"key": id, "attempt_": attempt, "state_": DELETING}))

    def cleared(self, connection: Connection, id: str, attempt: str) -> bool:
        """Record that the deleted row's file is gone."""
        return self._fenced(connection, self._cleared, id, attempt, DELETING)

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
        """Record where the file of a registered row lies; a dead owner's attempt is withdrawn.

        A file at the key's own place is the user's from now on: runs get another place.
        """
        statement = self._register if old else self._register_new
        published = old.published if old is not None and old.path != registered else None
        values = {"key": id, "registered_": registered, "size_": size, "mtime_": mtime_ns, "checksum_": sum_}
        values["published_"] = published
        connection.execute(statement.sql, statement.values({**values, **_withdrawn(old)}))

    def measured(self, connection: Connection, id: str, size: int, mtime_ns: int) -> None:
        """Record the size and mtime of a file anew: of one that is registered, or was copied."""
        connection.execute(self._measured.sql, self._measured.values({"key": id, "size_": size, "mtime_": mtime_ns}))

    def drop(self, connection: Connection, old: Claim, id: str) -> None:
        """Record that the row alone is gone; its file, if it is ours, stays ours."""
        connection.execute(self._drop.sql, self._drop.values({"key": id, **_withdrawn(old)}))

    def renew(self, claims: Sequence[tuple[str, str]]) -> None:
        """Renew the leases of running attempts, given as (id, attempt)."""

        def work(connection: Connection) -> None:
            for id, attempt in claims:
                self._fenced(connection, self._renew, id, attempt, RUNNING)

        self.database.transact(work)

    def renewal(self, id: str, attempt: str) -> tuple[str, tuple[Any, ...]]:
        """Return the statement that renews the lease of a running attempt, for somebody who runs it elsewhere."""
        return self._renew.sql, self._renew.values({"key": id, "held": attempt, "held_state": RUNNING})

    def wait_for(self, id: str, attempt: str, other: str | None) -> None:
        """Record which key the call that runs this attempt waits for."""
        values = {"key": id, "held": attempt, "held_state": RUNNING, "other": other}
        self.database.connection().change(self._wait_for.sql, self._wait_for.values(values))

    def _fenced(
        self, connection: Connection, statement: Statement, id: str, attempt: str, state: str, **values: Any
    ) -> bool:
        given = {"key": id, "held": attempt, "held_state": state, **values}
        matched: int = connection.execute(statement.sql, statement.values(given)).rowcount
        return matched == 1


def _sound_ones(rows: Iterable[Any]) -> Iterator[Claim]:
    return (claim for row in rows if flaw(claim := Claim(*row)) is None)


def _withdrawn(old: Claim | None) -> dict[str, str]:
    """Return the attempt and state of a claim that nobody runs, and to which no attempt may come back."""
    return {"attempt_": new_attempt(old, over=True), "state_": IDLE}


def _first(dialect: Dialect, values: dict[str, Any]) -> Any:
    """Return the statement that inserts the first claim of an id that no model has claimed.

    On a server the unique index of places tells of another model's, also of one that is not committed yet.
    """
    if not dialect.one_writer:
        return dialect.insert_new(ledger, values)
    # Any claim of the id leaves the new one without an attempt, which is NOT NULL, so it is ignored. An INSERT from a
    # SELECT of the same table would say it more plainly, and take a third longer: it needs a temporary table.
    unseen = sa.case((~sa.exists().where(_c.id == bindparam("key")), values["attempt"]))
    return sa.insert(ledger).prefix_with("OR IGNORE").values({**values, "attempt": unseen})
