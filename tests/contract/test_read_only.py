"""A store that is only looked at: hits and questions are answered, everything else is refused, nothing changes."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import warnings
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contract.models import OtherResult, SimResult, refuse
from databases import until
from entropic import (
    Base,
    Mapped,
    ModelError,
    ReadOnlyError,
    ReadOnlyWarning,
    Store,
    StoreError,
    added,
    outcome,
)
from snapshots import open_to_all, snapshot

ONE, TWO, NEW = {"n": 1, "dt": 0.1}, {"n": 2, "dt": 0.1}, {"n": 9, "dt": 0.1}


@pytest.fixture
def used(open_store, tmp_path):
    """The folder of a store with two rows, a failed run, and what a process left that died in the middle of a run."""
    store = open_store()
    store.sweep([ONE, TWO], progress=False)
    store.note(ONE, "said of it", tags=["paper"])
    store.freeze("some", n=1)
    with pytest.raises(Exception, match="refused"):
        open_store(refuse).run({"n": 3, "dt": 0.1})
    folder = str(store.results_dir)
    del store
    gc.collect()  # nobody has the database open, but who dies in the middle
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 and later: a thread of the tests' is there
        child = os.fork()
    if child == 0:
        Store(lambda _: os._exit(0), SimResult, folder, ".json", open_store.url).run({"n": 4, "dt": 0.1})
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(tmp_path.glob("results/.entropic/*/*.work"))
    return tmp_path


@pytest.fixture
def open_store(open_store, place):
    open_store.url = place.url
    return open_store


def look_at_everything(store):
    """Ask whatever can be asked without a run."""
    first = store.retrieve(ONE)
    assert (first.n, first.dt) == (1, 0.1)
    assert store.run_or_retrieve(ONE).id == first.id
    assert [row.n for row in store.sweep([TWO, ONE], progress=False)] == [2, 1]
    assert [row.n for row in store.stream([TWO, ONE])] == [2, 1]
    assert [row.n for row in store.select(order_by="n")] == [1, 2]
    assert {row.n for row in store.iterate()} == {1, 2}
    assert store.load(ONE)["n"] == store.load(first)["n"] == 1
    assert store.explain(ONE).hit
    assert store.explain(NEW).state == "missing"
    assert store.explain({"n": 3, "dt": 0.1}).state == "failed"
    plan = store.plan([ONE, TWO, NEW, {"n": 3, "dt": 0.1}])
    assert [len(found) for found in (plan.stored, plan.missing, plan.failed)] == [2, 1, 1]
    status = store.status()
    assert (status.stored, status.failed, len(status.dead)) == (2, 1, 1)
    assert [failure.params["n"] for failure in store.failures()] == [3]
    assert store.log_file(ONE) is None
    report = store.check()
    assert report.rows == 2
    assert report.leftovers and report.dead_claims
    assert store.repair(dry_run=True).done
    assert store.gc(older_than=0, dry_run=True).counts()["result"] == 2
    assert store.retrieve(NEW) is None
    assert [one.name for one in store.frozen()] == ["some"]
    assert [row.n for row in store.at("some").select()] == [1]
    assert [note.text for note in store.notes().values()] == ["said of it"]
    assert [row.n for row in store.select(store.tagged("paper"))] == [1]
    assert store.provenance(first).host
    assert (store.inputs(first), store.dependants(first), store.audits()) == ([], [], [])
    assert len(store.stale()) <= 2
    assert store.plan([NEW]).cost().runs == 2
    assert not store.rebuild(dry_run=True).made
    assert str(store.rekey(dry_run=True))
    assert store.check(deep=True).rows == 2
    with tempfile.TemporaryDirectory() as folder:
        assert store.view(f"{folder}/view", "n={n}").links == 2
        assert store.archive(f"{folder}/archive", n=1).results


@pytest.mark.slow
def test_questions_and_hits_are_answered_and_nothing_changes(used, open_store, place):
    before, content = snapshot(used), place.content() if not place.is_file else None
    store = open_store(read_only=True)
    assert store.read_only
    look_at_everything(store)
    copy = pickle.loads(pickle.dumps(open_store(refuse, read_only=True)))
    assert copy.read_only and copy.retrieve(ONE).n == 1
    del store, copy
    assert snapshot(used) == before
    assert content is None or place.content() == content


@pytest.mark.slow
def test_looking_at_a_store_that_may_be_written_changes_nothing_either(used, open_store):
    store = open_store()
    store.run_or_retrieve(TWO)
    before = snapshot(used)
    store.plan([ONE, NEW])
    store.explain(ONE), store.explain(NEW), store.status(), store.failures(), store.check(), store.select()
    assert snapshot(used) == before


CHANGES = [
    lambda store: store.run_or_retrieve(NEW),
    lambda store: store.run(ONE),
    lambda store: store.sweep([ONE, NEW], progress=False),
    lambda store: store.sweep([ONE, NEW], progress=False, workers=1),
    lambda store: store.stream([NEW]),
    lambda store: store.register(NEW, store.retrieve(ONE).result_file),
    lambda store: store.delete(ONE),
    lambda store: store.gc(),
    lambda store: store.repair(),
    lambda store: store.note(ONE, "a note"),
    lambda store: store.freeze("another"),
    lambda store: store.unfreeze("some"),
    lambda store: store.accept(),
    lambda store: store.dismiss(),
    lambda store: store.rebuild(),
    lambda store: store.rekey(),
    lambda store: store.audit(fraction=1.0),
    lambda store: store.import_results("{n}.json", dt=0.1),
    lambda store: store.merge(store.at("some")),
    lambda store: store.copy_to("sqlite:///other.sqlite3"),
    lambda store: store._context.database.transact(lambda _: None),
    lambda store: store._context.ledger.record_extent(store._context.database.connection(), "x", 1, 1),
]


@pytest.mark.slow
def test_what_would_change_it_is_refused_before_anything_happens(used, open_store, runner, monkeypatch):
    monkeypatch.chdir(used)
    before, ran = snapshot(used), len(runner.calls)
    for number, act in enumerate(CHANGES):
        store = open_store(read_only=True)
        with pytest.raises(StoreError, match=r"(?i)read.?only|only to be looked at"):
            act(store)
        assert (len(runner.calls), snapshot(used)) == (ran, before), f"act {number}"


@pytest.mark.slow
def test_the_refusal_says_which_run_and_what_to_do(used, open_store):
    store = open_store(read_only=True)
    with pytest.raises(
        ReadOnlyError, match=r"SimResult .*'n': 9.* would have to run, .*read_only=True; open it without"
    ):
        store.run_or_retrieve(NEW)
    with pytest.raises(ReadOnlyError, match="and 1 more would have to run"):
        store.sweep([NEW, {"n": 8, "dt": 0.1}, ONE], progress=False)


@pytest.mark.slow
def test_a_copied_project_whose_times_differ_is_served_as_it_is(used, open_store, place):
    for file in used.glob("results/*.json"):
        os.utime(file)
    before = snapshot(used)
    store = open_store(read_only=True)
    assert store.run_or_retrieve(ONE).n == 1
    assert [row.n for row in store.sweep([ONE, TWO], progress=False)] == [1, 2]
    assert snapshot(used) == before


@pytest.mark.slow
def test_a_finished_run_that_is_not_recorded_stays_so(used, open_store, place):
    store = open_store(lambda params: Path(params["result_file"]).write_text("5"))
    context, code = store._context, NotImplementedError("stopped before it is recorded")

    def stop(*_):
        raise code

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(NotImplementedError):
        patch.setattr("entropic.protocol.publish.publish", stop)
        store.run({"n": 5, "dt": 0.1})
    assert context.rows.read(context.hasher({"n": 5, "dt": 0.1})) is None
    before = snapshot(used)
    looking = open_store(read_only=True)
    assert looking.explain({"n": 5, "dt": 0.1}).hit
    with pytest.raises(ReadOnlyError):
        looking.run_or_retrieve({"n": 5, "dt": 0.1})
    assert snapshot(used) == before


@pytest.mark.slow
def test_a_table_that_was_never_made_is_empty_until_it_is(used, open_store):
    before = snapshot(used)
    store = open_store(model=OtherResult, read_only=True)
    assert store.select() == []
    assert store.retrieve(ONE) is None
    assert (store.status().stored, store.check().rows, store.failures()) == (0, 0, [])
    assert store.explain(ONE).state == "missing"
    assert len(store.plan([ONE]).missing) == 1
    assert snapshot(used) == before
    open_store(model=OtherResult).run(ONE)
    until(lambda: store.retrieve(ONE), "the new row is seen")


@pytest.mark.slow
def test_what_others_store_meanwhile_is_seen(used, open_store):
    looking = open_store(read_only=True)
    assert len(looking.select()) == 2
    writing = open_store()
    for n in range(20, 25):
        writing.run({"n": n, "dt": 0.1})
        assert looking.run_or_retrieve({"n": n, "dt": 0.1}).n == n
        if n == 22:  # the last who writes has gone
            writing._context.database.connection().close()
    assert len(looking.select()) == 7


# ---- stores that cannot be written ---------------------------------------------------------------------------------
@pytest.mark.only_on("postgresql", "mariadb")
def test_a_user_who_may_only_select_looks_at_everything(used, open_store, place):
    content = place.content()
    with pytest.warns(ReadOnlyWarning, match="cannot be written") as told:
        store = open_store(db_url=place.of_reader())
    assert len(told) == 1
    look_at_everything(store)
    with pytest.raises(ReadOnlyError, match="would have to run"):
        store.run_or_retrieve(NEW)
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        open_store(db_url=place.of_reader(), read_only=False)
    look_at_everything(open_store(db_url=place.of_reader(), read_only=True))
    assert place.content() == content


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_user_who_may_only_select_looks_at_tables_of_before_there_was_a_ledger(used, open_store, place):
    for table in [name for name in place.tables() if name.startswith("entropic")]:
        place.execute(f"DROP TABLE {table}")
    with pytest.warns(ReadOnlyWarning):
        store = open_store(db_url=place.of_reader())
    assert [row.n for row in store.select(order_by="n")] == [1, 2]
    assert store.run_or_retrieve(ONE).n == 1
    assert store.load(TWO)["n"] == 2
    assert store.status().stored == store.check().rows == 2
    assert not any(name.startswith("entropic") for name in place.tables())


class Looked(Base):
    __tablename__ = "looked_at_by_readers"
    metadata = sa.MetaData()

    n: Mapped[int]
    dt: Mapped[float]


class LookedLater(Base):
    __tablename__ = "looked_at_by_readers"
    metadata = sa.MetaData()

    n: Mapped[int]
    dt: Mapped[float]
    solver: Mapped[str] = added('it\'s 100% "rk4" ? :x', index=True)
    depth: Mapped[int | None] = added(None)
    share: Mapped[float] = added(0.1)
    is_fine: Mapped[bool] = added(True)
    day: Mapped[date] = added(date(2026, 1, 2))
    at: Mapped[datetime] = added(datetime(2026, 1, 2, 3, 4, 5, 678901))
    data: Mapped[dict[str, Any]] = added({"a": [1, None]})
    energy: Mapped[float | None] = outcome()


def test_who_cannot_write_reads_what_a_table_lacks_as_its_default(open_store, place, tmp_path):
    old = open_store(model=Looked).run_or_retrieve(ONE)
    content = place.content()
    url = f"sqlite:///file:{tmp_path}/db.sqlite3?mode=ro&uri=true" if place.kind == "sqlite" else place.of_reader()
    with pytest.warns(ReadOnlyWarning):
        store = open_store(model=LookedLater, db_url=url)
    row = store.run_or_retrieve(ONE)
    assert row.id == old.id
    given = LookedLater.__table__.c.solver.info["added"]
    later = {"solver": given, "depth": None, "share": 0.1, "is_fine": True, "day": date(2026, 1, 2)}
    later |= {"at": datetime(2026, 1, 2, 3, 4, 5, 678901), "data": {"a": [1, None]}, "energy": None}
    assert {name: getattr(row, name) for name in later} == later
    assert {name: type(getattr(row, name)) for name in later} == {name: type(one) for name, one in later.items()}
    assert store.run_or_retrieve({**ONE, "solver": given, "share": 0.1}).id == old.id
    found = [{"solver": given}, {"share": 0.1}, {"is_fine": True}, {"day": later["day"]}, {"at": later["at"]}]
    assert [len(store.select(**one)) for one in [{}, *found]] == [1] * 6
    others = [{"solver": given.upper()}, {"solver": f"{given} "}, {"share": 0.2}, {"is_fine": False}, {"depth": 3}]
    assert [len(store.select(**one)) for one in others] == [0] * 5
    assert [*store.to_pandas()["solver"]] == [given]
    assert store.load(ONE)["n"] == 1
    assert store.check().ok
    with pytest.raises(ModelError, match=r"next process that opens the store to write.*ADD COLUMN"):
        open_store(model=LookedLater, read_only=True)
    assert place.content() == content


LOOK = """
import os, sys, warnings
sys.path[:0] = {path!r}
from contract.models import SimResult, write_params
from contract.test_read_only import look_at_everything, NEW
from entropic import ReadOnlyError, ReadOnlyWarning, Store
import pytest, concurrent.futures.thread, entropic.cli.app, entropic.formats.catalogue  # before none is readable
os.chdir({folder!r})
if {uid!r}:
    os.setgroups([]), os.setgid({uid!r}), os.setuid({uid!r})
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    store = Store(write_params, SimResult, "results", ".json", "sqlite:///db.sqlite3")
assert [one.category for one in told] == [ReadOnlyWarning], told
assert store.read_only
look_at_everything(store)
with pytest.raises(ReadOnlyError, match="would have to run.*cannot be written"):
    store.run_or_retrieve(NEW)
