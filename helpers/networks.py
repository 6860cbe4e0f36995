"""Build and fit a network that predicts a game, whichever team is named first; the only module that imports Keras."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_integer_dtype

from helpers.features import OUTCOME, Split, mirror
from helpers.surroundings import shared, take_hold, taken_away, without_autologging

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

ARCHITECTURES = {"small": (64,), "medium": (64, 64), "large": (128, 64, 64)}  # hidden units, layer by layer
BATCH_SIZE = 32
PATIENCE = 10
READ_AT_IMPORT = ("TF_", "XLA_", "ONEDNN_", "DNNL_", "NVIDIA_")  # how variables begin that TensorFlow reads once
STEADY = {  # keras.config's own values, whatever keras.json or a start-up file says
    "floatx": "float32",
    "epsilon": 1e-7,
    "dtype_policy": "float32",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}

_one_at_a_time = threading.Lock()  # for threads that train: they share the twins
_twins: dict[tuple, keras.Model] = {}


@dataclass(frozen=True)
class Fit:
    """A fitted network with the weights of its best epoch, and its losses, mean squared errors.

    curves has the columns train and validation and an epoch a row, counted from 1.
    """

    network: keras.Model
    curves: pd.DataFrame


def start_keras() -> ModuleType:
    """Keras on TensorFlow, imported on the first call (5 to 20 s), whatever variables and keras.json ask for.

    Raises RuntimeError that names the setting where it is too late: Keras or TensorFlow was imported with it before,
    or Keras does not start with its file of settings.
    """
    take_hold()
    return _import_keras()


@cache
def _import_keras() -> ModuleType:
    late = sorted(name for name, value in taken_away.items() if value and name.startswith(READ_AT_IMPORT))
    if late and "tensorflow" in sys.modules:
        settings = ", ".join(f"{name}={taken_away[name]}" for name in late)
        raise RuntimeError(f"TensorFlow was imported before with {settings}; unset that and start this kernel again.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    file = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"
    try:
        with _stderr_shut():
            import keras
            import tensorflow  # noqa: F401  the rest of what MLflow loads, in the same silence
    except (AttributeError, TypeError, ValueError) as error:
        if not file.exists():
            raise
        raise RuntimeError(f"Keras does not start with what {file} says; mend or delete that file: {error}") from error
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras was imported before with KERAS_BACKEND={keras.backend.backend()}; start this kernel again without."
        )
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing at the fifth network
    keras.config.disable_interactive_logging()  # predictions through MLflow would draw progress bars
    return keras


@contextmanager
def _stderr_shut() -> Iterator[None]:
    """Nothing is printed to stderr inside, not even from C++, past Python's own logging."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@shared
@contextmanager
def steady_keras() -> Iterator[None]:
    """Keras' own settings inside, without autologging, whatever a start-up file or keras.json chose; theirs afterwards.

    A trial's key does not name them, so they must not decide what its network turns out to be.
    """
    keras = start_keras()
    import tensorflow as tf

    there = {name: value for name, value in STEADY.items() if hasattr(keras.config, f"set_{name}")}
    before = {name: getattr(keras.config, name)() for name in there}
    eager, compiled = tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit()
    _set_up(keras, tf, there, eager=False, compiled=False)
    try:
        with without_autologging():
            yield
    finally:
        _set_up(keras, tf, before, eager, compiled)


def _set_up(keras: ModuleType, tf: ModuleType, settings: dict[str, object], eager: bool, compiled: str | bool) -> None:
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)
    tf.config.run_functions_eagerly(eager)
    tf.config.optimizer.set_jit(compiled)


