"""Templates: files that are filled from the params of a run, by Jinja2, before its program starts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entropic.errors import ParameterError
from entropic.formats.libraries import library


class Template:
    """A file that is filled from the params."""

    def __init__(self, path: str | Path) -> None:
        self.path = os.path.abspath(path)
        try:
            self.text = Path(self.path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"the template {self.path} cannot be read: {error}") from None
        self.names = self._undeclared()

    def _environment(self) -> Any:
        jinja = library("jinja2", "command", "a template")
        loader = jinja.FileSystemLoader(os.path.dirname(self.path))
        return jinja.Environment(undefined=jinja.StrictUndefined, keep_trailing_newline=True, loader=loader)

    def _undeclared(self) -> list[str]:
        """Return the names that it needs; not those that it asks about first, by `is defined` or `default`."""
        environment = self._environment()
        nodes, meta = library("jinja2.nodes", "command", "a template"), library("jinja2.meta", "command", "a template")
        try:
            parsed = environment.parse(self.text)
        except library("jinja2", "command", "a template").TemplateSyntaxError as error:
            raise ParameterError(
                f"the template {self.path} is not valid Jinja2: {error}, in line {error.lineno}"
            ) from None
        asked = {
            one.node.name
            for one in parsed.find_all((nodes.Test, nodes.Filter))
            if one.name in ("defined", "undefined", "default", "d") and isinstance(one.node, nodes.Name)
        }
        return sorted(meta.find_undeclared_variables(parsed) - asked - set(environment.globals))

    def write(self, path: str, values: Mapping[str, Any]) -> None:
        """Write it, filled."""
        try:
            text: str = self._environment().from_string(self.text).render(values)
        except Exception as error:
            raise ParameterError(
                f"the template {self.path} cannot be filled: {error}; the program was not started"
            ) from error
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
