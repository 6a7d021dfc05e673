"""A process that changes a table is killed before each of its statements; the next one puts that in order."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from changing import model

from entropic import Store


@pytest.mark.slow
def test_a_kill_while_a_table_gains_a_parameter_and_another_is_retyped_loses_no_result(server, place, tmp_path):
    ran = []

    def run(params):
        ran.append(params)
        Path(params["result_file"]).write_text("1")

    def opened(table, grown):
        return Store(run, model(table, grown), tmp_path / "results", ".res", place.url)

    nth, killed = 0, True
    while killed:
        nth += 1
        table = f"changing_{nth}"
        old = opened(table, grown=False).run_or_retrieve({"x": 1, "y": 2})
        victim = server.start("changing:gain", folder=str(tmp_path), url=place.url, table=table, nth=nth)
        killed = victim.status() != 0
        store = opened(table, grown=True)
        row = store.run_or_retrieve({"x": 1, "y": 2.0})
        assert (row.id, row.solver, repr(row.y), len(ran)) == (old.id, "rk4", "2.0", 1)
        other = store.run_or_retrieve({"x": 1, "y": 2.5, "solver": "euler"})
        assert (other.solver, other.y) == ("euler", 2.5)
        assert store.check().ok
        assert [one["column_names"] for one in indexes(place, table)] == [["solver"]]
        told = place.fetch(f"SELECT name, told FROM entropic_changes WHERE model = '{table}' ORDER BY name")
        assert [(name, json.loads(text)) for name, text in told] == [
            ("solver", {"added": "rk4"}),
            ("y", {"retyped": "int"}),
        ]
        ran.clear()
    assert nth > 10, "opening makes statements, and they are counted"


def indexes(place, table):
    engine = sa.create_engine(place.url, poolclass=sa.NullPool)
    return sa.inspect(engine).get_indexes(table)
