"""`explain`: hit or miss, and why; alike on every database."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Numeric

from contract.models import LooseResult, Phase, Refused, SimResult, TypedResult, refuse
from contract.test_plan import running_elsewhere
from entropic import Base, Explanation, Mapped, Nearest, ParameterError, Store, key, mapped_column
from entropic.db.connection import Connection
from entropic.db.server import ServerConnection

ASKED = {"n": 2, "dt": 0.5}


class Exact(Base):
    __tablename__ = "exact_results"
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 4))
    n: Mapped[int] = mapped_column(default=1)


@pytest.fixture
def full(store):
    store.sweep({"n": n, "dt": dt} for n in (1, 2, 3) for dt in (0.01, 0.5))
    return store


def differences(found: Explanation) -> list[list[str]]:
    return [near.differences for near in found.nearest]


# ---- a hit -------------------------------------------------------------------------------------------------------
def test_a_hit_says_its_key_the_text_that_it_is_made_from_and_where_its_file_lies(full):
    found = full.explain(ASKED)
    assert type(found) is Explanation
    assert found.hit
    assert (found.state, found.id, found.params) == ("stored", key(ASKED), ASKED)
    assert found.canonical == '{"dt":0.5,"n":2}'
    assert found.result_file == full.retrieve(ASKED).result_file
    assert (found.owner, found.failure, found.nearest) == (None, None, [])
    for part in ("a hit", found.id, found.canonical, found.result_file, "n=2", "dt=0.5"):
        assert part in str(found)
    assert repr(found) == str(found)


def test_an_id_of_the_user_is_the_key_itself(store):
    store.run({**ASKED, "id": "mine"})
    found = store.explain({"id": "mine"})
    assert (found.state, found.canonical) == ("stored", "")
    assert store.explain({"id": "other"}).state == "missing"


# ---- a miss ------------------------------------------------------------------------------------------------------
def test_a_miss_shows_the_nearest_stored_sets_and_what_differs(full):
    found = full.explain({"n": 2, "dt": 0.02})
    assert (found.hit, found.state) == (False, "missing")
    assert differences(found) == [["dt: 0.02 vs 0.01"], ["dt: 0.02 vs 0.5"], found.nearest[2].differences]
    assert type(found.nearest[0]) is Nearest
    assert found.nearest[0].id == key({"n": 2, "dt": 0.01})
    assert found.nearest[0].params == {"n": 2, "dt": 0.01}
    assert "dt: 0.02 vs 0.01" in str(found)


def test_of_equally_many_differences_the_closer_number_comes_first(full):
    assert differences(full.explain({"n": 90, "dt": 0.01}))[:2] == [["n: 90 vs 3"], ["n: 90 vs 2"]]


def test_the_number_zero_can_be_asked_for_and_stored(store):
    store.sweep([{"n": 0, "dt": 0.0}, {"n": 5, "dt": 0.0}])
    assert differences(store.explain({"n": 1, "dt": 0.0}))[0] == ["n: 1 vs 5"]
    assert differences(store.explain({"n": 0, "dt": 1.0}))[0] == ["dt: 1.0 vs 0.0"]


def test_an_empty_store_has_nothing_near(store):
    found = store.explain(ASKED)
    assert (found.state, found.nearest) == ("missing", [])
    assert "nearest" not in str(found)


@pytest.mark.parametrize(
    ("stored", "asked", "said"),
    [
        ({"n": 1, "dt": 0.5}, {"n": 1.0, "dt": 0.5}, ["n: 1.0 is float, stored 1"]),
        ({"n": 1.0, "dt": 0.5}, {"n": 1, "dt": 0.5}, ["n: 1 is int, stored 1.0"]),
        ({"n": 1, "dt": 2}, {"n": 1, "dt": 2.0}, ["dt: 2.0 is float, stored 2"]),
        ({"n": 1, "dt": 2}, {"n": 1.0, "dt": 2.0}, ["n: 1.0 is float, stored 1", "dt: 2.0 is float, stored 2"]),
        ({"n": True, "dt": 2.0}, {"n": 1, "dt": 2.0}, ["n: 1 is int, stored True"]),
    ],
)
def test_a_type_that_makes_another_key_is_named(store, stored, asked, said):
    store.run(stored)
    assert differences(store.explain(asked)) == [said]


def test_a_value_that_is_given_where_it_was_left_out_is_named_and_the_other_way_round(open_store):
    store = open_store(model=LooseResult)
    store.run({"name": "a"})
    assert differences(store.explain({"name": "a", "level": 3})) == [["level: 3 is given, stored without level"]]
    store.run({"name": "b", "level": 3})
    assert differences(store.explain({"name": "b"}))[0] == ["level: not given, stored with 3 given"]


def test_an_enumeration_that_was_given_by_its_name_is_named(open_store):
    store = open_store(model=TypedResult)
    store.run({"phase": Phase.LIQUID, "moment": datetime.datetime(2024, 1, 2, 3)})
    found = store.explain({"phase": "LIQUID", "moment": datetime.datetime(2024, 1, 2, 3)})
    assert len(found.nearest[0].differences) == 1
    assert found.nearest[0].differences[0].startswith("phase: ")


def test_decimals_are_compared(open_store):
    store = open_store(model=Exact)
    store.run({"amount": Decimal("1.5")})
    store.run({"amount": Decimal("20")})
    (said,) = differences(store.explain({"amount": Decimal("1.25")}))[0]
    assert said.startswith("amount: 1.25 vs 1.5")
    assert len(differences(store.explain({"amount": 1.5}))[0]) == 1


def test_json_columns_do_not_count_in_the_order_and_are_compared_all_the_same(open_store):
    store = open_store(model=LooseResult)
    store.run({"name": "a", "grid": [1, 2]})
    assert differences(store.explain({"name": "a", "grid": [1, 3]})) == [["grid: [1, 3] vs [1, 2]"]]


def test_the_same_values_under_an_id_of_its_own_are_found(store):
    store.run({**ASKED, "id": "mine"})
    (near,) = store.explain(ASKED).nearest
    assert near.id == "mine"
    assert "'mine'" in near.differences[0]


# ---- neither -----------------------------------------------------------------------------------------------------
def test_a_failure_is_shown(full, open_store):
    with pytest.raises(Refused):
        open_store(run=refuse).run({"n": 9, "dt": 0.5})
    found = full.explain({"n": 9, "dt": 0.5})
    assert (found.state, found.hit) == ("failed", False)
    assert (found.failure.error_type, found.failure.params) == ("Refused", {"n": 9, "dt": 0.5})
    assert "Refused" in str(found)
    assert differences(found)[0] == ["n: 9 vs 3"]


def test_a_stored_set_whose_later_run_failed_is_a_hit_and_says_that_it_failed(full, open_store):
    with pytest.raises(Refused):
        open_store(run=refuse).run(ASKED)
    found = full.explain(ASKED)
    assert found.hit
    assert found.failure.error_type == "Refused"


@pytest.mark.slow
def test_what_runs_elsewhere_has_an_owner(store, place, tmp_path):
    with running_elsewhere(tmp_path, place.url) as process:
        found = store.explain(ASKED)
        assert (found.state, found.hit) == ("running", False)
        assert (found.owner.host, found.owner.pid) == (socket.gethostname(), process.pid)
        for part in (socket.gethostname(), str(process.pid), f"{found.owner.since:%Y-%m-%d %H:%M:%S}"):
            assert part in str(found)
    found = store.explain(ASKED)
    assert (found.state, found.owner) == ("missing", None)
    assert "gone" in found.reason


@pytest.mark.slow
def test_a_stored_set_that_runs_again_elsewhere_is_a_hit_that_says_so(full, place, tmp_path):
    with running_elsewhere(tmp_path, place.url) as process:
        found = full.explain(ASKED)
        assert found.hit
        assert str(process.pid) in found.reason


def test_a_lost_file_is_said_to_be_gone_or_changed(full):
    path = Path(full.retrieve(ASKED).result_file)
    path.write_text("changed")
    found = full.explain(ASKED)
    assert (found.state, found.hit) == ("lost", False)
    assert "7 bytes" in found.reason
    path.unlink()
    found = full.explain(ASKED)
    assert (found.state, found.result_file) == ("lost", str(path))
    assert "gone" in found.reason


def test_a_file_that_only_bears_another_time_is_a_hit_that_says_so(full, runner):
    path = Path(full.retrieve(ASKED).result_file)
    os.utime(path, (1e9, 1e9))
    found = full.explain(ASKED)
    assert (found.state, found.hit) == ("stored", True)
    assert "another time" in found.reason
    before = len(runner.calls)
    assert full.run_or_retrieve(ASKED).id == found.id
    assert len(runner.calls) == before


def test_a_collision_of_keys_is_said(store):
    store.run({"n": 1, "dt": 1e-13})
    found = store.explain({"n": 1, "dt": 2e-13})
    assert (found.state, found.hit) == ("collision", False)
    assert "float_rounding" in found.reason


@pytest.mark.each
@pytest.mark.parametrize(
    "bad", [{"n": 1}, {"n": 1, "dt": 0.5, "m": 1}, {"n": "x", "dt": 0.5}, {"n": {1}, "dt": 0.5}, None]
)
def test_params_that_cannot_run_are_refused(store, bad):
    with pytest.raises(ParameterError):
        store.explain(bad)


def test_what_the_database_cannot_hold_is_refused_as_by_a_plan(store):
    def refusal(call: Callable[[], object]) -> str | None:
        try:
            call()
        except ParameterError as error:
            return str(error)
        return None

    unfit = {"n": 1, "dt": float("nan")}  # on PostgreSQL it fits
    assert refusal(lambda: store.explain(unfit)) == refusal(lambda: store.plan([unfit]))
    if store._context.database.dialect.url.get_backend_name() == "sqlite":
        assert "stores NaN as NULL" in str(refusal(lambda: store.explain(unfit)))


def test_it_runs_nothing_and_changes_nothing(full, runner, place, tmp_path):
    def state():
        files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
        return place.content(), sorted((str(path), path.stat().st_mtime_ns) for path in files)

    before, calls = state(), len(runner.calls)
    for params in (ASKED, {"n": 7, "dt": 0.5}, {"id": "x"}):
        full.explain(params)
    assert (state(), len(runner.calls)) == (before, calls)


def test_the_nearest_are_found_by_the_database_and_not_here(full, monkeypatch):
    fetched: list[int] = []
    for kind in (Connection, ServerConnection):
        real = kind.fetch

        def fetch(self, sql, values=(), real=real):
            rows = real(self, sql, values)
            fetched.append(len(rows))
            return rows

        monkeypatch.setattr(kind, "fetch", fetch)
    assert len(full.explain({"n": 7, "dt": 0.5}).nearest) == 3
    assert max(fetched) <= 3
    assert len(fetched) <= 4


def test_a_password_is_not_in_it(store: Store[SimResult], place):
    with contextlib.suppress(IndexError):
        password = place.url.split("://")[1].split("@")[0].split(":")[1]
        for text in (repr(store), store._repr_html_(), str(store.explain(ASKED)), store.explain(ASKED)._repr_html_()):
            assert password not in text
