"""A script hands its store, and rows of it, to engines that are not ours: the model is the script's own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = '''
import copy, multiprocessing, os, pickle, sys, warnings
from concurrent.futures import ProcessPoolExecutor
import sqlalchemy as sa
from entropic import Base, Mapped, Store, StaleWarning, mapped_column, study

LOCK = multiprocessing.Lock()  # which goes nowhere by value

class Wave(Base):
    __tablename__ = "waves"
    n: Mapped[int]
    Re: Mapped[float] = mapped_column("reynolds", default=0.5)

    def doubled(self):
        return 2 * self.n + OFFSET

OFFSET = 1

def run(params):
    with open("log", "a") as file:
        file.write(f"{params['n']} {os.getpid()}\\n")
    return {"square": params["n"] ** 2}

store = Store(run, Wave, "results", ".json", "sqlite:///db.sqlite3")

def runs():
    with open("log") as file:
        return [tuple(map(int, line.split())) for line in file]

def ask(n):
    return store.run_or_retrieve({"n": n}, note={"of": [n]})

def several(ns):
    return store.sweep([{"n": n} for n in ns], workers=2)

def look(row):
    inside = sa.inspect(row)
    return row.doubled(), row.params, row.custom_data, row.result_file, inside.detached, inside.modified

def same(row, other):
    """Check that a row has come back as the very row that was sent."""
    columns = [attr.key for attr in sa.inspect(Wave).column_attrs]
    assert type(row) is type(other) is Wave, (type(row), type(other))
    assert [getattr(row, name) for name in columns] == [getattr(other, name) for name in columns]
    inside, there = sa.inspect(row), sa.inspect(other)
    assert (inside.detached, inside.persistent, inside.session) == (there.detached, there.persistent, None)
    assert inside.identity_key == there.identity_key and not inside.modified
    row.custom_data["more"] = 1
    assert inside.modified  # as of any row, changes in place are tracked
    return True

def submitted(function, *args):
    import submitit
    return submitit.LocalExecutor("jobs").submit(function, *args).result()

def main():
    warnings.simplefilter("error", StaleWarning)
    PART
    print("held")
'''

GUARD = """
if __name__ == "__main__":
    main()
"""


def held(folder: Path, part: str, more: str = "", *, stdin: bool = False, cube: bool = False) -> str:
    """Run a script with these lines in its `main`; return what it printed, once they have all held."""
    text = SCRIPT.replace("** 2", "** 3") if cube else SCRIPT
    text = text.replace("PART", textwrap.dedent(part).strip().replace("\n", "\n    ")) + more + GUARD
    (folder / "script.py").write_text(text)
    command = [sys.executable, *(["-"] if stdin else ["script.py"])]
    done = subprocess.run(
        command,
        cwd=folder,
        input=text if stdin else None,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("held\n")
    return done.stdout


# ---- submitit ----------------------------------------------------------------------------------------------------
ASKED = """
row = submitted(ask, 3)
assert same(row, store.retrieve({"n": 3}))
assert row.custom_data["note"] == {"of": [3]} and os.path.isabs(row.result_file)
assert store.load(row) == {"square": 9}
assert [n for n, _ in runs()] == [3] and runs()[0][1] != os.getpid()
assert same(submitted(ask, 3), store.run_or_retrieve({"n": 3}))  # hits, on both sides
mine = store.run_or_retrieve({"n": 4})
assert same(submitted(ask, 4), mine)
assert [n for n, _ in runs()] == [3, 4]
assert store.check().ok
"""


@pytest.mark.slow
def test_a_function_that_asks_the_store_goes_through_submitit_and_brings_the_row_home(tmp_path):
    pytest.importorskip("submitit")
    held(tmp_path, ASKED)


@pytest.mark.slow
def test_so_it_does_of_a_script_that_has_no_file(tmp_path):
    pytest.importorskip("submitit")
    held(tmp_path, ASKED, stdin=True)


@pytest.mark.slow
def test_the_code_of_a_run_is_recorded_also_where_only_jobs_have_run_any(tmp_path):
    pytest.importorskip("submitit")
    held(tmp_path, "assert submitted(ask, 1).n == 1")
    said = held(
        tmp_path,
        """
        warnings.simplefilter("always", StaleWarning)
        with warnings.catch_warnings(record=True) as told:
            ask(1)
        print(told[0].message)
        """,
        cube=True,
    )
    assert '-    return {"square": params["n"] ** 2}' in said
    assert '+    return {"square": params["n"] ** 3}' in said


@pytest.mark.slow
def test_a_sweep_with_workers_goes_through_submitit_as_a_method_and_in_a_function(tmp_path):
    pytest.importorskip("submitit")
    held(
        tmp_path,
        """
        rows = submitted(several, [1, 2, 3])
        assert type(rows).__name__ == "Runs" and rows.model is Wave and [row.n for row in rows] == [1, 2, 3]
        again = submitted(store.sweep, [{"n": n} for n in (1, 2, 3, 4)])
        assert all(same(one, store.retrieve({"n": one.n})) for one in [*rows, *again])
        assert sorted(n for n, _ in runs()) == [1, 2, 3, 4]
        assert submitted(several, []).model is Wave
        """,
    )


@pytest.mark.slow
def test_a_row_that_is_sent_is_the_row_that_arrives(tmp_path):
    pytest.importorskip("submitit")
    held(
        tmp_path,
        """
        row = store.run_or_retrieve({"n": 5}, note=1)
        seen = (11, {"n": 5, "Re": 0.5}, row.custom_data, row.result_file, True, False)
        assert submitted(look, row) == look(row) == seen
        changed = store.retrieve({"n": 5})
        changed.custom_data["note"] = 2
        assert submitted(look, changed)[2]["note"] == 2 and submitted(look, changed)[-1]
        """,
    )


NAMING = """
class Plain(Base):
    n: Mapped[int]

