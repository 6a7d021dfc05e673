"""A dataclass, or an instance of a class of attrs or pydantic, is a parameter set wherever a dict is one."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attrs
import pydantic
import pytest
from sqlalchemy import JSON

from contract.models import Colour, CountingRunner
from entropic import Base, Mapped, ParameterError, Store, key, mapped_column
from entropic.params.objects import set_of_object

OpenStore = Callable[..., Store[Any]]


class Painted(Base):
    __tablename__ = "painted_points"

    n: Mapped[int]
    dt: Mapped[float]
    colour: Mapped[Colour]
    more: Mapped[Any] = mapped_column(JSON)


@dataclass(frozen=True)
class InDataclass:
    tags: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class AsDataclass:
    n: int
    dt: float = 0.1
    colour: Colour = Colour.RED
    more: Any = field(default_factory=lambda: {"inner": [InDataclass()]})


@dataclass(slots=True)
class AsSlots:
    n: int
    dt: float = 0.1
    colour: Colour = Colour.RED
    more: Any = field(default_factory=lambda: {"inner": [InDataclass()]})


@attrs.define
class InAttrs:
    tags: list[str]


@attrs.frozen
class AsAttrs:
    n: int
    dt: float = 0.1
    colour: Colour = Colour.RED
    more: Any = attrs.field(factory=lambda: {"inner": [InAttrs(["a", "b"])]})


class InPydantic(pydantic.BaseModel):
    tags: list[str] = ["a", "b"]


class AsPydantic(pydantic.BaseModel):
    n: int
    dt: float = 0.1
    colour: Colour = Colour.RED
    more: Any = {"inner": [InPydantic()]}


@pydantic.dataclasses.dataclass
class AsPydanticDataclass:
    n: int
    dt: float = 0.1
    colour: Colour = Colour.RED
    more: Any = field(default_factory=lambda: {"inner": [InDataclass()]})


KINDS = [AsDataclass, AsSlots, AsAttrs, AsPydantic, AsPydanticDataclass]
AS_DICT = {"n": 1, "dt": 0.1, "colour": Colour.RED, "more": {"inner": [{"tags": ["a", "b"]}]}}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("typed_keys", [False, True])
def test_every_method_takes_an_object_for_the_dict_of_its_fields(
    open_store: OpenStore, runner: CountingRunner, kind: Any, typed_keys: bool, tmp_path: Path
) -> None:
    store = open_store(runner, Painted, typed_keys=typed_keys)
    one = kind(n=1)
    row = store.run_or_retrieve(one)
    assert len(runner.calls) == 1
    assert row.id == key(AS_DICT) == key(one)
    assert store.run_or_retrieve(one).id == store.run_or_retrieve(AS_DICT).id == row.id
    assert [found.id for found in store.sweep([one, AS_DICT, row])] == [row.id]
    assert [found.id for found in store.stream(iter([row, one]))] == [row.id]
    assert len(runner.calls) == 1
    assert store.retrieve(one).id == row.id
    assert store.explain(one).hit
    assert [missing["n"] for missing in store.plan([one, kind(n=2)]).missing] == [2]
    assert store.load(one) == store.load(row)
    assert store.failures(one) == store.failures([one]) == store.dismiss(one) == []
    assert store.log_file(one) is None
    assert store.run(one).id == row.id
    assert store.delete(one)
    (tmp_path / "mine.json").write_text("1")
    assert store.load(store.register(one, tmp_path / "mine.json")) == 1


def test_an_object_is_a_condition_as_a_dict_is(store: Store[Any]) -> None:
    @dataclass
    class Few:
        n: int

    store.sweep([{"n": n, "dt": 0.1} for n in range(3)])
    assert [row.n for row in store.select(Few(1))] == [1]


def told(params: dict[str, Any]) -> dict[str, Any]:
    assert type(params) is dict
    return {"n": params["n"], "tags": params["more"]["inner"][0]["tags"]}


@pytest.mark.slow
@pytest.mark.each
@kinds
def test_the_runner_gets_a_dict_in_workers_too(open_store: OpenStore, kind: Any) -> None:
    store = open_store(told, Painted)
    rows = store.sweep([kind(n=1), kind(n=2)], workers=1)
    assert [store.load(row)["tags"] for row in rows] == [["a", "b"]] * 2


def test_a_generator_of_objects_among_dicts_is_swept(open_store: OpenStore, runner: CountingRunner) -> None:
    mixed = (AS_DICT | {"n": n} if n % 2 else AsPydantic(n=n) for n in range(6))
    assert [row.n for row in open_store(runner, Painted).sweep(mixed)] == list(range(6))


def test_fields_that_are_no_columns_are_refused_by_name(open_store: OpenStore, runner: CountingRunner) -> None:
    @dataclass
    class Misspelt:
        m: int = 1

    with pytest.raises(ParameterError, match="no column 'm'"):
        open_store(runner, Painted).run_or_retrieve(Misspelt())
    assert runner.calls == []


def test_extra_fields_of_pydantic_count(open_store: OpenStore, runner: CountingRunner) -> None:
    class Loose(AsPydantic):
        model_config = pydantic.ConfigDict(extra="allow")

    with pytest.raises(ParameterError, match="no column 'speed'"):
        open_store(runner, Painted).run_or_retrieve(Loose(n=1, speed=2))  # type: ignore[call-arg]


def test_a_class_is_no_set_and_one_object_is_no_sweep(store: Store[Any]) -> None:
    with pytest.raises(ParameterError, match="make an instance"):
        store.run_or_retrieve(AsDataclass)
    for one in (AsDataclass(1), AsPydantic(n=1)):
        with pytest.raises(ParameterError, match=f"got one {type(one).__name__}"):
            store.sweep(one)  # type: ignore[arg-type]


def test_what_is_neither_is_refused_as_before(store: Store[Any]) -> None:
    class Colours(enum.Enum):
        RED = 1

    for odd in (1, "n=1", [("n", 1)], Colours.RED, object()):
        with pytest.raises(ParameterError, match="params must be a dict"):
            store.run_or_retrieve(odd)  # type: ignore[arg-type]


def test_an_object_that_contains_itself_is_refused(store: Store[Any]) -> None:
    one = AsSlots(1)
    one.more = [one]
    with pytest.raises(ParameterError, match="contain themselves"):
        store.run_or_retrieve(one)


def test_an_object_within_a_dict_is_refused_with_advice(open_store: OpenStore, runner: CountingRunner) -> None:
    with pytest.raises(ParameterError, match="pass its fields as a dict"):
        open_store(runner, Painted).run_or_retrieve({**AS_DICT, "more": InDataclass()})


def test_a_dict_is_not_even_copied() -> None:
    assert set_of_object(AS_DICT) is AS_DICT


@pytest.mark.slow
def test_no_library_is_imported_for_it() -> None:
    script = "import sys, entropic; entropic.key({'n': 1}); print({'attr', 'attrs', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
