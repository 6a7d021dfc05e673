#!/usr/bin/env bash
# Dask 2026.8.0: where dask.array is imported while the garbage collector is paused, the first slice of an array turns the
# collector off for the rest of the process.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
venv/bin/python -m pip install -q --disable-pip-version-check "dask[array]==2026.8.0" numpy==2.3.5
cat >slice.py <<'PYTHON'
import gc
import platform
import sys

import dask
import numpy

if sys.argv[1] == "paused":
    gc.disable()  # as programs do that import much, since collections find nothing there
import dask.array as da

gc.enable()
array = da.zeros((4, 4), chunks=2)
before = gc.isenabled()
array[0]
print(
    f"Python {platform.python_version()}, Dask {dask.__version__}, NumPy {numpy.__version__}, "
    f"imported with the collector {sys.argv[1]}: enabled: {before} before the slice, {gc.isenabled()} after it"
)
PYTHON
echo "A slice pauses the collector and then turns it on again only if it was on at the import."
venv/bin/python slice.py on | tee on.txt
venv/bin/python slice.py paused | tee paused.txt
grep -q "True before the slice, True after" on.txt
grep -q "True before the slice, False after" paused.txt
