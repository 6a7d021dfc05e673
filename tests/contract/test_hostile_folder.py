"""Somebody else may write into the results folder: links, pipes and folders there lead nowhere, and stop nobody.

The probe beside the project must stay as it is.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from contract.models import SimResult, write_params
from entropic import StoreError, UnreadableError, key, report
from entropic.cli.reflect import open_reflected
from entropic.executors import attempt
from entropic.files import sidecar, workspace
from entropic.files.deaths import note_death
from entropic.files.reserve import Reserve
from entropic.protocol import claim, run
from entropic.protocol.request import Progress
from entropic.support import process
from entropic.upkeep.open_store import open_read_only
from snapshots import snapshot

ONE, TWO = {"n": 1, "dt": 1.0}, {"n": 2, "dt": 1.0}


def staging_of(store):
    return Path(store._context.staging.root)


def claimed(store, params):
    """Claim a key, and die."""
    request = run.prepare(store._context, key(params), params, {})
    with (call := process.Call()).under_way:
        return claim.claim(store._context, request, call.name, Progress())


def finished(store, params):
    """Finish a run, and die before it is recorded; return its sidecar."""
    attempt.run(task := claimed(store, params), store._context.runner)
    return staging_of(store) / sidecar.name(task.key, task.attempt)


def log_of(store, params):
    return Path(store._context.staging.log(store._context.key_of(key(params))))


# ---- links ---------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_planted_as_a_log_is_not_written_through(open_store, beside, kind):
    store = open_store(say_something)
    log = log_of(store, ONE)
    log.parent.mkdir()
    (os.symlink if kind == "symbolic" else os.link)(beside / "probe.txt", log)
    store.sweep([ONE], workers=1)
    assert log.read_text() == "hello\n"
    assert store.log_file(ONE) == log


@pytest.mark.slow
@pytest.mark.parametrize("act", ["sweep", "delete", "gc"])
def test_a_link_planted_as_the_folder_of_logs_is_not_followed(open_store, beside, act):
    store = open_store(say_something)
    store.run(ONE)
    log = log_of(store, ONE)
    log.parent.symlink_to(beside)
    (beside / log.name).write_text("mine")
    if act == "sweep":
        assert store.sweep([TWO, ONE], workers=1)
    elif act == "delete":
        store.delete(ONE, remove_file=True)
    else:
        store.gc(SimResult.n == 1)
    assert store.log_file(ONE) is None
    assert (beside / log.name).read_text() == "mine"
    (beside / log.name).unlink()


FOLDERS = ("starts", "reserve", "environments", "journal", "frozen", "logs", "checkpoints", "reports")


def in_its_place(store, name):
    """Return where a folder of entropic's own in staging was, which is not there any more."""
    workspace.forget(store._context.staging)
    path = staging_of(store) / name
    if path.is_dir():
        shutil.rmtree(path)
    return path


def use_in_every_way(store):
    """Do whatever uses a folder in staging; each may be refused."""
    for act in (
        lambda: store.run(TWO),
        lambda: store.freeze("some"),
        store.frozen,
        store.repair,
        lambda: store.gc(orphans=True),
        store.rebuild,
        lambda: store.provenance(ONE),
        store.status,
        store.check,
        lambda: store.delete(ONE, remove_file=True),
    ):
        with contextlib.suppress(StoreError):
            act()
    workspace.forget(store._context.staging)


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("name", FOLDERS)
def test_no_link_in_the_place_of_a_folder_of_entropics_own_leads_out(open_store, beside, name):
    store = open_store(say_how_far, checkpoints=True)
    store.run(ONE)
    in_its_place(store, name).symlink_to(beside)
    before = snapshot(beside)
    again = open_store(say_how_far, checkpoints=True)
    assert again.run_or_retrieve(ONE).n == 1
    use_in_every_way(again)
    assert snapshot(beside) == before


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing"])
def test_a_store_opens_and_serves_whatever_lies_in_the_place_of_its_folders(open_store, beside, kind):
    store = open_store(say_how_far, checkpoints=True)
    store.run(ONE)
    for name in FOLDERS:
        path = in_its_place(store, name)
        if kind == "file":
            path.touch()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(beside / "nothing")
    again = open_store(say_how_far, checkpoints=True)
    assert again.run_or_retrieve(ONE).n == 1
    with pytest.raises(StoreError, match=r"cannot write in .*checkpoints|cannot write in .*reserve"):
        again.run(TWO)
    use_in_every_way(again)


