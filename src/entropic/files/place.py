"""How a result comes to its place, and goes from it: the only renames outside the staging folder.

Each works once, whoever repeats it and however late: a result is taken from a name that never exists again, a
removed one goes into a slot that is spent before the claim moves on. So a process that wakes up after it was
replaced finds its source or target gone, and changes nothing.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat

from entropic.errors import ForeignFileError, StoreError
from entropic.files.content import bring
from entropic.files.extent import Extent, extent
from entropic.files.sidecar import Sidecar
from entropic.files.staging import Staging

log = logging.getLogger("entropic")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


def move(source: str, target: str) -> None:
    """Rename a file or a folder, one without write permission too: that of git-annex, DVC or Nix, say.

    A folder's own permission counts, since a rename changes its `..`; it has it for that moment only.
    """
    try:
        os.rename(source, target)
        return
    except PermissionError:
        try:
            folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            folder = None
        if folder is None:
            raise
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        os.fchmod(folder, mode | stat.S_IWUSR)
        try:
            os.rename(source, target)
        finally:
            os.fchmod(folder, mode)
    finally:
        os.close(folder)


def place(staging: Staging, sidecar: Sidecar, where: str, first: bool) -> bool:
    """Move an attempt's result to its place; False if it was moved before (or is gone).

    Parameters
    ----------
    where
        The name below `results_dir`.
    first
        Whether nothing of ours is there yet: then an existing file is somebody else's.

    Raises
    ------
    ForeignFileError
        If a file that is not ours is there.
    """
    source, target = staging.inside(sidecar.result), staging.path(where)
    try:
        if sidecar.folder:
            _place_folder(source, target)
        elif first and not sidecar.slotted:
            link(source, target)
            unlink_t(source)
        else:
            os.replace(source, target)
    except FileNotFoundError:
        return False
    except FileExistsError as error:
        raise _foreign(target) from error
    except IsADirectoryError as error:
        raise _foreign(target) from error
    return True


def _foreign(target: str) -> ForeignFileError:
    return ForeignFileError(
        f"{target} exists and was not made by this store, which never overwrites such files; the finished run is kept "
        "and takes its place as soon as you have moved that file and ask for the run again"
    )


def link(source: str, target: str) -> None:
    """Give a result its place, beside the name under which it was written; one that was given it before keeps it.

    Raises
    ------
    FileExistsError
        If another file is there.
    FileNotFoundError
        If the result is gone.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        # The same inode: an earlier publication stopped between link and unlink.
        if not os.path.samestat(os.lstat(source), os.lstat(target)):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _check_free(target)
        os.rename(source, target)


def unlink_t(source: str) -> None:
    """Remove the name under which a result was written, now that it has its final one."""
    try:
        os.unlink(source)
    except FileNotFoundError:  # renamed where there are no links, or unlinked by a helper
        pass


def _place_folder(source: str, target: str) -> None:
    if os.path.lexists(source):
        _check_free(target)
    move(source, target)


def _check_free(target: str) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def move_aside(staging: Staging, sidecar: Sidecar, where: str) -> None:
    """Move the old result out of the way of a folder, into the slot of the new one, which works once."""
    with contextlib.suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
        move(staging.path(where), _old(staging, sidecar.slot))


def keep_changed(staging: Staging, sidecar: Sidecar, where: str, published: str, size: int | None) -> None:
    """Keep what lies at a place, if somebody has changed it since it was published there, under a name of its own.

    The file is about to be replaced. It gets a second name, and keeps its first: so a process that wakes up after
    it was replaced takes nothing away from where it belongs.
    """
    target = staging.path(where)
    found = extent(target)
    if os.path.islink(target) or not _is_altered(sidecar, found, size):
        return
    if sidecar.matches(found):  # placed, before a crash
        return
    for kept in staging.changed(where, published):
        try:
            os.link(target, kept)
        except FileExistsError:
            if not os.path.samestat(os.lstat(target), os.lstat(kept)):
                continue  # of another time
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                bring(target, kept, link=False)  # which writes through no link that somebody puts there meanwhile
            except FileExistsError:
                continue
        log.warning("%s had been changed since it was stored, and is kept as %s", target, kept)
        return


