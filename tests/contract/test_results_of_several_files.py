"""A result of several files: they refer to each other by their names, and stay together; one of them is the main."""

from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as ET
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from contract.models import OtherResult, SimResult
from entropic import LoadError, ResultLostWarning, ResultMissingError, SaveError, Store, StoreError
from entropic.ui.record import run_of
from servers.crowd import sets

ONE, TWO, THREE = sets([1, 2, 3])


def write_virtual(params: dict[str, Any]) -> None:
    """Write a virtual data set, and what it is made of beside it, with names as they come."""
    main = Path(params["result_file"])
    with h5py.File(main.with_name("part0.h5"), "w") as part:
        part["values"] = np.arange(4.0) + params["n"]
    layout = h5py.VirtualLayout((4,), float)
    layout[:] = h5py.VirtualSource("part0.h5", "values", (4,))
    with h5py.File(main, "w") as file:
        file.create_virtual_dataset("values", layout)


def write_xdmf(params: dict[str, Any]) -> None:
    """Write what XDMF writers do: XML that names an HDF5 file beside it."""
    main = Path(params["result_file"])
    with h5py.File(main.with_suffix(".h5"), "w") as data:
        data["u"] = np.full(3, float(params["n"]))
    main.write_text(f"<Xdmf><DataItem Format='HDF'>{main.stem}.h5:/u</DataItem></Xdmf>")


def read_xdmf(path: str) -> Any:
    name, _, where = str(ET.parse(path).getroot()[0].text).partition(":")
    with h5py.File(Path(path).with_name(name)) as data:
        return data[where][()]


@pytest.fixture
def virtual(open_store) -> Store[Any]:
    return open_store(write_virtual, file_suffix="/vds.h5")


def names_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != ".entropic")


def staged(tmp_path: Path) -> list[str]:
    """What is under way, or was left."""
    (folder,) = (tmp_path / "results" / ".entropic").iterdir()
    return [name for name in os.listdir(folder) if name[0] in "0123456789abcdef" and "." in name and "work" not in name]


def test_a_virtual_data_set_reads_right_after_publication(virtual, tmp_path):
    row = virtual.run_or_retrieve(ONE)
    folder = tmp_path / "results" / row.id
    assert row.result_file == str(folder / "vds.h5")
    assert (names_in(tmp_path / "results"), names_in(folder)) == ([row.id], ["part0.h5", "vds.h5"])
    np.testing.assert_array_equal(virtual.load(row)["values"], np.arange(4.0) + 1)
    with h5py.File(row.result_file) as file:  # what others read is right, too
        np.testing.assert_array_equal(file["values"], np.arange(4.0) + 1)
    assert virtual.run_or_retrieve(ONE).result_file == row.result_file
    assert virtual.check().ok


def test_xdmf_and_its_hdf5_file_keep_their_names_together(open_store):
    store = open_store(write_xdmf, file_suffix="/run.xdmf", loader=read_xdmf)
    rows = store.sweep([ONE, TWO])
    for row, n in zip(rows, (1.0, 2.0), strict=True):
        np.testing.assert_array_equal(store.load(row), [n] * 3)


def test_meshio_reads_what_it_wrote(open_store):
    meshio = pytest.importorskip("meshio")

    def mesh(params):
        points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        found = meshio.Mesh(points, [("triangle", np.array([[0, 1, 2]]))], point_data={"u": np.full(3, params["n"])})
        meshio.write(params["result_file"], found)  # HDF5 beside it

    store = open_store(mesh, file_suffix="/mesh.xdmf", loader=meshio.read)
    np.testing.assert_array_equal(store.load(store.run_or_retrieve(TWO)).point_data["u"], [2.0] * 3)


def test_labelled_arrays_and_returned_values_work_as_with_one_file(open_store):
    store = open_store(lambda params: np.arange(3) + params["n"], file_suffix="/values.npy")
    data = store.sweep([ONE, TWO]).to_xarray()
    np.testing.assert_array_equal(data.result, [[1, 2, 3], [2, 3, 4]])


@pytest.mark.parametrize("suffix", ["/vds.h5", ".case/vds.h5"])
def test_a_folder_may_have_a_suffix_of_its_own(open_store, suffix, tmp_path):
    store = open_store(write_virtual, file_suffix=suffix)
    row = store.run_or_retrieve(ONE)
    assert row.result_file == str(tmp_path / "results" / f"{row.id}{suffix}")
    assert store.file_suffix == suffix