@pytest.mark.only_on("sqlite")
def test_extra_files_that_became_a_link_are_removed_as_a_link(open_store, beside):
    store = open_store(leave_more)
    row = store.run(ONE)
    (extra,) = Path(row.result_file).parent.glob("*.files")
    shutil.rmtree(extra)
    extra.symlink_to(beside)
    (beside / "old").chmod(0o640)
    beside.chmod(0o750)
    before = snapshot(beside)
    assert store.delete(ONE, remove_file=True)
    assert snapshot(beside) == before
    assert not os.path.lexists(extra)
    assert store.check().ok


@pytest.mark.only_on("sqlite")
def test_a_changed_result_is_kept_through_no_link_where_there_are_no_hard_ones(open_store, beside, monkeypatch):
    store = open_store()
    changed = Path(store.run(ONE).result_file)
    changed.write_text("changed by hand")

    planted = []

    def refuse_links(source, target, **_):
        if ".changed" in str(target) and not planted:
            planted.append(target)
            os.symlink(beside / "probe.txt", target)  # between the look and the copy
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse_links)
    store.run(ONE)
    (kept,) = (path for path in changed.parent.glob("*.changed*") if not path.is_symlink())
    assert (kept.read_text(), json.loads(changed.read_text())["n"]) == ("changed by hand", 1)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_room_that_was_taken_is_not_given_back_through_a_link(store, beside, kind):
    store.run(ONE)
    made = Reserve(store._context.staging, f"{process.identity()}.77")
    os.unlink(made.path)
    (os.symlink if kind == "symbolic" else os.link)(beside / "probe.txt", made.path)

    def find_it_full():
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        made.with_room(find_it_full)
    assert not made.become(str(staging_of(store) / "new.json"), b"text", is_ours=False)
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"entropic": Infinity}', None, b'{"entropic": 99}'],
    ids=["too deep", "a large number", "a pipe", "a later version"],
)
def test_what_a_frozen_selection_says_of_itself_may_be_anything(store, text):
    """Or nothing, as a pipe that nobody writes into: the others are listed all the same, and none is made of it."""
    store.run(ONE)
    there = Path(store.freeze("good").path)
    told = there.with_name("bad") / "frozen.json"
    shutil.copytree(there, told.parent)
    told.unlink()
    if text is None:
        os.mkfifo(told)
    else:
        told.write_bytes(text)
    assert [one.name for one in store.frozen()] == ["good"]
    assert [row.n for row in store.at("good").select()] == [1]
    with pytest.raises(StoreError, match=r"bad cannot be read"):
        store.at("bad")


@pytest.mark.parametrize("kind", ["a link", "a pipe", "too deep", "a large number"])
def test_what_a_view_says_of_its_links_may_be_anything(store, beside, tmp_path, kind):
    store.run(ONE)
    store.view(tmp_path / "out", "n={n}")
    noted = tmp_path / "out" / ".entropic-view.json"
    noted.unlink()
    if kind == "a link":
        noted.symlink_to(beside / "probe.txt")
    elif kind == "a pipe":
        os.mkfifo(noted)
    else:
        noted.write_text("[" * 100_000 if kind == "too deep" else '{"entropic": Infinity}')
    with pytest.raises(StoreError, match="cannot be read"):
        store.view(tmp_path / "out", "n={n}")


def test_a_link_that_is_no_log_is_not_shown_as_one(store, beside):
    log = log_of(store, ONE)
    log.parent.mkdir()
    log.symlink_to(beside / "probe.txt")
    assert store.log_file(ONE) is None


@pytest.mark.parametrize("which", ["all", "of the database"])
def test_a_staging_folder_that_is_a_link_is_refused(open_store, beside, tmp_path, which):
    store = open_store()
    store.run(ONE)
    workspace.forget(store._context.staging)
    folder = staging_of(store) if which == "of the database" else staging_of(store).parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(beside)
    with pytest.raises(StoreError, match="is a link"):
        open_store()
    with pytest.raises(StoreError, match="is a link"):  # nor does a store that is open already work there
        store.run(TWO)
    folder.unlink()


def test_a_results_folder_may_be_a_link(open_store, tmp_path, runner):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    store = open_store()
    assert Path(store.run(ONE).result_file).is_file()
    assert store.delete(ONE, remove_file=True)
    assert store.check().ok


def test_a_link_planted_as_the_slot_of_a_delete_moves_nothing_out(store, beside, place):
    row = store.run(ONE)
    attempt_name = f"7-0123abcd.{process.identity()}.999999"
    slot = staging_of(store) / f"{store._context.key_of(row.id)}.{attempt_name}.slot"
    slot.symlink_to(beside)
    place.execute("DELETE FROM sim_results")
    place.execute("UPDATE entropic_ledger SET state = 'deleting', attempt = ?", attempt_name)
    with pytest.raises(StoreError, match="is a link, which entropic did not make"):
        store.run_or_retrieve(ONE)
    assert not any("removed" in sentence or "finished" in sentence for sentence in store.repair().done)
    assert Path(row.result_file).is_file()
    slot.unlink()
    assert store.run_or_retrieve(ONE).n == 1
    assert store.check().ok


