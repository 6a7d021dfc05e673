"""Packages that bring a format of their own: read when it is needed, and no harm to anybody if they are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from entropic import Base, LoadError, Mapped, SaveError
from entropic.formats.read import read
from entropic.formats.save import save

GOOD = """
from pathlib import Path
from entropic import Format

def read(path, names):
    return {"words": Path(path).read_text().split()}

def save(value, path):
    if not isinstance(value, list):
        raise TypeError("it takes a list")
    Path(path).write_text(" ".join(value))

FORMAT = Format(suffixes=(".words", ".words.gz"), read=read, returns="a dict of words", save=save, takes="a list")
"""


class Sim(Base):
    __tablename__ = "plugin_sims"
    n: Mapped[int]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package as an installer would: its modules, and a folder that says what it brings."""
    made: list[str] = []

    def install(package: str, code: str, points: str) -> Path:
        folder = tmp_path / f"site-{package}"
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[entropic.formats]\n{points}\n")
        monkeypatch.syspath_prepend(str(folder))
        made.append(package)
        return folder

    yield install
    for package in made:
        sys.modules.pop(package, None)


def test_a_format_of_another_package_is_written_and_read(installed, make, tmp_path):
    installed("of_words", GOOD, "words = of_words:FORMAT\nwords.gz = of_words:FORMAT")
    store = make(Sim, lambda path, _: Path(path).write_text("a b"), ".words")
    row = store.run({"n": 1})
    assert store.load(row) == {"words": ["a", "b"]}
    assert store.select().to_xarray().words.values.tolist() == ["a", "b"]
    save(["c", "d"], str(tmp_path / "it.words.gz"))
    assert read(str(tmp_path / "it.words.gz")) == {"words": ["c", "d"]}
    with pytest.raises(SaveError, match=r"a \.words file cannot hold it: TypeError: it takes a list"):
        save({}, str(tmp_path / "it.words"))


BROKEN = {
    "of_syntax": ("nothing = = here", "of_syntax:FORMAT", "SyntaxError"),
    "of_import": ("import a_library_that_is_not_there", "of_import:FORMAT", "a_library_that_is_not_there"),
    "of_exit": ("raise SystemExit(3)", "of_exit:FORMAT", "SystemExit"),
    "of_nothing": ("", "of_nothing:FORMAT", "AttributeError"),
    "of_text": ("FORMAT = 'words'", "of_text:FORMAT", "is a str"),
    "of_others": (GOOD.replace(".words", ".letters"), "of_others:FORMAT", r"is for \.letters"),
}


@pytest.mark.parametrize("package", BROKEN)
def test_a_broken_package_is_named_and_harms_no_other_format(installed, make, tmp_path, package):
    code, point, said = BROKEN[package]
    installed(package, code, f"words = {point}")
    (tmp_path / "it.words").write_text("a b")
    with pytest.raises(LoadError, match=said) as caught:
        read(str(tmp_path / "it.words"))
    assert f"the package {package}" in str(caught.value)
    with pytest.raises(SaveError, match=f"the package {package}"):
        save(["a"], str(tmp_path / "other.words"))
    (tmp_path / "it.json").write_text("[1]")
    assert read(str(tmp_path / "it.json")) == [1]
    with pytest.raises(LoadError, match="there is no reader"):
        read(str(tmp_path / "it.unknown"))
    own = make(Sim, lambda path, _: Path(path).write_text("3"), ".words", loader=lambda path: 3)
    assert own.run({"n": 2}) is not None
    assert own.select(n=2).to_xarray().result.item() == 3


def test_two_packages_for_one_suffix_are_both_named(installed, tmp_path):
    installed("of_words", GOOD, "words = of_words:FORMAT")
    installed("of_more_words", GOOD, "WORDS = of_more_words:FORMAT")
    (tmp_path / "it.words").write_text("a b")
    with pytest.raises(LoadError, match="of_more_words and of_words"):
        read(str(tmp_path / "it.words"))


def test_what_a_reader_of_another_package_raises_names_the_file(installed, tmp_path):
    installed("of_words", GOOD.replace("Path(path).read_text()", "None"), "words = of_words:FORMAT")
    (tmp_path / "it.words").write_text("a b")
    with pytest.raises(LoadError, match=r"it\.words cannot be read.*AttributeError"):
        read(str(tmp_path / "it.words"))


def test_no_package_replaces_a_reader_of_entropics_own(installed, tmp_path):
    installed("of_json", GOOD.replace(".words", ".json"), "json = of_json:FORMAT\npkl = of_json:FORMAT")
    (tmp_path / "it.json").write_text("[1]")
    assert read(str(tmp_path / "it.json")) == [1]
    (tmp_path / "it.pkl").write_text("[1]")
    with pytest.raises(LoadError, match="run any code"):
        read(str(tmp_path / "it.pkl"))
    assert "of_json" not in sys.modules


UNTOUCHED = """
import sys
from pathlib import Path
from entropic import Base, Mapped, Store

class Run(Base):
    __tablename__ = "runs"
    n: Mapped[int]

store = Store(lambda params: Path(params["result_file"]).write_text("1"), Run, sys.argv[1], ".words", sys.argv[2])
store.run({"n": 1})
assert store.run_or_retrieve({"n": 1}).n == 1
assert "of_words" not in sys.modules
store.load({"n": 1})
assert "of_words" in sys.modules
"""


@pytest.mark.slow
def test_a_package_is_imported_when_its_format_is_read_and_not_before(installed, tmp_path):
    folder = installed("of_words", GOOD, "words = of_words:FORMAT")
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + UNTOUCHED
    arguments = [str(tmp_path / "results"), f"sqlite:///{tmp_path / 'db.sqlite3'}"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
