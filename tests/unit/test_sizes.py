"""Numbers of bytes, as people write and read them."""

from __future__ import annotations

import pytest

from entropic.cli.values import size
from entropic.support.sizes import amount, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4 * 10**9),
        ("500MB", 5 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("2 kb", 2000),
        ("2TiB", 2**41),
        ("4g", 4 * 10**9),
    ],
)
def test_a_size_is_read_as_it_is_written(text, expected):
    assert parse_size(text) == size(text) == expected


@pytest.mark.parametrize("text", ["100", "100B", " 100 b "])
def test_a_number_without_a_unit_is_bytes(text):
    assert parse_size(text) == 100


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "4iB", "4 GBs", "1e9", "٣GB", "inf", "4GB 2MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_a_size_is_said_in_the_unit_that_suits_it():
    assert [amount(one) for one in (0, 999, 1_000, 4_300_000_000, 999_600_000)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "4.3 GB",
        "1,000 MB",
    ]
