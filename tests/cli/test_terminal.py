"""What a terminal shows is text: no parameter, id, file name or exception moves its cursor, and no password is in it.

The commands run in this process; what they print is caught as text, on what says that it is a terminal and on what
does not.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
import unicodedata
import warnings
from pathlib import Path

import pytest

import entropic
from entropic import EntropicError, ResultLostWarning, RunFailed, StaleWarning
from entropic.cli.app import app
from entropic.files import reports
from entropic.files.staging import key_of
from entropic.provenance.code import MOST_RULES, RULES
from entropic.support import process
from entropic.support.passwords import without_passwords
from entropic.support.show import one_line, visible

# The title of the window, a cleared screen, a line over another, colours in one byte, text from right to left.
OBEYED = "a\x1b]0;told\x07\x1b[2J\rb\x9b1m\u202ecba\u2028\u2066x\x7f\x00y"
STORED = OBEYED.replace("\x00", "")  # which no database holds
CODE = MOST_RULES + RULES  # of another text, by the rules of now
SCRIPT = """
import sys
from pathlib import Path
from entropic import Base, Mapped, Store

OBEYED = {obeyed!r}

class Said(Base):
    __tablename__ = "said"
    n: Mapped[int]
    name: Mapped[str]

def run(params):
    if params["n"] > 2:
        address = "postgresql://me:s3cret@host/db?sslpassword=s3cret"
        raise ValueError(OBEYED + "\\nsecond line\\n" + address)
    Path(params["result_file"]).write_text("1")

folder = Path({folder!r}) / ("results" + OBEYED)
store = Store(run, Said, folder, ".txt", "sqlite:///" + {folder!r} + "/db.sqlite3")
"""
SETS = [
    {"n": 1, "name": STORED},
    {"n": 2, "name": STORED, "id": f"id{STORED}\nsecond line"},
    {"n": 3, "name": STORED},
    {"n": 4, "name": STORED, "id": f"failed{STORED}"},
]


class Output(io.StringIO):
    """Keeps what is printed; `there` says whether it is a terminal."""

    there = False

    def isatty(self) -> bool:
        return self.there


class Terminal(Output):
    there = True


def obeyed(text: str) -> set[str]:
    """Return what a terminal would obey of a text, as Unicode sorts characters."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {char for char in text if unicodedata.category(char) in kinds and char not in "\n\t"}


def shows_secret(text: str) -> bool:
    return "s3cret" in text


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    (folder / "said.py").write_text(SCRIPT.format(obeyed=STORED, folder=str(folder)))
    code = f"import said, warnings; warnings.simplefilter('ignore'); said.store.sweep({SETS!r}, on_error='continue')"
    code += f"; said.store.freeze('some', n=1); said.store.note({SETS[0]!r}, {STORED!r}, tags=['paper'])"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return folder / "said.py"


@pytest.fixture
def call(script, monkeypatch):
    """Run a command; return what it prints to both, and its output and code in `call.out` and `call.code`."""
    monkeypatch.setenv("TERM", "dumb")  # no styles of our own
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("entropic.cli.freeze.START", str(script.parent))
    monkeypatch.setattr("entropic.cli.output._page", lambda text: sys.stdout.write(text))
    monkeypatch.chdir(script.parent)  # from where it is a module, which is imported once

    def run(*words, kind=Output, store="said:store"):
        out, err = kind(), kind()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            app([words[0], *([store] if store else []), *words[1:]], prog_name="entropic")
        run.code, run.out = ended.value.code, out.getvalue()
        said = run.out + re.sub(r"\rSaid: [^\r\n]*", "", err.getvalue())  # without the progress bar
        assert obeyed(said) == set(), said
        assert not shows_secret(said)
        return said

    return run


@pytest.fixture
def store(script, monkeypatch):
    """The store of the script, opened to run as well: a command that only looks may have opened it before."""
    monkeypatch.syspath_prepend(script.parent)
    sys.modules.pop("said", None)
    import said

    return said.store


