"""The line of a command: a text, or a list of words, with the names of parameters in braces; no shell ever sees it."""

import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entropic.errors import ParameterError
from entropic.support.show import spelled


def split(line: str | Sequence[str]) -> list[str]:
    """Return the words of a line.

    Raises
    ------
    ParameterError
        If it has none, or one that cannot be filled, or that is meant for a shell.
    """
    import shlex

    try:
        words = shlex.split(_QUOTED.sub(_as_shell, line)) if isinstance(line, str) else [os.fspath(one) for one in line]
    except (ValueError, TypeError) as error:
        raise ParameterError(f"command({spelled(line)}) cannot be split into words: {error}") from None
    if not words or not words[0]:
        raise ParameterError("command() needs a program to start")
    if isinstance(line, str):
        _refuse_shell(line)
    for word in words:
        list(names_in(word))
    return words


_QUOTED = re.compile(r"""(?P<single>'[^']*')|(?P<escaped>\\.)|(?P<double>"(?:\\.|[^"\\])*")""", re.DOTALL)
_OPERATOR = re.compile(r"[|&]{1,2}|\|&|;+|.*[^;];|\d*(?:<{1,3}|>{1,2}|>\|).*|&>.*", re.DOTALL)
_EXPANDED = re.compile(r"\$(?:[A-Za-z_0-9({?@*#]).*|`.*", re.DOTALL)
_HOME = re.compile(r"~(?:/.*)?", re.DOTALL)


def _as_shell(found: re.Match[str]) -> str:
    """Return what is quoted as `shlex` takes it for what a shell does: a line may go on, and `\\$` is a dollar."""
    if found["double"]:
        return re.sub(r"\\([$`])", r"\1", found[0])
    return "" if found["escaped"] == "\\\n" else found[0]


def _refuse_shell(line: str) -> None:
    """Refuse words of a text on which a shell would act: it is split as a shell does it, and no shell ever sees it.

    Raises
    ------
    ParameterError
        With what to write in place of it.
    """
    bare = _QUOTED.sub("_", line)  # in which nothing is quoted
    # Between double quotes $ is not quoted, unless a backslash stands before it.
    dollars = _QUOTED.sub(lambda found: re.sub(r"\\.", "_", found[0]) if found["double"] else "_", line)
    operator = next((word for word in bare.split() if _OPERATOR.fullmatch(word)), None)
    expanded = _EXPANDED.search(dollars)
    home = next((word for word in bare.split() if _HOME.fullmatch(word)), None)
    if operator is not None:
        what, instead = operator, "a shell is a program, too: command(['sh', '-c', ...])"
    elif expanded is not None:
        what, instead = expanded[0].split()[0].rstrip('"'), "os.path.expandvars does that in Python"
    elif home is not None:
        what, instead = home, "os.path.expanduser does that in Python"
    else:
        return
    raise ParameterError(
        f"command({spelled(line)}) has {what!r}, which only a shell would act on, and none does: {instead}. If the "
        f"program is to get it as it is, quote it ({what!r}), or give the words as a list"
    )


def names_in(word: str) -> Iterator[str]:
    """Yield the names of the parameters in a word."""
    try:
        for _, field, spec, _ in string.Formatter().parse(word):
            if field is not None:
                name = re.split(r"[.\[]", field)[0]
                if not name.isidentifier():
                    raise ParameterError(f"{word!r} has {{{field}}}, which names no parameter; write {{name}}")
                yield name
                yield from names_in(spec or "")
    except ValueError as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(
            f"the word {word!r} cannot be filled from the params: {error}; write {{{{ for a brace"
        ) from None


def fill(word: str, values: Mapping[str, Any]) -> str:
    """Return a word with the params in it.

    Raises
    ------
    ParameterError
        If it names what the params lack, or what has no text.
    """
    for name in names_in(word):
        if name not in values:
            raise ParameterError(f"{word!r} names {name!r}, which the params lack; the program was not started")
        if values[name] is None:
            raise ParameterError(f"{name!r} is None, for which {word!r} has no text; the program was not started")
    try:
        return string.Formatter().vformat(word, (), values)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ParameterError(f"{word!r} cannot be filled: {error}; the program was not started") from None
