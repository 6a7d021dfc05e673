"""What is larger, deeper or stranger than databases and systems take: a sentence before anything runs, or is made."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contract.models import LooseResult, SimResult, run_python
from entropic import Base, EntropicError, Mapped, ModelError, ParameterError, ResultMissingError, StoreError
from entropic import mapped_column as column
from entropic.db.dialects.sqlite import READ_WITH_ROW
from entropic.db.raw import Recorded

ONE = {"n": 1, "dt": 0.5}
HUGE = 10**5_000  # more digits than Python writes


def named(value: Any) -> str:
    return "huge" if value is HUGE else ascii(value)[:20].replace("\\", "")


pytestmark = pytest.mark.only_on("sqlite")


def nested(depth: int, kind: type) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


# ---- values ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("depth", [250, 480, 900, 5_000, 100_000])
def test_what_is_nested_too_deeply_is_refused_wherever_it_is_given(open_store, store, runner, tmp_path, depth, kind):
    deep = nested(depth, kind)
    loose = open_store(model=LooseResult)
    (tmp_path / "file").touch()
    calls = [
        lambda: store.run(ONE, remark=deep),
        lambda: store.run_or_retrieve(ONE, remark=deep),
        lambda: store.register(ONE, tmp_path / "file", remark=deep),
        lambda: store.select(custom_data={"remark": deep}),
        lambda: loose.run({"name": "a", "grid": deep}),
        lambda: loose.run({"id": "a", "name": "a", "grid": deep}),
        lambda: loose.sweep([{"name": "a", "grid": deep}]),
        lambda: loose.retrieve({"name": "a", "grid": deep}),
    ]
    for call in calls:
        with pytest.raises(ParameterError) as caught:
            call()
        assert len(str(caught.value)) < 500
    assert runner.calls == []
    assert store.retrieve(ONE) is None
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, dict])
def test_what_is_nested_two_hundred_deep_is_stored_and_found_again(open_store, kind):
    store = open_store(model=LooseResult)
    params = {"name": "a", "grid": nested(200, kind)}
    row = store.run(params, remark=nested(199, kind))
    assert store.retrieve(params).custom_data["remark"] == nested(199, kind)
    assert row.grid == params["grid"]
    assert len(store.sweep([params, {"name": "b", "grid": nested(200, kind)}], workers=1)) == 2


@pytest.mark.parametrize("limit", [2**63, 10**20, HUGE, -1, True, 1.5], ids=named)
def test_a_limit_that_is_no_number_of_rows_is_refused(store, limit):
    with pytest.raises(ParameterError, match="limit must be a number of rows"):
        store.select(limit=limit)


def test_a_limit_beyond_all_rows_is_fine(store):
    store.run(ONE)
    assert len(store.select(limit=2**63 - 1)) == 1


@pytest.mark.parametrize("number", [10**20, 10**400, HUGE], ids=named)
def test_a_condition_with_a_number_beyond_the_database_is_refused(store, number):
    for ask in (lambda: store.select(SimResult.n < number), lambda: store.select(n=number)):
        with pytest.raises(ParameterError):
            ask()
    with pytest.raises(ParameterError):
        store.run(ONE, remark=HUGE)
    with pytest.raises(ParameterError):
        store.select(custom_data={"remark": HUGE})


@pytest.mark.parametrize("number", [10**400, HUGE, float("nan"), float("inf"), -1, "x", True], ids=named)
def test_a_time_that_no_float_holds_is_refused(open_store, store, number):
    with pytest.raises(ParameterError, match="timeout"):
        store.sweep([ONE], workers=1, timeout=number)
    with pytest.raises(ParameterError, match="lease"):
        open_store(lease=number)
    with pytest.raises(ParameterError, match="older_than"):
        store.gc(older_than=number, dry_run=True)


@pytest.mark.slow
def test_a_lease_of_centuries_and_a_limit_of_time_beyond_all_clocks_work(open_store):
    store = open_store(lease=1e300)
    assert store.run(ONE).n == 1
    assert len(store.sweep([{"n": 2, "dt": 0.5}], workers=1, timeout=1e300)) == 1


@pytest.mark.parametrize("workers", [10_001, 10**20, HUGE, 0, -2, True], ids=named)
def test_a_number_of_workers_that_no_machine_has_is_refused(store, workers):
    with pytest.raises(ParameterError, match="workers must be a number of processes"):
        store.sweep([ONE], workers=workers)


@pytest.mark.parametrize("seconds", ["1000001", "1" + "0" * 400, "1e400", "nan", "-1"], ids=named)
def test_a_wait_for_the_database_that_no_server_can_count_is_refused(open_store, place, seconds):
    with pytest.raises(StoreError, match="timeout in db_url must be a number of seconds") as caught:
        open_store(db_url=f"{place.url}?timeout={seconds}")
    assert len(str(caught.value)) < 250


# ---- names -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "suffix",
    ["." + "x" * 150, "." + "x" * 254, "." + "x" * 10_000, "." + "é" * 80, ".\udcff", ".a\0b", "a/b"],
    ids=named,
)
def test_a_suffix_with_which_names_would_be_too_long_or_no_text_is_refused_when_the_store_opens(
    open_store, tmp_path, suffix
):
    with pytest.raises(StoreError, match="file_suffix") as caught:
        open_store(file_suffix=suffix, results_dir=tmp_path / "new")
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("suffix", ["." + "x" * 124, "." + "é" * 62], ids=named)
@pytest.mark.parametrize("id", ["a" * 100, "A" * 300, "é" * 300], ids=named)
def test_the_longest_suffix_works_with_the_longest_ids_folders_and_extra_files(open_store, suffix, id):
    runs = itertools.count()

    def write(params: dict[str, Any]) -> None:
        os.mkdir(params["result_file"])
        Path(params["result_file"], "part").write_text(str(next(runs)))
        Path(params["result_file"]).with_name("notes").write_text("more")

    store = open_store(run=write, file_suffix=suffix)
    for n in range(2):
        assert Path(store.run({"id": id, **ONE}).result_file, "part").read_text() == str(n)
        assert store.check().ok
    assert store.delete({"id": id}, remove_file=True)


@pytest.mark.parametrize("name", ["r\udcff", "a\0b", "x" * 256, "/".join(["d" * 200] * 19)], ids=named)
def test_a_results_folder_that_no_database_or_system_can_name_is_refused_when_the_store_opens(
    open_store, tmp_path, name
):
    with pytest.raises(StoreError, match="results_dir") as caught:
        open_store(results_dir=f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(("r", "a", "x", "d" * 9))] == []


@pytest.mark.parametrize("name", ["d\ud800", "a\0b", "x" * 300], ids=named)
def test_a_database_that_no_system_can_name_is_refused(open_store, tmp_path, name):
    with pytest.raises(StoreError):
        open_store(db_url=f"sqlite:///{tmp_path}/{name}")


@pytest.mark.parametrize("name", ["f\udcff", "a\0b", 5, None], ids=named)
def test_a_file_that_no_database_can_name_is_not_registered(store, tmp_path, name):
    path = f"{tmp_path}/{name}" if isinstance(name, str) else name
    if name == "f\udcff":
        Path(path).touch()
    with pytest.raises(ParameterError, match="result_file"):
        store.register(ONE, path)
    assert store.check().ok


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["d" * 200] * 25)], ids=named)
def test_a_file_whose_path_is_too_long_to_be_there_is_not_there(store, tmp_path, name):
    with pytest.raises(ResultMissingError):
        store.register(ONE, tmp_path / name)


def test_a_file_may_be_named_in_bytes(store, tmp_path):
    (tmp_path / "file").touch()
    assert store.register(ONE, os.fsencode(tmp_path / "file")).result_file == str(tmp_path / "file")


# ---- models ------------------------------------------------------------------------------------------------------
def wide(count: int) -> type[Any]:
    """A model with so many columns of its own; each test is to remove it."""
    columns = {f"c{i}": column(sa.Integer) for i in range(count)}
    return type(f"Wide{count}", (Base,), {"__tablename__": f"wide_{count}", "__module__": __name__, **columns})


@pytest.fixture
def make_wide():
    made = []

    def make(count):
        made.append(wide(count))
        return made[-1]

    yield make
    for model in made:
        Base.metadata.remove(model.__table__)


def test_what_is_read_with_a_row_leaves_room_for_its_columns(store):
    row = store.run_or_retrieve(ONE)
    assert len(store._context.rows.read(row.id)) == len(type(row).__table__.c) + READ_WITH_ROW
    assert len(Recorded._fields) == READ_WITH_ROW


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_991, 1_997, 3_000])
def test_a_model_with_too_many_columns_is_refused_before_anything_is_made_and_hinders_no_other(
    open_store, tmp_path, make_wide, count
):
    model = make_wide(count)
    with pytest.raises(ModelError, match=rf"{model.__name__} has {count + 4:,} columns.* at most 1,994"):
        open_store(model=model, db_url=f"sqlite:///{tmp_path / 'wide.sqlite3'}", results_dir=tmp_path / "wide")
    assert list(tmp_path.glob("wide*")) == []
    assert open_store().run(ONE).n == 1
    assert open_store().check().ok


@pytest.mark.slow
def test_a_model_with_as_many_columns_as_the_database_has_works_in_every_call(open_store, make_wide):
    store = open_store(run=lambda params: Path(params["result_file"]).touch(), model=make_wide(1_990))
    params = {f"c{i}": i for i in range(1_990)}
    sets = [params, {**params, "c7": -1}]
    assert [row.c7 for row in store.sweep(sets)] == [7, -1]
    assert store.run_or_retrieve(params).c1989 == 1_989
    assert [row.c7 for row in store.select(c7=-1)] == [-1]
    assert len(list(store.iterate(order_by="c7"))) == 2
    assert store.explain({**params, "c7": 1}).nearest
    assert store.plan(sets).stored
    assert store.check().ok


class Shaped(Base):
    """Of a type that this database lacks."""

    __tablename__ = "shaped"
    outline: Mapped[Any] = column(sa.ARRAY(sa.Integer))


def test_a_model_of_another_database_hinders_no_other(store):
    assert store.run(ONE).n == 1


def test_and_is_refused_itself(open_store):
    with pytest.raises((EntropicError, sa.exc.CompileError)):
        open_store(model=Shaped)


# ---- closed files ------------------------------------------------------------------------------------------------
CLOSED = """if True:
    import os, sys
    from pathlib import Path
    from contract.models import LoggingRunner, SimResult
    from entropic import Store
    folder = sys.argv[1]
    store = Store(LoggingRunner(Path(folder, "log")), SimResult, folder + "/results", ".json",
                  f"sqlite:///{folder}/db.sqlite3")
    rows = store.sweep([{"n": n, "dt": 0.5} for n in range(4)], workers=2)
    assert store.check().ok
    with open(folder + "/said", "w") as file:
        file.write(str([row.n for row in rows]))
"""


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_workers_run_where_standard_files_are_closed(tmp_path, closed):
    (tmp_path / "script.py").write_text(CLOSED)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        ["sh", "-c", f'"$0" script.py . {closed}', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        timeout=100,
        check=True,
    )
    assert (tmp_path / "said").read_text() == "[0, 1, 2, 3]"


@pytest.mark.slow
def test_workers_run_where_python_has_no_standard_streams(tmp_path):
    run_python(CLOSED.replace("folder = ", "sys.stdout = sys.stderr = None; folder = ", 1), tmp_path)
    assert (tmp_path / "said").read_text() == "[0, 1, 2, 3]"
