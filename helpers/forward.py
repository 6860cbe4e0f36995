"""Walk-forward: a candidate's recipe, scored on many seasons, each predicted from those before it."""

from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from helpers import records
from helpers.features import MATCHUP, OUTCOME, Split, fingerprint
from helpers.models import library_of
from helpers.registry import trial_of
from helpers.scoring import brier_score, mean_interval
from helpers.trials import Trial

LEAST, MOST = 2, 8  # seasons that a league is trained on at least, and seasons to predict at most


def walk_forward(version: ModelVersion, split: Split, seed: int) -> pd.DataFrame:
    """A candidate's walk-forward predictions: found where they were made before for these games, or made and kept.

    One row per game of the seasons that forward_splits gives: League, Season, Team1, Team2, Team1Won, Prediction. They
    are kept as an artifact of the run, and their Brier score as score_name says, with low and high, the ends of its
    95 % interval, on the run and on the version. Raises ValueError as forward_splits.
    """
    kept = kept_walk(version.run_id, split)
    if kept is not None:
        return kept
    name = score_name(mlflow.get_run(version.run_id), split)
    predictions = forward_predictions(trial_of(version), split)
    games, answers = predictions.drop(columns="Prediction"), predictions["Prediction"]
    records.log_predictions(version.run_id, games, answers, file_of(name))
    low, high = mean_interval((answers - games[OUTCOME]) ** 2, seed)
    score = brier_score(games[OUTCOME], answers)
    for end, value in {"_low": low, "_high": high, "": score}.items():  # the score last: it says that all is there
        key = name + end
        mlflow.MlflowClient().set_model_version_tag(version.name, version.version, key, f"{value:.6f}")
        mlflow.log_metric(key, value, run_id=version.run_id)
    return records.load_predictions(version.run_id, file_of(name))


def score_name(run: Run, split: Split) -> str:
    """The metric of a run for its walk over a split: forward_brier, with their fingerprint where its own are others.

    So what a decision of an earlier season went by stays as it was.
    """
    data = fingerprint(split)
    return "forward_brier" if run.data.params.get("data") == data else f"forward_brier_{data}"


def file_of(name: str) -> str:
    """The artifact with the predictions of the walk whose score has this name."""
    return f"{name.replace('brier', 'predictions')}.csv"


def kept_walk(run_id: str, split: Split) -> pd.DataFrame | None:
    """What was kept for these very games, or None."""
    run = mlflow.get_run(run_id)
    name = score_name(run, split)
    if name not in run.data.metrics:
        return None
    games = pd.concat([cut.test[MATCHUP] for cut in forward_splits(split)], ignore_index=True)
    kept = records.load_predictions(run_id, file_of(name))
    return kept if games.equals(kept[MATCHUP]) else None


def forward_predictions(trial: Trial, split: Split) -> pd.DataFrame:
    """A trial trained once for each of forward_splits, and what that says of the season after, one row per game.

    What needs no games to stop by is fitted to those, too.
    """
    library, parts = library_of(trial.architecture), []
    for before in forward_splits(split):
        if not library.STOPS:
            before = replace(before, train=pd.concat([before.train, before.validation]))
        predictions = library.train(trial, before).predict(before.test)
        parts.append(before.test[[*MATCHUP, OUTCOME]].assign(Prediction=predictions))
    return pd.concat(parts, ignore_index=True)


def forward_splits(split: Split) -> list[Split]:
    """A split for each of the last seasons before the test seasons: test is that season, and the rest was before it.

    As many seasons as in split.validation are kept to stop by. A league takes part in them from when it has two seasons
    to train on. Raises ValueError when there are too few seasons for one.
    """
    table, kept = pd.concat([split.train, split.validation], ignore_index=True), split.validation["Season"].nunique()
    seasons = np.sort(table["Season"].unique())
    splits = [_cut(table, seasons[end - kept], seasons[end]) for end in range(kept, len(seasons))]
    splits = [cut for cut in splits if len(cut.test) and len(cut.validation)][-MOST:]
    if not splits:
        raise ValueError(f"{len(seasons)} seasons before the test seasons are too few; {LEAST + kept + 1} make one.")
    return splits


def _cut(table: pd.DataFrame, stop: int, season: int) -> Split:
    """Trained on what was before the season stop, stopped by what was before season, and that one to predict."""
    train, rest = table[table["Season"] < stop], table[table["Season"] >= stop]
    known = train.groupby("League")["Season"].nunique()
    rest = rest[rest["League"].isin(known[known >= LEAST].index)]
    return Split(train, rest[rest["Season"] < season], rest[rest["Season"] == season])
