"""The code of workers that had loaded other code than was sent to them, on its way into the database.

`results_dir/.entropic/<uuid>/codes/<number>.json`: a worker has no database, so it leaves a file, once. The number is
made of the contents: whatever else is found under such a name says nothing.
"""

import contextlib
import json
import os
from collections.abc import Sequence

from entropic.files.staging import Staging
from entropic.files.subfolder import content, opened, put
from entropic.provenance.code import number_of_code
from entropic.provenance.part import Part
from entropic.support.compact_json import compact

FOLDER = "codes"
LARGEST = 2**24  # bytes
_kept: set[tuple[str, int]] = set()  # what this process knows to be there: it is asked before each run


def keep(staging: Staging, number: int, parts: Sequence[Part]) -> None:
    """Write what some code consists of, unless it is there; that it cannot be written is no reason not to run."""
    if (staging.root, number) in _kept:
        return
    name = _name(number)
    with contextlib.suppress(OSError):
        if not read(staging, number):
            with opened(staging.root, FOLDER, make=True) as folder:
                put(folder, name, compact([list(part) for part in parts]).encode(), f"{name}.{os.getpid()}")
        _kept.add((staging.root, number))


def read(staging: Staging, number: int) -> tuple[Part, ...]:
    """Return what was written of some code; nothing if nothing was, or if it says something else."""
    try:
        with opened(staging.root, FOLDER) as folder:
            found = json.loads(content(_name(number), folder, LARGEST))
        parts = tuple(Part(str(name), str(digest), str(text)) for name, digest, text in found)
    except (OSError, ValueError, TypeError, RecursionError):
        return ()
    return parts if number_of_code(parts) == number else ()


def _name(number: int) -> str:
    return f"{number:016x}.json"
