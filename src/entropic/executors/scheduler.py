"""Slurm itself: what jobs ask of it, and its commands, which are called here only.

No poll of the queue comes sooner than `POLL_SECONDS` after the one before, however many jobs there are, and each is one
`squeue`: `test_the_scheduler_is_asked_every_few_seconds_at_most`. Who looks at many submissions asks for all of them at
once: `test_the_queue_is_asked_once_for_all_submissions`.
"""

import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

from entropic.errors import ParameterError, SlurmError
from entropic.executors.spool import JOB
from entropic.support.show import one_line, spelled

POLL_SECONDS = 5.0  # between two polls of the queue, at least
MOST_POLL_SECONDS = 30.0  # the same, where nothing has changed for a while
ANSWER_SECONDS = 120.0  # that a command may take
MOST_JOBS = 10_000
LEARN = "learn"  # as time, or as mem: as much as stored runs tell
MOST_NAMES = 1_000  # in one question: a word of a command line may have 128 kB
_COLUMNS = "JobArrayID:40,State:30,RestartCnt:20,Name:100,Reason:120"
_LINE = re.compile(
    rf"(?P<id>{JOB}) +(?P<state>[A-Z_]+) +(?P<restarts>[0-9]+) +(?P<name>[A-Za-z0-9_-]+) +(?P<reason>.*)"
)
_GOES_ON = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
}
_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
# Of a job that will never start, whoever else ends.
HOPELESS = {
    *("BadConstraints", "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit", "InvalidAccount"),
    *("InvalidQOS", "AccountNotAllowed", "QOSNotAllowed"),
}
_OURS = re.compile(
    r"-[aJoeWHM].*|--(arr.*|job-n.*|outp.*|err.*|open-m.*|wra.*|wait?|pars.*|hol.*|tes.*|clusters?)(=.*)?", re.DOTALL
)  # other clusters are not asked about their jobs; options may be shortened


@dataclass(frozen=True, slots=True)
class Slurm:
    """A client for `sweep` and `stream` that runs the sets in jobs of Slurm; it belongs on a login node, or in a job.

    Each job starts `nodes * tasks_per_node` tasks, and each of these runs one set at a time, in a process of its own
    with `cpus_per_task` cores. The nodes need the results folder under the same path, this Python, and no database.

    Parameters
    ----------
    nodes, tasks_per_node, cpus_per_task
        What one job asks for.
    mem, time, partition
        The same, as Slurm spells it: `"4G"` for each node, `"2:00:00"`; None leaves it to the site. `"learn"` for `mem`
        or `time` asks for what stored runs tell that the sets will take, with room to spare.
    array
        How many such jobs there may be at once: then they are an array, each element of which begins as soon as there
        is room for it. None is one.
    setup
        Lines of bash that each job runs first: `"module load gcc"`.
    extra
        Further options of `sbatch`: `["--account=physics", "--constraint=a100"]`.

    Raises
    ------
    ParameterError
        If one of them is not valid.
    """

    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    mem: str | int | None = None
    time: str | int | None = None
    partition: str | None = None
    array: int | None = None
    setup: str = ""
    extra: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("nodes", "tasks_per_node", "cpus_per_task", "array"):
            value = getattr(self, name)
            if (value is not None or name != "array") and (type(value) is not int or not 0 < value <= MOST_JOBS):
                raise ParameterError(
                    f"{name} of Slurm must be a whole number from 1 to {MOST_JOBS:,}, not {spelled(value)}"
                )
        for name in ("mem", "time", "partition"):
            value = getattr(self, name)
            if value is not None and (type(value) not in (str, int) or not re.fullmatch(r"[\w.:,+-]+", str(value))):
                raise ParameterError(f"{name} of Slurm must be as `sbatch --{name}` takes it, not {spelled(value)}")
        if not isinstance(self.setup, str) or "\0" in self.setup:
            raise ParameterError(f"setup of Slurm must be lines of bash, not {spelled(self.setup)}")
        is_list = isinstance(self.extra, Sequence) and not isinstance(self.extra, str)
        if not is_list or not all(isinstance(one, str) and one.startswith("-") for one in self.extra):
            raise ParameterError(
                f"extra of Slurm must be a list of options such as '--account=physics', not {spelled(self.extra)}"
            )
        for one in self.extra:
            if _OURS.fullmatch(one):
                raise ParameterError(f"{one!r} cannot be an extra option of Slurm: entropic sets it itself")

    @property
    def tasks(self) -> int:
        """How many tasks a job has."""
        return self.nodes * self.tasks_per_node

    @property
    def limits(self) -> str:
        """For how much time and memory a job asks: "time=2:00:00 mem=4G"; empty, if for what the site gives."""
        asked = {"time": self.time, "mem": self.mem}
        return " ".join(f"{name}={value}" for name, value in asked.items() if value is not None)

    def options(self) -> list[str]:
        """Return what `sbatch` is asked for."""
        asked = {
            "nodes": self.nodes,
            "ntasks-per-node": self.tasks_per_node,
            "cpus-per-task": self.cpus_per_task,
            "mem": self.mem,
            "time": self.time,
            "partition": self.partition,
        }
        return [f"--{name}={value}" for name, value in asked.items() if value is not None] + list(self.extra)


