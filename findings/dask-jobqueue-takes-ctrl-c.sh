#!/usr/bin/env bash
# dask-jobqueue: `import dask_jobqueue` replaces the handler of SIGINT, so that Ctrl-C ends a script as if all were well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check dask-jobqueue==0.9.0 dask==2026.8.0 distributed==2026.8.0
cd "$folder"
cat >script.py <<'PYTHON'
import os
import signal
import sys
import time

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this with SIGINT ignored
if sys.argv[1] == "with":
    import dask_jobqueue  # nothing of it is called
try:
    os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C sends
    time.sleep(5)
except KeyboardInterrupt:
    sys.exit(130)
PYTHON
cat >look.py <<'PYTHON'
import subprocess
import sys
import threading
from importlib.metadata import version

print(f"Python {sys.version.split()[0]}, dask-jobqueue {version('dask-jobqueue')}, distributed {version('distributed')}")
print("Importing dask_jobqueue, and no more, makes Ctrl-C a SystemExit with status 0: no KeyboardInterrupt reaches the")
print("script, and the shell goes on as after success. In a thread the import itself fails, since only the main one may.")
seen = {}
for how in ("without", "with"):
    seen[f"status after Ctrl-C, {how} the import"] = subprocess.run([sys.executable, "script.py", how]).returncode


def load():
    try:
        import dask_jobqueue  # noqa: F401

        seen["import in a thread"] = "works"
    except ValueError as error:
        seen["import in a thread"] = str(error)


thread = threading.Thread(target=load)
thread.start()
thread.join()
print(seen)
wanted = {
    "status after Ctrl-C, without the import": 130,
    "status after Ctrl-C, with the import": 0,
    "import in a thread": "signal only works in main thread of the main interpreter",
}
sys.exit(seen != wanted)
PYTHON
"$folder/venv/bin/python" look.py
