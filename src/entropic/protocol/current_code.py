"""The code of a store as it is now, and what becomes of rows that different code has made: they are stale.

The key never tells of code. Each row has, in the ledger, the number of the code that made it; a hit compares two
numbers. The code is read when a row is found or something runs, and again when that was a moment ago, since a
cell of a notebook may have defined a function anew.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from entropic.db.origins import Origins
from entropic.errors import StaleError, StaleWarning, warn
from entropic.provenance import watch
from entropic.provenance.change import Change, change
from entropic.provenance.code import Code, are_comparable, code_of
from entropic.provenance.loaded import LoadedModule, SentCode, code_here, loaded_modules
from entropic.provenance.part import Part
from entropic.provenance.watch import Watched
from entropic.support.show import counted

log = logging.getLogger("entropic")
OnStale = Literal["warn", "rerun", "error", "ignore"]
ON_STALE = ("warn", "rerun", "error", "ignore")
Why = int | str  # stale for its code, of this number, or for what its run has read, as a text says it
Met = dict[Why, list[str]]
REFRESH_SECONDS = 0.5  # between two readings of the code, where nothing else asks for one


class CurrentCode:
    """What makes the results of one store.

    Parameters
    ----------
    runner
        The store's; None if it has none.
    version
        What the user calls the code; None: nothing.
    watched
        As `watch.check` returns it.
    """

    def __init__(
        self,
        origins: Origins,
        model: str,
        runner: Any,
        version: str | None,
        watched: "tuple[Watched, ...]",
        on_stale: OnStale,
    ) -> None:
        self._origins, self._model, self._runner = origins, model, runner
        self.has_runner = runner is not None
        self._watched, self.on_stale = watched, on_stale
        self._named = {} if version is None else {"version": version}
        self._code: Code | None = None
        self._trusted: tuple[Part, ...] = ()
        self._modules: tuple[LoadedModule, ...] = ()
        self._modules_of: Code | None = None
        self._more: dict[str, str] = {}
        self._recorded: int | None = None
        self._told: set[Why] = set()
        self._here = threading.local()  # a sweep of one thread does not speak for another
        self.number: int | None = None
        """That of the code, once it has been read."""
        self.due = 0.0
        """When to read it again, by `time.monotonic`."""

    # ---- the code of now ---------------------------------------------------------------------------------------
    def refresh(self) -> int | None:
        """Read the code again where it may have changed, and return its number; None if it cannot be told."""
        self.due = time.monotonic() + REFRESH_SECONDS
        if self._runner is None:
            return self.number
        try:
            more = self._now() if self._watched else self._named
            if self._code is None or more != self._more or not self._code.is_current():
                self._code, self._more = code_of(self._runner, more, self._code), more
                self.number = self._code.number if self._code.parts else None  # of what is built in nothing is known
        except Exception as error:  # noqa: BLE001  (of anybody's objects; a run is worth more than what is said of it)
            log.debug("the code of a runner could not be told: %s", error)
            self.number = None
        return self.number

    def to_send(self) -> SentCode:
        """Return the code as it is now, for a runner or a store that is sent to another process."""
        number = self.refresh()
        if self._code is None:
            return SentCode(number, self._trusted, self._modules)
        if self._modules_of is not self._code:
            self._modules, self._modules_of = (), self._code
            with contextlib.suppress(Exception):  # of anybody's objects, as in `refresh`
                self._modules = loaded_modules(self._code)
        return SentCode(number, self._code.parts, self._modules, bool(self._watched))

    def trust(self, number: int | None, parts: tuple[Part, ...] = (), *more: Any) -> None:
        """Take the code for what the process says that has sent this store, but for what is imported here.

        It is not read again. A runner that has come by value is not read here as it is there: classes that it does not
        use have not come along (`test_runners_of_a_script_ask_stores_of_the_script_wherever_they_run`).
        """
        here = SentCode(number, parts, *more)
        with contextlib.suppress(Exception):  # of anybody's objects, as in `refresh`
            here = code_here(here)
        self._runner, self._code = None, None
        self.number, self._trusted, self._modules, _ = here

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self._trusted if self._code is None else self._code.parts

    def _now(self) -> dict[str, str]:
        return {**watch.now(self._watched), **self._named}

    def prepare(self) -> None:
        """Read the code, and record it, before something runs."""
        if self._code is not None and self._recorded == self.number and not self._watched and self._code.is_current():
            return  # most of them
        number = self.refresh()
        if number is not None and self._parts and number != self._recorded:
            self._origins.add_code(number, self._parts)
            self._recorded = number

    # ---- rows of other code ------------------------------------------------------------------------------------
    def is_due(self) -> bool:
        """Tell whether the code is to be read again."""
        return time.monotonic() > self.due

    def serves(self, id: str, code: int) -> bool:
        """Tell whether a stored row may be served, given the code that made it.

        Raises
        ------
        StaleError
            If other code made it, and the store is to refuse that.
        """
        if self.on_stale == "ignore":
            self.due = float("inf")
            return True
        if code == self.number and time.monotonic() < self.due:
            return True
        self.refresh()
        return self._meets(id, code) if self.is_other(code) else True

    def serves_since(self, id: str, since: str) -> bool:
        """Tell the same of a row that is stale for what its run has read; `since` says why."""
        return self.on_stale == "ignore" or self._meets(id, since)

    def _meets(self, id: str, why: Why) -> bool:
        met: Met | None = getattr(self._here, "met", None)
        if met is not None:
            met.setdefault(why, []).append(id)
            return self.on_stale != "rerun"
        if self.on_stale == "error":
            self.refuse({why: [id]})
        kind = why if isinstance(why, int) else ""  # of what was read each row says something else
        if self.on_stale == "warn" and kind not in self._told:
            self._told.add(kind)
            self.warn({why: [id]})
        return self.on_stale != "rerun"

    def refuses(self, code: int | None) -> bool:
        """Tell whether a row is to run again for its code."""
        return self.on_stale == "rerun" and self.is_other(code)

    def is_other(self, code: int | None) -> bool:
        """Tell whether other code has made a row; not if that is unknown, as of rows of before.

        What is no number was not written by entropic, and says nothing.
        """
        if type(code) is not int or self.number is None or code == self.number:
            return False
        return are_comparable(code, self.number)

    @contextlib.contextmanager
    def gather_stale(self) -> Iterator[Met]:
        """Gather which stale rows are met meanwhile, by why they are, and say nothing of them."""
        self.refresh()
        before, met = getattr(self._here, "met", None), dict[Why, list[str]]()
        self._here.met = met
        try:
            yield met
        finally:
            self._here.met = before

    # ---- what is said ------------------------------------------------------------------------------------------
    def settle(self, met: Met) -> None:
        """Say what is to be said of the stale rows of a sweep.

        Raises
        ------
        StaleError
            If the store is to refuse them.
        """
        if met and self.on_stale == "error":
            self.refuse(met)
        if met and self.on_stale in ("warn", "rerun"):
            self.warn(met)

    def warn(self, met: Met) -> None:
        """Warn of stale rows."""
        is_one = _count(met) == 1
        if self.on_stale == "rerun":
            what = "It runs again" if is_one else "They run again"
        else:
            what = f"{'It is' if is_one else 'They are'} returned unchanged. {_advice(met)}"
        warn(f"{self._found(met)}. {what}{self._diff(met)}", StaleWarning)

    def refuse(self, met: Met) -> None:
        """Refuse stale rows."""
        raise StaleError(f"{self._found(met)}. Nothing was run. {_advice(met)}{self._diff(met)}")

    def tell_of_workers(self, made: Met) -> None:
        """Say which results of a sweep its workers have made with other code than this process has loaded.

        Raises
        ------
        StaleError
            If the store is to refuse them; they are stored.
        """
        if not made or self.on_stale == "ignore":
            return
        them = "it" if _count(made) == 1 else "them"
        advice = f"The next call for {them} runs {them} again" if self.on_stale == "rerun" else _advice(made)
        told = f"{self._found(made)}. {_OF_WORKERS} {advice}{self._diff(made)}"
        if self.on_stale == "error":
            raise StaleError(told)
        warn(told, StaleWarning)

    def change(self, code: int) -> Change:
        """Return what differs between some code and that of now."""
        return change(self._origins.code(code), self._parts)

    def _found(self, met: Met) -> str:
        codes = {why: ids for why, ids in met.items() if isinstance(why, int)}
        reads = {why: ids for why, ids in met.items() if isinstance(why, str)}
        said = []
        if codes:
            most = max(codes, key=lambda one: len(codes[one]))
            others = f" (and {counted(len(codes) - 1, 'other version')} of the code)" if len(codes) > 1 else ""
            told = f"{self.change(most)}{others}"
            said.append(f"{self._which(codes)} made by different code: {told}")
        if reads:
            first, *more = reads
            others = f" (and {counted(len(more), 'other reason')})" if more else ""
            said.append(f"{self._which(reads)} made from inputs that have changed since: {first}{others}")
        return ". ".join(said)

    def _which(self, met: Mapping[Any, list[str]]) -> str:
        """Name some rows, by why they are stale, and the verb that follows."""
        count = _count(met)
        which = counted(count, "stored result") if count > 1 else f"the stored result {next(iter(met.values()))[0]}"
        return f"{which} of {self._model} {'were' if count > 1 else 'was'}"

    def _diff(self, met: Met) -> str:
        codes = {why: ids for why, ids in met.items() if isinstance(why, int)}
        diff = self.change(max(codes, key=lambda one: len(codes[one]))).diff if codes else ""
        return f"\n{diff}" if diff else ""


_OF_WORKERS = (
    "The workers had loaded that: it was edited after this process, or a worker, had imported it (begin them anew), or "
    "this process has set it, which workers do not see (make it a parameter, or set it in worker_setup, too)."
)


def _count(met: Mapping[Any, list[str]]) -> int:
    """Return how many rows are stale."""
    return sum(map(len, met.values()))


def _advice(met: Met) -> str:
    """Say what can be done about stale rows."""
    them, they_are = ("it", "it is") if _count(met) == 1 else ("them", "they are")
    return f"To run {them} again, use on_stale='rerun'; if {they_are} still right, call store.accept()"
