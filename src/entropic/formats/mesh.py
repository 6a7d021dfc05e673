"""Meshes of VTK, XDMF, Gmsh and others: points, cells, and what is known at each."""

import contextlib
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from entropic.formats.arrays import Arrays, native
from entropic.formats.bounds import refuse
from entropic.formats.hdf5 import Hdf5Bounds, one_at_a_time

READERS = {
    ".vtk": "vtk",
    ".vtu": "vtu",
    ".xdmf": "xdmf",
    ".xmf": "xdmf",
    ".msh": "gmsh",
    ".ply": "ply",
    ".off": "off",
}
"""Modules of meshio by suffix: those that follow no name of another file, and of which a part is not taken for the
whole, as meshio (5.3) does with STL and OBJ."""


def read_mesh(path: str, _: Any) -> Any:
    """Return a `meshio.Mesh`."""
    import_module("meshio")
    family = READERS[os.path.splitext(path)[1].lower()]
    reader = import_module(f"meshio.{family}")  # meshio.read would end the process over a file that it cannot read
    if family == "xdmf":
        with one_at_a_time():
            _check_beside(path)
            mesh = reader.read(path)
    else:
        if family == "gmsh":
            _check_end(path)
        mesh = reader.read(Path(path))
    mesh.points = native(mesh.points)
    for cells in mesh.cells:
        cells.data = native(cells.data)
    mesh.point_data = {name: native(values) for name, values in mesh.point_data.items()}
    mesh.cell_data = {name: [native(values) for values in blocks] for name, blocks in mesh.cell_data.items()}
    return mesh


def _check_end(path: str) -> None:
    """Refuse a file of Gmsh that was cut, of which meshio returns a part."""
    with open(path, "rb") as file:
        begin = file.read(1)
        file.seek(-min(os.path.getsize(path), 80), os.SEEK_END)
        last = file.read().rstrip().rpartition(b"\n")[2]
    if begin == b"$" and not last.startswith(b"$End"):
        refuse(path, "is incomplete: its last part has no end")


def _check_beside(path: str) -> None:
    """Refuse XDMF whose numbers are not in itself, or in HDF5 of the same folder."""
    root = import_module("xml.etree.ElementTree").parse(path).getroot()
    h5py = import_module("h5py")
    bounds = Hdf5Bounds(h5py, path)
    for item in root.iter("DataItem"):
        kind, text = item.get("Format", "XML"), (item.text or "").strip()
        if kind == "HDF":
            other, _, name = text.partition(":")
            bounds.check_source(name, None, other, name, "has its numbers in")
        elif kind != "XML":
            refuse(path, f"cannot be read: it has its numbers in a file of the format {kind!r}, {text}")


def arrays_of_mesh(loaded: Any) -> Arrays | None:
    """Return `points`, `cells/<type>`, `point_data/<name>` and `cell_data/<name>/<type>`, and what else there is."""
    if not hasattr(loaded, "cells_dict") or not hasattr(loaded, "point_data"):
        return None
    arrays = Arrays()
    for name, values, dims in _parts(loaded):
        arrays[name] = values
        arrays.dims[name] = (*dims, *[None] * (values.ndim - len(dims)))[: values.ndim]
    return arrays


def _parts(mesh: Any) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    np = import_module("numpy")
    yield "points", mesh.points, ("point", "axis")
    for name, values in mesh.point_data.items():
        yield f"point_data/{name}", values, ("point",)
    for kind, cells in mesh.cells_dict.items():
        yield f"cells/{kind}", cells, (kind,)
    for name, of_kinds in mesh.cell_data_dict.items():
        for kind, values in of_kinds.items():
            yield f"cell_data/{name}/{kind}", values, (kind,)
    for name, values in mesh.field_data.items():
        with contextlib.suppress(ValueError):
            yield f"field_data/{name}", np.asarray(values), ()
