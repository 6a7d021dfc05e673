"""The servers that the tests start: they check passwords, keep what is committed, and leave nothing behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from databases import PASSWORD, Place, connect, until

pytestmark = pytest.mark.only_on("postgresql", "mariadb")


def test_a_wrong_password_is_refused(place):
    assert place.fetch("SELECT 1") == [(1,)]
    url = sa.make_url(place.url).set(password=PASSWORD + "?").render_as_string(hide_password=False)
    with pytest.raises(place.server.driver().OperationalError, match=r"(?i)password"):
        connect(url)


def test_what_is_committed_survives_a_kill_of_the_server(own_server):
    with Place.on_server(own_server) as place:
        place.execute("CREATE TABLE kept (n INTEGER PRIMARY KEY)")
        place.execute("INSERT INTO kept VALUES (?)", 7)
        own_server.kill()
        with pytest.raises(own_server.driver().OperationalError):
            place.connect()
        own_server.start()
        assert place.fetch("SELECT n FROM kept") == [(7,)]


def test_what_was_saved_is_restored_while_somebody_is_connected(place):
    place.execute("CREATE TABLE kept (n INTEGER PRIMARY KEY, text VARCHAR(20), number DOUBLE PRECISION)")
    place.execute("INSERT INTO kept VALUES (?, ?, ?)", 7, "100 % é", 0.1 + 0.2)
    saved, before = place.save(), place.content()
    base = place.connect()
    base.cursor().execute("BEGIN")
    base.cursor().execute("UPDATE kept SET n = 8")
    (writer,) = [session.id for session in place.in_transaction()]
    place.end_sessions()
    # Not that nobody is there: a server may not have done with the connection that looked before.
    assert writer not in [session.id for session in place.sessions()]
    base.close()
    place.execute("DELETE FROM kept")
    place.restore(saved)
    assert place.content() == before


@pytest.mark.only_on("postgresql", "mariadb")
def test_who_has_a_transaction_open_is_told_of_the_moment_however_often_somebody_asks(place):
    place.execute("CREATE TABLE kept (n INTEGER PRIMARY KEY)")
    with contextlib.closing(place.connect()) as base, contextlib.closing(base.cursor()) as cursor:
        for n in range(20):
            cursor.execute("BEGIN")
            cursor.execute(f"INSERT INTO kept VALUES ({n})")
            # Not how many sessions there are: a server may not have done with one that was closed just now.
            assert any(session.in_transaction for session in place.sessions())
            cursor.execute("COMMIT")
            assert not any(session.in_transaction for session in place.sessions())


RUN = """if True:
    import os, signal, sys
    from pathlib import Path
    from databases import Servers
    print(Servers(Path(sys.argv[1])).shared(sys.argv[2]).folder.resolve(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_server_ends_with_the_last_process_of_a_run_even_if_that_is_killed(own_server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path, own_server.kind],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )
    root = Path(done.stdout.strip()).parent
    assert (done.returncode, root.name[:14]) == (-9, "entropic-tests")

    def left():
        return [one.pid for one in psutil.process_iter(["cmdline"]) if str(root) in " ".join(one.info["cmdline"] or [])]

    until(lambda: not root.exists() and not left(), "its data and its processes are gone")
