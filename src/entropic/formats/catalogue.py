"""The formats of results: one table, in which `read` and `save` find them, and of which the documents' are made.

What is not in it may come from a package that is installed beside entropic, which is looked for when there is a result
of a suffix that nobody here knows: never at import, and never for a format of entropic's own.
"""

import os
import sys
from collections.abc import Container
from functools import lru_cache
from typing import TYPE_CHECKING

from entropic.formats import (
    asdf_tree,
    atoms,
    columnar,
    excel,
    fits,
    hdf5,
    image,
    mat,
    mesh,
    netcdf,
    nifti,
    npy,
    pickled,
    plain,
    root,
    table,
    tensors,
    wav,
    zarr_folder,
)
from entropic.formats.format import Format

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "entropic.formats"


class FormatError(Exception):
    """Why the format of a package cannot be used."""


_FRAME = "a data frame of pandas or Polars, or a table of pyarrow"

FORMATS = (
    Format(
        suffixes=(".npy",),
        libraries=("numpy",),
        extra="numpy",
        read=npy.read_npy,
        returns="an array",
        save=npy.save_npy,
        takes="an array or a number",
    ),
    Format(
        suffixes=(".npz",),
        libraries=("numpy",),
        extra="numpy",
        read=npy.read_npz,
        returns="a dict of arrays",
        save=npy.save_npz,
        takes='a dict of arrays and numbers; nested dicts are read back by path, `"group/name"`',
    ),
    Format(
        suffixes=(".h5", ".hdf5", ".he5"),
        libraries=("h5py",),
        extra="hdf5",
        read=hdf5.read_hdf5,
        returns='a dict of arrays, by path; its `attrs[path]` are the attributes, and of `"/"` those of the file',
        save=hdf5.save_hdf5,
        takes="a dict of arrays and numbers, as for `.npz`",
    ),
    Format(
        suffixes=(".nc", ".nc4", ".cdf"),
        libraries=("netCDF4", "xarray", "h5py"),
        extra="netcdf",
        read=netcdf.read_netcdf,
        returns="an xarray `Dataset`, loaded; a `DataTree` if the file has groups",
        save=netcdf.save_netcdf,
        takes="an xarray `Dataset`; a `DataArray` becomes the variable of its name, or `result`",
    ),
    Format(
        suffixes=(".zarr",),
        libraries=("zarr",),
        extra="zarr",
        read=zarr_folder.read_zarr,
        returns="an xarray `Dataset` if the dimensions have names, else a dict of arrays by path, or the only array",
        save=zarr_folder.save_zarr,
        takes="an xarray `Dataset` or `DataArray`",
    ),
    Format(
        suffixes=(".zarr.zip",),
        libraries=("zarr",),
        extra="zarr",
        read=zarr_folder.read_zarr,
        returns="the same, of an archive of such a folder",
        save=zarr_folder.save_zarr_zip,
        takes="an xarray `Dataset` or `DataArray`",
    ),
    Format(
        suffixes=(".parquet",),
        libraries=("pyarrow", "pandas"),
        extra="pandas",
        read=columnar.read_parquet,
        returns="a pandas data frame",
        save=columnar.save_parquet,
        takes=_FRAME,
    ),
    Format(
        suffixes=(".feather", ".arrow"),
        libraries=("pyarrow", "pandas"),
        extra="pandas",
        read=columnar.read_feather,
        returns="a pandas data frame, of a file or a stream of Arrow's",
        save=columnar.save_feather,
        takes=_FRAME,
    ),
    Format(
        suffixes=(".orc",),
        libraries=("pyarrow", "pandas"),
        extra="pandas",
        read=columnar.read_orc,
        returns="a pandas data frame",
        save=columnar.save_orc,
        takes=_FRAME,
    ),
    Format(
        suffixes=(".csv", ".tsv", ".csv.gz", ".tsv.gz"),
        libraries=("pandas",),
        extra="pandas",
        read=table.read_csv,
        returns="a pandas data frame",
        save=table.save_csv,
        takes=_FRAME,
    ),
    Format(
        suffixes=(".xlsx",),
        libraries=("pandas", "openpyxl"),
        extra="excel",
        read=excel.read_excel,
        returns="a pandas data frame; a dict of them if there are several sheets",
    ),
    Format(
        suffixes=(".mat",),
        libraries=("scipy",),
        extra="matlab",
        read=mat.read_mat,
        returns="a dict of arrays, numbers and text; structs are dicts, cells are lists",
        save=mat.save_mat,
        takes="a dict of arrays, numbers and text, which may be nested",
    ),
    Format(
        suffixes=(".fits", ".fit", ".fts", ".fits.gz"),
        libraries=("astropy",),
        extra="astro",
        read=fits.read_fits,
        returns="a dict of images by the names of their HDUs, and of columns, `EVENTS/energy`; headers are in `attrs`",
        save=fits.save_fits,
        takes="an array, or a dict of arrays with names in capital letters",
    ),
    Format(
        suffixes=(".asdf",),
        libraries=("asdf",),
        extra="astro",
        read=asdf_tree.read_asdf,
        returns="a dict: the tree, with its arrays",
    ),
    Format(
        suffixes=(".nii", ".nii.gz"),
        libraries=("nibabel",),
        extra="medical",
        read=nifti.read_nifti,
        returns="a dict of `data`, scaled, and `affine`; zooms and units are in `attrs`",
    ),
    Format(
        suffixes=(".vtk", ".vtu", ".xdmf"),
        libraries=("meshio",),
        extra="mesh",
        read=mesh.read_mesh,
        returns="a `meshio.Mesh`; as arrays `points`, `cells/triangle`, `point_data/T`, `cell_data/p/triangle`",
        arrays=mesh.arrays_of_mesh,
    ),
    Format(
        suffixes=(".extxyz", ".xyz"),
        libraries=("ase",),
        extra="atoms",
        read=atoms.read_atoms,
        returns="a list of `ase.Atoms`, one for each frame; as arrays `positions`, `energy` and so on, by `frame`",
        arrays=atoms.arrays_of_atoms,
    ),
    Format(
        suffixes=(".root",),
        libraries=("uproot",),
        extra="root",
        read=root.read_root,
        returns="a dict of branches, `tree/branch`, and of the `values`, `variances` and `edges` of histograms",
    ),
    Format(
        suffixes=(".wav",),
        libraries=("scipy",),
        extra="audio",
        read=wav.read_wav,
        returns="a dict of `samples` and `rate`",
        save=wav.save_wav,
        takes="a dict of `samples` and `rate`",
    ),
    Format(
        suffixes=(".safetensors",),
        libraries=("safetensors", "numpy"),
        extra="safetensors",
        read=tensors.read_safetensors,
        returns="a dict of arrays; what is said of the file is in `attrs`",
        save=tensors.save_safetensors,
        takes="a dict of arrays and numbers, not nested",
    ),
    Format(
        suffixes=(".json",),
        read=plain.read_json,
        returns="what JSON holds",
        save=plain.save_json,
        takes="numbers, text, lists, dicts; dataclasses and named tuples become dicts",
    ),
    Format(
        suffixes=(".txt", ".md", ".log"),
        read=plain.read_text,
        returns="text",
        save=plain.save_text,
        takes="text",
    ),
    Format(
        suffixes=(".png",),
        libraries=("PIL",),
        extra="images",
        read=image.read_image,
        returns="a Pillow image, or an array if Pillow cannot hold the image; a list if it has several pages",
        save=image.save_picture,
        takes="a Matplotlib figure, or a Pillow image",
        arrays=image.arrays_of_image,
    ),
    Format(
        suffixes=(".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp"),
        libraries=("PIL",),
        extra="images",
        read=image.read_image,
        returns="the same",
        arrays=image.arrays_of_image,
    ),
    Format(suffixes=(".pdf",), save=image.save_picture, takes="a Matplotlib figure, or a Pillow image"),
    Format(suffixes=(".svg",), save=image.save_picture, takes="a Matplotlib figure"),
    Format(
        suffixes=pickled.SUFFIXES,
        read=pickled.refuse_pickle,
        returns="nothing: they may be pickles, and reading one can run any code",
    ),
)
_BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}


