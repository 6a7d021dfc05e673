"""`Store.import_results`: results that something else has made become results of this store.

All that is there is looked at before the first of it is taken, so what does not fit is known while nothing is done.
Each is taken by itself then, in the way of a run (`adopt`), so what was interrupted goes on where it was.
"""

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from entropic.db.raw import Raw, Recorded
from entropic.errors import ParameterError, RegisterError, SaveError
from entropic.files.content import Strange, are_alike
from entropic.files.extent import extent, extent_elsewhere
from entropic.files.paths import refuses_path
from entropic.files.sidecar import NO_ORIGIN
from entropic.formats.format import Saver
from entropic.formats.read import Loader, read
from entropic.formats.save import save
from entropic.formats.suffixes import FormatError, find
from entropic.params.keys import RESERVED
from entropic.params.model import Base
from entropic.params.outcomes import Outcome, Outcomes, gather
from entropic.protocol import register
from entropic.protocol.context import StoreContext
from entropic.support import process
from entropic.support.show import one_line, spelled
from entropic.support.signals import Terminable
from entropic.upkeep.imports import adopt, foreign_rows
from entropic.upkeep.imports.files_by_pattern import Tree
from entropic.upkeep.imports.foreign_result import NotTaken, Result
from entropic.upkeep.imports.source import Found, NoResult, Source, Unfit, utc
from entropic.upkeep.imports.take_in import FILES, Files, Taking
from entropic.upkeep.reports.imported import Imported
from entropic.upkeep.reports.merged import Conflict

IMPORTED = "imported"
"""The field of `custom_data` that says where a result was imported from."""
_TOGETHER = 200  # rows that are looked at in one query
_SHOWN = 10
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Result):
    """A result that something else has made.

    Attributes
    ----------
    label : str
        What it is called there.
    value : callable or None
        Returns it, if it is to be saved as the value of a run.
    saver, outcomes_of, loader
        How the store saves a value, which outcomes it is asked for, and how it is read for them.
    """

    label: str
    value: Callable[[], object] | None = None
    saver: Saver | None = None
    loader: Loader | None = None
    outcomes_of: tuple[Outcome, ...] = ()

    @property
    def name(self) -> str:
        """What it is called where it is told that it was not taken in."""
        return self.label

    def _bring_all(self, target: str, beside: str, link: bool) -> bool:
        if self.value is None:
            return Result._bring_all(self, target, beside, link)
        self.save(target)
        return True

    def check(self, brought: str) -> None:
        """See that a file is what was looked at before; what was saved just now is what it is."""
        if self.value is None:
            Result.check(self, brought)

    def save(self, path: str) -> None:
        """Save the value, and fill the outcomes with what it says of them.

        Raises
        ------
        NotTaken
            If it cannot be read, or saved.
        """
        assert self.value is not None
        try:
            value = self.value()
        except Exception as error:
            raise NotTaken(f"{self.path} cannot be read: {type(error).__name__}: {error}") from error
        try:
            save(value, path, self.saver)
        except SaveError as error:
            raise NotTaken(str(error)) from error
        said = gather(self.outcomes_of, value, lambda: read(path, loader=self.loader), "its result")
        known = self.outcomes.values
        self.outcomes.missing.clear()
        self.outcomes.missing.update({name: why for name, why in said.missing.items() if name not in known})
        known.update({name: one for name, one in said.values.items() if name not in known})


def import_results(
    context: StoreContext[Base],
    source: str | os.PathLike[str] | Source,
    given: Mapping[str, Any],
    files: Files,
    on_error: str,
    dry_run: bool,
    loader: Loader | None,
) -> Imported:
    """Take in results that something else has made; say what was done, and what was not."""
    if files not in FILES:
        raise ParameterError(f"files must be one of {', '.join(map(repr, FILES))}, not {spelled(files)}")
    if on_error not in ("raise", "continue"):
        raise ParameterError(f"on_error must be 'raise' or 'continue', not {spelled(on_error)}")
    found = _source_of(source)
    if not dry_run:
        context.must_write("import_results() has to add rows")
    if files == "leave" and not found.has_files:
        raise ParameterError("files='leave' leaves files where they are, and these results are values, to be saved")
    if found.keeps_pickles and loader is None:
        raise ParameterError(
            f"{found.kind} keeps results as pickles, and reading one can run any code of whoever wrote it. If that was "
            "you, say trust_pickles=True (--trust-pickles), and they are saved as this store saves results. Or open "
            "the store with a loader that reads them, and they are taken as they are"
        )
    done = Imported(dry_run=dry_run)
    with Terminable(), (call := process.Call()).under_way:
        importing = _Importing(context, files, call.name, done)
        chosen = importing.choose(_fitted(context, found, given, loader, done))
        if done.left and on_error == "raise" and not dry_run:
            raise ParameterError(_refusal(done.left))
        importing.take_all(chosen)
    return done


