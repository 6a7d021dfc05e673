"""Sets whose claims belong to a submission: jobs run them, and no process waits. Whoever asks for one looks after it.

A submission's claims are held as long as its jobs are there, however long they wait: no lease says so, but Slurm, which
is asked by a sweep that submits, and now and then by whoever waits for such a set. What they do can be done twice, and
by several at once:

- What is finished is on the disk, and recorded as that of any owner that is gone.
- What has failed stands in the spool, and is recorded; then it is forgotten there.
- A set that a job has taken along is counted (`files/deaths.py`). It is free, or has failed if that was once too often.
- When no job is left, or no set, all claims that are left are free, and the spool goes.

So a set is never in two submissions. The claims, and what is recorded of the submission, are made in one transaction,
before its jobs are submitted: `test_a_crash_at_any_moment_submits_no_set_twice`. One without jobs is over.
"""

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from entropic.db.claim_record import RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.submissions import Recorded, Submissions
from entropic.errors import EntropicError, SlurmError
from entropic.executors.contract import BY_A_MACHINE
from entropic.executors.jobs import lost
from entropic.executors.scheduler import Inquiry, submitter
from entropic.executors.spool import Patience
from entropic.executors.submission import Lost, Member, Submission, SubmissionOptions, new_number, path_of
from entropic.executors.work import Report
from entropic.files.deaths import forget_deaths, keys_with_deaths, note_death
from entropic.files.place import remove_tree
from entropic.files.staging import SUBMISSIONS, key_of
from entropic.files.task import Task
from entropic.params.model import Base
from entropic.protocol.claim import act_when_settled
from entropic.protocol.context import StoreContext
from entropic.protocol.end import end_claim
from entropic.protocol.request import Request
from entropic.support import process
from entropic.support.failure import Record

log = logging.getLogger("entropic")
CREATING_SECONDS = 600.0  # in which somebody on another machine has submitted the jobs
ANSWER_SECONDS = 60.0  # that polls of the queue may take
OLD_SECONDS = 86_400.0  # in which whoever fills a spool has recorded it


def submit(
    context: StoreContext[Base],
    tasks: Sequence[Task],
    requests: Mapping[str, Request],
    options: SubmissionOptions,
    creator: str,
) -> list[str]:
    """Give claimed sets to a new submission, and submit its jobs; return their ids.

    If that fails, its claims are the caller's to end.

    Raises
    ------
    SlurmError
        With what `sbatch` says.
    """
    number, secret, by = new_number(), secrets.token_bytes(32), submitter()
    owner, records = process.submission(number), Submissions(context.database)
    submission = Submission(context.staging, number, secret)
    for task in tasks:
        task.owner = owner

    def hand_over(connection: Connection) -> None:
        records.add(connection, recorded)
        for id, attempt in sorted((task.id, task.attempt) for task in tasks):
            if not context.ledger.hand_over(connection, id, attempt, owner):
                raise EntropicError(f"the claim on {id} was taken over before its set was submitted; call again")

    try:
        submission.fill(tasks, {task.attempt: requests[task.id] for task in tasks}, options)
        folder = os.path.realpath(context.staging.results_dir)
        # From here on it takes no long time.
        recorded = Recorded(number, place_of(context), secret, creator, time.time(), by, folder)
        context.database.transact(hand_over)
        try:
            ids = submission.submit(options.asked)
            records.submitted(recorded)
        except BaseException:
            _withdraw(submission)
            raise
        return ids
    except BaseException:
        records.remove(number)
        submission.remove()
        for task in tasks:  # only now: until then an interrupt would free sets whose jobs may be there
            task.owner = creator
        raise


def _withdraw(submission: Submission) -> None:
    try:
        submission.end()
    except (EntropicError, OSError) as error:  # without their spool, its jobs end as soon as they begin
        log.warning("jobs that may have been submitted could not be cancelled: %s", error)


