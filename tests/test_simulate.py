"""The simulated league has the shape of Kaggle's tables, the law it claims, and the figures of real basketball."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from helpers.games import BOX_STATISTICS, Games
from helpers.simulate import simulate_games

# Measured on Kaggle's games of 2015-2019 and 2022-2024 (round one and better seed: 2003-2025).
REAL = json.loads(Path(__file__).with_name("calibration.json").read_text())
SEASONS = range(2011, 2025)
both_leagues = pytest.mark.parametrize("league", ["M", "W"])


@pytest.fixture(scope="module")
def games() -> Games:
    return simulate_games(seed=2024, seasons=SEASONS)


@pytest.fixture(scope="module")
def ratings(games: Games) -> dict[str, pd.DataFrame]:
    """League -> a row a season: home advantage, residual sd, and each team's rating by a ridge margin model."""
    return {league: _of(games.regular, league).groupby("Season").apply(_rate) for league in REAL}


def _of(table: pd.DataFrame, league: str) -> pd.DataFrame:
    return table[table["League"] == league]


def _rate(season: pd.DataFrame) -> pd.Series:
    teams = np.unique(season[["WTeamID", "LTeamID"]])
    design = (season[["WTeamID"]].to_numpy() == teams).astype(float) - (season[["LTeamID"]].to_numpy() == teams)
    design = np.column_stack([season["WLoc"].map({"H": 1, "A": -1, "N": 0}), design])
    margin = (season["WScore"] - season["LScore"]).to_numpy()
    penalty = np.diag([0.0] + [1.0] * len(teams))
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ margin)
    residual_sd = np.sqrt(np.sum((margin - design @ solution) ** 2) / (len(margin) - len(solution)))
    return pd.Series([solution[0], residual_sd, *solution[1:]], index=["home", "residual_sd", *teams])


def _team_days(table: pd.DataFrame) -> pd.DataFrame:
    sides = [table[["League", "Season", "DayNum", side]].set_axis([*"LSDT"], axis=1) for side in ("WTeamID", "LTeamID")]
    return pd.concat(sides)


def _z(wins: np.ndarray, chances: np.ndarray) -> float:
    return float((wins - chances).sum() / np.sqrt((chances * (1 - chances)).sum()))


def _two_sample_z(rate: float, n: int, other_rate: float, other_n: int) -> float:
    pooled = (rate * n + other_rate * other_n) / (n + other_n)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / other_n))
    return (rate - other_rate) / spread if spread else 0.0


def _seeded(games: Games, league: str) -> pd.DataFrame:
    """The league's tournament games with the seed (1 to 16) of the winner and of the loser."""
    seeds = games.seeds.assign(number=games.seeds["Seed"].str[1:3].astype(int))
    table = _of(games.tourney, league)
    for side in "WL":
        number = seeds.rename(columns={"TeamID": f"{side}TeamID", "number": f"{side}Seed"}).drop(columns="Seed")
        table = table.merge(number, on=["League", "Season", f"{side}TeamID"])
    return table


# The tables


def test_the_same_seed_gives_the_same_tables_and_another_seed_others():
    first, again, other = (simulate_games(seed, [2015, 2016]) for seed in (7, 7, 8))
    for name in ("regular", "tourney", "seeds", "slots", "teams"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(again, name))
    assert not first.regular.equals(other.regular)


def test_numbers_are_whole_and_text_is_text(games: Games):
    text = {"League", "WLoc", "Seed", "Slot", "StrongSeed", "WeakSeed", "TeamName", "Conference"}
    for name in ("regular", "tourney", "seeds", "slots", "teams"):
        table = getattr(games, name)
        assert not table.isna().any().any()
        for column in set(table) - {"WTrueProb"}:
            if column in text:
                assert table[column].map(type).eq(str).all(), column
            else:
                assert table[column].dtype == np.int64, column


