"""What every test may use: a runner that counts, a database, a way to open stores on it, one open store.

Whatever asks for `database_kind`, mostly through `place`, `open_store` or `store`, is there once for each kind of
database that `--databases` names.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))
# Here, before anything imports them: their assertions say what was compared, whichever folder's tests come first.
pytest.register_assert_rewrite("harness", "judge", "peek", "scenes")

from contract.models import CountingRunner, SimResult  # noqa: E402  (importable only from here on)
from databases import KINDS, Place, Server, Servers, present  # noqa: E402
from entropic import Base, Store  # noqa: E402

pytest_plugins = ["backstop"]

# No deadlines, and no complaint that something is slow: on a loaded machine everything is.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", patient, max_examples=50)
settings.register_profile("ci", patient, max_examples=100)
settings.register_profile("long", patient, max_examples=30_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

THRESHOLDS = gc.get_threshold()

OpenStore = Callable[..., Store[Any]]
MakePlace = Callable[[Path], Place]


# ---- on which databases ------------------------------------------------------------------------------------------
def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the user choose databases."""
    default = ",".join(KINDS if os.environ.get("ENTROPIC_TEST_ALL") == "1" else KINDS[:1])
    parser.addoption("--databases", default=default, help=f"kinds of databases, of {','.join(KINDS)} (%(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse databases that do not exist."""
    if unknown := set(chosen(config)) - set(KINDS):
        raise pytest.UsageError(f"--databases: {', '.join(sorted(unknown))} is not one of {', '.join(KINDS)}")


def chosen(config: pytest.Config) -> list[str]:
    """Return the kinds of databases of this run."""
    return config.getoption("--databases").split(",")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each chosen kind of whatever asks for a database, if it is for any of them only of these.

    The next hook takes away what does not fit.
    """
    if "database_kind" in metafunc.fixturenames:
        kinds = [set(mark.args) for mark in metafunc.definition.iter_markers("only_on")]
        fit = [kind for kind in chosen(metafunc.config) if all(kind in some for some in kinds)]
        metafunc.parametrize("database_kind", fit or chosen(metafunc.config), indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Leave out the kinds that a test is not for; mark the slow ones; begin with the long."""
    kept, left_out = [], []
    for item in items:
        kind = kind_of(item)
        fits = kind is None or all(kind in mark.args for mark in item.iter_markers("only_on"))
        (kept if fits else left_out).append(item)
        if kind not in (None, "sqlite"):
            item.add_marker(pytest.mark.slow)
    for item in beyond_a_sample(kept):
        item.add_marker(pytest.mark.long)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    yield  # marks are looked at, and tests of one database come together
    # Whatever may take long comes first: in the end all processes have something to do until all is done.
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Collect hardly any garbage while tests are collected: that takes a quarter of the time, and finds nothing.

    Off it is not: if it was as Dask's arrays were imported, the first slice of one turns it off for good.
    """
    gc.set_threshold(10_000_000)


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later garbage collection: of so many objects, each takes half a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def beyond_a_sample(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what is left to the long tests of what is slow and alike: which of it is chosen is taken in turn.

    Of what is marked `each` one test of each of its combinations is chosen, so that all values of the other parameters
    occur, or as many as it says by `most`; it may name fewer combinations for servers. Of all else in `contract` that
    runs on servers, one set of parameters; of what is slow on SQLite, too, every second test. Both servers are one
    here, but in `servers`, where their differences are tested.
    """
    slow = [item for item in items if item.get_closest_marker("slow") or on_server(item)]
    combinations: dict[tuple[str, ...], list[pytest.Item]] = {}
    seen: Counter[str] = Counter()
    for item in slow:
        function, _, parameters = item.nodeid.partition("[")
        where = kind_of(item) if folder_of(item) == "servers" or not on_server(item) else "server"
        if mark := item.get_closest_marker("each"):
            names = mark.kwargs.get("on_servers", mark.args) if on_server(item) else mark.args
            same = [repr(item.callspec.params[name]) for name in names]
            same.append(str(seen[function] % mark.kwargs.get("most", 1)))
            seen[function] += 1
        elif where == "server":
            same = [parameters.replace(str(kind_of(item)), "", 1)]
        else:
            continue
        combinations.setdefault((function, str(where), *same), []).append(item)
    left = unchosen(combinations.values())
    promises: dict[str, list[pytest.Item]] = {}
    for item in dict.fromkeys(itertools.chain(*combinations.values())):
        if on_server(item) and folder_of(item) == "contract" and item not in left:
            promises.setdefault(item.nodeid.partition("[")[0], []).append(item)
    heavy = [group for group in promises.values() if len([*group[0].iter_markers("slow")]) > 1]
    return [*left, *unchosen(promises.values()), *itertools.chain(*heavy[::2])]


def unchosen(groups: Iterable[list[pytest.Item]]) -> set[pytest.Item]:
    """Return all of some groups but one of each, another one in each."""
    return {item for turn, group in enumerate(groups) for i, item in enumerate(group) if i != turn % len(group)}


def folder_of(item: pytest.Item) -> str:
    """Return in which of the folders of the tests a test is."""
    return item.nodeid.removeprefix("tests/").partition("/")[0]


def on_server(item: pytest.Item) -> bool:
    """Return whether a test needs a server."""
    return kind_of(item) not in (None, "sqlite")


def kind_of(item: pytest.Item) -> str | None:
    """Return which kind of database a test is on."""
    return item.callspec.params.get("database_kind") if hasattr(item, "callspec") else None


@pytest.fixture(scope="session")
def database_kind(request: pytest.FixtureRequest) -> str:
    """One of `KINDS`."""
    return request.param


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of this run, which all of its processes share."""
    base = tmp_path_factory.getbasetemp()
    made = Servers(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    yield made
    made.close()


@pytest.fixture(scope="session")
def make_place(database_kind: str, servers: Servers) -> MakePlace:
    """Make a new database, in this folder if it is a file; use it in a `with`."""

    def make(folder: Path) -> Place:
        if database_kind == "sqlite":
            return Place.on_sqlite(folder)
        return Place.on_server(present(servers.shared, database_kind))

    return make


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A local Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    made = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        local_directory=tmp_path_factory.mktemp("scratch"),  # the usual one is full of what others left, and locked
    )
    yield made
    with contextlib.suppress(KeyError):  # of a worker that has gone, and that it has forgotten before it hears of that
        made.close()


@pytest.fixture
def own_server(database_kind: str, servers: Servers) -> Iterator[Server]:
    """A server that the test may stop, kill and start again."""
    made = present(servers.private, database_kind)
    yield made
    made.discard()


@pytest.fixture
def place(make_place: MakePlace, tmp_path: Path) -> Iterator[Place]:
    """The database of this test."""
    with make_place(tmp_path) as made:
        yield made


# ---- models ------------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def only_models_in_sight(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave of all models of the tests those that this test's file knows, and forget those that the test defines.

    A store makes the tables of all models of its program, and collecting the tests makes a program of them all: to make
    a new store would take five times as long, and still longer on a server.
    """
    known = Base.metadata.tables
    in_sight = tables_in_sight(request.module.__name__)
    Base.metadata.tables = sa.util.FacadeDict({name: table for name, table in known.items() if name in in_sight})
    yield
    Base.metadata.tables = known


@functools.cache
def tables_in_sight(module: str) -> set[str]:
    """Return the names of the tables whose models are defined in a file of the tests, or in what it imports of them."""
    reached, left = set(), [module, SimResult.__module__]  # fixtures use that one
    while left:
        name = left.pop()
        if name not in reached and _is_of_tests(name):
            reached.add(name)
            left += {
                value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
                for value in list(vars(sys.modules[name]).values())
            }
    return {table for table, of in defined_in().items() if of in reached}


@functools.cache  # before the first test, which may define more
def defined_in() -> dict[str, str]:
    """Return in which file the model of each table is defined."""
    return {str(mapper.local_table): mapper.class_.__module__ for mapper in Base.registry.mappers}


def _is_of_tests(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and TESTS in Path(file).parents


# ---- stores ------------------------------------------------------------------------------------------------------
@pytest.fixture
def runner() -> CountingRunner:
    """Writes the params as JSON and remembers every call."""
    return CountingRunner()


@pytest.fixture
def open_store(runner: CountingRunner, place: Place, tmp_path: Path) -> OpenStore:
    """Open a store on this test's folder and database; whatever is named replaces the default."""

    def open_it(run: Any = runner, model: type = SimResult, **options: Any) -> Store[Any]:
        options.setdefault("results_dir", tmp_path / "results")
        options.setdefault("file_suffix", ".json")
        options.setdefault("db_url", place.url)
        return Store(run, model, **options)

    return open_it


@pytest.fixture
def store(open_store: OpenStore) -> Store[SimResult]:
    """One store for `SimResult`, served by `runner`."""
    return open_store()


# ---- what must stay as it is ---------------------------------------------------------------------------------------
@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """A folder that is nobody's business here; its files must be as they were in the end."""
    folder = tmp_path / "beside"
    folder.mkdir()
    for name in ("probe.txt", "old"):
        (folder / name).write_text("mine")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"probe.txt": "mine", "old": "mine"}
