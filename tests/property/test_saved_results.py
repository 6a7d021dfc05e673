"""What a runner returns is loaded equal, or refused: dtype, shape, names, NaN, nothing, no axes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from entropic.errors import SaveError
from entropic.formats.catalogue import FORMATS
from entropic.formats.read import read
from entropic.formats.save import save

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DTYPES = st.one_of(
    of_numpy.scalar_dtypes().filter(lambda dtype: dtype.kind != "V"),
    of_numpy.array_dtypes(max_size=3),
    of_numpy.unicode_string_dtypes(max_len=4),
    of_numpy.byte_string_dtypes(max_len=4),
)
ARRAYS = of_numpy.arrays(DTYPES, of_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.complex_numbers(), st.text(max_size=5)
)
NESTED = st.recursive(
    st.one_of(ARRAYS, SCALARS), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=4
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


REFUSED = object()


def saved(value: Any, suffix: str) -> Any:
    """Return what is loaded of a saved value, or `REFUSED`, which names the suffix."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/it{suffix}"
        try:
            save(value, path)
        except SaveError as error:
            return REFUSED if suffix in str(error) else error
        return read(path)


def assert_equal(found: Any, wanted: Any, of_text: bool = False, any_order: bool = False) -> None:
    wanted = np.asarray(wanted)
    found = np.asarray(found)
    assert found.shape == wanted.shape
    if any_order:
        wanted = wanted.astype(wanted.dtype.newbyteorder("="))
    if of_text and wanted.dtype.kind == "U":
        assert found.tolist() == wanted.tolist()
        return
    if not wanted.ndim:  # a number of numpy's has no byte order
        found, wanted = found.astype(found.dtype.newbyteorder("=")), wanted.astype(wanted.dtype.newbyteorder("="))
    assert found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes() or np.array_equal(found, wanted, equal_nan=wanted.dtype.kind in "fc")


def flat(value: dict[str, Any], path: str = "") -> dict[str, Any]:
    found = {}
    for name, inner in value.items():
        found |= flat(inner, f"{path}{name}/") if isinstance(inner, dict) else {f"{path}{name}": inner}
    return found


@pytest.mark.slow
@given(ARRAYS)
def test_an_array_is_loaded_equal(array: Any) -> None:
    assert_equal(saved(array, ".npy"), array)


TITLED = np.zeros(1, [(("of a title", "name"), "?"), ("other", "<f4")])


@pytest.mark.slow
@example({"titled": TITLED})
@example({"nested": np.zeros(1, [("inner", TITLED.dtype), ("u", "<u2", 3)])})
@given(st.dictionaries(NAMES, NESTED, max_size=3))
@example({"a": np.array(0, ">i2")})
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_dict_of_arrays_is_loaded_equal_by_path(suffix: str, value: dict[str, Any]) -> None:
    found = saved(value, suffix)
    if found is REFUSED:
        return
    wanted = flat(value)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert_equal(found[name], wanted[name], of_text=suffix == ".h5")


UPPER = st.from_regex(r"[A-Z][A-Z0-9_]{0,7}", fullmatch=True)
IDENTIFIERS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,5}", fullmatch=True)


@pytest.mark.slow
@given(st.dictionaries(NAMES | UPPER, ARRAYS | SCALARS, max_size=3))
@example({"u": np.array(0, ">i2"), "v": np.zeros((0, 3)), "w": np.arange(6).reshape(2, 3).T})
@example({"__metadata__": np.zeros(1)})
def test_tensors_are_loaded_equal(value: dict[str, Any]) -> None:
    found = saved(value, ".safetensors")
    if found is REFUSED:
        return
    assert found.keys() == value.keys()
    for name, array in value.items():
        assert_equal(found[name], array, any_order=True)


@pytest.mark.slow
@given(
    st.dictionaries(
        IDENTIFIERS | NAMES,
        st.recursive(
            ARRAYS | SCALARS, lambda inner: st.dictionaries(IDENTIFIERS, inner, min_size=1, max_size=3), max_leaves=4
        ),
        max_size=3,
    )
)
@example({"s": {"x": np.zeros((1, 3))}})
@example({"one": np.array([2.5])})
@example({"row": np.arange(3), "one": np.array(2.5), "none": np.zeros(0), "cube": np.zeros((1, 1, 2))})
@example({"z": {"c": np.complex64([1j, 2]), "b": np.array([True, False])}, "text": "grün", "empty": ""})
def test_structs_are_loaded_equal(value: dict[str, Any]) -> None:
    found = saved(value, ".mat")
    if found is not REFUSED:
        assert_equal_structs(found, value)


