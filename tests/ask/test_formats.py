"""Formats of other libraries: what these write is loaded whole and unchanged, and becomes labelled arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from ask.written import ARRAYS, WRITTEN
from entropic import Base, LoadError, Mapped
from entropic.ask.variables import variables
from entropic.formats.catalogue import FORMATS
from entropic.formats.read import read
from entropic.formats.suffixes import ending, find


class Sim(Base):
    __tablename__ = "format_sims"
    n: Mapped[int]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_the_formats_library_writes_is_loaded_whole_and_unchanged(tmp_path, suffix):
    path = str(tmp_path / f"it{suffix}")
    WRITTEN[suffix](path)
    found = variables(read(path), None, path)
    wanted = ARRAYS[suffix]
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        values = found[name].values
        assert values.dtype.isnative, name
        assert values.shape == array.shape, name
        assert values.dtype == array.dtype or values.dtype.kind in "OUT", name
        assert np.array_equal(values, array, equal_nan=array.dtype.kind == "f"), name
        if array.dtype.kind == "f":
            assert np.array_equal(np.signbit(values), np.signbit(array)), name


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_was_loaded_outlives_its_file_which_nobody_holds_open(tmp_path, suffix):
    path = tmp_path / f"it{suffix}"
    WRITTEN[suffix](str(path))
    found = read(str(path))
    process = psutil.Process()
    assert str(path) not in [file.path for file in process.open_files()]
    assert str(path) not in [part.path for part in process.memory_maps()]
    path.write_bytes(b"\0" * path.stat().st_size)
    named = variables(found, None, str(path))
    name, array = next((name, array) for name, array in ARRAYS[suffix].items() if array.dtype.kind in "fi")
    assert np.array_equal(named[name].values, array, equal_nan=True)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_only_what_is_asked_for_is_enough(tmp_path, suffix):
    path = str(tmp_path / f"it{suffix}")
    WRITTEN[suffix](path)
    name = list(ARRAYS[suffix])[-1]
    assert name in variables(read(path, only={name}), [name], path)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITTEN if suffix != ".asdf"])
def test_labelled_arrays_of_several_runs_are_made_of_every_format(make, suffix):
    store = make(Sim, lambda path, _: WRITTEN[suffix](path), suffix)
    name, array = next((name, array) for name, array in ARRAYS[suffix].items() if array.dtype.kind in "fi")
    for lazy in (False, True):
        made = store.sweep([{"n": 1}, {"n": 2}]).to_xarray(variables=[name], lazy=lazy)
        assert np.array_equal(made[name].values, np.stack([array, array]), equal_nan=True)


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("content", [b"", b"\x00nonsense", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"], ids=repr)
def test_a_file_that_is_not_what_its_name_says_is_an_error_that_names_it(tmp_path, suffix, content):
    path = tmp_path / f"it{suffix}"
    path.write_bytes(content)
    if suffix in (".extxyz", ".xyz") and not content:
        assert read(str(path)) == []
        return
    with pytest.raises(LoadError) as caught:
        read(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITTEN if suffix not in (".extxyz", ".xyz")])
def test_a_file_that_was_cut_is_an_error_and_not_the_half_of_it(tmp_path, suffix):
    path = tmp_path / f"it{suffix}"
    WRITTEN[suffix](str(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - len(content) // 4])
    with pytest.raises(LoadError, match=path.name):
        read(str(path))


# ---- the table ---------------------------------------------------------------------------------------------------
def test_the_longest_ending_tells_the_format_whatever_case_it_has_and_whatever_dots_come_before():
    for path, suffix in {
        "/results.nii/a.NII.GZ": ".nii.gz",
        "/r/0.5.nii": ".nii",
        "/r/a.zarr.zip": ".zarr.zip",
        "/r/a.zarr": ".zarr",
        "/r/key_out.json": ".json",
        "/r/a.csv.gz": ".csv.gz",
        "/r/.json": ".json",
    }.items():
        assert find(path)[0] == suffix
    for path in ("/r/a.gz", "/r/a.zip", "/r/json", "/r.json/a", "/r/a.json.", "/r/a"):
        assert find(path) is None
    assert ending("a.b.c", {".c", ".b.c"}) == ".b.c"


def test_every_suffix_is_of_one_format_and_is_spelled_as_it_is_looked_up():
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


def test_every_format_that_is_read_was_written_here_or_in_the_tests_of_load():
    older = {".npy", ".npz", ".h5", ".nc", ".zarr", ".parquet", ".csv", ".json", ".txt", ".png", ".jpg", ".pt"}
    tested = {find(f"it{suffix}")[1].suffixes for suffix in (*WRITTEN, ".xdmf", *older)}
    assert {one.suffixes for one in FORMATS if one.read is not None} == tested


@pytest.mark.parametrize(
    ("suffix", "instead"), [(".pt", ".safetensors"), (".pth", ".safetensors"), (".joblib", ".npz")]
)
def test_what_may_be_a_pickle_is_not_even_opened_and_the_refusal_says_what_to_write(tmp_path, suffix, instead):
    path = tmp_path / f"it{suffix}"
    Path(path).write_bytes(b"harmless")
    path.chmod(0)
    with pytest.raises(LoadError, match="run any code") as caught:
        read(str(path))
    assert instead in str(caught.value)
