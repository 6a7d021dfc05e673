"""Children that say what they have synced, and what they have opened."""

import os
import time
from pathlib import Path

import work


def listen():
    """Return the list of what is synced from now on, by path, and where a row is committed."""
    synced, fsync = [], os.fsync

    def noted(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    os.fsync = noted
    return synced


def order(folder, operation="run_or_retrieve"):
    shape = "file" if operation != "run_or_retrieve" else "folder+extra"
    work.behave(folder, shape=shape)
    work.steadily()
    made = work.store(folder, fsync=True)
    synced = listen()
    transact = made._context.database.transact

    def noting(act):
        result = transact(act)
        synced.append("row")
        return result

    object.__setattr__(made._context.database, "transact", noting)
    work.do(made, operation, folder)
    return {"synced": synced}


def toil(folder, sets):
    work.behave(folder, shape="folder+extra", seconds=0.001)
    made = work.store(folder, fsync=True)
    return [work.seen(made.run_or_retrieve({"x": x})) for x in sets]


def way(folder, results):
    synced = listen()
    made = work.Store(work.runner, work.Point, results, ".res", work.place_of(folder).url, fsync=True)
    del made
    return {"synced": synced}


def run_with_pipes(folder):
    """Run a set whose result holds a pipe, and a link to one outside; return what was opened meanwhile."""
    work.behave(folder, shape="folder")
    os.mkfifo(f"{folder}/outside")
    made = work.store(folder, fsync=True)
    write, opened, open_ = made._context.runner, [], os.open

    def runner(params):
        write(params)
        os.mkfifo(Path(params["result_file"], "pipe"))
        os.symlink(f"{folder}/outside", Path(params["result_file"], "link"))
        os.rename(Path(params["result_file"], "sub"), Path(params["result_file"], "below"))

    def noted(path, *args, **kwargs):
        opened.append(str(path))
        return open_(path, *args, **kwargs)

    object.__setattr__(made._context, "runner", runner)
    os.open = noted
    row = made.run_or_retrieve({"x": int(time.time())})
    return {"pipe": str(Path(row.result_file, "pipe")), "opened": opened}
