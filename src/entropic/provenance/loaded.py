"""The code that another process has loaded: what travels by its name is imported there, and may be other code.

A module may have been edited since one of the two has imported it, or this process may have set something in it. So
what is sent says what was loaded here, and who receives it compares; results of other code get a number of their own
(`test_a_worker_that_starts_after_an_edit_says_that_it_ran_other_code`).
"""

import sys
from collections import Counter
from collections.abc import Set
from typing import NamedTuple

from entropic.provenance import source, texts
from entropic.provenance.code import Code, number_of_code, parts_of_module
from entropic.provenance.modules import find_file, loaded_file
from entropic.provenance.part import Part
from entropic.provenance.project import lies_outside_libraries, module_of


class LoadedModule(NamedTuple):
    """What one module of the project is in the process that sends.

    Attributes
    ----------
    names
        What is used of it; an empty one is all of it, by an import within a function.
    runner
        The name in it that is that of the runner.
    is_outside
        Whether it lies outside of the folders of libraries: it counts as the user's own.
    parts
        The names and digests of what these names are.
    """

    name: str
    names: tuple[str, ...]
    runner: str | None
    is_outside: bool
    parts: frozenset[tuple[str, str]]


class SentCode(NamedTuple):
    """The code of a store, as it is told to another process: its number, its parts, and what is imported there.

    Attributes
    ----------
    is_watched
        Whether the number tells of files, too, which may change while a sweep goes on.
    """

    number: int | None
    parts: tuple[Part, ...] = ()
    modules: tuple[LoadedModule, ...] = ()
    is_watched: bool = False


def loaded_modules(code: Code) -> tuple[LoadedModule, ...]:
    """Return the modules that some code leads to, and that another process would import, as they were loaded here."""
    names: dict[str, set[str]] = {}
    for module, name in code.reached:
        if _is_imported_elsewhere(module):
            names.setdefault(module, set()).add(name)
    found = []
    for module in sorted(names):
        runner = code.runner[1] if code.runner is not None and code.runner[0] == module else None
        with texts.as_read(code.texts):  # not as an edit has left them since
            parts = parts_of_module(module, sorted(names[module]), runner)
        digests = frozenset((part.name, part.digest) for part in parts)
        found.append(LoadedModule(module, tuple(sorted(names[module])), runner, _lies_outside(module), digests))
    return tuple(found)


def code_here(sent: SentCode) -> SentCode:
    """Return the code that runs in this process, given what another one has sent: what that said, if it is the same.

    Nothing is compared where the project is laid out in another way: an installed copy has no source, or counts as a
    library.
    """
    there = [one for one in sent.modules if one.name in sys.modules or ("" in one.names and _file_of(one.name))]
    if sent.number is None or any(not _is_comparable(one) for one in there):
        return sent
    before = frozenset[tuple[str, str]]().union(*(one.parts for one in there))
    gone, came = set(before), set[Part]()
    for one in there:
        parts = parts_of_module(one.name, one.names, one.runner)
        gone -= {(part.name, part.digest) for part in parts}
        if others := {part.name for part in parts if (part.name, part.digest) not in before}:
            exact = parts_of_module(one.name, one.names, one.runner, by_value=True)
            came.update(part for part in exact if part.name in others)
    found = _with_changes(sent.parts, gone, came)
    return sent if found == sent.parts else sent._replace(number=number_of_code(found), parts=found)


def _with_changes(sent: tuple[Part, ...], gone: Set[tuple[str, str]], came: Set[Part]) -> tuple[Part, ...]:
    """Return the parts of some code, with those that are other ones here.

    A value that was computed is another part there than here: it is known by its name. What lies so many modules away
    that it does not count (`reach.DEEP`) was not among them, and does not come in.
    """
    names, changed = Counter(part.name for part in sent), {name for name, _ in gone}
    known = {(part.name, part.digest) for part in sent}
    by_name = {name for name, digest in gone if (name, digest) not in known and names[name] == 1}
    kept = [part for part in sent if (part.name, part.digest) not in gone and part.name not in by_name]
    return tuple(sorted({*kept, *(part for part in came if part.name in names or part.name not in changed)}))


def _is_imported_elsewhere(module: str) -> bool:
    """Tell whether another process imports a module: a script and a notebook go to it by value."""
    if module in ("__main__", "__mp_main__") or _file_of(module) is None:
        return False
    cloudpickle = sys.modules.get("cloudpickle")
    by_value: set[str] = cloudpickle.list_registry_pickle_by_value() if cloudpickle is not None else set()
    return not any(module == one or module.startswith(f"{one}.") for one in by_value)


def _file_of(module: str) -> str | None:
    """Return the file of a module, which may be imported only when a function runs."""
    return loaded_file(module) if module_of(module) is not None else find_file(module)


def _lies_outside(module: str) -> bool:
    file = _file_of(module)
    return file is not None and lies_outside_libraries(file)


def _is_comparable(one: LoadedModule) -> bool:
    file = _file_of(one.name)
    return file is not None and source.of_module(file) is not None and _lies_outside(one.name) == one.is_outside
