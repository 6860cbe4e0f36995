"""200 simulated seasons that are fine, which hardly ring, and changes that are soon seen."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from helpers import features
from helpers.features import FEATURE_SETS, OUTCOME
from helpers.models.sklearn import fit_logistic
from helpers.monitoring import drift, season_scores
from helpers.simulate import simulate_games

BEFORE, AFTER = range(2011, 2021), range(2021, 2041)


@pytest.fixture(scope="module")
def leagues() -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Ten times both leagues: the teams of thirty seasons, and the games of the last twenty with their predictions."""
    return list(_leagues())


def _leagues() -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    columns = FEATURE_SETS["strong"]
    for seed in range(10):
        games = simulate_games(seed, seasons=range(BEFORE[0], AFTER[-1] + 1))
        teams = features.team_features(games)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(features, "team_features", lambda _, teams=teams: teams)  # twice would take twice as long
            table = features.matchup_table(games)
        train, later = (table[table["Season"].isin(seasons)] for seasons in (BEFORE, AFTER))
        model = fit_logistic(train[columns], train[OUTCOME], C=0.03)
        yield teams, later.assign(Prediction=model.predict_proba(later[columns])[:, 1])


def seen(table: pd.DataFrame) -> np.ndarray:
    """Whether each season has an alarm."""
    return table.groupby("Season")["alarm"].any().to_numpy()


def waits(alarms: np.ndarray) -> np.ndarray:
    """From each season on, how many it takes until one with an alarm, itself counted; where none comes, one more."""
    ends = [*np.flatnonzero(alarms), len(alarms)]
    return np.array([min(end for end in ends if end >= start) - start + 1 for start in range(len(alarms))])


def say(what: str, alarms: list[np.ndarray]) -> None:
    wait = np.concatenate([waits(one) for one in alarms])
    flat = np.concatenate(alarms)
    print(f"{what}: {flat.sum()} of {len(flat)} seasons, after {wait.mean():.2f} on average, {wait.max()} at most")


def test_seasons_that_are_fine_hardly_ring(leagues):
    scored = [seen(season_scores(games["Prediction"], games, seed=1)) for _, games in leagues]
    drifted = [seen(drift(teams, AFTER, BEFORE)) for teams, _ in leagues]
    say("score, fine", scored)
    say("drift, fine", drifted)
    assert np.size(scored) == np.size(drifted) == 200
    assert np.sum(scored) <= 3
    assert np.sum(drifted) <= 4


def test_two_points_a_game_are_seen_in_the_first_season_or_the_next(leagues):
    """Both sides make one field goal more, so of all features FGM and FGM_against move, by one."""
    alarms = {"M": [], "W": []}
    for teams, _ in leagues:
        changed = teams.copy()
        changed.loc[changed.index.get_level_values("Season").isin(AFTER), ["FGM", "FGM_against"]] += 1
        found = drift(changed, AFTER, BEFORE)
        for league, group in found[found["feature"].isin(["FGM", "FGM_against"])].groupby("League"):
            alarms[league].append(seen(group))
    for league, longest in {"M": 1.2, "W": 1.5}.items():
        say(f"drift, two points, {league}", alarms[league])
        assert np.mean([waits(one).mean() for one in alarms[league]]) < longest


@pytest.mark.parametrize(("feature", "factor"), [("FGM", 1 / 40), ("Elo", 1 / 400)])
def test_other_units_are_seen_at_once(leagues, feature, factor):
    for teams, _ in leagues:
        changed = teams.copy()
        changed.loc[changed.index.get_level_values("Season").isin(AFTER), feature] *= factor
        assert seen(drift(changed[[feature]], AFTER, BEFORE)).all()


@pytest.mark.parametrize(("edge", "longest"), [(0.75, 4.5), (0.5, 1.4), (0, 1.01)])
def test_favourites_that_begin_to_lose_are_seen(leagues, edge, longest):
    """Of a favourite's true edge over one half only a share is left."""
    alarms = []
    for number, (_, games) in enumerate(leagues):
        chance = 0.5 + edge * (games["TrueProb"] - 0.5)
        won = (np.random.default_rng(number).random(len(games)) < chance).astype(int)
        alarms.append(seen(season_scores(games["Prediction"], games.assign(**{OUTCOME: won}), seed=1)))
    say(f"score, edge {edge}", alarms)
    assert np.mean([waits(one).mean() for one in alarms]) < longest
