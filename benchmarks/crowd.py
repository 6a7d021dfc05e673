"""Let 64 processes share the same 10,000 short sets, and print how long it takes entropic, and others that can do it.

The clock starts when every process has opened what it uses, and stops when the last one knows of nothing more to do: no
start of an interpreter counts. PostgreSQL comes from a wheel, MariaDB from the system if it is there; each also by a
URL in `ENTROPIC_TEST_POSTGRESQL` or `ENTROPIC_TEST_MARIADB`. jug and furu keep files alone, so one time of theirs
stands beside each of entropic's. The exit code is 1 if entropic ran a set twice, or lost one; of others it is said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bars import verdicts_of
from catalog import CROWDS, FILES, KINDS, Crowd
from crowds import Scene
from crowds.logged import runs
from environments import OUT, Unavailable, interpreter_in, version_in
from figures import Record, name
from machine import describe
from measure import HERE, environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

PROCESSES, SETS = 64, 10_000
OPENING = 600  # seconds in which all must have opened what they use
OURS = "entropic"


class Failed(Exception):
    """A crowd did not do what it should; the message says what."""


@dataclass(frozen=True)
class Taken:
    """What a crowd took."""

    seconds: float
    late: bool  # it was ended, and would have taken more
    ran: list[int]  # which sets, in the order in which they did
    cpu: float = 0.0  # of all its processes, without those of a server

    def exact(self, sets: int) -> bool:
        """Whether every set ran once."""
        return sorted(self.ran) == list(range(sets))

    def told(self, sets: int) -> str:
        """A line of the table."""
        again, never = len(self.ran) - len(set(self.ran)), sets - len(set(self.ran))
        wrong = [
            f"{count:,} {what}" for count, what in ((again, "runs too many"), (never, "sets did not run")) if count
        ]
        rate = f"{len(set(self.ran)) / self.seconds:8,.0f} sets/s"
        took = f"{'>' if self.late else ' '}{self.seconds:7.2f} s, CPU {self.cpu:7.2f} s"
        return f"{rate} {took}   {', '.join(wrong) or 'each ran once'}"


def main() -> int:
    options = parse()
    times: dict[tuple[str, str], Taken] = {}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="entropic-crowd-", dir=options.dir) as folder:
        machine = describe(Path(folder))
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in machine.items()), flush=True)
        print(f"{options.processes} processes share {options.sets:,} sets", flush=True)
        for system, kind, taken in measured(options, Path(folder)):
            if isinstance(taken, Taken):
                times[system.name, kind] = taken
            wrong += system.name == OURS and not (isinstance(taken, Taken) and taken.exact(options.sets))
            told = taken.told(options.sets) if isinstance(taken, Taken) else taken
            print(f"{system.name:10} {kind:12} {told}", flush=True)
    record = Record("crowd", machine, options.sets / SETS, ratios(times), {"seconds": spoken(times)})
    print(f"\n{verdicts_of(record)}")
    record.write(options.json)
    return 1 if wrong else 0


def ratios(times: dict[tuple[str, str], Taken]) -> dict[str, float]:
    """entropic beside each other one, on each kind of database; one that keeps files alone stands beside all."""
    found = {}
    for (system, kind), theirs in times.items():
        for mine in KINDS if kind == FILES else (kind,):
            if system != OURS and (OURS, mine) in times:
                ours = times[OURS, mine]
                found[name(mine, OURS, system)] = ours.seconds / theirs.seconds
                if ours.cpu and theirs.cpu:
                    found[name(f"{mine}, CPU", OURS, system)] = ours.cpu / theirs.cpu
    return found


def spoken(times: dict[tuple[str, str], Taken]) -> dict[str, dict[str, float]]:
    """The times with their names in one."""
    return {f"{system} on {kind}": {"seconds": it.seconds, "cpu": it.cpu} for (system, kind), it in times.items()}


def measured(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Crowd, str, Taken | str]]:
    """What each system took on each kind of database, or why it took no part."""
    from databases import Missing, Place, Servers

    servers = Servers(folder)
    try:
        for kind in options.kinds:
            for system in (one for one in CROWDS if kind in one.kinds and one.name in options.systems):
                place = folder / f"{system.name}-{kind}"
                place.mkdir()
                try:
                    python = sys.executable
                    if system.requirements:
                        python = interpreter_in(OUT / system.name, system.requirements)
                        print(f"{system.name} {version_in(python, system.name)}", flush=True)
                    on_server = kind not in ("sqlite", FILES)
                    base = Place.on_server(servers.shared(kind)) if on_server else Place.on_sqlite(place)
                    with base:
                        yield (
                            system,
                            kind,
                            measure(python, Scene(system.module, str(place), base.url, options.sets), options),
                        )
                except (Unavailable, Missing) as reason:
                    yield system, kind, f"left out: {reason}"
                except Failed as reason:
                    yield system, kind, f"failed: {reason}"
    finally:
        servers.close()


def measure(python: str, scene: Scene, options: argparse.Namespace) -> Taken:
    """Let a crowd share the sets; look at what it has stored, unless it was ended for being late."""
    folder = Path(scene.folder)
    finish(member(python, "prepare", scene), OPENING)
    crowd = [member(python, "take_part", scene, number) for number in range(options.processes)]
    try:
        await_all(crowd, folder, "ready", OPENING)
        began = time.monotonic()
        (folder / "go").touch()
        late = not await_all(crowd, folder, "done", options.patience)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    if late:
        return Taken(time.monotonic() - began, late, runs(folder))
    told = [json.loads(file.read_text()) for file in folder.glob("done-*")]
    ended, cpu = max(one["at"] for one in told), sum(one["cpu"] for one in told)
    finish(member(python, "verify", scene), OPENING)
    return Taken(ended - began, late, runs(folder), cpu)


def member(python: str, role: str, scene: Scene, number: int = 0) -> subprocess.Popen[bytes]:
    """Start one process; what it says on its way is kept in a file."""
    told = json.dumps({**asdict(scene), "member": number})
    with (Path(scene.folder) / f"said-{role}-{number}").open("wb") as said:
        command = [python, str(HERE / "crowd_member.py"), role, told]
        return subprocess.Popen(command, stdout=said, stderr=said, env=environment(python), cwd=scene.folder)


def await_all(crowd: list[subprocess.Popen[bytes]], folder: Path, what: str, seconds: float) -> bool:
    """Wait until all say so, by a file each; tell whether they did in time; raise if one has failed."""
    deadline = time.monotonic() + seconds
    while len(list(folder.glob(f"{what}-*"))) < len(crowd):
        for number, process in enumerate(crowd):
            if process.poll():
                raise Failed(last_words(folder / f"said-take_part-{number}"))
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def finish(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for one process alone."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"not done after {seconds:g} s") from None
    if code:
        role, told = process.args[-2:]  # type: ignore[index,misc]
        raise Failed(last_words(Path(json.loads(told)["folder"], f"said-{role}-0")))


def last_words(said: Path) -> str:
    """The last line of what a process said."""
    lines = said.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [system.name for system in CROWDS]
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--systems", type=lambda text: text.split(","), default=names, help=f"of {', '.join(names)}")
    kinds = [*KINDS, FILES]
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=kinds, help=f"of {', '.join(kinds)}")
    parser.add_argument("--patience", type=float, default=900, help="seconds after which a crowd is ended (900)")
    parser.add_argument("--dir", help="where results lie, and SQLite's database")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
