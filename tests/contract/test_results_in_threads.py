"""HDF5 and NetCDF are libraries for one thread: what writes results, and what reads them, takes turns."""

from __future__ import annotations

import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from contract.models import PATIENCE
from entropic import Base, Mapped, expand_grid, outcome
from entropic.formats import hdf5, netcdf
from entropic.formats.save import save


class Wave(Base):
    __tablename__ = "waves"

    n: Mapped[int]
    peak: Mapped[float] = outcome(lambda result: float(np.max(result["u"])))


def of_xarray(params: dict[str, Any]) -> Any:
    import xarray

    return xarray.Dataset({"u": ("x", np.arange(2000.0) * params["n"])})


def of_numpy(params: dict[str, Any]) -> Any:
    return {"u": np.arange(2000.0) * params["n"]}


@pytest.mark.parametrize(
    ("suffix", "runner", "writer"), [(".nc", of_xarray, "xarray.Dataset.to_netcdf"), (".h5", of_numpy, "h5py.File")]
)
def test_a_result_is_written_while_no_other_thread_reads(monkeypatch, tmp_path, suffix, runner, writer):
    for module in ("netCDF4", "xarray", "h5py"):
        pytest.importorskip(module)
    write, held = pkgutil.resolve_name(writer.replace(".", ":", 1)), []

    def watched(*args: Any, **options: Any) -> Any:
        held.append(hdf5._ONE_AT_A_TIME._is_owned())
        return write(*args, **options)

    monkeypatch.setattr(writer, watched)
    save(runner({"n": 1}), str(tmp_path / f"result{suffix}"))
    assert held == [True]


def test_what_is_computed_by_threads_that_read_results_is_written_too(tmp_path):
    """They wait for their turn, so who writes has to wait for them before it takes its own."""
    xarray, dask = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    pytest.importorskip("netCDF4")
    source = str(tmp_path / "source.nc")
    save(of_xarray({"n": 3}), source)

    def read(block_info: Any = None) -> Any:
        return netcdf.read_netcdf(source, None).u.values

    lazy = xarray.Dataset({"u": ("x", dask.map_blocks(read, chunks=((2000,),), dtype=float, meta=np.empty(0)))})
    writer = threading.Thread(target=save, args=(lazy, str(tmp_path / "copy.nc")), daemon=True)
    writer.start()
    writer.join(PATIENCE)
    assert not writer.is_alive()
    assert netcdf.read_netcdf(str(tmp_path / "copy.nc"), None).u.values[-1] == 3 * 1999


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "runner", "module"), [(".nc", of_xarray, "netCDF4"), (".h5", of_numpy, "h5py")])
def test_threads_that_run_and_threads_that_measure_do_so_side_by_side(open_store, suffix, runner, module):
    pytest.importorskip(module)
    pytest.importorskip("xarray")
    store = open_store(runner, Wave, file_suffix=suffix)
    store.sweep(expand_grid({"n": list(range(10))}))
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as beside:
        measuring = beside.submit(lambda: [store.measure(again=True) for _ in range(3)])
        rows = store.sweep(expand_grid({"n": list(range(10, 40))}), pool)
        measuring.result()
    assert all(row.peak is None or row.peak == 1999 * row.n for row in rows)
    store.measure()
    assert {row.n: row.peak for row in store.select()} == {n: 1999.0 * n for n in range(40)}
    assert store.check().ok
