"""A merge is killed at every step: the same call goes on, and each result is there once, as it was."""

import pytest
from harness import fresh_copy, settle
from judge import trace_of

MANY = 2
STEPS = ["begin_first", "start", "bring", "lift", "create", "write", "record", "place", "unlink_t", "commit", "clean"]
ENDS = ["begin_first", "bring", "lift", "create", "write", "fence", "link", "place", "clean"]
BRING = {"target": "entropic.files.content:bring"}


def merged(server, case, shape, files):
    """Merge again, and compare what is there with what the colleague has."""
    settle(case)
    seen = server.start("merging:again", folder=case, shape=shape, files=files).said()
    done, before = seen["done"], seen["before"]
    assert (done["conflicts"], done["left"], seen["check"]) == ([], [], [])
    assert (len(done["taken"]), done["same"]) == (MANY - before, before)
    stays, with_extras = files == "leave", shape.endswith("+extra")
    assert seen["mine"] == seen["theirs"]
    each = 0 if stays else 1 + with_extras
    assert len(seen["names"]) == 1 + with_extras + MANY * each, "nothing else is in the folder"


@pytest.mark.parametrize(
    ("when", "step"),
    [
        pytest.param(when, step, marks=() if step in ("bring", "write", "place") else pytest.mark.slow)
        for when, steps in (("before", STEPS), ("after", ENDS))
        for step in steps
    ],
)
def test_after_a_kill_at_a_step_the_same_merge_takes_in_what_is_missing(server, case, when, step):
    server.start("merging:begin", folder=case, shape="file", many=MANY).said()
    fault = {"step": step, "when": when, "do": "kill", **(BRING if step == "bring" else {})}
    victim = server.start("merging:merge", folder=case, files="link", fault=fault, trace=f"{case}/trace")
    assert victim.status() == -9, f"not reached, or not killed:\n{victim.log()}"
    assert trace_of(case)[-1] == "struck"
    merged(server, case, "file", "link")


PARTS = 4


@pytest.mark.only_on("sqlite")  # the folder is copied with its database; on servers it is killed at the steps above
@pytest.mark.parametrize(("shape", "files"), [("file", "link"), ("folder+extra", "copy"), ("file", "leave")])
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.long if part else pytest.mark.slow) for part in range(PARTS)]
)
def test_a_kill_before_any_call_leaves_what_the_same_merge_goes_on_from(server, new_case, shape, files, part):
    begun, nth, struck = new_case(), part + 1 - PARTS, True
    server.start("merging:begin", folder=begun, shape=shape, many=MANY).said()
    while struck:
        nth += PARTS
        fresh_copy(begun, kept := f"{begun}.kept") if nth <= PARTS else fresh_copy(kept, begun)
        fault = {"step": "any call", "when": "before", "nth": nth, "do": "kill"}
        victim = server.start("merging:merge", folder=begun, files=files, fault=fault, trace=f"{begun}/trace")
        struck = victim.status() != 0
        assert struck == (trace_of(begun)[-1] == "struck"), victim.log()
        merged(server, begun, shape, files)
    assert nth > (5 if files == "leave" else 15), "the merge makes calls, and they are counted"