# ---- commands ----------------------------------------------------------------------------------------------------
COMMANDS = [
    (["status"], "results"),
    (["ls"], "told"),
    (["ls", "--columns", "name"], "told"),
    (["failed"], "second line"),
    (["failed", "--short"], "told"),
    (["show", "id"], "told"),
    (["show", "failed"], "told"),
    (["diff", "id", "failed"], "told"),
    (["plan", "n=9", f"name={STORED}"], "1 missing"),
    (["explain", "n=9", f"name={STORED}"], "told"),
    (["explain", f"id=failed{STORED}"], "told"),
    (["check"], ""),
    (["check", "--deep"], ""),
    (["status", "--grid", f"name={STORED}", "--grid", "n=1,9"], "told"),
    (["ls", "--tag", "paper"], "told"),
    (["frozen"], "some"),
    (["frozen", "--json"], "told"),
    (["unfreeze", f"no{STORED}", "--yes"], "told"),
    (["view", "out", f"{STORED}{{no}}"], "no column"),
    (["view", "out", f"{STORED}{{n}}", "--json"], "links"),
    (["import", f"there/{STORED}{{n}}.txt", f"name={STORED}", "--dry-run"], "told"),
    (["rebuild", "--dry-run"], ""),
    (["rekey", "--dry-run"], ""),
    (["measure"], ""),
    (["audit", "--fraction", "1"], ""),
    (["dismiss", f"no{STORED}"], "told"),
    (["gc", "n=1", "--dry-run"], "told"),
    (["gc", "n=2"], "told"),
    (["rm", "id"], "told"),
    (["retry", "failed"], "told"),
    (["sweep", "n=5", f"name={STORED}"], "told"),
    (["sweep", "n=5", f"name={STORED}", "--on-error", "raise"], "told"),
    (["repair", "--dry-run"], "nothing to repair"),
    (["export", "-", "-f", "json"], "told"),
    (["show", f"no{OBEYED}"], "told"),
    (["ls", f"no{OBEYED}=1"], "told"),
    (["ls", "--where", f"n<{OBEYED}"], "told"),
    (["ls", "--columns", f"no{OBEYED}"], "told"),
    (["status", "--json"], "told"),
    (["failed", "--json"], "told"),
    (["ls", "--json"], "told"),
    (["show", "id", "--json"], "told"),
    (["explain", "n=9", f"name={STORED}", "--json"], "told"),
]


@pytest.mark.parametrize("kind", [Output, Terminal])
@pytest.mark.parametrize(
    ("words", "shown"), COMMANDS, ids=[f"{words[0]}-{number}" for number, (words, _) in enumerate(COMMANDS)]
)
def test_no_command_lets_a_terminal_obey_what_is_data(call, words, shown, kind, script):
    assert shown in call(*words, kind=kind)
    if "json" in " ".join(words):
        json.loads(call.out)


