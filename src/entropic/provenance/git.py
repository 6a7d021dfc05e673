"""What git says of a folder: the commit, read from its files, and whether anything differs from it, asked in the back.

`git status` may take long in a large repository, so it is asked when a process begins its first run, and its answer is
taken when that run has ended.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from entropic.support.failure import storable

SECONDS = 1.0  # that the first run of a process may be held up by it
MOST_DIFF = 1_000_000  # characters of a diff that are kept
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GIT = ("git", "-c", "core.fsmonitor=false", "--no-optional-locks")


class Checkout:
    """The checkout that a folder belongs to, asked as it is made."""

    def __init__(self, folder: str) -> None:
        self.root = _root(folder)
        self.commit = None if self.root is None else _commit(self.root)
        self._asked: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()
        self._dirty: bool | None = None
        if self.root is not None:
            with contextlib.suppress(OSError, ValueError):  # there is no git
                self._asked = _ask(self.root, "status", "--porcelain", "--untracked-files=no")

    def told(self, keep: Callable[[str], int] | None = None) -> dict[str, Any] | None:
        """Return the root, the commit, and whether tracked files differ from it (None: not known).

        Parameters
        ----------
        keep
            Keeps how they differ, and returns its number, which is told, too; None: that is not asked for.
        """
        if self.root is None:
            return None
        found: dict[str, Any] = {"root": self.root, "commit": self.commit, "dirty": self._is_dirty()}
        if keep is not None and found["dirty"] is not False:
            text = self._diff()
            found["diff"] = None if text is None else keep(text)
        return found

    def drop(self) -> None:
        """Have no answer from git, and leave nothing of it behind."""
        asked, self._asked = self._asked, None
        if asked is not None:
            _end(asked)

    def _is_dirty(self) -> bool | None:
        asked, self._asked = self._asked, None
        if asked is None:
            return self._dirty
        if os.getpid() != self._pid:  # a child was forked, to whom it does not answer
            _forget(asked)
            return None
        text = _answer(asked, SECONDS)
        self._dirty = None if text is None else bool(text.strip())
        return self._dirty

    def _diff(self) -> str | None:
        assert self.root is not None
        with contextlib.suppress(OSError, ValueError):
            text = _answer(_ask(self.root, "diff", "--no-ext-diff", "--no-textconv", "HEAD"), 10 * SECONDS)
            return None if text is None else storable(text.decode(errors="replace"))[:MOST_DIFF]
        return None


def _ask(root: str, *words: str) -> "subprocess.Popen[bytes]":
    nothing = subprocess.DEVNULL
    return subprocess.Popen([*_GIT, "-C", root, *words], stdin=nothing, stdout=subprocess.PIPE, stderr=nothing)


def _answer(asked: "subprocess.Popen[bytes]", seconds: float) -> bytes | None:
    """Return what git has said, if all is well and it says so in time."""
    try:
        text, _ = asked.communicate(timeout=seconds)
    except (subprocess.TimeoutExpired, OSError, ValueError):
        _end(asked)
        return None
    except BaseException:  # Ctrl-C
        asked.kill()
        _forget(asked)
        raise
    return text if asked.returncode == 0 else None


def _end(asked: "subprocess.Popen[bytes]") -> None:
    asked.kill()
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
        asked.wait(SECONDS)
    _forget(asked)


def _forget(asked: "subprocess.Popen[bytes]") -> None:
    """Ask git no more; Python warns of a program that nobody has waited for, and this one needs no waiting."""
    if asked.stdout is not None:
        asked.stdout.close()
    if asked.returncode is None:
        asked.returncode = -signal.SIGKILL


def _root(folder: str) -> str | None:
    """Return the folder, or the next one above it, that has a `.git`."""
    folder = os.path.abspath(folder)
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _commit(root: str) -> str | None:
    """Return the commit that is checked out, as git's files name it."""
    git = os.path.join(root, ".git")
    if os.path.isfile(git):  # of a worktree, or a submodule
        git = os.path.join(root, _first_line(git).removeprefix("gitdir:").strip())
    head = _first_line(os.path.join(git, "HEAD"))
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else None
    name = head.removeprefix("ref:").strip()
    common = os.path.normpath(os.path.join(git, _first_line(os.path.join(git, "commondir")) or "."))
    for place in (git, common):
        if _COMMIT.fullmatch(found := _first_line(os.path.join(place, name))):
            return found
    with contextlib.suppress(OSError), open(os.path.join(common, "packed-refs"), encoding="utf-8") as file:
        for line in file:
            commit, _, of = line.strip().partition(" ")
            if of == name and _COMMIT.fullmatch(commit):
                return commit
    return None


def _first_line(path: str) -> str:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return file.readline().strip()
    return ""


_checkouts: dict[str, Checkout] = {}


def checkout(folder: str) -> Checkout:
    """Return the checkout of a folder, looked at once per process."""
    found = _checkouts.get(folder)
    if found is None:
        made = Checkout(folder)
        found = _checkouts.setdefault(folder, made)
        if found is not made:  # another thread was first
            made.drop()
    return found