class Watch:
    """Looks after the submissions of a model, again and again."""

    def __init__(self, context: StoreContext[Base]) -> None:
        self._context, self._records = context, Submissions(context.database)
        self._known: dict[int, Submission] = {}
        self._inquiry = Inquiry()
        self.troubles: list[str] = []
        """Why jobs cannot run their sets, as sentences."""

    def tend(self, surely: bool = False) -> list[Submission]:
        """Do what is to be done; return the submissions that go on.

        Parameters
        ----------
        surely
            Whether to wait until Slurm has told enough to act on: a few seconds, where a job is over.
        """
        spools = _old_spools(self._context) if surely else set()
        claims = self._claims()  # first: a claim is there as long as what is recorded of its submission
        recorded = list(self._records.all())
        for number in spools - {one.number for one in recorded}:  # whoever made it was killed before that was recorded
            remove_tree(path_of(self._context.staging, number))
        for number in claims.keys() - {one.number for one in recorded}:
            self._free(claims[number])
        for number in self._known.keys() - {one.number for one in recorded}:  # somebody else has seen that it is over
            self._leave(number)
        open = [(record, one) for record in recorded if (one := self._open(record)) is not None]
        for _, one in open:
            self._inquiry.add(one.index.jobs)  # before the first is polled: one question is for all
        seen = self._poll([one for _, one in open], surely)
        return [one for record, one in open if one.number in seen and self._tend(record, one, seen[one.number])]

    def tend_without_slurm(self) -> None:
        """Do what is to be done where there is no Slurm: end what is only recorded, or whose spool was removed."""
        claims, recorded = self._claims(), list(self._records.all())
        for number in claims.keys() - {one.number for one in recorded}:
            self._free(claims[number])
        for record in recorded:
            one = self._open(record)
            if one is not None and not claims.get(record.number):
                self._forget(record)

    def end(self, number: int) -> bool:
        """Free the sets of a submission of which no job is left, or can run one; tell whether that was done.

        It is not where a job is at work after all, or may be: whoever asks for this has looked some time ago.
        """
        record = next((one for one in self._records.all() if one.number == number), None)
        if record is None or is_being_made(record):
            return False
        if is_at_work(self._context, record, self._known_as(record)) is not False:
            return False
        self._forget(record)
        return True

    def _claims(self) -> dict[int, list[Claim]]:
        found: dict[int, list[Claim]] = {}
        for claim in self._context.ledger.pending().values():
            if claim.model == self._context.model and claim.state == RUNNING and claim.submission is not None:
                found.setdefault(claim.submission, []).append(claim)
        return found

    def _known_as(self, record: Recorded) -> Submission:
        made = Submission(self._context.staging, record.number, record.secret, self._inquiry)
        return self._known.setdefault(record.number, made)

    def _open(self, record: Recorded) -> Submission | None:
        """Return a submission of this model whose jobs are to be polled; end one whose spool has gone."""
        if is_being_made(record):
            return None
        one = self._known_as(record)
        try:
            is_there = one.is_there
        except OSError as error:  # another user's, say: then it is for them to look
            log.info("the jobs of %s cannot be looked at: %s", one.folder, error.strerror)
            return None
        if not is_there:
            if record.place == place_of(self._context):  # somebody has removed it
                one.cancel(self._context.model)
                self._forget(record)
            return None
        return one if one.index.model == self._context.model else None

    def _poll(self, several: Sequence[Submission], surely: bool) -> dict[int, str]:
        """Poll some; return why jobs can run nothing, or "", by number, of those that no other process has ended."""
        found: dict[int, str] = {}
        waiting, deadline, patience = list(several), time.monotonic() + ANSWER_SECONDS, Patience(0.02, 0.5)
        while waiting:
            for one in waiting:
                with _ended_by_others(one):
                    found.pop(one.number, None)
                    found[one.number] = _hopeless(one)
            waiting = [one for one in waiting if found.get(one.number) == "" and not (one.is_sure or one.is_unanswered)]
            if not surely or time.monotonic() > deadline:
                break
            if waiting:
                patience.wait()
        return found

    def _tend(self, record: Recorded, one: Submission, hopeless: str) -> bool:
        """Do what is to be done after a poll of a submission; tell whether it goes on."""
        with _ended_by_others(one):
            if not hopeless:
                return self._see_to(record, one)
            self._give_up(record, one, hopeless)
        return False

    def _see_to(self, record: Recorded, one: Submission) -> bool:
        """Record what is said, and bury what is gone; tell whether it goes on."""
        for name, reports, trouble in list(one.hear()):
            if trouble:
                self._give_up(record, one, f"a job of this sweep could not run its sets: {trouble}")
                return False
            if self._take_in(one, reports, name.split(".")[1]) or not one.is_new(name):
                one.forget_report(name)
        if one.is_emptied and not self._claims().get(record.number):
            self._finish(record, one)
            return False
        if not one.is_sure:
            return True
        for each in list(one.lost()):
            self._bury(one, each)
        if one.alive:  # although its spool may seem empty: a name that is just changed may be missing in a listing
            return True
        if one.has_said or one.is_at_work:  # that is not seen from here yet; or its Slurm is not
            return True
        if not one.alive and one.is_barren and record.creator is None:
            self._give_up(record, one, f"the jobs of this sweep ended at once. {one.printed_by_any()}")
            return False
        self._finish(record, one)
        return False

    def _finish(self, record: Recorded, one: Submission) -> None:
        if one.alive:
            with contextlib.suppress(SlurmError, OSError):  # they end by themselves
                one.end(only_waiting=True)
        self._forget(record)

    def _take_in(self, one: Submission, reports: Sequence[tuple[Member, Report]], task: str) -> bool:
        """Record what has become of sets, as a task says; tell whether all that is finished was seen from here."""
        held, is_seen = self._held(one, [member for member, _ in reports]), True
        died = keys_with_deaths(self._context.staging) if held else set()
        for member, report in reports:
            if member.id not in held:  # it is recorded
                continue
            if report.failure is not None:
                if self._runs_again(one, member, report.failure, task):
                    self._abandon([member])
                else:
                    self._fail(one, member, report.failure)
            elif not report.finished:
                self._abandon([member])
            elif one.has_finished(member):
                act_when_settled(self._context, member.id, lambda *_: True)
                if member.key in died:
                    forget_deaths(self._context.staging, member.key)
            else:
                is_seen = False
        return is_seen

    def _runs_again(self, one: Submission, member: Member, failure: Record, task: str) -> bool:
        """Tell whether what a machine did to a run is to be tried once more: it was killed alone, or took too long."""
        most = one.index.retries_alone
        if failure.get("type") not in BY_A_MACHINE or not most:
            return False
        staging, why = self._context.staging, f"{failure.get('type')}: {failure.get('message')}"
        return len(note_death(staging, member.key, member.attempt, task, why)) <= most

    def _held(self, one: Submission, members: Sequence[Member]) -> set[str]:
        """Return which of some sets are still the submission's."""
        found = {claim.id: claim for claim in self._context.ledger.find_many([each.id for each in members])}
        owner = process.submission(one.number)
        return {each.id for each in members if _holds(found.get(each.id), each, owner)}

    def _bury(self, one: Submission, gone: Lost) -> None:
        """Free the sets of a task that is gone; the one that it ran has failed, if that happened once too often."""
        held = self._held(one, gone.members)
        left = [each for each in gone.members if each.id in held]
        if left and not gone.why.startswith("CANCELLED"):  # by somebody, who may mean anything by it
            first, staging = left[0], self._context.staging
            deaths = note_death(
                staging, first.key, first.attempt, gone.task, f"{gone.job}: {gone.why}", one.index.asked
            )
            if len(deaths) > one.index.retries:
                _, failure, _ = lost(staging, first.key, deaths, one.printed_by(gone.job))
                self._fail(one, first, failure)
                left = left[1:]
        self._abandon(left)
        one.forget_task(gone)

    def _fail(self, one: Submission, member: Member, failure: Record) -> None:
        request: Request = one.requests()[member.attempt]
        owner = process.submission(one.number)
        end_claim(self._context, request, lambda found: _holds(found, member, owner), failure)
        forget_deaths(self._context.staging, member.key)  # a retry counts anew

    def _give_up(self, record: Recorded, one: Submission, why: str) -> None:
        self.troubles.append(why)
        _withdraw(one)
        self._forget(record)

    def _forget(self, record: Recorded) -> None:
        """Free all that is left of a submission, and remove it."""
        self._free(self._claims().get(record.number, []))
        self._records.remove(record.number)
        self._leave(record.number).remove()

    def _leave(self, number: int) -> Submission:
        """Ask for its jobs no more, whether they were looked at yet or not."""
        one = self._known.pop(number)
        one.close()
        self._inquiry.drop(one.name_of_jobs(self._context.model))
        return one

    def _free(self, claims: Iterable[Claim]) -> None:
        self._abandon([Member(claim.id, key_of(claim.model, claim.id), claim.attempt) for claim in claims])

    def _abandon(self, members: Iterable[Member]) -> None:
        """Let anybody have some sets; what is finished of them is taken in when it is asked for."""
        ids = sorted((each.id, each.attempt) for each in members)

        def work(connection: Connection) -> None:
            for id, attempt in ids:
                self._context.ledger.abandon(connection, id, attempt)

        if ids:
            self._context.database.transact(work)

    def close(self) -> None:
        """Wait for no answer of Slurm any more."""
        for one in self._known.values():
            one.close()
        self._inquiry.close()


