"""`sample`: parameter sets that fill a space evenly, or at random."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from entropic.errors import ParameterError
from entropic.formats.libraries import library
from entropic.params.model import Schema
from entropic.params.space import Space
from entropic.support.show import spelled

NOTHING: Mapping[str, Any] = MappingProxyType({})
METHODS = ("sobol", "halton", "lhs", "random")


def sample(
    model: Any,
    columns: Mapping[str, Any] = NOTHING,
    /,
    *,
    n: int,
    method: Literal["sobol", "halton", "lhs", "random"] = "sobol",
    seed: int = 0,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return parameter sets that are spread over a space, for `sweep`.

    ::

        store.sweep(sample(Pendulum, length=(0.5, 2.0), damping=(1e-3, 1, "log"), steps=1000, n=64))

    The same seed gives the same sets. More points of the same space and seed begin with the same sets, so a sweep can
    be extended, except with `"lhs"`.

    Parameters
    ----------
    model
        The model, or a study.
    columns, **more
        The space: for each column a range `(low, high)`, whose ends are included, or `(low, high, "log")`; a list of
        choices; or one value. Columns of whole numbers get such. A column with the name of an option, such as `n`,
        goes into the dict.
    n
        How many sets; of whole numbers and choices some may be alike, of which a sweep runs one.
    method
        `"sobol"` or `"halton"`: evenly spread sequences, scrambled; a power of 2 is the best `n` for `"sobol"`.
        `"lhs"`: a Latin hypercube. `"random"`: independent points.
    seed
        A whole number from 0 on.

    Raises
    ------
    ParameterError
        If the columns or the options are not valid.
    LibraryMissingError
        If scipy is not installed, which spreads the points.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ParameterError(f"n is a number of sets, not {spelled(n)}")
    if method not in METHODS:
        raise ParameterError(f"method is one of {', '.join(METHODS)}, not {spelled(method)}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ParameterError(f"seed is a whole number from 0 on, not {spelled(seed)}")
    if twice := [name for name in more if name in columns]:
        raise ParameterError(f"{twice[0]!r} is given twice")
    given = {**columns, **more}
    space = Space.of(Schema(getattr(model, "model", model)), given)
    axes = sorted(space.axes, key=lambda axis: axis.name)  # whatever order they are given in, the sets are the same
    points = _points(len(axes), n, method, seed) if axes else [()] * n
    sets = []
    for point in points:
        varying = {axis.name: axis.at(float(part)) for axis, part in zip(axes, point, strict=True)}
        sets.append({name: varying[name] if name in varying else space.fixed[name] for name in given})
    return sets


def _points(dimensions: int, n: int, method: str, seed: int) -> Any:
    numpy, qmc = library("numpy", "sample", "sample"), library("scipy.stats.qmc", "sample", "sample")
    generator = numpy.random.default_rng(seed)
    if method == "random":
        return generator.random((n, dimensions))
    make: Callable[..., Any] = {"sobol": qmc.Sobol, "halton": qmc.Halton, "lhs": qmc.LatinHypercube}[method]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The balance properties", UserWarning)  # of other numbers than powers of 2
        name = "rng" if "rng" in inspect.signature(make).parameters else "seed"  # as scipy before 1.15 calls it
        return make(dimensions, **{name: generator}).random(n)
