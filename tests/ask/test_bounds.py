"""A result is read from its own folder and nothing else, and nothing of it is unpickled, whatever its file says."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numcodecs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from PIL import Image

from entropic import LoadError
from entropic.formats.read import read

VALUES = np.arange(1.0, 4.0)
OTHERS = np.arange(3.0) + 10


@pytest.fixture
def inside(tmp_path):
    """The folder of a result."""
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


@pytest.fixture
def outside(tmp_path):
    """A folder beside it, which is nobody's business."""
    (tmp_path / "outside").mkdir()
    with h5py.File(tmp_path / "outside" / "others.h5", "w") as file:
        file["d"] = OTHERS
    (tmp_path / "outside" / "others.bin").write_bytes(OTHERS.tobytes())
    return tmp_path / "outside"


def refused(path: Path, *said: str) -> None:
    with pytest.raises(LoadError) as caught:
        read(str(path))
    for one in (str(path), "loader", *said):
        assert one in str(caught.value)


# ---- HDF5 and NetCDF ---------------------------------------------------------------------------------------------
def virtual(file: h5py.File, name: str, other: str | Path, dataset: str = "d") -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(other), dataset, (3,))
    file.create_virtual_dataset(name, layout)


def stored_outside(file, inside, outside):
    file.create_dataset("u", shape=(3,), dtype="f8", external=[(str(outside / "others.bin"), 0, 24)])


def virtual_of_outside(file, inside, outside):
    virtual(file, "u", outside / "others.h5")


def virtual_by_dots(file, inside, outside):
    virtual(file, "u", "../outside/others.h5")


def virtual_by_a_symbolic_link(file, inside, outside):
    (inside / "link.h5").symlink_to(outside / "others.h5")
    virtual(file, "u", "link.h5")


def virtual_behind_an_external_link(file, inside, outside):
    file["away"] = h5py.ExternalLink(str(outside / "others.h5"), "/d")
    file["soft"] = h5py.SoftLink("/away")
    virtual(file, "u", ".", "soft")


def virtual_of_a_virtual_one(file, inside, outside):
    with h5py.File(inside / "middle.h5", "w") as middle:
        virtual(middle, "m", outside / "others.h5")
    virtual(file, "u", "middle.h5", "m")


def virtual_of_a_pattern(file, inside, outside):
    space = h5py.h5s.create_simple((1, 3), (h5py.h5s.UNLIMITED, 3))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (1, 1), (1, 3))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_virtual(space, b"%b.h5", b"d", h5py.h5s.create_simple((3,)))
    space = h5py.h5s.create_simple((1, 3), (h5py.h5s.UNLIMITED, 3))
    h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F64LE, space, made)


OUT = [
    stored_outside,
    virtual_of_outside,
    virtual_by_dots,
    virtual_by_a_symbolic_link,
    virtual_behind_an_external_link,
    virtual_of_a_virtual_one,
    virtual_of_a_pattern,
]


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
@pytest.mark.parametrize("write", OUT, ids=lambda write: write.__name__)
def test_a_data_set_whose_values_are_elsewhere_is_refused_by_name(inside, outside, write, suffix):
    path = inside / f"made{suffix}"
    with h5py.File(path, "w") as file:
        write(file, inside, outside)
    named = "away" if write is virtual_behind_an_external_link else "u"
    refused(path, f"'{named}'", "not followed")


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
@pytest.mark.parametrize("missing", ["gone.h5", "beside.h5"])
def test_a_part_of_a_virtual_data_set_that_is_gone_is_an_error_and_no_zeros(inside, suffix, missing):
    with h5py.File(inside / "beside.h5", "w") as file:
        file["another"] = VALUES
    path = inside / f"made{suffix}"
    with h5py.File(path, "w") as file:
        virtual(file, "u", missing)
    refused(path, "'u'", missing, "missing")


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_links_into_other_files_are_refused_unless_others_are_wanted(inside, outside, suffix):
    with h5py.File(inside / f"made{suffix}", "w") as file:
        file["v"] = VALUES
        file["u"] = h5py.ExternalLink(str(outside / "others.h5"), "/d")
    refused(inside / f"made{suffix}", "'u'", "others.h5")
    if suffix == ".h5":
        assert list(read(str(inside / "made.h5"), only=["v"])) == ["v"]


