"""What a run returned, and could not be saved, on its way out of the workspace: it lies in the results folder for good.

Nothing of entropic's removes it, since somebody may have registered it, or be about to.
"""

import os

from entropic.errors import LibraryMissingError, SaveError, note, reword
from entropic.files.place import move
from entropic.files.task import Task
from entropic.support.names import whole


def keep_unsaved(task: Task, workspace: str, error: BaseException) -> None:
    """Move a workspace in which `formats.returned` has kept what a run returned, and let the error say where it lies.

    With all that the run has written there: `test_other_files_of_the_run_are_kept_with_it`.
    """
    if not isinstance(error, SaveError | LibraryMissingError) or error.kept is None or os.path.isabs(error.kept):
        return  # nothing is kept, or that of another run, which this one asked for
    place = task.staging.kept(task.path, task.attempt)
    try:
        move(workspace, place)
    except OSError as second:
        note(error, f"entropic: what it returned could not be kept as {place} either: {second.strerror}")
        error.kept = None
        reword(error, str(error.args[0]).format(place="nowhere"))
        return
    os.mkdir(workspace)
    error.kept = os.path.join(place, whole(task.path) if "/" in task.path else "", error.kept)
    reword(error, str(error.args[0]).format(place=error.kept))
