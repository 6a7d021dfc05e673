"""Zarr: a folder, or an archive of one, each file of which is looked at as it is read.

So what is checked and what is read are one.

The metadata of an array name the codecs that its data go through, one of which unpickles, and consolidated metadata say
a second time, and may say otherwise, what the arrays are and where they are.
"""

import contextlib
import functools
import json
import os
import re
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.arrays import Arrays
from entropic.formats.bounds import is_inside, refuse, refuse_link
from entropic.formats.lossless import as_labelled

_METADATA = ("zarr.json", ".zarray", ".zgroup")
_CONSOLIDATED = ".zmetadata"
_DIMS = "_ARRAY_DIMENSIONS"  # by which xarray names dimensions in the second format
_UNPICKLES = re.compile(r"pickle|joblib|\bdill\b|\bmarshal\b", re.IGNORECASE)


def read_zarr(path: str, only: object) -> object:
    """Return a `Dataset` where all arrays have named dimensions, with groups a `DataTree`; else arrays by their path.

    So are arrays of groups that make no tree. An array that is no part of a group is returned itself.
    """
    zarr = import_module("zarr")
    with _open_folder(path) as folder:
        return _read(zarr, folder, only)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open the array, or group, that a folder is."""
    zarr = import_module("zarr")
    with _open_folder(path) as folder:
        yield zarr.open(folder, mode="r")


@contextlib.contextmanager
def _open_folder(path: str) -> Iterator[Any]:
    folder = _store_class()(path)
    try:
        yield folder
    finally:
        folder.close()
        if folder.refusal is not None:  # whatever has become of it on the way here
            raise folder.refusal


def _read(zarr: Any, folder: Any, only: Any) -> object:
    found = zarr.open(folder, mode="r")
    if isinstance(found, zarr.Array):
        return found[...]
    groups = dict(_groups(found, ""))
    if _is_labelled(groups):
        datasets = {path: _dataset(folder, path, arrays) for path, (_, arrays) in groups.items()}
        if len(datasets) == 1:
            return datasets[""]
        with contextlib.suppress(ValueError):  # a group has another coordinate than the one around it
            return import_module("xarray").DataTree.from_dict(datasets)
    made = Arrays()
    for path, (group, arrays) in groups.items():
        _take_attributes(made, path or "/", group)
        for name, array in arrays.items():
            whole = f"{path}/{name}".lstrip("/")
            if only is None or whole in only:
                made[whole] = array[...]
                _take_attributes(made, whole, array)
    return made


def _groups(group: Any, path: str) -> Iterator[tuple[str, tuple[Any, dict[str, Any]]]]:
    """Yield a group and all within it, by path, each with its arrays."""
    yield path, (group, dict(group.arrays()))
    for name, inner in group.groups():
        yield from _groups(inner, f"{path}/{name}".lstrip("/"))


def _is_labelled(groups: Mapping[str, tuple[Any, Mapping[str, Any]]]) -> bool:
    """Tell whether all arrays have named dimensions, of which each has one size in its group and those within it."""
    sizes: dict[str, dict[str, int]] = {}
    for path, (_, arrays) in groups.items():
        own = sizes[path] = dict(sizes.get(os.path.dirname(path), {})) if path else {}
        for array in arrays.values():
            dims = _dims(array)
            if dims is None or any(own.setdefault(*pair) != pair[1] for pair in zip(dims, array.shape, strict=True)):
                return False
    return True


def _dataset(folder: Any, path: str, arrays: Mapping[str, Any]) -> Any:
    xarray = import_module("xarray")
    with xarray.open_zarr(folder, group=path or None, chunks=None, consolidated=False, decode_cf=False) as dataset:
        for name, array in arrays.items():
            if array.metadata.zarr_format == 2 and array.fill_value == 0:  # what zarr gives every array
                dataset[name].attrs.pop("_FillValue", None)  # and is no sign of what is missing
        return xarray.decode_cf(dataset).load()


def _take_attributes(arrays: Arrays, path: str, item: Any) -> None:
    if found := {name: value for name, value in item.attrs.items() if name != _DIMS}:
        arrays.attrs[path] = found


def arrays_of(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield all arrays of what was opened, by path; an array that was opened itself has none."""
    if hasattr(found, "arrays"):
        yield from _arrays(found, "")
    else:
        yield "", found


