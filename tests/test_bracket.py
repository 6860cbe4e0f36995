"""Exact chances of four teams by hand, sums that must hold, and what really happened."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.bracket import (
    Bracket,
    all_pairs,
    forecast_pairs,
    last_sixteen,
    newest_brackets,
    submission,
    win_matrix,
)
from helpers.features import team_features
from helpers.games import Games

SLOTS = [("R1W1", "W01", "W04"), ("R1W2", "W02", "W03"), ("R2CH", "R1W1", "R1W2")]


def four_teams(*played: tuple[int, int]) -> Games:
    """Teams 1 to 4, seeded so, with games (winner, loser) of the tournament played."""
    tag = {"League": "M", "Season": 2020}
    return Games(
        regular=pd.DataFrame(),
        tourney=pd.DataFrame(played, columns=["WTeamID", "LTeamID"]).assign(**tag),
        seeds=pd.DataFrame({"Seed": ["W01", "W02", "W03", "W04"], "TeamID": [1, 2, 3, 4]}).assign(**tag),
        slots=pd.DataFrame(SLOTS, columns=["Slot", "StrongSeed", "WeakSeed"]).assign(**tag),
        teams=pd.DataFrame(),
    )


@pytest.fixture
def bracket() -> Bracket:
    return Bracket(four_teams(), "M", 2020)


def test_pairs_name_the_lower_team_first(bracket):
    assert bracket.pairs()[["Team1", "Team2"]].to_numpy().tolist() == [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]]


def test_chances_of_four_teams_by_hand(bracket):
    wins = win_matrix(bracket.pairs(), [0.7, 0.75, 0.8, 0.6, 0.6, 0.55])
    table = bracket.stage_table(bracket.chances(wins))
    # Team 1 beats 4 (0.8), then meets 2 with 0.6 or 3 with 0.4: 0.8 * (0.6 * 0.7 + 0.4 * 0.75).
    assert table["winner"].to_dict() == pytest.approx({1: 0.576, 2: 0.216, 3: 0.124, 4: 0.084})
    assert table["final"].to_dict() == pytest.approx({1: 0.8, 2: 0.6, 3: 0.4, 4: 0.2})
    assert table["final 4"].tolist() == [1, 1, 1, 1]
    assert table.index[0] == 1


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_every_round_has_as_many_teams_as_places(probabilities):
    bracket = Bracket(four_teams(), "M", 2020)
    table = bracket.stage_table(bracket.chances(win_matrix(bracket.pairs(), probabilities)))
    assert table.sum().tolist() == pytest.approx([4, 2, 1])
    assert (np.diff(table.to_numpy(), axis=1) <= 1e-12).all()


def test_a_whole_tournament_with_play_ins_adds_up(games):
    bracket = Bracket(games, "M", 2020)
    pairs = bracket.pairs()
    table = bracket.stage_table(bracket.chances(win_matrix(pairs, np.linspace(0.05, 0.95, len(pairs)))))
    assert len(pairs) == 68 * 67 / 2
    assert table.sum().tolist() == pytest.approx([64, 32, 16, 8, 4, 2, 1])


def test_chances_agree_with_playing_the_bracket_many_times(games):
    bracket = Bracket(games, "M", 2020)
    pairs = bracket.pairs()
    wins = win_matrix(pairs, np.random.default_rng(0).uniform(0.2, 0.8, len(pairs)))
    exact = bracket.chances(wins)[bracket.final]
    rng, champions = np.random.default_rng(1), []
    for _ in range(4000):
        standing = dict(bracket.team)
        for slot, _ in reversed(list(bracket.walk())):
            if slot in bracket.children:
                one, other = (standing[child] for child in bracket.children[slot])
                standing[slot] = one if rng.uniform() < wins.loc[one, other] else other
        champions.append(standing[bracket.final])
    played = pd.Series(champions).value_counts(normalize=True).reindex(exact.index, fill_value=0)
    assert np.abs(played - exact).max() < 4 * np.sqrt(0.25 / 4000)


def test_winners_are_those_of_the_games():
    bracket = Bracket(four_teams((4, 1), (2, 3), (4, 2)), "M", 2020)
    assert [bracket.winner(slot) for slot in ("W01", "R1W1", "R1W2", "R2CH")] == [1, 4, 2, 4]


def test_a_game_that_is_still_to_be_played_has_no_winner():
    bracket = Bracket(four_teams((4, 1)), "M", 2020)
    assert [bracket.winner(slot) for slot in ("R1W1", "R1W2", "R2CH")] == [4, None, None]


def test_the_team_that_went_on_won_a_game_that_was_called_off():
    bracket = Bracket(four_teams((2, 3), (4, 2)), "M", 2020)  # 1 against 4 has no row, but 4 played the final
    assert [bracket.winner(slot) for slot in ("R1W1", "R1W2", "R2CH")] == [4, 2, 4]


def test_all_simulated_winners_are_known(games):
    for league in "MW":
        bracket = Bracket(games, league, 2019)
        final = games.tourney.query("League == @league and Season == 2019").iloc[-1]
        assert bracket.winner(bracket.final) == final["WTeamID"]


def test_the_drawing_shows_the_likeliest_team_of_each_line():
    bracket = Bracket(four_teams((4, 1), (2, 3), (4, 2)), "M", 2020)
    chances = bracket.chances(win_matrix(bracket.pairs(), [0.7, 0.75, 0.8, 0.6, 0.6, 0.55]))
    drawing = bracket.drawing(chances, pd.Series({1: "One", 2: "Two", 3: "Three", 4: "Four"}))
    assert drawing["label"].to_dict() == {
        "R2CH": "1 One",
        "R1W1": "1 One",
        "W01": "1 One",
        "W04": "4 Four",
        "R1W2": "2 Two",
        "W02": "2 Two",
        "W03": "3 Three",
    }
    assert drawing["happened"].to_dict() == {
        "R2CH": False,
        "R1W1": False,
        "W01": True,
        "W04": True,
        "R1W2": True,
        "W02": True,
        "W03": True,
    }
    assert drawing.loc[["W01", "W04", "W02", "W03", "R1W1", "R2CH"], "height"].tolist() == [0, 1, 2, 3, 0.5, 1.5]
    assert drawing.loc[["W04", "R1W2", "R2CH"], "stage"].tolist() == ["final 4", "final", "winner"]


def test_a_season_without_seeds_is_refused():
    with pytest.raises(LookupError, match="'W' has no seeds or no slots for 2020"):
        Bracket(four_teams(), "W", 2020)


def test_submission_has_kaggles_format():
    pairs = all_pairs("M", 2020, [1103, 1101, 1102])
    file = submission(pairs, np.array([0.1, 0.2, 0.3]))
    assert file["ID"].tolist() == ["2020_1101_1102", "2020_1101_1103", "2020_1102_1103"]
    assert file["Pred"].tolist() == [0.1, 0.2, 0.3]


# What is known before the tournament: the newest regular season, and the seeds of both leagues, of one, or of none


def without(games: Games, table: str, season: int, *leagues: str) -> Games:
    rows = getattr(games, table)
    return replace(games, **{table: rows[(rows["Season"] != season) | ~rows["League"].isin(leagues)]})


NEWEST = 2020
SITUATIONS = {
    "all is there": ([], NEWEST, ["M", "W"]),
    "no seeds": ([("seeds", "M", "W")], NEWEST - 1, ["M", "W"]),
    "the women's seeds are not out": ([("seeds", "W")], NEWEST, ["M"]),
    "the men's slots are missing": ([("slots", "M")], NEWEST, ["W"]),
    "no slots": ([("slots", "M", "W")], NEWEST - 1, ["M", "W"]),
    "one league has seeds, the other slots": ([("seeds", "M"), ("slots", "W")], NEWEST - 1, ["M", "W"]),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_bracket_is_of_the_newest_season_that_has_one_and_the_forecast_of_the_newest(games, situation):
    missing, season, leagues = SITUATIONS[situation]
    for table, *of in [("tourney", "M", "W"), *missing]:
        games = without(games, table, NEWEST, *of)
    brackets = newest_brackets(games)
    assert {league: bracket.season for league, bracket in brackets.items()} == dict.fromkeys(leagues, season)
    pairs = forecast_pairs(team_features(games))
    assert pairs.groupby("League")["Season"].unique().map(list).to_dict() == {"M": [NEWEST], "W": [NEWEST]}
    members = games.regular[games.regular["Season"] == NEWEST].groupby("League")["WTeamID"].nunique()
    assert (pairs.groupby("League").size() >= members * (members - 1) // 2).all()


def test_a_field_that_is_known_in_part_is_no_bracket(games):
    seeds = games.seeds.drop(games.seeds.index[(games.seeds["Season"] == NEWEST) & (games.seeds["Seed"] == "X05")])
    slots = games.slots.drop(games.slots.index[(games.slots["Season"] == NEWEST) & (games.slots["Slot"] == "R6CH")])
    for short in (replace(games, seeds=seeds), replace(games, slots=slots)):
        assert next(iter(newest_brackets(short).values())).season == NEWEST - 1


def test_another_season_can_be_chosen(games):
    assert next(iter(newest_brackets(games, 2017).values())).season == 2017
    assert forecast_pairs(team_features(games), 2017)["Season"].unique().tolist() == [2017]


def test_a_season_that_is_not_there_is_named(games):
    with pytest.raises(LookupError, match="SEASON is 1999; these games have regular seasons from 2015 to 2020"):
        forecast_pairs(team_features(games), 1999)
    with pytest.raises(LookupError, match="No season up to 1999 has a bracket"):
        newest_brackets(games, 1999)


def test_the_last_sixteen_stand_evenly_and_the_rest_between_them(games):
    bracket = newest_brackets(games)["W"]
    matrix = win_matrix(bracket.pairs(), np.full(len(bracket.pairs()), 0.5))
    names = games.teams.set_index("TeamID")["TeamName"]
    lines = last_sixteen(bracket.drawing(bracket.chances(matrix), names))
    assert lines["depth"].value_counts().to_dict() == {4: 16, 3: 8, 2: 4, 1: 2, 0: 1}
    assert sorted(lines.loc[lines["depth"] == 4, "height"]) == list(range(16))
    assert lines.loc[lines["depth"] == 0, "height"].item() == 7.5
