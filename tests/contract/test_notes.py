"""Notes and tags: what people say of results stays beside them, and selects them."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.models import OtherResult, SimResult, write_params
from databases import Place
from entropic import Note, ParameterError, ReadOnlyError, Store

SETS = [{"n": n, "dt": 0.5} for n in (1, 2, 3)]


def ns(rows) -> list[int]:
    return sorted(row.n for row in rows)


def test_results_are_noted_tagged_and_selected_by_their_tags(store):
    one, two, three = store.sweep(SETS)
    assert store.note(one, "suspicious", tags=["paper"]) == 1
    assert store.note([two, SETS[2]], tags=["paper", "größe"]) == 2
    assert store.note(three, untag=["paper"]) == 1
    assert store.notes() == {
        one.id: Note("suspicious", ("paper",)),
        two.id: Note("", ("größe", "paper")),
        three.id: Note("", ("größe",)),
    }
    assert store.notes(one)[one.id].text == "suspicious"
    assert str(store.notes(one)[one.id]) == "suspicious #paper"
    assert ns(store.select(store.tagged("paper"))) == [1, 2]
    assert ns(store.select(store.tagged("paper", "größe"))) == [2]
    assert ns(store.select(store.tagged("paper"), n=1)) == [1]
    assert ns(store.select(~store.tagged("paper"))) == [3]
    assert ns(store.select(store.tagged("Paper"))) == []
    store.note(one, "", untag=["paper"])
    assert one.id not in store.notes()


def test_a_note_stays_when_its_set_runs_again_and_a_row_is_as_it_was(store):
    row = store.run_or_retrieve(SETS[0])
    store.note(row, "first")
    store.note(row, "second", tags="paper")
    assert store.retrieve(SETS[0]).custom_data == row.custom_data
    store.run(SETS[0])
    assert store.notes(row) == {row.id: Note("second", ("paper",))}
    store.delete(SETS[0], remove_file=True)
    assert store.notes() == {}
    assert store.check().ok


@pytest.mark.slow
def test_tags_work_wherever_conditions_are_taken(store, tmp_path):
    rows = store.sweep(SETS)
    store.note(rows[0], tags=["keep"])
    assert len(store.archive(tmp_path / "out", store.tagged("keep")).results) == 1
    archived = Store(None, SimResult, tmp_path / "out" / "results", ".json", f"sqlite:///{tmp_path}/out/db.sqlite3")
    assert archived.notes() == {rows[0].id: Note("", ("keep",))}
    assert ns(store.iterate(store.tagged("keep"))) == [1]
    store.gc(~store.tagged("keep"))
    assert ns(store.select()) == [1]
    assert Path(rows[0].result_file).exists()


@pytest.mark.slow
def test_notes_go_along_with_copies_and_merges_and_others_are_conflicts(store, tmp_path):
    rows = store.sweep(SETS)
    store.note(rows[0], "mine", tags=["paper"])
    for name in ("copy", "mine"):
        (tmp_path / name).mkdir()
    assert store.copy_to(Place.on_sqlite(tmp_path / "copy").url).notes() == store.notes()
    mine = Store(
        write_params, SimResult, tmp_path / "mine" / "results", ".json", Place.on_sqlite(tmp_path / "mine").url
    )
    assert mine.merge(store).ok
    assert mine.notes() == store.notes()
    store.note(rows[0], "theirs", tags=["more"])
    store.note(rows[1], "new")
    for dry_run in (True, False):
        (conflict,) = mine.merge(store, dry_run=dry_run).conflicts
        assert "note is 'mine' here, and 'theirs' there" in str(conflict)
    assert mine.notes() == {rows[0].id: Note("mine", ("more", "paper")), rows[1].id: Note("new", ())}


def test_two_models_of_one_database_have_notes_of_their_own(store, open_store):
    other = open_store(model=OtherResult)
    row = store.run_or_retrieve(SETS[0])
    other.run_or_retrieve(SETS[0])
    store.note(row, tags=["paper"])
    assert other.notes() == {}
    assert other.select(other.tagged("paper")) == []


def test_a_store_that_is_only_looked_at_shows_notes_and_takes_none(store, open_store, place):
    row = store.run_or_retrieve(SETS[0])
    place.execute("DROP TABLE entropic_notes")  # as of an earlier version
    looking = open_store(read_only=True)
    assert looking.notes() == {}
    assert looking.select(looking.tagged("paper")) == []
    open_store().note(row, tags=["paper"])
    looking = open_store(read_only=True)
    assert ns(looking.select(looking.tagged("paper"))) == [1]
    with pytest.raises(ReadOnlyError):
        looking.note(row, "no")


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        (None, {}, "nothing is said"),
        ("x" * 10_001, {}, "at most 10,000"),
        ("\0", {}, "a note is a text"),
        (None, {"tags": ["two words"]}, "without spaces"),
        (None, {"tags": [""]}, "a tag is a word"),
        (None, {"tags": ["x" * 51]}, "at most 50"),
        (None, {"tags": [1]}, "a tag is a word"),
        (None, {"tags": ["a"], "untag": ["a"]}, "both in tags and in untag"),
    ],
)
def test_what_is_no_note_or_tag_is_refused(store, text, options, why):
    row = store.run_or_retrieve(SETS[0])
    with pytest.raises(ParameterError, match=why):
        store.note(row, text, **options)
    with pytest.raises(ParameterError, match="is not stored"):
        store.note([SETS[0], SETS[1]], "x")
    with pytest.raises(ParameterError):
        store.tagged()
    assert store.notes() == {}
