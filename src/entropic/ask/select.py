"""`Store.select` and `Store.iterate`: rows by typed conditions, in a few queries however many they are."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from entropic.db.build import load_many
from entropic.db.query import bare, careful, fetch, ordered, spelled_names
from entropic.errors import ParameterError, UnreadableError, UnreadableWarning, warn
from entropic.params.fields import as_json, unknown_key
from entropic.params.keys import CUSTOM
from entropic.params.model import Base, Schema
from entropic.params.objects import set_of_object
from entropic.params.same import RELATIVE
from entropic.protocol import note_inputs
from entropic.protocol.context import ModelT, StoreContext
from entropic.support.collector import paused
from entropic.support.show import counted, spelled

PAGE = 500  # rows that are read, and made, in one go
_EXACT = 2**53  # up to here whole numbers are floats
Order = Any  # a column, the name of one (with a "-" for downwards), or several of these


def select(
    context: StoreContext[ModelT],
    where: Sequence[object],
    equals: Mapping[str, object],
    order_by: Order,
    limit: int | None,
) -> list[ModelT]:
    """Return the rows that meet all conditions, in order, by one query."""
    raws = fetch(context.database, chosen(context, where, equals, order_by, limit))
    with paused():
        return build(context, raws)


def chosen(
    context: StoreContext[Base],
    where: Sequence[object],
    equals: Mapping[str, object],
    order_by: Order,
    limit: int | None,
) -> "sa.Select[Any]":
    """Return the query of the raw rows that meet all conditions, in order."""
    if limit is not None and (type(limit) is not int or not 0 <= limit < 2**63):
        raise ParameterError(f"limit must be a number of rows below 2**63, not {spelled(limit)}")
    return matching(context, where, equals).order_by(*_order(context, order_by)).limit(limit)


def iterate(
    context: StoreContext[ModelT], where: Sequence[object], equals: Mapping[str, object], order_by: Order
) -> Iterator[ModelT]:
    """Yield the rows that meet all conditions, of which only a page is in memory at a time."""
    query = matching(context, where, equals)
    pages = _by_key(context, query) if order_by is None else _in_order(context, query, _order(context, order_by))
    return itertools.chain.from_iterable(note_inputs.note_and_return(context, build(context, page)) for page in pages)


def build(context: StoreContext[ModelT], raws: Sequence[Any]) -> list[ModelT]:
    """Return the instances of raw rows, never by a query for each."""
    rows, schema = context.rows, context.schema
    made: list[ModelT] = []
    try:
        if rows.is_direct:
            return [rows.build(raw, rows.file_of(raw)) for raw in raws]
        for start in range(0, len(raws), PAGE):
            some = {rows.id_of(raw): rows.file_of(raw) for raw in raws[start : start + PAGE]}
            found = load_many(schema, context.database, some)
            made += [found[id] for id in some if id in found]  # else it was deleted just now
        return made
    except (UnreadableError, LookupError):
        return _build_each(context, raws)


def _build_each(context: StoreContext[ModelT], raws: Sequence[Any]) -> list[ModelT]:
    """Return the instances of those raw rows that the model can read; warn of the others."""
    rows, made, left_out = context.rows, list[ModelT](), dict[str, UnreadableError]()
    for raw in raws:
        try:
            rows.plain(raw)
            made.append(rows.build(raw, rows.file_of(raw)))
        except UnreadableError as error:
            left_out[rows.id_of(raw)] = error
    names = ", ".join(list(left_out)[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
    are = "is" if len(left_out) == 1 else "are"
    why = str(next(iter(left_out.values()))).removesuffix(". Nothing was done")
    warn(f"{counted(len(left_out), 'row')} of {context.schema.name} {are} left out ({names}): {why}", UnreadableWarning)
    return made


def _by_key(context: StoreContext[Base], query: "sa.Select[Any]") -> Iterator[list[Any]]:
    """Yield pages of raw rows in the order of their keys, each found by the index on the last key of the one before."""
    key, last = context.schema.table.c.id, None
    while True:
        page = query if last is None else query.where(key > last)
        raws = fetch(context.database, page.order_by(key).limit(PAGE))
        if raws:
            yield raws
        if len(raws) < PAGE:
            return
        last = context.rows.id_of(raws[-1])


def _in_order(context: StoreContext[Base], query: "sa.Select[Any]", order: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield pages of raw rows in an order: their keys are read at once, since the rows may change meanwhile."""
    keys = query.with_only_columns(context.schema.table.c.id).order_by(*order)
    ids = iter([id for (id,) in fetch(context.database, keys)])
    while batch := list(itertools.islice(ids, PAGE)):
        found = {context.rows.id_of(raw): raw for raw in context.rows.read_many(batch)}
        yield [found[id] for id in batch if id in found]


