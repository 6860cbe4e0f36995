"""What the run of a trial keeps: its parameters, the games, the losses, and each prediction."""

import io
import time
from collections.abc import Mapping

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from helpers.games import LEAGUES

PREDICTIONS = "validation_predictions.csv"


def log_parameters(run_id: str, made_of: Mapping[str, object]) -> None:
    """Log to a run what its trial is made of, in one request."""
    mlflow.MlflowClient().log_batch(run_id, params=[Param(name, str(value)) for name, value in made_of.items()])


def log_games(run_id: str, games: pd.DataFrame, outcome: str, digest: str) -> None:
    """Log to a run what it was trained on: the columns, their kinds, and the data's fingerprint."""
    games = games.astype(float)  # MLflow warns of integer columns, which could not hold a missing value
    dataset = mlflow.data.from_pandas(games, name="games", targets=outcome, digest=digest)
    context = InputTag("mlflow.data.context", "training")
    mlflow.MlflowClient().log_inputs(run_id, [DatasetInput(Dataset(**dataset.to_dict()), [context])])


def log_losses(run_id: str, curves: pd.DataFrame) -> None:
    """Log loss curves to a run in one request: one metric per column (<column>_loss), one point per epoch."""
    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_loss", float(loss), now, epoch)
        for name, curve in curves.items()
        for epoch, loss in curve.items()
    ]
    mlflow.MlflowClient().log_batch(run_id, metrics=points)


def load_losses(run_id: str) -> pd.DataFrame:
    """The loss curves that log_losses kept for a run: columns train and validation, indexed by epoch; empty if none."""
    client = mlflow.MlflowClient()
    names = ("train", "validation")
    histories = {name: client.get_metric_history(run_id, f"{name}_loss") for name in names}
    return pd.DataFrame({name: pd.Series({m.step: m.value for m in history}) for name, history in histories.items()})


def log_predictions(run_id: str, games: pd.DataFrame, predictions: np.ndarray, file: str = PREDICTIONS) -> None:
    """Keep a candidate's predictions, one row per game, as an artifact of a run."""
    table = games.assign(Prediction=predictions).to_csv(index=False)
    mlflow.MlflowClient().log_text(run_id, table, file)


def load_predictions(run_id: str, file: str = PREDICTIONS) -> pd.DataFrame:
    """What log_predictions kept for a run."""
    return pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"runs:/{run_id}/{file}")))


def log_watched(run_id: str, scores: pd.DataFrame, drifts: pd.DataFrame) -> None:
    """Keep with a champion's run how it did season by season, in watched/: scores.csv and drifts.csv, the newest only.

    scores and drifts are what monitoring gives. Its metrics have the season as their step, so that MLflow's pages draw
    them: season_brier_men and season_brier_women, each with _high, above which luck does not go, and drift_alarms, the
    number of features that moved. What the run has already is not logged again; another value for a season stands
    beside the old one, as MLflow forgets none.
    """
    client, now = mlflow.MlflowClient(), int(time.time() * 1000)
    names = scores["League"].map(LEAGUES)
    points = [
        *zip("season_brier_" + names, scores["brier"], scores["Season"], strict=True),
        *zip("season_brier_" + names + "_high", scores["high"], scores["Season"], strict=True),
        *(("drift_alarms", number, season) for season, number in drifts.groupby("Season")["alarm"].sum().items()),
    ]
    there = {
        (name, m.value, m.step)
        for name in {name for name, *_ in points}
        for m in client.get_metric_history(run_id, name)
    }
    points = {(name, float(value), int(season)) for name, value, season in points} - there
    client.log_batch(run_id, metrics=[Metric(name, value, now, season) for name, value, season in sorted(points)])
    for name, table in {"scores": scores, "drifts": drifts}.items():
        client.log_text(run_id, table.to_csv(index=False), f"watched/{name}.csv")
