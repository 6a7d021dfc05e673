"""NetCDF, much of which stands on HDF5 and follows its links into other files, which is refused."""

import os
from importlib import import_module
from typing import Any

from entropic.formats.hdf5 import Hdf5Bounds, check_whole, one_at_a_time
from entropic.formats.lossless import as_labelled

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")  # how the formats of NetCDF begin that stand on nothing


def read_netcdf(path: str, _: object) -> Any:
    """Return a `Dataset`, loaded; of a file with groups, a `DataTree`."""
    import_module("netCDF4")
    xarray = import_module("xarray")
    with open(path, "rb") as file:
        is_classic = file.read(4) in _CLASSIC
    real = os.path.realpath(path)
    with one_at_a_time():
        if is_classic or not _has_groups(path):
            return xarray.load_dataset(real, engine="netcdf4")
        with xarray.open_datatree(real, engine="netcdf4") as tree:
            return tree.load()


def _has_groups(path: str) -> bool:
    """Tell whether a file has groups; refuse one whose parts are elsewhere, since NetCDF's library follows links."""
    h5py = import_module("h5py")
    bounds = Hdf5Bounds(h5py, path)
    with h5py.File(bounds.real, "r") as file:
        return check_whole(h5py, bounds, file)


def save_netcdf(value: object, path: str) -> None:
    """Write a `Dataset`, a `DataArray` as its variable, or a `DataTree`."""
    import_module("netCDF4")
    computed = as_labelled(value).compute()  # before the others wait: its threads may be among them
    with one_at_a_time():
        computed.to_netcdf(path, engine="netcdf4")
