"""`Store.measure`: outcome columns that are computed from results, for runs that ended before there was such a column.

Nothing runs again: the results are read where they lie. Rows are written in batches, so what was interrupted goes on
where it was. A row that a new run replaces meanwhile is left to that run.
"""

import collections
import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from entropic.db.connection import Connection
from entropic.db.statement import Statement
from entropic.db.tables import outcomes as recorded
from entropic.errors import OutcomeWarning, ParameterError, UnreadableError, warn
from entropic.params.fields import unknown_key
from entropic.params.outcomes import NOT_RECORDED, NOTED, Outcome, Outcomes, gather, read_notes
from entropic.protocol import compare, lookup
from entropic.protocol.context import StoreContext
from entropic.support.show import counted

BATCH_SECONDS, BATCH = 0.5, 500
_SHOWN = 5


@dataclass(slots=True)
class Measured:
    """What `Store.measure` has done.

    Attributes
    ----------
    names : list[str]
        The columns that it looked after.
    filled : int
        How many rows got a value.
    failed : dict[str, str]
        Of rows that did not get all of them, by id: why. What a function raised the rows say too.
    skipped : int
        How many rows say that they could not be measured before; they are tried again only if asked.
    empty : int
        How many rows have no value still, since that is what their result says: the function returned None of it.
    """

    names: list[str]
    filled: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    empty: int = 0

    def __repr__(self) -> str:
        lines = [f"{', '.join(self.names) or 'nothing to measure'}: {counted(self.filled, 'row')} measured"]
        if self.failed:
            lines[0] += f", {len(self.failed)} could not be"
            lines += [f"  {id}  {why}" for id, why in list(self.failed.items())[:_SHOWN]]
            lines += [f"  and {len(self.failed) - _SHOWN} more"] if len(self.failed) > _SHOWN else []
        if self.empty:
            lines.append(
                f"{counted(self.empty, 'row')} without a value: None is what was returned, or is in the result"
            )
        if self.skipped:
            lines.append(f"{counted(self.skipped, 'row')} could not be measured before; again=True tries once more")
        return "\n".join(lines)


def measure(
    context: StoreContext[Any], names: Sequence[str], read: Callable[[str], object], workers: int, again: bool
) -> Measured:
    """Fill the columns of stored rows; the meaning of the arguments is that of `Store.measure`."""
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ParameterError(f"workers is a number of threads from 1 on, not {workers!r:.80}")
    context.must_write("measure() would have to fill columns")
    wanted = _chosen(context, names)
    found = Measured([one.name for one in wanted])
    if not wanted:
        return found
    known = _recorded(context)
    for one in wanted:
        if one.measure is None:
            continue  # the result may not hold it, while the row does
        if again or _is_changed(known, one):
            _forget(context, one)
        if known.get(one.name) != fingerprint(one.measure):
            _record(context, one)
    with ThreadPoolExecutor(workers, thread_name_prefix="entropic-measure") as pool:
        _fill(context, wanted, read, pool, 4 * workers, found)
    return found


def _chosen(context: StoreContext[Any], names: Sequence[str]) -> list[Outcome]:
    known = {one.name: one for one in context.schema.asked_of_runs}
    for name in names:
        if name not in known:
            raise ParameterError(unknown_key(name, context.schema.name, list(known)))
    return [known[name] for name in names] if names else [one for one in known.values() if one.measure is not None]


# ---- which rows lack a value ---------------------------------------------------------------------------------------
def warn_of_changes(context: StoreContext[Any]) -> None:
    """Record which function computes each column, and warn of those that are computed by another one now."""
    known = _recorded(context)
    for one in context.schema.asked_of_runs:
        if one.name not in known:
            _record(context, one)
    changed = [one.name for one in context.schema.asked_of_runs if _is_changed(known, one)]
    if changed:
        warn(
            f"{' and '.join(changed)} of {context.schema.name} {'is' if len(changed) == 1 else 'are'} computed by "
            "another function now than for the rows that are stored; store.measure() computes them anew, without a run",
            OutcomeWarning,
        )


