"""The garbage collector, while many rows are made at once."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Pause collections: each would look at all the rows made so far, which are all still needed.

    The setting is the whole process's, so this is for moments in which no code of the user's runs.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # else the user has frozen objects, which this would thaw
                # The new rows go to the oldest generation unseen; a collection would now look at each of them.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