class Job(NamedTuple):
    """A job, or an element of an array, as the queue shows it."""

    id: str
    state: str
    restarts: int
    reason: str

    @property
    def goes_on(self) -> bool:
        """Whether it runs, or may run yet."""
        return self.state in _GOES_ON

    @property
    def waits(self) -> bool:
        """Whether it is to begin, the first time or again."""
        return self.state in _WAITS

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason not in ("", "None") else self.state


class Inquiry:
    """Asks, now and then, what has become of jobs: one `squeue` for the jobs of all names that anybody looks for."""

    def __init__(self) -> None:
        self._polling: tuple[subprocess.Popen[str], IO[str], float, list[str]] | None = None
        self._pause, self._next = POLL_SECONDS, 0.0
        self._asked: dict[str, float] = {}  # when it was asked for each name
        self._told: dict[str, dict[str, Job]] = {}  # what nobody has seen yet
        self._seen: dict[str, dict[str, Job]] = {}
        self.silent_since: float | None = None
        """When the scheduler last answered, by the monotonic clock; None if it answers."""
        self.trouble = ""
        """What `squeue` says in place of an answer."""

    def add(self, name: str) -> None:
        """Ask for the jobs of a name, too."""
        self._asked.setdefault(name, float("-inf"))

    def drop(self, name: str) -> None:
        """Ask for them no more; without any name left, wait for no answer."""
        for known in (self._asked, self._told, self._seen):
            known.pop(name, None)
        if not self._asked:
            self.close()

    def close(self) -> None:
        """Wait for no answer any more."""
        if self._polling is not None:
            process, out, *_ = self._polling
            process.kill()
            process.wait()
            out.close()
            self._polling = None

    def postpone(self) -> None:
        """Ask anew, in a while: an answer that is on its way knows nothing of jobs that are submitted now."""
        self.close()
        self._pause = POLL_SECONDS
        self._next = time.monotonic() + POLL_SECONDS

    def poll(self, name: str) -> dict[str, Job] | None:
        """Return all jobs of a name that Slurm remembers, by id; None if there is no new answer yet."""
        if name in self._told:  # before anything is asked anew, which may be for fewer names
            return self._told.pop(name)
        self.add(name)
        self._go_on()
        return self._told.pop(name, None)

    def _go_on(self) -> None:
        now = time.monotonic()
        if self._polling is None:
            if now >= self._next:
                self._begin()
            return
        process, out, began, names = self._polling
        if process.poll() is None:
            if now - began < ANSWER_SECONDS:
                return
            process.kill()
            process.wait()
        self._polling = None
        with out:
            out.seek(0)
            said = out.read()
        if process.returncode != 0:
            self._fail(said.strip() or f"it ended with {process.returncode}")
            return
        self.silent_since = None
        told = _sorted(said, [name for name in names if name in self._asked])
        is_new = any(self._seen.get(name) != jobs for name, jobs in told.items())
        self._told |= told
        self._seen |= told
        self._pause = POLL_SECONDS if is_new else min(1.2 * self._pause, MOST_POLL_SECONDS)
        self._next = now + self._pause

    def _begin(self) -> None:
        """Ask, without waiting for the answer: a scheduler that is away keeps its askers waiting."""
        names = sorted(self._asked, key=self._asked.__getitem__)[:MOST_NAMES]
        only = f"--name={','.join(names)}"
        command = ["squeue", "--noheader", "--array", "--states=all", only, f"--Format={_COLUMNS}"]
        now = time.monotonic()
        self._asked.update(dict.fromkeys(names, now))
        self._next = now + POLL_SECONDS
        out = tempfile.TemporaryFile("w+")  # noqa: SIM115  (read and closed when the answer is there)
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True, env=_outside()
            )
        except OSError as error:
            out.close()
            self._fail(f"{error.strerror}: squeue")
            return
        self._polling = process, out, time.monotonic(), names

    def _fail(self, why: str) -> None:
        self.trouble = why
        self.silent_since = self.silent_since or time.monotonic()
        self._pause = min(1.2 * self._pause, MOST_POLL_SECONDS)
        self._next = time.monotonic() + self._pause


