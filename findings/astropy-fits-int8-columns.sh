#!/usr/bin/env bash
# astropy: a column of int8 is written to a FITS table as truths, so -1, 0 and 2 come back as True, False and True.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check astropy==8.0.2 numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys
import warnings

import astropy
import numpy as np
from astropy.table import Table

print(f"Python {sys.version.split()[0]}, astropy {astropy.__version__}")
print("Table.write makes a column of int8 one of truths (FITS's L), without an error or a warning: its numbers are lost.")
print("An image of int8 is written as what it is.")

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    Table({"n": np.array([-1, 0, 2], "int8")}).write("it.fits")
found = Table.read("it.fits")["n"]
seen = {"dtype": str(found.dtype), "values": [bool(one) for one in found], "warnings": len(warned)}
print(seen)
sys.exit(seen != {"dtype": "bool", "values": [True, False, True], "warnings": 0})
PYTHON
"$folder/venv/bin/python" look.py 2>/dev/null
