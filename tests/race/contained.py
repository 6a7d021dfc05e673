"""What a process does in a container: it asks for one set, whose run lets no other thread of its process go on."""

import ctypes
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "crash"), str(Path(__file__).parents[1])]

import faults  # noqa: E402  (importable only from here on)
import work  # noqa: E402

from entropic.protocol import heartbeat  # noqa: E402
from entropic.support import process  # noqa: E402


def main(folder, name, seconds, lease, operation, helped):
    if helped == "unhelped":
        heartbeat.process.is_contained = lambda: False
        heartbeat.Watchful._sees_strangers = lambda self: False
    work.behave(folder)
    made = work.store(folder, lease=float(lease))
    plain = made._context.runner

    def runner(params):
        plain(params)
        faults.touch(f"{folder}/{name}-runs")
        ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))

    object.__setattr__(made._context, "runner", runner)
    Path(folder, f"{name}-is").write_text(process.identity())
    faults.touch(f"{folder}/{name}-ready")
    faults.wait_for(f"{folder}/go")
    row = made.run({"x": 1}) if operation == "run" else made.run_or_retrieve({"x": 1})
    Path(folder, f"{name}-said").write_text(json.dumps(work.seen(row)))


if __name__ == "__main__":
    main(*sys.argv[1:])
