"""Rows whose keys other rules have made, such as those of 2.3.0, get the keys that their sets have now."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from contract.added_models import changing_in
from contract.models import CountingRunner, SimResult
from entropic import Base, Mapped, ReadOnlyError, SpellingWarning, StaleError, Store, key, retyped

OpenStore = Callable[..., Store[Any]]
SETS = [{"n": n, "dt": 0.5} for n in range(3)]


def of_numpy(params: dict[str, Any]) -> str:
    """Return the key that 2.3.0 gave to a set whose `n` was a number of numpy."""
    return key({**params, "n": str(params["n"])})


@pytest.fixture
def store(open_store: OpenStore) -> Store[Any]:
    """A store with three such rows, and one that has its key."""
    made = open_store(model=SimResult)
    for params in SETS:
        made.run_or_retrieve({**params, "id": of_numpy(params)}, note=f"of {params['n']}")
    made.run_or_retrieve({"n": 7, "dt": 0.5})
    return made


# ---- what it does ------------------------------------------------------------------------------------------------
def test_rows_are_found_by_their_sets_once_they_have_the_keys_of_now(store: Store[Any], runner: CountingRunner) -> None:
    old = {row.n: row for row in store.select()}
    content = {n: Path(row.result_file).read_text() for n, row in old.items()}
    done = store.rekey()
    assert done.ok
    assert done.before == {key(params): of_numpy(params) for params in SETS}
    for row in store.sweep([*({**params, "n": np.int64(params["n"])} for params in SETS), {"n": 7, "dt": 0.5}]):
        before = old[row.n]
        assert (row.id, row.created_at, row.custom_data) == (
            key({"n": row.n, "dt": 0.5}),
            before.created_at,
            before.custom_data,
        )
        assert Path(row.result_file).read_text() == content[row.n]
    assert len(store.select()) == len([one for one in store.results_dir.iterdir() if one.name != ".entropic"]) == 4
    assert len(runner.calls) == 4
    assert store.check().ok
    assert store.rekey().taken == []


@pytest.mark.slow
def test_a_dry_run_shows_all_and_does_nothing(open_store: OpenStore, store: Store[Any], place: Any) -> None:
    before = sorted(row.id for row in store.select())
    files = {path: path.stat().st_mtime_ns for path in store.results_dir.iterdir()}
    told = str(store.rekey(dry_run=True))
    assert "3 results would get another key" in told
    assert "only when no older program runs any more" in told
    for params in SETS:
        assert f"{of_numpy(params)} as {key(params)}: n={params['n']}, dt=0.5" in told
    assert str(open_store(model=SimResult, read_only=True).rekey(dry_run=True)) == told
    with pytest.raises(ReadOnlyError, match="rekey"):
        open_store(model=SimResult, read_only=True).rekey()
    assert sorted(row.id for row in store.select()) == before
    assert {path: path.stat().st_mtime_ns for path in store.results_dir.iterdir()} == files


def test_a_row_that_was_changed_by_hand_is_never_moved(store: Store[Any], place: Any) -> None:
    place.execute("UPDATE sim_results SET dt = 0.25 WHERE n = 1")
    done = store.rekey()
    assert sorted(done.before) == sorted(key(params) for params in SETS if params["n"] != 1)
    assert store.retrieve({"n": 1, "dt": 0.25}) is None


@pytest.mark.parametrize("content", ["the same", "another"])
def test_what_has_a_row_under_its_new_key_is_a_conflict_and_both_stay_as_they_are(
    store: Store[Any], runner: CountingRunner, content: str
) -> None:
    ran = store.run_or_retrieve(SETS[0])  # which nobody could know to be stored
    if content == "another":
        Path(ran.result_file).write_text(Path(ran.result_file).read_text().replace("0.5", "0.6"))
    old = store.retrieve({"id": of_numpy(SETS[0])})
    for dry_run in (True, False):
        done = store.rekey(dry_run)
        (conflict,) = done.conflicts
        assert f"{old.id} keeps its key: its new key {ran.id} has a row already; delete" in str(conflict)
        assert not done.ok
        assert len(done.taken) == 2
    assert store.retrieve({"id": old.id}).custom_data == old.custom_data
    assert Path(old.result_file).exists()
    assert store.run_or_retrieve(SETS[0]).created_at == ran.created_at
    store.delete({"id": ran.id})  # as it says
    assert store.rekey().before == {ran.id: old.id}
    assert store.run_or_retrieve(SETS[0]).created_at == old.created_at


def test_a_file_that_was_registered_under_the_new_key_stays(
    open_store: OpenStore, place: Any, runner: CountingRunner
) -> None:
    """As 2.3.0 left the row: no ledger says whose the file is, and anybody may register it."""
    store = open_store(model=SimResult)
    old = store.run_or_retrieve({**SETS[0], "id": of_numpy(SETS[0])})
    place.execute("DELETE FROM entropic_ledger")
    store.register(SETS[0], old.result_file)
    for dry_run in (True, False):
        (conflict,) = store.rekey(dry_run).conflicts
        assert "Both have one file, so do not remove that" in str(conflict)
    assert store.retrieve({"id": old.id}) is not None
    assert Path(store.retrieve(SETS[0]).result_file).read_text()


def test_a_file_that_another_row_has_too_stays(open_store: OpenStore, place: Any) -> None:
    store = open_store(model=SimResult)
    old = store.run_or_retrieve({**SETS[0], "id": of_numpy(SETS[0])})
    place.execute("DELETE FROM entropic_ledger")
    store.register({"n": 8, "dt": 0.5}, old.result_file)
    for dry_run in (True, False):
        (conflict,) = store.rekey(dry_run).conflicts
        assert "is registered for another row, too" in str(conflict)
    assert Path(store.retrieve({"n": 8, "dt": 0.5}).result_file).exists()
    assert store.retrieve({"id": old.id}) is not None


def test_two_keys_of_one_set_both_stay_and_the_dry_run_says_so(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=SimResult)
    both = [key({"n": "0", "dt": dt}) for dt in (0.5, "0.5")]
    for id in both:
        store.run_or_retrieve({**SETS[0], "id": id})
    planned, done = store.rekey(dry_run=True), store.rekey()
    assert [*map(str, planned.conflicts)] == [*map(str, done.conflicts)]
    assert (len(done.conflicts), planned.taken, done.taken) == (2, [], [])
    assert all(f"{' and '.join(sorted(both))} are of one set" in str(one) for one in done.conflicts)
    assert sorted(row.id for row in store.select()) == sorted(both)


def test_after_an_interrupt_the_same_call_goes_on_and_lists_what_is_under_both_keys(
    store: Store[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from entropic.protocol import delete

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delete, "delete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.rekey()
    assert len(store.select()) == 5
    again = store.rekey()
    assert (len(again.taken), len(again.conflicts)) == (2, 1)
    store.delete({"id": again.conflicts[0].id}, remove_file=True)
    assert len(store.rekey().taken) == 1
    assert sorted(row.id for row in store.select()) == sorted(key({"n": n, "dt": 0.5}) for n in (0, 1, 2, 7))
    assert store.check().ok


def test_a_row_that_is_replaced_meanwhile_is_not_lost(store: Store[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from entropic.files import logs

    def replace(staging: Any, old: str, new: str) -> None:
        params = next(one for one in SETS if store._context.key_of(of_numpy(one)) == old)
        store.run({**params, "id": of_numpy(params)})

    store.note({"id": of_numpy(SETS[0])}, "suspicious")
    monkeypatch.setattr(logs, "keep", replace)
    done = store.rekey()
    assert any(f"{of_numpy(SETS[0])}: it was replaced or deleted just now" in one for one in done.left)
    assert store.retrieve({"id": of_numpy(SETS[0])}) is not None
    assert list(store.notes()) == [of_numpy(SETS[0])]


# ---- what belongs to a row ---------------------------------------------------------------------------------------
def test_notes_tags_audits_and_the_log_come_along(store: Store[Any]) -> None:
    from entropic.db import audits
    from entropic.files import logs

    context, old = store._context, of_numpy(SETS[0])
    store.note({"id": old}, "suspicious", tags=["paper"])
    store.run_or_retrieve(SETS[1])
    store.note(SETS[1], "of a row that goes", tags=["gone"])
    store.delete(SETS[1])
    store.note({"id": of_numpy(SETS[1])}, "of the old one", tags=["paper"])
    told = {"at": 1, "attempt": "1", "host": "here", "agreed": True, "told": "all agrees"}
    audits.record(context.database, context.model, id=old, **told)
    os.close(logs.create(context.staging, context.key_of(old)))
    assert store.rekey().ok
    assert [one[0] for one in audits.recorded(context.database, context.model)] == [key(SETS[0])]
    assert logs.find(context.staging, context.key_of(key(SETS[0])))
    assert logs.find(context.staging, context.key_of(old)) is None
    said = {key(SETS[0]): ("suspicious", ("paper",))}
    said[key(SETS[1])] = "of the old one; of a row that goes", ("gone", "paper")
    assert {id: (one.text, one.tags) for id, one in store.notes().items()} == said
    assert [row.n for row in store.select(store.tagged("paper"), order_by="n")] == [0, 1]


@pytest.mark.slow
def test_what_has_read_a_row_still_has_read_it(
    open_store: OpenStore, store: Store[Any], runner: CountingRunner
) -> None:
    def read(params: dict[str, Any]) -> None:
        store.retrieve({"id": of_numpy(SETS[0])})
        runner(params)

    reader = open_store(read, changing_in("reading_rekeyed", m=int), on_stale="error")
    row = reader.run_or_retrieve({"m": 1})
    assert store.rekey().ok
    assert [one.id for one in reader.inputs(row)] == [key(SETS[0])]
    assert reader.stale() == []
    assert reader.run_or_retrieve({"m": 1}).id == row.id


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [True, False], ids=["its store open", "its store closed"])
def test_what_has_read_a_row_in_another_database_follows_it(
    open_store: OpenStore, store: Store[Any], runner: CountingRunner, tmp_path: Path, is_open: bool
) -> None:
    def read(params: dict[str, Any]) -> None:
        if params["m"] == 1:
            store.retrieve({"id": of_numpy(SETS[0])})
        runner(params)

    model = changing_in(f"reading_rekeyed_{'near' if is_open else 'far'}", m=int)
    elsewhere = {"results_dir": tmp_path / "elsewhere", "db_url": f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"}
    reader: Store[Any] | None = open_store(read, model, on_stale="error", **elsewhere)
    row = reader.run_or_retrieve({"m": 1})
    if not is_open:
        reader = None
    assert store.rekey().ok
    reader = reader or open_store(read, model, on_stale="error", **elsewhere)
    assert [(one.id, one.now) for one in reader.inputs(row)] == [(key(SETS[0]), "same")]
    assert [one.id for one in store.dependants(SETS[0])] == [row.id]
    assert store.dependants(SETS[1]) == []
    assert reader.run_or_retrieve({"m": 1}).id == row.id
    store.run(SETS[0])
    assert [(one.id, one.now) for one in reader.inputs(row)] == [(key(SETS[0]), "replaced")]
    assert [one.m for one in reader.stale()] == [1]
    with pytest.raises(StaleError, match=f"{key(SETS[0])}, which it has read, was made again"):
        reader.run_or_retrieve({"m": 1})
    assert reader.accept() == 1
    assert [(one.id, one.now) for one in reader.inputs(row)] == [(key(SETS[0]), "same")]


@pytest.mark.only_on("sqlite")
def test_a_row_that_gets_another_key_costs_no_look_at_all_that_got_one_before(store: Store[Any]) -> None:
    known, connection = store._context.origins.former_keys, store._context.database.connection()
    for statement in (known._statements.of, known._statements.change):
        asked = statement.values({"whose": "a", "key": "b", "now_": "c"})
        ((*_, plan),) = connection.fetch(f"EXPLAIN QUERY PLAN {statement.sql}", asked)
        assert plan.startswith("SEARCH"), plan


@pytest.mark.slow
def test_what_has_read_a_row_follows_it_into_a_store_that_makes_keys_in_another_way(
    open_store: OpenStore, runner: CountingRunner, tmp_path: Path
) -> None:
    plain = open_store(model=SimResult)
    first = {"n": 1, "dt": 2}
    model = changing_in("reading_merged", m=int)

    def read(params: dict[str, Any]) -> None:
        plain.run_or_retrieve(first)
        runner(params)

    reader = open_store(read, model)
    row = reader.run_or_retrieve({"m": 1})
    there = {"results_dir": tmp_path / "there", "db_url": f"sqlite:///{tmp_path / 'there.sqlite3'}"}
    mine, mine_too = (open_store(model=one, typed_keys=True, **there) for one in (SimResult, model))
    assert mine.merge(plain).rekeyed == 1
    assert mine_too.merge(reader).ok
    assert [one.now for one in mine_too.inputs({"m": 1})] == ["same"]
    assert [one.id for one in mine.dependants(first)] == [row.id]
    mine.run(first)
    assert [one.m for one in mine_too.stale()] == [1]
    moved = mine.copy_to(f"sqlite:///{tmp_path / 'copy.sqlite3'}")
    assert moved._context.origins.former_keys.all() == {plain.retrieve(first).id: mine.retrieve(first).id}


def test_a_registered_file_stays_where_it_is(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(model=SimResult)
    made = tmp_path / "elsewhere.json"
    made.write_text("{}")
    store.register({**SETS[0], "id": of_numpy(SETS[0])}, made)
    done = store.rekey()
    assert (done.taken, done.registered) == ([key(SETS[0])], [key(SETS[0])])
    assert Path(store.run_or_retrieve(SETS[0]).result_file) == made
    assert store.retrieve({"id": of_numpy(SETS[0])}) is None
    assert made.read_text() == "{}"
    assert store.check().ok


# ---- where such keys come from -------------------------------------------------------------------------------------
class Before(Base):
    __tablename__ = "of_2_3_0"
    metadata = sa.MetaData()

    n: Mapped[int]
    steps: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]
    depth: Mapped[int | None]


@pytest.mark.slow
@pytest.mark.parametrize("typed", [False, True])
def test_a_store_of_before_there_was_a_ledger(
    open_store: OpenStore, runner: CountingRunner, place: Any, tmp_path: Path, typed: bool
) -> None:
    """As 2.3.0 left it: a table, files called by their keys, and nothing else."""
    (tmp_path / "results").mkdir()
    engine = sa.create_engine(place.url, poolclass=sa.NullPool)
    open_store(model=Before, results_dir=tmp_path / "of another")  # which makes the table as the database has it
    for name in ("entropic_models", "entropic_ledger"):
        place.execute(f"DELETE FROM {name}")
    hashed = [
        {"n": "1", "steps": "100", "dt": 0.5, "name": "all of numpy"},
        {"n": 2, "steps": "100", "dt": "0.25", "name": "some of numpy"},
        {"n": 3, "steps": 100, "dt": "1", "name": "a whole one in a column of floats"},
        {"n": 4, "steps": 100, "dt": 0.5, "name": "of Python", "depth": 3},
    ]
    now = [{**one, "n": int(one["n"]), "steps": 100, "dt": float(one["dt"])} for one in hashed]
    with engine.begin() as connection:
        for one, meant in zip(hashed, now, strict=True):
            file = tmp_path / "results" / f"{key(one)}.json"
            file.write_text(str(meant["name"]))
            given = {"depth": None, **meant, "id": key(one), "result_file": str(file), "custom_data": {}}
            connection.execute(sa.insert(Before.__table__), {**given, "created_at": datetime(2025, 1, 2)})
    with pytest.warns(SpellingWarning, match=r"3 rows of Before are under keys that their sets no .*`entropic rekey`"):
        store = open_store(model=Before, typed_keys=typed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_store(model=Before, typed_keys=typed)  # said once
    assert len(store.check().mismatched) == 3
    assert "its key follows older rules" in str(store.check())
    assert store.repair().done == []
    assert (done := store.rekey()).ok
    assert {params["n"] for params in done.sets.values()} == {1, 2, 3}
    asked = [{**one, "dt": 1} if one["n"] == 3 and not typed else one for one in now]
    assert [Path(row.result_file).read_text() for row in store.sweep(asked)] == [one["name"] for one in now]
    assert {row.created_at for row in store.select()} == {datetime(2025, 1, 2)}
    assert runner.calls == []
    assert store.check().ok
    assert len([path for path in (tmp_path / "results").iterdir() if path.is_file()]) == 4


def test_a_store_of_before_with_many_such_rows_says_at_least_how_many(
    open_store: OpenStore, store: Store[Any], place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from entropic.upkeep import rekey

    tried: list[str] = []
    monkeypatch.setattr(rekey, "_MOST_KEYS", 1)
    monkeypatch.setattr(rekey, "find_former_set", lambda *given: tried.append(given[-1]) or {"n": 1})
    place.execute("DELETE FROM entropic_models")
    place.execute("DELETE FROM entropic_ledger")
    with pytest.warns(SpellingWarning, match="at least 1 row of SimResult is under a key"):
        open_store(model=SimResult)
    assert len(tried) == 1


@pytest.mark.parametrize("many", [6, 7, 12])
@pytest.mark.parametrize("left", [0, 1])
def test_many_numbers_of_numpy_are_recognised(open_store: OpenStore, many: int, left: int) -> None:
    store = open_store(model=changing_in(f"rekeying_{many}_numbers", **{f"n{i}": int for i in range(many)}))
    params = {f"n{i}": i + 3 for i in range(many)}
    texts = {name: str(value) for name, value in params.items()} | ({"n2": 5} if left else {})
    store.run_or_retrieve({**params, "id": key(texts)})
    assert store.rekey(dry_run=True).before == {key(params): key(texts)}


@pytest.mark.slow
def test_each_number_of_numpy_may_have_been_an_int_or_a_float(open_store: OpenStore) -> None:
    store = open_store(model=changing_in("rekeying_apart", n=int, dt=float, steps=int))
    params: dict[str, Any] = {"n": 1, "dt": 2.0, "steps": 3}
    many = {f"n{i}": i + 2 for i in range(7)}
    mixed = {**many, "n1": 3.0, "n4": 6.0}
    store_of_many = open_store(model=changing_in("rekeying_many_apart", **dict.fromkeys(many, int)))
    store_of_many.run_or_retrieve({**many, "id": key({name: str(value) for name, value in mixed.items()})})
    assert list(store_of_many.rekey(dry_run=True).before) == [key(mixed)]
    for hashed, meant in (
        ({"n": "1.0", "dt": "2", "steps": 3}, {"n": 1.0, "dt": 2, "steps": 3}),
        ({"n": "1", "dt": "2", "steps": "3.0"}, {"n": 1, "dt": 2, "steps": 3.0}),
    ):
        store.run_or_retrieve({**params, "id": key(hashed)})
        assert store.rekey(dry_run=True).before[key(meant)] == key(hashed)


@pytest.mark.slow
def test_sets_that_said_2_0_before_their_parameter_was_retyped(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=changing_in("rekeying_retyped", n=int, dt=int))
    rows = [older.run_or_retrieve({"n": 1, "dt": dt}) for dt in (2.0, 3)]
    assert rows[0].id == key({"n": 1, "dt": 2.0})
    store = open_store(model=changing_in("rekeying_retyped", n=int, dt=(float, retyped(int))))
    assert "its key follows older rules" in str(store.check())
    with pytest.warns(SpellingWarning, match=r"stored under the key that it had before dt was retyped.*rekey"):
        store.run_or_retrieve({"n": 1, "dt": 2.0})
    store.delete({"n": 1, "dt": 2.0}, remove_file=True)
    done = store.rekey()
    assert done.before == {key({"n": 1, "dt": 2}): rows[0].id}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [row.created_at for row in store.sweep([{"n": 1, "dt": dt} for dt in (2.0, 3.0)])] == [
            row.created_at for row in rows
        ]
    assert len(runner.calls) == 3
    assert store.check().ok


@pytest.mark.slow
def test_a_store_that_makes_keys_in_another_way_takes_them_in_under_its_own(
    open_store: OpenStore, store: Store[Any], runner: CountingRunner, make_place: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with make_place(tmp_path / "mine") as place:
        options: dict[str, Any] = {"db_url": place.url, "results_dir": tmp_path / "mine" / "results"}
        mine = open_store(model=SimResult, typed_keys=True, **options)
        assert mine.merge(store).rekeyed == 3
        mine.sweep(SETS)
        assert len(runner.calls) == 4
