"""Files that may be pickles: they are told by their names, and never opened."""

import os
from typing import Any, NoReturn

from entropic.errors import LoadError
from entropic.formats.bounds import OWN_LOADER

_OF_TORCH = (".pt", ".pth", ".ckpt")
SUFFIXES = (*_OF_TORCH, ".pkl", ".pickle", ".p", ".joblib", ".dill")


def refuse_pickle(path: str, _: Any) -> NoReturn:
    """Refuse a file by its name, and say what to write instead.

    Raises
    ------
    LoadError
        Always.
    """
    instead = ".safetensors" if os.path.splitext(path)[1].lower() in _OF_TORCH else ".npz, .h5 or .json"
    raise LoadError(
        f"{path} may be a pickle, which is not read, since reading it can run any code; write "
        f"{instead}, or {OWN_LOADER}"
    )
