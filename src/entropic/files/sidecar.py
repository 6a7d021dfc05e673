"""The sidecar: the once-only moment at which an attempt is finished.

It is created exclusively, filled by one write, and never written again. Complete (it parses and ends with a
newline), it says everything that publication needs, so anyone can publish the attempt. Torn, it says nothing, and
its attempt's name is burnt.

Who reads it may not be who wrote it. One that a later version of entropic wrote, or that says anything else than
entropic writes, is `Unreadable`: nothing is published, run or removed because of it.
"""

import errno
import functools
import json
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

from entropic.files.extent import Extent
from entropic.files.packing import PACKED, packed, unpacked
from entropic.files.staging import Staging
from entropic.files.task import Task
from entropic.params.keys import RESERVED
from entropic.provenance.input import Input, is_input
from entropic.support import names
from entropic.support.compact_json import compact

VERSION = 2
"""The newest that is read: 2 tells what a run has read of stores, and whatever else is said is said as 1."""
_PLAIN = 1


class Origin(NamedTuple):
    """What made a result, as the ledger has it: numbers of its environment and its code, and what its run took."""

    environment: int | None = None
    code: int | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


NO_ORIGIN = Origin()
_NO_LINK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor a pipe that is waited for
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY
LARGEST = 2**31  # bytes: no database takes such a row


@dataclass(slots=True)  # not frozen, which would make every run a few microseconds slower
class Sidecar:
    """A finished attempt: its result and its row.

    Attributes
    ----------
    key : str
        The key's name in the staging folder.
    values : dict
        The user's columns, as the driver stores them.
    created_at : str
        ISO 8601, naive UTC.
    execution : str
        Which execution of the attempt wrote the result: its name in the staging folder ends with it and the suffix.
    slotted : bool
        Whether its publication moves an old result aside, into its slot.
    extra : bool
        Whether the runner left more files than its result.
    outcomes, missing : dict or None
        Of a model with outcome columns: plain values by name, and why others have none.
    origin : Origin or None
        What made it.
    digest, replaced : str or None
        The SHA-256 of the result, and of what lay at its place when it was made, if the store asks for that.
    inputs : tuple of Input or None
        What its run has read of stores, if it has read something.
    text : bytes or None
        How it was written, if this process has written it; no part of what it says.
    custom_text : str or None
        Its custom data as JSON, if this process has written it; no part of what it says.
    place : str or None
        Where this process has brought its result; no part of what it says.
    was_altered : bool
        Whether what it replaces has other bytes than were published; no part of what it says.
    seconds : float or None
        How long the runner took, if it ran in this process; no part of what it says. Custom data may tell it, too, but
        the user's own word for it comes before ours.
    """

    model: str
    id: str
    key: str
    attempt: str
    owner: str
    values: dict[str, Any]
    custom_data: dict[str, Any]
    created_at: str
    execution: str
    suffix: str
    size: int
    mtime_ns: int
    folder: bool
    slotted: bool
    extra: bool
    outcomes: dict[str, Any] | None = None
    missing: dict[str, str] | None = None
    origin: Origin | None = None
    digest: str | None = None
    replaced: str | None = None
    inputs: tuple[Input, ...] | None = None
    text: bytes | None = field(default=None, init=False, compare=False, repr=False)
    custom_text: str | None = field(default=None, init=False, compare=False, repr=False)
    place: str | None = field(default=None, init=False, compare=False, repr=False)
    was_altered: bool = field(default=False, init=False, compare=False, repr=False)
    seconds: float | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def result(self) -> str:
        """The name of the result in the staging folder: of the whole, if that is a folder with a main file."""
        return f"{self.key}.{self.attempt}.{self.execution}{names.whole(self.suffix)}"

    @property
    def slot(self) -> str:
        """The name of the slot that a folder, or what replaces one, may have."""
        return f"{self.key}.{self.attempt}.{self.execution}.slot"

    @property
    def files(self) -> str:
        """The name of the folder of extra files in the staging folder."""
        return f"{self.key}.{self.attempt}.{self.execution}.files"

    def matches(self, found: Extent | None) -> bool:
        """Tell whether what is found somewhere is this attempt's result."""
        return found is not None and (found.size, found.mtime_ns) == (self.size, self.mtime_ns)


