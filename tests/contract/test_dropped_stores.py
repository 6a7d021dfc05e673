"""A store that nobody has any more holds nothing: no file, no session of a server, no memory."""

import gc
import weakref

import pytest

from contract.models import wait_until
from entropic.db.connection import _open


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        lambda store: None,
        lambda store: store.run({"n": 1, "dt": 0.5}),
        lambda store: store.sweep([{"n": n, "dt": 0.5} for n in range(3)]),
        lambda store: (list(store.select()), store.status(), store.plan([{"n": 1, "dt": 0.5}]), store.check()),
        lambda store: next(store.stream([{"n": 1, "dt": 0.5}])),
    ],
    ids=["open", "run", "sweep", "look", "stream"],
)
def test_a_store_that_is_dropped_closes_its_database_at_once(open_store, place, use):
    open_store()  # to make tables, SQLAlchemy asks MariaDB for what is not there: its error keeps all callers' frames
    gc.collect()
    gc.disable()  # in a program with many objects it may be minutes until all are looked at
    try:
        store = open_store()
        use(store)
        database = weakref.ref(store._context.database)
        connections = [one for one in _open if one._database == store._context.database]
        seen = [weakref.ref(one) for one in connections]
        assert seen
        del store, connections
        if not place.is_file:  # the thread that keeps connections to a server may be looking at it
            wait_until(lambda: database() is None)
        assert database() is None
        assert [one() for one in seen] == [None] * len(seen)
    finally:
        gc.enable()
