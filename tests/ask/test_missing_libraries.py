"""Each library that is not installed is named, with the extra that brings it; nothing else needs it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ask.written import WRITTEN
from entropic import Base, EntropicError, LibraryMissingError, Mapped, Runs
from entropic.formats.catalogue import FORMATS
from entropic.formats.read import read

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


class Sim(Base):
    __tablename__ = "missing_sims"
    n: Mapped[int]


CALLS = [
    ("pandas", "pandas", lambda runs: runs.to_pandas()),
    ("polars", "polars", lambda runs: runs.to_polars()),
    ("pyarrow", "arrow", lambda runs: runs.to_arrow()),
    ("xarray", "xarray", lambda runs: runs.to_xarray(variables=[])),
    ("dask", "xarray", lambda runs: runs.to_xarray(variables=[], lazy=True)),
]
NEEDS = [(library, one.extra, one.suffixes[0]) for one in FORMATS if one.read for library in one.libraries]
SOMETIMES = [("h5py", "matlab", ".v73.mat"), ("tifffile", "images", ".tif"), ("xarray", "zarr", ".zarr.zip")]
DISTRIBUTIONS = {"PIL": "pillow"}


@pytest.fixture
def without(monkeypatch):
    """Make a library one that is not installed."""

    def hide(name: str) -> None:
        for module in [name, *(module for module in sys.modules if module.startswith(f"{name}."))]:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


def check(error: pytest.ExceptionInfo[Any], library: str, extra: str) -> None:
    assert isinstance(error.value, EntropicError)
    assert isinstance(error.value, ImportError)
    assert library in str(error.value)
    assert f"pip install 'entropic[{extra}]'" in str(error.value)
    names = [re.split(r"[\[><=]", one)[0].lower() for one in EXTRAS[extra]]
    assert DISTRIBUTIONS.get(library, library).lower() in names


@pytest.mark.parametrize(("library", "extra", "call"), CALLS, ids=[one[0] for one in CALLS])
def test_a_conversion_names_what_it_lacks(without, library, extra, call):
    without(library)
    with pytest.raises(LibraryMissingError) as error:
        call(Runs([Sim(id="1", n=1, custom_data={})]))
    check(error, library, extra)


@pytest.mark.parametrize(("library", "extra", "suffix"), NEEDS, ids=[f"{one[0]}{one[2]}" for one in NEEDS])
def test_a_reader_names_what_it_lacks(without, make, library, extra, suffix):
    store = make(Sim, lambda path, _: Path(path).touch(), suffix)
    row = store.run({"n": 1})
    without(library)
    with pytest.raises(LibraryMissingError) as error:
        store.load(row)
    check(error, library, extra)


@pytest.mark.parametrize(("library", "extra", "suffix"), SOMETIMES)
def test_what_only_some_files_of_a_format_need_is_named_as_well(without, tmp_path, library, extra, suffix):
    path = str(tmp_path / f"it{suffix}")
    if suffix == ".tif":
        pytest.importorskip("tifffile").imwrite(path, np.zeros((2, 2, 2), "uint32"))
    else:
        WRITTEN[suffix](path)
    without(library)
    with pytest.raises(LibraryMissingError) as error:
        read(path)
    check(error, library, extra)


def test_json_and_text_need_nothing(without, make):
    for library in {one[0] for one in (*CALLS, *NEEDS)}:
        without(library)
    store = make(Sim, lambda path, params: Path(path).write_text(str(params["n"])), ".json")
    assert store.load(store.run({"n": 1})) == 1
    assert "1 run of Sim" in repr(store.select())


def test_all_brings_what_every_reader_and_conversion_needs():
    inside = {name: re.search(r"entropic\[(.*)\]", EXTRAS[name][0])[1].split(",") for name in ("all", "formats")}
    brought = {*inside["all"], *inside["formats"]} - {"formats"}
    assert {one[1] for one in NEEDS} <= set(inside["formats"])
    assert {one[1] for one in (*CALLS, *NEEDS)} <= set(brought)
    assert set(brought) <= set(EXTRAS)
