"""Results that are alike are read in a shorter way, to the same bits; what differs raises what it always did."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropic import Base, LoadError, Mapped, ResultMissingError, Runs, Store
from entropic.ask import dataset

RUNS = [{"n": n} for n in range(4)]


class Each(Base):
    __tablename__ = "alike_each"
    n: Mapped[int]


def general(_: str) -> Any:
    """A loader that leaves each file to the general readers, so that nothing else is tried."""
    return NotImplemented


def touch(params: dict[str, Any]) -> None:
    Path(params["result_file"]).touch()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return the rows of runs that wrote these arrays, and the same rows where all is read in the general way."""
    made: dict[str, tuple[Runs[Any], Runs[Any]]] = {}

    def sweep(save: Callable[[str, int], object], suffix: str) -> tuple[Runs[Any], Runs[Any]]:
        if suffix not in made:
            folder = tmp_path_factory.mktemp("alike")
            where = (folder / "results", suffix, f"sqlite:///{folder}/db.sqlite3")
            made[suffix] = (
                Store(touch, Each, *where).sweep(RUNS),
                Store(touch, Each, *where, loader=general).sweep(RUNS),
            )
        for row in made[suffix][0]:  # no store is asked any more
            Path(row.result_file).unlink(missing_ok=True)
            save(row.result_file, row.n)
        return made[suffix]

    return sweep


@pytest.fixture
def read(monkeypatch):
    """The files that were read in the general way."""
    seen: list[str] = []
    original = dataset.load_row

    def note(row: Base, *given: Any, **options: Any) -> Any:
        seen.append(row.result_file)
        return original(row, *given, **options)

    monkeypatch.setattr(dataset, "load_row", note)
    return seen


def bits(values: Any) -> Any:
    """Return what an array holds to the last bit; of objects, which it only refers to, what these are."""
    return repr(values.tolist()) if values.dtype == object else values.tobytes()


def outcome(act: Callable[[], Any]) -> Any:
    """Return a data set as all of its bits, or what was raised."""
    try:
        made = act().load()
    except LoadError as error:
        return type(error), str(error)
    held = {name: (*one.dims, one.dtype.str, one.attrs, bits(one.values)) for name, one in made.variables.items()}
    return made.attrs, held


def check_same(found: tuple[Runs[Any], Runs[Any]], **options: Any) -> Any:
    """Compare both ways, at once and lazily."""
    both = [outcome(lambda runs=runs: runs.to_xarray(**options)) for runs in found]
    assert both[0] == both[1]
    lazy = [outcome(lambda runs=runs: runs.to_xarray(lazy=True, **options)) for runs in found]
    assert lazy[0] == lazy[1]
    return both[0]


def numbers(n: int, dtype: Any = float, shape: tuple[int, ...] = (2, 3)) -> Any:
    return (np.random.default_rng(n).random(shape) * 100).astype(dtype)


TYPES = [
    "f8",
    ">f8",
    "f4",
    "f2",
    "i8",
    "u1",
    "?",
    "c16",
    "U3",
    "S4",
    "M8[ns]",
    "m8[D]",
    "V3",
    [("x", "f8"), ("y", "i2")],
]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_are_read_to_the_same_bits(swept, dtype, order):
    def save(path: str, n: int) -> None:
        is_number = isinstance(dtype, str) and dtype[0] not in "MmUSV"
        np.save(path, np.array(numbers(n, dtype if is_number else "i8").astype(dtype), order=order))

    check_same(swept(save, ".npy"))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 1, 2)])
def test_arrays_of_any_shape_are_read_to_the_same_bits(swept, shape):
    check_same(swept(lambda path, n: np.save(path, numbers(n, shape=shape)), ".npy"))
    check_same(swept(lambda path, n: np.savez(path, a=numbers(n, shape=shape), b=n), ".npz"))


def test_npz_files_are_read_to_the_same_bits_with_the_names_and_axes_that_they_have(swept):
    def save(path: str, n: int) -> None:
        np.savez(path, t=np.arange(5.0), prey=numbers(n, shape=(5,)), n=numbers(n, "i4"), text=np.array(["a", "bc"]))

    found = swept(save, ".npz")
    check_same(found)
    check_same(found, variables=["prey"])
    check_same(found, variables=["result_n", "custom_data.elapsed_seconds"])
    check_same(found, axes={})
    data = found[0].to_xarray()
    assert (data.prey.dims, data.result_n.dims) == (("n", "t"), ("n", "n_0", "n_1"))


def test_only_the_first_of_those_that_are_alike_is_read_in_the_general_way(swept, read):
    for save, suffix in ((lambda path, n: np.save(path, numbers(n)), ".npy"),
                         (lambda path, n: np.savez(path, a=numbers(n), b=numbers(n, "i2")), ".npz")):  # fmt: skip
        runs, always = swept(save, suffix)
        read.clear()
        runs.to_xarray()
        assert read == [runs[0].result_file]
        read.clear()
        always.to_xarray()
        assert len(read) == len(RUNS)


# ---- every way in which a later file can differ ----------------------------------------------------------------------
def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version=version)
    return file.getvalue()


