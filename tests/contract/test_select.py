"""`select` and `iterate`: rows by typed conditions, alike on every database."""

from __future__ import annotations

import datetime
import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import DateTime, ForeignKey, and_, event, exists, func, not_, or_, text
from sqlalchemy.orm import column_property, relationship

from contract.models import (
    CountingRunner,
    LooseResult,
    OtherResult,
    Phase,
    SimResult,
    TypedResult,
    content,
)
from entropic import Base, Mapped, ParameterError, Runs, expand_grid, mapped_column
from entropic.ask import select as asking
from entropic.db.connection import Connection
from entropic.db.server import ServerConnection

GRID = expand_grid({"n": [3, 1, 2], "dt": [0.5, 0.1 + 0.2]})


class Tripled(Base):
    """A model whose rows need more than the columns of its table: they are loaded by a session."""

    __tablename__ = "tripled_results"
    n: Mapped[int]


Tripled.triple = column_property(Tripled.__table__.c.n * 3)


class Leaf(Base):
    __tablename__ = "child_results"
    n: Mapped[int]
    parent: Mapped[str] = mapped_column(ForeignKey("sim_results.id"))
    origin: Mapped[SimResult] = relationship(SimResult, lazy="select")


@pytest.fixture
def full(store):
    """A store with the six runs of `GRID`."""
    store.sweep(GRID)
    return store


@pytest.fixture
def loose(open_store):
    store = open_store(model=LooseResult)
    store.sweep([{"name": "a"}, {"name": "b", "note": "z"}, {"name": "A", "note": "y", "flag": True, "level": 7}])
    return store


@pytest.fixture
def typed(open_store):
    store = open_store(model=TypedResult)
    store.sweep(
        [
            {"phase": Phase.SOLID, "title": "a", "day": datetime.date(2024, 1, 1), "tree": {"leaf": 3}},
            {"phase": Phase.LIQUID, "title": "b", "moment": datetime.datetime(2025, 5, 5, 12), "raw": b"\x00x"},
        ]
    )
    return store


@pytest.fixture
def statements(monkeypatch):
    """The statements that are run on our own connections from now on."""
    seen: list[str] = []
    for kind in (Connection, ServerConnection):
        real = kind.execute

        def execute(self, sql, values=(), real=real):
            seen.append(sql)
            return real(self, sql, values)

        monkeypatch.setattr(kind, "execute", execute)
    return seen


def pairs(rows) -> list[tuple[int, float]]:
    return [(row.n, round(row.dt, 6)) for row in rows]


# ---- what comes back ---------------------------------------------------------------------------------------------
def test_without_conditions_all_rows_come_in_the_order_in_which_they_ended(full):
    rows = full.select()
    assert type(rows) is Runs
    assert [(row.created_at, row.id) for row in rows] == sorted((row.created_at, row.id) for row in rows)
    assert sorted(pairs(rows)) == sorted((one["n"], round(one["dt"], 6)) for one in GRID)


def test_the_rows_are_those_that_retrieve_returns(full):
    for row in full.select():
        twin = full.retrieve({"n": row.n, "dt": row.dt})
        assert {**vars(row), "_sa_instance_state": None} == {**vars(twin), "_sa_instance_state": None}
        assert Path(row.result_file).is_absolute()
        assert content(row)["n"] == row.n


def test_an_empty_store_has_no_rows_and_they_still_know_their_model(store):
    assert store.select() == []
    assert store.select().model is SimResult
    assert list(store.iterate()) == []


def test_the_rows_of_another_model_are_not_among_them(full, open_store):
    open_store(model=OtherResult).run({"n": 9, "dt": 0.5})
    assert 9 not in [row.n for row in full.select()]


def test_rows_whose_file_is_gone_are_there_as_they_stand(full):
    Path(full.select()[0].result_file).unlink()
    assert len(full.select()) == 6


