"""The code that makes a result: the runner, and what it reaches of the same project (`reach`), and its number."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from entropic.provenance import texts
from entropic.provenance.part import Part
from entropic.provenance.project import module_of, unwrapped
from entropic.provenance.reach import Reach
from entropic.support.names import number_of

RULES = 3  # which pieces, in which form; to be raised with every change of them
MOST_RULES = 64  # a power of two; the number of some code tells by which of them it was made


@dataclass(frozen=True, slots=True)
class Code:
    """All that makes a result.

    Attributes
    ----------
    number
        Is the same only for the same code.
    parts
        In the order of their names.
    """

    number: int
    parts: tuple[Part, ...]
    looked_up: tuple[tuple[Mapping[str, Any], str, Any], ...] = ()
    """Names and what they led to: while they still do, the code is the same."""
    held: tuple[Part, ...] = ()
    """What is bound to the function, as it was first seen: runs may change it, which is no change of code."""
    reached: frozenset[tuple[str, str]] = frozenset()
    """The modules of the project that it leads to, each with a name there."""
    runner: tuple[str, str] | None = None
    """The same of the function itself, if its module has a name for it."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The files in which it was found, as they were then."""

    def is_current(self) -> bool:
        """Tell whether nothing that this was made of was defined anew since, as by a cell of a notebook."""
        for names, name, value in self.looked_up:  # noqa: SIM110  (`all` would make a generator, for each run)
            if names.get(name, _MISSING) is not value:
                return False
        return True


_MISSING: Any = object()


def code_of(function: Any, more: Mapping[str, str] | None = None, before: Code | None = None) -> Code:
    """Return the code of a function, or of anything that is called.

    Parameters
    ----------
    more
        What else it depends on: a version, what is watched; each with what it is now.
    before
        What this function's code was when somebody looked before.
    """
    target = unwrapped(function)
    reach = Reach(_module_of(target), target)
    with texts.reading() as read:
        reach.begin(function)
        reach.walk()
    held = tuple(reach.held) if before is None else before.held
    parts = sorted({*reach.parts, *held, *(Part(name, text, text) for name, text in (more or {}).items())})
    looked_up, reached = tuple(reach.looked_up), frozenset(reach.reached)
    return Code(number_of_code(parts), tuple(parts), looked_up, held, reached, reach.runner, read)


def number_of_code(parts: Iterable[Part]) -> int:
    """Return the number of the code that has these parts."""
    told = {f"{part.name}\0{part.digest}" for part in parts}
    return number_of("\n".join(sorted(told))) // MOST_RULES * MOST_RULES + RULES


def parts_of_module(module: str, names: Iterable[str], runner: str | None, by_value: bool = False) -> list[Part]:
    """Return what some names of a module are, as the module itself says it.

    A value that is computed when the module is imported is told by its statement: another machine may have computed
    another one. What a closure or a registry holds is left out: runs may fill it.

    Parameters
    ----------
    names
        An empty one is all of the module, as a function imports it.
    runner
        The name in the module that is that of the runner.
    by_value
        Whether such values are told by what they are all the same, as `code_of` does it.
    """
    there = module_of(module)
    target = unwrapped(vars(there).get(runner)) if there is not None and runner else None
    reach = Reach(module, target, is_module=True, by_value=by_value)
    reach.begin_with_names(names)
    reach.walk()
    return reach.parts


def _module_of(target: Any) -> str:
    held = target if isinstance(target, FunctionType | type) else type(target)
    return str(getattr(held, "__module__", ""))


def are_comparable(one: int, other: int) -> bool:
    """Tell whether two numbers of code were made by the same rules; else they tell nothing of each other."""
    return one % MOST_RULES == other % MOST_RULES
