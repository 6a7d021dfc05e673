"""Which submissions hold sets, and whether jobs of them are left, as far as that is seen from here.

Looking changes nothing of them. What a user asks to be repaired is free only where no job is left: as Slurm says, or,
where there is none, since jobs that still wait would find nothing to do. Where that cannot be told, as a submission was
made with another results folder, by another user or on another cluster, nothing is freed, and that is said.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from entropic.db.claim_record import RUNNING, Claim
from entropic.db.submissions import Recorded, Submissions
from entropic.executors.queue import SURE
from entropic.executors.scheduler import Inquiry, submitter
from entropic.executors.spool import Patience
from entropic.executors.submission import Submission
from entropic.params.model import Base, naive_utc
from entropic.protocol.context import StoreContext
from entropic.protocol.submitted import Watch, is_at_work, is_being_made, place_of
from entropic.support.show import counted, one_line

ANSWER_SECONDS = 60.0  # that a question to Slurm may take
Place = Literal["here", "making", "removed", "elsewhere", "hidden", "unrecorded"]


class Holder(NamedTuple):
    """A submission to Slurm, to which sets belong that have no result yet.

    Attributes
    ----------
    jobs : str
        The name of its jobs: `squeue --name` shows them, and `scancel --name` ends them.
    since : datetime
        When it was submitted, naive UTC.
    running : dict
        In which job each of its sets runs that has begun, by key.
    waiting : list of str
        The keys of the others.
    asked : str
        For how much time and memory its jobs have asked; empty, if for as much as the site gives.
    place : str
        Where its folder is: `"here"`, in this results folder; `"removed"` from it; `"elsewhere"`, as it was submitted
        with another results folder; `"hidden"`, as it is another user's; `"making"`: it is being submitted just now;
        `"unrecorded"`: the database does not know of it any more.
    is_at_work : bool or None
        Whether tasks of it give signs of life in its folder; None if that cannot be told from here, or was not looked
        for: `status` does not, and no read-only store, where one has begun.
    jobs_left : int or None
        How many jobs Slurm knows of it; None if that was not asked, or not answered, or only by the Slurm of another
        cluster, or to another user.
    folder : str
        Its results folder, if that is another one, and was recorded.
    """

    jobs: str
    since: datetime
    running: dict[str, str]
    waiting: list[str]
    asked: str
    place: Place
    is_at_work: bool | None = None
    jobs_left: int | None = None
    number: int = 0
    folder: str = ""

    @property
    def is_gone(self) -> bool:
        """Whether no job is left that may run its sets."""
        if self.place in ("removed", "unrecorded"):
            return True
        return self.place in ("here", "elsewhere") and self.jobs_left == 0 and self.is_at_work is False

    @property
    def is_unseen(self) -> bool:
        """Whether nobody can tell from here if jobs are left."""
        if self.place == "making" or self.is_gone or self.is_at_work:
            return False
        return not self.jobs_left

    @property
    def keys(self) -> list[str]:
        """Of its sets."""
        return [*self.running, *self.waiting]

    def told(self, id: str) -> str:
        """Say of one of its sets why nothing may come of it."""
        owner = f"{id}: submitted to Slurm as {self.jobs} at {self.since:%Y-%m-%d %H:%M:%S} UTC"
        again = "it runs again when asked for"
        if self.place == "removed":
            return f"{owner}, whose folder was removed from this results folder; {again}"
        if self.place == "unrecorded":
            return f"{owner}, of which the database knows no more; {again}"
        if self.is_gone:
            free = again if self.place == "here" else "repair() frees it, and then it runs again when asked for"
            return f"{owner}, of which no job is left in the queue; {free}"
        slurm = "Slurm says nothing of its jobs" if self.jobs_left is None else "Slurm knows no job of it"
        where = f", {one_line(self.folder)}" if self.folder else ""
        why = {
            "elsewhere": f"with another results folder than this one{where}",
            "hidden": "whose folder cannot be read by this user",
        }.get(self.place, "which gives no sign of life here" if self.is_at_work is False else "")
        why = why or "whose signs of life cannot be seen from here (a read-only store sees none)"
        look = "look with that results folder," if self.place == "elsewhere" else "look"
        do = f"{look} where `squeue` is, as the user who has submitted it; until then, whoever asks for the set waits"
        return f"{owner}, {why}, and {slurm}: {do}"


def survey(context: StoreContext[Base], ask: bool) -> list[Holder]:
    """Return which submissions hold sets of this model.

    Parameters
    ----------
    ask
        Whether to ask Slurm, once, for their jobs: that may take some seconds.
    """
    found = _find_holders(context, closely=ask)
    return _still_held(context, _with_jobs_left(context, found) if ask else found)


def _find_holders(context: StoreContext[Base], closely: bool) -> list[Holder]:
    claims = _claims(context)  # first: a claim is there as long as what is recorded of its submission
    if not claims:
        return []
    records = {one.number: one for one in Submissions(context.database).all()}
    return [_seen(context, number, some, records.get(number), closely) for number, some in claims.items()]


def _still_held(context: StoreContext[Base], found: list[Holder]) -> list[Holder]:
    """Leave out what only seems to be gone: it ended in the middle of the look, and somebody has seen to its sets."""
    if not any(one.is_gone for one in found):
        return found
    claims, still = _claims(context), list[Holder]()
    for one in found:
        ids = {claim.id for claim in claims.get(one.number, [])} if one.is_gone else set(one.keys)
        running = {id: job for id, job in one.running.items() if id in ids}
        still.append(one._replace(running=running, waiting=[id for id in one.waiting if id in ids]))
    return [one for one in still if one.keys]


def _claims(context: StoreContext[Base]) -> dict[int, list[Claim]]:
    held = [
        one
        for one in context.ledger.pending().values()
        if one.model == context.model and one.state == RUNNING and one.submission is not None
    ]
    finished, found = context.find_finished(held) if held else set(), dict[int, list[Claim]]()
    for one in held:
        if one.id not in finished and one.submission is not None:
            found.setdefault(one.submission, []).append(one)
    return found


def _seen(
    context: StoreContext[Base], number: int, claims: Sequence[Claim], record: Recorded | None, closely: bool
) -> Holder:
    """Return what is seen of a submission without Slurm.

    Parameters
    ----------
    closely
        Whether to see if it is at work, which takes a sign of life of one's own to compare with.
    """
    one = Submission(context.staging, number, b"" if record is None else record.secret)
    running, at_work, asked, folder = dict[str, str](), None, "", ""
    place: Place = "unrecorded"
    if record is not None:
        place = _where(context, record, one)
        with contextlib.suppress(OSError):  # somebody sees just now that it is over
            if place == "here":
                running, asked = one.under_way(), one.index.asked
        if place == "elsewhere":
            folder = record.folder
        if closely and place in ("here", "elsewhere"):
            at_work = is_at_work(context, record, one)
    ids = [claim.id for claim in claims]
    running = {id: running[id] for id in ids if id in running}
    since = naive_utc(min(claim.since or 0.0 for claim in claims))
    waiting = [id for id in ids if id not in running]
    jobs = one.name_of_jobs(context.model)
    return Holder(jobs, since, running, waiting, asked, place, at_work, None, number, folder)


def _where(context: StoreContext[Base], record: Recorded, one: Submission) -> Place:
    if is_being_made(record):
        return "making"
    try:
        if one.is_there:
            return "here"
    except OSError:
        return "hidden"
    return "removed" if record.place == place_of(context) else "elsewhere"


def _with_jobs_left(context: StoreContext[Base], found: Sequence[Holder], times: int = 1) -> list[Holder]:
    """Ask Slurm for the jobs of some submissions, if there is one, and it answers."""
    open = {one.jobs for one in found if one.place in ("here", "elsewhere", "hidden")}
    left = _count_jobs(open, times) if open and shutil.which("squeue") is not None else {}
    told = [one._replace(jobs_left=left.get(one.jobs)) for one in found]
    if any(map(_is_doubtful, told)):
        here, by = submitter(), {one.number: one.by for one in Submissions(context.database).all()}
        told = [
            one._replace(jobs_left=None) if _is_doubtful(one) and by.get(one.number) != here else one for one in told
        ]
    return told


def _is_doubtful(one: Holder) -> bool:
    """Tell whether another Slurm may know the jobs of a submission of which this one knows none."""
    return one.place == "elsewhere" and one.jobs_left == 0


def _count_jobs(names: Iterable[str], times: int) -> Mapping[str, int]:
    """Return how many jobs of each name go on: as many as the one of so many answers that had most."""
    inquiry, found = Inquiry(), {name: list[int]() for name in names}
    deadline, patience = time.monotonic() + ANSWER_SECONDS, Patience(0.02, 0.5)
    for name in found:
        inquiry.add(name)
    try:
        while inquiry.silent_since is None and time.monotonic() < deadline:
            for name, counts in found.items():
                if len(counts) < times and (jobs := inquiry.poll(name)) is not None:
                    counts.append(sum(job.goes_on for job in jobs.values()))
            if all(len(counts) == times for counts in found.values()):
                break
            patience.wait()
    finally:
        inquiry.close()
    return {name: max(counts) for name, counts in found.items() if len(counts) == times}


def would_free(context: StoreContext[Base], held: Iterable[Holder]) -> list[Holder]:
    """Return which of some submissions `repair` would free although nobody can tell from here if jobs are left."""
    return [one for one in held if one.is_unseen and _is_alone(context, one)]


def _is_alone(context: StoreContext[Base], one: Holder) -> bool:
    """Tell whether no job can run a set that is free here, on a machine without Slurm.

    Jobs of a folder that is here find nothing. A file of SQLite that is used without Slurm, and with another results
    folder than that of the jobs, which is not there, was copied here: the jobs belong to the other one. On a server,
    they may be anywhere.
    """
    if shutil.which("squeue") is not None or one.is_at_work is not False:
        return False
    return one.place == "here" or (one.place == "elsewhere" and not context.database.is_shared)


def _why_free(context: StoreContext[Base], one: Holder) -> str:
    """Return why the sets of a submission are to be freed for a user who asks for it; "" if they are not."""
    if one.is_gone and one.place == "elsewhere":
        return "of which no job is left"
    if would_free(context, [one]):
        return "which cannot be asked from here; jobs that wait will find nothing to do"
    return ""


def repair_submissions(context: StoreContext[Base], held: Sequence[Holder]) -> tuple[list[str], set[str], list[Holder]]:
    """See what has become of submissions, for a user who asks for a repair.

    Parameters
    ----------
    held
        What `survey` has told of them, with Slurm's answers: some time ago.

    Returns
    -------
    done
        What was done, as sentences.
    freed
        The keys of the sets of which they say that.
    left
        Those that still hold sets.
    """
    done, freed, known = list[str](), set[str](), {one.number: one.jobs_left for one in held}
    with contextlib.closing(Watch(context)) as watch:
        if shutil.which("squeue") is not None:
            watch.tend(surely=True)
            done += [f"{trouble}; its sets are free" for trouble in watch.troubles]
        else:
            watch.tend_without_slurm()
        if any(_why_free(context, one) for one in held):  # or was to be, when that was asked
            now = _with_jobs_left(context, _find_holders(context, closely=True), times=SURE)
            known |= {one.number: one.jobs_left for one in now}
            for one in now:
                if (why := _why_free(context, one)) and watch.end(one.number):
                    done.append(f"freed {counted(len(one.keys), 'set')} submitted to Slurm as {one.jobs}, {why}")
                    freed.update(one.keys)
    left = [one for one in _find_holders(context, closely=True) if one.number in known]
    return done, freed, _still_held(context, [one._replace(jobs_left=known[one.number]) for one in left])
