"""The password in `db_url` shows nowhere: in no text, and in nothing that goes to a worker."""

from __future__ import annotations

import logging
import os
import pickle
import re
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import cloudpickle
import pytest
import sqlalchemy as sa

from contract.models import LoggingRunner, SimResult, run_python, write_params
from databases import PASSWORD, Place
from entropic import Base, EntropicError, Mapped, Store
from servers.crowd import Searching, find_in_memory, sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")
ONE, TWO, THREE = sets([1, 2, 3])
FORMS = {PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), quote_plus(PASSWORD), repr(PASSWORD)[1:-1]}


def shows(said: object) -> bool:
    """Whether a text, or bytes, have the password in them, in whatever way it is written."""
    data = said if isinstance(said, bytes) else str(said).encode()
    return any(form.encode() in data for form in FORMS)


def test_these_tests_would_see_it(place):
    if not place.server.own:
        pytest.skip("the server is somebody else's, and has another password")
    assert shows(place.url) and shows(f"...{PASSWORD}...") and shows(pickle.dumps(sa.make_url(place.url)))
    assert not shows(sa.make_url(place.url))


# ---- texts -------------------------------------------------------------------------------------------------------
class Narrow(Base):
    __tablename__ = "narrow"

    n: Mapped[int]


class Heard:
    """Every text of every error that a program might show."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def of(self, act: Callable[[], Any]) -> None:
        with pytest.raises(EntropicError) as caught:
            act()
        error = caught.value
        self.texts += [str(error), repr(error), "".join(traceback.format_exception(error))]


@pytest.fixture
def own_place(own_server: Any) -> Place:
    """A database on a server that the test may stop; it goes with the server."""
    return Place.on_server(own_server)


def test_no_text_of_a_whole_life_shows_it(open_store, own_place, own_server, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    place, url, heard = own_place, own_place.with_options(timeout=0.5), Heard()
    address = sa.make_url(place.url)
    place.execute("CREATE TABLE narrow (id VARCHAR(20) PRIMARY KEY)")

    def fail(params):
        if params["n"] == 3:
            open_store(db_url=address.set(password="wr0ng").render_as_string(hide_password=False))
        if params["n"] == 4:
            own_server.stop()
        write_params(params)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        store = open_store(run=fail, db_url=url)
        store.run_or_retrieve(ONE)
        Path(store.retrieve(ONE).result_file).unlink()  # a warning
        store.sweep([ONE, TWO])
        heard.of(lambda: store.run_or_retrieve(THREE))
        store.sweep([THREE], on_error="continue")
        heard.texts += [str(store.failures()), *(failure.traceback for failure in store.failures())]
        for wrong in ({"database": "entropic_nowhere"}, {"username": "entropic_nobody"}, {"host": "no-such.invalid"}):
            heard.of(lambda wrong=wrong: open_store(db_url=address.set(**wrong).render_as_string(hide_password=False)))
        heard.of(lambda: open_store(db_url=place.with_options(timeout="soon")))
        heard.of(lambda: open_store(db_url=place.url.replace("+psycopg", "+asyncpg").replace("+pymysql", "+mysqldb")))
        heard.of(lambda: open_store(model=Narrow, db_url=url))
        heard.of(lambda: store.run_or_retrieve({"n": 4, "dt": 0.5}))
        for act in (lambda: store.run_or_retrieve(ONE), lambda: store.sweep([ONE]), lambda: open_store(db_url=url)):
            heard.of(act)
        own_server.start()
        store.run_or_retrieve(ONE)
        heard.texts += [
            repr(store),
            str(store),
            repr(vars(store)),
            repr(store._context),
            str(store.check()),
            str(store.plan([ONE])),
        ]
    heard.texts += [str(one.message) for one in warned]
    heard.texts += [logging.Formatter("%(name)s %(message)s").format(record) for record in caplog.records]
    assert any(str(one.category.__name__) == "ResultLostWarning" for one in warned)
    assert any(record.name.startswith("entropic") for record in caplog.records)
    assert [text for text in heard.texts if shows(text)] == []


# ---- what goes to workers ----------------------------------------------------------------------------------------
class Watched(Executor):
    """Sends everything through a pickle, as a pool does, and looks at what it sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.sent.append(cloudpickle.dumps((fn, args, kwargs)))
        function, given, named = pickle.loads(self.sent[-1])
        future: Future[Any] = Future()
        try:
            result = function(*given, **named)
        except BaseException as error:
            future.set_exception(error)
        else:
            self.sent.append(cloudpickle.dumps(result))
            future.set_result(result)
        return future


