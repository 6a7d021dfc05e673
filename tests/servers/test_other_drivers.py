"""URLs that no store can use are refused at once, by a sentence that says what to use instead."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from contract.models import SimResult, write_params
from entropic import Store, StoreError

SECRET = "s3cret-password"


def refusal(url: Any, tmp_path: Any) -> str:
    """Return what a store says of a URL, before it has made anything."""
    with pytest.raises(StoreError) as caught:
        Store(write_params, SimResult, tmp_path / "results", db_url=url)
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "results").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("driver", "instead"),
    [
        ("postgresql+asyncpg", "postgresql+psycopg"),
        ("postgresql+psycopg2", "postgresql+psycopg"),
        ("postgresql+pg8000", "postgresql+psycopg"),
        ("postgresql+psycopg_async", "postgresql+psycopg"),
        ("mysql+mysqldb", "mysql+pymysql"),
        ("mysql+aiomysql", "mysql+pymysql"),
        ("mysql+mysqlconnector", "mysql+pymysql"),
        ("mariadb+mariadbconnector", "mariadb+pymysql"),
        ("sqlite+aiosqlite", "sqlite"),
    ],
)
def test_another_driver_is_refused_with_the_one_that_a_store_uses(tmp_path, driver, instead):
    said = refusal(f"{driver}://me:{SECRET}@127.0.0.1/here", tmp_path)
    assert driver.partition("+")[2] in said
    assert instead in said


@pytest.mark.parametrize("backend", ["mssql+pyodbc", "mssql", "mssql+pymssql"])
def test_a_database_that_cannot_keep_the_promises_is_refused_with_those_that_can(tmp_path, backend):
    said = refusal(f"{backend}://me:{SECRET}@127.0.0.1/here", tmp_path)
    assert "mssql" in said
    assert all(name in said for name in ("SQLite", "PostgreSQL", "MariaDB"))


@pytest.mark.parametrize(
    "url", ["", "nonsense", "/a/path/db.sqlite3", "nosuch://me@127.0.0.1/here", "postgresql", "://"]
)
def test_what_is_no_url_is_refused_with_an_example(tmp_path, url):
    assert "sqlite:///" in refusal(url, tmp_path)


@pytest.mark.parametrize("url", [None, 7, b"sqlite:///db.sqlite3"])
def test_what_is_no_text_is_refused(tmp_path, url):
    assert "db_url" in refusal(url, tmp_path)


@pytest.mark.parametrize("timeout", ["soon", "nan", "1s"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(tmp_path, timeout):
    assert "timeout" in refusal(f"postgresql://me:{SECRET}@127.0.0.1/here?timeout={timeout}", tmp_path)


@pytest.mark.parametrize(
    ("driver", "urls", "extra"),
    [
        ("psycopg", ["postgresql://{}", "postgresql+psycopg://{}"], "entropic[postgres]"),
        ("pymysql", ["mysql://{}", "mysql+pymysql://{}", "mariadb://{}", "mariadb+pymysql://{}"], "entropic[mysql]"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    tmp_path, monkeypatch, driver, urls, extra
):
    for name in [name for name in sys.modules if name.partition(".")[0] == driver]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    for url in urls:
        said = refusal(url.format(f"me:{SECRET}@127.0.0.1/here"), tmp_path)
        assert driver in said
        assert f"pip install '{extra}'" in said


SCHEMES = ["postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_said_of_a_usual_url_where_nobody_listens_is_not_about_the_url(tmp_path, scheme):
    said = refusal(f"{scheme}://me:{SECRET}@127.0.0.1:1/here?timeout=0", tmp_path)
    assert "127.0.0.1" in said and "here" in said
    assert "pip install" not in said


def test_postgres_without_ql_is_told_the_right_name(tmp_path):
    assert "postgresql" in refusal(f"postgres://me:{SECRET}@127.0.0.1/here", tmp_path)
