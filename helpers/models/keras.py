"""Keras networks that predict a game, whichever team is named first; the only module that imports Keras."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.features import FEATURE_SETS, OUTCOME, Split, both_orders
from helpers.models import check
from helpers.models.fitted import FittedModel, Watch, numbers, rounding
from helpers.surroundings import shared, take_hold, taken_away, without_autologging
from helpers.trials import ARCHITECTURES, Trial

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STOPS = True  # by games that it is not fitted to
NEEDED, OPTIONAL = {"learning_rate", "epochs"}, {"weight_decay", "dropout", "batch_size"}
BATCH_SIZE = 32
PATIENCE = 10
WHOLE_EPOCH = 1_000_000  # steps between which Python is asked; it ends with the games
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
class KerasModel(FittedModel):
    """A network of build_network's, with the weights of its best epoch."""

    flavor = "tensorflow"
    packages = ("tensorflow", "keras")
    model: keras.Model

    def tolerance(self, games: pd.DataFrame) -> float:
        """How far apart two ways or two processors may be when they ask this network about the same games."""
        rows = numbers(games, self.columns)
        half = rows.shape[1] // 2
        sides = (rows, np.hstack([rows[:, half:], rows[:, :half]]))
        scaler, stack = self.model.get_layer("scaler"), self.model.get_layer("stack")
        return rounding(stack(scaler(side)) for side in sides)

    def _answer(self, rows: np.ndarray) -> np.ndarray:
        # Called and not model.predict, which would trace a graph first; in parts, for the hidden layers' memory.
        parts = [np.asarray(self.model(rows[i : i + 65536], training=False)) for i in range(0, len(rows), 65536)]
        return np.concatenate(parts)[:, 0].astype(float) if parts else np.empty(0)


def use_cores(number: int) -> None:
    """Let this process's networks keep to that many cores; too late once Keras has started."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(number)


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
def steady() -> Iterator[None]:
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


@steady()
def train(trial: Trial, split: Split, start: KerasModel | None = None, watch: Watch | None = None) -> KerasModel:
    """A network fitted to every game of split.train in both orders, as the trial says.

    The trial's parameters are learning_rate and epochs, and where it is to be held back weight_decay (the share of each
    weight, times the learning rate, that a step takes away: AdamW in Adam's place) and dropout (the share of hidden
    units that a step leaves out). batch_size says how many games a step sees, 32 where it is not given. Source:
    I. Loshchilov and F. Hutter, Decoupled weight decay regularization (2019).
    It is built from the seed alone, and two processes on one machine get bit-equal weights; or it goes on from those
    of start, whose own network is changed. Training stops when the validation loss has not fallen for PATIENCE epochs,
    and the weights of the best one are kept; without validation games it goes on for all epochs, and the curves have no
    column validation. Raises ValueError for a trial that cannot be trained or when a value in
    the columns is no finite number, FloatingPointError when a loss or a weight becomes none.
    """
    check(trial)
    columns = FEATURE_SETS[trial.features]
    both, outcome = both_orders(split.train[columns], split.train[OUTCOME])
    games = numbers(both, columns)
    held_out = _dataset(numbers(split.validation, columns), split.validation[OUTCOME])
    dropout = trial.parameters.get("dropout", 0)
    network = start.model if start else build_network(trial.architecture, games, trial.seed, dropout)
    graph = None if start else f"{trial.architecture}, dropout {dropout}"
    curves = _fit(network, graph, _dataset(games, outcome), held_out, trial, watch)
    return KerasModel(network, columns, curves)


@steady()
def build_network(architecture: str, games: np.ndarray, seed: int, dropout: float = 0) -> keras.Model:
    """An untrained network of a name in ARCHITECTURES for raw feature columns, Team1's half first.

    A stack of ReLU layers looks at the game twice, once from either team; the sigmoid of the difference of its two
    answers is the probability that Team1 wins, so p(A, B) = 1 - p(B, A) whatever the weights. The scaler, a layer
    of the network, learns its means and variances from games, one row per game and order. A row with a missing or
    infinite value is answered with NaN. Raises ValueError for an unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"There is no architecture {architecture!r}; choose one of {', '.join(ARCHITECTURES)}.")
    keras = start_keras()
    half = games.shape[1] // 2
    inputs = keras.Input((2 * half,), name="features")
    scaler = keras.layers.Normalization(name="scaler")
    scaler.adapt(games)
    seen_from_1 = scaler(inputs)
    seen_from_2 = scaler(keras.layers.Concatenate()([inputs[:, half:], inputs[:, :half]]))
    stack = _stack(ARCHITECTURES[architecture], seed, dropout)
    logit = keras.layers.Subtract(name="logit")([stack(seen_from_1), stack(seen_from_2)])
    # ReLU turns NaN into 0, and a plausible probability would come out; x - x is 0 for a number, NaN for the rest.
    not_a_number = keras.ops.sum(inputs - inputs, axis=1, keepdims=True)
    probability = keras.layers.Activation("sigmoid", name="probability")(logit + not_a_number)
    return keras.Model(inputs, probability, name=architecture)


