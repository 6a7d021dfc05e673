"""What a model may say in its class body, and what it is told to write instead."""

import datetime
import pathlib
import typing

import numpy as np
import pytest

from contract.models import write_params
from entropic import Base, Mapped, ModelError

pytestmark = pytest.mark.only_on("sqlite")


def defined(annotation, name="Annotated"):
    body = {"__annotations__": {"x": annotation}, "__module__": __name__}
    return type(name, (Base,), body)


@pytest.fixture(autouse=True)
def removed():
    before = set(Base.metadata.tables)
    yield
    for name in set(Base.metadata.tables) - before:
        Base.metadata.remove(Base.metadata.tables[name])


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (float, r"x: float; write x: Mapped\[float\]"),
        ("float", r"x: float; write x: Mapped\[float\]"),
        (list[float], r"x: list\[float\]; write x: Mapped\[list\[float\]\]"),
        (datetime.datetime, r"write x: Mapped\[datetime\]"),
        (Mapped[pathlib.Path], r"Mapped\[str\].*str\(path\)"),
        (Mapped[pathlib.Path | None], r"Mapped\[str\].*str\(path\)"),
        (Mapped[np.ndarray], r"Mapped\[list\].*tolist"),
        (Mapped[tuple[int, int]], r"Mapped\[list\]"),
        (Mapped[set[int]], "sorted"),
        (Mapped[complex], "two columns"),
        (Mapped[int | float], r"Mapped\[float\]"),
        (Mapped[typing.Any], r"mapped_column\(JSON\).*PickleType"),
        ("Mapped[Unheard]", "Mapped.Unheard.*import"),
    ],
    ids=str,
)
def test_an_annotation_that_means_no_column_is_told_what_to_write(annotation, says):
    with pytest.raises(ModelError, match=says) as caught:
        defined(annotation)
    assert "Annotated says x: " in str(caught.value)
    assert defined(Mapped[int]).__table__.c.x is not None  # the name is free again


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Mapped[list], [1, 2.5, "a"]),
        (Mapped[dict], {"a": [1]}),
        (Mapped[list[float]], [0.5, 1.0]),
        (Mapped[dict[str, list[int]]], {"a": [1]}),
        (Mapped[list[int] | None], [1]),
        (Mapped[list[int] | None], None),
    ],
    ids=str,
)
def test_lists_and_dicts_are_columns_of_json(open_store, annotation, value):
    store = open_store(write_params, defined(annotation))
    row = store.run({"x": value})
    again = store.run_or_retrieve({"x": value})
    assert (again.x, again.created_at) == (value, row.created_at)


@pytest.mark.parametrize(
    ("name", "table"), [("Sim", "sim"), ("SimResult", "sim_result"), ("HTTPRun2D", "http_run2_d"), ("lower", "lower")]
)
def test_a_model_without_a_name_for_its_table_gets_one(open_store, name, table):
    model = defined(Mapped[int], name)
    assert model.__tablename__ == table
    assert open_store(write_params, model).run({"x": 1}).x == 1


def test_a_name_that_is_given_stays_and_abstract_classes_have_none():
    class Common(Base):
        __abstract__ = True

        x: Mapped[int]

    class Own(Common):
        __tablename__ = "of_its_own"

    class Derived(Common):
        pass

    assert not hasattr(Common, "__table__")
    assert (Own.__table__.name, Derived.__table__.name) == ("of_its_own", "derived")
