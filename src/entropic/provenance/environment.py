"""The environment of a run: versions, machine, command line, commit, and what the runner's code imports.

It is described once for each process and runner, and has a number that is made of what it says: whoever runs in the
same one records the same. Nothing here may cost a run its result, so what cannot be told is left out.
"""

import contextlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from entropic.provenance import git
from entropic.provenance.project import is_ours, is_own, module_of, top, unwrapped
from entropic.support.job import asked, job
from entropic.support.passwords import without_passwords

MOST_WORDS, MOST_WORD = 200, 1_000  # of the command line
_SECRET = re.compile(
    r"(--?[\w-]{0,64}(?:password|passwd|passphrase|pwd|token|secret|key)[\w-]{0,64})(=.*)?", re.I | re.S
)
DEEP = 3  # modules of the project that lead to a library


def begin(runner: Any) -> None:
    """Ask, before a first run, what takes a while to be told."""
    git.checkout(_folder_of(runner))


def describe(runner: Any, keep_diff: Callable[[str], int] | None = None) -> str:
    """Return, as JSON, the environment of this process for a runner.

    What differs from the commit is kept by `keep_diff`, and told by the number which that returns, unless it is None: a
    thousand jobs of one checkout have one.
    """
    found = {
        "entropic": _version(module_of("entropic"), "entropic"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": platform.node(),
        "argv": _shown(getattr(sys, "argv", [])[:MOST_WORDS]),
        "cwd": _folder(),
        "git": git.checkout(_folder_of(runner)).told(keep_diff),
        "packages": versions(runner),
        **({} if (here := job()) is None else {"job": here}),  # else it is the same environment as of before
        **({} if (limits := asked()) is None else {"job_asked": limits}),
    }
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _shown(words: list[Any]) -> list[str]:
    """Return a command line as everybody may see it."""
    found: list[str] = []
    hide = False
    for word in words:
        text = str(word)[:MOST_WORD]
        option = _SECRET.fullmatch(text)
        if hide and not text.startswith("-"):
            text = "***"
        elif option is not None and option[2]:
            text = f"{option[1]}=***"
        hide = option is not None and not option[2]
        found.append(without_passwords(text))
    return found


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _folder_of(runner: Any) -> str:
    """Return the folder in which the runner is written; the working one, if it is in no file of the user's."""
    found = unwrapped(runner)
    if is_ours(found):  # a command: the checkout of entropic says nothing of it
        return _folder() or os.sep
    code = getattr(found, "__code__", None)
    file = code.co_filename if isinstance(code, CodeType) else getattr(module_of(_home(runner)), "__file__", None)
    folder = os.path.dirname(os.path.abspath(file)) if isinstance(file, str) and os.path.isfile(file) else _folder()
    return folder or os.sep


def _home(runner: Any) -> str:
    """Return the module of a runner."""
    found = unwrapped(runner)
    name = getattr(found, "__module__", None)
    return name if isinstance(name, str) else type(found).__module__


# ---- libraries -----------------------------------------------------------------------------------------------------
def versions(runner: Any) -> dict[str, str | None]:
    """Return the versions of the libraries that the code of a runner imports, by package; None: it tells none."""
    home, found = _home(runner), dict[str, str | None]()
    for name in sorted(set(_libraries(runner, home))):
        found[name] = _version(module_of(name), name)
    return found


def _libraries(runner: Any, home: str) -> Iterator[str]:
    """Yield the packages that the modules of the project refer to, beginning with the runner's own."""
    held = getattr(unwrapped(runner), "__globals__", None)
    todo = [(held if isinstance(held, dict) else vars(module_of(home) or ModuleType(home)), 0)]
    seen = {id(todo[0][0])}
    while todo:
        names, depth = todo.pop()
        for name in list(_modules(names)):
            if is_own(name, home):
                inner: dict[str, Any] = vars(module_of(name) or ModuleType(name))
                if depth < DEEP and id(inner) not in seen:
                    seen.add(id(inner))
                    todo.append((inner, depth + 1))
            elif module_of(top(name)) is not None and not _is_pythons(top(name)):
                yield top(name)


def _is_pythons(name: str) -> bool:
    """Tell whether a package is Python's, entropic's, or not worth naming."""
    return name in sys.stdlib_module_names or name == "entropic" or name.startswith("_")


def _modules(names: dict[str, Any]) -> Iterator[str]:
    """Yield the names of modules that the names of a module lead to: what it has imported, or its functions import."""
    for value in list(names.values()):
        if isinstance(value, ModuleType):
            yield value.__name__
            continue
        with contextlib.suppress(Exception):  # of an object of anybody's
            where = value.__module__ if hasattr(value, "__qualname__") else type(value).__module__
            if isinstance(where, str):
                yield where
        code = getattr(value, "__code__", None) if hasattr(type(value), "__code__") else None
        if isinstance(code, CodeType):
            yield from (name for name in code.co_names if name in sys.modules)


def _version(module: ModuleType | None, name: str) -> str | None:
    found = getattr(module, "__version__", None)
    if isinstance(found, str):
        return found[:100]
    from importlib import metadata  # which takes longer than all else here

    with contextlib.suppress(Exception):  # whatever is wrong with an installation
        return metadata.version(name)[:100]
    return None
