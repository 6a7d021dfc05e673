#!/usr/bin/env bash
# xarray: times far from today are written to NetCDF, and read again, unless one of them is missing: then they cannot be read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
    xarray==2026.9.0 netCDF4==1.7.5.1.post1 numpy==2.4.6 pandas==3.1.1 cftime==1.6.6.1
cd "$folder"
cat >look.py <<'PYTHON'
import sys
import warnings

import numpy as np
import xarray as xr

warnings.simplefilter("ignore")  # that times out of the range of nanoseconds become objects
print(f"Python {sys.version.split()[0]}, xarray {xr.__version__}")
print("Times in the year 5000 go through a NetCDF file; with one NaT beside them, the file is written all the same, but")
print("opening it raises a ValueError, which hides all other variables, too.")
seen = {}
for name, times in {"whole": ["5000-01-01", "5000-01-03"], "with NaT": ["5000-01-01", "NaT"]}.items():
    xr.Dataset({"t": ("x", np.array(times, "M8[s]")), "u": ("x", [1, 2])}).to_netcdf("made.nc")
    try:
        seen[name] = str(xr.load_dataset("made.nc").t.values[0])[:10]
    except ValueError as error:
        seen[name] = str(error).partition(" with ")[0]
print(seen)
sys.exit(seen != {"whole": "5000-01-01", "with NaT": "unable to decode time units 'days since 5000-01-01 00:00:00'"})
PYTHON
"$folder/venv/bin/python" look.py
