"""What the page is answered: rows as they are filtered, sorted and paged, plots, one run, failures, progress."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import sys
import types
from pathlib import Path

import numpy as np
import pandas
import pytest
import sqlalchemy as sa

from entropic import Base, Mapped, Store, mapped_column, report
from entropic.store import context_of
from ui.pages import HOSTILE, SETS, Solver, serving, serving_it

STORED = [one for one in SETS if one["seed"] != 3]


def found(page, *pairs, **given):
    return page.api("rows", *pairs, **{"size": 1000, **given})["data"]


@pytest.mark.parametrize(
    ("column", "typed", "fits"),
    [
        ("length", ">0.5", lambda one: one["length"] > 0.5),
        ("length", ">=1 <2", lambda one: one["length"] == 1.0),
        ("length", "> 0.5 < 2", lambda one: one["length"] == 1.0),
        ("length", "1e0", lambda one: one["length"] == 1.0),
        ("length", "0.5, 2", lambda one: one["length"] in (0.5, 2.0)),
        ("length", "!=1", lambda one: one["length"] != 1.0),
        ("seed", "1", lambda one: one["seed"] == 1),
        ("solver", "RK4", lambda one: one["solver"] is Solver.RK4),
        ("solver", "EULER, RK4", lambda one: True),
        ("settled", "true", lambda one: one["length"] > 1),
        ("note", "null", lambda one: one["note"] is None),
        ("note", "SCRIPT", lambda one: one["note"] is not None),
        ("note", f"={HOSTILE}", lambda one: one["note"] is not None),
        ("note", "100%", lambda one: False),
        ("custom_data.tag", "fir", lambda one: True),
        ("custom_data.tag", "=fir", lambda one: False),
        ("custom_data.elapsed_seconds", ">=0", lambda one: True),
        ("created_at", ">2001-01-01", lambda one: True),
        ("created_at", "<2001-01-01", lambda one: False),
    ],
)
def test_what_is_typed_above_a_column_filters_by_its_type(page, column, typed, fits):
    wanted = [(one["length"], one["seed"], one["solver"].name) for one in STORED if fits(one)]
    rows = found(page, (f"f.{column}", typed))
    assert sorted((row["length"], row["seed"], row["solver"]) for row in rows) == sorted(wanted)


def test_filters_and_a_search_hold_together(page):
    rows = found(page, ("f.length", "1"), ("f.solver", "RK4"), ("q", "first"))
    assert [(row["length"], row["solver"]) for row in rows] == [(1.0, "RK4")] * 2
    assert found(page, ("q", "no such text")) == []
    (row,) = found(page, ("q", rows[0]["id"][:12]))
    assert row["id"] == rows[0]["id"]


@pytest.mark.parametrize(
    "given",
    [
        {"f.length": "abc"},
        {"f.nope": "1"},
        {"f.id; DROP TABLE swings": "1"},
        {"sort": "nope"},
        {"sort": "length); --"},
        {"page": "-1"},
        {"page": "x"},
        {"size": "1001"},
        {"size": "9" * 30},
        {"f.note": "x" * 501},
        {"f.length": ",".join(map(str, range(60)))},
        {'f.custom_data.a"b': "1"},
    ],
)
def test_what_means_nothing_is_refused_with_a_sentence(page, given):
    status, why = page.refused("rows", *given.items())
    assert status == 400
    assert why


def test_an_address_that_is_too_long_is_refused(page):
    assert page.get("/api/rows?q=" + "x" * 9_000)[0] == 414


@pytest.mark.parametrize("sort", ["length", "-peak", "solver,-length", "custom_data.elapsed_seconds", "-created_at"])
def test_pages_are_sorted_by_the_database_and_hold_each_row_once(page, sort):
    pages = [page.api("rows", sort=sort, size=5, page=number) for number in (1, 2, 3)]
    rows = [row for one in pages for row in one["data"]]
    assert len({row["id"] for row in rows}) == len(STORED) == pages[0]["total"]
    name = sort.split(",")[0]
    values = [row[name.removeprefix("-")] for row in rows]
    assert values == sorted(values, reverse=name.startswith("-"))


def test_a_page_beyond_the_last_is_the_last(page):
    assert page.api("rows", page=999, size=5)["page"] == 3


@pytest.mark.slow
def test_a_row_tells_what_became_of_its_file(tmp_path):
    store = Store(lambda params: params["n"], Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    paths = [store.run_or_retrieve({"n": n}).result_file for n in range(3)]
    Path(paths[0]).write_text("0 ")
    Path(paths[1]).unlink()
    for asker in serving(store):
        assert {row["n"]: row["_state"] for row in found(asker)} == {0: "changed", 1: "lost", 2: "done"}
        assert "gone" in asker.api("result", id=store.retrieve({"n": 1}).id)["why"]


@pytest.mark.slow
def test_what_other_code_has_made_is_counted_listed_and_marked(tmp_path):
    def opened(version, **options):
        where = tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}"
        return Store(lambda params: params["n"], Number, *where, version=version, on_stale="ignore", **options)

    opened("1").sweep([{"n": n} for n in range(3)], progress=False)
    store = opened("2")
    for asker in serving_it(opened("2", read_only=True)):
        assert asker.api("counts")["stale"] == 3
        before = asker.api("counts")["version"]
        store.run({"n": 0})
        assert asker.api("counts")["stale"] == 2
        assert asker.api("counts")["version"] != before, "the page follows"
        assert {row["n"]: row["_state"] for row in found(asker)} == {0: "done", 1: "stale", 2: "stale"}
        assert {row["n"] for row in found(asker, stale=1)} == {1, 2}
        assert asker.api("run", id=store.retrieve({"n": 1}).id)["state"] == "stale"
        store.accept(n=1)
        assert {row["n"] for row in found(asker, stale=1)} == {2}


def test_a_run_says_where_it_comes_from(page, study):
    told = page.api("run", id=study.retrieve(STORED[0]).id)["provenance"]
    assert told["python"] == platform.python_version()
    assert told["host"] == platform.node()
    assert "cpu_seconds" in told or float(told["elapsed_seconds"]) < 0.01


class Number(Base):
    __tablename__ = "numbers"
    n: Mapped[int]


def test_an_empty_store_has_an_empty_page(tmp_path):
    store = Store(print, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    for asker in serving(store):
        assert asker.api("rows") == {"total": 0, "page": 1, "last_page": 1, "data": []}
        assert asker.packed("points", x="n", y="n")[0]["count"] == 0
        assert asker.api("lines", x="n", y="n")["lines"] == []
        assert asker.api("grid", x="n", y="n", z="n")["cells"] == []
        assert asker.api("failures") == {"total": 0, "groups": []}
        assert asker.api("progress")["running"] == []


def test_whole_numbers_that_a_browser_cannot_hold_are_text(tmp_path):
    store = Store(lambda params: 1, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    store.run_or_retrieve({"n": 2**60 + 1})
    for asker in serving(store):
        assert found(asker)[0]["n"] == str(2**60 + 1)


def test_the_csv_holds_all_rows_of_the_view_and_no_cell_that_a_spreadsheet_computes(page):
    status, headers, body = page.get("/api/export?f.seed=2&columns=id,length,note&sort=-length")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert "attachment" in headers["content-disposition"]
    header, *rows = csv.reader(io.StringIO(body.decode()))
    assert header == ["id", "length", "note"]
    assert [float(row[1]) for row in rows] == [2.0, 2.0, 1.0, 1.0, 0.5, 0.5]
    assert {row[2] for row in rows} == {HOSTILE}


class Configured(Base):
    __tablename__ = "configured"
    options: Mapped[dict[str, object]] = mapped_column(sa.JSON)


def test_the_csv_has_json_as_json_like_that_of_the_command_line(tmp_path):
    options = {"name": "größe", "steps": [1, None, True]}
    store = Store(lambda params: 1, Configured, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    store.run_or_retrieve({"options": options, "custom_data": {"tags": ["a", "b"]}})
    for asker in serving(store):
        header, row = csv.reader(io.StringIO(asker.get("/api/export")[2].decode()))
        assert json.loads(row[header.index("options")]) == options


# ---- plots -------------------------------------------------------------------------------------------------------
def test_points_come_as_doubles_with_the_keys_of_their_runs(page, study):
    told, values = page.packed("points", x="length", y="peak", c="solver")
    x, y, c = values.reshape(3, told["count"])
    names = told["axes"]["c"]["categories"]
    assert told["total"] == told["count"] == len(STORED)
    for id, *point in zip(told["ids"], x, y, c, strict=True):
        row = study.retrieve({"id": id})
        assert point[:2] == [row.length, row.peak]
        assert names[int(point[2])] == row.solver.name


def test_lines_have_the_mean_and_the_spread_of_their_runs(page, study):
    told = page.api("lines", x="length", y="peak", by="solver")
    assert [one["by"] for one in told["lines"]] == ["EULER", "RK4"]
    rows = [row.peak for row in study.select(length=1.0, solver=Solver.RK4)]
    point = next(one for one in told["lines"][1]["points"] if one[0] == 1.0)
    assert point == pytest.approx([1.0, np.mean(rows), np.std(rows, ddof=1), min(rows), max(rows), len(rows)])


@pytest.mark.parametrize("how", ["mean", "min", "max", "count"])
def test_a_heatmap_has_one_value_for_each_cell(page, study, how):
    told = page.api("grid", x="length", y="solver", z="peak", how=how)
    data = study.select().to_pandas()
    table = data.pivot_table(index="solver", columns="length", values="peak", aggfunc=how, observed=True)
    assert told["x"] == [0.5, 1.0, 2.0]
    assert told["y"] == ["EULER", "RK4"]
    for i, j, value, _ in told["cells"]:
        assert value == pytest.approx(table.loc[told["y"][j], told["x"][i]])
    assert len(told["cells"]) == 6


def test_parallel_coordinates_have_an_axis_for_each_column(page):
    told, values = page.packed("parallel", columns="length,seed,solver,peak")
    assert values.shape == (4 * len(STORED),)
    assert [one["name"] for one in told["axes"].values()] == ["length", "seed", "solver", "peak"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("points", {"x": "nope", "y": "peak"}),
        ("lines", {"x": "length", "y": "solver"}),
        ("grid", {"x": "length", "y": "solver", "z": "peak", "how": "exec"}),
        ("grid", {"x": "length", "y": "solver"}),
        ("parallel", {"columns": "length"}),
        ("script", {"kind": "nope"}),
    ],
)
def test_a_plot_of_what_is_no_number_is_refused(page, name, given):
    assert page.refused(name, *given.items())[0] == 400


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "scatter", "x": "length", "y": "peak", "c": "solver", "logx": "1"},
        {
            "kind": "scatter",
            "x": "length",
            "y": "custom_data.elapsed_seconds",
            "f.length": ">0.5 <2",
            "f.note": "script",
        },
        {"kind": "lines", "x": "length", "y": "peak", "by": "solver", "f.settled": "true", "q": "first"},
        {"kind": "lines", "x": "length", "y": "peak", "f.solver": "RK4", "f.note": "null"},
        {"kind": "heatmap", "x": "length", "y": "solver", "z": "peak", "how": "max"},
        {"kind": "parallel", "columns": "length,solver,peak", "f.length": "1, 2"},
    ],
    ids=lambda given: given["kind"],
)
def test_the_lines_of_python_run_and_plot_the_rows_of_the_view(page, study, monkeypatch, given):
    text = page.api("script", *given.items())["text"]
    plt = types.ModuleType("matplotlib.pyplot")
    plt.__getattr__ = lambda name: lambda *args, **options: None
    matplotlib = types.ModuleType("matplotlib")
    matplotlib.pyplot = plt
    model = types.ModuleType("model")
    model.store = study
    for name, module in (("matplotlib", matplotlib), ("matplotlib.pyplot", plt), ("model", model)):
        monkeypatch.setitem(sys.modules, name, module)
    names = {}
    exec(text, names)
    assert isinstance(names["data"], pandas.DataFrame)
    pairs = [(name, value) for name, value in given.items() if name.startswith("f.")]
    assert sorted(names["data"]["id"]) == sorted(row["id"] for row in found(page, *pairs))


# ---- one run -----------------------------------------------------------------------------------------------------
def test_a_run_is_told_with_its_neighbours_in_one_parameter(page, study):
    row = study.select(length=1.0, seed=1, solver=Solver.RK4)[0]
    told = page.api("run", id=row.id)
    assert told["state"] == "done"
    assert told["params"]["solver"] == "RK4"
    assert told["outcomes"]["peak"] == row.peak
    assert told["custom"]["tree"] == {"deep": [1, 2]}
    near = [(one["differs"], one["value"]) for one in told["neighbours"]]
    assert near == [("length", 0.5), ("length", 2.0), ("solver", "EULER")]


def test_a_failed_run_is_told_with_its_traceback(page, study):
    failure = study.failures()[0]
    told = page.api("run", id=failure.id)
    assert told["state"] == "failed"
    assert told["params"]["seed"] == 3
    assert told["failure"]["type"] == "ValueError"
    assert "raise ValueError" in told["failure"]["traceback"]


def test_an_unknown_run_is_said(page):
    assert page.refused("run", id="0123") == (404, "nothing is stored, running or failed under this id")


def test_failures_are_grouped_by_what_was_raised_with_what_they_share(page):
    (group,) = page.api("failures")["groups"]
    assert group["count"] == 6
    assert group["shared"] == {"seed": 3, "note": None}
    assert "Traceback" in group["newest"]["traceback"]
    assert len(group["runs"]) == 6


def test_counts_change_with_what_is_stored(tmp_path):
    store = Store(lambda params: 1, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    store.run_or_retrieve({"n": 1})
    for asker in serving(store):
        before = asker.api("counts")
        assert before == asker.api("counts")
        store.run_or_retrieve({"n": 2})
        after = asker.api("counts")
        assert (before["done"], after["done"]) == (1, 2)
        assert before["version"] != after["version"]


@pytest.mark.slow
def test_what_is_running_is_told_with_who_runs_it(tmp_path):
    seen = {}

    def run(params):
        seen.update(asker.api("progress"), counts=asker.api("counts"))
        return 1

    store = Store(run, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    for asker in serving(store):
        row = store.run_or_retrieve({"n": 1})
        assert [one["id"] for one in seen["running"]] == [row.id]
        assert seen["running"][0]["pid"] == os.getpid()
        assert seen["counts"]["running"] == 1
        assert asker.api("progress")["running"] == []


@pytest.mark.slow
def test_how_far_a_run_says_it_is_is_told(tmp_path):
    seen, askers = {}, []

    def run(params):
        report(3, 12, loss=0.5, phase=HOSTILE[:20])
        seen.update(askers[0].api("progress"))
        return 1

    store = Store(run, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    for asker in serving(store):
        askers.append(asker)
        store.run_or_retrieve({"n": 1})
        (one,) = seen["running"]
        assert one["report"]["fraction"] == 0.25
        assert "step 3/12" in one["report"]["text"]
        assert "loss=0.5" in one["report"]["text"]


def test_control_characters_and_passwords_of_data_are_never_sent(tmp_path):
    def run(params):
        raise ValueError("\x1b[2J\u202e mysql://me:secret@host/db")

    store = Store(run, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    with pytest.raises(ValueError):
        store.run_or_retrieve({"n": 1})
    for asker in serving(store):
        _, _, body = asker.get("/api/failures")
        for hidden in (b"\\u001b", b"\x1b", "\u202e".encode(), b"\\u202e", b"secret"):
            assert hidden not in body.replace(b"\\\\u202e", b"").replace(b"\\\\x1b", b"")


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_ended(page, study, monkeypatch):
    monkeypatch.setattr("entropic.ui.limits.begin", lambda: setattr(limits._of_thread, "until", -math.inf))
    from entropic.ui import limits

    monkeypatch.setattr("entropic.ui.limits._STEPS", 1)
    for asker in serving(study):
        status, why = asker.refused("rows", q="x")
        assert status == 503
        assert "longer than" in why


@pytest.mark.slow
def test_no_transaction_stays_open_between_two_requests(tmp_path):
    store = Store(lambda params: 1, Number, tmp_path / "r", ".json", f"sqlite:///{tmp_path / 'n.sqlite3'}")
    store.run_or_retrieve({"n": 1})
    for asker in serving(store):
        for _ in range(8):  # in each of its threads
            asker.api("rows")
        with context_of(store).database.engine.connect() as connection:
            blocked, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        assert blocked == 0


@pytest.mark.slow
def test_what_was_said_of_a_run_is_told(tmp_path):
    store = Store(lambda params: {"n": params["n"]}, Noted, tmp_path / "results", ".json", f"sqlite:///{tmp_path}/db")
    said, other = store.sweep([{"n": 1}, {"n": 2}])
    store.note({"n": 1}, f"suspicious {HOSTILE}", tags=["paper", "b"])
    for page in serving(store):
        assert page.api("run", id=said.id)["note"] == {"text": f"suspicious {HOSTILE}", "tags": ["b", "paper"]}
        assert page.api("run", id=other.id)["note"] == {"text": "", "tags": []}


class Noted(Base):
    __tablename__ = "noted_on_page"
    n: Mapped[int]
