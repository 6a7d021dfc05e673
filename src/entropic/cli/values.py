"""What a user types, as the values that the model's columns hold."""

import json
import re
import shlex
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from entropic.ask.typed import column_of, condition, json_or_text, kind_typed, parsed
from entropic.cli.errors import UsageError
from entropic.errors import ParameterError
from entropic.executors.scheduler import Slurm
from entropic.params.keys import CUSTOM
from entropic.params.model import Base, Schema
from entropic.provenance.project import is_ours
from entropic.store import Store, context_of
from entropic.support.durations import parse_duration
from entropic.support.sizes import parse_size

_CONDITION = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s*(?P<op><=|>=|!=|==|=|<|>)\s*(?P<text>.*)", re.DOTALL)
_PAIR = re.compile(r"(?P<name>[A-Za-z_][\w.]*)=(?P<text>.*)", re.DOTALL)
SECONDS = "elapsed_seconds"  # in custom data
MOST_VALUES = 10_000_000  # of a grid


def schema_of(store: Store[Base]) -> Schema:
    """Return what a store knows of its model."""
    return context_of(store).schema


# ---- conditions and sets -----------------------------------------------------------------------------------------
def filters(
    store: Store[Base], words: list[str], where: list[str] | None, tags: list[str] | None = None
) -> list[object]:
    """Return `name=value` words, `--where` texts and tags as the conditions of a query."""
    given, equal = list[object](), dict[str, Any]()
    for word in words:
        name, text = _pair(word)
        name = in_full(store, name)
        if name.startswith(CUSTOM):
            equal.setdefault("custom_data", {})[name.removeprefix(CUSTOM)] = json_or_text(text)
        else:
            equal[name] = parsed(context_of(store), name, text)
    for one in where or []:
        name, op, text = _split(one)
        name = in_full(store, name)
        if op in ("=", "==") and name not in equal and not name.startswith(CUSTOM):
            equal[name] = parsed(context_of(store), name, text)  # the library knows when two floats are the same
        else:
            given.append(_condition(store, one, name, op, text))
    if tags:
        given.append(store.tagged(*tags))
    return [*given, equal] if equal else given


def in_full(store: Store[Base], name: str) -> str:
    """Return the name of what `ls` calls so for short: how long the runner took, unless the model has such a column."""
    is_short = name in ("seconds", SECONDS) and name not in schema_of(store).attributes.values()
    return f"{CUSTOM}{SECONDS}" if is_short else name


def one_and_filters(
    store: Store[Base], words: list[str], where: list[str] | None, tags: list[str] | None, wanted: str
) -> tuple[str, list[object]]:
    """Return the one word that is not `name=value`, and the others, `--where` texts and tags as a query's conditions.

    Raises
    ------
    UsageError
        With the text `wanted`, if there is no such word, or more than one.
    """
    names = [word for word in words if "=" not in word]
    if len(names) != 1:
        raise UsageError(wanted)
    return names[0], filters(store, [word for word in words if "=" in word], where, tags)


def _split(given: str) -> tuple[str, str, str]:
    match = _CONDITION.fullmatch(given)
    if match is None:
        raise UsageError(f"--where {given!r} is not a condition; write NAME OP VALUE, as in 'dt<0.1' (= != < <= > >=)")
    return match["name"], match["op"], match["text"].strip()


def _condition(store: Store[Base], given: str, name: str, op: str, text: str) -> object:
    try:
        return condition(context_of(store), name, op, text)
    except ParameterError as error:
        raise UsageError(f"--where {given!r}: {error}") from None


def params(store: Store[Base], words: list[str], or_grids: bool = False) -> dict[str, Any]:
    """Return `name=value` words as a set of params; a word of several values is told of the grids of a command."""
    found: dict[str, Any] = {}
    for word in words:
        name, text = _pair(word)
        if name in found:
            raise UsageError(f"{name!r} is given twice; give it once")
        try:
            found[name] = text if name == "id" else parsed(context_of(store), name, text)
        except ParameterError as error:
            if not (or_grids and "," in text):
                raise
            raise UsageError(f"{error}; several values are a grid: --grid {shlex.quote(word)}") from None
    return found


def with_defaults(store: Store[Base], params: dict[str, Any]) -> dict[str, Any]:
    """Return a set with the defaults of the function, if the store is that of a study: as a call would have them."""
    runner = getattr(context_of(store).runner, "runner", None)
    if "id" in params or not is_ours(runner):
        return params
    whole = {**getattr(runner, "defaults", {}), **params}
    schema_of(store).check_complete(whole, params)  # while it is known which of them were typed
    return {**params, **whole}


