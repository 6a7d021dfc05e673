#!/usr/bin/env bash
# scipy: loadmat either changes the types of what a MAT file holds, or, asked for the types, drops what is imaginary.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys
import warnings

import numpy as np
import scipy
from scipy.io import loadmat, savemat

print(f"Python {sys.version.split()[0]}, scipy {scipy.__version__}")
print("loadmat returns truths as uint8; with mat_dtype=True they are truths, but every complex array loses its imaginary")
print("part, with a ComplexWarning. So no single call returns both as they were.")

savemat("it.mat", {"flag": np.array([True, False]), "z": np.array([1 + 2j])})
seen = {}
for mat_dtype in (False, True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loadmat("it.mat", mat_dtype=mat_dtype)
    seen[mat_dtype] = (str(found["flag"].dtype), complex(found["z"].item()))
print(seen)
sys.exit(seen != {False: ("uint8", 1 + 2j), True: ("bool", 1 + 0j)})
PYTHON
"$folder/venv/bin/python" look.py 2>/dev/null