class Above(Base):
    __abstract__ = True
    extra: Mapped[int]

class Below(Above):
    n: Mapped[int]

def in_its_lines(n):
    return store.select(Wave.n == n)

def in_its_annotations(n) -> Wave:
    return ask(n)

def as_text(n) -> "Wave":
    return ask(n)

def indirectly(n):
    return in_its_lines(n)

def plain():
    return Plain

def below():
    return Below
"""


@pytest.mark.slow
def test_a_model_that_a_sent_function_names_itself_is_refused_with_what_to_do(tmp_path):
    pytest.importorskip("submitit")
    said = held(
        tmp_path,
        """
        for function in (in_its_lines, in_its_annotations, indirectly, plain, below):
            try:
                submitted(function, 1)
            except pickle.PicklingError as error:
                print(function.__name__, error)
            else:
                raise AssertionError("it was sent")
        assert same(submitted(as_text, 1), ask(1))
        """,
        NAMING,
    )
    lines = said.splitlines()[:-1]
    models = [line.partition("refers to the model ")[2].split()[0] for line in lines]
    assert models == ["Wave", "Wave", "Wave", "Plain", "Above"]
    assert all("put the model, and what uses it, into a module that the script imports" in line for line in lines)


DERIVED = """
from sqlalchemy.orm import declared_attr
from sqlalchemy.ext.hybrid import hybrid_property

class Above(Base):
    __abstract__ = True
    n: Mapped[int]
    m: Mapped[int] = mapped_column("of_above", default=2)
    def product(self):
        return self.n * self.m

class Below(Above):
    def looked(self):
        return self.product(), type(self).__mro__[1].__name__

class Mixin:
    m: Mapped[int] = mapped_column(default=3)
    @declared_attr
    def later(cls) -> Mapped[int]:
        return mapped_column(default=5)
    @hybrid_property
    def product(self):
        return self.n * self.m * self.later

class Mixed(Mixin, Base):
    n: Mapped[int]
    def looked(self):
        return self.product, type(self).__mro__[1].__name__

def of(store, row):
    found = store.run_or_retrieve({"n": 4})
    return found, found.looked(), row.looked()
