"""Every error and warning of entropic, each named after what happened.

::

    EntropicError
    ├── ParameterError            (ValueError)         these params cannot be run; said before anything runs
    │   └── KeyCollisionError                          two different sets share one key
    ├── ModelError                (TypeError)          this class cannot describe the rows of a store
    ├── StoreError                                     this database or folder cannot hold a store
    │   ├── DatabaseBusy          (TimeoutError)       the database was locked, or not reached, for too long
    │   ├── FrozenError                                a result was changed since it was frozen
    │   ├── UnreadableError                            a later version wrote this, or entropic did not
    │   └── ReadOnlyError         (PermissionError)    the store is read-only, or cannot be written
    ├── PublishError                                   a finished run could not be recorded; its result is kept
    │   └── ForeignFileError      (FileExistsError)    a file that the store did not make is in the way
    ├── ResultMissingError        (FileNotFoundError)  a result file is not there
    ├── RegisterError             (ValueError)         the key already has another result
    ├── LoadError                 (ValueError)         a result cannot be read, or combined with others
    ├── SaveError                 (ValueError)         what a runner returned cannot be written as its result
    ├── LibraryMissingError       (ImportError)        it needs a library that is not installed
    ├── CommandError                                   the program of a run is missing, or has failed
    ├── RunFailed                                      a run failed elsewhere
    │   ├── RunTimeout            (TimeoutError)       a run took longer than `timeout`
    │   ├── RunOutOfMemory        (MemoryError)        a run used more than `memory`
    │   └── WorkerDied                                 the process of a run ended: a crash, a kill, os._exit
    ├── ClientLostError                                a pool or a cluster did not bring home some sets of a sweep
    ├── SlurmError                                     jobs cannot be submitted, were cancelled, or are out of reach
    ├── CycleError                                     a run needs its own result
    ├── StaleError                                 stored results are stale, and the store refuses them
    └── UnguardedError                                 a script that is only imported would run something

    EntropicWarning               (UserWarning)
    ├── ResultLostWarning                              a stored result file is gone or changed; the set runs again
    ├── RunsFailedWarning                              some sets of a sweep have no row
    ├── SharedGeneratorWarning                         a random generator draws the same numbers in every worker
    ├── NotBegunWarning                                sets were not begun by the deadline, or still run elsewhere
    ├── FellBackWarning                                what a pool or a cluster did not run is run on this machine
    ├── ErrorBarWarning                                an outcome is known less well than `Replicates` ask for
    ├── NamesakeWarning                                studies of two scripts have one table
    ├── OutcomeWarning                                 an outcome of a run has no value, or may not be written
    ├── StaleWarning                                   stored results are stale: different code, or changed inputs
    ├── SpellingWarning                              a set runs whose values are stored under another key, as 1 for 1.0
    ├── UnreadableWarning                            rows are left out of a list, since the model cannot read them
    ├── NetworkFileSystemWarning                       a SQLite database on a network file system
    └── ReadOnlyWarning                                a store cannot be written, and was opened read-only
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator

from entropic.support.failure import PACKAGE
from entropic.support.show import stderr_is_closed, visible


def warn(text: str, category: "type[EntropicWarning]") -> None:
    """Warn at the user's line, not at one of ours. A run does not fail because nobody can see the warning.

    Python shows warnings on stderr, and raises where a program has closed that.
    """
    try:
        warnings.warn(text, category, stacklevel=_levels_to_user())
    except ValueError:
        if not stderr_is_closed():
            raise


def _levels_to_user() -> int:
    """Return the `stacklevel` with which a warning of the caller points to the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def hide_ours(error: BaseException) -> BaseException:
    """Leave out of a traceback what entropic did between the user's call and the user's runner.

    Only for what a user can do something about: an error that comes of our own code is shown whole.
    """
    notes = getattr(error, "__notes__", ())
    is_runners = isinstance(notes, list) and any(str(one).startswith("entropic: raised ") for one in notes)
    if not is_runners and not isinstance(error, EntropicError | KeyboardInterrupt):
        return error
    begin = error.__traceback__
    while begin is not None and begin.tb_frame.f_code.co_name != "execute":
        begin = begin.tb_next
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith(PACKAGE):
        begin = begin.tb_next
    return error.with_traceback(begin)


def note(error: BaseException, text: str) -> None:
    """Add a note to an exception, if it takes any: an exception may be frozen."""
    with contextlib.suppress(Exception):
        error.add_note(visible(text))


def reword(error: BaseException, text: str) -> None:
    """Give an exception another message."""
    error.args = (text,)
    if isinstance(error, ImportError):
        error.msg = text


@contextlib.contextmanager
def noting(error: BaseException) -> Iterator[None]:
    """Add what goes wrong on the way out to the error that comes out."""
    try:
        yield
    except Exception as second:  # noqa: BLE001  (the first error is the one to see)
        note(error, f"entropic: while this ended, another error occurred: {second}")


class EntropicError(Exception):
    """The root of all errors that entropic raises itself; what a runner raises is passed on unchanged."""

    def __str__(self) -> str:
        return visible(super().__str__())  # it names ids, params and files


class ParameterError(EntropicError, ValueError):
    """These params cannot be run or looked up; nothing was started."""


class KeyCollisionError(ParameterError):
    """Two different parameter sets share one key; neither is served for the other."""


class ModelError(EntropicError, TypeError):
    """This class cannot describe the rows of a store."""


