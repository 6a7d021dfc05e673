"""Whatever stands in a sidecar as the outcomes of a run: it fits its column, or the row says why it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.outcome_models import Everything
from entropic import Store
from entropic.files import packing, sidecar, workspace
from entropic.params.outcomes import NOT_RECORDED, NOTED, Outcomes
from entropic.store import context_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
PACKED = st.dictionaries(st.sampled_from(sorted(packing._UNPACK)), JSON, min_size=1, max_size=1)
COLUMNS = sorted(Everything.__table__.c.keys())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path, dict[str, Any]]]:
    """A store, the sidecar of a run that was never published, and what it says."""
    folder = tmp_path_factory.mktemp("outcomes")
    store = Store(lambda params: {}, Everything, folder / "results", ".dat", f"sqlite:///{folder / 'db.sqlite3'}")
    context = context_of(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entropic.protocol.run.publish.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.run({"n": 1})
    (path,) = Path(context.staging.root).glob("*.json")
    yield context, path, json.loads(path.read_text())
    workspace.retire()


@pytest.mark.slow
@given(
    outcomes=st.dictionaries(st.sampled_from(COLUMNS) | st.text(max_size=5), JSON | PACKED, max_size=4) | JSON,
    missing=st.dictionaries(st.sampled_from(COLUMNS), JSON, max_size=2) | JSON,
)
@example({"number": {"float": "nan"}}, {})
@example({"whole": 2**70}, {})
@example({"day": {"datetime": "2026-01-01T00:00:00"}}, {})
@example({"data": {"json": {"a": [1]}}}, {"number": "because"})
def test_any_outcomes_fit_or_are_said(finished: Any, outcomes: Any, missing: Any) -> None:
    context, path, told = finished
    path.write_bytes(
        json.dumps(told | {"outcomes": outcomes, "missing": missing}).encode("utf-8", "surrogatepass") + b"\n"
    )
    found = sidecar.inspect(context.staging, told["key"], told["attempt"])
    if not isinstance(found, sidecar.Sidecar):
        assert isinstance(found, sidecar.Unreadable)
        return
    bound, notes = context.outcomes.bind(Outcomes(found.outcomes or {}, found.missing or {}))
    assert bound.keys() == context.schema.outcomes.keys()
    noted = {**notes.get(NOTED, {}), **notes.get(NOT_RECORDED, {})}
    given_none = {name for name, value in (found.outcomes or {}).items() if value is None}
    assert {name for name, value in bound.items() if value is None} <= noted.keys() | given_none | {"data"}
    row = {"id": "x", "result_file": "x", "created_at": "2026-01-01 00:00:00.000000", "custom_data": "{}", "n": 1}

    def work(connection: Any) -> None:
        context.rows.upsert(connection, {**row, **bound})
        raise ZeroDivisionError  # nothing stays

    with pytest.raises(ZeroDivisionError):
        context.database.transact(work)
