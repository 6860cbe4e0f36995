"""What a network has to beat: rules and logistic regressions on the same matchup table."""

import numpy as np
import pandas as pd

from helpers.features import FEATURE_SETS, OUTCOME, Split
from helpers.models.sklearn import fit_logistic
from helpers.scoring import brier_score

TEAM_NUMBERS = ["WinRatio14", "WinRatio", "Elo", "Seed", "CarriedElo", "Margin"]
PENALTIES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]  # values of C, the strongest penalty first
SEEDS = [f"Team{side}_{feature}" for side in (1, 2) for feature in ("Seed", "Seed_women")]


def baselines(split: Split, games: pd.DataFrame) -> dict[str, np.ndarray]:
    """The probability that Team1 wins each of games, by the name of the baseline.

    The regressions are fitted on split.train, and that on the strong features is held back by choose_penalty's C.
    """
    strong, penalty = FEATURE_SETS["strong"], choose_penalty(split, "strong")
    return {
        "always 0.5": np.full(len(games), 0.5),
        "win-rate rule": ((games["Team1_WinRatio"] - games["Team2_WinRatio"] + 1) / 2).to_numpy(),
        "seeds, logistic regression": _logistic(split.train, games, SEEDS),
        "42 box-score features, logistic regression": _logistic(split.train, games, FEATURE_SETS["box-score"]),
        "strong features, logistic regression": _logistic(split.train, games, strong, penalty),
    }


def choose_penalty(split: Split, features: str) -> float:
    """The C in PENALTIES whose logistic regression, fitted on split.train, has the best validation Brier score."""
    outcome, columns = split.validation[OUTCOME], FEATURE_SETS[features]
    return min(PENALTIES, key=lambda C: brier_score(outcome, _logistic(split.train, split.validation, columns, C)))


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


def _logistic(train: pd.DataFrame, games: pd.DataFrame, columns: list[str], C: float = 1.0) -> np.ndarray:
    """A logistic regression that does not care which team is named first."""
    return fit_logistic(train[columns], train[OUTCOME], C).predict_proba(games[columns].astype(float))[:, 1]
