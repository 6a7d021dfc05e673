"""What a path says of a set is read as the columns are typed, and never guessed."""

import pytest

from contract.models import LooseResult, SimResult, TypedResult, write_params
from entropic import ParameterError, Store
from entropic.store import context_of
from entropic.upkeep.imports.pattern import Pattern, value_of, ways


def is_whole(column, text):
    return column == "name" or text.lstrip("-").isdigit()


@pytest.mark.parametrize(
    ("pattern", "name", "said"),
    [
        ("n={n}", "n=3", [{"n": "3"}]),
        ("n={n}", "m=3", []),
        ("n={n}", "n=", []),
        ("{name}_{n}", "my_run_3", [{"name": "my_run", "n": "3"}]),
        ("{n}-{m}", "1--2", [{"n": "1", "m": "-2"}]),
        ("{n}_{n}", "3_3", [{"n": "3"}]),
        ("{n}_{n}", "3_4", []),
        ("*_{n}", "any_thing_7", [{"n": "7"}]),
        ("{name}_{other}", "a_b_c", [{"name": "a", "other": "b_c"}, {"name": "a_b", "other": "c"}]),
        ("{{{n}}}", "{5}", [{"n": "5"}]),
        ("{a}_{b}_{c}_{d}", "_" * 250, []),
    ],
)
def test_a_name_is_read_in_each_way_that_fits_the_columns(pattern, name, said):
    (segment,) = Pattern.of(pattern + "/x").segments[:1]
    found = ways(segment, name, lambda column, text: column in ("other",) or is_whole(column, text))
    assert found == said


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("runs/out.npy", "names no column"),
        ("runs/{n}{dt}/out.npy", "no text between them"),
        ("runs/{n}/{", "cannot be read"),
        ("runs/{n:03d}.npy", "takes only plain columns"),
        ("runs/{}.npy", "takes only plain columns"),
        ("runs/{n!r}.npy", "takes only plain columns"),
        ("runs/{n.real}.npy", "takes only plain columns"),
        ("runs/{n}/**", "ends with **"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason(pattern, why):
    with pytest.raises(ParameterError, match="the pattern") as refused:
        Pattern.of(pattern)
    assert why in str(refused.value)


def test_a_pattern_knows_its_folder_and_its_columns():
    found = Pattern.of("/data/runs/**/n={n}/dt={dt}/")
    assert (found.root, found.columns, found.of_folders, len(found.segments)) == ("/data/runs", ["n", "dt"], True, 3)
    assert Pattern.of("n={n}.npy").root == "."
    assert Pattern.of("/n={n}.npy").root == "/"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typed")
    return {
        model: context_of(Store(write_params, model, folder, ".json", f"sqlite:///{folder}/{model.__name__}.sqlite3"))
        for model in (SimResult, LooseResult, TypedResult)
    }


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("n", "003", 3),
        ("n", "-1", -1),
        ("dt", "1", 1.0),
        ("dt", "1e-3", 1e-3),
        ("dt", ".5", 0.5),
        ("dt", "-inf", -float("inf")),
    ],
)
def test_numbers_are_plain_decimals(contexts, column, text, value):
    found = value_of(contexts[SimResult], column, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("n", "1_0"),
        ("n", " 1"),
        ("n", "1.0"),
        ("n", "\u0661"),
        ("n", "x"),
        ("dt", "1_0.5"),
        ("dt", "0x1"),
        ("dt", ""),
        ("n", "None"),
    ],
)
def test_what_only_python_takes_for_a_number_is_none(contexts, column, text):
    with pytest.raises(ParameterError, match=column):
        value_of(contexts[SimResult], column, text)


def test_a_column_of_text_keeps_what_is_said_though_it_may_be_null(contexts):
    assert value_of(contexts[LooseResult], "note", "None") == "None"
    assert value_of(contexts[LooseResult], "name", "None") == "None"
    assert value_of(contexts[LooseResult], "flag", "true") is True