def test_a_reader_may_leave_unread_what_leads_out(inside, outside):
    with h5py.File(inside / "made.h5", "w") as file:
        file["v"] = VALUES
        stored_outside(file, inside, outside)
    assert read(str(inside / "made.h5"), only=["v"])["v"].tolist() == VALUES.tolist()


def test_virtual_data_sets_of_files_beside_their_own_are_read(inside, monkeypatch, tmp_path):
    with h5py.File(inside / "part.h5", "w") as file:
        file["d"] = VALUES
        file["soft"] = h5py.SoftLink("d")
    with h5py.File(inside / "made.h5", "w") as file:
        file["group/own"] = VALUES
        virtual(file, "a", "part.h5")
        virtual(file, "b", inside / "part.h5", "soft")
        virtual(file, "c", ".", "group/own")
        virtual(file, "d", ".", "c")
    (tmp_path / "link.h5").symlink_to(inside / "made.h5")
    monkeypatch.chdir(tmp_path)
    for path in (inside / "made.h5", tmp_path / "link.h5"):
        found = read(str(path))
        assert {name: values.tolist() for name, values in found.items()} == dict.fromkeys(
            ["a", "b", "c", "d", "group/own"], VALUES.tolist()
        )


def test_netcdf_with_all_that_belongs_to_it_is_read(inside):
    data = xr.Dataset({"u": (("x",), VALUES)}, coords={"x": [1, 2, 3]})
    for number, kind in enumerate(["NETCDF4", "NETCDF3_64BIT", "NETCDF4_CLASSIC"]):
        data.to_netcdf(inside / f"{number}.nc", format=kind, engine="netcdf4")
        assert read(str(inside / f"{number}.nc")).equals(data)
    with netCDF4.Dataset(inside / "groups.nc", "w") as file:
        file.createGroup("deep").createDimension("t", 2)
    assert not read(str(inside / "groups.nc")).variables


# ---- Zarr --------------------------------------------------------------------------------------------------------
PICKLE = {"id": "pickle", "protocol": 5}
TEXT = {"id": "vlen-utf8"}


@pytest.fixture
def unpickled(monkeypatch):
    """What anybody has unpickled: nothing is."""
    told: list[Any] = []

    def tell(data: Any, *_: Any, **__: Any) -> Any:
        told.append(data)
        raise AssertionError("it was unpickled")

    monkeypatch.setattr(pickle, "loads", tell)
    monkeypatch.setattr(pickle, "load", tell)
    # As older versions of the library are; later ones refuse by themselves, unless somebody has asked them not to.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    return told


def changed(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def second_format(folder: Path, named: bool, below: str = "") -> Path:
    """Make a folder with an array, and return where the array lies."""
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    if below:
        group = group.create_group(below)
    array = group.create_array("u", data=VALUES, compressors=None)
    if named:
        array.attrs["_ARRAY_DIMENSIONS"] = ["x"]
    return folder / below / "u"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("below", ["", "deep"])
@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [PICKLE], "compressor": None},
        {"filters": None, "compressor": PICKLE},
        {"filters": [TEXT, PICKLE], "compressor": None, "dtype": "|O", "fill_value": ""},
        {"filters": [PICKLE], "compressor": None, "dtype": "|O", "fill_value": None},
        {"filters": [PICKLE], "compressor": None, "dtype": "|O", "fill_value": "gAROLg=="},
    ],
)
def test_codecs_that_unpickle_are_refused_before_anything_is_decoded(inside, unpickled, named, below, codecs):
    array = second_format(inside / "made.zarr", named, below)
    changed(array / ".zarray", lambda meta: meta.update(codecs))
    refused(inside / "made.zarr", "'pickle'", "run any code")
    assert unpickled == []


