"""The ratios as a picture: a group of bars for each workload, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path

from report import BASE, Figures


def draw(figures: Figures, workloads: list[str], systems: list[str], machine: dict[str, str], file: Path) -> None:
    """Write the picture; `file` says by its suffix in which format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    compared = [system for system in systems if system != BASE]
    shown = [name for name in workloads if any(figures.ratio(name, system) for system in compared)]
    fig, axes = pyplot.subplots(figsize=(1.5 + 1.3 * len(shown), 4), layout="constrained")
    width = 0.8 / len(compared)
    for number, system in enumerate(compared):
        ratios = [figures.ratio(name, system) or 0.0 for name in shown]
        places = [place - 0.4 + width * (number + 0.5) for place in range(len(shown))]
        axes.bar(places, ratios, width, label=system, color="black" if system == "entropic" else f"C{number}")
    axes.axhline(1.0, color="gray", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(shown)), shown)
    axes.set_ylabel("time, as a multiple of the limit")
    facts = ("cpu", "cores", "python", "sqlite", "SQLAlchemy", "file system")
    axes.set_title(", ".join(f"{fact} {machine[fact]}" for fact in facts), fontsize=8)
    axes.legend(fontsize=8, ncols=2)
    fig.savefig(file)
