"""Optuna's storage: a trial for each set, whose number says which one; its parameters are an attribute of it.

A queue of enqueued trials would be read whole for every one that is taken. A suggestion for each parameter, as in a
study that searches, would cost a transaction each.
"""

from __future__ import annotations

from pathlib import Path

import optuna

from crowds.logged import compute
from experiment import Params


class Crowd:
    """A study in a database."""

    def __init__(self, folder: Path, url: str, sets: list[Params], member: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        connection = {"timeout": 600} if url.startswith("sqlite") else {}
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": connection})
        self.folder, self.sets = folder / "results", sets

    def prepare(self) -> None:
        self.folder.mkdir()
        optuna.create_study(storage=self.storage, study_name="crowd")

    def take_part(self) -> None:
        sampler = optuna.samplers.RandomSampler()
        study = optuna.load_study(storage=self.storage, study_name="crowd", sampler=sampler)
        while (trial := study.ask()).number < len(self.sets):
            params = self.sets[trial.number]
            trial.set_user_attr("params", params)
            result = compute(params["n"])
            (self.folder / f"{params['n']}.bin").write_bytes(result)
            study.tell(trial, float(len(result)))
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def results(self) -> list[bytes]:
        study = optuna.load_study(storage=self.storage, study_name="crowd")
        done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        assert sorted(trial.user_attrs["params"]["n"] for trial in done) == sorted(params["n"] for params in self.sets)
        return [(self.folder / f"{params['n']}.bin").read_bytes() for params in self.sets]
