"""The matchup table against a loop over the games, as one would first write it."""

from collections import defaultdict

import numpy as np
import pandas as pd

from helpers.features import FEATURE_SETS, elo_ratings, matchup_table, season_averages
from tests.benchmarks.common import check, default_games, measure, show

REPEATS = 3
K = {"H": 20.0, "N": 30.0, "A": 40.0}
BOX_SCORE = [name.removeprefix("Team1_") for name in FEATURE_SETS["box-score"] if name.startswith("Team1_")]
MEANS = [name.removesuffix("_against") for name in BOX_SCORE if name.endswith("_against")]


def features() -> None:
    """All features of all seasons by the helpers; the box-score features of the men's last season by both ways."""
    games = default_games()
    regular = games.regular
    season = regular[(regular["League"] == "M") & (regular["Season"] == regular["Season"].max())]
    ways = {
        "matchup_table, all features, all seasons": (regular, lambda: matchup_table(games)),
        "season_averages and elo_ratings, a season": (season, lambda: _by_columns(season)),
        "the loop, a season": (season, lambda: _by_rows(season)),
    }
    rows = [(way, len(on), min(measure(work)[0] for _ in range(REPEATS))) for way, (on, work) in ways.items()]
    table = pd.DataFrame(rows, columns=["way", "games", "seconds"])
    table["games/s"] = table["games"] / table["seconds"]
    table["ratio to the loop"] = table["games/s"] / table["games/s"].iloc[-1]
    show(f"features: the loop (iterrows) computes season means, win ratios and Elo alone; best of {REPEATS}", table)
    apart = (_by_columns(season) - _by_rows(season))[BOX_SCORE].abs().to_numpy().max()  # NaN where a team is missing
    check({f"the {len(BOX_SCORE)} features of both ways agree to 1e-6": apart <= 1e-6})


def _by_columns(season: pd.DataFrame) -> pd.DataFrame:
    teams = season_averages(season).assign(Elo=elo_ratings(season, season["WLoc"].map(K)))
    return teams.droplevel(["League", "Season"])


def _by_rows(season: pd.DataFrame) -> pd.DataFrame:
    """A team a row, from one game after the other."""
    last_day = season["DayNum"].max()
    played, late, elo = defaultdict(list), defaultdict(list), defaultdict(lambda: 1500.0)
    for _, game in season.sort_values("DayNum").iterrows():
        winner, loser = game["WTeamID"], game["LTeamID"]
        gain = K[game["WLoc"]] * (1 - 1 / (1 + 10 ** ((elo[loser] - elo[winner]) / 400)))
        for team, own, other, won in ((winner, "W", "L", 1.0), (loser, "L", "W", 0.0)):
            means = {name: game[own + name] for name in MEANS}
            means |= {f"{name}_against": game[other + name] for name in MEANS}
            played[team].append(means | {"WinRatio": won})
            if game["DayNum"] > last_day - 14:
                late[team].append(won)
            elo[team] += gain if won else -gain
    teams = pd.DataFrame({team: pd.DataFrame(lines).mean() for team, lines in played.items()}).T
    teams["WinRatio14"] = [np.mean(late[team] or [line["WinRatio"] for line in played[team]]) for team in teams.index]
    return teams.assign(Elo=[elo[team] for team in teams.index])
