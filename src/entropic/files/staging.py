"""Where things are: every name below `results_dir` is made, and read, here.

::

    results_dir/<id><suffix>                       a result; `<id>=2<suffix>` where that name is taken
    results_dir/<id>/<main>                        the main file of a result of several, whose suffix is `/<main>`
    results_dir/<id><suffix>.<attempt>.files/      what else its runner left beside it
    results_dir/<id><suffix>.<attempt>.kept/       what was returned and does not fit the suffix; never removed
    results_dir/<id>.<attempt>.changed<suffix>     a result that somebody had changed, when it was replaced
    results_dir/.entropic/<database uuid>/         the staging folder: what is under way, one for each database
        <worker>.work/                             the workspace of one worker
        <key>.<attempt>.<execution><suffix>        the result of one execution
        <key>.<attempt>.<execution>.files/         what else it left
        <key>.<attempt>.<execution>.slot/          for moving an old folder aside, once; renamed to .spent
        <key>.<attempt>.json                       the sidecar: this attempt is finished
        <key>.<attempt>.slot/                      for a delete, whose attempt's name holds its worker
        journal/<host>.<boot>.<user>.<database>.jsonl  what was recorded of the runs, should the database be lost
        journal/database.json                      where the database was, if it is a file
        environments/<number>.json                 in what environment runs were executed
        environments/<number>.diff                 how a checkout differed from its commit
        codes/<number>.json                        what a worker had loaded, where that is not what was sent to it
        logs/<key>.log                             what the last run printed in a worker process
        checkpoints/<key>.<attempt>.<execution>/   what an unfinished run goes on from; renamed to .over to be removed
        reports/<key>.<attempt>.json               how far a run says it is
        deaths/<key>.<generation>.<task>           why a task of a job was ended in the middle of a set
        submissions/<number>/                      the spool of jobs that no sweep waits for

`<worker>` is a `process.Call`, `<execution>` that and a count, so a name tells whose it is.
"""

import copy
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from entropic.errors import ReadOnlyError, StoreError
from entropic.support import names
from entropic.support.names import key_of, stem, whole

__all__ = [
    "CHECKPOINTS",
    "DEATHS",
    "FOLDER",
    "LOGS",
    "MOST_PLACES",
    "REPORTS",
    "SUBMISSIONS",
    "Found",
    "Staging",
    "key_of",
]
FOLDER = ".entropic"
LOGS, CHECKPOINTS, REPORTS = "logs", "checkpoints", "reports"  # folders inside of a staging folder
DEATHS, SUBMISSIONS = "deaths", "submissions"  # the same
_WORK = re.compile(rf"(?P<worker>{names.WORKER})\.work")
_ATTEMPT = re.compile(
    rf"(?P<key>{names.KEY})\.(?P<attempt>{names.ATTEMPT})"
    rf"(?:(?P<sidecar>\.json)|\.(?P<worker>{names.WORKER})(?:-(?P<count>[0-9]+))?(?P<rest>.*))",
    re.DOTALL,
)
MOST_PLACES = 99


@dataclass(frozen=True, slots=True)
class Found:
    """What a name in the staging folder says: of which attempt it is, and of which worker."""

    name: str
    key: str = ""
    attempt: str = ""
    worker: str = ""
    sidecar: bool = False
    work: bool = False
    delete: bool = False  # the slot of a delete

    @property
    def stem(self) -> str:
        """`<key>.<attempt>`, which a sidecar and all that belongs to its attempt share."""
        return f"{self.key}.{self.attempt}"


