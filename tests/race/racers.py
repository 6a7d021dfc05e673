"""What the children of these tests do, and how a test waits for them."""

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings

import faults
import work

import entropic


def said_of(error):
    return {
        "type": type(error).__name__,
        "text": str(error),
        "failure": getattr(error, "failure", None),
        "traceback": "".join(traceback.format_exception(error)),
    }


def ask(folder, operation="run_or_retrieve", trace=None, fault=None, elsewhere=None, options=None, **behaviour):
    """Perform one operation; return its row or its error."""
    if elsewhere:
        work.be_elsewhere(elsewhere)
    work.behave(folder, **behaviour)
    made = work.store(folder, **(options or {}))
    if fault or trace:
        faults.install(fault, trace)
    try:
        done = work.do(made, operation, folder)
    except BaseException as error:
        return {"row": None, "error": said_of(error), "ended": time.time()}
    row = done[0] if isinstance(done, list) else done
    return {"row": row, "error": None, "ended": time.time()}


def at_the_gate(folder):
    """Wait until the test says go, so that all begin together."""
    faults.touch(f"{folder}/ready-{os.getpid()}")
    faults.wait_for(f"{folder}/go")


def toil(folder, operation, sets, **behaviour):
    """As `work.toil`, together with others."""
    os.makedirs(folder, exist_ok=True)
    work.behave(folder, **behaviour)
    made = work.store(folder)
    at_the_gate(folder)
    if operation == "sweep":
        return [work.seen(row) for row in made.sweep([{"x": x} for x in sets])]
    return [work.seen(made.run_or_retrieve({"x": x})) for x in sets]


def threads(folder, count, sets, in_memory=False):
    """Let many threads ask one store for the same sets; return what each got."""
    work.behave(folder)
    made = work.Store(work.runner, work.Point, f"{folder}/results", db_url="sqlite://") if in_memory else None
    made = made or work.store(folder)
    start, got, errors = threading.Barrier(count), {}, []

    def one(number):
        order = random.Random(number).sample(sets, len(sets))
        start.wait()
        try:
            got[number] = {x: work.seen(made.run_or_retrieve({"x": x})) for x in order}
        except BaseException as error:
            errors.append(said_of(error)["traceback"])

    all_ = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()
    assert not errors, errors
    report = made.check()
    return {"got": list(got.values()), "check": "" if report.ok else str(report)}