@pytest.mark.parametrize("name", ["regular", "tourney"])
def test_games_stand_in_order_under_kaggles_columns(games: Games, name: str):
    table = getattr(games, name)
    result = ["League", "Season", "DayNum", "WTeamID", "WScore", "LTeamID", "LScore", "WLoc", "NumOT"]
    assert list(table) == [*result, *("W" + s for s in BOX_STATISTICS), *("L" + s for s in BOX_STATISTICS), "WTrueProb"]
    order = ["League", "Season", "DayNum"]
    assert table[order].equals(table[order].sort_values(order, ignore_index=True))


def test_team_names_are_unique_and_every_team_plays(games: Games):
    for _, teams in games.teams.groupby("League"):
        assert teams["TeamName"].is_unique
        assert teams["Conference"].value_counts().between(8, 14).all()
        assert teams["Conference"].nunique() == 32
    assert set(games.regular["WTeamID"]) | set(games.regular["LTeamID"]) == set(games.teams["TeamID"])


@pytest.mark.parametrize("name", ["regular", "tourney"])
@pytest.mark.parametrize("side", ["W", "L"])
def test_box_scores_are_possible(games: Games, name: str, side: str):
    table = getattr(games, name)
    box = table[[side + s for s in BOX_STATISTICS]].set_axis(BOX_STATISTICS, axis=1)
    opponent = {"W": "L", "L": "W"}[side]
    assert (table[side + "Score"] == 2 * box["FGM"] + box["FGM3"] + box["FTM"]).all()
    assert (box >= 0).all().all()
    assert (box["FTM"] <= box["FTA"]).all()
    assert (box["FGM3"] <= box["FGA3"]).all()
    assert (box["FGM3"] <= box["FGM"]).all()
    assert (box["FGM"] - box["FGM3"] <= box["FGA"] - box["FGA3"]).all()
    assert (box["Ast"] <= box["FGM"]).all()
    assert (box["Stl"] <= table[opponent + "TO"]).all()


def test_the_winner_scored_more_and_no_team_plays_twice_a_day(games: Games):
    both = pd.concat([games.regular, games.tourney])
    assert (both["WScore"] > both["LScore"]).all()
    assert not _team_days(both).duplicated().any()


# The tournament


@both_leagues
def test_a_tournament_has_its_teams_and_games(games: Games, league: str):
    teams = _of(games.seeds, league).groupby("Season").size()
    expected = pd.Series({year: 64 if league == "W" and year < 2022 else 68 for year in SEASONS})
    assert teams.to_dict() == expected.to_dict()
    assert _of(games.tourney, league).groupby("Season").size().to_dict() == (expected - 1).to_dict()
    assert _of(games.slots, league).groupby("Season").size().to_dict() == (expected - 1).to_dict()
    assert _of(games.tourney, league)["DayNum"].min() > _of(games.regular, league)["DayNum"].max()


def test_every_slot_is_filled_by_the_winner_of_its_game(games: Games):
    seasons = games.tourney.groupby(["League", "Season"])
    for (league, year), table in seasons:
        standing = _of(games.seeds[games.seeds["Season"] == year], league).set_index("Seed")["TeamID"].to_dict()
        winner = {frozenset(pair): pair[0] for pair in zip(table["WTeamID"], table["LTeamID"], strict=True)}
        slots = _of(games.slots[games.slots["Season"] == year], league)
        first = ~slots["Slot"].str.startswith("R")
        ordered = pd.concat([slots[first], slots[~first].sort_values("Slot")])
        for slot, strong, weak in ordered[["Slot", "StrongSeed", "WeakSeed"]].itertuples(index=False):
            standing[slot] = winner.pop(frozenset([standing[strong], standing[weak]]))
        assert not winner
        assert standing["R6CH"] == table["WTeamID"].iloc[-1]


