"""The sweep and the selection as a tutorial writes them, to measure the helpers against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd

from helpers.features import FEATURE_SETS, OUTCOME, Split, mirror
from helpers.models import keras
from helpers.models.fitted import numbers
from helpers.scoring import brier_score
from helpers.trials import Trial

if TYPE_CHECKING:
    from keras import Model


def run(trial: Trial, split: Split, folder: Path) -> None:
    """Train, log and register a trial: a request a number, and requirements that MLflow finds out."""
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(trial.model).experiment_id):
        for name, value in trial.made_of.items():
            mlflow.log_param(name, value)
        network, losses = train(trial, split, folder / "best.weights.h5")
        for name, curve in losses.items():
            for epoch, loss in enumerate(curve, 1):
                mlflow.log_metric(name, loss, step=epoch)
        answers = network.predict(split.validation[FEATURE_SETS[trial.features]].to_numpy("float32"), verbose=0)
        mlflow.log_metric("val_brier", brier_score(split.validation[OUTCOME], answers[:, 0]))
        logged = mlflow.tensorflow.log_model(network, name="model")
    mlflow.register_model(logged.model_uri, trial.model)


def train(trial: Trial, split: Split, checkpoint: Path) -> tuple[Model, dict[str, list[float]]]:
    """The helpers' network after every epoch was run, with the weights of the best one, and its losses."""
    library, columns = keras.start_keras(), FEATURE_SETS[trial.features]
    import tensorflow as tf

    library.utils.set_random_seed(trial.seed)
    games = numbers(pd.concat([split.train[columns], mirror(split.train[columns])]), columns)
    network = keras.build_network(trial.architecture, games, trial.seed)
    network.compile(library.optimizers.Adam(trial.parameters["learning_rate"]), "mean_squared_error")
    outcomes = np.concatenate([split.train[OUTCOME], 1 - split.train[OUTCOME]])[:, None]
    rows = tf.data.Dataset.from_tensor_slices((games, outcomes))
    # The helpers' order of the games, so that the scores differ by nothing but the way of training.
    history = network.fit(
        rows.shuffle(len(games), seed=trial.seed).batch(keras.BATCH_SIZE),
        epochs=trial.parameters["epochs"],
        validation_data=(split.validation[columns].to_numpy("float32"), split.validation[OUTCOME].to_numpy()),
        callbacks=[library.callbacks.ModelCheckpoint(checkpoint, save_best_only=True, save_weights_only=True)],
        shuffle=False,  # the dataset does it
        verbose=0,
    )
    network.load_weights(checkpoint)
    return network, history.history


def lowest_score() -> tuple[float, str, int]:
    """The lowest val_brier with its model's name and version: a request a version."""
    client, token, scores = mlflow.MlflowClient(), None, []
    while not scores or token:
        page = client.search_model_versions(max_results=1_000, page_token=token)
        token = page.token
        for version in page:
            score = client.get_run(version.run_id).data.metrics["val_brier"]
            scores.append((score, version.name, int(version.version)))
    return min(scores)
