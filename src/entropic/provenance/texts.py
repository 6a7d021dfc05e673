"""The texts of files in which code was found: as they are, or as they were when they were read before."""

import contextlib
import linecache
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

_as_read: ContextVar[Mapping[str, str]] = ContextVar("as_read", default=MappingProxyType({}))
_reading: ContextVar[dict[str, str] | None] = ContextVar("reading", default=None)


@contextlib.contextmanager
def reading() -> Iterator[dict[str, str]]:
    """Collect the texts of the files that are read meanwhile."""
    texts: dict[str, str] = {}
    token = _reading.set(texts)
    try:
        yield texts
    finally:
        _reading.reset(token)


@contextlib.contextmanager
def as_read(texts: Mapping[str, str]) -> Iterator[None]:
    """Take files for what they were when they were read before: they may have been edited since."""
    token = _as_read.set(texts)
    try:
        yield
    finally:
        _as_read.reset(token)


def read(file: str, names: dict[str, Any]) -> str:
    """Return the text of a file, or of a cell that `names`, those of its module, lead to; empty if there is none."""
    if (kept := _as_read.get().get(file)) is not None:
        return kept
    text = _text_now(file, names)
    if (texts := _reading.get()) is not None and text:
        texts[file] = text
    return text


def _text_now(file: str, names: dict[str, Any]) -> str:
    linecache.checkcache(file)
    return "".join(linecache.getlines(file, names))
