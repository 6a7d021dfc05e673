"""Libraries that are not always there: imported when they are needed, and missed by name."""

import importlib
from typing import Any

from entropic.errors import LibraryMissingError


def library(module: str, extra: str, what: str) -> Any:
    """Return a module.

    Raises
    ------
    LibraryMissingError
        With what needs it, and the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(error, extra, what, module) from error


def missing(error: ImportError, extra: str, what: str, module: str = "a library") -> LibraryMissingError:
    """Return the error of what lacks a library, which names the extra that brings it."""
    name = error.name or module
    return LibraryMissingError(
        f"{what} needs {name.partition('.')[0]}, which cannot be imported ({error}): pip install 'entropic[{extra}]'",
        name=name,
    )
