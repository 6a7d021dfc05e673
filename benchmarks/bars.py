"""Every goal of speed, in one table, and whether it is met: the only place for them.

A goal is for a ratio of two figures of the same run, so that it holds on any machine. All goals are for entropic, which
meets one if its ratio is not above it. `before` is entropic as it was when most of them were set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from figures import Record, name

BOTH = ("memory", "disk")


@dataclass(frozen=True)
class Bar:
    """One goal."""

    program: str
    figure: str
    most: float
    places: tuple[str, ...] = ()  # where files are to be written; none: it makes no difference


def _bar(program: str, what: str, base: str, most: float, *places: str) -> Bar:
    return Bar(program, name(what, "entropic", base), most, places)


BARS = (
    # What an operation costs, whatever the file system.
    *(
        _bar("run", what, "limit", most, *BOTH)
        for what, most in {
            "hit": 2.0,
            "retrieve miss": 1.2,
            "miss": 2.5,
            "cached sweep": 2.2,
            "new sweep": 2.4,
            "dask sweep": 1.1,
            "import": 1.15,
        }.items()
    ),
    *(
        _bar("run", what, "joblib", 1.0, *BOTH)
        for what in ("hit", "retrieve miss", "miss", "cached sweep", "new sweep", "eight at once")
    ),
    # New runs.
    _bar("instructions", "miss", "limit", 3.4),
    _bar("run", "miss, CPU", "before", 0.75, "memory"),
    _bar("run", "miss, CPU", "before", 0.65, "disk"),
    _bar("run", "miss", "signac", 1.1, "memory"),
    _bar("run", "miss", "signac", 1.0, *BOTH),
    _bar("run", "new sweep", "before", 0.65, "memory"),
    _bar("run", "eight at once", "before", 0.75, "memory"),
    # Arrays of many results.
    _bar("arrays", ".npy, to_xarray", "bare loop", 0.5),
    _bar("arrays", ".npz, to_xarray", "bare loop", 0.2),
    _bar("arrays", ".npy, lazy and computed", "bare loop", 1.0),
    _bar("arrays", ".npz, lazy and computed", "bare loop", 1.0),
    # Tables of many rows.
    *(
        _bar("tables", f"{way}, {of}", base, most)
        for way in ("to_arrow", "to_pandas", "to_polars")
        for base, bars in {"select().to_pandas": (0.35, 0.15), "pandas.read_sql_query": (1.4, 0.5)}.items()
        for of, most in zip(("CPU", "memory"), bars, strict=True)
    ),
    # Many sets at once.
    _bar("bulk", "plan of stored sets", "before", 0.6),
    _bar("bulk", "sweep of stored sets", "before", 0.85),
    _bar("bulk", "plan of failed sets", "plan of stored sets", 1.5),
    _bar("bulk", "kB in a swept row", "1 kB", 1.4),
    # Many processes that share the same sets.
    *(_bar("crowd", kind, peer, 1.0, *BOTH) for kind in ("sqlite", "postgresql") for peer in ("jug", "furu", "optuna")),
)


def verdicts(records: Iterable[Record], bars: Iterable[Bar] = BARS) -> str:
    """One line for each goal: what was measured, what is wanted, and whether it is met."""
    taken = {(record.program, place): record.figures for record in records for place in (record.place, "")}
    rows = [("", "", "", "measured", "bar", "")]
    met = missed = 0
    for bar in bars:
        for place in bar.places or ("",):
            figure = taken.get((bar.program, place), {}).get(bar.figure)
            verdict = "not measured" if figure is None else "met" if figure <= bar.most else "NOT MET"
            met, missed = met + (verdict == "met"), missed + (verdict == "NOT MET")
            measured = "-" if figure is None else f"{figure:.2f}"
            rows.append((bar.program, bar.figure, place, measured, f"{bar.most:g}", verdict))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = "<<<>><"
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, wide, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"{met} met, {missed} not met, {len(rows) - 1 - met - missed} not measured"])


def verdicts_of(record: Record) -> str:
    """The same for what one program has measured, without the goals of others and of other places."""
    concerned = (bar for bar in BARS if bar.program == record.program and bar.figure in record.figures)
    here = (replace(bar, places=(record.place,)) if record.place in bar.places else bar for bar in concerned)
    return verdicts([record], [bar for bar in here if bar.places in ((), (record.place,))])