with pytest.raises(ReadOnlyError, match="cannot be written"):
    Store(write_params, SimResult, "results", ".json", "sqlite:///db.sqlite3", read_only=False)
print("looked at everything")
"""


def look_from_outside(folder, uid=0, before=()):
    code = LOOK.format(path=sys.path, folder=str(folder), uid=uid)
    done = subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == "looked at everything\n", done.stderr


@pytest.fixture(name="open_to_all")
def copied_for_all(used):
    """A copy of the store where another user may look at it."""
    with open_to_all(used) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("state", ["at rest", "in use", "left in the middle", "without its shared memory"])
def test_another_user_looks_at_everything_and_changes_nothing(open_to_all, state):
    file = open_to_all / "db.sqlite3"
    with contextlib.closing(sqlite3.connect(file)) as base:
        base.execute("UPDATE entropic_models SET float_rounding = float_rounding")
        base.commit()
        if state != "at rest":
            kept = {end: Path(f"{file}{end}").read_bytes() for end in ("", "-wal", "-shm")}
        if state == "in use":
            before = snapshot(open_to_all)
            look_from_outside(open_to_all, uid=65534)
            assert snapshot(open_to_all) == before
            return
    for end, content in (kept if state != "at rest" else {}).items():
        if end != "-shm" or state == "left in the middle":
            Path(f"{file}{end}").write_bytes(content)
    before = snapshot(open_to_all)
    look_from_outside(open_to_all, uid=65534)
    assert snapshot(open_to_all) == before


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_read_only_mount_is_looked_at(used):
    mount = f"mount --bind {used} {used} && mount -o remount,bind,ro {used}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no read-only mount can be made here")
    before = snapshot(used)
    look_from_outside(used, before=["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"])
    assert snapshot(used) == before


# ---- SQLite: how a file is read without a trace ------------------------------------------------------------------
def run_apart(code, *arguments):
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), *arguments], check=True, timeout=100)


WRITE = """
    import os, sqlite3, sys
    base = sqlite3.connect(sys.argv[1], isolation_level=None)
    base.execute("UPDATE sim_results SET n = n + 10")
    base.close()
