"""A model before and after it gained parameters; child processes import it as `contract.added_models`."""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa

from entropic import Base, Mapped, added


class Solver(enum.Enum):
    EULER = "euler"
    RK4 = "rk4"


def changing_in(table: str, **columns: Any) -> type[Any]:
    """Return a model; a column is its type, or a pair of that and its declaration."""
    annotations: dict[str, Any] = {}
    body: dict[str, Any] = {"__tablename__": table, "metadata": sa.MetaData()}
    for name, given in columns.items():
        kind, declared = given if isinstance(given, tuple) else (given, None)
        annotations[name] = Mapped[kind]
        if declared is not None:
            body[name] = declared
    return type("Changing", (Base,), {**body, "__annotations__": annotations})


def before() -> type[Base]:
    """Return the model of the first runs."""

    class Growing(Base):
        __tablename__ = "growing"
        metadata = sa.MetaData()

        n: Mapped[int]
        dt: Mapped[float]

    return Growing


def with_solver() -> type[Any]:
    """Return the model with a parameter more, which has an index."""

    class Growing(Base):
        __tablename__ = "growing"
        metadata = sa.MetaData()

        n: Mapped[int]
        solver: Mapped[str] = added("rk4", index=True)
        dt: Mapped[float]

    return Growing


def with_both() -> type[Any]:
    """Return the model with two parameters more."""

    class Growing(Base):
        __tablename__ = "growing"
        metadata = sa.MetaData()

        tolerance: Mapped[float | None] = added(None)
        n: Mapped[int]
        solver: Mapped[str] = added("rk4", index=True)
        dt: Mapped[float]

    return Growing
