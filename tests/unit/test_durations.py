"""How long a time is that a user writes."""

import time

import pytest

from entropic.cli.errors import UsageError
from entropic.cli.values import age
from entropic.support.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7200", 7200),
        (" 45 s ", 45),
        ("0", 0),
        ("0d", 0),
        ("1.5h", 5400),
        ("90m", 5400),
        ("90min", 5400),
        ("1h 30min", 5400),
        ("1H30MIN", 5400),
        ("30d", 2_592_000),
        ("2w 1d 1h 1min 1s", 1_299_661),
    ],
)
def test_a_length_of_time_is_read_with_its_units(text, expected):
    assert parse_duration(text) == expected
    if text != "7200":
        assert age(text) == expected


@pytest.mark.parametrize("text", ["30", " 1.5 ", "7200"])
def test_an_age_without_a_unit_is_refused_since_it_may_be_meant_as_days(text):
    with pytest.raises(UsageError, match="is not a length of time; write it as 30d, 12h, 90min or 45s"):
        age(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2h30",
        "1 30",
        "30 2h",
        "soon",
        "h",
        "-1h",
        "1,5h",
        "1.h",
        "2 weeks",
        "1h 1h",
        "1m 1min",
        "1e3",
        "\u0663h",
    ],
)
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(ValueError, match="not a length of time"):
        parse_duration(text)
    with pytest.raises(UsageError, match="is not a length of time; write it as 30d, 12h, 90min or 45s"):
        age(text)


@pytest.mark.parametrize(
    "text",
    ["9" * 200_000 + "!", "1" * 200_000 + " " * 200_000 + "!", "1s " * 100_000],
    ids=["digits", "spaces", "parts"],
)
def test_a_long_text_is_refused_at_once(text):
    began = time.process_time()
    with pytest.raises(ValueError, match="not a length of time"):
        parse_duration(text)
    assert time.process_time() - began < 10, "attempts that multiply would take hours"
