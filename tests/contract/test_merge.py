"""Two stores become one: what is missing here is taken in with all that belongs to it, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.models import CountingRunner, LooseResult, Refused, SimResult, TypedResult, refuse, write_params
from databases import KINDS, Place, present
from entropic import Base, Mapped, ModelError, ParameterError, ReadOnlyError, Store, StoreError, outcome

ONE, TWO, THREE, FOUR = ({"n": n, "dt": 0.5} for n in (1, 2, 3, 4))
BEGUN = {"n": 99, "dt": 0.0}


@pytest.fixture
def theirs(tmp_path) -> Callable[..., Store[Any]]:
    """Open the store of a colleague, in a folder and a SQLite file of its own."""
    (tmp_path / "theirs").mkdir()

    def open_it(run: Any = write_params, model: type = SimResult, **options: Any) -> Store[Any]:
        options.setdefault("file_suffix", ".json")
        url = options.pop("db_url", Place.on_sqlite(tmp_path / "theirs").url)
        return Store(run, model, tmp_path / "theirs" / "results", db_url=url, **options)

    return open_it


def values_of(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name not in ("_sa_instance_state", "result_file")}


def origin_of(store: Any, row: Any) -> dict[str, Any]:
    return dataclasses.asdict(store.provenance(row))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- what is taken in ----------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("files", ["link", "copy", "leave"])
def test_what_is_missing_here_is_taken_in_with_all_that_belongs_to_it(store, theirs, runner, files):
    other = theirs()
    rows = [other.run_or_retrieve(ONE, note="é", deep={"a": [1, None]}), other.run_or_retrieve(TWO)]
    mine = store.run_or_retrieve(THREE)
    done = store.merge(other, files=files)
    assert sorted(done.taken) == sorted(row.id for row in rows)
    assert (done.same, done.conflicts, done.left, done.ok) == (0, [], [], True)
    calls = len(runner.calls)
    for row in rows:
        found = store.run_or_retrieve({"n": row.n, "dt": row.dt})
        assert values_of(found) == values_of(row)
        assert origin_of(store, found) == origin_of(other, row)
        here, there = Path(found.result_file), Path(row.result_file)
        assert here.read_bytes() == there.read_bytes()
        assert here.stat().st_mtime_ns == there.stat().st_mtime_ns
        assert (here.parent == store.results_dir) == (files != "leave")
        assert here.samefile(there) == (files != "copy")
    assert len(runner.calls) == calls
    assert store.retrieve(THREE).result_file == mine.result_file
    assert store.check().ok
    assert other.check().ok
    again = store.merge(other, files=files)
    assert (again.taken, again.same, again.ok) == ([], 2, True)


@pytest.mark.slow
def test_the_other_store_is_left_as_it_is_and_may_be_read_only(store, theirs, tmp_path):
    theirs().sweep([ONE, TWO])
    before = contents(tmp_path / "theirs")
    assert len(store.merge(theirs(read_only=True), files="copy").taken) == 2
    assert contents(tmp_path / "theirs") == before


@pytest.mark.slow
def test_what_was_merged_survives_that_the_other_store_goes(store, theirs, tmp_path, runner):
    theirs().sweep([ONE, TWO])
    assert len(store.merge(theirs()).taken) == 2
    shutil.rmtree(tmp_path / "theirs")
    assert [row.n for row in store.sweep([ONE, TWO])] == [1, 2]
    assert runner.calls == []
    assert store.check().ok


@pytest.mark.slow
def test_a_re_run_of_a_linked_result_and_its_deletion_leave_the_other_store_alone(store, theirs):
    other = theirs()
    other.sweep([ONE, TWO])
    before = {row.id: Path(row.result_file).read_bytes() for row in other.select()}
    store.merge(other)
    store.run(ONE, note="here")
    assert store.delete(TWO, remove_file=True)
    assert {row.id: Path(row.result_file).read_bytes() for row in other.select()} == before
    assert other.check().ok
    assert store.check().ok


def test_a_dry_run_says_the_same_and_does_nothing(store, theirs, place, tmp_path):
    other = theirs()
    other.sweep([ONE, TWO])
    store.run_or_retrieve(ONE)
    before, files = place.content(), contents(tmp_path / "results")
    planned = store.merge(other, dry_run=True)
    assert (place.content(), contents(tmp_path / "results")) == (before, files)
    done = store.merge(other)
    assert (planned.taken, len(planned.conflicts)) == (done.taken, len(done.conflicts))
    assert "would be taken in" in str(planned)


def write_folder(params: dict[str, Any]) -> None:
    folder = Path(params["result_file"])
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "0.0").write_text(str(params["n"]))
    (folder / "latest").symlink_to("deep/0.0")
    folder.with_name("solver.log").write_text("converged")


def write_several(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text(str(params["n"]))
    Path(params["result_file"]).with_name("part.bin").write_text("part")


@pytest.mark.slow
@pytest.mark.parametrize("files", ["link", "copy"])
@pytest.mark.parametrize(("run", "suffix"), [(write_folder, ".zarr"), (write_several, "/run.xdmf")])
def test_folders_main_files_and_extra_files_come_along(open_store, theirs, run, suffix, files):
    other, store = theirs(run, file_suffix=suffix), open_store(run, file_suffix=suffix)
    row = other.run_or_retrieve(ONE)
    assert store.merge(other, files=files).ok
    found = store.retrieve(ONE)
    assert str(found.result_file).endswith(suffix)
    there, here = Path(row.result_file), Path(found.result_file)
    folders = (there, here) if suffix == ".zarr" else (there.parent, here.parent)
    assert contents(folders[0]) == contents(folders[1])
    if suffix == ".zarr":
        assert os.readlink(here / "latest") == "deep/0.0"
        (extra,) = store.results_dir.glob("*.files")
        assert (extra / "solver.log").read_text() == "converged"
    assert store.check().ok
    assert store.merge(other, files=files).same == 1
    (folders[0] / "more").write_text("x")  # changed there: not what its row says
    assert "was changed" in store.merge(other).left[0]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "suffix"), [(write_folder, ".zarr"), (write_several, "/run.xdmf")])
def test_folders_and_main_files_that_stay_are_registered(open_store, theirs, run, suffix):
    other, store = theirs(run, file_suffix=suffix), open_store(run, file_suffix=suffix)
    row = other.run_or_retrieve(ONE)
    assert store.merge(other, files="leave").ok
    assert store.run_or_retrieve(ONE).result_file == row.result_file
    assert store.merge(other, files="leave").same == 1
    assert store.check().ok


def test_a_store_whose_results_have_another_suffix_keeps_it(open_store, theirs):
    store, other = open_store(file_suffix=".dat"), theirs()
    other.run_or_retrieve(ONE)
    assert store.merge(other).ok
    assert store.retrieve(ONE).result_file.endswith(".json")
    store.run_or_retrieve(TWO)
    assert store.retrieve(TWO).result_file.endswith(".dat")
    assert store.check().ok


class Measured(Base):
    __tablename__ = "merged_measured"
    n: Mapped[int]
    peak: Mapped[float] = outcome()
    verdict: Mapped[str] = outcome()


class MeasuredMore(Base):
    __tablename__ = "merged_measured_more"
    n: Mapped[int]
    peak: Mapped[float] = outcome()
    verdict: Mapped[str] = outcome()
    level: Mapped[float] = outcome(lambda result: float(result["n"]))


def peaks(params: dict[str, Any]) -> dict[str, object]:
    write_params({"result_file": params["result_file"], "n": params["n"]})
    return {"peak": float("nan") if params["n"] == 2 else 1.5 * params["n"]}


@pytest.mark.slow
@pytest.mark.parametrize("files", ["link", "leave"])
def test_outcomes_and_why_others_have_none_come_along(open_store, theirs, files):
    other = theirs(peaks, Measured)
    with pytest.warns(UserWarning, match="verdict"):
        rows = other.sweep([{"n": 1}, {"n": 2}])
    store = open_store(peaks, MeasuredMore)
    assert store.merge(other, files=files).ok
    for row in rows:
        found = store.retrieve({"n": row.n})
        assert found.peak == row.peak or (found.peak != found.peak and row.peak != row.peak)
        assert found.verdict is None
        assert found.custom_data == row.custom_data
    assert store.check().ok


@pytest.mark.slow
def test_values_of_all_kinds_come_along(open_store, theirs):
    given = {
        "count": 2**40,
        "title": "é'%\\" * 100,
        "flag": True,
        "raw": bytes(range(256)),
        "tree": {"a": [1, 2.5, None]},
    }
    other, store = theirs(model=TypedResult), open_store(model=TypedResult)
    row = other.run_or_retrieve(given)
    assert store.merge(other).ok
    assert values_of(store.retrieve(given)) == values_of(row)
    other, store = theirs(model=LooseResult), open_store(model=LooseResult)
    rows = [other.run_or_retrieve(one) for one in ({"name": "a"}, {"name": "b", "level": 7, "mode": "slow"})]
    assert store.merge(other).ok
    assert [values_of(store.retrieve({"id": row.id})) for row in rows] == [values_of(row) for row in rows]
    assert store.check().ok


@pytest.mark.parametrize("files", ["link", "copy"])
def test_a_file_that_was_registered_there_stays_or_comes_along_by_where_it_lies(store, theirs, tmp_path, files):
    other = theirs()
    (tmp_path / "outside.dat").write_text("outside")
    (other.results_dir / "sub").mkdir()
    (other.results_dir / "sub" / "inside.dat").write_text("inside")
    other.register(ONE, tmp_path / "outside.dat", source="elsewhere")
    other.register(TWO, other.results_dir / "sub" / "inside.dat")
    done = store.merge(other, files=files)
    assert done.registered == [store.retrieve(ONE).id]
    assert store.retrieve(ONE).result_file == str(tmp_path / "outside.dat")
    assert store.retrieve(ONE).custom_data == {"source": "elsewhere"}
    assert store.retrieve(TWO).result_file == str(store.results_dir / f"{store.retrieve(TWO).id}.dat")
    assert store.check().ok
    assert store.merge(other, files=files).same == 2


@pytest.mark.slow
def test_two_databases_in_one_results_folder_are_merged(store, open_store, theirs, tmp_path):
    other = Store(write_params, SimResult, tmp_path / "results", ".json", Place.on_sqlite(tmp_path / "theirs").url)
    other.sweep([ONE, TWO])
    store.run_or_retrieve(THREE)
    assert len(store.merge(other).taken) == 2
    assert store.check().ok
    store.run(ONE)
    assert store.delete(TWO, remove_file=True)
    assert other.check().ok


@pytest.mark.slow
def test_what_is_lost_here_is_taken_in_again(store, theirs, runner):
    other = theirs()
    other.sweep([ONE, TWO])
    store.merge(other)
    os.unlink(store.retrieve(ONE).result_file)
    done = store.merge(other)
    assert (len(done.taken), done.same) == (1, 1)
    assert Path(store.retrieve(ONE).result_file).exists()
    os.unlink(store.retrieve(TWO).result_file)
    assert store.merge(other, files="leave").registered == [store.retrieve(TWO).id]
    assert store.run_or_retrieve(TWO).result_file == other.retrieve(TWO).result_file
    assert runner.calls == []
    assert store.check().ok


# ---- conflicts -----------------------------------------------------------------------------------------------------
def test_another_result_of_the_same_key_is_a_conflict_that_is_listed_and_ours_stays(store, theirs):
    other = theirs(lambda params: Path(params["result_file"]).write_text("another"))
    other.run_or_retrieve(ONE)
    before = store.run_or_retrieve(ONE)
    text = Path(before.result_file).read_text()
    for files in ("link", "copy", "leave"):
        done = store.merge(other, files=files)
        (conflict,) = done.conflicts
        assert (conflict.id, conflict.here) == (before.id, before.result_file)
        assert conflict.there == other.retrieve(ONE).result_file
        assert "7" in str(conflict)
        assert not done.ok
        assert before.id in str(done)
    assert Path(store.retrieve(ONE).result_file).read_text() == text
    assert values_of(store.retrieve(ONE)) == values_of(before)


def test_a_result_of_the_same_size_and_other_content_is_a_conflict_and_one_of_the_same_content_is_none(
    open_store, theirs
):
    other = theirs(lambda params: Path(params["result_file"]).write_text(f"there {params['n'] // 2}"))
    store = open_store(
        lambda params: Path(params["result_file"]).write_text(
            f"{['there', 'heres'][params['n'] - 1]} {params['n'] // 2}"
        )
    )
    for one in (ONE, TWO):
        other.run_or_retrieve(one)
        store.run_or_retrieve(one)
    done = store.merge(other)
    assert done.same == 1
    assert ["not the same content" in str(one) for one in done.conflicts] == [True]


@pytest.mark.slow
def test_other_outcomes_of_the_same_content_are_a_conflict(open_store, theirs):
    def says(peak):
        def run(params):
            Path(params["result_file"]).write_text("the same")
            return {"peak": peak, "verdict": "fine"}

        return run

    other, store = theirs(says(1.0), Measured), open_store(says(2.0), Measured)
    other.run_or_retrieve({"n": 1})
    store.run_or_retrieve({"n": 1})
    (conflict,) = store.merge(other).conflicts
    assert "'peak' is 2.0 here and 1.0 there" in str(conflict)


def test_two_sets_with_one_key_are_a_conflict(open_store, theirs):
    other, store = theirs(), open_store()
    other.run_or_retrieve({"n": 1, "dt": 1.0, "id": "mine"})
    store.run_or_retrieve({"n": 2, "dt": 1.0, "id": "mine"})
    (conflict,) = store.merge(other).conflicts
    assert "another set" in str(conflict)
    assert store.retrieve({"id": "mine"}).n == 2


# ---- what is not taken ---------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_failures_and_what_runs_there_are_not_taken_and_counted(store, theirs):
    other = theirs(refuse)
    with pytest.raises(Refused):
        other.run_or_retrieve(ONE)
    seen = []

    def during(params):
        seen.append(store.merge(theirs(read_only=True)))
        write_params(params)

    theirs(during).run_or_retrieve(TWO)
    (done,) = seen
    assert (done.taken, done.running, done.failed, done.ok) == ([], 1, 1, True)
    assert "1 run under way, 1 failure" in str(done)
    assert store.failures() == []


def test_what_is_run_here_is_left_and_nobody_waits(open_store, theirs):
    other, seen = theirs(), []
    other.run_or_retrieve(ONE)
    store = open_store(CountingRunner(lambda params: seen.append(store.merge(other))))
    store.run_or_retrieve(ONE)
    (done,) = seen
    assert done.taken == []
    assert "run, or taken in, by another process here" in done.left[0]
    assert store.check().ok


@pytest.mark.slow
def test_a_result_that_is_not_as_it_was_recorded_there_is_left_with_the_reason(store, theirs, tmp_path):
    other = theirs()
    rows = other.sweep([ONE, TWO, THREE, FOUR])
    os.unlink(rows[0].result_file)
    Path(rows[1].result_file).write_text("changed by hand")
    Path(rows[2].result_file).unlink()
    Path(rows[2].result_file).symlink_to(tmp_path / "beside.json")
    (tmp_path / "beside.json").write_text("private")
    Place.on_sqlite(tmp_path / "theirs").execute("UPDATE sim_results SET dt = 7.0 WHERE n = 4")
    done = store.merge(theirs())
    assert done.taken == []
    for row, why in zip(rows, ("is gone", "was changed since", "leads out of", "changed by hand"), strict=True):
        assert any(text.startswith(row.id) and why in text for text in done.left), done
    assert store.check().ok
    assert store.select() == []


def test_a_pipe_in_a_folder_is_not_opened_and_leaves_nothing_claimed(open_store, theirs):
    other, store = theirs(write_folder, file_suffix=".zarr"), open_store(write_folder, file_suffix=".zarr")
    os.mkfifo(f"{other.run_or_retrieve(ONE).result_file}/pipe")
    for files in ("link", "copy"):
        assert "neither a file nor a folder" in store.merge(other, files=files).left[0]
    assert store.check().ok
    assert store.run_or_retrieve(ONE).n == 1


def test_a_result_that_is_replaced_while_it_is_brought_is_left(store, theirs, monkeypatch):
    from entropic.upkeep.imports import foreign_result as elsewhere

    other = theirs()
    other.run_or_retrieve(ONE)
    bring = elsewhere.bring

    def slowly(*args):
        brought = bring(*args)
        other.run(ONE, note="meanwhile")
        return brought

    monkeypatch.setattr(elsewhere, "bring", slowly)
    assert "replaced or deleted there just now" in store.merge(other).left[0]
    monkeypatch.undo()
    assert store.check().ok
    assert len(store.merge(other).taken) == 1
    assert store.retrieve(ONE).custom_data["note"] == "meanwhile"


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt("No space")])
def test_a_full_disk_or_ctrl_c_ends_the_merge_and_the_same_call_goes_on(store, theirs, monkeypatch, error):
    from entropic.files import content

    other = theirs()
    other.sweep([ONE, TWO, THREE])
    copy, count = content._copy, []

    def full(source, target):
        count.append(source)
        if len(count) == 2:
            raise error
        return copy(source, target)

    monkeypatch.setattr(content, "_copy", full)
    with pytest.raises(type(error), match="No space"):
        store.merge(other, files="copy")
    monkeypatch.undo()
    assert store.failures() == []
    assert store.check().ok
    done = store.merge(other, files="copy")
    assert (len(done.taken), done.same) == (2, 1)
    assert store.check().ok


# ---- keys, and models ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_results_get_the_keys_of_this_store_where_floats_are_rounded_in_another_way(open_store, theirs):
    other = theirs(float_rounding="significant")
    sets = [{"n": 1, "dt": 1e-13}, {"n": 2, "dt": 0.1 + 0.2}, {"n": 3, "dt": 3}, {"n": 4, "dt": 1.0, "id": "by-hand"}]
    rows = other.sweep(sets)
    store = open_store()
    planned, done = store.merge(other, dry_run=True), store.merge(other)
    assert planned.rekeyed == done.rekeyed == sum(a.id != store.retrieve(b).id for a, b in zip(rows, sets, strict=True))
    assert done.rekeyed >= 1
    assert [store.retrieve(one).n for one in sets] == [1, 2, 3, 4]
    assert store.check().ok
    assert store.merge(other).same == 4


def test_two_results_that_would_have_one_key_here_are_a_conflict(open_store, theirs):
    other, store = theirs(float_rounding="significant"), open_store()
    other.sweep([{"n": 1, "dt": 1e-13}, {"n": 1, "dt": 2e-13}])
    for dry_run in (True, False):
        done = store.merge(other, dry_run=dry_run)
        assert (len(done.taken), len(done.conflicts)) == (1, 1)


def test_untyped_keys_become_typed_ones_and_typed_ones_are_refused_where_keys_are_not(open_store, theirs):
    other, store = theirs(), open_store(typed_keys=True)
    other.run_or_retrieve({"n": 1, "dt": 1})
    assert store.merge(other).rekeyed == 1
    assert store.retrieve({"n": 1, "dt": 1.0}).n == 1
    with pytest.raises(StoreError, match=r"typed_keys=True.*Nothing was merged"):
        other.merge(store)


class Narrow(Base):
    __tablename__ = "merged_narrow"
    n: Mapped[int]


class Unlike(Base):
    __tablename__ = "merged_unlike"
    n: Mapped[int]
    dt: Mapped[str]


@pytest.mark.parametrize(
    ("model", "mine", "what"),
    [
        (Narrow, SimResult, "no 'dt' there"),
        (SimResult, Narrow, "no 'dt' here"),
        (Unlike, SimResult, "of floats .* of text"),
        (MeasuredMore, Measured, "'level', for which Measured has no column"),
    ],
)
def test_models_that_differ_are_refused_with_a_sentence(open_store, theirs, model, mine, what):
    store, other = open_store(model=mine), theirs(model=model)
    with pytest.raises(ModelError, match=f"{what}.*Nothing was merged"):
        store.merge(other)


def test_wrong_use_is_refused(store, open_store, theirs, tmp_path):
    other = theirs()
    other.run_or_retrieve(ONE)
    with pytest.raises(ParameterError, match="'link', 'copy', 'leave'"):
        store.merge(other, files="move")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="nothing to merge"):
        store.merge(open_store())
    with pytest.raises(ReadOnlyError):
        open_store(read_only=True).merge(other)
    shutil.move(tmp_path / "theirs" / "results", tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="Is results_dir right"):
        strange = theirs(read_only=True)
    with pytest.raises(StoreError, match="results_dir in which they were made"):
        store.merge(strange)


def test_a_model_of_another_name_and_table_is_merged(open_store, theirs):
    from contract.models import OtherResult

    store, other = open_store(), theirs(model=OtherResult)
    other.run_or_retrieve(ONE)
    assert store.merge(other).ok
    assert store.retrieve(ONE).n == 1


# ---- any two databases -----------------------------------------------------------------------------------------------
@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind != "sqlite")) for kind in KINDS])
def source(request, servers, tmp_path):
    if request.param not in request.config.getoption("--databases").split(","):
        pytest.skip("not chosen")
    if request.param == "sqlite":
        (tmp_path / "source").mkdir()
        yield Place.on_sqlite(tmp_path / "source")
        return
    with Place.on_server(present(servers.shared, request.param)) as made:
        yield made


@pytest.mark.slow
def test_a_store_of_any_database_is_merged_into_one_of_any_other(open_store, theirs, source, runner):
    other = theirs(model=TypedResult, db_url=source.url)
    sets = [{"count": n, "size": n / 3, "title": "é", "flag": bool(n % 2), "raw": b"\x00\xff"} for n in range(5)]
    rows = other.sweep(sets)
    store = open_store(model=TypedResult)
    assert len(store.merge(other).taken) == 5
    assert [values_of(row) for row in store.sweep(sets)] == [values_of(row) for row in rows]
    assert runner.calls == []
    assert store.merge(other).same == 5
    assert store.check().ok


@pytest.mark.slow
def test_a_merged_store_can_be_rebuilt(store, theirs, tmp_path):
    other = theirs()
    row = other.run_or_retrieve(ONE, note="x")
    store.merge(other)
    told = origin_of(store, store.retrieve(ONE))
    (tmp_path / "lost").mkdir()
    kind = store._context.database.dialect.url.get_backend_name()
    if kind != "sqlite":
        pytest.skip("rebuilt into a database of the same kind")
    with pytest.warns(UserWarning, match="entropic rebuild"):
        again = Store(write_params, SimResult, store.results_dir, ".json", Place.on_sqlite(tmp_path / "lost").url)
    assert again.rebuild().made == [row.id]
    assert values_of(again.retrieve(ONE)) == values_of(row)
    assert json.loads(Path(again.retrieve(ONE).result_file).read_text())["n"] == 1
    assert told["host"] is not None
