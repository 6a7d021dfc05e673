"""A sweep of a million sets fits: beside the rows that it returns it keeps the keys, and little more."""

import os
import tracemalloc
from datetime import datetime

import pytest
import sqlalchemy as sa

from entropic import Base, Mapped, Store
from entropic.db.tables import ledger
from entropic.store import context_of

# In one process of the tests, which fills each store once.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("memory"),
    # What rows weigh is the same wherever they come from; the two ways to read pages are those of these two.
    pytest.mark.only_on("sqlite", "postgresql"),
]
FEW, MANY = 6_000, 18_000  # the difference shows what one more set costs


class Small(Base):
    __tablename__ = "small"

    x: Mapped[int]
    y: Mapped[float]


def write(params):
    raise AssertionError("all is stored")


def sets(count):
    return ({"x": x, "y": x / 7} for x in range(count))


@pytest.fixture(scope="module")
def store(make_place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    with make_place(folder) as place:
        made = Store(write, Small, folder / "results", ".txt", place.url)
        fill(made, folder / "result.txt")
        yield made


def fill(store, result):
    """Register one file for all sets at once, which takes no time beside so many runs."""
    result.write_text("x")
    file, context = os.stat(result), context_of(store)
    ids = {context.hasher(one): one for one in sets(MANY)}
    row = {"result_file": str(result), "created_at": datetime(2026, 1, 1), "custom_data": {"elapsed_seconds": 0.5}}
    claim = {"model": "small", "attempt": "1-0000000a", "state": "idle", "registered": str(result)}
    claim |= {"size": file.st_size, "mtime_ns": file.st_mtime_ns}
    with context.database.engine.begin() as connection:
        connection.execute(sa.insert(Small.__table__), [{"id": id, **row, **one} for id, one in ids.items()])
        connection.execute(sa.insert(ledger), [{"id": id, **claim} for id in ids])


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def each_more(action):
    return (peak_of(lambda: action(MANY)) - peak_of(lambda: action(FEW))) / (MANY - FEW)


def test_a_stream_of_stored_sets_keeps_their_keys_and_no_more_than_250_bytes_beside_them(store, monkeypatch):
    monkeypatch.setattr("entropic.sweep.missing.PLANNED_TOGETHER", 2_000)  # whose sets are in memory, however many come

    def stream(count):
        assert sum(1 for _ in store.stream(sets(count))) == count

    keys = each_more(lambda count: dict.fromkeys(f"{x:016x}" for x in range(count)))
    assert each_more(stream) < keys + 250


def test_a_sweep_of_stored_sets_needs_no_more_than_half_of_what_its_rows_need_beside_them(store):
    kept = []

    def sweep(count):
        kept[:] = store.sweep(sets(count))

    def rows_alone(count):
        kept[:] = [store._context.rows.build(raw, "/a/path/of/some/length") for raw in store._context.rows.some(count)]

    assert each_more(sweep) < 1.5 * each_more(rows_alone)
