"""A store is a dict from params to results: whatever is done to both, they agree, and the store is in order."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contract.models import SimResult
from entropic import RegisterError, ResultLostWarning, Store, key

params = st.fixed_dictionaries(
    {"n": st.integers(0, 3), "dt": st.sampled_from([0.3, 0.1 + 0.2, 1.0])},
    optional={"id": st.sampled_from(["mine", "../A", "../a"])},
).map(lambda asked: asked | ({"n": 9, "dt": 1.0} if "id" in asked else {}))


@dataclass
class Kept:
    """What the model knows of one result."""

    n: int
    text: str
    path: Path
    lost: bool = False
    registered: bool = False


class StoreAgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="entropic-"))
        self.count = itertools.count(1)
        self.runs = 0
        self.rows: dict[str, Kept] = {}
        self.left: set[Path] = set()
        self.foreign = self.folder / "results" / "notes.txt"
        self.open()
        self.foreign.write_text("mine")

    def open(self) -> None:
        url = f"sqlite:///{self.folder / 'db.sqlite3'}"
        # What `self` holds, and every run changes, would count as other code each time that a store is opened.
        self.store = Store(self.run_it, SimResult, self.folder / "results", ".json", url, on_stale="ignore")

    def run_it(self, asked: dict[str, Any]) -> None:
        self.runs += 1
        self.text = f"run {next(self.count)}"
        Path(asked["result_file"]).write_text(json.dumps({"n": asked["n"], "text": self.text}))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def agree(self, row: SimResult | None, asked: dict[str, Any]) -> None:
        kept = self.rows.get(key(asked))
        if kept is None:
            assert row is None
            return
        assert (row.id, row.n, Path(row.result_file)) == (key(asked), asked["n"], kept.path)
        if kept.lost:
            assert not kept.path.exists()
        elif kept.registered:
            assert kept.path.read_text() == kept.text
        else:
            assert json.loads(kept.path.read_text()) == {"n": kept.n, "text": kept.text}

    def keep(self, row: SimResult, asked: dict[str, Any], text: str) -> None:
        before = self.rows.get(key(asked))
        if before is not None and not before.registered:
            assert Path(row.result_file) == before.path
        self.rows[key(asked)] = Kept(asked["n"], text, Path(row.result_file))
        self.left.discard(Path(row.result_file))

    @rule(asked=params)
    def run(self, asked):
        runs = self.runs
        row = self.store.run(asked)
        assert self.runs == runs + 1
        self.keep(row, asked, self.text)
        self.agree(row, asked)

    @rule(asked=params)
    def run_or_retrieve(self, asked):
        kept, runs = self.rows.get(key(asked)), self.runs
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            row = self.store.run_or_retrieve(asked)
        assert [w.category for w in caught] == ([ResultLostWarning] if kept and kept.lost else [])
        if kept is None or kept.lost:
            assert self.runs == runs + 1
            self.keep(row, asked, self.text)
        assert self.runs == runs + (kept is None or kept.lost)
        self.agree(row, asked)

    @rule(asked=params)
    def retrieve(self, asked):
        runs = self.runs
        self.agree(self.store.retrieve(asked), asked)
        assert self.runs == runs

    @rule(sets=st.lists(params, max_size=5))
    def sweep(self, sets):
        wanted = {key(asked): asked for asked in reversed(sets)}
        order = list(dict.fromkeys(key(asked) for asked in sets))
        missing = {one for one in order if one not in self.rows or self.rows[one].lost}
        runs = self.runs
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = self.store.sweep(iter(sets))
        assert all(issubclass(w.category, ResultLostWarning) for w in caught)
        assert bool(caught) is any(one in self.rows for one in missing)
        assert [row.id for row in rows] == order
        assert self.runs == runs + len(missing)
        for row in rows:
            if row.id in missing:
                self.keep(row, wanted[row.id], json.loads(Path(row.result_file).read_text())["text"])
            self.agree(row, wanted[row.id])

    @rule(asked=params)
    def register(self, asked):
        made = self.folder / f"made {next(self.count)}"
        made.write_text(made.name)
        if key(asked) in self.rows:
            with pytest.raises(RegisterError):
                self.store.register(asked, made)
        else:
            row = self.store.register(asked, made)
            self.rows[key(asked)] = Kept(asked["n"], made.name, made, registered=True)
            self.agree(row, asked)
        assert made.read_text() == made.name

    @rule(asked=params, remove_file=st.booleans())
    def delete(self, asked, remove_file):
        kept = self.rows.pop(key(asked), None)
        assert self.store.delete(asked, remove_file=remove_file) is (kept is not None)
        if kept is not None and not kept.lost:
            assert kept.path.exists() is not remove_file
            if not remove_file and not kept.registered:
                self.left.add(kept.path)

    @rule(data=st.data())
    def an_outsider_removes_a_file(self, data):
        here = sorted(name for name, kept in self.rows.items() if not kept.lost)
        if here:
            kept = self.rows[data.draw(st.sampled_from(here))]
            kept.path.unlink()
            kept.lost = True

    @rule()
    def reopen(self):
        self.open()

    @invariant()
    def the_store_is_in_order(self):
        report = self.store.check()
        assert {f.id for f in report.missing} == {name for name, kept in self.rows.items() if kept.lost}
        assert {Path(f.path) for f in report.orphans} == self.left
        others = [report.damaged, report.dead_claims, report.leftovers, report.mismatched]
        assert others == [[]] * 4
        if not report.missing and not report.orphans:
            assert report.ok

    @invariant()
    def a_foreign_file_is_left_alone(self):
        assert self.foreign.read_text() == "mine"


TestStoreAgainstADict = StoreAgainstADict.TestCase
TestStoreAgainstADict.settings = settings(
    max_examples=max(15, settings().max_examples // 100),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
