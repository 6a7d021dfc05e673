"""Results that are alike but for their numbers, as those of one sweep are: read in a small part of the time.

The first is read in the general way. A later one is alike if each byte outside of its arrays' data equals that of the
first (headers, names, the directory of an archive), and each checksum holds. Then its arrays are where they were in
the first, and of its types and shapes. Whatever is not alike is read in the general way, and raises what that raises.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from entropic.ask.variables import Variable
from entropic.formats.arrays import RESULT
from entropic.formats.libraries import library
from entropic.params.model import Base

LARGEST = 2**26  # bytes of a file; numpy reads larger ones as fast
_KINDS = "biufcSU"  # of arrays that become variables as they are
_LOCAL, _CENTRAL = 30, 46  # bytes of a member's header, and of its entry in the directory, without names
_UTF8 = 0x800  # the flag of a member that says nothing but how its name is spelled
_Checked = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Array:
    """Where the data of an array begins in a file, and what it is."""

    name: str
    begin: int
    count: int
    dtype: Any
    shape: tuple[int, ...]
    order: Any

    @property
    def end(self) -> int:
        return self.begin + self.count * int(self.dtype.itemsize)

    def of(self, np: Any, content: bytes) -> Any:
        return np.frombuffer(content, self.dtype, self.count, self.begin).reshape(self.shape, order=self.order)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What files that are alike share: arrays, checked parts (from, to, and where their CRCs are), all other bytes."""

    size: int
    arrays: tuple[_Array, ...]
    checked: tuple[_Checked, ...]
    same: tuple[tuple[int, int, bytes], ...]

    def fits(self, content: bytes) -> bool:
        """Tell whether a file is alike."""
        return (
            len(content) == self.size
            and all(content[begin:end] == same for begin, end, same in self.same)
            and all(
                zlib.crc32(memoryview(content)[begin:end]) == int.from_bytes(content[at : at + 4], "little")
                for begin, end, places in self.checked
                for at in places
            )
        )


class Results:
    """The variables of one result after another.

    Parameters
    ----------
    general
        Reads the result of a row, perhaps only some variables, in the way that every format has.
    only
        What `general` reads if it is told nothing else.
    taken
        Names that variables of results do not keep.
    is_general
        Whether nothing else is to be tried, since a loader, or custom data, have a say.
    """

    def __init__(
        self,
        general: Callable[..., dict[str, Variable]],
        only: Sequence[str] | None,
        taken: set[str],
        is_general: bool,
    ) -> None:
        self._general, self._only, self._taken, self._is_general = general, only, taken, is_general
        self._known: dict[tuple[str, ...] | None, tuple[_Layout, list[tuple[str, Variable, _Array]]] | None] = {}

    def __call__(self, row: Base, **options: Any) -> dict[str, Variable]:
        """Return the variables of a run."""
        only = options.get("only", self._only)
        path: str = row.result_file
        if self._is_general or path[-4:] not in (".npy", ".npz"):
            return self._general(row, **options)
        asked = None if only is None else tuple(only)
        if asked not in self._known:
            found = self._general(row, **options)
            self._known[asked] = self._learn(path, found)
            return found
        known = self._known[asked]
        content = None if known is None else _content(path, known[0].size)
        if known is None or content is None or not known[0].fits(content):
            return self._general(row, **options)
        np = library("numpy", "xarray", "to_xarray")
        return {
            name: Variable(one.dims, array.of(np, content), one.attrs, one.is_coord, one.is_found)
            for name, one, array in known[1]
        }

    def _learn(
        self, path: str, found: dict[str, Variable]
    ) -> tuple[_Layout, list[tuple[str, Variable, _Array]]] | None:
        """Return where the variables of a result that was read just now lie in its file; None if that is not plain."""
        np = library("numpy", "xarray", "to_xarray")
        size = os.path.getsize(path)
        content = _content(path, size) if size <= LARGEST else None
        layout = None if content is None else _layout(np, content)
        if content is None or layout is None or not layout.fits(content):
            return None
        arrays = {f"result_{one.name}" if one.name in self._taken else one.name: one for one in layout.arrays}
        for name, one in found.items():
            if name not in arrays or not _is(one.values, arrays[name].of(np, content)):
                return None
        return layout, [
            (name, Variable(one.dims, None, one.attrs, one.is_coord, one.is_found), arrays[name])
            for name, one in found.items()
        ]


def _is(values: Any, array: Any) -> bool:
    """Tell whether an array was taken as it is, from the very file that is looked at."""
    return (values.dtype, values.shape) == (array.dtype, array.shape) and values.tobytes() == array.tobytes()


def _content(path: str, most: int) -> bytes | None:
    """Return what is in a file, or more than that many bytes of it; None if that is not to be had at once."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, most + 1)
    except OSError:
        return None
    finally:
        os.close(file)


def _layout(np: Any, content: bytes) -> _Layout | None:
    try:
        return _of_npz(np, content) if content.startswith(b"PK") else _of_npy(np, content)
    except (ValueError, KeyError, EOFError, OSError, struct.error, zipfile.BadZipFile):  # numpy reads more than this
        return None


def _of_npy(np: Any, content: bytes) -> _Layout | None:
    array = _array(np, content, RESULT, 0, len(content))
    return None if array is None else _made(content, [array], ())


def _array(np: Any, content: bytes, name: str, begin: int, end: int) -> _Array | None:
    """Return the array that lies between two places of a file; None if that is not plain numbers or text."""
    head = io.BytesIO(memoryview(content)[begin:end])
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read[np.lib.format.read_magic(head)](head)
    count, start = prod(shape), begin + head.tell()
    if dtype.kind not in _KINDS or not count or not dtype.itemsize or start + count * dtype.itemsize != end:
        return None
    return _Array(name, start, count, dtype, shape, "F" if is_fortran else "C")


def _of_npz(np: Any, content: bytes) -> _Layout | None:
    arrays, checked = [], []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members, entry = archive.infolist(), archive.start_dir
    for member in members:
        is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & ~_UTF8
        if not is_plain or member.compress_size != member.file_size or not member.filename.endswith(".npy"):
            return None
        local = member.header_offset
        begin = local + _LOCAL + sum(struct.unpack_from("<HH", content, local + 26))
        end = begin + member.file_size
        array = _array(np, content, member.filename[:-4], begin, end)
        if array is None:
            return None
        arrays.append(array)
        checked.append((begin, end, (local + 14, entry + 16)))
        entry += _CENTRAL + sum(struct.unpack_from("<HHH", content, entry + 28))
    return _made(content, arrays, tuple(checked)) if members else None


def _made(content: bytes, arrays: list[_Array], checked: tuple[_Checked, ...]) -> _Layout | None:
    own = [(one.begin, one.end) for one in arrays] + [(at, at + 4) for *_, places in checked for at in places]
    parts = list(_between(sorted(own), len(content)))
    if any(begin > end for begin, end in parts):  # something lies within something else
        return None
    same = tuple((begin, end, content[begin:end]) for begin, end in parts)
    return _Layout(len(content), tuple(arrays), checked, same)


def _between(taken: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for begin, end in taken:
        yield at, begin
        at = end
    yield at, size