@steady_keras()
def build_network(architecture: str, games: pd.DataFrame, seed: int) -> keras.Model:
    """An untrained network of a name in ARCHITECTURES for raw feature columns, Team1's half first.

    A stack of ReLU layers looks at the game twice, once from either team; the sigmoid of the difference of its two
    answers is the probability that Team1 wins, so p(A, B) = 1 - p(B, A) whatever the weights. The scaler, a layer
    of the network, learns its means and variances from games, one row a game with the feature columns alone.
    A row with a missing or infinite value is answered with NaN. Raises ValueError for an unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"There is no architecture {architecture!r}; choose one of {', '.join(ARCHITECTURES)}.")
    keras = start_keras()
    half = games.shape[1] // 2
    inputs = keras.Input((2 * half,), name="features")
    scaler = keras.layers.Normalization(name="scaler")
    scaler.adapt(numbers(pd.concat([games, mirror(games)]), list(games)))
    seen_from_1 = scaler(inputs)
    seen_from_2 = scaler(keras.layers.Concatenate()([inputs[:, half:], inputs[:, :half]]))
    # A seed for each layer: what keras.utils.set_random_seed sets belongs to all threads of a process.
    seeds = [keras.initializers.GlorotUniform(seed + i) for i in range(len(ARCHITECTURES[architecture]) + 1)]
    layers = [
        keras.layers.Dense(units, activation="relu", kernel_initializer=initializer)
        for units, initializer in zip(ARCHITECTURES[architecture], seeds, strict=False)
    ]
    layers.append(keras.layers.Dense(1, use_bias=False, kernel_initializer=seeds[-1], name="strength"))
    stack = keras.Sequential(layers, name="stack")
    logit = keras.layers.Subtract(name="logit")([stack(seen_from_1), stack(seen_from_2)])
    # ReLU turns NaN into 0, and a plausible probability would come out; x - x is 0 for a number, NaN for the rest.
    not_a_number = keras.ops.sum(inputs - inputs, axis=1, keepdims=True)
    probability = keras.layers.Activation("sigmoid", name="probability")(logit + not_a_number)
    return keras.Model(inputs, probability, name=architecture)


def train(architecture: str, split: Split, columns: list[str], learning_rate: float, epochs: int, seed: int) -> Fit:
    """A network built and fitted from the seed alone: two processes on one machine get bit-equal weights."""
    network = build_network(architecture, split.train[columns], seed)
    return fit(network, split.train, split.validation, columns, learning_rate, epochs, seed)


@steady_keras()
def fit(
    network: keras.Model,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    columns: list[str],
    learning_rate: float,
    epochs: int,
    seed: int,
) -> Fit:
    """The network fitted on every game of train in both orders, for at most `epochs` epochs.

    The seed shuffles the games. Training stops when the validation loss has not fallen for PATIENCE epochs, and the
    weights of the best one are kept. Raises ValueError when a value in the columns is no finite number,
    FloatingPointError when a loss or a weight becomes none.
    """
    keras = start_keras()
    games = numbers(pd.concat([train[columns], mirror(train[columns])]), columns)
    rows = _dataset(games, pd.concat([train[OUTCOME], 1 - train[OUTCOME]]))
    held_out = _dataset(numbers(validation, columns), validation[OUTCOME]).batch(len(validation))
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    with _one_at_a_time:
        keras.utils.set_random_seed(seed)  # TensorFlow shuffles by this seed and by that of the next line
        shuffled = rows.shuffle(len(games), seed=seed).batch(BATCH_SIZE)
        twin = _compiled_twin(network, steps=len(shuffled))
        twin.optimizer.learning_rate = learning_rate
        history = twin.fit(
            shuffled,
            epochs=epochs,
            validation_data=held_out,
            callbacks=[stop, keras.callbacks.TerminateOnNaN()],
            shuffle=False,  # the dataset does it
            verbose=0,
        ).history
        network.set_weights(twin.get_weights())
    curves = pd.DataFrame({"train": history["loss"], "validation": history["val_loss"]})
    if not all(np.isfinite(values).all() for values in (curves.to_numpy(), *network.get_weights())):
        raise FloatingPointError(f"a loss or a weight was no finite number any more in epoch {len(curves)}")
    return Fit(network, curves.set_axis(range(1, len(curves) + 1)))


def _dataset(games: np.ndarray, outcome: pd.Series) -> tf.data.Dataset:
    """Rows and their outcomes, without tf.data's optimisations: they cost more time than so few rows can give back."""
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    rows = tf.data.Dataset.from_tensor_slices((games, outcome.to_numpy("float32")[:, None]))
    return rows.with_options(options)