def _arrays(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, array in group.arrays():
        yield prefix + name, array
    for name, inner in group.groups():
        yield from _arrays(inner, f"{prefix}{name}/")


def _dims(array: Any) -> tuple[str, ...] | None:
    """Return the names of the dimensions of an array; None if any has none, as in what Zarr alone writes."""
    is_second = array.metadata.zarr_format == 2
    if is_second and _DIMS not in array.attrs:  # which xarray names of each array, also of one without dimensions
        return None
    names = tuple((array.attrs[_DIMS] if is_second else array.metadata.dimension_names) or ())
    return names if len(names) == array.ndim and None not in names else None


def save_zarr(value: object, path: str) -> None:
    """Write a `Dataset`, a `DataArray` as its variable, or a `DataTree`."""
    import_module("zarr")
    as_labelled(value).to_zarr(path, mode="w", consolidated=False)


def save_zarr_zip(value: object, path: str) -> None:
    """Write the same as an archive, each file of which is written once, as Zarr's own store of this kind does not."""
    files: dict[str, Any] = {}
    as_labelled(value).to_zarr(import_module("zarr.storage").MemoryStore(files), mode="w", consolidated=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(name, content.to_bytes())


# ---- what is read ------------------------------------------------------------------------------------------------
def _checked(path: str, key: str, text: bytes) -> bytes:
    """Return the metadata of one array or group, as they were understood here, so that nobody can read them otherwise.

    What they consolidate of others is left out: those have metadata of their own, which are looked at in their turn.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        return text
    document.pop("consolidated_metadata", None)
    for name in _codecs({name: value for name, value in document.items() if name != "attributes"}):
        if _UNPICKLES.search(name):
            what = f"the codec {name!r} of {os.path.dirname(key) or 'its array'} would unpickle them"
            refuse(path, f"holds Python objects, and is not read: {what}, which can run any code")
    return json.dumps(document).encode()


def _codecs(value: object, of: str = "") -> Iterator[str]:
    """Return the name of every codec in some metadata, however deep (a sharding codec has codecs of its own)."""
    if isinstance(value, dict):
        yield from (found for name in ("id", "name") if isinstance(found := value.get(name), str))
        for name, inner in value.items():
            yield from _codecs(inner, name)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str) and of.endswith("codecs"):
                yield inner
            yield from _codecs(inner)


@functools.cache
def _store_class() -> type[Any]:
    """Return the class of a folder that Zarr reads through; made when it is needed, since it is one of Zarr's."""
    base: Any = import_module("zarr.abc.store").Store
    storage = import_module("zarr.storage")

    class Folder(base):  # type: ignore[misc]  # of a library that may not be there
        """A folder, or an archive, that is only read, in which no link leads out, and whose metadata are looked at.

        It is a store of its own rather than a `LocalStore` with more to it: what Zarr may add to that one, such as
        another way to read a file, must not lead around this.
        """

        supports_writes = supports_deletes = supports_partial_writes = supports_consolidated_metadata = False
        supports_listing = True

        def __init__(self, path: str) -> None:
            super().__init__(read_only=True)
            self._path = path
            self._root = os.path.realpath(path)
            is_archive = os.path.isfile(self._root)
            self._files = storage.ZipStore(self._root) if is_archive else storage.LocalStore(self._root, read_only=True)
            self.refusal: LoadError | None = None

        async def _open(self) -> None:
            await self._files._ensure_open()
            await super()._open()

        def close(self) -> None:
            if self._files._is_open:
                self._files.close()
            super().close()

        def _check(self, key: str) -> None:
            found = os.path.join(self._root, key)
            if not is_inside(found, self._root):
                self._refuse(refuse_link, self._path, key, found)

        def _refuse(self, check: Any, *given: object) -> object:
            try:
                return check(*given)
            except LoadError as error:
                self.refusal = error
                raise

        async def get(self, key: str, prototype: object, byte_range: object = None) -> object:
            self._check(key)
            name = key.rpartition("/")[2]
            if name == _CONSOLIDATED:
                return None
            found = await self._files.get(key, prototype, byte_range)
            if found is None or name not in _METADATA:
                return found
            return type(found).from_bytes(self._refuse(_checked, self._path, key, found.to_bytes()))

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[object]:
            return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

        async def exists(self, key: str) -> bool:
            self._check(key)
            found: bool = await self._files.exists(key)
            return found

        async def list(self) -> AsyncIterator[str]:
            async for key in self._files.list():
                yield key

        async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
            self._check(prefix)
            async for key in self._files.list_prefix(prefix):
                yield key

        async def list_dir(self, prefix: str) -> AsyncIterator[str]:
            self._check(prefix)
            async for key in self._files.list_dir(prefix):
                yield key

        async def set(self, key: str, value: object) -> None:
            self._check_writable()

        async def set_partial_values(self, key_start_values: object) -> None:
            self._check_writable()

        async def delete(self, key: str) -> None:
            self._check_writable()

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Folder) and other._root == self._root

        __hash__ = None  # type: ignore[assignment]  # as Zarr's own

    return Folder
