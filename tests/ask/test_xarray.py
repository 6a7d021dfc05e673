"""`to_xarray`: the results of runs as one labelled array."""

from __future__ import annotations

import datetime
import enum
import json
import threading
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from PIL import Image
from sqlalchemy import JSON, Numeric

from entropic import (
    Base,
    EntropicWarning,
    LoadError,
    Mapped,
    ParameterError,
    ResultMissingError,
    Runs,
    expand_grid,
    mapped_column,
)


class Kind(enum.Enum):
    WARM = "w"
    COLD = "c"


class Sim(Base):
    __tablename__ = "xarray_sims"
    a: Mapped[int]
    b: Mapped[float] = mapped_column(default=0.5)
    name: Mapped[str] = mapped_column(default="x")
    kind: Mapped[Kind] = mapped_column(default=Kind.WARM)
    flag: Mapped[bool] = mapped_column(default=True)
    note: Mapped[str | None]


class Varied(Base):
    __tablename__ = "xarray_varied"
    a: Mapped[int]
    maybe: Mapped[int | None]
    day: Mapped[datetime.date | None]
    moment: Mapped[datetime.datetime] = mapped_column(default=datetime.datetime(2024, 1, 2))
    span: Mapped[datetime.timedelta] = mapped_column(default=datetime.timedelta(0))
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.5"))
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)


GRID = expand_grid({"a": [3, 1, 2], "b": [0.5, 0.25]})


def number(path: str, params: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(10 * params["a"] + params.get("b", 0.5)))


def array(path: str, params: dict[str, Any]) -> None:
    np.save(path, params["a"] + np.arange(4) * params["b"])


@pytest.fixture
def numbers(make):
    return make(Sim, number, ".json")


@pytest.fixture
def arrays(make):
    return make(Sim, array, ".npy")


# ---- the grid ----------------------------------------------------------------------------------------------------
def test_a_sweep_is_a_labelled_array_in_one_line(arrays):
    data = arrays.sweep(GRID).to_xarray()
    assert dict(data.sizes) == {"a": 3, "b": 2, "result_0": 4}
    assert (list(data.a.values), list(data.b.values)) == ([1, 2, 3], [0.25, 0.5])
    for one in GRID:
        assert np.array_equal(data.result.sel(one), one["a"] + np.arange(4) * one["b"])
    assert data.result.dtype == float


def test_what_does_not_differ_is_an_attribute(arrays):
    data = arrays.sweep(GRID).to_xarray()
    assert data.attrs == {"name": "x", "kind": "WARM", "flag": 1}
    one = arrays.select(a=1, b=0.5).to_xarray()
    assert dict(one.sizes) == {"result_0": 4}
    assert one.attrs == {"a": 1, "b": 0.5, "name": "x", "kind": "WARM", "flag": 1}


def test_where_no_run_is_there_is_nan_and_whole_numbers_become_floats(make):
    store = make(Sim, lambda path, params: Path(path).write_text(str(params["a"])), ".json")
    full = store.sweep(GRID)
    assert full.to_xarray().result.dtype == int
    data = full[1:].to_xarray()
    assert data.result.dtype == float
    assert np.isnan(data.result.sel(a=3, b=0.5))
    assert int(data.result.isnull().sum()) == 1
    assert data.result.sel(a=3, b=0.25) == 3


def test_numbers_and_times_are_sorted_and_the_rest_comes_in_the_order_of_the_runs(numbers):
    data = numbers.sweep(
        expand_grid({"a": [2, 1], "name": ["z", "a", "m"], "kind": [Kind.COLD, Kind.WARM], "flag": [True, False]})
    ).to_xarray()
    assert list(data.a.values) == [1, 2]
    assert list(data.name.values) == ["z", "a", "m"]
    assert list(data.kind.values) == ["COLD", "WARM"]
    assert list(data.flag.values) == [False, True]
    assert data.result.sel(a=2, name="m", kind="COLD", flag=True) == 20.5


