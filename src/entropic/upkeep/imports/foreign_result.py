"""A result that lies elsewhere, in another store or in no store at all, and all that is said of it."""

import os
from dataclasses import dataclass
from typing import Any

from entropic.files.content import Strange, bring
from entropic.files.durable import sync_content
from entropic.files.extent import Extent, extent
from entropic.files.sidecar import Origin
from entropic.params.outcomes import Outcomes
from entropic.provenance.input import Input

REPLACED = "it was replaced or deleted there just now; do the same again"


class NotTaken(Exception):
    """A result that lies elsewhere is not taken in; the message says why, and what to do, and follows its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result that lies elsewhere.

    Attributes
    ----------
    id : str
        The key that it has here.
    params, outcomes : dict, Outcomes
        By attribute, as Python has them.
    created_at : str
        ISO 8601, naive UTC.
    seconds : float or None
        How long its run took.
    path, file : str
        Where all of it is, and the file that its row leads to: the main one, if there are several.
    suffix : str
        Of its place; an empty one may be that of a folder.
    extra : str or None
        Where its extra files are.
    found : Extent or None
        Of all of it.
    stays : bool
        Whether it is to stay where it is, whatever becomes of the others.
    digest : str or None
        The checksum that was recorded of it there.
    inputs : tuple of Input
        What its run has read; a row of "this" database is one of the same key here.
    """

    id: str
    params: dict[str, Any]
    outcomes: Outcomes
    custom_data: dict[str, Any]
    created_at: str
    seconds: float | None
    origin: Origin
    path: str
    file: str
    suffix: str
    extra: str | None = None
    found: Extent | None = None
    stays: bool = False
    digest: str | None = None
    inputs: tuple[Input, ...] = ()

    @property
    def name(self) -> str:
        """What it is called where it is told that it was not taken in."""
        return self.id

    def bring(self, target: str, beside: str, link: bool) -> None:
        """Bring it, and its extra files beside it, into a workspace; what is copied there is on the disk then.

        Raises
        ------
        NotTaken
            If that cannot be done, or if it is not what was looked at any more.
        """
        copied = self._bring_all(target, beside, link)
        self.check(target)
        if copied:  # `outage` looks only at what was made just before a power cut, and this was made long ago
            for name in os.listdir(beside):
                sync_content(os.path.join(beside, name))

    def _bring_all(self, target: str, beside: str, link: bool) -> bool:
        """Tell whether anything was copied."""
        try:
            copied = bring(self.path, target, link)
            if self.extra is not None:
                for name in os.listdir(self.extra):
                    copied |= bring(os.path.join(self.extra, name), os.path.join(beside, name), link)
        except FileNotFoundError as error:
            raise NotTaken(REPLACED) from error
        except PermissionError as error:
            raise NotTaken(f"{error.filename}: {error.strerror}") from error
        except Strange as error:
            raise NotTaken(f"{error} is neither a file nor a folder nor a link") from error
        return copied

    def check(self, brought: str) -> None:
        """See that what was brought is what was looked at before.

        Raises
        ------
        NotTaken
            If it is not.
        """
        found = extent(brought)
        if found is None or self.found is None or found.size != self.found.size:
            raise NotTaken(REPLACED)
        if not found.folder and found.mtime_ns != self.found.mtime_ns:
            raise NotTaken(REPLACED)