def _compiled_twin(network: keras.Model, steps: int) -> keras.Model:
    """A network of the same graph and weights, compiled for epochs of so many steps, its optimizer at the start.

    It is kept: tracing the graph takes longer than training it, and a second learning rate can do without. What the
    graph holds as constants, the scaler's numbers, is part of the key.
    """
    keras = start_keras()
    # Keras numbers layers through all networks of a process; neither number nor seed is part of the graph.
    graph = re.sub(r'_\d+|"seed": \d+', "", network.to_json())
    key = graph, steps, *(weight.numpy().tobytes() for weight in network.non_trainable_weights)
    if key not in _twins:
        twin = keras.models.clone_model(network)
        twin.set_weights(network.get_weights())
        twin.get_layer("scaler").finalize_state()
        twin.compile(keras.optimizers.Adam(), loss="mean_squared_error", steps_per_execution=steps)
        twin.optimizer.build(twin.trainable_variables)
        _twins[key] = twin
    _twins[key].set_weights(network.get_weights())
    for variable in _twins[key].optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    return _twins[key]


def numbers(games: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """The columns, found by their names, as float32, a game a row.

    Raises TypeError for anything but a DataFrame, and ValueError that names columns and counts rows, without showing
    any, where a column is missing or there twice, or where a value is no finite number.
    """
    if not isinstance(games, pd.DataFrame):
        raise TypeError(f"Games come as a pandas DataFrame with named columns, not as {type(games).__name__}.")
    there = {column: (games.columns == column).sum() for column in columns}
    wrong = [f"{column} ({'twice' if n else 'missing'})" for column, n in there.items() if n != 1]
    if wrong:
        raise ValueError(
            f"Each of {len(columns)} columns is needed once, and these are not there once: {', '.join(wrong)}."
        )
    table = np.column_stack([_floats(games[column]) for column in columns])
    bad = dict(zip(columns, (~np.isfinite(table)).sum(axis=0), strict=True))
    if any(bad.values()):
        counts = ", ".join(f"{column} ({n} of {len(games)} rows)" for column, n in bad.items() if n)
        raise ValueError(f"Only finite numbers can be used, and something else is in {counts}.")
    return table


def _floats(column: pd.Series) -> np.ndarray:
    """A column as float32, with NaN for all that is no number: text, truth values, dates."""
    if not (is_float_dtype(column) or is_integer_dtype(column)):
        column = column.astype(object)
        column = column.where([isinstance(value, Real) and not isinstance(value, bool) for value in column])
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused as such
        return column.to_numpy("float64", na_value=np.nan).astype("float32")


def predict(network: keras.Model, games: pd.DataFrame | np.ndarray) -> np.ndarray:
    """The probability that Team1 wins, one number a row of games, which has the feature columns alone."""
    rows = np.asarray(games, "float32")
    # Called and not network.predict, which would trace a graph first; in parts, for the hidden layers' memory.
    parts = [np.asarray(network(rows[i : i + 65536], training=False)) for i in range(0, len(rows), 65536)]
    return np.concatenate(parts)[:, 0].astype(float) if parts else np.empty(0)


def tolerance(network: keras.Model, games: pd.DataFrame | np.ndarray) -> float:
    """How far apart two ways or two processors may be when they ask the same network about the same games.

    The logit is the difference of two strengths, each rounded to float32 at its own size, and the sigmoid's slope is
    at most 1/4: one way was seen to be up to 0.8 * eps * the largest strength away from the exact answers, so two
    ways may be 4 times eps * that strength apart. What is more than 0.01 apart is no rounding. games as in predict.
    """
    rows = np.asarray(games, "float32")
    half = rows.shape[1] // 2
    sides = (rows, np.hstack([rows[:, half:], rows[:, :half]]))
    scaler, stack = network.get_layer("scaler"), network.get_layer("stack")
    strengths = [float(np.abs(stack(scaler(side))).max(initial=1)) for side in sides]
    return min(0.01, 4 * float(np.finfo("float32").eps) * max(strengths))
