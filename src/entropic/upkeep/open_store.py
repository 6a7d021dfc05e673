"""How a store opens: its parts are wired, to be written or only to be looked at; what dead owners left is taken in."""

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import sqlalchemy as sa

from entropic.db.build import is_direct
from entropic.db.digests import Digests
from entropic.db.engine import Database
from entropic.db.ledger import Ledger
from entropic.db.origins import Origins
from entropic.db.outcome_columns import OutcomeColumns
from entropic.db.rows import Rows
from entropic.db.settings import Settings
from entropic.db.tables import metadata
from entropic.errors import ModelError, ParameterError, ReadOnlyError, ReadOnlyWarning, StoreError, warn
from entropic.executors.attempt import Runner
from entropic.executors.command import Command
from entropic.files.durable import sync_way
from entropic.files.journal import Journal
from entropic.files.packing import packed
from entropic.files.paths import check_folder, check_lengths, check_suffix
from entropic.files.staging import Staging, locked_up
from entropic.formats.format import Saver
from entropic.formats.read import Loader, read
from entropic.formats.returned import Returning
from entropic.params.changed import hasher as hasher_of_changed
from entropic.params.changed import held_default, is_added, is_retyped
from entropic.params.fields import is_duration
from entropic.params.keys import CHECKPOINT_DIR, Hasher
from entropic.params.model import Schema
from entropic.params.spelling import TypedHasher
from entropic.protocol import open_stores
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.current_code import ON_STALE, CurrentCode, OnStale
from entropic.protocol.heartbeat import make_lease_keeper
from entropic.provenance import watch as watching
from entropic.provenance.watch import Watched
from entropic.support.compact_json import compact
from entropic.support.show import spelled
from entropic.upkeep import outage, rebuild, recover

_ASKED = "it was opened with read_only=True; open it without that to run or change anything"
_NO_RUNNER = "it has no runner; give one to run or change anything"
_BY_COMMAND = (
    "it was opened by a command that only looks; put what the script runs under `if __name__ == '__main__':`, or leave "
    "it to `entropic sweep`"
)
_ADVICE = "call it where that can be written, or work on a copy of your own"

_all_read_only = False
_makes_database = True
_copying: ContextVar[bool] = ContextVar("copying", default=False)
_filling: ContextVar[bool] = ContextVar("filling", default=False)


