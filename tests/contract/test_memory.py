"""A sweep of a million sets fits: beside the rows that it returns it keeps the keys, and little more."""

import tracemalloc

import pytest

from entropic import Base, Mapped, Store

# In one process of the tests, which fills each store once.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("memory"),
    # What rows weigh is the same wherever they come from; the two ways to read pages are those of these two.
    pytest.mark.only_on("sqlite", "postgresql"),
]
FEW, MANY = 3_000, 9_000  # the difference shows what one more set costs


class Small(Base):
    __tablename__ = "small"

    x: Mapped[int]
    y: Mapped[float]


def write(params):
    with open(params["result_file"], "w") as file:
        file.write("x")


def sets(count):
    return ({"x": x, "y": x / 7} for x in range(count))


@pytest.fixture(scope="module")
def store(make_place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    with make_place(folder) as place:
        made = Store(write, Small, folder / "results", ".txt", place.url)
        made.sweep(sets(MANY))
        yield made


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def each_more(action):
    return (peak_of(lambda: action(MANY)) - peak_of(lambda: action(FEW))) / (MANY - FEW)


def test_a_stream_of_stored_sets_keeps_their_keys_and_no_more_than_250_bytes_beside_them(store):
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
