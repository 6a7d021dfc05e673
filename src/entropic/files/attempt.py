"""One execution of an attempt: start, execute, lift, create, write.

This is all that a worker does, wherever it is: it needs the results folder, not the database.
"""

import atexit
import contextlib
import contextvars
import copy
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from entropic.errors import ParameterError, ResultLostWarning, ResultMissingError, StoreError, levels_to_user, note
from entropic.files import sidecar as sidecars
from entropic.files.durable import is_cheap, sync_content, sync_names
from entropic.files.extent import Extent, extent
from entropic.files.place import move, remove, remove_tree
from entropic.files.reserve import FULL, Reserve
from entropic.files.sidecar import Sidecar
from entropic.files.staging import Staging
from entropic.params.fields import as_custom_data
from entropic.params.model import now_as_text
from entropic.params.outcomes import NOT_RECORDED, Outcomes
from entropic.support import process
from entropic.support.compact_json import compact
from entropic.support.show import visible
from entropic.support.signals import at_death

Runner = Callable[[dict[str, object]], object]
RETURNED = "entropic: the runner had returned; recording its result failed, and the result was discarded"
LONG = 1.0  # seconds from which on a run may wait for its data to be on the disk, `fsync` or not
MOST_ELSE = 16 * 1024  # bytes of a sidecar beside the custom data


class Inside(NamedTuple):
    """A run that this thread is inside of."""

    staging: str
    model: str
    id: str
    attempt: str


# Outermost first; a run that asks for one of them is a cycle.
inside: contextvars.ContextVar[tuple[Inside, ...]] = contextvars.ContextVar("inside", default=())


@dataclass(slots=True)
class Task:
    """What one attempt needs to be executed anywhere: plain data, without the runner."""

    staging: Staging
    model: str
    id: str
    key: str
    attempt: str
    owner: str
    path: str  # the place of its result, below `results_dir`; the name of the file while it is written, too
    published: str | None  # the attempt whose result it will replace
    extra: bool | None  # whether that one has extra files
    own_size: int | None  # of that one, as it is recorded; None too if the row's file was registered
    params: dict[str, object]
    custom_data: dict[str, object]
    values: dict[str, object]  # the user's columns, as the driver stores them
    fsync: bool
    inside: tuple[Inside, ...] = ()  # the runs around it


class Torn(Exception):
    """Another execution of the same attempt was first, and its sidecar is not complete."""


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


def workspace(staging: Staging) -> Workspace:
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
        warnings.warn(
            f"{staging.root} was removed while this store was open, and is made anew; if results went with it, they "
            "run again when they are asked for. (Was a disk unmounted? Then stop here, and mount it)",
            ResultLostWarning,
            stacklevel=levels_to_user(),
        )
    return _new_workspace(staging)


def prepare(staging: Staging) -> None:
    """Make sure that this process has a workspace before it claims anything.

    If it dies, its workspace is what shows the next one that there may be claims to look for.
    """
    try:
        if os.access(_free[staging.root][-1].probe, os.F_OK):
            return
    except (KeyError, IndexError):  # another thread has it
        pass
    free(staging, workspace(staging))


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
        raise _refused(staging, error) from error


def _refused(staging: Staging, error: OSError) -> StoreError:
    return StoreError(f"cannot write in {staging.root!r}: {error.strerror}; nothing was run")


def retire() -> None:
    """Remove the workspaces that this process keeps."""
    for spaces in _free.values():
        while spaces:
            spaces.pop().close()


def _forked() -> None:
    global _forks
    _forks += 1
    _free.clear()  # the parent's