class OnOthers:
    """A runner that builds each result on another one."""

    def __init__(self) -> None:
        self.store: Store[SimResult] | None = None

    def run(self, params: dict[str, Any]) -> None:
        if params["n"] < 100:
            assert self.store is not None
            self.store.run_or_retrieve({"n": params["n"] + 100, "dt": 0.5})
        write_params(params)


def of_a_closure() -> tuple[Any, Callable[[Any], None]]:
    on_others = OnOthers()
    return lambda params: on_others.run(params), lambda store: setattr(on_others, "store", store)


def of_a_method() -> tuple[Any, Callable[[Any], None]]:
    on_others = OnOthers()
    return on_others.run, lambda store: setattr(on_others, "store", store)


def of_a_function() -> tuple[Any, Callable[[Any], None]]:
    return write_params, lambda store: None


@pytest.mark.parametrize("make", [of_a_function, of_a_closure, of_a_method])
def test_nothing_that_goes_to_a_pool_has_it(open_store, make):
    runner, give = make()
    store = open_store(run=runner)
    give(store)
    pool = Watched()
    rows = store.sweep(sets(range(8)), pool)
    assert [row.n for row in rows] == list(range(8))
    assert pool.sent
    assert not [data for data in pool.sent if shows(data)]
    assert store.check().ok


def test_a_store_that_the_user_pickles_finds_its_database_again(open_store, tmp_path):
    """It has to carry the password for that, as the documentation says."""
    store = open_store(run=LoggingRunner(tmp_path / "log"))
    store.run_or_retrieve(ONE)
    (tmp_path / "store").write_bytes(pickle.dumps(store))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).run_or_retrieve({'n': 1, 'dt': 0.5}).id)"
    assert run_python(code, tmp_path / "store").strip() == store.retrieve(ONE).id
    assert len(LoggingRunner(tmp_path / "log").lines()) == 1


# ---- real workers ------------------------------------------------------------------------------------------------
PATTERNS = [b"[" + form.encode()[:1] + b"]" + re.escape(form.encode()[1:]) for form in FORMS]  # do not match themselves
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="looks into memory as Linux shows it")


@needs_proc
@pytest.mark.slow
def test_a_process_that_knows_it_is_found_out():
    assert find_in_memory(PATTERNS)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("how", ["workers", "process pool"])
def test_no_worker_has_it_in_its_memory(open_store, tmp_path, how):
    store = open_store(run=Searching(PATTERNS))
    if how == "workers":
        rows = store.sweep(sets(range(6)), workers=2)
    else:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            rows = store.sweep(sets(range(6)), pool)
    assert [row.n for row in rows] == list(range(6))
    found = [Path(row.result_file).read_text().split() for row in rows]
    assert os.getpid() not in {int(pid) for pid, _ in found}  # it did run elsewhere
    assert {places for _, places in found} == {"0"}


@pytest.mark.slow
@pytest.mark.parametrize("make", [of_a_closure, of_a_method])
def test_workers_run_what_asks_its_store_for_other_results(open_store, make):
    runner, give = make()
    store = open_store(run=runner)
    give(store)
    assert [row.n for row in store.sweep(sets(range(8)), workers=2)] == list(range(8))
    assert [row.n for row in store.sweep(sets(range(100, 108)))] == list(range(100, 108))
    assert store.check().ok


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_no_worker_of_a_cluster_has_it_in_its_memory(open_store, tmp_path):
    distributed = pytest.importorskip("distributed")
    store = open_store(run=Searching(PATTERNS))
    options = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL, "local_directory": tmp_path / "scratch"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        rows = store.sweep(sets(range(4)), client)
    found = [Path(row.result_file).read_text().split() for row in rows]
    assert [places for pid, places in found if int(pid) != os.getpid()] == ["0"] * 4
