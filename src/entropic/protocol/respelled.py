"""A miss whose values are all stored, written in another way: said once, since the same experiment runs again."""

from collections.abc import Mapping
from typing import Any

from entropic.errors import ParameterError, SpellingWarning, warn
from entropic.params.spelling import both
from entropic.protocol.context import StoreContext
from entropic.protocol.former import former_key
from entropic.support.show import counted


def warn_of_other_spelling(context: StoreContext[Any], missing: Mapping[str, Mapping[str, object]]) -> bool:
    """Warn, once for all of them, of sets that are to be run though they are stored under other types.

    Parameters
    ----------
    missing
        The sets by key.

    Returns
    -------
    bool
        Whether there were any.
    """
    spelling = context.schema.spelling
    if context.hasher.typed or not any(map(spelling.may_differ, missing.values())):
        return False
    candidates: dict[str, tuple[str, dict[str, Any]]] = {}
    retyped = context.schema.changed.retyped
    former: set[str] = set()
    for id, params in missing.items():
        if "id" in params or not spelling.may_differ(params):
            continue
        for other in spelling.others(params):
            try:
                key = context.hasher(other)
            except ParameterError:
                continue
            if key != id:
                candidates[key] = id, other
            if retyped and (key := former_key(context.schema, other, context.hasher.rounding)) != id:
                candidates[key] = id, other
                former.add(key)
    stored = {context.rows.id_of(raw) for raw in context.rows.read_many(candidates)} if candidates else set()
    found = {id: other for key, (id, other) in candidates.items() if key in stored}
    if not found:
        return False
    if before := [candidates[key][0] for key in stored & former]:
        warn(
            f"{context.schema.name} {before[0]} runs, although it is stored under the key that it had before "
            f"{' and '.join(retyped)} was retyped, as 1.0 and not as 1 ({counted(len(before), 'set')} in all). "
            "rekey() of this store, or `entropic rekey`, gives such rows their current keys",
            SpellingWarning,
        )
        return True
    id, other = next(iter(found.items()))
    more = f", and {len(found) - 1} more sets likewise" if len(found) > 1 else ""
    warn(
        f"{context.schema.name} {id} runs, although its values are stored under another key: "
        f"{both(missing[id], other)}{more}. Always write such values in the same way, or open a new store with "
        "typed_keys=True, which gives both the same key",
        SpellingWarning,
    )
    return True
