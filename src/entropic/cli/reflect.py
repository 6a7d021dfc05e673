"""A store without its script: the model is read from the tables of a database; it can look and clean, but not run."""

import itertools
import json
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from entropic.ask.nearest import tells_apart
from entropic.db.engine import Database
from entropic.db.tables import changes, ledger, meta, models, outcomes
from entropic.errors import ParameterError, StoreError
from entropic.files.packing import unpacked
from entropic.files.staging import FOLDER
from entropic.formats.returned import Returning
from entropic.params.changed import ADDED, RETYPED
from entropic.params.fields import Field
from entropic.params.keys import RESERVED, TYPED
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.support import names
from entropic.upkeep.open_store import are_read_only

SAMPLE = 100  # claims, among which one may tell the suffix
_numbers = itertools.count(1)


def refuse(_: dict[str, object]) -> NoReturn:
    """Run nothing: the runner of a store that was opened by its database alone.

    Raises
    ------
    ParameterError
        Always.
    """
    raise ParameterError(
        "this store was opened with a database alone, and so has no runner; name its script, as file.py:store"
    )


def is_reflected(store: Store[Base]) -> bool:
    """Tell whether a store was opened by its database alone, and so runs nothing."""
    runner = context_of(store).runner
    return isinstance(runner, Returning) and runner.runner is refuse


def open_reflected(
    db_url: str, table: str | None = None, results_dir: str | None = None, model: type[Any] | None = None
) -> Store[Base]:
    """Return a store on the tables of a database that exists.

    Parameters
    ----------
    db_url
        As of `Store`; a file that does not exist is not made.
    table
        Which of its models, by the name of the table; None if there is only one.
    results_dir
        Where its results are; None to find out.
    model
        What its rows are; None to find out.

    Raises
    ------
    StoreError
        If there is no such database, no store in it, or several and none is named, or if its results are not found.
    """
    if results_dir is not None and not os.path.isdir(results_dir):
        raise StoreError(f"there is no folder {results_dir}; give the path of the results folder, or leave it out")
    database = Database(db_url, read_only=True)
    file = database.url.database
    if database.url.get_backend_name() == "sqlite" and not (file and os.path.exists(file)):
        raise StoreError(f"there is no database {database}; check the URL")
    try:
        found = database.persist(lambda: _read_model(database, table))  # and nothing else: it may be anybody's
    except StoreError:
        raise
    except (sa.exc.SQLAlchemyError, database.driver_error, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise StoreError(f"{database} {database.dialect.advice(reason)}") from error
    name, rounding, uuid, columns, suffix, lies_in = found
    folder = results_dir or _results(database, uuid, lies_in)
    options: dict[str, Any] = {"float_rounding": rounding.removesuffix(TYPED), "typed_keys": rounding.endswith(TYPED)}
    return Store(refuse, model or _model(name, columns), folder, suffix, db_url, **options)


def _read_model(database: Database, table: str | None) -> tuple[str, str, str | None, list[object], str, str | None]:
    """Return what a database tells of one of its models."""
    with database.engine.connect() as connection:
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names()
        known: dict[str, str] = {}
        if models.name in tables:
            known = {model: rounding for model, rounding in connection.execute(sa.select(models)) if model in tables}
        if not known:  # made before there was a ledger
            known = {one: "decimal" for one in tables if _is_model([c["name"] for c in inspector.get_columns(one)])}
        name = _chosen(database, table, known)
        columns: list[Any] = list(inspector.get_columns(name))
        if connection.dialect.name in ("mysql", "mariadb"):
            _see_types(connection, name, columns)
        uuid = place = None
        if meta.name in tables:
            uuid = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "uuid"))
        if ledger.name in tables:
            claims = sa.select(ledger.c.id, ledger.c.path).where(ledger.c.model == name, ledger.c.path.is_not(None))
            places = connection.execute(claims.limit(SAMPLE)).all()
            place = next((one for one in places if isinstance(one[0], str) and names.is_place(*one)), None)
        if outcomes.name in tables:
            came_out = set(connection.scalars(sa.select(outcomes.c.name).where(outcomes.c.model == name)))
            for column in columns:
                column["is_outcome"] = column["name"] in came_out
        if changes.name in tables:
            query = sa.select(changes.c.name, changes.c.told).where(changes.c.model == name)
            told = {row.name: row.told for row in connection.execute(query)}
            for column in columns:
                column["told"] = told.get(column["name"])
        rows = sa.table(name, sa.column("result_file"))
        file = connection.scalar(sa.select(rows.c.result_file).limit(1))
    suffix = place[1].removeprefix(place[0]) if place is not None else ".h5"
    end, slash, main = suffix.partition("/")
    suffix = (end if end.startswith(".") and "=" not in end else Path(end).suffix) + slash + main
    if uuid is not None and not names.is_one(names.UUID, uuid):
        raise StoreError(f"{database} was not made by entropic: its uuid is {uuid!r:.80}")
    return name, known[name], uuid, columns, suffix, os.path.dirname(file) if isinstance(file, str) and file else None


