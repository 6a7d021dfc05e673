"""What a worker does, wherever it is: it needs the results folder, not the database."""

import contextlib
import os
import pickle
import time
from typing import Any, NamedTuple

import cloudpickle

from entropic.errors import RunFailed, note
from entropic.executors import attempt, generators
from entropic.executors.attempt import Runner
from entropic.executors.contract import TORN, Ending, ending_on_disk, is_late
from entropic.executors.pickling import unpacked
from entropic.executors.runner_parcel import Parcel, runner_of
from entropic.executors.worker_code import WorkerCode
from entropic.files import sidecar as sidecars
from entropic.files.checkpoints import FolderGone
from entropic.files.finish import Torn
from entropic.files.task import Task
from entropic.support.failure import Record, describe, message_of

BUNDLE_SECONDS = 0.2  # of work that travels together
RAISED = "entropic: raised in a worker"
NOT_SEEN = "the worker cannot see the results folder {}, which it must share with this process under the same path"


class Report(NamedTuple):
    """What a worker says of a task: plain data, which survives any way home.

    Attributes
    ----------
    finished
        The text of the sidecar.
    reason
        Why there is none, as a sentence.
    failure, error
        What the runner raised: its record, and the pickled exception, if it can be.
    seconds
        How long the run took.
    late
        Whether it has not begun, since it was too late for that.
    """

    finished: bytes | None = None
    reason: str = ""
    failure: Record | None = None
    error: bytes | None = None
    seconds: float | None = None
    late: bool = False


Reports = list[Report | None] | str  # of a bundle, or why there are none


def work_packed(data: bytes, parcel: Parcel) -> Reports:
    """Execute a bundle of tasks, with a runner, that have travelled; return why not, if they cannot be loaded."""
    try:
        bundle = unpacked(data)
    except Exception as error:  # noqa: BLE001  (whatever an import may raise)
        return f"params cannot be loaded on the worker: {type(error).__qualname__}: {error}"
    if not os.path.isdir(bundle[0].staging.root):
        return NOT_SEEN.format(bundle[0].staging.results_dir)
    generators.part()
    try:
        runner, code = runner_of(parcel)
    except Exception as error:  # noqa: BLE001  (whatever an import may raise)
        return f"the runner cannot be loaded on the worker: {type(error).__qualname__}: {error}"
    return work_many(bundle, runner, code)


def work_many(bundle: list[Task], runner: Runner, code: WorkerCode | None = None) -> list[Report | None]:
    """Execute a bundle of tasks, one after the other; what has not begun when it takes too long goes back as None."""
    began, reports = time.monotonic(), list[Report | None]()
    for task in bundle:
        late = reports and time.monotonic() - began > 2 * BUNDLE_SECONDS
        reports.append(None if late else work(task, runner, code))
    return reports


def work(task: Task, runner: Runner, code: WorkerCode | None = None, interrupts: bool = True) -> Report:
    """Execute a task; never raises what a runner raises, since an exception might not survive the way home.

    Parameters
    ----------
    code
        That of the runner here, if it has travelled.
    interrupts
        Whether a KeyboardInterrupt is for this process; else the runner itself has raised it, as any other.
    """
    if not os.path.isdir(task.staging.root):
        return Report(reason=NOT_SEEN.format(task.staging.results_dir))
    before = sidecars.read(task.staging, task.key, task.attempt)
    if before is not None:  # Dask runs a task again if the worker that holds its answer is lost
        return Report(sidecars.encode(before))
    if is_late(task):
        return Report(late=True)
    if code is not None:
        code.say(task)
    began = time.time()
    try:
        finished = attempt.run(task, runner)
        return Report(sidecars.encode(finished), seconds=finished.seconds)
    except Torn:
        return Report(reason=TORN)
    except BaseException as raised:  # (SystemExit too: it is the run that ends here, not the program)
        error = raised.error if isinstance(raised, FolderGone) else raised  # where its claim is known, it is told which
        if interrupts and isinstance(error, KeyboardInterrupt):
            raise
        reason = f"it raised {type(error).__qualname__} on the worker: {message_of(error)}"
        failure = describe(error, began)
        return Report(None, reason, failure, _travelling(error), failure["elapsed_seconds"])


def _travelling(error: BaseException) -> bytes | None:
    """Return an exception as it travels; None if it does not come out as it was."""
    try:
        data: bytes = cloudpickle.dumps(error)
        same = type(pickle.loads(data)) is type(error) and isinstance(error, Exception)
        return data if same else None
    except Exception:  # noqa: BLE001  (exceptions with arguments of their own often do not survive)
        return None


def report_of(one: Ending) -> Report | None:
    """Return what is said of a task further on; None of one that has not begun."""
    if one.late:
        return Report(late=True)
    if one.unbegun:
        return None
    if one.failure is not None:
        error = None if one.error is None else _travelling(one.error)
        return Report(None, one.reason, one.failure, error, one.seconds)
    return Report(None if one.finished is None else sidecars.encode(one.finished), one.reason, seconds=one.seconds)


def ending(task: Task, report: Report) -> Ending:
    """Return what has become of a task, as seen from here."""
    if report.late:
        return Ending(task, None, unbegun=True, late=True)
    if report.failure is not None:
        return Ending(task, None, report.reason, report.failure, error_of(report), seconds=report.seconds)
    if report.finished is None:
        return ending_on_disk(task, report.reason)
    if not sidecars.exists(task.staging, task.key, task.attempt):
        return Ending(task, None, "the worker wrote its result to a folder that this process cannot see")
    return Ending(task, sidecars.decode(report.finished), report.reason, seconds=report.seconds)


def error_of(report: Report) -> BaseException:
    """Return the exception that a runner raised elsewhere, as close to what it was as possible."""
    failure: dict[str, Any] = report.failure or {}
    where = f"{failure.get('host')} (pid {failure.get('pid')})"
    if report.error is not None:
        with contextlib.suppress(Exception):  # what could be unpickled there cannot be here
            error: BaseException = pickle.loads(report.error)
            if not any(str(one).startswith(RAISED) for one in getattr(error, "__notes__", ())):  # by way of another one
                note(error, f"{RAISED} on {where}:\n{failure.get('traceback', '')}")
            return error
    return RunFailed(
        f"a run raised {failure.get('type')}: {failure.get('message')} in a worker on {where}. Its traceback:\n"
        f"{failure.get('traceback', '')}",
        failure,
    )
