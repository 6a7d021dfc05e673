"""JSON and text, which need no library."""

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from entropic.formats.lossless import Unfit, a_value, is_array, is_labelled
from entropic.params.keys import plain


def read_json(path: str, _: Any) -> object:
    """Return what a JSON file holds."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_text(path: str, _: Any) -> str:
    """Return a text as it is, the ends of its lines included."""
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def save_json(value: object, path: str) -> None:
    """Write what JSON holds unchanged; dataclasses and named tuples as dicts."""
    text = json.dumps(as_json(value, "it"), ensure_ascii=False)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def as_json(value: object, where: str) -> Any:
    """Return a value of JSON's types that is read as what was returned."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    value = plain(value)
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        if isinstance(value, str):
            value.encode()
        return value
    if isinstance(value, Mapping) and not is_labelled(value):
        for name in value:
            if not isinstance(name, str):
                raise Unfit(f"{where} has the key {name!r:.80}, which would become text; JSON has only text as keys")
        return {str(name): as_json(inner, f"{where}[{name!r}]") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    hint = " (.tolist() makes a list of it)" if is_array(value) else ""
    raise Unfit(f"{where} is {a_value(value)}, which is not JSON{hint}")


def save_text(value: object, path: str) -> None:
    """Write text."""
    if not isinstance(value, str):
        raise Unfit("it takes text")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(value)
