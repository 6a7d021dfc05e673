"""An import is killed at every step: the same call goes on, and each result is there once, as it was."""

import pytest
from harness import settle
from judge import trace_of

MANY = 2
BRING = {"target": "entropic.files.content:bring"}


@pytest.mark.parametrize(
    ("files", "step"),
    [
        ("copy", "bring"),
        pytest.param("link", "lift", marks=pytest.mark.slow),
        pytest.param("copy", "write", marks=pytest.mark.slow),
        ("link", "place"),
        pytest.param("copy", "commit", marks=pytest.mark.slow),
        pytest.param("link", "clean", marks=pytest.mark.slow),
        pytest.param("leave", "commit", marks=pytest.mark.slow),
    ],
)
def test_after_a_kill_at_a_step_the_same_import_takes_in_what_is_missing(server, case, files, step):
    server.start("importing:begin", folder=case, many=MANY).said()
    fault = {"step": step, "when": "before", "do": "kill", **(BRING if step == "bring" else {})}
    victim = server.start("importing:bring_in", folder=case, files=files, fault=fault, trace=f"{case}/trace")
    assert victim.status() == -9, f"not reached, or not killed:\n{victim.log()}"
    assert trace_of(case)[-1] == "struck"
    settle(case)
    seen = server.start("importing:again", folder=case, files=files).said()
    done, before = seen["done"], seen["before"]
    assert (done["conflicts"], done["left"], seen["check"]) == ([], [], "")
    assert (done["taken"], done["same"]) == (MANY - before, before)
    assert seen["rows"] == {str(x): f"made elsewhere of {x}" for x in range(1, MANY + 1)}
    assert seen["names"] == 1 + (0 if files == "leave" else MANY), "nothing else is in the folder"
