"""A proxy between stores and their server: it counts round trips, delays them, and breaks connections on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from databases import SECONDS, Place, free_port

_ESTABLISHED = 1  # a state of TCP, in Linux's <netinet/tcp.h>
_SILENCE = 0.05  # s without a word, after which an answer is complete


@dataclass
class Count:
    """What has passed."""

    round_trips: int = 0
    connections: int = 0


@dataclass
class Fault:
    """Breaks a connection at a message with this text in it, the first one or, if `after` says so, a later one.

    `arrives`: the server still gets that message and acts on it, and its answer is lost; else the message is lost.
    """

    text: str = ""
    after: int = 0
    arrives: bool = False
    met: bool = False

    def strikes(self, said: bytes) -> bool:
        """Tell whether it breaks the connection at this message."""
        if self.met or self.text.encode() not in said:
            return False
        self.after -= 1
        self.met = self.after < 0
        return self.met


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    waiting: bool = False  # the client has asked, and the server has not begun to answer
    lossy: bool = False  # the next answer is lost

    @property
    def is_held(self) -> bool:
        """Whether the client has not closed it, of which this loop may hear only after it has heard of a new one."""
        try:
            state = self.client.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:  # closed here, too
            return False
        return bool(state[0] == _ESTABLISHED)

    def cut(self) -> None:
        """End it at once, whoever holds a copy of its sockets."""
        for writer in (self.client, self.server):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            writer.transport.abort()


class Proxy:
    """Listens from `__enter__` to `__exit__`; `url` is the way through it to the database of a place.

    A round trip is a message of the client that the server answers, however many packets it is made of. Every one
    takes `delay` seconds longer.
    """

    def __init__(self, place: Place) -> None:
        target = sa.make_url(place.url)
        self._target = target.host, target.port
        self._address = "127.0.0.1", free_port()
        self.url = target.set(host=self._address[0], port=self._address[1]).render_as_string(hide_password=False)
        self.delay, self.most = 0.0, 0
        self._count = Count()
        self._fault: Fault | None = None
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def with_options(self, **options: Any) -> str:
        """Return the URL with options, as `timeout=3`."""
        return Place.at(self.url).with_options(**options)

    # ---- what has passed ----
    @contextlib.contextmanager
    def counting(self) -> Iterator[Count]:
        """Count what passes during the block."""
        before, counted = Count(**vars(self._count)), Count()
        yield counted
        counted.round_trips = self._count.round_trips - before.round_trips
        counted.connections = self._count.connections - before.connections

    @property
    def open(self) -> int:
        """How many connections there are now; `most` is how many clients have held at once."""
        return len(self._links)

    # ---- trouble ----
    @contextlib.contextmanager
    def breaking(self, fault: Fault) -> Iterator[Fault]:
        """Let a fault strike, once, during the block."""
        self._fault = fault
        try:
            yield fault
        finally:
            self._fault = None

    def cut(self) -> None:
        """Cut all connections; new ones are taken."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Cut all connections, and refuse new ones, as if no server were there; `accept` ends it."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Take connections."""
        self._do(self._accept)

    def hang(self) -> None:
        """Keep connections, and take new ones, but pass nothing on, either way; `flow` ends it."""
        self._do(self._hang)

    def flow(self) -> None:
        """Pass everything on, what has been waiting first."""
        self._do(self._flow)

    # ---- its thread ----
    def __enter__(self) -> Proxy:
        self._thread.start()
        self.accept()
        self.flow()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def _do(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(act(), self._loop).result(SECONDS)

    async def _accept(self) -> None:
        self._listener = await asyncio.start_server(self._serve, *self._address)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._cut()

    async def _cut(self) -> None:
        for link in self._links:
            link.cut()

    async def _hang(self) -> None:
        self._flowing.clear()

    async def _flow(self) -> None:
        self._flowing.set()

    async def _end(self) -> None:
        self._flowing.set()
        await self._refuse()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._count.connections += 1
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:  # there is no server
            to_client.close()
            return
        link = _Link(to_client, to_server)
        self._links.add(link)
        self.most = max(self.most, sum(one.is_held for one in self._links))
        ways = [asyncio.ensure_future(way) for way in (self._ask(link, from_client), self._answer(link, from_server))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_client.close()
            to_server.close()

    async def _ask(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """Pass on what the client says, to the end."""
        while data := await reader.read(1 << 16):
            if not link.waiting:
                link.waiting = True
                await asyncio.sleep(self.delay)
            await self._flowing.wait()
            if self._fault is not None and self._fault.strikes(data):
                if not self._fault.arrives:
                    return
                link.lossy = True
            link.server.write(data)
            await link.server.drain()

    async def _answer(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """Pass on what the server says, to the end."""
        while data := await reader.read(1 << 16):
            if link.lossy:
                with contextlib.suppress(TimeoutError):
                    while await asyncio.wait_for(reader.read(1 << 16), _SILENCE):
                        pass
                return
            if link.waiting:
                link.waiting = False
                self._count.round_trips += 1
            await self._flowing.wait()
            link.client.write(data)
            await link.client.drain()
