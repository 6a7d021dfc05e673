"""What children do to tables whose models have changed; the template makes these calls."""

import os
import signal

import sqlalchemy as sa
from work import runner

from entropic import Base, Mapped, Store, added, retyped


def model(table, grown):
    """Return the model of a table, before or after it has gained a parameter, and retyped another."""
    body = {"__tablename__": table, "metadata": sa.MetaData(), "__annotations__": {"x": Mapped[int], "y": Mapped[int]}}
    if grown:
        body["__annotations__"] |= {"y": Mapped[float], "solver": Mapped[str]}
        body |= {"y": retyped(int), "solver": added("rk4", index=True)}
    return type("Changing", (Base,), body)


def gain(folder, url, table, nth):
    """Open a store whose model has changed so; be killed before the nth statement of that."""
    left = nth

    def strike(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", strike)
    Store(runner, model(table, grown=True), f"{folder}/results", ".res", url)
