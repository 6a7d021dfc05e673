"""Keys that a user types, and what they stand for."""

from collections.abc import Sequence
from typing import Any

from entropic.ask.failures import Failure
from entropic.cli.errors import FOUND, UsageError, end
from entropic.cli.output import cell
from entropic.params.model import Base
from entropic.store import Store, context_of

MOST = 5  # of the keys that an ambiguous prefix shows


def key_of(store: Store[Base], typed: str, known: Sequence[str] = (), lists: str = "ls") -> str:
    """Return the key that begins with what was typed, if only one does.

    Parameters
    ----------
    known
        Keys that may have no row.
    lists
        The command that lists the keys that are meant.
    """
    model: Any = context_of(store).schema.model
    if store.retrieve({"id": typed}) is not None or typed in known:
        return typed
    found: set[str] = {row.id for row in store.select(model.id.startswith(typed, autoescape=True), limit_=MOST + 1)}
    found |= {id for id in known if id.startswith(typed)}
    found = {id for id in found if id.startswith(typed)}  # some databases do not tell A from a
    if not found:
        none = f"no key of {context_of(store).schema.name} begins with {typed!r}"
        end(FOUND, f"entropic: {none}; `entropic {lists}` lists the keys")
    if len(found) > 1:
        some = ", ".join(map(cell, sorted(found)[:MOST])) + (", ..." if len(found) > MOST else "")
        raise UsageError(f"several keys begin with {typed!r}: {some}; give more of the one that you mean")
    return found.pop()


def keys_only(words: list[str], least: int, most: int | None, what: str) -> list[str]:
    """Return the words if they are as many keys as they must be."""
    if len(words) < least or (most is not None and len(words) > most):
        raise UsageError(f"give {what}; you gave {len(words) or 'none'}")
    return words


def failure_of(store: Store[Base], key: str) -> Failure | None:
    """Return what is recorded of a key's last failure."""
    found = store.failures({"id": key})
    return found[0] if found else None
