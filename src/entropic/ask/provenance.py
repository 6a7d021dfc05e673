"""`Store.provenance`: where results come from. It is no part of a row, and of no column of the user's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from entropic.db.flaws import sound_number
from entropic.db.origins import diff_of, parsed
from entropic.files import environments
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import aligned, html_table, visible

if TYPE_CHECKING:
    from entropic.ask.columns import Column

_KINDS = {"started_at": "datetime", "ended_at": "datetime", "elapsed_seconds": "float", "cpu_seconds": "float"}
_KINDS |= {"peak_memory": "integer", "git_dirty": "boolean", "argv": "json", "packages": "json"}
_TEXTS = ("entropic", "python", "implementation", "platform", "host", "job", "job_asked", "cwd")


@dataclass(frozen=True, slots=True, repr=False)
class Provenance:
    """Where a result comes from; what is not known, as of results that were registered, is None.

    Attributes
    ----------
    id : str
        The key.
    started_at, ended_at : datetime
        Naive UTC.
    elapsed_seconds, cpu_seconds : float
        How long its run took, and how long processors worked for its process and the programs that it waited for.
        Of runs of less than 10 ms only the former is known.
    peak_memory : int
        The most bytes that its process had held when the run ended, or the largest of those programs.
    entropic, python, implementation, platform, host : str
        Versions, and the machine.
    job : str
        The job of a scheduler that it ran in, such as `"Slurm 1234_5"`.
    job_asked : str
        For how much time and memory that job had asked, as `"time=2:00:00 mem=4G"`, if entropic has submitted it.
    argv, cwd : list of str, str
        The command line, without passwords, and the working directory of the process that ran it.
    git_root, git_commit, git_dirty, git_diff : str, str, bool, str
        The checkout that the runner's file lies in; whether tracked files differed from the commit, and how, if the
        store was opened with `git_diff`.
    packages : dict
        The versions of the libraries that the runner's code imports.
    """

    id: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    elapsed_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    entropic: str | None = None
    python: str | None = None
    implementation: str | None = None
    platform: str | None = None
    host: str | None = None
    job: str | None = None
    job_asked: str | None = None
    argv: list[str] | None = None
    cwd: str | None = None
    git_root: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    git_diff: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)

    def shown(self) -> list[tuple[str, str]]:
        """Return what is known, by name, as it is shown."""
        told = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in ("id", "git_diff")]
        rows = [(name, _shown(value)) for name, value in told if value is not None and value != {}]
        if self.git_diff is not None:
            rows.append(("git_diff", f"{len(self.git_diff.splitlines()):,} lines"))
        return rows

    def __str__(self) -> str:
        lines = [f"  {line}" for line in aligned(self.shown())] or ["  nothing is known of its run"]
        return visible("\n".join([self.id, *lines]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self.shown(), title=self.id)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version or '?'}" for name, version in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:,}" if type(value) is int else str(value)


def provenance(context: StoreContext[Any], rows: Sequence[Base]) -> list[Provenance]:
    """Return where the results of some rows come from, in the same order."""
    known = {id: told for id, *told in context.origins.of({row.id for row in rows})}
    told = environments_of(context, {number for number, *_ in known.values() if number is not None})
    for one in told.values():
        if (which := diff_of(one)) is not None:
            one["git"]["diff"] = diff(context, which)
    return [_of(row, known.get(row.id, [None] * 4), told) for row in rows]


def diff(context: StoreContext[Any], number: int) -> str | None:
    """Return what is known under a number of how a checkout differed from its commit."""
    found = context.origins.diff(number)  # before a kill, or a database without it, is thought of
    return environments.read_diff(context.staging, number) if found is None else found


def environments_of(context: StoreContext[Any], numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return what is known of some environments, by their numbers."""
    wanted = {number for number in numbers if sound_number(number) is not None}
    told = context.origins.environments(wanted)
    for number in wanted - told.keys():  # a kill came before it was recorded
        told[number] = parsed(environments.read(context.staging, number))
    return told


def _of(row: Base, claim: Sequence[Any], told: Mapping[int, Mapping[str, Any]]) -> Provenance:
    number, _, cpu_seconds, peak_memory = claim
    found = told.get(number, {})
    if number is None and cpu_seconds is None:  # registered, or of an earlier version
        return Provenance(row.id)
    git = _like(found.get("git"), dict) or {}
    elapsed = _like((row.custom_data or {}).get("elapsed_seconds"), (int, float))
    ended = row.created_at
    return Provenance(
        row.id,
        None if elapsed is None else ended - timedelta(seconds=elapsed),
        ended,
        elapsed,
        cpu_seconds,
        peak_memory,
        argv=_like(found.get("argv"), list),
        git_dirty=_like(git.get("dirty"), bool),
        packages=_like(found.get("packages"), dict) or {},
        **{name: _like(found.get(name), str) for name in _TEXTS},
        **{f"git_{name}": _like(git.get(name), str) for name in ("root", "commit", "diff")},
    )


def _like(value: Any, kind: Any) -> Any:
    """Return what was read, if it is of the kind that entropic writes."""
    return value if isinstance(value, kind) else None


def columns(found: Sequence[Provenance]) -> "list[Column]":
    """Return it as columns of a table, called `provenance.host`, say."""
    from entropic.ask.columns import Column  # as all that only tables need

    return [
        Column(
            f"provenance.{one.name}", _KINDS.get(one.name, "text"), [getattr(each, one.name) for each in found], True
        )
        for one in fields(Provenance)
        if one.name != "id"
    ]
