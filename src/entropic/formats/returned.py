"""What becomes of what a runner returns: its result, if it wrote none itself, and the values of outcome columns."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from entropic.errors import LibraryMissingError, OutcomeWarning, ResultMissingError, SaveError, reword, warn
from entropic.formats.fallback import Kept, keep
from entropic.formats.format import Saver
from entropic.formats.save import advise, is_saved, save
from entropic.formats.suffixes import find_own
from entropic.params.outcomes import Outcome, Outcomes, gather

MOST_WRAPPERS = 10  # of a runner, such as `functools.partial`, that are looked through
_checked: set[str] = set()  # suffixes of which nothing more is to be said in this process


@dataclass(frozen=True, slots=True, repr=False, weakref_slot=True)
class Returning:
    """A runner with what is done after it, where it runs; called as the runner is.

    Attributes
    ----------
    runner
        The user's.
    outcomes
        The columns to be filled.
    saver
        The user's: called as `saver(value, path)` before the savers that entropic has.
    read
        Reads a result, for columns that are computed from it.
    git_diff
        Whether what differs from the commit is recorded, where it runs.
    """

    runner: Callable[[dict[str, Any]], Any]
    outcomes: tuple[Outcome, ...]
    saver: Saver | None
    read: Callable[[str], Any]
    git_diff: bool = False

    def __repr__(self) -> str:
        return repr(self.runner)

    def __call__(self, params: dict[str, Any]) -> Outcomes | None:
        """Run, save what is returned, and return what the outcome columns get; None if there are no such columns.

        Raises
        ------
        SaveError, LibraryMissingError
            If the result cannot hold what was returned. That lies beside it then: `kept` is its name.
        """
        path: str = params["result_file"]  # now, since params are the runner's
        returned = self.runner(params)
        if returned is not None and not os.path.lexists(path):
            try:
                self._save(returned, path)
            except (SaveError, LibraryMissingError) as error:
                _keep(returned, path, error)
                raise
        return gather(self.outcomes, returned, lambda: self._load(path)) if self.outcomes else None

    def check(self, suffix: str) -> None:
        """Look, before the first run of a process, whether what it returns can be written: by a library that is there.

        A runner that writes its own file needs none, so what does not surely need it is only warned.

        Raises
        ------
        LibraryMissingError
            If the runner says, by `_always_returns`, that it does so.
        CommandError
            If the runner is a program that is missing.
        """
        if (look := getattr(self.runner, "_before_runs", None)) is not None:
            look(suffix)
        if suffix in _checked or self.saver is not None:
            return
        needed = _needed(suffix)
        if needed is None or importlib.util.find_spec(needed[0]) is not None:
            _checked.add(suffix)
            return
        module, extra, ending = needed
        text = (
            f"results that are returned are written as {ending} by {module}, which is not installed: pip install "
            f"'entropic[{extra}]', or take another file_suffix, such as '.json'"
        )
        if getattr(self.runner, "_always_returns", False) is True:
            raise LibraryMissingError(f"{text}. Nothing was run", name=module)
        if not _names_its_file(self.runner):
            _checked.add(suffix)
            warn(text, OutcomeWarning)

    def _save(self, returned: object, path: str) -> None:
        if self.outcomes and self.saver is None and not is_saved(path):
            save(returned, path, suffix=".json")  # a study of numbers needs no format
        else:
            save(returned, path, self.saver)

    def _load(self, path: str) -> Any:
        if not os.path.lexists(path):
            raise ResultMissingError("the runner wrote no result")
        return self.read(path)


def _needed(suffix: str) -> tuple[str, str, str] | None:
    """Return the module that writes files with a suffix, its extra, and what it writes; None if none is needed."""
    ending, format_ = find_own(suffix) or ("", None)
    if format_ is None or format_.save is None or not format_.libraries:
        return None
    return format_.libraries[0], format_.extra, ending


def _names_its_file(runner: object) -> bool:
    """Tell whether a runner may write its own file: its code names `result_file`, or cannot be seen."""
    for _ in range(MOST_WRAPPERS):
        runner = getattr(runner, "func", None) or getattr(runner, "__wrapped__", None) or runner
    if hasattr(runner, "_before_runs"):  # a command, whose program writes
        return True
    code = getattr(runner, "__code__", None) or getattr(type(runner).__dict__.get("__call__"), "__code__", None)
    return code is None or _has(code, "result_file")


def _has(code: CodeType, name: str) -> bool:
    return any(name == one or (isinstance(one, CodeType) and _has(one, name)) for one in code.co_consts)


def _keep(returned: object, path: str, error: SaveError | LibraryMissingError) -> None:
    """Keep beside a result what it could not hold; `{place}` in the message is where, which is known later."""
    try:
        with contextlib.suppress(OSError):  # what the suffix has begun
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        kept = keep(returned, os.path.dirname(path))
    except Exception as second:  # noqa: BLE001  (the first error is the one to see)
        reword(error, f"{error}. It could not be kept either: {type(second).__qualname__}: {second}")
        return
    error.kept = kept.name
    advice = advise(returned, path, kept.refused)  # now that it is known
    text = str(error).replace(advise(returned, path), advice)
    reword(error, text.replace("{", "{{").replace("}", "}}") + ". " + _where(kept))


def _where(kept: Kept) -> str:
    if kept.lost == [""]:
        return "No format here holds it: its text (its repr, which is not the value) is kept in {place}"
    how = "to record it, call store.register(params, {place!r})"
    if "." in kept.name:
        return f"What the run returned is kept: {how}"
    lost = ", ".join(kept.lost[:5]).replace("{", "{{").replace("}", "}}")
    less = f", but for {lost}, of which only the text is kept" if kept.lost else ""
    return f"What the run returned is kept in parts, as contents.json there says{less}: {how}"
