"""How MLflow asks a logistic regression, as a pyfunc: kept with the model, so it needs nothing else of the project."""

from pathlib import Path

import pandas as pd

FILE = "model.skops"


class Answers:
    """The probability that Team1 wins, in a column of its own, as networks give it."""

    def __init__(self, model: object) -> None:
        self.model = model

    def predict(self, games: pd.DataFrame) -> pd.DataFrame:
        """One row per game. Raises ValueError for missing or infinite values."""
        return pd.DataFrame(self.model.predict_proba(games)[:, 1], index=games.index)


def load(folder: Path) -> object:
    """The pipeline in a folder. Raises skops' error for any type that scikit-learn and numpy do not bring."""
    import skops.io

    return skops.io.load(folder / FILE)


def _load_pyfunc(path: str) -> Answers:
    return Answers(load(Path(path)))
