"""The bracket of one tournament: each team's exact chance of reaching each round, and what really happened."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, combinations

import numpy as np
import pandas as pd

from helpers.games import Games

STAGES = {64: "round of 64", 32: "round of 32", 16: "sweet 16", 8: "elite 8", 4: "final 4", 2: "final", 1: "winner"}


class Bracket:
    """How one tournament of one league is wired: slots are won by a team, leaves are the teams' seeds.

    Raises LookupError when that league and season have no seeds or no slots, or not all of them.
    """

    def __init__(self, games: Games, league: str, season: int) -> None:
        self.league, self.season = league, season
        seeds, slots, played = (
            table[(table["League"] == league) & (table["Season"] == season)]
            for table in (games.seeds, games.slots, games.tourney)
        )
        self.team = dict(zip(seeds["Seed"], seeds["TeamID"], strict=True))
        self.children = {row.Slot: (row.StrongSeed, row.WeakSeed) for row in slots.itertuples()}
        fed = set(chain.from_iterable(self.children.values()))
        finals, entries = set(self.children) - fed, fed - set(self.children)
        if len(finals) != 1 or not entries <= set(self.team):
            raise LookupError(f"League {league!r} has no seeds or no slots for {season}, or not all of them.")
        (self.final,) = finals
        self.games = {frozenset(pair): pair[0] for pair in zip(played["WTeamID"], played["LTeamID"], strict=True)}

    def walk(self, slot: str | None = None, depth: int = 0) -> Iterator[tuple[str, int]]:
        """Every slot and seed with its distance from the final, in the order of a bracket read from top to bottom."""
        slot = slot or self.final
        yield slot, depth
        for child in self.children.get(slot, ()):
            yield from self.walk(child, depth + 1)

    def teams(self, slot: str | None = None) -> list[int]:
        """The TeamIDs that can still win a slot, or all of them."""
        return [self.team[name] for name, _ in self.walk(slot) if name in self.team]

    def pairs(self) -> pd.DataFrame:
        """Every two of its teams once, as rows of League, Season, Team1, Team2 with the lower TeamID first."""
        return all_pairs(self.league, self.season, self.teams())

    def chances(self, wins: pd.DataFrame) -> dict[str, pd.Series]:
        """For each slot the exact probability that each of its teams wins it, by TeamID.

        wins is what win_matrix gives. A team takes a slot by winning one of the two below and beating whoever wins
        the other one: no sampling, the probabilities of all its possible opponents are summed.
        """
        reached = {}
        for slot, _ in reversed(list(self.walk())):
            if slot in self.team:
                reached[slot] = pd.Series({self.team[slot]: 1.0})
            else:
                strong, weak = (reached[child] for child in self.children[slot])
                beats = wins.loc[strong.index, weak.index].to_numpy()
                won_strong, won_weak = strong * (beats @ weak), weak * (strong @ (1 - beats))
                reached[slot] = pd.concat([won_strong, won_weak])
        return reached

    def winner(self, slot: str) -> int | None:
        """The TeamID that really took a slot, or None when that has not been played.

        A game that was called off leaves no row; the team that went on to meet someone else took the slot.
        """
        if slot in self.team:
            return self.team[slot]
        one, other = (self.winner(child) for child in self.children[slot])
        if frozenset((one, other)) in self.games:
            return self.games[frozenset((one, other))]
        inside = set(self.teams(slot))
        outside = [team for team in (one, other) if any(team in pair and pair - inside for pair in self.games)]
        return outside[0] if len(outside) == 1 else None

    def stage_table(self, chances: dict[str, pd.Series]) -> pd.DataFrame:
        """Each team's chance of each stage: one row per TeamID, STAGES as columns, the favourite first."""
        table = pd.DataFrame(index=self.teams(), columns=list(STAGES.values()), dtype=float)
        for slot, depth in self.walk():
            if 2**depth in STAGES:
                table.loc[chances[slot].index, STAGES[2**depth]] = chances[slot]
        table = table.dropna(axis=1, how="all").fillna(0.0)
        return table.sort_values(list(table.columns[::-1]), ascending=False)

    def drawing(self, chances: dict[str, pd.Series], names: pd.Series) -> pd.DataFrame:
        """What a picture of the bracket shows from its first full round on, one row per slot or seed.

        Columns: parent (its row's name in the index), depth (0 is the winner's line), height (0 is the top entry),
        stage (what a team has reached there), label (seed and name of the team likeliest to take the line), chance
        (that it does), happened (whether it did; None when not played). names maps TeamID to TeamName.
        """
        seed_of = {team: int(seed[1:3]) for seed, team in self.team.items()}
        parent = {child: slot for slot, pair in self.children.items() for child in pair}
        first_round = min(depth for slot, depth in self.walk() if slot in self.team)
        rows = {}
        for slot, depth in self.walk():
            if depth <= first_round:
                team, winner = chances[slot].idxmax(), self.winner(slot)
                happened = None if winner is None else bool(winner == team)
                label = f"{seed_of[team]} {names[team]}"
                rows[slot] = (parent.get(slot), depth, STAGES[2**depth], label, chances[slot].max(), happened)
        columns = ["parent", "depth", "stage", "label", "chance", "happened"]
        return _with_heights(pd.DataFrame.from_dict(rows, orient="index", columns=columns))