_BOOL = {True: "true", False: "false"}
_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
_MOST_TEMPLATES = 256  # sets of ever-changing columns: remembering them would only cost memory
_templates: dict[tuple[str, ...], str] = {}  # of the JSON of values, by their names


def _float_text(value: float) -> str:
    text = repr(value)
    return _NOT_FINITE.get(text, text)


_WRITERS: dict[type, Callable[[Any], str]] = {int: repr, float: _float_text, str: _quoted}
"""What writes values of most types as `compact` does."""


def name(key: str, attempt: str) -> str:
    """Return the name of an attempt's sidecar in the staging folder."""
    return f"{key}.{attempt}.json"


def create(staging: Staging, key: str, attempt: str) -> int:
    """Create an attempt's sidecar and return its descriptor.

    Raises
    ------
    FileExistsError
        If another execution of the attempt was first.
    """
    return os.open(staging.inside(name(key, attempt)), _NEW, 0o666)


def write(descriptor: int, text: bytes, fsync: bool) -> None:
    """Fill a sidecar in one write and close it."""
    try:
        if os.write(descriptor, text) != len(text):
            raise OSError(28, "No space left on device")  # a short write: the disk, or a limit, is full
        if fsync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode(sidecar: Sidecar) -> bytes:
    """Return the text of a sidecar."""
    custom_data = sidecar.custom_text = _custom_text(sidecar.custom_data)
    origin = "" if sidecar.origin is None else _origin_text(sidecar.origin)
    # In a third of the time that it takes to encode a dict of all this. The names are ours, and need no quoting.
    version = VERSION if sidecar.inputs else _PLAIN
    text = (
        f'{{"entropic":{version},"model":{_quoted(sidecar.model)},"id":{_quoted(sidecar.id)},"key":"{sidecar.key}",'
        f'"attempt":"{sidecar.attempt}","owner":"{sidecar.owner}",'
        f'"values":{_values_text(sidecar.values)},'
        f'"custom_data":{custom_data},"created_at":"{sidecar.created_at}",'
        f'"execution":"{sidecar.execution}","suffix":{_quoted(sidecar.suffix)},"size":{sidecar.size},'
        f'"mtime_ns":{sidecar.mtime_ns},"folder":{_BOOL[sidecar.folder]},"slotted":{_BOOL[sidecar.slotted]},'
        f'"extra":{_BOOL[sidecar.extra]}{origin}}}\n'
    )
    if sidecar.digest is not None:
        text = _with_digest(text, sidecar)
    if sidecar.inputs:
        text = f'{text[:-2]},"inputs":{compact(sidecar.inputs)}}}\n'
    return text.encode() if sidecar.outcomes is None else _with_outcomes(text, sidecar)


def make_plain_encoder(model: str, suffix: str) -> Callable[..., bytes]:
    """Return the function that encodes, as `encode` does, the sidecars of runs of which there is little to say.

    They are of one store; their result is one file, the first of its key; their custom data are given as text.
    """
    begin = f'{{"entropic":{_PLAIN},"model":{_quoted(model)},"id":"'
    middle = f'","suffix":{_quoted(suffix)},"size":'

    def encode_plain(
        task: Task, custom_text: str, created_at: str, execution: str, size: int, mtime_ns: int, origin: Origin
    ) -> bytes:
        return (
            f'{begin}{task.id}","key":"{task.key}","attempt":"{task.attempt}","owner":"{task.owner}",'
            f'"values":{_values_text(task.values)},"custom_data":{custom_text},"created_at":"{created_at}","execution":"{execution}{middle}{size},'
            f'"mtime_ns":{mtime_ns},"folder":false,"slotted":false,"extra":false{_origin_text(origin)}}}\n'
        ).encode()

    return encode_plain


def _values_text(values: dict[str, Any]) -> str:
    names = tuple(values)
    template = _templates.get(names)
    if template is not None:
        try:  # most, in half of the time
            return template % tuple([_WRITERS[type(value)](value) for value in values.values()])
        except KeyError:  # a value of another type
            pass
    elif len(_templates) < _MOST_TEMPLATES and not any("%" in name for name in names):
        _templates[names] = "{" + ",".join([f"{_quoted(name)}:%s" for name in names]) + "}"
    try:
        return compact(values)
    except TypeError:  # what JSON has no type for
        return compact(packed(values))