def _source_of(source: Any) -> Source:
    if isinstance(source, str | os.PathLike):
        return Tree(os.fspath(source))
    if not hasattr(source, "find") or not hasattr(source, "keeps_pickles"):
        raise ParameterError(
            "results are imported by a pattern, such as 'runs/n={n}_dt={dt}/out.npy', or from a JoblibCache, a "
            f"SignacWorkspace or a PsweepFrame, not from {spelled(source)}"
        )
    found: Source = source
    return found


def _refusal(left: list[str]) -> str:
    lines = [f"  {one_line(text)}" for text in left[:_SHOWN]]
    more = [f"  ... and {len(left) - _SHOWN:,} more"] if len(left) > _SHOWN else []
    head = f"{len(left):,} of what is there cannot be taken in, so nothing was; on_error='continue' takes the others"
    return "\n".join([head, *lines, *more])


# ---- what is there, as results of this store ---------------------------------------------------------------------
def _fitted(
    context: StoreContext[Base], source: Source, given: Mapping[str, Any], loader: Loader | None, done: Imported
) -> Iterator[Foreign]:
    """Yield what fits the model, with its key; note what does not."""
    for name in given:
        if name not in context.schema.fields and name != "custom_data":
            raise ParameterError(context.schema.unknown(name))
    for one in source.find(context):
        if isinstance(one, NoResult):
            done.absent.append(f"{one.name}: {one.why}")
        elif isinstance(one, Unfit):
            done.left.append(f"{one.name}: {one.why}")
        else:
            try:
                result = _result(context, source.kind, one, given, loader)
                _check(context, result)
            except (NotTaken, ParameterError, RegisterError) as why:
                done.left.append(f"{one.name}: {why}")
            else:
                yield result


def _result(
    context: StoreContext[Base], kind: str, found: Found, given: Mapping[str, Any], loader: Loader | None
) -> Foreign:
    if twice := [name for name in found.params if name in given]:
        raise NotTaken(f"it says {twice[0]}={found.params[twice[0]]!r}, and {twice[0]}={given[twice[0]]!r} was given")
    if lacking := [name for name in context.schema.required if name not in found.params and name not in given]:
        raise NotTaken(f"nothing says its {', '.join(lacking)}; if all have one, give it: {lacking[0]}=...")
    params = {**found.params, **{name: value for name, value in given.items() if name not in RESERVED}}
    if any(name in RESERVED for name in found.params):
        raise NotTaken(f"it has a param with a name of entropic's own, one of {', '.join(RESERVED)}")
    seconds = {} if found.seconds is None else {"elapsed_seconds": round(found.seconds, 6)}
    told = {IMPORTED: {"from": found.path, "by": kind, **found.told}}
    custom_data = {**seconds, **(given.get("custom_data") or {}), **told}
    here: dict[str, Any] = {"id": context.hasher(params), "params": params, "custom_data": custom_data}
    here |= {"label": found.name, "origin": NO_ORIGIN, "seconds": found.seconds}
    if found.value is not None:
        if "/" in context.staging.suffix:
            raise NotTaken("it is a value, and the results of this store are folders with a main file")
        made = found.created_at or utc(0)
        runner: Any = context.runner
        asking: dict[str, Any] = {
            "value": found.value,
            "saver": runner.saver,
            "loader": loader,
            "outcomes_of": runner.outcomes,
        }
        outcomes, suffix = _outcomes(context, found, "its value"), context.staging.suffix
        return Foreign(
            **here, **asking, created_at=_text(made), path=found.path, file=found.path, suffix=suffix, outcomes=outcomes
        )
    path, file, suffix = _place(context, found.path)
    extent_ = extent_elsewhere(path)
    if extent_ is None or not (os.path.isfile(file) or os.path.isdir(file)):
        raise NotTaken("it leads to nothing that is a file or a folder")
    made = found.created_at or utc(extent_.mtime_ns / 1e9)
    outcomes = _outcomes(context, found, "the file")
    about: dict[str, Any] = {
        "path": path,
        "file": file,
        "suffix": foreign_rows.checked_suffix(suffix),
        "found": extent_,
    }
    return Foreign(**here, **about, created_at=_text(made), outcomes=outcomes)


def _text(made: Any) -> str:
    return str(made.isoformat("T", "microseconds"))