# ---- conditions --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ([SimResult.dt < 0.4], [(1, 0.3), (2, 0.3), (3, 0.3)]),
        ([SimResult.dt < 0.4, SimResult.n >= 2], [(2, 0.3), (3, 0.3)]),
        ([SimResult.n.in_([1, 3]), SimResult.dt == 0.5], [(1, 0.5), (3, 0.5)]),
        ([SimResult.n.in_([])], []),
        ([SimResult.n.not_in([1, 3])], [(2, 0.3), (2, 0.5)]),
        ([or_(SimResult.n == 1, and_(SimResult.n == 2, SimResult.dt > 0.4))], [(1, 0.3), (1, 0.5), (2, 0.5)]),
        ([not_(SimResult.n.between(1, 2))], [(3, 0.3), (3, 0.5)]),
        ([SimResult.n * 2 > 4], [(3, 0.3), (3, 0.5)]),
        ([func.abs(SimResult.n - 2) == 0], [(2, 0.3), (2, 0.5)]),
        ([text("n > 2")], [(3, 0.3), (3, 0.5)]),
        ([SimResult.created_at < datetime.datetime(2020, 1, 1)], []),
        ([SimResult.created_at > datetime.datetime(2020, 1, 1), SimResult.n == 1], [(1, 0.3), (1, 0.5)]),
        ([SimResult.custom_data["elapsed_seconds"].as_float() < 0], []),
        ([SimResult.custom_data["elapsed_seconds"].as_float() >= 0, SimResult.n == 1], [(1, 0.3), (1, 0.5)]),
    ],
)
def test_conditions_are_of_columns_and_all_must_hold(full, conditions, wanted):
    assert sorted(pairs(full.select(*conditions))) == wanted
    assert sorted(pairs(full.iterate(*conditions))) == wanted


def test_a_condition_may_ask_another_table_by_exists(full, open_store):
    other = open_store(model=OtherResult)
    other.sweep([{"n": 1, "dt": 0.5}, {"n": 3, "dt": 0.7}])
    assert {row.n for row in full.select(exists().where(OtherResult.n == SimResult.n))} == {1, 3}


def test_keywords_are_equality(full):
    assert sorted(pairs(full.select(n=2))) == [(2, 0.3), (2, 0.5)]
    assert pairs(full.select(SimResult.dt > 0.4, n=2)) == [(2, 0.5)]
    assert full.select(n=7) == []


def test_floats_are_equal_as_in_a_hit_but_for_the_noise_of_rounding(full):
    assert {row.dt for row in full.select(dt=0.3)} == {0.1 + 0.2}
    assert len(full.select(dt=0.3000001)) == 0
    assert len(full.select(n=2.0)) == 2


def test_zero_is_only_zero(store):
    store.sweep([{"n": 1, "dt": 0.0}, {"n": 2, "dt": 1e-9}, {"n": 3, "dt": -2.5}])
    assert [row.n for row in store.select(dt=0.0)] == [1]
    assert [row.n for row in store.select(dt=-2.5)] == [3]


def test_none_is_null(loose):
    assert [row.name for row in loose.select(note=None)] == ["a"]
    assert {row.name for row in loose.select(LooseResult.note.is_not(None))} == {"b", "A"}


def test_text_and_booleans_and_generated_columns_are_compared_exactly(loose):
    assert [row.name for row in loose.select(name="a")] == ["a"]
    assert [row.name for row in loose.select(flag=True)] == ["A"]
    assert [row.name for row in loose.select(twice=14)] == ["A"]
    assert [row.name for row in loose.select(LooseResult.flag)] == ["A"]


