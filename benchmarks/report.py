"""The table and the bars: medians over rounds of ratios that were each formed within one round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from measure import Measurement

BASE = "limit"
OURS = "entropic"


@dataclass(frozen=True)
class Figures:
    """All measurements, and the questions that are asked of them."""

    measurements: list[Measurement]

    def micros(self, workload: str, system: str) -> float | None:
        """The median time of one operation, in µs."""
        times = self._seconds(workload, system).values()
        return median(times) * 1e6 if times else None

    def ratio(self, workload: str, system: str, base: str = BASE) -> float | None:
        """The median over rounds of the time of `system` over that of `base` in the same round."""
        ours, theirs = self._seconds(workload, system), self._seconds(workload, base)
        ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
        return median(ratios) if ratios else None

    def megabytes(self, workload: str, system: str) -> float | None:
        """The median of the most memory that the process held, in MB."""
        peaks = [m.max_rss_kb for m in self._of(workload, system) if m.max_rss_kb]
        return median(peaks) / 1024 if peaks else None

    def crashed(self, workload: str, system: str) -> bool:
        """Whether a worker of that cell, or the one that should have filled its store, gave no figure."""
        return any(m.error for name in (workload, "fill") for m in self._of(name, system))

    def _seconds(self, workload: str, system: str) -> dict[int, float]:
        return {m.round: m.seconds for m in self._of(workload, system) if m.seconds is not None}

    def _of(self, workload: str, system: str) -> Iterable[Measurement]:
        return (m for m in self.measurements if (m.workload, m.system) == (workload, system))


def table(figures: Figures, workloads: list[str], systems: list[str]) -> str:
    """Workloads as rows, systems as columns, `ratio (µs)` in the cells."""
    rows = [["x limit (µs)", *systems]]
    rows += [[name, *(_cell(figures, name, system) for system in systems)] for name in workloads]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def memory(figures: Figures, workloads: list[str], systems: list[str]) -> str:
    """Workloads as rows, systems as columns, the peak of the process that measured in the cells."""
    rows = [["MB at most", *systems]]
    for name in workloads:
        peaks = [figures.megabytes(name, system) for system in systems]
        rows.append([name, *("-" if peak is None else f"{peak:.0f}" for peak in peaks)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


MUST = {
    "hit": 2.0,
    "retrieve miss": 1.2,
    "miss": 2.5,
    "cached sweep": 2.2,
    "new sweep": 2.4,
    "dask sweep": 1.1,
    "import": 1.15,
}
"""Ratios to the limit that we want to keep within, whatever the file system."""


def bars(figures: Figures, workloads: list[str]) -> str:
    """One line for each promise about speed: met or NOT met, workload by workload."""
    return "\n".join(
        [
            _bar(figures, workloads, "within the bars", BASE, MUST),
            _bar(figures, workloads, "none behind joblib", "joblib", dict.fromkeys(workloads, 1.0)),
        ]
    )


def _bar(figures: Figures, workloads: list[str], promise: str, base: str, most: dict[str, float]) -> str:
    verdicts = []
    for workload in workloads:
        ratio = figures.ratio(workload, OURS, base)
        if ratio is not None and workload in most:
            verdict = "met" if ratio <= most[workload] else "NOT met"
            verdicts.append(f"{workload} {verdict} ({ratio:.2f} of {most[workload]:g})")
    return f"{promise}: {', '.join(verdicts) or 'not measured'}"


def _cell(figures: Figures, workload: str, system: str) -> str:
    micros, ratio = figures.micros(workload, system), figures.ratio(workload, system)
    if figures.crashed(workload, system):
        return "crashed"
    if micros is None:
        return "-"
    time = f"{micros:,.1f}" if micros < 100 else f"{micros:,.0f}"
    return f"({time})" if ratio is None else f"{ratio:.2f} ({time})"


def _line(row: list[str], widths: list[int]) -> str:
    first, *cells = row
    padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    return "  ".join([first.ljust(widths[0]), *padded])