class StoreError(EntropicError):
    """This database, or this results folder, cannot hold the store."""


class DatabaseBusy(StoreError, TimeoutError):
    """The database was locked by another program, or could not be reached, for longer than this store waits."""


class UnreadableError(StoreError):
    """The record of a key was written by a later version of entropic, or not by entropic; nothing was done."""


class ReadOnlyError(StoreError, PermissionError):
    """The store is read-only, as asked or because it cannot be written; nothing ran and nothing changed."""


class PublishError(EntropicError):
    """A finished run could not be recorded; its result is kept, and the next call for it tries again."""


class ForeignFileError(PublishError, FileExistsError):
    """A file that the store did not make is where a result must go; it is left alone, and the result is kept."""


class ResultMissingError(EntropicError, FileNotFoundError):
    """A result file is missing: the runner did not write it, it was removed, or there is no such file to register."""


class RegisterError(EntropicError, ValueError):
    """The key already has another result; nothing was changed."""


class LoadError(EntropicError, ValueError):
    """A result cannot be read as its suffix says, or cannot be combined with the results of other runs."""


class SaveError(EntropicError, ValueError):
    """What a runner returned cannot be written as its result; the message names the suffixes that can hold it.

    Attributes
    ----------
    kept : str or None
        Where it lies all the same: a file, or a folder with its parts, for `store.register(params, error.kept)`.
    """

    kept: str | None = None


class LibraryMissingError(EntropicError, ImportError):
    """A library is needed that is not installed; the message names the extra to install.

    Attributes
    ----------
    kept : str or None
        Where that lies which a run had returned by then, and the library was to write; as `SaveError.kept`.
    """

    kept: str | None = None


class CommandError(EntropicError):
    """The program that a run is made of is missing, cannot be started, or ended with an exit code other than 0.

    Attributes
    ----------
    code : int or None
        The exit code; the number of a signal, negative, if one killed it; None if it did not begin.
    """

    code: int | None = None


class RunFailed(EntropicError):
    """A run failed elsewhere: an attempt that this call waited for, or one in a worker; a later call tries again.

    Attributes
    ----------
    failure : dict
        What was recorded: `type`, `message`, `traceback`, `host`, `pid`, `started_at`, `elapsed_seconds`.
    """

    def __init__(self, message: str, failure: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.failure = failure or {}


class RunTimeout(RunFailed, TimeoutError):
    """A run took longer than the sweep's `timeout`; its process was killed."""


class RunOutOfMemory(RunFailed, MemoryError):
    """A run used more than the sweep's `memory`, with all that it had started; its process was killed."""


class WorkerDied(RunFailed):
    """The process of a run ended before the run did: it crashed, was killed, or called `os._exit`."""


class ClientLostError(EntropicError):
    """A pool or a Dask client did not bring home some sets, or takes none, and `fallback="raise"` runs them nowhere.

    What is finished is stored, and the same call goes on with the rest.
    """


class SlurmError(EntropicError):
    """Slurm runs no jobs of this sweep: they cannot be submitted, were cancelled, end at once, or are out of reach.

    No set runs in this process for that. What is finished is stored, and the same call goes on with the rest.
    """


class CycleError(EntropicError):
    """A run needs, directly or through others, its own result."""


class FrozenError(StoreError):
    """A result was changed since it was frozen."""


class StaleError(EntropicError):
    """Stored results are stale (of different code, or of inputs that changed since) and refused; nothing ran."""


class UnguardedError(EntropicError):
    """A script is imported only for its store or its runner, and would run something: that needs a main guard."""


class EntropicWarning(UserWarning):
    """The root of all warnings of entropic."""

    def __str__(self) -> str:
        return visible(super().__str__())


class ResultLostWarning(EntropicWarning):
    """A stored result file is gone or has another size than recorded; its set runs again."""


class RunsFailedWarning(EntropicWarning):
    """Some sets of a sweep failed and have no row; `Store.failures` says why."""


class NotBegunWarning(EntropicWarning):
    """Some sets of a sweep have no row by its deadline: they could not have ended in time, or still run elsewhere."""


class SharedGeneratorWarning(EntropicWarning):
    """A runner uses a random generator that begins in the same state in every worker, and repeats there."""


class FellBackWarning(EntropicWarning):
    """What a pool or a cluster did not bring home is run on this machine, and may take longer there."""


class NamesakeWarning(EntropicWarning):
    """Studies of two scripts that are different functions have one table: each gets the results of the other."""


class OutcomeWarning(EntropicWarning):
    """An outcome column of a run has no value, or its custom data is not JSON; the run is stored all the same.

    Also, before a first run: what it returns cannot be written, since the library of the suffix is not installed.
    """


class ErrorBarWarning(EntropicWarning):
    """The mean of an outcome over the replicates of a set is known less well than was asked for."""


class SpellingWarning(EntropicWarning):
    """A set runs whose values are all stored under another key: 1 for 1.0, or a default given that was left out."""


class StaleWarning(EntropicWarning):
    """Stored results are stale: made by different code, or from inputs that changed since. The message shows both."""


class UnreadableWarning(EntropicWarning):
    """Rows are left out of a list, since they hold what the model cannot read."""


class NetworkFileSystemWarning(EntropicWarning):
    """A SQLite database is on a network file system, where its locks cannot be trusted."""


class ReadOnlyWarning(EntropicWarning):
    """The database or the results folder cannot be written, so the store was opened read-only."""
