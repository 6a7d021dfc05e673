"""What a number of a run will be, its time or its memory, judging by the parameters of runs in which it is known.

The logarithm of the number is a sum of one part for each parameter: a slope times the logarithm of the number that it
is (plus the smallest above 0, where there are zeros), or times that number, if some are negative or if this predicts
the known runs much better; an offset for each value that is none. Where a number is beyond all known ones, the range
holds what either would say, unless one of them is much better; what grows exponentially is taken to go on as a power
there, or soon after. The slopes are found by least squares, with a ridge, so that few runs make no wild ones. How
strong that is, and how large the error, each run says that is predicted from all others: no run vouches for itself.
"""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

from entropic.sweep.least_squares import Fit, dot, quadratic

Params = Mapping[str, object]

SEED = "seed"  # a column whose values say nothing of what a run takes
RIDGES = (1e-3, 1e-1, 1.0, 1e1, 1e3)
MOST_FEATURES = 24
MOST_LABELS = 12  # of a column, that have an offset each
LEAST = 1e-6  # what is less is as much as that
FEWEST = 8  # runs of which an error can be told: of less, the range would hold far less than it says
COVERED = 0.9  # of the runs lie within the range
FEW = 4.0  # runs by which the ridge was chosen, too, are less off than others: by so much over their number
ALIKE = 10  # sets that are alike err alike: however many there are, no less than so many do together
BETTER = 0.3  # of the error, from which on a slope is taken of the number itself: far away it makes wild numbers
_LARGEST = 300.0  # logarithm of what is predicted, and of how far that is off
AS_IT_IS = 4.0  # deviations beyond the known numbers, where the known runs tell that they grow exponentially
UNTOLD = 1.0  # where they do not, as some numbers are negative and have no logarithm
_FARTHEST = 1e6  # deviations


class _Unsaid(Enum):
    """The value of what a set does not say, and the database makes: what is known on average."""

    UNSAID = 0


