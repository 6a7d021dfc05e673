"""The garbage collector, while much is made at once that stays: rows, and what an import makes."""

import contextlib
import gc
from collections.abc import Iterator

_FEW = 10_000  # objects, which a collection looks at in a millisecond


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Pause collections: each would look at all that was made so far, which is all still needed.

    The setting is the whole process's, so this is for moments in which no code of the user's runs.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # To count what the user has frozen, which this would thaw, Python looks at all of it: only if that pays.
            if gc.get_count()[0] > _FEW and not gc.get_freeze_count():
                # What is new goes to the oldest generation unseen; a collection would now look at all of it.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
