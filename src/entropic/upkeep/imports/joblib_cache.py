"""A cache of `joblib.Memory` as a source of results.

joblib keeps beside each result the arguments of its call, as Python writes them (`repr`): these are read here as text,
and nothing of them is executed. The result itself is a pickle, which can run any code of whoever wrote it when it is
read.
"""

import ast
import functools
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from entropic.errors import ParameterError
from entropic.formats.libraries import library
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled
from entropic.upkeep.imports.source import Found, NoResult, Unfit, renamed, utc

_OUTPUT, _METADATA = "output.pkl", "metadata.json"
_Load = Callable[[str], object]
_LARGEST = 2**26  # bytes of what joblib says of a call


@dataclass(frozen=True)
class JoblibCache:
    """The results that `joblib.Memory` keeps of a function, for `Store.import_results`.

    ::

        store.import_results(JoblibCache("cache", "simulate", trust_pickles=True))

    Parameters
    ----------
    location
        The folder that the `Memory` was given; or the `Memory`, or the function that it has decorated.
    function
        The name of the function, as in its script, if the cache is of several.
    trust_pickles
        Whether results may be unpickled, to be saved as this store saves what a runner returns. That can run any code
        of whoever wrote the cache, so say True only of your own. Without it they are taken as the pickles that they
        are, and the store needs a `loader` to read them.
    columns
        The columns of arguments that have another name; None for one that is not a parameter here, `{"verbose": None}`.
    """

    location: Any
    function: str | None = None
    trust_pickles: bool = False
    columns: Mapping[str, str | None] = field(default_factory=dict)
    kind = "joblib"

    @property
    def keeps_pickles(self) -> bool:
        """Whether its results stay pickles."""
        return not self.trust_pickles

    @property
    def has_files(self) -> bool:
        """Whether its results are files."""
        return not self.trust_pickles

    def find(self, context: StoreContext[Base]) -> Iterator[Found | Unfit | NoResult]:
        """Yield the calls of the function whose results are there.

        Raises
        ------
        ParameterError
            If there is no such cache, or no such function in it.
        """
        load = library("joblib", "joblib", "JoblibCache(trust_pickles=True)").load if self.trust_pickles else None
        folder = self._folder()
        for call in sorted(os.listdir(folder)):
            path = os.path.join(folder, call)
            if os.path.isfile(os.path.join(path, _METADATA)) or os.path.isfile(os.path.join(path, _OUTPUT)):
                yield self._call(path, f"{os.path.basename(folder)}/{call}", os.path.basename(folder), load)

    def _folder(self) -> str:
        """Return the folder of the function's calls."""
        backend = getattr(self.location, "store_backend", None)
        given = self.location if backend is None else backend.location
        own = getattr(self.location, "func_id", None)
        if own is not None and self.function is None:
            return os.path.join(os.fspath(given), str(own))
        try:
            top = os.path.abspath(os.fspath(given))
        except TypeError:
            raise ParameterError(f"a cache of joblib is a folder, not {spelled(self.location)}") from None
        found = sorted(_functions(top))
        named = [one for one in found if self.function in (None, os.path.basename(one), os.path.relpath(one, top))]
        if len(named) == 1:
            return named[0]
        there = ", ".join(os.path.relpath(one, top) for one in found) or "no function of joblib's"
        if not named:
            wanted = "" if self.function is None else f" {self.function!r}"
            raise ParameterError(f"{top} has no results of a function{wanted}: there is {there}")
        raise ParameterError(f"{top} has results of several functions; name one of {there}: JoblibCache(..., function)")

    def _call(
        self, path: str, name: str, function: str, load: Callable[[str], object] | None
    ) -> Found | Unfit | NoResult:
        output = os.path.realpath(os.path.join(path, _OUTPUT))
        if output != os.path.join(os.path.realpath(path), _OUTPUT):
            return Unfit(name, f"its {_OUTPUT} is a link; put what it leads to in its place")
        if not os.path.isfile(output):
            return NoResult(name, "joblib keeps no result of this call")
        try:
            said = _json(os.path.join(path, _METADATA))
            params = renamed(_arguments(said["input_args"], self.columns), dict(self.columns))
            seconds, began = float(said.get("duration", "nan")), float(said.get("time", "nan"))
        except _Unknown as why:
            return Unfit(name, str(why))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return Unfit(name, f"what joblib says of its arguments cannot be read ({type(error).__name__}: {error})")
        return Found(
            name=name,
            params=params,
            path=output,
            value=None if load is None else functools.partial(load, output),
            created_at=utc(began) if 0 <= began < 2**35 else None,
            seconds=seconds if 0 <= seconds < 2**35 else None,
            told={"function": function},
        )


def _functions(top: str) -> Iterator[str]:
    """Yield the folders of functions: those that hold calls."""
    for folder, inside, _ in os.walk(top):
        if any(os.path.isfile(os.path.join(folder, one, _OUTPUT)) for one in inside):
            yield folder
            inside.clear()


def _json(path: str) -> Any:
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{_METADATA} is not a file")
    with open(path, encoding="utf-8") as file:
        return json.loads(file.read(_LARGEST))


# ---- arguments as Python writes them ---------------------------------------------------------------------------------
class _Unknown(Exception):
    """A text does not tell a value."""


def _arguments(said: Mapping[str, str], columns: Mapping[str, str | None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in said.items():
        if columns.get(name, name) is None:
            continue
        value = _value(name, text)
        if name == "**":
            found.update(value)
        elif name != "*":
            found[name] = value
        elif value:
            raise _Unknown(f"it was called with {text:.80} as *args, which have no names")
    return found


def _value(name: str, text: str) -> Any:
    try:
        return _made(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        raise _Unknown(
            f"its argument {name}={text:.80} is not a plain value, so nobody can tell what was passed; if it is not a "
            f"parameter here, leave it out: columns={{{name!r}: None}}"
        ) from None


def _made(node: ast.expr) -> Any:
    """Return the plain value that an expression writes: a literal, a scalar of numpy, a decimal, a date."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        make = _CALLS.get(called.replace("numpy.", "np."))
        if make is None:
            raise ValueError(called)
        return make(*map(_made, node.args), **{str(one.arg): _made(one.value) for one in node.keywords})
    if isinstance(node, ast.List | ast.Tuple):
        made = [_made(one) for one in node.elts]
        return made if isinstance(node, ast.List) else tuple(made)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError(node)
        return {_made(key): _made(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Name):
        return -_made(node.operand)
    return ast.literal_eval(node)


def _rounded(kind: str, value: float) -> float:
    return float(struct.unpack(kind, struct.pack(kind, value))[0])


_CALLS: dict[str, Callable[..., Any]] = {
    **{f"np.{kind}{bits}": int for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "np.float64": float,
    "np.float32": functools.partial(_rounded, "f"),  # whose text is shorter than its value
    "np.float16": functools.partial(_rounded, "e"),
    **dict.fromkeys(("np.bool", "np.bool_"), bool),
    "np.str_": str,
    "Decimal": Decimal,
    "UUID": UUID,
    "datetime.datetime": datetime,
    "datetime.date": date,
    "datetime.time": time,
    "datetime.timedelta": timedelta,
}
