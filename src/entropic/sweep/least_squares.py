"""Least squares with a ridge, and how far off each run is that is predicted from all others; without numpy."""

from collections.abc import Sequence
from operator import mul


class Fit:
    """Slopes for all features, by least squares with a ridge.

    Attributes
    ----------
    slopes
        One for each.
    inverse
        Of the matrix, by which the error of what is far away is told.
    errors
        Of each run, predicted from all others.
    leverages
        How much each run bears on what is predicted of itself.
    """

    def __init__(self, rows: Sequence[Sequence[float]], wanted: Sequence[float], gram: list[list[float]], ridge: float):
        size, count = len(gram), len(rows)
        matrix = [[gram[i][j] + (ridge if i == j else 0.0) for j in range(size)] for i in range(size)]
        self.inverse = _inverse(matrix)
        moments = [sum(row[i] * one for row, one in zip(rows, wanted, strict=True)) for i in range(size)]
        self.slopes = [dot(line, moments) for line in self.inverse]
        self.leverages = [1 / count + quadratic(self.inverse, row) for row in rows]
        self.errors = [
            (one - dot(self.slopes, row)) / max(1 - leverage, 1e-9)
            for row, one, leverage in zip(rows, wanted, self.leverages, strict=True)
        ]
        self.loss = dot(self.errors, self.errors)


def quadratic(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> float:
    """Return the product of a vector, a matrix, and the vector."""
    return sum(one * dot(line, vector) for one, line in zip(vector, matrix, strict=True))


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the sum of the products of two vectors."""
    found: float = sum(map(mul, left, right))
    return found


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Return the inverse of a matrix that is symmetric and, by its ridge, positive."""
    size = len(matrix)
    lines = [[*line, *(float(i == j) for j in range(size))] for i, line in enumerate(matrix)]
    for i in range(size):
        pivot = lines[i][i]
        lines[i] = [one / pivot for one in lines[i]]
        for j in range(size):
            if j != i and (factor := lines[j][i]):
                lines[j] = [one - factor * other for one, other in zip(lines[j], lines[i], strict=True)]
    return [line[size:] for line in lines]
