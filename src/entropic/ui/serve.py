"""The server of the page: in the foreground for the command, in a thread for a notebook."""

import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from html import escape

from entropic.errors import LibraryMissingError, ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext

DEFAULT_PORT = 8642
_HEIGHT = 720  # pixels, in a notebook
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERY = ("0.0.0.0", "::")


class Server:
    """A page that is ready to be served: its socket is bound, so its address is known.

    Parameters
    ----------
    context
        Of a store that only looks.
    port
        0 for any that is free; None for the usual one, or any if that is taken.
    host
        The address to listen at.
    exposed
        Whether an address that other machines reach is allowed.
    allowed
        More names under which the page may be asked for, as a proxy does.

    Raises
    ------
    LibraryMissingError
        If the extra is not installed.
    ParameterError
        If the address is one that other machines reach, and that was not allowed; or if it cannot be had.
    """

    def __init__(
        self,
        context: StoreContext[Base],
        port: int | None = None,
        host: str = "127.0.0.1",
        exposed: bool = False,
        allowed: Iterable[str] = (),
        source: Sequence[str] = (),
        embedded: bool = False,
    ) -> None:
        try:
            import uvicorn

            from entropic.ui.guard import LOOPBACK, Guard
            from entropic.ui.site import application
        except ImportError as error:
            raise LibraryMissingError(
                f"the page needs {error.name}, which is not installed: pip install 'entropic[ui]'"
            ) from error
        if host not in _LOOPBACK and not exposed:
            raise ParameterError(
                f"{host} can be reached from other machines, where the token is all that keeps others out, and travels "
                "unencrypted; `ssh -L` needs no such address. Add --exposed if that is what you want"
            )
        self.token = secrets.token_urlsafe(32)
        every = host in _EVERY  # address of this machine: then it is asked for by the machine's name
        names = {*LOOPBACK, *allowed, socket.gethostname() if every else _bracketed(host)}
        guard = Guard(application(context, source), self.token, names, embedded)
        self._socket = _bound(host, port)
        bound = self._socket.getsockname()[1]
        self.address = f"http://{'127.0.0.1' if every else _bracketed(host)}:{bound}/"
        self.url = f"{self.address}{self.token}/" if embedded else f"{self.address}?token={self.token}"
        config = uvicorn.Config(
            guard, log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=2, log_config=None, h11_max_incomplete_event_size=32_768,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._ended = threading.Event()
        self._ended.set()

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve until Ctrl-C, which ends it as it ends any command.

        The signals stay those of the command: the server runs in a thread, and this one waits for it.
        """
        self.start()
        try:
            ready()
            # (Not by `Thread.join`: if Ctrl-C comes during it, Python 3.10 to 3.12 take the thread for one that has
            # ended, and `stop` would leave while it is at work: test_ctrl_c_waits_for_the_server_to_end.)
            while not self._ended.wait(0.5):
                pass
        finally:
            self.stop()

    def start(self) -> None:
        """Serve in a thread of its own, and return."""
        thread = threading.Thread(target=self._serve, name="entropic-ui", daemon=True)
        self._ended.clear()
        thread.start()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()

    def stop(self) -> None:
        """End the server, and wait for it."""
        self._server.should_exit = True
        self._ended.wait(10)
        self._socket.close()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int | None) -> socket.socket:
    """Return a socket that is bound; the usual port may be taken by another page."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tries = [port] if port is not None else [DEFAULT_PORT, 0]
    for one in tries:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, one))
            made.listen(128)  # so that who comes before the thread has begun is heard
        except (OSError, OverflowError) as error:
            made.close()
            if one == tries[-1]:
                reason = getattr(error, "strerror", None) or error
                raise ParameterError(f"nothing can be served at {host}, port {one}: {reason}; give another") from None
        else:
            made.set_inheritable(False)
            return made
    raise AssertionError("the last try returns or raises")


# ---- notebooks ---------------------------------------------------------------------------------------------------
class Page:
    """The page of a store in a cell of a notebook; it is served until this process ends, or `stop` is called."""

    def __init__(self, server: Server, height: int = _HEIGHT) -> None:
        self._server, self._height = server, height

    @property
    def url(self) -> str:
        """The address, with the token in it."""
        return self._server.url

    def stop(self) -> None:
        """End its server."""
        self._server.stop()

    def __repr__(self) -> str:
        return f"<the page of a store, at {self._server.address} (with a token: .url)>"

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self._height}px;border:1px solid #8884;border-radius:6px"
        return f'<iframe src="{escape(self._server.url)}" style="{style}" title="entropic"></iframe>'


def page_of(context: StoreContext[Base], height: int = _HEIGHT) -> Page:
    """Serve the page of a store that only looks in a thread, and return what a notebook shows of it."""
    server = Server(context, 0, embedded=True)
    server.start()
    return Page(server, height)
