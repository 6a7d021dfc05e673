"""`@study`: makes a function a study, without a model class. A thin layer over `Store`."""

import contextlib
import contextvars
import functools
import importlib
import inspect
import itertools
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from entropic.errors import EntropicError, ModelError, ParameterError, reword
from entropic.params.grid import expand_grid
from entropic.params.keys import CHECKPOINT_DIR, RESERVED
from entropic.params.reference import reference, resolve
from entropic.params.signature import check_function, check_retyped, make_model, read_added, read_parameters
from entropic.store import Store, context_of
from entropic.support.show import spelled

if TYPE_CHECKING:
    from entropic.ask.runs import Runs

P = ParamSpec("P")
R = TypeVar("R")
_OPTIONS = frozenset(inspect.signature(Store.sweep).parameters) - {"self", "params", "custom_data"}
# Which a function may have as parameters: then they are these.
_SHARED = {"order", "deadline", "fallback", "retries", "wait", "cores", "memory", "gpus"}


@typing.overload
def study(function: Callable[P, R], /) -> "Study[P, R]": ...


@typing.overload
def study(
    *,
    results: str | Path = ...,
    suffix: str = ...,
    db_url: str = ...,
    outcomes: Mapping[str, object] = ...,
    ignore: Iterable[str] = ...,
    added: Iterable[str] = ...,
    retyped: Iterable[str] = ...,
    name: str | None = ...,
    **options: object,
) -> "Callable[[Callable[P, R]], Study[P, R]]": ...


def study(
    function: Any = None,
    /,
    *,
    results: str | Path = "./results",
    suffix: str = ".json",
    db_url: str = "sqlite:///db.sqlite3",
    outcomes: Mapping[str, object] = MappingProxyType({}),
    ignore: Iterable[str] = (),
    added: Iterable[str] = (),
    retyped: Iterable[str] = (),
    name: str | None = None,
    **options: object,
) -> Any:
    """Make a function a study: called with the same arguments again, it returns the stored result.

    ::

        @study(results="results/pendulum", suffix=".npz")
        def pendulum(length: float, steps: int = 1000) -> dict: ...

        pendulum(length=1.0)  # runs, or loads: returns the value
        pendulum.sweep(length=[0.5, 1.0], workers=-1).to_xarray()
        pendulum.store.select(length=1.0)

    Parameters
    ----------
    function
        For `@study` without parentheses.
    results, suffix, db_url, **options
        As `Store` takes them; `typed_keys` is True unless it is given.
    outcomes
        Columns that are filled by what the function returns: names with types, or with what `outcome()` returns.
    ignore
        Parameters that are not part of the key, such as `verbose`. They need defaults, which other processes use. With
        `checkpoints=True`, a `checkpoint_dir` among them gets the folder.
    added
        Parameters that the function has gained since its first runs: stored results belong to their defaults.
    retyped
        Parameters that are floats, and were whole numbers in the first runs.
    name
        Of the table; that of the function, if it is not given.

    Returns
    -------
    Callable or Study
        What makes a `Study` of a function; of `@study` without parentheses, the study.

    Raises
    ------
    ModelError
        If it is not a plain function (but a method, a lambda or a coroutine, or with `*args`), or a parameter has no
        type that a column can hold.
    """

    _check_options(options)

    def decorate(function: Callable[P, R]) -> Study[P, R]:
        changed = tuple(added), tuple(retyped)
        return Study(function, results, suffix, db_url, outcomes, tuple(ignore), changed, name, options)

    if isinstance(function, str | Path):
        raise ModelError(f"study takes keywords: study(results={str(function)!r})")
    return decorate if function is None else decorate(function)


_OTHER_NAMES = {"results_dir": "results", "file_suffix": "suffix", "runner": "", "result_cls": ""}


def _check_options(options: Iterable[str]) -> None:
    """Refuse what no store takes where the study is written: it opens its store when that is first asked for."""
    taken = {"results", "suffix", "db_url", "outcomes", "ignore", "added", "retyped", "name"}
    taken |= inspect.signature(Store.__init__).parameters.keys() - {"self", *_OTHER_NAMES}
    for name in options:
        if name not in taken:
            import difflib

            near = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else difflib.get_close_matches(name, taken, 1)
            meant = f"; did you mean {near[0]!r}?" if near and near[0] else f"; it has {', '.join(sorted(taken))}"
            raise ModelError(f"study has no option {name!r}{meant}")