def test_coordinates_of_every_type(make):
    store = make(Varied, number_a, ".json")
    moments = [datetime.datetime(2024, 5, 6, 7, 8, 9, 10), datetime.datetime(1700, 1, 1)]
    data = store.sweep({"a": 1, "moment": moment} for moment in moments).to_xarray()
    assert list(data.moment.values) == sorted(np.datetime64(moment, "us") for moment in moments)
    assert data.result.sel(moment="2024").size == 1
    days = [datetime.date(2024, 5, 6), datetime.date(1700, 1, 1)]
    data = store.sweep({"a": 2, "day": day} for day in days).to_xarray()
    assert list(data.day.values.astype("datetime64[D]")) == sorted(map(np.datetime64, days))
    spans = [datetime.timedelta(days=2), datetime.timedelta(seconds=1)]
    data = store.sweep({"a": 3, "span": span} for span in spans).to_xarray()
    assert list(data.span.values) == sorted(map(np.timedelta64, spans))
    data = store.sweep({"a": 4, "price": Decimal(price)} for price in ("2.50", "1.25")).to_xarray()
    assert list(data.price.values) == [1.25, 2.5]
    data = store.sweep({"a": 5, "tree": tree} for tree in ([1], {"b": 2})).to_xarray()
    assert list(data.tree.values) == ["[1]", '{"b":2}']
    data = store.sweep({"a": 6, "maybe": maybe} for maybe in (None, 3, 2)).to_xarray()
    assert list(data.maybe.values[:2]) == [2.0, 3.0]
    assert np.isnan(data.maybe.values[2])
    assert "tree" not in data.attrs


def number_a(path: str, params: dict[str, Any]) -> None:
    Path(path).write_text(str(params["a"]))


def test_floats_that_differ_by_the_noise_of_rounding_are_one_coordinate(numbers):
    sets = [{"a": 1, "b": 0.1 + 0.2}, {"a": 2, "b": 0.3}, {"a": 1, "b": 1.0}, {"a": 2, "b": 1.0}]
    data = numbers.sweep(sets).to_xarray()
    assert dict(data.sizes) == {"a": 2, "b": 2}
    assert not data.result.isnull().any()


def test_parameters_that_change_together_share_a_dimension(numbers):
    zipped = [{"a": a, "b": b, "name": name} for a, b in zip((3, 1, 2), (0.3, 0.1, 0.2), strict=True) for name in "xy"]
    data = numbers.sweep(zipped).to_xarray()
    assert dict(data.sizes) == {"a": 3, "name": 2}
    assert data.b.dims == ("a",)
    assert list(data.b.values) == [0.1, 0.2, 0.3]
    assert data.result.sel(a=3, name="y") == 30.3
    wide = numbers.sweep(zipped).to_xarray(dims=["a", "b", "name"])
    assert dict(wide.sizes) == {"a": 3, "b": 3, "name": 2}
    assert int(wide.result.count()) == 6


# ---- dims --------------------------------------------------------------------------------------------------------
def test_dims_give_the_dimensions_and_their_order(arrays):
    runs = arrays.sweep(GRID)
    data = runs.to_xarray(dims=["b", "a"])
    assert data.result.dims == ("b", "a", "result_0")
    assert data.transpose("a", "b", ...).identical(runs.to_xarray())
    assert runs.to_xarray(dims=("b", "a", "name")).sizes["name"] == 1


def test_what_differs_beside_the_dims_goes_along_as_a_coordinate(numbers):
    sets = [{"a": a, "b": b, "name": f"{a}{b}", "note": str(a)} for a in (1, 2) for b in (0.5, 1.0)]
    data = numbers.sweep(sets)[:3].to_xarray(dims=["a", "b"])
    assert data.note.dims == ("a",)
    assert data.name.dims == ("a", "b")
    assert data.name.sel(a=2, b=0.5) == "20.5"


def test_runs_along_one_dimension(numbers):
    runs = numbers.sweep(GRID)
    data = runs.to_xarray(dims="run")
    assert dict(data.sizes) == {"run": 6}
    assert list(data.run.values) == [row.id for row in runs]
    assert list(data.a.values) == [row.a for row in runs]
    assert list(data.result.values) == [10 * row.a + row.b for row in runs]


def test_two_runs_at_one_place_are_refused_with_what_tells_them_apart(numbers):
    runs = numbers.sweep(GRID)
    with pytest.raises(ParameterError, match="differ in b: add that to dims"):
        runs.to_xarray(dims=["a"])
    with pytest.raises(ParameterError, match="appears twice"):
        (runs + runs[:1]).to_xarray()
    numbers.run({**GRID[0], "id": "mine"})
    with pytest.raises(ParameterError, match="mine"):
        numbers.select().to_xarray()