@contextlib.contextmanager
def copying() -> Iterator[None]:
    """Let stores be opened meanwhile on databases that are about to be filled from another one."""
    token = _copying.set(True)
    try:
        yield
    finally:
        _copying.reset(token)


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Let stores be looked at meanwhile whose tables lack what the model has gained: that has its default."""
    token = _filling.set(True)
    try:
        yield
    finally:
        _filling.reset(token)


@contextlib.contextmanager
def open_read_only() -> Iterator[None]:
    """Let every store that this process opens meanwhile, whoever makes it, be read-only; there need not be one yet."""
    global _all_read_only
    before, _all_read_only = _all_read_only, True
    try:
        yield
    finally:
        _all_read_only = before


@contextlib.contextmanager
def make_no_database() -> Iterator[None]:
    """Let no store that this process opens meanwhile make its database: one without is read-only, and empty."""
    global _makes_database
    before, _makes_database = _makes_database, False
    try:
        yield
    finally:
        _makes_database = before


def are_read_only() -> bool:
    """Tell whether stores are read-only now, whoever makes them."""
    return _all_read_only


def no_runner(params: dict[str, Any]) -> None:
    """Stand in for the runner of a store that only looks, and never runs anything."""


@dataclass(frozen=True, slots=True)
class Opening(Generic[ModelT]):
    """What a store is opened with; the meaning is that of `Store`'s arguments."""

    runner: Returning
    schema: Schema
    folder: str
    suffix: str
    db_url: str
    lease: float
    hasher: Hasher
    fsync: bool
    checkpoints: bool
    read_only: bool | None
    version: str | None
    watched: tuple[Watched, ...]
    on_stale: OnStale
    checksum: bool

    @classmethod
    def of(
        cls,
        runner: Runner | None,
        result_cls: type[ModelT],
        results_dir: str | Path,
        file_suffix: str,
        db_url: str,
        *,
        lease: float,
        float_rounding: str,
        typed_keys: bool,
        fsync: bool,
        loader: Loader | None,
        saver: Saver | None,
        checkpoints: bool,
        checksum: bool,
        git_diff: bool,
        version: str | None,
        watch: Iterable[str | Path],
        on_stale: OnStale,
        read_only: bool | None,
    ) -> "Opening[ModelT]":
        """Check the arguments of a store; nothing is opened yet, and nothing made.

        Raises
        ------
        ParameterError, ModelError, StoreError
            If a store cannot be opened with them.
        """
        if runner is None:
            if read_only is False:
                raise ParameterError("a store without a runner is read-only; leave read_only out, or give a runner")
            runner, read_only = no_runner, True
        if not callable(runner):
            raise ParameterError(f"runner must be callable as runner(params), not {spelled(runner)}")
        if not is_duration(lease):
            raise ParameterError(f"lease must be a number of seconds above 0, not {spelled(lease)}")
        if loader is not None and not callable(loader):
            raise ParameterError(f"loader must be callable as loader(path), not {spelled(loader)}")
        if saver is not None and not callable(saver):
            raise ParameterError(f"saver must be callable as saver(value, path), not {spelled(saver)}")
        if read_only not in (True, False, None):
            raise ParameterError(f"read_only must be True, False or None, not {spelled(read_only)}")
        if typed_keys not in (True, False):
            raise ParameterError(f"typed_keys must be True or False, not {spelled(typed_keys)}")
        if checkpoints not in (True, False):
            raise ParameterError(f"checkpoints must be True or False, not {spelled(checkpoints)}")
        if checksum not in (True, False):
            raise ParameterError(f"checksum must be True or False, not {spelled(checksum)}")
        if git_diff not in (True, False):
            raise ParameterError(f"git_diff must be True or False, not {spelled(git_diff)}")
        if version is not None and not isinstance(version, str):
            raise ParameterError(f"version must be a text, such as '2', not {spelled(version)}")
        if on_stale not in ON_STALE:
            raise ParameterError(f"on_stale must be one of {', '.join(map(repr, ON_STALE))}, not {spelled(on_stale)}")
        watched = watching.check(watch)
        hasher = Hasher(float_rounding)
        schema = Schema(result_cls)
        if checkpoints and CHECKPOINT_DIR in schema.columns:
            raise ModelError(
                f"{schema.name} has a column {CHECKPOINT_DIR!r}, but with checkpoints=True the runner gets a folder "
                "under that name; rename the column"
            )
        if isinstance(runner, Command):
            runner.fit(schema, checkpoints)
        if typed_keys:
            hasher = TypedHasher(float_rounding, schema.spelling)
        if schema.changed.is_any:
            hasher = hasher_of_changed(float_rounding, schema.changed, schema.spelling if typed_keys else None)
        suffix = check_suffix(file_suffix)
        folder = check_folder(results_dir)
        check_lengths(folder, suffix)
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise StoreError(f"results_dir {folder!r} is a file; give the path of a folder")
        reading = functools.partial(read, loader=loader)
        doing = Returning(runner, schema.asked_of_runs, saver, reading, git_diff=git_diff)
        parts = (doing, schema, folder, suffix, db_url, float(lease), hasher, fsync)
        return cls(*parts, bool(checkpoints), read_only, version, watched, on_stale, bool(checksum))

    def open(self) -> StoreContext[ModelT]:
        """Return the parts of the store.

        Raises
        ------
        ReadOnlyError
            If it must be writable, and is not.
        """
        if _all_read_only or not (_makes_database or self._exists()):
            return self._wired(_BY_COMMAND)
        if self.read_only:
            self._check_exists()
            return self._wired(_NO_RUNNER if self.runner.runner is no_runner else _ASKED)
        try:
            if (reason := locked_up(self.folder)) is not None:
                raise ReadOnlyError(reason)
            return self._wired(None)
        except ReadOnlyError as error:
            if self.read_only is not None:
                raise ReadOnlyError(f"{error}; {_ADVICE}") from error
            found = self._wired(f"{error}; {_ADVICE}", fills=True)
            warn(
                f"{error}, so this store was opened read-only; pass read_only=True if that is what you want",
                ReadOnlyWarning,
            )
            return found

    def _check_exists(self) -> None:
        database = Database(self.db_url, read_only=True)
        if database.in_memory or not database.dialect.exists():
            raise StoreError(f"there is no store in {database} to look at; check db_url, or open it without read_only")

    def _exists(self) -> bool:
        return Database(self.db_url, read_only=True).dialect.exists()

    def _wired(self, read_only: str | None, fills: bool = False) -> StoreContext[ModelT]:
        reads_only = read_only is not None
        schema, hasher = self.schema, self.hasher
        database = Database(self.db_url, self.fsync, read_only=reads_only)
        if reads_only and schema.table.schema is None and is_direct(schema):
            # Who cannot write can do nothing about what the table lacks; who only reads is told what will become of it.
            database.missing_tables.fills = fills or _filling.get() or _is_archive(self.folder, database)
        hasher.check_id = database.check_id
        database.open(schema.table, schema.name, metadata, schema.table.metadata, told=_told(schema, database))
        settings = Settings(database)
        settings.agree_keys(schema.table_name, hasher.setting)
        if not reads_only:
            settings.agree_lease(self.lease)
        uuid = settings.uuid()
        database.dialect.remember(uuid)
        staging = Staging(self.folder, uuid, self.suffix, reads_only)
        if self.fsync and not reads_only:
            sync_way(staging.root)
        ledger = Ledger(database, schema.table_name, self.lease)
        rows: Rows[ModelT] = Rows(database, schema, self.folder)
        outcomes = OutcomeColumns(database, schema, rows)
        origins = Origins(database, schema.table_name)
        digests = Digests(database, schema.table_name)
        keeper = make_lease_keeper(ledger, staging)
        dialect = database.dialect
        kept = (
            None if reads_only or database.in_memory else Journal(staging, dialect.url.get_backend_name(), dialect.path)
        )
        known = None if self.runner.runner is no_runner else self.runner
        current_code = CurrentCode(origins, schema.name, known, self.version, self.watched, self.on_stale)
        parts = (schema, hasher, database, ledger, rows, outcomes, origins, digests)
        context = StoreContext(
            *parts,
            current_code,
            staging,
            keeper,
            self.runner,
            self.fsync,
            read_only,
            kept,
            self.checkpoints,
            self.checksum,
        )
        is_new = staging.is_strange
        some = rows.some(recover.SAMPLE)
        recover.warn_of_strange_folder(context, some)
        if not _copying.get():
            rebuild.warn_of_lost_database(context, bool(some))
            recover.warn_of_other_suffix(context, some)
        recover.recover(context)
        if not reads_only and schema.outcomes:
            from entropic.upkeep.measure import warn_of_changes

            warn_of_changes(context)
        if some and schema.table_name in settings.recorded:
            from entropic.upkeep import rekey

            rekey.warn_of_former(context)
        if not self.fsync:  # else all that counts as stored is on the disk
            outage.distrust_after_cut(context, is_new)
        open_stores.add(context)
        return context