class Study(Generic[P, R]):
    """A function whose results are stored; see `study`.

    Attributes
    ----------
    function
        As it was decorated.
    model : type[Base]
        Made of the signature.
    """

    def __init__(
        self,
        function: Callable[P, R],
        results: str | Path,
        suffix: str,
        db_url: str,
        outcomes: Mapping[str, object],
        ignore: tuple[str, ...],
        changed: tuple[tuple[str, ...], tuple[str, ...]],
        name: str | None,
        options: Mapping[str, object],
    ) -> None:
        checked = check_function(function)
        self.function = function
        self._signature = inspect.signature(function)
        self._ignore = ignore
        self._parameters = read_parameters(checked, self._signature, ignore, _OPTIONS - _SHARED)
        self._made_of = (results, suffix, db_url, outcomes, ignore, changed, name, options)
        self._trusted: tuple[Any, ...] = ()
        added, retyped = changed
        defaults = read_added(checked, self._signature, added, self._parameters)
        check_retyped(checked, retyped, self._parameters)
        self.model = make_model(checked, name, self._parameters, outcomes, defaults, retyped)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the stored value of these arguments; run the function first if there is none."""
        params, ignored = self._bound(args, kwargs)
        with _given(ignored):
            row = self.store.run_or_retrieve(params)
        return cast(R, self.store.load(row))

    def sweep(self, **values: Any) -> "Runs[Any]":
        """Run all combinations that are not stored; return their rows.

        Parameters
        ----------
        **values
            Of each parameter a list (a tuple, a range, an array) of values, or one; what is left out has its default.
            The options of `Store.sweep`, such as `workers`, are taken as well; `order`, `deadline`, `fallback`,
            `retries`, `wait`, `cores`, `memory` and `gpus` are parameters where the function has such.

        Returns
        -------
        Runs
            One row for each combination, in the order of the grid.
        """
        options = {name: values.pop(name) for name in list(values) if name in _OPTIONS and not self._is_own(name)}
        grid = {name: _values(value) for name, value in values.items()}
        if options.get("replicates") is None:
            return self.store.sweep([self._bound((), one)[0] for one in expand_grid(grid)], **options)
        from entropic.sweep.seeds import Replicates

        column = Replicates.of(options["replicates"]).column
        if column in grid or column not in self._parameters:
            raise ParameterError(
                f"replicates give {self.__name__} the parameter {column!r}, which it "
                + ("is given as well; leave one out" if column in grid else "does not have")
            )
        bound = [self._bound((), {**one, column: 0})[0] for one in expand_grid(grid)]
        return self.store.sweep([{n: v for n, v in one.items() if n != column} for one in bound], **options)

    def _is_own(self, name: str) -> bool:
        return name in _SHARED and name in self._signature.parameters

    def params(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Return the params that a call with these arguments has, defaults included: what the key is made of."""
        return self._bound(args, kwargs)[0]

    @functools.cached_property
    def store(self) -> Store[Any]:
        """The store of its results; opened when it is first asked for."""
        results, suffix, db_url, _, _, _, _, options = self._made_of
        given: dict[str, Any] = {"typed_keys": True, **options}
        from entropic.upkeep import namesake

        runner, table = _Call(self.function, self._ignore), self.model.__tablename__
        try:
            store: Store[Any] = Store(runner, self.model, results, suffix, db_url, **given)
        except EntropicError as error:  # such as columns that the table of another study has
            if (other := namesake.namesake_in(db_url, self.function, table)) is not None:
                reword(error, f"{error}. This may be because {other}")
            raise
        namesake.look_for_namesake(context_of(store), self.function)
        if self._trusted:
            context_of(store).current_code.trust(*self._trusted)
        return store

    def _bound(self, args: Any, kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the params of a call, and the arguments that are no part of the key."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            why = _misspelled(self._signature, kwargs) or str(error)
            raise ParameterError(f"{self.__name__}{self._signature} was called wrongly: {why}") from None
        ignored = {name: bound.arguments.pop(name) for name in self._ignore if name in bound.arguments}
        bound.apply_defaults()
        params = {name: value for name, value in bound.arguments.items() if name not in self._ignore}
        for name, value in params.items():
            choices = self._parameters[name].choices
            if choices and value not in choices:
                fits = ", ".join(map(repr, choices))
                raise ParameterError(f"{name}={spelled(value)} does not fit {self.__name__}: it is one of {fits}")
        return params, ignored

    __name__: str

    def __set_name__(self, owner: type, name: str) -> None:
        raise ModelError(
            f"{owner.__name__}.{name} is a method, and what it depends on of its object would not be part of the key; "
            "make it a function of plain values"
        )

    def __reduce__(self) -> Any:
        where = _where(self)
        if where:
            return _imported, where
        return _made_again, (self._code(), reference(self.model, of_store=True), self.function, *self._made_of)

    def _code(self) -> tuple[Any, ...]:
        """Return what goes along as of a store, since where it arrives its source cannot be read; opens no database."""
        if "store" in vars(self):
            return context_of(self.store).current_code.to_send()
        if self._trusted:
            return self._trusted
        options = self._made_of[-1]
        with contextlib.suppress(EntropicError):  # options that are wrong are refused where it is used
            from entropic.protocol.current_code import CurrentCode
            from entropic.provenance.watch import check as check_watched

            watched, version = check_watched(options.get("watch", ())), cast("str | None", options.get("version"))
            runner, unrecorded = _Call(self.function, self._ignore), cast(Any, None)
            return CurrentCode(unrecorded, self.model.__name__, runner, version, watched, "ignore").to_send()
        return ()

    def __repr__(self) -> str:
        return f"<study {self.__name__}{self._signature}>"


class _Call:
    """The runner of a study: calls the function with the params as arguments."""

    _always_returns = True
    """A function knows of no file, so its result is what it returns."""

    def __init__(self, function: Callable[..., object], ignore: tuple[str, ...]) -> None:
        self.function, self._ignore = function, ignore
        self.__name__ = getattr(function, "__name__", "study")
        parameters = inspect.signature(function).parameters
        self._positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_ONLY]
        known = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
        self.defaults = {name: value for name, value in known.items() if name not in ignore}
        self._left_out = {*RESERVED} if CHECKPOINT_DIR in parameters else {*RESERVED, CHECKPOINT_DIR}

    def __call__(self, params: dict[str, Any]) -> Any:
        named = {name: value for name, value in params.items() if name not in self._left_out}
        named |= _ignored.get()
        positional = [named.pop(name) for name in self._positional if name in named]
        with _given({}):  # what it calls is given its own
            return self.function(*positional, **named)

    def __reduce__(self) -> Any:
        function = self.function
        found = _find(getattr(function, "__module__", None), getattr(function, "__qualname__", ""))
        if isinstance(found, Study) and found.function is function:
            return _call_of, (function.__module__, function.__qualname__)
        return _Call, (function, self._ignore)

    def __repr__(self) -> str:
        return repr(self.function)


