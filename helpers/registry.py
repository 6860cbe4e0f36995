"""Versions of models: log a network, find what was registered, list, select, promote and load."""

from __future__ import annotations

import io
import time
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import ModelInfo

from helpers.store import CANDIDATES, PRODUCT

if TYPE_CHECKING:
    import keras

PREDICTIONS = "validation_predictions.csv"
REQUIREMENTS = ("mlflow", "tensorflow", "keras", "numpy", "pandas")


def log_network(network: keras.Model, features: pd.DataFrame, predictions: np.ndarray) -> ModelInfo:
    """Log a network to the active run, with a signature that names its columns, and give back where it lies.

    features holds the rows it was tried on (float64 columns), predictions its answers. The requirements are this
    environment's versions; MLflow would otherwise start a second Python to find them out, 10 s a model.
    """
    answers = np.asarray(predictions)[:, None]
    info = mlflow.tensorflow.log_model(
        network,
        name="model",
        signature=mlflow.models.infer_signature(features.to_numpy("float32"), answers),
        input_example=features.head(3),
        pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
    )
    # The flavour takes tensor signatures alone, which would score shuffled columns without a word.
    mlflow.models.set_signature(info.model_uri, mlflow.models.infer_signature(features, answers))
    return info


def log_games(games: pd.DataFrame, outcome: str, digest: str) -> None:
    """Log to the active run what it was trained on: the columns, their kinds, and the data's fingerprint."""
    games = games.astype(float)  # MLflow warns of integer columns, which could not hold a missing value
    mlflow.log_input(mlflow.data.from_pandas(games, name="games", targets=outcome, digest=digest), "training")


def log_losses(curves: pd.DataFrame) -> None:
    """Log loss curves to the active run in one request: a column a metric (<column>_loss), an epoch a row."""
    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_loss", float(loss), now, epoch)
        for name, curve in curves.items()
        for epoch, loss in curve.items()
    ]
    mlflow.MlflowClient().log_batch(mlflow.active_run().info.run_id, metrics=points)


def load_losses(run_id: str) -> pd.DataFrame:
    """The loss curves that log_losses kept for a run: columns train and validation, indexed by epoch."""
    client = mlflow.MlflowClient()
    names = ("train", "validation")
    histories = {name: client.get_metric_history(run_id, f"{name}_loss") for name in names}
    return pd.DataFrame({name: pd.Series({m.step: m.value for m in history}) for name, history in histories.items()})


def log_predictions(games: pd.DataFrame, predictions: np.ndarray) -> None:
    """Keep a candidate's predictions, a game a row, as an artifact of the active run."""
    mlflow.log_text(games.assign(Prediction=predictions).to_csv(index=False), PREDICTIONS)


def load_predictions(run_id: str) -> pd.DataFrame:
    """What log_predictions kept for a run."""
    return pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"runs:/{run_id}/{PREDICTIONS}")))


def check_reloaded(model_uri: str, features: pd.DataFrame, predictions: np.ndarray) -> None:
    """Load a logged model as a consumer would and compare its answers with those before it was logged.

    Raises RuntimeError when they differ by more than 1e-6; such a model should not be registered.
    """
    again = mlflow.pyfunc.load_model(model_uri).predict(features)
    difference = np.abs(np.asarray(again)[:, 0] - predictions).max()
    if not difference <= 1e-6:
        raise RuntimeError(f"{model_uri} loaded back answers {difference:.2g} apart from the network; log it again.")


def find_version(model: str, trial: str) -> ModelVersion | None:
    """The version of a registered model that was made by the trial with this key, or None."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{model}' and tags.trial = '{trial}'")
    return min(found, key=lambda version: int(version.version), default=None)


def leaderboard(data: str) -> pd.DataFrame:
    """All candidate versions that were trained and scored on the data with this fingerprint, best first.

    Columns: model, version, val_brier, architecture, learning_rate, epochs, seed, features, trial, run_id. A tie
    goes to the smaller network, then to the lower version. Raises LookupError when there is none.
    """
    runs = mlflow.search_runs(
        experiment_names=CANDIDATES, filter_string=f"params.data = '{data}' and attributes.status = 'FINISHED'"
    )
    runs = runs.rename(columns=lambda name: name.removeprefix("params.").removeprefix("metrics."))
    names = ["architecture", "learning_rate", "epochs", "seed", "features"]
    versions = mlflow.MlflowClient().search_model_versions(f"name LIKE '{PRODUCT}-%'")
    rows = pd.DataFrame(
        [(v.name, int(v.version), v.run_id, v.tags.get("trial")) for v in versions],
        columns=["model", "version", "run_id", "trial"],
    )
    board = rows.merge(runs.reindex(columns=["run_id", "val_brier", *names]).astype({"run_id": rows["run_id"].dtype}))
    board = board.dropna(subset="val_brier").astype({"learning_rate": float, "epochs": int, "seed": int})
    if board.empty:
        raise LookupError("This STORE has no candidates for these games: run the notebook before this one first.")
    board["size"] = board["model"].map(CANDIDATES.index)
    board = board.sort_values(["val_brier", "size", "version"], ignore_index=True)
    return board[["model", "version", "val_brier", *names, "trial", "run_id"]]


def champion(data: str) -> ModelVersion:
    """The version that the alias champion points to.

    Raises LookupError when there is none, or when it was chosen on other data than those with this fingerprint.
    """
    client = mlflow.MlflowClient()
    try:
        version = client.get_model_version_by_alias(PRODUCT, "champion")
    except mlflow.MlflowException as error:
        raise LookupError("This STORE has no champion: run 03_select_the_best first.") from error
    if client.get_run(version.run_id).data.params.get("data") != data:
        raise LookupError(
            "The champion of this STORE was chosen on other games: run 03_select_the_best on these first."
        )
    return version


def record_test_score(version: ModelVersion, score: float) -> float:
    """Keep the champion's test_brier with its run and its version, the first time only, and give back what is kept.

    Raises ValueError when another score was kept before: the test seasons are there to be scored once.
    """
    client = mlflow.MlflowClient()
    kept = client.get_run(version.run_id).data.metrics.get("test_brier")
    if kept is None:
        client.log_metric(version.run_id, "test_brier", score, model_id=version.model_id)
        client.set_model_version_tag(version.name, version.version, "test_brier", f"{score:.6f}")
        return score
    if abs(kept - score) > 1e-6:
        raise ValueError(f"test_brier of {version.name} was {kept:.6f} before and is {score:.6f} now; score it once.")
    return kept