def _is_archive(folder: str, database: Database) -> bool:
    """Tell whether a store is an archive, or a frozen selection: nobody will ever add columns that came later."""
    from entropic.upkeep.reports.archived import SUMS

    file, around = database.url.database, os.path.dirname(folder)
    is_inside = not database.in_memory and os.path.dirname(file or "") == around
    return is_inside and os.path.exists(os.path.join(around, SUMS))


def _told(schema: Schema, database: Database) -> dict[str, str]:
    """Return what is recorded of parameters that were added, or retyped: what the rows of before mean."""
    return {column.name: _of(column, database) for column in schema.table.c if is_added(column) or is_retyped(column)}


def _of(column: Any, database: Database) -> str:
    if "told" in column.info:  # read from the table
        return str(column.info["told"])
    retyped: dict[str, object] = {"retyped": "int"} if is_retyped(column) else {}
    if not is_added(column):
        return compact(retyped)
    default, bound = held_default(column), retyped
    if isinstance(column.type, sa.TypeDecorator) and not isinstance(column.type, sa.Interval):
        # Who has no script reads what such a type makes of values.
        bound = bound | packed({"bound": database.dialect.stored(default, column.type, database.sql)})
    try:
        return compact({**packed({"added": default}), **bound})
    except TypeError:  # of a class of the user's own
        return compact({"added": {"text": str(default)}, **bound})