def assert_equal_structs(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, inner in wanted.items():
            assert_equal_structs(found[name], inner)
    elif isinstance(wanted, str):
        assert found == wanted
    else:
        assert_equal(found, wanted, of_text=True, any_order=True)


@pytest.mark.slow
@settings(max_examples=min(settings().max_examples, 100))  # astropy takes its time
@given(ARRAYS | st.dictionaries(UPPER | NAMES, ARRAYS, max_size=3))
@example(np.arange(6, dtype="<u2").reshape(2, 3))
@example({"PRIMARY": np.float64([np.nan, -0.0]), "B": np.int8([-1])})
@example({"A": np.uint64([2**64 - 1]), "B": np.zeros((2, 0))})
def test_images_are_loaded_equal(value: Any) -> None:
    found = saved(value, ".fits")
    if found is REFUSED:
        return
    wanted = value if isinstance(value, dict) else {"PRIMARY": value}
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert_equal(found[name], array, any_order=True)


@pytest.mark.slow
@given(ARRAYS, st.integers(-1, 2**32))
@example(np.int16([[1, 2]]), 44_100)
@example(np.uint8([1, 2, 3]), 8000)
@example(np.arange(3, dtype=">f4"), 8000)
def test_samples_are_loaded_equal(samples: Any, rate: int) -> None:
    found = saved({"samples": samples, "rate": rate}, ".wav")
    if found is not REFUSED:
        assert found["rate"] == rate
        assert_equal(found["samples"], samples, any_order=True)


@pytest.mark.slow
@given(JSON)
def test_json_is_loaded_equal(value: Any) -> None:
    found = saved(value, ".json")
    assert repr(found) == repr(value) or (found is REFUSED and "\\ud" in ascii(value))


@given(st.text())
@example("one\r\ntwo\rthree")
def test_text_is_loaded_equal(value: str) -> None:
    found = saved(value, ".txt")
    assert found == value or (found is REFUSED and "\\ud" in ascii(value))


COLUMNS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.floats(), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.text(max_size=4), min_size=3, max_size=3),
    st.lists(st.datetimes(), min_size=3, max_size=3),
)


@pytest.mark.slow
@given(st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=3))
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".orc", ".csv", ".tsv"])
def test_a_frame_is_loaded_equal(suffix: str, columns: dict[str, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    found = saved(frame, suffix)
    if found is REFUSED:
        return
    pandas.testing.assert_frame_equal(found, frame)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True),
        of_numpy.arrays(
            st.one_of(
                of_numpy.integer_dtypes(endianness="="), of_numpy.floating_dtypes(endianness="=", sizes=(32, 64))
            ),
            of_numpy.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3),
        ),
        min_size=1,
        max_size=3,
    ),
    st.dictionaries(st.sampled_from(["units", "title"]), st.text(st.characters(categories=["L", "N"]), min_size=1)),
)
@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".zarr.zip"])
def test_a_dataset_is_loaded_equal(suffix: str, arrays: dict[str, Any], attrs: dict[str, str]) -> None:
    xarray = pytest.importorskip("xarray")
    arrays["u"] = np.arange(3.0)  # a folder of numbers without axes is a dict of numbers
    made = xarray.Dataset(
        {name: ([f"{name}_{i}" for i in range(array.ndim)], array, attrs) for name, array in arrays.items()},
        attrs=attrs,
    )
    found = saved(made, suffix)
    xarray.testing.assert_identical(found, made)
    assert {name: found[name].dtype for name in arrays} == {name: array.dtype for name, array in arrays.items()}


@pytest.mark.parametrize("suffix", [suffix for one in FORMATS if one.save for suffix in one.suffixes])
def test_what_a_suffix_cannot_hold_is_refused_by_its_name(suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(SaveError, match=suffix.replace(".", r"\.")):
        save(object(), str(Path(folder) / f"it{suffix}"))