# ---- forks -------------------------------------------------------------------------------------------------------
def forks(folder, count, sets, busy=False):
    """Fork a process whose store is open (and, if `busy`, in use by other threads), and work on in all of them."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: fork beside threads
    work.behave(folder)
    made = work.store(folder)
    made.run_or_retrieve({"x": sets[0]})
    stop, own = threading.Event(), []

    def keep_busy():
        for x in range(10_000, 20_000):
            if stop.is_set():
                return
            own.append(made.run_or_retrieve({"x": x}).x)

    beside = [threading.Thread(target=keep_busy)] if busy else []
    for thread in beside:
        thread.start()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            _as_child(made, sets)
        pids.append(pid)
    rows = [made.run_or_retrieve({"x": x}) for x in sets]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    stop.set()
    for thread in beside:
        thread.join()
    return {"statuses": statuses, "x": [row.x for row in rows], "own": own}


def _as_child(made, sets):
    status = 1
    try:
        rows = [made.run_or_retrieve({"x": x}) for x in random.Random(os.getpid()).sample(sets, len(sets))]
        status = 0 if all(os.path.exists(row.result_file) for row in rows) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        entropic.files.workspace.retire()
        sys.stderr.flush()
        os._exit(status)


def pool(folder, count, sets):
    """Let a pool of forked processes use the store that their parent opened."""
    global _made
    work.behave(folder)
    _made = work.store(folder)
    _made.run_or_retrieve({"x": sets[0]})
    with multiprocessing.get_context("fork").Pool(count) as workers:
        rows = workers.map(_one_of_pool, sets * count, chunksize=1)
        workers.close()
        workers.join()
    return rows


def _one_of_pool(x):
    return work.seen(_made.run_or_retrieve({"x": x}))


# ---- runners of their own ----------------------------------------------------------------------------------------
def hold_the_gil(folder, seconds, marker, options):
    """Run something that lets no other thread of this process do anything."""
    work.behave(folder)
    made = work.store(folder, **options)
    plain = made._context.runner

    def runner(params):
        plain(params)
        faults.touch(marker)
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))

    object.__setattr__(made._context, "runner", runner)
    return work.seen(made.run_or_retrieve({"x": 1}))


def sweep_until(folder, sets, lease, elsewhere=None, **behaviour):
    """Sweep with a last set that behaves, and publish nothing before it ends."""
    if elsewhere:
        work.be_elsewhere(elsewhere)
    work.behave(folder, only=sets[-1], **behaviour)
    work.steadily()
    return [work.seen(row) for row in work.store(folder, lease=lease).sweep([{"x": x} for x in sets])]


def need(folder, first, needs, begun=None, others=None):
    """Run a set whose runner asks for others: `needs` says which, and `others` whose beginning it awaits first."""
    work.behave(folder)
    made = work.store(folder)
    plain = made._context.runner
    needs = {int(x): wanted for x, wanted in needs.items()}

    def runner(params):
        plain(params)
        if begun and params["x"] == first:
            faults.touch(begun)
            faults.wait_for(others)
        for x in needs.get(params["x"], []):
            made.run_or_retrieve({"x": x})

    object.__setattr__(made._context, "runner", runner)
    try:
        return {"row": work.seen(made.run_or_retrieve({"x": first})), "error": None}
    except Exception as error:
        return {"row": None, "error": said_of(error)}


def churn(folder, seconds, seed, sets, shape):
    """Delete and ask for the same few sets in a loop; return how often a row had no file, or a wrong one."""
    dice = random.Random(seed)
    work.behave(folder, shape=shape)
    made = work.store(folder)
    at_the_gate(folder)
    wrong, count, deadline = [], 0, time.monotonic() + seconds
    while time.monotonic() < deadline or count < 10:
        x = dice.choice(sets)
        count += 1
        if dice.random() < 0.4:
            made.delete({"x": x}, remove_file=True)
            continue
        row = made.run({"x": x}) if dice.random() < 0.1 else made.run_or_retrieve({"x": x})
        if row.x != x:
            wrong.append(f"asked for {x}, got {row.x}")
    return {"wrong": wrong, "count": count}


def bear_interrupts(folder, operation, until, shape="file"):
    """Ask for ever new sets, and go on after each Ctrl-C, as in a notebook; return what else came out."""
    work.behave(folder, shape=shape, seconds=0.001)
    made = work.store(folder)
    signal.signal(signal.SIGINT, _interrupt_a_call)
    faults.touch(f"{folder}/ready-{os.getpid()}")
    said = {"interrupts": 0, "errors": [], "asked": 0}
    while not os.path.exists(until) and len(said["errors"]) < 3:
        try:
            _ask_next(made, operation, said)
            faults.touch(f"{folder}/asked")
        except KeyboardInterrupt:
            said["interrupts"] += 1
        except Exception as error:
            said["errors"].append(said_of(error)["traceback"])
    return said


def _interrupt_a_call(_number, frame):
    """Raise as Python does, but only inside of the call under test: the loop around it has no place to catch it."""
    while frame is not None:
        if frame.f_code is _ask_next.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back


def _ask_next(made, operation, said):
    first, many = said["asked"], 20 if operation == "sweep" else 1
    if operation == "sweep":
        made.sweep([{"x": x} for x in range(first, first + many)])
    else:
        getattr(made, operation)({"x": first})
    said["asked"] = first + many
