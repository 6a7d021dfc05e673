"""The type that holds the values of several arrays, each as it is: where none does, that is said, and nothing made up.

numpy has a common type for nearly everything, and what does not fit into it is wrapped or rounded without a word: a
time in the year 5000 becomes one in 2077 beside one in nanoseconds, and 2**53 + 1 is 2**53 among floats.
"""

from typing import Any

UNITS = ("ns", "us", "ms", "s")  # of times, as xarray has them
_STANDARD = ("standard", "gregorian", "proleptic_gregorian")  # calendars: of a date since 1582, the same day in all
_FIRST = (1582, 10, 15)


class NoCommonTypeError(Exception):
    """There is no type that holds all: what stands in the way, as the end of a sentence."""


def convert(np: Any, values: Any, dtype: Any) -> Any:
    """Return an array in another type, or None if that would change a value.

    It goes there and back: what has been wrapped or rounded does not come back as it was.
    """
    if values.dtype == dtype:
        return values
    kinds = values.dtype.kind + dtype.kind
    with np.errstate(all="ignore"):
        try:
            made = values.astype(dtype)
            if kinds in ("MM", "mm"):
                return made if _same_times(np, made.astype(values.dtype), values) else None
            if values.dtype.itemsize > 4 and kinds in ("if", "uf", "ic", "uc"):
                most = float(np.iinfo(values.dtype).max)
                in_range = bool((np.abs(made) < most).all())
                return made if in_range and np.array_equal(made.real.astype(values.dtype), values) else None
        except (OverflowError, TypeError, ValueError):
            return None
    return made


def _same_times(np: Any, one: object, other: object) -> bool:
    return bool(((one == other) | (np.isnat(one) & np.isnat(other))).all())


def in_unit_of_xarray(np: Any, values: Any) -> Any:
    """Return times in the unit of theirs that xarray would make of it, or the next that holds them as they are.

    Raises
    ------
    NoCommonTypeError
        If there is none: picoseconds that are no whole nanoseconds, years that do not fit into 64 bits.
    """
    unit, step = np.datetime_data(values.dtype)
    if unit in UNITS and step == 1:
        return values
    finest = UNITS.index(unit) if unit in UNITS else 0 if unit in ("ps", "fs", "as") else len(UNITS) - 1
    for unit in UNITS[finest:]:
        made = convert(np, values, np.dtype(f"{values.dtype.kind}8[{unit}]"))
        if made is not None:
            return made
    raise NoCommonTypeError(f"xarray has no unit for its times, which are {values.dtype}")


def unite(np: Any, mine: Any, other: Any) -> tuple[Any, Any]:
    """Return two arrays in the one type that holds the values of both: objects if they are of different kinds.

    Raises
    ------
    NoCommonTypeError
        If they are times that no unit holds, or of different calendars, or if only one of them is times.
    """
    if mine.dtype == other.dtype and mine.dtype.kind != "O":
        return mine, other
    if "O" in mine.dtype.kind + other.dtype.kind:
        mine, other = _of_one_calendar(np, mine, other)
    kinds = mine.dtype.kind + other.dtype.kind
    if kinds in ("MM", "mm"):
        return _in_one_unit(np, mine, other)
    if set("mM") & set(kinds):
        raise NoCommonTypeError(f"only one of them is times ({mine.dtype} and {other.dtype})")
    if kinds[0] == kinds[1] or set(kinds) <= set("biufc"):
        try:
            dtype = np.result_type(mine.dtype, other.dtype)
        except TypeError:  # records of different fields
            dtype = np.dtype(object)
        found = convert(np, mine, dtype), convert(np, other, dtype)
        if found[0] is not None and found[1] is not None:
            return found
    return mine.astype(object), other.astype(object)


def _in_one_unit(np: Any, mine: Any, other: Any) -> tuple[Any, Any]:
    finest = min(UNITS.index(np.datetime_data(one.dtype)[0]) for one in (mine, other))
    for unit in UNITS[finest:]:
        dtype = np.dtype(f"{mine.dtype.kind}8[{unit}]")
        found = convert(np, mine, dtype), convert(np, other, dtype)
        if found[0] is not None and found[1] is not None:
            return found
    raise NoCommonTypeError(f"no unit holds the times of both, {mine.dtype} and {other.dtype}, as they are")


def _of_one_calendar(np: object, mine: object, other: object) -> tuple[Any, Any]:
    """Return two arrays, of which objects may be dates of some calendar, as dates of the same.

    Those of the usual calendar are `datetime64` where the other is: xarray makes objects of what is far from today.
    """
    calendars = [calendar(one) for one in (mine, other)]
    if calendars == [None, None] or calendars[0] == calendars[1]:
        return mine, other
    if set(calendars) <= {*_STANDARD, "datetime64"}:
        found = _as_times(np, mine), _as_times(np, other)
        if found[0] is not None and found[1] is not None:
            return found
    if None in calendars:
        other_than_dates = (mine, other)[calendars.index(None)]
        raise NoCommonTypeError(f"only one of them is dates of one calendar; the other is {_kind(other_than_dates)}")
    raise NoCommonTypeError(f"their times are of different calendars ({' and '.join(map(str, calendars))})")


def _kind(values: Any) -> str:
    kinds = {type(one).__name__ for one in values.flat} if values.dtype.kind == "O" else set()
    return " and ".join(sorted(kinds)) or str(values.dtype)


def calendar(values: Any) -> str | None:
    """Return the calendar of some dates; None of what are none."""
    if values.dtype.kind == "M":
        return "datetime64"
    found = {getattr(one, "calendar", None) for one in values.flat} if values.dtype.kind == "O" else {None}
    return found.pop() if len(found) == 1 else None


def _as_times(np: Any, values: Any) -> Any:
    if values.dtype.kind == "M":
        return values
    if any((one.year, one.month, one.day) < _FIRST for one in values.flat):
        return None
    return np.array([one.isoformat() for one in values.flat], "datetime64[us]").reshape(values.shape)


def missing_type(np: Any, dtype: Any) -> Any:
    """Return the type that holds what this one does, and NaN: whole numbers, True and False become floats."""
    if dtype.kind in "fcmMO":
        return dtype
    return np.dtype(float) if dtype.kind in "biu" else np.dtype(object)


def equal(np: Any, one: Any, other: Any) -> bool:
    """Tell whether two arrays of one shape hold the same values, missing ones included."""
    if one.dtype.kind != other.dtype.kind or one.shape != other.shape:
        return False
    try:
        if one.dtype.kind in "mM":
            return _same_times(np, *_in_one_unit(np, one, other))
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    except (NoCommonTypeError, TypeError):  # dates of different calendars cannot be compared
        return False
