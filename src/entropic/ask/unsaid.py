"""The options of `select` and the like, which a column may be called like."""

from collections.abc import Mapping
from typing import Any

from entropic.errors import ParameterError
from entropic.params.model import Schema
from entropic.support.show import spelled


class Unsaid:
    """The default of an option that a column may be called like: it tells whether the option was given."""

    def __init__(self, default: object) -> None:
        self.default = default

    def __repr__(self) -> str:
        return repr(self.default)


def options(schema: Schema, given: Mapping[str, object], equal: dict[str, Any]) -> list[Any]:
    """Return the values of options; take from `equal` those that are written with a `_` at the end.

    Raises
    ------
    ParameterError
        If a name may be an option or a column: the wrong guess would show, or remove, other rows.
    """
    columns, found = set(schema.attributes.values()), []
    for name, value in given.items():
        if not isinstance(value, Unsaid) and name in columns:
            raise ParameterError(
                f"{name}={spelled(value)} may mean the column of {schema.name} or the option; for the column write "
                f"{{{name!r}: {spelled(value)}}} among the conditions, or {schema.name}.{name} == ..., and for the "
                f"option {name}_=. Nothing was done"
            )
        other = f"{name}_"
        if isinstance(value, Unsaid):
            value = equal.pop(other) if other in equal and other not in columns else value.default
        found.append(value)
    return found
