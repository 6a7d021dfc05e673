"""Keys: which parameter sets are the same experiment. Pure; knows nothing of databases and files.

A set is normalised (dict keys sorted, floats rounded, enums replaced by their value, tuples made lists, numpy
scalars made Python values, anything else made text), written as compact JSON, and hashed with SHA-256; the key is
the first 16 hex digits. What has no text that identifies it is refused.
"""

import dataclasses
import enum
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import Any

from entropic.errors import ParameterError
from entropic.params.objects import Object, set_of_object
from entropic.support.show import spelled

Params = Mapping[str, object]  # a parameter set, which is only ever read
RESERVED = ("id", "result_file", "created_at", "custom_data")
CUSTOM = "custom_data."  # begins the name of a field of custom data, where a name is a text
CHECKPOINT_DIR = "checkpoint_dir"  # what a runner gets beside its params, if its store has checkpoints
ROUNDINGS = ("decimal", "significant")
TYPED = ", typed"
DECIMALS = 12
ALIKE = 1_000  # how many values of a column are looked at to see whether they repeat
SHORT = 14  # characters of a float's text, without an exponent, that both roundings leave as it is

_TOLD_BY_VALUE = {float, str}  # whose texts take longer to write than to look up
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]{4,}")
_NOT_FINITE = {
    "inf": "Infinity",
    "-inf": "-Infinity",
    "nan": "NaN",
}  # as the standard library's JSON writes them
_FINER = ("ns", "ps", "fs", "as")  # units than Python's microseconds
MISSING = ("NAType", "NaTType")  # of pandas
_OF_NUMPY = ("Generator", "RandomState", "BitGenerator")
_OF_ARRAYS = ("__array__", "__array_interface__", "__dataframe__", "__arrow_c_array__", "__arrow_c_stream__")
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def round_decimal(value: float) -> float:
    """Round to 12 decimals, which hides the noise of IEEE 754 in numbers near 1."""
    return round(value, DECIMALS)


def round_significant(value: float) -> float:
    """Round to 12 significant digits, which also tells very small numbers apart."""
    return float(f"{value:.11e}")


ROUND: dict[str, Callable[[float], float]] = {"decimal": round_decimal, "significant": round_significant}


def key(params: Mapping[str, object] | Object, float_rounding: str = "decimal") -> str:
    """Return the primary key that a store gives these params.

    Parameters
    ----------
    params
        A parameter set, or an object that stands for one. `result_file`, `created_at` and `custom_data` do not count;
        an `id` is returned as it is.
    float_rounding
        `"decimal"` (12 decimals) or `"significant"` (12 significant digits), as the store was made with.

    Raises
    ------
    ParameterError
        If a value cannot be identified by a text.
    """
    return Hasher(float_rounding)(set_of_object(params))


