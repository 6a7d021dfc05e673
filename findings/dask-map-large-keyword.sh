#!/usr/bin/env bash
# Dask: Client.map fails when a keyword argument is larger than 100 kB, since its name becomes the key of a task.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check dask==2026.8.0 distributed==2026.8.0
cd "$folder"
cat >look.py <<'PYTHON'
import logging
import sys

import dask
from distributed import Client

print(f"Python {sys.version.split()[0]}, dask {dask.__version__}")
print("Client.map passes a small keyword argument on. One of more than 100 kB it makes a task whose key is the bare name")
print("of the argument, and the call fails in the scheduler; Client.submit passes the same argument on, whatever its size.")


def count(x, table=None):
    """Return how long the keyword argument was."""
    return len(table)


seen = {}
with Client(processes=False, n_workers=1, dashboard_address=None, silence_logs=logging.CRITICAL) as client:
    for size in (50_000, 200_000):
        table = b"x" * size
        seen["submit", size] = client.submit(count, 1, table=table).result()
        try:
            seen["map", size] = client.gather(client.map(count, [1], table=table))[0]
        except Exception as error:  # whatever the scheduler sends back
            seen["map", size] = str(error).partition("(")[0]
print(seen)
wanted = {
    ("submit", 50_000): 50_000, ("map", 50_000): 50_000, ("submit", 200_000): 200_000, ("map", 200_000): "AssertionError",
}
sys.exit(seen != wanted)
PYTHON
"$folder/venv/bin/python" look.py 2>/dev/null
