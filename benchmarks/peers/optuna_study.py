"""Fill a study of Optuna's SQLite storage with runs that are already done: optuna_study.py FILE_OF_RUNS DATABASE.

The first trial is added as users add theirs; the others are copies of its rows with values of their own, since adding
them one by one takes a quarter of an hour.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

START = datetime(2026, 1, 1)
METHODS = ["m0", "m1", "m2", "m3"]

runs = json.loads(Path(sys.argv[1]).read_text())
space = {
    "alpha": FloatDistribution(0.0, 1e6),
    "beta": FloatDistribution(0.0, 1.0),
    "size": IntDistribution(0, 50),
    "seed": IntDistribution(0, 10**9),
    "method": CategoricalDistribution(METHODS),
    "gravity": FloatDistribution(0.0, 100.0),
}
study = optuna.create_study(storage=f"sqlite:///{sys.argv[2]}", study_name="runs", direction="minimize")
first = runs[0]
study.add_trial(
    create_trial(
        params={name: first[name] for name in space},
        distributions=space,
        value=first["error"],
        user_attrs={"energy": first["energy"], "tag": first["tag"]},
    )
)

database = sa.create_engine(f"sqlite:///{sys.argv[2]}")
tables = sa.MetaData()
tables.reflect(database)
with database.begin() as connection:
    for table in (tables.tables[name] for name in ("trials", "trial_params", "trial_values", "trial_user_attributes")):
        rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        copies = list[dict[str, Any]]()
        for i, run in enumerate(runs[1:], start=1):
            for row in rows:
                copy = row | {"trial_id": row["trial_id"] + i}
                if table.name == "trials":
                    begun = START + timedelta(seconds=i)
                    copy |= {"number": i, "datetime_start": begun, "datetime_complete": begun + timedelta(seconds=0.9)}
                else:
                    del copy[next(iter(table.primary_key)).name]
                if table.name == "trial_params":
                    value = run[row["param_name"]]
                    copy["param_value"] = METHODS.index(value) if row["param_name"] == "method" else value
                elif table.name == "trial_values":
                    copy["value"] = run["error"]
                elif table.name == "trial_user_attributes":
                    copy["value_json"] = json.dumps(run[row["key"]])
                copies.append(copy)
        connection.execute(sa.insert(table), copies)

trials = optuna.load_study(storage=f"sqlite:///{sys.argv[2]}", study_name="runs").trials
assert [one.params | one.user_attrs | {"error": one.value} for one in trials] == runs, "Optuna reads what was meant"
