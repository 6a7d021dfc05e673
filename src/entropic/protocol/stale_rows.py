"""Why rows are stale: other code has made them, or what their runs have read is not any more what it was then.

A row that was read counts as changed if it was made again since, or if it is stale itself in a way in which it was not
when it was read: whoever has read a stale row knowingly is not stale for that. One that is gone, or whose store is not
known here, says nothing.
"""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

from entropic.db.inputs import Fact
from entropic.protocol import open_stores
from entropic.protocol.context import StoreContext
from entropic.provenance.input import Input
from entropic.support.names import number_of

_Place = tuple[str, str]  # the uuid of a database, and a model
_Node = tuple[str, str, str]  # and a key


class Reason(NamedTuple):
    """Why a row is stale: as a sentence says it after "since", and what tells this reason from others."""

    text: str
    sign: str


def find_reasons(context: StoreContext[Any], ids: Iterable[str], by_code: bool = False) -> dict[str, list[Reason]]:
    """Return, of those of some rows that are stale for what their runs have read, why.

    Parameters
    ----------
    by_code
        Whether those of other code are among them.
    """
    home, wanted = (context.database_uuid, context.model), set(ids)
    graph = _Graph(context)
    graph.gather(home, wanted)
    found = {}
    for id in wanted:
        reasons = graph.reasons((*home, id))
        if kept := [one for one in reasons if by_code or not one.sign.startswith(_BY_CODE)]:
            found[id] = kept
    return found


def sign_of(reasons: Iterable[Reason]) -> int | None:
    """Return what stands for some reasons; None for none."""
    signs = sorted(one.sign for one in reasons)
    return number_of("\n".join(signs)) if signs else None


def sentence(reasons: list[Reason]) -> str:
    """Return some reasons as one text."""
    more = f", and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return " and ".join(one.text for one in reasons[:2]) + more


_BY_CODE = "code "


