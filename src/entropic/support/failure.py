"""What is kept of a failed run: plain data, made where the run failed."""

import time
import traceback
from typing import Any

from entropic.support import process

MOST_TEXT = 20_000  # characters of a traceback: the end, where the error is
Record = dict[str, Any]  # type, message, traceback, host, pid, started_at (seconds since 1970), elapsed_seconds


def describe(error: BaseException, began: float) -> Record:
    """Return the record of an exception that ended a run of this process."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  (as `said`)
        text = "".join(traceback.format_tb(error.__traceback__))
    return record(type(error).__qualname__, message_of(error), text, began)


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
        "message": _storable(message)[:MOST_TEXT],
        "traceback": _storable(text)[-MOST_TEXT:],
        "host": host,
        "pid": pid or int(own),
        "started_at": began,
        "elapsed_seconds": round(time.time() - began, 6),
    }


def _storable(text: str) -> str:
    """Return a text with what no database stores, lone surrogates and NUL, written out."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
