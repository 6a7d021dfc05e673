"""What a model says in its class body, and what to write instead of what SQLAlchemy does not understand."""

import inspect
import re
from typing import Any

_WORDS = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OBJECTS = "mapped_column(JSON) for lists, dicts and numbers, or mapped_column(PickleType) for other objects"
# Of a type that no column has by itself: what to write instead.
_INSTEAD = {
    "Path": "write {name}: Mapped[str], and pass str(path)",
    "PosixPath": "write {name}: Mapped[str], and pass str(path)",
    "PurePath": "write {name}: Mapped[str], and pass str(path)",
    "complex": "write two columns, Mapped[float] each, or {name}: Mapped[str], and pass str(value)",
    "ndarray": "write {name}: Mapped[list] for a small one, and pass .tolist() of it; else Mapped[str] for its name",
    "DataFrame": "write {name}: Mapped[str] for its name or checksum, and let the runner load it",
    "tuple": "write {name}: Mapped[list]; tuples are stored as lists",
    "set": "write {name}: Mapped[list], and pass sorted(...) of it",
    "frozenset": "write {name}: Mapped[list], and pass sorted(...) of it",
    "int | float": "write {name}: Mapped[float], which takes both",
    "float | int": "write {name}: Mapped[float], which takes both",
}


def table_name_of(model: str) -> str:
    """Return the name of the table of a class that names none: `SimResult` has `sim_result`."""
    return _WORDS.sub("_", model).lower()


def what_to_write(model: type[Any], error: Exception) -> str | None:
    """Return what to write for the annotation that SQLAlchemy did not take; None if that is not known."""
    annotations = {name: _text(one) for name, one in inspect.get_annotations(model).items()}
    where = f"{model.__name__} says"
    attribute = re.search(r"(?:for|inside) the '(\w+)' attribute", str(error))
    if attribute is not None and attribute[1] in annotations:
        name, text = attribute[1], annotations[attribute[1]]
        inner = re.sub(r" \| None$", "", text.partition("[")[2].removesuffix("]"))
        kind = re.sub(r"\[.*", "", inner).rpartition(".")[2] if "|" not in inner else inner
        instead = _INSTEAD.get(kind, f"write {{name}}: Mapped[...] = {_OBJECTS}").format(name=name)
        return f"{where} {name}: {text}, for which there is no type of column; {instead}"
    for name, text in annotations.items():
        if not re.search(r"Mapped\[|ClassVar|Final", text) and f"{name}" in str(error):
            return f"{where} {name}: {text}; write {name}: Mapped[{text}], which makes it a column"
    if "resolve all types" in str(error):
        unknown = [f"{name}: {text}" for name, text in annotations.items() if text in str(error)]
        return (
            f"{where} {unknown[0] if unknown else 'something'} whose type cannot be found; import it at the top of the "
            "module, or define it there, not inside of a function"
        )
    return None


def _text(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    written = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", written.replace("<class '", "").replace("'>", ""))
