"""Rows as files of other programs, which read back what the rows hold: what they cannot hold goes as text.

JSON goes as JSON text, as in `to_arrow`: a format that has nested types would give each value the fields of all others,
and one type to what is sometimes a number and sometimes a word.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from entropic.ask.columns import AnyColumn, Packed
from entropic.ask.frames import to_arrow, to_pandas
from entropic.formats.libraries import library

_QUOTED = frozenset(',"\r\n')


def write_parquet(columns: Sequence[AnyColumn], path: str) -> None:
    """Write a Parquet file: `to_arrow`, with what pandas needs to know to read whole numbers beside None as such."""
    pa = library("pyarrow", "arrow", "a .parquet file")
    library("pandas", "pandas", "a .parquet file")
    parquet = library("pyarrow.parquet", "arrow", "a .parquet file")
    types = [one.like if isinstance(one, Packed) else replace(one, values=[]) for one in columns]
    for_pandas = pa.Schema.from_pandas(to_pandas(types), preserve_index=False).metadata
    parquet.write_table(to_arrow(columns).replace_schema_metadata(for_pandas), path)


def csv_lines(columns: Sequence[AnyColumn]) -> Iterator[str]:
    """Yield the lines of a CSV file, the names first: None is nothing at all, and text without a letter is `""`."""
    yield ",".join(_quoted(column.name) for column in columns)
    writers = [_WRITERS.get(column.kind, str) for column in columns]
    values = [column.as_text() if column.kind == "json" else column.values for column in columns]
    for row in zip(*values, strict=True):
        yield ",".join(
            "" if value is None else _quoted(write(value)) for write, value in zip(writers, row, strict=True)
        )


def _quoted(text: str) -> str:
    if text and not _QUOTED & set(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


def _duration(value: timedelta) -> str:
    seconds, sign = value.seconds, "+" if value.days < 0 else ""
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{value.microseconds:06}"
    return f"{value.days} days {sign}{clock}"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "boolean": lambda value: "true" if value else "false",
    "float": lambda value: repr(float(value)),
    "decimal": lambda value: f"{value:f}",
    "bytes": bytes.hex,
    "datetime": lambda value: value.isoformat(" "),
    "date": lambda value: value.isoformat(),
    "time": lambda value: value.isoformat(),
    "duration": _duration,
}
