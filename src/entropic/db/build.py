"""From a raw row to an instance of the user's model, left as SQLAlchemy's own loader leaves it: detached, tracked."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_state, set_committed_value

from entropic.db.dialects.types import underlying
from entropic.db.engine import Database
from entropic.db.instance_state import maker
from entropic.db.raw import Raw
from entropic.errors import StoreError, UnreadableError
from entropic.params.model import CustomData, Schema
from entropic.params.outcomes import restore
from entropic.support.compact_json import load_json
from entropic.support.show import spelled

Processor = Callable[[Any], Any]
Builder = Callable[[Any, str], Any]
NOT_READ = (LookupError, ValueError, TypeError, ArithmeticError)
_LAZY = ("select", True, "raise", "raise_on_sql", "noload", "dynamic", "write_only")


def builder(schema: Schema, database: Database, columns: list[sa.Column[Any]]) -> Builder:
    """Return the function that makes instances from raw rows and the paths of their files.

    Models of plain columns are built directly, in a hundredth of a millisecond. What needs more than its row
    (expressions, eager relationships, deferred columns) is loaded by a `Session`.
    """
    return (_direct if is_direct(schema) else _through_session)(schema, database, columns)


def is_direct(schema: Schema) -> bool:
    """Tell whether a row of the table is all that an instance needs."""
    mapper = schema.mapper
    plain = all(schema.is_column(attr) and not attr.deferred for attr in mapper.column_attrs)
    return plain and all(relation.lazy in _LAZY for relation in mapper.relationships)


def is_listened_to(schema: Schema) -> bool:
    """Tell whether somebody sees instances that are loaded, and may change them, beside what tracks `custom_data`."""
    listening: Any = schema.mapper.class_manager.dispatch.load
    return len(listening.listeners) > 1 or bool(listening.parent_listeners)


def _direct(schema: Schema, database: Database, columns: list[sa.Column[Any]]) -> Builder:
    model, manager = schema.model, schema.mapper.class_manager
    listening: Any = manager.dispatch.load  # these three stay the same objects, whoever begins to listen
    own, others = listening.listeners, listening.parent_listeners
    new = maker(model, manager)
    floats = schema.float_outcomes
    keys, processors = _processors(schema, database, columns)

    def build(raw: Raw, file: str) -> object:
        instance = new()
        values = instance.__dict__
        values.update(zip(keys, raw))  # noqa: B905  (what follows the columns is left out)
        try:
            for key, process in processors:
                values[key] = process(values[key])
            custom_data = load_json(values["custom_data"])
        except NOT_READ as error:
            raise unreadable(schema, database, columns, raw) from error
        values["result_file"] = file
        state = instance_state(instance)
        state.key = (model, (values["id"],), None)
        data = values["custom_data"] = CustomData.of(custom_data, state)
        if floats:
            restore(values, data, floats)
        if len(own) > 1 or others:  # more than what tracks `custom_data`, and was done here, sooner
            for listener in listening:
                listener(state, None)
        return instance

    return build


def _processors(
    schema: Schema, database: Database, columns: list[sa.Column[Any]]
) -> tuple[list[str], list[tuple[str, Processor]]]:
    """Return the attributes of columns, and what makes Python's values, of those but `custom_data` that need it."""
    keys = [schema.attributes[column.name] for column in columns]
    made = [(key, result_processor(column, database)) for key, column in zip(keys, columns, strict=True)]
    return keys, [(key, process) for key, process in made if process is not None and key != "custom_data"]


def comparable(schema: Schema, database: Database, columns: list[sa.Column[Any]]) -> Builder:
    """Return the function that makes, of raw rows, objects with the values of the user's columns and no state.

    They are there to be compared with a set, as an instance would be, and are as readable; outcomes are not compared.
    """
    keys, processors = _processors(schema, database, columns)

    def build(raw: Raw, file: str) -> object:
        found = SimpleNamespace(result_file=file)
        values = found.__dict__
        values.update(zip(keys, raw))  # noqa: B905  (as in `_direct`)
        try:
            for key, process in processors:
                values[key] = process(values[key])
            values["custom_data"] = load_json(values["custom_data"]) or {}
        except NOT_READ as error:
            raise unreadable(schema, database, columns, raw) from error
        return found

    return build


