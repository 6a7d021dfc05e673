"""`command`: an external program as the runner of a store.

The program is started without a shell, in the run's own folder. It leads a process group of its own within the session
of the process that runs it, so it ends with that: `tests/executors/test_programs.py`.
"""

import contextlib
import enum
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from entropic.errors import CommandError, ParameterError, ResultMissingError
from entropic.executors import program
from entropic.executors.command_line import fill, names_in, split
from entropic.formats.template import Template
from entropic.params.fields import unknown_key
from entropic.params.keys import CHECKPOINT_DIR
from entropic.params.model import Schema
from entropic.params.outcomes import Explained
from entropic.support.show import brief, spelled

Kind = Callable[[str], Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})
TEXTS = (".txt", ".md")  # of which a program's stdout is the result
GIVEN = ("id", "result_file", "custom_data")  # names that a run has beside its params
_MOST_TEXT = 1 << 16  # characters of a template, or of a line, that are recorded to be shown
_MOST_SHOWN = 80  # characters of the last line that a program printed
_WHOLE, _FORTRAN = re.compile(r"[+-]?\d+"), re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)")


def command(
    line: str | Sequence[str],
    *,
    files: Mapping[str, str | Path] = NOTHING,
    columns: Mapping[str, "str | re.Pattern[str] | tuple[str | re.Pattern[str], Kind]"] = NOTHING,
    result: str | None = None,
) -> "Command":
    r"""Return a runner that starts a program.

    ::

        solve = command(
            "./solve in.nml -o {result_file}", files={"in.nml": "in.nml.j2"}, columns={"cfl": r"CFL=(\S+)"}
        )
        store = Store(solve, Flow, "results", ".nc")

    It runs in a folder of its own; what else it writes there is kept beside its result. An exit code other than 0 is a
    failure, with the end of stderr. What it prints is printed here, so in a worker it is in the log of the run. The
    SHA-256 of the program, and of other files that the line names, is recorded as `custom_data["command"]`.

    Parameters
    ----------
    line
        The program and its arguments: a text, split as a shell would do it, or a list of words. `{name}`, or
        `{name:.3e}`, is a parameter, whose value never becomes more than one word; a brace is written twice. No shell
        sees it: what only a shell would act on, as `|` or `$HOME`, is refused in a text unless quoted. `{result_file}`
        is where the result goes. A word with a dot or a slash that names a file here, `solve.py`, is that file.
    files
        What is written into the run's folder before: names, with the paths of Jinja2 templates, which are filled from
        the params. They are read now.
    columns
        Outcomes: names, with regular expressions that are looked for in what the program prints, line by line. The
        last match counts, and its first group. What reads as a number is one; give `(pattern, str)` for another type.
    result
        The name of the file in the run's folder that the program writes as its result. Without it, what it wrote to
        `{result_file}`; else its stdout, for `.txt` and `.md`; else the outcomes.

    Raises
    ------
    ParameterError
        If the line, a template or an expression is not valid.
    """
    return Command(line, files, columns, result)


