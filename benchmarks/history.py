"""The figures of each release, in `history/`, and a picture of them: `python benchmarks/history.py FILE.svg`.

`python benchmarks/bench.py --record` writes one file for the release that it measured. A file has ratios to others of
the same run, so that releases compare although their machines differ.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from figures import Record, parts

FOLDER = Path(__file__).parent / "history"
OURS = "entropic"
GROUPS = {
    "run in memory": "one process, files in memory",
    "run on disk": "one process, files on a disk",
    "instructions": "instructions",
    "crowd in memory": "a crowd, files in memory",
    "crowd on disk": "a crowd, files on a disk",
    "bulk": "many sets at once",
    "arrays": "arrays of many results",
    "tables": "tables of many rows",
}
PLACED = {"run", "crowd"}  # programs for which it makes a difference where files are written


def keep(records: Iterable[Record], who: str = OURS, folder: Path = FOLDER) -> Path:
    """Write what was measured of one system, under its version; return the file. What was not measured now stays."""
    release = version() if who == OURS else who
    file = folder / f"{release}.json"
    found: dict[str, Any] = json.loads(file.read_text())["measured"] if file.exists() else {}
    for record in records:
        ratios = dict(sorted(of(record, who)))
        if ratios:
            group = record.program
            if group in PLACED:
                group += " in memory" if record.place == "memory" else " on disk"
            machine = {fact: told for fact, told in record.machine.items() if fact != "folder"}  # it is gone by now
            found[group] = {"machine": machine, "scale": record.scale, "ratios": ratios}
            if who == OURS:
                found[group]["commit"] = commit()
    folder.mkdir(exist_ok=True)
    file.write_text(json.dumps({"release": release, "measured": found}, indent=1, sort_keys=True) + "\n")
    return file


def of(record: Record, who: str) -> Iterator[tuple[str, float]]:
    """The ratios of one system, without its name; rounded, as the rest is noise."""
    for figure, ratio in record.figures.items():
        what, system, base = parts(figure)
        if system == who:
            yield f"{what} / {base}", float(f"{ratio:.3g}")


def version() -> str:
    """The version of the entropic that is measured."""
    from entropic import __version__

    return __version__


def commit() -> str | None:
    """The commit of this checkout, if it is one."""
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def releases(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All that is kept, oldest release first."""
    return sorted(
        (json.loads(file.read_text()) for file in folder.glob("*.json")), key=lambda kept: order(kept["release"])
    )


def order(release: str) -> tuple[tuple[int, ...], bool]:
    """What releases are sorted by: their numbers, and one under development before that which it becomes."""
    numbers = tuple(int(number) for number in re.match(r"[\d.]*\d", release)[0].split("."))  # type: ignore[index]
    return numbers, not re.search(r"dev|a|b|rc", release)


def lines(kept: list[dict[str, Any]], group: str) -> dict[str, list[float | None]]:
    """The ratios of one group by name, a value for each release."""
    names = {name for one in kept for name in one["measured"].get(group, {}).get("ratios", {}) if shown(group, name)}
    return {
        name: [one["measured"].get(group, {}).get("ratios", {}).get(name) for one in kept] for name in sorted(names)
    }


def shown(group: str, name: str) -> bool:
    """Whether a ratio has a line: of one process, the time beside the limit."""
    return not group.startswith("run") or (name.endswith(" / limit") and ", CPU" not in name)


def draw(kept: list[dict[str, Any]], file: Path) -> None:
    """Write the picture: a panel for each group, a line for each figure, over the releases."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    groups = {group: lines(kept, group) for group in GROUPS if lines(kept, group)}
    fig, panels = pyplot.subplots(
        len(groups), figsize=(8, 2.6 * len(groups)), layout="constrained", sharex=True, squeeze=False
    )
    for axes, (group, figures) in zip(panels[:, 0], groups.items(), strict=True):
        for number, (name, values) in enumerate(figures.items()):
            marker = "os^Dv"[number // 10 % 5]
            axes.plot(range(len(kept)), [value or float("nan") for value in values], marker, ls="-", label=name, ms=4)
        axes.set_yscale("log")
        axes.set_title(GROUPS[group], fontsize=9)
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.set_xticks(range(len(kept)), [one["release"] for one in kept])
    fig.savefig(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="the picture, of a kind that matplotlib knows")
    draw(releases(), parser.parse_args().file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
