"""The process that renews the leases of another one: run by path, it imports nothing of ours and little else.

Its parent writes one JSON text a line: first how the database is reached and with which statement, then which
attempts begin and end. When the pipe is closed, or the parent is gone, it ends.
"""

import importlib
import json
import os
import select
import sys
import time
from typing import Any


def main() -> None:
    """Renew, until the parent is gone."""
    lines = Lines(0)
    told = json.loads(lines.next() or "null")
    if told is None:
        return
    sys.path[:] = told["path"]
    driver: object = None
    values: dict[str, Any] = {}
    due = time.monotonic() + told["every"]
    while True:
        line = lines.next(max(0.0, due - time.monotonic()))
        if line is None or os.getppid() != told["parent"]:
            return
        if line:
            what = json.loads(line)
            if "add" in what:
                values[what["add"]] = what["values"]
            else:
                values.pop(what["stop"], None)
        if time.monotonic() < due:
            continue
        due = time.monotonic() + told["every"]
        if values:
            driver = driver or importlib.import_module(told["driver"])
            renew(driver, told, list(values.values()))


def renew(driver: Any, told: dict[str, Any], values: list[object]) -> None:
    """Renew all leases; what fails now may succeed at the next beat, and the parent meets the same trouble itself."""
    try:
        connection = driver.connect(**told["arguments"])
        try:
            cursor = connection.cursor()
            for statement in told["before"]:
                cursor.execute(statement)
            for one in values:
                cursor.execute(told["sql"], one)
            for statement in told["after"]:
                cursor.execute(statement)
        finally:
            connection.close()
    except driver.Error:
        pass


class Lines:
    """The lines that arrive at a descriptor, with a time to wait for each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._text = descriptor, b""

    def next(self, seconds: float | None = None) -> str | None:
        """Return the next line, "" if none came in time, None at the end."""
        while b"\n" not in self._text:
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            if not ready:
                return ""
            more = os.read(self._descriptor, 65536)
            if not more:
                return None
            self._text += more
        line, self._text = self._text.split(b"\n", 1)
        return line.decode()


if __name__ == "__main__":
    main()
