"""How things look in a terminal and in a notebook: aligned, cut to what can be read at a glance.

Whatever is shown goes through `visible`: a parameter, an id, a file's name or an exception is data, and may be
somebody else's, while a terminal obeys some characters instead of showing them.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import zip_longest
from uuid import UUID

from entropic.support.passwords import without_passwords

WIDEST = 40  # characters of a value
_SENTENCE = 500  # and of what a notebook wraps
_NUMBER = (int, float)
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters: escape sequences, bells, the return of the carriage
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which turn the direction of what follows
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # lines and marks that nobody sees
    "\ud800-\udfff]"  # and halves of characters, which cannot be written
)
"""What a terminal obeys, but for newlines and tabs."""


def visible(text: str) -> str:
    """Return a text as a terminal may have it.

    What it would obey is written out, as `\\x1b`; newlines and tabs stay; passwords are left out.
    """
    return OBEYED.sub(_written, without_passwords(text))


def one_line(text: str) -> str:
    """Return a text as a terminal may have it, where a newline would look like another entry."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _written(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _show(record: logging.LogRecord) -> bool:
    """Let a terminal see what is logged, too: the arguments are what is data in it."""
    if isinstance(record.args, tuple):
        record.args = tuple(one if isinstance(one, _NUMBER) else visible(str(one)) for one in record.args)
    if stderr_is_closed():
        _hand_to_each(record)
        return False
    return True


def stderr_is_closed() -> bool:
    """Tell whether a program has closed stderr: then Python raises where it shows warnings, or failures to log."""
    try:
        return bool(getattr(sys.stderr, "closed", False))
    except ValueError:  # of one whose buffer was detached
        return True


def _hand_to_each(record: logging.LogRecord) -> None:
    """Give a log line to the handlers one by one: of those that write to a closed stderr Python raises."""
    logger: logging.Logger | None = _log
    while logger is not None:
        for handler in logger.handlers:
            if record.levelno >= handler.level:
                with contextlib.suppress(ValueError):
                    handler.handle(record)
        logger = logger.parent if logger.propagate else None


_log = logging.getLogger("entropic")
_log.addFilter(_show)


def brief(value: object, most: int = WIDEST) -> str:
    """Return a value in one short line; floats with the 12 digits that a key knows of."""
    if isinstance(value, float):
        text = f"{value:.12g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Enum | Decimal | date | UUID):
        return one_line(value.name if isinstance(value, Enum) else str(value))
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001  (a value may be anybody's, and this must not fail)
        text = f"({type(value).__name__}, whose repr raises {type(error).__name__})"
    return one_line(_cut(text, most))


def _cut(text: str, most: int) -> str:
    text = without_passwords(" ".join(text.split())[: most + 2_000])  # a value may be as long as it likes
    return text if len(text) <= most else text[: most - 3] + "..."


def spelled(value: object, most: int = 80) -> str:
    """Return the beginning of a value as Python writes it; what it is, where Python cannot."""
    try:
        return repr(value)[:most]
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return f"(a large {type(value).__name__})"
    except Exception as error:  # noqa: BLE001  (a value may be anybody's, and this is for a message)
        return f"(a {type(value).__name__}, whose repr raises {type(error).__name__})"


def counted(count: int, noun: str) -> str:
    """Return how many there are of something, as a person would say it: 1 set, 2 sets."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Return a time as a person would say it."""
    if seconds < 1:
        return "less than a second"
    if seconds < 9.95:
        return counted(round(seconds), "second") if f"{seconds:.1f}".endswith(".0") else f"{seconds:.1f} seconds"
    if seconds < 119.5:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days {minutes % (24 * 60) // 60} h"


def roughly(amount: str) -> str:
    """Return an amount that is an estimate, as a person would say that: nothing is about less than a second."""
    return amount if amount.startswith("less than") else f"about {amount}"


def named(values: Iterable[tuple[str, object]], most: int = WIDEST) -> str:
    """Return names and values as they are written in a call."""
    return ", ".join(f"{name}={_quoted(value, most)}" for name, value in values)


def _quoted(value: object, most: int) -> str:
    return repr(_cut(value, most)) if isinstance(value, str) and not isinstance(value, Enum) else brief(value, most)


def aligned(rows: Sequence[Sequence[object]], most: int = WIDEST) -> list[str]:
    """Return the lines of a table, with so much of each value at most; numbers stand to the right."""
    texts = [[brief(value, most) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*texts, fillvalue="")]
    lines = []
    for row, values in zip(texts, rows, strict=True):
        cells = [
            text.rjust(width) if isinstance(value, _NUMBER) and not isinstance(value, bool) else text.ljust(width)
            for text, value, width in zip(row, values, widths, strict=False)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(rows: Iterable[Sequence[object]], header: Sequence[str] = (), title: str = "", after: str = "") -> str:
    """Return a table for a notebook, which has its own style for tables."""
    from html import escape  # its table of names takes longer to load than the whole of a model

    parts = [f"<p>{escape(one_line(title))}</p>"] if title else []
    parts.append("<table>")
    if header:
        parts.append(f"<thead><tr>{''.join(f'<th>{escape(one_line(name))}</th>' for name in header)}</tr></thead>")
    lines = ("".join(f"<td>{escape(brief(value, _SENTENCE))}</td>" for value in row) for row in rows)
    parts.append("<tbody>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</tbody></table>")
    parts += [f"<p>{escape(one_line(after))}</p>"] if after else []
    return "".join(parts)
