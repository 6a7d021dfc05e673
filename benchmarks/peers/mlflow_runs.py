"""Fill an experiment of MLflow's SQLite store with runs that are already done: mlflow_runs.py FILE_OF_RUNS DATABASE.

The first run is logged as users log theirs; the others are copies of its rows with values of their own, written through
MLflow's own tables, since logging them one by one takes a quarter of an hour.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
from mlflow.tracking import MlflowClient

START = 1_767_225_600_000  # milliseconds since 1970

runs = json.loads(Path(sys.argv[1]).read_text())
client = MlflowClient(f"sqlite:///{sys.argv[2]}")
experiment = client.create_experiment("runs")
first = runs[0]
made = client.create_run(experiment, start_time=START).info.run_id
params = [Param(name, str(first[name])) for name in ("alpha", "beta", "size", "seed", "method", "gravity")]
metrics = [Metric(name, first[name], START, 0) for name in ("error", "energy")]
client.log_batch(made, metrics, params, [RunTag("tag", first["tag"])])
client.set_terminated(made, end_time=START + 900)

with sa.create_engine(f"sqlite:///{sys.argv[2]}").begin() as connection:
    rows = {
        model.__table__: [dict(row) for row in connection.execute(sa.select(model.__table__)).mappings()]
        for model in (SqlRun, SqlParam, SqlMetric, SqlLatestMetric, SqlTag)
    }
    copies: dict[Any, list[dict[str, Any]]] = {table: [] for table in rows}
    for i, run in enumerate(runs[1:], start=1):
        id = uuid.uuid4().hex
        name = f"able-ape-{i}"
        for table, some in rows.items():
            for row in some:
                copy = row | {"run_uuid": id}
                if table.name == "runs":
                    copy |= {"name": name, "artifact_uri": row["artifact_uri"].replace(made, id)}
                    copy |= {"start_time": START + 1000 * i, "end_time": START + 1000 * i + 900}
                elif table.name == "tags":
                    copy["value"] = name if row["key"] == "mlflow.runName" else run["tag"]
                elif table.name == "params":
                    copy["value"] = str(run[row["key"]])
                else:
                    copy |= {"value": run[row["key"]], "timestamp": START + 1000 * i}
                copies[table].append(copy)
    for table, some in copies.items():
        connection.execute(sa.insert(table), some)