def test_enumerations_dates_times_and_bytes(typed):
    assert [row.title for row in typed.select(phase=Phase.LIQUID)] == ["b"]
    assert [row.title for row in typed.select(phase="LIQUID")] == ["b"]
    assert [row.title for row in typed.select(TypedResult.phase == Phase.SOLID)] == ["a"]
    assert [row.title for row in typed.select(day=datetime.date(2024, 1, 1))] == ["a"]
    assert [row.title for row in typed.select(moment=datetime.datetime(2025, 5, 5, 12))] == ["b"]
    assert [row.title for row in typed.select(TypedResult.moment > datetime.datetime(2025, 1, 1))] == ["b"]
    assert [row.title for row in typed.select(raw=b"\x00x")] == ["b"]
    assert [row.title for row in typed.select(TypedResult.tree["leaf"].as_integer() == 3)] == ["a"]


def test_a_json_column_that_was_given_none_has_the_value_none(open_store):
    store = open_store(model=LooseResult)
    store.sweep(
        [{"name": "a"}, {"name": "b", "grid": None}, {"name": "c", "grid": "null"}, {"name": "d", "grid": [None]}]
    )
    assert [row.name for row in store.select(grid=None, order_by="name")] == ["a", "b"]


class Zoned(Base):
    __tablename__ = "zoned_results"
    moment: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True))
    local: Mapped[datetime.datetime]


def test_times_with_a_zone_are_found_by_keyword(open_store, place):
    store = open_store(model=Zoned)
    zone = datetime.timezone(datetime.timedelta(hours=2)) if place.kind == "postgresql" else datetime.UTC
    moment = datetime.datetime(2024, 1, 1, 3, tzinfo=zone)
    local = moment.replace(tzinfo=None)
    store.sweep([{"moment": moment + datetime.timedelta(hours=n), "local": local} for n in range(2)])
    for row in (store.select(moment=moment, local=local), store.select(Zoned.moment == moment)):
        assert [one.moment.replace(tzinfo=None).minute for one in row] == [0]
    assert store.explain({"moment": moment, "local": local}).hit
    assert len(store.explain({"moment": moment - datetime.timedelta(hours=1), "local": local}).nearest) == 2


def test_reserved_columns_by_keyword(full):
    row = full.select(n=1, dt=0.5)[0]
    assert [one.id for one in full.select(id=row.id)] == [row.id]
    assert [one.id for one in full.select(created_at=row.created_at, id=row.id)] == [row.id]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"tag": "first"}, [1]),
        ({"tag": "First"}, []),
        ({"tag": None}, [3]),
        ({"count": 3}, [1]),
        ({"count": 3.0}, [1]),
        ({"good": True}, [1]),
        ({"good": False}, [2]),
        ({"tag": "second", "good": False}, [2]),
        ({"no such": 1}, []),
        ({}, [1, 2, 3]),
    ],
)
def test_fields_of_custom_data_by_keyword(store, asked, wanted):
    store.run({"n": 1, "dt": 0.5}, tag="first", count=3, good=True)
    store.run({"n": 2, "dt": 0.5}, tag="second", count=4.5, good=False)
    store.run({"n": 3, "dt": 0.5})
    assert sorted(row.n for row in store.select(custom_data=asked)) == wanted


def test_fields_of_custom_data_by_condition(store):
    store.run({"n": 1, "dt": 0.5}, seconds=3.5, deep={"tag": "x"})
    store.run({"n": 2, "dt": 0.5}, seconds=2.5, deep={"tag": "y"})
    assert [row.n for row in store.select(SimResult.custom_data["seconds"].as_float() > 3)] == [1]
    assert [row.n for row in store.select(SimResult.custom_data["deep", "tag"].as_string() == "y")] == [2]


MIXED = [1, 2.5, True, False, "1", "", "abc", "true", None, [1], {"a": 1}, 0, 2**60, 2**60 + 1, 10**20, 10**400, "é𝄞"]


@pytest.fixture
def mixed(store):
    """A store whose runs have one field of custom data in common, of every type, and one without it."""
    store.run({"n": len(MIXED), "dt": 0.5})
    for n, value in enumerate(MIXED):
        store.run({"n": n, "dt": 0.5}, tag=value)
    return store


