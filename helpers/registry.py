"""Versions of models: log a network, check it, register it once, find it, and load it if its files are unharmed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, infer_signature

from helpers.networks import numbers, predict, start_keras
from helpers.store import PRODUCT, plain

if TYPE_CHECKING:
    import keras

PACKAGES = ("mlflow", "tensorflow", "keras", "numpy", "pandas")


def log_network(network: keras.Model, features: pd.DataFrame, predictions: np.ndarray) -> LoggedModel:
    """Log a network to the active run, with a signature that names its columns, and give back where it lies.

    features holds the rows it was tried on (float64 columns), predictions its answers. The requirements are this
    environment's versions; MLflow would otherwise start a second Python to find them out, 10 s a model. These are
    the steps of mlflow.tensorflow.log_model but one: that also loads the model and tries the example, which takes
    longer than the rest, and check_reloaded does it better.
    """
    run_id, client = mlflow.active_run().info.run_id, mlflow.MlflowClient()
    params = client.get_run(run_id).data.params
    model = mlflow.initialize_logged_model(name="model", source_run_id=run_id, params=params)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        mlflow.tensorflow.save_model(
            network,
            path,
            mlflow_model=Model(run_id=run_id, model_id=model.model_id, artifact_path=model.artifact_location),
            signature=infer_signature(features.to_numpy("float32"), predictions[:, None]),
            input_example=features.head(3),
            pip_requirements=requirements(),
        )
        # The flavour takes tensor signatures alone, which would score shuffled columns without a word.
        mlflow.models.set_signature(str(path), infer_signature(features, predictions[:, None]))
        client.log_model_artifacts(model.model_id, str(path))
    return mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


@cache
def requirements() -> list[str]:
    """The packages that a network needs, each pinned to the version in use here."""
    return [f"{name}=={installed(name)}" for name in PACKAGES]


def check_reloaded(model_uri: str, features: pd.DataFrame, predictions: np.ndarray) -> str:
    """Load a logged model from the store, compare its answers with those before it was logged, give back its digest.

    Raises RuntimeError when they differ by more than 1e-6, or are all the same; such a model is not to be registered.
    """
    with tempfile.TemporaryDirectory() as copy:
        folder = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=copy))
        again = predict(mlflow.tensorflow.load_model(str(folder)), features)
        difference = np.abs(again - predictions).max()
        if not difference <= 1e-6:
            raise RuntimeError(f"{model_uri} loaded back answers {difference:.2g} apart from the network.")
        if np.ptp(predictions) == 0:
            raise RuntimeError(f"The network answers each of {len(predictions)} games with {predictions[0]:.3g}.")
        return digest(folder)


def digest(folder: Path) -> str:
    """The SHA-256 of all files in a model's folder, names and contents, but the one that MLflow adds on the way."""
    total = hashlib.sha256()
    added = folder / "registered_model_meta"
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != added):
        for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def version_tags(trial: str, digest: str, candidate: dict[str, object]) -> dict[str, str]:
    """What a version says of itself: its trial's key, its files' digest, and in one tag what it is made of and scores.

    One tag, in JSON, because every further one makes reading 10,000 versions 0.6 s slower.
    """
    return {"trial": trial, "digest": digest, "candidate": json.dumps(candidate)}


def register(model_uri: str, name: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model with version_tags, once: should its trial have several versions now, the lowest stays."""
    mlflow.register_model(model_uri, plain(name), tags=tags)
    first, *doubles = _versions(name, tags["trial"])
    for double in doubles:  # another process's, or that of a request whose answer was lost
        mlflow.MlflowClient().delete_model_version(name, double.version)
    return first


def find_version(name: str, trial: str) -> ModelVersion | None:
    """The version of a registered model that was made by the trial with this key, or None."""
    return next(iter(_versions(name, trial)), None)


def _versions(name: str, trial: str) -> list[ModelVersion]:
    query = f"name = '{plain(name)}' and tags.trial = '{plain(trial)}'"
    return sorted(mlflow.search_model_versions(filter_string=query), key=lambda version: int(version.version))


@dataclass(frozen=True)
class LoadedModel:
    """A registered network whose files are those that were registered, and the columns that it wants."""

    network: keras.Model
    columns: list[str]

    def predict(self, games: pd.DataFrame) -> np.ndarray:
        """The probability that Team1 wins, a number a row; games may have its columns in any order, and others.

        Raises TypeError or ValueError, with the columns and how many rows, for what would be scored wrongly.
        """
        return predict(self.network, numbers(games, self.columns))


def load(version: ModelVersion) -> LoadedModel:
    """Load a version, unless its files are other ones than when it was registered.

    Raises RuntimeError that names the version; nothing of the files has run by then.
    """
    name = f"{version.name} version {version.version}"
    with tempfile.TemporaryDirectory() as copy:
        try:
            folder = Path(
                mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=copy)
            )
        except (mlflow.MlflowException, OSError) as error:
            raise RuntimeError(f"The files of {name} cannot be read: {error}") from error
        if digest(folder) != version.tags.get("digest"):
            raise RuntimeError(f"The files of {name} are not those that were registered; nothing of them was loaded.")
        start_keras()
        columns = Model.load(folder).get_input_schema().input_names()
        return LoadedModel(mlflow.tensorflow.load_model(str(folder)), columns)


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
