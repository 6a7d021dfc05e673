"""A tree of files whose paths say their params becomes results of a store, and nothing in it is guessed or changed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.models import LooseResult, SimResult, write_params
from entropic import Base, Mapped, ParameterError, ReadOnlyError, Store, outcome

PATTERN = "runs/n={n}_dt={dt}/out.json"


class Measured(Base):
    __tablename__ = "measured_elsewhere"

    n: Mapped[int]
    dt: Mapped[float]
    energy: Mapped[float] = outcome()
    size: Mapped[int] = outcome(len)


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def grow(*names: str, text: str = "[1]") -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)

    return grow


def open_it(model: Any = SimResult, suffix: str = ".json", **options: Any) -> Store[Any]:
    return Store(write_params, model, "results", suffix, "sqlite:///db.sqlite3", **options)


def files_below(folder: str) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("files", ["copy", "link", "leave"])
def test_a_tree_is_taken_in_and_its_sets_are_hits(tree, files):
    tree("runs/n=1_dt=0.5/out.json", "runs/n=2_dt=1e-3/out.json", "runs/n=2_dt=1e-3/log.txt", "runs/README")
    before, store = files_below("runs"), open_it()
    done = store.import_results(PATTERN, files=files)
    assert (len(done.taken), done.same, done.conflicts, done.left, done.ok) == (2, 0, [], [], True)
    for params in ({"n": 1, "dt": 0.5}, {"n": 2, "dt": 1e-3}):
        row = store.run_or_retrieve(params)
        source = Path(f"runs/n={params['n']}_dt={'0.5' if params['n'] == 1 else '1e-3'}/out.json")
        assert store.load(row) == [1], "it did not run"
        assert row.custom_data["imported"] == {"from": str(source.resolve()), "by": "files"}
        made = datetime.fromtimestamp(source.stat().st_mtime, UTC).replace(tzinfo=None)
        assert abs(row.created_at - made) < timedelta(seconds=1)
        assert Path(row.result_file).samefile(source) == (files != "copy")
        assert (Path(row.result_file).parent == store.results_dir) == (files != "leave")
        assert Path(row.result_file).stat().st_mtime_ns == source.stat().st_mtime_ns
    assert files_below("runs") == before
    assert store.check().ok
    again = store.import_results(PATTERN, files=files)
    assert (again.taken, again.same, again.ok) == ([], 2, True)


def test_a_dry_run_shows_what_would_be_registered_and_does_nothing(tree):
    tree("runs/n=1_dt=0.5/out.json", "runs/n=x_dt=0.5/out.json")
    store = open_it()
    done = store.import_results(PATTERN, dry_run=True)
    assert [done.names[id] for id in done.taken] == ["runs/n=1_dt=0.5/out.json"]
    assert "runs/n=1_dt=0.5/out.json as n=1, dt=0.5" in str(done)
    assert "would be taken in" in str(done)
    assert [text.partition(":")[0] for text in done.left] == ["runs/n=x_dt=0.5/out.json"]
    assert len(store.select()) == 0
    assert [name for name in os.listdir("results") if name != ".entropic"] == []
    assert len(open_it(read_only=True).import_results(PATTERN, dry_run=True).taken) == 1
    with pytest.raises(ReadOnlyError):
        open_it(read_only=True).import_results(PATTERN)


def test_a_text_that_a_column_cannot_hold_is_listed_by_file_and_nothing_is_half_done(tree):
    tree("runs/n=1_dt=0.5/out.json", "runs/n=1_0_dt=0.5/out.json", "runs/n=2_dt=abc/out.json")
    tree(f"runs/n={2**70}_dt=1/out.json")
    store = open_it()
    with pytest.raises(ParameterError, match="nothing was; on_error='continue' takes the others") as refused:
        store.import_results(PATTERN)
    for name in ("n=1_0_dt=0.5", "n=2_dt=abc", f"n={2**70}_dt=1"):
        assert f"runs/{name}/out.json: " in str(refused.value)
    assert len(store.select()) == 0
    done = store.import_results(PATTERN, on_error="continue")
    assert (len(done.taken), len(done.left), done.ok) == (1, 3, False)


def test_what_can_be_read_in_two_ways_is_not_taken(tree):
    tree("runs/a_b_c.json", "deep/n=1/x/n=2/out.json", "both/1/2.json")
    store = open_it(LooseResult)
    done = store.import_results("runs/{name}_{note}.json", dry_run=True)
    assert (done.taken, len(done.left)) == ([], 1)
    assert "two ways" in done.left[0]
    simple = open_it()
    done = simple.import_results("deep/**/n={n}/**/out.json", dt=0.5, dry_run=True)
    assert (done.taken, len(done.left)) == ([], 1)
    assert "two ways" in done.left[0]
    done = simple.import_results("both/{n}/{n}.json", dt=0.5, dry_run=True)
    assert "n=1 and n=2" in done.left[0]


def test_two_files_of_one_key_are_a_conflict_and_neither_is_taken(tree):
    tree("runs/n=1_dt=0.5/out.json", "runs/n=1_dt=0.50/out.json", "runs/n=2_dt=0.5/out.json")
    store = open_it()
    done = store.import_results(PATTERN)
    assert (len(done.taken), len(done.conflicts), done.left, done.ok) == (1, 1, [], False)
    two = done.conflicts[0].here, done.conflicts[0].there
    assert {Path(path).parent.name for path in two} == {"n=1_dt=0.5", "n=1_dt=0.50"}
    assert store.retrieve({"n": 1, "dt": 0.5}) is None


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_key_that_is_there_with_another_result_is_a_conflict_and_stays(tree, dry_run):
    tree("runs/n=1_dt=0.5/out.json")
    store = open_it()
    row = store.run_or_retrieve({"n": 1, "dt": 0.5})
    before = Path(row.result_file).read_bytes()
    done = store.import_results(PATTERN, dry_run=dry_run)
    assert (done.taken, len(done.conflicts), done.ok) == ([], 1, False)
    assert Path(store.retrieve({"n": 1, "dt": 0.5}).result_file).read_bytes() == before
    tree("runs/n=1_dt=0.5/out.json", text=before.decode())
    assert store.import_results(PATTERN, dry_run=dry_run).same == 1


def test_a_file_that_changes_after_it_was_left_in_place_is_a_conflict(tree):
    tree("runs/n=1_dt=0.5/out.json")
    store = open_it()
    assert len(store.import_results(PATTERN, files="leave").registered) == 1
    tree("runs/n=1_dt=0.5/out.json", text="[1, 2]")
    assert "was changed since it was registered" in str(store.import_results(PATTERN, files="leave").conflicts[0])


def test_params_that_no_path_says_are_given_and_missing_ones_are_named(tree):
    tree("runs/1.json", "runs/2.json")
    store = open_it()
    with pytest.raises(ParameterError, match="nothing says its dt; if all have one, give it: dt="):
        store.import_results("runs/{n}.json")
    done = store.import_results("runs/{n}.json", dt=0.5)
    assert sorted(row.n for row in store.select(dt=0.5)) == [1, 2]
    assert len(done.taken) == 2
    with pytest.raises(ParameterError, match="n=7 was given"):
        store.import_results("runs/{n}.json", n=7, dt=0.5)
    with pytest.raises(ParameterError, match="no column 'files_'"):
        store.import_results("runs/{n}.json", dt=0.5, files_="copy")
    with pytest.raises(ParameterError, match="no column 'm'"):
        store.import_results("runs/{m}.json", dt=0.5)
    with pytest.raises(ParameterError, match="there is no folder nowhere"):
        store.import_results("nowhere/{n}.json", dt=0.5)
    with pytest.raises(ParameterError, match="imported by a pattern"):
        store.import_results(7)
    with pytest.raises(ParameterError, match="files must be one of"):
        store.import_results("runs/{n}.json", dt=0.5, files="move")


def test_custom_data_are_given_for_all(tree):
    tree("runs/1.json")
    store = open_it()
    store.import_results("runs/{n}.json", {"custom_data": {"campaign": "2019"}}, dt=0.5)
    assert store.select(custom_data={"campaign": "2019"})[0].n == 1


def test_links_that_lead_out_of_the_tree_are_not_followed(tree, tmp_path):
    tree("runs/real/1.json", "secret.json")
    before = files_below(str(tmp_path))
    os.symlink(tmp_path / "secret.json", "runs/real/2.json")
    os.symlink(tmp_path / "runs" / "real" / "1.json", "runs/real/3.json")
    os.symlink("nowhere", "runs/real/4.json")
    os.mkfifo("runs/real/5.json")
    os.symlink(tmp_path / "runs", "runs/loop")
    store = open_it()
    done = store.import_results("runs/**/{n}.json", dt=0.5, on_error="continue")
    assert sorted(row.n for row in store.select()) == [1, 3]
    assert all(not os.path.islink(row.result_file) for row in store.select())
    assert len(done.left) == 3
    assert "leads out of" in " ".join(done.left)
    assert {name: files_below(str(tmp_path))[name] for name in before} == before


def test_folders_are_results_where_the_pattern_says_so(tree):
    tree("runs/n=1/a.txt", "runs/n=1/b/c.txt", "runs/n=2")
    store = open_it(suffix="")
    with pytest.raises(ParameterError, match="it is not a folder"):
        store.import_results("runs/n={n}/", dt=0.5)
    done = store.import_results("runs/n={n}/", dt=0.5, on_error="continue")
    row = store.retrieve({"n": 1, "dt": 0.5})
    assert (Path(row.result_file) / "b" / "c.txt").read_text() == "[1]"
    assert len(done.taken) == 1
    assert store.check().ok


def test_results_of_several_files_are_found_by_their_main_one(tree):
    tree("runs/n=1/run.xdmf", "runs/n=1/run.h5")
    store = open_it(suffix="/run.xdmf")
    store.import_results("runs/n={n}/run.xdmf", dt=0.5)
    row = store.retrieve({"n": 1, "dt": 0.5})
    assert Path(row.result_file).name == "run.xdmf"
    assert Path(row.result_file).with_name("run.h5").exists()
    assert store.check().ok


def test_outcomes_are_measured_from_what_was_imported(tree):
    tree("runs/n=1_dt=0.5/out.json", text='{"energy": 2.5}')
    store = open_it(Measured)
    store.import_results(PATTERN)
    row = store.retrieve({"n": 1, "dt": 0.5})
    assert (row.energy, row.size) == (None, None)
    assert "measure('energy')" in row.custom_data["not_recorded"]["energy"]
    assert "size" not in row.custom_data["not_recorded"]
    store.measure("energy", "size")
    row = store.retrieve({"n": 1, "dt": 0.5})
    assert (row.energy, row.size) == (2.5, 1)


def test_a_result_of_this_store_is_not_imported_as_that_of_another_set(tree):
    store = open_it()
    row = store.run_or_retrieve({"n": 1, "dt": 0.5})
    name = Path(row.result_file).stem
    loose = open_it(LooseResult)
    done = loose.import_results("results/{name}.json", dry_run=True)
    assert (done.taken, len(done.left)) == ([], 1)
    assert name in done.left[0]
    assert "belongs to the result of another run" in done.left[0]


def test_a_lost_result_is_taken_in_again(tree):
    tree("runs/n=1_dt=0.5/out.json")
    store = open_it()
    store.import_results(PATTERN)
    Path(store.retrieve({"n": 1, "dt": 0.5}).result_file).unlink()
    assert len(store.import_results(PATTERN).taken) == 1
    assert Path(store.retrieve({"n": 1, "dt": 0.5}).result_file).read_text() == "[1]"


def test_an_interrupt_leaves_what_the_same_call_goes_on_from(tree, monkeypatch):
    from entropic.upkeep.imports import foreign_result as elsewhere

    tree(*(f"runs/n={n}_dt=0.5/out.json" for n in range(5)))
    store, bring, calls = open_it(), elsewhere.bring, []

    def interrupted(*args: Any) -> bool:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return bring(*args)

    monkeypatch.setattr(elsewhere, "bring", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.import_results(PATTERN)
    assert len(store.select()) == 2
    done = store.import_results(PATTERN)
    assert (len(done.taken), done.same) == (3, 2)
    assert store.check().ok


def test_a_file_that_changes_while_it_is_brought_is_left(tree, monkeypatch):
    from entropic.upkeep.imports import foreign_result as elsewhere

    tree("runs/n=1_dt=0.5/out.json")
    store, bring = open_it(), elsewhere.bring

    def slowly(*args: Any) -> bool:
        tree("runs/n=1_dt=0.5/out.json", text="[1, 2, 3]")
        return bring(*args)

    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "bring", slowly)
        assert "replaced or deleted there just now" in store.import_results(PATTERN).left[0]
    assert store.retrieve({"n": 1, "dt": 0.5}) is None
    assert len(store.import_results(PATTERN).taken) == 1
    assert json.loads(Path(store.retrieve({"n": 1, "dt": 0.5}).result_file).read_text()) == [1, 2, 3]


@pytest.mark.parametrize("files", ["copy", "leave"])
def test_imported_results_have_checksums_like_all_others(tree, files):
    tree("runs/n=1_dt=0.5/out.json")
    store = open_it(checksum=True)
    store.import_results(PATTERN, files=files)
    assert store.check(deep=True).ok
    path = Path(store.retrieve({"n": 1, "dt": 0.5}).result_file)
    before = path.stat()
    path.write_text("[2]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not store.check(deep=True).ok


class OfTexts(Base):
    __tablename__ = "imported_texts"

    solver: Mapped[str | None]
    depth: Mapped[int | None]


def test_a_column_of_text_keeps_what_a_path_says_and_others_have_none(tree):
    tree(
        "runs/solver=none_depth=none/out.json",
        "runs/solver=None_depth=3/out.json",
        "runs/solver=null_depth=NULL/out.json",
    )
    store = open_it(OfTexts)
    assert store.import_results("runs/solver={solver}_depth={depth}/out.json").ok
    found = {(row.solver, row.depth) for row in store.select()}
    assert found == {("none", None), ("None", 3), ("null", None)}
    tree("others/depth=4/out.json")
    assert store.import_results("others/depth={depth}/out.json", {"solver": None}).ok
    assert [row.depth for row in store.select(solver=None)] == [4]
