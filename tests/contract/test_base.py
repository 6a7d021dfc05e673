"""`Base`: the reserved columns, the models built on it, and patches."""

from __future__ import annotations

import gc
import re
import weakref
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import DateTime, String, create_engine, select
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Session

import entropic
from contract.models import LooseResult, SimResult
from entropic import Base, EntropicError, Mapped, ModelError, mapped_column

ONE = {"n": 1, "dt": 0.5}
RESERVED = ["id", "result_file", "created_at", "custom_data"]


@pytest.fixture
def session(store, place):
    """A session of the user's own on the database of `store`."""
    engine = create_engine(place.url)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


def test_base_is_a_declarative_base_and_mapped_is_that_of_sqlalchemy():
    assert issubclass(Base, DeclarativeBase)
    assert Mapped is sqlalchemy.orm.Mapped
    assert mapped_column is sqlalchemy.orm.mapped_column


def test_everything_in_all_exists_and_the_promised_names_are_in_it():
    assert all(hasattr(entropic, name) for name in entropic.__all__)
    assert {"Store", "Base", "Mapped", "mapped_column", "expand_grid", "key"} <= set(entropic.__all__)
    errors = [value for value in vars(entropic).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(error, EntropicError | Warning) for error in errors)


def test_a_model_has_the_four_reserved_columns_and_its_own():
    columns = SimResult.__table__.columns
    assert set(columns.keys()) == {*RESERVED, "n", "dt"}
    assert [column.name for column in columns if column.primary_key] == ["id"]
    assert isinstance(columns["id"].type, String)
    assert isinstance(columns["result_file"].type, String)
    assert isinstance(columns["created_at"].type, DateTime)
    assert not columns["custom_data"].nullable


def test_a_model_may_have_an_attribute_of_any_name():
    odd = type("Odd", (Base,), {"__module__": __name__, "__annotations__": {"n": Mapped[int]}, " a": 1})
    assert getattr(odd, " a") == 1
    assert odd(n=2).params == {"n": 2}


def test_a_row_has_the_promised_types(store):
    row = store.run(ONE, note="x")
    assert re.fullmatch("[0-9a-f]{16}", row.id)
    assert type(row.result_file) is str
    assert type(row.created_at) is datetime
    assert isinstance(row.custom_data, MutableDict)


def test_a_row_that_the_user_inserts_gets_created_at_and_an_empty_custom_data(session):
    session.add(SimResult(id="mine", result_file="/x", n=1, dt=0.5))
    session.commit()
    row = session.scalars(select(SimResult)).one()
    assert row.custom_data == {}
    assert row.created_at.tzinfo is None


def test_custom_data_is_never_null_in_the_database(session):
    session.add(SimResult(id="mine", result_file="/x", n=1, dt=0.5))
    session.commit()
    # As text, or as the object that some drivers make of it; a NULL is neither.
    assert str(session.execute(sqlalchemy.text("select custom_data from sim_results")).scalar_one()) == "{}"


def test_custom_data_is_tracked_in_a_session_of_the_users_own(store, session):
    row_id = store.run(ONE, note="x").id
    row = session.get_one(SimResult, row_id)
    row.custom_data["seen"] = True
    session.commit()
    assert store.retrieve(ONE).custom_data["seen"] is True
    assert store.retrieve(ONE).custom_data["note"] == "x"


@pytest.mark.only_on("sqlite")  # as on any other: and a class of this name can be made only once
@pytest.mark.parametrize("style", ["annotated", "column"])
@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_column_cannot_be_redefined(open_store, name, style):
    body = {"__tablename__": f"redefined_{name}_{style}", "__annotations__": {"n": Mapped[int]}}
    if style == "annotated":
        body["__annotations__"][name] = Mapped[int]
    else:
        body[name] = mapped_column(sqlalchemy.Integer, primary_key=name == "id")
    with pytest.raises(EntropicError, match=name):
        open_store(model=type(f"Redefined_{name}_{style}", (Base,), body))


