"""What differs between databases, and nothing else. SQLite is the one that this version supports."""

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from entropic.errors import StoreError

BUSY_SECONDS = 60.0  # how long a locked database is waited for, unless the URL says `?timeout=SECONDS`
BEGIN = "BEGIN IMMEDIATE"  # the lock on a claim: a deferred transaction that upgrades later may fail at any statement
NOW = sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)  # seconds since 1970, by the database

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb",
    "smb2",
    "smb3",
    "smbfs",
    "afs",
    "9p",
    "ncpfs",
    "gpfs",
    "lustre",
    "beegfs",
}
_NETWORK |= {
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "pvfs2",
    "orangefs",
    "webdav",
    "davfs",
}


def parse(db_url: str) -> tuple[sa.URL, float]:
    """Return the URL with an absolute path, and the seconds to wait for a lock.

    Raises
    ------
    StoreError
        If the URL cannot be read, or names a database that this version does not support.
    """
    try:
        url = sa.make_url(db_url)
        backend = url.get_backend_name()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(f"db_url is no SQLAlchemy URL: {error}; write for example 'sqlite:///db.sqlite3'") from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(f"this version of entropic stores rows in SQLite only, and db_url names {backend!r}")
    query = dict(url.query)
    try:
        wait = float(str(query.pop("timeout", BUSY_SECONDS)))
    except ValueError:
        raise StoreError(f"timeout in db_url is a number of seconds, not {url.query['timeout']!r}") from None
    url = url.set(query=query)
    if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
        url = url.set(database=os.path.abspath(url.database))
    return url, wait


def in_memory(url: sa.URL) -> bool:
    """Tell whether the database lives in this process only."""
    name = url.database or ""
    return not name or ":memory:" in name or url.query.get("mode") == "memory"


def upsert(table: sa.Table, columns: list[str]) -> Any:
    """Return the statement that inserts a row or overwrites the one with the same id."""
    from sqlalchemy.dialects import sqlite  # loaded with the engine, not with `import entropic`

    statement = sqlite.insert(table).values({name: sa.bindparam(f"v_{name}") for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed)


def file_system(path: str) -> str | None:
    """Return the type of the file system under a path if it is a network file system, else None.

    Where the operating system does not tell, nothing is known and None is returned.
    """
    import psutil

    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, NotImplementedError):
        return None
    real, best, kind = Path(os.path.realpath(path)), -1, ""
    for mount in mounts:
        inside = real.is_relative_to(mount.mountpoint)
        if inside and len(mount.mountpoint) >= best:  # a later mount over the same place hides the earlier
            best, kind = len(mount.mountpoint), mount.fstype.lower()
    return kind if kind in _NETWORK else None
