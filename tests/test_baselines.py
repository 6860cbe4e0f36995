"""Rules and regressions, by hand and seen from either team."""

import numpy as np
import pandas as pd
import pytest

from helpers.baselines import (
    PENALTIES,
    TEAM_NUMBERS,
    baselines,
    better_seed_wins,
    choose_features,
    choose_penalty,
    single_numbers,
)
from helpers.features import OUTCOME, Split
from helpers.scoring import best_possible, brier_score


def test_the_win_rate_rule_and_always_half_by_hand(split):
    game = split.validation.iloc[[0]].assign(Team1_WinRatio=0.75, Team2_WinRatio=0.25)
    predictions = baselines(split, game)
    assert predictions["always 0.5"].tolist() == [0.5]
    assert predictions["win-rate rule"].tolist() == [0.75]


def test_the_regressions_do_not_care_who_is_named_first(split):
    sides = {c: c.replace("Team1_", "Team2_") for c in split.validation if c.startswith("Team1_")}
    swapped = split.validation.rename(columns=sides | {new: old for old, new in sides.items()})
    for name, probability in baselines(split, split.validation).items():
        assert np.allclose(probability + baselines(split, swapped)[name], 1), name


def test_single_numbers_learn_each_league_from_itself(split):
    women = split.train["League"] == "W"
    turned = split.train.assign(Team1Won=split.train["Team1Won"].where(~women, 1 - split.train["Team1Won"]))
    honest, other = (single_numbers(train, split.validation) for train in (split.train, turned))
    men = (split.validation["League"] == "M").to_numpy()
    assert list(honest) == TEAM_NUMBERS
    for number, answers in honest.items():
        assert np.allclose(answers[men], other[number][men])
        assert np.allclose(answers[~men], 1 - other[number][~men])


def test_the_strong_features_are_chosen_where_they_score_best(split):
    assert choose_features(split.train, split.validation) == "strong"
    noise = np.random.default_rng(0).normal(size=(len(split.train), 1))
    strong = [c for c in split.train if c.split("_")[1:2] in (["Margin"], ["CarriedElo"], ["Seed"])]
    spoilt = split.train.assign(**dict.fromkeys(strong, noise[:, 0]))
    assert choose_features(spoilt, split.validation) == "box-score"


def test_the_penalty_is_chosen_by_the_validation_seasons(split):
    """Where they are noise, the strongest penalty does least harm; where they repeat the training, the weakest."""
    noise = split.validation.assign(**{OUTCOME: np.arange(len(split.validation)) % 2})
    assert choose_penalty(Split(split.train, noise, split.test), "strong") == min(PENALTIES)
    assert choose_penalty(Split(split.train, split.train, split.test), "strong") == max(PENALTIES)


def test_true_probabilities_beat_every_baseline_in_expectation(games, split):
    everything = pd.concat([split.train, split.validation, split.test])
    truth = brier_score(everything[OUTCOME], everything["TrueProb"])
    assert truth == pytest.approx(best_possible(everything), abs=0.025)
    assert all(truth < brier_score(everything[OUTCOME], p) for p in baselines(split, everything).values())


def test_how_often_the_better_seed_wins_by_hand():
    seeds = {"Team1_Seed": [1, 1, 9, 5, 2], "Team2_Seed": [9, 9, 1, 5, 3], "Team1Won": [1, 0, 0, 1, 1]}
    games = pd.DataFrame({"League": "M", **seeds})
    rates = better_seed_wins(games, at_least=2)
    assert rates[["gap", "rate", "games"]].to_numpy().tolist() == [[8, pytest.approx(2 / 3), 3]]
