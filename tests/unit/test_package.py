"""What `import entropic` brings, and what it does not."""

import ast
import importlib
import inspect
import os
import subprocess
import sys

import pytest

import entropic
from entropic import errors
from entropic.support import compact_json


def test_all_names_what_is_exported():
    public = {
        name for name in dir(entropic) if not name.startswith("_") and not inspect.ismodule(getattr(entropic, name))
    }
    assert public == set(entropic.__all__)


def test_what_is_imported_later_is_the_very_object_of_its_module():
    for name, module in entropic._LATER.items():
        assert getattr(entropic, name) is getattr(importlib.import_module(module), name)
        assert getattr(entropic, name).__module__ == module  # by which a pickle finds it


def test_what_is_imported_later_is_what_type_checkers_are_told():
    (checked,) = (one for one in ast.parse(inspect.getsource(entropic)).body if isinstance(one, ast.If))
    told = {name.name: one.module for one in checked.body for name in one.names}
    assert told == entropic._LATER


def test_a_name_that_does_not_exist_is_refused_as_by_any_module():
    with pytest.raises(AttributeError, match=r"^module 'entropic' has no attribute 'Stor'$") as refused:
        _ = entropic.Stor
    assert (refused.value.obj, refused.value.name) == (entropic, "Stor")  # from which Python guesses what was meant


def test_a_star_brings_all_in_a_new_process():
    script = "from entropic import *; import entropic; assert set(entropic.__all__) <= set(globals())"
    subprocess.run([sys.executable, "-c", script], check=True)


BY_A_THREAD = """
import importlib.machinery, os, sys, threading, time
import entropic

MODULE, begun, forking = "entropic.upkeep.reports.viewed", threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path, target=None):
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if name == MODULE:
            self.loader, found.loader = found.loader, self
        return found
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        begun.set()
        assert forking.wait(90)
        time.sleep(0.5)  # in which a fork that does not wait is over
        self.loader.exec_module(module)

sys.meta_path.insert(0, Slow())
kinds = []
thread = threading.Thread(target=lambda: kinds.append(entropic.View))
thread.start()
assert begun.wait(90)
"""


def test_threads_that_ask_for_a_name_at_once_get_the_same_whole_class():
    script = BY_A_THREAD + "forking.set(); kinds.append(entropic.View); thread.join(); assert kinds == [kinds[0]] * 2\n"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_waits_for_what_another_thread_imports_for_the_first_time():
    """Else the child, which lacks that thread, would wait for it for ever as soon as it needs the same."""
    script = BY_A_THREAD + (
        "os.register_at_fork(before=forking.set)  # comes before all that was registered earlier\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal = __import__('signal'); signal.alarm(90)\n"
        "    os._exit(0 if entropic.View.__name__ == 'View' else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_every_error_is_exported_and_drawn_in_the_tree():
    ours = (value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__)
    classes = {value.__name__ for value in ours}
    assert classes <= set(entropic.__all__)
    assert all(name in errors.__doc__ for name in classes)


def test_the_import_loads_nothing_optional():
    script = "import sqlalchemy.orm, sqlalchemy.ext.mutable, sys; before = set(sys.modules); import entropic; "
    script += "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name for name in loaded if name not in sys.stdlib_module_names and name != "entropic"}
    assert not {name for name in foreign if not name.startswith("sqlalchemy")}


def test_the_import_loads_nothing_that_only_some_programs_need():
    """What opens a store, runs and sweeps comes with the first store: `tests/contract/test_imports.py`."""
    script = "import sqlalchemy.orm, sqlalchemy.ext.mutable, sys; before = set(sys.modules); import entropic; "
    script += "print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("entropic.")}
    assert rooms <= {"support", "errors", "params", "ask", "executors", "store", "study"}
    assert {name for name in loaded if name.startswith(("entropic.ask.", "entropic.executors."))} == {
        *("entropic.ask.given", "entropic.ask.unsaid", "entropic.executors.generators")
    }
    foreign = {name for name in loaded if not name.startswith("entropic")}
    assert not foreign & {"difflib", "glob", "queue", "hmac", "concurrent.futures.thread", "sqlite3", "multiprocessing"}
    assert not {name for name in foreign if name.startswith("sqlalchemy")}, "the first model brings its dialect"


def test_a_version_is_there():
    assert entropic.__version__[0].isdigit()


def test_what_drivers_are_given_for_json_has_no_closure():
    """psycopg makes a class of its own for each, and warns where it cannot see whether it has one already."""
    assert compact_json.compact.__closure__ is None
    assert compact_json.load_json.__closure__ is None


def test_a_warning_points_into_a_package_whose_name_begins_like_ours():
    file = os.path.dirname(entropic.__file__) + "_extras/module.py"
    source = "from entropic.errors import ResultLostWarning, warn\nwarn('it is lost', ResultLostWarning)\n"
    with pytest.warns(entropic.ResultLostWarning) as warned:
        exec(compile(source, file, "exec"), {})
    assert [(one.filename, one.lineno) for one in warned] == [(file, 2)]
