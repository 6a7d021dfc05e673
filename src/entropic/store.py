"""`Store`: all that can be done with a store, and where it is done."""

import functools
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from entropic.ask.given import one_or_several, set_of
from entropic.ask.unsaid import Unsaid, options
from entropic.errors import ParameterError, StoreError, hide_ours
from entropic.params.model import Base
from entropic.params.objects import Object
from entropic.params.reference import reference, resolve
from entropic.support.show import html_table

# Above is what there is without a store, as in a worker. All else comes with the first store, or with the first call of
# the method that needs it.
if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas
    import polars
    import pyarrow
    from distributed import Client

    from entropic.ask.explain import Explanation
    from entropic.ask.failures import Failure
    from entropic.ask.inputs import Dependant, Input
    from entropic.ask.provenance import Provenance
    from entropic.ask.runs import Runs
    from entropic.ask.status import Status
    from entropic.executors.attempt import Runner
    from entropic.formats.format import Saver
    from entropic.formats.read import Loader
    from entropic.protocol.context import StoreContext
    from entropic.sweep.objective import Objective
    from entropic.sweep.plan import Plan
    from entropic.sweep.seeds import Replicates
    from entropic.ui.serve import Page
    from entropic.upkeep.imports.source import Source
    from entropic.upkeep.measure import Measured
    from entropic.upkeep.note import Note
    from entropic.upkeep.rebuild import Rebuild
    from entropic.upkeep.repair import Repair, Report
    from entropic.upkeep.reports.archived import Archive
    from entropic.upkeep.reports.audited import Audit, Audited
    from entropic.upkeep.reports.cleaned import Cleanup
    from entropic.upkeep.reports.frozen import Frozen
    from entropic.upkeep.reports.imported import Imported
    from entropic.upkeep.reports.merged import Merge
    from entropic.upkeep.reports.rekeyed import Rekeyed
    from entropic.upkeep.reports.viewed import View

ModelT = TypeVar("ModelT", bound=Base)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NONE, _TRUE, _FALSE, _NO_NAMES = (cast(Any, Unsaid(default)) for default in (None, True, False, ()))
_FRACTION, _RTOL = (cast(Any, Unsaid(default)) for default in (0.02, 1e-9))


