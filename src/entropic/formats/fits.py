"""FITS: every image and table of a file, in this machine's byte order, with its header."""

import gzip
import io
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.arrays import Arrays, native
from entropic.formats.lossless import Unfit, as_arrays, is_frame

_TEXT = ("COMMENT", "HISTORY", "")


def read_fits(path: str, only: Any) -> Arrays:
    """Return images by the names of their HDUs, and columns of tables by those and their own: `EVENTS/energy`."""
    fits, arrays = import_module("astropy.io.fits"), Arrays()
    opened = gzip.open if path.lower().endswith(".gz") else open  # astropy takes the half of a .gz that was cut
    with opened(path, "rb") as file:
        content = file.read()
    with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
        for name, hdu in _named(hdus):
            _check_whole(path, name, hdu, len(content))
            header = arrays.attrs[name] = _attributes(hdu.header)
            if name == "PRIMARY":
                arrays.attrs["/"] = header
            for inner, array, column in _arrays_of(fits, name, hdu):
                if only is not None and inner not in only:
                    continue
                arrays[inner] = array
                if column is not None:
                    arrays.dims[inner] = (f"{name}/row", *[None] * (array.ndim - 1))
                    said = {"units": column.unit, "null": column.null}
                    arrays.attrs[inner] = {key: value for key, value in said.items() if value is not None}
            if "BUNIT" in header:
                header["units"] = header["BUNIT"]
    return arrays


def _named(hdus: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a file by name; by number where they have none, and with it where two have one name."""
    names = [hdu.name or str(i) for i, hdu in enumerate(hdus)]
    for i, hdu in enumerate(hdus):
        yield (names[i] if names.count(names[i]) == 1 else f"{names[i]},{hdu.ver}"), hdu


def _check_whole(path: str, name: str, hdu: Any, size: int) -> None:
    """Refuse a file that was cut: astropy warns, and takes what there is of a part."""
    place = hdu.fileinfo()
    if place is not None and place["datLoc"] + place["datSpan"] > size:
        raise LoadError(f"{path} is incomplete: {name!r} ends after the file does")


def _arrays_of(fits: Any, name: str, hdu: Any) -> Iterator[tuple[str, Any, Any]]:
    if hdu.data is None:
        return
    if isinstance(hdu, fits.hdu.groups.GroupsHDU):
        raise ValueError(f"{name!r} holds random groups")
    if hdu.data.dtype.names is None:
        yield name, native(hdu.data), None
        return
    np = import_module("numpy")
    for column in hdu.columns:
        values, here = hdu.data[column.name], f"{name}/{column.name}"
        if values.dtype == object:  # of different lengths
            rows = np.empty(len(values), object)
            rows[:] = [native(np.asarray(row)) for row in values]
            yield here, rows, column
        else:
            yield here, native(np.array(values, subok=False)), column


def _attributes(header: Any) -> dict[str, Any]:
    found = {key: value for key, value in header.items() if key not in _TEXT and isinstance(value, str | int | float)}
    for key in ("COMMENT", "HISTORY"):
        if key in header:
            found[key] = "\n".join(map(str, header[key]))
    return found


def save_fits(value: object, path: str) -> None:
    """Write an array, arrays by name as images, or a data frame as a table."""
    fits, np = import_module("astropy.io.fits"), import_module("numpy")
    if is_frame(value):
        raise Unfit("it takes arrays; of a data frame, such as {name: table[name].to_numpy() for name in table}")
    named = as_arrays(value if isinstance(value, Mapping) else {"PRIMARY": value})
    hdus = []
    for name, array in named.items():
        if array.ndim == 0 or array.size == 0:
            raise Unfit(
                f"{name!r} has the shape {array.shape}, but a FITS image has at least one axis, and none of length 0"
            )
        if array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8) or array.dtype == np.float16:
            raise Unfit(f"{name!r} has the dtype {array.dtype}, which FITS does not have")
        if name != name.upper() or not name.isascii() or not name.isprintable() or "/" in name or name != name.strip():
            raise Unfit(f"the name {name!r} would be changed: those of FITS are capital letters")
        hdus.append(fits.PrimaryHDU(array) if name == "PRIMARY" else fits.ImageHDU(array, name=name))
    hdus.sort(key=lambda hdu: not isinstance(hdu, fits.PrimaryHDU))
    if not hdus or not isinstance(hdus[0], fits.PrimaryHDU):
        hdus.insert(0, fits.PrimaryHDU())
    fits.HDUList(hdus).writeto(path, overwrite=True)
