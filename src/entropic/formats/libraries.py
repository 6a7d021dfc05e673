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
        missing = error.name or module
        raise LibraryMissingError(
            f"{what} needs {missing.partition('.')[0]}, which cannot be imported ({error}): "
            f"pip install 'entropic[{extra}]'",
            name=missing,
        ) from error
