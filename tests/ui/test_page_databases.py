"""The page on each kind of database: filters, order, plots, neighbours, and what takes too long."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from entropic import Base, Mapped
from entropic.db.query import fetch
from entropic.db.tables import ledger
from entropic.provenance.code import MOST_RULES
from entropic.store import context_of
from entropic.ui import limits
from entropic.ui.query import Query, counts
from ui.pages import Solver, looking, serving


class Kinds(Base):
    """A column of each kind that the page treats in its own way."""

    __tablename__ = "kinds"

    number: Mapped[float]
    flag: Mapped[bool]
    solver: Mapped[Solver]
    text: Mapped[str | None]


def write(params: dict[str, Any]) -> None:
    open(params["result_file"], "w").close()


SETS = [
    {"number": number, "flag": flag, "solver": solver, "text": text}
    for number in (0.1, 0.2, 1e-7)
    for flag in (True, False)
    for solver, text in ((Solver.EULER, "Ünïcode 100%"), (Solver.RK4, None))
]


@pytest.fixture
def store(open_store):
    made = open_store(write, Kinds, file_suffix=".txt")
    made.sweep(SETS, score=1.5, tag="first")
    return made


@pytest.mark.slow
def test_rows_plots_and_neighbours_are_the_same_on_every_database(store):
    for asker in serving(store):

        def count(*pairs: tuple[str, str], asker: Any = asker) -> int:
            return asker.api("rows", *pairs)["total"]

        assert count() == 12
        assert count(("f.number", "0.1, 1e-7")) == 8
        assert count(("f.flag", "true")) == 6
        assert count(("f.solver", "RK4")) == 6
        assert count(("f.text", "ünïcode 100%".upper().replace("Ü", "Ü"))) in (0, 6)  # SQLite knows only ASCII's cases
        assert count(("f.text", "CODE 100%")) == 6
        assert count(("f.text", "null")) == 6
        assert count(("f.custom_data.score", ">1 <2")) == 12
        assert count(("f.custom_data.tag", "FIR")) == 12
        assert count(("f.created_at", ">2001-01-01")) == 12
        assert count(("q", "first")) == 12
        assert count(("q", "no such text")) == 0
        for sort in ("number", "-text", "solver", "-custom_data.score", "custom_data.tag"):
            rows = [row for page in (1, 2, 3) for row in asker.api("rows", sort=sort, size=4, page=page)["data"]]
            assert len({row["id"] for row in rows}) == 12
        _, values = asker.packed("points", x="number", y="custom_data.score", c="solver")
        assert sorted(values[:12]) == sorted(one["number"] for one in SETS)
        assert set(values[12:24]) == {1.5}
        row = store.select(number=0.1, flag=True, solver=Solver.RK4)[0]
        near = asker.api("run", id=row.id)["neighbours"]
        assert [(one["differs"], one["value"]) for one in near] == [("flag", False), ("number", 1e-7), ("number", 0.2)]
        assert asker.api("counts")["done"] == 12
        assert asker.api("progress")["stored"] == 12
        assert asker.api("failures")["total"] == 0
        assert len(asker.get("/api/export?columns=id,text")[2].splitlines()) == 13
    assert store.check().ok


def test_the_database_tells_other_code_as_its_store_does(store):
    context = context_of(store)
    now = context.current_code.refresh()
    assert now is not None
    made_by = [now, now + MOST_RULES, now % MOST_RULES - 5 * MOST_RULES, now + 1, now + 1 - 2**62, None]
    expected = [code for code in made_by if context.current_code.is_other(code)]
    assert len(expected) == 2
    codes = dict(zip([row.id for row in store.select()], made_by * 2, strict=True))
    with context.database.engine.begin() as connection:
        for id, code in codes.items():
            connection.execute(sa.update(ledger).where(ledger.c.id == id).values(code=code))
    assert counts(context)["stale"] == 2 * len(expected)
    assert {codes[id] for id in Query(context, [("stale", "1")]).ids(100)} == set(expected)


SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
    "mariadb": "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b",
}


@pytest.mark.slow
def test_a_statement_without_an_end_is_ended(store, database_kind):
    context = context_of(looking(store))
    limits.limit(context.database, 1.0)
    limits.begin(1.0)
    with pytest.raises(Exception) as raised:
        context.database.connection().fetch(SLOW[database_kind])
    assert limits.too_slow(raised.value, context.database)
    limits.begin()
    assert fetch(context.database, context.rows.query)