"""


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_what_is_read_while_somebody_writes_and_goes_is_read_again(used, open_store):
    run_apart(WRITE.replace("n + 10", "n"), str(used / "db.sqlite3"))
    assert not list(used.glob("db.sqlite3-*"))  # at rest
    store = open_store(read_only=True)
    database = store._context.database
    seen = []

    def look():
        seen.append([sorted(database.connection().execute("SELECT n FROM sim_results").fetchall())])
        if len(seen) == 1:
            run_apart(WRITE, str(used / "db.sqlite3"))
        else:
            database.connection().close()
            seen[-1].append(sorted(database.connection().execute("SELECT n FROM sim_results").fetchall()))
        return seen[-1]

    assert database.dialect.read_steadily(look)[-1] == [(11,), (12,)]
    assert len(seen) == 2
    assert sorted(row.n for row in store.select()) == [11, 12]


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_transaction_that_died_beside_an_old_file_is_undone_in_a_copy(used, open_store):
    file = used / "db.sqlite3"
    crash = """
        import os, sqlite3, sys
        base = sqlite3.connect(sys.argv[1], isolation_level=None)
        base.execute("PRAGMA journal_mode=DELETE")
        base.execute("PRAGMA cache_size=1")
        base.execute("BEGIN IMMEDIATE")
        base.execute("UPDATE sim_results SET n = 77")
        base.execute("CREATE TABLE filler AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 9999) "
                     "SELECT x, randomblob(200) FROM c")
        os._exit(0)
    """
    run_apart(crash, str(file))
    assert Path(f"{file}-journal").stat().st_size
    before = snapshot(used)
    assert sorted(row.n for row in open_store(read_only=True).select()) == [1, 2]
    assert snapshot(used) == before


# ---- opening -----------------------------------------------------------------------------------------------------
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("url", ["sqlite:///{}/none.sqlite3", "sqlite://"])
def test_what_is_not_there_cannot_be_looked_at(tmp_path, open_store, url):
    with pytest.raises(StoreError, match=r"no store in .* to look at"):
        open_store(db_url=url.format(tmp_path), read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_url_that_opens_the_file_to_be_read_makes_the_store_read_only(used, open_store):
    url = f"sqlite:///file:{used}/db.sqlite3?mode=ro&uri=true"
    before = snapshot(used)
    with pytest.warns(ReadOnlyWarning, match="db_url"):
        look_at_everything(open_store(db_url=url))
    assert snapshot(used) == before


@pytest.mark.only_on("sqlite")
def test_read_only_is_true_false_or_none(open_store):
    with pytest.raises(ValueError, match="read_only must be True, False or None"):
        open_store(read_only="yes")
    assert not open_store().read_only
    assert not open_store(read_only=False).read_only
    assert Store.__init__.__kwdefaults__["read_only"] is None