def test_an_array_alone_is_looked_at_too(inside, unpickled):
    zarr.create_array(inside / "made.zarr", data=VALUES, zarr_format=2, compressors=None)
    changed(inside / "made.zarr" / ".zarray", lambda meta: meta.update(filters=[PICKLE]))
    refused(inside / "made.zarr", "'pickle'")
    assert unpickled == []


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("harmless", ["consolidated", "own"])
def test_what_is_checked_is_what_is_read_and_not_another_file_that_says_the_same(inside, unpickled, named, harmless):
    """Consolidated metadata may say otherwise than an array's own: its own are meant, and are checked."""
    array = second_format(inside / "made.zarr", named)
    zarr.consolidate_metadata(inside / "made.zarr", zarr_format=2)
    if harmless == "consolidated":
        changed(array / ".zarray", lambda meta: meta.update(filters=[PICKLE]))
        refused(inside / "made.zarr", "'pickle'")
    else:
        changed(
            inside / "made.zarr" / ".zmetadata",
            lambda meta: meta["metadata"]["u/.zarray"].update(filters=[PICKLE], shape=[2]),
        )
        assert np.asarray(read(str(inside / "made.zarr"))["u"]).tolist() == VALUES.tolist()
    assert unpickled == []


def third_format(folder: Path, below: str = "") -> Path:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    if below:
        group = group.create_group(below)
    group.create_array("u", data=VALUES, compressors=None)
    return folder / below / "u" / "zarr.json"


@pytest.mark.parametrize("below", ["", "deep"])
@pytest.mark.parametrize(
    "codec",
    [
        {"name": "numcodecs.pickle", "configuration": {"protocol": 5}},
        "numcodecs.pickle",
        {"name": "sharding_indexed", "configuration": {"chunk_shape": [3], "codecs": [{"name": "cloudpickle"}]}},
        {"name": "sharding_indexed", "configuration": {"chunk_shape": [3], "codecs": ["bytes", "pickle"]}},
    ],
)
def test_the_codecs_of_the_third_format_are_looked_at_however_deep(inside, unpickled, below, codec):
    meta = third_format(inside / "made.zarr", below)
    changed(meta, lambda document: document["codecs"].append(codec))
    refused(inside / "made.zarr", "pickle'")
    assert unpickled == []


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_metadata_that_a_group_consolidates_lead_nowhere(inside, tmp_path):
    """Those of a nested group are used by the library even where those of the root are not."""
    third_format(inside / "made.zarr", "deep")
    third_format(tmp_path / "outside.zarr")
    zarr.consolidate_metadata(inside / "made.zarr", path="deep")

    def lead_out(document):
        entries = document["consolidated_metadata"]["metadata"]
        entries["../../../outside.zarr/u"] = entries.pop("u")

    changed(inside / "made.zarr" / "deep" / "zarr.json", lead_out)
    assert list(read(str(inside / "made.zarr"))) == ["deep/u"]


