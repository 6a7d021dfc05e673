"""The progress bar of a sweep: tqdm's, in a terminal or a notebook, silent elsewhere."""

import os
import sys
import warnings
from typing import Any


class Bar:
    """Shows how far a sweep is: done of total, what runs, what failed, and the time left, from its own runs alone.

    Parameters
    ----------
    wanted
        Whether to show it; None for only where somebody looks at it.
    name, total, stored
        What is swept, how many sets, and how many of them were stored before.
    """

    def __init__(self, wanted: bool | None, name: str, total: int, stored: int) -> None:
        self._bar: Any = None
        if not (_is_watched() if wanted is None else wanted):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets gets the plain bar
            from tqdm.auto import tqdm

            width: dict[str, Any] = {"dynamic_ncols": True} if _has_width() else {"ncols": 80, "nrows": 24}
            self._bar = tqdm(total=total, initial=stored, desc=name, unit="set", **width)
        self._stored = stored
        self._counted: tuple[int, ...] = ()

    def show(self, new: int, running: int, failed: int, elsewhere: int) -> None:
        """Add new rows, and say what else goes on."""
        if self._bar is None:
            return
        counted = (running, failed, elsewhere)
        if counted != self._counted:
            self._counted = counted
            parts = [f"running {running}", f"failed {failed}", f"elsewhere {elsewhere}", f"reused {self._stored}"]
            counts = [running, failed, elsewhere, self._stored]
            text = ", ".join(part for part, count in zip(parts, counts, strict=True) if count)
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(new)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _has_width() -> bool:
    """Tell whether the terminal knows how wide it is; one that says 0 would show no bar."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError, AttributeError):  # no terminal, or not even a file
        return False


def _is_watched() -> bool:
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
