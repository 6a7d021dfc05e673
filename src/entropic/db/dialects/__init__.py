"""What differs between databases, and nothing else: one small class for each kind.

A store finds its own here, from its URL; `portable` says what there is to differ in.
"""

import importlib
import os

import sqlalchemy as sa

from entropic.db.dialects.portable import Dialect
from entropic.errors import StoreError
from entropic.support.passwords import remember

WAIT_SECONDS = 60.0  # how long a locked or silent database is waited for, unless the URL says `?timeout=SECONDS`
LONGEST_WAIT = 1_000_000  # s; servers count in milliseconds, in 32 bits

# The driver that is tested, and the extra that brings it.
DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
# What cannot keep the promises: no unique index over missing values, or no transaction that holds a row.
_UNSUITABLE = {"mssql": "its unique indexes take only one NULL", "access": "it has no row locks"}


def dialect(db_url: str, fsync: bool = False, read_only: bool = False) -> Dialect:
    """Return what a URL says of its database.

    Raises
    ------
    StoreError
        If the URL cannot be read, or names a database or a driver that cannot hold a store, or is not installed.
    """
    try:
        url = sa.make_url(db_url)
        backend = url.get_backend_name()
        if backend == "postgres":
            raise StoreError("db_url names 'postgres'; write postgresql://...")
        url.get_dialect()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(
            f"db_url is not a SQLAlchemy URL: {error}; write, for example, 'sqlite:///db.sqlite3'"
        ) from None
    if backend in _UNSUITABLE:
        raise StoreError(f"{backend} cannot hold a store: {_UNSUITABLE[backend]}; use SQLite, PostgreSQL or MariaDB")
    if backend == "sqlite":
        _check_path(str(db_url), url)
    url = _with_driver(url, backend)
    query = dict(url.query)
    for name in ("password", "passwd"):  # drivers take it there too, where every text would show it
        if name in query:
            url = url.set(password=str(query.pop(name)))
    try:
        wait = float(str(query.pop("timeout", WAIT_SECONDS)))
        if not 0 <= wait <= LONGEST_WAIT:
            raise ValueError
    except ValueError:
        given = f"{url.query['timeout']!r:.80}"
        raise StoreError(f"timeout in db_url must be a number of seconds up to {LONGEST_WAIT:,}, not {given}") from None
    return _kind(backend)(remember(url.set(query=query)), wait, fsync, read_only)


def _check_path(given: str, url: sa.URL) -> None:
    """Refuse a URL in which a part of the path would be taken for something else: another file would be made."""
    folder, meant = os.path.dirname(given.partition(":///")[2]), os.path.dirname(url.database or "")
    options = filter(None, given.partition("?")[2].split("&"))
    strange = any("=" not in option or "/" in option.partition("=")[0] for option in options)
    if strange or (folder != meant and ("%" in folder or "?" in folder) and os.path.isdir(folder)):
        raise StoreError(
            f"db_url means a file in {meant!r:.200}, not in {folder!r:.200}: a '%' begins the number of a character, "
            "and what follows a '?' are options, as NAME=VALUE; write %25 for a '%' in a path, and %3F for a '?'"
        )


def _with_driver(url: sa.URL, backend: str) -> sa.URL:
    driver = DRIVERS.get(backend)
    if driver is None:
        if getattr(url.get_dialect(), "is_async", False):
            raise StoreError(f"{url.drivername!r} in db_url is an asynchronous driver, which a store cannot use")
        return url
    _, plus, named = url.drivername.partition("+")
    if plus and named != driver:
        raise StoreError(f"db_url names the driver {named!r}; a store uses {backend}+{driver}")
    if driver in EXTRAS:
        try:
            importlib.import_module(driver)
        except ImportError as error:
            raise StoreError(
                f"{backend} needs the package {driver}, which cannot be imported ({error}); "
                f"pip install 'entropic[{EXTRAS[driver]}]'"
            ) from error
    return url.set(drivername=f"{backend}+{driver}")


def _kind(backend: str) -> type[Dialect]:
    # Each is imported with its first store: most processes need one.
    if backend == "sqlite":
        from entropic.db.dialects.sqlite import SQLite

        return SQLite
    if backend == "postgresql":
        from entropic.db.dialects.postgresql import PostgreSQL

        return PostgreSQL
    if backend in ("mysql", "mariadb"):
        from entropic.db.dialects.mysql import MySQL

        return MySQL
    return Dialect
