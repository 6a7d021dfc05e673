#!/usr/bin/env bash
# meshio: read ends the whole process, by sys.exit, over a file that it wrote itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check meshio==5.3.5 h5py==3.16.0 numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys

import meshio
import numpy as np

print(f"Python {sys.version.split()[0]}, meshio {meshio.__version__}")
print("A series that meshio's own TimeSeriesWriter has written is more than one grid, which meshio.read does not take: it")
print("raises SystemExit, which `except Exception` does not catch. meshio.xdmf.read raises ReadError over the same file.")

with meshio.xdmf.TimeSeriesWriter("it.xdmf") as writer:
    writer.write_points_cells(np.eye(3), [("triangle", np.array([[0, 1, 2]]))])
    for time in (0.0, 1.0):
        writer.write_data(time, point_data={"u": np.full(3, time)})
seen = []
for read in (meshio.read, meshio.xdmf.read):
    try:
        read("it.xdmf")
    except BaseException as error:
        seen.append(type(error).__name__)
print(seen)
sys.exit(seen != ["SystemExit", "ReadError"])
PYTHON
"$folder/venv/bin/python" look.py 2>/dev/null
