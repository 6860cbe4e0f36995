"""The one shape of a fitted model, whatever its library: what was fitted, the columns it wants, its answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_integer_dtype

Watch = Callable[[int, float], None]  # told of each epoch's number, from 1, and its validation loss; may raise Pruned


class Pruned(Exception):  # noqa: N818  no error: somebody decided so
    """A training that was given up, because others had come further by then."""


@dataclass(frozen=True)
class FittedModel(ABC):
    """A model that was trained, or loaded from the registry.

    flavor is what MLflow calls its library, packages are the modules that it needs. model is the library's own object.
    columns are those that it wants, in its order. curves are its losses, mean squared errors, with the columns train
    and validation and one row per epoch, counted from 1; None where it has none.
    """

    flavor: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    model: object
    columns: list[str]
    curves: pd.DataFrame | None = None

    def predict(self, games: pd.DataFrame) -> np.ndarray:
        """The probability that Team1 wins, one number per row; games may have its columns in any order, and others.

        Raises TypeError or ValueError, with the columns and how many rows, for what would be scored wrongly.
        """
        return self._answer(numbers(games, self.columns))

    @abstractmethod
    def tolerance(self, games: pd.DataFrame) -> float:
        """How far apart two ways or two processors may be when they ask this model about the same games."""

    @abstractmethod
    def _answer(self, rows: np.ndarray) -> np.ndarray:
        """The answers to rows of finite float32 numbers, the columns in order."""


def rounding(strengths: Iterable[np.ndarray]) -> float:
    """How far apart two ways may be when they ask a network whose logit is the difference of two strengths.

    Each strength is rounded to float32 at its own size, and the sigmoid's slope is at most 1/4: one way was seen to be
    up to 0.8 * eps * the largest strength away from the exact answers, so two ways may be 4 times eps * that strength
    apart. What is more than 0.01 apart is no rounding.
    """
    largest = max(float(np.abs(strength).max(initial=1)) for strength in strengths)
    return min(0.01, 4 * float(np.finfo("float32").eps) * largest)


def numbers(games: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """The columns, found by their names, as float32, one row per game.

    Raises TypeError for anything but a DataFrame, and ValueError that names columns and counts rows, without showing
    any, where a column is missing or there twice, or where a value is no finite number.
    """
    if not isinstance(games, pd.DataFrame):
        raise TypeError(f"Games come as a pandas DataFrame with named columns, not as {type(games).__name__}.")
    there = {column: (games.columns == column).sum() for column in columns}
    wrong = [f"{column} ({'twice' if n else 'missing'})" for column, n in there.items() if n != 1]
    if wrong:
        raise ValueError(
            f"Each of {len(columns)} columns is needed once, and these are not there once: {', '.join(wrong)}."
        )
    table = np.column_stack([_floats(games[column]) for column in columns])
    bad = dict(zip(columns, (~np.isfinite(table)).sum(axis=0), strict=True))
    if any(bad.values()):
        counts = ", ".join(f"{column} ({n} of {len(games)} rows)" for column, n in bad.items() if n)
        raise ValueError(f"Only finite numbers can be used, and something else is in {counts}.")
    return table


def _floats(column: pd.Series) -> np.ndarray:
    """A column as float32, with NaN for all that is no number: text, truth values, dates."""
    if not (is_float_dtype(column) or is_integer_dtype(column)):
        column = column.astype(object)
        column = column.where([isinstance(value, Real) and not isinstance(value, bool) for value in column])
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused as such
        return column.to_numpy("float64", na_value=np.nan).astype("float32")
