"""Make the pictures of the page that are in its documents, from a small study of pendulums.

    python .ci/pictures.py          needs the system's Chromium, and the packages of the extra `test`

Run by hand after a change of the page; then commit `docs/pictures`.
"""

from __future__ import annotations

import io
import linecache
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from entropic import Base, Mapped, Store, expand_grid, mapped_column, outcome
from entropic.errors import RunsFailedWarning
from entropic.store import context_of
from entropic.ui.serve import Server

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
GRID = {
    "length": [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0],
    "damping": [0.02, 0.05, 0.1, 0.2, 0.4],
    "start": [0.2, 0.8, 1.4, 2.0, 2.6],
}


class Pendulum(Base):
    """One pendulum: how long, how damped, from which angle; and what came of it."""

    __tablename__ = "pendulums"

    length: Mapped[float]
    damping: Mapped[float]
    start: Mapped[float]
    gravity: Mapped[float] = mapped_column(default=9.81)
    period: Mapped[float | None] = outcome()
    energy_left: Mapped[float | None] = outcome()


def swing(params: dict[str, Any]) -> dict[str, Any]:
    """Follow a pendulum for twenty seconds."""
    if params["start"] > 2.5 and params["length"] < 0.4:
        raise ArithmeticError(f"the step is too long for a pendulum of {params['length']} m")
    dt, steps = 0.01, 2_000
    angle, speed = params["start"], 0.0
    angles, speeds = np.empty(steps), np.empty(steps)
    for i in range(steps):
        speed -= dt * (9.81 / params["length"] * np.sin(angle) + params["damping"] * speed)
        angle += dt * speed
        angles[i], speeds[i] = angle, speed
    crossings = np.flatnonzero((angles[:-1] > 0) & (angles[1:] <= 0))
    phase, *_ = np.histogram2d(angles, speeds, bins=70)
    np.savez(params["result_file"], angle=angles, speed=speeds, phase=np.log1p(phase))
    energy = speeds**2 / 2 + 9.81 / params["length"] * (1 - np.cos(angles))
    period = float(np.diff(crossings).mean() * dt) if len(crossings) > 1 else None
    return {"period": period, "energy_left": float(energy[-1] / energy[0])}


# What its traceback shows: no folder of this machine.
swing.__code__ = swing.__code__.replace(co_filename="pendulum.py")
_lines = Path(__file__).read_text().splitlines(keepends=True)
linecache.cache["pendulum.py"] = (sum(map(len, _lines)), None, _lines, "pendulum.py")


def shoot(page: Page, name: str) -> None:
    """Save what the browser shows, in few colours."""
    with Image.open(io.BytesIO(page.screenshot())) as found:
        found.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def main() -> None:
    """Run the study, serve its page, and take the pictures."""
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(), sync_playwright() as running:
        warnings.simplefilter("ignore", RunsFailedWarning)
        folder = Path(name, "pendulums")
        folder.mkdir()
        options: dict[str, Any] = {"file_suffix": ".npz", "db_url": f"sqlite:///{folder / 'pendulums.sqlite3'}"}
        store = Store(swing, Pendulum, folder / "results", **options)
        store.sweep(expand_grid(GRID), on_error="continue", progress=False)
        looking = Store(None, Pendulum, folder / "results", **options, read_only=True)
        server = Server(context_of(looking), 0, source=["from model import store"])
        server.start()
        browser = running.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 680})
        page.set_default_timeout(120_000)
        expect.set_options(timeout=120_000)
        page.goto(server.url)
        at, drawn = server.address, page.locator("#chart[data-state=drawn]")
        page.goto(f"{at}?f.damping=<0.3&sort=-period")
        expect(page.locator(".tabulator-row").first).to_be_visible()
        expect(page.locator("#folded")).not_to_be_empty()
        shoot(page, "runs")
        for picture, view in (
            ("scatter", "x=length&y=period&c=start"),
            ("heatmap", "kind=heatmap&x=length&y=damping&z=energy_left"),
        ):
            page.goto(f"{at}explore?{view}")
            expect(drawn).to_be_visible()
            shoot(page, picture)
        a, b = (store.select(length=1.0, damping=0.05, start=start)[0].id for start in (0.8, 2.6))
        page.set_viewport_size({"width": 1200, "height": 820})
        page.goto(f"{at}run?id={b}&array=angle")
        expect(page.locator(".chart canvas")).to_be_visible()
        expect(page.get_by_role("heading", name="Neighbours")).to_be_visible()
        shoot(page, "run")
        page.goto(f"{at}compare?id={a}&id={b}&array=phase")
        expect(page.locator(".picture canvas[role=img]")).to_have_count(3)
        shoot(page, "compare")
        page.set_viewport_size({"width": 1200, "height": 560})
        page.goto(f"{at}failures")
        expect(page.locator("pre")).to_be_visible()
        shoot(page, "failures")
        browser.close()
        server.stop()


if __name__ == "__main__":
    main()
