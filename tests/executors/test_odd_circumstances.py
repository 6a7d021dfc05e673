"""What a careful reader found: sweeps that are paused, forked, moved between threads, or run strange exceptions."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.models import ActingRunner, wait_until
from entropic import ParameterError, PublishError, RunsFailedWarning
from executors import acts

pytestmark = pytest.mark.slow


def sets(*ns):
    return [{"n": n, "dt": 0.5} for n in ns]


SCRIPT = """
import enum
from entropic import Base, Mapped, Store

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Row(Base):
    __tablename__ = "rows"
    colour: Mapped[Colour]

def paint(params):
    with open(params["result_file"], "w") as file:
        file.write(params["colour"].value)

store = Store(paint, Row, "results", ".txt", "sqlite:///db.sqlite3")
for row in store.sweep([{"colour": colour} for colour in Colour], workers=1):
    print(row.colour, open(row.result_file).read())
"""


def test_params_may_be_of_classes_of_the_script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "json.py").write_text("raise ImportError('not the one that a worker wants')")
    place = tmp_path / "elsewhere"  # so that the script itself does not see it
    place.mkdir()
    (tmp_path / "json.py").rename(place / "json.py")
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], cwd=place, capture_output=True, text=True)
    assert done.stdout == "Colour.RED red\nColour.BLUE blue\n", done.stderr


class Mute(Exception):
    def __str__(self):
        raise AttributeError("no text")


def be_mute(params):
    raise Mute


@pytest.mark.parametrize("options", [{}, {"workers": 1}])
def test_an_exception_whose_text_cannot_be_made_is_a_failure_like_any_other(acting, options):
    store = acting({2: be_mute})
    with pytest.warns(RunsFailedWarning, match="1 of 3"):
        rows = store.sweep(sets(1, 2, 3), on_error="continue", **options)
    assert [row.n for row in rows] == [1, 3]
    assert [failure.error_type for failure in store.failures()] == ["Mute"]


def test_a_stream_may_go_on_in_another_thread_than_it_began_in(acting, log, tmp_path):
    go = tmp_path / "go"
    store = acting({n: waiting(go) for n in (2, 3)})
    stream = store.stream(sets(1, 2, 3), workers=3)
    first = []
    begun = threading.Thread(target=lambda: first.append(next(stream)))
    begun.start()
    begun.join()
    wait_until(lambda: sorted(acts.ns_in(log)) == [1, 2, 3])
    go.touch()
    assert sorted(row.n for row in [*first, *stream]) == [1, 2, 3]
    assert sorted(acts.ns_in(log)) == [1, 2, 3]


def waiting(path):
    def wait(params):
        acts.wait_for(path, params)

    return wait


def test_what_a_pool_could_not_run_is_free_for_others_while_the_stream_is_not_read(acting, open_store, log):
    store = acting({2: acts_refuse})
    with ThreadPoolExecutor(1) as pool:
        stream = store.stream(sets(1, 2), pool)
        assert next(stream).n == 1
        asked = ActingRunner(log, {})
        other = open_store(run=asked)
        row = other.run_or_retrieve(sets(2)[0])
        assert row.n == 2
        stream.close()


def acts_refuse(params):
    raise ValueError("not on a pool")


def test_a_refused_publication_leaves_the_others_alone(acting, log):
    store = acting()
    store.sweep(sets(9))
    place = Path(store.retrieve(sets(9)[0]).result_file).parent
    from entropic import key

    def lay_in_the_way(params):
        (place / f"{key(sets(1)[0])}.json").write_text("somebody else's")

    store = acting({1: lay_in_the_way})
    with pytest.warns(RunsFailedWarning, match="1 of 4"):
        rows = store.sweep(sets(1, 2, 3, 4), workers=2, on_error="continue")
    assert [row.n for row in rows] == [2, 3, 4]
    (place / f"{key(sets(1)[0])}.json").unlink()
    assert store.run_or_retrieve(sets(1)[0]).n == 1
    assert sorted(acts.ns_in(log)) == [1, 2, 3, 4, 9], "it was kept, not run again"
    store = acting({5: lambda params: (place / f"{key(sets(5)[0])}.json").write_text("x") and None})
    with pytest.raises(PublishError):
        store.sweep(sets(5), workers=1)


def test_a_forked_child_that_ends_leaves_the_sweep_to_its_parent(acting, log):
    stream = acting().stream(sets(*range(8)), workers=2)
    first = next(stream)
    child = os.fork()
    if child == 0:
        stream.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert sorted(row.n for row in [first, *stream]) == list(range(8))
    assert sorted(acts.ns_in(log)) == list(range(8))


def test_what_c_code_prints_is_in_the_log_however_python_buffers(tmp_path, acting, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    store = acting({1: print_from_c})
    store.sweep(sets(1), workers=1)
    assert "from C" in store.log_file(sets(1)[0]).read_text()


def print_from_c(params):
    import ctypes

    ctypes.CDLL(None).printf(b"from C\n")


@pytest.mark.skipif(hasattr(ProcessPoolExecutor, "_replace_dead_worker"), reason="this Python is mended")
def test_a_pool_that_may_stop_for_good_is_refused(acting, log):
    pool = ProcessPoolExecutor(1, max_tasks_per_child=2)
    with pytest.raises(ParameterError, match="may stop for good"):
        acting().sweep([{"n": 1, "dt": 0.5}], pool)
    pool.shutdown()
    assert acts.lines(log) == []
