"""Noting what a run reads of stores: wherever a row, or its result, is handed out while something runs here.

Outside of runs it costs nothing but a look at an empty list.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from entropic.db.inputs import as_text
from entropic.executors import inputs_of_runs
from entropic.executors.reporting import under_way
from entropic.protocol import open_stores, stale_rows
from entropic.protocol.context import ModelT, StoreContext
from entropic.provenance.input import Input

__all__ = ["note", "note_and_return", "note_given", "under_way"]


def note(context: StoreContext[Any], rows: Iterable[Any]) -> None:
    """Note that the run around this, if there is one, has read rows of a store."""
    run = inputs_of_runs.current()
    if run is None:
        return
    made = {row.__dict__["id"]: row.__dict__.get("created_at") for row in rows if "id" in row.__dict__}
    made = {id: time for id, time in made.items() if time is not None}
    known = inputs_of_runs.known(run, context.database_uuid)
    made = {id: time for id, time in made.items() if not known(context.model, id)}
    if not made:
        return
    reasons: dict[str, list[stale_rows.Reason]] = {}
    try:
        reasons = stale_rows.find_reasons(context, made, by_code=True)
    except context.database.troubles:  # what was read was read
        pass
    database, model = context.database_uuid, context.model
    signs = {id: stale_rows.sign_of(found) for id, found in reasons.items()}
    inputs_of_runs.note(run, [Input(database, model, id, as_text(time), signs.get(id)) for id, time in made.items()])


def note_given(rows: Sequence[Any]) -> None:
    """Note that the results of rows are read which a store that is open here has returned before, perhaps elsewhere."""
    for kind in {type(row) for row in rows}:
        given = [row for row in rows if type(row) is kind]
        mine = {one.database_uuid: one for one in open_stores.list_all() if one.schema.model is kind}
        if len(mine) > 1:  # several studies have this model: theirs are the results
            mine = {uuid: one for uuid, one in mine.items() if _holds(one, given)}
        if len(mine) == 1:  # else it is not known of which they are
            note(next(iter(mine.values())), given)


def _holds(context: StoreContext[Any], rows: Sequence[Any]) -> bool:
    """Tell whether results lie in the folder of a store."""
    folder = os.path.join(context.staging.results_dir, "")
    return all(str(row.__dict__.get("result_file", "")).startswith(folder) for row in rows)


def note_and_return(context: StoreContext[ModelT], rows: list[ModelT]) -> list[ModelT]:
    """Return rows as they are, once it is noted that they are read."""
    if under_way:
        note(context, rows)
    return rows
