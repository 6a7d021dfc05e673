"""How a sweep stands that was submitted, and is not waited for."""

from dataclasses import dataclass, field

from entropic.support.show import counted


@dataclass(frozen=True, slots=True)
class Submitted:
    """How a sweep stands that was submitted, and is not waited for.

    Attributes
    ----------
    sets : int
        How many sets it has.
    stored, failed : int
        How many have a row, and how many have failed since the call before.
    running, waiting : int
        How many jobs of Slurm run, and how many are submitted and have not begun.
    elsewhere : int
        How many are run by other processes.
    new : int
        How many were submitted by this call.
    jobs : list of str
        The jobs of these, by Slurm's numbers.
    """

    sets: int = 0
    stored: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    elsewhere: int = 0
    new: int = 0
    jobs: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, or is to run, any more."""
        return not (self.running or self.waiting or self.elsewhere)

    def __str__(self) -> str:
        parts = [f"{self.stored:,} of {counted(self.sets, 'set')} stored"]
        parts += [f"{self.running:,} running"] if self.running else []
        parts += [f"{self.waiting:,} waiting in the queue"] if self.waiting else []
        parts += [f"{self.elsewhere:,} run by other processes"] if self.elsewhere else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        new = f"; {self.new:,} submitted now, in {_jobs(self.jobs)}" if self.new else ""
        return ", ".join(parts) + new


def _jobs(ids: list[str]) -> str:
    first, last = ids[0], ids[-1]
    return f"job {first}" if len(ids) == 1 else f"jobs {first} to {last}"