_forks = 0  # between this process and the first
atexit.register(retire)
at_death(retire)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def run(task: Task, runner: Runner) -> Sidecar:
    """Execute a task and finish it; return its sidecar, which is on the disk by then.

    Raises
    ------
    ResultMissingError
        If the runner returned without having written its result.
    Torn
        If another execution of the same attempt was first, and is not done.
    BaseException
        Whatever the runner raises, unchanged.
    """
    space = workspace(task.staging)
    execution, returned = start(task, space), False
    try:
        done = execute(task, runner, f"{space.path}{os.sep}{task.path}")
        returned = True
        done = make_room(task, space, done)
        lifted = lift(task, space, execution)
        finished = finish(task, describe(task, space, execution, done, lifted), space)
    except BaseException as error:
        if returned and isinstance(error, OSError) and not isinstance(error, ResultMissingError):
            note(error, RETURNED)
        left = _left_in(space)
        if left is None:
            note(error, f"entropic: somebody removed {space.path}, where the run was to write; call again")
            forget(task.staging)
        if left or left is None or space.reserve.spent or not isinstance(error, Exception):
            space.close()
        else:  # to make another takes longer than many a run
            free(task.staging, space)
        # An interrupt may come when all is done: a finished attempt keeps its result.
        if sidecars.read(task.staging, task.key, task.attempt) is None:
            discard(task, execution)
        raise
    if space.reserve.spent:
        space.close()  # the next run reserves anew, or does not begin
    else:
        free(task.staging, space)
    return finished


def _left_in(space: Workspace) -> list[str] | None:
    """Return what a run has left there; None if the folder is gone."""
    try:
        return os.listdir(space.path)
    except OSError:
        return None


def start(task: Task, space: Workspace) -> str:
    """Name the execution: from here on it may leave something behind.

    Raises
    ------
    StoreError
        If there is no room on the disk for what is recorded of it.
    """
    if task.custom_data and (size := len(compact(task.custom_data)) + MOST_ELSE) > space.reserve.size:
        try:
            space.reserve.grow(size)
        except OSError as error:
            space.close()
            raise _refused(task.staging, error) from error
    return space.execution()


class Executed(NamedTuple):
    """What is known of a run as soon as its runner has returned."""

    elapsed: float  # seconds
    outcomes: Outcomes | None  # None: the model has no such columns
    custom_data: dict[str, Any]


def execute(task: Task, runner: Runner, target: str) -> Executed:
    """Call the runner with a copy of the params; return how long it took, and what it leaves beside its result."""
    params = copied(task.params)
    given = _copy(task.custom_data)
    params.update(id=task.id, result_file=target, custom_data=given)
    around, forks, elapsed = inside.get(), _forks, -1.0
    try:  # an interrupt as soon as it is set would leave it set, and the next call for this key seem to be a circle
        inside.set((*task.inside, Inside(task.staging.root, task.model, task.id, task.attempt)))
        began = time.perf_counter()
        returned = runner(params)
        elapsed = time.perf_counter() - began
    finally:
        if _forks != forks:  # a child that the runner has forked, and that should have ended in there
            process.end_fork(has_returned=elapsed >= 0)
        inside.set(around)
    left = params.get("custom_data")
    custom_data = task.custom_data if left is given and not given and not task.custom_data else kept(task, left)
    return Executed(elapsed, returned if isinstance(returned, Outcomes) else None, custom_data)


def kept(task: Task, left: Any) -> dict[str, Any]:
    """Return what is recorded of the custom data that a runner left: what is not JSON is named, and left out."""
    if left is None:
        return task.custom_data
    if not isinstance(left, Mapping):
        why = {"custom_data": f"the runner left a value of type {type(left).__qualname__} there, not a dict"}
        return {**task.custom_data, NOT_RECORDED: why}
    found: dict[str, Any] = {}
    why = {}
    for name, value in left.items():
        try:
            if not isinstance(name, str):
                raise ParameterError(f"the key {name!r:.80} of custom_data is {type(name).__name__}, not text")
            found.update(as_custom_data({name: value}))
        except Exception as error:  # noqa: BLE001  (of a value's own methods, too: the run is not lost for it)
            why[f"custom_data.{visible(str(name))}"] = visible(str(error))[:500]
    return {**found, NOT_RECORDED: why} if why else found


