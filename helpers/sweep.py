"""The trials of a sweep, and running them: a trial that has finished is found and not run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import mlflow
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion

from helpers import networks, plots, registry
from helpers.features import FEATURE_SETS, MATCHUP, OUTCOME, Split
from helpers.scoring import brier_score
from helpers.store import PRODUCT


@dataclass(frozen=True)
class Trial:
    """What a candidate is made of. Two trials with equal fields make the same network, so one is enough."""

    architecture: str
    learning_rate: float
    epochs: int
    seed: int
    features: str
    data: str

    @property
    def model(self) -> str:
        """The experiment of its run, and the registered model of its version."""
        return f"{PRODUCT}-{self.architecture}"

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits made from the fields, kept as the tag `trial` on the run and on the version."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def make_trials(learning_rates: Iterable[float], epochs: int, seed: int, features: str, data: str) -> list[Trial]:
    """A trial for every architecture and learning rate, the smallest network first."""
    return [
        Trial(architecture, rate, epochs, seed, features, data)
        for architecture in networks.ARCHITECTURES
        for rate in learning_rates
    ]


def run_trial(trial: Trial, split: Split) -> ModelVersion:
    """The registered version of a trial: found where it has finished before, otherwise trained, logged, registered."""
    return registry.find_version(trial.model, trial.key) or _train_and_register(trial, split)


def _train_and_register(trial: Trial, split: Split) -> ModelVersion:
    columns = FEATURE_SETS[trial.features]
    fit = networks.train(trial.architecture, split, columns, trial.learning_rate, trial.epochs, trial.seed)
    features = split.validation[columns]
    predictions = networks.predict(fit.network, features)
    experiment = mlflow.get_experiment_by_name(trial.model)
    with mlflow.start_run(experiment_id=experiment.experiment_id, run_name=f"learning rate {trial.learning_rate}"):
        mlflow.set_tag("trial", trial.key)
        mlflow.log_params(asdict(trial))
        registry.log_games(split.train[[*columns, OUTCOME]], OUTCOME, trial.data)
        registry.log_losses(fit.curves)
        axes = plots.loss_curves(fit.curves, Figure(figsize=(7.5, 3.8), layout="constrained").add_subplot())
        mlflow.log_figure(axes.figure, "loss_curves.png")
        registry.log_predictions(split.validation[[*MATCHUP, OUTCOME]], predictions)
        info = registry.log_network(fit.network, features, predictions)
        mlflow.log_metric("val_brier", brier_score(split.validation[OUTCOME], predictions), model_id=info.model_id)
        registry.check_reloaded(info.model_uri, features, predictions)
    return mlflow.register_model(info.model_uri, trial.model, tags={"trial": trial.key})