def _is_model(columns: list[str]) -> bool:
    return set(RESERVED) <= set(columns)


def _chosen(database: Database, table: str | None, known: dict[str, str]) -> str:
    there = ", ".join(sorted(known))
    if not known:
        raise StoreError(f"{database} has no table of results")
    if table is None and len(known) > 1:
        raise StoreError(f"{database} has several tables of results; name one with --table: {there}")
    if table is not None and table not in known:
        raise StoreError(f"{database} has no table of results {table!r}; it has {there}")
    return table or next(iter(known))


def _see_types(connection: sa.Connection, table: str, columns: list[Any]) -> None:
    """Give columns their types, which MariaDB and MySQL call a small number, and a text with a check."""
    checks = ""
    if connection.dialect.is_mariadb:  # type: ignore[attr-defined]  # MySQL has a type for JSON
        told = sa.text(
            "SELECT check_clause FROM information_schema.check_constraints "
            "WHERE constraint_schema = database() AND table_name = :name"
        )
        checks = " ".join(connection.scalars(told, {"name": table}))
    for column in columns:
        kind = column["type"]
        if isinstance(kind, mysql.TINYINT) and kind.display_width == 1:
            column["type"] = sa.Boolean()
        elif isinstance(kind, mysql.FLOAT | mysql.DOUBLE):
            column["type"] = sa.Float()  # which they would read as decimals
        elif f"json_valid(`{column['name']}`)" in checks:
            column["type"] = sa.JSON()


def _results(database: Database, uuid: str | None, lies_in: str | None) -> str:
    """Return the folder of the results: it holds one for what is under way, named after the database.

    One beside the database comes first: rows name the folder in which they were made, which of a copied project is the
    original's. One elsewhere may be looked at, and is changed only if the user names it.
    """
    beside = [os.getcwd()]
    if database.url.get_backend_name() == "sqlite":
        beside.insert(0, os.path.dirname(os.path.abspath(database.url.database or "")))
    below = [os.path.join(folder, name) for folder in beside for name in sorted(os.listdir(folder))]
    for folder in [*below, *beside]:
        if uuid is not None and os.path.isdir(os.path.join(folder, FOLDER, uuid)):
            return folder
    if uuid is not None and lies_in is not None and os.path.isdir(os.path.join(lies_in, FOLDER, uuid)):
        if not are_read_only():
            raise StoreError(
                f"the results of {database} are in {lies_in}, which is not beside it; to change anything there, name "
                "that folder with --results. Nothing was done"
            )
        return lies_in
    if uuid is None and lies_in is not None and os.path.isdir(lies_in):
        # That is all that tells it: a folder elsewhere, which anybody may have written into the database, is asked for.
        real = os.path.realpath(lies_in)
        if any(Path(real).is_relative_to(os.path.realpath(folder)) for folder in beside):
            return lies_in
    raise StoreError(f"the results folder of {database} was not found; name it with --results")


def _model(name: str, columns: list[Any]) -> type[Any]:
    """Return a model with the columns of a table, as they are there."""
    # Each has tables, and a module, of its own: two models may have one name.
    members: dict[str, object] = {"__tablename__": name, "metadata": sa.MetaData()}
    members["__module__"] = f"{__name__}.{next(_numbers)}"
    for column in columns:
        if column["name"] not in RESERVED:
            attribute = column["name"] if not hasattr(Base, column["name"]) else column["name"] + "_"
            members[attribute] = _column(column)
    return type(name, (Base,), members)


