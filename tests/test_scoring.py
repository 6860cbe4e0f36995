"""Scores by hand, and intervals that hold what they promise."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.scoring import (
    best_possible,
    brier_score,
    compare,
    mean_interval,
    reliability,
    resampled_means,
    score_table,
    worst_games,
)


def test_brier_score_by_hand():
    assert brier_score([1, 0, 1], [0.8, 0.3, 0.5]) == pytest.approx((0.04 + 0.09 + 0.25) / 3)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2))
def test_brier_score_is_the_same_seen_from_the_other_team(games):
    outcome, probability = np.array(games, dtype=float).T
    assert brier_score(outcome, probability) == pytest.approx(brier_score(1 - outcome, 1 - probability))


def test_best_possible_is_mean_p_times_one_minus_p_or_unknown():
    assert best_possible(pd.DataFrame({"TrueProb": [0.5, 0.9]})) == pytest.approx((0.25 + 0.09) / 2)
    assert best_possible(pd.DataFrame({"Team1Won": [1, 0]})) is None


def test_score_table_sets_the_leagues_apart():
    games = pd.DataFrame({"League": ["M", "M", "W", "W"], "Team1Won": [1, 0, 1, 1]})
    table = score_table({"sure": np.ones(4)}, games, seed=1)
    assert table.loc["sure", ["all", "men", "women"]].tolist() == [0.25, 0.5, 0.0]
    assert table.loc["sure", "low"] <= 0.25 <= table.loc["sure", "high"]


def test_the_interval_holds_the_mean_about_19_times_in_20():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=60), seed) for seed in range(200)]
    held = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.89 <= held <= 0.985


def test_compare_finds_a_clear_difference_and_not_a_chance_one():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=400)
    outcome = (rng.uniform(size=400) < truth).astype(float)
    better = compare(outcome, truth, np.full(400, 0.5), seed=1)
    assert better["difference"] < 0
    assert better["clear"]
    chance = compare(outcome, truth, np.clip(truth + rng.normal(scale=0.001, size=400), 0, 1), seed=1)
    assert not chance["clear"]


def test_compare_is_paired():
    rng = np.random.default_rng(0)
    outcome = rng.integers(0, 2, 400).astype(float)
    one = rng.uniform(0.05, 0.9, 400)
    result = compare(outcome, one, one + 0.001 * (1 - 2 * outcome), seed=1)  # a hair worse on each game
    assert result["clear"]
    assert result["high"] < 0


def test_compare_of_equals_is_no_difference():
    result = compare([1, 0, 1], [0.6, 0.4, 0.5], [0.6, 0.4, 0.5], seed=1)
    assert (result["difference"], result["low"], result["high"], result["clear"]) == (0, 0, 0, False)


def test_reliability_by_hand():
    bins = reliability([1, 0, 1, 1], np.array([0.91, 0.95, 1.0, 0.02]))
    assert bins["games"].tolist() == [1, 3]
    assert bins["predicted"].tolist() == pytest.approx([0.02, (0.91 + 0.95 + 1.0) / 3])
    assert bins["observed"].tolist() == pytest.approx([1.0, 2 / 3])


def test_ninety_five_of_a_hundred_calibrated_bins_stay_inside_their_range():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        probability = rng.uniform(size=400)
        bins = reliability(rng.uniform(size=400) < probability, probability)
        inside += bins["observed"].between(bins["low"], bins["high"]).tolist()
    assert 0.94 < np.mean(inside) < 0.99  # counts are whole, so the range holds a little more than 95 %


def test_the_intervals_are_the_same_twice():
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)


def test_the_interval_holds_the_middle_of_the_resampled_means():
    values = np.random.default_rng(3).normal(size=60)
    means, (low, high) = resampled_means(values, 1), mean_interval(values, 1)
    assert ((means >= low) & (means <= high)).mean() == pytest.approx(0.95, abs=0.001)
    assert means.mean() == pytest.approx(values.mean(), abs=0.02)


def test_the_worst_games_are_those_with_the_largest_error():
    games = pd.DataFrame({"Team1Won": [1, 0, 1], "Prediction": [0.9, 0.8, 0.3]})
    worst = worst_games(games, 2)
    assert worst["Prediction"].tolist() == [0.8, 0.3]
    assert worst["error"].tolist() == pytest.approx([0.64, 0.49])
