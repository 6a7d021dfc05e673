"""Interrupts at every point of a call where Python looks for signals: there, and nowhere else, a Ctrl-C comes out.

Python looks for them when a function begins, after each call of one, and when a loop turns back. A tracer counts these
points of the library and raises at the n-th. A point whose exception Python itself would hand to another handler than
a tracer's is left out: such is the end of a `with`, on which the library relies where the manager is C's.
"""

import contextlib
import dis
import faulthandler
import gc
import itertools
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from pathlib import Path

import work
from peek import executions, place_of

import entropic
from databases import until
from entropic import CycleError, DatabaseBusy
from entropic.db import connection as connections
from entropic.db import server
from entropic.db.claim_record import RUNNING
from entropic.db.engine import Database
from entropic.files import task, workspace
from entropic.support import forks, process
from entropic.support.forks import living
from entropic.upkeep.recover import recover

ROOT = os.path.dirname(entropic.__file__) + os.sep
ROOMS = tuple(ROOT + room + os.sep for room in ("protocol", "db", "sweep", "files", "executors", "upkeep"))
SECONDS = 20.0  # none of these calls takes that long, however busy the machine is


class Points:
    """Traces this thread; at the points whose numbers are given it does something, if only an interrupt."""

    def __init__(self, at=(), act=None, rooms=ROOMS, beginnings=False):
        self.passed, self._at, self._act, self._looks = [], set(at), act or interrupt, {}
        self._rooms, self._beginnings = rooms, beginnings

    def __enter__(self):
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        sys.settrace(None)

    def go_on(self, frame, *_):
        """Trace these frames, too, or again: Python has ended that when the trace function raised."""
        if sys.gettrace() is None:
            while frame is not None:  # before this thread is traced: Python does not bear a tracer of the tracer
                frame.f_trace = self._enter(frame)
                frame = frame.f_back
            sys.settrace(self._enter)

    def _enter(self, frame, event=None, _arg=None):
        if not frame.f_code.co_filename.startswith(self._rooms):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        looks, last = self._looks_of(frame.f_code), None
        if self._beginnings and event == "call":  # of which some versions of Python tell no more than this
            last = frame.f_lasti

        def each(frame, event, _arg):
            nonlocal last
            if event == "opcode":
                before, last = last, frame.f_lasti
                if last in looks.get(before, ()):
                    self._pass(frame)
            elif event == "exception":
                last = None
            return each

        return each

    def _looks_of(self, code):
        """Return the instructions behind which Python looks for signals, and behind each what has the same handler."""
        if code not in self._looks:
            handlers = {}
            for entry in dis._parse_exception_table(code):
                handlers |= dict.fromkeys(range(entry.start, entry.end, 2), entry.target)
            alike = {}
            for one in dis.get_instructions(code):
                alike.setdefault(handlers.get(one.offset), set()).add(one.offset)
            self._looks[code] = {
                one.offset: alike[handlers.get(one.offset)]
                for one in dis.get_instructions(code)
                if one.opname == "RESUME" or one.opname.startswith("CALL") or "BACKWARD" in one.opname
            }
        return self._looks[code]

    def _pass(self, frame):
        code = frame.f_code
        self.passed.append(f"{code.co_filename.removeprefix(ROOT)}:{frame.f_lineno} {code.co_name}")
        if len(self.passed) in self._at:
            if len(self.passed) < max(self._at):
                sys.setprofile(self.go_on)
            self._act()


def interrupt():
    raise KeyboardInterrupt


# ---- what is interrupted -----------------------------------------------------------------------------------------
def store_it(made, x):
    made.run_or_retrieve({"x": x})


def nothing(made, x):
    pass


def register(made, x):
    return made.register({"x": x}, f"{work.how['folder']}/made").x