_ignored: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("ignored", default=MappingProxyType({}))


@contextlib.contextmanager
def _given(ignored: Mapping[str, object]) -> Iterator[None]:
    """Let runs in this thread get arguments that are no part of the key."""
    token = _ignored.set(ignored)
    try:
        yield
    finally:
        _ignored.reset(token)


def _misspelled(signature: inspect.Signature, given: Iterable[str]) -> str | None:
    """Say which argument a function does not have, and which it may mean; what Python says first is what is missing."""
    unknown = next((name for name in given if name not in signature.parameters), None)
    if unknown is None:
        return None
    import difflib  # only for the message

    near = difflib.get_close_matches(unknown, signature.parameters, 1)
    return f"it has no parameter {unknown!r}" + (f"; did you mean {near[0]!r}?" if near else "")


# ---- how it travels ------------------------------------------------------------------------------------------------
def _where(found: Study[Any, Any]) -> tuple[str, str] | None:
    """Return the module and the name under which a study can be imported, if it can."""
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", "")
    return (module, name) if isinstance(module, str) and _find(module, name) is found else None


def _find(module: str | None, name: str) -> Any:
    if module is None or module == "__main__" or "<" in name:
        return None
    try:
        return attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


def _imported(module: str, name: str) -> Any:
    return attrgetter(name)(importlib.import_module(module))


def _made_again(code: tuple[Any, ...], model: Any, *made_of: Any) -> Study[Any, Any]:
    """Make a study that was sent by value: its rows are of the model that it had, and made by the code that it had."""
    made: Study[Any, Any] = Study(*made_of)
    made.model, made._trusted = resolve(model), code
    return made


def _call_of(module: str, name: str) -> _Call:
    found = _imported(module, name)
    return _Call(found.function, found._ignore)


def _values(value: Any) -> list[Any]:
    """Return the values of a grid's axis: of a list, a tuple, a range or an array, or the one value."""
    if isinstance(value, list | tuple | range | set | frozenset) or getattr(value, "ndim", 0) == 1:
        return list(value)
    return list(itertools.islice(value, 10**7)) if inspect.isgenerator(value) else [value]
