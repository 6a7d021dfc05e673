#!/usr/bin/env bash
# h5py: an exception raised in the callback of visit_links or visititems_links comes out as SystemError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check h5py==3.16.0 numpy==2.4.6
cd "$folder"
cat >look.py <<'PYTHON'
import sys

import h5py

print(f"Python {sys.version.split()[0]}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
print("An exception raised in the callback of visit or visititems comes out as it is; out of visit_links and")
print("visititems_links comes a SystemError in its place, so `except MyError` around the walk does not catch it.")


class Found(Exception):
    """What a callback raises to end the walk."""


def stop(*_):
    raise Found("this one")


with h5py.File("walk.h5", "w") as file:
    file["group/data"] = [1, 2, 3]
seen = {}
with h5py.File("walk.h5") as file:
    for method in ("visit", "visititems", "visit_links", "visititems_links"):
        try:
            getattr(file, method)(stop)
        except (Found, SystemError) as error:
            seen[method] = type(error).__name__
print(seen)
wanted = {"visit": "Found", "visititems": "Found", "visit_links": "SystemError", "visititems_links": "SystemError"}
sys.exit(seen != wanted)
PYTHON
"$folder/venv/bin/python" look.py