def _is_changed(known: Mapping[str, str | None], one: Outcome) -> bool:
    before = known.get(one.name)
    if before is None or one.measure is None:
        return False
    now = fingerprint(one.measure)
    return before.partition(":")[0] == now.partition(":")[0] and before != now  # of other rules it tells nothing


def _recorded(context: StoreContext[Any]) -> dict[str, str | None]:
    """Return, by column, the fingerprint of what computed it."""
    query = sa.select(recorded.c.name, recorded.c.code).where(recorded.c.model == sa.bindparam("m"))
    statement = Statement(query, context.database.sql)
    return dict(context.database.connection().fetch(statement.sql, statement.values({"m": context.schema.table_name})))


def _record(context: StoreContext[Any], one: Outcome) -> None:
    """Record the function that computes a column; of one that runs return, that there is such a column."""
    database, connection = context.database, context.database.connection()
    new: dict[str, Any] = {"model": sa.bindparam("m"), "name": sa.bindparam("n"), "code": sa.bindparam("c")}
    given = {
        "m": context.schema.table_name,
        "n": one.name,
        "c": None if one.measure is None else fingerprint(one.measure),
    }
    add = Statement(database.dialect.insert_new(recorded, new), database.sql)
    connection.change(add.sql, add.values(given))
    where = (recorded.c.model == sa.bindparam("m")) & (recorded.c.name == sa.bindparam("n"))
    change = Statement(sa.update(recorded).where(where).values(code=sa.bindparam("c")), database.sql)
    connection.change(change.sql, change.values(given))


def _lacking(context: StoreContext[Any], wanted: Iterable[Outcome]) -> list[str]:
    """Return the keys of rows in which one of the columns is NULL."""
    table, columns = context.schema.table, [context.schema.outcomes[one.name].column for one in wanted]
    query = sa.select(table.c.id).where(sa.or_(*(column.is_(None) for column in columns))).order_by(table.c.id)
    statement = Statement(query, context.database.sql)
    return [id for (id,) in context.database.connection().fetch(statement.sql, statement.values({}))]


def _notes(custom_data: object) -> dict[str, str]:
    """Return what a row notes of its columns."""
    return {**read_notes(custom_data, NOTED), **read_notes(custom_data, NOT_RECORDED)}


# ---- reading and writing -------------------------------------------------------------------------------------------
_Job = tuple[Any, list[Outcome], Future[Outcomes]]


def _fill(
    context: StoreContext[Any],
    wanted: list[Outcome],
    read: Callable[[str], object],
    pool: ThreadPoolExecutor,
    ahead: int,
    found: Measured,
) -> None:
    jobs: collections.deque[_Job] = collections.deque()
    done: list[tuple[Any, Outcomes]] = []
    began = time.monotonic()

    def take() -> None:
        nonlocal began
        raw, _, future = jobs.popleft()
        done.append((raw, future.result()))
        if len(done) >= BATCH or time.monotonic() - began > BATCH_SECONDS:
            _write(context, done, found)
            done.clear()
            began = time.monotonic()

    try:
        for raw, lacking in _rows(context, wanted, found):
            path = context.rows.file_of(raw)
            jobs.append((raw, lacking, pool.submit(_measured, lacking, functools.partial(read, path))))
            if len(jobs) > ahead:
                take()
        while jobs:
            take()
    finally:
        for _, _, future in jobs:
            future.cancel()
        _write(context, done, found)


def _measured(lacking: list[Outcome], load: Callable[[], object]) -> Outcomes:
    """Return what a stored result says: what is not computed from it is taken from its entry of that name."""
    try:
        result = load()
    except Exception as error:  # noqa: BLE001  (of a reader)
        why = f"its result cannot be read: {type(error).__qualname__}: {error}"[:500]
        return Outcomes({}, {one.name: why for one in lacking})
    return gather(lacking, result, lambda: result, "its result")