# ---- conditions --------------------------------------------------------------------------------------------------
def matching(context: StoreContext[Base], where: Sequence[object], equals: Mapping[str, object]) -> "sa.Select[Any]":
    """Return the query of the raw rows that meet all conditions."""
    dialect, where = context.database.dialect, [set_of_object(one) for one in where]
    conditions = [careful(_condition(context.schema, one), dialect) for one in where if not isinstance(one, Mapping)]
    for values in (*(one for one in where if isinstance(one, Mapping)), equals):
        if not values and values is not equals:
            raise ParameterError("an empty dict sets no condition; leave it out for all rows")
        conditions += [equal(context, name, value) for name, value in values.items()]
    query = context.rows.query.where(*(spelled_names(one, dialect) for one in conditions))
    _refuse_other_tables(context.schema, query)
    return query


def _condition(schema: Schema, given: object) -> Any:
    clause = _clause(given)
    if clause is not None:
        _refuse_earlier(schema, clause)
    if clause is None:
        raise ParameterError(
            f"a condition of select must compare columns, as in {_example(schema)}, and this is {spelled(given)}; for "
            "equality use keywords, as in select(name=value)"
        )
    return clause


def _refuse_earlier(schema: Schema, clause: Any) -> None:
    """Refuse columns of another table that has the name of the model's."""
    for one in visitors.iterate(clause):
        table: Any = one.table if isinstance(one, sa.Column) else None
        if table is not None and table is not schema.table and getattr(table, "name", "") == schema.table_name:
            raise ParameterError(
                f"{schema.name}.{getattr(one, 'name', one)} is a column of an earlier class {schema.name}, which "
                "another of its name has replaced since, as when a cell is run again; use the class that the store was "
                "made with, or make the store anew"
            )


def _clause(given: object) -> Any:
    """Return the SQL of an expression or of a mapped attribute; None if it is neither."""
    clause = given.__clause_element__() if hasattr(given, "__clause_element__") else given
    return clause if isinstance(clause, sa.ColumnElement | sa.TextClause) else None


def _example(schema: Schema) -> str:
    return f"{schema.name}.{next(iter(schema.fields), 'created_at')} == ..."


def _refuse_other_tables(schema: Schema, query: "sa.Select[Any]") -> None:
    """Refuse columns of other tables, with which each row would come once for every row there."""
    others = [getattr(one, "name", None) or str(one) for one in query.get_final_froms()[1:]]
    if others:
        raise ParameterError(
            f"select of {schema.name} got a column of {', '.join(map(repr, others))}, which is not its own table "
            f"{schema.table_name!r}; use the columns of {schema.name}, or exists() for a condition on others"
        )


def equal(context: StoreContext[Base], name: str, value: object) -> Any:
    """Return the condition that a column has a value, as params have it."""
    schema = context.schema
    if name == "custom_data":
        return sa.and_(sa.true(), *_custom(context, value))
    if name not in schema.fields and name not in schema.attributes.values():
        raise ParameterError(unknown_key(name, schema.name, schema.columns))
    column = next(schema.table.c[c] for c, attribute in schema.attributes.items() if attribute == name)
    if value is None:
        is_json = isinstance(column.type, sa.JSON)  # where None that was given is the null of JSON
        return sa.or_(column.is_(None), *([sa.cast(column, sa.Text) == "null"] if is_json else []))
    if name in schema.fields:
        field = schema.fields[name]
        if isinstance(field.type, sa.JSON):
            raise ParameterError(
                f"{name!r} of {schema.name} is JSON, which databases do not compare as a whole; in Python, compare a "
                f"part of it, such as {schema.name}.{name}['key'].as_string() == ..."
            )
        value = value if field.generated else field.take(value, schema.name)
    return _close(column, value)


