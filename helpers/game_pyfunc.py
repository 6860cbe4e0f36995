"""How MLflow asks a model of ours, as a pyfunc: a copy lies in each model's folder, and needs nothing else of ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

LINEAR = "model.skops"
ROWS = 65536  # that a network is asked about at once, for its hidden layers' memory


class Answers:
    """The probability that Team1 wins, in a column of its own, whatever the library."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self.answer = answer

    def predict(self, games: pd.DataFrame) -> pd.DataFrame:
        """One row per game; MLflow has put the columns into the signature's order.

        Raises MlflowException, with the columns and how many rows, for what is no finite number: any answer would be a
        plausible one, or a NaN, which JSON does not have.
        """
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite
            rows = games.to_numpy("float32")
        wrong = dict(zip(games.columns, (~np.isfinite(rows)).sum(axis=0), strict=True))
        counts = ", ".join(f"{column} ({n} of {len(games)} rows)" for column, n in wrong.items() if n)
        if counts:
            raise MlflowException(
                f"Only finite numbers can be used, and something else is in {counts}.", INVALID_PARAMETER_VALUE
            )
        parts = [self.answer(rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)]
        return pd.DataFrame(np.concatenate([np.empty(0), *parts]), index=games.index)


def _linear(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    model = load_linear(file)
    columns = list(model.feature_names_in_)
    return lambda rows: model.predict_proba(pd.DataFrame(rows.astype(float), columns=columns))[:, 1]


def load_linear(file: Path) -> object:
    """The pipeline in a file. Raises skops' error for any type that scikit-learn and numpy do not bring."""
    import skops.io

    return skops.io.load(file)


def _keras(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """As a compiled graph: a call of the network takes ten times as long, and Keras' predict a hundred times."""
    import keras
    import tensorflow as tf

    network = keras.models.load_model(file, compile=False)
    rows = tf.TensorSpec((None, network.input_shape[-1]), "float32")
    compiled = tf.function(lambda games: network(games, training=False), input_signature=[rows])
    return lambda games: compiled(games).numpy()[:, 0]


def _torch(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    network = torch.export.load(file).module()

    def answer(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(rows)).numpy()[:, 0]

    return answer


LOADERS = {".skops": _linear, ".keras": _keras, ".pt2": _torch}


def _load_pyfunc(path: str, device: object = None) -> Answers:  # the second is what MLflow hands on for PyTorch
    (file,) = (file for file in Path(path).rglob("model.*") if file.suffix in LOADERS)
    return Answers(LOADERS[file.suffix](file))