@pytest.mark.slow
def test_a_field_of_custom_data_is_compared_by_its_value_and_its_type(mixed):
    alone = [(one, [one]) for one in MIXED if isinstance(one, str | int) and one != 10**400]
    near = [(2.5, [2.5]), (2.5 * (1 + 1e-12), [2.5]), (1.0, [1]), (0.0, [0]), (2**60 + 2, [])]
    others = [("abc ", []), ("ABC", []), ("e𝄞", []), (None, [None, None])]
    for asked, wanted in [*alone, *near, *others]:
        rows = mixed.select(custom_data={"tag": asked})
        found = [row.custom_data.get("tag") for row in rows]
        assert sorted(map(repr, found)) == sorted(map(repr, wanted)), asked
        would_go = mixed.gc(custom_data={"tag": asked}, dry_run=True).removed
        assert sorted(one.id for one in would_go) == sorted(row.id for row in rows), asked


def test_conditions_on_numbers_in_json_leave_out_what_is_none(mixed):
    def tags(condition):
        return [row.custom_data["tag"] for row in mixed.select(condition)]

    tag = SimResult.custom_data["tag"]
    assert tags(tag.as_float() < 1.5) == [1, 0]
    assert tags(and_(tag.as_float() > 1.5, tag.as_float() < 10**15)) == [2.5]
    assert tags(tag.as_integer() == 1) == [1]
    assert tags(or_(tag.as_boolean() == True, tag.as_float() == 0)) == [True, 0]  # noqa: E712
    assert tags(not_(tag.as_boolean())) == [False]
    assert [row.custom_data["tag"] for row in mixed.select(order_by=tag.as_float(), limit=3)] == [0, 1, 2.5]
    assert len(list(mixed.iterate(order_by=tag.as_float().desc()))) == len(MIXED) + 1


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "huge"])
def test_numbers_that_json_or_databases_have_not_are_refused(store, asked):
    with pytest.raises(ParameterError, match="tag"):
        store.select(custom_data={"tag": asked})


# ---- order and limit ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("n", [1, 1, 2, 2, 3, 3]),
        ("-n", [3, 3, 2, 2, 1, 1]),
        (SimResult.n, [1, 1, 2, 2, 3, 3]),
        (SimResult.n.desc(), [3, 3, 2, 2, 1, 1]),
        (["dt", "-n"], [3, 2, 1, 3, 2, 1]),
        ((SimResult.dt.desc(), "n"), [1, 2, 3, 1, 2, 3]),
        (func.abs(SimResult.n - 2).desc(), None),
    ],
)
def test_the_order_is_that_of_columns_or_their_names(full, order, wanted):
    found = [row.n for row in full.select(order_by=order)]
    if wanted is None:
        assert (set(found[:4]), found[4:]) == ({1, 3}, [2, 2])
    else:
        assert found == wanted
    assert [row.n for row in full.iterate(order_by=order)] == found


def test_equal_rows_have_one_order_that_repeats(full):
    found = [row.id for row in full.select(order_by="n")]
    assert found == [row.id for row in full.select(order_by="n")]
    assert found[:2] == sorted(found[:2])


def test_null_comes_last_in_both_directions(loose):
    assert [row.name for row in loose.select(order_by="note")] == ["A", "b", "a"]
    assert [row.name for row in loose.select(order_by="-note")] == ["b", "A", "a"]
    assert [row.name for row in loose.select(order_by=LooseResult.note.desc())] == ["b", "A", "a"]