def test_links_that_bear_the_names_of_what_the_dead_left_are_removed_themselves(store, beside):
    dead = f"{process.identity()}.999999"
    stem = f"{store._context.key_of(key(ONE))}.1-0123abcd.{dead}-1"
    planted = [staging_of(store) / name for name in (f"{dead}.work", f"{stem}.json", f"{stem}.files", f"{stem}.slot")]
    for path in planted:
        path.symlink_to(beside)
    store.repair()
    assert not any(path.is_symlink() for path in planted)


# ---- what is no sidecar --------------------------------------------------------------------------------------------
@pytest.mark.each
@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "link to itself"])
def test_what_bears_the_name_of_a_sidecar_and_is_none_hangs_nobody_and_is_reported(open_store, beside, runner, kind):
    store = open_store()
    task = claimed(store, ONE)
    path = staging_of(store) / sidecar.name(task.key, task.attempt)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(beside / "probe.txt" if kind == "link" else path)
    again = open_store()
    (found,) = again.check().unreadable
    assert found.path == str(path)
    again.repair()
    again.gc(orphans=True)
    assert again.run_or_retrieve(ONE).n == 1
    assert again.run_or_retrieve(TWO).n == 2
    assert os.path.lexists(path)


@pytest.mark.each
@pytest.mark.parametrize(
    "told",
    [
        {"execution": "../../../../beside/probe", "suffix": ".txt"},
        {"suffix": "/../../../../beside/probe.txt"},
        {
            "execution": "x/../../../../../beside/probe",
            "suffix": ".txt",
            "slotted": True,
            "extra": True,
            "folder": True,
        },
        {"attempt": "../../../../beside/probe"},
        {"key": "../../../beside/probe"},
        {"values": {"result_file": "/", "n": 1, "dt": 1.0}},
        {"values": {"n": [1], "dt": {"x": 1}}},
        {"owner": "me"},
        {"created_at": "yesterday"},
        {"size": "large"},
    ],
)
@pytest.mark.parametrize("is_over", [False, True])
def test_a_sidecar_that_entropic_did_not_write_removes_and_publishes_nothing(
    open_store, place, beside, runner, told, is_over
):
    store = open_store()
    store.run(TWO)
    path = finished(store, ONE)
    path.write_text(json.dumps(json.loads(path.read_text()) | told) + "\n")
    if is_over:
        place.execute("UPDATE entropic_ledger SET state = 'idle', owner = NULL, attempt = '9-0123abcd' WHERE id = ?",
                      key(ONE))  # fmt: skip
    text = path.read_text()
    again = open_store()
    assert again.retrieve(ONE) is None
    (found,) = again.check().unreadable
    assert path.name in found.text
    again.repair()
    again.gc(orphans=True)
    assert path.read_text() == text
    calls = len(runner.calls)
    assert again.sweep([TWO, ONE])
    assert len(runner.calls) == calls + 1


# ---- what the ledger says ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("path", "../../beside/probe.txt"),
        ("path", ".entropic"),
        ("path", "notes.txt"),
        ("attempt", "../../../../beside/probe"),
        ("published", "/../../beside/probe"),
        ("owner", "me"),
        ("owner", "host.0123abcd.x.y.z"),
        ("state", "lost"),
        ("registered", "../beside/probe.txt"),
        ("waits_for", "nobody"),
    ],
)
def test_a_claim_that_entropic_did_not_make_acts_on_nothing_and_stops_no_other_key(
    open_store, place, beside, tmp_path, column, value
):
    store = open_store()
    one, two = store.run(ONE), store.run(TWO)
    (tmp_path / "results" / "notes.txt").write_text("mine")
    place.execute(f"UPDATE entropic_ledger SET {column} = ? WHERE id = ?", value, one.id)
    again = open_store()
    (found,) = again.check().unreadable
    assert (found.id, column in found.text, value in found.text) == (one.id, True, True)
    assert not again.repair().done
    again.gc(orphans=True)
    again.gc(SimResult.n == 1)
    with pytest.raises(UnreadableError, match=re.escape(column)):
        again.run(ONE)
    with pytest.raises(UnreadableError, match=re.escape(column)):
        again.delete(ONE, remove_file=True)
    assert [row.n for row in again.select()] == [1, 2]
    assert again.run_or_retrieve(TWO).result_file == two.result_file
    assert Path(one.result_file).is_file()
    assert (tmp_path / "results" / "notes.txt").read_text() == "mine"


