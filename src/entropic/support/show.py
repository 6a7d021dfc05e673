"""How things look in a terminal and in a notebook: aligned, cut to what can be read at a glance."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import zip_longest
from typing import Any
from uuid import UUID

WIDEST = 40  # characters of a value
_SENTENCE = 500  # and of what a notebook wraps
_NUMBER = (int, float)


def brief(value: Any, most: int = WIDEST) -> str:
    """Return a value in one short line; floats with the 12 digits that a key knows of."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        text = f"{value:.12g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Decimal | date | UUID):
        return str(value)
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001  (a value may be anybody's, and this must not fail)
        text = f"({type(value).__name__}, whose repr raises {type(error).__name__})"
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def named(values: Iterable[tuple[str, Any]], most: int = WIDEST) -> str:
    """Return names and values as they are written in a call."""
    return ", ".join(f"{name}={_quoted(value, most)}" for name, value in values)


def _quoted(value: Any, most: int) -> str:
    return repr(brief(value, most)) if isinstance(value, str) else brief(value, most)


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a table; numbers stand to the right."""
    texts = [[brief(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*texts, fillvalue="")]
    lines = []
    for row, values in zip(texts, rows, strict=True):
        cells = [
            text.rjust(width) if isinstance(value, _NUMBER) and not isinstance(value, bool) else text.ljust(width)
            for text, value, width in zip(row, values, widths, strict=False)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(rows: Iterable[Sequence[Any]], header: Sequence[str] = (), title: str = "", after: str = "") -> str:
    """Return a table for a notebook, which has its own style for tables."""
    from html import escape  # its table of names takes longer to load than the whole of a model

    parts = [f"<p>{escape(title)}</p>"] if title else []
    parts.append("<table>")
    if header:
        parts.append(f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr></thead>")
    lines = ("".join(f"<td>{escape(brief(value, _SENTENCE))}</td>" for value in row) for row in rows)
    parts.append("<tbody>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</tbody></table>")
    parts += [f"<p>{escape(after)}</p>"] if after else []
    return "".join(parts)
