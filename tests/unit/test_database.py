"""The database as it is opened: where it lies, whose tables it has, who else uses it."""

import sqlite3
from types import SimpleNamespace

import psutil
import pytest

from entropic import Base, Mapped, ModelError, NetworkFileSystemWarning, Store, StoreError


class Drift(Base):
    __tablename__ = "drift"
    n: Mapped[int]
    dt: Mapped[float]


def runner(params):
    open(params["result_file"], "w").close()


def store(tmp_path, model=Drift, **options):
    return Store(runner, model, tmp_path / "results", db_url=f"sqlite:///{tmp_path / 'db.sqlite3'}", **options)


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    def as_(kind):
        mounts = [
            SimpleNamespace(mountpoint="/", fstype="ext4"),
            SimpleNamespace(mountpoint=str(tmp_path), fstype=kind),
        ]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)

    return as_


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_network_file_system_under_sqlite_is_warned_about_by_name(tmp_path, mounted, kind):
    mounted(kind)
    with pytest.warns(NetworkFileSystemWarning, match=kind.replace(".", r"\.")):
        opened = store(tmp_path)
    assert opened.run({"n": 1, "dt": 0.1}).n == 1  # it works all the same
    with sqlite3.connect(tmp_path / "db.sqlite3") as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # the log needs shared memory
    raw.close()


def test_a_local_file_system_is_not(tmp_path, mounted):
    mounted("xfs")
    store(tmp_path)


def test_a_table_that_lacks_a_column_of_the_model_is_refused_before_anything_runs(tmp_path):
    raw = sqlite3.connect(tmp_path / "db.sqlite3")
    raw.execute("CREATE TABLE drift (id VARCHAR PRIMARY KEY, n INTEGER, result_file, created_at, custom_data)")
    raw.close()
    with pytest.raises(ModelError, match=r"'drift' was made without 'dt', which Drift has now"):
        store(tmp_path)


def test_a_table_that_requires_a_column_which_the_model_lacks_is_refused(tmp_path):
    store(tmp_path)
    raw = sqlite3.connect(tmp_path / "db.sqlite3")
    raw.execute("DROP TABLE drift")
    columns = "id VARCHAR PRIMARY KEY, n, dt, extra INTEGER NOT NULL, result_file, created_at, custom_data"
    raw.execute(f"CREATE TABLE drift ({columns})")
    raw.close()
    with pytest.raises(ModelError, match=r"requires 'extra', which Drift no longer has"):
        store(tmp_path)


def test_a_database_of_a_later_version_is_refused(tmp_path):
    store(tmp_path)
    raw = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    raw.execute("UPDATE entropic_meta SET value = '99' WHERE name = 'schema_version'")
    raw.close()
    with pytest.raises(StoreError, match="later version of entropic"):
        store(tmp_path)


@pytest.mark.parametrize("url", ["", "db.sqlite3", "nonsense://x"])
def test_what_is_no_url_is_refused(tmp_path, url):
    with pytest.raises(StoreError, match="db_url"):
        Store(runner, Drift, tmp_path, db_url=url)


def test_a_wait_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(StoreError, match="timeout"):
        Store(runner, Drift, tmp_path, db_url="sqlite:///x.db?timeout=soon")


def test_the_write_ahead_log_is_on(tmp_path):
    store(tmp_path)
    raw = sqlite3.connect(tmp_path / "db.sqlite3")
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