@pytest.mark.parametrize("suffix", ["/", "/.", "/..", "//x.h5", "/a/x.h5", ".files/x.h5", "../x.h5", "/a\\x", ".d/"])
def test_a_main_file_that_would_lead_elsewhere_is_refused(open_store, suffix):
    with pytest.raises(StoreError, match="file_suffix"):
        open_store(file_suffix=suffix)


def test_a_run_without_its_main_file_fails_and_says_what_it_wrote(open_store):
    store = open_store(lambda params: Path(params["result_file"]).with_name("other.h5").touch(), file_suffix="/vds.h5")
    with pytest.raises(ResultMissingError, match=r"/vds\.h5\); it wrote .*/other\.h5 instead"):
        store.run_or_retrieve(ONE)
    assert store.check().ok


def test_a_main_file_that_is_a_link_leads_to_the_same_afterwards(open_store):
    def link(absolute):
        def write(params):
            target = Path(params["result_file"]).with_name("epoch3.json")
            target.write_text(json.dumps(params["n"]))
            os.symlink(target if absolute else target.name, params["result_file"])

        return write

    for n, absolute in ((1, True), (2, False)):
        store = open_store(link(absolute), file_suffix="/last.json")
        assert store.load(store.run_or_retrieve(sets([n])[0])) == n


def test_files_outside_the_folder_are_extra_files_as_always(open_store, tmp_path):
    def write(params):
        write_virtual(params)
        Path(params["result_file"]).parents[1].joinpath("notes.txt").write_text("extra")

    store = open_store(write, file_suffix="/vds.h5")
    row = store.run_or_retrieve(ONE)
    (extra,) = [name for name in names_in(tmp_path / "results") if name.endswith(".files")]
    assert extra.startswith(f"{row.id}.")
    assert (tmp_path / "results" / extra / "notes.txt").read_text() == "extra"
    assert store.delete(ONE, remove_file=True)
    assert names_in(tmp_path / "results") == []


# ---- what becomes of it ------------------------------------------------------------------------------------------
def test_a_run_again_replaces_all_of_it(open_store, tmp_path):
    row = open_store(write_virtual, file_suffix="/vds.h5").run(ONE)

    def write(params):
        Path(params["result_file"]).with_name("b.h5").touch()
        write_virtual({**params, "n": 7})

    store = open_store(write, file_suffix="/vds.h5")
    again = store.run(ONE)
    assert again.result_file == row.result_file
    assert names_in(Path(row.result_file).parent) == ["b.h5", "part0.h5", "vds.h5"]
    np.testing.assert_array_equal(store.load(again)["values"], np.arange(4.0) + 7)
    assert store.check().ok
    assert staged(tmp_path) == []


@pytest.mark.parametrize("how", ["delete", "gc", "orphan"])
def test_deleting_and_collecting_removes_all_of_it(virtual, how, tmp_path):
    virtual.sweep([ONE, TWO])
    if how == "delete":
        assert virtual.delete(ONE, remove_file=True)
        assert virtual.delete(TWO, remove_file=True)
    elif how == "gc":
        assert len(virtual.gc(older_than=0, dry_run=False).removed) == 2
    else:
        virtual.delete(ONE)
        virtual.delete(TWO)
        assert len(virtual.check().orphans) == 2
        assert len(virtual.gc(dry_run=False, orphans=True).removed) == 2
    assert names_in(tmp_path / "results") == []
    assert staged(tmp_path) == []
    assert virtual.check().ok


@pytest.mark.parametrize("lost", ["vds.h5", "part0.h5", "."])
def test_a_file_that_is_gone_is_noticed_whichever_it_is(virtual, lost, tmp_path):
    row = virtual.run_or_retrieve(ONE)
    gone = Path(row.result_file).parent / lost
    shutil.rmtree(gone) if lost == "." else gone.unlink()
    assert not virtual.check().ok
    assert virtual.explain(ONE).state == "lost"
    with pytest.warns(ResultLostWarning):
        again = virtual.run_or_retrieve(ONE)
    np.testing.assert_array_equal(virtual.load(again)["values"], np.arange(4.0) + 1)
    assert virtual.check().ok


def test_a_project_that_was_copied_serves_it(virtual, runner, open_store, tmp_path):
    row = virtual.run_or_retrieve(ONE)
    folder = Path(row.result_file).parent
    os.utime(folder, ns=(1, 1))  # as copies have
    store = open_store(runner, file_suffix="/vds.h5")
    assert store.run_or_retrieve(ONE).id == row.id
    assert runner.calls == []
    assert store.check().ok