def make_room(task: Task, space: Workspace, done: Executed) -> Executed:
    """Take the room on the disk that recording needs; where there is none, less is recorded, and that is said."""
    if done.custom_data is task.custom_data and done.outcomes is None:
        return done
    more = len(compact(done.custom_data)) + (0 if done.outcomes is None else _size_of(done.outcomes))
    if more + MOST_ELSE <= space.reserve.size:
        return done
    try:
        space.reserve.grow(more + MOST_ELSE)
        return done
    except OSError as error:
        why = f"there was no room on the disk for it ({error.strerror})"
        with contextlib.suppress(OSError):
            space.reserve.grow(space.reserve.size)  # what it had
        outcomes = None if done.outcomes is None else Outcomes({}, dict.fromkeys(done.outcomes.values, why))
        return Executed(done.elapsed, outcomes, {**task.custom_data, NOT_RECORDED: {"custom_data": why}})


def _size_of(outcomes: Outcomes) -> int:
    return len(compact(sidecars.packed(outcomes.values))) + len(compact(outcomes.missing))


_IMMUTABLE = {int, float, str, bool, type(None)}


def copied(params: Mapping[str, object]) -> dict[str, object]:
    """Return params that nobody else can change.

    Raises
    ------
    ParameterError
        If a value cannot be copied.
    """
    if _IMMUTABLE.issuperset(map(type, params.values())):
        return dict(params)  # most params
    return {name: value if type(value) in _IMMUTABLE else _copy_of(name, value) for name, value in params.items()}


def _copy_of(name: str, value: Any) -> object:
    try:
        return _copy(value)
    except Exception as error:
        raise ParameterError(
            f"the value of {name!r}, of type {type(value).__qualname__}, cannot be copied ({error}), so a runner could "
            "change what the row says; pass plain data instead. Nothing was run"
        ) from error


def _copy(value: Any) -> object:
    kind = type(value)
    if kind is dict or kind is list:
        return copy.deepcopy(value) if value else kind()  # not asked of other types: an array has no truth value
    # A read-only view cannot be copied, and a worker could not be sent one.
    return copy.deepcopy(dict(value) if kind is MappingProxyType else value)


Lifted = tuple[Extent | None, bool]  # the extent of a result, None of a broken link, and whether there is more


def lift(task: Task, space: Workspace, execution: str) -> Lifted:
    """Move what the runner wrote out of the workspace, and look at it.

    Raises
    ------
    ResultMissingError
        If there is no result.
    """
    staging, stem = task.staging, f"{task.key}.{task.attempt}.{execution}"
    try:
        source, target = f"{space.path}{os.sep}{task.path}", staging.inside(stem + staging.suffix)
        space.reserve.with_room(move, source, target)
        found = extent(target, follow=False)
        if found is None:  # a link: only now, since a look that tells more serves all others
            move(target, source)
            _resolve(source, os.path.realpath(space.path))
            move(source, target)
            found = extent(target)
    except FileNotFoundError:
        left = ", ".join(sorted(os.listdir(space.path))) if os.path.isdir(space.path) else ""
        raise ResultMissingError(
            f"the runner returned None, and did not write params['result_file'] ({task.path})"
            + (f"; it wrote {left} instead" if left else "")
        ) from None
    extra = bool(os.listdir(space.path))
    if extra:
        space.reserve.with_room(move, space.path, staging.inside(stem + ".files"))
        try:
            os.mkdir(space.path)
        except OSError as error:
            if error.errno not in FULL:
                raise
            space.reserve.spent = True  # this run needs it no more, and the next one makes another
    return found, extra


