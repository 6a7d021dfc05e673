"""How far a sweep is: tqdm's bar in a terminal or a notebook, elsewhere, if asked for, now and then a line."""

import importlib
import importlib.util
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from entropic.files.reports import Reported

LINE_SECONDS = 5.0  # between two lines where nobody watches
REPORT_SECONDS = 0.5  # between two looks at what runs report
MOST_READ = 100  # reports in one look
MOST_SHOWN = 100  # letters of them


class Bar:
    """Shows how far a sweep is: done of total, what runs, what failed, and the time left, from its own runs alone.

    What cannot be shown, since stderr is closed, or nobody's file, ends no sweep.

    Parameters
    ----------
    wanted
        Whether to show it; None for only where somebody looks at it.
    name, total, stored
        What is swept, how many sets (None: nobody knows), and how many of them were stored before.
    """

    def __init__(self, wanted: bool | None, name: str, total: int | None, stored: int) -> None:
        self._shown: _Tqdm | _Lines | None = None
        if _is_watched() if wanted is None else wanted:
            self._try(lambda: self._show(name, total, stored))
        self._stored = stored
        self._counted: tuple[int, ...] = ()
        self._counts = self._said = self._standing = ""
        self._lock = threading.Lock()  # a thread of the sweep tells what long runs report

    def _show(self, name: str, total: int | None, stored: int) -> None:
        if _is_watched() and (not _in_notebook() or importlib.util.find_spec("ipywidgets") is not None):
            self._shown = _Tqdm(name, total, stored)
        elif sys.stderr is not None:
            self._shown = _Lines(name, total, stored)

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:  # noqa: BLE001  (whatever stands in for stderr)
            self._shown = None

    def show(self, new: int, running: int, failed: int, elsewhere: int, standing: str = "") -> None:
        """Add new rows, and say what else goes on."""
        shown = self._shown
        if shown is None:
            return
        counted, text = (running, failed, elsewhere), None
        if counted != self._counted or standing != self._standing:
            self._counted, self._standing = counted, standing
            parts = [f"running {running}", f"failed {failed}", f"elsewhere {elsewhere}", f"reused {self._stored}"]
            counts = [running, failed, elsewhere, self._stored]
            self._counts = ", ".join(part for part, count in zip(parts, counts, strict=True) if count)
            text = self._text()
        with self._lock:
            self._try(lambda: shown.update(new, text))

    def tell(self, read: Callable[[], Sequence[Reported]]) -> None:
        """Show what the runs under way report, which is read if the bar is shown."""
        shown = self._shown
        if shown is None:
            return
        said = summary(read())
        if said != self._said:
            self._said = said
            with self._lock:
                self._try(lambda: shown.update(0, self._text(), redraw=True))

    def _text(self) -> str:
        return ", ".join(filter(None, [self._counts, self._standing, self._said]))

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._try(self._shown.close)


def summary(reported: Sequence[Reported]) -> str:
    """Return what several runs report in a few words: how far they are on average, and what the latest of them says."""
    if not reported:
        return ""
    latest = max(reported, key=lambda one: one.at)
    if len(reported) == 1:
        return str(latest)[:MOST_SHOWN]
    parts = [latest.said()] if latest.values else []
    fractions = [one.fraction for one in reported if one.fraction is not None]
    if fractions:
        parts.insert(0, f"{len(fractions)} at {sum(fractions) / len(fractions):.0%}")
    return ", ".join(parts)[:MOST_SHOWN]


class _Tqdm:
    """A bar that is drawn again and again."""

    def __init__(self, name: str, total: int | None, stored: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

            width: dict[str, Any] = {"ncols": 80, "nrows": 24}
            if _in_notebook() or _has_width():
                width = {"dynamic_ncols": True}
            self._bar: Any = tqdm(total=total, initial=stored, desc=name, unit="set", **width)

    def update(self, new: int, text: str | None, redraw: bool = False) -> None:
        if text is not None:
            self._bar.set_postfix_str(text, refresh=redraw)
        self._bar.update(new)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """A line at most every few seconds, and only if something has changed; in a notebook it replaces the one before."""

    def __init__(self, name: str, total: int | None, stored: int) -> None:
        self._name, self._total, self._done, self._stored = name, total, stored, stored
        self._began = self._said_at = time.monotonic()
        self._text = ""
        self._said: tuple[int, str] | None = None
        self._display: Any = None

    def update(self, new: int, text: str | None, redraw: bool = False) -> None:
        self._done += new
        if text is not None:
            self._text = text
        if time.monotonic() - self._said_at >= LINE_SECONDS:
            self._say()

    def close(self) -> None:
        self._say()

    def _say(self) -> None:
        if self._said == (self._done, self._text):
            return
        self._said, self._said_at = (self._done, self._text), time.monotonic()
        percent = 100 * self._done // self._total if self._total else 100
        of = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        of += " sets" if self._total is None else f" sets ({percent}%)"
        parts = [f"{self._name}: {of}", self._text, self._left()]
        line = ", ".join(part for part in parts if part)
        if not _in_notebook():
            print(line, file=sys.stderr, flush=True)
            return
        if self._display is None:
            display = importlib.import_module("IPython.display").display
            self._display = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self._display.update({"text/plain": line}, raw=True)

    def _left(self) -> str:
        own = self._done - self._stored
        if own <= 0 or self._total is None or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._began) / own * (self._total - self._done)
        return f"{timedelta(seconds=round(seconds))} left"


def _has_width() -> bool:
    """Tell whether the terminal knows how wide it is; one that says 0 would show no bar."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError, AttributeError):  # no terminal, or not even a file
        return False


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _is_watched() -> bool:
    try:
        return _in_notebook() or bool(sys.stderr.isatty())
    except Exception:  # noqa: BLE001  (it may be closed, None, or a stand-in that only writes)
        return False
