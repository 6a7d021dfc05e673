"""Another study of the same name: two scripts of one folder would share its table without a word.

A database records the file of each study, as seen from the folder in which relative paths begin, so that a project may
be moved or copied. A study that was moved to another file, or edited, is the same one: only if the recorded file is
still there, and still defines a study of this table that differs, is that another one.
"""

import ast
import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from entropic.db.engine import Database
from entropic.db.settings import Settings
from entropic.db.tables import meta
from entropic.errors import NamesakeWarning, warn
from entropic.protocol.context import StoreContext
from entropic.support.show import one_line

LONGEST = 255  # characters of a path that is recorded
LARGEST = 2**20  # bytes of a script that is looked at
Function = ast.FunctionDef | ast.AsyncFunctionDef


def look_for_namesake(context: StoreContext[Any], function: Callable[..., object]) -> None:
    """Record the file of a study that has just been opened, or warn that the study of another file has its table."""
    table, here = context.schema.table_name, _file_of(function)
    if here is None or context.database.in_memory:
        return
    settings, name = Settings(context.database), _name(table)
    recorded = settings.agree_file(name, here)
    if recorded == here:
        return
    if (other := _another(recorded, function, table)) is not None:
        warn(other, NamesakeWarning)
    elif context.read_only is None and _table_of(recorded, table) is None:
        settings.change_file(name, recorded, here)


def namesake_in(db_url: str, function: Callable[..., object], table: str) -> str | None:
    """Say the same of a study whose store cannot be opened; None if it is the only one, or that cannot be told."""
    with contextlib.suppress(Exception):  # there is an error to be shown already
        database = Database(db_url, read_only=True)
        if database.in_memory or not database.dialect.exists():
            return None
        with database.engine.connect() as connection:
            recorded = connection.scalar(sa.select(meta.c.value).where(meta.c.name == _name(table)))
        return _another(recorded, function, table) if isinstance(recorded, str) else None
    return None


def _name(table: str) -> str:
    """Return the name under which the file of a study is recorded: a table's may be as long as names may be."""
    return f"study {hashlib.sha256(table.encode()).hexdigest()[:16]}"


def _file_of(function: Callable[..., object]) -> str | None:
    """Return the file of a function, from here; None of a notebook, or of what is not seen as a file."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    with contextlib.suppress(OSError, ValueError):
        if os.path.isfile(file) and len(found := os.path.relpath(file)) <= LONGEST:
            found.encode()
            return found
    return None


def _another(recorded: str, function: Callable[..., object], table: str) -> str | None:
    """Say that the recorded file has another study of this table, if it has."""
    here = _file_of(function)
    if here is None or os.path.realpath(recorded) == os.path.realpath(here):
        return None
    theirs, ours = _table_of(recorded, table), _table_of(here, table)
    if theirs is None or ours is None or _database_of(theirs) != _database_of(ours):
        return None
    if [ast.dump(part) for part in _what_counts(theirs)] == [ast.dump(part) for part in _what_counts(ours)]:
        return None  # a copy
    there = one_line(recorded)  # it may be anybody's database
    return (
        f"the studies {theirs.name} of {there} and {ours.name} of {here} are different functions and have one table, "
        f"{table!r}, in one database: each gets the results of the other. Give one of them another table, "
        f"@study(name='...'), or a db_url of its own; if {here} replaces {there}, remove the study from there"
    )


def _table_of(file: str, table: str) -> Function | None:
    """Return the definition in a file of the study that has a table."""
    try:
        if not os.path.isfile(file) or os.path.getsize(file) > LARGEST:
            return None
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (said := _decorator(node)) is not None:
            given = said.get("name")
            name = node.name if given is None else given.value if isinstance(given, ast.Constant) else None
            if name == table:
                return node
    return None


def _decorator(node: Function) -> dict[str | None, ast.expr] | None:
    """Return what a function's `@study(...)` says; None if it has none."""
    for one in node.decorator_list:
        called = one.func if isinstance(one, ast.Call) else one
        if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "study":
            return {word.arg: word.value for word in one.keywords} if isinstance(one, ast.Call) else {}
    return None


def _database_of(node: Function) -> str:
    given = (_decorator(node) or {}).get("db_url")
    return "" if given is None else ast.dump(given)


def _what_counts(node: Function) -> list[ast.AST]:
    """Return what makes a function what it is: its parameters and its statements, without its docstring."""
    is_told = bool(node.body) and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
    return [node.args, *node.body[is_told:]]
