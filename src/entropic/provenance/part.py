"""A piece of code, as it is recorded."""

from typing import NamedTuple


class Part(NamedTuple):
    """A piece of code: what it is called, a digest of its form, and its text for people."""

    name: str
    digest: str
    text: str
