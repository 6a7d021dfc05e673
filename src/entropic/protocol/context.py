"""What the steps of a run work with: wired once by the store, used by runs, sweeps and repair."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from entropic.db.claim_record import Claim
from entropic.db.connection import Connection
from entropic.db.digests import Digests
from entropic.db.engine import Database
from entropic.db.ledger import Ledger
from entropic.db.origins import Origins
from entropic.db.outcome_columns import OutcomeColumns
from entropic.db.raw import PLACE, Raw, Recorded
from entropic.db.rows import Rows
from entropic.errors import KeyCollisionError, ReadOnlyError, UnguardedError
from entropic.executors.attempt import Runner
from entropic.files import sidecar as sidecars
from entropic.files.extent import Extent, extent, extent_elsewhere
from entropic.files.journal import Journal
from entropic.files.staging import Staging, key_of
from entropic.params.keys import Hasher
from entropic.params.model import Base, Schema
from entropic.protocol import verify
from entropic.protocol.current_code import CurrentCode
from entropic.protocol.heartbeat import LeaseKeeper
from entropic.support import names
from entropic.support.importing import importer
from entropic.support.show import named, spelled

ModelT = TypeVar("ModelT", bound=Base)
ModelT_co = TypeVar("ModelT_co", bound=Base, covariant=True)
FEW = 3  # files that are looked for one by one


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StoreContext(Generic[ModelT_co]):
    """The parts of one store."""

    schema: Schema
    hasher: Hasher
    database: Database
    ledger: Ledger
    rows: Rows[ModelT_co]
    outcomes: OutcomeColumns
    origins: Origins
    digests: Digests
    current_code: CurrentCode
    staging: Staging
    lease_keeper: LeaseKeeper
    runner: Runner
    fsync: bool
    read_only: str | None = None
    """Why nothing may be changed, and what to do about it; None if things may be."""
    journal: Journal | None = None
    """Where it is noted what becomes of rows; None where nothing is, or nothing stays (a database in memory)."""
    checkpoints: bool = False
    """Whether runs get a folder that survives them until their row is there."""
    checksum: bool = False
    """Whether the digest of each result is recorded."""

    def must_write(self, what: str) -> None:
        """Refuse, before anything is done, what would change a store that is read-only.

        Raises
        ------
        ReadOnlyError
            With the reason, and what to do.
        """
        if self.read_only is not None:
            raise ReadOnlyError(f"{what}, but this store is read-only: {self.read_only}")

    def must_run(self, what: str) -> None:
        """Refuse, before anything is claimed, what would run: a script is only imported, or the store is read-only.

        Raises
        ------
        UnguardedError
            If a worker, or a command, imports the script whose code this is. It comes first: a command that only looks
            opens the store read-only, and that is not what its user can mend.
        ReadOnlyError
            As `must_write`.
        """
        if (by := importer()) is not None:
            raise UnguardedError(
                f"{what}, while {by} imports this script: put what the script runs under `if __name__ == "
                "'__main__':`. Nothing was run"
            )
        self.must_write(what)

    @property
    def model(self) -> str:
        """The name of the user's table, by which the ledger knows the model."""
        return self.ledger.model

    @property
    def database_uuid(self) -> str:
        """The uuid of the database, by which what is read there is known elsewhere."""
        return os.path.basename(self.staging.root)

    def key_of(self, id: str) -> str:
        """Return the name of a key in the staging folder."""
        return key_of(self.model, id)

    def path_of(self, raw: Raw) -> str:
        """Return the absolute path of all of a raw row's result: its file, or the folder of which that is the main."""
        place = raw[PLACE]
        if isinstance(place, str) and "/" in place and names.is_place(self.rows.id_of(raw), place):
            return self.staging.path(place)
        return self.rows.file_of(raw)

    def extent_of(self, raw: Raw) -> Extent | None:
        """Return the extent of a raw row's result; None if it, or its main file, is not there."""
        path, file, recorded = self.path_of(raw), self.rows.file_of(raw), Recorded.of(raw)
        if recorded.is_registered:
            return extent_elsewhere(file, recorded.size)
        return extent(path) if path == file or os.path.exists(file) else None

    def is_finished(self, id: str, attempt: str) -> bool:
        """Tell whether an attempt has a complete sidecar, of this version of entropic or of a later one."""
        told = sidecars.inspect(self.staging, self.key_of(id), attempt)
        return told.newer if isinstance(told, sidecars.Unreadable) else told is not None

    def why_unreadable(self, id: str, attempt: str) -> str | None:
        """Say why only a later version of entropic can record an attempt that is finished; None if this one can."""
        told = sidecars.inspect(self.staging, self.key_of(id), attempt)
        if not isinstance(told, sidecars.Unreadable) or not told.newer:
            return None
        return f"{self.staging.inside(sidecars.name(self.key_of(id), attempt))} cannot be read: {told.why}"

    def find_finished(self, claims: Sequence[Claim]) -> set[str]:
        """Return the ids of those claims whose attempts have such a sidecar; of many, by one look at the folder."""
        if len(claims) > FEW and (there := self.staging.names()) is not None:
            claims = [claim for claim in claims if sidecars.name(self.key_of(claim.id), claim.attempt) in there]
        return {claim.id for claim in claims if self.is_finished(claim.id, claim.attempt)}

    def row(self, raw: Raw, params: Mapping[str, object], path: str | None = None) -> ModelT_co:
        """Return the instance of a raw row, once it is known to be what these params ask for.

        `path` is that of its file, if it is known already.
        """
        path = path or self.rows.file_of(raw)
        if not self.rows.is_direct:
            self.verify(raw, params)
            return self.rows.build(raw, path)
        row = self.rows.build(raw, path)
        try:
            verify.verify(self.schema, self.rows, row.__dict__, params)
        except KeyCollisionError:
            self.refuse_altered(raw)
            raise
        return row

    def verify(self, raw: Raw, params: Mapping[str, object], within: Connection | None = None) -> None:
        """Compare a raw row, read perhaps within a transaction, with the params that were asked for under its key.

        Raises
        ------
        KeyCollisionError
            If they are not the same; `verify.Altered` if somebody has changed the row.
        """
        try:
            verify.verify(self.schema, self.rows, self.rows.plain(raw), params)
        except KeyCollisionError:
            self.refuse_altered(raw, within)
            raise

    def refuse_altered(self, raw: Any, within: Connection | None = None) -> None:
        """Say so if a raw row does not hold any more what was stored, and what to do about it.

        Raises
        ------
        Altered
            With its values.
        """
        id = self.rows.id_of(raw)
        recorded = self.ledger.checksum(id, within)
        if recorded is not None:
            altered = self.rows.checksum(raw) != recorded
        else:
            altered = not verify.may_have(self.schema, self.hasher, self.rows.plain(raw), id)
        if altered:
            stored = self.rows.plain(raw)
            values = named((name, stored[name]) for name in self.schema.fields)
            raise verify.Altered(
                f"the row {id!r} of {self.schema.name} was changed by hand: it holds {values[:400]}, which is not what "
                "it was stored with. It counts as lost, and its set runs again when it is asked for; repair() removes "
                "the row, and keeps its result file"
            )

    def whole(self, params: Any) -> Any:
        """Return params as their row will say them where keys do not tell ways of writing apart; else as they are.

        Parameters that were added, or removed, since the first runs are always among them.
        """
        if self.hasher.typed and isinstance(params, Mapping):
            return self.schema.spelling.typed(params)
        return self.schema.changed.fill(params) if self.schema.changed.is_any else params

    def average_seconds(self, raws: Iterable[Raw]) -> float | None:
        """Return how long runs took on average, by some of their raw rows; None if none of them says so."""
        times = [seconds for raw in raws if (seconds := self.rows.seconds(raw)) is not None]
        return sum(times) / len(times) if times else None

    def describe(self, params: Any, id: str) -> str:
        """Name a run in a message."""
        return f"{self.schema.name} {id} {spelled(dict(params), 300)}"