def keep_changed_folder(staging: Staging, sidecar: Sidecar, where: str, published: str, size: int | None) -> None:
    """Keep what was moved aside into a slot that is spent, if somebody has changed it, under a name of its own."""
    old = os.path.join(staging.inside(spent(sidecar.slot)), "old")
    if os.path.islink(old) or not _is_altered(sidecar, extent(old), size):
        return
    for kept in staging.changed(where, published):
        if not os.path.lexists(kept):
            with contextlib.suppress(FileNotFoundError):
                move(old, kept)
                log.warning("%s had been changed since it was stored, and is kept as %s", staging.path(where), kept)
            return


def _is_altered(sidecar: Sidecar, found: Extent | None, size: int | None) -> bool:
    """Tell whether what is replaced was changed: by its size, or by its bytes, where these were recorded."""
    return is_changed(found, size) or (sidecar.was_altered and found is not None and found.size == size)


def is_changed(found: Extent | None, size: int | None) -> bool:
    """Tell whether somebody has changed a result of ours, given its recorded size, and there is something to lose."""
    distrusted = isinstance(size, int | float) and size < 0
    # entropic records sizes as numbers: anything else was put there, and the file may not be as it was.
    return found is not None and size is not None and not distrusted and found.size not in (0, size)


def spend_slot(staging: Staging, sidecar: Sidecar) -> None:
    """End the time in which `move_aside` can work."""
    spend(staging, sidecar.slot)


def keep(staging: Staging, sidecar: Sidecar, where: str, replaced: str | None) -> None:
    """Move what else the runner left beside the result; remove that of the attempt that it replaces."""
    if sidecar.extra:
        with contextlib.suppress(FileNotFoundError):
            move(staging.inside(sidecar.files), staging.extra(where, sidecar.attempt))
    if replaced and replaced != sidecar.attempt:
        remove_tree(staging.extra(where, replaced))


def clear(staging: Staging, slot: str, where: str, published: str | None, extra: bool) -> None:
    """Move a deleted row's file into the slot of its delete, which works once; remove its extra files."""
    old = _old(staging, slot)
    if not os.path.lexists(old):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            move(staging.path(where), old)
    if published and extra:
        remove_tree(staging.extra(where, published))


def _old(staging: Staging, slot: str) -> str:
    """Return where what goes into a slot is.

    By its path, and not by a descriptor of the slot, which would still work once that is spent.
    """
    path = staging.inside(slot)
    if os.path.islink(path):
        raise StoreError(f"{path} is a link, which entropic did not make; remove it and call again. Nothing was moved")
    return os.path.join(path, "old")


def spend(staging: Staging, slot: str) -> None:
    """End the time in which a file can be moved into a slot."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(staging.inside(slot), staging.inside(spent(slot)))


def spent(slot: str) -> str:
    """Return the name of a slot that is spent."""
    return slot.removesuffix(".slot") + ".spent"


def remove(path: str) -> None:
    """Remove a file or folder of the staging folder; one that is gone already is fine.

    What cannot be removed of a folder stays: who reports a removal looks whether it happened.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # macOS says EPERM for a folder
        try:
            found = os.lstat(path)
        except FileNotFoundError:  # somebody else removed it just now
            return
        if not stat.S_ISDIR(found.st_mode):
            raise
        remove_tree(path)


def remove_tree(folder: str) -> None:
    """Remove a folder of ours with all that is in it, as far as that is possible: folders without write bits, too.

    Of a link that somebody has put in its place only the link goes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.islink(folder):
        with contextlib.suppress(OSError):
            os.unlink(folder)
    elif os.path.isdir(folder):
        for path, _, _ in os.walk(folder, topdown=True):
            with contextlib.suppress(OSError):
                if not os.path.islink(path):  # by now
                    os.chmod(path, stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)
