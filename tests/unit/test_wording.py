"""The texts of statements: one for all databases that write it alike, and none for any other."""

import copy
import gc
import sqlite3
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from entropic import Base, Mapped, Store, mapped_column
from entropic.db.dialects.mysql import MySQL
from entropic.db.dialects.portable import Dialect
from entropic.db.dialects.postgresql import PostgreSQL
from entropic.db.dialects.sqlite import SQLite
from entropic.db.statement import Statement, texts_on
from entropic.db.tables import meta
from entropic.db.wording import Wording


def runner(params):
    open(params["result_file"], "w").close()


def store(folder, model, **options):
    folder.mkdir(exist_ok=True)
    url = f"sqlite:///{folder / 'db.sqlite3'}"
    return Store(runner, model, folder / "results", ".txt", url, on_stale="ignore", **options)


def of(kind, sql):
    return Wording.of(kind(sa.make_url("sqlite://"), 60.0), sql)


def told(sql, **settings):
    """Return a dialect of SQLAlchemy's that a server has told its settings."""
    for name, value in settings.items():
        setattr(sql, name, value)
    return sql


SERVERS = [
    (PostgreSQL, postgresql.psycopg.dialect, {"paramstyle": "format"}, {"server_version_info": (16, 4)}),
    (MySQL, mysql.pymysql.dialect, {"paramstyle": "format"}, {"server_version_info": (10, 11, 9), "is_mariadb": True}),
    (SQLite, sqlite.pysqlite.dialect, {}, {"server_version_info": (3, 45, 0)}),
]


@pytest.mark.parametrize(("kind", "make", "options", "settings"), SERVERS, ids=["postgresql", "mysql", "sqlite"])
def test_two_databases_of_the_same_settings_have_the_same_wording_wherever_they_are(kind, make, options, settings):
    one, other = (
        of(kind, told(make(**options), **settings, default_schema_name=schema)) for schema in ("first", "second")
    )
    assert (one, hash(one)) == (other, hash(other))


@pytest.mark.parametrize(
    ("number", "other"),
    [
        (0, {"server_version_info": (15, 2)}),
        (0, {"paramstyle": "pyformat", "positional": False}),
        (0, {"_backslash_escapes": True}),
        (1, {"server_version_info": (10, 5, 0)}),
        (1, {"is_mariadb": False}),
        (1, {"_server_ansiquotes": True}),
        (1, {"_backslash_escapes": False}),
        (2, {"paramstyle": "numeric"}),
    ],
)
def test_databases_of_one_kind_with_different_settings_share_no_statement(number, other):
    kind, make, options, settings = SERVERS[number]
    usual = of(kind, told(make(**options), **settings))
    assert usual != of(kind, told(make(**options), **(settings | other)))


def test_a_dialect_with_other_quotes_or_types_is_another_one():
    kind, make, options, settings = SERVERS[1]
    sql = told(make(**options), **settings)
    quoted = told(make(**options), **settings)
    quoted.identifier_preparer = copy.copy(quoted.identifier_preparer)
    quoted.identifier_preparer.initial_quote = quoted.identifier_preparer.final_quote = '"'
    typed = told(make(**options), **settings)
    kind(sa.make_url("mysql://"), 60.0).compilers(typed)
    assert len({of(kind, one) for one in (sql, quoted, typed)}) == 3


def test_databases_of_a_kind_that_is_not_known_share_nothing():
    one, other = (of(Dialect, told(sqlite.pysqlite.dialect(), server_version_info=(3, 45, 0))) for _ in range(2))
    assert one != other


def test_threads_that_compile_one_statement_at_once_get_the_same_text_and_their_own_values():
    query = sa.select(meta.c.value).where(meta.c.name == sa.bindparam("name"), meta.c.value != sa.literal("none"))
    statement = Statement(query, sqlite.pysqlite.dialect())
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda number: (statement.sql, *statement.values({"name": number})), range(100)))
    assert {values[1:] for values in found} == {(number, "none") for number in range(100)}
    assert len({values[0] for values in found}) == 1


def test_a_second_store_of_a_model_compiles_no_statement_again(tmp_path, monkeypatch):
    class Twice(Base):
        __tablename__ = "twice"
        metadata = sa.MetaData()
        n: Mapped[int]

    def use(folder):
        opened = store(folder, Twice)
        for n in (1, 1):
            opened.run_or_retrieve({"n": n})
        assert len(opened.sweep([{"n": n} for n in range(3)])) == 3

    compiled = []
    compile_ = sa.sql.ClauseElement.compile

    def counting(self, *given, **options):
        compiled.append(str(compile_(self, *given, **options)))
        return compile_(self, *given, **options)

    monkeypatch.setattr(sa.sql.ClauseElement, "compile", counting)
    use(tmp_path / "first")
    store(tmp_path / "second", Twice)  # makes the table of the model
    before = set(compiled)
    assert sum("twice" in sql for sql in before) > 3
    compiled.clear()
    use(tmp_path / "second")
    assert before.isdisjoint(compiled)  # (a slow machine may need other statements the second time)


def test_a_model_that_gains_a_column_has_statements_with_it(tmp_path):
    class Growing(Base):
        __tablename__ = "growing"
        metadata = sa.MetaData()
        n: Mapped[int]

    assert store(tmp_path / "first", Growing).run_or_retrieve({"n": 1}).n == 1
    Growing.dt = mapped_column(sa.Float)
    for _ in range(2):  # as it is written, and as another store reads it
        row = store(tmp_path / "second", Growing).run_or_retrieve({"n": 1, "dt": 0.5})
        assert (row.n, row.dt) == (1, 0.5)
    with sqlite3.connect(tmp_path / "second" / "db.sqlite3") as raw:
        assert raw.execute("SELECT n, dt FROM growing").fetchall() == [(1, 0.5)]
    raw.close()


def test_two_tables_of_one_name_share_no_text():
    one, other = (sa.Table("twins", sa.MetaData(), sa.Column("id", sa.String, primary_key=True)) for _ in range(2))
    wording = of(SQLite, sqlite.pysqlite.dialect())
    assert texts_on(one, wording) is texts_on(one, wording)
    assert texts_on(one, wording) is not texts_on(other, wording)


@pytest.mark.parametrize("read_only", [None, True])
def test_statements_that_are_kept_hold_nothing_of_the_first_database(tmp_path, monkeypatch, read_only):
    kept = Wording.of
    monkeypatch.setattr(Wording, "of", lambda dialect, sql: replace(kept(dialect, sql), settings=object()))

    class Kept(Base):
        __tablename__ = "kept"
        metadata = sa.MetaData()
        n: Mapped[int]

    store(tmp_path, Kept).run_or_retrieve({"n": 1})
    opened = store(tmp_path, Kept, read_only=read_only)
    assert opened.run_or_retrieve({"n": 1}).n == 1
    database = opened._context.database
    seen = [weakref.ref(one) for one in (database, database.engine, database.dialect, database.sql)]
    del opened, database
    gc.collect()
    assert [one() for one in seen] == [None] * len(seen)


def test_the_texts_on_a_table_go_with_its_model(tmp_path):
    def use():
        class Passing(Base):
            __tablename__ = "passing"
            metadata = sa.MetaData()
            n: Mapped[int]

        opened = store(tmp_path, Passing)
        opened.run_or_retrieve({"n": 1})
        opened.sweep([{"n": 1}, {"n": 2}])
        assert texts_on(Passing.__table__, opened._context.database.wording)
        return weakref.ref(Passing), weakref.ref(Passing.__table__)

    seen = use()
    gc.collect()
    assert [one() for one in seen] == [None, None]
