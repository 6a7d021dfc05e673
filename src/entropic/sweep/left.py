"""A sweep that submits and does not wait: what is done is taken home, what is missing is submitted, and that is all."""

import contextlib
from collections.abc import Generator, Mapping

from entropic.ask.standing import Submitted
from entropic.errors import SlurmError
from entropic.executors.contract import Ending
from entropic.executors.submission import SubmissionOptions
from entropic.files.task import Task
from entropic.params.model import Base
from entropic.protocol import submitted
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.request import Request
from entropic.sweep.learned import Learned
from entropic.sweep.share import Share


class Leaving:
    """Stands for an executor in a sweep that does not wait.

    Parameters
    ----------
    options
        How what is missing is to be run.
    learned
        Tells for what its jobs ask, where that is learned.
    """

    ends = True
    standing = ""

    def __init__(self, options: SubmissionOptions, learned: Learned | None = None) -> None:
        self._options, self._learned = options, learned
        self.new, self.jobs = 0, list[str]()
        """How many sets were submitted, and in which jobs."""

    def submit(
        self, context: StoreContext[ModelT], share: Share[ModelT], missing: Mapping[str, Request], creator: str
    ) -> Generator[None, None, None]:
        """Take home what is done, submit what is missing, and leave the rest; give way now and then.

        Raises
        ------
        SlurmError
            If jobs of an earlier call cannot run their sets, or none can be submitted. Then nothing is submitted.
        """
        watch = submitted.Watch(context)
        try:
            watch.tend(surely=True)
        finally:
            watch.close()
        yield
        if watch.troubles:
            raise SlurmError(
                f"{watch.troubles[0]}. These jobs are cancelled, and what is finished is stored; the same call submits "
                "the rest anew"
            )
        tasks: list[Task] = []
        for task in share.tasks():
            if task is None:
                break
            tasks.append(task)
        share.reraise()
        if share.stops:
            for task in tasks:
                share.take(Ending(task, None, unbegun=True), falls_back=False)
            return
        if tasks:
            options = self._options
            if self._learned is not None:
                options = options._replace(asked=self._learned.of(tasks, options.asked))
            self.jobs = submitted.submit(context, tasks, missing, options, creator)
            self.new = len(tasks)
        share.leave(tasks)

    def close(self) -> None:
        """Do nothing: what is left stays."""


def describe_standing(context: StoreContext[Base], sets: int, left: list[str], failed: int, used: object) -> Submitted:
    """Return how a sweep stands, given what has no row yet, and what has submitted some of that, if anything has."""
    if not isinstance(used, Leaving):  # nothing was missing: then its jobs may be over
        with contextlib.closing(submitted.Watch(context)) as watch:
            watch.tend()
    claims = [one for one in context.ledger.find_many(left) if one.submission is not None]
    running = submitted.begun(context, claims)
    begun = sum(one.id in running for one in claims)
    return Submitted(
        sets=sets,
        stored=sets - len(left) - failed,
        failed=failed,
        running=begun,
        waiting=len(claims) - begun,
        elsewhere=len(left) - len(claims),
        new=used.new if isinstance(used, Leaving) else 0,
        jobs=used.jobs if isinstance(used, Leaving) else [],
    )
