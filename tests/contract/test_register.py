"""`register`: results that something else made."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.models import content
from entropic import EntropicError, ParameterError, RegisterError

ONE = {"n": 1, "dt": 0.5}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A result file that no store made."""
    path = tmp_path / "elsewhere" / "made.dat"
    path.parent.mkdir()
    path.write_text("made elsewhere")
    return path


@pytest.mark.parametrize("kind", [str, Path])
def test_a_registered_file_is_indexed_and_not_run(store, runner, made, kind):
    row = store.register(ONE, kind(made), source="cluster")
    assert (row.n, row.dt, row.result_file) == (1, 0.5, str(made))
    assert row.custom_data["source"] == "cluster"
    assert store.run_or_retrieve(ONE).result_file == str(made)
    assert store.sweep([ONE])[0].result_file == str(made)
    assert runner.calls == []


def test_the_id_of_a_registered_row_is_that_of_its_params(store, made):
    registered = store.register(ONE, made).id
    store.delete(ONE)
    assert store.run(ONE).id == registered


def test_registering_copies_and_moves_nothing(store, made, tmp_path):
    store.register(ONE, made)
    assert made.read_text() == "made elsewhere"
    assert [p for p in (tmp_path / "results").iterdir() if not p.name.startswith(".")] == []


def test_a_file_that_does_not_exist_is_refused_and_leaves_no_row(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.dat"):
        store.register(ONE, tmp_path / "nowhere.dat")
    assert store.retrieve(ONE) is None


def test_a_relative_path_is_made_absolute(store, made, tmp_path, monkeypatch):
    monkeypatch.chdir(made.parent)
    assert store.register(ONE, "made.dat").result_file == str(made)
    monkeypatch.chdir(tmp_path)
    assert store.retrieve(ONE).result_file == str(made)


def test_reserved_keys_are_stripped(store, made):
    row = store.register({**ONE, "result_file": "/x", "created_at": 1, "custom_data": {"a": 1}}, made, source="c")
    assert row.result_file == str(made)
    assert row.custom_data["source"] == "c"
    assert "a" not in row.custom_data
    assert store.retrieve(ONE).id == row.id


def test_an_explicit_id_is_used_verbatim(store, made):
    assert store.register({**ONE, "id": "mine"}, made).id == "mine"
    assert store.retrieve({"id": "mine"}).result_file == str(made)


def test_the_same_file_may_be_registered_again(store, made, place):
    first = store.register(ONE, made)
    assert store.register(ONE, made).id == first.id
    assert place.fetch("select count(*) from sim_results") == [(1,)]


def test_the_same_file_may_be_registered_again_by_another_spelling_of_its_path(store, made, monkeypatch):
    first = store.register(ONE, made)
    monkeypatch.chdir(made.parent)
    again = store.register(ONE, Path("..") / "elsewhere" / "made.dat")
    assert (again.id, Path(again.result_file).read_text()) == (first.id, "made elsewhere")


def test_registering_another_file_raises_and_changes_nothing(store, made, place, tmp_path):
    store.register(ONE, made, source="first")
    other = tmp_path / "other.dat"
    other.write_text("other")
    before = place.content()
    with pytest.raises(RegisterError, match=r"made\.dat") as caught:
        store.register(ONE, other, source="second")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EntropicError)
    assert place.content() == before
    assert (made.read_text(), other.read_text()) == ("made elsewhere", "other")


def test_registering_over_a_run_raises_and_changes_nothing(store, made, place):
    row = store.run(ONE, note="x")
    before = place.content()
    with pytest.raises(RegisterError):
        store.register(ONE, made)
    assert place.content() == before
    assert content(row)["custom_data"] == {"note": "x"}


def test_the_file_of_a_run_may_be_registered_for_the_same_params(store, runner):
    row = store.run(ONE)
    assert store.register(ONE, row.result_file).result_file == row.result_file
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert len(runner.calls) == 1


def test_a_re_run_leaves_the_registered_file_alone(store, made):
    store.register(ONE, made)
    row = store.run(ONE)
    assert made.read_text() == "made elsewhere"
    assert row.result_file != str(made)
    assert content(row)["n"] == 1


def test_a_run_leaves_a_file_alone_that_was_registered_from_the_results_folder(store, tmp_path):
    inside = tmp_path / "results" / "made.json"
    inside.write_text("made elsewhere")
    assert store.register(ONE, inside).result_file == str(inside)
    row = store.run(ONE)
    assert inside.read_text() == "made elsewhere"
    assert row.result_file != str(inside)


def test_a_registered_file_of_another_key_is_never_overwritten_by_a_run(store, tmp_path):
    final = Path(store.run(ONE).result_file)
    store.delete(ONE, remove_file=True)
    final.write_text("made elsewhere")
    store.register({"n": 2, "dt": 0.5}, final)
    assert store.run(ONE).result_file != str(final)
    assert final.read_text() == "made elsewhere"


def test_delete_unlinks_a_registered_file_if_asked_to(store, made):
    store.register(ONE, made)
    assert store.delete(ONE, remove_file=True) is True
    assert not made.exists()


def test_delete_leaves_a_registered_file_unless_asked_to(store, made):
    store.register(ONE, made)
    assert store.delete(ONE) is True
    assert made.read_text() == "made elsewhere"


def test_delete_never_removes_a_registered_folder(store, tmp_path):
    folder = tmp_path / "zarr"
    folder.mkdir()
    (folder / "0.0").write_text("chunk")
    assert store.register(ONE, folder).result_file == str(folder)
    assert store.delete(ONE, remove_file=True) is True
    assert (folder / "0.0").read_text() == "chunk"
    assert store.retrieve(ONE) is None


@pytest.mark.each
@pytest.mark.parametrize("params", [{"n": 1}, {"n": 1, "dt": 0.5, "m": 1}, {"n": "1", "dt": 0.5}, {1: 2}, None])
def test_bad_params_are_refused(store, made, params):
    with pytest.raises(ParameterError):
        store.register(params, made)


def test_custom_data_that_is_not_json_is_refused(store, made):
    with pytest.raises(ParameterError, match="source"):
        store.register(ONE, made, source={1, 2})
    assert store.retrieve(ONE) is None
