"""Be one process of a crowd: `crowd_member.py ROLE SCENE`, with the interpreter of the system that is measured.

`prepare` comes first, `take_part` waits for the word and writes down when it was done, `verify` comes last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from crowds import Scene, open_crowd
from crowds.logged import log_into
from experiment import RESULT, parameter_sets


def main() -> None:
    role, scene = sys.argv[1], Scene(**json.loads(sys.argv[2]))
    folder, sets = Path(scene.folder), parameter_sets(scene.sets)
    log_into(folder)
    crowd = open_crowd(scene, sets)
    if role == "prepare":
        crowd.prepare()
    elif role == "verify":
        assert crowd.results() == [RESULT] * len(sets), "a result of the crowd is another one"
    else:
        (folder / f"ready-{os.getpid()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.005)
        before = time.process_time()
        crowd.take_part()
        done = {"at": time.monotonic(), "cpu": time.process_time() - before}
        written = folder / f"written-{os.getpid()}"
        written.write_text(json.dumps(done))
        written.rename(folder / f"done-{os.getpid()}")  # whole, as soon as it is there


if __name__ == "__main__":
    main()