class Store(Generic[ModelT]):
    """Returns the stored result of an experiment, and runs it only if there is none.

    A store pickles, survives `fork`, and may be shared between threads; any number of processes may open stores on
    the same database and folder.

    Parameters
    ----------
    runner
        Called as `runner(params)`. What it returns is its result, written by `file_suffix`, unless it wrote a file to
        `params["result_file"]` itself; outcome columns of the model are filled from what it returns in either case.
    result_cls
        A model derived from `entropic.Base`, with a column for each key of the params.
    results_dir
        The folder of the results; made if it does not exist.
    file_suffix
        How the names of result files end, such as `".h5"` or `".npy"`. `"/run.xdmf"`: each result is a folder of files
        that belong together. Its main file is `run.xdmf`, to which `params["result_file"]` and the row lead.
    db_url
        A SQLAlchemy URL of SQLite, PostgreSQL, MariaDB or MySQL. `?timeout=SECONDS` says how long to wait for a
        database that is locked or does not answer (60).
    lease
        Seconds after which another machine takes over from an owner that has not renewed its claim.
    float_rounding
        How floats are rounded in keys: `"decimal"` (12 decimals) or `"significant"` (12 significant digits). It is
        recorded with the table.
    typed_keys
        Whether a set is the same if a float is given as 1 or 1.0, and if None, or a default, is given or left out:
        values are converted to their column's type before they are hashed, and the runner gets the values of the row.
        True and False are then refused for numbers. It is recorded with the table.
    fsync
        Whether a run counts as stored only once it would survive a power cut.
    loader
        Called as `loader(path)` to read a result, before entropic's own readers; it returns `NotImplemented` for files
        that it leaves to them.
    saver
        Called as `saver(value, path)` with what the runner returned, if it wrote no file itself, before entropic's own
        savers; it returns `NotImplemented` for values that it leaves to them.
    checkpoints
        Whether runners get a `params["checkpoint_dir"]`: a folder that outlives an attempt that failed, was killed or
        was interrupted. The next attempt of the same params gets it, and it is removed when the run is stored.
    checksum
        Whether the SHA-256 of each result is recorded when it is published, for `check(deep=True)` to compare with. A
        result with its size and another time is then a hit only if its bytes are the same; else it counts as lost.
    git_diff
        Whether each run records, with the commit, how the files that git tracks differ from it (`provenance`).
    version
        A text that names the version of your code; when you change it, stored results count as made by different code.
    watch
        What else results depend on: paths of files and folders, `"$VARIABLE"` for one of the environment,
        `"package:scipy"` for an installed version.
    on_stale
        What becomes of a stored result that is stale: made by different code (of the runner, and of what the runner
        reaches in the same project), or from inputs that have changed since. `"warn"`: it is returned,
        and a warning shows what changed. `"rerun"`: its set runs again. `"error"`: `StaleError`. `"ignore"`: it is
        returned.
    read_only
        True: nothing in the database or in `results_dir` changes, not even when the store is opened, and any call that
        would run or change something raises. None: the same, with a warning, but only if the store cannot be written.
        False: a store that cannot be written is refused.

    Raises
    ------
    ModelError
        If the model cannot describe the rows of a store.
    StoreError
        If the folder or the database cannot hold a store.
    """

    def __init__(
        self,
        runner: "Runner | None",
        result_cls: type[ModelT],
        results_dir: str | Path = "./results",
        file_suffix: str = ".h5",
        db_url: str = "sqlite:///db.sqlite3",
        *,
        lease: float = 60.0,
        float_rounding: str = "decimal",
        typed_keys: bool = False,
        fsync: bool = False,
        loader: "Loader | None" = None,
        saver: "Saver | None" = None,
        checkpoints: bool = False,
        checksum: bool = False,
        git_diff: bool = False,
        version: str | None = None,
        watch: Iterable[str | Path] = (),
        on_stale: Literal["warn", "rerun", "error", "ignore"] = "warn",
        read_only: bool | None = None,
    ) -> None:
        # All that hits, runs and sweeps need comes with the first store, and what runners read by: once something is
        # claimed, nothing of entropic is imported, whatever becomes of the disk or of the package meanwhile.
        # `tests/contract/test_imports.py`
        import concurrent.futures.thread  # noqa: F401  (`check` needs it, and while Python ends it is too late)

        from entropic.ask import load, runs, select  # noqa: F401
        from entropic.protocol import find, plain_run, run
        from entropic.sweep import sweep  # noqa: F401
        from entropic.upkeep.open_store import Opening

        options: dict[str, Any] = {"lease": lease, "float_rounding": float_rounding, "typed_keys": typed_keys}
        options |= {
            "fsync": fsync,
            "loader": loader,
            "saver": saver,
            "checkpoints": checkpoints,
            "checksum": checksum,
            "git_diff": git_diff,
            "version": version,
            "watch": watch,
            "on_stale": on_stale,
            "read_only": read_only,
        }
        opening = Opening.of(runner, result_cls, results_dir, file_suffix, db_url, **options)
        self._context: StoreContext[ModelT] = opening.open()
        self._run = run  # kept, since a hit has no time to look for it
        self._find, self._run_plain = find.make_finder(self._context), plain_run.make_plain_runner(self._context)
        self._loader = loader
        self._made_of = (opening.runner.runner, result_cls, opening.folder, opening.suffix)
        self._options = options | {"read_only": opening.read_only, "watch": opening.watched}

    def run_or_retrieve(self, params: dict[str, Any] | ModelT | Object, **custom_data: object) -> ModelT:
        """Return the row of these params; run them first if there is none.

        When several threads or processes want the same params at the same time, one of them runs and the others wait.

        Parameters
        ----------
        params
            The parameter set: a dict whose keys are columns of the model; or an object with such fields (a dataclass,
            or an instance of a class of attrs or pydantic); or a row. All methods take these.
        **custom_data
            Anything that JSON can hold. If the set runs, this is given to the runner and stored with the row.

        Returns
        -------
        ModelT
            Detached from any session; `result_file` is absolute.

        Raises
        ------
        ParameterError
            Before the run, if the params do not fit the model.
        KeyCollisionError
            If a different set has the same key.
        RunFailed
            If this call waited for a run elsewhere, and that run failed.
        ResultMissingError
            If the runner wrote no result.
        """
        given: Any = params
        try:
            try:
                return self._run.run_or_retrieve(self._context, given, custom_data, self._find, self._run_plain)
            except ParameterError:
                given = set_of(self._context, params)  # looked at only now: a hit has no time for it
                if given is params:
                    raise
            return self._run.run_or_retrieve(self._context, given, custom_data, self._find, self._run_plain)
        except BaseException as error:  # noqa: BLE001  (raised again)
            raise hide_ours(error)  # noqa: B904

    def run(self, params: dict[str, Any] | ModelT | Object, **custom_data: object) -> ModelT:
        """Run these params in any case, and return their new row.

        An earlier row, and the file at the same path, are replaced once the run has succeeded, and not before.
        Parameters, result and errors are those of `run_or_retrieve`.
        """
        try:
            return self._run.run(self._context, set_of(self._context, params), custom_data)
        except BaseException as error:  # noqa: BLE001  (raised again)
            raise hide_ours(error)  # noqa: B904

    def retrieve(self, params: dict[str, Any] | ModelT | Object) -> ModelT | None:
        """Return the row of these params as it stands, or None.

        Parameters
        ----------
        params
            The parameter set, or just `{"id": ...}`.
        """
        return self._run.retrieve(self._context, set_of(self._context, params))

    def register(
        self, params: dict[str, Any] | ModelT | Object, result_file: str | Path, **custom_data: object
    ) -> ModelT:
        """Make a row for a result that was made elsewhere, and return it; the file stays where it is.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        RegisterError
            If these params have another result already.
        """
        from entropic.protocol import register

        return register.register(self._context, set_of(self._context, params), result_file, custom_data)

    def sweep(
        self,
        params: Iterable[dict[str, Any] | ModelT | Object],
        client: "Client | Executor | None" = None,
        *,
        workers: int | None = None,
        on_error: Literal["raise", "continue"] = "raise",
        retry_failed: bool = True,
        timeout: float | None = None,
        progress: bool | None = None,
        worker_setup: Callable[[], object] | None = None,
        replicates: "int | Replicates | None" = None,
        rerun: bool = False,
        fallback: Literal["local", "raise"] = "local",
        order: Literal["given", "longest", "spread"] = "given",
        deadline: float | str | None = None,
        retries: int | None = None,
        wait: bool = True,
        cores: int | None = None,
        memory: int | str | None = None,
        gpus: int | None = None,
        **custom_data: object,
    ) -> "Runs[ModelT]":
        """Return a row for each distinct set, in the order of the sets; run those that are missing.

        All sets are checked before the first run. A finished run is never lost, whatever happens. Several processes
        that sweep the same sets share the work.

        Parameters
        ----------
        params
            Any iterable of parameter sets; read once, to its end, at the call.
        client
            A Dask client, any `concurrent.futures.Executor`, or `Slurm`, for jobs of the scheduler. Its workers need
            the results folder under the same path, and no database.
        workers
            How many processes of this machine run the sets; -1 for one per core that this process may use. A run that
            crashes
            its process fails alone.
        on_error
            `"raise"`: after a failed run no new run starts, and its exception is raised. `"continue"`: everything else
            runs, a warning says how many failed, and the list has no rows for them.
        retry_failed
            Whether sets that failed before run again; otherwise they are skipped.
        timeout
            Seconds that a run may take; then its process is killed. Needs `workers`, or `Slurm`.
        progress
            Whether to show a progress bar; None: only in a terminal or a notebook.
        worker_setup
            Called once in each worker, before its first run, for what the script sets up and a worker would lack.
        replicates
            How many runs each set gets, which differ in the column `seed`; or `Replicates`, for another column, or for
            as many runs as the error of an outcome needs. The rows of all these runs are returned.
        rerun
            Whether all sets run, stored ones too. Each stored row, and its file, stay until the set has run again, and
            for good if that fails. What another process has stored since the call counts as run.
        fallback
            What becomes of sets that a pool or a Dask client does not bring home. `"local"`: they run on this machine,
            one after the other, in a process of their own, as with `workers=1`. `"raise"`: `ClientLostError`; they run
            nowhere until they are asked for again. (`Slurm` never runs sets in this process, so `"raise"` is refused
            with it.)
        order
            In which order sets run; in any case, rows are returned in the order of the sets. `"longest"`: first those
            that will take longest, judging by stored runs, so that all workers end together. `"spread"`: a coarse grid
            first, then finer ones, so that what is stored is useful at any moment.
        deadline
            Seconds, or `"2h"`, from the call on: no run begins that cannot end in time even at the lower end of the
            range that stored runs and those of the sweep give. As long as fewer than 8 runs are known, or nothing can
            be said of a set, the set begins while any time is left. A run that has begun is not ended. A warning says
            how many sets
            were not begun, or still run elsewhere, and the list has no rows for them.
        retries
            How often a set runs again whose run was ended by what a machine did (`WorkerDied`, `RunTimeout`), never for
            what it raised. Needs `workers` or `Slurm`. None: a run that ended with its Slurm job runs again up to
            twice, counted over all sweeps; nothing else does.
        wait
            False, for `Slurm`: finished runs are taken home, what is missing is submitted, and the call returns; the
            list has the rows that are there, and its `submitted` says what runs and waits. The same call goes on later.
        cores
            How many each run gets for itself: each worker is pinned to its own (on Linux), and BLAS and OpenMP begin as
            many threads, unless the environment says another number. `workers=-1` is then as many as there is room for.
            This, `memory` and `gpus` need `workers` or `Slurm`.
        memory
            What each run may use, with all that it has started: `"4GB"`, `"500MB"`, or a number of bytes. A run that
            uses more is ended, and has failed as `RunOutOfMemory`, which `retries` does not try again.
        gpus
            How many each run has for itself, of those that `CUDA_VISIBLE_DEVICES` shows, or of all: the same variable
            shows them to the run.
        **custom_data
            Given to the runner and stored with the row of each set that runs; a set may have `custom_data` of its own,
            which wins where names are the same.
        """
        from entropic.sweep import sweep
        from entropic.sweep.options import Options
        from entropic.upkeep import recover

        options = Options(
            client=client,
            workers=workers,
            on_error=on_error,
            retry_failed=retry_failed,
            timeout=timeout,
            progress=progress,
            worker_setup=worker_setup,
            rerun=rerun,
            fallback=fallback,
            order=order,
            deadline=deadline,
            retries=retries,
            wait=wait,
            cores=cores,
            memory=memory,
            gpus=gpus,
        )
        recover.recover(self._context)
        try:
            if replicates is not None:
                from entropic.sweep.replicates import sweep_replicates
                from entropic.sweep.seeds import Replicates

                several = Replicates.of(replicates)
                rows = self._runs(sweep_replicates(self._context, params, several, options, custom_data))
            else:
                rows = self._runs(sweep.sweep(self._context, params, options, custom_data))
            rows.submitted = options.told[-1] if options.told else None
            return rows
        except BaseException as error:  # noqa: BLE001  (raised again)
            raise hide_ours(error)  # noqa: B904

    def stream(
        self,
        params: Iterable[dict[str, Any] | ModelT | Object],
        client: "Client | Executor | None" = None,
        *,
        workers: int | None = None,
        on_error: Literal["raise", "continue"] = "raise",
        retry_failed: bool = True,
        timeout: float | None = None,
        progress: bool | None = None,
        worker_setup: Callable[[], object] | None = None,
        rerun: bool = False,
        fallback: Literal["local", "raise"] = "local",
        order: Literal["given", "longest", "spread"] = "given",
        deadline: float | str | None = None,
        retries: int | None = None,
        cores: int | None = None,
        memory: int | str | None = None,
        gpus: int | None = None,
        in_flight: int | None = None,
        **custom_data: object,
    ) -> Generator[ModelT, None, None]:
        """Yield the row of each distinct set as soon as it is available, beginning with those that are stored.

        The arguments are those of `sweep`, without `replicates` and `wait`. All sets are checked at the call; the first
        run starts with the first `next`. Rows are not kept, so a million of them need no more memory than their keys.
        Closing the iterator ends the sweep as an interrupt does.

        Parameters
        ----------
        in_flight
            How many sets may have been asked for and have no row yet. With it, sets are asked for one at a time, as
            there is room, and a generator is sent the rows that have come since: `came = yield params`. A generator
            that yields None waits for the next row.
        """
        from entropic.sweep import sweep
        from entropic.sweep.options import Options
        from entropic.upkeep import recover

        options = Options(
            client=client,
            workers=workers,
            on_error=on_error,
            retry_failed=retry_failed,
            timeout=timeout,
            progress=progress,
            worker_setup=worker_setup,
            rerun=rerun,
            fallback=fallback,
            order=order,
            deadline=deadline,
            retries=retries,
            cores=cores,
            memory=memory,
            gpus=gpus,
        )
        recover.recover(self._context)
        return sweep.stream(self._context, params, options, custom_data, in_flight)

    def select(
        self, *where: object, order_by: object = _NONE, limit: int | None = _NONE, **equal: object
    ) -> "Runs[ModelT]":
        """Return the rows that meet all conditions, as they stand, with a single query.

        Parameters
        ----------
        *where
            Conditions on the columns of the model, such as `SimResult.dt < 0.1`, or on fields of custom data, such as
            `SimResult.custom_data["elapsed_seconds"].as_float() > 3`; or dicts of columns with their values.
        order_by
            A column, its name (`"-created_at"` for descending), or a list of these. None for the order in which the
            runs ended. NULL comes last.
        limit
            How many rows at most.
        **equal
            Columns and the values that they have: `n=100`. Floats are compared as in `run_or_retrieve`, None is NULL,
            and `custom_data={"tag": "first"}` compares fields. If a column has the name of an option, such as `limit`,
            write `{"limit": 3}` for the column and `limit_=3` for the option: `limit=3` is refused.

        Raises
        ------
        ParameterError
            If a condition is invalid, or is on another table, or if a name may mean a column or an option.
        """
        from entropic.ask import select

        order_by, limit = options(self._context.schema, {"order_by": order_by, "limit": limit}, equal)
        return self._runs(select.select(self._context, where, equal, order_by, limit))

    def iterate(self, *where: object, order_by: object = _NONE, **equal: object) -> Iterator[ModelT]:
        """Yield the rows that meet all conditions, one page at a time in memory; the arguments are those of `select`.

        Without `order_by` rows come in the order of their keys, in constant memory; with it, the keys of all rows are
        read first. Rows that are stored meanwhile may be missed. No connection is held while you look at a row.
        """
        from entropic.ask import select

        (order_by,) = options(self._context.schema, {"order_by": order_by}, equal)
        return select.iterate(self._context, where, equal, order_by)

    def to_arrow(
        self,
        *where: object,
        order_by: object = _NONE,
        limit: int | None = _NONE,
        custom_data: bool = _FALSE,
        results: str | Sequence[str] = _NO_NAMES,
        provenance: bool = _FALSE,
        replicates: str | None = _NONE,
        **equal: object,
    ) -> "pyarrow.Table":
        """Return the rows that meet all conditions as an Arrow table: what `select(...).to_arrow(...)` returns.

        No rows are made on the way, so a million of them take a third of the time and a tenth of the memory.

        Parameters
        ----------
        *where, order_by, limit, **equal
            As for `select`; write a condition on fields of custom data as `{"custom_data": {...}}` among the
            conditions.
        custom_data, results, provenance, replicates
            Which columns there are beside those of the model, and over which runs, as in `Runs.to_arrow`. With
            `provenance` or `replicates`, rows are made.
        """
        from entropic.ask import tables

        given = (order_by, limit, custom_data, results, provenance, replicates)
        return tables.to_arrow(self._context, self._runs, tables.asked(self._context, where, given, equal))

    def to_pandas(
        self,
        *where: object,
        order_by: object = _NONE,
        limit: int | None = _NONE,
        custom_data: bool = _FALSE,
        results: str | Sequence[str] = _NO_NAMES,
        provenance: bool = _FALSE,
        replicates: str | None = _NONE,
        **equal: object,
    ) -> "pandas.DataFrame":
        """Return the rows that meet all conditions as `select(...).to_pandas(...)` does; see `to_arrow`."""
        from entropic.ask import tables

        given = (order_by, limit, custom_data, results, provenance, replicates)
        return tables.to_pandas(self._context, self._runs, tables.asked(self._context, where, given, equal))

    def to_polars(
        self,
        *where: object,
        order_by: object = _NONE,
        limit: int | None = _NONE,
        custom_data: bool = _FALSE,
        results: str | Sequence[str] = _NO_NAMES,
        provenance: bool = _FALSE,
        replicates: str | None = _NONE,
        **equal: object,
    ) -> "polars.DataFrame":
        """Return the rows that meet all conditions as `select(...).to_polars(...)` does; see `to_arrow`."""
        from entropic.ask import tables

        given = (order_by, limit, custom_data, results, provenance, replicates)
        return tables.to_polars(self._context, self._runs, tables.asked(self._context, where, given, equal))

    def load(self, row: ModelT | dict[str, Any] | Object) -> Any:
        """Return the result of a row, read according to the suffix of its file; the file is read completely and closed.

        Returns what the suffix stands for: numpy arrays for `.npy`, dicts of them for `.npz` and `.h5` (by path), an
        xarray `Dataset` for `.nc`, pandas data frames for `.parquet` and `.csv`, whatever JSON holds, text, images, and
        more (docs/results.md lists all formats). Nothing is ever unpickled. Any other suffix needs
        `Store(..., loader=...)`.

        Parameters
        ----------
        row
            A row of this store, or its params.

        Raises
        ------
        ResultMissingError
            If there is no such row, or its file is gone.
        LoadError
            If there is no reader for such a file, or it is not what its suffix says.
        LibraryMissingError
            If the library that reads it is not installed.
        """
        from entropic.ask import load

        return load.load(self._context, row, self._loader)

    def provenance(self, row: ModelT | dict[str, Any]) -> "Provenance | None":
        """Return where the result of a row comes from: versions, host, command line, commit, times, memory.

        Parameters
        ----------
        row
            A row of this store, or its params.

        Returns
        -------
        Provenance or None
            None if there is no such row. Of a registered result nothing is known.
        """
        from entropic.ask import provenance

        found = self._run.retrieve(self._context, set_of(self._context, row))
        return None if found is None else provenance.provenance(self._context, [found])[0]

    def inputs(self, row: ModelT | dict[str, Any]) -> "list[Input]":
        """Return what the run of a row has read from this store or others, and whether it is still the same.

        Parameters
        ----------
        row
            A row of this store, or its params.

        Raises
        ------
        ParameterError
            If there is no such row.
        """
        from entropic.ask import inputs

        return inputs.inputs(self._context, self._stored(row))

    def dependants(self, row: ModelT | dict[str, Any]) -> "list[Dependant]":
        """Return the rows whose runs have read a row of this store: in its database, and in stores that are open here.

        Parameters
        ----------
        row
            A row of this store, or its params.

        Raises
        ------
        ParameterError
            If there is no such row.
        """
        from entropic.ask import inputs

        return inputs.dependants(self._context, self._stored(row))

    def stale(self, *where: Any, **equal: Any) -> "Runs[ModelT]":
        """Return the rows that are stale: made by different code, or from inputs that have changed since.

        The arguments are conditions, as for `select`.
        """
        from entropic.upkeep import accept

        return self._runs(accept.stale(self._context, where, equal))

    def accept(self, *where: Any, **equal: Any) -> int:
        """Declare that stored results are right under the current code, and with their inputs as they are now.

        Parameters
        ----------
        *where, **equal
            Conditions, as for `select`; without any, all rows are accepted.

        Returns
        -------
        int
            How many rows were made by other, or unknown, code, or from inputs that have changed since.
        """
        from entropic.upkeep import accept

        return accept.accept(self._context, where, equal)

    def explain(self, params: dict[str, Any] | ModelT | Object) -> "Explanation":
        """Tell whether these params are a hit, and why; run nothing, change nothing.

        Print what it returns: the key, and the text from which it is made; on a miss, the most similar stored sets, and
        how they differ (for example, 1.0 is stored where 1 was asked for); the last failure, if one is recorded; who is
        running the set now; and whether its file is gone or was changed.
        """
        from entropic.ask import explain

        return explain.explain(self._context, set_of(self._context, params))

    def plan(
        self,
        params: Iterable[dict[str, Any] | ModelT | Object],
        *,
        replicates: "int | Replicates | None" = None,
    ) -> "Plan":
        """Return which of these sets are stored, missing, running, failed, unreadable; run nothing, change nothing.

        Parameters
        ----------
        params
            As of `sweep`.
        replicates
            As of `sweep`: each set is planned with so many seeds. Where an error bound decides how many, these are the
            seeds that are known to be needed by now: more may be, once these have run.
        """
        from entropic.sweep import plan

        if replicates is None:
            return plan.plan(self._context, params)
        from entropic.sweep.replicates import planned_sets
        from entropic.sweep.seeds import Replicates

        return plan.plan(self._context, planned_sets(self._context, params, Replicates.of(replicates)))

    def status(self) -> "Status":
        """Return what is stored, what is running, what failed, and how fast it goes; change nothing."""
        from entropic.ask import status

        return status.status(self._context)

    def failures(
        self, params: dict[str, Any] | ModelT | Object | Iterable[dict[str, Any] | ModelT | Object] | None = None
    ) -> "list[Failure]":
        """Return the runs that failed and have not succeeded since, oldest first.

        Parameters
        ----------
        params
            Only those of this set, or of these sets; None for all.
        """
        from entropic.ask import failures

        return failures.failures(self._context, one_or_several(self._context, params))

    def dismiss(
        self,
        params: dict[str, Any] | ModelT | Object | Iterable[dict[str, Any] | ModelT | Object] | None = None,
        *,
        older_than: timedelta | float | None = None,
    ) -> "list[Failure]":
        """Forget failures, as if these sets had never run, and return them; `failures` no longer shows them.

        Parameters
        ----------
        params
            Only those of this set, or of these sets; None for all.
        older_than
            Only those that began longer ago than this: a `timedelta`, or seconds.
        """
        from entropic.upkeep import dismiss
        from entropic.upkeep.gc import Limits

        age = Limits.of(older_than, None).older_than
        return dismiss.dismiss(self._context, one_or_several(self._context, params), age)

    def log_file(self, params: dict[str, Any] | ModelT | Object) -> Path | None:
        """Return the file with what the last run of these params printed, if it ran with `workers`; else None."""
        from entropic.ask import failures

        return failures.log_file(self._context, self._context.hasher(set_of(self._context, params)))

    def delete(self, params: dict[str, Any] | ModelT | Object, remove_file: bool = False) -> bool:
        """Delete the row of these params; tell whether there was one.

        Parameters
        ----------
        remove_file
            Whether its result is removed, too. A registered folder is never removed.
        """
        from entropic.protocol import delete

        return delete.delete(self._context, set_of(self._context, params), remove_file)

    def check(self, *, deep: bool = False, workers: int = 4) -> "Report":
        """Compare rows, claims and files, and report what does not fit together; change nothing but, with
        `deep`, the record of how far it came.

        Parameters
        ----------
        deep
            Whether the bytes of all results are compared with their checksums, too, as `checksum=True` records them. An
            interrupted comparison goes on where it was.
        workers
            With `deep`: how many threads read results.
        """
        from entropic.upkeep import repair

        return repair.check(self._context, deep, workers)

    def repair(self, dry_run: bool = False) -> "Repair":
        """Repair what can be repaired without a run; return what was done (in a dry run: what would be done)."""
        from entropic.upkeep import repair

        return repair.repair(self._context, dry_run)

    def audit(
        self,
        *where: object,
        fraction: float = _FRACTION,
        rtol: float = _RTOL,
        seed: int | None = _NONE,
        workers: int | None = _NONE,
        timeout: float | None = _NONE,
        **equal: object,
    ) -> "Audit":
        """Run a sample of what is stored again, here and now, and compare; what is stored is not touched.

        The results are read as `load` reads them. Two of them agree if their files are identical, or if all that was
        read is equal, numbers within `rtol`. What was found of each is recorded (`audits`).

        Parameters
        ----------
        *where, **equal
            Conditions on the rows from which the sample is taken, as for `select`. A name that may mean a column or an
            option is refused.
        fraction
            How large a part of these rows is run again; at least one row.
        rtol
            The relative difference up to which numbers agree.
        seed
            Makes the same choice among the same rows again; None: another choice each time (`Audit.seed` says which).
        workers, timeout
            As for `sweep`.

        Returns
        -------
        Audit
            Which results `agreed`, and which are `differing` and how. Print it.

        Raises
        ------
        ReadOnlyError
            If the store is read-only.
        """
        from entropic.formats.read import read
        from entropic.sweep.options import Options
        from entropic.upkeep import audit

        given = {"fraction": fraction, "rtol": rtol, "seed": seed, "workers": workers, "timeout": timeout}
        fraction, rtol, seed, workers, timeout = options(self._context.schema, given, equal)
        reading = functools.partial(read, loader=self._loader)
        executor_of = functools.partial(Options(workers=workers, timeout=timeout).make_executor, self._context)
        try:
            return audit.audit(self._context, where, equal, fraction, rtol, seed, executor_of, reading)
        except BaseException as error:  # noqa: BLE001  (raised again)
            raise hide_ours(error)  # noqa: B904

    def audits(self) -> "list[Audited]":
        """Return what all audits have found, oldest first: for each result that was run again, whether it agreed."""
        from entropic.upkeep import audit

        return audit.recorded(self._context)

    def rebuild(self, dry_run: bool = False) -> "Rebuild":
        """Make the rows that the database lacks, from the results and the journals beside them; say what was done.

        For the day on which the database is lost, or an old copy of it was put back. Rows of registered files, and of
        runs of earlier versions, are in no journal: register the former again; the latter are listed as `unknown`, and
        run again when they are asked for.

        Parameters
        ----------
        dry_run
            Whether to do nothing, and only say which rows would be made.
        """
        from entropic.upkeep import rebuild

        return rebuild.rebuild(self._context, dry_run)

    def gc(
        self,
        *where: object,
        older_than: timedelta | float | None = _NONE,
        total_size: int | None = _NONE,
        orphans: bool = _TRUE,
        leftovers: bool = _TRUE,
        dry_run: bool = _FALSE,
        **equal: object,
    ) -> "Cleanup":
        """Remove results that are no longer wanted, and files of this store that no row needs.

        A result is removed with its row, and only if a condition or a limit says so. A result is never removed if this
        store did not make it, or if it was changed since, is running again, or was registered.

        Parameters
        ----------
        *where, **equal
            Which results to consider, as for `select`: all of them are removed, unless there is a limit. A name that
            may mean a column or an option is refused.
        older_than
            Results older than this are removed: a `timedelta`, or seconds. Younger orphans stay.
        total_size
            The newest results stay, up to this many bytes together; older ones are removed.
        orphans
            Whether to remove files whose row was deleted without them.
        leftovers
            Whether to remove what dead attempts left behind. Finished runs among it are recorded, as on opening the
            store.
        dry_run
            Whether to remove nothing, and only say what would be removed.

        Returns
        -------
        Cleanup
            What was removed, and what was kept although it was asked for, with the reason. Print it.

        Raises
        ------
        StoreError
            If `results_dir` does not seem to be the folder of these results.
        """
        from entropic.upkeep import gc
        from entropic.upkeep.gc import Limits

        given = {"older_than": older_than, "total_size": total_size, "orphans": orphans, "leftovers": leftovers}
        older_than, total_size, orphans, leftovers, dry_run = options(
            self._context.schema, {**given, "dry_run": dry_run}, equal
        )
        limits = Limits.of(older_than, total_size)
        return gc.gc(self._context, where, equal, limits, orphans, leftovers, dry_run)

    def copy_to(self, db_url: str) -> "Store[ModelT]":
        """Copy all rows and claims into another database, and return the store that works on it.

        The results stay where they are; from then on use only one of the two stores. Everything is copied, or nothing.

        Parameters
        ----------
        db_url
            A database of any kind, in which this model has no rows yet.

        Raises
        ------
        StoreError
            If it already has rows, cannot hold a value, or if runs are under way.
        """
        from entropic.upkeep import copy
        from entropic.upkeep.open_store import copying

        copy.refuse_busy(self._context)
        with copying():
            other: Store[ModelT] = _restore(type(self), *self._made_of, db_url, self._options)
        copy.copy(self._context, other._context)
        return other

    def merge(
        self, other: "Store[Any]", files: Literal["link", "copy", "leave"] = "link", dry_run: bool = False
    ) -> "Merge":
        """Take in the results of another store, whatever its database and its folder; nothing changes there.

        A result that is missing here comes with its file, its outcomes and custom data, its times and where it comes
        from. One that is here already stays as it is: if the other store has another one, by size, content or outcomes,
        that is a conflict, and listed. Each is taken in by itself: after an interrupt or a kill the same call goes on.
        The other store may be read-only, and in use; runs under way and failures are not taken.

        Parameters
        ----------
        other
            A store whose model has the same parameters.
        files
            `"link"`: results become hard links to the same data, or copies where the file system has none; `"copy"`:
            copies; `"leave"`: they stay where they are, and are registered there. Files that were registered in the
            other store, and do not lie in its results folder, always stay.
        dry_run
            Whether to do nothing, and only say what would be taken in.

        Returns
        -------
        Merge
            What was taken in, what is in conflict, and what was left, with the reason. Print it.

        Raises
        ------
        ModelError
            If the parameters of the two models differ, or the other model has outcomes that this one lacks.
        StoreError
            If the other store tells fewer sets apart than this one, or its results are not in its folder.
        """
        from entropic.upkeep import merge

        return merge.merge(self._context, context_of(other), files, dry_run)

    def rekey(self, dry_run: bool = False) -> "Rekeyed":
        """Give rows whose keys were made by older rules the keys that their sets have now.

        These are rows of entropic 2.3.0 whose params were numpy numbers, which it hashed as text, and rows whose sets
        said 2.0 where others said 2, for a parameter that was `retyped`. A row is moved only if its values give its old
        key by such a rule, so never if it was changed by hand, and only if nothing is under its new key. Otherwise it
        is listed, and stays as it is, with its file. Result, custom data, times, notes, audits and the record of which
        runs have read it stay with the row. After an interrupt or a kill the same call goes on; one row may then be
        under both keys, and is listed. Call this only when no older program runs any more, as it would not find its
        rows.

        Parameters
        ----------
        dry_run
            Whether to do nothing, and only say what would be done.

        Returns
        -------
        Rekeyed
            Which rows got which keys, what is in conflict, and what was left, with the reason. Print it.

        Raises
        ------
        ReadOnlyError
            If the store is read-only, and this is not a dry run.
        """
        from entropic.upkeep import rekey

        return rekey.rekey(self._context, dry_run)

    def import_results(
        self,
        source: "str | os.PathLike[str] | Source",
        given: Mapping[str, Any] = _NOTHING,
        /,
        *,
        files: Literal["copy", "link", "leave"] = "copy",
        on_error: Literal["raise", "continue"] = "raise",
        dry_run: bool = False,
        **more: Any,
    ) -> "Imported":
        """Take in results that were made without entropic: a tree of files, or what other tools keep.

        ::

            store.import_results("runs/n={n}_dt={dt}/out.npy", solver="rk4", dry_run=True)

        All results are looked at before the first is taken in. Then each is taken in by itself, so after an interrupt
        or a kill the same call goes on. The source is not changed. `custom_data["imported"]` says where a row comes
        from.

        Parameters
        ----------
        source
            A pattern of paths: `{n}` is the text of the column `n`, which is read as its type; `*` is any text, `**`
            any folders. Or a `JoblibCache`, a `SignacWorkspace`, or a `PsweepFrame`.
        given, **more
            Params that all of these results have; `custom_data`, and params with the name of an option, go into the
            dict.
        files
            `"copy"`: results are copies. `"link"`: they are hard links to the same data, or copies where the file
            system has none; writing into the other file later changes both. `"leave"`: they stay where they are, and
            are registered there.
        on_error
            `"raise"`: if anything does not fit the model, nothing is taken in. `"continue"`: the rest is taken in.
        dry_run
            Whether to do nothing, and only say what would be taken in.

        Returns
        -------
        Imported
            What was taken in, what is in conflict, and what was left, with the reason. Print it.

        Raises
        ------
        ParameterError
            If the source cannot be read in this way, or does not fit the model; nothing was taken in.
        """
        if twice := [name for name in more if name in given]:
            raise ParameterError(f"{twice[0]!r} is given twice")
        from entropic.upkeep.imports import import_results

        return import_results.import_results(
            self._context, source, {**given, **more}, files, on_error, dry_run, self._loader
        )

    def note(
        self,
        given: ModelT | dict[str, Any] | Object | Iterable[ModelT | dict[str, Any] | Object],
        text: str | None = None,
        *,
        tags: Iterable[str] = (),
        untag: Iterable[str] = (),
    ) -> int:
        """Write a note on a result, or on several, and tags by which results are selected (`tagged`).

        Both are kept beside the rows, by key, so they stay when a set runs again. They are not part of a row.

        Parameters
        ----------
        given
            Rows, or params of stored sets: one, or several.
        text
            The note, in place of an earlier one; `""` removes it, None leaves it.
        tags, untag
            Words that are added, and removed.

        Returns
        -------
        int
            How many results were noted or tagged.

        Raises
        ------
        ParameterError
            If a set is not stored, or a tag is not a word; nothing was written.
        """
        from entropic.upkeep import note

        return note.note(self._context, one_or_several(self._context, given), text, tags, untag)

    def notes(
        self, given: ModelT | dict[str, Any] | Object | Iterable[ModelT | dict[str, Any] | Object] | None = None
    ) -> "dict[str, Note]":
        """Return the notes and tags of one result, of several, or of all, by key; results without any are left out."""
        from entropic.upkeep import note

        return note.notes(self._context, one_or_several(self._context, given))

    def tagged(self, *tags: str) -> Any:
        """Return the condition that a result has all of these tags, for `select`, `gc`, `archive` and the like."""
        from entropic.upkeep import note

        return note.tagged(self._context, tags)

    def archive(self, path: str | Path, /, *where: Any, **equal: Any) -> "Archive":
        """Write results, their rows and all that is known of them into one folder or .zip, to be kept or published.

        It holds the results; the rows as CSV, and as Parquet if pyarrow and pandas are installed; the columns, the
        checksums and the provenance as text; RO-Crate metadata; a README that says how to read all of this without
        entropic; and a SQLite database with which it opens as a store. Nothing changes in this store, which may be
        read-only.

        Parameters
        ----------
        path
            The path of the folder, or of the .zip; it must not exist.
        *where, **equal
            Which results, as for `select`; all of them, if there is no condition.

        Returns
        -------
        Archive
            What is in it, and what is not, with the reason. Print it.

        Raises
        ------
        StoreError
            If something exists there, or if a .zip cannot hold a result.
        """
        from entropic.upkeep import archive

        return archive.archive(self._context, os.fspath(path), where, equal, self._inner)

    def view(self, path: str | Path, pattern: str, /, *where: Any, hard: bool = _FALSE, **equal: Any) -> "View":
        """Make a tree of links to results that are named by their params, or bring it up to date.

        Called again, it makes the links of new rows, and removes those whose rows are gone. It never touches what it
        did not make. It only looks at the store.

        Parameters
        ----------
        path
            The path of the folder, outside the results folder; made if it does not exist.
        pattern
            How links are named in the folder: `"n={n}/dt={dt}"`, with columns of the model, `id` or `created_at`, and
            formats if you like: `{dt:.3f}`. The suffix of the result is added by itself.
        *where, **equal
            Which results, as for `select`; all of them, if there is no condition.
        hard
            Whether the links are hard ones, to files on the same disk, instead of symbolic ones.

        Returns
        -------
        View
            What was made and removed, and what was left, with the reason. Print it.

        Raises
        ------
        ParameterError
            If the pattern is invalid, or gives two rows one name; the error says what to add.
        StoreError
            If something that is not a link of this tree is in the way; nothing was changed.
        """
        from entropic.upkeep import view

        (hard,) = options(self._context.schema, {"hard": hard}, equal)
        return view.view(self._context, os.fspath(path), pattern, where, equal, hard)

    def freeze(self, name: str, /, *where: Any, **equal: Any) -> "Frozen":
        """Freeze a selection of results under a name: `at(name)` returns them as they are now, whatever happens later.

        The selection is kept beside the results, in hard links to the same data, or in copies where the file system has
        no hard links: re-runs, `gc` and `delete` take nothing from it. Either all of the selection is frozen or
        nothing.

        Parameters
        ----------
        name
            A word, such as `"paper-v1"`. A selection never changes: a name is used once, until it is unfrozen.
        *where, **equal
            Which results, as for `select`; all of them, if there is no condition.

        Raises
        ------
        ParameterError
            If the name is not a word.
        StoreError
            If the name is used already, no row meets the conditions, or a result is gone or was changed.
        """
        from entropic.upkeep import freeze

        return freeze.freeze(self._context, name, where, equal, self._inner)

    def frozen(self) -> "list[Frozen]":
        """Return the frozen selections of this model in this results folder, sorted by name."""
        from entropic.upkeep import freeze

        return freeze.frozen(self._context)

    def unfreeze(self, name: str) -> "Frozen":
        """Remove a frozen selection, and return what it was; the results of the store stay.

        Raises
        ------
        StoreError
            If nothing is frozen under this name.
        """
        from entropic.upkeep import freeze

        return freeze.unfreeze(self._context, name)

    def at(self, name: str) -> "Store[ModelT]":
        """Return what was frozen under a name, as a read-only store: `select`, `load` and the like.

        Reading a result that was changed since raises `FrozenError`. Parameters that the model has gained since
        have the defaults that they were `added` with.

        Raises
        ------
        StoreError
            If nothing is frozen under this name.
        ModelError
            If the model lacks a column that was frozen.
        """
        from entropic.errors import ModelError
        from entropic.upkeep import freeze

        found = freeze.must_find(self._context, name)
        loader = freeze.Unchanged(found.name, found.path, self._loader)
        folder, db_url = os.path.join(found.path, "results"), f"sqlite:///{found.path}/db.sqlite3"
        options = self._options | {"loader": loader, "read_only": True, "fsync": False, "on_stale": "ignore"}
        _, model, _, suffix = self._made_of
        try:
            made: Store[ModelT] = _restore(type(self), None, model, folder, suffix, db_url, options)
        except ModelError as error:
            raise ModelError(freeze.of_another_model(found, self._context.model)) from error
        return made

    def measure(self, *names: str, workers: int = 4, again: bool = False) -> "Measured":
        """Fill outcome columns that are computed from the results, in rows that lack them; nothing runs.

        An interrupted call goes on where it was. A column whose function has changed is measured anew in all rows.

        Parameters
        ----------
        *names
            Columns declared as `outcome(function)`; all of them, if none is named.
        workers
            How many results are read at once, by threads of this process.
        again
            Whether all rows are measured anew, even those that could not be measured before.

        Returns
        -------
        Measured
            How many rows were filled, and which could not be measured, and why.

        Raises
        ------
        ParameterError
            If a name is not such a column.
        ReadOnlyError
            If the store is read-only.
        """
        from entropic.formats.read import read
        from entropic.upkeep import measure

        return measure.measure(self._context, names, functools.partial(read, loader=self._loader), workers, again)

    def objective(
        self, outcome: str, columns: Mapping[str, Any] = _NOTHING, /, *, workers: int | None = None, **more: Any
    ) -> "Objective":
        """Return an outcome as a function for optimisers: Optuna, scipy, SALib, `adaptive`; duplicates are hits.

        Parameters
        ----------
        outcome
            The name of an outcome column of numbers.
        columns, **more
            The space, as `sample` takes it: a range `(low, high)` or `(low, high, "log")`, a list of choices, or one
            value for each column. Columns with the name of an option go into the dict.
        workers
            How many processes run the points of a matrix; see `sweep`.
        """
        from entropic.sweep.objective import Objective, space_of

        space = space_of(self._context.schema, outcome, {**columns, **more})
        return Objective(self, outcome, space, workers)

    def trials(self, outcome: str, columns: Mapping[str, Any] = _NOTHING, /, **more: Any) -> list[Any]:
        """Return what is stored of a space as finished trials, for Optuna to start from (`study.add_trials`).

        The arguments are those of `objective`. Runs that the objective would not find are left out, as are those whose
        outcome is NULL or not finite.
        """
        from entropic.sweep.objective import space_of, trials

        return trials(self._context, outcome, space_of(self._context.schema, outcome, {**columns, **more}))

    def ui(self, height: int = 720) -> "Page":
        """Return the page of `entropic ui`, which is read-only, and which a notebook shows in its cell.

        A thread of this process serves the page to this machine, until the process ends or its `stop()` is called.
        Needs
        `pip install 'entropic[ui]'`.

        Parameters
        ----------
        height
            The height of the frame, in pixels.

        Raises
        ------
        LibraryMissingError
            If the extra is not installed.
        StoreError
            If the database is in memory, where no other process can look.
        """
        from entropic.ui.serve import page_of

        if self._context.database.in_memory:
            raise StoreError("a store in memory has no page; use a file in db_url")
        options = self._options | {"read_only": True}
        looking: Store[ModelT] = _restore(type(self), *self._made_of, self._context.database.address, options)
        return page_of(looking._context, height)

    @property
    def results_dir(self) -> Path:
        """The folder of the results, absolute."""
        return Path(self._context.staging.results_dir)

    @property
    def file_suffix(self) -> str:
        """How the names of result files end."""
        return self._context.staging.suffix

    @property
    def read_only(self) -> bool:
        """Whether the store is read-only."""
        return self._context.read_only is not None

    def _stored(self, row: ModelT | dict[str, Any]) -> ModelT:
        found = self._run.retrieve(self._context, set_of(self._context, row))
        if found is None:
            raise ParameterError(f"there is no such row of {self._context.schema.name}; nothing is known of its run")
        return found

    def _inner(self, folder: str, db_url: str) -> "StoreContext[Any]":
        """Open a store for an archive of this one."""
        from entropic.upkeep.open_store import copying

        options = self._options | {"fsync": False, "read_only": False}
        runner, model, _, suffix = self._made_of
        with copying():
            made: Store[ModelT] = _restore(type(self), runner, model, folder, suffix, db_url, options)
        return made._context

    def _runs(self, rows: Iterable[ModelT]) -> "Runs[ModelT]":
        from entropic.ask.runs import Runs
        from entropic.protocol import note_inputs

        made = Runs(rows, self._context.schema.model, self._loader)
        made._tell = functools.partial(_provenance_of, weakref.ref(self))
        if note_inputs.under_way:
            note_inputs.note(self._context, made)
        return made

    def __repr__(self) -> str:
        return f"Store({self._context.schema.name}, {str(self.results_dir)!r}, {str(self._context.database)!r})"

    def _repr_html_(self) -> str:
        context = self._context
        columns = ", ".join(context.schema.fields)
        rows = [("model", context.schema.name), ("columns", columns), ("results_dir", str(self.results_dir))]
        return html_table([*rows, ("file_suffix", self.file_suffix), ("db_url", str(context.database))], title="Store")

    def __reduce__(self) -> tuple[object, ...]:
        if self._context.database.in_memory:
            raise StoreError("a store in memory works only in the process that made it, so it cannot be pickled")
        code = self._context.current_code.to_send()
        runner, model, folder, suffix = self._made_of
        made_of = runner, reference(model, of_store=True), folder, suffix, self._context.database.address, self._options
        return _arrive, (code, type(self), *made_of)


def _provenance_of(store: "weakref.ref[Store[Any]]", rows: Sequence[Any]) -> "list[Provenance]":
    """Return where the results of rows come from, if the store is there, which they do not keep."""
    from entropic.ask import provenance

    found = store()
    if found is None:
        raise ParameterError("the store that returned these rows is gone; open it, and select() them")
    return provenance.provenance(found._context, rows)


def context_of(store: Store[ModelT]) -> "StoreContext[ModelT]":
    """Return what a store is wired of, for what is built upon stores inside this package: the command line."""
    return store._context


def _arrive(code: Any, kind: type[Store[Any]], runner: "Runner | None", model: Any, *others: Any) -> Store[Any]:
    """Make a store that was pickled, most likely in another process, again."""
    store: Store[Any] = _restore(kind, runner, resolve(model), *others)
    trusted = code if isinstance(code, tuple) else (code, ())  # older pickles have no text of it
    store._context.current_code.trust(*trusted)
    return store


def _restore(
    kind: type[Store[ModelT]],
    runner: "Runner | None",
    result_cls: type[ModelT],
    folder: str,
    suffix: str,
    db_url: str,
    options: dict[str, Any],
) -> Store[ModelT]:
    return kind(runner, result_cls, folder, suffix, db_url, **options)