def test_two_models_with_one_id_have_two_folders(open_store):
    one = open_store(write_virtual, file_suffix="/vds.h5").run_or_retrieve(ONE)
    other = open_store(model=OtherResult, file_suffix="/other.json").run_or_retrieve(ONE)
    assert one.id == other.id
    assert Path(other.result_file).parent.name == f"{one.id}=2"
    assert Path(other.result_file).name == "other.json"


def test_a_store_of_single_files_goes_on_with_several_and_back(open_store, tmp_path):
    single = open_store()
    first = single.run_or_retrieve(ONE)
    with pytest.warns(match="Is file_suffix right"):
        several = open_store(write_virtual, file_suffix="/vds.h5")
    assert several.run_or_retrieve(ONE).result_file == first.result_file
    second = several.run_or_retrieve(TWO)
    assert {row.result_file for row in open_store().select()} == {first.result_file, second.result_file}
    again = single.run(TWO)  # where it was, under its names
    assert again.result_file == second.result_file
    assert single.check().ok
    assert staged(tmp_path) == []


def test_rows_are_rebuilt_of_it_and_copied(virtual, open_store, place, tmp_path):
    row = virtual.run_or_retrieve(ONE)
    place.execute(f"DELETE FROM {SimResult.__tablename__}")
    place.execute("DELETE FROM entropic_ledger")
    assert virtual.rebuild().made == [row.id]
    assert [found.result_file for found in virtual.select()] == [row.result_file]
    np.testing.assert_array_equal(virtual.load(ONE)["values"], np.arange(4.0) + 1)
    assert virtual.check().ok


def test_a_file_of_it_is_nobody_elses_to_register(virtual):
    row = virtual.run_or_retrieve(ONE)
    for name in ("vds.h5", "part0.h5"):
        with pytest.raises(Exception, match="belongs to the result of another run"):
            virtual.register(TWO, Path(row.result_file).with_name(name))


def test_a_single_file_of_a_folder_of_that_name_can_be_registered(open_store, runner, tmp_path):
    store = open_store(runner, file_suffix="/run.json")
    id = store.run_or_retrieve(TWO).id
    store.delete(TWO, remove_file=True)
    folder = tmp_path / "results" / id
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    (folder / "more").write_text("more")
    row = store.register(TWO, folder / "run.json")
    (folder / "more").write_text("of no concern")
    assert os.path.samefile(store.run_or_retrieve(TWO).result_file, row.result_file)
    assert len(runner.calls) == 1
    assert store.check().ok


# ---- where it runs -----------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_several_processes_write_it(open_store):
    store = open_store(write_virtual, file_suffix="/vds.h5")
    for executor in (2, ProcessPoolExecutor(1, mp_context=get_context("spawn"))):
        given = {"workers": executor} if isinstance(executor, int) else {"client": executor}
        rows = store.sweep([ONE, TWO] if isinstance(executor, int) else [THREE], **given)
        for row in rows:
            np.testing.assert_array_equal(store.load(row)["values"], np.arange(4.0) + row.n)
        if not isinstance(executor, int):
            executor.shutdown()
    assert store.check().ok


# ---- files that lie beside a single result ------------------------------------------------------------------------
def test_a_single_result_that_misses_what_it_left_beside_it_says_how_to_keep_them_together(open_store):
    store = open_store(write_virtual, file_suffix=".h5")
    row = store.run_or_retrieve(ONE)
    with pytest.raises(LoadError) as caught:
        store.load(row)
    (note,) = caught.value.__notes__
    assert "other files of its run" in note
    assert "file_suffix='/NAME.h5'" in note


def test_what_a_suffix_cannot_hold_is_kept_with_all_that_the_run_wrote(open_store):
    def write(params):
        Path(params["result_file"]).with_name("more.txt").write_text("more")
        return {"not": "an array of numbers", "n": params["n"]}

    store = open_store(write, file_suffix="/values.npy")
    with pytest.raises(SaveError) as caught:
        store.run_or_retrieve(ONE)
    assert caught.value.kept is not None
    assert os.path.exists(caught.value.kept)
    assert Path(caught.value.kept).with_name("more.txt").read_text() == "more"
    assert store.check().ok


def test_a_page_shows_it_as_done_with_the_size_of_all_files(virtual):
    row = virtual.run_or_retrieve(ONE)
    told = run_of(virtual._context, row.id)
    assert told["state"] == "done"
    assert told["size"] == sum(one.stat().st_size for one in Path(row.result_file).parent.iterdir())