def _column(found: Any) -> sa.Column[object]:
    computed = found.get("computed")
    made: list[Any] = [sa.Computed(computed["sqltext"], computed.get("persisted"))] if computed else []
    default = sa.text(found["default"]) if found.get("default") is not None and not computed else None
    kind = found["type"]
    if isinstance(kind, sa.CHAR) and kind.length == 32:
        kind = _Hex()
    elif isinstance(kind, postgresql.INTERVAL):
        kind = sa.Interval()
    info: dict[str, Any] = {"entropic": "outcome", "measure": None} if found.get("is_outcome") else {}
    if (told := found.get("told")) is not None:
        info = {"told": told}
        if _says(told, RETYPED):
            kind, info[RETYPED] = sa.Float(), int
        if _says(told, ADDED) or RETYPED not in info:
            info[ADDED] = value = _default_of(told, found["name"], kind)
            return sa.Column(found["name"], kind, *made, nullable=found["nullable"], default=value, info=info)
    return sa.Column(found["name"], kind, *made, nullable=found["nullable"], server_default=default, info=info)


def _says(told: str, what: str) -> bool:
    try:
        return what in json.loads(told)
    except (ValueError, TypeError, RecursionError):  # which is said where the default is asked for
        return False


def _default_of(told: str, name: str, kind: Any) -> object:
    """Return the default of a parameter that was added, from what is recorded of it, as its column has it here.

    Raises
    ------
    StoreError
        If that cannot be told.
    """
    try:
        found: dict[str, Any] = json.loads(told)
        value = unpacked(found if "bound" not in found else {"added": found["bound"]})["added"]
        if isinstance(value, UUID) and isinstance(kind, _Hex):
            value = value.hex
        elif isinstance(value, timedelta) and isinstance(kind, sa.DateTime):  # where there are no durations
            value = sa.Interval.epoch + value
        return Field(name, sa.Column(name, kind)).take(value, name)
    except Exception as error:
        raise StoreError(
            f"the database does not tell what a key without {name!r} means (it says {told!r:.80}); name the script of "
            "the store, as file.py:store"
        ) from error


class _Hex(sa.TypeDecorator[str]):
    """Text that may be a UUID, which databases without a type for it hold without dashes."""

    impl = sa.CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> object:
        try:
            return UUID(value).hex if value.count("-") == 4 else value
        except (ValueError, AttributeError):
            return value


# ---- keys that the tables do not tell ----------------------------------------------------------------------------
# What else a script may have in a column, such as an enumeration in one of text, is part of the key as it is there.
_SURE = (sa.Integer, sa.Float, sa.Boolean, sa.Date, sa.Time, sa.Interval, sa.Uuid, sa.JSON, _Hex)


def by_values(store: Store[Base], sets: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Return sets, those with the id of the stored row that has their values whose key only the script can make.

    A hit has the values that were asked for. So a set whose key is not stored is surely missing if no row has them.

    Raises
    ------
    ParameterError
        If several rows have these values, or one has more.
    """
    given = list(sets)
    if not is_reflected(store):
        return given
    missing = {context_of(store).hasher(one) for one in store.plan(given).missing}
    return [_by_values(store, one) if context_of(store).hasher(one) in missing else one for one in given]


def _by_values(store: Store[Base], params: dict[str, object]) -> dict[str, object]:
    fields = context_of(store).schema.fields
    if "id" in params:
        return params
    doubtful = [
        name for name, value in params.items() if value is not None and not isinstance(fields[name].type, _SURE)
    ]
    if not doubtful:
        return params
    compared = {name: value for name, value in params.items() if not isinstance(fields[name].type, sa.JSON)}
    rows = []
    for row in store.iterate(*([compared] if compared else [])):
        values = {name: getattr(row, name) for name in fields}
        alike = all(values[name] == params[name] for name in params.keys() - compared.keys())
        if alike and not tells_apart(context_of(store), params, values, row.id):
            rows.append(row)
    if not rows:
        return params
    if len(rows) > 1 or any(getattr(rows[0], name) is not None for name in fields.keys() - params.keys()):
        ids = ", ".join(row.id for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
        raise ParameterError(
            f"the database does not tell the type of {', '.join(map(repr, doubtful))} in the script, which the key of "
            f"this set is made of; stored with its values: {ids}. Name the store as file.py:store, or give id=KEY"
        )
    return {**params, "id": rows[0].id}