@pytest.fixture
def told(store, script):
    """Let all that is recorded beside a row hold what a terminal obeys, as the database of somebody else may; its id.

    It runs again, too, and says how far it is.
    """
    row = store.run({"n": 0, "name": "plain"})
    other = {"id": row.id, "model": "said"}
    environment: dict[str, object] = dict.fromkeys(("host", "job", "cwd", "python", "platform", "user"), STORED)
    environment |= {"argv": [STORED], "git": {"root": STORED, "commit": STORED}, "packages": {STORED: STORED}}
    attempt, staging = "7-0123abcd", store._context.staging
    beside = {
        "entropic_notes": [{**other, "number": 0, "tag": "", "text": STORED}, {**other, "number": 1, "tag": STORED}],
        "entropic_audits": [{**other, "at": 5, "host": STORED, "agreed": 0, "told": STORED}],
        "entropic_inputs": [{**other, "number": 1, "of_database": "", "of_model": "said", "of_id": STORED,
                             "made_at": "2026-01-02T03:04:05.000006"}],
        "entropic_environments": [{"id": 5, "told": json.dumps(environment)}],
        "entropic_code": [{"id": CODE, "told": json.dumps([[STORED, "0", 5]])}],
        "entropic_sources": [{"id": 5, "text": STORED}],
    }  # fmt: skip
    with (call := process.Call()).under_way, contextlib.closing(sqlite3.connect(script.parent / "db.sqlite3")) as base:
        for table, rows in beside.items():
            for one in rows:
                places = ", ".join("?" * len(one))
                base.execute(f"INSERT INTO {table} ({', '.join(one)}) VALUES ({places})", tuple(one.values()))
        running = (CODE, attempt, call.name, time.time(), row.id)
        base.execute("UPDATE entropic_ledger SET environment = 5, code = ?, inputs = 1, state = 'running', "
                     "attempt = ?, owner = ?, since = ? WHERE id = ?", running)  # fmt: skip
        base.commit()
        said = {"step": 1, "total": 2, "values": {STORED: STORED}, "at": time.time(), "host": STORED, "pid": 7}
        reports.write(staging.root, key_of("said", row.id), attempt, {**said, "job": STORED})
        yield row.id
        for table in beside:
            base.execute(f"DELETE FROM {table}")
        base.execute("DELETE FROM entropic_ledger WHERE id = ?", (row.id,))
        base.execute("DELETE FROM said WHERE id = ?", (row.id,))
        base.commit()


