"""Labelled arrays of results whose types differ: every value as it was written, or a refusal, and never another one."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import cftime
import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sqlalchemy import Numeric

from entropic import Base, LoadError, Mapped, mapped_column
from entropic.ask.columns import Column
from entropic.ask.dataset import coordinate


class Timed(Base):
    __tablename__ = "exact_types"
    n: Mapped[int]
    late: Mapped[int] = mapped_column(default=0)


def to_parquet(path: str, times: Any) -> None:
    pd.DataFrame({"t": times}).to_parquet(path)


def to_zarr(path: str, times: Any) -> None:
    import zarr

    zarr.open_group(path, mode="w").create_array("t", data=times)


WRITERS = {".npz": lambda path, times: np.savez(path, t=times), ".parquet": to_parquet, ".zarr": to_zarr}
FAR = np.array(["5000-01-01", "NaT"], "M8[s]")
NEAR = np.array(["2020-01-01T00:00:00.25", "1999-12-31"], "M8[ns]")
FINE = np.array(["2020-01-01T00:00:00.000000001", "1999-12-31"], "M8[ns]")


def runs_of(make: Any, suffix: str, several: Any) -> Any:
    several = list(several)
    store = make(Timed, lambda path, params: WRITERS[suffix](path, several[params["n"]]), suffix)
    return store.sweep({"n": n} for n in range(len(several)))


@pytest.mark.filterwarnings("ignore:The data type")
@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_times_in_different_units_get_one_that_holds_them_all(make, suffix, order):
    times = [(FAR, NEAR)[i] for i in order]
    found = runs_of(make, suffix, times).to_xarray().t.values
    for one, other in zip(found, times, strict=True):
        assert [str(a)[:22] for a in one] == [str(b.astype("M8[ms]"))[:22] for b in other]


@pytest.mark.slow
def test_times_that_no_unit_holds_are_refused_in_whichever_order_they_come(make):
    for k, several in enumerate(itertools.permutations([FAR, FINE, NEAR])):
        written = list(several)
        store = make(Timed, lambda path, params, written=written: np.savez(path, t=written[params["n"]]), ".npz")
        with pytest.raises(LoadError, match=r"'t'.*no unit holds"):
            store.sweep({"n": n, "late": k} for n in range(3)).to_xarray()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_lazy_times_are_those_that_were_written_or_a_refusal(make, order):
    data = runs_of(make, ".npz", [(FAR, NEAR)[i] for i in order]).to_xarray(lazy=True)
    with pytest.raises(LoadError, match="does not hold it"):
        data.t.compute()
    whole = np.array(["2020-01-01", "1999-12-31"], "M8[ns]")
    data = make(Timed, lambda p, q: np.savez(p, t=(FAR, whole)[q["n"]]), ".npz").sweep(
        {"n": n, "late": 1} for n in range(2)
    )
    assert str(data.to_xarray(lazy=True).t.compute().values[1, 0])[:19] == "2020-01-01T00:00:00"


@pytest.mark.parametrize("lazy", [False, True])
def test_durations_of_different_units_are_as_they_were(make, lazy):
    spans = [np.array([3], "m8[s]"), np.array([10**15], "m8[ms]"), np.array([7], "m8[h]")]
    runs = runs_of(make, ".npz", [spans[0], spans[2]] if lazy else spans)
    found = runs.to_xarray(lazy=lazy).t.compute().values[:, 0]
    assert [span / np.timedelta64(1, "s") for span in found] == [3, 7 * 3600] if lazy else [3, 10**12, 7 * 3600]


def test_times_finer_than_xarray_has_them_are_refused_and_others_kept(make):
    runs = runs_of(make, ".npz", [np.array([5_000], "M8[ps]")])
    assert runs.to_xarray().t.values[0] == np.datetime64(5, "ns")
    store = make(Timed, lambda path, _: np.savez(path, t=np.array([5], "M8[ps]")), ".npz")
    with pytest.raises(LoadError, match=r"'t'.*unit"):
        store.sweep([{"n": 0, "late": 2}]).to_xarray()


def netcdf(path: str, calendar: str, year: int, coord: str) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension(coord, 2)
        made = file.createVariable("t", "f8", (coord,))
        made.units, made.calendar = f"days since {year}-01-01", calendar
        made[:] = [0.0, 40.5]


def calendars(make: Any, several: Any, coord: str) -> Any:
    store = make(Timed, lambda path, params: netcdf(path, *several[params["n"]], coord), ".nc")
    return store.sweep({"n": n} for n in range(len(several)))


@pytest.mark.parametrize("coord", ["t", "x"])
@pytest.mark.parametrize("pair", [("standard", "noleap"), ("noleap", "standard"), ("360_day", "noleap")])
def test_times_of_different_calendars_are_refused(make, pair, coord):
    runs = calendars(make, [(name, 2001 + i) for i, name in enumerate(pair)], coord)
    with pytest.raises(LoadError, match=rf"'t'.*calendars.*{pair[-1] if pair[-1] == 'noleap' else 'datetime64'}"):
        runs.to_xarray()
    if coord == "x":  # nothing lies along the other
        with pytest.raises(LoadError, match="does not hold"):
            runs.to_xarray(lazy=True).t.compute()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unable to decode time axis into full numpy")  # xarray's, of the year 5000
def test_times_of_one_calendar_stay_in_it_and_those_far_from_today_join_the_others(make):
    found = calendars(make, [("noleap", 2001), ("noleap", 2002)], "x").to_xarray().t.values
    assert [one.year for one in found[:, 0]] == [2001, 2002]
    store = make(Timed, lambda path, p: netcdf(path, "standard", (2001, 5000)[p["n"]], "x"), ".nc")
    found = store.sweep({"n": n, "late": 1} for n in range(2)).to_xarray().t.values
    assert [str(one)[:13] for one in found[:, 1]] == ["2001-02-10T12", "5000-02-10T12"]
    assert found.dtype.kind == "M"
    assert not isinstance(found[1, 1], cftime.datetime)


@pytest.mark.slow
def test_a_lazy_array_is_not_laid_along_the_coordinates_of_another_run(make):
    def write(path: str, params: dict[str, Any]) -> None:
        calendar = ("standard", "noleap")[params["n"] == 2]
        time = xr.Variable("time", [58, 60], {"units": "days since 2001-01-01", "calendar": calendar})
        data = xr.Dataset({"u": ("time", [1.0, 2.0]), "v": ("side", [3.0, 4.0])}, {"time": time})
        data.assign_coords(late=params["late"] * 1.5, height=max(2, params["n"])).to_netcdf(path)

    runs = make(Timed, write, ".nc").sweep({"n": n, "late": 1 + n} for n in range(4))
    lazy = runs.to_xarray(lazy=True)
    assert lazy.u.sel(n=1).compute().values.tolist() == [1, 2]
    with pytest.raises(LoadError, match=r"'u' of \w+ lies along another 'time'.*leave lazy=True out"):
        lazy.u.sel(n=2).compute()
    assert lazy.v.sel(n=2).compute().values.tolist() == [3, 4]
    with pytest.raises(LoadError, match=r"'v' of \w+ lies along another 'height'"):  # without dimensions
        lazy.v.sel(n=3).compute()
    assert lazy.result_late.compute().values.tolist() == [1.5, 3, 4.5, 6]  # which is the parameter


def test_days_are_times(make):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    days = ["2020-01-01", None], ["2020-01-01T12", "NaT"]

    def write(path: str, params: dict[str, Any]) -> None:
        times = np.array(days[params["n"]], "M8[D]" if params["n"] == 0 else "M8[ns]")
        parquet.write_table(pyarrow.table({"t": times}), path)

    runs = make(Timed, write, ".parquet").sweep({"n": n} for n in range(2))
    found = runs.to_xarray().t.values
    assert found.dtype.kind == "M"
    assert [str(one)[:13] for one in found[:, 0]] == ["2020-01-01T00", "2020-01-01T12"]
    assert np.isnat(found[:, 1]).all()
    assert runs[:1].to_xarray(lazy=True).t.compute().values[0] == np.datetime64("2020-01-01")


def test_times_beside_what_is_no_time_are_refused(make):
    with pytest.raises(LoadError, match="only one of them is times"):
        runs_of(make, ".npz", [NEAR, np.arange(2)]).to_xarray()


BIG = 2**53 + 1


def number(make: Any, values: Any, late: int = 0) -> Any:
    store = make(Timed, lambda path, params: Path(path).write_text(json.dumps({"x": values[params["n"]]})), ".json")
    return store.sweep({"n": n, "late": late} for n in range(len(values)))


@pytest.mark.slow
def test_whole_numbers_that_no_float_holds_stay_whole_numbers(make):
    assert number(make, [BIG, 0.5]).to_xarray().x.values.tolist() == [BIG, 0.5]
    assert number(make, [2**63, -1], 1).to_xarray().x.values.tolist() == [2**63, -1]
    full = make(Timed, lambda path, params: Path(path).write_text(json.dumps(BIG + params["n"])), ".json")
    runs = full.sweep({"n": n, "late": late} for n in (1, 2) for late in (2, 3))
    values = runs[1:].to_xarray().result.values
    assert sorted(one for one in values.flat if one == one) == [BIG + 1, BIG + 2, BIG + 2]
    with pytest.raises(LoadError, match="does not hold"):
        runs.to_xarray(lazy=True).result.compute()


def test_hdf5_times_are_numbers_with_their_type(make):
    """HDF5 has no times of its own; what h5py makes of numpy's it gives back."""

    def write(path: str, params: dict[str, Any]) -> None:
        with h5py.File(path, "w") as file:
            times = (FAR, NEAR)[params["n"]]
            file["t"] = times.astype(h5py.opaque_dtype(times.dtype))

    found = make(Timed, write, ".h5").sweep({"n": n} for n in range(2)).to_xarray().t.values
    assert [str(one)[:10] for one in found[:, 0]] == ["5000-01-01", "2020-01-01"]


