"""Children whose results are written in ways that a power cut damages: through a mapping, into a size set before."""

import gc
import mmap
import os
import time
import warnings

import faults
from peek import place_of

from entropic import Base, Mapped, ResultLostWarning, Store
from entropic.support import process

SIZE = 1 << 20
CONTENT = b"0123456789abcdef" * (SIZE // 16)
runs = []


class Array(Base):
    __tablename__ = "arrays"
    x: Mapped[int]


def runner_of(way, seconds=0.0):
    def runner(params):
        runs.append(params["x"])
        time.sleep(seconds)
        with open(params["result_file"], "w+b") as file:
            if way in ("mapped", "into a size"):
                file.truncate(SIZE)
            if way == "allocated":
                os.posix_fallocate(file.fileno(), 0, SIZE)
            if way == "mapped":
                with mmap.mmap(file.fileno(), SIZE) as memory:
                    memory[:] = CONTENT
            else:
                file.write(CONTENT)

    return runner


def store(folder, way, seconds=0.0):
    return Store(runner_of(way, seconds), Array, f"{folder}/results", ".array", place_of(folder).url)


def make(folder, way, seconds=0.0, fault=None):
    """Run a set, and end as a process of its own does, which closes its database."""
    made = store(folder, way, seconds)
    if fault:
        faults.install(fault)
    file = made.run_or_retrieve({"x": 1}).result_file
    del made
    gc.collect()
    return {"file": file}


def ask(folder, way):
    """Ask for that set after the machine was started anew."""
    runs.clear()
    process.start_of_machine = lambda: "anew"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResultLostWarning)
        made = store(folder, way)
        row = made.run_or_retrieve({"x": 1})
    with open(row.result_file, "rb") as file:
        right = file.read() == CONTENT
    report = made.check()
    texts = [str(one.message) for one in caught]
    return {"right": right, "runs": len(runs), "warnings": texts, "check": "" if report.ok else str(report)}
