"""What a team is when the regular season ends, and the matchup table that sets two teams side by side."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.games import Games

TEAM = ["League", "Season", "TeamID"]
MATCHUP = ["League", "Season", "Team1", "Team2"]
OUTCOME = "Team1Won"
UNSEEDED = 17  # a team outside the field counts as one line below the last
PLACES = 6  # of a rating; the digits that processors disagree in, from the twelfth on, would make other games of these

_AVERAGED = ["FGM", "FGA", "FGM3", "FGA3", "OR", "DR", "Ast", "Stl", "PF"]
_RATINGS = ["Margin", "CarriedElo", "Seed"]
_TEAM_FEATURES = {
    "box-score": [*_AVERAGED, *[f"{name}_against" for name in _AVERAGED], "WinRatio", "WinRatio14", "Elo"],
    "strong": [*_RATINGS, *[f"{rating}_women" for rating in _RATINGS]],
}
FEATURE_SETS = {
    name: [f"Team{side}_{feature}" for side in (1, 2) for feature in features]
    for name, features in _TEAM_FEATURES.items()
}


@dataclass(frozen=True)
class Split:
    """The matchup table cut by season: the oldest to train on, then some to choose by, the last for the one score."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def matchup_table(games: Games) -> pd.DataFrame:
    """One row per game of a finished tournament: the two teams, each with its features, and whether the first one won.

    Team1 has the lower TeamID, as in Kaggle's submissions, so the order tells nothing. Columns: League, Season,
    Team1, Team2, the columns of every set in FEATURE_SETS, Team1Won (0 or 1), and for simulated games TrueProb,
    the probability that Team1 wins.
    """
    tourney = finished_tournaments(games)
    first_won = tourney["WTeamID"] < tourney["LTeamID"]
    pairs = tourney[["League", "Season"]].assign(
        Team1=tourney["WTeamID"].where(first_won, tourney["LTeamID"]),
        Team2=tourney["LTeamID"].where(first_won, tourney["WTeamID"]),
    )
    table = add_features(pairs, team_features(games)).assign(**{OUTCOME: first_won.astype("int64")})
    if "WTrueProb" in tourney:
        table["TrueProb"] = tourney["WTrueProb"].where(first_won, 1 - tourney["WTrueProb"])
    return table


def finished_tournaments(games: Games) -> pd.DataFrame:
    """The tournament games of all seasons but one whose tournament is still being played, in one league or in both.

    Such a season would be another test season each day; until its finals it is one to forecast. It is the newest with
    a regular season, and has not come down to one team that played and never lost.
    """
    newest = games.regular["Season"].max()
    of_newest = games.tourney[games.tourney["Season"] == newest]
    for league, played in of_newest.groupby("League"):
        seeds = games.seeds[(games.seeds["Season"] == newest) & (games.seeds["League"] == league)]
        unbeaten = set(played["WTeamID"]) - set(played["LTeamID"])
        if len(unbeaten) > 1 or 2 * len(played) < len(seeds):  # its first game, too, leaves one
            return games.tourney.drop(of_newest.index)
    return games.tourney


def add_features(pairs: pd.DataFrame, teams: pd.DataFrame) -> pd.DataFrame:
    """Pairs of teams (League, Season, Team1, Team2) with each team's features beside them, in the pairs' order.

    teams is what team_features gives. Raises ValueError when a team has no regular season to be known by.
    """
    sides = []
    for side in (1, 2):
        keys = pd.MultiIndex.from_frame(pairs[["League", "Season", f"Team{side}"]])
        unknown = keys[~keys.isin(teams.index)]
        if len(unknown):
            league, season, team = unknown[0]
            raise ValueError(f"Team {team} has no regular-season games in {season}, league {league}; leave it out.")
        sides.append(teams.loc[keys].add_prefix(f"Team{side}_").set_axis(pairs.index))
    return pd.concat([pairs[MATCHUP], *sides], axis=1)