class Command:
    """A program as a runner; see `command`."""

    def __init__(
        self, line: str | Sequence[str], files: Mapping[str, Any], columns: Mapping[str, Any], result: str | None
    ) -> None:
        self._line = line
        self._templates = {_inside(name): Template(path) for name, path in files.items()}
        self._words = [self._resolved(word, i) for i, word in enumerate(split(line))]
        self._columns = {name: _pattern(name, given) for name, given in columns.items()}
        self._result = None if result is None else _inside(result)
        names = [name for word in self._words for name in names_in(word)]
        self._names_result = "result_file" in names or any(
            "result_file" in one.names for one in self._templates.values()
        )
        self._names = dict.fromkeys([*names, *(name for one in self._templates.values() for name in one.names)])

    def _counts_by(self) -> dict[str, object]:
        """Return what its results depend on, which is the same wherever the project lies."""
        files = {name: one.text for name, one in self._templates.items()}
        columns = {
            name: (pattern.pattern, pattern.flags, getattr(kind, "__name__", ""))
            for name, (pattern, kind) in self._columns.items()
        }
        return {"line": self._line, "files": files, "columns": columns, "result": self._result}

    def _shows(self) -> dict[str, str]:
        """Return the same for people: a line for each line of a template, so that what differs can be shown."""
        files = [
            f"template {name} = {line}" for name, one in self._templates.items() for line in _some(one.text).split("\n")
        ]
        columns = [f"column {name} = {pattern.pattern.decode()!r}" for name, (pattern, _) in self._columns.items()]
        return {
            "line": spelled(self._line, _MOST_TEXT),
            "files": "\n".join([", ".join(self._templates) or "none", *files]),
            "columns": "\n".join([", ".join(self._columns) or "none", *columns]),
        }

    def _resolved(self, word: str, position: int) -> str:
        """Return a word as the run's folder can use it: a file of this folder by its absolute path."""
        is_told = "." in word or os.sep in word
        if "{" in word or not is_told or os.path.normpath(word) in self._templates or not os.path.isfile(word):
            return word
        return os.path.abspath(word)

    def fit(self, schema: Schema, checkpoints: bool = False) -> None:
        """Refuse names that are not parameters of a model, or outcomes: said when the store is opened.

        Parameters
        ----------
        checkpoints
            Whether runs have a `{checkpoint_dir}`.

        Raises
        ------
        ParameterError
            With the name that was probably meant.
        """
        for name in self._names:
            known = schema.fields.keys() - schema.changed.removed.keys()
            if name not in known and name not in GIVEN and not (checkpoints and name == CHECKPOINT_DIR):
                raise ParameterError(f"{self!r} names {name!r}, but {unknown_key(name, schema.name, [*schema.fields])}")
        unfilled = [name for name, measure in schema.asked_of_runs if measure is None and name not in self._columns]
        for name in self._columns.keys() - schema.outcomes.keys():
            if name in schema.fields:
                raise ParameterError(
                    f"columns of {self!r} has {name!r}, which is a parameter of {schema.name}; what a program prints "
                    "is an outcome: give the column another name"
                )
            import difflib  # only for the message

            if near := difflib.get_close_matches(name, unfilled, n=1):
                raise ParameterError(
                    f"columns of {self!r} has {name!r}, which is not an outcome of {schema.name}; did you mean "
                    f"{near[0]!r}?"
                )

    def _before_runs(self, suffix: str) -> None:
        """Refuse, before a run is claimed, what cannot end well.

        Raises
        ------
        CommandError
            If there is no such program here, or nothing would be its result.
        """
        if not (self._names_result or self._result or self._columns or suffix.lower().endswith(TEXTS)):
            raise CommandError(
                f"{self!r} would leave no result: let it write {{result_file}}, say result='its file', take "
                "file_suffix='.txt' for its stdout, or name columns. Nothing was run"
            )
        if "{" not in self._words[0] and os.path.normpath(self._words[0]) not in self._templates:
            _find(self._words[0])

    def __call__(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """Run the program; return its outcomes, None if there are to be none."""
        path: str = params["result_file"]
        folder = os.path.dirname(path)
        values = {name: value.value if isinstance(value, enum.Enum) else value for name, value in params.items()}
        words = [fill(word, values) for word in self._words]
        for name, template in self._templates.items():
            template.write(os.path.join(folder, name), values)
        words[0] = self._program(words[0], folder)
        self._record(params, words)
        with program.spool() as out, program.spool() as errors:
            program.run(words, folder, out, errors)
            self._bring(path, folder, out)
            return self._outcomes(out, errors) if self._columns else None

    def _program(self, word: str, folder: str) -> str:
        if os.path.normpath(word) in self._templates:  # a script that was filled
            found = os.path.join(folder, os.path.normpath(word))
            os.chmod(found, 0o755)
            return found
        return _find(word)

    def _record(self, params: dict[str, Any], words: list[str]) -> None:
        """Note what ran, as custom data, which is no part of the key: the same program may lie elsewhere tomorrow."""
        given = params.get("custom_data")
        if isinstance(given, dict):
            named = [words[0], *(word for word in self._words[1:] if os.path.isabs(word) and os.path.isfile(word))]
            sums = {one: _sha256(one) for one in [*named, *(found.path for found in self._templates.values())]}
            given.setdefault("command", {"words": words, "sha256": sums})

    def _bring(self, path: str, folder: str, out: IO[bytes]) -> None:
        """Bring the result to its place, unless the program did."""
        if self._result is not None:
            try:
                os.replace(os.path.join(folder, self._result), path)
            except FileNotFoundError:
                left = ", ".join(sorted(os.listdir(folder))) or "nothing"
                raise ResultMissingError(
                    f"{self!r} exited with code 0, but did not write {self._result}; it wrote {left}"
                ) from None
        elif os.path.lexists(path):
            pass
        elif self._names_result:
            raise ResultMissingError(f"{self!r} exited with code 0, but did not write its {{result_file}}")
        elif path.lower().endswith(TEXTS):
            import shutil

            out.seek(0)
            with open(path, "wb") as file:
                shutil.copyfileobj(out, file)

    def _outcomes(self, out: IO[bytes], errors: IO[bytes]) -> dict[str, Any]:
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read())
        found = _Found(self._columns, *texts)
        for name, (pattern, kind) in self._columns.items():
            told = next((last for text in texts if (last := _last(pattern, text)) is not None), None)
            if told is not None:
                found[name] = _value(told, kind)
        return found

    def __repr__(self) -> str:
        return f"command({spelled(self._line)})"


