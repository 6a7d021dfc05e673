"""The journal: what was recorded of each run, kept beside the results, for the day on which the database is lost.

Once a run is published, the line of its sidecar is appended to a file in `.entropic/<uuid>/journal/`: one for each
start of a machine and each user, so that no two machines append to one file, and nobody to another's. It is a help and
no promise: a run counts as stored without it, nothing waits for the disk, and that a line could not be written is said
once. `Store.rebuild` reads them all.

Each line begins behind a newline of its own, so what a kill or a full disk has cut off takes no other line with it.
Whoever can write into the folder can write here: a line is compared with what entropic writes, as a sidecar is.
"""

import contextlib
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from entropic.files import sidecar as sidecars
from entropic.files.sidecar import BROKEN, Sidecar, Unreadable
from entropic.files.staging import Staging, roots
from entropic.files.subfolder import content, opened, put
from entropic.support import names, process

log = logging.getLogger("entropic")
_NAME = re.compile(r"[A-Za-z0-9-]{1,64}\.[0-9a-f]{8}\.[0-9]{1,10}\.(?P<database>[a-z]{1,20})\.jsonl")
_JOURNAL, _PLACE = "journal", "database.json"
_LARGEST = 2**16  # bytes of what is said of a place
LONGEST = 2**26  # bytes of a line that is read
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that was published: what its sidecar said, and where its result lies below `results_dir`.

    Attributes
    ----------
    database
        Of which kind the database was.
    of
        Its uuid.
    """

    run: Sidecar
    place: str
    database: str
    of: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """A row that was deleted, at a time as ISO 8601, naive UTC: what was recorded before is not to come back."""

    model: str
    id: str
    at: str


class Journal:
    """Appends what happens to the rows of one store.

    Parameters
    ----------
    database
        Of which kind that of the store is: its driver's values are what the lines hold.
    at
        The path of its file, if it is one: who rebuilds another database looks there whether this one is lost.
    """

    def __init__(self, staging: Staging, database: str, at: str | None = None) -> None:
        self._staging, self._database, self._at, self._file = staging, database, at, -1
        self._path = ""
        self._is_said = False

    def add(self, run: Sidecar, place: str) -> None:
        """Note that a run was published."""
        text = run.text or sidecars.encode(run)
        if place != run.id + run.suffix and place != names.stem(run.id) + run.suffix:  # the first is most
            text = b'%b,"place":%b}\n' % (text[:-2], quoted(place).encode())
        self.note(text)

    def add_deletion(self, model: str, id: str, at: str) -> None:
        """Note that a row was deleted, and its file perhaps not."""
        self.note(f'{{"entropic":1,"model":{quoted(model)},"id":{quoted(id)},"deleted":"{at}"}}\n'.encode())

    def note(self, text: bytes) -> None:
        """Note a line: of a run whose result lies at its first place, its sidecar as it is."""
        try:
            if self._file < 0 or not os.access(self._path, os.F_OK):  # somebody has removed it
                self._open()
            os.write(self._file, b"\n" + text)
        except OSError as error:
            self._path = ""  # opened anew next time
            log.log(
                logging.DEBUG if self._is_said else logging.WARNING,
                "the journal in %s could not be written: %s",
                self._staging.inside(_JOURNAL),
                error,
            )
            self._is_said = True

    def _open(self) -> None:
        """Open the file of this process; anew, under the same descriptor, which another thread may be writing to.

        Were that closed first, its line might go into a file that somebody else has opened meanwhile.
        """
        folder = self._staging.inside(_JOURNAL)
        self._staging.check_root()
        try:
            os.mkdir(folder)
        except FileExistsError:
            if os.path.islink(folder):
                raise
        self._note_place(folder)
        host, boot, *_ = process.identity().split(".")
        user = os.getuid() if hasattr(os, "getuid") else 0
        path = f"{folder}{os.sep}{host}.{boot}.{user}.{self._database}.jsonl"
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FileExistsError(f"{path} is not a plain file")
        if self._file < 0:
            self._file = file
        else:
            os.dup2(file, self._file, inheritable=False)
            os.close(file)
        self._path = path

    def _note_place(self, folder: str) -> None:
        """Note where the database lies, as the way from the results folder: a project moves as a whole."""
        if self._at is None:
            return
        told = json.dumps({"entropic": 1, "sqlite": os.path.relpath(self._at, self._staging.results_dir)}).encode()
        with opened(self._staging.root, _JOURNAL) as inside:
            with contextlib.suppress(OSError):
                if content(_PLACE, inside, most=len(told) + 1) == told:
                    return
            put(inside, _PLACE, told, f"{_PLACE}.{os.getpid()}")

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()


def places(results_dir: str) -> dict[str, str]:
    """Return the path at which each database that has used a results folder was when it was last used, by its uuid.

    Only of those that are files; what is noted may be anybody's.
    """
    found = {}
    for uuid, root in roots(results_dir).items():
        with contextlib.suppress(OSError, *BROKEN), opened(root, _JOURNAL) as inside:
            told = json.loads(content(_PLACE, inside, most=_LARGEST))
            found[uuid] = os.path.normpath(os.path.join(results_dir, told["sqlite"]))
    return found


def read(results_dir: str, without: str = "") -> Iterator[Entry | Deletion | Unreadable]:
    """Yield what all journals of a results folder say, those of other databases too, in no order.

    Parameters
    ----------
    without
        The uuid of a database whose journals are left out.
    """
    for uuid, root in roots(results_dir).items():
        folder = os.path.join(root, _JOURNAL)
        if uuid == without or os.path.islink(folder):
            continue
        for name in _listed(folder):
            if match := _NAME.fullmatch(name):
                yield from _lines(os.path.join(folder, name), match["database"], uuid)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # not there, not ours to read, or no folder
        return []


def _lines(path: str, database: str, uuid: str) -> Iterator[Entry | Deletion | Unreadable]:
    try:
        file = os.open(path, _FLAGS)
    except OSError as error:
        yield Unreadable(f"{path} cannot be read ({error.strerror})")
        return
    with open(file, "rb") as lines:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            yield Unreadable(f"{path} is not a file that entropic wrote")
            return
        while line := lines.readline(LONGEST):
            if line != b"\n":
                yield _parsed(line, database, uuid)


def _parsed(line: bytes, database: str, uuid: str) -> Entry | Deletion | Unreadable:
    if not line.endswith(b"\n"):
        return Unreadable("the line was cut off")
    try:
        fields = json.loads(line)
        place, deleted = fields.pop("place", None), fields.pop("deleted", None)
        if deleted is not None:
            return _deletion(fields, deleted)
        found = sidecars.made_of(fields)
        if isinstance(found, Unreadable):
            return found
        if not names.is_one(names.KEY, found.key) or not names.is_one(names.ATTEMPT, found.attempt):
            return Unreadable("entropic did not write it: its key or its attempt is not a valid name")
        if (field := sidecars.flaw(found, found.key, found.attempt)) is not None:
            return Unreadable(f"entropic did not write it: its {field} is {getattr(found, field)!r:.80}")
        place = names.stem(found.id) + found.suffix if place is None else place
        if not names.is_place(found.id, place):
            return Unreadable(f"entropic did not write it: its place is {place!r:.80}")
        return Entry(found, place, database, uuid)
    except BROKEN as error:
        return Unreadable(f"entropic did not write it ({type(error).__name__}: {error!s:.200})")


def _deletion(fields: dict[str, Any], at: Any) -> Deletion | Unreadable:
    found = Deletion(fields["model"], fields["id"], at)
    is_right = names.is_text(found.model) and names.is_text(found.id) and names.is_time(at)
    return found if is_right else Unreadable("entropic did not write it: it does not say which row was deleted")
