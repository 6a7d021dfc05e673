"""Patterns of paths, `runs/n={n}_dt={dt}/out.npy`: what the names of files and folders say of a set.

What a name says is never guessed: where it can be read in two ways that fit the columns, it is not taken.
"""

import itertools
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from entropic.ask.typed import column_of, kind_typed, parsed
from entropic.errors import ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext

ANY = "*"  # any text, which says nothing
ANY_FOLDERS = "**"

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf|nan", re.IGNORECASE)
Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a name: a text that is there as it is, or one that a column has, or any."""

    literal: str | None = None
    column: str | None = None


Segment = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, taken apart.

    Attributes
    ----------
    root
        The folder of which all paths begin.
    segments
        The names below it, one by one; None for any number of folders.
    of_folders
        Whether results are folders.
    """

    root: str
    segments: tuple[Segment | None, ...]
    of_folders: bool

    @property
    def columns(self) -> list[str]:
        """The columns that it names."""
        found = [piece.column for one in self.segments for piece in one or () if piece.column is not None]
        return list(dict.fromkeys(found))

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Take a pattern apart.

        Raises
        ------
        ParameterError
            If it is none.
        """
        names = text.split("/")
        of_folders = len(names) > 1 and not names[-1]
        if of_folders:
            names.pop()
        segments = [None if name == ANY_FOLDERS else _pieces(text, name) for name in names]
        plain = 0
        while plain < len(segments) - 1 and _is_plain(segments[plain]):
            plain += 1
        root = "/".join("".join(piece.literal or "" for piece in one or ()) for one in segments[:plain])
        rest = tuple(one for one in segments[plain:] if one != ())
        found = cls(root or ("/" if plain and text.startswith("/") else "."), rest, of_folders)
        if not found.columns:
            raise ParameterError(
                f"the pattern {text!r:.200} names no column; write it as 'runs/n={{n}}_dt={{dt}}/out.npy', with the "
                "columns of the model in braces"
            )
        if rest[-1] is None:
            raise ParameterError(f"the pattern {text!r:.200} ends with **, so it does not say which files are results")
        return found


def _is_plain(segment: Segment | None) -> bool:
    return segment is not None and all(piece.literal is not None for piece in segment)


def _pieces(pattern: str, name: str) -> Segment:
    found: list[Piece] = []
    try:
        parts = list(string.Formatter().parse(name))
    except ValueError as error:
        raise ParameterError(f"the pattern {pattern!r:.200} cannot be read: {error}; a brace is written {{{{") from None
    for literal, column, spec, conversion in parts:
        for i, text in enumerate(literal.split(ANY)):
            found += [Piece()] if i else []
            found += [Piece(literal=text)] if text else []
        if column is None:
            continue
        if spec or conversion or not column.isidentifier():
            raise ParameterError(
                f"the pattern {pattern!r:.200} has {{{column}{':' if spec else ''}{spec or ''}}}, and takes only "
                "plain columns such as {n}; write * for text that is not a column"
            )
        found.append(Piece(column=column))
    if any(one.literal is None and other.literal is None for one, other in itertools.pairwise(found)):
        raise ParameterError(
            f"the pattern {pattern!r:.200} has two columns with no text between them, so it is unclear where one ends; "
            "put a separator between them"
        )
    return tuple(found)


# ---- names ---------------------------------------------------------------------------------------------------------
def ways(segment: Segment, name: str, fits: Callable[[str, str], bool]) -> list[Texts]:
    """Return how a name can be read so that each column's text fits: at most two ways that say different things."""
    memo: dict[tuple[int, int], list[Texts]] = {}
    columns = [piece.column for piece in segment if piece.column is not None]
    twice = len(columns) > len(set(columns))  # then what begins well may end badly, and two ways are not enough

    def go(at: int, begin: int) -> list[Texts]:
        if at == len(segment):
            return [{}] if begin == len(name) else []
        if (at, begin) not in memo:
            memo[at, begin] = read(at, begin)
        return memo[at, begin]

    def read(at: int, begin: int) -> list[Texts]:
        piece = segment[at]
        if piece.literal is not None:
            return go(at + 1, begin + len(piece.literal)) if name.startswith(piece.literal, begin) else []
        found: list[Texts] = []
        for end in range(begin + (piece.column is not None), len(name) + 1):
            text = name[begin:end]
            rests = go(at + 1, end)
            if not rests or (piece.column is not None and not fits(piece.column, text)):
                continue
            for rest in rests:
                one = rest if piece.column is None else {piece.column: text, **rest}
                if piece.column is not None and rest.get(piece.column, text) != text:
                    continue
                if one not in found:
                    found.append(one)
            if len(found) > 1 and not twice:
                return found[:2]
        return found

    return go(0, 0)[:2]


def value_of(context: StoreContext[Base], column: str, text: str) -> object:
    """Return what a text in a path says of a column: numbers are plain decimals, without blanks or `_`.

    A column of text keeps it as it is: `solver=none` names a solver, and not that there was none.

    Raises
    ------
    ParameterError
        With what the column takes.
    """
    kind = kind_typed(column_of(context, column))
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        return text
    if isinstance(kind, sa.Integer) and _WHOLE.fullmatch(text) is None:
        if text.lower() not in ("none", "null"):
            raise ParameterError(f"{column}={text}: the column {column!r} takes a whole number")
    elif (
        isinstance(kind, sa.Float | sa.Numeric)
        and _NUMBER.fullmatch(text) is None
        and text.lower() not in ("none", "null")
    ):
        raise ParameterError(f"{column}={text}: the column {column!r} takes a number")
    return parsed(context, column, text)
