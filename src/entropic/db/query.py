"""Queries that the user's conditions make: compiled anew each time, run like all others on the driver's own cursor."""

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from entropic.db.build import bind_processor
from entropic.db.engine import Database
from entropic.errors import ParameterError, StoreError


def fetch(database: Database, query: "sa.Select[Any]") -> list[Any]:
    """Return all raw rows of a query that has its values in it.

    Raises
    ------
    ParameterError
        If the database does not take it.
    """
    try:
        compiled: Any = query.compile(dialect=database.sql)
        state = compiled.construct_expanded_state()  # with a value for each member of an `in_`
        to_driver = {name: bind_processor(one, database) for name, one in compiled.binds.items()} | state.processors
        values = [_bound(to_driver.get(name), state.parameters[name]) for name in state.positiontup or ()]
    except (sa.exc.SQLAlchemyError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ParameterError(f"this query cannot be asked of {database.sql.name}: {error}") from error
    try:
        return database.connection().fetch(state.statement, values)
    except (database.driver_error, StoreError) as error:
        reason = error.__cause__ if isinstance(error, StoreError) else error
        if not isinstance(reason, database.driver_error) or not _is_refusal(reason):
            raise
        raise ParameterError(f"the database does not take this query: {reason}") from error


def _is_refusal(error: Exception) -> bool:
    """Tell an error of the query from one of the disk; SQLite's driver gives both the same class."""
    return getattr(error, "sqlite_errorcode", 1) & 0xFF == 1


def _bound(process: Callable[[Any], Any] | None, value: Any) -> Any:
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


def bare(clause: Any) -> Any:
    """Return what is ordered by, without the direction."""
    while isinstance(clause, sa.UnaryExpression) and clause.modifier is not None:
        clause = clause.element
    return clause
