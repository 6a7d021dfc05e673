"""What `[tool.entropic]` of a project says of its store, if the project is the user's own.

It names code that is run. So the search upwards ends, as Git's does, where a folder or file belongs to somebody else,
who may have put it there for whoever comes by.
"""

import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entropic.cli.errors import UsageError, say
from entropic.errors import EntropicError

PROJECT = "pyproject.toml"
_KNOWN = ("store", "db", "table", "results_dir")


def project(start: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of the project around a folder, and what its `[tool.entropic]` says.

    Raises
    ------
    UsageError
        If it cannot be read, or if the search ends at somebody else's.
    """
    for folder in (start, *start.parents):
        file = folder / PROJECT
        for path in (folder, file):
            if (owner := stranger(path)) is not None:
                raise UsageError(
                    f"no store is named, and the search for {PROJECT} ended at {path}, which {owner}: what it names "
                    "would be run. If you trust it, give the store: file.py:store first, --store or ENTROPIC_STORE"
                )
        if not os.path.isfile(file):
            continue
        try:
            settings = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("entropic")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{file} cannot be read: {error}") from None
        if settings is None:
            continue
        if not isinstance(settings, dict):
            raise UsageError(f"{file}: [tool.entropic] must be a table")
        if unknown := [name for name in settings if name not in _KNOWN]:
            raise UsageError(f"{file}: [tool.entropic] has no key {unknown[0]!r}; its keys are {', '.join(_KNOWN)}")
        if wrong := [name for name in settings if not isinstance(settings[name], str)]:
            raise UsageError(f"{file}: {wrong[0]} in [tool.entropic] must be a string")
        return folder, settings
    return start, {}


def stranger(path: Path) -> str | None:
    """Return whose a folder or file is, in words; None if it is the user's, or not there.

    Root is trusted: what it wants run, it runs; but not all that is in a folder of root's where everybody may write.
    """
    if not hasattr(os, "geteuid"):
        return None
    trusted = {os.geteuid(), 0}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    try:
        found = [os.stat(path), os.lstat(path)]  # a link is somebody's as well as what it leads to
    except OSError:
        return None
    for one in found:
        if one.st_uid not in trusted:
            return f"belongs to another user (uid {one.st_uid})"
        if stat.S_ISDIR(one.st_mode) and one.st_mode & stat.S_IWOTH and one.st_uid != os.geteuid():
            return "everybody may write to"
    return None


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Say which file names the store: on a terminal at once, else in what goes wrong while the store is opened."""
    if sys.stderr is not None and sys.stderr.isatty():
        say(f"entropic: using the store that {file} names")
        yield
        return
    try:
        yield
    except (UsageError, EntropicError) as error:
        raise UsageError(f"{error} (the store is named in {file})") from None