def _stack(units: Sequence[int], seed: int, dropout: float) -> keras.Model:
    """ReLU layers of the given numbers of units, dropout after each, and one number, a team's strength, at the end."""
    keras = start_keras()
    # A seed for each layer: what keras.utils.set_random_seed sets belongs to all threads of a process.
    *seeds, last = [keras.initializers.GlorotUniform(seed + i) for i in range(len(units) + 1)]
    hidden = []
    for number, initializer in zip(units, seeds, strict=True):
        hidden.append(keras.layers.Dense(number, "relu", kernel_initializer=initializer))
        hidden += [keras.layers.Dropout(dropout, seed=seed + len(hidden))] if dropout else []
    strength = keras.layers.Dense(1, use_bias=False, kernel_initializer=last, name="strength")
    return keras.Sequential([*hidden, strength], name="stack")


def _fit(
    network: keras.Model,
    graph: str | None,
    games: tf.data.Dataset,
    held_out: tf.data.Dataset,
    trial: Trial,
    watch: Watch | None,
) -> pd.DataFrame:
    """Fit a network in place, and give back its losses."""
    keras = start_keras()
    finite = keras.callbacks.TerminateOnNaN()
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, losses: watch and watch(epoch + 1, losses["val_loss"])
    )
    with _one_at_a_time:
        keras.utils.set_random_seed(trial.seed)  # TensorFlow shuffles by this seed and by that of the next line
        shuffled = games.shuffle(len(games), seed=trial.seed).batch(trial.parameters.get("batch_size", BATCH_SIZE))
        twin = _compiled_twin(network, graph, "weight_decay" in trial.parameters)
        twin.optimizer.learning_rate = trial.parameters["learning_rate"]
        if "weight_decay" in trial.parameters:
            twin.optimizer.weight_decay.assign(trial.parameters["weight_decay"])
        history = twin.fit(
            shuffled,
            epochs=trial.parameters["epochs"],
            validation_data=held_out.batch(len(held_out)) if len(held_out) else None,
            callbacks=[stop, finite, told] if len(held_out) else [finite],
            shuffle=False,  # the dataset does it
            verbose=0,
        ).history
        network.set_weights(twin.get_weights())
    curves = pd.DataFrame(history).rename(columns={"loss": "train", "val_loss": "validation"})
    if not all(np.isfinite(values).all() for values in (curves.to_numpy(), *network.get_weights())):
        raise FloatingPointError(f"a loss or a weight was no finite number any more in epoch {len(curves)}")
    return curves.set_axis(range(1, len(curves) + 1))


def _dataset(games: np.ndarray, outcome: pd.Series) -> tf.data.Dataset:
    """Rows and their outcomes, without tf.data's optimisations: they cost more time than so few rows can give back."""
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    rows = tf.data.Dataset.from_tensor_slices((games, outcome.to_numpy("float32")[:, None]))
    return rows.with_options(options)


def _compiled_twin(network: keras.Model, graph: str | None, decays: bool) -> keras.Model:
    """A network of the same graph and weights, compiled, its optimizer at the start.

    It is kept for the next network of the same architecture, which graph names: tracing the graph takes longer than
    training it. Without a name, for a network that was built elsewhere, none is kept.
    """
    keras = start_keras()
    import tensorflow as tf

    scaler, key = network.get_layer("scaler"), (graph, decays, network.input_shape)
    twin = _twins.get(key)
    if not twin:
        twin = keras.models.clone_model(network)
        own = twin.get_layer("scaler")  # its numbers would be constants of the graph, which then served no other data
        own.mean, own.variance = (tf.Variable(number, trainable=False) for number in (scaler.mean, scaler.variance))
        optimizer = _decaying() if decays else keras.optimizers.Adam()
        twin.compile(optimizer, loss="mean_squared_error", steps_per_execution=WHOLE_EPOCH)
        twin.optimizer.build(twin.trainable_variables)
    if graph:
        _twins[key] = twin
    for variable, first in zip(twin.variables, network.variables, strict=False):  # the seeds of dropout among them
        variable.assign(first)
    twin.get_layer("scaler").mean.assign(scaler.mean)
    twin.get_layer("scaler").variance.assign(scaler.variance)
    for variable in twin.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    return twin


def _decaying() -> keras.Optimizer:
    """AdamW whose weight decay is a variable, so that another one needs no new graph."""
    keras = start_keras()
    optimizer = keras.optimizers.AdamW()
    optimizer.weight_decay = keras.Variable(0.0, trainable=False)
    return optimizer