def test_slots_are_wired_as_kaggles(games: Games):
    wired = {
        "R1X1": ("X01", "X16"),
        "R1Y5": ("Y05", "Y12"),
        "R2Z1": ("R1Z1", "R1Z8"),
        "R2W3": ("R1W3", "R1W6"),
        "R3X2": ("R2X2", "R2X3"),
        "R4Y1": ("R3Y1", "R3Y2"),
        "R5YZ": ("R4Y1", "R4Z1"),
        "R6CH": ("R5WX", "R5YZ"),
    }
    for _, slots in games.slots.groupby(["League", "Season"]):
        sides = slots.set_index("Slot")[["StrongSeed", "WeakSeed"]]
        assert {slot: tuple(sides.loc[slot]) for slot in wired} == wired
        play_ins = sides[~sides.index.str.startswith("R")]
        assert (play_ins["StrongSeed"] == play_ins.index + "a").all()
        assert (play_ins["WeakSeed"] == play_ins.index + "b").all()


def test_each_conference_sends_a_team(games: Games):
    conference = games.teams.set_index("TeamID")["Conference"]
    sent = games.seeds.assign(conference=games.seeds["TeamID"].map(conference))
    assert (sent.groupby(["League", "Season"])["conference"].nunique() == 32).all()


def test_only_the_womens_top_four_seeds_host_and_only_in_rounds_one_and_two(games: Games):
    assert (_of(games.tourney, "M")["WLoc"] == "N").all()
    table = _seeded(games, "W")
    hosts = table["WSeed"].where(table["WLoc"] == "H", table["LSeed"])[table["WLoc"] != "N"]
    assert (hosts <= 4).all()
    early = table["DayNum"].between(137, 140)
    assert ((table["WLoc"] != "N") == (early & (table[["WSeed", "LSeed"]].min(axis=1) <= 4))).all()


# The known truth


@both_leagues
@pytest.mark.parametrize("place", ["home", "neutral", "tournament"])
def test_the_true_probability_is_how_often_it_happens(games: Games, league: str, place: str):
    table = _of(games.tourney if place == "tournament" else games.regular, league)
    if place != "tournament":
        table = table[(table["WLoc"] == "N") == (place == "neutral")]
    # Seen from the home side, or else from the team with the lower number: never from who won.
    seen = np.where(table["WLoc"] == "N", table["WTeamID"] < table["LTeamID"], table["WLoc"] == "H")
    chance = np.where(seen, table["WTrueProb"], 1 - table["WTrueProb"])
    assert abs(_z(seen, chance)) < 4
    for low in np.arange(0, 1, 0.1):
        inside = (chance >= low) & (chance < low + 0.1)
        assert abs(_z(seen[inside], chance[inside])) < 4, f"between {low:.1f} and {low + 0.1:.1f}"


# The figures of real basketball


@both_leagues
def test_scores_and_margins(games: Games, league: str):
    table, real = _of(games.regular, league), REAL[league]["points"]
    margin, points = table["WScore"] - table["LScore"], table[["WScore", "LScore"]].to_numpy()
    assert margin.mean() == pytest.approx(real["abs_margin_mean"], rel=0.05)
    assert margin.median() == pytest.approx(real["abs_margin_median"], rel=0.05)
    assert np.sqrt((margin**2).mean()) == pytest.approx(real["margin_rms"], rel=0.05)
    assert points.mean() == pytest.approx(real["mean"], rel=0.05)
    assert points.std() == pytest.approx(real["sd"], rel=0.05)
    assert points.sum(axis=1).std() == pytest.approx(real["total_sd"], rel=0.05)


@both_leagues
def test_a_margin_model_finds_home_advantage_spread_and_noise(ratings: dict, league: str):
    table, real = ratings[league], REAL[league]["ridge"]
    strength = table.drop(columns=["home", "residual_sd"])
    assert table["home"].mean() == pytest.approx(real["hca"], rel=0.05)
    assert table["residual_sd"].mean() == pytest.approx(real["resid_sd_dof"], rel=0.05)
    assert strength.std(axis=1).mean() == pytest.approx(real["team_sd"], rel=0.05)
    seasons = strength.to_numpy()
    autocorrelation = np.mean([np.corrcoef(*pair)[0, 1] for pair in pairwise(seasons)])
    assert autocorrelation == pytest.approx(REAL[league]["strength_autocorr_1yr"], abs=0.03)


