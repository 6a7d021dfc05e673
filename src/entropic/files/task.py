"""What one attempt needs to be executed anywhere, and which runs a thread is inside of."""

import contextvars
from dataclasses import dataclass
from typing import NamedTuple

from entropic.files.staging import Staging


class Inside(NamedTuple):
    """A run that this thread is inside of."""

    staging: str
    model: str
    id: str
    attempt: str


# Outermost first; a run that asks for one of them is a cycle.
inside: contextvars.ContextVar[tuple[Inside, ...]] = contextvars.ContextVar("inside", default=())


@dataclass(slots=True)
class Task:
    """What one attempt needs to be executed anywhere: plain data, without the runner."""

    staging: Staging
    model: str
    id: str
    key: str
    attempt: str
    owner: str
    path: str  # the place of its result, below `results_dir`; the name of the file while it is written, too
    published: str | None  # the attempt whose result it will replace
    extra: bool | None  # whether that one has extra files
    own_size: int | None  # of that one, as it is recorded; None too if the row's file was registered
    params: dict[str, object]
    custom_data: dict[str, object]
    values: dict[str, object]  # the user's columns, as the driver stores them
    fsync: bool
    inside: tuple[Inside, ...] = ()  # the runs around it
    resumes: bool | None = None  # whether it goes on from what earlier attempts have kept; None: nothing is kept
    code: int | None = None  # the number of the code that makes its result
    checksum: bool = False  # whether the digest of its result is recorded
    begin_by: float | None = None  # seconds since 1970, after which it is not worth while to begin
