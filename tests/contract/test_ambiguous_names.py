"""A column called like an option is neither taken for the other; names in custom data are found whatever they are."""

from __future__ import annotations

import pytest

from contract.models import SimResult
from entropic import Base, Mapped, ParameterError


class Optional(Base):
    __tablename__ = "called_like_options"

    limit: Mapped[int]
    total_size: Mapped[int | None]
    dry_run: Mapped[bool | None]
    order_by: Mapped[str | None]
    orphans: Mapped[bool | None]
    older_than: Mapped[float | None]


@pytest.fixture
def full(open_store):
    store = open_store(model=Optional)
    store.sweep([{"limit": n, "total_size": 10 * n, "dry_run": n == 2} for n in (1, 2, 3)])
    return store


def limits(rows):
    return sorted(row.limit for row in rows)


def test_what_may_be_a_column_or_an_option_is_refused_and_nothing_goes(full):
    for ask in (
        lambda: full.select(limit=3),
        lambda: full.select(limit=None),
        lambda: full.select(order_by="limit"),
        lambda: full.iterate(order_by="limit"),
        lambda: full.gc(total_size=10),
        lambda: full.gc(older_than=0.0),
        lambda: full.gc(total_size_=0, dry_run=True),
        lambda: full.gc(limit=1, dry_run=False),
        lambda: full.gc(limit=1, orphans=True),
    ):
        with pytest.raises(ParameterError, match=r"column.*option.*_="):
            ask()
    assert len(full.select()) == 3
    assert full.check().ok


def test_each_can_be_said(full):
    assert limits(full.select({"limit": 3})) == [3]
    assert limits(full.select(Optional.limit == 3)) == [3]
    assert len(full.select(limit_=2)) == 2
    assert limits(full.select({"limit": 3}, {"total_size": 20})) == []
    assert [row.limit for row in full.select(order_by_="-limit", limit_=2)] == [3, 2]
    assert [row.limit for row in full.iterate({"dry_run": False}, order_by_="-limit")] == [3, 1]
    assert len(full.gc({"total_size": 10}, dry_run_=True).removed) == 1
    assert len(full.select()) == 3
    full.gc({"dry_run": True})
    assert limits(full.select()) == [1, 3]
    full.gc(total_size_=0)
    assert full.select() == []


def test_a_model_without_such_columns_takes_the_options_as_ever_and_those_with_a_line_too(store):
    store.sweep([{"n": n, "dt": 0.5} for n in range(3)])
    assert len(store.select(limit=2)) == len(store.select(limit_=2)) == 2
    assert len(store.gc(total_size=0, dry_run=True).removed) == 3
    with pytest.raises(ParameterError, match="no column"):
        store.select(limits_=2)
    for empty in (lambda: store.select({}), lambda: store.gc({}), lambda: store.iterate({})):
        with pytest.raises(ParameterError, match="no condition"):
            empty()
    assert len(store.select()) == 3


NAMES = [
    "größe",
    "日本",
    "\N{FACE WITH TEARS OF JOY}",
    "a b",
    "a.b",
    "a\\b",
    "a'b",
    "a\nb",
    "$",
    "[0]",
    "%",
    "a:b",
    "Ü" * 30,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_custom_data_is_found_by_any_name_and_by_no_other(open_store, name):
    store = open_store()
    store.run({"n": 1, "dt": 0.5}, **{name: 4, "tag": {name: "x"}})
    store.run({"n": 2, "dt": 0.5}, **{name: 5})
    store.run({"n": 3, "dt": 0.5}, **{name + "z": 4})
    data = SimResult.custom_data
    for found in (
        store.select(custom_data={name: 4}),
        store.select({"custom_data": {name: 4}}),
        store.select(data[name].as_float() < 4.5),
        store.select(data[name].as_integer() == 4),
        store.select(data[("tag", name)].as_string() == "x"),
        store.select(data["tag"][name].as_string() == "x"),
        list(store.iterate(custom_data={name: 4})),
    ):
        assert [row.n for row in found] == [1]
    assert [row.n for row in store.select(order_by=data[name].as_float().desc())][:2] == [2, 1]
    assert [row.n for row in store.select(custom_data={name: None})] == [3]
    store.gc(custom_data={name: 5})
    assert [row.n for row in store.select(order_by="n")] == [1, 3]


def test_a_name_with_a_double_quote_is_found_or_refused(open_store, place):
    store = open_store()
    store.run({"n": 1, "dt": 0.5}, **{'a"b': 4})
    store.run({"n": 2, "dt": 0.5}, **{'a"b': 5})
    try:
        assert [row.n for row in store.select(custom_data={'a"b': 4})] == [1]
    except ParameterError:
        assert place.kind != "postgresql"
