"""One attempt, executed: start, execute, lift, describe, finish.

This is all that a worker does, wherever it is: it needs the results folder, not the database.
"""

import contextlib
import copy
import functools
import os
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from entropic.errors import ParameterError, ResultMissingError, note
from entropic.executors import inputs_of_runs, reporting
from entropic.files import environments, workspace
from entropic.files import sidecar as sidecars
from entropic.files.checkpoints import Checkpoints, FolderGone
from entropic.files.finish import Executed, Torn, describe, discard, finish, lift
from entropic.files.packing import packed
from entropic.files.sidecar import Origin, Sidecar
from entropic.files.staging import Staging
from entropic.files.task import Inside, Task, inside
from entropic.files.unsaved import keep_unsaved
from entropic.files.workspace import Workspace
from entropic.params.fields import as_custom_data
from entropic.params.keys import CHECKPOINT_DIR
from entropic.params.outcomes import NOT_RECORDED, Outcomes
from entropic.provenance.input import Input
from entropic.support import process
from entropic.support.compact_json import compact
from entropic.support.names import whole
from entropic.support.show import visible

Runner = Callable[[dict[str, object]], object]
RETURNED = "entropic: the runner had returned; recording its result failed, and the result was discarded"
MEASURABLE = 0.01  # seconds of a run from which on it is told what it used
MOST_ELSE = 16 * 1024  # bytes of a sidecar beside the custom data


def run(task: Task, runner: Runner) -> Sidecar:
    """Execute a task and finish it; return its sidecar, which is on the disk by then.

    Raises
    ------
    ResultMissingError
        If the runner returned without having written its result.
    Torn
        If another execution of the same attempt was first, and is not done.
    FolderGone
        If the runner raised, and the folder of its checkpoints was gone.
    StoreError
        If there is no room on the disk, or the folder of its checkpoints cannot be made.
    BaseException
        Whatever the runner raises, unchanged.
    """
    space = workspace.take(task.staging)
    execution, returned, kept = start(task, space), False, None
    try:
        if task.resumes is not None:
            kept = resume(task, execution)
        done = execute(task, runner, f"{space.path}{os.sep}{task.path}", None if kept is None else kept.path)
        returned = True
        finished = conclude(task, space, execution, done)
    except BaseException as error:
        give_up(task, space, execution, kept, returned, error)
        raise
    leave(task.staging, space)
    return finished


def conclude(task: Task, space: Workspace, execution: str, done: Executed) -> Sidecar:
    """Lift, describe and finish what a run has left, and say of its sidecar how long it took."""
    done = make_room(task, space, done)
    lifted = lift(task, space, execution)
    finished = finish(task, describe(task, space, execution, done, lifted), space)
    finished.seconds = done.elapsed
    return finished


def leave(staging: Staging, space: Workspace) -> None:
    """Leave the workspace of a run that is finished to the next one."""
    if space.reserve.spent:
        space.close()  # the next run reserves anew, or does not begin
    else:
        workspace.free(staging, space)


def give_up(
    task: Task, space: Workspace, execution: str, kept: Checkpoints | None, returned: bool, error: BaseException
) -> None:
    """Remove what an execution has left that ended by an error, and note on that what its reader needs to know.

    Raises
    ------
    FolderGone
        In place of the error, if the folder of its checkpoints was gone.
    """
    if returned and isinstance(error, OSError) and not isinstance(error, ResultMissingError):
        note(error, RETURNED)
    keep_unsaved(task, space.path, error)
    left = _left_in(space)
    if left is None:
        note(error, f"entropic: somebody removed {space.path}, the folder in which the run writes; call again")
        workspace.forget(task.staging)
    if left or left is None or space.reserve.spent or not isinstance(error, Exception):
        space.close()
    else:  # to make another takes longer than many a run
        workspace.free(task.staging, space)
    # An interrupt may come when all is done: a finished attempt keeps its result.
    if sidecars.read(task.staging, task.key, task.attempt) is None:
        discard(task, execution)
    if kept is not None:
        if isinstance(error, Exception) and not isinstance(error, Torn) and kept.is_gone():
            raise FolderGone(error) from error
        kept.remove_if_empty()
    elif isinstance(error, KeyError) and error.args == (CHECKPOINT_DIR,):
        note(error, "entropic: a store that is opened with checkpoints=True gives its runner a checkpoint_dir")


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
            raise workspace.refused(task.staging, error) from error
    if "/" in task.path:
        try:
            os.mkdir(f"{space.path}{os.sep}{whole(task.path)}")
        except OSError as error:
            space.close()
            raise workspace.refused(task.staging, error) from error
    return space.execution()