@pytest.mark.slow
def test_what_is_recorded_beside_a_row_is_shown_as_text(call, told, store, monkeypatch):
    for kind in (Output, Terminal):
        for words in (["show", told], ["show", told, "--json"], ["status"], ["status", "--json"]):
            assert "told" in call(*words, kind=kind), words
        for words in (["ls", "--stale"], ["explain", "n=0", "name=plain"], ["plan", "n=0", "name=plain"]):
            assert call(*words, kind=kind), words
        with monkeypatch.context() as patch:
            patch.setattr("entropic.cli.watch.FROM_THE_TOP", "")  # which is ours
            patch.setattr("time.sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            assert "step 1/2" in call("status", "--watch", kind=kind)
    row = store.retrieve({"id": told})
    shown = [*store.notes().values(), store.provenance(row), *store.inputs(row), *store.audits(), *store.stale()]
    shown += [store.status(), store.explain(row), *store.status().reported.values(), store.plan([row]).cost()]
    texts = [text for one in shown for text in (str(one), getattr(one, "_repr_html_", str)())]
    with pytest.warns(StaleWarning) as warned:
        store.run_or_retrieve({"n": 0, "name": "plain"})
    texts += [str(one.message) for one in warned]
    assert sum("told" in text for text in texts) > 8
    for text in texts:
        assert obeyed(text) == set(), text


def test_what_is_left_of_a_dead_worker_is_named_and_not_obeyed(call, store):
    (staging,) = (store.results_dir / ".entropic").iterdir()
    host, boot, *_ = process.identity().split(".")
    left = staging / f"{'a' * 16}.1-{'b' * 8}.{host}.{boot}.{2**31 - 1}.1.1-1{STORED}"
    left.touch()
    try:
        assert "told" in call("check", kind=Terminal)
        assert "told" in call("repair", "--dry-run", kind=Terminal)
    finally:
        left.unlink(missing_ok=True)


@pytest.mark.slow
def test_json_is_exact_and_csv_is_exact_where_no_terminal_is(call, script):
    for kind in (Output, Terminal):
        call("ls", "--sort", "n", "--json", kind=kind)
        assert [row["name"] for row in json.loads(call.out)] == [STORED, STORED]
        assert json.loads(call.out)[1]["id"] == SETS[1]["id"]
    out = subprocess.run(
        [sys.executable, "-m", "entropic", "export", f"{script}:store", "-", "-f", "csv"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert STORED in out
    assert "told" in call("export", "-", "-f", "csv", kind=Terminal)


def test_an_error_that_nobody_expects_is_a_traceback_of_text(call, monkeypatch):
    def broken(self):
        raise RuntimeError(f"{OBEYED} mysql://me:s3cret@host")

    monkeypatch.setattr(entropic.Store, "status", broken)
    said = call("status")
    assert call.code == 1
    assert "Traceback" in said and "told" in said


def test_an_error_of_a_script_is_a_traceback_of_text(call, tmp_path, script):
    (tmp_path / "bad.py").write_text(f"raise ValueError({STORED!r} + 'http://me:s3cret@host?token=s3cret')\n")
    assert "told" in call("ls", store=f"{tmp_path / 'bad.py'}:store")
    assert call.code == 2


# ---- the library -------------------------------------------------------------------------------------------------
def test_whatever_shows_itself_is_text(store, caplog):
    rows = store.select(order_by="n")
    failures = store.failures()
    shown = [
        *(repr(row) for row in rows),
        *(row._repr_html_() for row in rows),
        repr(rows),
        rows._repr_html_(),
        repr(store),
        store._repr_html_(),
        *map(repr, failures),
        *map(str, failures),
        repr(store.check()),
        repr(store.gc(n=1, dry_run=True)),
        str(store.gc(n=1, dry_run=True)),
        repr(store.explain({"n": 7, "name": STORED})),
        repr(store.explain(SETS[3])),
        store.explain(SETS[3])._repr_html_(),
        repr(store.plan(SETS)),
        repr(store.status()),
    ]
    assert sum("told" in one for one in shown) > 10
    for one in shown:
        assert obeyed(one) == set(), one
        assert not shows_secret(one)


def test_errors_warnings_and_logs_are_text(store, caplog):
    error = RunFailed(f"{OBEYED} http://me:s3cret@host", {"message": OBEYED})
    assert obeyed(str(error)) == set() and not shows_secret(str(error))
    assert error.failure == {"message": OBEYED}
    with pytest.raises(EntropicError) as caught:
        store.load(SETS[2])
    assert "told" in str(caught.value) and obeyed(str(caught.value)) == set()
    with pytest.raises(ValueError, match="told") as caught:
        store.run(SETS[3])
    notes = "".join(caught.value.__notes__)
    assert "told" in notes and obeyed(notes) == set()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        warnings.warn(f"{OBEYED} is lost", ResultLostWarning, stacklevel=1)
    text = warnings.formatwarning(warned[0].message, warned[0].category, "file.py", 1, "")
    assert "told" in text and obeyed(text) == set()
    logging.getLogger("entropic").warning("%s failed; %d left: %s", OBEYED, 3, ValueError(OBEYED))
    (record,) = [one for one in caplog.records if "failed" in one.getMessage()]
    assert obeyed(record.getMessage()) == set() and "3 left" in record.getMessage()


def test_a_text_keeps_what_is_only_text():
    text = "grün 日本 👩‍🔬 a\tb\n  c é\N{NO-BREAK SPACE}x \\x1b"
    assert visible(text) == text
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


# ---- passwords ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("mysql+pymysql://me:s3c@ret/x@host:1/db 'and' x@y", "mysql+pymysql://me:***@host:1/db 'and' x@y"),
        ("http://:s3cret@host", "http://:***@host"),
        ("x?a=1&password=s3cret&b=2", "x?a=1&password=***&b=2"),
        ('"x?SSLPassword=s3cret"', '"x?SSLPassword=***"'),
        ("x?passwd=s3cret'", "x?passwd=***'"),
        ("x?access_token=s3cret", "x?access_token=***"),
        ("host=h user=me password=s3cret dbname=d", "host=h user=me password=*** dbname=d"),
        ('connect(password="s3cret", x=1)', 'connect(password="***", x=1)'),
        ("{'passwd': 's3cret', 'x': 1}", "{'passwd': '***', 'x': 1}"),
        ("os.environ['PGPASSWORD'] = 's3cret'", "os.environ['PGPASSWORD'] = '***'"),
    ],
)
def test_a_password_is_left_out_of_a_text(text, left):
    assert without_passwords(text) == left
    assert without_passwords(left) == left


@pytest.mark.slow
@pytest.mark.parametrize("text", ["://a:", "?password", "password", "password='", "&token=", "\x1b", "a@:// '"])
def test_long_texts_take_no_longer_than_they_are(text):
    """A pattern that looks to the end again and again would not be done within the time that any test has."""
    assert visible(text * 200_000)
    assert len(one_line(text * 1_000)) < 100_000


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/path",
        "max_tokens=5 tokenizer='x'",
        "password = getpass()",
        "wrong password for user 'me'",
        "12:30 me@host",
        "sqlite:////tmp/a.db?timeout=5",
    ],
)
def test_what_is_no_password_stays(text):
    assert without_passwords(text) == text


