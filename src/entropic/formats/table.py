"""Tables as text: `.csv` and `.tsv`, with or without names, as pandas, numpy and others write them.

Nothing in such a file says whether its first row is names. A row of numbers is taken for none, and where it might be
both, the file is refused: a row taken for names would be lost without a word.
"""

import csv
import gzip
import io
import os
from collections.abc import Sequence
from importlib import import_module
from typing import IO, Any, NoReturn

from entropic.errors import LoadError
from entropic.formats.bounds import OWN_LOADER
from entropic.formats.format import Reader
from entropic.formats.lossless import Unfit, as_table, is_from

_OTHERS = (";", "\t", ",", r"\s+")  # what separates numbers in files of any name


def read_csv(path: str, _: object) -> Any:
    """Return a data frame: columns without names are called 0, 1, 2 and so on."""
    pandas = import_module("pandas")
    separator = "\t" if ".tsv" in os.path.basename(path).lower() else ","
    comments, first, second = _beginning(path)
    options: dict[str, Any] = {"sep": separator, "skiprows": len(comments)}
    if tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1):  # which reads some floats as their neighbours
        options["float_precision"] = "round_trip"
    found = next((one for one in (separator, *_OTHERS) if _are_numbers(_split(first, one))), None)
    names = _split(comments[-1].lstrip("#").strip(), found or separator) if comments else []
    if found is not None:
        row = _split(first, found)
        if not names and all(word.isdigit() for word in row) and len(set(row)) == len(row):
            _refuse(path, "whole numbers may be names, such as years, or the first row of a table without names")
        named = names if len(names) == len(row) else None
        frame = pandas.read_csv(
            path, **options | {"sep": found}, header=None, index_col=False, comment="#", skipinitialspace=True
        )
        return _named(_without_empty_end(frame, first, found), named)
    if comments and len(names) == len(_split(first, separator)) > 1:
        if not any(map(_is_number, _split(first, separator))):
            _refuse(path, "its names may be in the comment above, or be this row")
        options["skiprows"] -= 1  # a row of names that begins with #
    frame = _without_comments(pandas, path, pandas.read_csv(path, **options), options)
    more = len(_split(second, separator, False)) - len(_split(first, separator, False))
    if more == 1 and second.endswith(separator) and frame.iloc[:, -1].isna().all():
        options["index_col"] = False  # a separator at the end of each row but the first
        frame = _without_comments(pandas, path, pandas.read_csv(path, **options), options)
    elif frame.index.nlevels > 1 or not _are_labels(pandas, frame.index):
        raise LoadError(f"{path} has more values in a row than names of columns; name each, or {OWN_LOADER}")
    return _without_empty_end(frame, first, separator)


def _without_comments(pandas: Any, path: str, frame: Any, options: dict[str, Any]) -> Any:
    """Return a table without the rows that begin with `#`, where all others begin with a number."""
    has_labels = not isinstance(frame.index, pandas.RangeIndex)
    first = frame.index.to_series() if has_labels else frame.iloc[:, 0]
    if first.empty or pandas.api.types.is_numeric_dtype(first.dtype):
        return frame
    texts = first.dropna().astype(str)
    signs = texts.str.startswith("#")
    if not signs.any() or not _are_numbers(list(texts[~signs])):
        return frame
    with _opened(path) as file:
        lines = list(file)[options["skiprows"] :]
    kept = [line for i, line in enumerate(lines) if i == 0 or not line.startswith("#")]
    if len(lines) - len(kept) != signs.sum():
        return frame  # some are within the text of a row
    return pandas.read_csv(io.StringIO("".join(kept)), **options | {"skiprows": 0})


def _are_labels(pandas: Any, index: Any) -> bool:
    """Tell whether what stands before the first named column labels rows: text, or their numbers from 0 or 1."""
    if isinstance(index, pandas.RangeIndex) or not pandas.api.types.is_numeric_dtype(index.dtype) or index.empty:
        return True
    return index[0] in (0, 1) and index.tolist() == list(range(int(index[0]), int(index[0]) + len(index)))


def _refuse(path: str, why: str) -> NoReturn:
    raise LoadError(f"{path} does not tell what its first row is: {why}; write names, or {OWN_LOADER}")


def _beginning(path: str) -> tuple[list[str], str, str]:
    """Return the comments before the first row, that row, and the next."""
    comments: list[str] = []
    with _opened(path) as file:
        for line in file:
            if not line.startswith("#") and line.strip():
                return comments, line.rstrip("\n"), next(iter(file), "").rstrip("\n")
            comments.append(line.rstrip("\n"))
    return [], "", ""


def _opened(path: str) -> IO[str]:
    opened: Any = gzip.open if path.lower().endswith(".gz") else open
    file: IO[str] = opened(path, "rt", encoding="utf-8-sig", newline=None)
    return file


def _split(line: str, separator: str, without_end: bool = True) -> list[str]:
    if separator == r"\s+":
        return line.split()
    row = next(csv.reader([line], delimiter=separator), [])
    return [word.strip() for word in (row[:-1] if without_end and len(row) > 1 and not row[-1].strip() else row)]


def _are_numbers(words: Sequence[str]) -> bool:
    return bool(words) and all(map(_is_number, words))


def _is_number(word: str) -> bool:
    try:
        complex(word.replace("+-", "-"))  # as numpy writes complex numbers
    except ValueError:
        return False
    return True


def _without_empty_end(frame: Any, first: str, separator: str) -> Any:
    """Return a table without the column that a separator at the end of each row makes."""
    is_open = separator != r"\s+" and first.rstrip(" ").endswith(separator)
    if is_open and frame.shape[1] > 1 and frame.iloc[:, -1].isna().all():
        return frame.iloc[:, :-1]
    return frame


def _named(frame: Any, names: Sequence[str] | None) -> Any:
    if names is not None and len(names) == frame.shape[1]:
        frame.columns = list(names)
    return frame


# ---- written ----------------------------------------------------------------------------------------------------
def save_csv(value: object, path: str) -> None:
    """Write a table that is read as what it was."""
    table = as_frame(value)
    names = [str(name) for name in table.columns]
    if names and (names[0].startswith("#") or all(map(_is_complex, names))):
        raise Unfit("the names of its columns would be read as a comment, or as its first row")
    separator = "\t" if ".tsv" in os.path.basename(path).lower() else ","
    table.to_csv(path, sep=separator, index=False)
    check_written(path, table, read_csv)


def as_frame(value: object) -> Any:
    """Return a table as a data frame of pandas, of which a file without an index loses nothing."""
    table = as_table(value)
    if not is_from(table, "pandas.DataFrame"):
        table = table.to_pandas()
    if not isinstance(table.index, import_module("pandas").RangeIndex) or (table.index.start, table.index.step) != (
        0,
        1,
    ):
        raise Unfit("its index would be lost; make it a column by .reset_index()")
    return table


def check_written(path: str, table: Any, read: Reader) -> None:
    """Refuse a table, and remove its file, if that is read as another one."""
    try:
        import_module("pandas.testing").assert_frame_equal(read(path, None), table, check_exact=True)
    except (AssertionError, ValueError) as error:  # a LoadError is one
        os.unlink(path)
        reason = " ".join(str(error).split())
        raise Unfit(f"it would be read as something else ({reason:.200})") from None


def _is_complex(name: str) -> bool:
    try:
        complex(name)
    except ValueError:
        return False
    return True
