"""Ratings and averages by hand, the fast ways against the plain ones, and nothing from after the regular season."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from helpers.features import (
    FEATURE_SETS,
    OUTCOME,
    UNSEEDED,
    add_features,
    elo_ratings,
    fingerprint,
    margin_ratings,
    matchup_table,
    mirror,
    moved,
    season_averages,
    split_by_season,
    team_features,
)
from helpers.games import BOX_STATISTICS
from tests.conftest import ROOT

A, B, C = 1, 2, 3
PRINT_FINGERPRINT = """
from helpers.features import fingerprint, matchup_table, split_by_season
from helpers.simulate import simulate_games
print(fingerprint(split_by_season(matchup_table(simulate_games(5, range(2015, 2021))), 1, 1)))
"""


def played(*games: tuple) -> pd.DataFrame:
    """Regular-season games from (day, winner, points, loser, points, place of the winner), all statistics 1."""
    columns = ["DayNum", "WTeamID", "WScore", "LTeamID", "LScore", "WLoc"]
    table = pd.DataFrame(games, columns=columns).assign(League="M", Season=2020, NumOT=0)
    return table.assign(**{side + statistic: 1 for side in "WL" for statistic in BOX_STATISTICS})


def of(ratings: pd.Series, *teams: int) -> list[float]:
    return [ratings.loc["M", 2020, team] for team in teams]


def test_elo_of_three_games_by_hand():
    games = played((1, A, 70, B, 60, "H"), (2, C, 70, A, 60, "A"), (3, B, 70, C, 60, "N"))
    ratings = elo_ratings(games, k=pd.Series([20.0, 40.0, 30.0]))
    # A - B: even, A gains 20 / 2. C - A: C expected 0.485613, gains 40 * 0.514387. B - C: B expected 0.456112.
    assert of(ratings, A, B, C) == pytest.approx([1489.424513, 1506.316653, 1504.258835], abs=1e-6)


def test_elo_counts_the_home_court_and_carries_over_a_season():
    first = played((1, A, 70, B, 60, "H"))
    second = played((1, B, 70, C, 60, "A")).assign(Season=2021)
    ratings = elo_ratings(pd.concat([first, second]), pd.Series([20.0, 20.0]), home_advantage=100, carried=0.5)
    gain = 20 * (1 - 1 / (1 + 10 ** (-100 / 400)))
    assert of(ratings, A, B) == pytest.approx([1500 + gain, 1500 - gain])
    assert ratings.loc["M", 2021, A] == pytest.approx(1500 + gain / 2)
    away = 20 * (1 - 1 / (1 + 10 ** ((1500 + 100 - (1500 - gain / 2)) / 400)))
    assert ratings.loc["M", 2021, B] == pytest.approx(1500 - gain / 2 + away)


def test_elo_a_day_at_a_time_equals_elo_game_by_game_exactly(games):
    regular, advantage, carried = games.regular, 80.0, 0.8
    k = 10 * np.log1p(regular["WScore"] - regular["LScore"])
    games_in_order = regular.assign(k=k).sort_values(["Season", "DayNum"], kind="stable")
    ratings, last = (
        defaultdict(lambda: np.array([1500.0])),
        None,
    )  # arrays of one: numpy's scalar power rounds its own way
    for game in games_in_order.itertuples():
        if game.Season != last:
            for team in ratings:
                ratings[team] = 1500 + carried * (ratings[team] - 1500)
            last = game.Season
        winner, loser = (game.League, game.WTeamID), (game.League, game.LTeamID)
        home = advantage * {"H": 1, "A": -1, "N": 0}[game.WLoc]
        expected = 1 / (1 + 10 ** ((ratings[loser] - ratings[winner] - home) / 400))
        gain = game.k * (1 - expected)
        ratings[winner], ratings[loser] = ratings[winner] + gain, ratings[loser] - gain
    fast = elo_ratings(regular, k, advantage, carried)
    slow = pd.Series({(league, last, team): rating[0] for (league, team), rating in ratings.items()})
    assert (fast.loc[slow.index] == slow).all()


def test_margin_ratings_of_three_teams_by_hand():
    games = played((1, A, 70, B, 60, "N"), (2, B, 70, C, 60, "N"), (3, A, 80, C, 60, "N"))
    # Each team played two games: (2 + 1) r - (sum of the other two) = 4 r = its summed margin: 30, 0, -30.
    assert of(margin_ratings(games), A, B, C) == pytest.approx([7.5, 0, -7.5])


def test_margin_ratings_take_the_home_court_out():
    games = played((1, A, 70, B, 60, "H"), (2, B, 70, A, 60, "H"))
    assert of(margin_ratings(games), A, B) == pytest.approx([0, 0])


def test_averages_and_win_ratios_by_hand():
    games = played((100, A, 70, B, 60, "H"), (119, B, 70, A, 60, "N"), (132, A, 80, C, 60, "N"))
    games["WFGM"], games["LFGM"] = [30, 20, 25], [10, 15, 5]
    teams = season_averages(games).loc["M", 2020]
    assert teams.loc[A, ["FGM", "FGM_against", "WinRatio", "WinRatio14"]].tolist() == pytest.approx(
        [(30 + 15 + 25) / 3, (10 + 20 + 5) / 3, 2 / 3, 1 / 2]  # days 119 and 132 are within the last 14
    )
    assert teams.loc[B, "WinRatio14"] == 1.0


def test_a_team_without_a_late_game_keeps_its_win_ratio():
    games = played((1, B, 70, A, 60, "H"), (2, B, 70, A, 60, "H"), (3, A, 70, B, 60, "N"), (132, C, 70, B, 60, "N"))
    assert season_averages(games).loc[("M", 2020, A), "WinRatio14"] == pytest.approx(1 / 3)


def test_the_42_features_of_the_series_and_the_strong_ones(games):
    table = matchup_table(games)
    assert len(FEATURE_SETS["box-score"]) == 42
    for columns in FEATURE_SETS.values():
        half = len(columns) // 2
        assert [c.replace("Team1_", "Team2_") for c in columns[:half]] == columns[half:]
        assert table[columns].dtypes.eq("float64").all()
        assert not table[columns].isna().any(axis=None)


def test_ratings_by_league_are_zero_for_the_men(games):
    teams = team_features(games)
    for rating in ("Margin", "CarriedElo", "Seed"):
        assert (teams.loc["M", f"{rating}_women"] == 0).all()
        assert (teams.loc["W", f"{rating}_women"] == teams.loc["W", rating]).all()


def test_seeds_are_those_of_the_season_and_17_outside_the_field(games):
    teams = team_features(games)
    seed = games.seeds.iloc[10]
    assert teams.loc[(seed["League"], seed["Season"], seed["TeamID"]), "Seed"] == int(seed["Seed"][1:3])
    assert (teams["Seed"] == UNSEEDED).sum() == len(teams) - len(games.seeds)


def test_nothing_after_the_regular_season_leaks_into_a_feature(games):
    before = team_features(games)
    tourney = games.tourney.assign(WScore=999, WTeamID=games.tourney["LTeamID"], LTeamID=games.tourney["WTeamID"])
    pd.testing.assert_frame_equal(team_features(replace(games, tourney=tourney)), before)


def test_no_season_knows_a_later_one(games):
    last = games.regular["Season"].max()
    without = replace(
        games,
        regular=games.regular[games.regular["Season"] < last],
        seeds=games.seeds[games.seeds["Season"] < last],
    )
    expected = team_features(games).query("Season < @last")
    pd.testing.assert_frame_equal(team_features(without), expected)


def test_the_order_of_the_games_in_the_table_does_not_matter(games):
    shuffled = replace(games, regular=games.regular.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(team_features(shuffled), team_features(games), rtol=1e-9)


def test_the_matchup_table_names_the_lower_team_first_and_knows_the_winner(games):
    table, tourney = matchup_table(games), games.tourney
    assert (table["Team1"] < table["Team2"]).all()
    winner = table["Team1"].where(table[OUTCOME] == 1, table["Team2"])
    assert (winner.to_numpy() == tourney["WTeamID"].to_numpy()).all()
    truth = table["TrueProb"].where(table[OUTCOME] == 1, 1 - table["TrueProb"])
    assert np.allclose(truth, tourney["WTrueProb"])


@pytest.mark.parametrize(("league", "rounds"), [("M", 1), ("M", 3), ("W", 1), ("W", 5)])
def test_a_season_counts_when_the_finals_of_both_leagues_have_been_played(games, league, rounds):
    tourney, newest = games.tourney, games.tourney["Season"].max()
    ours = tourney[(tourney["League"] == league) & (tourney["Season"] == newest)]
    days = sorted(ours["DayNum"].unique())
    for last_days in (days[-rounds:], days[1:]):
        half = tourney.drop(ours[ours["DayNum"].isin(last_days)].index)
        found = matchup_table(replace(games, tourney=half))
        whole = matchup_table(games)
        pd.testing.assert_frame_equal(found, whole[whole["Season"] < newest])
    one_game = tourney.drop(ours.index[1:])
    assert matchup_table(replace(games, tourney=one_game))["Season"].max() < newest


def test_a_season_with_a_game_that_was_called_off_or_with_another_after_it_counts(games):
    tourney, newest = games.tourney, games.tourney["Season"].max()
    called_off = tourney.drop(tourney[tourney["Season"] == newest].index[10])  # as one of 2021 was
    assert len(matchup_table(replace(games, tourney=called_off))) == len(tourney) - 1
    final = tourney[tourney["Season"] == newest - 1].groupby("League").tail(1)
    assert len(matchup_table(replace(games, tourney=tourney.drop(final.index)))) == len(tourney) - 2


def test_mirror_swaps_the_teams_and_twice_is_once(split, columns):
    games = split.train[columns]
    swapped = mirror(games)
    assert list(swapped) == columns
    assert (swapped["Team1_Margin"] == games["Team2_Margin"]).all()
    pd.testing.assert_frame_equal(mirror(swapped), games)


@pytest.mark.parametrize("league", ["M", "W"])
def test_a_moved_number_moves_alone_and_with_its_womens_twin(split, league):
    game = split.validation[split.validation["League"] == league].head(1)
    rows = moved(game, "Margin", np.array([-1.0, 0.0, 2.0]))
    twin = "Team1_Margin_women"
    assert (rows["Team1_Margin"] - game["Team1_Margin"].item()).tolist() == pytest.approx([-1, 0, 2])
    expected = [-1, 0, 2] if league == "W" else [0, 0, 0]
    assert (rows[twin] - game[twin].item()).tolist() == pytest.approx(expected)
    rest = [column for column in game if column not in ("Team1_Margin", twin)]
    assert (rows[rest] == game[rest].iloc[0]).all(axis=None)


def test_a_team_that_never_played_is_named(games):
    pair = pd.DataFrame({"League": ["M"], "Season": [2015], "Team1": [1101], "Team2": [4242]})
    with pytest.raises(ValueError, match="Team 4242 has no regular-season games in 2015, league M; leave it out"):
        add_features(pair, team_features(games))


def test_the_split_is_by_season_and_loses_no_game(games):
    table = matchup_table(games)
    split = split_by_season(table, validation_seasons=2, test_seasons=1)
    assert set(split.train["Season"]) == {2015, 2016, 2017}
    assert set(split.validation["Season"]) == {2018, 2019}
    assert set(split.test["Season"]) == {2020}
    assert len(split.train) + len(split.validation) + len(split.test) == len(table)


def test_the_fingerprint_changes_with_a_value_a_row_or_a_name_and_with_nothing_else(games):
    split = split_by_season(matchup_table(games), 1, 1)
    same = fingerprint(split)
    assert fingerprint(split_by_season(matchup_table(games), 1, 1)) == same
    nudged = split.train.copy()
    nudged.loc[0, "Team1_Margin"] += 1e-9
    renamed = split.train.rename(columns={"Team1_Margin": "Margin1"})
    for train in (nudged, split.train.iloc[1:], renamed):
        assert fingerprint(replace(split, train=train)) != same
    assert fingerprint(replace(split, test=split.test.iloc[:3])) == same


def test_the_fingerprint_is_the_same_on_another_processor(split):
    """Whoever shares a server would otherwise train the others' trials again, and take a champion for one of others."""
    older = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX X86_V4"}
    command = [sys.executable, "-c", PRINT_FINGERPRINT]
    there = subprocess.run(command, cwd=ROOT, env=older, capture_output=True, text=True, check=True).stdout
    assert there.strip() == fingerprint(split)


def test_a_whole_league_without_home_games_is_rated(games):
    neutral = games.regular.query("League == 'M' and Season == 2015").assign(WLoc="N")
    assert np.isfinite(margin_ratings(neutral)).all()
