"""Most short runs go through one function that knows only them; it leaves exactly what the general ones leave."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

import entropic
from entropic import Base, Mapped, Store
from entropic.executors import attempt
from entropic.files import sidecar as sidecars
from entropic.protocol import plain_run, publish

pytestmark = pytest.mark.only_on("sqlite")  # a server publishes in the general way alone


class Dot(Base):
    __tablename__ = "dots"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


SETS = [{"n": 3, "dt": 0.25, "name": "a"}, {"n": -1, "dt": 2.0, "name": "%s"}, {"n": 2**62, "dt": 1e-300, "name": '"'}]


def write(params):
    with open(params["result_file"], "w") as file:
        file.write(params["name"])


@pytest.fixture
def made(tmp_path):
    """Make a store of its own in which nothing but the way of publication differs."""

    def make(name, runner=write):
        folder = tmp_path / name
        folder.mkdir()
        store = Store(runner, Dot, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")
        return folder, store

    return make


@pytest.fixture
def ways(monkeypatch):
    """Return the number of runs that were published in either way so far, `(plain, general)`."""
    counts = {"plain": 0, "general": 0}
    encoder, locked = sidecars.make_plain_encoder, publish.publish_locked

    def make_plain_encoder(*of):
        encode = encoder(*of)

        def encode_and_count(*given):
            counts["plain"] += 1
            return encode(*given)

        return encode_and_count

    def publish_and_count(*given):
        counts["general"] += 1
        return locked(*given)

    monkeypatch.setattr(attempt, "MEASURABLE", float("inf"))  # however slow the machine is, these runs are short
    monkeypatch.setattr(sidecars, "make_plain_encoder", make_plain_encoder)
    monkeypatch.setattr(publish, "publish_locked", publish_and_count)
    return lambda: (counts["plain"], counts["general"])


def left_by(folder, results):
    """Return all that is in the database and the journal, without what differs between any two runs."""
    tables = {}
    connection = sqlite3.connect(folder / "db.sqlite3")
    for table, differing in (("dots", ("created_at",)), ("entropic_ledger", ("attempt", "published", "mtime_ns"))):
        cursor = connection.execute(f"SELECT * FROM {table} ORDER BY id")
        names = [column[0] for column in cursor.description]
        tables[table] = [
            {name: text(value, folder) for name, value in zip(names, row, strict=True) if name not in differing}
            for row in cursor
        ]
    connection.close()
    for row in tables["dots"]:
        row["custom_data"] = sorted(json.loads(row["custom_data"]))
    (journal,) = results.glob(".entropic/*/journal/*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line]
    for line in lines:
        for name in ("attempt", "owner", "execution", "created_at", "mtime_ns", "custom_data"):
            assert line.pop(name)
    files = {file.name: file.read_text() for file in results.iterdir() if file.is_file()}
    staged = [file.name for file in results.glob(".entropic/*/*") if file.suffix == ".json"]
    return {**tables, "journal": lines, "files": files, "staged": staged}


def text(value, folder):
    return value.replace(str(folder), "FOLDER") if isinstance(value, str) else value


def shown(row):
    values = {name: value for name, value in vars(row).items() if name not in ("_sa_instance_state", "created_at")}
    return {**values, "custom_data": sorted(values["custom_data"]), "result_file": row.result_file[-20:]}


def test_both_ways_leave_the_same_row_claim_journal_and_files(made, ways, monkeypatch):
    (one, quick), (other, slow) = made("one"), made("other")
    rows = [quick.run_or_retrieve(params) for params in SETS]
    assert ways() == (3, 0)
    monkeypatch.setattr(plain_run, "is_used", False)
    others = [slow.run_or_retrieve(params) for params in SETS]
    assert ways() == (3, 3)
    assert [shown(row) for row in rows] == [shown(row) for row in others]
    assert left_by(one, one / "results") == left_by(other, other / "results")


def test_a_new_row_is_the_one_that_is_read_afterwards(made, ways):
    _, store = made("one")
    rows = [store.run_or_retrieve(params) for params in SETS]
    assert ways() == (3, 0)
    assert [vars(row) | {"_sa_instance_state": 0} for row in rows] == [
        vars(store.retrieve(params)) | {"_sa_instance_state": 0} for params in SETS
    ]
    assert store.check().ok


WHAT = ["extra files", "a folder", "a link", "custom data", "custom data of the runner", "a zero", "an earlier result"]


@pytest.mark.parametrize("what", WHAT)
def test_what_is_not_plain_is_published_in_the_general_way(made, ways, what):
    def runner(params):
        target = Path(params["result_file"])
        if what == "a folder":
            target.mkdir()
        elif what == "a link":
            target.symlink_to(__file__)
        else:
            target.write_text(params["name"])
        if what == "extra files":
            target.with_name("more").write_text("more")
        if what == "custom data of the runner":
            params["custom_data"]["more"] = 1

    _, store = made("one", runner)
    params = {**SETS[0], "dt": -0.0} if what == "a zero" else SETS[0]
    if what == "an earlier result":
        store.run_or_retrieve(params)
    before = ways()
    again = store.run if what == "an earlier result" else store.run_or_retrieve
    row = again(params, **({"more": 1} if what == "custom data" else {}))
    assert [now - then for now, then in zip(ways(), before, strict=True)] == [0, 1]
    assert ("more" in row.custom_data) == what.startswith("custom data")
    assert shown(row) == shown(store.retrieve(params))
    assert store.check().ok


def test_trouble_in_the_plain_way_is_left_to_the_general_one(made, ways, tmp_path):
    def runner(params):
        write(params)
        if not theirs.exists():
            theirs.write_text("somebody else's")

    theirs = tmp_path / "one" / "results" / f"{entropic.key(SETS[0])}.txt"
    _, store = made("one", runner)
    with pytest.raises(entropic.ForeignFileError, match="was not made by this store"):
        store.run_or_retrieve(SETS[0])
    assert ways() == (1, 1), "finished in the plain way, and published in neither"
    assert theirs.read_text() == "somebody else's"
    theirs.unlink()
    assert store.run_or_retrieve(SETS[0]).name == SETS[0]["name"], "the finished run takes its place"
    assert theirs.read_text() == SETS[0]["name"]
    assert store.check().ok


def test_an_attempt_that_has_lost_its_claim_publishes_nothing(made, ways):
    def runner(params):
        write(params)
        if not lost:
            lost.append(params["id"])
            with contextlib.closing(sqlite3.connect(folder / "db.sqlite3")) as connection, connection:
                connection.execute("UPDATE entropic_ledger SET attempt = '2-00000001' WHERE id = ?", lost)

    lost = []
    folder, store = made("one", runner)
    row = store.run_or_retrieve(SETS[0])
    assert ways() == (1, 2)
    with contextlib.closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        ((published,),) = connection.execute("SELECT published FROM entropic_ledger WHERE id = ?", lost)
    assert published > "2-00000001"
    assert store.retrieve(SETS[0]).id == row.id
    assert store.check().ok


def test_a_runner_that_raises_leaves_in_either_way_a_failure_and_nothing_else(made, monkeypatch):
    def runner(params):
        write(params)
        raise ValueError(params["name"])

    left = []
    for name, is_used in (("plain", True), ("general", False)):
        monkeypatch.setattr(plain_run, "is_used", is_used)
        folder, store = made(name, runner)
        with pytest.raises(ValueError, match="a") as raised:
            store.run_or_retrieve(SETS[0])
        (failure,) = store.failures()
        assert store.check().ok
        names = sorted(file.name.partition(".")[0] for file in (folder / "results").rglob("*") if file.is_file())
        left.append((raised.value.__notes__, failure.error_type, failure.params, len(names)))
    assert left[0] == left[1]


class Buffered:
    """A file whose content is on the disk once nobody refers to it any more."""

    def __init__(self, path):
        self.file = open(path, "w")  # noqa: SIM115  (that it is not closed is what it is for)

    def __del__(self):
        self.file.close()


def test_what_a_runner_leaves_open_among_its_params_is_written_before_its_result_is_measured(made, ways):
    def runner(params):
        ran.append(params["id"])
        params["open"] = Buffered(params["result_file"])
        params["open"].file.write("all of it")

    ran = []
    _, store = made("one", runner)
    row = store.run_or_retrieve(SETS[0])
    assert ways() == (1, 0)
    assert Path(row.result_file).read_text() == "all of it"
    store.run_or_retrieve(SETS[0])
    assert len(ran) == 1, "it has the size that was recorded"
    assert store.check().ok


def test_a_failure_is_told_of_the_params_that_were_asked_for_whatever_becomes_of_the_dict_of_the_caller(made):
    def runner(params):
        asked.clear()
        raise ValueError(params["name"])

    asked = dict(SETS[0])
    _, store = made("one", runner)
    with pytest.raises(ValueError, match="a"):
        store.run_or_retrieve(asked)
    (failure,) = store.failures()
    assert failure.params == SETS[0]
