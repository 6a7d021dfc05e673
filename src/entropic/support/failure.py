"""What is kept of a failed run: plain data, made where the run failed."""

import json
import math
import os
import time
import traceback
from types import TracebackType
from typing import Any

from entropic.support import process
from entropic.support.job import job
from entropic.support.passwords import without_passwords

MOST_MESSAGE, MOST_NOTES = 2_000, 10  # characters of each message in a traceback, and notes
MOST_TEXT = 20_000  # characters of a traceback: its beginning and its end
PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
Record = dict[str, Any]  # type, message, traceback, host, pid, started_at (seconds since 1970), elapsed_seconds


def describe(error: BaseException, began: float) -> Record:
    """Return the record of an exception that ended a run of this process."""
    begin = _first_of_runner(error.__traceback__)
    try:
        told = traceback.TracebackException(type(error), error, begin)
        _shorten_messages(told)
        text = "".join(told.format())
    except Exception:  # noqa: BLE001  (as `message_of`)
        text = "".join(traceback.format_tb(begin))
    return record(type(error).__qualname__, message_of(error), text, began)


def _shorten_messages(told: traceback.TracebackException) -> None:
    """Cut long messages, of causes and members of groups, too: the frames are what a traceback is for."""
    todo, seen = [told], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        text = str(one)
        if len(text) > MOST_MESSAGE:
            one._str = _cut(text, MOST_MESSAGE)  # type: ignore[attr-defined]
        notes = getattr(one, "__notes__", None)
        if isinstance(notes, list):
            one.__notes__ = [_cut(str(text), MOST_MESSAGE) for text in notes[:MOST_NOTES]]
        more = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        todo += [other for other in more if other is not None]


def _first_of_runner(begin: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames with which entropic called the runner; those inside of it stay.

    Told by the files of this package where the run failed, since a path alone may be anybody's:
    `test_a_traceback_keeps_the_frames_of_a_project_whose_folders_are_called_like_ours`.
    """
    found = begin
    while found is not None and found.tb_frame.f_code.co_filename.startswith(PACKAGE):
        found = found.tb_next
    return found


def message_of(error: BaseException) -> str:
    """Return `str(error)`, or a word for it if that raises: an exception may be anybody's."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001
        return f"(its text cannot be made: {type(second).__qualname__})"


def record(kind: str, message: str, text: str, began: float, pid: int | None = None) -> Record:
    """Return the record of a failure on this machine, which ends now."""
    host, _, own, *_ = process.identity().split(".")
    return {
        "type": kind,
        "message": storable(message)[:MOST_TEXT],
        "traceback": _shortened(storable(text)),
        "host": host,
        "pid": pid or int(own),
        "started_at": began,
        "elapsed_seconds": round(time.time() - began, 6),
        **({} if (here := job()) is None else {"job": here}),
    }


def _shortened(text: str) -> str:
    """Return a text with its middle left out if it is too long: its frames come first, its message last."""
    return _cut(text, MOST_TEXT)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def parse(text: Any) -> Record:
    """Return a record that was stored; what is not as `record` made it is replaced by what says so."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    known: Record = found if isinstance(found, dict) else {}
    read = {name: known[name] if _is_like(known.get(name), least) else least for name, least in _UNKNOWN.items()}
    if any(read[name] is not known.get(name) for name in _UNKNOWN):
        read["message"] = f"{_UNKNOWN['message']}; it says {read['type']}: {read['message']}"
    return read | {name: known[name] for name, kind in _MORE.items() if _is_like(known.get(name), kind)}


_UNKNOWN: Record = {
    "type": "unknown",
    "message": "the record of this failure was not made by entropic",
    "traceback": "",
    "host": "unknown",
    "pid": 0,
    "started_at": 0.0,
    "elapsed_seconds": 0.0,
}
_MORE: Record = {"attempt": "", "job": "", "times": 1, "values": {}, "given": [], "asked": {}}
_EARLIEST, _LATEST = -60_000_000_000, 253_402_300_799  # seconds since 1970 that a date can be of


def _is_like(value: Any, least: object) -> bool:
    if isinstance(least, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return is_number and _EARLIEST < value < _LATEST
    if isinstance(least, list):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, type(least))


def storable(text: str) -> str:
    """Return a text without passwords, with what no database stores, lone surrogates and NUL, written out."""
    return without_passwords(text).replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
