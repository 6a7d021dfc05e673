"""entropic: a run cache for computational experiments.

The same experiment never runs twice, a finished one is never lost, and a wrong one is never served.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from entropic.support.collector import paused as _paused

with _paused():  # what is made here lives as long as the process; collections among it took a sixth of the import
    from sqlalchemy.orm import Mapped, mapped_column

    import entropic.executors as _executors  # noqa: F401  (it sees the forks of pools that are used before a sweep)
    import entropic.support.forks as _forks  # noqa: F401  (they wait for what is just imported)
    from entropic.errors import (
        ClientLostError,
        CommandError,
        CycleError,
        DatabaseBusy,
        EntropicError,
        EntropicWarning,
        ErrorBarWarning,
        FellBackWarning,
        ForeignFileError,
        FrozenError,
        KeyCollisionError,
        LibraryMissingError,
        LoadError,
        ModelError,
        NamesakeWarning,
        NetworkFileSystemWarning,
        NotBegunWarning,
        OutcomeWarning,
        ParameterError,
        PublishError,
        ReadOnlyError,
        ReadOnlyWarning,
        RegisterError,
        ResultLostWarning,
        ResultMissingError,
        RunFailed,
        RunOutOfMemory,
        RunsFailedWarning,
        RunTimeout,
        SaveError,
        SharedGeneratorWarning,
        SlurmError,
        SpellingWarning,
        StaleError,
        StaleWarning,
        StoreError,
        UnguardedError,
        UnreadableError,
        UnreadableWarning,
        WorkerDied,
    )
    from entropic.params.changed import added, removed, renamed, retyped
    from entropic.params.grid import expand_grid
    from entropic.params.keys import key
    from entropic.params.model import Base
    from entropic.params.outcomes import outcome
    from entropic.store import Store
    from entropic.study import Study, study

# What many programs never name, and workers never need, is imported when its name is first used (PEP 562).
if _TYPE_CHECKING:
    from entropic.ask.explain import Explanation
    from entropic.ask.failures import Failure
    from entropic.ask.inputs import Dependant, Input
    from entropic.ask.nearest import Nearest
    from entropic.ask.provenance import Provenance
    from entropic.ask.runs import Runs
    from entropic.ask.status import Place, Status
    from entropic.executors.command import command
    from entropic.executors.reporting import report
    from entropic.files.reports import Reported
    from entropic.formats.format import Format
    from entropic.protocol.wait import Owner
    from entropic.sweep.cost import Cost, SetCost
    from entropic.sweep.forecast import Estimate
    from entropic.sweep.objective import Objective
    from entropic.sweep.plan import Plan
    from entropic.sweep.sampling import sample
    from entropic.sweep.seeds import Replicates, seeds
    from entropic.upkeep.imports.joblib_cache import JoblibCache
    from entropic.upkeep.imports.psweep_frame import PsweepFrame
    from entropic.upkeep.imports.signac_workspace import SignacWorkspace
    from entropic.upkeep.measure import Measured
    from entropic.upkeep.note import Note
    from entropic.upkeep.repair import Finding, Repair, Report
    from entropic.upkeep.reports.archived import Archive
    from entropic.upkeep.reports.audited import Audit, Audited
    from entropic.upkeep.reports.cleaned import Cleanup, Removal
    from entropic.upkeep.reports.frozen import Frozen
    from entropic.upkeep.reports.imported import Imported
    from entropic.upkeep.reports.merged import Conflict, Merge
    from entropic.upkeep.reports.rekeyed import Rekeyed
    from entropic.upkeep.reports.viewed import View
else:
    _LATER = {
        "Archive": "entropic.upkeep.reports.archived",
        "Audit": "entropic.upkeep.reports.audited",
        "Audited": "entropic.upkeep.reports.audited",
        "Cleanup": "entropic.upkeep.reports.cleaned",
        "Conflict": "entropic.upkeep.reports.merged",
        "Cost": "entropic.sweep.cost",
        "Dependant": "entropic.ask.inputs",
        "Estimate": "entropic.sweep.forecast",
        "Explanation": "entropic.ask.explain",
        "Failure": "entropic.ask.failures",
        "Finding": "entropic.upkeep.repair",
        "Format": "entropic.formats.format",
        "Frozen": "entropic.upkeep.reports.frozen",
        "Imported": "entropic.upkeep.reports.imported",
        "Input": "entropic.ask.inputs",
        "JoblibCache": "entropic.upkeep.imports.joblib_cache",
        "Measured": "entropic.upkeep.measure",
        "Merge": "entropic.upkeep.reports.merged",
        "Nearest": "entropic.ask.nearest",
        "Note": "entropic.upkeep.note",
        "Objective": "entropic.sweep.objective",
        "Owner": "entropic.protocol.wait",
        "Place": "entropic.ask.status",
        "Plan": "entropic.sweep.plan",
        "Provenance": "entropic.ask.provenance",
        "PsweepFrame": "entropic.upkeep.imports.psweep_frame",
        "Rekeyed": "entropic.upkeep.reports.rekeyed",
        "Removal": "entropic.upkeep.reports.cleaned",
        "Repair": "entropic.upkeep.repair",
        "Replicates": "entropic.sweep.seeds",
        "Report": "entropic.upkeep.repair",
        "Reported": "entropic.files.reports",
        "Runs": "entropic.ask.runs",
        "SetCost": "entropic.sweep.cost",
        "SignacWorkspace": "entropic.upkeep.imports.signac_workspace",
        "Status": "entropic.ask.status",
        "View": "entropic.upkeep.reports.viewed",
        "command": "entropic.executors.command",
        "report": "entropic.executors.reporting",
        "sample": "entropic.sweep.sampling",
        "seeds": "entropic.sweep.seeds",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_importlib.import_module(_LATER[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__version__ = "3.0.0.dev0"

__all__ = [
    "Archive",
    "Audit",
    "Audited",
    "Base",
    "Cleanup",
    "ClientLostError",
    "CommandError",
    "Conflict",
    "Cost",
    "CycleError",
    "DatabaseBusy",
    "Dependant",
    "EntropicError",
    "EntropicWarning",
    "ErrorBarWarning",
    "Estimate",
    "Explanation",
    "Failure",
    "FellBackWarning",
    "Finding",
    "ForeignFileError",
    "Format",
    "Frozen",
    "FrozenError",
    "Imported",
    "Input",
    "JoblibCache",
    "KeyCollisionError",
    "LibraryMissingError",
    "LoadError",
    "Mapped",
    "Measured",
    "Merge",
    "ModelError",
    "NamesakeWarning",
    "Nearest",
    "NetworkFileSystemWarning",
    "NotBegunWarning",
    "Note",
    "Objective",
    "OutcomeWarning",
    "Owner",
    "ParameterError",
    "Place",
    "Plan",
    "Provenance",
    "PsweepFrame",
    "PublishError",
    "ReadOnlyError",
    "ReadOnlyWarning",
    "RegisterError",
    "Rekeyed",
    "Removal",
    "Repair",
    "Replicates",
    "Report",
    "Reported",
    "ResultLostWarning",
    "ResultMissingError",
    "RunFailed",
    "RunOutOfMemory",
    "RunTimeout",
    "Runs",
    "RunsFailedWarning",
    "SaveError",
    "SetCost",
    "SharedGeneratorWarning",
    "SignacWorkspace",
    "SlurmError",
    "SpellingWarning",
    "StaleError",
    "StaleWarning",
    "Status",
    "Store",
    "StoreError",
    "Study",
    "UnguardedError",
    "UnreadableError",
    "UnreadableWarning",
    "View",
    "WorkerDied",
    "added",
    "command",
    "expand_grid",
    "key",
    "mapped_column",
    "outcome",
    "removed",
    "renamed",
    "report",
    "retyped",
    "sample",
    "seeds",
    "study",
]
