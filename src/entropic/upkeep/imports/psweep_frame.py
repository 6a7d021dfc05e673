"""A frame of psweep as a source of results: each row is a set, and what came out of it."""

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.types import underlying
from entropic.errors import ParameterError
from entropic.formats.libraries import library
from entropic.params.keys import plain
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled
from entropic.upkeep.imports.source import Found, NoResult, Unfit, renamed

_DATABASE = "database.pk"
_TOLD = {"_pset_id": "pset", "_run_id": "run", "_exec_host": "host"}


@dataclass(frozen=True)
class PsweepFrame:
    """The rows of a data frame of psweep, for `Store.import_results`.

    ::

        store.import_results(PsweepFrame(df))
        store.import_results(PsweepFrame("calc", trust_pickles=True))

    The columns of the frame that the model has are its params, and its outcomes. The result of a row is what else it
    says (without names that begin with `_`), as a dict; or a file of its own.

    Parameters
    ----------
    frame
        The data frame; or the `database.pk` in which psweep keeps it, or the folder of that.
    file
        The result of a row: the name of a file in the folder `calc_dir/<_pset_id>`.
    calc_dir
        The folder of psweep; that of the `database.pk`, or what the frame says, if it is not given.
    trust_pickles
        Whether a `database.pk` may be unpickled. That can run any code of whoever wrote it, so say True only of your
        own.
    columns
        The columns of what has another name in the frame; None for what is not part of a set or a result here.
    """

    frame: Any
    file: str | None = None
    calc_dir: str | os.PathLike[str] | None = None
    trust_pickles: bool = False
    columns: Mapping[str, str | None] = field(default_factory=dict)
    kind = "psweep"
    keeps_pickles = False

    @property
    def has_files(self) -> bool:
        """Whether its results are files."""
        return self.file is not None

    def find(self, context: StoreContext[Base]) -> Iterator[Found | Unfit | NoResult]:
        """Yield the rows of the frame.

        Raises
        ------
        ParameterError
            If it is not one, or a pickle that nobody trusts.
        """
        frame, folder = self._opened()
        names = [str(name) for name in frame.columns]
        for number, values in enumerate(frame.itertuples(index=False, name=None)):
            yield self._row(context, number, dict(zip(names, values, strict=True)), folder)

    def _opened(self) -> tuple[Any, str | None]:
        folder = None if self.calc_dir is None else os.path.abspath(self.calc_dir)
        if hasattr(self.frame, "itertuples"):
            return self.frame, folder
        try:
            path = os.path.abspath(os.fspath(self.frame))
        except TypeError:
            raise ParameterError(f"a frame of psweep is a DataFrame, or its file, not {spelled(self.frame)}") from None
        path = os.path.join(path, _DATABASE) if os.path.isdir(path) else path
        if not os.path.isfile(path):
            raise ParameterError(f"there is no frame of psweep at {path}")
        if not self.trust_pickles:
            raise ParameterError(
                f"{path} is a pickle, and reading it can run any code of whoever wrote it; if that was you, say so: "
                "PsweepFrame(..., trust_pickles=True), or --trust-pickles"
            )
        pandas = library("pandas", "pandas", "PsweepFrame")
        return pandas.read_pickle(path), folder or os.path.dirname(path)

    def _row(
        self, context: StoreContext[Base], number: int, values: dict[str, Any], folder: str | None
    ) -> Found | Unfit | NoResult:
        given = {name: value for name, value in values.items() if not _is_missing(value)}
        pset = str(given.get("_pset_id", number))
        name = f"row {number}" if pset == str(number) else f"row {number} ({pset})"
        try:
            called = {name: plain(value) for name, value in renamed(given, dict(self.columns)).items()}
        except ParameterError as error:
            return Unfit(name, str(error))
        schema = context.schema
        params = {
            column: _whole(schema.fields[column].type, value)
            for column, value in called.items()
            if column in schema.fields
        }
        rest = {one: value for one, value in called.items() if one not in params and not one.startswith("_")}
        outcomes = {**{one.removesuffix("_"): value for one, value in rest.items()}, **rest}
        told = {new: str(given[old]) for old, new in _TOLD.items() if old in given}
        about: dict[str, Any] = {"created_at": _time(given.get("_time_utc")), "outcomes": outcomes, "told": told}
        about["seconds"] = _seconds(given.get("_pset_runtime"))
        if self.file is None:
            if not rest:
                return NoResult(name, "it says nothing but its params")
            label = f"{folder or given.get('_calc_dir', '')}/{pset}"
            return Found(name=name, params=params, path=label, value=functools.partial(dict, rest), **about)
        if pset in ("", os.curdir, os.pardir) or os.sep in pset:
            return Unfit(name, f"its _pset_id {pset!r:.80} is not the name of a folder")
        calc = os.path.realpath(os.path.join(folder or os.path.abspath(str(given.get("_calc_dir", "calc"))), pset))
        path = os.path.join(calc, self.file)
        if not os.path.lexists(path):
            return NoResult(name, f"there is no {path}")
        if not os.path.realpath(path).startswith(calc + os.sep):
            return Unfit(name, f"{path} leads out of its folder; put what it leads to in its place")
        return Found(name=name, params=params, path=os.path.realpath(path), **about)


def _whole(kind: Any, value: Any) -> Any:
    """Return a whole number of a column of these as what it was: beside an empty cell pandas makes floats of them."""
    is_whole = isinstance(underlying(kind), sa.Integer) and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def _is_missing(value: Any) -> bool:
    """Tell whether a cell of a frame is empty, as that of a set without such a parameter."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _time(value: Any) -> datetime | None:
    found = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    return found.replace(tzinfo=None) if isinstance(found, datetime) else None


def _seconds(value: Any) -> float | None:
    value = plain(value)
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**35 else None
