"""Rows as the page asks for them: filtered, sorted and paged by the database, never more than a page of them whole."""

import csv
import io
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.db.claim_record import DISTRUSTED, RUNNING
from entropic.db.query import fetch, ordered
from entropic.db.raw import Recorded
from entropic.db.tables import ledger
from entropic.errors import ParameterError, UnreadableError
from entropic.files.extent import extent_elsewhere
from entropic.params.keys import CUSTOM
from entropic.params.model import Base
from entropic.protocol import stale_rows
from entropic.protocol.context import StoreContext
from entropic.provenance.code import MOST_RULES
from entropic.support.compact_json import compact
from entropic.ui.columns import Column, category, clause_of, columns_of, named, place, shown, values_back
from entropic.ui.filters import Filter, clauses, filters_of
from entropic.ui.scalars import MOST_READ, values_of_results

LARGEST_PAGE = 1_000
KEPT_SECONDS = 3.0  # for which it is not asked again which rows have read what has changed
MOST_STALE = 10_000  # of these that one page lists
MOST_POINTS = 200_000
_NEWEST = "-created_at"

Given = Sequence[tuple[str, str]]  # the query string of a request


class Query:
    """The rows that a request is about.

    Parameters
    ----------
    given
        The names and values of its query string.

    Raises
    ------
    ParameterError
        If it names what there is not.
    """

    def __init__(self, context: StoreContext[Base], given: Given) -> None:
        self.context, self.columns = context, columns_of(context)
        self.asked = dict(given)
        self.filters: list[Filter]
        self.filters, self.search = filters_of(self.columns, context, given)
        self._table = context.schema.table
        self.is_sample = False  # whether the values that were asked for last are those of some rows only
        self._where = clauses(context, self.columns, self.filters, self.search)
        if self.asked.get("stale"):
            self._where.append(_is_stale(context))

    def column(self, option: str, default: str | None = None) -> Column:
        """Return the column that an option of the request names."""
        name = self.asked.get(option) or default
        if name is None:
            raise ParameterError(f"the request names no column as {option}=")
        return named(self.context, self.columns, name)

    def number(self, option: str, default: int, least: int, most: int) -> int:
        """Return the whole number that an option of the request gives."""
        text = self.asked.get(option, str(default))
        if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most:
            raise ParameterError(f"{option} is a number from {least} to {most}, not {text!r:.80}")
        return int(text)

    def count(self) -> int:
        """Return how many rows there are that pass the filters."""
        query = sa.select(sa.func.count()).select_from(self._table).where(*self._where)
        ((found,),) = fetch(self.context.database, query)
        return int(found)

    def _order(self) -> list[Any]:
        names = [one for one in (self.asked.get("sort") or _NEWEST).split(",") if one][:5]
        made = []
        for name in names:
            clause = clause_of(self.context, named(self.context, self.columns, name.removeprefix("-")))
            made.append(clause.desc() if name.startswith("-") else clause)
        return [*ordered(made), self._table.c.id]

    def ids(self, limit: int, offset: int = 0) -> list[str]:
        """Return the keys of the rows that pass, in the order that the request asks for."""
        query = sa.select(self._table.c.id).where(*self._where).order_by(*self._order()).limit(limit).offset(offset)
        return [id for (id,) in fetch(self.context.database, query)]

    # ---- the table -------------------------------------------------------------------------------------------------
    def page(self) -> dict[str, Any]:
        """Return one page of the table."""
        size = self.number("size", 100, 1, LARGEST_PAGE)
        total = self.count()
        last = max(1, -(-total // size))
        page = min(self.number("page", 1, 1, 10**9), last)
        rows = list(self.rows(self.ids(size, size * (page - 1))))
        return {"total": total, "page": page, "last_page": last, "data": rows}

    def rows(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield rows as the page shows them, with the state of each, in the order of their keys."""
        rows = self.context.rows
        found = {rows.id_of(raw): raw for raw in rows.read_many(ids)}
        for id in ids:
            if id not in found:
                continue  # deleted just now
            raw = found[id]
            record: dict[str, Any] = {"id": id, "_state": state_of(self.context, raw)}
            try:
                values = rows.plain(raw)
            except UnreadableError as error:
                yield record | {"_state": "unreadable", "_why": shown(str(error))}
                continue
            custom = values["custom_data"] if isinstance(values["custom_data"], Mapping) else {}
            for name, column in self.columns.items():
                if column.role == "custom":
                    record[name] = shown(custom.get(name.removeprefix(CUSTOM)))
                elif name != "id":
                    record[name] = shown(values[name])
            yield record

    def csv(self) -> Iterator[str]:
        """Yield the lines of all rows that pass, with the columns that the request shows."""
        names = [one for one in self.asked.get("columns", "").split(",") if one] or list(self.columns)
        chosen = [named(self.context, self.columns, name) for name in names]
        clauses_ = [clause_of(self.context, column) for column in chosen]
        backs = [values_back(self.context, column) for column in chosen]
        yield _line([column.name for column in chosen])
        ids = self.ids(MOST_POINTS)
        for start in range(0, len(ids), LARGEST_PAGE):
            some = ids[start : start + LARGEST_PAGE]
            query = sa.select(self._table.c.id, *clauses_).where(self._table.c.id.in_(some))
            found = {row[0]: row[1:] for row in fetch(self.context.database, query)}
            for id in some:
                if id in found:
                    yield _line(
                        [
                            _exact(back(v) if back and v is not None else v)
                            for v, back in zip(found[id], backs, strict=True)
                        ]
                    )

    # ---- values for plots --------------------------------------------------------------------------------------------
    def values(self, columns: Sequence[Column], most: int) -> tuple[list[str], list[list[Any]]]:
        """Return the keys, and the values of some columns, of those rows that pass.

        Of more rows than may be shown these are the first by key: keys are hashes, so that is a fair sample.
        """
        if of_results := [column for column in columns if column.role == "result"]:
            return self._values_of_results(columns, of_results, min(most, MOST_READ))
        made = [clause_of(self.context, column) for column in columns]
        query = sa.select(self._table.c.id, *made).where(*self._where).order_by(self._table.c.id).limit(most)
        raws = fetch(self.context.database, query)
        self.is_sample = len(raws) == most
        if not raws:
            return [], [[] for _ in columns]
        ids, *found = map(list, zip(*raws, strict=True))
        for i, column in enumerate(columns):
            back = values_back(self.context, column)
            if back is not None:
                found[i] = [None if value is None else back(value) for value in found[i]]
        return ids, found

    def _values_of_results(
        self, columns: Sequence[Column], of_results: Sequence[Column], most: int
    ) -> tuple[list[str], list[list[Any]]]:
        """Return values as `values` does, some of which are in the files of the results."""
        ids, others = self.values([column for column in columns if column.role != "result"], most)
        found = iter(values_of_results(self.context, ids, of_results))
        stored = iter(others)
        return ids, [list(next(found)) if column.role == "result" else next(stored) for column in columns]

    def places(self, column: Column, values: Sequence[Any]) -> tuple[list[float | None], list[str]]:
        """Return values as places on an axis; where they are not numbers, those of their categories, and the names."""
        if column.is_number:
            return [place(value) for value in values], []
        kind = None if column.role in ("custom", "result") else clause_of(self.context, column).type
        names = [category(value, kind) for value in values]
        known = sorted(set(names))
        at = {name: float(i) for i, name in enumerate(known)}
        return [at[name] for name in names], known


def _line(values: Sequence[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(["" if value is None else value for value in values])
    return file.getvalue()


def _exact(value: Any) -> Any:
    """Return a value as a file has it; one that a spreadsheet would compute is text in it."""
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value).lower()
    if isinstance(value, float | int):
        return repr(value)
    if isinstance(value, dict | list):
        return compact(value)
    text = str(shown(value, 100_000))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


# ---- states ------------------------------------------------------------------------------------------------------
def state_of(context: StoreContext[Base], raw: Any) -> str:
    """Return how a row stands: `done`, `again` (it runs again now), `stale`, or its file is `lost` or `changed`."""
    recorded, path = Recorded.of(raw), context.rows.file_of(raw)
    if recorded.running is not None:
        return "again"
    try:
        seen = os.stat(path)
    except OSError:
        return "lost"
    whole = context.path_of(raw)
    is_of_any_size = recorded.size is None or (os.path.isdir(whole) and recorded.size != DISTRUSTED)
    if not is_of_any_size and seen.st_size != recorded.size:
        return "changed"
    if context.current_code.is_other(recorded.code):
        return "stale"
    return "stale" if recorded.inputs is not None and context.rows.id_of(raw) in since_read(context) else "done"


_since: "weakref.WeakKeyDictionary[Any, tuple[float, frozenset[str]]]" = weakref.WeakKeyDictionary()


def since_read(context: StoreContext[Base]) -> frozenset[str]:
    """Return the keys of the rows whose runs have read what has changed since; every open page asks again and again."""
    until, found = _since.get(context.database, (0.0, frozenset[str]()))
    if time.monotonic() > until:
        found = frozenset(stale_rows.find_reasons(context, context.origins.inputs.with_some()))
        _since[context.database] = time.monotonic() + KEPT_SECONDS, found
    return found


def _of_other_code(context: StoreContext[Base]) -> Any:
    """Return the condition that different code has made a result, as `CurrentCode.is_other` says."""
    context.current_code.refresh()
    number = context.current_code.number
    if number is None:  # a database alone does not say what code there is now
        return sa.false()
    by_same_rules = ledger.c.code.bitwise_and(MOST_RULES - 1) == number % MOST_RULES
    return sa.and_(ledger.c.code != number, by_same_rules)


def _is_stale(context: StoreContext[Base]) -> Any:
    made_by_other = sa.select(ledger.c.id).where(ledger.c.model == context.model, _of_other_code(context))
    key = context.schema.table.c.id
    read = sorted(since_read(context))[:MOST_STALE]
    return sa.or_(key.in_(made_by_other), *([key.in_(read)] if read else []))


def size_of(path: str) -> int | None:
    """Return how many bytes a result has; None if it is gone."""
    found = extent_elsewhere(path)
    return None if found is None else found.size


def counts(context: StoreContext[Base]) -> dict[str, Any]:
    """Return how many rows, running, failed and stale sets there are, and what tells whether anything has changed.

    Every open page asks for it again and again, so each table is read once.
    """
    table = context.schema.table
    seen: Any = sa.select(sa.func.count(), sa.func.max(table.c.created_at))
    ((stored, newest),) = fetch(context.database, seen)
    is_stale = sa.and_(ledger.c.size.is_not(None), _of_other_code(context))
    asked = [ledger.c.state == RUNNING, ledger.c.failure.is_not(None), is_stale]
    sums = [sa.func.sum(sa.case((one, 1), else_=0)) for one in asked]
    (found,) = fetch(context.database, sa.select(*sums).where(ledger.c.model == context.model))
    running, failed, of_code = (int(one or 0) for one in found)
    codes = context.origins.inputs.with_some() if since_read(context) else {}
    count = of_code + sum(not context.current_code.is_other(codes.get(id)) for id in since_read(context))
    told = {"done": int(stored), "running": running, "failed": failed, "stale": count}
    return told | {"version": f"{stored} {newest} {running} {failed} {count}"}
