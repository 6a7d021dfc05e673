#!/usr/bin/env bash
# Dask: from_array(fancy=False), which is about lists of indices, reads whole chunks for plain slices, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "dask[array]==2026.8.0" numpy==2.3.5
cd "$folder"
cat >look.py <<'PYTHON'
import sys

import dask
import dask.array as da
import numpy as np

print(f"Python {sys.version.split()[0]}, dask {dask.__version__}, numpy {np.__version__}")
print("x[2, 3] of an array-like in one chunk asks it for one number. With fancy=False, which is for array-likes that take no")
print("lists of indices, the same x[2, 3] asks it for the whole chunk, and so does a slice; the numbers are right either way.")


class Store:
    """An array-like that remembers what it is asked for."""

    def __init__(self):
        self.values = np.arange(60.0).reshape(6, 10)
        self.shape, self.dtype, self.ndim = self.values.shape, self.values.dtype, 2
        self.asked = []

    def __getitem__(self, index):
        found = self.values[index]
        self.asked.append(found.size)
        return found


seen = {}
for fancy in (True, False):
    for index in ((2, 3), (slice(2, 4), slice(None))):
        store = Store()
        array = da.from_array(store, chunks=(6, 10), fancy=fancy, name=False)
        assert np.array_equal(array[index].compute(scheduler="sync"), store.values[index])
        seen[fancy, str(index)] = max(store.asked)
print("the most numbers that were asked for at once:", seen)
one, rows = "(2, 3)", "(slice(2, 4, None), slice(None, None, None))"
sys.exit(seen != {(True, one): 1, (True, rows): 20, (False, one): 60, (False, rows): 60})
PYTHON
"$folder/venv/bin/python" look.py
