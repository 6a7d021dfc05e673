"""How much memory this process has taken at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_kb() -> int:
    """The most memory that this process ever held, in kB."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
    # Not `ru_maxrss`: on Linux a process inherits the peak of the one that started it.
    return int(status.partition("VmHWM:")[2].split()[0])
