"""Which store a command is about: `file.py:store`, `module:store`, a database alone, or what the project says."""

import importlib
import importlib.util
import os
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cloudpickle
import sqlalchemy as sa

from entropic.cli.errors import UsageError
from entropic.cli.output import answers_only
from entropic.cli.project import PROJECT, naming, project
from entropic.cli.reflect import open_reflected
from entropic.errors import EntropicError
from entropic.params.model import Base
from entropic.store import Store
from entropic.study import Study
from entropic.support.failure import PACKAGE

START = os.getcwd()  # where the user is: a project is opened in its own folder
_NAMED = re.compile(r"(?P<where>[^=]+\.py|[A-Za-z_][\w.]*)(?::(?P<name>[A-Za-z_][\w.]*))?")
_WAYS = (
    "give it first, as file.py:store or module:store, or with --store or --db; or once and for all in pyproject.toml "
    "([tool.entropic] store = ...) or in the environment (ENTROPIC_STORE, ENTROPIC_DB)"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the options of a command say about its store."""

    store: str | None = None
    db: str | None = None
    table: str | None = None
    results: str | None = None

    def open(self, words: list[str]) -> tuple[Store[Base], list[str]]:
        """Return the store, and the words of the command that do not name it."""
        if self.store is not None and self.db is not None:
            raise UsageError("give --store or --db, not both")
        if self.store is None and self.db is None and words and names_store(words[0]):
            return opened(words[0]), words[1:]
        if self.store is not None:
            return opened(self.store), words
        if self.db is not None:
            return self._by_database(self.db), words
        return self._by_surroundings(), words

    def _by_database(self, url: str) -> Store[Base]:
        return open_reflected(checked(url), self.table, self.results)

    def _by_surroundings(self) -> Store[Base]:
        """Open what the environment names, else the project."""
        if name := os.environ.get("ENTROPIC_STORE"):
            return opened(name)
        if url := os.environ.get("ENTROPIC_DB"):
            return self._by_database(url)
        folder, settings = project(Path(START))
        if not settings:
            raise UsageError(f"no store is named; {_WAYS}")
        with naming(folder / PROJECT):
            return self._by_project(folder, settings)

    def _by_project(self, folder: Path, settings: dict[str, str]) -> Store[Base]:
        os.chdir(folder)  # what a script, or a URL, says of files is meant from there
        if "store" in settings:
            return opened(settings["store"])
        if "db" in settings:
            table, results = (
                self.table or settings.get("table"),
                self.results or settings.get("results_dir"),
            )
            return open_reflected(checked(settings["db"]), table, results)
        raise UsageError(f"{folder / PROJECT}: [tool.entropic] names neither a store nor a db")


def names_store(word: str) -> bool:
    """Tell whether a word names a store, rather than a key or a parameter."""
    return bool(re.fullmatch(r"[^=]+\.py|[^=]+\.py:[A-Za-z_][\w.]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", word))


def checked(url: str, option: str = "--db") -> str:
    """Return a URL that is valid; an invalid one is not repeated in the error, since it may hold a password."""
    try:
        sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(f"{option} must be the URL of a database, such as sqlite:///db.sqlite3") from None
    return url


def opened(name: str) -> Store[Base]:
    """Import the store that a name means."""
    match = _NAMED.fullmatch(name)
    if match is None:
        raise UsageError(f"{name!r} does not name a store; write file.py:store or module:store")
    where = match["where"]
    module = _script(where) if where.endswith(".py") else _module(where)
    return _in(module, where, match["name"])


class _SourceOfNow(SourceFileLoader):
    """Compile a script at each import, as Python does with the script that it runs.

    Cached bytecode counts as fresh when the file's size and its second are as before: a script that was mended at
    once, `n == 3` to `n == 4`, would run as it was (`test_a_script_that_was_mended_at_once_runs_as_it_is_now`).
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _script(where: str) -> ModuleType:
    path = Path(where).absolute()
    if not path.is_file():
        raise UsageError(f"there is no file {where}")
    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = f"entropic_script_{re.sub(r'[^0-9A-Za-z_]', '_', name)}"
    loader = _SourceOfNow(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    sys.path.insert(0, str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    cloudpickle.register_pickle_by_value(module)  # as a script's own, so that no worker imports it again
    _importing(where, lambda: loader.exec_module(module), [str(path)])
    return module


def _module(where: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        if importlib.util.find_spec(where) is None:
            raise ModuleNotFoundError(name=where)
    except ModuleNotFoundError as error:
        raise UsageError(f"there is no module {error.name}") from None
    except Exception as error:  # noqa: BLE001  (of a package around it)
        raise _of_script(where, error) from None
    _importing(where, lambda: importlib.import_module(where), [where])
    return sys.modules[where]


def _importing(where: str, action: Any, argv: list[str]) -> None:
    """Run a script's code: what it prints is not the command's answer, and what it raises is its own."""
    before, sys.argv = sys.argv, argv
    try:
        with answers_only():
            action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (SystemExit, too: a script that parses options)
        raise _of_script(where, error) from None
    finally:
        sys.argv = before


def _of_script(where: str, error: BaseException) -> UsageError:
    frames = traceback.TracebackException.from_exception(error)
    while frames.stack and ("importlib" in frames.stack[0].filename or frames.stack[0].filename == __file__):
        frames.stack.pop(0)
    if isinstance(error, EntropicError):  # it says all; of the frames only the user's own line is of use
        own = [one for one in frames.stack if not one.filename.startswith(PACKAGE)]
        line = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        return UsageError(f"{where} could not be imported{line}: {error}")
    text = "".join(frames.format()).rstrip()
    return UsageError(f"{text}\n\n{where} could not be imported, because of the error above")


def _in(module: ModuleType, where: str, name: str | None) -> Store[Base]:
    stores = {found: _store(value) for found, value in vars(module).items() if isinstance(value, Store | Study)}
    listed = ", ".join(f"{where}:{found}" for found in stores)
    there = f"it makes {listed}" if stores else "it makes no store at its top level"
    if name is None:
        if len({id(store) for store in stores.values()}) == 1:
            return next(iter(stores.values()))
        raise UsageError(f"{where} makes several stores; name one of {listed}" if stores else f"in {where}, {there}")
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{where} has no {name!r}; {there}")
        found = getattr(found, part)
    if not isinstance(found, Store | Study):
        raise UsageError(f"{where}:{name} is not a Store but of type {type(found).__name__}; {there}")
    return _store(found)


def _store(found: Store[Base] | Study[..., object]) -> Store[Base]:
    return found.store if isinstance(found, Study) else found