CASES = {  # what comes before, the call, and how many sets it may run
    "hit": (store_it, lambda made, x: made.run_or_retrieve({"x": x}).x, 0),
    "retrieve": (store_it, lambda made, x: made.retrieve({"x": x}).x, 0),
    "select": (store_it, lambda made, x: [row.x for row in made.select(x=x)], 0),
    "miss": (nothing, lambda made, x: made.run_or_retrieve({"x": x}).x, 1),
    "forced run": (store_it, lambda made, x: made.run({"x": x}).x, 1),
    "sweep": (nothing, lambda made, x: [row.x for row in made.sweep([{"x": x + i} for i in range(3)])], 3),
    "register": (nothing, register, 0),
    "delete": (store_it, lambda made, x: made.delete({"x": x}, remove_file=True), 0),
    "gc": (store_it, lambda made, x: bool(made.gc(x=x).removed), 0),
}


def interrupt_each(folder, case, second=0, part=0, parts=1):
    """Play a case once for each point that it passes, of this part of all; return what was wrong.

    With a `second`, another interrupt comes so many points after the first one, in the midst of the tidying.
    """
    work.behave(folder)
    Path(folder, "made").write_text("{}\n")
    before, act, runs = CASES[case]
    made, numbers, faults, played = work.store(folder), itertools.count(1000, 10), [], 0
    made.run_or_retrieve({"x": 0})  # for other threads to ask for
    for _ in range(2):  # what is made once is made by the first
        x = next(numbers)
        before(made, x)
        with Points() as points:
            act(made, x)
    chosen = first_times(points.passed)[part::parts]
    for n in chosen:
        faulthandler.dump_traceback_later(50, exit=True)
        x = next(numbers)
        before(made, x)
        faults += play(made, act, x, runs, [n, n + second], case == "forced run")
        played += 1
        if len(faults) > 20:
            break
    recover(made._context)  # as the next open would
    left = made.check() if second == 0 else made.repair().left
    faults += [] if left.ok else [str(left)]
    return {"points": len(points.passed), "played": played, "faults": faults}


def first_times(passed):
    """Return the numbers of the points at which each place is passed for the first and for the second time."""
    seen = {}
    for n, where in enumerate(passed, 1):
        seen.setdefault(where, []).append(n)
    return sorted(n for numbers in seen.values() for n in numbers[:2])


def play(made, act, x, runs, at, forced):
    """Interrupt a call, and do it again; return what was wrong."""
    folder, wanted = work.how["folder"], range(x, x + max(runs, 1))
    earlier = len(executions(folder))
    raised = None
    try:
        with Points(at) as points:
            act(made, x)
    except KeyboardInterrupt as error:  # which is kept, as a notebook does, with all frames that it holds
        raised = error
    faults = disorder(made)
    if at[0] == at[-1]:  # what is finished, and lacks just its publication, a sweep publishes on the way out
        held = [one for one in made._context.ledger.pending().values() if one.state == RUNNING]
        held = [one for one in held if runs > 1 or not made._context.is_finished(one.id, one.attempt)]
        faults += [f"another machine would wait for {one.id}" for one in held]
    if raised is None and len(points.passed) >= at[0]:
        faults.append("the interrupt did not come out")
    ran, done = len(executions(folder)) - earlier, sum(is_done(made, one) for one in wanted)
    act(made, x)
    more = len(executions(folder)) - earlier - ran
    owed = runs if forced else runs - done if runs else 0
    if more != owed:
        faults.append(f"{done} of {runs} sets were finished, and {more} were run again")
    faults += disorder(made)
    del raised
    gc.collect()  # a workspace that was on its way to a run may be part of a circle of frames
    workers = {space.worker.name for spaces in workspace._free.values() for space in spaces}
    calls = {
        name for name, found in list(process._calls.items()) if (call := found()) and call.under_way.locked()
    } - workers
    if calls:
        faults.append(f"calls seem to go on: {calls}")
    struck = [where for n, where in enumerate(points.passed, 1) if n in at]
    return [f"at {' and '.join(struck)}: {one}" for one in faults]


