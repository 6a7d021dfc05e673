"""Queries that the user's conditions make: compiled anew each time, run like all others on the driver's own cursor."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql import operators, visitors

from entropic.db.build import bind_processor
from entropic.db.dialects.portable import Dialect, Pages
from entropic.db.dialects.types import underlying
from entropic.db.engine import Database
from entropic.errors import ParameterError, StoreError

_NAMES = (sa.JSON.JSONElementType,)  # of parts of JSON
T = TypeVar("T")
_PARTS = (operators.json_getitem_op, operators.json_path_getitem_op)


def fetch(database: Database, query: "sa.Select[Any]") -> list[Any]:
    """Return all raw rows of a query that has its values in it.

    Raises
    ------
    ParameterError
        If the database does not take it.
    """
    return _ask(database, query, lambda sql, values: database.connection().fetch(sql, values))


def scan(database: Database, query: "sa.Select[Any]", take: Callable[[Pages], T]) -> T:
    """Return what is made of the raw rows of a query that has its values in it; only some of them are in memory.

    Parameters
    ----------
    take
        Called with the pages; anew, with all of them, if reading was interrupted in the middle.

    Raises
    ------
    ParameterError
        If the database does not take it.
    """
    return _ask(database, query, lambda sql, values: database.connection().scan(sql, values, take))


def _ask(database: Database, query: "sa.Select[Any]", act: Callable[[str, list[Any]], T]) -> T:
    try:
        compiled: Any = query.compile(dialect=database.sql)
        state = compiled.construct_expanded_state()  # with a value for each member of an `in_`
        to_driver = _processors(database, query, compiled.binds, state)
        values = [_bound(to_driver.get(name), state.parameters[name]) for name in state.positiontup or ()]
    except (sa.exc.SQLAlchemyError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ParameterError(f"this query cannot be written for {database.sql.name}: {error}") from error
    try:
        return act(state.statement, values)
    except (database.driver_error, StoreError) as error:
        reason = error.__cause__ if isinstance(error, StoreError) else error
        if not isinstance(reason, database.driver_error) or not _is_refusal(reason):
            raise
        raise ParameterError(f"the database refused this query: {reason}") from error
    except (
        OverflowError,
        UnicodeEncodeError,
        RecursionError,
    ) as error:  # of the driver, for a value that it lacks
        raise ParameterError(f"the database refused this query: {error}") from error


def _processors(database: Database, query: Any, binds: Mapping[str, Any], state: Any) -> dict[str, Any]:
    """Return what turns the values of a query into the driver's, by their names in its text.

    Those of an `in_` are asked for like all others, and not left to SQLAlchemy, which does not know the table.
    """
    compared = _compared(query) if any(isinstance(underlying(one.type), sa.Uuid) for one in binds.values()) else {}
    found = dict(state.processors)
    for name, one in binds.items():
        process = bind_processor(one, database, database.types.get(compared.get(id(one), "")))
        if one.type._is_tuple_type:
            continue
        for spelled in state.parameter_expansion.get(name, [name]):
            found[spelled] = process
    return found


def _compared(query: Any) -> dict[int, str]:
    """Return the names of the columns that the values of a query are compared with."""
    found = {}
    for one in visitors.iterate(query):
        if isinstance(one, sa.BinaryExpression):
            for value, column in ((one.left, one.right), (one.right, one.left)):
                if isinstance(value, sa.BindParameter) and isinstance(column, sa.Column):
                    found[id(value)] = column.name
    return found


def _is_refusal(error: Exception) -> bool:
    """Tell an error of the query from one of the disk; SQLite's driver gives both the same class."""
    return getattr(error, "sqlite_errorcode", 1) & 0xFF == 1


def _bound(process: Callable[[Any], object] | None, value: object) -> Any:
    return process(value) if process else value


def ordered(clauses: Iterable[Any]) -> list[Any]:
    """Return the clauses of an order in which NULL comes last on every database."""
    made = []
    for clause in clauses:
        inner = bare(clause)
        if not isinstance(inner, sa.Column) or inner.nullable:
            made.append(sa.case((inner.is_(None), 1), else_=0))
        made.append(clause)
    return made


def careful(clause: Any, dialect: Dialect) -> Any:
    """Return a clause in which a number, or True or False, that is asked of JSON is NULL where something else is.

    Databases fail the whole query for one text among the numbers, or take it for 0, or False.
    """

    def replaced(element: Any, **_: object) -> sa.ColumnElement[Any] | None:
        kind = _asked_of_json(element)
        if kind is None:
            return None  # as it is
        value = dialect.json_number(element) if kind == "number" else element
        return sa.case((dialect.json_is(element, kind), value))

    if not any(map(_asked_of_json, visitors.iterate(clause))):
        return clause
    return visitors.replacement_traverse(clause, {}, replaced)


def spelled_names(clause: Any, dialect: Dialect) -> Any:
    """Return a clause in which the names in JSON are spelled as the database compares them."""

    def replaced(element: object, **_: object) -> Any:
        if not isinstance(element, sa.BindParameter) or not isinstance(element.type, _NAMES):
            return None
        value: Any = element.value
        if isinstance(value, str):
            spelled: Any = dialect.json_name(value, False)
        elif isinstance(value, list | tuple):
            spelled = tuple(dialect.json_name(one, True) if isinstance(one, str) else one for one in value)
        else:
            return None
        return None if spelled == value else sa.bindparam(None, spelled, type_=element.type, unique=True)

    return (
        visitors.replacement_traverse(clause, {}, replaced)
        if any(isinstance(one, sa.BindParameter) and isinstance(one.type, _NAMES) for one in visitors.iterate(clause))
        else clause
    )


def _asked_of_json(one: object) -> str | None:
    """Return as what kind of value a part of JSON is asked for, where it matters; None if this is none."""
    if not isinstance(one, sa.BinaryExpression) or one.operator not in _PARTS:
        return None
    if isinstance(one.type, sa.Boolean):
        return "boolean"
    return "number" if isinstance(one.type, sa.Integer | sa.Float | sa.Numeric) else None


def bare(clause: object) -> Any:
    """Return what is ordered by, without the direction."""
    while isinstance(clause, sa.UnaryExpression) and clause.modifier is not None:
        clause = clause.element
    return clause