def test_an_order_by_the_name_of_a_field_of_custom_data(mixed):
    def tags(order):
        return [row.custom_data.get("tag") for row in mixed.select(order_by=order)]

    def numbers(tags):
        return [
            float(one) for one in tags if isinstance(one, int | float) and not isinstance(one, bool) and one < 1e300
        ]

    up, down = tags("custom_data.tag"), tags(["-custom_data.tag", "n"])
    assert numbers(up) == sorted(numbers(MIXED))
    assert numbers(down) == sorted(numbers(MIXED), reverse=True)
    assert [one for one in up if isinstance(one, bool)] == [False, True]
    assert [one for one in down if isinstance(one, bool)] == [True, False]
    assert {one for one in up[len(numbers(up)) :] if isinstance(one, str)} == {
        one for one in MIXED if isinstance(one, str)
    }
    assert [row.custom_data.get("tag") for row in mixed.iterate(order_by="custom_data.tag")] == up


def test_an_order_by_a_field_of_custom_data(store):
    for n, seconds in ((1, 10.5), (2, 9.5), (3, None)):
        store.run({"n": n, "dt": 0.5}, **({} if seconds is None else {"seconds": seconds}))
    by = SimResult.custom_data["seconds"].as_float()
    assert [row.n for row in store.select(order_by=by)] == [2, 1, 3]
    assert [row.n for row in store.select(order_by=by.desc())] == [1, 2, 3]


@pytest.mark.each
@pytest.mark.parametrize("limit", [0, 1, 4, 6, 100])
def test_a_limit_keeps_the_first(full, limit):
    assert [row.id for row in full.select(order_by="-n", limit=limit)] == [
        row.id for row in full.select(order_by="-n")
    ][:limit]


# ---- refusals ----------------------------------------------------------------------------------------------------
@pytest.mark.each
@pytest.mark.parametrize("bad", [True, False, None, 3, "n > 2", {}, SimResult, lambda row: True])
def test_what_is_no_condition_is_refused(full, bad):
    with pytest.raises(ParameterError, match=r"SimResult\.n == |no condition"):
        full.select(bad)


@pytest.mark.each
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.select(OtherResult.n > 1),
        lambda store: store.select(SimResult.n == OtherResult.n),
        lambda store: store.select(order_by=OtherResult.n),
        lambda store: store.iterate(OtherResult.n > 1),
    ],
)
def test_a_column_of_another_model_is_refused_by_name(full, open_store, call):
    open_store(model=OtherResult)
    with pytest.raises(ParameterError, match="other_results") as caught:
        call(full)
    assert "sim_results" in str(caught.value)


