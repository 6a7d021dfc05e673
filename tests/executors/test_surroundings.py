"""What a script has set up is there in its workers, or is said; what its runs print, pickle and draw is as at home."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # each starts a few interpreters

HEAD = """
import decimal, json, locale, logging, multiprocessing, os, pickle, random, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

def write(params, value):
    with open(params["result_file"], "w") as file:
        json.dump(value, file)

def swept(run, ns=(1,), **options):
    store = Store(run, Point, file_suffix=".json")
    rows = store.sweep([{"n": n} for n in ns], **options)
    return [json.load(open(row.result_file)) for row in rows]
"""


def script(folder: Path, body: str, *words: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script; fail if it takes as long as only what hangs does."""
    (folder / "study.py").write_text(f"{HEAD}\n{body}\n")
    command = [sys.executable, *flags, "study.py", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def told(folder: Path, body: str, *words: str, flags: tuple[str, ...] = ()) -> Any:
    """Run a script; return what it prints, as JSON."""
    done = script(folder, body, *words, flags=flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# ---- settings ----------------------------------------------------------------------------------------------------
SETTINGS = """
import numpy as np

def settings(params):
    import multiprocessing
    filters = [(action, category.__name__) for action, _, category, *_ in warnings.filters]
    write(params, [
        sys.flags.optimize, sys.flags.utf8_mode, sys.flags.dev_mode, __debug__, sys.warnoptions, sys.argv,
        sys.getrecursionlimit(), sys.get_int_max_str_digits(), decimal.getcontext().prec, np.geterr(), filters,
        logging.getLogger().level, logging.getLogger("a.b").level, logging.root.manager.disable,
        locale.setlocale(locale.LC_ALL), multiprocessing.get_start_method(allow_none=True), str(1 / decimal.Decimal(3)),
    ])

class Mine(UserWarning):
    pass

sys.setrecursionlimit(4321)
sys.set_int_max_str_digits(54321)
decimal.getcontext().prec = 50
np.seterr(all="raise")
warnings.simplefilter("error", Mine)
warnings.filterwarnings("ignore", "some text", RuntimeWarning)
logging.basicConfig(level=logging.INFO)
logging.getLogger("a.b").setLevel(logging.ERROR)
logging.disable(5)
locale.setlocale(locale.LC_ALL, "C.UTF-8")
multiprocessing.set_start_method("spawn")
here = swept(settings, [1])
print(json.dumps([here, swept(settings, [2], workers=1)]))
"""
FLAGS = [(), ("-O",), ("-OO", "-X", "utf8"), ("-W", "error::ResourceWarning", "-X", "dev")]


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "none")
def test_a_worker_has_the_settings_of_the_script(tmp_path, flags):
    pytest.importorskip("numpy")
    ((here,), (there,)) = told(tmp_path, SETTINGS, "one", "--two", flags=flags)
    assert there == here
    assert here[5][1:] == ["one", "--two"]


def test_what_a_run_logs_is_in_its_log_as_the_script_has_it(tmp_path):
    body = """
logging.basicConfig(level=logging.INFO, format="<%(levelname)s> %(message)s")
def run(params):
    logging.getLogger("mine").info("half way")
    logging.getLogger("mine").debug("not this")
    write(params, 1)
store = Store(run, Point, file_suffix=".json")
store.sweep([{"n": 1}], workers=1)
print(json.dumps(open(store.log_file({"n": 1})).read()))
"""
    assert told(tmp_path, body) == "<INFO> half way\n"


HOOK = """
import colorsys as settings
settings.depth = 1

def set_up():
    settings.depth = 300
    with open("set up", "a") as file:
        file.write(f"{os.getpid()}\\n")

def run(params):
    write(params, [settings.depth, os.getpid()])

if __name__ == "__main__":
    where = sys.argv[1]
    kind = where if where in ("spawn", "fork") else "fork"
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(kind))
    options = {"workers": 2} if where == "workers" else {"client": pool}
    if where == "Dask":
        import distributed
        options = {"client": distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")}
    found = swept(run, range(12), worker_setup=set_up, **options)
    print(json.dumps([found, open("set up").read().split(), os.getpid()]))
"""


@pytest.mark.parametrize("where", ["workers", "spawn", "fork", "Dask"])
def test_what_cannot_be_carried_is_set_up_once_in_each_worker(tmp_path, where):
    if where == "Dask":
        pytest.importorskip("distributed")
    found, pids, home = told(tmp_path, HOOK, where)
    assert {depth for depth, _ in found} == {300}
    assert {pid for _, pid in found} <= set(map(int, pids))
    assert len(pids) == len(set(pids)) <= 2
    assert str(home) not in pids


def test_a_setup_that_fails_is_told_and_nothing_runs(tmp_path):
    done = script(
        tmp_path, "def fail():\n    raise ValueError('no licence')\nswept(print, worker_setup=fail, workers=1)"
    )
    assert done.returncode == 1
    assert "no licence" in done.stderr


def test_a_setup_where_there_are_no_workers_is_refused(tmp_path):
    done = script(tmp_path, "swept(print, worker_setup=print)")
    assert "ParameterError: worker_setup is for workers" in done.stderr


# ---- random numbers ----------------------------------------------------------------------------------------------
DRAWS = """
import numpy as np
from random import random as draw
from numpy.random import normal
{first}
def run(params):
    import time
    time.sleep(0.2)
    write(params, float({draw}))

if __name__ == "__main__":
    options = {{"workers": 3}}
    if sys.argv[1:]:
        pool = ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork"))
        for future in [pool.submit(os.getpid) for _ in range(3)]:
            future.result()
        np.random.random()
        options = {{"client": pool}}
    print(json.dumps(swept(run, range(6), **options)))
"""
GLOBAL = ["random.random()", "draw()", "np.random.random()", "normal()"]


@pytest.mark.each("draw")
@pytest.mark.parametrize("draw", GLOBAL)
@pytest.mark.parametrize("where", [(), ("a forked pool",)], ids=["workers", "forked pool"])
def test_global_generators_draw_other_numbers_in_each_worker(tmp_path, draw, where):
    pytest.importorskip("numpy")
    first = "random.seed(1); np.random.seed(1)"
    found = told(tmp_path, DRAWS.format(first=first, draw=draw), *where)
    assert len(set(found)) == 6


@pytest.mark.each
@pytest.mark.parametrize(
    ("first", "draw"),
    [
        ("rng = np.random.default_rng()", "rng.normal()"),
        ("rng = np.random.default_rng(1)", "rng.normal()"),
        ("rng = np.random.RandomState(1)", "rng.normal()"),
        ("rng = random.Random(1)", "rng.random()"),
        ("rng = random.Random(1); shake = rng.random", "shake()"),
    ],
)
def test_a_generator_that_all_workers_would_share_is_warned_of(tmp_path, first, draw):
    pytest.importorskip("numpy")
    done = script(tmp_path, DRAWS.format(first=first, draw=draw))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("SharedGeneratorWarning: ") == 1
    assert "generator rng" in done.stderr or "shake" in draw


def test_a_generator_of_a_module_is_warned_of_if_it_begins_alike_everywhere(tmp_path):
    pytest.importorskip("numpy")
    model = "import numpy as np\nalike = np.random.default_rng(7)\nother = np.random.default_rng()\n"
    runs = "".join(
        f"def use_{name}(params):\n    open(params['result_file'], 'w').write(str({name}.random()))\n"
        for name in ("alike", "other")
    )
    (tmp_path / "model.py").write_text(model + runs)
    for name, times in {"alike": 1, "other": 0}.items():
        done = script(tmp_path, f"import model\nswept(model.use_{name}, [{times}], workers=1)")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("SharedGeneratorWarning") == times
        assert ("alike" in done.stderr) == bool(times)


# ---- pickling inside of a run ------------------------------------------------------------------------------------
PICKLING = """
import copy, dataclasses, enum, io

@dataclasses.dataclass
class Cell:
    size: int

class Kind(enum.Enum):
    A = 1

def double(cell):
    return Cell(cell.size * 2)

def put(queue, cell):
    queue.put(double(cell))

def run(params):
    cell = Cell(params["n"])
    back = pickle.loads(pickle.dumps([cell, Cell, double, Kind.A, run]))
    assert back == [cell, Cell, double, Kind.A, run], back
    assert type(pickle.loads(pickle.dumps(params["kind"]))) is Kind if "kind" in params else True
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        doubled = pool.map(double, [cell, cell])
    assert doubled == [Cell(2 * params["n"])] * 2 and type(doubled[0]) is Cell
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(double, cell).result() == doubled[0]
    queue = context.Queue()
    process = context.Process(target=put, args=(queue, cell))
    process.start()
    assert queue.get(timeout=90) == doubled[0]
    process.join()
    write(params, doubled[0].size)

print(json.dumps(swept(run, [3], workers=1)))
"""


@pytest.mark.each
@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
def test_what_is_of_the_script_can_be_pickled_inside_of_a_worker(tmp_path, kind):
    assert told(tmp_path, PICKLING, kind) == [6]


# ---- tracebacks --------------------------------------------------------------------------------------------------
FAILING = """
def run(params):
    size = params["n"]
    raise ValueError("x" * 50_000)  # the line to see

store = Store(run, Point, file_suffix=".json")
warnings.simplefilter("ignore")
store.sweep([{"n": 1}], workers=1, on_error="continue")
print(json.dumps(store.failures()[0].traceback))
"""


def test_a_traceback_names_the_file_of_a_script_and_shows_its_lines(tmp_path):
    text = told(tmp_path, FAILING)
    assert 'study.py", line' in text
    assert "the line to see" in text
    assert "<dynamic-code>" not in text


def test_so_it_is_of_a_cell_whose_text_is_nowhere_on_the_disk(tmp_path):
    cell = f"{HEAD}\n{FAILING}"
    body = f"import linecache\ncell = {cell!r}\n"
    body += "linecache.cache['<cell 7>'] = len(cell), None, cell.splitlines(True), '<cell 7>'\n"
    body += "exec(compile(cell, '<cell 7>', 'exec'))"
    text = told(tmp_path, body)
    assert '"<cell 7>", line' in text
    assert "the line to see" in text


@pytest.mark.parametrize("options", [{}, {"workers": 1}], ids=str)
def test_long_messages_leave_the_frames_of_a_chain_and_of_a_group(tmp_path, options):
    body = f"""
def inner(): raise ValueError("x" * 50_000)
def middle():
    try: inner()
    except ValueError as error: raise KeyError("y" * 50_000) from error
def run(params):
    try: middle()
    except KeyError as error: raise ExceptionGroup("z" * 50_000, [error, OSError("w" * 50_000)])
store = Store(run, Point, file_suffix=".json")
warnings.simplefilter("ignore")
store.sweep([{{"n": 1}}], on_error="continue", **{options})
print(json.dumps(store.failures()[0].traceback))
"""
    text = told(tmp_path, body)
    for name in ("inner", "middle", "run"):
        assert f"in {name}\n" in text


def test_an_interrupt_that_a_runner_raises_is_told_as_what_it_is(tmp_path):
    body = """
def run(params): raise KeyboardInterrupt("enough")
store = Store(run, Point, file_suffix=".json")
warnings.simplefilter("ignore")
store.sweep([{"n": 1}], workers=1, on_error="continue")
one, = store.failures()
print(json.dumps([one.error_type, one.message, "in run" in one.traceback]))
"""
    assert told(tmp_path, body) == ["KeyboardInterrupt", "enough", True]


def test_the_command_line_says_what_ended_a_process(tmp_path):
    body = """
import time
def run(params): os._exit(3) if params["n"] == 1 else time.sleep(600)
store = Store(run, Point, file_suffix=".json")
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    store.sweep([{"n": 1}, {"n": 2}], workers=1, on_error="continue", timeout=3)
    print(1)
"""
    assert told(tmp_path, body) == 1
    command = [sys.executable, "-m", "entropic", "failed", "study.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert "WorkerDied: " in done.stdout
    assert "exit code 3" in done.stdout
    assert "RunTimeout: " in done.stdout