def _close(column: Any, value: Any) -> Any:
    """Return the condition that a column has a value; floats as in verified hits, but for the noise of rounding."""
    if isinstance(value, float) and math.isfinite(value) and value:
        slack = RELATIVE * abs(value)
        return column.between(value - slack, value + slack)
    return column == value


def _custom(context: StoreContext[Base], fields: object) -> Iterator[Any]:
    if not isinstance(fields, Mapping):
        raise ParameterError(
            f"custom_data takes a dict of its fields, such as custom_data={{'tag': 'x'}}, not {spelled(fields)}"
        )
    for name, given in fields.items():
        yield custom(context, name, given)


def custom(context: StoreContext[Base], name: str, given: object) -> Any:
    """Return the condition that a field of custom data has a value: this number, this text, True, False or None."""
    try:
        value = as_json(given, name)
        number = float(value) if isinstance(value, int | float) else 0.0
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"custom_data[{name!r}]={spelled(given)} cannot be compared: {error}") from None
    part, dialect = context.schema.table.c.custom_data[name], context.database.dialect
    if isinstance(value, bool):
        return careful(part.as_boolean() == value, dialect)
    if isinstance(value, int) and abs(value) <= _EXACT:
        return careful(part.as_float() == number, dialect)
    if isinstance(value, int | float):
        whole = isinstance(value, int) and abs(value) < 2**63
        return careful(
            sa.and_(_close(part.as_float(), number), *([part.as_integer() == value] if whole else [])), dialect
        )
    if isinstance(value, str):
        return dialect.json_equals(part, value)
    if value is None:
        return part.as_string().is_(None)
    raise ParameterError(
        f"custom_data[{name!r}] is a {type(value).__name__}, which databases do not compare; give "
        "numbers, text, True, False or None, or a condition on a part of it"
    )


# ---- order -------------------------------------------------------------------------------------------------------
def _order(context: StoreContext[Base], given: Order) -> list[Any]:
    """Return the clauses of an order, which the key makes a complete one: the same rows, the same order."""
    schema, c = context.schema, context.schema.table.c
    if given is None:
        return [c.created_at, c.id]
    several = given if isinstance(given, list | tuple) else [given]
    clauses: list[Any] = []
    for one in several:
        clauses += _by_name(context, one) if isinstance(one, str) else [_by_clause(schema, one)]
    clauses = [spelled_names(careful(one, context.database.dialect), context.database.dialect) for one in clauses]
    _refuse_other_tables(schema, context.rows.query.where(*(bare(one).is_not(None) for one in clauses)))
    return [*ordered(clauses), c.id]


def _by_name(context: StoreContext[Base], given: str) -> list[Any]:
    """Return the clauses of a column, or of a field of custom data: its numbers, then True and False, then texts."""
    name, schema = given.removeprefix("-"), context.schema
    found: list[Any] = [schema.table.c[column] for column, attribute in schema.attributes.items() if attribute == name]
    if not found and name.startswith(CUSTOM):
        part = schema.table.c.custom_data[name.removeprefix(CUSTOM)]
        text = sa.case((context.database.dialect.json_is(part, "text"), part.as_string()))
        found = [part.as_float(), part.as_boolean(), text]
    if not found:
        raise ParameterError(unknown_key(name, schema.name, list(schema.attributes.values())))
    return [clause.desc() for clause in found] if given.startswith("-") else found


def _by_clause(schema: Schema, given: object) -> Any:
    clause = _clause(given)
    if clause is None:
        raise ParameterError(
            f"order_by takes columns of {schema.name} or their names ('-created_at' for descending), not "
            f"{spelled(given)}"
        )
    _refuse_earlier(schema, clause)
    return clause
