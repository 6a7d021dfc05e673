#!/usr/bin/env bash
# zarr: opened without consolidated metadata, a hierarchy still uses that of its nested groups, and misses newer arrays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys
import warnings

import zarr

warnings.simplefilter("ignore")  # consolidated metadata is not yet in the specification of format 3
print(f"Python {sys.version.split()[0]}, zarr {zarr.__version__}")
print("A group of Zarr format 3 that was consolidated by itself hides arrays that are made in it later, when its parent")
print("is opened with use_consolidated=False; opened by its own path, or in format 2, it shows them.")
seen = {}
for zarr_format in (2, 3):
    path = f"format{zarr_format}.zarr"
    zarr.open_group(path, mode="w", zarr_format=zarr_format).create_group("run").create_array("old", shape=2, dtype="i4")
    zarr.consolidate_metadata(path, path="run")
    later = zarr.open_group(path, mode="r+", path="run", use_consolidated=False)
    later.create_array("new", shape=2, dtype="i4")
    by_parent = zarr.open_group(path, mode="r", use_consolidated=False)["run"]
    by_path = zarr.open_group(path, mode="r", path="run", use_consolidated=False)
    seen[zarr_format] = {"by its parent": sorted(by_parent.array_keys()), "by its path": sorted(by_path.array_keys())}
print(seen)
both = ["new", "old"]
wanted = {2: {"by its parent": both, "by its path": both}, 3: {"by its parent": ["old"], "by its path": both}}
sys.exit(seen != wanted)
PYTHON
"$folder/venv/bin/python" look.py
