"""Checksums of results: recorded when they are published, compared when somebody asks, by as many calls as it takes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from contract.models import SimResult, content, write_params
from entropic import ParameterError, PublishError, ReadOnlyError, ResultLostWarning, Store
from entropic.db.engine import Database
from entropic.protocol import compare as before_locking
from entropic.upkeep import deep as comparing

SETS = [{"n": n, "dt": 0.5} for n in range(6)]


def write_folder(params: dict[str, Any]) -> None:
    folder = Path(params["result_file"])
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "0.0").write_text(str(params["n"]))
    (folder / "latest").symlink_to("deep/0.0")


def alter(path: str) -> None:
    """Change one byte of a file; its size and its time stay as they were."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit(path: str) -> bytes:
    """Change one byte of a file, as an editor does: its size stays, its time does not. Return what it holds then."""
    alter(path)
    touch(path)
    return Path(path).read_bytes()


def touch(path: str) -> None:
    """Give a file another time, as a copy has it."""
    os.utime(path, (1, 1))


@pytest.mark.parametrize("call", ["run_or_retrieve", "sweep", pytest.param("workers", marks=pytest.mark.slow)])
def test_what_was_stored_is_told_from_what_somebody_has_put_in_its_place(open_store, call):
    store = open_store(write_params, checksum=True)
    if call == "run_or_retrieve":
        rows = [store.run_or_retrieve(one) for one in SETS[:2]]
    else:
        rows = store.sweep(SETS[:2], workers=1 if call == "workers" else None)
    report = store.check(deep=True)
    assert (report.ok, report.compared, report.without_checksum) == (True, 2, 0)
    assert "2 results compared byte by byte" in str(report)
    alter(rows[1].result_file)
    assert store.check().ok, "its size and its time are as they were"
    report = store.check(deep=True)
    (finding,) = report.altered
    assert (finding.id, finding.path, report.ok, report.compared) == (rows[1].id, rows[1].result_file, False, 2)
    assert "run() makes it again" in str(finding)
    store.run(SETS[1])
    assert store.check(deep=True).ok


def test_the_digest_of_a_file_is_that_of_its_content(open_store, place):
    row = open_store(write_params, checksum=True).run_or_retrieve(SETS[0])
    expected = hashlib.sha256(Path(row.result_file).read_bytes()).hexdigest()
    assert expected in str(place.content()["entropic_digests"])


@pytest.mark.parametrize("change", ["content", "name", "new", "link", "gone"])
def test_a_folder_has_one_digest_over_names_and_contents(open_store, change):
    store = open_store(write_folder, checksum=True, file_suffix="")
    folder = Path(store.run_or_retrieve(SETS[3]).result_file)
    (folder / ".DS_Store").write_text("seen")  # which others leave there
    assert store.check(deep=True).ok
    file = folder / "deep" / "0.0"
    if change == "content":
        alter(str(file))
    elif change == "name":
        file.rename(folder / "deep" / "0.1")
    elif change == "new":
        (folder / "empty").mkdir()
    elif change == "link":
        (folder / "latest").unlink()
        (folder / "latest").symlink_to("deep/0.1")
    else:
        (folder / "empty.txt").touch()
    report = store.check(deep=True)
    assert [one.path for one in report.altered] == [str(folder)], str(report)


@pytest.mark.slow
def test_results_without_a_checksum_are_counted(open_store):
    open_store(write_params).sweep(SETS[:2])
    store = open_store(write_params, checksum=True)
    store.run_or_retrieve(SETS[2])
    report = store.check(deep=True)
    assert (report.ok, report.compared, report.without_checksum) == (True, 1, 2)
    assert "2 have no checksum to compare with" in str(report)
    open_store(write_params).run(SETS[2])  # a newer result, of which no digest was recorded
    report = store.check(deep=True)
    assert (report.ok, report.compared, report.without_checksum) == (True, 0, 3)


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_changed_bytes_are_kept_beside_before_a_run_replaces_them(open_store, is_folder, caplog):
    store = open_store(
        write_folder if is_folder else write_params, checksum=True, file_suffix="" if is_folder else ".json"
    )
    row = store.run_or_retrieve(SETS[3])
    changed = Path(row.result_file) / "deep" / "0.0" if is_folder else Path(row.result_file)
    alter(str(changed))
    content = changed.read_bytes()
    store.run(SETS[3])
    assert changed.read_bytes() != content
    (kept,) = store.results_dir.glob("*.changed*")
    assert (kept / "deep" / "0.0" if is_folder else kept).read_bytes() == content
    assert f"had been changed since it was stored, and is kept as {kept}" in caplog.text
    assert store.check(deep=True).ok
    store.run(SETS[3])
    assert len(list(store.results_dir.glob("*.changed*"))) == 1, "of what nobody changed nothing is kept"


