"""The application: which address answers what. All can only be read, and every page is at the same depth.

Addresses are relative in every page, so that a proxy may put a prefix before them that nobody here knows.
"""

import asyncio
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from entropic.errors import EntropicError, LoadError, ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import visible
from entropic.ui import limits, plots, record, result
from entropic.ui.columns import columns_of
from entropic.ui.python_snippet import lines_of
from entropic.ui.query import Given, Query, counts
from entropic.ui.scalars import columns_of_results

STATIC = Path(__file__).parent / "static"
PAGES = {
    "": "Runs",
    "explore": "Explore",
    "run": "Run",
    "compare": "Compare",
    "failures": "Failures",
    "progress": "Progress",
}
THREADS = 4  # that ask the database, and read files
LONGEST_QUERY = 8_000  # characters of an address
_MOST_COMPARED = 6

Answer = Callable[[StoreContext[Base], Given], Any]


def application(context: StoreContext[Base], source: Sequence[str] = ()) -> Starlette:
    """Return the application that shows a store; put a guard before it.

    Parameters
    ----------
    context
        Of a store that only looks.
    source
        The Python lines that make the store, as far as they are known.
    """
    limits.limit(context.database)
    pool = ThreadPoolExecutor(THREADS, "entropic-ui")
    answers: dict[str, Answer] = {
        "schema": _schema,
        "counts": lambda context, given: counts(context),
        "rows": lambda context, given: Query(context, given).page(),
        "points": lambda context, given: plots.points(Query(context, given)),
        "lines": lambda context, given: plots.lines(Query(context, given)),
        "grid": lambda context, given: plots.grid(Query(context, given)),
        "parallel": lambda context, given: plots.parallel(Query(context, given)),
        "script": lambda context, given: {"text": lines_of(Query(context, given), source or _UNKNOWN)},
        "run": _run,
        "result": lambda context, given: result.describe(context, _id(given)),
        "array": _array,
        "failures": lambda context, given: record.failures_of(context),
        "progress": lambda context, given: record.progress_of(context),
        "export": _export,
        "file": _file,
    }
    shell = (STATIC / "shell.html").read_text(encoding="utf-8")

    async def api(request: Request) -> Response:
        answer = answers.get(request.path_params["name"])
        if answer is None:
            return _refused(404, "there is nothing here")
        if len(request.url.query) > LONGEST_QUERY:
            return _refused(414, f"an address has at most {LONGEST_QUERY} characters")
        given = request.query_params.multi_items()
        return await asyncio.get_running_loop().run_in_executor(pool, _answered, answer, context, given)

    async def page(request: Request) -> Response:
        name = request.path_params.get("page", "")
        if name not in PAGES:
            return PlainTextResponse("there is no such page", 404)
        made = shell.replace("{{page}}", name or "runs").replace("{{title}}", PAGES[name])
        made = made.replace("{{early}}", "\n".join(_early(name, request.url.query)))
        return Response(made, media_type="text/html", headers={"cache-control": "no-store"})

    routes = [
        Route("/", page),
        Route("/favicon.ico", lambda _: FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")),
        Route("/api/{name}", api),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/{page}", page),
    ]
    return Starlette(routes=routes)


def _early(page: str, query: str) -> list[str]:
    """Return the links by which a browser fetches at once what a page asks for once its script runs."""
    script, data = '<link rel="preload" as="script" href="static/vendor/{}.min.js">', list[str]()
    links = []
    if page == "":
        links = [script.format("tabulator")]
        data = ["schema", "counts"] if query else ["rows?page=1&amp;size=100", "schema", "counts"]
    elif page == "explore":
        links = ['<link rel="modulepreload" href="static/charts.js">', script.format("echarts")]
        data = ["counts"] if "result." in query else ["schema", "counts"]
    return [*(f'<link rel="preload" as="fetch" crossorigin href="api/{one}">' for one in data), *links, ""]


_UNKNOWN = ["# store = ...  (the store that this page shows)"]


def _answered(answer: Answer, context: StoreContext[Base], given: Given) -> Response:
    """Return an answer, made in a thread that may wait for the database and for files."""
    limits.begin()
    try:
        made = answer(context, given)
    except (ParameterError, LookupError) as error:
        return _refused(400 if isinstance(error, ParameterError) else 404, str(error))
    except (result.Unshowable, LoadError) as error:
        return _refused(404, str(error))
    except Exception as error:
        if limits.too_slow(error, context.database):
            return _refused(503, f"this took the database longer than {limits.SECONDS:g} s; filter more")
        if isinstance(error, EntropicError | OSError | ImportError | context.database.driver_error):
            return _refused(503, str(error))
        raise
    finally:
        context.database.free_connection()  # to a server
    if isinstance(made, Response):
        return made
    headers = {"cache-control": "no-store"}
    if isinstance(made, bytes):
        return Response(made, media_type="application/octet-stream", headers=headers)
    return JSONResponse(made, headers=headers)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": visible(why)[:1_000]}, status, headers={"cache-control": "no-store"})


def _schema(context: StoreContext[Base], given: Given) -> dict[str, Any]:
    columns = [*columns_of(context).values(), *(columns_of_results(context) if "results" in dict(given) else ())]
    return {
        "model": visible(context.schema.name),
        "columns": [column.told() for column in columns],
        "database": visible(str(context.database)),
        "results": visible(context.staging.results_dir),
    }


def _id(given: Given) -> str:
    id = dict(given).get("id", "")
    if not id or len(id) > 2_000:
        raise ParameterError("the request names no run, as id=")
    return id


def _run(context: StoreContext[Base], given: Given) -> dict[str, Any]:
    found = record.run_of(context, _id(given))
    if found is None:
        raise LookupError("nothing is stored, running or failed under this id")
    return found


def _array(context: StoreContext[Base], given: Given) -> bytes:
    asked = dict(given)
    told, values = result.slice_of(context, _id(given), asked.get("array", ""), asked.get("at", ""))
    text = json.dumps(told).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text + (b"" if values is None else values.tobytes())


def _export(context: StoreContext[Base], given: Given) -> Response:
    query = Query(context, given)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", context.schema.name)[:80]
    headers = {"content-disposition": f'attachment; filename="{name}.csv"', "cache-control": "no-store"}
    return StreamingResponse(query.csv(), media_type="text/csv; charset=utf-8", headers=headers)


def _file(context: StoreContext[Base], given: Given) -> Response:
    """Give a result as it is: a picture to be drawn, anything else to be saved, and never to be opened here."""
    path = result.path_of(context, _id(given))
    if not os.path.isfile(path):
        raise result.Unshowable("it is a folder; look into it at the place that is given above")
    suffix = os.path.splitext(path)[1].lower()
    kind = result.PICTURES.get(suffix)
    headers = {"cache-control": "no-store", "content-security-policy": "sandbox"}
    if kind is not None and "save" not in dict(given):
        return FileResponse(path, media_type=kind, headers=headers)
    name = os.path.basename(path)
    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)
