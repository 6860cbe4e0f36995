"""What a network has to beat: rules and logistic regressions on the same matchup table."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.features import FEATURE_SETS, OUTCOME
from helpers.scoring import brier_score
from helpers.surroundings import without_autologging

TEAM_NUMBERS = ["WinRatio14", "WinRatio", "Elo", "Seed", "CarriedElo", "Margin"]
SEEDS = [f"Team{side}_{feature}" for side in (1, 2) for feature in ("Seed", "Seed_women")]


def baselines(train: pd.DataFrame, games: pd.DataFrame) -> dict[str, np.ndarray]:
    """The probability that Team1 wins each of games, by the name of the baseline, fitted on train where it fits."""
    regressions = {
        "seeds, logistic regression": SEEDS,
        "42 box-score features, logistic regression": FEATURE_SETS["box-score"],
        "strong features, logistic regression": FEATURE_SETS["strong"],
    }
    return {
        "always 0.5": np.full(len(games), 0.5),
        "win-rate rule": ((games["Team1_WinRatio"] - games["Team2_WinRatio"] + 1) / 2).to_numpy(),
        **{name: _logistic(train, games, columns) for name, columns in regressions.items()},
    }


def single_numbers(train: pd.DataFrame, games: pd.DataFrame) -> dict[str, np.ndarray]:
    """The probability that Team1 wins each of games, by the one number of a team that it was made from.

    A logistic regression for each number and league, fitted on train.
    """
    predictions = {}
    for number in TEAM_NUMBERS:
        answers = pd.Series(np.nan, games.index)
        for league, group in games.groupby("League"):
            columns = [f"Team1_{number}", f"Team2_{number}"]
            answers[group.index] = _logistic(train[train["League"] == league], group, columns)
        predictions[number] = answers.to_numpy()
    return predictions


def better_seed_wins(games: pd.DataFrame, at_least: int = 20) -> pd.DataFrame:
    """How often the better seed wins, by league and by the difference of the seeds (gap): rate (0 to 1) and games.

    Gaps with fewer games than at_least are left out, and so are games of equal seeds.
    """
    gap = (games["Team1_Seed"] - games["Team2_Seed"]).abs()
    better_won = (games["Team1_Seed"] < games["Team2_Seed"]) == (games[OUTCOME] == 1)
    played = games[["League"]].assign(gap=gap, better_won=better_won)[gap > 0]
    rates = played.groupby(["League", "gap"])["better_won"].agg(rate="mean", games="size").reset_index()
    return rates[rates["games"] >= at_least]


def choose_features(train: pd.DataFrame, validation: pd.DataFrame) -> str:
    """The name in FEATURE_SETS whose logistic regression, fitted on train, has the best validation Brier score."""
    return min(
        FEATURE_SETS,
        key=lambda name: brier_score(validation[OUTCOME], _logistic(train, validation, FEATURE_SETS[name])),
    )


@without_autologging()
def _logistic(train: pd.DataFrame, games: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """A logistic regression on the differences of the teams' features, so that p(A, B) = 1 - p(B, A) here too."""
    model = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(fit_intercept=False, max_iter=10_000))
    model.fit(_differences(train, columns), train[OUTCOME])
    return model.predict_proba(_differences(games, columns))[:, 1]


def _differences(games: pd.DataFrame, columns: list[str]) -> np.ndarray:
    one, other = np.hsplit(games[columns].to_numpy(), 2)
    return one - other