def _resolve(link: str, folder: str) -> None:
    """Let a result that is a link, `last.ckpt -> epoch3.ckpt`, say, be what the runner meant by it wherever it goes.

    What it leads to in the workspace becomes the result; a relative link to what lies elsewhere becomes an absolute
    one. One that leads nowhere is left, and refused by `describe`.

    Raises
    ------
    ResultMissingError
        If it leads to a folder that it lies in.
    """
    target = os.path.realpath(link)
    if not os.path.lexists(target):
        return
    if (folder + os.sep).startswith(target.rstrip(os.sep) + os.sep):
        raise ResultMissingError(f"the runner left a link to {target}, in which it lies, as params['result_file']")
    if target.startswith(folder + os.sep):
        os.unlink(link)
        move(target, link)
    elif not os.path.isabs(told := os.readlink(link)) or os.path.abspath(told).startswith(folder + os.sep):
        os.unlink(link)
        os.symlink(target, link)


def describe(task: Task, space: Workspace, execution: str, done: Executed, lifted: Lifted) -> Sidecar:
    """Return the sidecar of what was lifted; make its slot, if it will replace a folder or a file by a folder.

    Raises
    ------
    ResultMissingError
        If the result is a link that leads nowhere.
    """
    found, extra = lifted
    if task.fsync or done.elapsed >= LONG:
        stem = task.staging.inside(f"{task.key}.{task.attempt}.{execution}")
        path = stem + task.staging.suffix
        _wait_for_disk(task, [path, *([f"{stem}.files"] if extra else [])], done.elapsed)
        found = extent(path)
    if found is None:
        raise ResultMissingError(f"the runner left a broken link as params['result_file'] ({task.path})")
    slotted = task.published is not None and (found.folder or os.path.isdir(task.staging.path(task.path)))
    if slotted:
        space.reserve.make_folder(task.staging.inside(f"{task.key}.{task.attempt}.{execution}.slot"))
    if task.fsync:
        sync_names(task.staging.root)  # a sidecar that survives must not name what does not
    seconds = round(done.elapsed * 1e6) / 1e6  # to the microsecond, and sooner than `round` to six digits
    outcomes, missing = (None, None) if done.outcomes is None else done.outcomes
    return Sidecar(  # in the order of its fields: by name it would take three times as long
        task.model,
        task.id,
        task.key,
        task.attempt,
        task.owner,
        task.values,
        {"elapsed_seconds": seconds, **done.custom_data},
        now_as_text(),
        execution,
        task.staging.suffix,
        found.size,
        found.mtime_ns,
        found.folder,
        slotted,
        extra,
        outcomes,
        missing,
    )


def _wait_for_disk(task: Task, paths: list[str], elapsed: float) -> None:
    """Return when all data are on the disk, if the store asks for that, or if the run took so long that it is cheap."""
    if os.path.exists(paths[0]) and (task.fsync or is_cheap(paths, elapsed)):
        for path in paths:
            sync_content(path)


def finish(task: Task, sidecar: Sidecar, space: Workspace) -> Sidecar:
    """Create and write the sidecar; where another execution was first, return its."""
    created = False
    try:
        descriptor = sidecars.create(task.staging, task.key, task.attempt)
        created = True
        sidecars.write(descriptor, sidecar, task.fsync)
    except FileExistsError:
        return _first(task, sidecar)
    except OSError as error:
        if error.errno not in FULL:
            raise
        path = task.staging.inside(sidecars.name(task.key, task.attempt))
        try:
            # If it was created it is torn so far, and nobody else writes to it.
            if not space.reserve.become(path, sidecars.encode(sidecar), is_ours=created):
                raise
        except FileExistsError:
            return _first(task, sidecar)
    if task.fsync:
        sync_names(task.staging.root)
    return sidecar


def _first(task: Task, sidecar: Sidecar) -> Sidecar:
    """Return the sidecar of the execution that was first, and discard what this one made."""
    discard(task, sidecar.execution)
    first = sidecars.read(task.staging, task.key, task.attempt)
    if first is None:
        raise Torn(task.attempt)
    return first


def discard(task: Task, execution: str) -> None:
    """Remove what an execution made that nobody will read."""
    stem = f"{task.key}.{task.attempt}.{execution}"
    for rest in (task.staging.suffix, ".files", ".slot"):
        remove(task.staging.inside(stem + rest))
