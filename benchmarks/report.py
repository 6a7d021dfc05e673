"""The table, and the ratios by name: medians over rounds of ratios that were each formed within one round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from figures import name
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

    def cpu_ratio(self, workload: str, system: str, base: str) -> float | None:
        """As `ratio`, of the time of the processor."""
        ours, theirs = self._cpu(workload, system), self._cpu(workload, base)
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

    def _cpu(self, workload: str, system: str) -> dict[int, float]:
        return {m.round: m.cpu for m in self._of(workload, system) if m.cpu is not None}

    def _of(self, workload: str, system: str) -> Iterable[Measurement]:
        return (m for m in self.measurements if (m.workload, m.system) == (workload, system))


def table(figures: Figures, workloads: list[str], systems: list[str]) -> str:
    """Workloads as rows, systems as columns, `ratio (µs)` in the cells."""
    rows = [["x limit (µs)", *systems]]
    rows += [[what, *(_cell(figures, what, system) for system in systems)] for what in workloads]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def memory(figures: Figures, workloads: list[str], systems: list[str]) -> str:
    """Workloads as rows, systems as columns, the peak of the process that measured in the cells."""
    rows = [["MB at most", *systems]]
    for what in workloads:
        peaks = [figures.megabytes(what, system) for system in systems]
        rows.append([what, *("-" if peak is None else f"{peak:.0f}" for peak in peaks)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def ratios(figures: Figures, workloads: list[str], systems: list[str]) -> dict[str, float]:
    """Every system beside the limit, and entropic beside every other: time, and CPU time of what one process does."""
    pairs = [(system, BASE) for system in systems] + [
        (OURS, system) for system in systems if system not in (OURS, BASE)
    ]
    found = {}
    for what in workloads:
        for who, base in pairs:
            for kind, ratio in (("", figures.ratio(what, who, base)), (", CPU", figures.cpu_ratio(what, who, base))):
                if ratio is not None:
                    found[name(f"{what}{kind}", who, base)] = ratio
    return found


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
