"""What a run keeps in its `checkpoint_dir` outlives the attempt, is its key's alone, and goes when that is stored."""

from __future__ import annotations

import os
import pickle
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.models import OtherResult, SimResult
from entropic import Base, Mapped, ModelError, ParameterError, Store, StoreError, key, study
from entropic.files import checkpoints
from entropic.protocol import publish

pytestmark = pytest.mark.only_on("sqlite")  # the database has no part in it
ONE, TWO = {"n": 1, "dt": 1.0}, {"n": 2, "dt": 1.0}


class Stopped(Exception):
    pass


class Trainer:
    """Counts to ten, a checkpoint at each step; stops where it is told to, and remembers from where it went on."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.stops: dict[int, BaseException] = {}
        self.at: dict[int, Any] = {}

    def __call__(self, params: dict[str, Any]) -> int:
        state = Path(params["checkpoint_dir"], "step")
        step = int(state.read_text()) if state.exists() else 0
        self.began.append(step)
        while step < 10:
            step += 1
            save(state, step)
            if step in self.at:
                self.at.pop(step)()
            if step in self.stops:
                raise self.stops.pop(step)
        return step


def save(path: Path, step: int) -> None:
    """As the documentation says: write beside it, then rename."""
    new = path.with_suffix(".new")
    new.write_text(str(step))
    os.replace(new, path)


@pytest.fixture
def runner():
    return Trainer()


@pytest.fixture
def store(open_store):
    return open_store(checkpoints=True)


def folders(store: Any) -> list[Path]:
    folder = Path(store._context.staging.root, "checkpoints")
    return sorted(folder.iterdir()) if folder.exists() else []


def stop(store: Any, runner: Trainer, at: int, params: Any = None, error: BaseException | None = None) -> None:
    """Run until a step, at which it raises."""
    error = error or Stopped("made by the test")
    runner.stops[at] = error
    with pytest.raises(type(error)):
        store.run_or_retrieve(params or ONE)


# ---- what it is ------------------------------------------------------------------------------------------------------
def test_a_run_gets_an_empty_folder_of_its_own_in_a_plain_dict(open_store):
    seen = []

    def look(params: dict[str, Any]) -> int:
        seen.append((type(params), type(params["checkpoint_dir"]), os.listdir(params["checkpoint_dir"])))
        assert os.path.isabs(params["checkpoint_dir"])
        return 1

    store = open_store(look, checkpoints=True)
    store.run_or_retrieve(ONE)
    assert seen == [(dict, str, [])]
    assert folders(store) == []
    assert store.check().ok


def test_a_store_that_is_not_asked_for_it_gives_none_and_makes_none(open_store, runner):
    store = open_store()
    with pytest.raises(KeyError) as raised:
        store.run_or_retrieve(ONE)
    assert "checkpoints=True" in str(raised.value.__notes__)
    assert not Path(store._context.staging.root, "checkpoints").exists()


def test_a_column_of_that_name_is_refused_only_where_it_would_be_in_the_way(open_store):
    class Named(Base):
        __tablename__ = "named_like_it"
        checkpoint_dir: Mapped[str]

    with pytest.raises(ModelError, match="rename the column"):
        open_store(lambda params: 1, Named, checkpoints=True)
    assert open_store(lambda params: params["checkpoint_dir"], Named).run({"checkpoint_dir": "mine"})


@pytest.mark.parametrize("wrong", ["yes", 2, None])
def test_anything_but_true_and_false_is_refused(open_store, wrong):
    with pytest.raises(ParameterError, match="checkpoints"):
        open_store(checkpoints=wrong)


def test_a_store_that_keeps_checkpoints_still_does_after_a_pickle(open_store):
    store = pickle.loads(pickle.dumps(open_store(dict.copy, checkpoints=True)))
    assert store._context.checkpoints


def test_a_study_gets_the_folder_by_a_parameter_that_is_no_part_of_the_key(tmp_path):
    where = {"results": tmp_path / "results", "db_url": f"sqlite:///{tmp_path}/db.sqlite3", "checkpoints": True}

    def train(rate: float, checkpoint_dir: str = "") -> str:
        return checkpoint_dir

    def plain(rate: float) -> float:
        return rate

    assert os.path.isabs(study(ignore=["checkpoint_dir"], name="train", **where)(train)(0.5))
    assert study(name="plain", **where)(plain)(0.5) == 0.5


# ---- it goes on ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [Stopped("made by the test"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_the_next_attempt_goes_on_from_the_last_checkpoint(store, runner, error):
    stop(store, runner, 4, error=error)
    stop(store, runner, 7)
    assert store.load(store.run_or_retrieve(ONE)) == 10
    assert runner.began == [0, 4, 7]
    assert folders(store) == []
    assert store.check().ok


def test_a_sweep_goes_on_too_each_set_from_its_own(store, runner):
    stop(store, runner, 4, ONE)
    stop(store, runner, 7, TWO)
    assert len(store.sweep([TWO, ONE])) == 2
    assert runner.began == [0, 0, 7, 4]
    assert folders(store) == []


def test_another_store_on_the_same_folder_and_database_goes_on(store, open_store, runner):
    stop(store, runner, 4)
    open_store(checkpoints=True).run_or_retrieve(ONE)
    assert runner.began == [0, 4]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*another one")
def test_tables_and_databases_that_share_a_folder_have_nothing_in_common(store, open_store, runner, tmp_path):
    stop(store, runner, 4)
    open_store(model=OtherResult, checkpoints=True).run_or_retrieve(ONE)
    open_store(db_url=f"sqlite:///{tmp_path}/other.sqlite3", checkpoints=True).run_or_retrieve(ONE)
    assert runner.began == [0, 0, 0]
    store.run_or_retrieve(ONE)
    assert runner.began[-1] == 4


def test_a_forced_run_starts_without_what_was_kept(store, runner):
    stop(store, runner, 4)
    store.run(ONE)
    assert runner.began == [0, 0]
    assert folders(store) == []


def test_a_forced_run_that_fails_begins_anew_and_leaves_what_an_unforced_one_goes_on_from(store, runner):
    runner.stops[5] = Stopped()
    with pytest.raises(Stopped):
        store.run(ONE)
    runner.stops[3] = Stopped()
    with pytest.raises(Stopped):
        store.run(ONE)
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 0, 3]


def test_nothing_is_left_of_a_run_that_failed_and_had_kept_nothing(open_store):
    def fail(params: dict[str, Any]) -> None:
        raise Stopped

    store = open_store(fail, checkpoints=True)
    with pytest.raises(Stopped):
        store.run(ONE)
    assert folders(store) == []


def test_what_was_kept_of_a_row_that_was_stored_is_not_gone_on_from_when_its_result_is_lost(store, runner):
    row = store.run_or_retrieve(ONE)
    plant(store, row.id, store._context.ledger.find(row.id).attempt)  # as a crash may leave it
    os.unlink(row.result_file)
    with pytest.warns(match="is gone"):
        store.run_or_retrieve(ONE)
    assert runner.began == [0, 0]
    assert folders(store) == []


# ---- two at once -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run"])
def test_who_is_taken_over_from_loses_the_folder_and_returns_the_others_row(store, runner, operation):
    reached, go = threading.Event(), threading.Event()

    def wait():
        reached.set()
        assert go.wait(90)

    runner.at[4] = wait
    got = []
    thread = threading.Thread(target=lambda: got.append(getattr(store, operation)(ONE)))
    thread.start()
    assert reached.wait(90)
    claim = store._context.ledger.find(key(ONE))
    store._context.database.transact(  # as a cluster's client does that goes away: a worker of it may still run
        lambda connection: store._context.ledger.abandon(connection, claim.id, claim.attempt)
    )
    row = store.run_or_retrieve(ONE)
    go.set()
    thread.join()
    assert runner.began == [0, 4], "the second goes on from the first"
    assert [one.created_at for one in got] == [row.created_at]
    assert store.failures() == []
    assert folders(store) == []
    assert store.check().ok


def test_a_runner_that_removes_the_folder_and_raises_has_failed(open_store):
    begun = []

    def act(params: dict[str, Any]) -> None:
        begun.append(1)
        os.rmdir(params["checkpoint_dir"])
        raise Stopped

    store = open_store(act, checkpoints=True)
    with pytest.raises(Stopped):
        store.run_or_retrieve(ONE)
    assert (len(begun), len(store.failures())) == (1, 1)


# ---- it goes ---------------------------------------------------------------------------------------------------------
def plant(store: Any, id: str, attempt: str, worker: str = "gone.0badcafe.1.1.1") -> Path:
    """Make a folder of checkpoints as an attempt of a worker elsewhere leaves it."""
    name = f"{store._context.key_of(id)}.{attempt}.{worker}-1"
    folder = Path(store._context.staging.root, "checkpoints", name)
    folder.mkdir(parents=True)
    (folder / "step").write_text("9")
    return folder


def test_delete_removes_what_an_unfinished_run_has_kept(store, runner):
    stop(store, runner, 4)
    assert not store.delete(ONE)
    assert folders(store) == []
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 0]


def test_a_registered_result_ends_what_was_kept(store, runner, tmp_path):
    stop(store, runner, 4)
    (tmp_path / "made.json").write_text("1")
    store.register(ONE, tmp_path / "made.json")
    assert folders(store) == []


@pytest.mark.parametrize("way", ["gc", "repair"])
@pytest.mark.parametrize("what", ["stored", "deleted", "unknown", "about to be removed"])
def test_what_nobody_goes_on_from_is_reported_and_removed(store, runner, what, way):
    stop(store, runner, 4, TWO)
    if what != "unknown":
        row = store.run_or_retrieve(ONE)
        attempt = store._context.ledger.find(row.id).attempt
    if what == "deleted":
        store.delete(ONE, remove_file=True)
    left = plant(store, key(ONE), "1-00000001" if what == "unknown" else attempt)
    if what == "about to be removed":
        left = left.rename(f"{left}.over")
    (found,) = store.check().leftovers
    assert (found.path, found.id) == (str(left), "" if what == "unknown" else key(ONE))
    if way == "gc":
        (dry,) = store.gc(dry_run=True).removed
        assert left.exists()
        (removed,) = store.gc().removed
        assert (
            (removed.path, removed.size, removed.kind) == (str(left), 1, "leftover") == (dry.path, dry.size, dry.kind)
        )
    else:
        assert str(left.name) in str(store.repair().done)
    assert not left.exists()
    assert store.check().ok
    store.run_or_retrieve(TWO)
    assert runner.began[-1] == 4, "what an unfinished run goes on from is kept"


def test_a_forced_run_of_a_stored_set_that_failed_leaves_nothing_for_long(store, runner):
    store.run_or_retrieve(ONE)
    runner.stops[3] = Stopped()
    with pytest.raises(Stopped):
        store.run(ONE)
    assert "stored" in str(store.check().leftovers)
    assert len(store.gc().removed) == 1
    assert store.check().ok
    assert len(store.select()) == 1


def test_what_a_run_keeps_that_is_under_way_is_neither_reported_nor_removed(store, runner):
    seen = []
    runner.at[4] = lambda: seen.append((store.check().ok, len(store.gc(older_than=0).removed), len(folders(store))))
    store.run_or_retrieve(ONE)
    assert seen == [(True, 0, 1)]


def test_gc_takes_what_is_too_old_and_leaves_what_is_not(store, runner):
    stop(store, runner, 4)
    assert store.gc().removed == []
    assert store.gc(older_than=timedelta(hours=1)).removed == []
    assert store.gc(SimResult.n == 1, older_than=0).removed == [], "a condition is on rows"
    (folder,) = folders(store)
    for path in (folder / "step", folder):
        os.utime(path, (1e9, 1e9))
    (removed,) = store.gc(older_than=timedelta(hours=1)).removed
    assert "2001-09-09" in str(removed)
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 0]


def test_another_models_checkpoints_are_not_this_ones_business(store, open_store, runner):
    stop(store, runner, 4)
    other = open_store(model=OtherResult, checkpoints=True)
    assert other.check().ok
    assert other.gc(older_than=0).removed == []
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 4]


def test_a_sidecar_whose_owner_died_before_it_cleaned_up_takes_the_checkpoints_along(store, open_store, monkeypatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish.checkpoints, "discard", die)
        with pytest.raises(KeyboardInterrupt):
            store.run_or_retrieve(ONE)
    assert len(folders(store)) == 1
    open_store()  # which keeps none itself
    assert folders(store) == []
    assert store.check().ok


# ---- whoever else may write into the folder --------------------------------------------------------------------------
def test_a_link_planted_as_the_folder_of_checkpoints_is_not_followed(store, runner, beside):
    Path(store._context.staging.root, "checkpoints").symlink_to(beside)
    with pytest.raises(StoreError, match="nothing was run"):
        store.run_or_retrieve(ONE)
    assert runner.began == []
    assert store.check().ok
    assert store.gc(older_than=0).removed == []


def test_a_link_planted_as_what_was_kept_is_not_gone_on_from(store, runner, beside):
    stop(store, runner, 4)
    (folder,) = folders(store)
    name = folder.name[:-1] + "2"
    folder.with_name(name).symlink_to(beside)
    os.utime(folder, (1e9, 1e9))  # the link looks newer
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 4]
    assert folders(store) == []


def test_links_inside_of_what_was_kept_are_removed_and_not_followed(store, runner, beside):
    stop(store, runner, 4)
    (folder,) = folders(store)
    (folder / "away").symlink_to(beside)
    store.run_or_retrieve(ONE)
    assert folders(store) == []


def test_a_folder_without_write_permission_in_what_was_kept_is_removed(store, runner):
    stop(store, runner, 4)
    (folder,) = folders(store)
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("1")
    (folder / "sub").chmod(0o500)
    store.run_or_retrieve(ONE)
    assert folders(store) == []


def test_what_bears_no_name_of_ours_is_left_alone(store, runner):
    mine = Path(store._context.staging.root, "checkpoints", "notes")
    mine.mkdir(parents=True)
    store.run_or_retrieve(ONE)
    assert store.gc(older_than=0).removed[:1] == [] or mine.exists()
    assert folders(store) == [mine]


def test_two_who_begin_at_once_never_have_the_same_folder(store, runner):
    """Whoever finds that another was faster looks again: it takes over from that one if it was claimed later."""
    stop(store, runner, 4)
    context = store._context
    real, tasks = os.rename, []

    def claim_again(order: str) -> Any:
        (folder,) = folders(store)
        attempt = folder.name.split(".")[1]
        return _Task(context.staging, context.key_of(key(ONE)), f"{attempt.partition('-')[0]}-{order}")

    older, newer = claim_again("fffffff0"), claim_again("ffffffff")

    def late(source: str, target: str, **more: Any) -> None:
        os.rename = real
        tasks.append(checkpoints.Checkpoints(older, "a.00000000.1.1.1-1"))  # in the middle of the newer one's look
        real(source, target, **more)

    os.rename = late
    try:
        mine = checkpoints.Checkpoints(newer, "a.00000000.1.1.1-2")
    finally:
        os.rename = real
    assert tasks[0].is_gone()
    assert not mine.is_gone()
    assert [one.name for one in folders(store)] == [os.path.basename(mine.path)]
    assert Path(mine.path, "step").read_text() == "4"


class _Task:
    resumes = True

    def __init__(self, staging: Any, key: str, attempt: str) -> None:
        self.staging, self.key, self.attempt = staging, key, attempt


def test_an_attempt_that_begins_late_does_not_take_from_a_newer_one(store, runner):
    stop(store, runner, 4)
    (folder,) = folders(store)
    number, _, _ = folder.name.split(".")[1].partition("-")
    older = _Task(store._context.staging, store._context.key_of(key(ONE)), f"{number}-00000000")
    assert os.listdir(checkpoints.Checkpoints(older, "a.00000000.1.1.1-1").path) == []
    store.run_or_retrieve(ONE)
    assert runner.began == [0, 4]
    assert folders(store) == []


def test_stores_of_a_class_that_passes_options_on_may_ask_for_it(tmp_path):
    class Own(Store[SimResult]):
        pass

    store = Own(lambda params: 1, SimResult, tmp_path / "r", ".json", f"sqlite:///{tmp_path}/d.db", checkpoints=True)
    assert store.run(ONE)
