"""The SHA-256 of a result: of a file that of its content, of a folder one over the names and contents in it.

What is read may be anybody's: nothing is opened but regular files, and of a link in a folder its own text counts.
"""

import hashlib
import logging
import os
import stat

from entropic.files.content import Strange, inside, opened
from entropic.files.extent import is_of_others

log = logging.getLogger("entropic")


def digest(path: str) -> str:
    """Return the digest of a result as hexadecimal digits; of a single file what `sha256sum` prints.

    What file browsers leave in a folder does not count, and times do not either.

    Raises
    ------
    OSError
        If something of it cannot be read, or is not there.
    Strange
        If there is a pipe, a socket or a device in it.
    """
    path = os.path.realpath(path)  # a result may be a link to what lies elsewhere
    if not os.path.isdir(path):
        return of_file(path)[0]
    found = hashlib.sha256(b"entropic folder 1\n")
    _add_folder(found, path, "")
    return found.hexdigest()


def digest_or_none(path: str) -> str | None:
    """Return the digest of what can be read; None of what is not there, and, with a word in the log, of the rest."""
    try:
        return digest(path)
    except FileNotFoundError:
        return None
    except (OSError, Strange) as error:
        log.warning("no checksum of %s is recorded, since it cannot be read: %s", path, error)
        return None


def of_file(path: str) -> tuple[str, int]:
    """Return the digest of the content of a file, and how many bytes that is."""
    with open(opened(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def _add_folder(found: "hashlib._Hash", folder: str, below: str) -> None:
    """Add all that is in a folder, a line for each, in the order of the names; names are quoted as they end lines."""
    for name, path in inside(folder):
        if is_of_others(name):
            continue
        mode = os.lstat(path).st_mode
        shown = f"{below}{name}"
        if stat.S_ISDIR(mode):
            what = "folder", ""
        elif stat.S_ISLNK(mode):
            what = "link", hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
        elif stat.S_ISREG(mode):
            what = "file", of_file(path)[0]
        else:
            raise Strange(path)
        named = hashlib.sha256(os.fsencode(shown)).hexdigest()  # of any bytes, and of a length that is known
        found.update(f"{what[0]} {what[1]} {named}\n".encode())
        if what[0] == "folder":
            _add_folder(found, path, f"{shown}/")
