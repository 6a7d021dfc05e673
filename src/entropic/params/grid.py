"""`expand_grid`: the full Cartesian product of some lists of values."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from entropic.errors import ParameterError
from entropic.support.show import spelled


def expand_grid(grid: Mapping[str, Iterable[object]]) -> list[dict[str, Any]]:
    """Return one parameter set for each combination of the given values.

    Parameters
    ----------
    grid
        Each key with the list of values that it takes.

    Returns
    -------
    list of dict
        In the order of `itertools.product`: the last key varies fastest. An empty list of values gives no
        sets, an empty grid gives the one empty set.

    Raises
    ------
    ParameterError
        If a value is not a list of values (a single number, or a string, which would fall into its letters).
    """
    if not isinstance(grid, Mapping):
        raise ParameterError(f"expand_grid takes a dict of lists, not {type(grid).__name__}")
    for name, values in grid.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ParameterError(
                f"expand_grid: {name!r} needs a list of values, not {spelled(values)}; for a single value write "
                f"{{{name!r}: [{spelled(values)}]}}"
            )
    return [dict(zip(grid, combination, strict=True)) for combination in product(*grid.values())]
