"""How a runner travels: what can be imported where it goes by name, the rest (scripts, notebooks, closures) by value.

A script's runner may ask a store of the same script, and so refer to its model, which goes by value, too (`by_value`).
"""

import functools
import io
import linecache
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from entropic.errors import ParameterError, SharedGeneratorWarning, UnguardedError, warn
from entropic.executors import generators, main_module, worker_code
from entropic.executors.attempt import Runner
from entropic.executors.worker_code import WorkerCode
from entropic.files.task import Task
from entropic.params.by_value import ModelPickler, is_wrapped_default
from entropic.provenance.loaded import SentCode
from entropic.support.importing import importing, is_being_imported
from entropic.support.passwords import withheld

Setup = Callable[[], object]
NOWHERE = "<dynamic-code>"  # what cloudpickle says of a file


class Sending(NamedTuple):
    """A runner that is to travel.

    Attributes
    ----------
    setup
        Is called once where it arrives, before it is used.
    code
        Tells which code it is here.
    """

    runner: Runner
    setup: Setup | None = None
    code: Callable[[], SentCode] | None = None


class Arrived(NamedTuple):
    """A runner that has travelled, and its code where it is now, if that is known."""

    runner: Runner
    code: WorkerCode | None


def pickled(sending: Sending, places: set[str] | None = None) -> bytes:
    """Return a runner as it travels; warn of random generators that would come to every worker in one state.

    It may refer to a store: passwords do not travel, and `places` gets the databases that lack theirs.

    Raises
    ------
    ParameterError
        If it cannot travel.
    UnguardedError
        If a worker would import what this process is importing just now, and so begin this sweep again.
    """
    runner, setup, code = sending
    try:
        with withheld(set() if places is None else places):
            shared: dict[int, str] = {}
            data = dumped((runner, setup, None if code is None else code()), shared)
    except UnguardedError:
        raise
    except Exception as error:
        raise ParameterError(
            f"the runner {runner!r:.80} cannot be sent to workers: {error}; open files, locks and connections inside "
            "the runner, or sweep without workers"
        ) from error
    if shared:
        warn(
            f"the runner {runner!r:.80} uses the random generator {', '.join(sorted(set(shared.values())))}, which "
            "begins in one and the same state in each worker, so that runs draw the same numbers there; make one "
            "inside of the runner, seeded by its params",
            SharedGeneratorWarning,
        )
    return data


def packed(bundle: list[Task]) -> bytes:
    """Return tasks as they travel: as the runner does, since params may be of classes of the script.

    By the pickle of a pool they would be of classes that the pool has imported, and the runner of those of the script:
    `test_params_of_classes_of_the_script_are_of_those_that_the_runner_knows`.
    """
    return dumped(bundle)


def unpacked(data: bytes) -> list[Task]:
    """Return tasks that have travelled."""
    with importing("a worker"):
        bundle: list[Task] = pickle.loads(data)
    return bundle


def dumped(obj: object, shared: dict[int, str] | None = None) -> bytes:
    """Pickle something; `shared` gets the random generators in it, and leaves the global ones where they are."""
    file = io.BytesIO()
    _Pickler(file, shared).dump(obj)
    return file.getvalue()


@functools.lru_cache(maxsize=4)
def unpickled(data: bytes) -> Arrived:
    """Return a runner that has travelled; unpickled, and what goes with it called, once per process."""
    with importing("a worker"):
        arrived: tuple[Any, ...] = pickle.loads(data)
    runner: Runner
    runner, setup, *code = arrived  # from an older entropic comes no code
    if setup is not None:
        setup()
    return Arrived(runner, worker_code.compare(code[0]) if code else None)


class _Pickler(ModelPickler):
    """One that takes models apart, and also says of code where it was written."""

    def __init__(self, file: io.BytesIO, shared: dict[int, str] | None) -> None:
        super().__init__(file)
        self._shared = shared
        self._sources: dict[str, str] = {}
        self._globals: list[dict[str, Any]] = []

    def reducer_override(self, obj: Any) -> object:
        if isinstance(obj, types.CodeType):
            return self._with_source(obj)
        if self._shared is not None and generators.is_generator(obj):
            if (library := generators.global_one(obj)) is not None:
                return generators.own_of, (library,)
            named = (name for known in self._globals for name, value in known.items() if value is obj)
            self._shared[id(obj)] = next(named, type(obj).__name__)
        reduced = super().reducer_override(obj)
        if is_wrapped_default(obj):
            return reduced
        if reduced is NotImplemented and isinstance(obj, type | types.FunctionType):
            _check_has_come_to_its_end(obj.__module__)
        if self._shared is not None and isinstance(obj, types.FunctionType):
            self._globals.append(obj.__globals__)
            if reduced is NotImplemented:
                self._shared.update({id(name): name for name in generators.reached(obj)})
        return self._kept(obj, reduced)

    def _kept(self, obj: object, reduced: object) -> object:
        """Have what is of the main module be found by its name where it arrives."""
        if not isinstance(reduced, tuple) or len(reduced) < 6 or obj.__module__ != main_module.MAIN:
            return reduced
        return *reduced[:5], functools.partial(main_module.keep, reduced[5])

    def _with_source(self, code: types.CodeType) -> object:
        """Return how code is pickled: with its file, and its text, which a worker may not see, or see otherwise."""
        make, parts = self.dispatch_table[types.CodeType](code)
        name = code.co_filename
        if self._shared is None:  # of a bundle: what raises is the runner's
            self._sources[name] = ""
        elif name not in self._sources:
            self._sources[name] = "".join(linecache.getlines(name))
        return _written_in, (
            make,
            tuple(name if part == NOWHERE else part for part in parts),
            name,
            self._sources[name],
        )


def _written_in(make: Any, parts: tuple[Any, ...], name: str, source: str) -> types.CodeType:
    """Make code that has travelled; keep its text for tracebacks, also where no such file is."""
    known = linecache.cache.get(name)
    if source and (known is None or len(known) == 1 or known[1] is None):  # else it was read from its file
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    made: types.CodeType = make(*parts)
    return made


def stand_in() -> None:
    """Let what has arrived of a script's main module be pickled in this process, as it is at home."""
    main_module.stand_in(lambda obj: (_arrived_in_child, (dumped(obj),)))


def _arrived_in_child(data: bytes) -> object:
    """Return what a run has sent to a process that it has started, and which may send it back."""
    stand_in()
    return pickle.loads(data)


def _check_has_come_to_its_end(name: str) -> None:
    """Refuse what a worker would find by importing a module whose code goes on in this process."""
    if is_being_imported(sys.modules.get(name)):
        raise UnguardedError(
            f"the workers of this sweep would import {name}, which starts the sweep: put what {name} runs under "
            "`if __name__ == '__main__':`, or run it as a script. Nothing was run"
        )