def test_a_coordinate_with_missing_times_is_the_same_in_all_runs(make):
    store = make(
        Timed,
        lambda path, params: xr.Dataset(
            {"u": ("x", [1.0, 2.0])}, coords={"x": np.array(["2020-01-01", "NaT"], "M8[ns]")}
        ).to_netcdf(path),
        ".nc",
    )
    assert store.sweep({"n": n} for n in range(2)).to_xarray().u.dims == ("n", "x")


# ---- numbers and text beside nothing -----------------------------------------------------------------------------
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("value", "wanted"),
    [([1, None, 2.5], [1, np.nan, 2.5]), ([[1, None], [3, 4]], [[1, np.nan], [3, 4]]), ([None], [np.nan])],
)
def test_null_among_numbers_of_json_is_nan(make, value, wanted, lazy):
    found = number(make, [value, value]).to_xarray(lazy=lazy).x.compute().values
    assert found.dtype == float
    assert np.array_equal(found, [wanted, wanted], equal_nan=True)


def test_whole_numbers_beside_null_that_no_float_is_stay(make):
    assert number(make, [[BIG, None], [1, 2]]).to_xarray().x.values.tolist()[0][0] == BIG


class Noted(Base):
    __tablename__ = "exact_coordinates"
    note: Mapped[str | None]
    seed: Mapped[int | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(30, 20))


