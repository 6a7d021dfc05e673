#!/usr/bin/env bash
# pyarrow: an ORC file with a time beyond 2262 is written, and cannot be read again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check pyarrow==26.0.1
cd "$folder"
cat >look.py <<'PYTHON'
import datetime
import sys

import pyarrow as pa
from pyarrow import orc

print(f"Python {sys.version.split()[0]}, pyarrow {pa.__version__}")
print("write_table takes microseconds of the year 2300; read_table refuses them, since it reads all times of ORC as")
print("nanoseconds. Nothing is said when the file is written, and its other columns can be read only by their names.")

table = pa.table({"at": pa.array([datetime.datetime(2300, 1, 1)], pa.timestamp("us")), "n": [1]})
orc.write_table(table, "it.orc")
try:
    orc.read_table("it.orc")
    seen = "read"
except pa.ArrowInvalid as error:
    seen = str(error)
print(seen, orc.read_table("it.orc", columns=["n"]).to_pydict())
sys.exit("out of range for nanosecond resolution" not in seen)
PYTHON
"$folder/venv/bin/python" look.py 2>/dev/null