def ending(path: str, suffixes: Container[str]) -> str | None:
    """Return the longest of some suffixes that a path ends with: of `a.nii.gz` rather `.nii.gz` than `.gz`."""
    name = os.path.basename(path).lower()
    at = name.find(".")
    while at >= 0:
        if name[at:] in suffixes:
            return name[at:]
        at = name.find(".", at + 1)
    return None


def find_own(path: str) -> tuple[str, Format] | None:
    """Return the suffix of a result and its format, if that is one of entropic's; imports nothing."""
    suffix = ending(path, _BY_SUFFIX)
    return None if suffix is None else (suffix, _BY_SUFFIX[suffix])


def find(path: str) -> tuple[str, Format] | None:
    """Return the suffix of a result and its format; None if nobody knows it.

    Raises
    ------
    FormatError
        If the package that says that it knows it is broken, or several say so.
    """
    own = find_own(path)
    if own is not None:
        return own
    others = _entry_points(tuple(sys.path))
    suffix = ending(path, others)
    return None if suffix is None else (suffix, _loaded(suffix, others[suffix]))


# ---- formats of other packages -----------------------------------------------------------------------------------
@lru_cache(maxsize=8)
def _entry_points(path: tuple[str, ...]) -> dict[str, list["EntryPoint"]]:
    """Return what packages say that they know, by suffix; none of it is imported. Kept while the path is the same."""
    from importlib.metadata import entry_points  # with much else, which few need

    found: dict[str, list[EntryPoint]] = {}
    for one in entry_points(group=GROUP):
        found.setdefault(f".{one.name.lower().lstrip('.')}", []).append(one)
    return found


def _loaded(suffix: str, points: list["EntryPoint"]) -> Format:
    if len(points) > 1:
        names = " and ".join(sorted(map(_package, points)))
        raise FormatError(f"the packages {names} both say that they read {suffix} files; uninstall one")
    (point,) = points
    where = f"the package {_package(point)}, which says that it reads {suffix} files,"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise FormatError(
            f"{where} is broken: its entry point {point.value!r} raised {type(error).__name__}: {error}; "
            "update or uninstall it"
        ) from error
    if not isinstance(found, Format) or suffix not in found.suffixes:
        what = f"for {', '.join(found.suffixes)}" if isinstance(found, Format) else f"a {type(found).__name__}"
        raise FormatError(
            f"{where} is broken: its entry point {point.value!r} is {what}, and not an entropic.Format "
            f"for {suffix}; update or uninstall it"
        )
    return found


def _package(point: "EntryPoint") -> str:
    return point.dist.name if point.dist is not None else point.module
