"""Atoms in extended XYZ, which is plain XYZ with columns and values of one's own: all frames of a file."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from entropic.formats.arrays import Arrays


def read_atoms(path: str, _: Any) -> list[Any]:
    """Return a list of `ase.Atoms`, one for each frame."""
    read = import_module("ase.io.extxyz").read_extxyz
    with open(path, encoding="utf-8") as file:
        return list(read(file, index=slice(None)))


def arrays_of_atoms(loaded: Any) -> Arrays | None:
    """Return positions, cells, and all properties of atoms and frames, along `frame` and `atom`.

    Raises
    ------
    ValueError
        If the frames have different numbers of atoms, or different properties.
    """
    if not isinstance(loaded, list) or not loaded or not all(hasattr(one, "get_atomic_numbers") for one in loaded):
        return None
    np, frames = import_module("numpy"), [_of_frame(one) for one in loaded]
    if len({len(one) for one in loaded}) > 1:
        raise ValueError("its frames have different numbers of atoms")
    if len({tuple(frame) for frame in frames}) > 1:
        raise ValueError("its frames have different properties")
    arrays = Arrays()
    for name, (_, dims) in frames[0].items():
        values = np.array([frame[name][0] for frame in frames])
        arrays[name] = values
        arrays.dims[name] = ("frame", *dims, *[None] * (values.ndim - 1 - len(dims)))[: values.ndim]
    return arrays


def _of_frame(atoms: Any) -> Mapping[str, tuple[Any, tuple[str, ...]]]:
    found: dict[str, tuple[Any, tuple[str, ...]]] = {
        "cell": (atoms.cell.array, ("vector", "axis")),
        "pbc": (atoms.pbc, ("vector",)),
    }
    results = {} if atoms.calc is None else atoms.calc.results
    for properties in (atoms.arrays, results, atoms.info):
        for name, value in properties.items():
            if name in found:
                raise ValueError(f"its frames have two properties that are called {name!r}")
            of_atoms = properties is not atoms.info and getattr(value, "shape", ())[:1] == (len(atoms),)
            of_atoms = of_atoms and name not in ("stress", "dipole")
            axes = ("axis",) if name in ("positions", "forces", "momenta", "velocities") else ()
            found[name] = value, ("atom", *axes) if of_atoms else ()
    return dict(sorted(found.items()))
