"""What children do: a model, a runner that leaves a trace of each execution, and calls for the template to make."""

import json
import os
import time
import uuid
import warnings
from pathlib import Path

import faults
from peek import place_of

from databases import until
from entropic import Base, Mapped, ResultLostWarning, Store
from entropic.executors import attempt
from entropic.files import task
from entropic.provenance.code import code_of
from entropic.support import process
from entropic.sweep import claims, outbox
from entropic.upkeep.recover import recover

warnings.simplefilter("ignore", ResultLostWarning)  # results are lost on purpose
SUFFIX, SEVERAL = ".res", "/main.res"


class Point(Base):
    __tablename__ = "points"
    x: Mapped[int]


# What the runner does beside writing its result; see `behave`.
how = {"folder": "", "shape": "file"}
_stores = {}


def behave(folder, **more):
    """Set how the runner of this process behaves.

    shape: file, file+extra, folder, folder+extra, several (files, one of them the main).
    seconds: how long it takes. marker, until: a file that it makes once it runs, and one for which it waits then.
    raises: a message. only: the one x for which all that holds.
    company: it ends when that many processes have begun a run. free: how many runs of this process do not wait.
    """
    how.clear()
    how.update({"shape": "file", **more, "folder": folder})


def runner(params):
    content, folder = uuid.uuid4().hex, Path(how["folder"])
    note(folder, id=params["id"], x=params["x"], attempt=task.inside.get()[-1].attempt, content=content)
    if how.get("only", params["x"]) == params["x"]:
        if "marker" in how:
            faults.touch(how["marker"])
        if "company" in how:
            wait_for_company(folder, how["company"])
        how["begun"] = how.get("begun", 0) + 1
        if "until" in how and how["begun"] > how.get("free", 0):
            faults.wait_for(how["until"])
        time.sleep(how.get("seconds", 0.0))
        if "exits" in how:
            raise SystemExit("made by the test")
        if "raises" in how:
            raise ValueError(how["raises"])
    target = Path(params["result_file"])
    text = json.dumps({"x": params["x"], "content": content}) + "\n"
    if how["shape"].startswith("folder"):
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "data").write_text(text)
        target = target / "data"
    target.write_text(text)
    if how["shape"] == "several":
        target.with_name("part").write_text(text)
    if how["shape"].endswith("+extra"):
        Path(params["result_file"]).with_name("notes").write_text(text)


