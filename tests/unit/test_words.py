"""One name for each step of a run: in `docs/protocol.md`, in the model, where processes are killed, and in the code."""

import ast
import importlib
import re
from functools import reduce
from pathlib import Path

from crash.faults import STEPS

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
MODEL = (ROOT / "tests" / "protocol" / "protocol_model.py").read_text()
DAMAGED = {"relock", "precheck"}  # steps that only a damaged protocol of the model takes


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PROTOCOL, re.MULTILINE | re.DOTALL)[1]


def rows(title):
    lines = [line for line in section(title).splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def of_model():
    """The methods of the model that it goes to by name, as its processes' next steps."""
    (model,) = (one for one in ast.parse(MODEL).body if isinstance(one, ast.ClassDef) and one.name == "Model")
    methods = {one.name for one in model.body if isinstance(one, ast.FunctionDef)}
    texts = {one.value for one in ast.walk(model) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return (methods & texts) - {"end"} - DAMAGED


NAMES = {name: (model, crash, code) for name, model, crash, code, _ in rows("The names of the steps")}


def test_the_text_of_the_protocol_and_its_model_have_the_same_steps():
    assert len(of_model()) > 30
    assert set(re.findall(r"\*\*(\w+)\*\*", section("Steps"))) == of_model()


def test_the_table_of_crashes_has_every_step_of_the_model():
    table = [name for step, *_ in rows("A crash before the step, and who repairs it") for name in step.split(", ")]
    assert sorted(table) == sorted(of_model())


def test_the_table_of_names_has_the_steps_of_the_model_and_no_others():
    assert {name for name, (model, _, _) in NAMES.items() if model == "yes"} == of_model()


def test_processes_are_killed_at_the_steps_of_the_table_and_no_others():
    assert {name for name, (_, crash, _) in NAMES.items() if crash == "yes"} == set(STEPS)
    told = {name: code.strip("`") for name, (_, crash, code) in NAMES.items() if crash == "yes"}
    assert told == {name: place.removeprefix("entropic.") for name, place in STEPS.items()}


def test_every_step_is_a_function_of_the_code():
    for name, (_, _, code) in NAMES.items():
        module, _, path = code.strip("`").partition(":")
        assert callable(reduce(getattr, path.split("."), importlib.import_module(f"entropic.{module}"))), name


def test_every_step_of_the_model_is_a_step_at_which_processes_are_killed_or_a_part_of_one():
    """What has no step of its own in `tests/crash` is a part of a function that has one, or changes nothing."""
    parts = {"record_failure": "end_early", "release": "end_early", "commit_vacate": "vacate"}
    assert of_model() - set(STEPS) == {"choose", *parts}
    assert set(parts.values()) <= set(STEPS)


def test_the_terms_are_at_most_forty_and_each_is_explained_once():
    lines = [line for line in (ROOT / "docs" / "terms.md").read_text().splitlines() if line.startswith("| ")][2:]
    terms = [line.strip("| ").split(" | ")[0] for line in lines]
    assert len(terms) <= 40
    assert len(set(terms)) == len(terms)


def test_a_claim_ends_in_the_words_of_the_terms_only():
    """Words that once meant the same: one of them in a text is a second name for a thing that has one."""
    old = re.compile(
        r"\b(let_go|lets? go of|give[sn]? back the claim|gave back the claim|giv(?:e|en|ing) up the claim)\b"
    )
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    found = {path.name: match[0] for path in sources for match in old.finditer(path.read_text())}
    assert set(found) <= {"sqlite.py"}, found  # the locks of a file, which are not claims
