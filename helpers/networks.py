"""Build and fit a network that predicts a game, whichever team is named first; the only module that imports Keras."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.features import OUTCOME, Split, mirror

if TYPE_CHECKING:
    import keras

ARCHITECTURES = {"small": (64,), "medium": (64, 64), "large": (128, 64, 64)}  # hidden units, layer by layer
BATCH_SIZE = 32
PATIENCE = 10


@dataclass(frozen=True)
class Fit:
    """A fitted network with the weights of its best epoch, and its losses, mean squared errors.

    curves has the columns train and validation and an epoch a row, counted from 1.
    """

    network: keras.Model
    curves: pd.DataFrame


def start_keras() -> ModuleType:
    """Keras, imported on the first call (5 to 20 s) without the lines that TensorFlow's start-up prints.

    They come from C++, past Python's own logging, and land in whichever cell is running.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import keras
        import tensorflow  # noqa: F401  the rest of what MLflow loads, in the same silence
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing at the fifth network
    keras.config.disable_interactive_logging()  # predictions through MLflow would draw progress bars
    return keras


def build_network(architecture: str, games: pd.DataFrame, learning_rate: float) -> keras.Model:
    """An untrained network of a name in ARCHITECTURES for raw feature columns, Team1's half first.

    A stack of ReLU layers looks at the game twice, once from either team; the sigmoid of the difference of its two
    answers is the probability that Team1 wins, so p(A, B) = 1 - p(B, A) whatever the weights. The scaler, a layer
    of the network, learns its means and variances from games, one row a game with the feature columns alone.
    A row with a missing or infinite value is answered with NaN.
    """
    keras = start_keras()
    half = games.shape[1] // 2
    inputs = keras.Input((2 * half,), name="features")
    scaler = keras.layers.Normalization(name="scaler")
    scaler.adapt(pd.concat([games, mirror(games)]).to_numpy("float32"))
    seen_from_1 = scaler(inputs)
    seen_from_2 = scaler(keras.layers.Concatenate()([inputs[:, half:], inputs[:, :half]]))
    layers = [keras.layers.Dense(units, activation="relu") for units in ARCHITECTURES[architecture]]
    layers.append(keras.layers.Dense(1, use_bias=False, name="strength"))
    stack = keras.Sequential(layers, name="stack")
    logit = keras.layers.Subtract(name="logit")([stack(seen_from_1), stack(seen_from_2)])
    # ReLU turns NaN into 0, and a plausible probability would come out; x - x is 0 for a number, NaN for the rest.
    not_a_number = keras.ops.sum(inputs - inputs, axis=1, keepdims=True)
    probability = keras.layers.Activation("sigmoid", name="probability")(logit + not_a_number)
    network = keras.Model(inputs, probability, name=architecture)
    steps = -(-2 * len(games) // BATCH_SIZE)  # an epoch in one call, a fifth less time
    network.compile(keras.optimizers.Adam(learning_rate), loss="mean_squared_error", steps_per_execution=steps)
    return network


def train(architecture: str, split: Split, columns: list[str], learning_rate: float, epochs: int, seed: int) -> Fit:
    """A network built and fitted from the seed alone: two processes on one machine get bit-equal weights."""
    start_keras().utils.set_random_seed(seed)
    network = build_network(architecture, split.train[columns], learning_rate)
    return fit(network, split.train, split.validation, columns, epochs)


def fit(network: keras.Model, train: pd.DataFrame, validation: pd.DataFrame, columns: list[str], epochs: int) -> Fit:
    """The network fitted on every game of train in both orders, for at most `epochs` epochs.

    It stops when the validation loss has not fallen for PATIENCE epochs, and keeps the weights of the best one.
    """
    keras = start_keras()
    features = pd.concat([train[columns], mirror(train[columns])]).to_numpy("float32")
    outcome = np.concatenate([train[OUTCOME], 1 - train[OUTCOME]]).astype("float32")[:, None]
    held_out = validation[columns].to_numpy("float32"), validation[OUTCOME].to_numpy("float32")[:, None]
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    history = network.fit(
        features,
        outcome,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=held_out,
        validation_batch_size=len(validation),
        callbacks=[stop],
        verbose=0,
    ).history
    curves = pd.DataFrame({"train": history["loss"], "validation": history["val_loss"]})
    return Fit(network, curves.set_axis(range(1, len(curves) + 1)))


def predict(network: keras.Model, games: pd.DataFrame) -> np.ndarray:
    """The probability that Team1 wins, one number a row of games, which has the feature columns alone."""
    return network.predict(games.to_numpy("float32"), batch_size=8192)[:, 0].astype(float)
