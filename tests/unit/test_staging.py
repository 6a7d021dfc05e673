"""Names in the results folder: made and read in one place."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropic.errors import StoreError
from entropic.files.paths import check_suffix
from entropic.files.staging import Staging, key_of
from entropic.support import process


@pytest.fixture(scope="module")
def staging(tmp_path_factory):
    return Staging(str(tmp_path_factory.mktemp("results")), "0" * 32, ".h5")


def first(staging, id):
    return next(staging.places(id))


def test_a_hash_is_its_own_file_name(staging):
    assert first(staging, "e4ded0fc6efdb871") == "e4ded0fc6efdb871.h5"


def test_a_taken_name_has_others_behind_it(staging):
    names = list(staging.places("abc"))
    assert names[:2] == ["abc.h5", "abc=2.h5"]
    assert len(set(names)) == len(names) == 99


@pytest.mark.parametrize(
    "id", ["../../etc/passwd", "..", ".hidden", "a/b", "a\\b", "", " ", "con", "NUL", "x" * 300, "a\nb"]
)
def test_no_id_leads_out_of_the_folder_or_to_a_hidden_or_reserved_name(staging, id):
    name = first(staging, id or "?")
    assert "/" not in name and "\\" not in name
    assert not name.startswith(".")
    assert name.split(".")[0].lower() not in {"con", "nul"}
    assert len(name.encode()) < 200


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=6, unique=True))
def test_two_ids_never_share_a_file_where_case_and_unicode_forms_are_folded(staging, ids):
    names = [list(itertools.islice(staging.places(id), 3)) for id in ids]
    folded = [{unicodedata.normalize("NFC", name).casefold() for name in some} for some in names]
    for one, other in itertools.combinations(folded, 2):
        assert not one & other


def test_a_name_in_the_area_says_whose_it_is(staging, tmp_path):
    own = Staging(str(tmp_path), "1" * 32, ".tar.gz")
    with (call := process.Call()).under_way:
        key, attempt = key_of("sims", "abc"), "3-0123abcd"
        names = {
            f"{call.name}.work": (True, False, ""),
            f"{key}.{attempt}.json": (False, False, attempt),
            f"{key}.{attempt}.{call.name}-7.tar.gz": (False, False, attempt),
            f"{key}.{attempt}.{call.name}-8": (False, False, attempt),  # of a suffix such as "/run.xdmf"
            f"{key}.{attempt}.{call.name}-7.files": (False, False, attempt),
            f"{key}.{attempt}.{call.name}.slot": (False, True, f"{attempt}.{call.name}"),
        }
        for name in [*names, "notes.txt", "something.json"]:
            (tmp_path / ".entropic" / ("1" * 32) / name).touch()
        found = {entry.name: entry for entry in own.listing()}
    assert set(found) == set(names)  # nothing that is not ours
    for name, (work, delete, attempt) in names.items():
        assert (found[name].work, found[name].delete, found[name].attempt) == (work, delete, attempt)
        assert found[name].worker == ("" if found[name].sidecar else call.name)


@pytest.mark.parametrize("suffix", ["/", "/..", "//x", "/a/b", "a/b", "\\", None, 5, ".files", ".slot"])
def test_a_suffix_that_is_no_end_of_a_file_name_is_refused(suffix):
    with pytest.raises(StoreError, match="file_suffix"):
        check_suffix(suffix)
