"""Logistic regressions that predict a game, whichever team is named first, with scikit-learn."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from helpers.features import FEATURE_SETS, OUTCOME, Split, both_orders
from helpers.models import check
from helpers.models.fitted import FittedModel, Watch, numbers
from helpers.surroundings import without_autologging
from helpers.trials import Trial

STOPS = False  # fitted to all games at once
NEEDED, OPTIONAL = {"C"}, set()

steady = nullcontext  # scikit-learn's settings change no answer


@dataclass(frozen=True)
class LinearModel(FittedModel):
    """A pipeline of fit_logistic's: a scaler, and a logistic regression without an intercept."""

    flavor = "sklearn"
    packages = ("sklearn", "skops")
    model: Pipeline

    def tolerance(self, games: pd.DataFrame) -> float:
        """How far apart two ways or two processors may be when they ask this model about the same games.

        One way rounds the features to float32 and another may not: each term of the logit moves by eps of its size at
        most, and the sigmoid's slope is at most 1/4.
        """
        weights = self.model[-1].coef_[0] / self.model[0].scale_
        terms = np.abs(numbers(games, self.columns) * weights).sum(axis=1)
        return float(np.finfo("float32").eps) * float(terms.max(initial=1))

    def _answer(self, rows: np.ndarray) -> np.ndarray:
        games = pd.DataFrame(rows.astype(float), columns=self.columns)
        return self.model.predict_proba(games)[:, 1] if len(games) else np.empty(0)


def use_cores(number: int) -> None:
    """Nothing: fit_logistic keeps to one core, whose sums do not depend on how many there are."""


def train(trial: Trial, split: Split, start: LinearModel | None = None, watch: Watch | None = None) -> LinearModel:
    """A logistic regression fitted to every game of split.train in both orders, with the trial's C.

    It has one best fit, so neither a seed nor a start matters, and no epochs to watch. Raises ValueError for a trial
    that cannot be trained, when a value in the columns is no finite number, or where a model is to be trained further.
    """
    check(trial)
    if start:
        raise ValueError("A logistic regression starts from nothing; train one on all the games instead.")
    columns = FEATURE_SETS[trial.features]
    numbers(split.train, columns)
    return LinearModel(fit_logistic(split.train[columns], split.train[OUTCOME], trial.parameters["C"]), columns)


@without_autologging()
def fit_logistic(games: pd.DataFrame, outcome: pd.Series, C: float) -> Pipeline:
    """A pipeline whose predict_proba gives the probability that Team1 loses, and that it wins, one row per game.

    games has raw features, Team1's half first; C is the inverse of the ridge penalty, for a game counted twice.
    Without an intercept, p(A, B) = 1 - p(B, A) holds once the two halves' weights are opposite, which the best fit to
    both orders makes them but for the solver's last digits.
    Source: S. le Cessie and J. van Houwelingen, Ridge estimators in logistic regression, Applied Statistics 41 (1992).
    """
    regression = LogisticRegression(C=C, fit_intercept=False, max_iter=10_000)
    model = make_pipeline(StandardScaler(with_mean=False), regression)
    both, won = both_orders(games, outcome)
    with threadpool_limits(1, user_api="blas"):
        model.fit(both.astype(float), won)
    one, other = np.split(regression.coef_[0], 2)
    regression.coef_ = np.concatenate([one - other, other - one])[None] / 2
    return model
