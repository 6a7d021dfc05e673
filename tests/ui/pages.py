"""A study to look at, and who asks its page: a program, or a tab of a real browser."""

from __future__ import annotations

import enum
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from entropic import Base, Mapped, Store, mapped_column, outcome
from entropic.store import context_of
from entropic.ui.serve import Server

HOSTILE = "<script>document.title='reached'</script><img src=x onerror=\"document.title='reached'\">"


class Solver(enum.Enum):
    EULER = "euler"
    RK4 = "rk4"


class Swing(Base):
    """Columns of each kind that the page treats in its own way."""

    __tablename__ = "swings"

    length: Mapped[float]
    seed: Mapped[int]
    solver: Mapped[Solver]
    note: Mapped[str | None]
    gravity: Mapped[float] = mapped_column(default=9.81)
    peak: Mapped[float | None] = outcome()
    settled: Mapped[bool | None] = outcome()


def swing(params: dict[str, Any]) -> dict[str, Any]:
    if params["seed"] == 3:
        raise ValueError(f"{HOSTILE} at length {params['length']}")
    times = np.linspace(0, 10, 200)
    angles = np.cos(times / params["length"]) * params["seed"]
    field, power = np.outer(angles[:30], angles[:40]), np.mean(angles**2)
    np.savez(params["result_file"], angle=angles, field=field, cube=np.ones((3, 4, 5)), power=power)
    return {"peak": float(angles.max()), "settled": bool(params["length"] > 1)}


SETS = [
    {"length": length, "seed": seed, "solver": solver, "note": HOSTILE if seed == 2 else None}
    for length in (0.5, 1.0, 2.0)
    for seed in (1, 2, 3)
    for solver in Solver
]


class Asker:
    """Asks a page as a program would: with any path, header and method."""

    def __init__(self, server: Server) -> None:
        self.server, self.token = server, server.token
        self._at = urlsplit(server.address)
        status, headers, _ = self.raw("/?token=" + self.token)
        assert status == 303
        self.cookie = headers["set-cookie"].partition(";")[0]

    def raw(self, path: str, method: str = "GET", **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; header names have `_` for `-`, and None leaves one out."""
        connection = http.client.HTTPConnection(self._at.hostname, self._at.port, timeout=90)
        given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def get(self, path: str, **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        return self.raw(path, **{"Cookie": self.cookie, **headers})

    def api(self, name: str, *pairs: tuple[str, str], **given: Any) -> Any:
        """Return what an address of the API answers, which must be fine."""
        status, _, body = self.get(f"/api/{name}?{urlencode([*pairs, *given.items()])}")
        assert status == 200, body
        return json.loads(body)

    def refused(self, name: str, *pairs: tuple[str, str], **given: Any) -> tuple[int, str]:
        status, _, body = self.get(f"/api/{name}?{urlencode([*pairs, *given.items()])}")
        assert status >= 400
        return status, json.loads(body)["error"]

    def packed(self, name: str, **given: Any) -> tuple[dict[str, Any], np.ndarray]:
        status, _, body = self.get(f"/api/{name}?{urlencode(given)}")
        assert status == 200, body
        length = int.from_bytes(body[:4], "little")
        return json.loads(body[4 : 4 + length]), np.frombuffer(body[4 + length :], "<f8")


def looking(store: Store[Any]) -> Store[Any]:
    """Return a store on the same database and folder that only looks."""
    context = context_of(store)
    return Store(
        None, context.schema.model, store.results_dir, store.file_suffix, context.database.address, read_only=True
    )


def serving(store: Store[Any], **options: Any) -> Iterator[Asker]:
    yield from serving_it(looking(store), **options)


def serving_it(store: Store[Any], **options: Any) -> Iterator[Asker]:
    server = Server(context_of(store), 0, **options)
    server.start()
    try:
        yield Asker(server)
    finally:
        server.stop()


def watched(chromium: Any, page: Asker, **options: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, **options)
    context.set_default_timeout(90_000)
    made, wrong = context.new_page(), []
    address = page.server.address
    made.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(f"asked {asked.url}"),
    )
    made.goto(page.server.url)
    yield SimpleNamespace(page=made, at=address, context=context, wrong=wrong, server=page.server)
    context.close()
    assert wrong == []


def files(folder: Path) -> dict[str, int]:
    """Return the files below a folder with their times, to see that nothing was changed."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
