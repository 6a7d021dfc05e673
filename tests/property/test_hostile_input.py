"""Whatever is written into sidecars, claims and settings: it acts on nothing outside, and on no other key.

A folder beside the project, whose paths are among what is written, must stay as it is. More than 100,000 examples:
`HYPOTHESIS_PROFILE=long pytest -o timeout=14400 tests/property/test_hostile_input.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from contract.models import SimResult
from entropic import EntropicError, Store, key
from entropic.db.inputs import number
from entropic.executors import attempt
from entropic.files import sidecar, workspace
from entropic.protocol import claim, run
from entropic.protocol.request import Progress
from entropic.support import process
from entropic.upkeep import recover

PARAMS = {name: {"n": n, "dt": 1.0} for n, name in enumerate(
    ("good", "stored", "finished", "failed", "registered", "dead", "torn", "superseded"))}  # fmt: skip
VICTIMS = tuple(name for name in PARAMS if name != "good")
BY_HAND = "by_hand.json"
Tree = dict[str, bytes | str | None]


def tree(folder: Path, without: str = "") -> Tree:
    """Return what lies in a folder: contents of files, targets of links."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if without and (name == without or name.startswith((without + os.sep, "db.sqlite3"))):
            continue
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


@dataclass(repr=False)
class World:
    """A project with a key in every state, and a folder beside it that is nobody's business here."""

    folder: Path
    runs: int = 0

    def __post_init__(self) -> None:
        self.project, self.beside = self.folder / "project", self.folder / "beside"
        self.results, self.database = self.project / "results", self.project / "db.sqlite3"
        for path in (self.project, self.beside / "logs", self.beside / "probe.slot"):
            path.mkdir(parents=True)
        for name in ("probe.txt", "probe.json", "old", "logs/probe.log", "probe.slot/old"):
            (self.beside / name).write_text(f"mine: {name}")
        (self.project / "elsewhere.json").write_text("{}")
        self.store = self.open()
        self._fill()
        self.ask("INSERT INTO entropic_meta VALUES ('longest_lease', '120.0')")
        self.rows = {table: self.ask(f"SELECT * FROM {table}") for table in ("entropic_ledger", "sim_results")}
        self.columns = [one[1] for one in self.ask("PRAGMA table_info(entropic_ledger)")]
        self.kept = self.folder / "kept"
        shutil.copytree(self.results, self.kept, symlinks=True, ignore=shutil.ignore_patterns("*.work"))

    def open(self) -> Store[SimResult]:
        return Store(self.runner, SimResult, self.results, ".json", f"sqlite:///{self.database}")

    def runner(self, params: dict[str, Any]) -> None:
        self.runs += 1
        if params["n"] == PARAMS["failed"]["n"] and not hasattr(self, "kept"):
            raise ValueError("no")
        Path(params["result_file"]).write_text(json.dumps(params["n"]))

    def _fill(self) -> None:
        self.store.run_or_retrieve(PARAMS["good"])
        self.store.run_or_retrieve(PARAMS["stored"])
        with pytest.raises(ValueError, match="no"):
            self.store.run_or_retrieve(PARAMS["failed"])
        self.store.register(PARAMS["registered"], self.project / "elsewhere.json")
        for name in ("finished", "dead", "torn"):
            task = self._claim(name)
            if name == "finished":
                attempt.run(task, self.runner)
            elif name == "torn":
                os.write(sidecar.create(task.staging, task.key, task.attempt), b"{")
        task = self._claim("superseded")
        attempt.run(task, self.runner)
        self.change("superseded", {"attempt": "2-0123abcd", "state": "failed", "owner": None})
        self.sidecars = {
            name: next(Path(self.store._context.staging.root).glob(f"{self.key(name)}.*.json"))
            for name in ("finished", "torn", "superseded")
        }

    def _claim(self, name: str) -> Any:
        context = self.store._context
        request = run.prepare(context, key(PARAMS[name]), PARAMS[name], {})
        with (call := process.Call()).under_way:  # whose call has ended: it is dead
            return claim.claim(context, request, call.name, Progress())

    def key(self, name: str) -> str:
        return self.store._context.key_of(key(PARAMS[name]))

    def ask(self, sql: str, values: Any = ()) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()

    def change(self, name: str, fields: dict[str, Any], table: str = "entropic_ledger") -> None:
        which = ", ".join(f"{column} = ?" for column in fields)
        self.ask(f"UPDATE {table} SET {which} WHERE id = ?", (*fields.values(), key(PARAMS[name])))

    def reset(self) -> None:
        """Put everything back, but for the workspaces of this process."""
        root = self.store._context.staging.root
        for path in [*self.results.iterdir(), *(Path(root).iterdir() if os.path.isdir(root) else [])]:
            if path.name.endswith(".work") or path.name == ".entropic":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        shutil.copytree(self.kept, self.results, symlinks=True, dirs_exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            for table, rows in self.rows.items():
                connection.execute(f"DELETE FROM {table}")
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            connection.commit()

    def outside(self) -> tuple[Tree, Tree]:
        (self.project / BY_HAND).unlink(missing_ok=True)
        return tree(self.beside), tree(self.project, without="results")

    def use(self, victim: str, acts: list[str], opens: bool = False) -> None:
        """Do what opening a store does, and some of what a store can do; only errors of ours may come out of that.

        None comes out of opening, of looking at all, and of a look for another key.
        """
        store = self.store
        if opens:
            store = self.open()
        else:
            recover.recover(store._context)
        self._hit(store)
        str(store.check())
        for name in acts:
            event(name)
            try:
                ACTS[name](store, PARAMS[victim])
            except EntropicError as error:
                assert name not in SAFE
                event(f"{name}: {type(error).__name__}")
            self._hit(store)
        assert not [found for found in store.check().missing if found.id == key(PARAMS["good"])]

    def _hit(self, store: Store[SimResult]) -> None:
        before = self.runs
        row = store.run_or_retrieve(PARAMS["good"])
        assert (row.n, Path(row.result_file).read_text(), self.runs) == (0, "0", before)

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Change what you like in it: outside of the results folder nothing may have changed in the end."""
        before = self.outside()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
                assert self.outside() == before
            finally:
                self.reset()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder, log = Path(tempfile.mkdtemp(prefix="entropic-", dir=in_memory)), logging.getLogger("entropic")
    log.setLevel(logging.CRITICAL)  # what cannot be taken in is said each time
    yield World(folder)
    log.setLevel(logging.NOTSET)
    workspace.retire()
    shutil.rmtree(folder)


def by_hand(store: Store[SimResult]) -> Path:
    """Make a file that may be registered, and is removed by whoever then deletes its row with its file."""
    path = Path(store._context.staging.results_dir).with_name(BY_HAND)
    path.write_text("{}")
    return path


def all_that_is_said(store: Store[SimResult], asked: dict[str, Any]) -> str:
    """Return what is said of one key, and of all, beside its row."""
    row = store.retrieve(PARAMS["good"])
    told = [store.provenance(asked), store.notes(), store.audits(), store.inputs(row), store.dependants(row)]
    return f"{told} {store.select(store.tagged('paper'))} {store.check(deep=True)}"


# ---- what a user may do --------------------------------------------------------------------------------------------
ACTS: dict[str, Callable[[Store[SimResult], dict[str, Any]], Any]] = {
    "status": lambda store, _: str(store.status()),
    "failures": lambda store, _: [str(one) for one in store.failures()],
    "plan": lambda store, _: str(store.plan(PARAMS.values())),
    "select": lambda store, _: [repr(row) for row in store.select()],
    "repair": lambda store, _: str(store.repair()),
    "gc files": lambda store, _: str(store.gc(orphans=True)),
    "gc rows": lambda store, _: str(store.gc(SimResult.n >= 1)),
    "explain": lambda store, asked: str(store.explain(asked)),
    "stale": lambda store, _: str(store.stale()),
    "cost": lambda store, _: str(store.plan(PARAMS.values()).cost()),
    "where from": lambda store, asked: all_that_is_said(store, asked),
    "log_file": lambda store, asked: store.log_file(asked),
    "delete": lambda store, asked: store.delete(asked, remove_file=asked != PARAMS["registered"]),
    "run_or_retrieve": lambda store, asked: store.run_or_retrieve(asked),
    "run": lambda store, asked: store.run(asked),
    "register": lambda store, asked: store.register(asked, by_hand(store)),
    "sweep": lambda store, _: store.sweep(PARAMS.values(), on_error="continue"),
}
SAFE = (  # of no key in particular
    *("status", "failures", "plan", "select", "repair", "gc files", "gc rows", "log_file", "stale", "cost"),
)
some_acts = st.lists(st.sampled_from(list(ACTS)), max_size=2)
rarely = st.integers(0, 9).map(lambda n: n == 0)
ALL = list(ACTS)


# ---- what may be written there -------------------------------------------------------------------------------------
PATHS = [
    *("..", ".", "", "/", "../beside/probe", "../../beside/probe", "../../../beside/probe.txt"),
    *("../../../../beside/probe", "logs/../../../../beside/probe", "/../../../../beside/probe.txt", "~", "probe"),
    *(".txt", "\0", "a\0b", "a\nb"),
]  # fmt: skip
NAMES = [
    *("1-0123abcd", "1-0123abcd.host.0123abcd.1.1.1", "host.0123abcd.1.1.1", "host.0123abcd.1.1.1-1", "0" * 16),
    *("running", "deleting", "idle", "failed", "9" * 5000 + "-0123abcd", "1-0123abcd/../../../../beside/probe"),
    *("host.0123abcd.99999999999999999999.1.1", "host..-1.x.y", "sim_results", "[[]]", '[["a", 1]]', "[" * 3000, "NaN"),
    *("２-0123abcd", "2026-01-02T03:04:05.000006", "9999-99-99T00:00:00.000000", "-1", "é" * 300),  # noqa: RUF001
]  # fmt: skip
NUMBERS = [-1, 0, 1, 2**31, 2**63 - 1, -(2**63), 1.5, -0.0, float("inf"), -float("inf"), float("nan"), 1e300, True]
PLAIN = st.sampled_from([*PATHS, *NAMES, *NUMBERS, None]) | st.text(max_size=20) | st.floats() | st.integers()
JSON = st.recursive(
    PLAIN | st.sampled_from([2**64, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def in_database(value: Any) -> Any:
    """Return a value as SQLite takes it: whatever it is, in whatever column."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"  # which SQLite takes for NULL
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**300 else str(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


FIELDS = [
    *("model", "id", "key", "attempt", "owner", "values", "custom_data", "created_at", "execution", "suffix", "size"),
    *("mtime_ns", "folder", "slotted", "extra", "entropic", "another", "outcomes", "missing", "inputs"),
    *("origin", "digest", "replaced"),
]
COLUMNS = [
    *("model", "attempt", "state", "owner", "since", "lease_until", "waits_for", "path", "published", "size"),
    *("mtime_ns", "extra", "registered", "checksum", "failure"),
    *("environment", "code", "cpu_seconds", "peak_memory", "inputs"),
]
READS_GOOD = number("", "sim_results", key(PARAMS["good"]))
# A row of each table beside the ledger, as entropic writes it; the keys are those of the good row.
BESIDE: dict[str, dict[str, Any]] = {
    "entropic_notes": {"id": "", "model": "sim_results", "number": 5, "tag": "paper", "text": "text"},
    "entropic_digests": {"id": "", "model": "sim_results", "attempt": "x", "sha256": "0" * 64, "found": None},
    "entropic_comparisons": {"model": "sim_results", "after": "", "compared": 1, "without": 0, "began": 1.0},
    "entropic_audits": {"id": "", "model": "sim_results", "at": 5, "attempt": "x", "host": "h", "agreed": 1,
                        "told": "alike"},
    "entropic_inputs": {"id": "", "model": "sim_results", "number": READS_GOOD, "of_database": "",
                        "of_model": "sim_results", "of_id": "", "made_at": "2026-01-02T03:04:05.000006",
                        "stale_as": None},
    "entropic_environments": {"id": 5, "told": "{}"},
    "entropic_code": {"id": 5, "told": '[["f", "0", 5]]'},
    "entropic_sources": {"id": 5, "text": "def f(): ..."},
}  # fmt: skip
more_values = st.dictionaries(st.sampled_from(["n", "dt", "id", "result_file", "x"]), JSON, max_size=4)


# ---- the tests -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@given(
    victim=st.sampled_from(["finished", "torn", "superseded"]),
    replaced=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3),
    values=st.none() | more_values,
    lacks=st.sets(st.sampled_from(FIELDS), max_size=1),
    acts=some_acts,
    opens=rarely,
)
@example("finished", {"execution": "../../../../beside/probe", "suffix": ".txt"}, None, set(), ALL, True)
@example("superseded", {"execution": "../../../../beside/probe", "suffix": ".txt"}, None, set(), ALL, True)
@example("superseded", {"key": "../../../beside/probe", "attempt": "x"}, None, set(), ALL, True)
@example("finished", {"custom_data": {"a": [[[[[]]]]]}}, {"result_file": "/", "id": "other"}, set(), ALL, True)
@example("finished", {"entropic": 2}, None, set(), ALL, True)
def test_any_field_of_a_sidecar(world, victim, replaced, values, lacks, acts, opens):
    with world.unharmed():
        told = json.loads(world.sidecars["finished"].read_text()) | {"key": world.key(victim)}
        told["attempt"] = world.sidecars[victim].name.split(".")[1]
        told["id"] = key(PARAMS[victim])
        told |= replaced
        if values is not None:
            told["values"] = values
        told = {name: value for name, value in told.items() if name not in lacks}
        world.sidecars[victim].write_bytes(json.dumps(told).encode("utf-8", "surrogatepass") + b"\n")
        world.use(victim, acts, opens)


