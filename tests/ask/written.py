"""One result of each format, written by the library that owns it, and what is in it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
U = np.array([[1.5, np.nan, -0.0], [np.inf, 2.0, 3.0]])
FRAME = pd.DataFrame({"t": np.int64([2**53 + 1, 2]), "u": [0.1, np.nan], "name": ["a", "NA"]})


def extremes(dtype: str) -> Any:
    return np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype)


def write_feather(path: str) -> None:
    import pyarrow.feather

    pyarrow.feather.write_feather(FRAME, path)


def write_arrow_stream(path: str) -> None:
    table = pa.Table.from_pandas(FRAME)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_orc(path: str) -> None:
    import pyarrow.orc

    pyarrow.orc.write_table(pa.Table.from_pandas(FRAME), path)


def write_excel(path: str) -> None:
    FRAME.assign(t=[1, 2]).to_excel(path, index=False)


def write_mat(path: str) -> None:
    from scipy.io import savemat

    savemat(path, {"u": U, "n": 3.0, "word": "grün"})


def write_mat73(path: str) -> None:
    """As MATLAB writes version 7.3: HDF5 behind 512 bytes of its own, with each matrix turned around."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values, kind in (("u", U.T, "double"), ("n", np.array([[3.0]]), "double")):
            file.create_dataset(name, data=values).attrs["MATLAB_class"] = np.bytes_(kind)
        word = file.create_dataset("word", data=np.array([[ord(one)] for one in "grün"], np.uint16))
        word.attrs["MATLAB_class"] = np.bytes_("char")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")


def write_fits(path: str) -> None:
    from astropy.io import fits

    image = fits.PrimaryHDU(U)
    image.header["BUNIT"] = "K"
    fits.HDUList([image, fits.ImageHDU(extremes("uint16"), name="COUNTS")]).writeto(path)


def write_asdf(path: str) -> None:
    import asdf

    asdf.AsdfFile({"u": U, "deep": {"n": 3, "words": ["a", "grün"]}, "big": np.arange(3, dtype=">i4")}).write_to(path)


def write_nifti(path: str) -> None:
    import nibabel

    image = nibabel.Nifti1Image(extremes("int16").reshape(3, 1, 1), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def write_mesh(path: str) -> None:
    import meshio

    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    cells = [("triangle", np.array([[0, 1, 2], [1, 3, 2]]))]
    point_data = {"T": np.array([1.0, np.nan, 3.0, 4.0]), "n": np.int32([1, 2, 3, 4])}
    mesh = meshio.Mesh(points, cells, point_data, {"p": [np.array([0.5, 1.5])]})
    getattr(meshio, Path(path).suffix[1:]).write(path, mesh)


def write_gmsh(path: str) -> None:
    import meshio

    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.25]])
    data = {"p": [np.array([0.5, 1.5])], **{f"gmsh:{name}": [np.int32([7, 8])] for name in ("physical", "geometrical")}}
    mesh = meshio.Mesh(points, [("triangle", np.int32([[0, 1, 2], [1, 3, 2]]))], {"T": np.arange(4.0)}, data)
    meshio.gmsh.write(path, mesh, "2.2", binary=True)


def write_surface(path: str) -> None:
    import meshio

    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.25]])
    mesh = meshio.Mesh(points, [("triangle", np.array([[0, 1, 2], [1, 3, 2]], "i4"))])
    getattr(meshio, Path(path).suffix[1:]).write(path, mesh)


def write_atoms(path: str) -> None:
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = [ase.Atoms("OH2", np.arange(9.0).reshape(3, 3) + n, cell=[5, 6, 7], pbc=True) for n in range(2)]
    for n, one in enumerate(frames):
        one.calc = SinglePointCalculator(one, energy=-1.5 - n, forces=np.ones((3, 3)))
        one.info["note"] = "two words"
    ase.io.write(path, frames, format="extxyz")


def write_root(path: str) -> None:
    import uproot

    with uproot.recreate(path) as file:
        tree = file.mktree("t", {"x": "int64", "y": "float32", "v": "(2,)float64"})
        tree.extend({"x": extremes("int64"), "y": np.float32([1, np.nan, 3]), "v": U.T})
        file["deep/h"] = np.histogram([1, 2, 2, 3], bins=3)


def write_wav(path: str) -> None:
    from scipy.io import wavfile

    wavfile.write(path, 8000, np.stack([extremes("int16"), np.int16([1, 2, 3])], axis=1))


