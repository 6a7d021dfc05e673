"""All that an HDF5 or NetCDF file holds comes back: by every path that leads to it, with its attributes and scales."""

from __future__ import annotations

import itertools
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from entropic import Base, LoadError, Mapped
from entropic.formats.read import read


class Held(Base):
    __tablename__ = "held"
    n: Mapped[int]


def h5(path: Any, write: Any) -> Any:
    with h5py.File(path, "w") as file:
        write(file)
    return read(str(path))


def test_hard_and_soft_links_are_paths_like_others(tmp_path):
    def write(file: h5py.File) -> None:
        file["a/u"] = [1, 2]
        file["b"] = file["a"]  # a group
        file["z"] = file["a/u"]
        file["soft"] = h5py.SoftLink("/a/u")
        file["a/near"] = h5py.SoftLink("u")
        file["a/up"] = file["/"]  # a circle

    found = h5(tmp_path / "a.h5", write)
    names = {"a/u", "a/near", "b/u", "b/near", "z", "soft"}
    assert names <= set(found)
    assert {tuple(values) for values in found.values()} == {(1, 2)}


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    def write(file: h5py.File) -> None:
        file["u"] = [1, 2]
        file["lost"] = h5py.SoftLink("/v")

    with pytest.raises(LoadError, match=r"is incomplete.*'lost'"):
        h5(tmp_path / "a.h5", write)


def test_links_from_group_to_group_end_somewhere(tmp_path, monkeypatch):
    """Each of a few groups holds the next one twice."""

    def write(file: h5py.File) -> None:
        groups = [file.create_group(str(n)) for n in range(6)]
        for one, other in itertools.pairwise(groups):
            one["a"], one["b"] = other, other

    monkeypatch.setattr("entropic.formats.hdf5._PATHS", 50)
    with pytest.raises(LoadError, match="more than 50 paths"):
        h5(tmp_path / "a.h5", write)


def test_attributes_are_there_and_go_into_labelled_arrays(make):
    def write(path: str, _: Any) -> None:
        with h5py.File(path, "w") as file:
            file["deep/u"] = [1.0, 2.0]
            file["deep/u"].attrs.update({"units": "m", "scale": 2, "range": [0, 1], "words": ["a", "b"], "NAME": "v"})
            file["deep"].attrs["kind"] = "inner"
            file.attrs["title"] = "grün"
            file.attrs["points_at"] = file["deep"].ref
            file.attrs["nothing"] = h5py.Empty("f8")

    store = make(Held, write, ".h5")
    found = store.load(store.run({"n": 1}))
    assert found.attrs["/"]["title"] == "grün"
    assert "points_at" not in found.attrs["/"]
    assert list(found.attrs["deep/u"]["words"]) == ["a", "b"]
    assert found.attrs["deep/u"]["NAME"] == "v"
    assert found.attrs["deep"] == {"kind": "inner"}
    assert (found.attrs["deep/u"]["units"], found.attrs["deep/u"]["scale"]) == ("m", 2)
    assert store.sweep({"n": n} for n in (1, 2)).to_xarray()["deep/u"].attrs["units"] == "m"


@pytest.mark.parametrize("lazy", [False, True])
def test_scales_are_coordinates_of_what_they_are_attached_to(make, lazy):
    def write(path: str, params: dict[str, Any]) -> None:
        with h5py.File(path, "w") as file:
            file["t"] = [0.0, 0.5, 1.0]
            file["t"].make_scale("time")
            file["u"] = params["n"] * np.ones((3, 2))
            file["u"].dims[0].attach_scale(file["t"])
            file["u"].dims[1].label = "side"

    runs = make(Held, write, ".h5").sweep({"n": n} for n in (1, 2))
    for only in (None, "u"):
        data = runs.to_xarray(variables=only, lazy=lazy)
        assert data.u.dims == ("n", "t", "side")
        assert data.t.values.tolist() == [0.0, 0.5, 1.0]
        assert data.u.sel(n=2, t=0.5).values.tolist() == [2, 2]


@pytest.mark.parametrize("fixed", [False, True])
def test_text_that_is_no_utf8_is_bytes_and_the_rest_of_the_file_is_read(make, fixed):
    def write(path: str, _: Any) -> None:
        with h5py.File(path, "w") as file:
            kind = h5py.string_dtype("utf-8", 4 if fixed else None)
            file.create_dataset("old", data=np.array([b"gr\xfcn", b"rot"], kind), dtype=kind)
            file["u"] = [1.0]

    store = make(Held, write, ".h5")
    found = store.load(store.run({"n": 1}))
    assert list(found["old"]) == [b"gr\xfcn", b"rot"]
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data.old.values[0].tolist() == [b"gr\xfcn", b"rot"]


# ---- NetCDF ------------------------------------------------------------------------------------------------------
def write_groups(path: str, params: dict[str, Any]) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("t", 3)
        file.createVariable("t", "f8", ("t",))[:] = [0, 1, 2]
        deep = file.createGroup("deep")
        deep.createDimension("x", 2)
        deep.createVariable("x", "f8", ("x",))[:] = [5, 6]
        deep.createVariable("u", "f8", ("t", "x"))[:] = params["n"]
        other = file.createGroup("other/inner")
        other.createDimension("x", 4)
        other.createVariable("v", "i4", ("x",))[:] = params["n"]


def test_groups_of_netcdf_are_a_tree(make):
    store = make(Held, write_groups, ".nc")
    tree = store.load(store.run({"n": 1}))
    assert isinstance(tree, xr.DataTree)
    assert tree["deep/u"].values.tolist() == [[1, 1]] * 3
    assert tree["other/inner/v"].values.tolist() == [1] * 4
    assert tree["t"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("lazy", [False, True])
def test_variables_in_groups_of_netcdf_are_in_labelled_arrays(make, lazy):
    data = make(Held, write_groups, ".nc").sweep({"n": n} for n in (1, 2)).to_xarray(lazy=lazy)
    assert data["deep/u"].dims == ("n", "t", "deep/x")
    assert data["other/inner/v"].dims == ("n", "other/inner/x")
    assert data["deep/x"].values.tolist() == [5, 6]
    assert data["deep/u"].sel(n=2, t=1).values.tolist() == [2, 2]
    only = make(Held, write_groups, ".nc").sweep({"n": n} for n in (1, 2)).to_xarray(variables="deep/u", lazy=lazy)
    assert list(only.data_vars) == ["deep/u"]