def _custom_text(data: dict[str, Any]) -> str:
    seconds = data.get("elapsed_seconds")
    if type(seconds) is float and len(data) == 1:  # most, in half of the time
        return f'{{"elapsed_seconds":{seconds!r}}}'
    return compact(data)


@functools.lru_cache(16)  # that of short runs is the same for all of a store
def _origin_text(origin: Origin) -> str:
    return f',"origin":[{",".join(["null" if one is None else repr(one) for one in origin])}]'


def _with_digest(text: str, sidecar: Sidecar) -> str:
    replaced = "" if sidecar.replaced is None else f',"replaced":"{sidecar.replaced}"'
    return f'{text[:-2]},"digest":"{sidecar.digest}"{replaced}}}\n'


def _with_outcomes(text: str, sidecar: Sidecar) -> bytes:
    said = f',"outcomes":{compact(packed(sidecar.outcomes or {}))},"missing":{compact(sidecar.missing)}}}\n'
    return f"{text[:-2]}{said}".encode()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A complete sidecar that tells this version nothing: `why`, and whether a later version wrote it."""

    why: str
    newer: bool = False


BROKEN = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What it may raise to read what entropic did not write."""


def decode(text: bytes) -> Sidecar | None:
    """Return what a sidecar says, which a worker of ours has sent; None if it is torn, or none that this version made.

    What is on the disk may be anybody's: `inspect` it.
    """
    found = _decoded(text)
    if not isinstance(found, Sidecar):
        return None
    found.text = text
    return found


def _decoded(text: bytes) -> Sidecar | Unreadable | None:
    if not text.endswith(b"\n"):
        return None
    try:
        return made_of(json.loads(text))
    except BROKEN as error:
        return Unreadable(f"entropic did not write it ({type(error).__name__}: {error!s:.200})")


def made_of(fields: Any) -> Sidecar | Unreadable:
    """Return what some JSON says as a sidecar, whose fields are still to be looked at (`flaw`)."""
    try:
        version = fields.pop("entropic")
        if type(version) is int and version > VERSION:
            return Unreadable(
                f"a later version of entropic wrote it (as version {version}; this one knows {VERSION}); upgrade "
                "entropic, which then records this run",
                newer=True,
            )
        if type(version) is not int or version < 1:
            return Unreadable(f"its version is {version!r:.80}, which entropic does not write")
        fields["values"] = unpacked(fields["values"])
        if fields.get("outcomes") is not None:
            fields["outcomes"] = unpacked(fields["outcomes"])
        if fields.get("origin") is not None:
            fields["origin"] = Origin(*fields["origin"])
        if fields.get("inputs") is not None:
            fields["inputs"] = tuple(Input(*one) for one in fields["inputs"])
        return Sidecar(**fields)
    except BROKEN as error:
        return Unreadable(f"entropic did not write it ({type(error).__name__}: {error!s:.200})")


# Of a file that was removed while it was open: on a folder of a network it is not there any more for its reader either.
_REMOVED = {errno.ENOENT, errno.ESTALE}