def team_features(games: Games) -> pd.DataFrame:
    """What each team is on the last day of each regular season, one row per (League, Season, TeamID).

    Season means of nine box-score statistics and of the opponents' (counts a game), win ratios (0 to 1), Elo and
    CarriedElo (points around 1500), Margin (points better than the league's mean team), Seed (1 to 16, 17 outside
    the field), and the last three once more for the women, 0 for the men. Nothing of a tournament but the seeds.
    Ratings have 6 decimal places, the same on every processor.
    """
    regular = games.regular
    teams = season_averages(regular)
    at_home = regular["WLoc"].map({"H": 20.0, "N": 30.0, "A": 40.0})
    teams["Elo"] = elo_ratings(regular, k=at_home)
    teams["Margin"] = margin_ratings(regular)
    margin = regular["WScore"] - regular["LScore"]
    teams["CarriedElo"] = elo_ratings(regular, k=10 * np.log1p(margin), home_advantage=80, carried=0.8)
    seeds = games.seeds.assign(Seed=games.seeds["Seed"].str[1:3].astype(float)).set_index(TEAM)["Seed"]
    teams["Seed"] = seeds.reindex(teams.index).fillna(UNSEEDED)
    women = teams.index.get_level_values("League") == "W"
    teams = teams.round(dict.fromkeys(["Elo", "CarriedElo", "Margin"], PLACES))
    by_league = {f"{rating}_women": teams[rating].where(women, 0.0) for rating in _RATINGS}
    return teams.assign(**by_league)[[*_TEAM_FEATURES["box-score"], *_TEAM_FEATURES["strong"]]]


def season_averages(regular: pd.DataFrame) -> pd.DataFrame:
    """Each team's season means for and against, its win ratio, and that of the season's last 14 days.

    A team without a game in those 14 days gets its season's win ratio there.
    """
    winner, loser = _one_side(regular, "W", "L"), _one_side(regular, "L", "W")
    played = pd.concat([winner.assign(WinRatio=1.0), loser.assign(WinRatio=0.0)])
    last_day = played.groupby(["League", "Season"])["DayNum"].transform("max")
    late = played[played["DayNum"] > last_day - 14]
    teams = played.drop(columns="DayNum").groupby(TEAM).mean()
    teams["WinRatio14"] = late.groupby(TEAM)["WinRatio"].mean().reindex(teams.index).fillna(teams["WinRatio"])
    return teams


def _one_side(regular: pd.DataFrame, own: str, other: str) -> pd.DataFrame:
    names = {own + statistic: statistic for statistic in _AVERAGED}
    names |= {other + statistic: f"{statistic}_against" for statistic in _AVERAGED}
    names |= {f"{own}TeamID": "TeamID"}
    return regular[["League", "Season", "DayNum", *names]].rename(columns=names)


def elo_ratings(regular: pd.DataFrame, k: pd.Series, home_advantage: float = 0.0, carried: float = 0.0) -> pd.Series:
    """Elo at the end of each season, indexed by (League, Season, TeamID).

    Everyone starts at 1500. After a game the winner gains k * (1 - expected) and the loser pays it, where
    expected = 1 / (1 + 10 ** ((loser - winner) / 400)), with home_advantage points added to the home team's
    rating. k has one value per game. A season starts with the share `carried` of last season's distance from 1500.
    A team plays at most once a day, so a day's games do not touch each other and are rated at once.
    Source: A. Elo, The Rating of Chessplayers (1978), section 1.6.
    """
    order = np.lexsort((regular["DayNum"], regular["Season"]))
    games = regular.iloc[order]
    sides = [pd.MultiIndex.from_frame(games[["League", f"{side}TeamID"]]) for side in "WL"]
    codes, names = pd.factorize(sides[0].append(sides[1]))
    winner, loser = np.split(codes, 2)
    k = k.to_numpy(float)[order]
    advantage = home_advantage * _location(games)
    season, day = games["Season"].to_numpy(), games["DayNum"].to_numpy()
    ratings, ends = np.full(len(names), 1500.0), {}
    new_day = np.flatnonzero((np.diff(season) != 0) | (np.diff(day) != 0)) + 1
    for start, stop in zip([0, *new_day], [*new_day, len(games)], strict=True):
        if start and season[start] != season[start - 1]:
            ends[season[start - 1]] = ratings.copy()
            ratings = 1500 + carried * (ratings - 1500)
        won, lost = winner[start:stop], loser[start:stop]
        expected = 1 / (1 + 10 ** ((ratings[lost] - ratings[won] - advantage[start:stop]) / 400))
        gain = k[start:stop] * (1 - expected)
        ratings[won] += gain
        ratings[lost] -= gain
    ends[season[-1]] = ratings
    table = pd.DataFrame(ends, index=names.set_names(["League", "TeamID"])).rename_axis(columns="Season")
    return table.stack().reorder_levels(TEAM)


