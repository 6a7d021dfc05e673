"""Passwords of databases: known to this process, never part of what is sent to a worker.

A store pickles with the address of its database, since the copy has to open it. But a runner may refer to its store,
and go to a pool or a cluster with each task: what goes there is pickled under `withheld`, and the copy must find the
password by itself, as the driver does (`~/.pgpass`, `PGPASSWORD`), or do without the database. Workers of this machine
are ours: those whose runner refers to a store are told by a pipe of their own.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar

import sqlalchemy as sa

_known: dict[str, str] = {}  # by the place that they open
_SECRET = r"password|passwd|passphrase|pwd"
_SHOWN_IN_TEXT = (  # each with what comes before the secret, in the first group; bounded, since texts are anybody's
    (re.compile(r"(://[^/\s:@'\"]{0,256}:)[^\s'\"]{0,512}(?=@)"), r"\1***"),
    (
        re.compile(rf"([?&][\w.%-]{{0,64}}(?:{_SECRET}|secret|token)[\w.%-]{{0,64}}=)[^&\s'\"]+", re.IGNORECASE),
        r"\1***",
    ),
    (
        re.compile(
            rf"(\b\w{{0,64}}(?:{_SECRET})\w{{0,64}}['\"\]]{{0,3}}\s{{0,9}}[=:]\s{{0,9}}(['\"])).{{0,512}}?\2",
            re.IGNORECASE,
        ),
        r"\1***\2",
    ),
    (re.compile(rf"(\b\w{{0,64}}(?:{_SECRET})=)(?!['\"*])[^\s&'\",;)]+", re.IGNORECASE), r"\1***"),
)
_withheld: ContextVar[set[str] | None] = ContextVar("entropic_withheld", default=None)


def _place(url: sa.URL) -> str:
    return f"{url.username}@{url.host}:{url.port}"


def shown(url: sa.URL) -> str:
    """Return a URL as everybody may see it: drivers take passwords in its query as well."""
    secret = {name: "hidden" for name in url.query if re.search(f"{_SECRET}|secret|token", name, re.IGNORECASE)}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def without_passwords(text: str) -> str:
    """Return a text without the passwords in it, as everybody may see it: of URLs, and where a line of code has one.

    Tracebacks show the lines of a script, and drivers put into their errors what they were given.
    """
    for pattern, kept in _SHOWN_IN_TEXT:
        text = pattern.sub(kept, text)
    return text


def remember(url: sa.URL) -> sa.URL:
    """Remember a URL's password; return the URL, with the password that is remembered if it has none."""
    if url.password is not None:
        _known[_place(url)] = str(url.password)
        return url
    found = _known.get(_place(url))
    return url if found is None else url.set(password=found)


def known(places: Iterable[str]) -> dict[str, str]:
    """Return the passwords of some places, for a worker of our own."""
    return {place: _known[place] for place in places if place in _known}


def tell(passwords: Mapping[str, str]) -> None:
    """Learn what a parent knows."""
    _known.update(passwords)


@contextlib.contextmanager
def withheld(places: set[str]) -> Iterator[None]:
    """Let addresses that are pickled meanwhile be without their password; add to `places` those that were."""
    token = _withheld.set(places)
    try:
        yield
    finally:
        _withheld.reset(token)


def for_pickle(url: sa.URL) -> sa.URL:
    """Return a URL as it is to be pickled now."""
    places = _withheld.get()
    if places is None or url.password is None:
        return url
    places.add(_place(url))
    return url._replace(password=None)