def inspect(staging: Staging, key: str, attempt: str) -> Sidecar | Unreadable | None:
    """Return what an attempt's sidecar says, or why it tells nothing; None if there is none, or it is torn.

    Whatever else bears its name, a link, a pipe or a folder, is not opened.
    """
    if not names.is_one(names.ATTEMPT, attempt):
        return None
    try:
        descriptor = os.open(staging.inside(name(key, attempt)), _NO_LINK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unreadable(f"it is not a file that can be read ({error.strerror})")
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > LARGEST:
            return Unreadable("it is not a file that entropic wrote")
        with open(descriptor, "rb", closefd=False) as file:
            found = _decoded(file.read())
    except OSError as error:
        if error.errno in _REMOVED:
            return None
        return Unreadable(f"it is not a file that can be read ({error.strerror})")
    finally:
        os.close(descriptor)
    if isinstance(found, Sidecar) and (what := flaw(found, key, attempt)) is not None:
        return Unreadable(f"entropic did not write it: its {what} is {getattr(found, what)!r:.80}")
    return found


def read(staging: Staging, key: str, attempt: str) -> Sidecar | None:
    """Return what an attempt's sidecar says; None if there is none, it is torn, or it tells this version nothing."""
    found = inspect(staging, key, attempt)
    return found if isinstance(found, Sidecar) else None


def flaw(sidecar: Sidecar, key: str, attempt: str) -> str | None:
    """Return the first field that is not as entropic writes it: each may become a name, a path or a value of a row."""
    return next((name for name, is_right in _FIELDS.items() if not is_right(sidecar, key, attempt)), None)


def _is_storable(value: object) -> bool:
    if isinstance(value, str):
        return names.is_text(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, (float, type(None), *PACKED))


def _is_whole(value: object, least: int = -(2**63)) -> bool:
    return type(value) is int and least <= value < 2**63


# With the key and the attempt that its own name holds.
_FIELDS: dict[str, Callable[[Sidecar, str, str], bool]] = {
    "key": lambda one, key, _: one.key == key,
    "attempt": lambda one, _, attempt: one.attempt == attempt,
    "model": lambda one, *_: names.is_text(one.model),
    "id": lambda one, key, _: names.is_text(one.id) and names.key_of(one.model, one.id) == key,
    "owner": lambda one, *_: names.is_one(names.WORKER, one.owner),
    "execution": lambda one, *_: names.is_one(names.EXECUTION, one.execution),
    "suffix": lambda one, *_: names.is_suffix(one.suffix) and names.is_short(one.result),
    "created_at": lambda one, *_: names.is_time(one.created_at),
    "size": lambda one, *_: _is_whole(one.size, 0),
    "mtime_ns": lambda one, *_: _is_whole(one.mtime_ns),
    "folder": lambda one, *_: type(one.folder) is bool,
    "slotted": lambda one, *_: type(one.slotted) is bool,
    "extra": lambda one, *_: type(one.extra) is bool,
    "custom_data": lambda one, *_: isinstance(one.custom_data, dict),
    "values": lambda one, *_: (
        isinstance(one.values, dict)
        and all(map(_is_storable, one.values.values()))
        and not any(one.values.keys() & RESERVED)
        and all(map(names.is_text, one.values))
    ),
    "outcomes": lambda one, *_: (
        one.outcomes is None
        or (
            isinstance(one.outcomes, dict)
            and all(map(names.is_text, one.outcomes))
            and all(isinstance(value, (list, dict)) or _is_recordable(value) for value in one.outcomes.values())
        )
    ),
    "origin": lambda one, *_: one.origin is None or _is_origin(one.origin),
    "digest": lambda one, *_: one.digest is None or names.is_one(names.SHA256, one.digest),
    "replaced": lambda one, *_: one.replaced is None or names.is_one(names.SHA256, one.replaced),
    "inputs": lambda one, *_: one.inputs is None or all(map(is_input, one.inputs)),
    "missing": lambda one, *_: (
        (one.missing is None) == (one.outcomes is None)
        and (one.missing is None or (isinstance(one.missing, dict) and all(map(_is_said, one.missing.items()))))
    ),
}


def _is_origin(origin: Origin) -> bool:
    numbers = (origin.environment, origin.code, origin.peak_memory)
    seconds = origin.cpu_seconds
    is_time = seconds is None or (type(seconds) in (int, float) and 0 <= seconds < math.inf)
    return is_time and all(number is None or _is_whole(number, 0) for number in numbers)


def _is_recordable(value: object) -> bool:
    return isinstance(value, int) or _is_storable(value)  # publication tells which column takes how large a number


def _is_said(item: tuple[object, object]) -> bool:
    return all(map(names.is_text, item))


def exists(staging: Staging, key: str, attempt: str) -> bool:
    """Tell whether an attempt has a sidecar, complete or torn."""
    return os.path.lexists(staging.inside(name(key, attempt)))


def discard(staging: Staging, key: str, attempt: str) -> None:
    """Remove the sidecar of an attempt that is over."""
    try:
        os.unlink(staging.inside(name(key, attempt)))
    except FileNotFoundError:
        pass


# What drivers take beside JSON's types: the name of each, to text, and back. A datetime is a date, and comes first.