def note(folder, **what):
    """Append one line to the log of executions, in one write."""
    line = json.dumps({**what, "pid": os.getpid(), "at": time.time()}) + "\n"
    file = os.open(folder / "executions", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    os.write(file, line.encode())
    os.close(file)


def wait_for_company(folder, many):
    """Wait until so many processes have begun a run."""

    def pids():
        return {json.loads(line)["pid"] for line in Path(folder, "executions").read_text().splitlines()}

    until(lambda: len(pids()) >= many, f"{many} processes run")
    del how["company"]


def store(folder, timeout=30, **options):
    """Open the store in a folder."""
    folder, url = Path(folder), place_of(folder).with_options(timeout=timeout)
    suffix = SEVERAL if how["shape"] == "several" else SUFFIX
    return Store(runner, Point, folder / "results", suffix, url, **options)


def warm(folder):
    """Open a store once for all children to come; they find it as a process finds one that it opened long ago."""
    os.makedirs(folder, exist_ok=True)
    for shape in ("several", "file"):
        behave(folder, shape=shape)
        _stores[folder, shape == "several"] = store(folder)


def read_code():
    """Read what the runner reaches, as the first run of each process does; children inherit the files, parsed."""
    code_of(runner)


def opened(folder, **options):
    """Return the store that was open already, or open it."""
    found = _stores.get((folder, how["shape"] == "several"))
    return found if found is not None and not options else store(folder, **options)


def be_elsewhere(boot):
    """Make this process look as if it ran on another machine."""
    process._boot = lambda: boot
    process._identity = ""


def content_of(path):
    """Return the content of a result, or the reason why it is none."""
    path = Path(path)
    if path.is_dir():
        if sorted(p.name for p in path.iterdir()) != ["data", "sub"]:
            return "incomplete folder"
        texts = {(path / "data").read_text(), (path / "sub" / "data").read_text()}
        text = texts.pop() if len(texts) == 1 else "mixed folder"
    else:
        text = path.read_text()
        if path.name == SEVERAL[1:] and text != path.with_name("part").read_text():
            text = "mixed files"
    return json.loads(text)["content"] if text.rstrip(" ").endswith("\n") else f"damaged: {text!r}"


def seen(row):
    """Return what the test wants to know of a row."""
    if row is None:
        return None
    extras = sorted(Path(row.result_file).parent.glob(Path(row.result_file).name + ".*.files"))
    return {
        "id": row.id,
        "x": row.x,
        "content": content_of(row.result_file) if os.path.exists(row.result_file) else "no file",
        "file": row.result_file,
        "extras": [content_of(extra / "notes") for extra in extras],
        "custom": dict(row.custom_data),
    }


def prepare(folder, history, shape):
    """Make a store with a history: nothing yet, an earlier result, a lost one, one of another
    shape, one whose row was deleted, or a registered one."""
    os.makedirs(folder, exist_ok=True)
    Path(folder, "made").write_text(json.dumps({"x": 1, "content": "made elsewhere"}) + "\n")
    before = shape
    if history == "reshaped":
        before = "file" if shape.startswith("folder") else "folder"
    behave(folder, shape=before)
    made = opened(folder)
    if history == "registered":
        made.register({"x": 1}, f"{folder}/made")
    elif history != "first":
        file = made.run_or_retrieve({"x": 1}).result_file
        if history == "lost":
            os.rename(file, f"{folder}/lost")
        if history == "orphan":
            made.delete({"x": 1})


def do(made, operation, folder):
    """Perform one of the operations of the matrix; return the rows that came of it, or what else it returned."""
    if operation == "run_or_retrieve":
        return [seen(made.run_or_retrieve({"x": 1}))]
    if operation == "run":
        return [seen(made.run({"x": 1}, mark="forced"))]
    if operation == "failing run":
        behave(folder, raises="made by the test")
        try:
            made.run({"x": 1})
        except ValueError:
            return []
    if operation == "sweep":
        return [seen(row) for row in made.sweep([{"x": 1}, {"x": 2}, {"x": 3}])]
    if operation == "register":
        return [seen(made.register({"x": 1}, f"{folder}/made"))]
    if operation == "retrieve":
        return [seen(made.retrieve({"x": 1}))]
    if operation == "delete by gc":
        return any(one.kind == "result" for one in made.gc(x=1).removed)
    return made.delete({"x": 1}, remove_file=operation == "delete file")


def steadily():
    """Let operations pass the same steps however slow the machine is: only a sweep's end publishes, say."""
    attempt.MEASURABLE = float("inf")  # a plain run is one on a slow machine, too
    claims.CHUNK_SECONDS = outbox.PUBLISH_SECONDS = claims.RELEASE_SECONDS = 300.0


def suffer(folder, operation, shape, fault=None, trace=None, elsewhere=None, then=(), **options):
    """Perform an operation with a fault on its way; `then` others, if it is survived."""
    if elsewhere:
        be_elsewhere(elsewhere)
    behave(folder, shape=shape)
    steadily()
    made = opened(folder, **options)
    if fault or trace:
        faults.install(fault, trace)
    done = [do(made, one, folder) for one in (operation, *then)]
    return done[0] if not then else done


def endure(folder, operation, shape, fault, trace):
    """Perform an operation that is interrupted on its way, and then again, in the same process, as in a notebook."""
    behave(folder, shape=shape)
    steadily()
    made = opened(folder)
    passed = faults.install(fault, trace)
    try:
        do(made, operation, folder)
        return {"interrupted": False, "calls": passed.get("any call", 0)}
    except KeyboardInterrupt:
        pass
    executed = (Path(folder) / "executions").read_text().count("\n") if os.path.exists(f"{folder}/executions") else 0
    return {"interrupted": True, "executed": executed, "done": do(made, operation, folder)}


def follow(folder, operations, shape, fresh, timeout=30):
    """Perform operations after a crash, in a process that opened its store now or long ago; then check it."""
    behave(folder, shape=shape)
    made = store(folder, timeout) if fresh else opened(folder)
    done = [do(made, operation, folder) for operation in operations]
    recover(made._context)  # as the next open would
    report = made.check()
    claims_only = [name for name, found in report.kinds().items() if found] == ["dead_claims"]
    said = {"done": done, "check": "" if report.ok else str(report), "dead claims only": claims_only}
    left = report if report.ok else made.repair().left
    return {**said, "check after repair": "" if left.ok else str(left)}


def check(folder):
    """Return what a check of a store finds, empty if all is well."""
    report = store(folder).check()
    return "" if report.ok else str(report)


def toil(folder, operation, sets, shape="file", **behaviour):
    """Ask for many sets, in a sweep or one after the other."""
    os.makedirs(folder, exist_ok=True)
    behave(folder, shape=shape, **behaviour)
    made = store(folder)
    if operation == "sweep":
        return [seen(row) for row in made.sweep([{"x": x} for x in sets])]
    return [seen(made.run_or_retrieve({"x": x})) for x in sets]
