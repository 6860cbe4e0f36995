"""How good predictions are: the Brier score, its calibration, and whether a difference between two is real."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import binom, bootstrap
from sklearn.metrics import brier_score_loss

from helpers.games import LEAGUES

RESAMPLES = 5000


def brier_score(outcome: np.ndarray, probability: np.ndarray) -> float:
    """The mean squared difference between the probability of a win (0 to 1) and the outcome (0 or 1); 0 is perfect.

    Source: G. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78 (1950).
    """
    return float(brier_score_loss(outcome, probability))


def best_possible(games: pd.DataFrame) -> float | None:
    """The Brier score that the true probabilities can expect, mean p(1 - p), or None where nobody knows them."""
    if "TrueProb" not in games:
        return None
    return float((games["TrueProb"] * (1 - games["TrueProb"])).mean())


def score_table(predictions: Mapping[str, np.ndarray], games: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The Brier score of each set of predictions on the same games: all, low and high (a 95 % interval), men, women.

    games has one row per game, with League and Team1Won; each value of predictions is the probability that Team1 wins.
    """
    rows = {}
    for name, probability in predictions.items():
        errors = (np.asarray(probability) - games["Team1Won"]) ** 2
        low, high = mean_interval(errors, seed)
        by_league = {LEAGUES[league]: score for league, score in errors.groupby(games["League"]).mean().items()}
        rows[name] = {"all": errors.mean(), "low": low, "high": high, **by_league}
    return pd.DataFrame(rows).T


def mean_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean of values, which are drawn again game by game.

    Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    low, high = np.percentile(resampled_means(values, seed), [2.5, 97.5])
    return float(low), float(high)


def resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """The means behind mean_interval: one for each time that the values were drawn again."""
    chance = np.random.default_rng(seed)  # by the argument's name in older SciPy, which newer ones take as well
    drawn = bootstrap((np.asarray(values),), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=chance)
    return drawn.bootstrap_distribution


def compare(outcome: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int) -> pd.Series:
    """How much lower the Brier score of `one` is than that of `other` on the same games (negative: it is better).

    A paired bootstrap: what is drawn again is each game's difference, so that the luck of the games, which both
    share, cancels. Gives difference, low, high (a 95 % interval) and whether it leaves 0 out (clear).
    """
    outcome = np.asarray(outcome)
    differences = (np.asarray(one) - outcome) ** 2 - (np.asarray(other) - outcome) ** 2
    low, high = mean_interval(differences, seed) if differences.any() else (0.0, 0.0)
    return pd.Series({"difference": differences.mean(), "low": low, "high": high, "clear": not low <= 0 <= high})


def worst_games(games: pd.DataFrame, number: int = 5) -> pd.DataFrame:
    """The games that cost a model most: those with the highest squared error, one row per game, the worst first.

    games needs Team1Won (0 or 1) and Prediction, the probability that Team1 wins; a column error is added.
    """
    errors = (games["Prediction"] - games["Team1Won"]) ** 2
    return games.assign(error=errors).nlargest(number, "error").reset_index(drop=True)


def reliability(outcome: np.ndarray, probability: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Calibration: games grouped by their probability into bins of equal width, empty ones left out.

    Columns: predicted (mean probability), observed (share of wins), games (how many), low and high (the range that
    holds 95 % of the shares that luck would give if the predicted probability were true).
    """
    group = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    frame = pd.DataFrame({"predicted": probability, "observed": np.asarray(outcome), "games": 1})
    frame = frame.groupby(group).agg({"predicted": "mean", "observed": "mean", "games": "sum"})
    low, high = binom.interval(0.95, frame["games"], frame["predicted"]) / frame["games"].to_numpy()
    return frame.assign(low=low, high=high)
