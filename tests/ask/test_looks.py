"""How rows, runs, plans, reports and stores look: aligned, cut, and without secrets."""

from __future__ import annotations

import datetime
import enum
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, deferred

from entropic import Base, Mapped, Plan, Runs, mapped_column
from entropic.support.passwords import shown


class Hue(enum.Enum):
    RED = "r"


class Seen(Base):
    __tablename__ = "seen_results"
    n: Mapped[int]
    dt: Mapped[float] = mapped_column(default=0.5)
    hue: Mapped[Hue] = mapped_column(default=Hue.RED)
    name: Mapped[str] = mapped_column(default="<b>")
    heavy: Mapped[str] = deferred(mapped_column(sa.String, default="heavy"))


class Checker(HTMLParser):
    """Follows which elements are open, and keeps the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def store(make):
    return make(Seen, lambda path, _: Path(path).write_text("{}"), ".json")


def test_a_row_shows_its_key_and_its_params(store):
    row = store.run({"n": 1, "dt": 0.1 + 0.2}, note="secret to the row")
    assert repr(row) == f"Seen(id='{row.id}', n=1, dt=0.3, hue=RED, name='<b>')"
    text = Checker(row._repr_html_()).text
    for part in ("Seen", row.id, "dt", "0.3", "<b>", row.result_file, "note"):
        assert any(part in one for one in text), part


def test_a_row_in_any_state_shows_what_is_there_and_asks_no_database(store, tmp_path):
    assert repr(Seen()) == "Seen()"
    assert repr(Seen(n=3)) == "Seen(n=3)"
    store.run({"n": 1})
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    with Session(engine) as session:
        row = session.query(Seen).one()
        session.expire(row)
        assert repr(row) == "Seen()"
        assert row.n == 1
    engine.dispose()


def test_long_values_are_cut_to_one_line(store):
    row = store.run({"n": 1, "name": "long\n" * 1_000})
    assert "\n" not in repr(row)
    assert len(repr(row)) < 200
    assert len(row._repr_html_()) < 3_000


@pytest.mark.slow
def test_runs_are_an_aligned_table_that_is_cut(store):
    runs = store.sweep({"n": n, "dt": n / 3} for n in range(105))
    title, header, *lines, more = repr(runs).splitlines()
    assert title == "105 runs of Seen"
    assert header.split()[:5] == ["id", "n", "dt", "hue", "name"]
    assert len(lines) == 10
    assert "95 more" in more
    assert len({line.index("RED") for line in lines} | {header.index("hue")}) == 1
    assert max(map(len, lines)) < 120
    text = Checker(runs._repr_html_()).text
    assert {runs[0].id, runs[19].id} <= set(text)
    assert runs[20].id not in text
    assert "heavy" not in repr(runs)


def test_few_and_no_runs(store):
    assert repr(store.select()) == "0 runs of Seen"
    assert repr(Runs()) == "0 runs of no model"
    assert repr(store.sweep([{"n": 1}])).startswith("1 run of Seen\n")
    Checker(store.select(n=7)._repr_html_())
    Checker(Runs()._repr_html_())


@pytest.mark.slow
def test_a_plan_and_reports_show_counts_and_not_every_set(store):
    store.sweep({"n": n} for n in range(50))
    plan = store.plan({"n": n} for n in range(1_000))
    assert repr(plan) == str(plan)
    assert len(repr(plan)) < 300
    assert {"1,000 sets", "50", "950", "missing"} <= set(Checker(plan._repr_html_()).text)
    Checker(Plan()._repr_html_())
    for n in range(40):
        Path(store.retrieve({"n": n}).result_file).unlink()
    report = store.check()
    assert repr(report) == str(report)
    assert "40" in repr(report)
    assert len(repr(report)) < 3_000
    text = Checker(report._repr_html_()).text
    assert "missing" in text
    assert any("is gone" in one for one in text)
    repair = store.repair(dry_run=True)
    assert repr(repair) == str(repair)
    Checker(repair._repr_html_())


def test_a_failure_in_a_list_takes_one_short_line(make):
    def fail(path, params):
        raise ValueError("bad\nworse " * 1_000)

    store = make(Seen, fail, ".json")
    with pytest.raises(ValueError, match="bad"):
        store.run({"n": 1})
    (failure,) = store.failures()
    assert len(repr(failure)) < 400
    assert "\n" not in repr(failure)
    assert "ValueError" in repr(failure)


def test_an_explanation_shows_itself(store):
    store.run({"n": 1})
    for params in ({"n": 1}, {"n": 2}):
        found = store.explain(params)
        text = Checker(found._repr_html_()).text
        assert found.id in text
        assert found.reason in text


def test_a_store_shows_where_it_is(store):
    text = Checker(store._repr_html_()).text
    assert {"Seen", str(store.results_dir), ".json"} <= set(text)
    assert any("n, dt" in one for one in text)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql://me@host/db?password=s3cret",
        "mysql+pymysql://h/d?ssl_passwd=s3cret",
    ],
)
def test_no_password_of_a_url_is_shown(url):
    text = shown(sa.make_url(url))
    assert "s3cret" not in text
    assert text.startswith(url[:5])


def test_dates_and_times_are_short(store):
    row = store.run({"n": 1})
    row.created_at = datetime.datetime(2024, 1, 2, 3, 4, 5, 678)
    assert "2024-01-02 03:04:05" in Checker(row._repr_html_()).text