@pytest.mark.each
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda store: store.select(dtt=0.1), "did you mean 'dt'"),
        (lambda store: store.select(n="one"), "whole numbers"),
        (lambda store: store.select(n=[1, 2]), "whole numbers"),
        (lambda store: store.select(order_by="dtt"), "did you mean 'dt'"),
        (lambda store: store.select(order_by=3), "order_by"),
        (lambda store: store.select(limit=-1), "limit"),
        (lambda store: store.select(limit=1.5), "limit"),
        (lambda store: store.select(limit=True), "limit"),
        (lambda store: store.select(custom_data="x"), "custom_data"),
        (lambda store: store.select(custom_data={"a": [1]}), "do not compare"),
        (lambda store: store.select(custom_data={"a": object()}), "object"),
        (lambda store: store.select(text("no_such_column > 2")), "no_such_column"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(full, call, said):
    with pytest.raises(ParameterError, match=said):
        call(full)
    assert len(full.select()) == 6


def test_a_json_column_as_a_whole_is_refused_with_the_way_out(typed):
    with pytest.raises(ParameterError, match=r"TypedResult\.tree\['key'\]"):
        typed.select(tree={"leaf": 3})


def test_iterate_refuses_at_the_call_and_not_at_the_first_row(full):
    with pytest.raises(ParameterError):
        full.iterate(dtt=1)
    with pytest.raises(ParameterError):
        full.iterate(order_by="dtt")


# ---- few queries, little memory ----------------------------------------------------------------------------------
def test_any_number_of_rows_takes_one_query(full, statements):
    assert len(full.select()) == 6
    assert len(statements) == 1
    for row in full.select(SimResult.n.in_([1, 2])):
        assert row.custom_data["elapsed_seconds"] >= 0
    assert len(statements) == 2


def test_rows_that_a_session_loads_come_in_one_query_as_well(open_store, statements):
    store = open_store(model=Tripled)
    store.sweep([{"n": n} for n in range(20)])
    asked: list[str] = []
    event.listen(store._context.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    statements.clear()
    rows = store.select(order_by="n")
    assert [row.triple for row in rows] == [3 * n for n in range(20)]
    assert [row.result_file for row in rows] == [store.retrieve({"n": n}).result_file for n in range(20)]
    assert len([sql for sql in asked if "tripled_results" in sql]) - 20 == 1
    assert len([sql for sql in statements if "IN" in sql.upper().split()]) == 0


def test_lazy_relationships_stay_lazy(full, open_store):
    children = open_store(model=Leaf)
    parent = full.select()[0]
    children.run({"n": 1, "parent": parent.id})
    assert [row.parent for row in children.select(Leaf.parent == parent.id)] == [parent.id]
    assert [row.n for row in children.select(Leaf.origin.has(SimResult.n == parent.n))] == [1]


@pytest.mark.parametrize("order", [None, "-n"])
def test_iterate_reads_page_by_page_and_holds_no_more(open_store, statements, monkeypatch, order):
    store = open_store()
    store.sweep([{"n": n, "dt": 0.5} for n in range(23)])
    monkeypatch.setattr(asking, "PAGE", 5)
    statements.clear()
    rows = store.iterate(order_by=order)
    assert isinstance(rows, Iterator)
    first = list(itertools.islice(rows, 5))
    after_one_page = len(statements)
    assert after_one_page <= 2
    ns = [row.n for row in [*first, *rows]]
    assert sorted(ns) == list(range(23))
    assert len(statements) - after_one_page <= 5
    if order:
        assert ns == sorted(ns, reverse=True)


def test_iterate_goes_on_while_rows_come_and_go(open_store, monkeypatch):
    store = open_store()
    store.sweep([{"n": n, "dt": 0.5} for n in range(12)])
    monkeypatch.setattr(asking, "PAGE", 4)
    for order in (None, "n"):
        seen = []
        for row in store.iterate(order_by=order):
            if not seen:
                store.delete({"n": (row.n + 6) % 12, "dt": 0.5})
                store.run({"n": 100, "dt": 0.5})
            seen.append(row.n)
        assert len(seen) == len(set(seen))
        assert set(range(12)) - set(seen) <= {(seen[0] + 6) % 12}
        store.sweep([{"n": n, "dt": 0.5} for n in range(12)])
        store.delete({"n": 100, "dt": 0.5})


def test_the_runner_may_be_asked_for_while_rows_are_iterated(full, runner):
    for row in full.iterate():
        full.run({"n": row.n + 10, "dt": 0.5})
        if len(runner.calls) > 20:
            break
    assert len(full.select()) >= 7


def test_a_selection_pickles(full):
    rows = full.select(order_by="n")
    again = pickle.loads(pickle.dumps(rows))
    assert type(again) is Runs
    assert again.model is SimResult
    assert [vars(row) | {"_sa_instance_state": 0} for row in again] == [
        vars(row) | {"_sa_instance_state": 0} for row in rows
    ]


def test_a_sweep_returns_runs_of_the_same_rows(store):
    swept = store.sweep(GRID)
    assert type(swept) is Runs
    assert [row.id for row in swept] == [store.retrieve(one).id for one in GRID]
    assert type(store.sweep([])) is Runs
    assert store.sweep([]).model is SimResult


def test_a_store_in_memory_selects_too(tmp_path):
    from entropic import Store

    store = Store(CountingRunner(), SimResult, tmp_path / "results", ".json", "sqlite://")
    store.sweep(GRID)
    assert len(store.select(n=1)) == 2
    assert len(list(store.iterate(n=1))) == 2
