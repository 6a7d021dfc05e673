"""All that an HDF5, NetCDF or Zarr file holds comes back: by every path, with its attributes and scales."""

from __future__ import annotations

import itertools
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from entropic import Base, LoadError, Mapped
from entropic.formats.read import read
from entropic.formats.save import save


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


def test_a_data_set_that_holds_nothing_is_missing_and_the_rest_of_the_file_is_read(make):
    def write(path: str, params: dict[str, Any]) -> None:
        with h5py.File(path, "w") as file:
            file["rate"] = h5py.Empty("f8") if params["n"] == 1 else 0.5
            file["u"] = [1.0]

    data = make(Held, write, ".h5").sweep({"n": n} for n in (1, 2)).to_xarray()
    assert np.isnan(data.rate.values[0])
    assert data.rate.values[1] == 0.5
    assert data.u.values.tolist() == [[1], [1]]


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


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_variables_in_groups_of_netcdf_are_in_labelled_arrays(make, lazy):
    data = make(Held, write_groups, ".nc").sweep({"n": n} for n in (1, 2)).to_xarray(lazy=lazy)
    assert data["deep/u"].dims == ("n", "t", "deep/x")
    assert data["other/inner/v"].dims == ("n", "other/inner/x")
    assert data["deep/x"].values.tolist() == [5, 6]
    assert data["deep/u"].sel(n=2, t=1).values.tolist() == [2, 2]
    only = make(Held, write_groups, ".nc").sweep({"n": n} for n in (1, 2)).to_xarray(variables="deep/u", lazy=lazy)
    assert list(only.data_vars) == ["deep/u"]


# ---- trees -------------------------------------------------------------------------------------------------------
TREE = xr.DataTree.from_dict(
    {
        "/": xr.Dataset({"r": 1.0}, {"t": ("t", np.array(["2020-01-01", "2021-01-01"], "M8[ns]"))}, {"by": "me"}),
        "/deep": xr.Dataset({"u": (("t", "x"), [[1.0, np.nan], [3.0, 4.0]], {"units": "m"})}, {"x": [5, 6]}),
        "/deep/deeper": xr.Dataset({"word": "a"}),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".zarr.zip"])
@pytest.mark.filterwarnings("ignore:The data type")  # zarr's, of text
def test_a_tree_that_is_returned_comes_back_decoded_with_all_its_attributes(tmp_path, make, suffix):
    packed = TREE.copy(deep=True)
    packed["deep/u"].encoding = {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}
    save(packed, str(tmp_path / f"a{suffix}"))
    found = read(str(tmp_path / f"a{suffix}"))
    assert found.identical(TREE)
    store = make(Held, lambda path, params: save(TREE, path), suffix)
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data["deep/u"].dims == ("n", "t", "deep/x")
    assert data["deep/u"].sel(n=2, t="2021-01-01", **{"deep/x": 6}) == 4
    assert data["deep/u"].attrs["units"] == "m"


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".zarr.zip"])
@pytest.mark.parametrize("data", [{"t": np.datetime64("2020-01-01", "ns"), "n": 3}, {}], ids=["numbers", "nothing"])
def test_a_data_set_without_dimensions_is_one(tmp_path, suffix, data):
    save(xr.Dataset(data, attrs={"by": "me"}), str(tmp_path / f"a{suffix}"))
    assert read(str(tmp_path / f"a{suffix}")).identical(xr.Dataset(data, attrs={"by": "me"}))


@pytest.mark.parametrize("version", [2, 3])
def test_arrays_of_zarr_without_names_of_dimensions_keep_their_attributes(tmp_path, make, version):
    def write(path: str, _: object) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=version)
        group.attrs["by"] = "me"
        group.create_array("deep/u", data=np.arange(3)).attrs["units"] = "m"
        group.create_array("end", data=np.array(2.5))

    write(str(tmp_path / "a.zarr"), None)
    found = read(str(tmp_path / "a.zarr"))
    assert (found["deep/u"].tolist(), found["end"]) == ([0, 1, 2], 2.5)
    assert found.attrs == {"/": {"by": "me"}, "deep/u": {"units": "m"}}
    data = make(Held, write, ".zarr").sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data["deep/u"].attrs["units"] == "m"


def test_images_of_several_sizes_with_the_same_names_of_dimensions_are_arrays(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    for size in (4, 2):
        group.create_array(str(size), data=np.ones((size, size)), dimension_names=["y", "x"])
    assert {name: one.shape for name, one in read(str(tmp_path / "a.zarr")).items()} == {"4": (4, 4), "2": (2, 2)}


@pytest.mark.parametrize("version", [2, 3])
def test_arrays_of_zarr_that_make_no_tree_are_read_by_their_path(tmp_path, version):
    path = str(tmp_path / "a.zarr")
    for group, x in ((None, [0, 1]), ("deep", [5, 6])):  # a tree of xarray has one `x` along each way down
        data = xr.Dataset({"u": ("x", [1.0, 2.0])}, {"x": x})
        data.to_zarr(path, group=group, mode="a", zarr_format=version, consolidated=False)
    found = read(path)
    assert {name: found[name].tolist() for name in found} == {
        "u": [1.0, 2.0],
        "x": [0, 1],
        "deep/u": [1.0, 2.0],
        "deep/x": [5, 6],
    }


def test_a_number_that_zarr_alone_has_written_is_no_data_set(tmp_path):
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2).create_array("deep/n", data=np.array(1.5))
    assert read(str(tmp_path / "a.zarr"))["deep/n"] == 1.5
