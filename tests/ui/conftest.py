"""A study to look at, and its page: served for real, asked as a program would, and looked at in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from entropic import Store
from ui.pages import SETS, Asker, Swing, serving, swing, watched


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Store[Swing]:
    folder = tmp_path_factory.mktemp("study")
    store = Store(swing, Swing, folder / "results", ".npz", f"sqlite:///{folder / 'swings.sqlite3'}")
    with pytest.warns(match="failed"):
        store.sweep(SETS, on_error="continue", tag="first", tree={"deep": [1, 2]})
    return store


@pytest.fixture(scope="module")
def page(study: Store[Swing]) -> Iterator[Asker]:
    """The page of the study."""
    yield from serving(study, source=["from model import store"])


# ---- the browser -------------------------------------------------------------------------------------------------
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's browser; Playwright's own is not fetched."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            raise RuntimeError("there is no Chromium: install the system's package chromium")
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, page: Asker) -> Iterator[Any]:
    """A tab of the browser that knows the token. What goes wrong in it is seen at the end of the test."""
    yield from watched(chromium, page)
