"""What a command prints: tables for people, JSON for machines."""

import enum
import io
import json
import math
import os
import pydoc
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime, time, timedelta
from typing import TextIO

from entropic.support.show import OBEYED, one_line, visible

WIDEST = 60  # characters of a cell


def on_terminal() -> bool:
    """Tell whether a person reads the answer."""
    return sys.stdout.isatty()


def put(text: str = "") -> None:
    """Print a text, as a terminal may have it."""
    sys.stdout.write(visible(text) + "\n")


@contextmanager
def answers_only() -> Iterator[None]:
    """Let whatever somebody else's code prints go to stderr: stdout is for the command's answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)  # what C code prints, too
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def as_utf8() -> Iterator[TextIO]:
    """Give what a file of its own would be: UTF-8, whatever the output's character set is, unless somebody reads it."""
    buffer = getattr(sys.stdout, "buffer", None)
    if on_terminal() or buffer is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    file = io.TextIOWrapper(buffer, encoding="utf-8", newline="", write_through=True)
    try:
        yield file
    finally:
        file.detach()


# ---- for machines ------------------------------------------------------------------------------------------------
def put_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(_json(value, _escapes(sys.stdout), indent=2) + "\n")


def put_json_rows(rows: Iterable[Mapping[str, object]], file: TextIO | None = None) -> None:
    """Print one JSON array with a row on each line."""
    file = file or sys.stdout
    escapes = _escapes(file)
    lines = (_json(row, escapes) for row in rows)
    file.write("[" + ",".join(f"\n{line}" for line in lines) + "\n]\n")


def _json(value: object, escapes: bool, indent: int | None = None) -> str:
    """Return exact JSON, in which what a terminal obeys is written as JSON writes it."""
    text = json.dumps(plain(value), indent=indent, ensure_ascii=escapes)
    return OBEYED.sub(
        lambda found: f"\\u{ord(found[0]):04x}" if found[0] < "\U00010000" else json.dumps(found[0])[1:-1], text
    )


def _escapes(file: TextIO) -> bool:
    """Tell whether a file's character set lacks some, which JSON then has its own way to write."""
    return (file.encoding or "utf-8").lower().replace("-", "") != "utf8"


def utc(value: datetime | None) -> datetime | None:
    """Return a time of ours, which is naive UTC, with its zone, so that nobody takes it for a local one."""
    return None if value is None else value.replace(tzinfo=UTC)


def plain(value: object) -> object:
    """Return a value as JSON has it: times as ISO 8601, enumerations by name, numbers that it lacks as text."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.hex() if isinstance(value, bytes) else str(value)


# ---- for people --------------------------------------------------------------------------------------------------
def cell(value: object) -> str:
    """Return a value on one line."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dict | list):
        value = json.dumps(plain(value), ensure_ascii=False)
    return one_line(str(plain(value)))


def put_traceback(error_type: str, message: str, traceback: str) -> None:
    """Print why a run failed: its traceback, or, where its process left none, what ended it."""
    text = traceback.rstrip() or f"{error_type}: {message}"
    put("\n".join(f"  {line}" for line in text.split("\n")))


def put_table(names: Sequence[str], rows: Sequence[Sequence[object]], right: Iterable[str] = ()) -> None:
    """Print a table: drawn by Rich on a terminal, plain and aligned elsewhere, in a pager if it is long."""
    cells = [[cell(value) for value in row] for row in rows]
    numbers = {names.index(name) for name in right}
    names = [one_line(name) for name in names]
    if not on_terminal() or len(cells) > 500:  # which Rich would take seconds for
        lines = _aligned(names, cells, numbers)
        if on_terminal():
            _page("".join(f"{line}\n" for line in lines))
        else:
            put("\n".join(lines))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, name in enumerate(names):
        table.add_column(Text(name), justify="right" if i in numbers else "left", overflow="fold", no_wrap=name == "id")
    for row in cells:
        table.add_row(*(Text(text if len(text) <= WIDEST else text[: WIDEST - 1] + "…") for text in row))
    console = Console()
    if len(cells) + 3 > shutil.get_terminal_size().lines and sys.stdin.isatty():
        with console.capture() as captured:
            console.print(table)
        _page(captured.get())
    else:
        console.print(table)


def _page(text: str) -> None:
    os.environ.setdefault("LESS", "-FRX")  # ends by itself if all fits, keeps colours and what was shown
    pydoc.pager(text)


def _aligned(names: Sequence[str], cells: list[list[str]], numbers: set[int]) -> Iterable[str]:
    columns = list(zip(names, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    form = "  ".join(f"{{:{'>' if i in numbers else '<'}{width}}}" for i, width in enumerate(widths))
    for row in (names, *cells):
        yield form.format(*row).rstrip()


def put_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair on a line."""
    found = [(one_line(name), cell(value)) for name, value in pairs]
    width = max((len(name) for name, _ in found), default=0)
    for name, text in found:
        put(f"{name:<{width}}  {text}".rstrip())