def is_done(made, x):
    """Whether a set has a row, or a finished attempt that lacks just its publication."""
    context = made._context
    id = context.hasher({"x": x})
    claim = context.ledger.find(id)
    return context.rows.read(id) is not None or (claim is not None and context.is_finished(id, claim.attempt))


def disorder(made):
    """Return what an interrupt has left that would outlive its call."""
    context, faults = made._context, []
    if context.database.mine.connection.in_transaction or any(one.in_use() for one in living(connections._open)):
        faults.append("a connection is still in use")
    if task.inside.get():
        faults.append("this thread still seems to be inside of a run")
    alive = [
        claim.id
        for claim in context.ledger.pending().values()
        if not claim.dead and not context.is_finished(claim.id, claim.attempt)
    ]
    if alive:
        faults.append(f"claims are held: {alive}")
    # (What renews for a server forgets them with the next claim.)
    keeper = getattr(context.lease_keeper, "_thread", None)
    if not context.database.is_shared and (keeper.renew() or keeper._attempts):
        faults.append(f"leases are renewed: {keeper._attempts}")
    if connections._inside is not None or forks._turn._is_owned():
        faults.append("a fork seems to go on")
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(made.run_or_retrieve({"x": 0}).x), daemon=True)
    thread.start()
    thread.join(SECONDS)
    if elsewhere != [0]:
        faults.append("another thread cannot use the store")
    return faults


# ---- the end of a session ----------------------------------------------------------------------------------------
WAITS = {"postgresql": "psycopg.waiting.wait", "mysql": "pymysql.connections.Connection._read_bytes"}


def interrupt_each_end(folder, answer, answered):
    """Interrupt a transaction in an answer of the server, and again at each point that follows; return what was wrong.

    After that, nobody may have to wait for a lock, and each question must get its own answer.
    """
    place, faults, interrupts = place_of(folder), [], 0
    place.execute("CREATE TABLE counter (n BIGINT)")
    place.execute("INSERT INTO counter VALUES (0)")
    database = Database(place.with_options(timeout=SECONDS))
    name = database.url.get_backend_name()
    driver = pkgutil.resolve_name(WAITS[name].partition(".")[0]).__file__.removesuffix("__init__.py")
    rooms = (ROOMS[1], driver, weakref.__file__, contextlib.__file__)
    server.IDLE_SECONDS = 0.1

    def play(n):
        """Interrupt it at the n-th point, after the first interrupt; return all points that were passed."""
        nonlocal interrupts
        assert database.connection().fetch("SELECT 0")[0][0] == 0  # there is a session
        points, raised = Points([n], rooms=rooms, beginnings=True), None
        with interrupted_at(WAITS[name], answer, answered, points):
            try:
                database.transact(count_on)
            except KeyboardInterrupt as error:
                raised = error  # which is kept, as a notebook does, with all frames that it holds
            finally:
                points.__exit__()
        interrupts += raised is not None
        where = f"after {len(points.passed)} points, at {points.passed[-1]}"
        for use in (lambda: others_count_on(place), lambda: database.transact(count_on))[:: 1 if n % 2 else -1]:
            try:
                use()
            except Exception as error:
                faults.append(f"{where}: {error!r}")
        if (got := database.connection().fetch(f"SELECT {n}")[0][0]) != n:
            faults.append(f"{where}: {got} was the answer to another question")
        return points.passed

    for n in first_times(play(0)):
        faulthandler.dump_traceback_later(50, exit=True)
        play(n)
        if faults:
            break
    faulthandler.cancel_dump_traceback_later()
    try:
        until(lambda: not place.sessions(), "nobody is connected", SECONDS)
    except AssertionError as error:
        faults.append(str(error))
    return {"interrupts": interrupts, "faults": faults}