class Estimate(NamedTuple):
    """What to expect.

    Attributes
    ----------
    value : float
        The number.
    low, high : float or None
        The range that holds nine of ten; None if there are too few runs to tell.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> "Estimate":
        """Return it of so many times as much."""
        return Estimate(*(None if one is None else factor * one for one in self))  # type: ignore[arg-type]


class _Column:
    """A parameter: what each of its values is as a few numbers, which the known runs have on average 0 of.

    Parameters
    ----------
    values
        Those of the known runs, as `kind_of` gives them.
    is_log
        Whether the logarithm of a number counts.
    is_bent
        Whether it does beyond the largest known one, where what was exponential goes on as a power.

    A number that counts as it is does so up to a few deviations beyond the known ones; from there on its logarithm
    does, so that nothing far away is exponentially wrong.
    """

    def __init__(self, values: Sequence[Hashable], is_log: bool, is_bent: bool = False) -> None:
        self.is_log, self._is_bent, count = is_log, is_bent, len(values)
        counted = Counter(values)
        self.only = next(iter(counted)) if len(counted) == 1 else None
        self.varies = len(counted) > 1
        self.labels: dict[Hashable, tuple[float, float]] = {}  # part of the runs, and what makes its deviation 1
        self._middle, self._width = 0.0, 0.0
        numbers = {one: times for one, times in counted.items() if isinstance(one, float)}
        self._least, self._most = min(numbers, default=0.0), max(numbers, default=0.0)
        # Where there are zeros, the logarithm is of what is above: of 1 + n where n counts from 0.
        self._above = min((one for one in numbers if one > 0), default=0.0) if self._least == 0 else 0.0
        scaled = [(self._scaled(one), times) for one, times in numbers.items()]
        if self.varies and len(scaled) > 1:
            total = sum(times for _, times in scaled)
            self._middle = sum(one * times for one, times in scaled) / total
            # Not as a power, which raises where this is infinite.
            squares = sum((away := one - self._middle) * away * times for one, times in scaled)
            width = math.sqrt(squares / count)
            self._width = width if math.isfinite(width) and width > 1e-12 * abs(self._middle) else 0.0
        for one, times in counted.most_common():
            often = 2 <= times < count and not isinstance(one, float)
            if self.varies and often and len(self.labels) < MOST_LABELS:
                part = times / count
                self.labels[one] = part, math.sqrt(part * (1 - part))
        self._known: dict[Hashable, tuple[float, ...]] = {}
        self.seen = frozenset(counted)

    def __len__(self) -> int:
        return (self._width > 0) + len(self.labels)

    def _scaled(self, number: float) -> float:
        if self._is_bent and number > self._most:
            return self._most * (1 + math.log(number / self._most))
        return math.log(number + self._above) if self.is_log else number

    def _standardised(self, value: Any) -> float:
        found = (self._scaled(value) - self._middle) / self._width
        if not self.is_log and not self._is_bent:
            low, high = ((one - self._middle) / self._width for one in (self._least, self._most))
            near = UNTOLD if self.is_untold else AS_IT_IS
            if (beyond := max(found - high, low - found) - near) > 0:
                away = near + math.log1p(beyond)
                found = high + away if found > high else low - away
        return max(-_FARTHEST, min(found, _FARTHEST))

    def features(self, value: Hashable) -> tuple[float, ...]:
        """Return what a value is."""
        found = self._known.get(value)
        if value is _Unsaid.UNSAID:
            return (0.0,) * len(self)
        if found is None:
            made = []
            if self._width:
                is_number = isinstance(value, float) and self._has_log(value)
                made.append(self._standardised(value) if is_number else 0.0)
            made += [((value == label) - part) / width for label, (part, width) in self.labels.items()]
            found = self._known[value] = tuple(made)
        return found

    @property
    def is_untold(self) -> bool:
        """Whether no fit tells if it is a power, since some numbers are negative."""
        return self._width > 0 and self._least < 0

    def clipped(self, number: float) -> float:
        """Return the known number that is nearest."""
        return min(max(number, self._least), self._most)

    def _has_log(self, number: float) -> bool:
        """Tell whether a number has a logarithm here, or needs none."""
        return not self.is_log or number + self._above > 0

    def is_outside(self, value: Hashable) -> bool:
        """Tell whether a number is less, or more, than all that are known."""
        return isinstance(value, float) and self._width > 0 and not self._least <= value <= self._most

    def can_say(self, value: Hashable) -> bool:
        """Tell whether the known runs say anything of such a value: not if none differs from another in it."""
        if not self.varies or value is _Unsaid.UNSAID:
            return value in (self.only, _Unsaid.UNSAID)
        is_beyond = isinstance(value, float) and not (self._width and self._has_log(value))
        return not is_beyond or value in self.seen


class Forecast:
    """What known runs tell of others.

    Parameters
    ----------
    sets
        The parameters of the known runs, all of the same names.
    values
        What is known of each, from 0 on.
    linear
        The parameters whose numbers count as they are, up to the largest known one; None to find out.

    Attributes
    ----------
    runs
        How many are known.
    """

    def __init__(self, sets: Sequence[Params], values: Sequence[float], linear: Collection[str] | None = None) -> None:
        self.runs = len(sets)
        self._other: Forecast | None = None
        names = [name for name in (sets[0] if sets else ()) if name != SEED]
        kinds = {name: [kind_of(one.get(name)) for one in sets] for name in names}
        logs = [math.log(max(value, LEAST)) for value in values]
        self._mean = sum(logs) / len(logs) if logs else 0.0
        wanted = [one - self._mean for one in logs]
        positive = {name for name in names if _is_positive([one for one in kinds[name] if isinstance(one, float)])}
        bent = set(linear or ())
        self._columns = {name: _Column(kinds[name], name in positive - bent, name in bent) for name in names}
        while sum(map(len, self._columns.values())) > MOST_FEATURES:  # of the one with most, which are the rarest
            largest = max(self._columns.values(), key=lambda one: len(one.labels))
            if not largest.labels:
                break
            largest.labels.popitem()
            largest._known.clear()
        if not sets:
            return
        fit, rows = self._fitted(kinds, wanted, (1.0, 1e-3))
        either = [name for name, one in self._columns.items() if one.is_log and one._width and self.runs > FEWEST]
        for name, column in list(self._columns.items()):
            if name in either and linear is None:
                self._columns[name] = _Column(kinds[name], False)
                self._columns[name].labels = column.labels
                other, other_rows = self._fitted(kinds, wanted, (1.0, 1e-3))
                if other.loss < BETTER**2 * fit.loss:
                    fit, rows = other, other_rows
                else:
                    self._columns[name] = column
        if linear is None and either:  # what these runs do not tell apart is told apart by those far away
            chosen = [name for name in either if not self._columns[name].is_log]
            self._other = Forecast(sets, values, () if chosen else either)
        self._fit, rows = self._fitted(kinds, wanted, RIDGES)
        if self._other is not None and BETTER**2 * self._other._fit.loss > self._fit.loss:
            self._other = None  # they do
        self._error = self._error_of_one()
        fitted = [math.exp(self._mean + dot(self._fit.slopes, row)) for row in rows]
        self._scale = sum(max(value, LEAST) for value in values) / sum(fitted)  # so that sums are right, too
        self._spreads = self._spread()

    def _fitted(
        self, kinds: Mapping[str, Sequence[Hashable]], wanted: Sequence[float], ridges: Iterable[float]
    ) -> tuple[Fit, list[list[float]]]:
        """Return the best fit with one of some ridges, and the features of the known runs."""
        columns = [(column, kinds[name]) for name, column in self._columns.items()]
        rows = [[one for column, values in columns for one in column.features(values[i])] for i in range(len(wanted))]
        turned = list(zip(*rows, strict=True))
        gram = [[0.0] * len(turned) for _ in turned]
        for i, left in enumerate(turned):
            for j in range(i + 1):
                gram[i][j] = gram[j][i] = dot(left, turned[j])
        fits = [Fit(rows, wanted, gram, ridge) for ridge in sorted(ridges, reverse=True)]
        least = min(fit.loss for fit in fits)
        return next(fit for fit in fits if fit.loss <= least * (1 + 1e-9) + 1e-18), rows  # the strongest of equals

    def _error_of_one(self) -> float | None:
        """Return how far off one run is, in logarithms: nine of ten are not further, each predicted from the others."""
        if self.runs < FEWEST:
            return None
        seen = sorted(
            abs(error) * math.sqrt(max(1 - leverage, 0.0))
            for error, leverage in zip(self._fit.errors, self._fit.leverages, strict=True)
        )
        rank = math.ceil(COVERED * (self.runs + 1))
        return seen[min(rank, self.runs) - 1] * (1 + FEW / self.runs)

    def _spread(self) -> dict[str, float]:
        """Return how far apart the offsets of a column are, where there are some."""
        spreads, at = {}, 0
        for name, column in self._columns.items():
            offsets = self._fit.slopes[at + len(column) - len(column.labels) : at + len(column)]
            # A standardised offset adds its square to the variance of the logarithms.
            if any(offsets):
                spreads[name] = math.sqrt(dot(offsets, offsets))
            at += len(column)
        return spreads

    # ---- asking ------------------------------------------------------------------------------------------------
    def new_in(self, one: Params) -> str | None:
        """Return a parameter of which the known runs say nothing for this set: in it, they are all the same."""
        for name, column in self._columns.items():
            if not column.can_say(_in(one, name)):
                return name
        return None

    def value(self, one: Params) -> float | None:
        """Return what to expect of a set; None if nothing can be said."""
        features = self._features(one)
        return None if features is None else self._value(features)

    def of(self, one: Params) -> Estimate | None:
        """Return what to expect of a set, and its range; None if nothing can be said."""
        features = self._features(one)
        if features is None:
            return None
        value = self._value(features)
        # A run lies about the median; a sum, about the mean.
        found = self._ranged(value, features, 1.0, self._unseen(one), value / self._scale)
        if (nearest := self._nearest(one)) is not None:
            found = _both(found, self.of(nearest))
        return found if self._other is None or not self._is_outside(one) else _both(found, self._other.of(one))

    def sum_of(self, sets: Iterable[Params]) -> tuple[Estimate, int]:
        """Return what to expect of all sets together, and of how many nothing can be said, which are left out."""
        sets = list(sets)
        found, unsaid = self._sum_of(sets)
        nearest = [self._nearest(one) for one in sets]
        if any(one is not None for one in nearest):
            known = [one if near is None else near for one, near in zip(sets, nearest, strict=True)]
            found = _both(found, self._sum_of(known)[0])
        if self._other is not None and any(map(self._is_outside, sets)):
            found = _both(found, self._other._sum_of(sets)[0])
        return found, unsaid

    def _nearest(self, one: Params) -> Params | None:
        """Return a set with known numbers in place of those far from them of which no fit tells how they go on."""
        untold = [(name, column) for name, column in self._columns.items() if column.is_untold and name in one]
        changed = {
            name: column.clipped(value)
            for name, column in untold
            if isinstance(value := kind_of(one[name]), float) and column.is_outside(value)
        }
        return {**one, **changed} if changed else None

    def _is_outside(self, one: Params) -> bool:
        """Tell whether a number in a set is less, or more, than in all known runs."""
        return any(name in one and column.is_outside(kind_of(one[name])) for name, column in self._columns.items())

    def _sum_of(self, sets: Iterable[Params]) -> tuple[Estimate, int]:
        total, squares, unsaid, unseen = 0.0, 0.0, 0, 0.0
        weights: dict[tuple[float, ...], float] = {}
        for one in sets:
            features = self._features(one)
            if features is None:
                unsaid += 1
                continue
            value = self._value(features)
            total, squares = total + value, squares + value * value
            weights[features] = weights.get(features, 0.0) + value
            unseen += value * self._unseen(one)
        if total == 0:
            return Estimate(0.0, 0.0, 0.0), unsaid
        means = [0.0] * len(self._fit.slopes)
        for features, weight in weights.items():
            for i, feature in enumerate(features):
                means[i] += weight / total * feature
        own = max(squares / total / total, 1 / ALIKE)  # whose square may be 0, or infinite
        return self._ranged(total, means, own, unseen / total), unsaid

    def _features(self, one: Params) -> tuple[float, ...] | None:
        """Return what a set is, as the fit has it; None if nothing can be said of it."""
        if not self.runs:
            return None
        found: tuple[float, ...] = ()
        for name, column in self._columns.items():
            value = _in(one, name)
            if not column.can_say(value):
                return None
            found += column.features(value)
        return found

    def _value(self, features: Sequence[float]) -> float:
        return self._scale * math.exp(min(self._mean + dot(self._fit.slopes, features), _LARGEST))

    def _unseen(self, one: Params) -> float:
        """Return the variance that values add which no known run has."""
        found = 0.0
        for name, spread in self._spreads.items():
            value = _in(one, name)
            if not isinstance(value, float | _Unsaid) and value not in self._columns[name].seen:
                found += spread * spread
        return found

    def _ranged(
        self, value: float, features: Sequence[float], own: float, unseen: float, middle: float | None = None
    ) -> Estimate:
        """Return a number with its range: from the slopes, which may be off, and from what runs are off themselves."""
        if self._error is None:
            return Estimate(value)
        variance = 1 / self.runs + quadratic(self._fit.inverse, features) + own
        off = min(math.sqrt(self._error**2 * variance + 1.645**2 * unseen), _LARGEST)
        middle = value if middle is None else middle
        return Estimate(value, min(middle / math.exp(off), value), max(middle * math.exp(off), value))


def _both(found: Estimate, other: Estimate | None) -> Estimate:
    """Return an estimate with a range that holds that of another one, too."""
    if other is None or None in (found.low, found.high, other.low, other.high):
        return found
    return Estimate(found.value, min(found.low, other.low), max(found.high, other.high))  # type: ignore[type-var]


def kind_of(value: object) -> Hashable:
    """Return a value as it is compared: a number as a float, else what names it."""
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        return f"enum {value.name}"
    if isinstance(value, bool) or value is None:
        return repr(value)
    try:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        number = float(value) if isinstance(value, int | float | Decimal) or hasattr(value, "__float__") else math.nan
        return number if math.isfinite(number) else repr(value)[:200]
    except Exception as error:  # noqa: BLE001  (of anybody's own value)
        return f"{type(value).__name__} {type(error).__name__}"


def _is_positive(numbers: Sequence[float]) -> bool:
    """Tell whether numbers are from 0 on, and not all 0."""
    return min(numbers, default=1.0) >= 0 and max(numbers, default=1.0) > 0


def _in(one: Params, name: str) -> Hashable:
    return kind_of(one[name]) if name in one else _Unsaid.UNSAID
