"""`Store.archive`: results, rows and all that is known of them in one folder, or one .zip, for those who come later.

It is made beside its place, under a name that says so, and renamed when it is whole. In it is a SQLite database that
opens as a store; everything else can be read without entropic, too.
"""

import contextlib
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from entropic.ask.export import csv_lines, write_parquet
from entropic.ask.select import iterate, matching
from entropic.db.query import fetch
from entropic.errors import LibraryMissingError, StoreError
from entropic.files import workspace
from entropic.files.digest import of_file
from entropic.files.extent import is_of_others
from entropic.files.paths import check_outside
from entropic.files.staging import FOLDER
from entropic.params.model import Base, utcnow
from entropic.protocol.context import StoreContext
from entropic.support.show import counted
from entropic.upkeep import described, merge
from entropic.upkeep.reports.archived import SUMS, Archive

DATABASE, RESULTS = "db.sqlite3", "results"
Opening = Callable[[str, str], StoreContext[Base]]


def archive(
    context: StoreContext[Base],
    path: str,
    where: Sequence[object],
    equal: Mapping[str, object],
    opening: Opening,
    link: bool = False,
    about: Callable[[Archive], Mapping[str, str]] = lambda done: {},
    owner: str = "",
) -> Archive:
    """Write an archive of the rows that meet all conditions.

    Parameters
    ----------
    path
        Of a folder, or of a .zip, which does not exist yet.
    opening
        Opens a store of the same model, given its results folder and its database.
    link
        Whether its results are hard links where the file system has them.
    about
        Returns other files that belong in it, by name, once it is known what is in it; may refuse that.
    owner
        Part of the name of the folder until it is whole: by it others see whether anybody is still at work.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if not owner:  # what is frozen lies there
        check_outside(path, context.staging.results_dir)
    if os.path.lexists(path):
        raise StoreError(f"{path} exists already, and nothing is replaced; give the archive another name")
    if not os.path.isdir(os.path.dirname(path)):
        raise StoreError(f"there is no folder {os.path.dirname(path)}, in which the archive would be made")
    zipped = path.endswith(".zip")
    raws = fetch(context.database, matching(context, where, equal))
    prefix = f".{os.path.basename(path)}.{owner}-" if owner else f".{os.path.basename(path)}."
    folder = tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=os.path.dirname(path))
    try:
        done = _fill(context, folder, raws, opening, link=link or zipped)
        for name, text in about(done).items():
            _write(folder, name, text)
        if zipped:
            _zip(folder, f"{folder}.zip")
            os.rename(f"{folder}.zip", path)
        else:
            os.chmod(folder, 0o777 & ~_umask())
            os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}.zip")
    done.path = path
    return done


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _fill(context: StoreContext[Base], folder: str, raws: Sequence[Any], opening: Opening, link: bool) -> Archive:
    results, database = os.path.join(folder, RESULTS), os.path.join(folder, f"{DATABASE}.part")
    inner = opening(results, f"sqlite:///{database}")
    merged = merge.fill(inner, context, raws, "link" if link else "copy")
    done = Archive(folder, sorted(merged.taken), left=[*merged.left, *map(str, merged.conflicts)])
    done.outside = [context.rows.file_of(raw) for raw in raws if _is_outside(context, raw)]
    rows = sorted(iterate(inner, (), {}, None), key=lambda row: (row.created_at, row.id))
    when, version = utcnow().date().isoformat(), str(getattr(sys.modules.get("entropic"), "__version__", ""))
    columns = described.table(rows, inner.schema.model, folder)
    _write(folder, "rows.csv", "".join(f"{line}\n" for line in csv_lines(columns)))
    try:
        write_parquet(columns, os.path.join(folder, "rows.parquet"))
    except LibraryMissingError as error:
        done.without.append(f"there is no rows.parquet in it: {error}")
    _write(folder, "schema.json", described.schema(inner))
    _write(folder, "provenance.json", described.provenance(inner, rows))
    _write(folder, "README.md", described.readme(inner, len(rows), version, when, has_parquet=not done.without))
    _close(inner)
    _settle(database, os.path.join(folder, DATABASE), inner)
    files = list(_files(folder))
    done.size = sum(one["size"] for one in files)
    folders = [
        {"path": f"{RESULTS}/{name}/"} for name in sorted(os.listdir(results)) if os.path.isdir(f"{results}/{name}")
    ]
    about = f"{counted(len(rows), 'result')} of {inner.schema.name}, with their parameters and where they come from"
    shown = [one for one in files if not one["path"].startswith(f"{RESULTS}/{FOLDER}/")]
    shown += [one for one in folders if one["path"] != f"{RESULTS}/{FOLDER}/"]
    _write(folder, "ro-crate-metadata.json", described.crate(inner.schema.name, about, when, version, shown))
    files.append(_file(folder, "ro-crate-metadata.json"))
    _write(folder, SUMS, "".join(map(_sum_line, files)))
    return done


def _is_outside(context: StoreContext[Base], raw: Any) -> bool:
    folder = os.path.realpath(context.staging.results_dir)
    try:
        return not os.path.realpath(context.rows.file_of(raw)).startswith(folder + os.sep)
    except ValueError:  # it is no path: an entry of the ledger that entropic did not write
        return False


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "x", encoding="utf-8", newline="") as file:
        file.write(text)


def _close(inner: StoreContext[Base]) -> None:
    """Let nothing of this process be left in the archive."""
    workspace.forget(inner.staging)
    if inner.journal is not None:
        inner.journal.close()
    shutil.rmtree(inner.staging.inside("starts"), ignore_errors=True)  # of this machine
    connection = inner.database.connection()
    with connection.lock:
        connection.close()


def _settle(source: str, target: str, inner: StoreContext[Base]) -> None:
    """Write the database as one file, without a log beside it, that says of files where they are in the archive."""
    table = inner.schema.table_name
    quoted = '"' + table.replace('"', '""') + '"'
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", (target,))
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:  # of other models of the program
            if name != table and not name.startswith(("entropic_", "sqlite_")):
                connection.execute('DROP TABLE "' + name.replace('"', '""') + '"')
        connection.execute(
            f"UPDATE {quoted} SET result_file = (SELECT ? || path FROM entropic_ledger AS l "
            f"WHERE l.id = {quoted}.id AND l.model = ?)",
            (f"{RESULTS}/", table),
        )
        connection.execute("VACUUM")
    for rest in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(source + rest)


# ---- files, and their checksums ------------------------------------------------------------------------------------
def _files(folder: str) -> Iterator[dict[str, Any]]:
    for here, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = os.path.join(here, name)
            if stat.S_ISREG(os.lstat(path).st_mode) and not is_of_others(name):
                yield _file(folder, os.path.relpath(path, folder))


def _file(folder: str, path: str) -> dict[str, Any]:
    digest, size = of_file(os.path.join(folder, path))
    return {"path": path, "size": size, "sha256": digest}


def _sum_line(one: Mapping[str, Any]) -> str:
    """Return a line as `sha256sum` writes it."""
    path = one["path"].replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if path == one['path'] else chr(92)}{one['sha256']}  {path}\n"


def _zip(folder: str, target: str) -> None:
    """Write a folder as a .zip.

    Raises
    ------
    StoreError
        If there is a link in a result, which a .zip does not keep.
    """
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as made:
        for here, below, names in os.walk(folder):
            below.sort()
            for name in sorted([*names, *below]):
                path = os.path.join(here, name)
                inside = os.path.relpath(path, folder)
                if os.path.islink(path):
                    raise StoreError(
                        f"there is a link in a result, {inside}, which a .zip does not keep; give the name of a folder"
                    )
                made.write(path, inside)