def unreadable(schema: Schema, database: Database, columns: Sequence[sa.Column[Any]], raw: Any) -> UnreadableError:
    """Return the error for a raw row that holds what its model cannot read, such as an enum's member that is gone."""
    id = raw[[column.name for column in columns].index("id")]
    for column, value in zip(columns, raw, strict=False):
        process = load_json if column.name == "custom_data" else result_processor(column, database)
        try:
            if process is not None and column.name in schema.attributes:
                process(value)
        except NOT_READ as error:
            kind = underlying(column.type)
            advice = "restore it from a backup, or delete the row by its id"
            if isinstance(kind, sa.Enum):
                there = database.types.get(column.name)
                sql = database.dialect.renaming(column, (str(value), "NEW"), there, database.sql)
                advice = f"if a member was renamed, write its new name into the rows, as in {sql}"
            name = schema.attributes[column.name]
            return UnreadableError(
                f"the row {id!r} of {schema.name} holds {spelled(value)} in {name!r}, which the model "
                f"cannot read: {error}; {advice}. Nothing was done"
            )
    return UnreadableError(f"the row {id!r} of {schema.name} cannot be read. Nothing was done")


def _through_session(schema: Schema, database: Database, columns: list[sa.Column[Any]]) -> Builder:
    place = [column.name for column in columns].index("id")

    def build(raw: Raw, file: str) -> object:
        found = load_many(schema, database, {raw[place]: file})
        if not found:
            raise StoreError(f"the row {raw[place]!r} of {schema.name} was deleted while it was being read")
        return found[raw[place]]

    return build


def load_many(schema: Schema, database: Database, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the detached instances of some keys by a `Session`, all in one query, given where their files are."""

    def load() -> dict[str, Any]:
        # It matters in memory, where the session shares its connection with other threads' transactions, and with the
        # one that this very call may have interrupted, which the session's end would roll back.
        connection = database.connection()
        if database.in_memory:
            connection.refuse_inside()
        with connection.lock, Session(database.engine, expire_on_commit=False) as session:
            found = session.scalars(sa.select(schema.model).where(schema.model.id.in_(list(files)))).unique().all()
            session.expunge_all()
            return {instance.id: instance for instance in found}

    found = database.persist(load)
    for id, instance in found.items():
        set_committed_value(instance, "result_file", files[id])
        _restore_outcomes(schema, instance)
        for name in schema.changed.retyped:  # where its column was made for whole numbers
            if isinstance(value := instance.__dict__.get(name), int):
                set_committed_value(instance, name, float(value))
    return found


def _restore_outcomes(schema: Schema, instance: Any) -> None:
    names = [name for name in schema.float_outcomes if name in instance.__dict__]
    values: dict[str, Any] = {}
    restore(values, instance.custom_data if names else None, names)
    for name, value in values.items():
        if instance.__dict__[name] is None:
            set_committed_value(instance, name, value)


def bind_processor(value: sa.ColumnElement[Any], database: Database, there: Any = None) -> Processor | None:
    """Return what turns a Python value into the driver's, or None where they are the same.

    Parameters
    ----------
    value
        A column, or whatever else has its type.
    there
        The type of the column that it is compared with, or written into, as the table has it, if that is known.
    """
    kind: Any = value.type.dialect_impl(database.sql)
    return _quietly(lambda: database.dialect.bind_processor(kind, database.sql, there))


def result_processor(column: sa.Column[Any], database: Database) -> Processor | None:
    """Return what turns the driver's value of a column into Python's, or None where they are the same."""
    kind: Any = column.type.dialect_impl(database.sql)
    return _quietly(lambda: database.dialect.result_processor(kind, database.sql, database.types[column.name]))


def is_plain(column: sa.Column[Any], database: Database) -> bool:
    """Tell whether a column gives back what it was given, as far as it takes values as they are (`Field.usual`)."""
    theirs = type(column.type.dialect_impl(database.sql)).__module__.startswith("sqlalchemy.")
    return theirs and result_processor(column, database) is None


def _quietly(make: Callable[[], Processor | None]) -> Processor | None:
    """Make a processor without SQLAlchemy's warning that SQLite keeps decimals as floats.

    Verified hits compare what was stored with what was asked, so nothing wrong is served for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        return make()