def npz(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", options.pop("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in arrays.items():
            with archive.open(zipfile.ZipInfo(name), "w", **options) as member:
                member.write(content if isinstance(content, bytes) else npy(content))
    return file.getvalue()


def wrong(content: bytes, at: int) -> bytes:
    """Return a content with one bit turned."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


A = np.arange(6.0).reshape(2, 3)
PLAIN_NPY, PLAIN_NPZ = npy(A), npz({"a.npy": A, "b.npy": A + 1})

NPY = {
    "type": npy(A.astype("f4")),
    "byte order": npy(A.astype(">f8")),
    "same bytes, other type": npy(A.view("i8")),
    "shape": npy(A.reshape(3, 2)),
    "one value more": npy(np.arange(7.0)),
    "order": npy(np.asfortranarray(A)),
    "version 2": npy(A, (2, 0)),
    "version 3": npy(A, (3, 0)),
    "header with other spaces": PLAIN_NPY.replace(b"'shape': (2, 3), }  ", b"'shape': (2,  3), } "),
    "truncated": PLAIN_NPY[:-8],
    "truncated header": PLAIN_NPY[:20],
    "empty": b"",
    "bytes behind it": PLAIN_NPY + b"more",
    "header": wrong(PLAIN_NPY, 1),
    "an archive": PLAIN_NPZ,
    "pickle": pickle.dumps(1),
    "objects": npy(np.array([[1.0, None]], object)),
}
NPZ = {
    "compressed": npz({"a.npy": A, "b.npy": A + 1}, compression=zipfile.ZIP_DEFLATED),
    "zip64": npz({"a.npy": A, "b.npy": A + 1}, force_zip64=True),
    "more members": npz({"a.npy": A, "b.npy": A + 1, "c.npy": A}),
    "fewer members": npz({"a.npy": A}),
    "another order of members": npz({"b.npy": A + 1, "a.npy": A}),
    "another name": npz({"a.npy": A, "c.npy": A + 1}),
    "no array": npz({"a.npy": A, "b.txt": b"text"}),
    "type": npz({"a.npy": A, "b.npy": A.astype("i8")}),
    "shape": npz({"a.npy": A, "b.npy": A.ravel()}),
    "truncated": PLAIN_NPZ[:-30],
    "half": PLAIN_NPZ[: len(PLAIN_NPZ) // 2],
    "bytes behind it": PLAIN_NPZ + b"\0" * 8,
    "bytes before it": b"#!" + PLAIN_NPZ,
    "a changed number": wrong(PLAIN_NPZ, PLAIN_NPZ.index(A[1, 2].tobytes())),
    "a changed CRC in the directory": wrong(PLAIN_NPZ, PLAIN_NPZ.index(b"PK\1\2") + 16),
    "a changed CRC of a member": wrong(PLAIN_NPZ, 14),
    "a changed name of a member": wrong(PLAIN_NPZ, 30),
    "an array": PLAIN_NPY,
}


@pytest.mark.parametrize(
    ("suffix", "plain", "other"),
    [pytest.param(".npy", PLAIN_NPY, other, id=f"npy: {name}") for name, other in NPY.items()]
    + [pytest.param(".npz", PLAIN_NPZ, other, id=f"npz: {name}") for name, other in NPZ.items()],
)
@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
def test_what_differs_reads_or_raises_as_it_does_in_the_general_way(swept, suffix, plain, other, first):
    found = swept(lambda path, n: Path(path).write_bytes(plain if (n == 2) == first else other), suffix)
    check_same(found)
    found = swept(lambda path, n: Path(path).write_bytes(other if (n == 2) != first else plain), suffix)
    check_same(found)


def test_a_file_that_is_replaced_or_gone_meanwhile_is_read_as_it_is(swept):
    found = swept(lambda path, n: np.save(path, numbers(n)), ".npy")
    np.save(found[0][1].result_file, numbers(9))
    check_same(found)
    os.truncate(found[0][2].result_file, 100)
    assert check_same(found)[0] is LoadError
    os.unlink(found[0][3].result_file)
    with pytest.raises(ResultMissingError):
        found[0][3:].to_xarray()


def test_a_loader_goes_first(make):
    store = make(Each, lambda path, p: np.save(path, numbers(p["n"])), ".npy", loader=lambda path: 7)
    assert (store.sweep(RUNS).to_xarray().result == 7).all()


# ---- lazily ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("grid", "size", "chunk"),
    [
        ((10_000,), 800, (5_242,)),
        ((3, 2), 48, (3, 2)),
        ((1_000, 1_000), 8_192, (1, 512)),
        ((100, 100), 1_024, (40, 100)),
        ((5,), 2**23, (1,)),
        ((5, 4), 2**22, (1, 1)),
        ((), 8, ()),
        ((0,), 8, (1,)),
        ((7,), 0, (7,)),
    ],
)
def test_a_chunk_holds_up_to_4_mb_of_runs(grid, size, chunk):
    assert dataset.chunk(grid, size) == chunk


def test_lazy_results_that_are_alike_are_read_in_the_short_way_too(swept, read):
    runs, _ = swept(lambda path, n: np.save(path, numbers(n)), ".npy")
    data = runs.to_xarray(lazy=True)
    read.clear()
    np.testing.assert_array_equal(data.compute(scheduler="synchronous").result, [numbers(n) for n in range(4)])
    assert len(read) == 1
    again = pickle.loads(pickle.dumps(data))  # as it goes to the workers of a cluster
    np.testing.assert_array_equal(again.compute().result, [numbers(n) for n in range(4)])