def _location(games: pd.DataFrame) -> np.ndarray:
    """+1 where the winner played at home, -1 where it won away, 0 on a neutral court."""
    return games["WLoc"].map({"H": 1.0, "A": -1.0, "N": 0.0}).to_numpy()


def margin_ratings(regular: pd.DataFrame) -> pd.Series:
    """How many points better than its league's mean team each team was, indexed by (League, Season, TeamID).

    Per league and season, the ridge regression margin = home advantage * location + rating 1 - rating 2, with
    penalty 1.0 on the ratings and none on the home advantage; solved through its normal equations.
    Source: A. Hoerl and R. Kennard, Ridge Regression, Technometrics 12 (1970).
    """
    ratings = {key: _ridge(season) for key, season in regular.groupby(["League", "Season"])}
    return pd.concat(ratings, names=TEAM)


def _ridge(season: pd.DataFrame, penalty: float = 1.0) -> pd.Series:
    codes, teams = pd.factorize(np.concatenate([season["WTeamID"], season["LTeamID"]]), sort=True)
    winner, loser = np.split(codes, 2)
    margin, location = (season["WScore"] - season["LScore"]).to_numpy(float), _location(season)
    n = len(teams)
    normal, target = np.zeros((n + 1, n + 1)), np.zeros(n + 1)  # the last unknown is the home advantage
    for one, other in ((winner, loser), (loser, winner)):
        sign = 1 if one is winner else -1
        np.add.at(normal, (one, one), 1)
        np.add.at(normal, (one, other), -1)
        np.add.at(normal, (one, n), sign * location)
        np.add.at(target, one, sign * margin)
    normal[n, :n] = normal[:n, n]
    normal[n, n] = max((location**2).sum(), 1.0)  # no home game at all: an advantage of 0, not a singular matrix
    target[n] = (location * margin).sum()
    normal[np.arange(n), np.arange(n)] += penalty
    return pd.Series(np.linalg.solve(normal, target)[:n], index=teams)


def moved(matchup: pd.DataFrame, number: str, shifts: np.ndarray) -> pd.DataFrame:
    """One matchup once for each shift, with a number of Team1, such as Margin, moved by it.

    Its twin for the women moves along where the matchup is theirs.
    """
    rows = matchup.loc[matchup.index.repeat(len(shifts))].reset_index(drop=True)
    names = [f"Team1_{number}", f"Team1_{number}_women"][: 2 if (rows["League"] == "W").all() else 1]
    return rows.assign(**{name: rows[name] + shifts for name in names})


def mirror(features: pd.DataFrame) -> pd.DataFrame:
    """The same matchups seen from the other team: what was Team1's stands under Team2, and the reverse.

    features has the columns of one feature set, Team1's first.
    """
    half = features.shape[1] // 2
    swapped = features.iloc[:, [*range(half, 2 * half), *range(half)]]
    return swapped.set_axis(features.columns, axis=1)


def both_orders(games: pd.DataFrame, outcome: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Every game twice, seen from either team, with its outcome (1 where Team1 won); games as mirror wants them."""
    return pd.concat([games, mirror(games)]), pd.concat([outcome, 1 - outcome])


def split_by_season(table: pd.DataFrame, validation_seasons: int, test_seasons: int) -> Split:
    """The matchup table cut into the seasons before, the validation seasons, and the last test_seasons.

    Raises ValueError when no season is left to train on.
    """
    seasons = sorted(table["Season"].unique())
    kept = validation_seasons + test_seasons
    if min(validation_seasons, test_seasons) < 1 or kept >= len(seasons):
        raise ValueError(
            f"There are {len(seasons)} tournaments: VALIDATION_SEASONS ({validation_seasons}) and TEST_SEASONS "
            f"({test_seasons}) must be at least 1 each and together leave one or more to train on."
        )
    first_validation, first_test = seasons[-kept], seasons[-test_seasons]
    season = table["Season"]
    return Split(
        train=table[season < first_validation].reset_index(drop=True),
        validation=table[(season >= first_validation) & (season < first_test)].reset_index(drop=True),
        test=table[season >= first_test].reset_index(drop=True),
    )


def fingerprint(split: Split) -> str:
    """Eight hexadecimal digits that change when a value, column or row of the training or validation games does."""
    digest = hashlib.sha256()
    for part in (split.train, split.validation):
        digest.update(",".join(part.columns).encode())
        digest.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:8]
