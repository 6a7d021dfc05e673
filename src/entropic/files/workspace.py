"""The folders in which runners write: made once, and used again by the next run of this process."""

import atexit
import os
from collections.abc import Callable

from entropic.errors import ResultLostWarning, StoreError, warn
from entropic.files.place import remove_tree
from entropic.files.reserve import Reserve
from entropic.files.staging import Staging
from entropic.support import process
from entropic.support.signals import at_death


class Workspace:
    """A folder in which one execution at a time writes; used again only while it is empty."""

    def __init__(self, staging: Staging) -> None:
        self.worker = process.Call()
        self.worker.under_way.acquire()
        self.path = staging.inside(f"{self.worker.name}.work")
        self.probe = f"{self.path}{os.sep}."
        """What is there as long as it is a folder: asked sooner than `isdir`, since nothing is told of it."""
        self._count = 0
        staging.check_root()
        os.makedirs(self.path)  # with all above it, should somebody have removed that
        try:
            self.reserve = Reserve(staging, self.worker.name)
        except OSError:
            remove_tree(self.path)
            self.worker.under_way.release()
            raise

    def close(self) -> None:
        """Remove it with all that is in it."""
        remove_tree(self.path)
        self.reserve.close()
        if self.worker.under_way.locked():
            self.worker.under_way.release()

    def execution(self) -> str:
        """Return the name of the next execution in it, which no other ever has."""
        self._count += 1
        return f"{self.worker.name}-{self._count}"


_free: dict[str, list[Workspace]] = {}  # by staging folder


def take(staging: Staging) -> Workspace:
    """Return an empty workspace that nobody uses; give it back by `free` or `Workspace.close`.

    One that somebody has removed, with all that lay around it, is told here, before anything is computed.
    """
    try:
        found = _free[staging.root].pop()  # one step, so that no two threads get the same
    except (KeyError, IndexError):
        return _new_workspace(staging)
    if os.access(found.probe, os.F_OK):
        return found
    found.close()
    forget(staging)
    if not os.path.isdir(staging.root):
        warn(
            f"{staging.root} was removed while this store was open, and is made anew; if results went with it, they "
            "run again when they are asked for. (Was a disk unmounted? Then stop here, and mount it)",
            ResultLostWarning,
        )
    return _new_workspace(staging)


def prepare(staging: Staging, check: Callable[[], object]) -> None:
    """Make sure that this process has a workspace before it claims anything.

    If it dies, its workspace is what shows the next one that there may be claims to look for. `check` is called before
    one is made, and raises where the whole store has gone: a folder made in its place would be in the way of whoever
    puts it back.
    """
    try:
        if os.access(_free[staging.root][-1].probe, os.F_OK):
            return
    except (KeyError, IndexError):  # another thread has it
        pass
    check()
    free(staging, take(staging))


def free(staging: Staging, space: Workspace) -> None:
    """Keep an empty workspace for the next execution."""
    _free.setdefault(staging.root, []).append(space)


def forget(staging: Staging) -> None:
    """Keep none of this process's workspaces: somebody has removed the folder."""
    for space in _free.pop(staging.root, []):
        space.close()


def _new_workspace(staging: Staging) -> Workspace:
    try:
        return Workspace(staging)
    except OSError as error:
        raise refused(staging, error) from error


def refused(staging: Staging, error: OSError) -> StoreError:
    """Return what is raised where nothing can be written."""
    told = error.filename
    where = told if isinstance(told, str) and told.startswith(staging.root) else staging.root
    return StoreError(f"cannot write in {where!r}: {error.strerror}; nothing was run")


def retire() -> None:
    """Remove the workspaces that this process keeps."""
    for spaces in _free.values():
        while spaces:
            spaces.pop().close()


def _forked() -> None:
    _free.clear()  # the parent's


atexit.register(retire)
at_death(retire)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