@pytest.mark.slow
@given(
    victim=st.sampled_from(["finished", "torn", "superseded"]),
    text=st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000),
    ends=st.sampled_from([b"", b"\n"]),
    acts=some_acts,
    opens=rarely,
)
def test_any_text_as_a_sidecar(world, victim, text, ends, acts, opens):
    with world.unharmed():
        world.sidecars[victim].write_bytes(text + ends)
        world.use(victim, acts, opens)


@contextlib.contextmanager
def journal(world: World, victim: str, lines: bytes) -> Iterator[Store[SimResult]]:
    """Write a journal that tells of a key whose result lies there, and may get a row."""
    with world.unharmed():
        folder = Path(world.store._context.staging.inside("journal"))
        folder.mkdir(exist_ok=True)
        (folder / "host.0123abcd.0.sqlite.jsonl").write_bytes(lines)
        (world.results / f"{key(PARAMS[victim])}.json").write_text("0")
        yield world.store


@pytest.mark.slow
@given(
    victim=st.sampled_from(["failed", "dead", "good"]),
    replaced=st.dictionaries(st.sampled_from([*FIELDS, "place", "deleted"]), JSON, max_size=3),
    values=st.none() | more_values,
    lacks=st.sets(st.sampled_from(FIELDS), max_size=1),
    acts=some_acts,
)
@example("failed", {}, None, set(), ALL)
@example("failed", {"place": "../../beside/probe.txt"}, None, set(), ALL)
@example("failed", {"place": "/", "suffix": "/../../../beside/probe.txt"}, None, set(), ALL)
@example("failed", {"custom_data": {"a": [[[[[]]]]]}}, {"result_file": "/", "id": "other"}, set(), ALL)
@example("failed", {"attempt": "2-0123abcd/../../../../beside/probe"}, None, set(), ALL)
@example("good", {"deleted": "9999-12-31T00:00:00.000000"}, None, set(), ALL)
@example("good", {"place": "other.json", "size": 2**63}, None, set(), ALL)
def test_any_field_of_a_line_of_a_journal(world, victim, replaced, values, lacks, acts):
    told = json.loads(world.sidecars["finished"].read_text()) | {"key": world.key(victim), "id": key(PARAMS[victim])}
    told |= {"size": 1, "values": dict(PARAMS[victim]), **replaced}
    if values is not None:
        told["values"] = values
    told = {name: value for name, value in told.items() if name not in lacks}
    with journal(world, victim, json.dumps(told).encode("utf-8", "surrogatepass") + b"\n") as store:
        str(store.rebuild(dry_run=True))
        event(f"{len(store.rebuild().made)} rows")
        world.use(victim, acts if victim != "good" else [])