@contextlib.contextmanager
def interrupted_at(place, answer, answered, points):
    """Interrupt the wait for an answer of the server, and from there on look for the points."""
    owner, _, name = place.rpartition(".")
    wait, left = pkgutil.resolve_name(place), itertools.count()

    def patched(*given, **options):
        if threading.current_thread() is not threading.main_thread() or next(left) != answer:
            return wait(*given, **options)
        if answered:
            wait(*given, **options)
        points.go_on(sys._getframe(1))
        raise KeyboardInterrupt

    setattr(pkgutil.resolve_name(owner), name, patched)
    try:
        yield
    finally:
        setattr(pkgutil.resolve_name(owner), name, wait)


def count_on(connection):
    """Lock the only row, and count on."""
    ((n,),) = connection.execute("SELECT n FROM counter FOR UPDATE").fetchall()
    connection.execute("UPDATE counter SET n = %s", (n + 1,))


def others_count_on(place):
    """Change the only row, whoever has locked it a moment ago."""
    limit = {"postgresql": "SET lock_timeout = 20000", "mariadb": "SET innodb_lock_wait_timeout = 20"}
    with contextlib.closing(place.connect()) as base, contextlib.closing(base.cursor()) as cursor:
        cursor.execute(limit[place.kind])
        cursor.execute("UPDATE counter SET n = n + 1")


# ---- what interrupts, and uses the store itself ------------------------------------------------------------------
def read(made, x):
    """Read in three ways what is stored; return what does not come out as it should."""
    got = [[made.retrieve({"x": 0})], made.select(x=0), [made.run_or_retrieve({"x": 0})]]
    return [f"{rows} was read" for rows in got if [row and row.x for row in rows] != [0]]


def run_another(made, x):
    """Run something else, which may be refused for the moment."""
    try:
        return [] if made.run_or_retrieve({"x": -x}).x == -x else ["another row"]
    except DatabaseBusy as error:
        return [] if "the very call that was interrupted here" in str(error) else [f"{error}"]


def run_the_same(made, x):
    """Ask for what the interrupted call is about."""
    try:
        return [] if made.run_or_retrieve({"x": x}).x == x else ["another row"]
    except CycleError:
        return []
    except DatabaseBusy as error:
        return [] if "the very call that was interrupted here" in str(error) else [f"{error}"]


USES = {"reads": read, "runs another": run_another, "runs the same": run_the_same}


def reenter_each(folder, case, use, part=0, parts=1, in_memory=False):
    """Use the store in the middle of a call, at each point of it; return what was wrong."""
    work.behave(folder)
    Path(folder, "made").write_text("{}\n")
    before, act, _ = CASES[case]
    made = work.Store(work.runner, work.Point, f"{folder}/results", db_url="sqlite://") if in_memory else None
    made = made or work.store(folder)
    numbers, faults = itertools.count(1000, 10), []
    made.run_or_retrieve({"x": 0})
    for _ in range(2):
        x = next(numbers)
        before(made, x)
        with Points() as points:
            right = act(made, x)
    right = relative(right, x)
    chosen = first_times(points.passed)[part::parts]
    for n in chosen:
        faulthandler.dump_traceback_later(50, exit=True)
        x = next(numbers)
        before(made, x)
        wrong, earlier = [], len(executions(folder))
        try:
            with Points([n], lambda: wrong.extend(USES[use](made, x))) as points:  # noqa: B023
                got = relative(act(made, x), x)
        except Exception as error:
            got = repr(error)
        if got != right and not (use == "runs the same" and case in ("delete", "gc", "register")):
            wrong.append(f"{got} came out instead of {right}")
        ran = [one["x"] for one in executions(folder)[earlier:]]
        if len(ran) != len(set(ran)) and use != "runs the same":
            wrong.append(f"ran {ran}")
        if len(points.passed) >= n:
            faults += [f"at {points.passed[n - 1]}: {one}" for one in wrong]
        if len(faults) > 20:
            break
    report = made.check()
    return {"played": len(chosen), "faults": faults + ([] if report.ok else [str(report)])}