def begun(context: StoreContext[Base], claims: Iterable[Claim]) -> dict[str, str]:
    """Return which of some sets have begun, by id, and in which job; the others of submissions wait."""
    wanted = {claim.submission for claim in claims} - {None}
    found: dict[str, str] = {}
    for record in Submissions(context.database).all() if wanted else ():
        if record.number in wanted:
            one = Submission(context.staging, record.number, record.secret)
            with contextlib.suppress(OSError):
                found |= one.under_way() if one.is_there else {}
    return found


def _hopeless(one: Submission) -> str:
    """Poll a submission; return why none of its jobs can run anything, or nothing."""
    try:
        one.poll()
    except SlurmError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _ended_by_others(one: Submission) -> Iterator[None]:
    """Leave it at that where somebody else has seen that a submission is over, and its spool has gone."""
    try:
        yield
    except FileNotFoundError:
        if os.path.isdir(one.folder):
            raise


def _holds(found: Claim | None, member: Member, owner: str) -> bool:
    return found is not None and (found.state, found.attempt, found.owner) == (RUNNING, member.attempt, owner)


def is_being_made(record: Recorded) -> bool:
    """Tell whether the jobs of a submission may be about to be submitted."""
    if record.creator is None:
        return False
    state = process.state(record.creator)
    return state == "alive" or (state == "elsewhere" and time.time() - record.since < CREATING_SECONDS)


def is_at_work(context: StoreContext[Base], record: Recorded, one: Submission) -> bool | None:
    """Tell whether tasks of a submission give signs of life in its folder; None if that cannot be told from here.

    Of one that was submitted with another results folder only this can be told: that its folder is not there.
    """
    try:
        if one.is_there:
            one.list_spool()
            if context.read_only is not None and one.has_begun:  # a sign of life of one's own would be written there
                return None
            return one.is_at_work
        if record.place == place_of(context):
            return False
        if not record.folder:
            return None
        os.lstat(os.path.join(record.folder, os.path.relpath(one.folder, context.staging.results_dir)))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return None


def _old_spools(context: StoreContext[Base]) -> set[int]:
    """Return the numbers of the spools in this results folder that are not being made just now."""
    found: set[int] = set()
    with contextlib.suppress(OSError), os.scandir(os.path.join(context.staging.root, SUBMISSIONS)) as entries:
        for entry in entries:
            if entry.name.isdigit() and time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD_SECONDS:
                found.add(int(entry.name))
    return found


def place_of(context: StoreContext[Base]) -> str:
    """Return which model, and which results folder, a submission of a store is of."""
    return key_of(context.model, os.path.realpath(context.staging.results_dir))