"""


@pytest.mark.slow
def test_models_with_abstract_bases_and_mixins_are_sent(tmp_path):
    pytest.importorskip("submitit")
    held(
        tmp_path,
        """
        expected = {Below: (8, "Above"), Mixed: (60, "Mixin")}
        for model, looked in expected.items():
            derived = Store(run, model, model.__name__, ".json", "sqlite:///derived.sqlite3")
            row = derived.run_or_retrieve({"n": 4})
            found, there, of_it = submitted(of, derived, row)
            assert type(found) is model and (found.params, found.id) == (row.params, row.id), (found, row)
            assert there == of_it == looked == row.looked(), (there, of_it)
        assert [n for n, _ in runs()] == [4, 4]
        """,
        DERIVED,
    )


# ---- joblib ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_joblib_shares_the_sets_among_its_processes(tmp_path):
    pytest.importorskip("joblib")
    held(
        tmp_path,
        """
        from joblib import Parallel, delayed
        rows = Parallel(n_jobs=2)(delayed(store.run_or_retrieve)({"n": n}) for n in [*range(6), *range(6)])
        assert all(same(row, store.retrieve({"n": row.n})) for row in rows)
        assert [row.n for row in rows] == [*range(6), *range(6)]
        assert sorted(n for n, _ in runs()) == [*range(6)] and os.getpid() not in {pid for _, pid in runs()}
        again = Parallel(n_jobs=2)(delayed(ask)(n) for n in range(7))
        assert sorted(n for n, _ in runs()) == [*range(7)]
        seen = [look(row) for row in again]
        assert Parallel(n_jobs=2)(delayed(look)(row) for row in again) == seen
        """,
    )


@pytest.mark.slow
def test_methods_of_a_model_see_what_the_script_has_changed_meanwhile(tmp_path):
    pytest.importorskip("joblib")
    held(
        tmp_path,
        """
        from joblib import Parallel, delayed
        row, seen = ask(3), []
        for offset in (1, 5, 5, 1):
            globals()["OFFSET"] = offset
            seen += [look(one)[0] - 6 for one in Parallel(n_jobs=2)(delayed(ask)(3) for _ in range(2))]
            seen += [one[0] - 6 for one in Parallel(n_jobs=2)(delayed(look)(row) for _ in range(2))]
        assert seen == [1] * 4 + [5] * 8 + [1] * 4, seen
        assert type(row) is Wave and row.doubled.__func__ is DOUBLED
        """,
        "DOUBLED = Wave.doubled\n",
    )


@pytest.mark.slow
def test_rows_of_a_script_have_one_hash_of_joblib(tmp_path):
    pytest.importorskip("joblib")
    part = """
        import joblib
        row = ask(1)
        hashes = {(joblib.hash(row), joblib.hash(store.select())) for _ in range(3)}
        assert len({pickle.dumps(row) for _ in range(3)}) == 1  # and is not read anew each time where it arrives
        print(hashes)
        """
    said = held(tmp_path, part)
    assert said.count("(") == 1
    assert held(tmp_path, part) == said  # or `joblib.Memory` would know nothing of an earlier call


# ---- Dask --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_workers_of_dask_that_have_imported_the_script_take_its_own_model(tmp_path):
    pytest.importorskip("distributed")
    held(
        tmp_path,
        """
        from distributed import Client, LocalCluster
        options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            assert same(client.submit(ask, 3).result(), store.retrieve({"n": 3}))
            assert same(client.submit(store.run_or_retrieve, {"n": 4}).result(), store.retrieve({"n": 4}))
            assert client.submit(look, ask(3)).result() == look(ask(3))
            assert client.submit(module_of, ask(3)).result() == "__mp_main__"  # which is the script, imported there
        assert [n for n, _ in runs()] == [3, 4]
        """,
        "def module_of(row):\n    return type(row).__module__\n",
    )


# ---- studies -----------------------------------------------------------------------------------------------------
STUDY = """
@study(results="pendulums", suffix=".json")
def pendulum(n: int, factor: float = 2.0) -> dict:
    with open("log", "a") as file:
        file.write(f"{n} {os.getpid()}\\n")
    return {"value": n * factor}

def pendulums(ns):
    return pendulum.sweep(n=ns)
