"""The folders in which runs keep how far they are, so that the next attempt of the same key goes on from there.

Each belongs to one execution, whose name it bears, and a later one takes it over by a rename. So two executions never
write into the same folder by its path: the one that was superseded finds its own gone. What is to be removed is renamed
first, too, so that nobody goes on from half of it: `tests/contract/test_checkpoints.py`.
"""

import contextlib
import os
import re
import shutil
import stat
from typing import NamedTuple

from entropic.files.place import remove_tree
from entropic.files.staging import CHECKPOINTS, Staging
from entropic.files.subfolder import opened
from entropic.files.task import Task
from entropic.support import names

_OVER = ".over"
_NAME = re.compile(
    rf"(?P<key>{names.KEY})\.(?P<attempt>{names.ATTEMPT})\.(?P<worker>{names.WORKER})-[0-9]{{1,18}}(?P<over>\{_OVER})?"
)


class FolderGone(Exception):
    """The runner raised, and its folder was gone: another execution has it, unless the attempt still has its claim.

    Attributes
    ----------
    error
        What the runner raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Kept(NamedTuple):
    """A folder of checkpoints, as its name tells: of which attempt it is, and of which worker.

    `over` if it is about to be removed.
    """

    name: str
    key: str
    attempt: str
    worker: str
    over: bool


class Checkpoints:
    """The folder of one execution."""

    def __init__(self, task: Task, execution: str) -> None:
        self._name = f"{task.key}.{task.attempt}.{execution}"
        self.path = os.path.join(task.staging.root, CHECKPOINTS, self._name)
        with opened(task.staging.root, CHECKPOINTS, make=True) as folder:
            while task.resumes and (last := _most_advanced(folder, task)) is not None:
                if self._takes_over(folder, last):
                    break  # else somebody else has it: perhaps one that this one supersedes
            else:
                os.mkdir(self._name, dir_fd=folder)
            for one in _earlier(folder, task):
                if one.attempt != task.attempt:  # nobody will go on from these
                    _remove(task.staging, folder, one.name)

    def _takes_over(self, folder: int, earlier: Kept) -> bool:
        """Take over an earlier execution's folder; False if it is gone, or is none."""
        try:
            os.rename(earlier.name, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(os.stat(self._name, dir_fd=folder, follow_symlinks=False).st_mode):
            return True
        os.unlink(self._name, dir_fd=folder)  # a link that somebody has planted
        return False

    def is_gone(self) -> bool:
        """Tell whether another execution has this folder now, or its run is stored: or the runner has removed it."""
        return not os.path.lexists(self.path)

    def remove_if_empty(self) -> None:
        """Remove the folder of a run that was not finished, and has kept nothing."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


def _most_advanced(folder: int, task: Task) -> Kept | None:
    """Return what the newest attempt at the same row has kept: this one, or one that was claimed before."""
    found: list[tuple[str, int, Kept]] = []
    for one in _earlier(folder, task):
        if order(one.attempt)[0] == order(task.attempt)[0]:  # else of a row that was there, and was lost, or deleted
            with contextlib.suppress(FileNotFoundError):
                changed = os.stat(one.name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
                found.append((one.attempt, changed, one))
    return max(found)[-1] if found else None


def _earlier(folder: int, task: Task) -> list[Kept]:
    return [one for one in _of_key(folder, task.key) if not one.over and order(one.attempt) <= order(task.attempt)]


def _of_key(folder: int, key: str) -> list[Kept]:
    begin = f"{key}."
    return [kept for name in os.listdir(folder) if name.startswith(begin) and (kept := _kept(name)) is not None]


def _kept(name: str) -> Kept | None:
    found = _NAME.fullmatch(name)
    return found and Kept(name, found["key"], found["attempt"], found["worker"], found["over"] is not None)


def order(attempt: str) -> tuple[int, str]:
    """Return what attempts are compared by: their generation, and their order in that."""
    generation, _, rest = attempt.partition("-")
    return int(generation), rest[:8]  # that of a delete goes on


def discard(staging: Staging, key: str, attempt: str) -> None:
    """Remove what an attempt, and earlier ones, have kept: a row is there, or is not wanted any more."""
    with contextlib.suppress(OSError), opened(staging.root, CHECKPOINTS) as folder:
        for one in _of_key(folder, key):
            if order(one.attempt) <= order(attempt):
                _remove(staging, folder, one.name)


def listing(staging: Staging) -> list[Kept]:
    """Return all that is kept, by whomever."""
    with contextlib.suppress(OSError), opened(staging.root, CHECKPOINTS) as folder:
        return [kept for name in os.listdir(folder) if (kept := _kept(name)) is not None]
    return []


def path_of(staging: Staging, kept: Kept) -> str:
    """Return where a folder is."""
    return os.path.join(staging.root, CHECKPOINTS, kept.name)


def remove(staging: Staging, kept: Kept) -> bool:
    """Remove a folder, unless somebody has taken it over; tell whether it is gone."""
    with contextlib.suppress(OSError), opened(staging.root, CHECKPOINTS) as folder:
        _remove(staging, folder, kept.name)
        return not any(name in (kept.name, kept.name + _OVER) for name in os.listdir(folder))
    return not os.path.lexists(path_of(staging, kept))


def _remove(staging: Staging, folder: int, name: str) -> None:
    over = name if name.endswith(_OVER) else name + _OVER
    with contextlib.suppress(OSError):  # somebody else was first; or what is there is not one of our folders
        if over != name:
            os.rename(name, over, src_dir_fd=folder, dst_dir_fd=folder)
        if stat.S_ISDIR(os.stat(over, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(over, ignore_errors=True, dir_fd=folder)
            path = os.path.join(staging.root, CHECKPOINTS, over)
            if os.path.lexists(path):
                remove_tree(path)  # folders without write bits, too
        else:
            os.unlink(over, dir_fd=folder)