def _sorted(said: str, names: Sequence[str]) -> dict[str, dict[str, Job]]:
    """Return what `squeue` says, by the names of the jobs; also of names of which it says nothing."""
    found: dict[str, dict[str, Job]] = {name: {} for name in names}
    for line in said.splitlines():
        one = _LINE.fullmatch(line.strip())
        if one is not None and one["name"] in found:
            job = Job(one["id"], one["state"], int(one["restarts"]), one_line(one["reason"].strip()))
            found[one["name"]][job.id] = job
    return found


class Scheduler:
    """Submits the jobs of one sweep, and looks at them: all bear one name, which no other job has.

    Parameters
    ----------
    asked
        What the jobs ask for.
    name
        Theirs.
    inquiry
        Which asks for the jobs of others, too; None for one of its own.
    """

    def __init__(self, asked: Slurm, name: str, inquiry: Inquiry | None = None) -> None:
        self.asked, self.name = asked, name
        self._inquiry = inquiry or Inquiry()

    @property
    def silent_since(self) -> float | None:
        """When the scheduler last answered, by the monotonic clock; None if it answers."""
        return self._inquiry.silent_since

    @property
    def trouble(self) -> str:
        """What `squeue` says in place of an answer."""
        return self._inquiry.trouble

    def submit(self, script: str, count: int, output: str) -> list[str]:
        """Submit a job, or an array of so many, and return their ids.

        Raises
        ------
        SlurmError
            With what `sbatch` says.
        """
        command = ["sbatch", "--parsable", *self.asked.options(), f"--job-name={self.name}", "--open-mode=append"]
        many = self.asked.array is not None
        command.append(f"--output={output}{os.sep}{'job-%A_%a' if many else 'job-%j'}.out")
        if many:
            command.append(f"--array=0-{count - 1}")
        self._inquiry.postpone()
        said = call(command, script)
        if not re.fullmatch(r"[0-9]+", id := said.partition(";")[0].strip()):
            raise SlurmError(f"sbatch answers {said.strip()!r}, which is not the id of a job")
        self._inquiry.postpone()
        return [f"{id}_{number}" for number in range(count)] if many else [id]

    def poll(self) -> dict[str, Job] | None:
        """Return all jobs that Slurm remembers, by id, each few seconds; None if there is no new answer yet."""
        return self._inquiry.poll(self.name)

    def cancel(self, only_waiting: bool = False) -> None:
        """Cancel the jobs: all of them, or those that have not begun.

        Raises
        ------
        SlurmError
            With what `scancel` says.
        """
        call(["scancel", f"--name={self.name}", *(["--state=PENDING"] if only_waiting else [])])

    def close(self) -> None:
        """Wait for no answer any more."""
        self._inquiry.drop(self.name)


def call(command: list[str], given: str = "") -> str:
    """Call a command of Slurm, and return what it says.

    Raises
    ------
    SlurmError
        With what it says if it fails.
    """
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=ANSWER_SECONDS, env=_outside()
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} does not answer within {ANSWER_SECONDS:g} s") from None
    except OSError as error:
        raise SlurmError(
            f"{command[0]} cannot be called ({error.strerror}): is this a machine from which jobs are submitted?"
        ) from None
    if done.returncode != 0:
        raise SlurmError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def submitter() -> str:
    """Return who submits jobs here: the user, and the cluster; the machine, where Slurm does not name its cluster.

    Only who is the same learns from Slurm's silence that a job is over: another cluster's Slurm does not know it, and
    one that keeps jobs private shows none of other users.
    """
    try:
        found = re.search(r"^ClusterName\s*=\s*(\S+)\s*$", call(["scontrol", "show", "config"]), re.MULTILINE)
    except SlurmError:
        found = None
    return f"{os.getuid()}@{found[1] if found else f'host {platform.node()}'}"


def _outside() -> dict[str, str]:
    """Return the environment without what it says of a job that this process is in, and of what is listed."""
    dropped = ("SLURM_", "SQUEUE_", "SCANCEL_", "SINFO_")
    kept = ("SLURM_CONF", "SLURM_JWT")  # where Slurm is, and who asks
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(dropped)}
