"""What the children do that stand in for `python -m entropic`; they are forked when all is imported that takes long."""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import threading

import entropic.cli.app  # noqa: F401

for name in [name for name in sys.modules if name.startswith("entropic.cli")]:
    del sys.modules[name]  # imported again by each child: it notes the folder that it begins in


def command(words: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Run a command in this folder, with this environment, and end the process as the interpreter would."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for target, path in ((1, out), (2, err)):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        os.dup2(file, target)
        os.close(file)
    sys.argv = ["entropic", *words]
    sys.path[0] = cwd
    try:
        runpy.run_module("entropic", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
