"""Where things lie: every name below `results_dir` is made, and read, here.

::

    results_dir/<id><suffix>                       a result; `<id>=2<suffix>` where that name is taken
    results_dir/<id><suffix>.<attempt>.files/      what else its runner left beside it
    results_dir/.entropic/<database uuid>/         the staging folder: what is under way, one for each database
        <worker>.work/                             the workspace of one worker
        <key>.<attempt>.<execution><suffix>        the result of one execution
        <key>.<attempt>.<execution>.files/         what else it left
        <key>.<attempt>.<execution>.slot/          for moving an old folder aside, once; renamed to .spent
        <key>.<attempt>.json                       the sidecar: this attempt is finished
        <key>.<attempt>.slot/                      for a delete, whose attempt's name holds its worker
        logs/<key>.log                             what the last run printed in a worker process

`<worker>` is a `process.Call`, `<execution>` that and a count, so a name tells whose it is.
"""

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from entropic.errors import StoreError

FOLDER = ".entropic"
_DEVICES = r"con|prn|aux|nul|com[0-9]|lpt[0-9]"  # reserved by Windows, with any suffix
_VERBATIM = re.compile(rf"(?!(?:{_DEVICES})\Z)[a-z0-9][a-z0-9_-]{{0,99}}")
_WORKER = r"[A-Za-z0-9-]+\.[0-9a-f]{8}\.\d+\.\d+\.\d+"
_WORK = re.compile(rf"(?P<worker>{_WORKER})\.work")
_ATTEMPT = re.compile(
    r"(?P<key>[0-9a-f]{16})\.(?P<attempt>\d+-[0-9a-f]{8})"
    rf"(?:(?P<sidecar>\.json)|\.(?P<worker>{_WORKER})(?:-(?P<count>\d+))?(?P<rest>.*))",
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
    """

    def __init__(self, results_dir: str, uuid: str, suffix: str) -> None:
        self.results_dir, self.suffix = results_dir, suffix
        self.root = os.path.join(results_dir, FOLDER, uuid)
        self.is_strange = not os.path.isdir(self.root)
        """Whether this results folder was never used with this database before, and may be the wrong one."""
        try:
            os.makedirs(self.root, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"results_dir {results_dir!r} cannot be used: {error.strerror}; it must be a folder that can be "
                "written, or a new one"
            ) from error

    def places(self, id: str) -> Iterator[str]:
        """Return the names, below `results_dir`, that the result of an id may have, best first.

        Two ids never share one, on file systems that fold case or normalise Unicode too: an id that is more than
        lower-case letters, digits, `-` and `_` has a hash in its name, behind a `=`, which no other id can hold.
        """
        stem = _stem(id)
        yield stem + self.suffix
        for number in range(2, MOST_PLACES + 1):
            yield f"{stem}={number}{self.suffix}"

    def place(self, id: str) -> str:
        """Return the first of `places`."""
        return _stem(id) + self.suffix

    def path(self, place: str) -> str:
        """Return the absolute path of a place."""
        return f"{self.results_dir}{os.sep}{place}"

    def is_taken(self, place: str) -> bool:
        """Tell whether anything lies at a place, be it a link that leads nowhere."""
        return _exists(self.path(place))

    def extra(self, place: str, attempt: str) -> str:
        """Return the absolute path of the folder of an attempt's extra files, beside its result."""
        return f"{self.results_dir}{os.sep}{place}.{attempt}.files"

    def inside(self, name: str) -> str:
        """Return the absolute path of a name in the staging folder."""
        return f"{self.root}{os.sep}{name}"

    def log(self, key: str) -> str:
        """Return the absolute path of what the last run of a key printed in a worker process."""
        return os.path.join(self.root, "logs", f"{key}.log")

    def relative(self, path: str) -> str:
        """Return a path as it is recorded: relative if it is below `results_dir`, so that the project can move."""
        real = os.path.realpath(path)
        folder = os.path.realpath(self.results_dir)
        return os.path.relpath(real, folder) if Path(real).is_relative_to(folder) else path

    def listing(self) -> Iterator[Found]:
        """Return what lies in the staging folder and bears a name of ours."""
        for name in os.listdir(self.root):
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
        return functools.partial(os.access, mode=os.F_OK, follow_symlinks=False)
    return os.path.lexists


_exists = _lexists()


def key_of(model: str, id: str) -> str:
    """Return the name of a key in the staging folder."""
    return hashlib.sha256(f"{model}\0{id}".encode()).hexdigest()[:16]


def check_suffix(suffix: str) -> str:
    """Return a file suffix that can end the name of a result.

    Raises
    ------
    StoreError
        If it would lead out of the folder, or is a name of ours.
    """
    if not isinstance(suffix, str) or re.search(r"[/\\\0]", suffix) or suffix in (".files", ".slot", ".spent"):
        raise StoreError(f"file_suffix is the end of a file name, such as '.h5', not {suffix!r}")
    return suffix


def _stem(id: str) -> str:
    return id if _VERBATIM.fullmatch(id) else f"{_readable(id)}={hashlib.sha256(id.encode()).hexdigest()[:16]}"


def _readable(id: str) -> str:
    plain = unicodedata.normalize("NFKD", id).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:40] or "id"