def test_apply_patch_sets_columns(store):
    row = store.run(ONE)
    row.apply_patch({"n": 5})
    assert (row.n, row.dt) == (5, 0.5)


def test_apply_patch_merges_custom_data_and_leaves_the_rest(store):
    row = store.run(ONE, note="x", kept=1)
    row.apply_patch({"custom_data": {"note": "y", "new": 2}})
    expected = {"note": "y", "kept": 1, "new": 2}
    assert {key: row.custom_data[key] for key in expected} == expected
    assert row.n == 1


def patched(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    row = SimResult(id="x", result_file="/x", n=1, dt=0.5, custom_data=dict(before))
    row._apply_custom_data_patch(patch)
    return dict(row.custom_data)


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"missing": None}, {"a": 1}),
        ({"a": 1, "b": 2}, {}, {}),
        ({}, {}, {}),
        ({"a": 1, "b": 2}, {"a": None, "b": 3, "c": 4}, {"b": 3, "c": 4}),
        ({"a": 1}, {"a": 0, "b": False, "c": ""}, {"a": 0, "b": False, "c": ""}),
    ],
)
def test_a_patch_of_custom_data_merges_removes_and_clears(before, patch, after):
    assert patched(before, patch) == after


def test_a_patch_applied_in_a_session_is_stored(store, session):
    row_id = store.run(ONE, note="x").id
    session.get_one(SimResult, row_id).apply_patch({"custom_data": {"note": None, "new": [1]}})
    session.commit()
    found = store.retrieve(ONE).custom_data
    assert "note" not in found
    assert found["new"] == [1]


def test_an_empty_patch_applied_in_a_session_clears_custom_data_and_keeps_it_non_null(store, session):
    row_id = store.run(ONE, note="x").id
    session.get_one(SimResult, row_id).apply_patch({"custom_data": {}})
    session.commit()
    assert store.retrieve(ONE).custom_data == {}


def test_columns_with_a_default_and_nullable_and_generated_ones_may_be_left_out(open_store):
    row = open_store(model=LooseResult).run({"name": "a"})
    assert (row.level, row.mode, row.note, row.twice, row.flag) == (3, "fast", None, 6, False)


def defined(table: str, *lines: str) -> Any:
    """Define a model, as a cell of a notebook does that is run again and again."""
    namespace = {"__name__": "notebook", "Base": Base, "Mapped": Mapped, "mapped_column": mapped_column}
    body = "".join(f"    {line}\n" for line in (f"__tablename__ = {table!r}", "n: Mapped[int]", *lines))
    exec(compile(f"class Cell(Base):\n{body}", "cell", "exec", dont_inherit=True), namespace)
    return namespace["Cell"]


def test_a_model_may_be_defined_again_as_by_a_notebook_cell_and_both_are_of_use(open_store, runner):
    first, second = defined("cells"), defined("cells")
    stores = [open_store(model=model) for model in (first, second, defined("cells"))]
    rows = [store.run_or_retrieve({"n": 1}) for store in stores]
    assert [type(row) for row in rows] == [store._context.schema.model for store in stores]
    assert len(runner.calls) == 1


@pytest.mark.slow
def test_a_model_may_be_defined_again_when_the_earlier_one_is_gone():
    earlier = weakref.ref(defined("gone_cells"))
    gc.collect()
    assert earlier() is None
    assert defined("gone_cells").__tablename__ == "gone_cells"


def test_a_model_that_is_defined_again_with_a_new_column_says_what_the_table_lacks(open_store):
    open_store(model=defined("more_cells")).run({"n": 1})
    with pytest.raises(ModelError, match="'extra'"):
        open_store(model=defined("more_cells", "extra: Mapped[int] = mapped_column(default=0)"))


def test_two_models_of_one_table_are_still_a_mistake():
    first = defined("taken_cells")
    with pytest.raises(ModelError, match=f"Another has the table 'taken_cells', .* of {first.__module__}.Cell; give"):
        type("Another", (Base,), {"__tablename__": "taken_cells", "__module__": "notebook"})
