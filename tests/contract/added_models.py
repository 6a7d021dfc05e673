"""A model before and after it gained parameters; child processes import it as `contract.added_models`."""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa

from entropic import Base, Mapped, added


class Solver(enum.Enum):
    EULER = "euler"
    RK4 = "rk4"


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
