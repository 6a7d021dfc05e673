"""Frozen selections that were never finished: what a killed `freeze`, or `unfreeze`, leaves in the staging folder."""

import os
import re
import time
from collections.abc import Iterator

from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support import names, process

FROZEN = "frozen"  # the folder, inside of a staging folder
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART = re.compile(rf"\.{NAME.pattern}\.(?P<owner>{names.WORKER})-[a-z0-9_]+\.part")
_OVER = re.compile(rf"\.{NAME.pattern}\.over")
LEFT = "a frozen selection that was never finished, or was being removed, by a process that has died"


def survey(context: StoreContext[Base]) -> Iterator[str]:
    """Yield the folders of selections that were being made, or removed, by somebody who has died."""
    folder = context.staging.inside(os.path.join(FROZEN, names.stem(context.model)))
    if leads_out(context.staging.root, folder):
        return
    for name in listed(folder):
        path = os.path.join(folder, name)
        part = _PART.fullmatch(name)
        is_left = _OVER.fullmatch(name) if part is None else _is_dead(part["owner"], path)
        if is_left and os.path.isdir(path) and not os.path.islink(path):
            yield path


def _is_dead(owner: str, path: str) -> bool:
    try:
        silence = time.time() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return False
    return process.state(owner) == "dead" or process.is_of_earlier_boot(owner, silence)


def listed(folder: str) -> list[str]:
    """Return what is in a folder, in order; nothing, if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def leads_out(base: str, folder: str) -> bool:
    """Tell whether a link leads out of the folder of all stores, which entropic makes none of."""
    return os.path.realpath(folder) != os.path.join(os.path.realpath(base), os.path.relpath(folder, base))
