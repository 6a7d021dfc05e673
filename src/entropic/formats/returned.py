"""What becomes of what a runner returns: its result, if it wrote none itself, and the values of outcome columns."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from entropic.errors import ResultMissingError
from entropic.formats.save import SAVERS, Saver, save, saver_of
from entropic.params.outcomes import Outcome, Outcomes, gather


@dataclass(frozen=True, slots=True, repr=False)
class Returning:
    """A runner with what is done after it, where it runs; called as the runner is.

    Attributes
    ----------
    runner
        The user's.
    outcomes
        The columns to be filled.
    saver
        The user's: called as `saver(value, path)` before the savers that entropic has.
    read
        Reads a result, for columns that are computed from it.
    """

    runner: Callable[[dict[str, Any]], Any]
    outcomes: tuple[Outcome, ...]
    saver: Saver | None
    read: Callable[[str], Any]

    def __repr__(self) -> str:
        return repr(self.runner)

    def __call__(self, params: dict[str, Any]) -> Outcomes | None:
        """Run, save what is returned, and return what the outcome columns get; None if there are no such columns.

        Raises
        ------
        SaveError
            If the result cannot hold what was returned.
        """
        path: str = params["result_file"]  # now, since params are the runner's
        returned = self.runner(params)
        if returned is not None and not os.path.lexists(path):
            self._save(returned, path)
        return gather(self.outcomes, returned, lambda: self._load(path)) if self.outcomes else None

    def _save(self, returned: object, path: str) -> None:
        if self.outcomes and self.saver is None and saver_of(path) is None:
            SAVERS[".json"](returned, path)  # a study of numbers needs no format
        else:
            save(returned, path, self.saver)

    def _load(self, path: str) -> Any:
        if not os.path.lexists(path):
            raise ResultMissingError("the runner wrote no result")
        return self.read(path)
