"""The system's Chromium, and when something is on its screen: counted in the page itself, for all pages alike."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable

import psutil
from playwright.sync_api import Browser, Page, Playwright

LONGEST = 180_000  # milliseconds
_LOOK = """{
const look = () => {
  const found = document.querySelector(%r)?.getBoundingClientRect();
  if (found && found.width && found.height) setTimeout(() => console.debug("seen", performance.now()));
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
}"""


def chromium(running: Playwright) -> Browser:
    """Return the system's browser, which asks nothing of other machines."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    return running.chromium.launch(executable_path=path, args=[*quiet, alone])


def seen(page: Page, address: str, selector: str) -> float:
    """Return the seconds from the navigation until what a selector names is painted.

    Every frame is looked at, from within the page: whoever asks from outside gets to know it up to half a second late.
    """
    page.goto("about:blank")
    session = page.context.new_cdp_session(page)
    session.send("Page.enable")
    script = session.send("Page.addScriptToEvaluateOnNewDocument", {"source": _LOOK % selector})
    try:
        with page.expect_console_message(lambda said: said.text.startswith("seen "), timeout=LONGEST) as told:
            page.goto(address, wait_until="commit", timeout=LONGEST)
    finally:
        session.send("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script["identifier"]})
        session.detach()
    return float(told.value.text.split()[1]) / 1000


def memory(pid: int) -> int:
    """Return how many bytes a process and its descendants have in memory."""
    found = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [found, *found.children(recursive=True)])


def wait_until_idle(pids: Iterable[int]) -> None:
    """Wait until servers have finished what was asked of them before."""

    def used() -> float:
        several = [one for pid in pids for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]]
        return sum(sum(one.cpu_times()[:2]) for one in several)

    end = time.monotonic() + LONGEST / 1000
    before = used()
    while time.monotonic() < end:
        time.sleep(0.5)
        now = used()
        if now - before < 0.1:
            return
        before = now
