"""A waiting sweep one of whose jobs is over, and whose scheduler refuses another: what it has is at most allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entropic import SlurmError
from entropic.executors import scheduler
from entropic.slurm import Slurm

SBATCH = """#!/bin/bash
cd {folder}
if [ -e named ]; then echo >> refused; echo "no more jobs of yours" >&2; exit 1; fi
for one in "$@"; do case $one in --job-name=*) echo "${{one#*=}}" > named;; esac; done
echo 1
"""
SQUEUE = """#!/bin/bash
cd {folder}
echo >> looks
[ -e named ] || exit 0
echo "1_0 COMPLETED 0 $(cat named) None"
if [ -e refused ] && [ $(wc -l < looks) -gt 8 ]; then state=COMPLETED; else state=PENDING; fi
echo "1_1 $state 0 $(cat named) None"
"""


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that take an array of two jobs, and no more: one is over, and then the other one, too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command, script in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": "#!/bin/bash\n"}.items():
        (folder / command).write_text(script.format(folder=folder))
        (folder / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.05)
    return folder


@pytest.mark.slow
def test_the_queue_is_looked_at_while_more_jobs_are_refused(open_store, refusing):
    """Else nobody sees that the last job ends. More are asked for once for each look, and not at each step."""
    store = open_store()
    with pytest.raises(SlurmError, match="no more jobs of yours"):
        store.sweep([{"n": n, "dt": 0.5} for n in range(4)], Slurm(array=2))
    refused, looks = (len((refusing / name).read_text().splitlines()) for name in ("refused", "looks"))
    assert 1 < refused < looks
    assert len(store.sweep([{"n": n, "dt": 0.5} for n in range(4)])) == 4