def test_attributes_may_speak_of_pickles(inside):
    group = zarr.open_group(inside / "made.zarr", mode="w")
    group.create_array("pickle", data=VALUES, attributes={"id": "pickle", "codecs": ["pickle"]})
    second_format(inside / "second.zarr", named=True)
    (inside / "second.zarr" / "u" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x"], "id": "pickle"}')
    assert read(str(inside / "second.zarr"))["u"].attrs == {"id": "pickle"}
    assert read(str(inside / "made.zarr"))["pickle"].tolist() == VALUES.tolist()


@pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:The data type")
@pytest.mark.parametrize("form", [2, 3])
def test_arrays_with_all_kinds_of_codecs_are_read(inside, form):
    data = xr.Dataset({"u": (("x",), VALUES), "s": (("x",), np.array(["a", "grün", ""]))}, coords={"x": [1, 2, 3]})
    data.to_zarr(inside / "text.zarr", zarr_format=form, consolidated=True)
    assert read(str(inside / "text.zarr")).equals(data)
    group = zarr.open_group(inside / "made.zarr", mode="w", zarr_format=form)
    options: dict[str, Any] = {"shards": (4,), "chunks": (2,)} if form == 3 else {"chunks": (2,)}
    group.create_array("deep/u", data=np.arange(10), **options)
    assert read(str(inside / "made.zarr"))["deep/u"].tolist() == list(range(10))


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("linked", ["chunk", "metadata", "array"])
def test_no_link_leads_out_of_a_zarr_folder(inside, tmp_path, form, named, linked):
    dims = ["x"] if named else None
    for folder in (tmp_path / "outside.zarr", inside / "made.zarr"):
        data = xr.Dataset({"u": (dims or ("a",), VALUES)})
        if named:
            data.to_zarr(folder, zarr_format=form, consolidated=False)
        else:
            zarr.open_group(folder, mode="w", zarr_format=form).create_array("u", data=VALUES)
    name = {
        "chunk": "u/0" if form == 2 else "u/c/0",
        "metadata": "u/.zarray" if form == 2 else "u/zarr.json",
        "array": "u",
    }[linked]
    target = inside / "made.zarr" / name
    target.rename(inside / "aside")
    target.symlink_to(tmp_path / "outside.zarr" / name)
    refused(inside / "made.zarr", "link", "u", "outside.zarr")


def test_links_within_a_zarr_folder_are_followed(inside, tmp_path):
    third_format(inside / "made.zarr")
    chunk = inside / "made.zarr" / "u" / "c" / "0"
    chunk.rename(chunk.with_name("kept"))
    chunk.symlink_to("kept")
    (tmp_path / "link.zarr").symlink_to(inside / "made.zarr")
    assert read(str(tmp_path / "link.zarr"))["u"].tolist() == VALUES.tolist()


# ---- the others --------------------------------------------------------------------------------------------------
def test_no_link_leads_out_of_a_folder_of_tables(inside, tmp_path):
    frame = pd.DataFrame({"t": [1, 2]})
    frame.to_parquet(tmp_path / "outside.parquet")
    (inside / "made.parquet").mkdir()
    frame.to_parquet(inside / "made.parquet" / "0.parquet")
    assert read(str(inside / "made.parquet")).equals(frame)
    (inside / "made.parquet" / "1.parquet").symlink_to(tmp_path / "outside.parquet")
    refused(inside / "made.parquet", "1.parquet", "outside.parquet")


def test_types_of_tables_that_are_pickles_stay_closed(inside, unpickled):
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps("harmless")}
    pq.write_table(
        pa.table({"t": [1, 2]}, schema=pa.schema([pa.field("t", pa.int64(), metadata=meta)])), inside / "made.parquet"
    )
    try:
        found = read(str(inside / "made.parquet"))
    except LoadError:
        found = None
    assert found is None or found["t"].tolist() == [1, 2]
    assert unpickled == []


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
def test_pickles_that_other_libraries_put_into_these_formats_stay_closed(inside, unpickled, suffix):
    path = inside / f"made{suffix}"
    if suffix == ".h5":  # as PyTables has attributes that are no numbers
        with h5py.File(path, "w") as file:
            file["u"] = VALUES
            file["u"].attrs["TITLE"] = np.void(pickle.dumps("harmless"))
            file["opaque"] = np.void(pickle.dumps("harmless"))
        assert set(read(str(path))) == {"u", "opaque"}
    else:
        data = io.BytesIO()
        array = np.array(["harmless", None], object)
        np.save(data, array) if suffix == ".npy" else np.savez(data, u=array)
        path.write_bytes(data.getvalue())
        refused(path, "run any code")
    assert unpickled == []


@pytest.mark.slow
def test_an_image_is_of_a_kind_that_no_other_program_has_to_draw(inside):
    """Encapsulated PostScript is a program, which Pillow lets an interpreter run, whatever the file is called."""
    Image.new("RGB", (2, 2)).save(inside / "made.eps")
    os.rename(inside / "made.eps", inside / "made.png")
    refused(inside / "made.png", "cannot identify image file")
    Image.new("RGB", (2, 2)).save(inside / "jpeg.png", format="JPEG")
    assert read(str(inside / "jpeg.png")).size == (2, 2)