@pytest.mark.slow
@given(text=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000))
def test_any_text_as_a_journal(world, text):
    with journal(world, "failed", text) as store:
        assert store.rebuild().made == []
        world.use("failed", [])


@pytest.mark.slow
@given(
    victim=st.sampled_from(VICTIMS),
    fields=st.dictionaries(st.sampled_from(COLUMNS), PLAIN.map(in_database), min_size=1, max_size=3),
    failure=st.none() | JSON,
    acts=some_acts,
    opens=rarely,
)
@example("stored", {"path": "../../beside/probe.txt", "state": "deleting", "attempt": "2-0123abcd"}, None, ALL, True)
@example("stored", {"path": "../beside/probe.txt"}, None, ALL, True)
@example("stored", {"path": "../beside/probe.txt", "size": None, "mtime_ns": None}, None, ALL, True)
@example("stored", {"published": "/../../beside/probe"}, None, ALL, True)
@example("stored", {"attempt": "..", "state": "..", "size": ".."}, None, ["sweep"], True)
@example("stored", {"registered": "[" * 3000}, None, ALL, True)
@example("stored", {"attempt": "..", "registered": "/"}, None, ALL, True)
@example(
    "stored", {"code": "x", "environment": "x", "cpu_seconds": "x", "peak_memory": "x", "inputs": "x"}, None, ALL, True
)
@example("stored", {"registered": b""}, None, ALL, True)
@example("dead", {"attempt": "../../../../beside/probe"}, None, ALL, True)
@example("dead", {"owner": "host"}, None, ALL, True)
@example("dead", {"since": "yesterday"}, None, ALL, True)
@example("dead", {"lease_until": "for ever"}, None, ALL, True)
@example("failed", {}, {"given": 5, "values": [1], "started_at": 1e300}, ALL, True)
def test_any_field_of_a_claim(world, victim, fields, failure, acts, opens):
    with world.unharmed():
        if failure is not None:
            fields = {**fields, "failure": json.dumps(failure)}
        allowed = {name: value for name, value in fields.items() if (name, value) not in REQUIRED}
        if allowed:
            world.change(victim, allowed)
        world.use(victim, acts, opens)


