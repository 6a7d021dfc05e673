"""Chaos: processes do everything at once to one store while signals, kills and server restarts come at random.

    python tests/race/chaos.py --seconds 60 --databases sqlite,postgresql,mariadb

CI runs a minute of it; run an hour of it after a change to the protocol. It ends with 1 if anything was wrong. What
must hold, by a log to which every process appends:

- A *kept* key is only ever asked for. Once its row has been served to anybody, nothing runs for it any more, and
  everybody is served the same result.
- A *stirred* key is also run again, deleted, and collected as garbage. What is served for it is a result of that key,
  and complete.
- Rows are measured anew, rebuilt and dismissed all the time. What a row says of its result is so: of a kept key at any
  moment, of all keys in the end.
- No call raises anything but what a failing runner raises, and what an outage of the server is called.
- When all is over, `repair` leaves nothing for `check` to find, and all kept keys are served from what is stored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from entropic import (
    Base,
    DatabaseBusy,
    Mapped,
    PublishError,
    ResultMissingError,
    RunFailed,
    RunsFailedWarning,
    Store,
    outcome,
)

STIRRED = range(-12, 0)
AT_ONCE, NEW_EACH_SECOND = 40, 3  # kept keys
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]
OUTAGE = (DatabaseBusy, PublishError)


class Chaos(Base):
    __tablename__ = "chaos"

    x: Mapped[int]
    token: Mapped[str] = outcome(lambda result: result["token"])


class Broken(Exception):
    """What the runner raises now and then."""


class Log:
    """Lines that any process may append; each is written at once, so their order is that in which things happened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, what: str, x: int, token: str = "") -> None:
        """Append a line."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, f"{what} {x} {token} {os.getpid()}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[list[str]]:
        """Return all lines as words."""
        return [line.split(" ") for line in self.path.read_text().splitlines()] if self.path.exists() else []


class Runner:
    """Writes a result that says whose it is; now and then it fails, or takes long."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __call__(self, params: dict[str, Any]) -> None:
        x, token = params["x"], uuid.uuid4().hex
        self.log.write("begin", x, token)
        time.sleep(random.choice([0.0, 0.0, 0.001, 0.01, 0.05]))
        if random.random() < 0.03:
            raise Broken(x)
        half = json.dumps({"x": x, "token": token, "fill": "f" * random.choice([0, 10_000])})
        with open(params["result_file"], "w") as file:
            file.write(half[: len(half) // 2])
            file.flush()
            file.write(half[len(half) // 2 :])


def open_store(folder: Path, url: str) -> Store[Chaos]:
    """Open the store of this chaos."""
    return Store(Runner(Log(folder / "log")), Chaos, folder / "results", ".json", url)


# ---- one process of the crowd --------------------------------------------------------------------------------------
def take_part(folder: Path, url: str) -> None:
    """Do one thing after another until somebody ends this process."""
    warnings.simplefilter("ignore", RunsFailedWarning)
    random.seed()
    log, store = Log(folder / "log"), open_store(folder, url)
    (folder / "up" / str(os.getpid())).touch()
    acts = [ask, ask, ask, sweep, sweep, stream, look, stir, stir, workers, tend]
    while True:
        act = random.choice(acts)
        try:
            act(store, log)
        except (Broken, RunFailed, *OUTAGE):
            pass
        except Exception as error:
            log.write("error", 0, json.dumps(f"{act.__name__}: {type(error).__name__}: {error}").replace(" ", "_"))


def served(log: Log, row: Chaos) -> None:
    """Check a row that was served, and say so."""
    try:
        found = json.loads(Path(row.result_file).read_text())
    except FileNotFoundError:
        if row.x in STIRRED:
            return  # deleted meanwhile
        raise
    if found["x"] != row.x:
        log.write("error", row.x, f"served_the_result_of_{found['x']}")
    elif row.x not in STIRRED and row.token not in (None, found["token"]):
        log.write("error", row.x, f"its_row_says_{row.token}_and_its_result_{found['token']}")
    log.write("served", row.x, found["token"])


def kept() -> range:
    """Return the kept keys of now: some of all ages, so that there is always something to run and something to hit."""
    first = int(time.monotonic() * NEW_EACH_SECOND)  # the same clock in all processes
    return range(first, first + AT_ONCE)


def some(keys: range, most: int) -> list[dict[str, Any]]:
    return [{"x": x} for x in random.sample(keys, random.randint(1, most))]


def ask(store: Store[Chaos], log: Log) -> None:
    for one in some(kept(), 5):
        served(log, store.run_or_retrieve(one))


def sweep(store: Store[Chaos], log: Log) -> None:
    for row in store.sweep(some(kept(), 30), on_error="continue"):
        served(log, row)


def stream(store: Store[Chaos], log: Log) -> None:
    for row in store.stream(some(kept(), 30), on_error="continue"):
        served(log, row)


def workers(store: Store[Chaos], log: Log) -> None:
    for row in store.sweep(some(kept(), 10), workers=2, on_error="continue"):
        served(log, row)


def look(store: Store[Chaos], log: Log) -> None:
    for row in store.select(Chaos.x >= kept().start):
        served(log, row)
    store.status()
    store.plan(some(kept(), 10))
    store.failures()


def stir(store: Store[Chaos], log: Log) -> None:
    (one,) = some(STIRRED, 1)
    act = random.choice(["run", "run", "ask", "delete", "gc"])
    if act == "run":
        with contextlib.suppress(ResultMissingError):  # deleted before its row was there
            served(log, store.run(one))
    elif act == "ask":
        served(log, store.run_or_retrieve(one))
    elif act == "delete":
        store.delete(one, remove_file=random.random() < 0.7)
    else:
        store.gc(x=one["x"], older_than=timedelta(seconds=random.choice([0, 1])))


def tend(store: Store[Chaos], log: Log) -> None:
    act = random.choice(["measure", "measure", "rebuild", "dismiss"])
    if act == "measure":
        store.measure(workers=2, again=random.random() < 0.3)
    elif act == "rebuild":
        store.rebuild()
    else:
        store.dismiss(older_than=1.0)


# ---- who makes the trouble ------------------------------------------------------------------------------------------
def trouble(folder: Path, url: str, server: Any, seconds: float, processes: int) -> Counter[str]:
    """Run a crowd for some time, and send it signals; return what was done to it."""
    done: Counter[str] = Counter()
    (folder / "up").mkdir()
    command = [sys.executable, __file__, "--child", str(folder), "--url", url]
    crowd = [start(command, folder) for _ in range(processes)]
    stopped: list[tuple[float, subprocess.Popen[bytes]]] = []
    end, restart = time.monotonic() + seconds, time.monotonic() + 5
    try:
        while time.monotonic() < end:
            time.sleep(random.uniform(0.02, 0.8))  # the point: any moment
            for until, process in list(stopped):
                if time.monotonic() > until:
                    process.send_signal(signal.SIGCONT)
                    stopped.remove((until, process))
            up = [process for process in crowd if (folder / "up" / str(process.pid)).exists()]
            if not up:  # a process that has only begun to import shows nothing
                continue
            number, victim = random.choice(SIGNALS), random.choice(up)
            if number == signal.SIGSTOP:
                stopped.append((time.monotonic() + random.uniform(0.05, 2), victim))
            victim.send_signal(number)
            done[number.name] += 1
            for place, process in enumerate(crowd):
                if process.poll() is not None:
                    crowd[place] = start(command, folder)
                    done["processes"] += 1
            if server is not None and time.monotonic() > restart:
                random.choice([server.stop, server.kill])()
                server.start()
                done["server restarts"] += 1
                restart = time.monotonic() + random.uniform(5, 15)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    done["processes"] += processes
    return done


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / "stderr", "ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def judge(folder: Path, url: str) -> list[str]:
    """Return what was wrong."""
    log = Log(folder / "log")
    wrong, tokens = [], dict[str, str]()
    for what, x, token, _ in log.lines():
        if what == "error":
            wrong.append(f"{x}: {token}")
        elif int(x) not in STIRRED:
            if what == "served" and tokens.setdefault(x, token) != token:
                wrong.append(f"{x} was served as {tokens[x]} and as {token}")
            elif what == "begin" and x in tokens:
                wrong.append(f"{x} ran again ({token}) after it had been served")
    store = open_store(folder, url)
    before = len(log.lines())
    for row in store.sweep([{"x": int(x)} for x in tokens]):
        if json.loads(Path(row.result_file).read_text())["token"] != tokens[str(row.x)]:
            wrong.append(f"{row.x} is served another result in the end")
    wrong += [f"{x} ran again in the end" for what, x, *_ in log.lines()[before:] if what == "begin"]
    store.repair()
    store.gc()  # the files that deletes were told to leave
    wrong += [f"{id} could not be measured: {why}" for id, why in store.measure().failed.items()]
    for row in store.select():
        if row.token != (token := json.loads(Path(row.result_file).read_text())["token"]):
            wrong.append(f"the row of {row.x} says {row.token} in the end, and its result {token}")
    report = store.check()
    return wrong if report.ok else [*wrong, str(report)]


def main() -> int:
    """Make chaos on each kind of database, and say what came of it."""
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--seconds", type=float, default=60, help="in all, shared by the databases")
    given.add_argument("--processes", type=int, default=6)
    given.add_argument("--databases", default="sqlite")
    given.add_argument("--seed", type=int, default=None)
    given.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given.add_argument("--url", help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.child:
        take_part(options.child, options.url)
    from databases import Place, Servers

    random.seed(options.seed)
    kinds, bad = options.databases.split(","), 0
    with tempfile.TemporaryDirectory(prefix="entropic-chaos-") as name:
        Path(name).chmod(0o755)  # a server may run as another user
        servers = Servers(Path(name))
        try:
            for kind in kinds:
                folder = Path(name, kind)
                folder.mkdir()
                server = None if kind == "sqlite" else servers.private(kind)
                place = Place.on_sqlite(folder) if server is None else Place.on_server(server)
                done = trouble(folder, place.url, server, options.seconds / len(kinds), options.processes)
                lines = Counter(line[0] for line in Log(folder / "log").lines())
                wrong = judge(folder, place.url)
                if not lines["served"]:
                    wrong.append("nothing was served, so nothing was seen")
                bad += len(wrong)
                print(f"{kind}: {lines['begin']} runs begun, {lines['served']} results served; {dict(done)}")
                verdict = [f"  WRONG: {one}" for one in wrong[:20]] or ["  nothing ran twice, was lost, or was wrong"]
                print(*verdict, sep="\n", flush=True)
                if wrong:
                    print((folder / "stderr").read_text()[-4000:])
        finally:
            servers.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
