"""How many games a second each way of using a registered version answers."""

from collections.abc import Callable

import mlflow
import numpy as np
import pandas as pd

from helpers import registry
from helpers.bracket import all_pairs
from helpers.features import FEATURE_SETS, add_features, team_features
from helpers.sweep import run_trial
from tests.benchmarks.common import (
    check,
    default_games,
    default_split,
    empty_store,
    measure,
    nine_trials,
    show,
    warm_up,
)

REPEATS = 7
Way = Callable[[pd.DataFrame], np.ndarray]


def predictions() -> None:
    """One game, a thousand, and every pair of the men's teams, in three ways."""
    warm_up()
    games = _all_pairs()
    with empty_store():
        ways, rounding = _ways(games)
        answers = [predict(games) for predict in ways.values()]
        table = pd.DataFrame(
            [_row(way, ways[way], games.head(size)) for size in (1, 1_000, len(games)) for way in ways]
        )
    table["ratio to mlflow.pyfunc"] = table["games/s"] / table.groupby("games")["games/s"].transform("first")
    show(f"predictions: median of {REPEATS} calls after a first one", table)
    apart = np.ptp(answers, axis=0).max()
    check({f"all ways agree to what rounding allows ({apart:.2g} of {rounding:.2g})": apart <= rounding})


def _all_pairs() -> pd.DataFrame:
    teams = team_features(default_games())
    season = teams.index.get_level_values("Season").max()
    return add_features(all_pairs("M", season, teams.loc["M"].xs(season, level="Season").index.tolist()), teams)


def _ways(games: pd.DataFrame) -> tuple[dict[str, Way], float]:
    """The ways to ask one version, each from a table with more columns than it wants to one probability a row.

    And how far apart they may be on these games.
    """
    trial = nine_trials(epochs=2)[-1]
    columns, version = FEATURE_SETS[trial.features], run_trial(trial, default_split())
    uri = f"models:/{version.name}/{version.version}"
    model, network, checked = mlflow.pyfunc.load_model(uri), mlflow.tensorflow.load_model(uri), registry.load(version)
    ways = {
        "mlflow.pyfunc": lambda games: model.predict(games[columns])[0].to_numpy(),
        "network.predict of Keras": lambda games: network.predict(games[columns].to_numpy("float32"), verbose=0)[:, 0],
        "registry.load(...).predict": checked.predict,
    }
    return ways, checked.tolerance(games)


def _row(way: str, predict: Way, games: pd.DataFrame) -> dict[str, object]:
    predict(games)  # the first call with so many games may trace a graph
    seconds = np.median([measure(lambda: predict(games))[0] for _ in range(REPEATS)])
    return {"games": len(games), "way": way, "ms/call": 1000 * seconds, "games/s": len(games) / seconds}
