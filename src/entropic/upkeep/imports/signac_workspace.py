"""A workspace of signac as a source of results: JSON beside files, which is read here without signac itself."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from entropic.errors import ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled
from entropic.upkeep.imports.source import Found, NoResult, Unfit, renamed

_STATE_POINT, _DOCUMENT = "signac_statepoint.json", "signac_job_document.json"
_LARGEST = 2**26  # bytes of one of these


@dataclass(frozen=True)
class SignacWorkspace:
    """One file of each job of a signac project, for `Store.import_results`.

    ::

        store.import_results(SignacWorkspace("project", "out.npy"))

    State points become params; entries of the job documents that have the name of an outcome column fill it.

    Parameters
    ----------
    project
        Its folder, or that of its workspace; or the `signac.Project`.
    file
        The result of a job: the name of a file, or of a folder, in that of the job.
    columns
        The columns of entries of the state point that have another name, of inner ones by path, `{"box.n": "n"}`;
        None for one that is not a parameter here.
    """

    project: Any
    file: str
    columns: Mapping[str, str | None] = field(default_factory=dict)
    kind = "signac"
    keeps_pickles = False
    has_files = True

    def find(self, context: StoreContext[Base]) -> Iterator[Found | Unfit | NoResult]:
        """Yield the jobs of the workspace.

        Raises
        ------
        ParameterError
            If there is no such workspace.
        """
        folder = self._workspace()
        for job in sorted(os.listdir(folder)):
            path = os.path.join(folder, job)
            if not os.path.lexists(os.path.join(path, _STATE_POINT)):
                continue
            if os.path.islink(path):
                yield Unfit(
                    job, f"{path} is a link, and may lead out of the workspace; put what it leads to in its place"
                )
            else:
                yield self._job(os.path.realpath(path), job)

    def _workspace(self) -> str:
        given = getattr(self.project, "workspace", self.project)  # a property since signac 2, a method before
        try:
            top = os.path.abspath(os.fspath(given() if callable(given) else given))
        except TypeError:
            raise ParameterError(f"a workspace of signac is a folder, not {spelled(self.project)}") from None
        inside = os.path.join(top, "workspace")
        found = inside if os.path.isdir(inside) else top
        if not os.path.isdir(found):
            raise ParameterError(f"there is no folder {top} with a workspace of signac")
        return found

    def _job(self, path: str, job: str) -> Found | Unfit | NoResult:
        try:
            params = _flat(_json(path, _STATE_POINT), self.columns)
            document = _json(path, _DOCUMENT) if os.path.exists(os.path.join(path, _DOCUMENT)) else {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            return Unfit(job, f"what signac says of it cannot be read ({type(error).__name__}: {error})")
        file = os.path.join(path, self.file)
        real = os.path.realpath(file)
        if not real.startswith(path + os.sep):
            return Unfit(job, f"{file} leads out of the job; put what it leads to in its place")
        if not os.path.lexists(file):
            return NoResult(job, f"the job has no {self.file}")
        told = {"job": job, **({"document": json.loads(json.dumps(document), parse_constant=str)} if document else {})}
        return Found(name=job, params=params, path=real, outcomes=document, told=told)


def _json(folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, name)
    if os.path.realpath(path) != path or not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{name} is a link, or no file")
    with open(path, encoding="utf-8") as file:
        found = json.loads(file.read(_LARGEST))
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds no dict")
    return found


def _flat(point: dict[str, Any], columns: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the entries of a state point by column: of inner dicts, those that are named by path."""
    inner = {name: new for name, new in columns.items() if name not in point and "." in name}
    taken: dict[str, Any] = {}
    for path, column in inner.items():
        value: Any = point
        for part in path.split("."):
            value = value[part] if isinstance(value, dict) and part in value else _MISSING
        if value is not _MISSING and column is not None:
            taken[column] = value
    whole = {path.partition(".")[0] for path in inner}
    for name in whole & point.keys():
        _refuse_unnamed(point[name], name, columns)
    rest = {name: value for name, value in point.items() if name not in whole}
    return {**renamed(rest, dict(columns)), **taken}


def _refuse_unnamed(value: Any, path: str, columns: Mapping[str, str | None]) -> None:
    if path in columns:
        return
    if not isinstance(value, dict):
        raise ValueError(f"nothing says what its {path} is here; name it, or leave it out: columns={{{path!r}: None}}")
    for name, inner in value.items():
        _refuse_unnamed(inner, f"{path}.{name}", columns)


_MISSING = object()
