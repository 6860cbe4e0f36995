"""A made-up league with a known truth: invented teams, schedules, box scores and tournaments, in Kaggle's tables.

The margin of a game is Normal(mu, sigma), where mu is the difference of the teams' strengths plus the home advantage,
so the probability of a win is known exactly; the box score is then drawn given the margin. The constants stand in
league.json, fitted so that seasons look like those of real college basketball from 2015 to 2024: standard deviations,
margins and home_advantage in points, autocorrelations from a season to the next, and of each of the 13 statistics its
mean, its change with the margin (per_point) and with winning at all (per_win), and two covariances (see below).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from helpers.games import BOX_STATISTICS, Games

_CONSTANTS = Path(__file__).with_name("league.json")
_FIRST_TEAM_ID = {"M": 1101, "W": 3101}
_REGIONS = "WXYZ"

_PLACE_STARTS = (
    "Alder Bram Cald Dorn Elm Fenn Gren Harl Istel Jarr Kest Lind Marl Nor Ost Pell Quill Rav Sel Thorn Ulver Wex"
)
_PLACE_ENDS = "beck combe croft fell garth gate haven holm march mere minster moor stead tarn thwaite wick"
_SUFFIXES = ["", " State", " Tech", " College", "", " A&M", " Poly"]
_CONFERENCES = (
    "Amber Anvil Beacon Birch Bramble Cedar Cinder Cobalt Copper Falcon Fern Flint Garnet Granite Harbor Heron "
    "Iron Juniper Lantern Larch Maple Meadow Onyx Osprey Otter Pewter Quarry Saffron Sparrow Thistle Willow Wren"
)
_CONFERENCE_SIZES = [8, 10, 12, 14] * 8

_NONCONFERENCE_DAYS = (1, 59)
_CONFERENCE_DAYS = (59, 126)
_CONFERENCE_ROUNDS = 18
_CHAMPIONSHIP_STARTS = (127, 131)
_CHAMPIONSHIP_ORDER = [0, 7, 3, 4, 2, 5, 1, 6]
_LOWEST_SCORE = 10


@dataclass(frozen=True)
class _Season:
    """What a season of one league is played with; teams are numbered from 0."""

    year: int
    law: dict
    conference: np.ndarray
    strength: np.ndarray
    rng: np.random.Generator


def simulate_games(seed: int, seasons: Sequence[int] = range(2011, 2025)) -> Games:
    """Made-up seasons of a men's and a women's league: about 5,400 games and a tournament per league and season.

    The tables are Kaggle's, as Games describes them; the tournament's games have box scores too, and teams has one
    more column, Conference. WTrueProb is exact: the probability, before the game and with its place known, that the
    team which won would win. Scores and margins are in points. The same seed gives the same tables.
    """
    rng = np.random.default_rng(seed)
    laws = json.loads(_CONSTANTS.read_text(encoding="utf-8"))
    teams = _make_teams(rng)
    leagues = [_simulate_league(rng, league, laws[league], teams, list(seasons)) for league in _FIRST_TEAM_ID]
    return Games(**{name: pd.concat([tables[name] for tables in leagues], ignore_index=True) for name in leagues[0]})


def _make_teams(rng: np.random.Generator) -> pd.DataFrame:
    places = ["".join(parts) for parts in product(_PLACE_STARTS.split(), _PLACE_ENDS.split())]
    names = sorted(place + suffix for place, suffix in zip(places, cycle(_SUFFIXES), strict=False))
    conferences = np.repeat([name + " League" for name in _CONFERENCES.split()], _CONFERENCE_SIZES)
    return pd.DataFrame({"TeamName": names, "Conference": rng.permutation(conferences)})


def _simulate_league(
    rng: np.random.Generator, league: str, law: dict, teams: pd.DataFrame, years: list[int]
) -> dict[str, pd.DataFrame]:
    conference = pd.factorize(teams["Conference"], sort=True)[0]
    between = _persistent(rng, len(years), len(_CONFERENCE_SIZES), law["conference_autocorrelation"])
    within = _persistent(rng, len(years), len(teams), law["team_autocorrelation"])
    # by rank, so that every season has a few strong conferences, whichever they are
    between = _standardised(np.exp(law["conference_skew"] * _normal_scores(between)))
    strengths = law["conference_sd"] * between[:, conference] + law["team_sd"] * within
    seasons = [_Season(y, law, conference, s, rng) for y, s in zip(years, strengths, strict=True)]
    parts = [_simulate_season(season) for season in seasons]
    tables = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    played = _add_box_scores(rng, law, tables.pop("games"), _FIRST_TEAM_ID[league])
    in_tourney = played.pop("Tourney")
    tables["regular"] = played[~in_tourney].sort_values(["Season", "DayNum"], kind="stable")
    tables["tourney"] = played[in_tourney].sort_values(["Season", "DayNum"], kind="stable")
    tables["seeds"]["TeamID"] += _FIRST_TEAM_ID[league]
    tables["teams"] = teams.assign(TeamID=_FIRST_TEAM_ID[league] + teams.index)[["TeamID", *teams]]
    for table in tables.values():
        table.insert(0, "League", league)
    return tables


def _persistent(rng: np.random.Generator, seasons: int, size: int, autocorrelation: float) -> np.ndarray:
    """A first-order autoregression (seasons, size); every season has mean 0 and standard deviation 1."""
    shocks = rng.normal(size=(seasons, size))
    rows = [_standardised(shocks[0])]
    for shock in shocks[1:]:
        rows.append(_standardised(autocorrelation * rows[-1] + np.sqrt(1 - autocorrelation**2) * shock))
    return np.array(rows)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=-1, keepdims=True)) / values.std(axis=-1, keepdims=True)


def _normal_scores(values: np.ndarray) -> np.ndarray:
    return ndtri((values.argsort(axis=-1).argsort(axis=-1) + 0.5) / values.shape[-1])


def _simulate_season(season: _Season) -> dict[str, pd.DataFrame]:
    conference_games = _play_conference_rounds(season)
    championships, champions = _play_championships(season, conference_games)
    seeds = _select_and_seed(season, champions)
    rounds = _bracket_rounds(seeds)
    regular = pd.concat([_play_nonconference(season), conference_games, championships])
    games = pd.concat([regular.assign(Tourney=False), _play_tournament(season, seeds, rounds).assign(Tourney=True)])
    slots = pd.DataFrame(sorted(chain.from_iterable(rounds)), columns=["Slot", "StrongSeed", "WeakSeed"])
    seeds = pd.DataFrame(sorted(seeds.items()), columns=["Seed", "TeamID"])
    return {
        "games": games.assign(Season=season.year),
        "seeds": seeds.assign(Season=season.year)[["Season", *seeds]],
        "slots": slots.assign(Season=season.year)[["Season", *slots]],
    }


def _play(season: _Season, day: np.ndarray, pairs: np.ndarray, place: np.ndarray | int) -> pd.DataFrame:
    """Play games of pairs (games, 2); place is 1 where the first team is at home, -1 the second, 0 neither."""
    law, rng = season.law, season.rng
    first, second = pairs.T
    expected = season.strength[first] - season.strength[second] + law["home_advantage"] * np.asarray(place)
    margin = rng.normal(expected, law["margin_sd"])
    won = np.where(margin > 0, 1, -1)
    overtime = np.abs(margin) < law["overtime_within"]
    periods = np.where(overtime, rng.geometric(law["overtime_ends"], len(margin)), 0)
    extra = 1 + rng.choice(len(law["overtime_margins"]), len(margin), p=law["overtime_margins"])
    points = np.where(overtime, extra, np.maximum(1, np.rint(np.abs(margin)))).astype(int)
    columns = {"DayNum": day, "First": first, "Second": second, "Place": place, "Margin": won * points}
    chance = ndtr(won * expected / law["margin_sd"]).round(12)  # the digits in which processors agree
    return pd.DataFrame({**columns, "NumOT": periods, "WTrueProb": chance})


def _winners(games: pd.DataFrame) -> np.ndarray:
    return np.where(games["Margin"] > 0, games["First"], games["Second"])


def _round_days(rng: np.random.Generator, days: tuple[int, int], rounds: np.ndarray) -> np.ndarray:
    """A day for each game of rounds numbered from 0; no day has two rounds, so no team plays twice on it."""
    edges = np.linspace(*days, rounds.max() + 2).astype(int)
    return rng.integers(edges[rounds], edges[rounds + 1])


def _play_nonconference(season: _Season) -> pd.DataFrame:
    rng, law, teams = season.rng, season.law, len(season.strength)
    pairs = np.array([rng.permutation(teams) for _ in range(law["nonconference_rounds"])]).reshape(-1, 2)
    rounds = np.repeat(np.arange(law["nonconference_rounds"]), teams // 2)
    strangers = season.conference[pairs[:, 0]] != season.conference[pairs[:, 1]]
    pairs, rounds = pairs[strangers], rounds[strangers]
    edge = season.strength[pairs[:, 0]] - season.strength[pairs[:, 1]]
    host = np.where(rng.random(len(pairs)) < ndtr(law["host_by_strength"] * edge), 1, -1)
    place = host * (rng.random(len(pairs)) > law["nonconference_neutral"])
    return _play(season, _round_days(rng, _NONCONFERENCE_DAYS, rounds), pairs, place)


def _play_conference_rounds(season: _Season) -> pd.DataFrame:
    pairs, rounds = [], []
    for conference in range(len(_CONFERENCE_SIZES)):
        members = season.rng.permutation(np.flatnonzero(season.conference == conference))
        pairs.append(members[_round_robin(len(members))].reshape(-1, 2))
        rounds.append(np.repeat(np.arange(_CONFERENCE_ROUNDS), len(members) // 2))
    day = _round_days(season.rng, _CONFERENCE_DAYS, np.concatenate(rounds))
    return _play(season, day, np.concatenate(pairs), 1)


def _round_robin(size: int) -> np.ndarray:
    """Rounds of pairs (rounds, size / 2, 2) by the circle method, home team first; a rematch swaps the home team."""
    rounds, pair = [], np.arange(size // 2)
    for number in range(_CONFERENCE_ROUNDS):
        meeting, turn = divmod(number, size - 1)
        ring = np.concatenate([[0], np.roll(np.arange(1, size), turn)])
        pairs = np.stack([ring[: size // 2], ring[: size // 2 - 1 : -1]], axis=1)
        swapped = (np.where(pair == 0, turn, pair) + meeting) % 2 == 1
        rounds.append(np.where(swapped[:, None], pairs[:, ::-1], pairs))
    return np.array(rounds)


def _play_championships(season: _Season, games: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Each conference's best eight by record play a knock-out; its games, and the champion of each conference."""
    rng = season.rng
    record = np.bincount(_winners(games), minlength=len(season.strength)) + rng.random(len(season.strength))
    members = [np.flatnonzero(season.conference == conference) for conference in range(len(_CONFERENCE_SIZES))]
    left = np.array([team[np.argsort(-record[team])][_CHAMPIONSHIP_ORDER] for team in members])
    start, played = rng.integers(*_CHAMPIONSHIP_STARTS, len(left)), []
    for number in range(3):
        pairs = left.reshape(-1, 2)
        played.append(_play(season, np.repeat(start + number, len(pairs) // len(start)), pairs, 0))
        left = _winners(played[-1]).reshape(len(start), -1)
    return pd.concat(played), left.ravel()


def _select_and_seed(season: _Season, champions: np.ndarray) -> dict[str, int]:
    """The team at each seed ("W01" to "Z16", play-ins with a or b): champions, then the committee's best others."""
    rng, law = season.rng, season.law
    judged = season.strength + rng.normal(0, law["committee_error"], len(season.strength))
    order = np.argsort(-judged)
    champion = np.isin(order, champions)
    play_ins = season.year >= law["play_ins_since"]
    at_large = order[~champion][: 36 if play_ins else 32]
    last = [rng.permutation(at_large[-4:]), rng.permutation(order[champion][-4:])] if play_ins else []
    field = order[np.isin(order, np.concatenate([champions, at_large]))]
    seeds = _snake(rng)
    shared = [seeds[line] for line in (42, 43, 62, 63)] if play_ins else []
    alone = [seed for seed in seeds if seed not in shared]
    halves = [seed + half for seed in shared for half in "ab"]
    teams = np.concatenate([field[~np.isin(field, last)], *last])
    return dict(zip(alone + halves, teams.tolist(), strict=True))


def _snake(rng: np.random.Generator) -> list[str]:
    """The 64 seeds from the best team's to the worst's: the regions take turns, then back in reverse."""
    regions = rng.permutation(list(_REGIONS))
    return [f"{region}{line:02d}" for line in range(1, 17) for region in regions[:: 1 if line % 2 else -1]]


def _bracket_rounds(seeds: dict[str, int]) -> list[list[tuple[str, str, str]]]:
    """The slots of each round, play-ins first: (slot, strong seed or slot, weak seed or slot), named as Kaggle does."""
    rounds = [[(seed[:3], seed, seed[:3] + "b") for seed in sorted(seeds) if seed.endswith("a")]]
    rounds.append([(f"R1{g}{n}", f"{g}{n:02d}", f"{g}{17 - n:02d}") for g in _REGIONS for n in range(1, 9)])
    for number in (2, 3, 4):
        games, before = 2 ** (4 - number), f"R{number - 1}"
        wired = [(g, n, 2 * games + 1 - n) for g in _REGIONS for n in range(1, games + 1)]
        rounds.append([(f"R{number}{g}{n}", f"{before}{g}{n}", f"{before}{g}{other}") for g, n, other in wired])
    rounds.append([("R5WX", "R4W1", "R4X1"), ("R5YZ", "R4Y1", "R4Z1")])
    return [*rounds, [("R6CH", "R5WX", "R5YZ")]]


def _play_tournament(season: _Season, seeds: dict[str, int], rounds: list[list[tuple[str, str, str]]]) -> pd.DataFrame:
    played, standing = [], dict(seeds)
    hosts = [team for seed, team in seeds.items() if int(seed[1:3]) <= 4]
    for number, slots in enumerate(rounds):
        days = season.law["tourney_days"][number]
        day = np.array([days[game * len(days) // len(slots)] for game in range(len(slots))], dtype=int)
        pairs = np.array([(standing[strong], standing[weak]) for _, strong, weak in slots], dtype=int).reshape(-1, 2)
        hosted = number in season.law["hosted_rounds"]
        played.append(_play(season, day, pairs, np.isin(pairs[:, 0], hosts) * int(hosted)))
        standing |= zip([slot for slot, _, _ in slots], _winners(played[-1]).tolist(), strict=True)
    return pd.concat(played)


def _add_box_scores(rng: np.random.Generator, law: dict, games: pd.DataFrame, first_id: int) -> pd.DataFrame:
    """Kaggle's columns: each game from its winner's side, with both teams' box scores."""
    first, second = _draw_statistics(rng, law, games)
    margin = games["Margin"].to_numpy()
    points = np.rint((_points(first) + _points(second) - np.abs(margin)) / 2).astype(int)
    points = np.maximum(points, _LOWEST_SCORE)
    won = margin > 0
    winner, loser = np.where(won[:, None], first, second), np.where(won[:, None], second, first)
    winner, loser = _whole(winner, points + np.abs(margin)), _whole(loser, points)
    for taker, giver in ((winner, loser), (loser, winner)):
        taker["Stl"] = np.minimum(taker["Stl"], giver["TO"])
    place = np.where(won, 1, -1) * games["Place"]
    return pd.DataFrame(
        {
            "Season": games["Season"],
            "DayNum": games["DayNum"],
            "WTeamID": first_id + _winners(games),
            "WScore": points + np.abs(margin),
            "LTeamID": first_id + np.where(won, games["Second"], games["First"]),
            "LScore": points,
            "WLoc": place.map({1: "H", -1: "A", 0: "N"}),
            "NumOT": games["NumOT"],
            **{"W" + name: winner[name] for name in BOX_STATISTICS},
            **{"L" + name: loser[name] for name in BOX_STATISTICS},
            "WTrueProb": games["WTrueProb"],
            "Tourney": games["Tourney"],
        }
    )


def _draw_statistics(rng: np.random.Generator, law: dict, games: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both teams' statistics (games, 13), not yet whole numbers, given the margin.

    They share a part (pace, whistles) and a part sets them apart; each comes from the styles that the two teams have
    all season and from the game itself. The part that sets apart moves no points, because the margin is given.
    """
    year = np.unique(games["Season"], return_inverse=True)[1]
    count = games[["First", "Second"]].to_numpy().max() + 1
    first, second = year * count + games["First"], year * count + games["Second"]
    parts = {}
    for name, sign in (("shared", 1), ("apart", -1)):
        style = _draw(rng, law[name + "_style"], count * (year.max() + 1))
        parts[name] = style[first] + sign * style[second] + _draw(rng, law[name + "_game"], len(games))
    shared = np.outer(1 + law["overtime_pace"] * games["NumOT"], law["mean"]) + parts["shared"]
    by_margin = np.outer(games["Margin"], law["per_point"]) + np.outer(np.sign(games["Margin"]), law["per_win"])
    return shared + parts["apart"] + by_margin, shared - parts["apart"] - by_margin


def _draw(rng: np.random.Generator, covariance: list[list[float]], size: int) -> np.ndarray:
    """Normal draws (size, statistics); rng.multivariate_normal would object to the rounded, singular covariances."""
    values, vectors = np.linalg.eigh(np.array(covariance))
    return rng.normal(size=(size, len(values))) * np.sqrt(np.maximum(values, 0)) @ vectors.T


def _points(statistics: np.ndarray) -> np.ndarray:
    made, threes, free = (statistics[:, BOX_STATISTICS.index(name)] for name in ("FGM", "FGM3", "FTM"))
    return 2 * made + threes + free


def _whole(statistics: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Whole numbers that a team can have in a game which it ends with this score: score = 2 FGM + FGM3 + FTM."""
    box = dict(zip(BOX_STATISTICS, np.maximum(np.rint(statistics), 0).astype(int).T, strict=True))
    box["FGM3"] = np.minimum(box["FGM3"], score // 3)
    odd = (score - box["FGM3"]) % 2
    free = odd + 2 * np.rint((statistics[:, BOX_STATISTICS.index("FTM")] - odd) / 2).astype(int)
    box["FTM"] = np.clip(free, odd, score - 3 * box["FGM3"])
    box["FGM"] = (score - box["FGM3"] - box["FTM"]) // 2
    box["FTA"] = np.maximum(box["FTA"], box["FTM"])
    box["FGA3"] = np.maximum(box["FGA3"], box["FGM3"])
    box["FGA"] = np.maximum(box["FGA"], box["FGA3"] + box["FGM"] - box["FGM3"])
    box["Ast"] = np.minimum(box["Ast"], box["FGM"])
    return box
