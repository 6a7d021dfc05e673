"""In which job of a scheduler a process is, as it says so itself: Slurm, PBS, LSF, Grid Engine, Flux, OAR."""

import os
import re

# Of each kind: what names its jobs, and what names the element of an array, where that does not belong to it already.
_KINDS = {
    "Slurm": ("SLURM_JOB_ID", ""),
    "PBS": ("PBS_JOBID", ""),
    "LSF": ("LSB_JOBID", "LSB_JOBINDEX"),
    "Grid Engine": ("JOB_ID", "SGE_TASK_ID"),
    "Flux": ("FLUX_JOB_ID", ""),
    "OAR": ("OAR_JOB_ID", ""),
}
_ID = re.compile(r"[\w.\[\]:-]{1,64}", re.ASCII)
ASKED = "ENTROPIC_JOB_ASKED"  # for how much time and memory a job asks that entropic has submitted
_LIMITS = re.compile(r"[\w=.:,+ -]{1,200}", re.ASCII)
_NO_ELEMENT = ("", "0", "undefined")


def job() -> str | None:
    """Return the job that this process runs in, such as `Slurm 1234_5`; None if it is in none."""
    known = os.environ
    for kind, (name, element) in _KINDS.items():
        id, part = known.get(name, ""), known.get(element, "") if element else ""
        if kind == "Slurm" and {"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"} <= known.keys():
            id, part = known["SLURM_ARRAY_JOB_ID"], known["SLURM_ARRAY_TASK_ID"]
        elif kind == "Grid Engine" and element not in known:  # the name of its other variable is anybody's
            continue
        found = id if part in _NO_ELEMENT and kind != "Slurm" else f"{id}_{part}" if part else id
        if _ID.fullmatch(found):
            return f"{kind} {found}"
    return None


def asked() -> str | None:
    """Return for how much time and memory the job of this process has asked: "time=2:00:00 mem=4G"; None: unknown."""
    found = os.environ.get(ASKED, "")
    return found if _LIMITS.fullmatch(found) else None