@both_leagues
def test_the_committee_seeds_by_strength_as_well_as_the_real_one(games: Games, ratings: dict, league: str):
    seeds = _of(games.seeds, league)
    rating = [ratings[league].loc[year, team] for year, team in zip(seeds["Season"], seeds["TeamID"], strict=True)]
    seeds = seeds.assign(number=seeds["Seed"].str[1:3].astype(int), rating=rating)
    agreement = [-table["number"].corr(table["rating"], method="spearman") for _, table in seeds.groupby("Season")]
    assert np.mean(agreement) == pytest.approx(REAL[league]["seed_strength_spearman"], abs=0.06)


@both_leagues
@pytest.mark.parametrize("statistic", BOX_STATISTICS)
def test_box_score_statistics(games: Games, league: str, statistic: str):
    values = _of(games.regular, league)[["W" + statistic, "L" + statistic]]
    mean, sd = REAL[league]["statistics"][statistic]
    assert values.to_numpy().mean() == pytest.approx(mean, rel=0.05)
    assert values.to_numpy().std() == pytest.approx(sd, rel=0.05)
    gap = values["W" + statistic].mean() - values["L" + statistic].mean()
    assert gap == pytest.approx(REAL[league]["winner_less_loser"][statistic], abs=0.1 * sd)


@both_leagues
def test_overtime(games: Games, league: str):
    rate = (_of(games.regular, league)["NumOT"] > 0).mean()
    assert rate == pytest.approx(REAL[league]["overtime_rate"], rel=0.15)


@both_leagues
def test_schedule(games: Games, league: str):
    table, real = _of(games.regular, league), REAL[league]
    assert len(table) / len(SEASONS) == pytest.approx(real["games_per_season"], rel=0.05)
    assert _team_days(table).groupby(["S", "T"]).size().mean() == pytest.approx(real["games_per_team"], rel=0.05)
    shares = pd.cut(table["DayNum"], [-1, 60, 114, 132]).value_counts(normalize=True, sort=False)
    assert shares.tolist() == pytest.approx(list(real["daynum"].values()), abs=0.03)
    conference = games.teams.set_index("TeamID")["Conference"]
    within = table["WTeamID"].map(conference) == table["LTeamID"].map(conference)
    assert within.mean() == pytest.approx(real["conf_game_share"], abs=0.03)


@both_leagues
def test_places(games: Games, league: str):
    share, real = _of(games.regular, league)["WLoc"].value_counts(normalize=True), REAL[league]["loc"]
    for place, name in (("H", "home_win"), ("A", "away_win"), ("N", "neutral")):
        assert share[place] == pytest.approx(real[name], abs=0.03)
    assert share["H"] / (share["H"] + share["A"]) == pytest.approx(real["home_win_rate_nonneutral"], abs=0.015)


@both_leagues
def test_upsets(games: Games, league: str):
    table = _seeded(games, league)
    uneven = table[table["WSeed"] != table["LSeed"]]
    better = uneven["WSeed"] < uneven["LSeed"]
    assert abs(_two_sample_z(better.mean(), len(better), *REAL[league]["better_seed"])) < 3
    first = uneven[(uneven["WSeed"] + uneven["LSeed"] == 17) & uneven["DayNum"].between(136, 138)]
    scores = []
    for pairing, (rate, n) in REAL[league]["round_one"].items():
        met = first[first[["WSeed", "LSeed"]].min(axis=1) == int(pairing[0])]
        assert len(met) == 4 * len(SEASONS)
        scores.append(_two_sample_z((met["WSeed"] < met["LSeed"]).mean(), len(met), rate, n))
    assert np.abs(scores).max() < 3
    assert np.square(scores).sum() < chi2.ppf(0.999, len(scores))
