"""Whether a champion still holds, season by season: scores that luck does not explain, and features that moved."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp, kstwo

from helpers.features import OUTCOME
from helpers.scoring import brier_score

DRAWS = 10_000
# Of 200 simulated seasons that were fine, 1 left this range upwards, and 11 left one of 95 %; of those whose favourites
# had lost half of their edge, 166 did.
RANGE = 0.999
# The test takes teams for independent, but those of a conference play each other all winter, so it rings too often:
# in 25 of the same 200 seasons at a stated 0.01, in 1 at 0.0001.
LEVEL = 0.0001
_TWICE = "_women"  # for the women the same numbers once more, for the men zeros


def season_scores(predictions: np.ndarray, games: pd.DataFrame, seed: int) -> pd.DataFrame:
    """How a model did in seasons that it was not trained on, and how it would do by luck if its chances were true.

    predictions are the chances of Team1 (0 to 1); games has a row for each, with League, Season, Team1Won. Gives a row
    per season and league: Season, League, games, brier, expected (the Brier score that such a model can expect, mean
    p(1 - p)), low and high (the ends of the range that holds 99.9 % of the scores when outcomes are drawn with its own
    chances), alarm where brier is above high. Below low is too good, which is no alarm.
    Source of the test: D. Spiegelhalter, Probabilistic prediction in patient management, Statistics in Medicine 5
    (1986); here its distribution is drawn, as a season of 63 games is too short for the normal one.
    """
    rows = []
    for (season, league), part in games.assign(p=np.asarray(predictions)).groupby(["Season", "League"]):
        p = part["p"].to_numpy(float)
        low, high = np.quantile(_scores_by_luck(p, seed), [(1 - RANGE) / 2, (1 + RANGE) / 2])
        score = {"brier": brier_score(part[OUTCOME], p), "expected": (p * (1 - p)).mean(), "low": low, "high": high}
        rows.append({"Season": season, "League": league, "games": len(part), **score})
    table = pd.DataFrame(rows, columns=["Season", "League", "games", "brier", "expected", "low", "high"])
    return table.assign(alarm=table["brier"] > table["high"])


def _scores_by_luck(probability: np.ndarray, seed: int) -> np.ndarray:
    """The Brier scores of a season that is played again and again, each time with these chances."""
    won = np.random.default_rng(seed).random((DRAWS, len(probability))) < probability
    return ((won - probability) ** 2).mean(axis=1)


def drift(teams: pd.DataFrame, seasons: Sequence[int], before: Sequence[int]) -> pd.DataFrame:
    """How far each feature of the teams has moved from what it was in the seasons before, as a model learned it.

    teams is what team_features gives; seasons are looked at one by one, and before are the seasons that the model was
    trained on. Gives a row per season, league and feature: Season, League, feature, before and now (means), statistic
    (Kolmogorov and Smirnov's: the largest gap between the shares of teams below a value, 0 to 1), p, limit, alarm where
    statistic is above limit. The limit is what chance leaves, at a level of 0.0001 for all of a season's tests together
    (Bonferroni), or how far the farthest of the seasons before was from the rest of them, if that is more: a model has
    learned from seasons that far apart. So a season that was wrong itself has no place among them. A league that is not
    in both is left out. Raises ValueError where no league is, or where a season is among those before.
    Source: F. Massey, The Kolmogorov-Smirnov test for goodness of fit, JASA 46 (1951).
    """
    if set(seasons) & set(before):
        raise ValueError(f"{min(set(seasons) & set(before))} is among the seasons before: compare it with others.")
    watched = teams.loc[:, ~teams.columns.str.endswith(_TWICE)]
    rows = [
        {"League": league, "feature": feature, **row}
        for league, table in watched.groupby("League")
        for feature, values in table.droplevel("League").items()
        for row in _moves(values.dropna(), seasons, before)
    ]
    if not rows:
        raise ValueError(f"No league has teams in one of {list(seasons)} and in one of {list(before)}.")
    table = pd.DataFrame(rows)
    tests = table.groupby("Season")["feature"].transform("size")
    table["limit"] = np.maximum(kstwo.isf(LEVEL / tests, table.pop("size")), table.pop("apart"))
    table["alarm"] = table["statistic"] > table["limit"]
    order = ["Season", "League", "feature", "before", "now", "statistic", "p", "limit", "alarm"]
    return table.sort_values(["Season", "League"], kind="stable", ignore_index=True)[order]


def _moves(values: pd.Series, seasons: Sequence[int], before: Sequence[int]) -> list[dict[str, float]]:
    """A league's feature in each season against the seasons before, and how far apart those were."""
    year = values.index.get_level_values("Season")
    known, known_year = values[year.isin(before)], year[year.isin(before)]
    parts = [(known[known_year == one], known[known_year != one]) for one in known_year.unique()]
    apart = max((_ks(*part).statistic for part in parts if len(parts) > 1), default=0.0)
    rows = []
    for season in seasons:
        now = values[year == season]
        if len(now) and len(known):
            test, size = _ks(now, known), round(len(now) * len(known) / (len(now) + len(known)))
            means = {"before": known.mean(), "now": now.mean()}
            rows.append({"Season": season, **means, "statistic": test.statistic, "p": test.pvalue})
            rows[-1] |= {"size": size, "apart": apart}
    return rows


def _ks(one: pd.Series, other: pd.Series) -> object:
    return ks_2samp(one, other, method="asymp")  # the exact one warns, and gives up, with thousands of teams
