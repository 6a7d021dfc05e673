"""What a job of Slurm is: its name, and the script that it runs."""

import re
import shlex
import sys

from entropic.executors.node import JOB_END, KEY, START
from entropic.executors.scheduler import Slurm
from entropic.executors.script_setup import flags
from entropic.support.job import ASKED

# By the id of a job that is an element of an array, `scontrol` may show all of its elements: one has the array's id.
SCRIPT = """#!/bin/bash
export {key}={secret} {asked_of_job}={limits}
export {end}="${{SLURM_JOB_END_TIME:-$(
    id="${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"
    SLURM_TIME_FORMAT=standard timeout 60 scontrol show job "$id" | grep -o 'EndTime=[^ ]*'
)}}"
{setup}
exec srun --export=ALL --overlap --kill-on-bad-exit=0 --wait=0 --cpus-per-task={cpus} {command}
"""


def name_of_jobs(model: str, unique: str) -> str:
    """Return the name of the jobs of a sweep, by which the queue is asked for them."""
    return f"entropic-{re.sub('[^A-Za-z0-9_]', '-', model)[:40]}-{unique}"


def script_of(asked: Slurm, folder: str, secret: bytes) -> str:
    """Return the script of a job whose tasks take their sets from a folder.

    Parameters
    ----------
    secret
        With which everything in it is sealed.
    """
    start = START.format(path=[str(place) for place in sys.path])
    command = [sys.executable, *flags(), "-c", start, folder]
    return SCRIPT.format(
        key=KEY,
        asked_of_job=ASKED,
        limits=shlex.quote(asked.limits),
        end=JOB_END,
        secret=secret.hex(),
        setup=asked.setup,
        cpus=asked.cpus_per_task,
        command=shlex.join(command),
    )
