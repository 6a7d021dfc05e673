"""Passwords of databases: known to this process, never part of what is sent to a worker of somebody else's.

A store pickles with the address of its database, since the copy has to open it. But a runner may refer to its store,
and go to a pool or a cluster with each task: what goes there is pickled under `withheld`, and the copy must find the
password by itself, as the driver does (`~/.pgpass`, `PGPASSWORD`, an option file), or do without the database.
Workers of this machine are ours: they get the passwords by a pipe of their own.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

import sqlalchemy as sa

_known: dict[str, str] = {}  # by the URL without it
_withheld: ContextVar[bool] = ContextVar("entropic_withheld", default=False)


def _place(url: sa.URL) -> str:
    return f"{url.username}@{url.host}:{url.port}"


def remember(url: sa.URL) -> sa.URL:
    """Remember a URL's password; return the URL, with the password that is remembered if it has none."""
    if url.password is not None:
        _known[_place(url)] = str(url.password)
        return url
    found = _known.get(_place(url)) if url.host else None
    return url if found is None else url.set(password=found)


def known() -> dict[str, str]:
    """Return what a worker of our own is told."""
    return dict(_known)


def tell(passwords: Mapping[str, str]) -> None:
    """Learn what a parent knows."""
    _known.update(passwords)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """Let addresses that are pickled meanwhile be without their password."""
    token = _withheld.set(True)
    try:
        yield
    finally:
        _withheld.reset(token)


def is_withheld() -> bool:
    """Tell whether an address is to be without its password now."""
    return _withheld.get()