class _Graph:
    """What some rows were made from, and what that was made from.

    `waits`: whether another database than that of the store which is asked is waited for.
    """

    def __init__(self, context: StoreContext[Any], waits: bool = True) -> None:
        self._home, self._waits = context, waits
        self._facts: dict[_Node, Fact] = {}
        self._inputs: dict[_Node, list[Input]] = {}
        self._reasons: dict[_Node, list[Reason]] = {}
        self._now: dict[_Node, _Node] = {}  # of rows that were read under a key which they no longer have

    # ---- reading, level by level: a query for all rows of one model ------------------------------------------------
    def gather(self, place: _Place, ids: set[str]) -> None:
        level: dict[_Place, set[str]] = {place: ids}
        while level:
            following: dict[_Place, set[str]] = {}
            for (database, model), some in level.items():
                for one in self._read(database, model, some):
                    node = self._node((database, model, ""), one)
                    if node not in self._facts:
                        following.setdefault(node[:2], set()).add(node[2])
            level = following

    def _read(self, database: str, model: str, ids: set[str]) -> list[Input]:
        there, near = self._there(database, model), self._near(database, model)
        if near is None:
            return []
        schema = None if there is None else there.schema.table.schema
        is_elsewhere = database != self._home.database_uuid
        try:
            with near.database.without_waiting() if is_elsewhere and not self._waits else nullcontext():
                facts = self._facts_of(near, database, model, schema, ids)
                read = list(near.origins.inputs.of([id for id, fact in facts.items() if fact.inputs], model))
        except near.database.troubles:
            if not is_elsewhere:
                raise
            return []  # of a database that cannot be read now nothing is known
        self._facts |= {(database, model, id): fact for id, fact in facts.items()}
        for id, one in read:
            self._inputs.setdefault((database, model, id), []).append(one)
        return [one for _, one in read]

    def _facts_of(
        self, near: StoreContext[Any], database: str, model: str, schema: str | None, ids: set[str]
    ) -> dict[str, Fact]:
        """Return what is known of some rows, and of those that have other keys by now, under these."""
        facts = near.origins.inputs.facts(model, schema, ids)
        if gone := ids - facts.keys():
            moved = near.origins.former_keys.now(model, gone)
            self._now |= {(database, model, old): (database, model, new) for old, new in moved.items()}
            new = {id for id in moved.values() if id not in facts and (database, model, id) not in self._facts}
            facts |= near.origins.inputs.facts(model, schema, new) if new else {}
        return facts

    # ---- deciding, from what was read towards what has read it: chains may be longer than Python's stack -----------
    def reasons(self, node: _Node) -> list[Reason]:
        todo, under_way = [node], set[_Node]()
        while todo:
            one = todo[-1]
            if one in self._reasons:
                todo.pop()
                continue
            if one not in under_way:
                under_way.add(one)
                found = [self._node(one, each) for each in self._inputs.get(one, ())]
                todo += [each for each in found if each not in self._reasons and each not in under_way]
                if todo[-1] is not one:
                    continue
            self._reasons[one] = list(self._decide(one))
            todo.pop()
        return self._reasons[node]

    def is_unknown(self, node: _Node) -> bool:
        """Tell whether nothing here leads to the database of a row."""
        return self._near(*node[:2]) is None

    def _near(self, database: str, model: str) -> StoreContext[Any] | None:
        if database == self._home.database_uuid:  # not a copy of it, which has the same uuid
            return self._home
        return open_stores.find(database, model) or open_stores.find_in_database(database)

    def _there(self, database: str, model: str) -> StoreContext[Any] | None:
        """Return the store of a model: that which was asked, if it is its own."""
        is_home = (database, model) == (self._home.database_uuid, self._home.model)
        return self._home if is_home else open_stores.find(database, model)

    def _node(self, reader: _Node, read: Input) -> _Node:
        node = read.database or reader[0], read.model, read.id
        return self._now.get(node, node)

    def _decide(self, node: _Node) -> Iterable[Reason]:
        fact = self._facts.get(node)
        if fact is None:
            return
        if (number := _other_code(self._there(*node[:2]), fact)) is not None:
            yield Reason("its code has changed", f"{_BY_CODE}{number}")
        for one in self._inputs.get(node, ()):
            what, now = self._node(node, one), self._facts.get(self._node(node, one))
            if now is None:
                continue
            named = f"{one.model} {what[2]}"
            if now.made_at != one.made_at:
                text = f"{named}, which it has read, was made again at {now.made_at.replace('T', ' ')[:19]} UTC"
                yield Reason(text, f"{one[:3]} made at {now.made_at}")  # as it has read it: copies have another uuid
                continue
            deeper = self._reasons.get(what, [])  # of a circle: nothing
            sign = sign_of(deeper)
            if sign is not None and sign != one.stale_as:
                yield Reason(f"{named}, which it has read, is stale: {deeper[0].text}", f"{one[:3]} stale as {sign}")


def _other_code(context: StoreContext[Any] | None, fact: Fact) -> int | None:
    """Return the number of the code of now, if other code has made a row, and its store does not ignore that."""
    if context is None or context.current_code.on_stale == "ignore" or fact.code is None:
        return None
    if context.current_code.is_due():
        context.current_code.refresh()
    return context.current_code.number if context.current_code.is_other(fact.code) else None


def states(context: StoreContext[Any], id: str, read: Iterable[Input]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Return of each row that the run of a key has read the key that it has now, and how it stands now.

    As `ask.inputs.Input` says it.
    """
    graph, home = _Graph(context, waits=False), (context.database_uuid, context.model)
    graph.gather(home, {id})
    reasons = graph.reasons((*home, id))
    found = {}
    for one in read:
        node = graph._node((*home, id), one)
        if node not in graph._facts:
            now = "unknown" if graph.is_unknown(node) else "gone"
        elif graph._facts[node].made_at != one.made_at:
            now = "replaced"
        else:
            now = "stale" if any(why.sign.startswith(f"{one[:3]} ") for why in reasons) else "same"
        found[one[:3]] = node[2], now
    return found


def now_of(context: StoreContext[Any], inputs: Mapping[str, list[Input]]) -> dict[str, list[Input]]:
    """Return what some rows have read as it is now: they are accepted with that."""
    graph, home = _Graph(context), (context.database_uuid, context.model)
    graph.gather(home, set(inputs))
    found: dict[str, list[Input]] = {}
    for id, read in inputs.items():
        found[id] = []
        for one in read:
            node = graph._node((*home, id), one)
            fact = graph._facts.get(node)
            told = one if fact is None else one._replace(made_at=fact.made_at, stale_as=sign_of(graph.reasons(node)))
            found[id].append(told)
    return found
