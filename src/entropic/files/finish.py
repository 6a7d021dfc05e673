"""What becomes of what a runner wrote: lift, describe, finish. From then on it is a result, and only needs a row."""

import os
from dataclasses import dataclass
from typing import Any

from entropic.errors import ResultMissingError
from entropic.files import sidecar as sidecars
from entropic.files.digest import digest_or_none
from entropic.files.durable import is_cheap, sync_content, sync_names
from entropic.files.extent import Extent, extent
from entropic.files.place import move, remove
from entropic.files.reserve import FULL
from entropic.files.sidecar import Origin, Sidecar
from entropic.files.task import Task
from entropic.files.workspace import Workspace
from entropic.params.model import now_as_text
from entropic.params.outcomes import Outcomes
from entropic.provenance.input import Input
from entropic.support.names import whole

LONG = 1.0  # seconds from which on a run may wait for its data to be on the disk, `fsync` or not


class Torn(Exception):
    """Another execution of the same attempt was first, and its sidecar is not complete."""


@dataclass(slots=True)  # which is made sooner than a named tuple
class Executed:
    """What is known of a run as soon as its runner has returned."""

    elapsed: float  # seconds
    outcomes: Outcomes | None  # None: the model has no such columns
    custom_data: dict[str, Any]
    origin: Origin
    inputs: tuple[Input, ...] = ()


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
        source, target = f"{space.path}{os.sep}{task.path}", staging.inside(stem + staging.ending)
        if "/" in task.path:
            _check_main(source)
            source = f"{space.path}{os.sep}{whole(task.path)}"
        space.reserve.with_room(move, source, target)
        found = extent(target, follow=False)
        if found is None:  # a link: only now, since a look that tells more serves all others
            move(target, source)
            _resolve(source, os.path.realpath(space.path))
            move(source, target)
            found = extent(target)
    except FileNotFoundError:
        left = ", ".join(_written(space.path))
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


def _check_main(path: str) -> None:
    """Look at the main file of a result of several: it is there, and leads nowhere else, should it be a link.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if os.path.islink(path) and os.path.isabs(os.readlink(path)):  # one within the folder stays right as it is
        _resolve(path, os.path.realpath(os.path.dirname(path)))
    os.stat(path)


def _written(folder: str) -> list[str]:
    """Return the names of what lies in a workspace, in the folder for a result of several, too."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        inside = sorted(os.listdir(path)) if os.path.isdir(path) and not os.path.islink(path) else []
        found += [f"{name}/{one}" for one in inside] or [name]
    return found


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
        path = stem + task.staging.ending
        _wait_for_disk(task, [path, *([f"{stem}.files"] if extra else [])], done.elapsed)
        found = extent(path)
    if found is None:
        link = task.staging.inside(f"{task.key}.{task.attempt}.{execution}{task.staging.ending}")
        target = os.readlink(link) if os.path.islink(link) else "nothing"
        raise ResultMissingError(
            f"the runner left a broken link as params['result_file'] ({task.path}): it leads to {target!r}, which "
            "is not there. Write the result itself, or a link to what stays, beside params['result_file'] or by its "
            "absolute path"
        )
    slotted = task.published is not None and (found.folder or os.path.isdir(task.staging.path(task.path)))
    if slotted:
        space.reserve.make_folder(task.staging.inside(f"{task.key}.{task.attempt}.{execution}.slot"))
    digest, replaced = _digests(task, execution) if task.checksum else (None, None)
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
        done.origin,
        digest,
        replaced,
        done.inputs or None,
    )


def _digests(task: Task, execution: str) -> tuple[str | None, str | None]:
    """Return the digest of the result, and of what it will replace; None of what is not there, or cannot be read.

    Here, where the run was: workers share the work, and nobody waits for it in a transaction.
    """
    path = task.staging.inside(f"{task.key}.{task.attempt}.{execution}{task.staging.ending}")
    old = task.staging.path(task.path) if task.published is not None else None
    made = digest_or_none(path)
    return made, None if made is None or old is None else digest_or_none(old)


def _wait_for_disk(task: Task, paths: list[str], elapsed: float) -> None:
    """Return when all data are on the disk, if the store asks for that, or if the run took so long that it is cheap."""
    if os.path.exists(paths[0]) and (task.fsync or is_cheap(paths, elapsed)):
        for path in paths:
            sync_content(path)


def finish(task: Task, sidecar: Sidecar, space: Workspace) -> Sidecar:
    """Create and write the sidecar; where another execution was first, return its."""
    created = False
    try:
        text = sidecar.text = sidecars.encode(sidecar)
        descriptor = sidecars.create(task.staging, task.key, task.attempt)
        created = True
        sidecars.write(descriptor, text, task.fsync)
    except OSError as error:
        finished = finish_otherwise(task, sidecar, space, error, created)
        if finished is not sidecar:
            return finished
    if task.fsync:
        sync_names(task.staging.root)
    return sidecar


def finish_otherwise(task: Task, sidecar: Sidecar, space: Workspace, error: OSError, created: bool) -> Sidecar:
    """Return the sidecar of who was first, if it cannot be created; or write it into the blocks that are reserved.

    Raises
    ------
    OSError
        The error itself, if neither is what it takes.
    """
    if isinstance(error, FileExistsError):
        return _first(task, sidecar)
    if error.errno not in FULL:
        raise error
    path = task.staging.inside(sidecars.name(task.key, task.attempt))
    try:
        # If it was created it is torn so far, and nobody else writes to it.
        if not space.reserve.become(path, sidecars.encode(sidecar), is_ours=created):
            raise error
    except FileExistsError:
        return _first(task, sidecar)
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
    for rest in (task.staging.ending, ".files", ".slot"):
        remove(task.staging.inside(stem + rest))
