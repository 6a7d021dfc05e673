"""Keys that a user types, and what they stand for."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from entropic.ask.failures import Failure
from entropic.cli.errors import FOUND, UsageError, end
from entropic.cli.output import cell
from entropic.cli.values import params
from entropic.errors import ParameterError
from entropic.params.model import Base
from entropic.params.same import same
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


def failures_of(store: Store[Base], words: list[str], must_have_failed: bool = False) -> list[Failure]:
    """Return the failures that words mean, all without any: keys, of which each has one, and what all have in common.

    Parameters
    ----------
    must_have_failed
        Whether a key without a failure is refused.
    """
    found = store.failures()
    known = [failure.id for failure in found]
    pairs = [word for word in words if "=" in word and word not in known]  # else an id that the user gave
    wanted = params(store, pairs)
    keys = {key_of(store, word, known, "failed") for word in words if word not in pairs}
    if must_have_failed and (fine := keys - set(known)):
        raise UsageError(f"{min(fine)} has not failed, so there is nothing to retry; see `entropic failed`")
    chosen = [failure for failure in found if failure.id in keys] if len(pairs) < len(words) else found
    return [failure for failure in chosen if _has(store, failure, wanted)]


def _has(store: Store[Base], failure: Failure, wanted: Mapping[str, object]) -> bool:
    """Tell whether a set that failed has these values; what it leaves out are defaults."""
    schema, values = context_of(store).schema, failure.params
    with contextlib.suppress(ParameterError):  # of a model that has changed since: then what was given counts
        values = schema.spelling.typed(schema.changed.fill(values))
    values = {**values, "id": failure.id}
    return all(name in values and same(values[name], value) for name, value in wanted.items())


def failure_of(store: Store[Base], key: str) -> Failure | None:
    """Return what is recorded of a key's last failure."""
    found = store.failures({"id": key})
    return found[0] if found else None
