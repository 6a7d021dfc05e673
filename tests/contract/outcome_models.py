"""Models with outcome columns, and a runner for one; child processes import them as `contract.outcome_models`."""

from __future__ import annotations

import enum
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Numeric

from entropic import Base, Mapped, outcome


class Verdict(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Training(Base):
    __tablename__ = "trainings"

    rate: Mapped[float]
    accuracy: Mapped[float] = outcome()
    epochs: Mapped[int] = outcome()


class Everything(Base):
    __tablename__ = "everything"

    n: Mapped[int]
    number: Mapped[float] = outcome()
    whole: Mapped[int] = outcome()
    flag: Mapped[bool] = outcome()
    text: Mapped[str] = outcome()
    day: Mapped[date] = outcome()
    moment: Mapped[datetime] = outcome()
    took: Mapped[timedelta] = outcome()
    verdict: Mapped[Verdict] = outcome()
    exact: Mapped[Decimal] = outcome(type_=Numeric(10, 2))
    data: Mapped[dict[str, Any]] = outcome(type_=sa.JSON())


def train(params: dict[str, Any]) -> dict[str, Any]:
    return {"accuracy": 1 - params["rate"], "epochs": 3, "curve": [1, 2]}
