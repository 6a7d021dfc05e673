"""The guard before everything that the page serves, its static files included: who may ask, and what a browser may do.

A page on 127.0.0.1 can be asked by every program of the machine, and by every web site that the user looks at. So it
answers only to its own names (a site may point a name of its own to 127.0.0.1), only to requests that its own pages
make or that a person makes by following a link, and only with the token that was printed when it started.
"""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PORT = re.compile(r":\d{1,5}\Z")  # never compared: `ssh -L` changes it
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
)
_IN_NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:*"
_NO_TOKEN = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>entropic</title>"
    "<p>This page needs its token. Open the whole address that <code>entropic ui</code> printed when it started, "
    "with <code>?token=</code> in it; once is enough for this browser."
)


class Guard:
    """Answers what may not be asked itself, and passes on the rest.

    Parameters
    ----------
    app
        What is guarded.
    token
        What a request must know, at first in its URL and then in a cookie.
    hosts
        The names, without ports, under which the page may be asked for.
    embedded
        Whether the page is shown in a frame of a notebook, which keeps no cookies for it: then the token is the first
        part of the path, where every relative link keeps it.
    """

    def __init__(self, app: App, token: str, hosts: Iterable[str] = LOOPBACK, embedded: bool = False) -> None:
        self._app, self._token, self._embedded = app, token, embedded
        self._hosts = frozenset(host.lower() for host in hosts)
        self.cookie = f"entropic-{secrets.token_hex(4)}"  # of this server: cookies do not tell ports apart
        policy = _POLICY.format(ancestors=_IN_NOTEBOOKS if embedded else "'none'")
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        if not embedded:
            self._headers.append((b"x-frame-options", b"DENY"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets: nothing here listens to one
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        if not self._knows_cookie(headers):
            given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)).get("token")
            if given is not None and self._is_token(given):
                await self._answer(send, 303, "", self._to_the_same(scope))
                return
            if not self._embedded or not self._takes_path(scope):
                await self._answer(send, 401, _NO_TOKEN)
                return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return the status and the text for what is refused whoever asks; None if nothing is."""
        if _PORT.sub("", headers.get("host", "")).lower() not in self._hosts:
            return 421, "This page is not served under that name; see --allow-host."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This page can only be read."
        origin = headers.get("origin")
        if origin is not None and _PORT.sub("", origin.partition("://")[2]).lower() not in self._hosts:
            return 403, "Another site has asked for this."
        site = headers.get("sec-fetch-site", "none")
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in (
            ("document", "iframe") if self._embedded else ("document",)
        )
        if site not in ("none", "same-origin") and not followed:
            return 403, "Another site has asked for this."
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _knows_cookie(self, headers: dict[str, str]) -> bool:
        pairs = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    def _takes_path(self, scope: Scope) -> bool:
        """Take the token off the path, where the page of a notebook has it; tell whether it was there."""
        first, _, rest = str(scope["path"]).lstrip("/").partition("/")
        if not self._is_token(first):
            return False
        scope["path"] = f"/{rest}"
        scope["raw_path"] = b"/" + scope.get("raw_path", b"").lstrip(b"/").partition(b"/")[2]
        return True

    def _to_the_same(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers that lead to the same page without the token in its URL, and leave the cookie.

        The address is relative, since a proxy may have put something before it.
        """
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        rest = urlencode([(name, value) for name, value in given if name != "token"])
        page = re.sub(r"[^\w.-]", "", str(scope["path"]).rpartition("/")[2], flags=re.ASCII)
        where = f"./{page}" + (f"?{rest}" if rest else "")
        # Lax: a strict one is not sent with the request after this one, if a link on another page led here.
        cookie = f"{self.cookie}={self._token}; Path=/; HttpOnly; SameSite=Lax"
        return [(b"location", where.encode("latin-1", "ignore")), (b"set-cookie", cookie.encode())]

    async def _answer(self, send: Send, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        body = text.encode()
        kind = b"text/html; charset=utf-8" if text.startswith("<") else b"text/plain; charset=utf-8"
        own = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": [*own, *headers, *self._headers]})
        await send({"type": "http.response.body", "body": body})
