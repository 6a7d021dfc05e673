#!/usr/bin/env bash
# pytest-xdist 3.8 with pytest 9.2: `--dist loadgroup` keeps no group together, so tests that share one server meet there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
cat >test_group.py <<'PYTHON'
import os
import time

import pytest

pytestmark = pytest.mark.xdist_group("one_server")


@pytest.mark.parametrize("number", range(4))
def test_that_uses_the_server(number):
    with open("workers.txt", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
    time.sleep(1)
PYTHON
echo "All tests of a group belong in one process with --dist loadgroup. With pytest 9.2 they are spread over several, silently."
seen=""
for version in 9.1.1 9.2.0; do
    venv/bin/python -m pip install -q --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
    rm -f workers.txt
    venv/bin/python -m pytest -q -n 2 --dist loadgroup -p no:cacheprovider >/dev/null 2>&1
    count=$(sort -u workers.txt | wc -l)
    echo "Python $(venv/bin/python -c 'import platform; print(platform.python_version())'), pytest $version, pytest-xdist 3.8.0: the group ran in $count process(es)"
    seen="$seen $count"
done
[ "$seen" = " 1 2" ]
