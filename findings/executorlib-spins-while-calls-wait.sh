#!/usr/bin/env bash
# executorlib: an executor without block_allocation keeps a core of the caller busy for as long as a call waits for a worker.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check executorlib==1.11.0 cloudpickle==3.1.3 pyzmq==27.2.0
cd "$folder"
cat >look.py <<'PYTHON'
import sys
import time
from importlib.metadata import version

from executorlib import SingleNodeExecutor

print(f"Python {sys.version.split()[0]}, executorlib {version('executorlib')}, pyzmq {version('pyzmq')}")
print("While a second call waits for the only worker, SingleNodeExecutor(max_workers=1) loops without a pause, and takes")
print("all of the time of a core that it can get from the process that only waits; with block_allocation=True, none.")


def nap():
    """Sleep."""
    import time

    time.sleep(6)


def measure(**options):
    """Return the processor time that this process takes while one call runs and another one waits."""
    with SingleNodeExecutor(max_workers=1, hostname_localhost=True, **options) as executor:
        first, _ = executor.submit(nap), executor.submit(nap)
        time.sleep(1)
        before = time.process_time()
        while not first.done():
            time.sleep(0.1)
        return time.process_time() - before


if __name__ == "__main__":
    calm, spinning = measure(block_allocation=True), measure()
    print(f"processor time in 5 s in which nothing is to do: {calm:.2f} s with blocks, {spinning:.2f} s without")
    sys.exit(not calm < 0.2 * 5 < spinning)
PYTHON
"$folder/venv/bin/python" look.py