REQUIRED = [(name, None) for name in ("model", "attempt", "state")]  # the table refuses these


@pytest.mark.slow
@given(
    table=st.sampled_from(list(BESIDE)),
    which=st.integers(0, 7),
    value=PLAIN.map(in_database) | st.binary(max_size=8) | JSON.map(json.dumps) | st.sampled_from(sorted(BESIDE)),
    acts=some_acts,
)
@example("entropic_inputs", 4, "a\0b", ["where from", "stale"])
@example("entropic_inputs", 4, "entropic_meta", ["where from", "stale"])
@example("entropic_inputs", 6, "yesterday", ["where from", "stale"])
@example("entropic_audits", 2, 2**62, ["where from"])
@example("entropic_audits", 2, "yesterday", ["where from"])
def test_any_value_in_the_tables_beside_the_ledger(world, table, which, value, acts):
    """What is said of results, what their runs have read, where they come from: it may be wrong, and stops nothing."""
    of_good: dict[str, Any] = {"id": key(PARAMS["good"]), "of_id": key(PARAMS["good"])}
    fields = {name: one if isinstance(one, int) else of_good.get(name, one) for name, one in BESIDE[table].items()}
    name = list(fields)[which % len(fields)]
    fields[name] = value
    with world.unharmed():
        try:
            world.ask("UPDATE entropic_ledger SET environment = 5, code = 5, inputs = 1 WHERE id = ?", (of_good["id"],))
            with contextlib.suppress(sqlite3.IntegrityError):  # NULL, where that cannot be
                places = ", ".join("?" * len(fields))
                world.ask(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({places})", tuple(fields.values()))
            all_that_is_said(world.store, PARAMS["good"])
            world.use("stored", acts)
        finally:
            for one in BESIDE:
                world.ask(f"DELETE FROM {one}")


@pytest.mark.slow
@given(path=st.sampled_from(["probe.txt", "nothing.txt"]), column=st.sampled_from(["registered", "result_file"]))
def test_a_file_elsewhere_is_removed_only_if_it_is_what_was_registered(world, path, column):
    with world.unharmed():
        table = "entropic_ledger" if column == "registered" else "sim_results"
        world.change("stored", {column: str(world.beside / path)}, table)
        if column == "registered":
            world.change("stored", {"size": None, "mtime_ns": None})
        else:  # older than the ledger
            world.ask("DELETE FROM entropic_ledger WHERE id = ?", (key(PARAMS["stored"]),))
        world.use("stored", ALL)


@pytest.mark.slow
@given(
    text=st.binary(min_size=1, max_size=8),
    column=st.sampled_from(["attempt", "owner", "path", "failure"]),
    acts=some_acts,
)
def test_text_of_the_database_that_is_no_utf_8(world, text, column, acts):
    with world.unharmed():
        world.ask(f"UPDATE entropic_ledger SET {column} = CAST(? AS TEXT) WHERE id = ?", (text, key(PARAMS["dead"])))
        world.use("dead", acts, opens=True)


@pytest.mark.slow
@given(
    name=st.sampled_from(["uuid", "schema_version", "float_rounding", "longest_lease"]),
    value=PLAIN.filter(lambda value: value is not None),
)
@example("uuid", "../../../beside/probe")
@example("uuid", "/")
@example("longest_lease", "for ever")
@example("longest_lease", float("inf"))
def test_any_setting(world, name, value):
    with world.unharmed():
        table, where = ("entropic_models", "model") if name == "float_rounding" else ("entropic_meta", "name")
        column, which = ("float_rounding", "sim_results") if name == "float_rounding" else ("value", name)
        sql = f"UPDATE {table} SET {column} = ? WHERE {where} = ?"
        ((right,),) = world.ask(f"SELECT {column} FROM {table} WHERE {where} = ?", (which,))
        before = tree(world.results)
        try:
            world.ask(sql, (in_database(value), which))
            with contextlib.suppress(EntropicError):
                world.open()
                event("opens")
        finally:
            world.ask(sql, (right, which))
        assert tree(world.results).items() >= before.items() or name != "uuid"