def noted(make: Any, name: str, values: Any) -> xr.Dataset:
    where = {value: i for i, value in enumerate(values)}
    write = lambda path, params: Path(path).write_text(str(where[params.get(name)]))  # noqa: E731
    return make(Noted, write, ".json").sweep({name: value} for value in values).to_xarray()


def test_coordinates_that_differ_stay_different(make):
    for name, values in {
        "note": [None, "None", "a"],
        "seed": [2**53, 2**53 + 1, None],
    }.items():
        data = noted(make, name, values)
        assert len(set(data[name].values.tolist()) - {None}) >= len(values) - 1
        for i, value in enumerate(values):
            if value is not None:
                assert data.result.sel({name: value}) == i
        assert data.result[data[name].isnull()].values.tolist() == [values.index(None)]


@pytest.mark.slow
def test_coordinates_that_floats_and_text_tell_apart_are_these(make):
    assert noted(make, "seed", [3, None]).seed.dtype == float
    assert noted(make, "note", ["a", None]).note.values.tolist() == ["a", "None"]


def test_decimals_that_are_one_float_are_two_coordinates():
    values = [Decimal("0.1"), Decimal("0.10000000000000000001")]
    found = coordinate(np, Column("price", "decimal", [*values, None], True))
    assert found.tolist()[:2] == values
    assert coordinate(np, Column("price", "decimal", [*values[:1], None], True)).dtype == float
