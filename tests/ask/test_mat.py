"""MAT files: the types of MATLAB, of files that MATLAB wrote where scipy brings them, and that scipy wrote."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from ask.written import INTEGERS, extremes
from entropic import LoadError
from entropic.formats.read import read

MATLABS = files("scipy.io.matlab").joinpath("tests/data")


def of_matlab(name: str) -> str:
    path = Path(str(MATLABS), name)
    if not path.exists():
        pytest.skip("this scipy comes without the files of its tests")
    return str(path)


def back(tmp_path, value):
    scipy.io.savemat(tmp_path / "it.mat", {"it": value})
    return read(str(tmp_path / "it.mat"))["it"]


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64", "complex64", "complex128", "bool"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3)])
def test_every_type_that_matlab_has_comes_back(tmp_path, dtype, shape):
    """scipy alone reads truths as uint8, and with its option for types loses what is imaginary."""
    array = np.arange(6).reshape(shape).astype(dtype)
    if array.dtype.kind == "c":
        array = array * np.array(1 + 2j, dtype)
    found = back(tmp_path, array)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_largest_and_smallest_numbers_come_back(tmp_path, dtype):
    assert back(tmp_path, extremes(dtype)).tolist() == extremes(dtype).tolist()


def test_axes_of_one_are_dropped_from_matrices_only(tmp_path):
    assert back(tmp_path, 3.0).shape == ()
    assert back(tmp_path, np.ones((1, 4))).shape == (4,)
    assert back(tmp_path, np.ones((4, 1))).shape == (4,)
    assert back(tmp_path, np.ones((1, 1, 4))).shape == (1, 1, 4)
    assert back(tmp_path, np.ones((0, 3))).shape == (0, 3)
    assert back(tmp_path, np.ones((0, 0))).shape == (0, 0)


def test_structs_are_dicts_and_cells_are_lists_with_the_same_types_inside(tmp_path):
    cell = np.empty(3, object)
    cell[:] = [np.int8([1, 2]), "two words", np.array([1 + 2j])]
    found = back(tmp_path, {"x": {"flag": np.array([True, False]), "z": np.array([1j, 2])}, "cell": cell, "empty": ""})
    assert found["x"]["flag"].tolist() == [True, False]
    assert found["x"]["flag"].dtype == bool
    assert found["x"]["z"].tolist() == [1j, 2]
    assert found["cell"][0].dtype == np.int8
    assert found["cell"][1:] == ["two words", np.array(1 + 2j)]
    assert found["empty"] == ""


def test_sparse_matrices_stay_sparse(tmp_path):
    found = back(tmp_path, scipy.sparse.csc_matrix(np.diag([1.0, 0, 3])))
    assert isinstance(found, scipy.sparse.csc_array)
    assert found.toarray().tolist() == np.diag([1.0, 0, 3]).tolist()


@pytest.mark.parametrize("release", ["6.1_SOL2", "7.4_GLNX86"])
def test_what_matlab_wrote_has_the_types_that_it_had_there(release):
    """Of doubles that are small and whole, MATLAB writes integers; of those of SPARC, big-endian ones."""
    double = read(of_matlab(f"testdouble_{release}.mat"))["testdouble"]
    assert np.array_equal(double, np.arange(0, 2.1 * np.pi, np.pi / 4)[:9])
    matrix = read(of_matlab(f"testmatrix_{release}.mat"))["testmatrix"]
    assert matrix.dtype == np.float64
    assert matrix.dtype.isnative
    assert matrix[0].tolist() == [1, 2, 3, 4, 5]
    z = read(of_matlab(f"testcomplex_{release}.mat"))["testcomplex"]
    assert np.allclose(z, np.cos(double) + 1j * np.sin(double))
    assert read(of_matlab(f"teststring_{release}.mat"))["teststring"].startswith('"Do nine men interpret?"')
    struct = read(of_matlab(f"teststruct_{release}.mat"))["teststruct"]
    assert struct["stringfield"] == "Rats live on no evil star."
    assert np.allclose(struct["complexfield"], [(1 + 1j) * root for root in (2**0.5, np.e, np.pi)])
    nested = read(of_matlab(f"testcellnest_{release}.mat"))["testcellnest"]
    assert nested[0] == 1
    assert nested[1][2][1] == 5
    assert [one["one"] for one in read(of_matlab(f"teststructarr_{release}.mat"))["teststructarr"]] == [1, "number 1"]


def test_version_7_3_as_matlab_wrote_it():
    double = read(of_matlab("testhdf5_7.4_GLNX86.mat"))["testdouble"]
    assert np.array_equal(double, np.arange(0, 2.1 * np.pi, np.pi / 4)[:9])


@pytest.mark.parametrize("name", ["testfunc_7.4_GLNX86.mat", "testobject_7.4_GLNX86.mat"])
def test_what_only_matlab_understands_is_refused_by_its_name(name):
    with pytest.raises(LoadError, match="which only MATLAB understands"):
        read(of_matlab(name))


# ---- version 7.3 -------------------------------------------------------------------------------------------------
@pytest.fixture
def mat73(tmp_path):
    """Write a file as MATLAB does: matrices turned around, and all that is nested behind references."""

    def write(fill) -> str:
        with h5py.File(tmp_path / "it.mat", "w", userblock_size=512) as file:
            fill(file)
        return str(tmp_path / "it.mat")

    return write


def put(group, name, values, kind, **attributes):
    made = group.create_dataset(name, data=values)
    for key, value in {"MATLAB_class": np.bytes_(kind), **attributes}.items():
        made.attrs[key] = value
    return made


def test_matrices_of_7_3_are_turned_around_and_have_their_types(mat73):
    def fill(file):
        put(file, "m", np.arange(6.0).reshape(3, 2), "double")
        put(file, "flag", np.uint8([[1], [0]]), "logical", MATLAB_int_decode=1)
        put(file, "none", np.uint64([0, 3]), "double", MATLAB_empty=1)
        put(file, "z", np.array([[(1.0, 2.0)], [(3.0, 4.0)]], [("real", "f8"), ("imag", "f8")]), "double")
        put(file, "rows", np.array([[ord(one) for one in row] for row in ("ab", "cd", "ef")], np.uint16), "char")
        for dtype in INTEGERS:
            put(file, dtype, extremes(dtype)[:, None], dtype)

    found = read(mat73(fill))
    assert found["m"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["flag"].tolist() == [True, False]
    assert found["none"].shape == (0, 3)
    assert found["z"].tolist() == [1 + 2j, 3 + 4j]
    assert found["rows"].tolist() == ["ace", "bdf"]
    for dtype in INTEGERS:
        assert found[dtype].dtype == dtype
        assert found[dtype].tolist() == extremes(dtype).tolist()


def test_cells_structs_and_sparse_matrices_of_7_3(mat73):
    def fill(file):
        references = file.create_group("#refs#")
        inner = [put(references, name, np.full((1, 1), n), "double") for n, name in enumerate("abcd", 1)]
        cell = np.array([[one.ref] for one in inner[:3]], h5py.ref_dtype)
        put(file, "cell", cell, "cell")
        struct = file.create_group("struct")
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        put(struct, "x", np.full((1, 1), 5.0), "double")
        many = file.create_group("many")
        many.attrs["MATLAB_class"] = np.bytes_("struct")
        many.create_dataset("y", data=np.array([[inner[0].ref], [inner[3].ref]], h5py.ref_dtype))
        sparse = file.create_group("sparse")
        sparse.attrs["MATLAB_class"], sparse.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(3)
        sparse["data"], sparse["ir"], sparse["jc"] = [7.0, 8.0], np.uint64([0, 2]), np.uint64([0, 1, 2])

    found = read(mat73(fill))
    assert set(found) == {"cell", "struct", "many", "sparse"}
    assert found["cell"] == [1, 2, 3]
    assert found["struct"] == {"x": 5}
    assert found["many"] == [{"y": 1}, {"y": 4}]
    assert found["sparse"].toarray().tolist() == [[7, 0], [0, 0], [0, 8]]


def test_objects_of_7_3_are_refused_by_their_name(mat73):
    path = mat73(lambda file: put(file, "when", np.uint32([[1]]), "datetime", MATLAB_object_decode=3))
    with pytest.raises(LoadError, match=r"'when'.*'datetime'"):
        read(path)


def test_hdf5_of_another_program_is_not_turned_around(mat73):
    assert read(mat73(lambda file: file.create_dataset("u", data=np.zeros((2, 3)))))["u"].shape == (2, 3)