def resume(task: Task, execution: str) -> Checkpoints:
    """Take over the folder of what earlier executions have kept, or make an empty one."""
    try:
        return Checkpoints(task, execution)
    except OSError as error:
        raise workspace.refused(task.staging, error) from error


def execute(task: Task, runner: Runner, target: str, checkpoint_dir: str | None) -> Executed:
    """Call the runner with a copy of the params; return how long it took, and what it leaves beside its result."""
    params = copied(task.params)
    given: Any = _copy(task.custom_data) if task.custom_data else {}
    params.update(id=task.id, result_file=target, custom_data=given)
    if checkpoint_dir is not None:
        params[CHECKPOINT_DIR] = checkpoint_dir
    environment = environments.begin(task.staging, runner)
    run = Inside(task.staging.root, task.model, task.id, task.attempt)
    called = call(runner, params, run, task.inside)
    return describe_run(task, runner, environment, params, given, called)


def describe_run(
    task: Task,
    runner: Runner,
    environment: int | None,
    params: dict[str, object],
    given: dict[str, object],
    called: "Called",
) -> Executed:
    """Return what is known of a run that has returned.

    Parameters
    ----------
    environment
        What `environments.begin` said before it.
    params, given
        What the runner got, and what of that was the custom data.
    """
    returned, elapsed, worked, read = called
    left = params.get("custom_data")
    custom_data = task.custom_data if left is given and not given and not task.custom_data else kept(task, left)
    if environment is None:
        environment = environments.current(task.staging, runner)
    if elapsed < MEASURABLE:  # clocks are too coarse for what is over at once
        origin = origin_of_short(environment, task.code)
    else:
        origin = Origin(environment, task.code, *_used(worked))
    return Executed(elapsed, returned if isinstance(returned, Outcomes) else None, custom_data, origin, read)


# What a runner returned, its seconds, what the process had used before it, and what it has read.
Called = tuple[object, float, os.times_result, tuple[Input, ...]]


def call(runner: Runner, params: dict[str, object], run: Inside, outer: tuple[Inside, ...]) -> Called:
    """Call the runner, inside of the runs around it."""
    around, forks, elapsed = inside.get(), _forks, -1.0
    read: tuple[Input, ...] = ()  # (calling the alias, `tuple[Input, ...]()`, costs 5,000 instructions a run)
    try:  # an interrupt as soon as it is set would leave it set, and the next call for this key seem to be a circle
        inside.set((*outer, run))
        reporting.begin(run)
        began, worked = time.perf_counter(), os.times()
        returned = runner(params)
        elapsed = time.perf_counter() - began
    finally:
        if _forks != forks:  # a child that the runner has forked, and that should have ended in there
            process.end_fork(has_returned=elapsed >= 0)
        inside.set(around)
        reporting.end(run)
        read = inputs_of_runs.taken(run)
    return returned, elapsed, worked, read


@functools.lru_cache(16)
def origin_of_short(environment: int | None, code: int | None) -> Origin:
    """Return what made the result of a run that was over at once, of which it is not told what it used."""
    return Origin(environment, code)


def _used(before: os.times_result) -> tuple[float | None, int | None]:
    """Return the processor's seconds that a run took, with the programs that it started, and the peak of memory.

    That is of the process so far, or of the largest of those programs.
    """
    after = os.times()
    seconds = round(sum(after[:4]) - sum(before[:4]), 3)
    return max(0.0, seconds), process.peak_memory()


def kept(task: Task, left: object) -> dict[str, object]:
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
    if done.custom_data is task.custom_data and done.outcomes is None and not done.inputs:
        return done
    more = len(compact(done.custom_data)) + (0 if done.outcomes is None else _size_of(done.outcomes))
    more += len(compact(done.inputs)) if done.inputs else 0
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
        lost = dict.fromkeys(["custom_data", *(["inputs"] if done.inputs else [])], why)
        told = {**task.custom_data, NOT_RECORDED: lost}
        return Executed(done.elapsed, outcomes, told, done.origin)


def _size_of(outcomes: Outcomes) -> int:
    return len(compact(packed(outcomes.values))) + len(compact(outcomes.missing))


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


def _copy_of(name: str, value: object) -> object:
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


def _forked() -> None:
    global _forks
    _forks += 1


_forks = 0  # between this process and the first
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