def _outcomes(context: StoreContext[Base], found: Found, where: str) -> Outcomes:
    """Return what is known of the outcomes; of those that are computed from results nothing is noted (`measure`)."""
    values = {
        name: foreign_rows.plain(found.outcomes[name]) for name in context.schema.outcomes if name in found.outcomes
    }
    why = f"it was imported, and nothing beside {where} says it"
    asked = [one.name for one in context.schema.asked_of_runs if one.measure is None]
    return Outcomes(
        values, {name: f"{why}; measure({name!r}) looks in the result" for name in asked if name not in values}
    )


def _place(context: StoreContext[Base], path: str) -> tuple[str, str, str]:
    """Return where all of a result is, the file that its row leads to, and its suffix."""
    usual = context.staging.suffix
    main = usual.partition("/")[2]
    if main:
        if os.path.isdir(path) and os.path.isfile(os.path.join(path, main)):
            return path, os.path.join(path, main), usual
        if os.path.basename(path) == main:
            return os.path.dirname(path), path, usual
    elif path.endswith(usual):
        return path, path, usual
    try:
        known = find(path)
    except FormatError as error:
        raise NotTaken(str(error)) from error
    if known is not None:
        return path, path, known[0]
    suffix = os.path.splitext(path)[1]  # of `n=1_dt=0.5` there is none
    return path, path, suffix if _SUFFIX.fullmatch(suffix) and not os.path.isdir(path) else ""


def _check(context: StoreContext[Base], result: Foreign) -> None:
    """Refuse what this database cannot hold, and what is a result of this store already.

    Raises
    ------
    NotTaken, RegisterError
        With what to do.
    """
    adopt.request_for(context, result)
    for path in (result.file, result.label):
        if (refusal := refuses_path(path)) is not None:
            raise NotTaken(f"{path!a:.200} cannot be recorded: it {refusal}")
    if result.value is None and result.path.startswith(os.path.realpath(context.staging.results_dir) + os.sep):
        register.refuse_own(context, result.id, result.file)


# ---- taking them in ------------------------------------------------------------------------------------------------
class _Importing(Taking[Foreign]):
    """One import, on its way."""

    def __init__(self, context: StoreContext[Base], files: Files, owner: str, done: Imported) -> None:
        super().__init__(context, files, owner, done)
        self._imported = done

    def choose(self, results: Iterable[Foreign]) -> list[Foreign]:
        """Return those of which there is one for each key; the others are in conflict with each other."""
        found: dict[str, list[Foreign]] = {}
        for one in results:
            found.setdefault(one.id, []).append(one)
        for id, several in found.items():
            for one, other in itertools.pairwise(several):
                text = f"{id}: {one.label} and {other.label} are both of {spelled(one.params, 200)}"
                self._done.conflicts.append(Conflict(id, one.file, other.file, text))
        return [several[0] for several in found.values() if len(several) == 1]

    def take_all(self, results: list[Foreign]) -> None:
        """Take them in."""
        rows = self._context.rows
        for begin in range(0, len(results), _TOGETHER):
            some = results[begin : begin + _TOGETHER]
            here = {rows.id_of(raw): raw for raw in rows.read_many([one.id for one in some])}
            for one in some:
                self.take(one, here.get(one.id))
        self.take_busy_ones()

    def _count(self, result: Foreign) -> None:
        super()._count(result)
        self._imported.sets[result.id] = result.params
        self._imported.names[result.id] = result.label

    def _differs_in_content(self, result: Foreign, here: Raw) -> str:
        context, mine = self._context, self._context.path_of(here)
        recorded, values = Recorded.of(here), context.rows.plain(here)
        if result.value is None:
            now = extent(mine)
            if recorded.is_registered and now is not None and os.path.realpath(mine) == os.path.realpath(result.file):
                is_same = (now.size, now.mtime_ns) == (recorded.size, recorded.mtime_ns)
                return "" if is_same else f"{mine} was changed since it was registered; register() it again"
            return super()._differs_in_content(result, here)
        said = (values["custom_data"] or {}).get(IMPORTED)
        if said == result.custom_data[IMPORTED] and foreign_rows.text_of(values["created_at"]) == result.created_at:
            return ""  # it was taken in before
        with tempfile.TemporaryDirectory(prefix="entropic-import-") as folder:
            path = os.path.join(folder, f"result{result.suffix}")
            replace(result, outcomes=Outcomes(dict(result.outcomes.values), {})).save(path)
            try:
                return "" if are_alike(mine, path) else f"{mine} is not as {result.label} would be saved"
            except (OSError, Strange) as error:
                raise NotTaken(f"it is here, too, and the two cannot be compared: {error}") from error