def test_a_comparison_that_was_interrupted_goes_on_where_it_was(open_store, monkeypatch):
    store = open_store(write_params, checksum=True)
    rows = sorted(store.sweep(SETS), key=lambda row: row.id)
    alter(rows[0].result_file)
    alter(rows[5].result_file)
    monkeypatch.setattr(comparing, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(comparing, "TOGETHER", 2)
    read, real = [], comparing.digest

    def interrupted(path: str) -> str:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(path)
        return real(path)

    monkeypatch.setattr(comparing, "digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.check(deep=True, workers=1)
    monkeypatch.setattr(comparing, "digest", lambda path: (read.append(path), real(path))[1])
    read.clear()
    report = store.check(deep=True, workers=1)
    assert [row.result_file for row in rows[3:]] == read, "what was compared is not read again"
    assert sorted(one.id for one in report.altered) == [rows[0].id, rows[5].id]
    assert report.compared == len(SETS)
    assert "was interrupted" in str(report)
    read.clear()
    again = store.check(deep=True, workers=1)
    assert (len(read), again.resumed, len(again.altered)) == (len(SETS), None, 2), "the next one begins anew"


def test_a_result_that_is_replaced_meanwhile_is_no_finding(open_store, monkeypatch):
    store = open_store(write_params, checksum=True)
    row = store.run_or_retrieve(SETS[0])
    real, calls = comparing.digest, []

    def replacing(path: str) -> str:
        if not calls:
            calls.append(path)
            store.run(SETS[0], again=True)
        return real(path)

    monkeypatch.setattr(comparing, "digest", replacing)
    report = store.check(deep=True)
    assert (calls, report.ok, report.compared) == ([row.result_file], True, 1)


@pytest.mark.slow
def test_who_may_only_look_compares_and_notes_nothing(open_store, place):
    store = open_store(write_params, checksum=True)
    rows = store.sweep(SETS)
    alter(rows[1].result_file)
    before = place.content()
    for _ in range(2):
        report = open_store(write_params, read_only=True).check(deep=True)
        assert [one.id for one in report.altered] == [rows[1].id]
        assert report.compared == len(SETS)
    assert place.content() == before


def test_what_is_lost_or_cannot_be_read_is_said_and_the_rest_is_compared(open_store):
    store = open_store(write_folder, checksum=True, file_suffix="")
    rows = store.sweep(SETS[:3])
    shutil.rmtree(rows[0].result_file)
    os.mkfifo(f"{rows[1].result_file}/pipe")
    report = store.check(deep=True)
    assert [one.id for one in report.missing] == [rows[0].id]
    assert [one.id for one in report.altered] == [rows[1].id]
    assert "there is a pipe" in str(report)
    assert report.compared == 2


def test_a_registered_file_has_a_checksum_of_its_own(open_store, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text("{}")
    store = open_store(write_params, checksum=True)
    row = store.register(SETS[0], file)
    assert store.check(deep=True).compared == 1
    alter(str(file))
    assert [one.id for one in store.check(deep=True).altered] == [row.id]
    store.register(SETS[0], file)  # as it is now
    assert store.check(deep=True).ok
    store.delete(SETS[0])
    open_store(write_params).register(SETS[0], file)
    assert store.check(deep=True).without_checksum == 1


@pytest.fixture
def elsewhere(tmp_path):
    """Open a store of its own in a folder beside."""

    def open_it(name: str, **options: Any) -> Any:
        (tmp_path / name).mkdir(exist_ok=True)
        results, url = tmp_path / name / "results", f"sqlite:///{tmp_path}/{name}/db.sqlite3"
        return Store(options.pop("runner", write_params), SimResult, results, ".json", url, **options)

    return open_it


@pytest.mark.slow
def test_checksums_go_with_the_results_wherever_they_go(open_store, elsewhere, tmp_path):
    store = open_store(write_params, checksum=True)
    store.sweep(SETS[:2])
    copied = store.copy_to(f"sqlite:///{tmp_path}/copied.sqlite3")
    assert copied.check(deep=True).compared == 2
    merged = elsewhere("merged")
    merged.merge(store, files="copy")
    assert merged.check(deep=True).compared == 2
    left = elsewhere("left")
    left.merge(store, files="leave")
    assert left.check(deep=True).compared == 2
    store.archive(tmp_path / "archived")
    assert elsewhere("archived", runner=None).check(deep=True).compared == 2


@pytest.mark.slow
def test_what_was_altered_is_not_taken_into_a_store_that_checks(open_store, elsewhere):
    store = open_store(write_params, checksum=True)
    rows = store.sweep(SETS[:2])
    alter(rows[0].result_file)
    merged = elsewhere("merged", checksum=True)
    done = merged.merge(store)
    assert (done.taken, len(done.left)) == ([rows[1].id], 1)
    assert "its bytes are not those that were recorded there" in done.left[0]
    assert merged.check(deep=True).ok


def test_rebuilt_rows_have_the_checksums_of_their_journal(tmp_path):
    def opened(name: str) -> Any:
        return Store(
            write_params, SimResult, tmp_path / "results", ".json", f"sqlite:///{tmp_path}/{name}", checksum=True
        )

    rows = opened("one.sqlite3").sweep(SETS[:2])
    alter(rows[0].result_file)
    with pytest.warns(match="was lost"):
        store = opened("two.sqlite3")
    assert len(store.rebuild().made) == 2
    assert [one.id for one in store.check(deep=True).altered] == [rows[0].id]


def test_a_finished_run_that_somebody_else_records_has_its_checksum(open_store, monkeypatch):
    store = open_store(write_params, checksum=True)

    def refused(*_: object) -> None:
        raise OSError("not now")

    with monkeypatch.context() as patched:
        patched.setattr("entropic.protocol.publish.move", refused)
        with pytest.raises(PublishError, match="not now"):
            store.run_or_retrieve(SETS[0])
    open_store(write_params).run_or_retrieve(SETS[0])
    assert store.check(deep=True).compared == 1


@pytest.mark.parametrize(("options", "what"), [({"deep": 3}, "deep must be"), ({"workers": 0}, "number of threads")])
def test_what_is_no_option_is_refused(store, options, what):
    with pytest.raises(ParameterError, match=what):
        store.check(**options)


def test_checksum_is_true_or_false(open_store):
    with pytest.raises(ParameterError, match="checksum must be True or False"):
        open_store(checksum="sha1")


# ---- another time: edited, or copied? -------------------------------------------------------------------------------
LOST = "has the size that was stored, but not the bytes .it is kept beside the new one, with 'changed' in its name"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ask", "checksum"),
    [
        (lambda store: store.sweep(SETS[:3]), True),
        (lambda store: store.stream(SETS[:3]), True),
        (lambda store: map(store.run_or_retrieve, SETS[:3]), False),
    ],
    ids=["sweep", "stream", "one by one"],
)
def test_a_result_that_was_edited_in_place_is_lost_and_runs_again_and_the_copied_ones_are_hits(
    open_store, runner, ask, checksum
):
    store = open_store(runner, checksum=True)
    rows = store.sweep(SETS[:3])
    touch(rows[0].result_file)
    edited = edit(rows[1].result_file)
    # Whoever does not ask for checksums gets no wrong result, either, nor takes it for the same one.
    store = open_store(runner, checksum=checksum)
    for _ in range(2):
        assert (len((plan := store.plan(SETS[:3])).stored), len(plan.missing)) == (2, 1)
        assert [store.explain(one).state for one in SETS[:3]] == ["stored", "lost", "stored"]
        (finding,) = store.check().altered
        assert (finding.id, finding.path) == (rows[1].id, rows[1].result_file)
    assert "has the size that was stored, but not the bytes" in store.explain(SETS[1]).reason
    assert store.retrieve(SETS[1]).id == rows[1].id, "it looks at no file, whatever is wrong with it"
    assert runner.ns == [0, 1, 2]
    with pytest.warns(ResultLostWarning, match=LOST) as caught:
        found = list(ask(store))
    assert len(caught) == 1
    assert sorted(content(row)["n"] for row in found) == [0, 1, 2]
    assert runner.ns == [0, 1, 2, 1]
    (kept,) = store.results_dir.glob("*.changed*")
    assert kept.read_bytes() == edited
    assert store.check(deep=True).ok
    assert store.check(deep=True).without_checksum == 0
    assert len(store.sweep(SETS[:3])) == 3
    assert runner.ns == [0, 1, 2, 1]


def test_a_folder_that_was_edited_and_touched_is_lost_and_a_copied_one_is_a_hit(open_store):
    store = open_store(write_folder, checksum=True, file_suffix="")
    rows = store.sweep(SETS[:2])
    for row in rows:
        touch(row.result_file)
    (Path(rows[1].result_file) / "deep" / "0.0").write_text("7")
    with pytest.warns(ResultLostWarning, match=LOST):
        found = store.sweep(SETS[:2])
    assert [(Path(row.result_file) / "deep" / "0.0").read_text() for row in found] == ["0", "1"]
    (kept,) = store.results_dir.glob("*.changed*")
    assert (kept / "deep" / "0.0").read_text() == "7"
    assert found[0].created_at == rows[0].created_at


@pytest.mark.slow
def test_results_of_a_copied_project_are_read_once_without_a_lock_and_nothing_runs(open_store, runner, monkeypatch):
    open_store(runner, checksum=True).sweep(SETS)
    store = open_store(runner, checksum=True)
    for file in store.results_dir.glob("*.json"):
        touch(str(file))
    transact, digest = Database.transact, before_locking.digest
    read: list[str] = []
    locked = 0

    def counted(database: Any, *args: Any) -> Any:
        nonlocal locked
        locked += 1
        try:
            return transact(database, *args)
        finally:
            locked -= 1

    def noted(path: str) -> str:
        assert not locked
        read.append(path)
        return digest(path)

    monkeypatch.setattr(Database, "transact", counted)
    monkeypatch.setattr(before_locking, "digest", noted)
    assert len(store.plan(SETS).stored) == len(SETS)
    assert len(store.sweep(SETS)) == len(SETS)
    assert sorted(read) == sorted(map(str, store.results_dir.glob("*.json")))
    read.clear()
    store = open_store(runner, checksum=True)
    assert [store.run_or_retrieve(one).n for one in SETS] == list(range(len(SETS)))
    assert (read, len(runner.calls)) == ([], len(SETS)), "their times are recorded anew"


@pytest.mark.parametrize("then", ["edited", "replaced"])
def test_what_becomes_of_a_result_between_its_reading_and_the_lock_is_seen(open_store, runner, monkeypatch, then):
    store = open_store(runner, checksum=True)
    path = store.run_or_retrieve(SETS[0]).result_file
    if then == "edited":
        touch(path)
    else:
        edit(path)
    digest, calls = before_locking.digest, []

    def before(path: str) -> str:
        found = digest(path)
        calls.append(path)
        if len(calls) == 1 and then == "edited":
            alter(path)
            os.utime(path, (2, 2))
        elif len(calls) == 1:
            open_store(runner).run(SETS[0])  # of which no digest is recorded
        return found

    monkeypatch.setattr(before_locking, "digest", before)
    if then == "edited":
        with pytest.warns(ResultLostWarning, match=LOST):
            row = store.run_or_retrieve(SETS[0])
        assert len(calls) == 2
    else:
        row = store.run_or_retrieve(SETS[0])
    assert content(row)["n"] == 0
    assert len(runner.calls) == 2


@pytest.mark.slow
def test_who_may_only_look_is_given_no_edited_result_and_records_nothing(open_store, place):
    store = open_store(write_params, checksum=True)
    rows = store.sweep(SETS[:2])
    touch(rows[0].result_file)
    edit(rows[1].result_file)
    before = place.content()
    looking = open_store(write_params, read_only=True)
    assert looking.run_or_retrieve(SETS[0]).id == rows[0].id
    with pytest.raises(ReadOnlyError, match="would have to run"):
        looking.run_or_retrieve(SETS[1])
    with pytest.raises(ReadOnlyError, match="would have to run"):
        looking.sweep(SETS[:2])
    assert looking.explain(SETS[1]).state == "lost"
    assert place.content() == before


def test_a_result_that_cannot_be_read_is_no_other_one(open_store, runner, monkeypatch):
    store = open_store(runner, checksum=True)
    touch(store.run_or_retrieve(SETS[0]).result_file)
    with monkeypatch.context() as patched:

        def refused(path: str) -> str:
            raise PermissionError(13, "Permission denied", path)

        patched.setattr(before_locking, "digest", refused)
        assert store.run_or_retrieve(SETS[0]).n == 0
    edit(store.retrieve(SETS[0]).result_file)
    with pytest.warns(ResultLostWarning, match=LOST):  # its time was not recorded
        store.run_or_retrieve(SETS[0])
    assert runner.ns == [0, 0]


def test_what_was_edited_is_not_audited(open_store):
    store = open_store(write_params, checksum=True)
    rows = store.sweep(SETS[:2])
    edit(rows[1].result_file)
    audited = store.audit(fraction=1.0)
    assert [one.split(":")[0] for one in audited.skipped] == [rows[1].id]
