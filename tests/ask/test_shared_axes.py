"""Arrays that lie along one another, in formats that have no names for axes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from entropic import Base, LoadError, Mapped, ParameterError


class Prey(Base):
    __tablename__ = "prey"
    n: Mapped[int]


def h5(path: str, arrays: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def plain_zarr(path: str, arrays: dict[str, Any]) -> None:
    group = zarr.open_group(path, mode="w")
    for name, values in arrays.items():
        group.create_array(name, data=np.asarray(values))


WRITE = {
    ".npz": lambda path, arrays: np.savez(path, **arrays),
    ".h5": h5,
    ".zarr": plain_zarr,
    ".json": lambda path, arrays: Path(path).write_text(
        json.dumps({name: np.asarray(values).tolist() for name, values in arrays.items()})
    ),
}


def runs_of(make: Any, arrays: Any, suffix: str = ".npz") -> Any:
    """Runs whose results are `arrays(n)`."""
    store = make(Prey, lambda path, params: WRITE[suffix](path, arrays(params["n"])), suffix)
    return store.sweep({"n": n} for n in (1, 2))


T = np.array([0.0, 0.5, 1.0, 2.0])


def hunt(n: int) -> dict[str, Any]:
    return {"t": T, "prey": n + T, "predator": n - T, "at": np.ones((4, 2)) * n, "total": n}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("suffix", WRITE)
def test_the_obvious_axis_is_found(make, suffix, lazy):
    runs = runs_of(make, hunt, suffix)
    data = runs.to_xarray(lazy=lazy)
    assert {name: one.dims for name, one in data.data_vars.items()} == {
        "prey": ("n", "t"),
        "predator": ("n", "t"),
        "at": ("n", "t", "at_1"),
        "total": ("n",),
    }
    assert data.t.values.tolist() == T.tolist()
    assert float(data.prey.sel(n=2, t=0.5)) == 2.5
    some = runs.to_xarray(variables="prey", lazy=lazy)
    assert some.prey.dims == ("n", "t")
    assert some.t.values.tolist() == T.tolist()


def test_arrays_of_a_group_have_the_axes_of_that_group(make):
    data = runs_of(
        make, lambda n: {"a/time": T, "a/u": T * n, "b/time": T + 1, "b/u": T, "u": T, "c/u": T}, ".h5"
    ).to_xarray()
    found = {name: one.dims[1:] for name, one in data.data_vars.items()}
    assert found == {"a/u": ("a/time",), "b/u": ("b/time",), "u": ("u_0",), "c/u": ("c/u_0",)}


@pytest.mark.parametrize(
    "arrays",
    [
        {"t": T, "x": T + 1, "y": T},  # a thing that moves: which of them?
        {"t": T[::-1] * [1, -1, 1, 1], "u": T},  # no axis goes back and forth
        {"t": [0.0, 0.5, np.nan, 2.0], "u": T},
        {"t": [0.0, 0.5, 0.5, 2.0], "u": T},
        {"t": T, "u": np.ones((4, 4))},  # along which of its own?
        {"t": np.ones((4, 1)), "u": T},
        {"energy": T, "u": T},
        {"t": T, "u": T[:3]},
        {"t": ["a", "b", "c", "d"], "u": T},
    ],
)
def test_what_could_be_meant_otherwise_is_left_as_it_is(make, arrays):
    data = runs_of(make, lambda n: arrays).to_xarray()
    assert set(data.coords) == {"n"}
    assert all(dim in ("n", f"{name}_{i}") for name, one in data.items() for i, dim in enumerate(one.dims, -1))


def test_an_axis_that_differs_between_runs_lies_along_them(make):
    runs = runs_of(make, lambda n: {"t": T * n, "u": T})
    data = runs.to_xarray()
    assert data.u.dims == ("n", "t")
    assert data.t_values.sel(n=2).values.tolist() == (2 * T).tolist()
    lazy = runs.to_xarray(lazy=True)
    assert lazy.u.sel(n=1).compute().values.tolist() == T.tolist()
    with pytest.raises(LoadError, match=r"another 't'.*axes=\{\}"):
        lazy.u.compute()
    assert runs.to_xarray(lazy=True, axes={}).t.compute().values[1].tolist() == (2 * T).tolist()


def test_an_axis_that_only_the_first_run_has_straight_is_that_of_all(make):
    data = runs_of(make, lambda n: {"t": T if n == 1 else T[::-1] * [1, -1, 1, 1], "u": T}).to_xarray()
    assert data.u.dims == ("n", "t")
    assert data.t_values.dims == ("n", "t")


def test_axes_are_named_as_one_says(make):
    runs = runs_of(make, lambda n: {"s": T[::-1] * [1, -1, 1, 1], "u": T * n, "m": np.ones((4, 4)), "t": T})
    data = runs.to_xarray(axes={"u": "s", "m": ("s", None)})
    assert (data.u.dims, data.m.dims, data.t.dims) == (("n", "s"), ("n", "s", "m_1"), ("n", "t_0"))
    assert data.s.values.tolist() == (T[::-1] * [1, -1, 1, 1]).tolist()
    lazy = runs.to_xarray(axes={"u": "s"}, variables="u", lazy=True)
    assert lazy.compute().identical(runs.to_xarray(axes={"u": "s"}, variables="u"))
    assert runs.to_xarray(axes={"u": "way"}).u.dims == ("n", "way")
    assert runs.to_xarray(axes={}).u.dims == ("n", "u_0")


def test_a_result_alone_has_its_axes_named(make):
    store = make(Prey, lambda path, params: np.save(path, np.ones((2, 3)) * params["n"]), ".npy")
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray(axes={"result": ("y", "x")})
    assert data.result.dims == ("n", "y", "x")


@pytest.mark.parametrize(
    ("axes", "said"),
    [({"m": "t"}, "name each"), ({"m": ("t", "t")}, "one name"), ({"v": "t"}, "which has 4"), ({"w": "t"}, "'w'")],
)
def test_axes_that_do_not_fit_are_refused(make, axes, said):
    runs = runs_of(make, lambda n: {"t": T, "m": np.ones((4, 4)), "v": np.ones(3)})
    with pytest.raises(ParameterError, match=said):
        runs.to_xarray(axes=axes)


class Timed(Base):
    __tablename__ = "prey_with_t"
    t: Mapped[int]


def test_an_axis_that_is_called_as_a_parameter_has_the_other_name(make):
    store = make(Timed, lambda path, _: np.savez(path, t=T, u=T), ".npz")
    for lazy in (False, True):
        data = store.sweep({"t": n} for n in (1, 2)).to_xarray(lazy=lazy).compute()
        assert data.u.dims == ("t", "result_t")
        assert data.result_t.values.tolist() == T.tolist()


def test_axes_in_capital_letters_are_found_too(make):
    astropy = pytest.importorskip("astropy.io.fits")

    def write(path: str, params: dict[str, Any]) -> None:
        parts = [astropy.ImageHDU(T, name="T"), astropy.ImageHDU(T * params["n"], name="FLUX")]
        astropy.HDUList([astropy.PrimaryHDU(), *parts]).writeto(path)

    runs = make(Prey, write, ".fits").sweep({"n": n} for n in (1, 2))
    for data in (runs.to_xarray(), runs.to_xarray(lazy=True).compute(), runs.to_xarray(variables="FLUX")):
        assert data.FLUX.dims == ("n", "T")
        assert data.FLUX.sel(n=2, T=0.5) == 1


def test_lazy_arrays_with_a_shared_axis_go_to_other_processes(make):
    lazy = runs_of(make, hunt).to_xarray(lazy=True)
    runs = runs_of(make, hunt)
    assert pickle.loads(pickle.dumps(lazy)).compute().identical(runs.to_xarray())