def relative(result, x):
    """Return what a call returned, as if it had been about the set 0."""
    if isinstance(result, list):
        return [one - x for one in result]
    return result if isinstance(result, bool) else result - x


# ---- forks -------------------------------------------------------------------------------------------------------
def interrupt_forks(folder):
    """Fork beside threads that use the store, interrupted at each point of what is done for a fork."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: fork beside threads
    work.behave(folder)
    made, stop, own, faults, came_out = work.store(folder), threading.Event(), [], [], 0
    made.run_or_retrieve({"x": 0})

    def keep_busy(first):
        for x in itertools.count(first):
            if stop.is_set():
                return
            own.append(made.run_or_retrieve({"x": x}).x)

    beside = [threading.Thread(target=keep_busy, args=(first,)) for first in (10_000, 20_000)]
    for thread in beside:
        thread.start()
    with Points() as points:
        pid = os.fork()
    if pid == 0:
        _be_child(made)
    faults += _wait(pid, "a fork")
    for n, where in enumerate(points.passed, 1):
        faulthandler.dump_traceback_later(50, exit=True)
        pid = None
        try:
            with Points([n]) as points:
                pid = os.fork()
                if pid == 0:
                    _be_child(made)
            deadline = time.monotonic() + 0.5  # in most cases; around `_insist` Python shows it, and loses it
            while time.monotonic() < deadline:
                time.sleep(0.001)
        except KeyboardInterrupt:
            came_out += 1
        faults += _wait(pid, f"at {where}") if pid else ["the fork was lost"]
        if (again := os.fork()) == 0:
            _be_child(made)
        faults += _wait(again, f"the fork after that at {where}")
        count = len(own)
        until(lambda: len(own) > count + 1, "the other threads go on")  # noqa: B023
    stop.set()
    for thread in beside:
        thread.join()
    report = made.check()
    return {"forks": n, "came out": came_out, "faults": faults + ([] if report.ok else [str(report)])}


def _be_child(made):
    sys.settrace(None)
    signal.alarm(int(SECONDS))  # which ends it
    status = 1
    try:
        status = 0 if made.run_or_retrieve({"x": 0}).x == 0 and made.run_or_retrieve({"x": os.getpid()}) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        workspace.retire()
        os._exit(status)


def _wait(pid, where):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [f"{where}: the child ended with {status}"] if status else []


# ---- real signals ------------------------------------------------------------------------------------------------
def be_signalled(folder):
    """Ask for what is stored and for what is not, while a timer's handler and a finalizer read the store."""
    work.behave(folder)
    made, faults, counts = work.store(folder), [], {"handled": 0, "finalized": 0}
    for x in range(5):
        made.run_or_retrieve({"x": x})
    before = len(executions(folder))

    def handle(*_):
        counts["handled"] += 1
        faults.extend(read(made, 0))
        signal.setitimer(signal.ITIMER_REAL, 0.001)  # not sooner, or handlers interrupt each other without an end

    class Finalized:
        def __del__(self):
            counts["finalized"] += 1
            faults.extend(read(made, 0))

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    x, deadline = 0, time.monotonic() + 4 * SECONDS  # for all calls together
    while (x < 60 or counts["handled"] < 30) and time.monotonic() < deadline:
        x += 1
        kept = [Finalized()]
        kept.append(kept)  # a cycle, so that it goes whenever the collector comes
        del kept
        if x % 10 == 0:
            gc.collect()
        if made.retrieve({"x": x % 5}) is None or [row.x for row in made.select(x=x % 5)] != [x % 5]:
            faults.append(f"{x % 5} was not found")
        if made.run_or_retrieve({"x": 100 + x // 5}).x != 100 + x // 5:
            faults.append("another row")
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    ran = [one["x"] for one in executions(folder)[before:]]
    faults += [f"{one} ran {ran.count(one)} times" for one in set(ran) if ran.count(one) != 1 or one < 100]
    report = made.check()
    return {**counts, "faults": faults + ([] if report.ok else [str(report)])}
