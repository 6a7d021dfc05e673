"""entropic: a run cache for computational experiments.

The same experiment never runs twice, a finished one is never lost, and a wrong one is never served.
"""

from entropic.support.collector import paused as _paused

with _paused():  # what is made here lives as long as the process; collections among it took a sixth of the import
    from sqlalchemy.orm import Mapped, mapped_column

    from entropic.ask.explain import Explanation
    from entropic.ask.failures import Failure
    from entropic.ask.inputs import Dependant, Input
    from entropic.ask.nearest import Nearest
    from entropic.ask.provenance import Provenance
    from entropic.ask.runs import Runs
    from entropic.ask.status import Place, Status
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
    from entropic.executors.command import command
    from entropic.executors.reporting import report
    from entropic.files.reports import Reported
    from entropic.formats.format import Format
    from entropic.params.changed import added, removed, renamed, retyped
    from entropic.params.grid import expand_grid
    from entropic.params.keys import key
    from entropic.params.model import Base
    from entropic.params.outcome_columns import outcome
    from entropic.protocol.wait import Owner
    from entropic.store import Store
    from entropic.study import Study, study
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
    from entropic.upkeep.reports.disposal import Disposal, Removal
    from entropic.upkeep.reports.frozen import Frozen
    from entropic.upkeep.reports.imported import Imported
    from entropic.upkeep.reports.merged import Conflict, Merge
    from entropic.upkeep.reports.rekeyed import Rekeyed
    from entropic.upkeep.reports.viewed import View

__version__ = "3.0.0.dev0"

__all__ = [
    "Archive",
    "Audit",
    "Audited",
    "Base",
    "ClientLostError",
    "CommandError",
    "Conflict",
    "Cost",
    "CycleError",
    "DatabaseBusy",
    "Dependant",
    "Disposal",
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