def _rows(context: StoreContext[Any], wanted: list[Outcome], found: Measured) -> Iterator[tuple[Any, list[Outcome]]]:
    """Yield raw rows that lack values, and which; what is not as recorded is no result of theirs, and is only told."""
    ids = _lacking(context, wanted)
    for start in range(0, len(ids), BATCH):
        for raw in list(context.rows.read_many(ids[start : start + BATCH])):
            id = context.rows.id_of(raw)
            try:
                values = context.rows.plain(raw)
            except UnreadableError as error:
                found.failed[id] = str(error)
                continue
            notes = _notes(values["custom_data"])
            empty = [one for one in wanted if values[one.name] is None]
            lacking = [one for one in empty if one.name not in notes or one.measure is None]
            if not lacking:
                found.skipped += bool(empty)
                continue
            looked_up = lookup.classify(context, raw)
            if isinstance(looked_up, lookup.Suspect) and not compare.is_as_stored(context, raw):
                found.failed[id] = f"its result {context.rows.file_of(raw)} is gone, or not as recorded"
            elif not isinstance(looked_up, lookup.Absent):  # else a run that is finished lacks just its publication
                yield raw, lacking


def _write(context: StoreContext[Any], done: list[tuple[Any, Outcomes]], found: Measured) -> None:
    """Record values, in one transaction; a row that was replaced or filled meanwhile stays as it is.

    Under the lock on each claim, as whoever replaces a row holds it until its COMMIT; in the order of the keys, since
    who locks several in another order meets a deadlock.
    """
    if not done:
        return

    def work(connection: Connection) -> dict[str, dict[str, str]]:
        filled = {}
        for raw, outcomes in sorted(done, key=lambda one: context.rows.id_of(one[0])):
            id = context.rows.id_of(raw)
            try:
                context.ledger.lock(connection, id)
            except UnreadableError as error:
                filled[id] = {"entropic_ledger": str(error)}
                continue
            now = context.rows.read_within(connection, id)
            if now is None or context.rows.plain(now)["created_at"] != context.rows.plain(raw)["created_at"]:
                continue
            filled[id] = context.outcomes.write(connection, now, outcomes)
        return filled

    valued = {context.rows.id_of(raw) for raw, said in done if any(value is not None for value in said.values.values())}
    for id, why in context.database.transact(work).items():
        if why:
            found.failed[id] = "; ".join(f"{name}: {reason}" for name, reason in why.items())
        elif id in valued:
            found.filled += 1
        else:
            found.empty += 1


def _forget(context: StoreContext[Any], one: Outcome) -> None:
    """Let a column have no value in any row, and no row say why: all is to be measured."""
    table, column = context.schema.table, context.schema.outcomes[one.name].column
    ids = _lacking(context, [one])
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]

        def clear(connection: Connection, some: list[str] = some) -> None:
            for id in sorted(some):
                with contextlib.suppress(UnreadableError):  # `_rows` says so
                    context.ledger.lock(connection, id)
                    raw = context.rows.read_within(connection, id)
                    if raw is not None and one.name in _notes(context.rows.plain(raw)["custom_data"]):
                        context.outcomes.clear_notes(connection, raw, one.name)

        context.database.transact(clear)
    statement = Statement(sa.update(table).values({column: sa.null()}), context.database.sql)
    context.database.transact(lambda connection: connection.execute(statement.sql, statement.values({})) and None)


# ---- the code of a function ----------------------------------------------------------------------------------------
def fingerprint(function: Callable[..., object]) -> str:
    """Return a text that tells whether a function is another one than before, by its code and what that reaches."""
    from entropic.provenance.code import RULES, code_of  # here, as wherever code is looked at

    code = code_of(function)
    if not code.parts:  # of a library, or built in
        kind: Any = function if hasattr(function, "__qualname__") else type(function)
        return f"name:{getattr(kind, '__module__', '')}.{kind.__qualname__}"[:200]
    return f"code{RULES}:{code.number:016x}"
