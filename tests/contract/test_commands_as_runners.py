"""An external program as a runner: filled from the params, run in its own folder, its output taken as outcomes."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.models import Colour
from entropic import (
    Base,
    CommandError,
    Mapped,
    OutcomeWarning,
    ParameterError,
    ResultMissingError,
    Store,
    command,
    outcome,
)

OpenStore = Callable[..., Store[Any]]
PARAMS = {"n": 3, "dt": 0.25}


class Flow(Base):
    __tablename__ = "flows"

    n: Mapped[int]
    dt: Mapped[float]
    cfl: Mapped[float] = outcome()
    steps: Mapped[int] = outcome()
    state: Mapped[str] = outcome()


class OnlySteps(Base):
    __tablename__ = "only_steps"

    n: Mapped[int]
    dt: Mapped[float]
    steps: Mapped[int] = outcome()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project, in which its script is started."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_stdout_is_the_result_for_txt(open_store: OpenStore, capfd: pytest.CaptureFixture[str]) -> None:
    store = open_store(command("echo n={n} {dt:.3f}"), file_suffix=".txt")
    assert store.load(store.run_or_retrieve(PARAMS)) == "n=3 0.250\n"
    assert "n=3 0.250" in capfd.readouterr().out
    assert store.run_or_retrieve(PARAMS).n == 3
    assert capfd.readouterr().out == ""  # a hit


def test_a_template_is_filled_and_the_program_writes_its_result(open_store: OpenStore, here: Path) -> None:
    (here / "in.nml.j2").write_text("&run n = {{ n }}, dt = {{ '%.2e' % dt }} /\n")
    store = open_store(command("cp in.nml {result_file}", files={"in.nml": "in.nml.j2"}), file_suffix=".out")
    row = store.run_or_retrieve(PARAMS)
    assert Path(row.result_file).read_text() == "&run n = 3, dt = 2.50e-01 /\n"
    (kept,) = Path(row.result_file).parent.glob("*.files")  # what else lay in the run's folder
    assert (kept / "in.nml").read_text() == Path(row.result_file).read_text()


def test_outcomes_are_taken_from_what_it_prints_as_numbers_and_texts(open_store: OpenStore) -> None:
    said = "CFL=0.1\\nCFL=1.25D-01\\nsteps: 12\\nstate 007\\n"
    columns: Any = {"cfl": r"^CFL=(\S+)", "steps": r"steps: (\d+)", "state": (r"state (\w+)", str)}
    store = open_store(command(shell(f"printf '{said}' >&2"), columns=columns), Flow)
    row = store.run_or_retrieve(PARAMS)
    assert (row.cfl, row.steps, row.state) == (0.125, 12, "007")
    assert store.load(row) == {"cfl": 0.125, "steps": 12, "state": "007"}
    assert store.select(Flow.cfl < 0.2)[0].id == row.id


def test_an_outcome_that_is_not_printed_loses_no_run(open_store: OpenStore) -> None:
    columns = {"cfl": r"CFL=(\S+)", "steps": r"steps=(\S+)"}
    store = open_store(command("echo CFL=nan steps=many", columns=columns), Flow, file_suffix=".txt")
    with pytest.warns(OutcomeWarning):
        row = store.run_or_retrieve(PARAMS)
    assert row.cfl != row.cfl
    assert row.steps is None
    assert set(row.custom_data["not_recorded"]) == {"steps", "state"}


def test_an_expression_that_finds_nothing_is_told_with_the_end_of_what_the_program_printed(
    open_store: OpenStore,
) -> None:
    columns = {"cfl": r"CFL=(\S+)"}
    store = open_store(command(shell("echo mesh; echo CFL 0.5; echo done >&2"), columns=columns), Flow)
    with pytest.warns(OutcomeWarning):
        why = store.run_or_retrieve(PARAMS).custom_data["not_recorded"]
    assert r"its expression CFL=(\S+) matches nothing" in why["cfl"]
    assert "stdout, which ends with the line 'CFL 0.5', or its stderr, which ends with the line 'done'" in why["cfl"]
    assert "log_file(params)" in why["cfl"]
    assert why["steps"] == "command() was given no expression for it: add 'steps' to columns"
    silent = open_store(command(shell("echo; echo"), columns=columns), Flow)
    with pytest.warns(OutcomeWarning, match="its stdout, which is empty, or its stderr, which is empty"):
        silent.run(PARAMS)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("echo bad mesh >&2; exit 3", "ended with exit code 3. The end of its stderr:\nbad mesh"),
        ("echo only this; exit 1", "exit code 1. The end of its stdout:\nonly this"),
        ("kill -9 $$", "was killed by signal 9, and said nothing"),
    ],
)
def test_an_exit_code_other_than_0_is_a_failure_with_what_it_said(open_store: OpenStore, text: str, how: str) -> None:
    store = open_store(command([*shell(f"echo 1 > $0; {text}"), "{result_file}"]))
    with pytest.raises(CommandError) as caught:
        store.run_or_retrieve(PARAMS)
    assert how in str(caught.value)
    assert how in store.failures()[0].message
    assert store.retrieve(PARAMS) is None


def test_a_long_stderr_is_cut_to_its_end(open_store: OpenStore) -> None:
    store = open_store(command(shell("seq 100000 >&2; echo last >&2; exit 1")), file_suffix=".txt")
    with pytest.raises(CommandError) as caught:
        store.run_or_retrieve(PARAMS)
    assert str(caught.value).endswith("99999\n100000\nlast")
    assert len(str(caught.value)) < 3000


def test_no_shell_sees_a_value(open_store: OpenStore) -> None:
    class Named(Base):
        __tablename__ = "named_programs"

        name: Mapped[str]

    store = open_store(command("printf %s|%s {name} end"), Named, file_suffix=".txt")
    name = "$(touch probe); `touch probe` * 'a b' {n}"
    assert store.load(store.run_or_retrieve({"name": name})) == f"{name}|end"


def test_enums_are_written_as_their_values(open_store: OpenStore, here: Path) -> None:
    class Coloured(Base):
        __tablename__ = "coloured"

        colour: Mapped[Colour]

    (here / "in").write_text("{{ colour }}")
    store = open_store(command("cat in {colour}", files={"in": "in", "red": "in"}), Coloured, file_suffix=".txt")
    assert store.load(store.run_or_retrieve({"colour": Colour.RED})) == "redred"


def test_files_of_the_project_are_found_from_the_folder_of_the_run(open_store: OpenStore, here: Path) -> None:
    (here / "solve.py").write_text("import sys; print(sys.argv[1], open('in').read(), end='')")
    (here / "in.j2").write_text("{{ n }}")
    solve = command(f"{sys.executable} solve.py {{n}}", files={"in": here / "in.j2"})
    store = open_store(solve, file_suffix=".txt")
    row = store.run_or_retrieve(PARAMS)
    assert store.load(row) == "3 3"
    sums = row.custom_data["command"]["sha256"]
    assert sums[str(here / "solve.py")] == hashlib.sha256((here / "solve.py").read_bytes()).hexdigest()
    assert sums[str(here / "in.j2")] == hashlib.sha256(b"{{ n }}").hexdigest()
    assert row.custom_data["command"]["words"][2] == "3"


def test_the_hash_of_the_program_is_recorded_and_no_part_of_the_key(open_store: OpenStore, here: Path) -> None:
    ids = set()
    for text in ("#!/bin/sh\necho one\n", "#!/bin/sh\necho two\n"):
        (here / "solve").write_text(text)
        (here / "solve").chmod(0o755)
        store = open_store(command("./solve"), file_suffix=".txt")
        row = store.run(PARAMS, note="mine")
        ids.add(row.id)
        assert row.custom_data["note"] == "mine"
        (told,) = row.custom_data["command"]["sha256"].items()
        assert told == (str(here / "solve"), hashlib.sha256(text.encode()).hexdigest())
    assert len(ids) == 1


def test_a_filled_script_is_a_program_too(open_store: OpenStore, here: Path) -> None:
    (here / "job.j2").write_text("#!/bin/sh\necho {{ n }} > out.dat; echo more > other.dat\n")
    store = open_store(command("./job", files={"job": "job.j2"}, result="out.dat"), file_suffix=".dat")
    assert Path(store.run_or_retrieve(PARAMS).result_file).read_text() == "3\n"


# ---- said before the program starts ----------------------------------------------------------------------------------
@pytest.mark.parametrize("line", ["echo {speed}", "echo {dt:{speed}}", ["echo", "{speed[0]}"]])
def test_a_name_that_is_no_parameter_is_refused_when_the_store_opens(open_store: OpenStore, line: Any) -> None:
    with pytest.raises(ParameterError, match="names 'speed', but SimResult has no column 'speed'"):
        open_store(command(line), file_suffix=".txt")


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"clf": "(.*)"}, "did you mean 'cfl'"), ({"n": "(.*)"}, "'n', which is a parameter of Flow")],
    ids=["a slip", "a parameter"],
)
def test_a_name_of_columns_that_is_no_outcome_is_refused_when_the_store_opens(
    open_store: OpenStore, columns: Any, said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        open_store(command("echo {n}", columns=columns), Flow, file_suffix=".txt")
    open_store(command("echo {n}", columns={"iterations": "(.*)"}), Flow, file_suffix=".txt")  # custom data


def test_so_is_one_in_a_template_unless_it_asks(open_store: OpenStore, here: Path) -> None:
    (here / "in.j2").write_text("{% for i in range(n) %}{{ i }}{{ loop.last }}{% endfor %}{{ speed }}")
    with pytest.raises(ParameterError, match="'speed'"):
        open_store(command("cat in", files={"in": "in.j2"}), file_suffix=".txt")
    (here / "in.j2").write_text("{% if speed is defined %}{{ speed }}{% endif %}{{ mass | default(7) }}")
    store = open_store(command("cat in", files={"in": "in.j2"}), file_suffix=".txt")
    assert store.load(store.run_or_retrieve(PARAMS)) == "7"


@pytest.mark.parametrize(
    "options",
    [
        {"line": "echo '"},
        {"line": ""},
        {"line": "echo {}"},
        {"line": "echo {0}"},
        {"line": "echo {n"},
        {"line": "echo", "files": {"../in": "in"}},
        {"line": "echo", "files": {"/in": "in"}},
        {"line": "echo", "files": {"in": "nowhere"}},
        {"line": "echo", "files": {"in": "broken.j2"}},
        {"line": "echo", "columns": {"cfl": "("}},
        {"line": "echo", "result": "../x"},
    ],
    ids=str,
)
def test_what_is_no_command_is_refused_where_it_is_written(here: Path, options: Any) -> None:
    (here / "broken.j2").write_text("{% if %}")
    (here / "in").write_text("")
    with pytest.raises(ParameterError):
        command(**options)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("echo {n} | sort", "'|'"),
        ("echo {n} > out.txt", "'>'"),
        ("echo {n} >out.txt 2>&1", "'>out.txt'"),
        ("cat < in.nml", "'<'"),
        ("./a {n} && ./b", "'&&'"),
        ("cd x; ./run", "'x;'"),
        ("./run &", "'&'"),
        ("./run 2>/dev/null", "'2>/dev/null'"),
        ("./run $HOME/in.nml", "'$HOME/in.nml'"),
        ('./run "$HOME"/in.nml', "'$HOME"),
        ("./run ${{HOME}}", "'${{HOME}}'"),
        ("echo `date`", "'`date`'"),
        ("~/bin/solve {n}", "'~/bin/solve'"),
    ],
)
def test_what_only_a_shell_would_act_on_is_refused_where_it_is_written(line: str, what: str) -> None:
    with pytest.raises(ParameterError, match="only a shell would act on") as caught:
        command(line)
    assert f"has {what}" in str(caught.value)
    assert "give the words as a list" in str(caught.value)


def test_what_is_quoted_or_in_a_list_is_passed_on_as_it_is(open_store: OpenStore) -> None:
    text = command(r"""printf '%s,' '|' ">" \> '$HOME' \$HOME 'a;' {dt:>6} a|b 2*3 * $ -x=$ '~/x' {{n}}""")
    wanted = "|,>,>,$HOME,$HOME,a;,  0.25,a|b,2*3,*,$,-x=$,~/x,{n},"
    store = open_store(text, file_suffix=".txt")
    assert store.load(store.run(PARAMS)) == wanted
    words = ["printf", "%s,", "|", ">", "$HOME", "~/x", "&&"]
    assert open_store(command(words), file_suffix=".txt").run(PARAMS)
    assert store.load(store.retrieve(PARAMS)) == "|,>,$HOME,~/x,&&,"


def test_an_escaped_dollar_is_passed_on_and_a_line_may_go_on(open_store: OpenStore) -> None:
    store = open_store(command('printf "%s," "\\$HOME \\`x\\`" \\\n  {n}'), file_suffix=".txt")
    assert store.load(store.run(PARAMS)) == "$HOME `x`,3,"


def test_a_shell_may_be_the_program(open_store: OpenStore, here: Path) -> None:
    (here / "solve").write_text("#!/bin/sh\ncat\n")
    (here / "solve").chmod(0o755)
    (here / "in.j2").write_text("a\nb\ndt {{ dt }}\n")
    words = ["sh", "-c", '"$0" < in.nml | tail -n "$1" > out.dat', "./solve", "{n}"]
    store = open_store(command(words, files={"in.nml": "in.j2"}, result="out.dat"), file_suffix=".txt")
    assert store.load(store.run({"n": 2, "dt": 0.25})) == "b\ndt 0.25\n"


def test_a_missing_program_is_told_before_anything_is_claimed(open_store: OpenStore, here: Path) -> None:
    (here / "text").write_text("no program")
    for line, why in (("no-such-solver {n}", "is not there"), ("./text", "is not an executable file")):
        store = open_store(command(line), file_suffix=".txt")
        with pytest.raises(CommandError, match=why):
            store.run_or_retrieve(PARAMS)
        with pytest.raises(CommandError, match=why):
            store.sweep([PARAMS])
        assert store.failures() == []


def test_what_would_leave_no_result_is_told_before_too(open_store: OpenStore) -> None:
    with pytest.raises(CommandError, match="would leave no result"):
        open_store(command("true")).run_or_retrieve(PARAMS)


@pytest.mark.parametrize("how", ["{result_file}", "named"])
def test_a_program_that_does_not_write_its_result_has_failed(open_store: OpenStore, how: str) -> None:
    solve = command(f"touch other {how if how != 'named' else ''}x", result="out" if how == "named" else None)
    store = open_store(solve, file_suffix=".txt")
    with pytest.raises(ResultMissingError, match="exited with code 0, but did not write"):
        store.run_or_retrieve(PARAMS)


def test_a_none_has_no_word(open_store: OpenStore) -> None:
    class Loose(Base):
        __tablename__ = "loose"

        n: Mapped[int | None]

    store = open_store(command("echo {n}"), Loose, file_suffix=".txt")
    with pytest.raises(ParameterError, match="'n' is None"):
        store.run_or_retrieve({"n": None})
    with pytest.raises(ParameterError, match="which the params lack"):
        store.run_or_retrieve({})


# ---- where it runs ---------------------------------------------------------------------------------------------------
def test_a_command_travels(here: Path) -> None:
    (here / "in.j2").write_text("{{ n }}")
    solve = command("cat in", files={"in": "in.j2"}, columns={"cfl": (r"\d", float)})
    (here / "in.j2").unlink()
    assert repr(pickle.loads(pickle.dumps(solve))) == repr(solve)


@pytest.mark.slow
def test_it_runs_in_workers_with_its_output_in_the_log(open_store: OpenStore) -> None:
    store = open_store(command(shell("echo CFL=0.5; echo deep >&2"), columns={"cfl": r"CFL=(\S+)"}), Flow)
    with pytest.warns(OutcomeWarning):
        rows = store.sweep([PARAMS, {**PARAMS, "n": 4}], workers=1)
    assert [row.cfl for row in rows] == [0.5, 0.5]
    log = store.log_file(PARAMS)
    assert log is not None
    assert sorted(log.read_text().split()) == ["CFL=0.5", "deep"]


def test_it_runs_in_a_pool_several_at_once(open_store: OpenStore) -> None:
    store = open_store(command("echo {n}"), file_suffix=".txt")
    with ThreadPoolExecutor(2) as pool:
        rows = store.sweep([{"n": n, "dt": 0.5} for n in range(4)], pool)
    assert [store.load(row) for row in rows] == [f"{n}\n" for n in range(4)]


@pytest.mark.slow
def test_it_runs_on_a_cluster(open_store: OpenStore, cluster: Any) -> None:
    import distributed

    with distributed.Client(cluster) as client:
        (row,) = open_store(command("echo {n}"), file_suffix=".txt").sweep([PARAMS], client)
    assert Path(row.result_file).read_text() == "3\n"


@pytest.mark.slow
def test_much_output_and_what_it_leaves_running_hold_nobody_up(open_store: OpenStore) -> None:
    store = open_store(command(shell("sleep 600 & echo $!; seq 2000000 | tail -c 6000000")), file_suffix=".txt")
    text = store.load(store.run_or_retrieve(PARAMS))
    assert len(text) > 6_000_000
    os.kill(int(text.split()[0]), 9)  # the run is over, and this was not to end with it


def test_a_store_with_a_command_pickles_and_opens_again(open_store: OpenStore) -> None:
    store = open_store(command("echo {n}"), file_suffix=".txt")
    assert pickle.loads(pickle.dumps(store)).run_or_retrieve(PARAMS).n == 3


def test_a_command_is_the_same_code_where_its_project_lies_and_another_one_with_another_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(folder: Path, line: str = "sh ./solve.sh {n}", **options: Any) -> Store[Any]:
        monkeypatch.chdir(folder)
        columns = {"cfl": r"CFL=(\S+)", "steps": r"steps: (\d+)", "state": r"state (\w+)"}
        solve = command(line, files={"in.nml": "in.nml.j2"}, columns=columns | options)
        return Store(solve, Flow, "results", ".txt", "sqlite:///db.sqlite3")

    project = tmp_path / "project"
    project.mkdir()
    (project / "solve.sh").write_text("cat in.nml\necho CFL=0.5\necho steps: 3\necho state a\n")
    (project / "in.nml.j2").write_text("dt = {{ dt }}\n")
    opened(project).run(PARAMS)
    assert opened(project).stale() == []
    shutil.copytree(project, moved := tmp_path / "moved")
    assert opened(moved).stale() == []
    assert len(opened(moved, "sh ./solve.sh -q {n}").stale()) == 1
    assert len(opened(moved, steps=r"steps: ([1-9])").stale()) == 1
    (moved / "in.nml.j2").write_text("dt = {{ dt / 2 }}\n")
    assert len(opened(moved).stale()) == 1
    assert "dt / 2" in opened(moved).explain(PARAMS).change


def test_what_of_a_command_has_changed_is_shown_by_name_and_line(open_store: OpenStore, here: Path) -> None:
    long = "".join(f"line {i} of many\n" for i in range(60))

    def changed(line: str = "cat in.nml", mesh: str = "", steps: str = r"steps=(\d+)") -> tuple[str, str]:
        (here / "in.nml.j2").write_text(long + "dt = {{ dt }}\n")
        (here / "mesh.j2").write_text(f"{long}cells {mesh}\n")
        solve = command(line, files={"in.nml": "in.nml.j2", "mesh": "mesh.j2"}, columns={"steps": steps})
        store = open_store(solve, OnlySteps, file_suffix=".txt")
        told = store.explain({"n": 1, "dt": 0.5}) if store.select() else store.run({"n": 1, "dt": 0.5})
        return getattr(told, "reason", ""), getattr(told, "change", "")

    with pytest.warns(OutcomeWarning):
        changed()
    why, diff = changed(mesh="{{ n }}")
    assert "state (template mesh) changed" in why
    assert "-template mesh = cells \n+template mesh = cells {{ n }}" in diff
    assert "in.nml = dt" not in diff
    why, diff = changed(line="cat  in.nml " + "-u " * 40 + "-n")
    assert "state (line) changed" in why
    assert "-u -n'" in diff
    why, diff = changed(steps=r"steps:(\d+)")
    assert "state (column steps) changed" in why
    assert r"+column steps = 'steps:(\\d+)'" in diff