"""


@pytest.mark.slow
def test_a_study_of_the_script_goes_and_its_rows_come_home_as_its_own(tmp_path):
    pytest.importorskip("submitit")
    held(
        tmp_path,
        """
        rows = submitted(pendulums, [1, 2])
        assert rows.model is pendulum.model and pendulum.store.load(rows[1]) == {"value": 4.0}
        assert pendulum(2) == {"value": 4.0} and store.check().ok and [n for n, _ in runs()] == [1, 2]
        """,
        STUDY,
    )


@pytest.mark.slow
def test_a_study_is_pickled_without_its_database(tmp_path):
    held(
        tmp_path,
        """
        import cloudpickle
        cloudpickle.dumps(pendulum)
        number, parts, *_ = pendulum._code()
        assert not os.path.exists("pendulums.sqlite3")  # a server may be out of reach, which is waited for
        current_code = pendulum.store._context.current_code
        assert number == current_code.refresh() is not None and parts == current_code.to_send()[1]
        """,
        STUDY.replace('".json")', '".json", db_url="sqlite:///pendulums.sqlite3", version="2", watch=["log"])'),
    )


@pytest.mark.slow
def test_rows_of_a_study_come_out_of_a_pool_as_those_of_its_model(tmp_path):
    (tmp_path / "studies.py").write_text(
        "import os\nfrom entropic import study\n" + STUDY.replace('pendulums"', 'there"')
    )
    held(
        tmp_path,
        """
        import studies
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            (row,) = pool.submit(pendulums, [1]).result()
            (other,) = pool.submit(studies.pendulums, [1]).result()
            assert pool.submit(is_of_it, row).result() and type(row) is pendulum.model
            assert type(other) is studies.pendulum.model and other.params == row.params == {"n": 1, "factor": 2.0}
        """,
        STUDY + "def is_of_it(row):\n    return type(row) is pendulum.model\n",
    )


# ---- Python's own pickle -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_processes_that_import_the_script_again_take_the_models_of_the_script(tmp_path):
    held(
        tmp_path,
        """
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(is_its_own, store, ask(1)).result()
            assert same(pool.submit(store.run_or_retrieve, {"n": 2}).result(), store.retrieve({"n": 2}))
        assert sorted(n for n, _ in runs()) == [1, 2]
        """,
        "def is_its_own(store, row):\n"
        "    return type(row) is Wave and type(store.retrieve({'n': 1})) is Wave and LOCK is not None\n",
    )


@pytest.mark.slow
def test_a_model_with_a_column_property_cannot_go_by_value_since_its_rows_would_lack_it(tmp_path):
    held(
        tmp_path,
        """
        from entropic.params import by_value
        try:
            by_value.dumped(Computed)
        except Exception as error:
            assert str(error) == "'one' of Computed is not a column of its table", error
        else:
            raise AssertionError("it was taken apart")
        """,
        "class Computed(Base):\n    n: Mapped[int]\n    one = sa.orm.column_property(sa.literal_column('1'))\n",
    )


@pytest.mark.slow
def test_a_model_that_cannot_go_by_value_goes_by_its_name_and_elsewhere_says_why_not(tmp_path):
    more = (
        "class Locked(Base):\n    __tablename__ = 'locked'\n    n: Mapped[int]\n"
        "    def lock(self):\n        return LOCK\n"
        "def of(row):\n    return type(row) is Locked\n"
    )
    said = held(
        tmp_path,
        """
        locked = Store(run, Locked, "results", ".json")
        row = locked.run({"n": 1})
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(of, row).result()
        with open("row.pickle", "wb") as file:
            pickle.dump(row, file)
        import subprocess
        print(subprocess.run([sys.executable, "-c", "import pickle; pickle.load(open('row.pickle', 'rb'))"],
                             capture_output=True, text=True).stderr)
        """,
        more,
    )
    assert "ModelError" in said
    assert "Locked" in said
    assert "a module that" in said


ELSEWHERE = """
import pickle
from entropic import Base, Mapped

class Wave(Base):
    __tablename__ = "waves"
    other: Mapped[int]

with open("row.pickle", "wb") as file:
    pickle.dump(Wave(other=1, id="1"), file)