def write_safetensors(path: str) -> None:
    from safetensors.numpy import save_file

    save_file({"u": U, "n": np.array(3), **{name: extremes(name) for name in INTEGERS}}, path, {"made": "here"})


def write_zarr_zip(path: str) -> None:
    import zarr

    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, name="u", data=U, dimension_names=["t", "x"])


WRITTEN: dict[str, Callable[[str], None]] = {
    ".feather": write_feather,
    ".arrow": write_arrow_stream,
    ".orc": write_orc,
    ".xlsx": write_excel,
    ".mat": write_mat,
    ".v73.mat": write_mat73,
    ".fits": write_fits,
    ".fits.gz": write_fits,
    ".asdf": write_asdf,
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    ".vtk": write_mesh,
    ".vtu": write_mesh,
    ".msh": write_gmsh,
    ".ply": write_surface,
    ".off": write_surface,
    ".extxyz": write_atoms,
    ".xyz": write_atoms,
    ".root": write_root,
    ".wav": write_wav,
    ".safetensors": write_safetensors,
    ".zarr.zip": write_zarr_zip,
}
ARRAYS: dict[str, dict[str, Any]] = {  # what `to_xarray` makes of them
    **{key: {name: FRAME[name].to_numpy() for name in FRAME} for key in (".feather", ".arrow", ".orc")},
    ".xlsx": {"t": np.int64([1, 2]), "u": FRAME.u.to_numpy(), "name": np.array(["a", "NA"], object)},
    **{key: {"u": U, "n": np.array(3.0), "word": np.array("grün")} for key in (".mat", ".v73.mat")},
    **{key: {"PRIMARY": U, "COUNTS": extremes("uint16")} for key in (".fits", ".fits.gz")},
    ".asdf": {"u": U, "deep.n": np.array(3), "deep.words": np.array(["a", "grün"]), "big": np.arange(3, dtype="int32")},
    **{
        key: {"data": extremes("int16").reshape(3, 1, 1), "affine": np.diag([2.0, 3.0, 4.0, 1.0])}
        for key in (".nii", ".nii.gz")
    },
    **{
        key: {
            "points": np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]),
            "point_data/T": np.array([1.0, np.nan, 3.0, 4.0]),
            "point_data/n": np.int32([1, 2, 3, 4]),
            "cells/triangle": np.array([[0, 1, 2], [1, 3, 2]]),
            "cell_data/p/triangle": np.array([0.5, 1.5]),
        }
        for key in (".vtk", ".vtu")
    },
    ".msh": {
        "points": np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.25]]),
        "point_data/T": np.arange(4.0),
        "cells/triangle": np.int32([[0, 1, 2], [1, 3, 2]]),
        "cell_data/gmsh:physical/triangle": np.int32([7, 8]),
        "cell_data/gmsh:geometrical/triangle": np.int32([7, 8]),
        "cell_data/p/triangle": np.array([0.5, 1.5]),
    },
    **{
        key: {
            "points": np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.25]]),
            "cells/triangle": np.array([[0, 1, 2], [1, 3, 2]], cells),
        }
        for key, cells in ((".ply", "i4"), (".off", "i8"))
    },
    **{
        key: {
            "positions": np.arange(9.0).reshape(3, 3) + np.arange(2).reshape(2, 1, 1),
            "numbers": np.array([[8, 1, 1]] * 2),
            "cell": np.stack([np.diag([5.0, 6, 7])] * 2),
            "pbc": np.ones((2, 3), bool),
            "energy": np.array([-1.5, -2.5]),
            "forces": np.ones((2, 3, 3)),
            "note": np.array(["two words"] * 2),
        }
        for key in (".extxyz", ".xyz")
    },
    ".root": {
        "t/x": extremes("int64"),
        "t/y": np.float32([1, np.nan, 3]),
        "t/v": U.T,
        "deep/h/values": np.array([1.0, 2, 1]),
        "deep/h/variances": np.array([1.0, 2, 1]),
        "deep/h/edges": np.linspace(1, 3, 4),
    },
    ".wav": {"samples": np.stack([extremes("int16"), np.int16([1, 2, 3])], axis=1), "rate": np.array(8000)},
    ".safetensors": {"u": U, "n": np.array(3), **{name: extremes(name) for name in INTEGERS}},
    ".zarr.zip": {"u": U},
}


def write_zip(path: str, members: dict[str, bytes]) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    Path(path).write_bytes(data.getvalue())
