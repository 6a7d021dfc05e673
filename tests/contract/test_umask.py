"""Files and folders are made as the user's umask says, so that a group can share a store, or nobody can see it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from contract.models import run_python

SCRIPT = """if True:
    import os, stat, sys
    from pathlib import Path
    from entropic import Base, Mapped, Store
    from entropic.files import place as places

    os.umask(int(sys.argv[1], 8))
    folder = Path(sys.argv[2])

    class Kept(Base):
        __tablename__ = "kept"
        n: Mapped[int]

    def look(when):
        for path in folder.rglob("*"):
            print(when, oct(stat.S_IMODE(os.lstat(path).st_mode)), path.relative_to(folder))

    def run(params):
        print("said", flush=True)
        target = Path(params["result_file"])
        if params["n"] % 2:
            target.mkdir()
            target = target / "part"
        target.write_text("1")
        (Path(params["result_file"]).parent / "beside.txt").write_text("2")
        if params["n"] == 5:
            raise ValueError

    whole = places.place

    def place(*given, **named):
        look("place")
        return whole(*given, **named)

    places.place = place
    store = Store(run, Kept, folder / "deep" / "results", ".txt", f"sqlite:///{folder}/db.sqlite3")
    for n in (0, 1, 1):
        store.run({"n": n})
    store.sweep([{"n": n} for n in range(2, 6)], workers=2, on_error="continue")
    look("open")
    store.delete({"n": 1})
    look("end")
"""


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o002, 0o077, 0o022])
def test_whatever_is_made_has_the_mode_that_the_umask_gives(tmp_path, umask):
    tmp_path.chmod(0o755)
    said = run_python(SCRIPT, oct(umask)[2:], tmp_path)
    found = [line.split(" ", 2) for line in said.splitlines() if line.split(" ", 1)[0] in ("place", "open", "end")]
    names = {name for _, _, name in found}
    for suffix in (".json", ".work", ".log", ".spent", ".files", "db.sqlite3", "db.sqlite3-wal", ".txt", "/part"):
        assert any(name.endswith(suffix) for name in names), (suffix, names)
    folders = {name for name in names if any(other.startswith(f"{name}/") for other in names)}
    folders |= {name for name in names if name.endswith((".work", ".slot", ".spent", ".files", "/logs"))}
    for when, mode, name in found:
        wanted = (0o777 if name in folders else 0o666) & ~umask
        assert int(mode, 8) == wanted, (when, mode, name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems give the folder's group anyway")
def test_the_group_of_a_folder_that_passes_it_on_is_that_of_all_in_it(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root has a group to give")
    os.chown(tmp_path, -1, 54321)
    tmp_path.chmod(0o2775)
    run_python(SCRIPT, "2", tmp_path)
    for path in tmp_path.rglob("*"):
        found = os.lstat(path)
        assert found.st_gid == 54321, path
        assert found.st_mode & stat.S_IWGRP, path
        if stat.S_ISDIR(found.st_mode):
            assert found.st_mode & stat.S_ISGID, path


@pytest.mark.slow
def test_a_database_that_exists_keeps_its_mode(tmp_path):
    (tmp_path / "db.sqlite3").touch()
    (tmp_path / "db.sqlite3").chmod(0o600)
    run_python(SCRIPT, "2", tmp_path)
    assert stat.S_IMODE(Path(tmp_path / "db.sqlite3").stat().st_mode) == 0o600
