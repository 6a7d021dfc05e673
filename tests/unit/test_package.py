"""What `import entropic` brings, and what it does not."""

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
        name for name, value in vars(entropic).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(entropic.__all__)


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
