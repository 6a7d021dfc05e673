"""The documents say what is so: their script runs, their links lead somewhere, nothing public is left out."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import entropic
from entropic.formats.catalogue import FORMATS

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]
API = (ROOT / "docs" / "api.md").read_text()


def test_the_first_script_of_the_readme_runs_and_the_second_time_reuses(tmp_path):
    script = re.search(r"```python\n(from entropic import Base.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "first.py").write_text(script)

    def run():
        done = subprocess.run([sys.executable, "first.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout, {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*.json")}

    first, files = run()
    assert len(files) == 6
    assert run() == (first, files)


def test_every_line_of_the_threat_model_names_tests_that_exist():
    text = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`(test_\w+)(?:\.py)?`", text))
    files = list((ROOT / "tests").rglob("test_*.py"))
    known = {file.stem for file in files}
    known |= {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert len(named) > 20
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_named_file_is_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:docs|tests|examples|benchmarks)/[\w./]+)`", text):
        assert (ROOT / target).exists(), target


def test_the_architecture_names_every_file():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in (ROOT / "src" / "entropic").rglob("*.py"):
        if path.name != "__init__.py" and path.parent.name != "executors":
            assert f"{path.stem}" in text, path


@pytest.mark.parametrize("name", [name for name in entropic.__all__ if name not in ("Mapped", "mapped_column")])
def test_the_api_page_names_everything_public(name):
    assert f"`{name}" in API


@pytest.mark.parametrize("method", [name for name, _ in inspect.getmembers(entropic.Store, inspect.isfunction)])
def test_the_api_page_names_every_method(method):
    assert method.startswith("_") or f"`{method}(" in API


def test_everything_public_has_a_docstring():
    for name in entropic.__all__:
        value = getattr(entropic, name)
        if inspect.isclass(value) and value.__module__.startswith("entropic"):
            assert value.__doc__
            for member, function in inspect.getmembers(value, inspect.isfunction):
                if not member.startswith("_") and function.__module__.startswith("entropic"):
                    assert function.__doc__, f"{name}.{member}"


def test_the_tables_of_formats_are_those_of_the_catalogue():
    def suffixes(one):
        return ", ".join(f"`{suffix}`" for suffix in one.suffixes)

    read = [
        f"| {suffixes(one)} | {f'`{one.extra}`' if one.extra else '-'} | {one.returns} |" for one in FORMATS if one.read
    ]
    written = [f"| {suffixes(one)} | {one.takes} |" for one in FORMATS if one.save]
    assert "\n| --- | --- | --- |\n" + "\n".join(read) + "\n\n" in (ROOT / "docs" / "results.md").read_text()
    assert "\n| --- | --- |\n" + "\n".join(written) + "\n\n" in (ROOT / "docs" / "outcomes.md").read_text()