@pytest.mark.each
@pytest.mark.parametrize("uuid", ["", "..", "../../beside", "/", "0123"])
def test_a_database_whose_uuid_entropic_did_not_make_is_refused(open_store, place, beside, tmp_path, uuid):
    open_store()
    before = sorted((tmp_path / "results").rglob("*"))
    place.execute("UPDATE entropic_meta SET value = ? WHERE name = 'uuid'", uuid)
    with pytest.raises(StoreError, match="was not made by entropic: its uuid"):
        open_store()
    assert sorted((tmp_path / "results").rglob("*")) == before


@pytest.mark.only_on("sqlite")
def test_a_database_alone_does_not_say_where_to_work(tmp_path, beside, monkeypatch):
    """One without a ledger, as 2.3.0 made it, names the folder of its results only by what its rows say."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with contextlib.closing(sqlite3.connect("db.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE sims (id TEXT PRIMARY KEY, n INT, result_file TEXT NOT NULL, "
                           "created_at TEXT NOT NULL, custom_data TEXT NOT NULL)")  # fmt: skip
        connection.execute("INSERT INTO sims VALUES ('probe', 1, ?, '2026-01-01 00:00:00', '{}')",
                           (str(beside / "probe.txt"),))  # fmt: skip
    with pytest.raises(StoreError, match=r"results folder of .* was not found"):
        open_reflected("sqlite:///db.sqlite3")
    assert not (beside / ".entropic").exists()


@pytest.mark.only_on("sqlite")
def test_a_copied_database_alone_works_in_its_own_folder_and_not_in_the_original_s(open_store, tmp_path, monkeypatch):
    """Its rows and its uuid are those of the original, in whose folder they lead if nothing lies beside the copy."""
    row = open_store(db_url=f"sqlite:///{tmp_path / 'db.sqlite3'}").run(ONE)
    copy = tmp_path / "elsewhere" / "copy"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as original,
        contextlib.closing(sqlite3.connect(copy / "db.sqlite3")) as copied,
    ):
        original.backup(copied)
    with pytest.raises(StoreError, match="name that folder with --results"):
        open_reflected("sqlite:///db.sqlite3")
    with open_read_only():
        assert [one.id for one in open_reflected("sqlite:///db.sqlite3").select()] == [row.id]
    shutil.copytree(tmp_path / "results", copy / "results")
    assert open_reflected("sqlite:///db.sqlite3").delete({"id": row.id}, remove_file=True)
    assert not list((copy / "results").glob("*.json"))
    assert Path(row.result_file).is_file()


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("uuid", ["..", "../../beside", "/", 5])
def test_a_database_alone_with_another_uuid_is_refused(open_store, place, beside, tmp_path, uuid):
    open_store().run(ONE)
    place.execute("UPDATE entropic_meta SET value = ? WHERE name = 'uuid'", uuid)
    with pytest.raises(StoreError, match="was not made by entropic"):
        open_reflected(place.url)


@pytest.mark.only_on("sqlite")
def test_the_suffix_of_a_database_alone_is_that_of_a_sound_claim(open_store, place, beside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store()
    one, _ = store.run(ONE), store.run(TWO)
    place.execute("UPDATE entropic_ledger SET path = ? WHERE id = ?", f"{one.id}/../../beside/probe.txt", one.id)
    found = open_reflected(place.url)
    assert found._context.staging.suffix == ".json"
    assert len(found.select()) == 2


def say_how_far(params):
    report(step=1, total=2)
    (Path(params["checkpoint_dir"]) / "last").write_text("1")
    write_params(params)


def leave_more(params):
    write_params(params)
    Path(params["result_file"]).with_name("more.txt").write_text("more")


def say_something(params):
    os.write(1, b"hello\n")
    Path(params["result_file"]).write_text("{}")


def test_whatever_has_the_name_of_a_death_is_no_more_than_a_death_without_a_reason(store, beside):
    staging, key, task = store._context.staging, store._context.key_of("0" * 16), "7-0-0"
    assert note_death(staging, key, "1-00000000", task, "NODE_FAIL") == ["NODE_FAIL"]
    known = next(Path(staging.inside("deaths")).iterdir())
    os.mkfifo(str(known).replace(task, "8-0-0"))  # which nobody ever writes into
    Path(str(known).replace(task, "9-0-0")).symlink_to(beside / "probe.txt")
    told = note_death(staging, key, "1-00000000", task, "NODE_FAIL")
    assert sorted(told) == ["NODE_FAIL", "its reason cannot be read", "its reason cannot be read"]
