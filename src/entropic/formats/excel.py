"""Excel: the sheets of a workbook as data frames, of which text that looks like "not available" stays text."""

import zipfile
from functools import partial
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.bounds import OWN_LOADER


def read_excel(path: str, _: Any) -> object:
    """Return a data frame; of several sheets, a dict of them. Columns without names are called 0, 1, 2 and so on."""
    pandas, openpyxl = import_module("pandas"), import_module("openpyxl")
    _check_formulas(openpyxl, path)
    with open(path, "rb") as file, pandas.ExcelFile(file, engine="openpyxl") as book:
        read = partial(pandas.read_excel, book)
        sheets = {str(name): _read(read, path, name) for name in book.sheet_names}
    return next(iter(sheets.values())) if len(sheets) == 1 else sheets


def _read(read: Any, path: str, name: Any) -> Any:
    # What pandas takes for missing besides an empty cell is the names of elements, countries and people.
    options = {"sheet_name": name, "keep_default_na": False, "na_values": [""]}
    first = list(read(nrows=1, header=None, **options).itertuples(index=False, name=None))
    cells = [cell for row in first for cell in row if not isinstance(cell, float) or cell == cell]
    has_names = any(isinstance(cell, str) for cell in cells) or not cells
    if not has_names and len(set(cells)) == len(cells) and all(float(cell).is_integer() for cell in cells):
        raise LoadError(
            f"{path} does not tell what the first row of {name!r} is: whole numbers may be names, such as years, or "
            f"the first row of a table without names; write names, or {OWN_LOADER}"
        )
    return read(header=0 if has_names else None, **options)


def _check_formulas(openpyxl: Any, path: str) -> None:
    """Refuse formulas that no program has computed yet: their cells look empty."""
    with zipfile.ZipFile(path) as archive:
        sheets = [archive.read(name) for name in archive.namelist() if name.startswith("xl/worksheets/")]
    if not any(b"<f>" in sheet or b"<f " in sheet for sheet in sheets):
        return
    with open(path, "rb") as file, open(path, "rb") as again:
        formulas, values = openpyxl.load_workbook(file), openpyxl.load_workbook(again, data_only=True)
    for sheet in formulas.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type == "f" and values[sheet.title][cell.coordinate].value is None:
                    raise LoadError(
                        f"{path} holds a formula in {sheet.title!r}, {cell.coordinate}, without its value; "
                        f"write the values, or open and save it in a spreadsheet program first, or {OWN_LOADER}"
                    )
