"""`Store.note`, `Store.notes` and `Store.tagged`: what people say of results."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from entropic.db.connection import Connection
from entropic.db.notes import Notes, has_tags
from entropic.errors import ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support import names
from entropic.support.show import spelled, visible

TOGETHER = 500  # rows in one transaction
LONGEST_TAG, LONGEST_NOTE = 50, 10_000


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody has said of a result.

    Attributes
    ----------
    text : str
        The note; empty if there are only tags.
    tags : tuple of str
        In the order of the alphabet.
    """

    text: str
    tags: tuple[str, ...]

    def __str__(self) -> str:
        return visible(" ".join([*([self.text] if self.text else []), *(f"#{tag}" for tag in self.tags)]))


def note(context: StoreContext[Base], given: Any, text: str | None, tags: object, untag: object) -> int:
    """Write a note, or tags, of one result or of several; return of how many."""
    context.must_write("note() would have to change notes or tags")
    if text is not None and not (names.is_text(text) and "\0" not in text and len(text) <= LONGEST_NOTE):
        raise ParameterError(f"a note is a text of at most {LONGEST_NOTE:,} characters, not {spelled(text)}")
    add, remove = checked(tags), checked(untag)
    if text is None and not add and not remove:
        raise ParameterError('nothing is said: give a text, or tags=["paper"], or untag=["paper"]')
    if both := sorted(set(add) & set(remove)):
        raise ParameterError(f"the tag {both[0]!r} is both in tags and in untag; give it in one of them")
    todo, known = iter(sorted(keys_of(context, given))), Notes(context.database, context.model)
    count = 0
    while some := list(islice(todo, TOGETHER)):

        def work(connection: Connection, some: list[str] = some) -> None:
            for id in some:  # in the order of the keys: who locks several in another order meets a deadlock
                known.write(connection, id, text, add, remove)

        context.database.transact(work)
        count += len(some)
    return count


def checked(tags: Any) -> list[str]:
    """Return tags, without doubles.

    Raises
    ------
    ParameterError
        If one is none.
    """
    found = [tags] if isinstance(tags, str) else list(tags)
    for tag in found:
        is_tag = names.is_text(tag) and re.fullmatch(r"[^\s,\x00-\x1f\x7f]+", tag) is not None
        if not is_tag or len(tag) > LONGEST_TAG:
            raise ParameterError(
                f"a tag is a word of at most {LONGEST_TAG} characters, without spaces and commas, not {spelled(tag)}"
            )
    return list(dict.fromkeys(found))


def keys_of(context: StoreContext[Base], given: Any) -> list[str]:
    """Return the keys of a set, or of several; all of them have rows, which hold what is given.

    Raises
    ------
    ParameterError
        If one has none.
    """
    asked = {context.hasher(one): one for one in ([given] if isinstance(given, Mapping) else given)}
    raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(asked)}
    for id, params in asked.items():
        if id not in raws:
            raise ParameterError(f"{context.describe(params, id)} is not stored, so nothing can be said of its result")
        context.verify(raws[id], params)
    return list(asked)


def notes(context: StoreContext[Base], given: Any) -> dict[str, Note]:
    """Return what was said of one result, of several, or of all, by key; of most nothing was."""
    known = Notes(context.database, context.model)
    if given is None:
        found = known.all()
        with_row = {context.rows.id_of(raw) for raw in context.rows.read_many(found)}
        found = {id: told for id, told in found.items() if id in with_row}
    else:
        found = known.of([context.hasher(one) for one in ([given] if isinstance(given, Mapping) else given)])
    return {id: Note(*told) for id, told in sorted(found.items())}


def tagged(context: StoreContext[Base], tags: Iterable[str]) -> Any:
    """Return the condition that a result has all of some tags."""
    found = checked(tags)
    if not found:
        raise ParameterError("name a tag, as in tagged('paper')")
    return has_tags(context.schema.table.c.id, context.model, found)


def bring(context: StoreContext[Base], id: str, told: tuple[str, tuple[str, ...]], dry_run: bool) -> str:
    """Add what is said of a result elsewhere to what is said of it here; say so if there is another note here."""
    known = Notes(context.database, context.model)
    (text, tags), (mine, own) = told, known.of([id]).get(id, ("", ()))
    new = [tag for tag in tags if tag not in own]
    if not dry_run and (new or (text and not mine)):
        said = text if text and not mine else None
        context.database.transact(lambda connection: known.write(connection, id, said, new, ()))
    if text and mine and text != mine:
        return f"its note is {spelled(mine)} here, and {spelled(text)} there"
    return ""