def grid(store: Store[Base], texts: list[str]) -> dict[str, list[object]]:
    """Return `--grid` texts as a grid: values by commas, a JSON list, or `first:last:count`."""
    found: dict[str, list[object]] = {}
    for given in texts:
        name, text = _pair(given)
        if name in found:
            raise UsageError(f"{name!r} is given two grids; give it one")
        found[name] = _values(store, name, text)
    return found


def _values(store: Store[Base], name: str, text: str) -> list[object]:
    kind = kind_typed(column_of(context_of(store), name))
    is_number = isinstance(kind, sa.Integer | sa.Float | sa.Numeric)
    if is_number and ":" in text and text.count(":") != 2:
        raise UsageError(
            f"{name}={text}: a range is first:last:count, both ends included, as in {name}=1:2:11; for single values "
            "put commas between them"
        )
    if is_number and ":" in text:
        return [parsed(context_of(store), name, one) for one in _spaced(name, text, isinstance(kind, sa.Integer))]
    if text.startswith("["):
        try:
            return [
                parsed(context_of(store), name, one if isinstance(one, str) else json.dumps(one))
                for one in json.loads(text)
            ]
        except (ValueError, RecursionError):
            raise UsageError(f"{name}={text:.80} is not a JSON list") from None
    return [parsed(context_of(store), name, one.strip()) for one in text.split(",")]


def _spaced(name: str, text: str, whole: bool) -> list[str]:
    """Return evenly spaced numbers, exact in their decimals: 0.1:0.5:5 has the 0.3 that a person would type."""
    try:
        first, last, count = (Decimal(part) for part in text.split(":"))
        if not 1 <= count <= MOST_VALUES or count != int(count) or (count == 1 and first != last):
            raise ValueError
        if whole and max(abs(first), abs(last)) >= 2**63:
            raise ValueError
    except (ValueError, InvalidOperation, OverflowError):
        raise UsageError(
            f"{name}={text}: a range is first:last:count, both ends included: two numbers and how many there are in "
            f"all, a whole number from 2 to {MOST_VALUES:,}"
        ) from None
    step = (last - first) / (count - 1) if count > 1 else Decimal(0)
    values = [first + step * i for i in range(int(count) - 1)] + [last]
    if whole and any(value != int(value) for value in values):
        raise UsageError(
            f"{name}={text}: {name!r} takes whole numbers, but the steps of this range, first:last:count, are {step}"
        )
    return [str(int(value)) if whole else str(value) for value in values]


def _pair(word: str) -> tuple[str, str]:
    match = _PAIR.fullmatch(word)
    if match is None:
        raise UsageError(f"{word!r} is not of the form NAME=VALUE")
    return match["name"], match["text"]


# ---- jobs --------------------------------------------------------------------------------------------------------
def slurm(text: str | None) -> Slurm | None:
    """Return what `array=4 time=2:00:00 extra=--account=physics` asks of Slurm; None of None."""
    if text is None:
        return None
    asked: dict[str, Any] = {"extra": []}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--slurm {text!r}: {error}") from None
    known = [field.name for field in fields(Slurm)]
    for name, value in map(_pair, words):
        if name not in known:
            raise UsageError(f"--slurm has no {name!r}; it has {', '.join(known)}")
        if name == "extra":
            asked["extra"].append(value)
        elif name in asked:
            raise UsageError(f"{name!r} of --slurm is given twice; give it once")
        else:
            is_count = name in ("nodes", "tasks_per_node", "cpus_per_task", "array") and value.isascii()
            asked[name] = int(value) if is_count and value.isdigit() and len(value) < 10 else value
    return Slurm(**asked)


# ---- amounts -----------------------------------------------------------------------------------------------------
def age(text: str) -> float:
    """Return how many seconds `30d`, `12h`, `1h 30min` or `45s` is; a bare number, which may mean days, is refused."""
    try:
        found = parse_duration(text)
        if found and text.strip()[-1] in "0123456789":
            raise ValueError
        return found
    except ValueError:
        raise UsageError(f"{text!r} is not a length of time; write it as 30d, 12h, 90min or 45s") from None


def size(text: str) -> int:
    """Return how many bytes `10GB`, `500MB` or `1GiB` is."""
    try:
        return parse_size(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a size; write it as 10GB, 500MB or 1GiB") from None
