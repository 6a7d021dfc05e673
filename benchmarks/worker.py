"""Make one measurement in a process of its own, and print it as one line of JSON.

Started by `measure.py` with the interpreter of the system that is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import workloads
from memory import peak_kb
from systems import open_system


def main() -> None:
    order = workloads.Order(**json.loads(sys.argv[1]))
    system = open_system(order.module, Path(order.folder))
    measure = getattr(workloads, order.workload.replace(" ", "_"))
    spent: workloads.Spent = measure(system, order)
    print(json.dumps({**spent._asdict(), "max_rss_kb": peak_kb()}))


if __name__ == "__main__":  # Dask's worker processes import this file again
    main()
