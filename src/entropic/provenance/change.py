"""What differs between two pieces of code, in words and lines."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from entropic.provenance.part import Part

MOST_LINES, MOST_NAMES = 40, 5
STATE = "state"  # the part that says what a runner object was made with


@dataclass(frozen=True, slots=True)
class Change:
    """What differs: names of functions, classes and constants, and lines as `diff -u` shows them."""

    changed: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    diff: str

    def __str__(self) -> str:
        told = [_told(self.changed, "changed"), _told(self.new, "added"), _told(self.gone, "removed")]
        return "; ".join(filter(None, told)) or "nothing is known of that code"


def change(before: Sequence[Part], now: Sequence[Part]) -> Change:
    """Return what differs; nothing is said of code of which nothing is known."""
    if not before:
        return Change((), (), (), "")
    old, new = _by_name(before), _by_name(now)
    changed = [name for name in old if name in new and _digests(old[name]) != _digests(new[name])]
    lines: list[str] = []
    for i, name in enumerate(changed):
        was, is_ = ("".join(part.text for part in parts).splitlines() for parts in (old[name], new[name]))
        if name == STATE and (which := _attributes(was, is_)):
            changed[i] = f"{name} ({', '.join(which[:MOST_NAMES])}{', ...' if len(which) > MOST_NAMES else ''})"
        lines += difflib.unified_diff(was, is_, f"{name}, as stored", f"{name}, now", n=1, lineterm="")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... {len(lines) - MOST_LINES} more lines"]
    gone, came = tuple(name for name in old if name not in new), tuple(name for name in new if name not in old)
    return Change(tuple(changed), gone, came, "\n".join(lines))


def _attributes(was: Sequence[str], is_: Sequence[str]) -> list[str]:
    """Return which attributes of a runner object differ: a line of its text is `NAME = VALUE`, or one of several."""
    before, now = (Counter(line for line in lines if " = " in line) for lines in (was, is_))
    return list(dict.fromkeys(line.partition(" = ")[0] for line in [*(before - now), *(now - before)]))


def _by_name(parts: Iterable[Part]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.name, []).append(part)
    return found


def _digests(parts: Iterable[Part]) -> set[str]:
    return {part.digest for part in parts}


def _told(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more} {what}"