def test_no_password_of_a_failed_run_reaches_the_database(store, script):
    found = [path for path in script.parent.iterdir() if path.name.startswith("db.sqlite3")]
    assert found and store.failures()
    for path in found:
        assert b"s3cret" not in path.read_bytes()
    assert any("postgresql://me:***@host" in failure.message for failure in store.failures())


# ---- whose project it is -----------------------------------------------------------------------------------------
OTHER = 54321


@pytest.fixture
def give(monkeypatch):
    """Make files somebody else's; where that is not allowed, make this process somebody else."""

    def to_other(*paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, OTHER, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    return to_other


NAMES = '[tool.entropic]\nstore = "probe.py:store"\n'


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A folder in somebody's project, whose script leaves a trace if it is run."""
    (tmp_path / "project" / "deep").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text(NAMES)
    (tmp_path / "project" / "probe.py").write_text("open('trace', 'w').close()\n")
    monkeypatch.setattr("entropic.cli.target.START", str(tmp_path / "project" / "deep"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.chdir(tmp_path / "project" / "deep")
    return tmp_path / "project" / "deep"


@pytest.mark.parametrize("whose", ["file", "folder", "below", "link"])
def test_nothing_of_a_project_of_somebody_else_is_run_and_the_sentence_says_whose_it_is(call, deep, give, whose):
    file = deep.parent / "pyproject.toml"
    if whose == "link":
        file.rename(deep.parent / "own.toml")
        file.symlink_to("own.toml")
    give({"file": file, "folder": deep.parent, "below": deep, "link": file}[whose])
    said = call("ls", store=None)
    assert call.code == 2
    for part in ("no store is named", "another user", str(OTHER) if os.geteuid() == 0 else "uid", "--store"):
        assert part in said
    assert not list(deep.parent.rglob("trace"))


def test_a_project_of_ones_own_is_used_and_named(call, deep):
    said = call("ls", store=None)
    assert (deep.parent / "trace").exists()
    assert f"named in {deep.parent / 'pyproject.toml'}" in said
    said = call("ls", store=None, kind=Terminal)
    assert f"using the store that {deep.parent / 'pyproject.toml'} names" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_trusts_the_user_who_became_it(call, deep, give, monkeypatch):
    give(deep, deep.parent, deep.parent / "pyproject.toml")
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    from entropic.cli.project import project

    assert project(deep) == (deep.parent, {"store": "probe.py:store"})


def test_nobody_trusts_a_folder_of_roots_where_everybody_may_write(deep, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root has folders of root's")
    from entropic.cli.project import stranger

    deep.parent.chmod(0o1777)
    assert stranger(deep.parent) is None
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert re.search("everybody", stranger(deep.parent))
    deep.parent.chmod(0o755)
    assert stranger(deep.parent) is None
