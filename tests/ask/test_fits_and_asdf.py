"""FITS and ASDF: all parts of a file, native numbers, units, and nothing of what is in other files."""

from __future__ import annotations

import warnings

import asdf
import numpy as np
import pytest
from astropy.io import fits

from ask.written import INTEGERS, extremes
from entropic import LoadError
from entropic.ask.variables import variables
from entropic.formats.read import read


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "it.fits")


def write(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
def test_images_of_every_type_come_back_native_and_unchanged(path, dtype):
    array = extremes(dtype) if dtype in INTEGERS else np.array([np.nan, -0.0, np.inf], dtype)
    write(path, fits.ImageHDU(array, name="A"))
    found = read(path)["A"]
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.tobytes() == array.tobytes()


@pytest.mark.slow
def test_columns_come_back_by_their_table_with_units_and_along_their_rows(path):
    columns = [
        fits.Column("energy", "D", unit="keV", array=[1.5, np.nan]),
        fits.Column("n", "J", null=-99, array=[1, -99]),
        fits.Column("big", "K", array=np.array([2**62 + 1, -1])),
        fits.Column("unsigned", "J", bzero=2**31, array=np.array([2**32 - 1, 0], "uint32")),
        fits.Column("name", "A4", array=["a", "bcd"]),
        fits.Column("flag", "L", array=[True, False]),
        fits.Column("z", "M", array=[1j, 2]),
        fits.Column("v", "2E", array=np.arange(4.0).reshape(2, 2)),
    ]
    write(path, fits.BinTableHDU.from_columns(columns, name="EVENTS"))
    loaded = read(path)
    found = variables(loaded, None, path)
    assert found["EVENTS/energy"].dims == ("EVENTS/row",)
    assert found["EVENTS/energy"].attrs == {"units": "keV"}
    assert found["EVENTS/n"].attrs == {"null": -99}
    assert found["EVENTS/n"].values.tolist() == [1, -99]
    assert found["EVENTS/big"].values.tolist() == [2**62 + 1, -1]
    assert found["EVENTS/unsigned"].values.tolist() == [2**32 - 1, 0]
    assert found["EVENTS/name"].values.tolist() == ["a", "bcd"]
    assert found["EVENTS/flag"].values.tolist() == [True, False]
    assert found["EVENTS/z"].values.tolist() == [1j, 2]
    assert found["EVENTS/v"].values.tolist() == [[0, 1], [2, 3]]
    assert all(one.values.dtype.isnative for one in found.values())
    assert type(loaded["EVENTS/name"]) is np.ndarray


@pytest.mark.slow
def test_columns_of_different_lengths_are_arrays_of_arrays(path):
    rows = np.empty(2, object)
    rows[:] = [np.int32([1, 2]), np.int32([3])]
    write(path, fits.BinTableHDU.from_columns([fits.Column("v", "PJ()", array=rows)], name="T"))
    assert [row.tolist() for row in read(path)["T/v"]] == [[1, 2], [3]]


def test_parts_of_one_name_or_none_are_told_apart_and_empty_ones_have_a_header_only(path):
    image = fits.ImageHDU(np.arange(2), name="SCI")
    again = fits.ImageHDU(np.arange(3), name="SCI", ver=2)
    write(
        path,
        image,
        again,
        fits.ImageHDU(np.arange(4)),
        fits.ImageHDU(name="EMPTY"),
        fits.CompImageHDU(np.ones((9, 9), "f4"), name="C"),
    )
    found = read(path)
    assert {name: array.shape for name, array in found.items()} == {
        "SCI,1": (2,),
        "SCI,2": (3,),
        "3": (4,),
        "C": (9, 9),
    }
    assert found.attrs["EMPTY"]["EXTNAME"] == "EMPTY"


def test_scaled_and_blank_values_are_what_they_stand_for(path):
    blank = fits.ImageHDU(np.int32([1, 2, 3]), name="B")
    blank.header["BLANK"] = 3
    scaled = fits.ImageHDU(np.array([1.0, 2.5]), name="S")
    scaled.scale("int16", bscale=0.5)
    write(path, blank, scaled)
    found = read(path)
    assert np.array_equal(found["B"], [1, 2, np.nan], equal_nan=True)
    assert found["S"].tolist() == [1, 2.5]


def test_the_header_is_kept(path):
    hdu = fits.PrimaryHDU(np.ones(2))
    hdu.header["BUNIT"], hdu.header["EXPTIME"], hdu.header["OK"] = "K", 3.5, True
    hdu.header["HISTORY"] = "made here"
    hdu.writeto(path)
    attrs = read(path).attrs["/"]
    assert {attrs["units"], attrs["EXPTIME"], attrs["OK"], attrs["HISTORY"]} == {"K", 3.5, True, "made here"}


def test_a_compressed_file_that_was_cut_is_refused(tmp_path):
    path = tmp_path / "it.fits.gz"
    fits.PrimaryHDU(np.random.default_rng(1).normal(size=10_000)).writeto(path)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(LoadError, match="EOFError"):
        read(str(path))


# ---- ASDF --------------------------------------------------------------------------------------------------------
def asdf_of(tmp_path, tree, **options):
    path = tmp_path / "it.asdf"
    asdf.AsdfFile(tree).write_to(path, **options)
    return path


@pytest.mark.parametrize("compression", [None, "zlib", "bzp2"])
def test_arrays_of_every_type_come_back_native(tmp_path, compression):
    tree = {
        **{name: extremes(name) for name in INTEGERS},
        "big_endian": np.arange(3, dtype=">f8"),
        "z": np.array([1 + 2j]),
        "flag": np.array([True, False]),
        "text": np.array(["ä", "bc"]),
        "number": np.array(3.0),
        "nothing": np.zeros((0, 3)),
        "fields": np.array([(1, 2.5)], [("a", "<i2"), ("b", ">f8")]),
    }
    found = read(str(asdf_of(tmp_path, tree, all_array_compression=compression)))
    assert found.keys() == tree.keys()
    for name, array in tree.items():
        assert type(found[name]) is np.ndarray
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()


def test_the_rest_of_a_tree_comes_back_as_it_was(tmp_path):
    tree = {"a": {"b": [1, 2.5, None, True, "text", {"c": 1 + 2j}]}, "n": 2**60}
    assert read(str(asdf_of(tmp_path, tree))) == tree


def test_what_is_masked_is_missing_in_labelled_arrays(tmp_path):
    path = str(asdf_of(tmp_path, {"m": np.ma.masked_array([1, 2, 3], [False, True, False])}))
    assert np.array_equal(variables(read(path), None, path)["m"].values, [1, np.nan, 3], equal_nan=True)


def test_values_in_another_file_are_not_followed_even_beside_it(tmp_path):
    file = asdf.AsdfFile({"deep": [{"u": np.arange(100)}]})
    file.set_array_storage(file["deep"][0]["u"], "external")
    file.write_to(tmp_path / "it.asdf")
    with pytest.raises(LoadError, match=r"'deep.*' has its values in another file, it0000\.asdf"):
        read(str(tmp_path / "it.asdf"))


def test_a_link_into_another_tree_is_not_followed(tmp_path):
    path = asdf_of(tmp_path, {"u": 1})
    path.write_bytes(path.read_bytes().replace(b"u: 1", b"u: {$ref: others.asdf#/u}"))
    with pytest.raises(LoadError, match=r"'u' is a link to others\.asdf#/u, which is not followed"):
        read(str(path))


def test_tags_that_nobody_knows_are_data_and_a_warning(tmp_path):
    path = asdf_of(tmp_path, {"u": 1})
    path.write_bytes(path.read_bytes().replace(b"u: 1", b"u: !<tag:example.org:unknown-1.0.0> {n: 1}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", asdf.exceptions.AsdfWarning)
        assert read(str(path)) == {"u": {"n": 1}}
