"""Base, the reserved columns, and the question whether some params fit a model."""

import inspect
import time
import warnings
import weakref
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any, get_origin

import sqlalchemy as sa
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column, validates
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy.util import memoized_property

from entropic.errors import ModelError, ParameterError
from entropic.params.annotations import table_name_of, what_to_write
from entropic.params.changed import Changed, added, removed, renamed, retyped
from entropic.params.fields import Field, unknown_key
from entropic.params.keys import RESERVED
from entropic.params.outcomes import Outcome, is_outcome, outcome
from entropic.params.reference import Portable
from entropic.params.refusal import refuse_by_value
from entropic.params.spelling import Spelling
from entropic.support.show import html_table, named, one_line, spelled

_OURS = {"entropic": "reserved"}


def utcnow() -> datetime:
    """Return the time as naive UTC, which is how `created_at` is stored."""
    return datetime.now(UTC).replace(tzinfo=None)


_second = 0, ""  # the latest second since 1970 that was asked for, and its text


def now_as_text() -> str:
    """Return `utcnow` as ISO 8601, with microseconds: in a tenth of the time where the second was asked for before."""
    global _second
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    latest, text = _second
    if second != latest:
        text = datetime.fromtimestamp(second, UTC).isoformat("T", "seconds")[:19]
        _second = second, text
    return "%s.%06d" % (text, nanoseconds // 1000)  # noqa: UP031  (in half of the time)


def naive_utc(seconds: float) -> datetime:
    """Return a time in seconds since 1970 as naive UTC."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


class CustomData(MutableDict[str, Any]):
    """The dict of `custom_data`, whose changes in place are tracked.

    It knows the states of its rows by a plain dict instead of a weak one, and makes that only when it is asked for:
    until then it knows the one state that it was loaded with, which takes half off the memory of a cached sweep's rows.
    A state holds its row weakly, so the dict of a row that is gone keeps little.
    """

    __slots__ = ("_loaded_with",)
    _loaded_with: object

    @classmethod
    def of(cls, data: dict[str, Any] | None, state: object) -> "CustomData":
        """Return the tracked dict of a row with this state, as SQLAlchemy makes it when it loads one.

        JSON's null, which a plain INSERT may have written there, is an empty one: it is never None.
        """
        made = cls(data or {})
        made._loaded_with = state
        return made

    @memoized_property
    def _parents(self) -> dict[Any, str]:  # type: ignore[override]
        state = getattr(self, "_loaded_with", None)
        return {} if state is None else {state: "custom_data"}

    def changed(self) -> None:
        """Mark the column of every living row that holds this dict as changed."""
        for state, attribute in self._parents.items():
            row = state.obj()
            if row is not None:
                flag_modified(row, attribute)


class _Types(dict[Any, Any]):
    """Which type of column an annotation means: SQLAlchemy's, and JSON for lists and dicts of whatever."""

    def get(self, annotation: object, default: object = None) -> Any:
        """Return the type of an annotation, or the default."""
        found = super().get(annotation)
        if found is None and (annotation in (list, dict) or get_origin(annotation) in (list, dict)):
            return sa.JSON
        return default if found is None else found


# The tables of models by the names of these; the metadata keeps a table when its model is gone.
_defined: "weakref.WeakValueDictionary[tuple[str, str], Any]" = weakref.WeakValueDictionary()


class Base(Portable, DeclarativeBase):
    """The base of every model: what a row of results holds beside the user's own columns.

    Attributes
    ----------
    id : str
        Primary key: 16 hex digits made from the params, or the `id` that the user gave.
    result_file : str
        Where the result is; absolute in every row that a store returns.
    created_at : datetime
        When the run ended, naive UTC.
    custom_data : dict
        Anything that JSON can hold; `elapsed_seconds` is added. Changes in place are tracked.
    """

    # Rows are found by key and by nothing else, so SQLite needs no second tree for row numbers (and a quarter less
    # time at a million rows).
    __table_args__: Any = {"sqlite_with_rowid": False}  # noqa: RUF012  (SQLAlchemy's own way of declaring it)

    id: Mapped[str] = mapped_column(sa.String, primary_key=True, info=_OURS)
    result_file: Mapped[str] = mapped_column(sa.String, info=_OURS)
    created_at: Mapped[datetime] = mapped_column(sa.DateTime, default=utcnow, info=_OURS)
    custom_data: Mapped[dict[str, Any]] = mapped_column(
        CustomData.as_mutable(sa.JSON()), default=dict, nullable=False, info=_OURS
    )

    def __init_subclass__(cls, **options: object) -> None:
        """Let a model that is defined again, as by a notebook cell, take the place of the earlier one."""
        for name, value in vars(cls).items():
            if any(value is one for one in (outcome, added, removed, renamed, retyped)):
                given = "" if value is outcome else {renamed: "BEFORE", retyped: "int"}.get(value, "VALUE")
                made = f"{name} = {value.__name__}({given})"
                raise ModelError(f"{cls.__name__}.{name} is the function {value.__name__} itself; write {made}")
        # A model that has come to this process brings its table, and is not one of here that is defined again.
        defined = None if "__table__" in vars(cls) else (cls.__module__, cls.__qualname__)
        earlier: Any = None if defined is None else _defined.get(defined)
        if earlier is not None and earlier in cls.metadata.tables.values():
            cls.metadata.remove(earlier)
        if not any(hasattr(cls, given) for given in ("__tablename__", "__table__")) and "__abstract__" not in vars(cls):
            cls.__tablename__ = table_name_of(cls.__name__)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This declarative base already contains a class", sa.exc.SAWarning)
            try:
                super().__init_subclass__(**options)
            except sa.exc.ArgumentError as error:
                if (advice := what_to_write(cls, error)) is None:
                    raise
                raise ModelError(advice) from error
            except sa.exc.InvalidRequestError as error:
                if (other := _with_table_of(cls)) is None:
                    raise
                raise ModelError(
                    f"{cls.__name__} has the table {cls.__tablename__!r}, which is that of {other}; give one of them "
                    "another __tablename__"
                ) from error
        if defined is not None and (table := getattr(cls, "__table__", None)) is not None:
            _defined[defined] = table
        refuse_by_value(cls)

    @validates("custom_data")
    def _never_null(self, _: str, value: object) -> Any:
        """Take None for no custom data, so that what a `Session` adds is as what a store adds."""
        return {} if value is None else value

    @property
    def params(self) -> dict[str, Any]:
        """The parameters: what a runner is given, but for defaults, and without outcomes or what a database makes."""
        return own_values(self)

    def __repr__(self) -> str:
        own = [(name, value) for name, value in loaded(self).items() if name == "id" or name not in RESERVED]
        return one_line(f"{type(self).__name__}({named(own)})")

    def _repr_html_(self) -> str:
        return html_table(loaded(self).items(), title=type(self).__name__)

    def apply_patch(self, data: Mapping[str, Any]) -> None:
        """Set the given columns; `custom_data` is merged, not replaced.

        Parameters
        ----------
        data
            Column names with their new values. For `custom_data`, see `_apply_custom_data_patch`.

        Raises
        ------
        ParameterError
            If this model has no column of a name; nothing is changed then.
        """
        known = sa.inspect(type(self)).column_attrs.keys()
        for name in data:
            if name not in known:
                raise ParameterError(unknown_key(name, type(self).__name__, list(known)))
        for name, value in data.items():
            if name == "custom_data":
                self._apply_custom_data_patch(value)
            else:
                setattr(self, name, value)

    def _apply_custom_data_patch(self, data: Mapping[str, object] | None) -> None:
        """Merge into `custom_data`: a `None` removes its key, an empty dict clears all."""
        if data is None:
            return
        if not data:
            self.custom_data = {}
            return
        merged = dict(self.custom_data or {})
        for name, value in data.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = value
        self.custom_data = merged


Base.registry.type_annotation_map = _Types(Base.registry.type_annotation_map)


def loaded(row: Base) -> dict[str, Any]:
    """Return the columns of a row that are loaded, without asking any database: the key, the user's, the others."""
    names = ["id", *(attr.key for attr in sa.inspect(type(row)).column_attrs), *RESERVED]
    names = [name for name in names if name not in RESERVED[1:]] + [*RESERVED[1:]]
    return {name: row.__dict__[name] for name in names if name in row.__dict__}


def own_values(row: Base) -> dict[str, Any]:
    """Return the parameters of a row that are loaded; no outcomes, and none that the database computes."""
    made = {attr.key for attr in sa.inspect(type(row)).column_attrs if _is_made(attr.columns[0])}
    return {name: value for name, value in loaded(row).items() if name not in RESERVED and name not in made}


def _is_made(column: object) -> bool:
    return getattr(column, "computed", None) is not None or (isinstance(column, sa.Column) and is_outcome(column))


def _with_table_of(model: type[Base]) -> str | None:
    """Return what other model has the table that a model is to have, if one has it."""
    table = model.metadata.tables.get(model.__tablename__)
    return next((".".join(name) for name, its_table in _defined.items() if its_table is table), None)


class Schema:
    """What a store knows of the user's model: checked once, when the store opens.

    Parameters
    ----------
    model
        A class with a table of its own, derived from `Base`.

    Raises
    ------
    ModelError
        If the class cannot describe the rows of a store.
    """

    def __init__(self, model: type[Any]) -> None:
        self.model = model
        self.name = getattr(model, "__name__", repr(model))
        mapper = self._check(model)
        self.mapper = mapper
        self.table: sa.Table = mapper.local_table  # type: ignore[assignment]  # _check has seen that it is one
        self.table_name = str.__str__(self.table.name)  # SQLAlchemy's own kind of text is slow to bind
        self.attributes = {attr.columns[0].name: attr.key for attr in mapper.column_attrs if self.is_column(attr)}
        columns = {key: self.table.c[name] for name, key in self.attributes.items() if key not in RESERVED}
        self.fields = {key: Field(key, column) for key, column in columns.items() if not is_outcome(column)}
        self.outcomes = {key: Field(key, column) for key, column in columns.items() if is_outcome(column)}
        self.asked_of_runs = tuple(Outcome(key, field.column.info["measure"]) for key, field in self.outcomes.items())
        """The outcome columns, as they travel to where a run is."""
        self.float_outcomes = [
            key for key, field in self.outcomes.items() if isinstance(field.type, sa.Float | sa.Numeric)
        ]
        """Those whose values may not be finite."""
        self.changed = Changed(self.name, self.fields)
        self.spelling = Spelling(self.name, self.fields, self.unknown)
        self.columns = [*self.fields, *self.outcomes]
        """All columns of the user's: those of params, then those of what came out."""
        self.required = [name for name, field in self.fields.items() if field.required]
        kinds = [field.type for field in self.fields.values() if not isinstance(field.type, sa.Interval)]
        self.has_objects = any(isinstance(kind, sa.TypeDecorator | sa.types.UserDefinedType) for kind in kinds)
        """Whether a column may hold other than plain values, whose comparison is anybody's."""

    def is_column(self, attr: Any) -> bool:
        """Tell whether a mapped attribute is a plain column of the table."""
        return isinstance(attr.columns[0], sa.Column) and attr.columns[0].table is self.mapper.local_table

    def _check(self, model: type[Any]) -> Mapper[Any]:
        if not isinstance(model, type) or not issubclass(model, Base):
            raise ModelError(f"result_cls must be a class derived from entropic.Base, not {self.name}")
        mapper: Mapper[Any] | None = sa.inspect(model, raiseerr=False)
        if mapper is None or not isinstance(mapper.local_table, sa.Table):
            raise ModelError(f"{self.name} has no table; give it a __tablename__ and columns for your params")
        if mapper.inherits is not None or mapper.polymorphic_on is not None:
            raise ModelError(f"{self.name} shares its table by inheritance; give each model a table of its own")
        table = mapper.local_table
        between = model.__mro__[: model.__mro__.index(Base)]  # SQLAlchemy ignores a bare annotation of theirs
        annotated = {name for cls in between for name in inspect.get_annotations(cls)}
        for name in RESERVED:
            if name in annotated or name not in table.c or table.c[name].info.get("entropic") != "reserved":
                raise ModelError(f"{self.name} redefines {name!r}; the columns {', '.join(RESERVED)} belong to Base")
        if len(table.primary_key.columns) != 1:
            raise ModelError(f"{self.name} has primary key columns of its own; the only one is 'id'")
        for column in table.c:
            if column.key != column.name:
                raise ModelError(f"{self.name} gives its column {column.name!r} the key {column.key!r}; leave key= out")
        if table.name.startswith("entropic_"):
            raise ModelError(
                f"the table {table.name!r} of {self.name} has a name that is reserved for the ledger; choose another"
            )
        return mapper

    def fit(self, params: Mapping[str, object], complete: bool = True) -> dict[str, Any]:
        """Return the values of the user's columns for these params; raise before anything runs if they do not fit.

        Parameters
        ----------
        params
            A parameter set; reserved keys do not count.
        complete
            Whether columns that a row needs must be there; a look-up without them is merely a miss.

        Raises
        ------
        ParameterError
            Naming the key, the model and the nearest column.
        """
        values: dict[str, Any] = {}
        for name, value in params.items():
            if name in RESERVED:
                continue
            if name not in self.fields:
                raise ParameterError(self.unknown(name))
            values[name] = self.fields[name].take(value, self.name)
        if complete:
            self.check_complete(values)
        return values

    def check_complete(self, names: Container[str], given: Container[str] | None = None) -> None:
        """Refuse params without a column that a row needs.

        Parameters
        ----------
        names
            Of the params, and of the defaults that they have by now.
        given
            Which of them the user gave, if a function has given defaults to columns that have none.

        Raises
        ------
        ParameterError
            Naming what is missing, and what was given of what is required: other names may be those of defaults.
        """
        if missing := [name for name in self.required if name not in names]:
            told = [name for name in self.required if name in (names if given is None else given)]
            raise ParameterError(
                f"params are missing {', '.join(map(repr, missing))}, which {self.name} requires; "
                f"of what it requires, given: {', '.join(map(repr, told)) or 'nothing'}"
            )

    def unknown(self, name: object) -> str:
        """Return the sentence that says why params cannot have a name that is no parameter."""
        if name in self.outcomes:
            return (
                f"params have the key {name!r}, which is an outcome of {self.name}: it is filled by what a run "
                "returns, and cannot be given; leave it out"
            )
        for now, before in self.changed.before.items():
            if name == before:
                return f"params have the key {spelled(name)}, which is called {now!r} in {self.name} now"
        return f"params have the key {spelled(name)}, but {unknown_key(name, self.name, list(self.fields))}"