def _with_heights(lines: pd.DataFrame) -> pd.DataFrame:
    entry = lines["depth"].max()
    lines.loc[lines["depth"] == entry, "height"] = np.arange(2.0**entry)
    for depth in range(entry - 1, -1, -1):
        here = lines.index[lines["depth"] == depth]
        lines.loc[here, "height"] = lines.groupby("parent")["height"].mean().reindex(here)
    return lines


def last_sixteen(lines: pd.DataFrame) -> pd.DataFrame:
    """What Bracket.drawing gives, from the last sixteen teams on."""
    return _with_heights(lines[lines["depth"] <= 4].copy())


def newest_brackets(games: Games, season: int | None = None) -> dict[str, Bracket]:
    """The brackets, by league, of a season, or of the newest one before it where a league has all seeds and slots.

    None stands for the newest season. Leagues whose seeds or slots are not there yet are left out. Raises LookupError
    when no such season has a bracket.
    """
    seasons = sorted(games.seeds["Season"].unique(), reverse=True)
    for candidate in (known for known in seasons if season is None or known <= season):
        brackets = {}
        for league in games.regular["League"].unique():
            with suppress(LookupError):
                brackets[league] = Bracket(games, league, int(candidate))
        if brackets:
            return brackets
    raise LookupError(f"No season up to {season or 'the newest'} has a bracket: seeds or slots are missing.")


def forecast_pairs(teams: pd.DataFrame, season: int | None = None) -> pd.DataFrame:
    """Every two teams of a league that played in a regular season, by default the newest, as all_pairs gives them.

    teams is what features.team_features gives; all its leagues of that season are in it, seeded or not. Raises
    LookupError when that season has none.
    """
    known = teams.index.get_level_values("Season")
    season = known.max() if season is None else season
    if season not in known:
        raise LookupError(f"SEASON is {season}; these games have regular seasons from {known.min()} to {known.max()}.")
    members = teams.xs(season, level="Season").index.to_frame(index=False).groupby("League")["TeamID"]
    return pd.concat([all_pairs(league, season, list(ids)) for league, ids in members], ignore_index=True)


def win_matrix(pairs: pd.DataFrame, probability: np.ndarray) -> pd.DataFrame:
    """The probability that the row's team beats the column's, by TeamID, from one answer a pair (Team1 wins)."""
    upper = pairs.assign(p=np.asarray(probability)).pivot(index="Team1", columns="Team2", values="p")
    teams = upper.index.union(upper.columns)
    upper = upper.reindex(index=teams, columns=teams)
    return upper.fillna(1 - upper.T)


def all_pairs(league: str, season: int, teams: list[int]) -> pd.DataFrame:
    """Every two of teams once, as rows of League, Season, Team1, Team2 with the lower TeamID first."""
    pairs = pd.DataFrame(list(combinations(sorted(teams), 2)), columns=["Team1", "Team2"])
    return pd.DataFrame({"League": league, "Season": season}, index=pairs.index).join(pairs)


def submission(pairs: pd.DataFrame, probability: np.ndarray) -> pd.DataFrame:
    """Kaggle's format: ID is season_Team1_Team2, Pred the probability that Team1, the lower TeamID, wins."""
    ids = pairs["Season"].astype(str) + "_" + pairs["Team1"].astype(str) + "_" + pairs["Team2"].astype(str)
    return pd.DataFrame({"ID": ids, "Pred": probability})
