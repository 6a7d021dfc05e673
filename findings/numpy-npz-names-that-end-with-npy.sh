#!/usr/bin/env bash
# numpy: in an .npz archive with the arrays "a" and "a.npy", reading "a.npy" returns the values of "a".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys

import numpy as np

print(f"Python {sys.version.split()[0]}, numpy {np.__version__}")
print("np.savez stores the arrays 'a' and 'a.npy' apart, and .files lists both; reading 'a.npy', also by items(),")
print("returns the values of 'a', without an error or a warning, and no name reads those of 'a.npy'.")
np.savez("both.npz", **{"a": np.array([1.0]), "a.npy": np.array([2.0])})
with np.load("both.npz") as archive:
    seen = {"files": archive.files, "items": {name: values.tolist() for name, values in archive.items()}}
print(seen)
sys.exit(seen != {"files": ["a", "a.npy"], "items": {"a": [1.0], "a.npy": [1.0]}})
PYTHON
"$folder/venv/bin/python" look.py