@pytest.mark.parametrize(
    ("dims", "said"), [("aa", "did you mean 'a'"), (["a", "a"], "twice"), (["run", "a"], "run"), ("id", "id")]
)
def test_dims_that_are_no_parameters_are_refused(numbers, dims, said):
    with pytest.raises(ParameterError, match=said):
        numbers.sweep(GRID).to_xarray(dims=dims)


def test_no_runs_are_refused(numbers):
    with pytest.raises(ParameterError, match="no runs"):
        numbers.select().to_xarray()


def sampled(count: int, levels: int) -> Runs[Sim]:
    """Runs that were never made, of random parameters."""
    random = np.random.default_rng(1)
    chosen = sorted({(int(a), float(b)) for a, b in random.integers(0, levels, (count, 2))})
    return Runs(
        [Sim(id=str(i), a=a, b=b, name="x", kind=Kind.WARM, flag=True, result_file="/no.json", custom_data={"t": i})
         for i, (a, b) in enumerate(chosen)]
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_a_sample_that_fills_almost_nothing_is_refused_with_the_way_out(lazy):
    runs = sampled(10_000, 9_000)
    with pytest.raises(ParameterError, match="dims='run'"):
        runs.to_xarray(variables="custom_data.t", lazy=lazy)
    with pytest.raises(ParameterError, match="dims='run'"):  # said or not: 400 MB of NaN are never wanted
        runs.to_xarray(dims=["a", "b"], variables="custom_data.t", lazy=lazy)
    data = runs.to_xarray(dims="run", variables="custom_data.t")
    assert list(data["custom_data.t"].values) == list(range(len(runs)))


def test_a_sparse_grid_that_is_asked_for_and_small_is_made():
    runs = sampled(100, 300)
    with pytest.raises(ParameterError, match="fill only"):
        runs.to_xarray(variables="custom_data.t")
    data = runs.to_xarray(dims=["a", "b"], variables="custom_data.t")
    assert int(data["custom_data.t"].count()) == len(runs)


# ---- results -----------------------------------------------------------------------------------------------------
def test_the_arrays_of_an_archive_are_variables(make):
    store = make(Sim, lambda path, p: np.savez(path, u=np.ones(3) * p["a"], e=p["b"], a=np.int64(p["a"])), ".npz")
    data = store.sweep(GRID).to_xarray()
    assert data.u.dims == ("a", "b", "u_0")
    assert data.e.dims == ("a", "b")
    assert data.u.sel(a=2, b=0.5).sum() == 6
    assert np.array_equal(data.result_a.sel(b=0.5), [1, 2, 3])  # `a` is the parameter


def test_hdf5_data_sets_are_variables_by_their_path(make):
    def write(path, params):
        with h5py.File(path, "w") as file:
            file["deep/u"] = np.arange(2) * params["a"]
            file["word"] = "x"

    data = make(Sim, write, ".h5").sweep(GRID).to_xarray()
    assert list(data["deep/u"].sel(a=3, b=0.25).values) == [0, 3]
    assert data.word.sel(a=3, b=0.25) == "x"


def dataset(params: dict[str, Any], scale: float = 1.0) -> xr.Dataset:
    time = np.arange(3) * scale
    return xr.Dataset(
        {"u": (("time", "x"), params["a"] * np.ones((3, 2)), {"units": "m/s"}), "total": params["a"] * params["b"]},
        coords={"time": ("time", time, {"units": "s"}), "x": [0.5, 1.5], "where": 7},
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_netcdf_and_zarr_keep_their_dimensions_coordinates_and_units(make, suffix):
    def write(path, params):
        one = dataset(params)
        one.to_netcdf(path) if suffix == ".nc" else one.to_zarr(path, consolidated=False)

    data = make(Sim, write, suffix).sweep(GRID).to_xarray()
    assert data.u.dims == ("a", "b", "time", "x")
    assert data.u.attrs["units"] == "m/s"
    assert data.time.attrs["units"] == "s"
    assert list(data.x.values) == [0.5, 1.5]
    assert data["where"].item() == 7
    assert float(data.u.sel(a=3, b=0.5, time=2, x=1.5)) == 3
    assert float(data.total.sel(a=3, b=0.5)) == 1.5


@pytest.mark.slow
def test_a_coordinate_that_differs_between_runs_lies_along_them(make):
    store = make(Sim, lambda path, params: dataset(params, params["b"]).to_netcdf(path), ".nc")
    data = store.sweep(GRID).to_xarray()
    assert "time" not in data.coords
    assert data.time_values.dims == ("a", "b", "time")
    assert list(data.time_values.sel(a=1, b=0.25).values) == [0, 0.25, 0.5]
    assert list(data.time_values.sel(a=3, b=0.5).values) == [0, 0.5, 1.0]
    assert data.time_values.attrs["units"] == "s"


def test_plain_zarr_arrays_without_names_of_dimensions(make):
    store = make(Sim, lambda path, params: zarr.save(path, np.ones((2, 2)) * params["a"]), ".zarr")
    assert store.sweep(GRID).to_xarray().result.dims == ("a", "b", "result_0", "result_1")


def test_entries_of_json_and_columns_of_tables_are_variables(make):
    def entries(path, params):
        Path(path).write_text(
            json.dumps({"energy": params["a"], "deep": {"list": [1, 2, 3]}, "ok": True, "word": "w", "none": None})
        )

    data = make(Sim, entries, ".json").sweep(GRID).to_xarray()
    assert {name: one.dims for name, one in data.data_vars.items()} == {
        "energy": ("a", "b"),
        "deep.list": ("a", "b", "deep.list_0"),
        "ok": ("a", "b"),
        "word": ("a", "b"),
        "none": ("a", "b"),
    }
    assert (data.ok.dtype, data.energy.dtype) == (bool, int)


def test_columns_of_a_table_lie_along_its_rows(make):
    def write(path, params):
        pd.DataFrame({"t": [0.0, 1.0], "u": [params["a"], 2 * params["a"]]}).to_csv(path, index=False)

    data = make(Sim, write, ".csv").sweep(GRID).to_xarray()
    assert data.u.dims == ("a", "b", "row")
    assert list(data.u.sel(a=3, b=0.5).values) == [3, 6]


@pytest.mark.parametrize(
    ("text", "shape"), [("3.5\n", ()), ("1 2 3\n", (3,)), ("1\n2\n", (2,)), ("1 2\n3 4\n5 6\n", (3, 2))]
)
def test_numbers_in_a_text_are_numbers(make, text, shape):
    data = make(Sim, lambda path, _: Path(path).write_text(text), ".txt").sweep(GRID).to_xarray()
    assert data.result.shape == (3, 2, *shape)
    assert data.result.dtype == float
    assert np.array_equal(data.result.values[0, 0], np.array(text.split(), float).reshape(shape))


def test_an_image_is_an_array_of_pixels(make):
    data = make(Sim, lambda path, _: Image.new("RGB", (5, 4)).save(path), ".png").sweep(GRID).to_xarray()
    assert data.result.dims == ("a", "b", "y", "x", "channel")
    assert data.result.shape == (3, 2, 4, 5, 3)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_pages_of_an_image_are_a_dimension(make, lazy):
    def write(path: str, params: dict[str, Any]) -> None:
        first, *others = [Image.new("L", (5, 4), color=page) for page in range(3)]
        first.save(path, save_all=True, append_images=others)

    data = make(Sim, write, ".tif").sweep(GRID).to_xarray(lazy=lazy)
    assert dict(data.result.sizes) == {"a": 3, "b": 2, "page": 3, "y": 4, "x": 5}
    assert data.result[0, 0, :, 0, 0].values.tolist() == [0, 1, 2]


def test_pages_of_different_sizes_are_refused(make):
    def write(path: str, params: dict[str, Any]) -> None:
        Image.new("L", (5, 4)).save(path, save_all=True, append_images=[Image.new("L", (3, 3))])

    with pytest.raises(LoadError, match="pages"):
        make(Sim, write, ".tif").sweep(GRID).to_xarray()


def test_the_levels_of_an_index_are_coordinates_of_the_rows(make):
    def write(path: str, params: dict[str, Any]) -> None:
        index = pd.MultiIndex.from_tuples([("a", 2), ("b", 3)], names=["site", None])
        pd.DataFrame({"y": [3.0, 4.0]}, index=index).to_parquet(path)

    data = make(Sim, write, ".parquet").sweep(GRID).to_xarray()
    assert data.y.dims == ("a", "b", "row")
    assert data.y.site.values.tolist() == ["a", "b"]
    assert data.y.level_1.values.tolist() == [2, 3]


def test_numbers_and_text_in_one_variable_are_plain_values(make):
    def write(path: str, params: dict[str, Any]) -> None:
        Path(path).write_text(json.dumps({"x": params["a"] if params["a"] == 1 else "much"}))

    values = make(Sim, write, ".json").sweep(GRID).to_xarray().x.values
    assert values.tolist() == [[1, 1], ["much", "much"], ["much", "much"]]
    assert not any(isinstance(one, np.ndarray) for one in values.flat)


def test_what_a_loader_returns(make):
    store = make(Sim, number, ".own", loader=lambda path: xr.DataArray(np.ones(2), dims="t", name="u"))
    assert store.sweep(GRID).to_xarray().u.dims == ("a", "b", "t")


def test_variables_choose_from_the_results_and_from_custom_data(make):
    store = make(Sim, lambda path, p: np.savez(path, u=np.ones(p["a"]), e=p["b"], name="word"), ".npz")
    for one in GRID:
        store.run(one, tag=str(one["a"]), deep={"x": one["b"]})
    runs = store.select()
    data = runs.to_xarray(variables=["e", "result_name", "custom_data.tag", "custom_data.deep.x"])
    assert list(data.data_vars) == ["e", "result_name", "custom_data.tag", "custom_data.deep.x"]
    assert data["custom_data.tag"].sel(a=2, b=0.5) == "2"
    assert data["custom_data.deep.x"].sel(a=2, b=0.25) == 0.25
    assert runs.to_xarray(variables="e").e.dims == ("a", "b")
    assert list(runs.to_xarray(variables=[]).data_vars) == []
    with pytest.raises(ParameterError, match=r"'v'.*'u'"):
        runs.to_xarray(variables=["e", "v"])


def test_custom_data_needs_no_file(numbers):
    runs = numbers.sweep(GRID)
    for row in runs:
        Path(row.result_file).unlink()
    assert runs.to_xarray(variables="custom_data.elapsed_seconds")["custom_data.elapsed_seconds"].min() >= 0
    with pytest.raises(ResultMissingError):
        runs.to_xarray()


def test_a_variable_that_some_results_lack_is_nan_there(make):
    def write(path, params):
        Path(path).write_text(json.dumps({"e": 1, "late": 2} if params["a"] > 1 else {"e": 1}))

    data = make(Sim, write, ".json").sweep(GRID).to_xarray()
    assert data.e.dtype == int
    assert np.isnan(data.late.sel(a=1)).all()
    assert (data.late.sel(a=[2, 3]) == 2).all()


def test_types_that_differ_between_results_become_one_that_holds_all(make):
    store = make(Sim, lambda path, p: Path(path).write_text(json.dumps(p["a"] if p["a"] < 3 else p["b"])), ".json")
    data = store.sweep(GRID).to_xarray()
    assert data.result.dtype == float
    assert list(data.result.sel(b=0.25).values) == [1, 2, 0.25]
    with pytest.warns(EntropicWarning, match="file_suffix right"):
        words = make(Sim, lambda path, p: Path(path).write_text("w" * p["a"]), ".txt")
    words = words.sweep({"a": a, "name": "words"} for a in (1, 2, 3)).to_xarray()
    assert list(words.result.values) == ["w", "ww", "www"]


def test_ragged_results_are_refused_with_what_to_do(make):
    store = make(Sim, lambda path, p: np.savez(path, u=np.ones(p["a"]), e=p["b"]), ".npz")
    runs = store.sweep(GRID)
    with pytest.raises(LoadError) as caught:
        runs.to_xarray()
    for said in ("'u'", "u_0: 3", "u_0: 1", "variables=[...]", "pad or cut", runs[0].id):
        assert said in str(caught.value)
    assert runs.to_xarray(variables="e").e.shape == (3, 2)


@pytest.mark.parametrize("value", [[[1], [1, 2]], [{"a": 1}], [None, "x"]])
def test_what_is_no_array_is_refused_unless_others_are_chosen(make, value):
    store = make(Sim, lambda path, p: Path(path).write_text(json.dumps({"e": 1, "odd": value})), ".json")
    runs = store.sweep(GRID)
    with pytest.raises(LoadError, match="'odd'"):
        runs.to_xarray()
    assert (runs.to_xarray(variables="e").e == 1).all()


@pytest.mark.slow
def test_the_array_goes_through_a_netcdf_file(make, tmp_path):
    store = make(Sim, lambda path, params: dataset(params).to_netcdf(path), ".nc")
    runs = store.sweep([*GRID, {"a": 9, "b": 0.5, "kind": Kind.COLD, "flag": False}])
    data = runs.to_xarray(dims=["a", "b"])
    data.to_netcdf(tmp_path / "all.nc")
    with xr.open_dataset(tmp_path / "all.nc") as again:
        assert again.load().equals(data)
        assert again.attrs["name"] == "x"


# ---- lazily ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("rows", [slice(None), slice(1, None)])
def test_lazy_arrays_have_the_same_values(make, rows):
    store = make(Sim, lambda path, params: dataset(params).to_netcdf(path), ".nc")
    runs = store.sweep(GRID)[rows]
    lazy = runs.to_xarray(lazy=True)
    assert lazy.u.chunks == ((3,), (2,), (3,), (2,))  # of less than 4 MB
    assert lazy.compute().identical(runs.to_xarray())
    assert lazy.u.sel(a=3, b=0.25).mean().compute() == 3


def test_lazy_numbers_without_a_declared_type_are_floats(make):
    store = make(Sim, lambda path, p: Path(path).write_text(json.dumps(1 if p["a"] == 3 else 1.5)), ".json")
    data = store.sweep(GRID).to_xarray(lazy=True)
    assert data.result.dtype == float
    assert data.result.sum().compute() == 2 * 1 + 4 * 1.5


@pytest.mark.slow
def test_lazy_results_of_another_shape_or_type_are_refused_when_they_are_read(make):
    store = make(Sim, lambda path, p: np.save(path, np.ones(p["a"])), ".npy")
    data = store.sweep(GRID).to_xarray(lazy=True)
    with pytest.raises(LoadError, match="shape"):
        data.result.sum().compute()
    store = make(Sim, lambda path, p: np.save(path, np.ones(2, "f4" if p["a"] == 3 else "f8")), ".npy")
    data = store.sweep([{**one, "name": "y"} for one in GRID]).to_xarray(lazy=True)
    with pytest.raises(LoadError, match="float64"):
        data.result.sum().compute()


class Alive:
    """Counts how many of the arrays that it has made are in memory at the same time."""

    def __init__(self) -> None:
        self.now, self.most, self.made, self.lock = 0, 0, 0, threading.Lock()

    def array(self, like: Any) -> Any:
        one = np.array(like).view(Counted)
        with self.lock:
            self.now, self.made = self.now + 1, self.made + 1
            self.most = max(self.most, self.now)
        weakref.finalize(one, self.gone)
        return one

    def gone(self) -> None:
        with self.lock:
            self.now -= 1


class Counted(np.ndarray):
    """An array that can be referred to weakly."""


@pytest.mark.slow
def test_ten_thousand_results_are_never_all_in_memory(tmp_path):
    (tmp_path / "one.own").touch()
    alive = Alive()
    file = str(tmp_path / "one.own")
    rows = [
        Sim(id=f"{a}.{b}", a=a, b=float(b), name="x", kind=Kind.WARM, flag=True, result_file=file, custom_data={})
        for a in range(100)
        for b in range(100)
    ]
    data = Runs(rows, loader=lambda path: alive.array([1.0] * 8)).to_xarray(lazy=True)
    assert alive.made == 1
    assert data.result.shape == (100, 100, 8)
    assert data.result[:20].sum().compute() == 20 * 100 * 8
    assert alive.made == 2_001
    assert alive.most < 200


def test_a_lazy_array_reads_only_what_is_asked_of_it(make):
    loaded: list[str] = []

    def load(path: str) -> Any:
        loaded.append(path)
        return NotImplemented

    runs = make(Sim, array, ".npy", loader=load).sweep(GRID)
    data = runs.to_xarray(lazy=True)
    assert len(loaded) == 1
    assert float(data.result.sel(a=2, b=0.5)[0].compute()) == 2
    assert loaded[1:] == [next(row.result_file for row in runs if (row.a, row.b) == (2, 0.5))]


def test_a_result_at_a_time_is_in_memory_also_when_all_is_loaded(make):
    alive = Alive()
    data = make(Sim, array, ".npy", loader=lambda path: alive.array(np.load(path))).sweep(GRID).to_xarray()
    assert data.result.shape == (3, 2, 4)
    assert (alive.made, alive.most <= 3) == (6, True)