class Staging:
    """The folder of all that is under way for one database in one results folder.

    Parameters
    ----------
    results_dir
        Absolute; made if it does not exist.
    uuid
        Of the database: another one's attempts in the same folder are none of ours.
    suffix
        What the names of results end with.
    read_only
        Whether nothing is made.

    Raises
    ------
    ReadOnlyError
        If results are in `results_dir`, and this user cannot write there.
    StoreError
        If it cannot be used.
    """

    def __init__(self, results_dir: str, uuid: str, suffix: str, read_only: bool = False) -> None:
        self.results_dir, self.suffix = results_dir, suffix
        self.ending = whole(suffix)
        """Of the name of a whole result: the suffix, or what of it is before the name of a main file."""
        self.root = os.path.join(results_dir, FOLDER, uuid)
        self._in_results, self._in_root = results_dir + os.sep, self.root + os.sep
        self.check_root()
        self.is_new = self.is_strange = not os.path.isdir(self.root)
        """Whether this results folder was never used with this database before, and may be the wrong one."""
        if read_only:
            return
        if not self.is_strange and not os.access(self.root, os.W_OK):
            raise ReadOnlyError(f"{self.root} cannot be written")
        try:
            os.makedirs(self.root, exist_ok=True)
        except OSError as error:
            if os.path.isdir(results_dir) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise ReadOnlyError(f"{results_dir} cannot be written: {error.strerror}") from error
            raise StoreError(
                f"results_dir {results_dir!r} cannot be used: {error.strerror}; it must be a folder that can be "
                "written, or a new one"
            ) from error

    def with_suffix(self, suffix: str) -> "Staging":
        """Return the same folder for results with another suffix."""
        made = copy.copy(self)
        made.suffix, made.ending = suffix, whole(suffix)
        return made

    def check_root(self) -> None:
        """Refuse to work in a folder that a link leads to: another one than the results are in.

        `results_dir` itself, and what is above it, may be links: those are the user's.

        Raises
        ------
        StoreError
            Nothing was changed.
        """
        for folder in (os.path.dirname(self.root), self.root):
            if os.path.islink(folder):
                raise StoreError(
                    f"{folder} is a link, which may lead anywhere, so entropic does not work in it; put a folder in "
                    "its place (results_dir itself may be a link)"
                )

    def places(self, id: str) -> Iterator[str]:
        """Return the names, below `results_dir`, that the result of an id may have, best first.

        Two ids never share one, on file systems that fold case or normalise Unicode too: an id that is more than
        lower-case letters, digits, `-` and `_` has a hash in its name, behind a `=`, which no other id can hold.
        """
        begin = stem(id)
        yield begin + self.suffix
        for number in range(2, MOST_PLACES + 1):
            yield f"{begin}={number}{self.suffix}"

    def place(self, id: str) -> str:
        """Return the first of `places`."""
        return stem(id) + self.suffix

    def path(self, place: str) -> str:
        """Return the absolute path of all that lies at a place: what is renamed, measured and removed as one."""
        return self._in_results + whole(place)

    def file(self, place: str) -> str:
        """Return the absolute path of the file at a place, which a row leads to: the main one, if there are several."""
        return self._in_results + place

    def is_taken(self, place: str) -> bool:
        """Tell whether anything is at a place, be it a link that leads nowhere."""
        return _exists(self._in_results + whole(place))

    def extra(self, place: str, attempt: str) -> str:
        """Return the absolute path of the folder of an attempt's extra files, beside its result."""
        return f"{self.results_dir}{os.sep}{whole(place)}.{attempt}.files"

    def kept(self, place: str, attempt: str) -> str:
        """Return the absolute path of the folder that keeps what the suffix could not hold."""
        return f"{self.results_dir}{os.sep}{whole(place)}.{attempt}.kept"

    def changed(self, place: str, attempt: str) -> Iterator[str]:
        """Return the absolute paths that a result may be kept at which somebody changed, best first."""
        place, suffix = whole(place), whole(self.suffix)
        ends = bool(suffix) and place.endswith(suffix)
        begin, suffix = (place.removesuffix(suffix), suffix) if ends else (place, "")
        yield f"{self.results_dir}{os.sep}{begin}.{attempt}.changed{suffix}"
        for number in range(2, MOST_PLACES + 1):
            yield f"{self.results_dir}{os.sep}{begin}.{attempt}.changed={number}{suffix}"

    def inside(self, name: str) -> str:
        """Return the absolute path of a name in the staging folder."""
        return self._in_root + name

    def log(self, key: str) -> str:
        """Return the absolute path of what the last run of a key printed in a worker process."""
        return os.path.join(self.root, LOGS, f"{key}.log")

    def relative(self, path: str) -> str:
        """Return a path as it is recorded: relative if it is below `results_dir`, so that the project can move."""
        real = os.path.realpath(path)
        folder = os.path.realpath(self.results_dir)
        return os.path.relpath(real, folder) if Path(real).is_relative_to(folder) else path

    def results(self) -> list[str]:
        """Return the names of all that is in `results_dir`; of none, where that is not there to be looked at."""
        try:
            return os.listdir(self.results_dir)
        except FileNotFoundError:
            return []

    def names(self) -> frozenset[str] | None:
        """Return all names in the staging folder; None if they cannot be read."""
        try:
            return frozenset(os.listdir(self.root))
        except OSError:
            return None

    def listing(self) -> Iterator[Found]:
        """Return what is in the staging folder and bears a name of ours."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:  # nothing was ever run here, and it is only looked at
            return
        except PermissionError as error:
            raise StoreError(
                f"{self.root} belongs to another user, and cannot be read, so nothing is known of what is under way; "
                "ask them to let your group read it"
            ) from error
        for name in names:
            if work := _WORK.fullmatch(name):
                yield Found(name, worker=work["worker"], work=True)
            elif match := _ATTEMPT.fullmatch(name):
                attempt, worker, sidecar = match["attempt"], match["worker"] or "", bool(match["sidecar"])
                delete = not sidecar and match["count"] is None
                yield Found(name, match["key"], f"{attempt}.{worker}" if delete else attempt, worker, sidecar,
                            delete=delete)  # fmt: skip


def _lexists() -> Callable[[str], bool]:
    """Return `os.path.lexists`, where the system can without the cost of an exception for what is not there."""
    if os.access in os.supports_follow_symlinks:
        return lambda path: os.access(path, os.F_OK, follow_symlinks=False)
    return os.path.lexists


_exists = _lexists()


def roots(results_dir: str) -> dict[str, str]:
    """Return the staging folder of each database that has used a results folder, by its uuid; no links."""
    above = os.path.join(results_dir, FOLDER)
    try:
        found = sorted(os.listdir(above))
    except OSError:  # not there, or not ours to read
        return {}
    paths = {uuid: os.path.join(above, uuid) for uuid in found if names.is_one(names.UUID, uuid)}
    return {uuid: path for uuid, path in paths.items() if not os.path.islink(path)}


def locked_up(results_dir: str) -> str | None:
    """Return why a folder of results that exists cannot be written by this user; None if it can."""
    for folder in (results_dir, os.path.join(results_dir, FOLDER)):
        if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} cannot be written"
    return None