# ---- files ---------------------------------------------------------------------------------------------------------
def _some(text: str) -> str:
    """Return a text, of which only the beginning is shown if it is very long: the rest as what identifies it."""
    if len(text) <= _MOST_TEXT:
        return text
    rest = text[_MOST_TEXT:]
    return (
        f"{text[:_MOST_TEXT]}\n... {len(rest):,} more characters, SHA-256 {hashlib.sha256(rest.encode()).hexdigest()}"
    )


def _inside(name: str) -> str:
    """Return the name of a file in the run's folder, which does not lead out of it."""
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] in (os.pardir, os.curdir):
        raise ParameterError(f"{name!r} is not the name of a file in the run's folder")
    return plain


def _find(word: str) -> str:
    import shutil

    found = shutil.which(word)
    if found is None:
        why = "is not an executable file" if os.path.exists(word) else "is not there"
        raise CommandError(f"the program {word!r} {why}; nothing was started")
    return os.path.abspath(found)


_sums: dict[tuple[str, int, int, int], str] = {}  # of files as they were seen


def _sha256(path: str) -> str:
    try:
        seen = os.stat(path)
        key = path, seen.st_ino, seen.st_size, seen.st_mtime_ns
        if key not in _sums:
            with open(path, "rb") as file:
                _sums[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return _sums[key]
    except OSError as error:  # a program that may be executed and not be read
        return f"(cannot be read: {error.strerror})"


# ---- outcomes ------------------------------------------------------------------------------------------------------
class _Found(Explained):
    """The outcomes that were found in what a program printed."""

    def __init__(self, columns: "Mapping[str, tuple[re.Pattern[bytes], Kind | None]]", out: bytes, errors: bytes):
        super().__init__()
        self._patterns = {name: pattern.pattern.decode() for name, (pattern, _) in columns.items()}
        self._printed = f"its stdout, which {_ends(out)}, or its stderr, which {_ends(errors)}"

    def why_not(self, name: str) -> str:
        if name not in self._patterns:
            return f"command() was given no expression for it: add {name!r} to columns"
        return (
            f"its expression {brief(self._patterns[name], _MOST_SHOWN)} matches nothing in what the program printed: "
            f"{self._printed}; a worker keeps all of that in store.log_file(params), and without workers it was "
            "printed where the run was started"
        )


def _ends(text: bytes) -> str:
    lines = text[-_MOST_SHOWN:].decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), None)
    return "is empty" if last is None else f"ends with the line {brief(last, _MOST_SHOWN)!r}"


def _pattern(name: str, given: Any) -> "tuple[re.Pattern[bytes], Kind | None]":
    pattern, kind = given if isinstance(given, tuple) else (given, None)
    flags = re.MULTILINE
    if isinstance(pattern, re.Pattern):
        pattern, flags = pattern.pattern, pattern.flags & ~re.UNICODE
    try:
        return re.compile(pattern.encode(), flags), kind
    except (re.error, AttributeError) as error:
        raise ParameterError(
            f"the expression of {name!r}, {spelled(pattern)}, is not a regular expression: {error}"
        ) from None


def _last(pattern: "re.Pattern[bytes]", text: bytes) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[1] if pattern.groups else match[0]
    return None if found is None else found.decode("utf-8", "replace")


def _value(text: str, kind: Kind | None) -> Any:
    """Return what a text says, as the number that it is, or as the type that is wanted; else the text."""
    if kind is bool:
        return text.strip(".").lower() in ("true", "t", "yes", "1")
    text = text if kind is str else _FORTRAN.sub(r"\1e\2", text) if _FORTRAN.fullmatch(text) else text
    with contextlib.suppress(Exception):  # then the column says that the text does not fit
        if kind is not None:
            return kind(text)
        return int(text) if _WHOLE.fullmatch(text) else float(text)
    return text
