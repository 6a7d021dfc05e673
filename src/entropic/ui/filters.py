"""What is typed above a column of the page, as conditions: `>0 <1`, `1e-3`, `1, 2, 3`, `null`, or a part of a text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from entropic.ask.select import equal
from entropic.ask.typed import condition, parsed
from entropic.db.query import careful, spelled_names
from entropic.errors import ParameterError
from entropic.params.keys import CUSTOM
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.ui.columns import Column, clause_of, named

MOST = 50  # filters, and alternatives in one
_LONGEST = 500  # characters
_OP = re.compile(r"(<=|>=|!=|==|=|<|>)\s*")
_TEXTS = ("text", "object", "json", "bytes")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked of one column.

    Attributes
    ----------
    any_of
        Alternatives, each an operator and a text; one of them holds. The operator `~` is for a part of a text.
    """

    name: str
    any_of: tuple[tuple[str, str], ...]


def filters_of(columns: Mapping[str, Column], context: StoreContext[Base], given: Sequence[tuple[str, str]]) -> Any:
    """Return the filters that a request names, and its search: `f.<column>=<what was typed>` and `q=<text>`.

    Raises
    ------
    ParameterError
        If there is no such column, or what was typed means nothing for it.
    """
    found, search = list[Filter](), ""
    for name, text in given:
        text = text.strip()
        if len(text) > _LONGEST:
            raise ParameterError(f"a filter has at most {_LONGEST} characters")
        if name == "q":
            search = text
        elif name.startswith("f.") and text:
            column = named(context, columns, name.removeprefix("f."))
            found += [Filter(column.name, alternatives) for alternatives in _read(column, text)]
    if len(found) > MOST:
        raise ParameterError(f"at most {MOST} filters can be set at once")
    return found, search


def _read(column: Column, text: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield what must hold, each as its alternatives."""
    if column.kind in _TEXTS:
        if text.lower() == "null":
            yield (("=", "null"),)
        elif text.startswith(("=", "!=")):
            op = "=" if text.startswith("=") else "!="
            yield ((op, text.removeprefix(op).strip()),)
        else:
            yield (("~", text),)
        return
    alternatives = list[tuple[str, str]]()
    for one in _pieces(column, text):
        match = _OP.match(one)
        if match is None:
            alternatives.append(("=", one))
        else:
            yield ((match[1], one[match.end() :]),)
    if len(alternatives) > MOST:
        raise ParameterError(f"a filter has at most {MOST} values")
    if alternatives:
        yield tuple(alternatives)


def _pieces(column: Column, text: str) -> list[str]:
    """Return the parts of what was typed: by commas, and by spaces before an operator or between numbers."""
    text = _OP.sub(lambda found: f" {found[1]}", text)  # `> 0` is `>0`
    between = r"\s*,\s*|\s+(?=[<>=!])" if column.kind in ("datetime", "label", "time") else r"\s*,\s*|\s+"
    return [one for one in re.split(between, text.strip()) if one]


def clauses(
    context: StoreContext[Base], columns: Mapping[str, Column], found: Sequence[Filter], search: str
) -> list[Any]:
    """Return the conditions of filters and of a search."""
    dialect = context.database.dialect
    made = [
        sa.or_(*(_clause(context, named(context, columns, one.name), op, text) for op, text in one.any_of))
        for one in found
    ]
    if search:
        made.append(_searched(context, columns, search))
    return [spelled_names(careful(one, dialect), dialect) for one in made]


def _clause(context: StoreContext[Base], column: Column, op: str, text: str) -> Any:
    clause = clause_of(context, column)
    if op == "~":
        return (clause if column.kind == "text" else sa.cast(clause, sa.Text)).icontains(text, autoescape=True)
    if column.name.startswith(CUSTOM) and column.role == "custom":
        if text.lower() == "null":
            nothing = clause.is_(None)
            return sa.not_(nothing) if op == "!=" else nothing
        if column.kind == "text":
            return clause != text if op == "!=" else clause == text
    elif column.kind in ("json", "object", "bytes"):
        if text.lower() != "null":
            raise ParameterError(
                f"{column.name!r} is compared with null, or by a part of its text, and not with {text!r:.80}"
            )
        return clause.is_not(None) if op == "!=" else clause.is_(None)
    elif op in ("=", "=="):
        return (
            equal(context, column.name, parsed(context, column.name, text))
            if column.role != "own"
            else (condition(context, column.name, "=", text))
        )
    return condition(context, column.name, op, text)


def _searched(context: StoreContext[Base], columns: Mapping[str, Column], search: str) -> Any:
    """Return the condition that a text is the beginning of the key, or in a text, a label or the custom data."""
    table = context.schema.table
    places = [table.c.id.startswith(search, autoescape=True)]
    for column in columns.values():
        if column.role in ("param", "outcome") and column.kind in ("text", "label", "json"):
            clause = clause_of(context, column)
            places.append(sa.cast(clause, sa.Text).icontains(search, autoescape=True))
    places.append(sa.cast(table.c.custom_data, sa.Text).icontains(search, autoescape=True))
    return sa.or_(*places)