"""


@pytest.mark.slow
def test_a_model_that_comes_from_elsewhere_leaves_one_of_the_same_name_alone(tmp_path):
    held(
        tmp_path,
        """
        import subprocess
        subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)
        with open("row.pickle", "rb") as file:
            row = pickle.load(file)
        assert type(row) is not Wave and type(row).__qualname__ == "Wave" and row.other == 1
        assert Base.metadata.tables["waves"] is Wave.__table__
        assert type(ask(1)) is Wave
        """,
        f"ELSEWHERE = {ELSEWHERE!r}",
    )


@pytest.mark.slow
def test_copies_in_the_script_are_as_they_were(tmp_path):
    held(
        tmp_path,
        """
        row = ask(1)
        for made in (copy.copy(row), copy.deepcopy(row), pickle.loads(pickle.dumps(row))):
            assert type(made) is Wave and made.custom_data == row.custom_data and made.n == 1
        assert same(copy.deepcopy(row), row) and same(pickle.loads(pickle.dumps(row)), row)
        assert copy.deepcopy(row).custom_data is not row.custom_data
        rows = store.select()
        for made in (copy.copy(rows), copy.deepcopy(rows), pickle.loads(pickle.dumps(rows))):
            assert made.model is Wave and type(made) is type(rows) and made[0].n == 1
        for made in (copy.copy(store), copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
            assert type(made.retrieve({"n": 1})) is Wave
        assert [n for n, _ in runs()] == [1]
        """,
    )


OWN = """
from entropic import Base, Mapped

def rebuilt(kind, id):
    return kind(id=id, n=-1)

class Rebuilt(Base):
    n: Mapped[int]
    def __reduce__(self):
        return rebuilt, (type(self), self.id)

class Stated(Base):
    n: Mapped[int]
    def __reduce__(self):
        return rebuilt, (type(self), self.id), {"more": 1}

class Marked(Base):
    n: Mapped[int]
    def __reduce_ex__(self, protocol):
        made, args, state, *others = super().__reduce_ex__(protocol)
        return made, args, {**state, "more": 1}, *others

class Got(Base):
    n: Mapped[int]
    def __getstate__(self):
        return {**vars(self), "more": 1}

class Set(Base):
    n: Mapped[int]
    def __getstate__(self):
        return self.id, self.n
    def __setstate__(self, state):
        self.__init__(id=state[0], n=state[1], custom_data={"more": 1})

class Counted(Base):
    n: Mapped[int]
    def __new__(cls, counted=0, **columns):
        made = super().__new__(cls)
        made.__dict__["counted"] = counted
        return made
    def __getnewargs__(self):
        return (self.counted + 1,)

class Copies:
    def __copy__(self):
        return "copied"
    def __deepcopy__(self, memo):
        return "copied deeply"

class Mixed(Base, Copies):
    n: Mapped[int]

KINDS = [Rebuilt, Stated, Marked, Got, Set, Counted, Mixed]
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [OWN, "from models import KINDS"], ids=["of the script", "imported"])
def test_what_a_model_says_of_pickling_and_copying_is_heeded(more, tmp_path):
    (tmp_path / "models.py").write_text(OWN)
    held(
        tmp_path,
        """
        def seen(made):
            names = "id", "n", "more", "counted", "custom_data"
            return made if isinstance(made, str) else [vars(made).get(name) for name in names]

        found = {}
        for kind in KINDS:
            row = kind(id="a", n=1)
            pickled = [pickle.loads(pickle.dumps(row, protocol)) for protocol in (2, 3, 4, 5)]
            assert all(type(one) is kind and seen(one) == seen(pickled[0]) for one in pickled), kind
            found[kind.__name__] = [seen(one) for one in (pickled[0], copy.copy(row), copy.deepcopy(row))]
        usual = ["a", 1, None, None, None]
        assert found == {
            "Rebuilt": 3 * [["a", -1, None, None, None]],
            "Stated": 3 * [["a", -1, 1, None, None]],
            "Marked": 3 * [["a", 1, 1, None, None]],
            "Got": 3 * [["a", 1, 1, None, None]],
            "Set": 3 * [["a", 1, None, None, {"more": 1}]],
            "Counted": [["a", 1, None, 0, None]] * 3,
            "Mixed": [usual, "copied", "copied deeply"],
        }, found
        """,
        more,
    )


@pytest.mark.slow
def test_a_process_that_a_notebook_has_forked_takes_the_models_of_the_notebook(tmp_path):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no forks here")
    held(
        tmp_path,
        """
        del sys.modules["__main__"].__file__  # as in a notebook
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(is_wave, (Wave(n=1, id="1"),))
        """,
        "def is_wave(row):\n    return type(row) is Wave\n",
    )


@pytest.mark.slow
def test_a_model_of_a_function_and_its_rows_can_be_pickled(tmp_path):
    pytest.importorskip("submitit")
    held(
        tmp_path,
        """
        class Inner(Base):
            __tablename__ = "inner"
            n: Mapped[int]

        inner = Store(run, Inner, "results", ".json")
        row = submitted(inner.run_or_retrieve, {"n": 1})
        assert type(row) is Inner and type(pickle.loads(pickle.dumps(row))) is Inner
        assert [n for n, _ in runs()] == [1]
        """,
    )


def test_the_password_of_a_database_is_not_in_a_row(tmp_path):
    held(
        tmp_path,
        """
        from entropic.support import passwords

        class Fake:
            def __reduce__(self):  # as a store does with its database's address
                return sa.make_url, (passwords.for_pickle(URL).render_as_string(hide_password=False),)

        globals().update(URL=sa.make_url("postgresql://me:secret@host/db"), fake=Fake(), Fake=Fake)
        row = Far(n=1, id="1")
        assert b"@host" in pickle.dumps(row) and b"secret" not in pickle.dumps(row)
        assert b"secret" in pickle.dumps(Store(run, Far, "results", ".json"))
        """,
        "class Far(Base):\n    __tablename__ = 'far'\n    n: Mapped[int]\n    def ask(self):\n        return fake\n",
    )
