"""An archive holds all that belongs to results, says so itself, and is read with entropic and without."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from contract.models import LooseResult, OtherResult, SimResult, TypedResult, write_params
from databases import Place
from entropic import Base, Mapped, ReadOnlyError, Store, StoreError, outcome

SETS = [{"n": n, "dt": n / 3} for n in (1, 2, 3)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def look(folder: Path, model: type[Base] = SimResult, suffix: str = ".json") -> Store[Any]:
    return Store(None, model, folder / "results", suffix, f"sqlite:///{folder / 'db.sqlite3'}")


def values_of(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name not in ("_sa_instance_state", "result_file")}


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "paper"


def unpacked(path: Path) -> Path:
    """Return the folder of an archive, as somebody has it who has downloaded it."""
    if path.suffix != ".zip":
        return path
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as made:
        made.extractall(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_an_archive_opens_read_only_as_a_store_and_everything_hits(store, out, tmp_path, suffix):
    rows = store.sweep(SETS)
    done = store.archive(f"{out}{suffix}")
    assert (sorted(done.results), done.ok) == (sorted(row.id for row in rows), True)
    folder = unpacked(out.with_name(f"paper{suffix}"))
    assert os.listdir(folder.parent) in (["paper"], ["paper", "paper.zip"], ["paper.zip", "paper"])
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    shutil.rmtree(store.results_dir)
    before = contents(moved)
    again = look(moved)
    assert [values_of(row) for row in again.sweep(SETS)] == [values_of(row) for row in rows]
    assert [again.run_or_retrieve(one).n for one in SETS] == [1, 2, 3]
    assert [again.load(row)["n"] for row in again.select(order_by="n")] == [1, 2, 3]
    assert again.provenance(SETS[0]).host is not None
    assert again.check().ok
    with pytest.raises(ReadOnlyError):
        again.run(SETS[0])
    del again
    assert contents(moved) == before


@pytest.mark.slow
def test_all_is_read_without_entropic(store, out):
    rows = store.sweep(SETS)
    store.archive(out)
    script = (
        "import csv, json, pathlib, sqlite3, sys\n"
        "rows = list(csv.DictReader(open('rows.csv', newline='')))\n"
        "base = sqlite3.connect('file:db.sqlite3?mode=ro&immutable=1', uri=True)\n"
        "said = base.execute('SELECT id, n, result_file FROM sim_results ORDER BY n').fetchall()\n"
        "files = [json.loads(pathlib.Path(row['result_file']).read_text())['n'] for row in rows]\n"
        "print(json.dumps([sorted(row['n'] for row in rows), said, files, 'entropic' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=out, capture_output=True, text=True, check=True)
    ns, said, files, _ = json.loads(done.stdout)
    assert ns == ["1", "2", "3"]
    assert said == [[row.id, row.n, f"results/{row.id}.json"] for row in rows]
    assert sorted(files) == [1, 2, 3]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(out / "rows.parquet")
    assert sorted(frame.n) == [1, 2, 3]
    assert (out / frame.result_file[0]).exists()
    readme = (out / "README.md").read_text()
    for name in os.listdir(out):
        assert name == "README.md" or name in readme, "the README names what is there"


@pytest.mark.parametrize(
    "options", [{}, {"typed_keys": True}, {"float_rounding": "significant"}], ids=["plain", "typed", "rounded"]
)
def test_the_line_in_the_readme_opens_the_archive(options, open_store, out, monkeypatch):
    store = open_store(**options)
    store.sweep(SETS)
    store.archive(out)
    (line,) = [one for one in (out / "README.md").read_text().splitlines() if one.startswith("store = Store(None")]
    monkeypatch.chdir(out)
    found: dict[str, Any] = {"Store": Store, SimResult.__name__: SimResult}
    exec(line, found)
    assert found["store"].explain(SETS[0]).hit


@pytest.mark.slow
def test_the_checksums_are_those_of_all_files_and_sha256sum_agrees(store, out):
    store.sweep(SETS)
    store.archive(out)
    lines = (out / "SHA256SUMS").read_text().splitlines()
    told = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    assert told == {
        name: hashlib.sha256(text).hexdigest() for name, text in contents(out).items() if name != "SHA256SUMS"
    }
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)


@pytest.mark.slow
def test_the_metadata_are_a_research_object(store, out):
    rocrate = pytest.importorskip("rocrate.rocrate")
    rows = store.sweep(SETS)
    store.archive(out)
    crate = rocrate.ROCrate(out)
    assert crate.root_dataset["name"] == "SimResult"
    assert crate.root_dataset["datePublished"]
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.1" or crate.version == "1.1"
    files = {entity.id for entity in crate.data_entities}
    assert {f"results/{row.id}.json" for row in rows} <= files
    assert {"db.sqlite3", "rows.csv", "schema.json", "provenance.json", "README.md"} <= files
    told = json.loads((out / "ro-crate-metadata.json").read_text())
    ids = [one["@id"] for one in told["@graph"]]
    assert len(ids) == len(set(ids))
    for one in told["@graph"]:
        for part in one.get("hasPart", []):
            assert part["@id"] in ids


class Studied(Base):
    __tablename__ = "archived_studied"
    n: Mapped[int]
    peak: Mapped[float] = outcome()


@pytest.mark.slow
def test_the_schema_and_the_provenance_say_what_is_there(open_store, out):
    def run(params):
        write_params({"result_file": params["result_file"]})
        return {"peak": 2.5 * params["n"]}

    store = open_store(run, Studied)
    rows = store.sweep([{"n": 1}, {"n": 2}])
    store.archive(out)
    told = json.loads((out / "schema.json").read_text())
    assert {one["name"]: one["role"] for one in told["columns"]}["peak"] == "an outcome of the run"
    assert told["keys"] == {"float_rounding": "decimal", "typed_keys": False}
    origins = json.loads((out / "provenance.json").read_text())
    assert {one["id"] for one in origins["runs"]} == {row.id for row in rows}
    (environment,) = origins["environments"].values()
    assert environment["host"] == store.provenance(rows[0]).host
    (code,) = origins["code"].values()
    assert any("2.5 * params" in part["text"] for part in code)
    with (out / "rows.csv").open(newline="") as file:
        assert sorted(float(row["peak"]) for row in csv.DictReader(file)) == [2.5, 5.0]


def write_folder(params: dict[str, Any]) -> None:
    folder = Path(params["result_file"])
    (folder / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "deep" / "0.0").write_text("chunk")
    folder.with_name("solver.log").write_text("converged")
    if params["n"] == 2:
        (folder / "latest").symlink_to("deep")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_results_that_are_folders_come_with_their_extra_files(open_store, out, suffix):
    store = open_store(write_folder, file_suffix=".zarr")
    store.run_or_retrieve(SETS[0])
    assert store.archive(f"{out}{suffix}").ok
    folder = unpacked(out.with_name(f"paper{suffix}"))
    assert look(folder, suffix=".zarr").check().ok
    (extra,) = (folder / "results").glob("*.files")
    assert contents(extra) == {"solver.log": b"converged"}
    assert contents(Path(look(folder, suffix=".zarr").retrieve(SETS[0]).result_file)) == {"deep/0.0": b"chunk"}
    assert (Path(look(folder, suffix=".zarr").retrieve(SETS[0]).result_file) / "empty").is_dir()


@pytest.mark.slow
def test_a_zip_cannot_hold_a_link_and_leaves_nothing(open_store, out):
    store = open_store(write_folder, file_suffix=".zarr")
    store.run_or_retrieve(SETS[1])
    with pytest.raises(StoreError, match="give the name of a folder"):
        store.archive(f"{out}.zip")
    assert os.listdir(out.parent) == []
    assert store.archive(out).ok


@pytest.mark.slow
def test_a_part_of_the_rows_is_archived_by_conditions_and_what_lies_outside_is_in_it_and_said(store, out, tmp_path):
    store.sweep(SETS)
    (tmp_path / "outside.json").write_text('{"n": 4}')
    store.register({"n": 4, "dt": 0.0}, tmp_path / "outside.json")
    done = store.archive(out, SimResult.n > 2)
    assert done.outside == [str(tmp_path / "outside.json")]
    (tmp_path / "outside.json").unlink()
    assert [row.n for row in look(out).select(order_by="n")] == [3, 4]
    assert look(out).check().ok
    assert "outside of the results folder" in str(done)


@pytest.mark.slow
def test_a_result_that_is_gone_or_was_changed_is_left_and_said(store, out):
    rows = store.sweep(SETS)
    os.unlink(rows[0].result_file)
    Path(rows[1].result_file).write_text("changed")
    done = store.archive(out)
    assert done.results == [rows[2].id]
    assert [rows[0].id in text or rows[1].id in text for text in done.left] == [True, True]
    assert not done.ok


@pytest.mark.slow
def test_nothing_is_replaced_and_an_archive_that_fails_leaves_nothing(store, out, monkeypatch):
    from entropic.upkeep import described

    store.sweep(SETS)
    out.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        store.archive(out)
    assert out.read_text() == "mine"
    with pytest.raises(StoreError, match="there is no folder"):
        store.archive(out.parent / "nowhere" / "paper")
    for inside in (store.results_dir / "paper", store.results_dir / ".." / store.results_dir.name / "paper.zip"):
        with pytest.raises(StoreError, match="lies in the results folder"):
            store.archive(inside)
    monkeypatch.setattr(described, "schema", lambda context: 1 / 0)
    for name in ("other", "other.zip"):
        with pytest.raises(ZeroDivisionError):
            store.archive(out.parent / name)
    assert os.listdir(out.parent) == ["paper"]


@pytest.mark.slow
def test_a_store_that_is_only_looked_at_is_archived_and_its_archive_merged(store, open_store, out, tmp_path):
    rows = store.sweep(SETS)
    assert open_store(read_only=True).archive(out).ok
    (tmp_path / "mine").mkdir()
    mine = Store(
        write_params, SimResult, tmp_path / "mine" / "results", ".json", Place.on_sqlite(tmp_path / "mine").url
    )
    assert sorted(mine.merge(look(out)).taken) == sorted(row.id for row in rows)
    assert mine.check().ok


@pytest.mark.slow
@pytest.mark.parametrize("model", [TypedResult, LooseResult, OtherResult])
def test_values_of_all_kinds_are_archived(open_store, out, model):
    given = {
        TypedResult: {"count": 2**40, "title": "é'%\\\n" * 10, "raw": bytes(range(256)), "tree": {"a": [1, 2.5, None]}},
        LooseResult: {"name": "b", "level": 7},
        OtherResult: {"n": 1, "dt": 1e-300},
    }[model]
    store = open_store(model=model)
    row = store.run_or_retrieve(given, note="é", deep={"a.b": 1, "a": {"b": 2}})
    store.archive(out)
    assert [values_of(one) for one in look(out, model).select()] == [values_of(row)]
    assert look(out, model).run_or_retrieve(given).id == row.id
    with sqlite3.connect(out / "db.sqlite3") as base:
        assert base.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in tables if not name.startswith("entropic_")} == {model.__tablename__}
