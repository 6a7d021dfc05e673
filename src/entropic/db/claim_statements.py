"""The statements of a ledger, made once for a model, of whatever databases."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.claim_record import DELETING, FAILED, IDLE, LONGEST_LEASE, RUNNING, UNUSED
from entropic.db.dialects.portable import Dialect
from entropic.db.statement import ByKeys, Statement, fixed
from entropic.db.tables import LATER, USED, ledger, meta
from entropic.db.wording import KEPT, Wording

_c = ledger.c
_COLUMNS = (
    *(_c.id, _c.model, _c.attempt, _c.state, _c.owner, _c.since, _c.lease_until, _c.waits_for, _c.path),
    *(_c.published, _c.size, _c.mtime_ns, _c.extra, _c.registered, _c.failure.is_not(None)),
)


Publication = tuple[str, Callable[..., tuple[object, ...]]]  # the statement that publishes, and what takes its values


@dataclass(frozen=True, slots=True)
class ClaimStatements:
    """All of them; the methods of `Ledger` say what each is for."""

    lock: Statement
    add: Statement | None
    find: Statement
    find_many: ByKeys
    all: Statement
    registered: Statement
    pending: Statement
    at: Statement
    at_any: Statement
    insert: Statement
    first: Statement
    first_values: Callable[..., tuple[object, ...]]
    claim: Statement
    publication: Callable[[bool], Publication]
    fail: Statement
    vanished: Statement
    release: Statement
    abandon: Statement
    hand_over: Statement
    deleting: Statement
    discarding: Statement
    cleared: Statement
    register_new: Statement
    register: Statement
    drop: Statement
    renew: Statement
    wait_for: Statement
    measured: Statement
    origin: Statement
    failure: Statement
    failures: Statement
    failures_of: ByKeys
    checksum: Statement
    checksums: Statement


@lru_cache(KEPT)
def claim_statements(wording: Wording, model: str, lease: float) -> ClaimStatements:
    """Make the statements on the claims of one model."""

    def compiled(statement: object) -> Statement:
        return Statement(statement, wording.sql)

    dialect, now = wording.dialect, wording.dialect.now
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
    recorded: dict[str, object] = {"size": bindparam("size_"), "mtime_ns": bindparam("mtime_")}
    key = {"id": bindparam("key"), "model": sa.literal(model)}
    moved = {"attempt": bindparam("attempt_"), "state": bindparam("state_"), **nobody}
    forgotten = {column.name: sa.null() for column in LATER}
    unregistered = {"registered": sa.null(), "checksum": sa.null(), "failure": sa.null(), **forgotten}

    nothing = {"attempt": sa.literal(UNUSED), "state": sa.literal(IDLE)}
    below = _c.path.like(bindparam("below_"), escape="!")
    at = sa.select(_c.model, _c.id).where(((_c.path == bindparam("path_")) | below) & _c.published.is_not(None))
    # On a server it stays recorded who placed the file, and when: other hosts may see it a little later.
    placed = nobody if dialect.one_writer else {**nobody, "owner": bindparam("owner_"), "since": now}
    registered = {
        "registered": bindparam("registered_"),
        "checksum": bindparam("checksum_"),
        "failure": sa.null(),
        **recorded,
        "published": bindparam("published_"),
        **forgotten,
    }
    failures = sa.select(_c.id, _c.failure).where(_c.model == model, _c.failure.is_not(None))
    # Of every run: what is written into the text need not be bound.
    # (Not the model, a part of the key: SQLAlchemy would ask for it back, and the driver then counts no row.)
    first = compiled(_insert_first(dialect, {**key, **running, "state": fixed(RUNNING)}))
    attempt_of = (_c.id == bindparam("key")) & (_c.model == fixed(model)) & (_c.attempt == bindparam("held"))

    def publishing(is_short: bool) -> Statement:
        """Make the statement that publishes; that of a short run says itself that nothing is known of what it used.

        SQLite's driver takes longer to find out what a None is than to bind five numbers, for each that it gets.
        """
        later: dict[str, object] = {column.name: bindparam(f"{column.name}_") for column in LATER}
        if is_short:
            later |= {column.name: sa.null() for column in LATER[USED:]}
        return compiled(
            sa.update(ledger)
            .where(attempt_of & (_c.state == fixed(RUNNING)))
            .values(
                state=fixed(IDLE),
                published=bindparam("held"),
                extra=bindparam("extra_"),
                checksum=bindparam("checksum_"),
                failure=sa.null(),
                registered=sa.null(),
                **later,
                **placed,
                **recorded,
            )
        )

    publications = {is_short: publishing(is_short) for is_short in (False, True)}

    def publication(is_short: bool) -> Publication:
        """Return the statement that publishes, and what takes its values."""
        statement = publications[is_short]
        return statement.sql, statement.taking(
            *("key", "held", "size_", "mtime_", "extra_", "checksum_"),
            *(f"{column.name}_" for column in LATER),
            *(() if dialect.one_writer else ("owner_",)),
        )

    return ClaimStatements(
        lock=compiled(dialect.locked(claims.where(_c.id == bindparam("key")))),
        add=None if dialect.one_writer else compiled(dialect.ensure(ledger, {**key, **nothing})),
        find=compiled(claims.where(mine)),
        find_many=ByKeys(wording, claims.where(_c.model == model), _c.id),
        all=compiled(claims.where(_c.model == model)),
        registered=compiled(sa.select(_c.registered).where(_c.registered.is_not(None))),
        pending=compiled(claims.where(_c.state.in_([sa.literal(RUNNING), sa.literal(DELETING)]))),
        at=compiled(at.where(_c.id == bindparam("key"))),
        at_any=compiled(at),
        insert=compiled(sa.insert(ledger).values(**key, **running)),
        first=first,
        first_values=first.taking("key", "attempt_", "owner_", "path_"),
        claim=compiled(set_(**running)),
        publication=publication,
        fail=compiled(fenced(state=FAILED, failure=bindparam("failure_"), **nobody)),
        vanished=compiled(
            fenced(state=FAILED, failure=bindparam("failure_"), published=sa.null(), extra=sa.null(), **nobody)
        ),
        release=compiled(fenced(state=IDLE, **nobody)),
        abandon=compiled(fenced(owner=sa.null(), waits_for=sa.null())),
        hand_over=compiled(fenced(owner=bindparam("owner_"), waits_for=sa.null())),
        deleting=compiled(set_(**moved, **unregistered)),
        discarding=compiled(set_(**moved)),
        cleared=compiled(fenced(state=IDLE, published=sa.null(), extra=sa.null(), size=sa.null(), mtime_ns=sa.null())),
        register_new=compiled(
            sa.insert(ledger).values(**key, attempt=bindparam("attempt_"), state=bindparam("state_"), **registered)
        ),
        register=compiled(set_(**moved, **registered)),
        drop=compiled(set_(**moved, **unregistered)),
        renew=compiled(fenced(lease_until=until)),
        wait_for=compiled(fenced(waits_for=bindparam("other"))),
        measured=compiled(set_(**recorded)),
        origin=compiled(set_(**{column.name: bindparam(f"{column.name}_") for column in LATER})),
        failure=compiled(sa.select(_c.failure).where(mine)),
        failures=compiled(failures),
        failures_of=ByKeys(wording, failures, _c.id),
        checksum=compiled(sa.select(_c.checksum).where(mine)),
        checksums=compiled(sa.select(_c.id, _c.checksum).where(_c.model == model)),
    )


def _insert_first(dialect: Dialect, values: dict[str, object]) -> object:
    """Return the statement that inserts the first claim of an id that no model has claimed.

    On a server the unique index of places tells of another model's, also of one that is not committed yet.
    """
    if not dialect.one_writer:
        return dialect.insert_new(ledger, values)
    # Any claim of the id leaves the new one without an attempt, which is NOT NULL, so it is ignored. An INSERT from a
    # SELECT of the same table would say it more plainly, and take a third longer: it needs a temporary table.
    unseen = sa.case((~sa.exists().where(_c.id == bindparam("key")), values["attempt"]))
    return sa.insert(ledger).prefix_with("OR IGNORE").values({**values, "attempt": unseen})