class Hasher:
    """Turns parameter sets into keys; remembers the shape of the sets that it has seen, which makes it fast.

    Flat sets of plain scalars are written straight into a template; everything else is normalised first. Both
    give the same keys: `tests/property/test_keys.py`.
    """

    typed = False
    """Whether values are brought to the types of their columns first."""

    def __init__(self, rounding: str = "decimal") -> None:
        if rounding not in ROUNDINGS:
            raise ParameterError(f"float_rounding must be 'decimal' or 'significant', not {spelled(rounding)}")
        self.rounding = rounding
        self.check_id: Callable[[str], None] = lambda id: None
        """Refuses ids given by the user that a store's database cannot hold."""
        self.setting = f"{rounding}{TYPED}" if self.typed else rounding
        """How keys are made, as it is recorded."""
        self.round = round_ = ROUND[rounding]
        """Rounds a float as keys do."""
        self._templates: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}

        def write_float(value: float) -> str:
            text = repr(value)
            if len(text) < SHORT and (1e-4 <= value < 1e16 or -1e16 < value <= -1e-4):  # most: no digit too many
                return text
            text = repr(round_(value))
            return _NOT_FINITE.get(text, text)

        self._writers: dict[type, Callable[[Any], str]] = {
            int: int.__repr__,
            float: write_float,
            str: encode_basestring_ascii,
            bool: {True: "true", False: "false"}.__getitem__,
            type(None): lambda _: "null",
        }

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        try:
            template, names = self._templates[tuple(params)]
            writers = self._writers
            text = template % tuple([writers[type(value)](value) for value in map(params.__getitem__, names)])
        except (KeyError, ValueError, TypeError):
            if isinstance(params, Mapping) and "id" in params:
                id = explicit_id(params["id"])
                self.check_id(id)
                return id
            text = self._write(params)
        return sha256(text.encode("ascii")).hexdigest()[:16]

    _key = __call__  # of a set that is as it is hashed, whatever else a class of hashers does before

    def many(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the keys of many sets: column by column, where they are plain and of one shape.

        This is the same text and the same hash, in half of the time: `tests/property/test_keys.py`.
        """
        try:
            return self._columns(sets)
        except (KeyError, ValueError, TypeError, IndexError):
            return [self._key(params) for params in sets]

    def _columns(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        shape = tuple(sets[0])
        if shape not in self._templates:
            self._key(sets[0])
        template, names = self._templates[shape]
        if not names or any(tuple(params) != shape for params in sets):
            raise ValueError("not of one shape")
        texts = [self._column(list(map(itemgetter(name), sets))) for name in names]
        lines = map(template.__mod__, zip(*texts, strict=True))
        return [sha256(line.encode("ascii")).hexdigest()[:16] for line in lines]

    def _column(self, values: list[Any]) -> Iterable[str]:
        kinds = set(map(type, values))
        writers = self._writers
        if len(kinds) == 1:
            write = writers[kind := kinds.pop()]
            some = values[:ALIKE]
            if kind in _TOLD_BY_VALUE and 2 * len(set(some)) < len(some):  # of a grid
                texts = {value: write(value) for value in set(values) if value}
                # (0.0 is not among them: it equals -0.0, which is another text.)
                return [texts[value] if value else write(value) for value in values]
            return map(write, values)
        return [writers[type(value)](value) for value in values]

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return self._write(params)

    def _write(self, params: Mapping[str, object]) -> str:
        if not isinstance(params, Mapping):
            raise ParameterError(f"params must be a dict, not {type(params).__name__}: {spelled(params)}")
        own = {name: value for name, value in params.items() if name not in RESERVED}
        try:
            text = _dumps(normalise(own, self.round, ()))
        except RecursionError:
            raise ParameterError("params contain themselves, or are nested too deeply to have a key") from None
        except ValueError as error:
            if isinstance(error, ParameterError):
                raise
            raise ParameterError(f"params cannot be made into a key: {error}") from None
        self._learn(params, own)
        return text

    def _learn(self, params: Mapping[str, object], own: dict[str, Any]) -> None:
        if len(self._templates) >= 256:  # sets of ever-changing shape: remembering them would only cost memory
            return
        names = tuple(sorted(str.__str__(name) for name in own))
        fields = [encode_basestring_ascii(name).replace("%", "%%") + ":%s" for name in names]
        self._templates[tuple(params)] = ("{" + ",".join(fields) + "}", names)


def explicit_id(value: object) -> str:
    """Return an id given by the user, which is the key verbatim."""
    if not isinstance(value, str) or not value:
        raise ParameterError(f"an explicit id must be a non-empty string, not {spelled(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ParameterError(f"the explicit id {value!r} has a lone surrogate, which no database stores") from None
    return str.__str__(value)


def plain(value: object) -> Any:
    """Return the Python value that a numpy scalar wraps; anything else as it is.

    Raises
    ------
    ParameterError
        If there is none: Python has no duration in years or nanoseconds, for which numpy would give a bare number.
    """
    numpy = sys.modules.get("numpy")  # a numpy scalar exists only where numpy is loaded
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    if isinstance(value, numpy.datetime64 | numpy.timedelta64):
        return _time_of(numpy, value)
    inner = value.item()
    if isinstance(inner, numpy.generic):
        raise ParameterError(f"{value!r} has no Python value; pass float(...) or int(...) of it")
    return inner


def _time_of(numpy: Any, value: Any) -> object:
    if numpy.isnat(value):
        raise ParameterError(f"{value!r} is not a time; pass None, if the column takes it")
    kind = "datetime64" if isinstance(value, numpy.datetime64) else "timedelta64"
    if numpy.datetime_data(value.dtype)[0] in _FINER:
        whole = value.astype(f"{kind}[us]")
        value = whole if whole == value else value
    inner = value.item()
    if isinstance(inner, date | timedelta):
        return inner
    raise ParameterError(
        f"Python has no time or duration like {value!r}: its own count in days down to whole microseconds, in the "
        f"years 1 to 9999. Round it, or pass a number, such as value / np.timedelta64(1, 'ns') of a duration, and say "
        "the unit in the name of the column"
    )


def normalise(value: Any, round_: Callable[[float], float], where: tuple[object, ...]) -> object:
    """Return the value as plain JSON: the canonical form that is hashed."""
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        return round_(value)
    if isinstance(value, enum.Enum):
        return normalise(value.value, round_, where)
    try:
        value = plain(value)
    except ParameterError as error:
        raise ParameterError(f"{spell(where)}: {error}") from None
    if isinstance(value, float):
        return round_(float(value))
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_name(name, where): normalise(inner, round_, (*where, name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [normalise(inner, round_, (*where, i)) for i, inner in enumerate(value)]
    return text_of(value, round_, where)


def _name(name: object, where: tuple[object, ...]) -> str:
    if isinstance(name, enum.Enum) or not isinstance(name, str):
        at = f" in {spell(where)}" if where else ""
        raise ParameterError(f"the key {spelled(name)}{at} is {type(name).__name__}; keys of params must be strings")
    return str.__str__(name)


def text_of(value: object, round_: Callable[[float], float], where: tuple[object, ...]) -> str:
    """Return `str(value)` where that identifies the value, and refuse it where it does not."""
    kind = type(value)
    named = f"{spell(where)} is a {kind.__module__}.{kind.__qualname__}".replace(" builtins.", " ")
    if isinstance(value, set | frozenset):
        raise ParameterError(f"{named}, whose order changes from run to run; pass sorted(...) of it")
    if kind.__name__ in MISSING:
        raise ParameterError(f"{named}, the missing value of pandas; pass None, if the column takes it")
    if advice := instead_of_array(value):
        raise ParameterError(f"{named}, {spelled(value)}, which is an array though it holds one number; pass {advice}")
    if any(hasattr(kind, name) for name in _OF_ARRAYS) or all(hasattr(kind, name) for name in ("shape", "dtype")):
        raise ParameterError(
            f"{named}, whose text leaves numbers out, so it cannot tell two of them apart; pass a name, a checksum, "
            "or .tolist() of a small one, and let the runner load the data"
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):  # its text is made of theirs, so theirs must identify them
            normalise(getattr(value, field.name), round_, (*where, field.name))
    if any(isinstance(value, found) for found in _generators()):
        raise ParameterError(
            f"{named}, whose text does not tell its state; pass its seed, and let the runner make the generator"
        )
    try:
        text = repr(value) if isinstance(value, bytes | bytearray) else str(value)
    except Exception as error:
        raise ParameterError(f"{named}, whose text cannot be made ({error}); pass a name for it") from error
    if text == object.__repr__(value) or _ADDRESS.search(text):
        raise ParameterError(
            f"{named}, and its text {text!r:.100} holds a memory address, which changes from run to run; pass a name "
            "for it, or the values that it is made of"
        )
    if "<lambda>" in text or "<locals>" in text:
        raise ParameterError(f"{named} without a stable name ({text!r:.100}); pass a name for it")
    return text


def instead_of_array(value: object) -> str:
    """Return what to pass instead of an array of one number, such as a quantity with a unit; nothing for all else."""
    kind = type(value)
    if not hasattr(kind, "__array__"):
        return ""
    shape: object = getattr(value, "shape", None)
    if any(hasattr(kind, name) for name in ("unit", "units")) and shape in ((), None):  # pint's has no shape
        return "its number in one unit, which the name of the column says"
    return ".item() of it" if shape == () else ""


def _generators() -> list[Any]:
    """Return the types of generators of random numbers, as far as they are loaded."""
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    found = [getattr(random, "Random", None), *(getattr(numpy, name, None) for name in _OF_NUMPY)]
    return [kind for kind in found if kind is not None]


def spell(where: tuple[object, ...]) -> str:
    """Return a place within params as a user would write it: `params['a'][0]`."""
    return "params" + "".join(f"[{part!r}]" for part in where)
