"""A store that an earlier version of this project filled is found, not trained again, and its champion loads."""

import hashlib
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import candidates, registry
from helpers.features import OUTCOME
from helpers.models import keras
from helpers.sweep import run_sweep
from helpers.trials import PRODUCT, make_trials
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials

ARCHITECTURES, RATES = ("small", "medium", "large"), (0.001, 0.01, 0.1)


def old_version(architecture: str, rate: float, seal: bool, name: str = "", start: str = "") -> ModelVersion:
    """A version with the tags, the parameters and the names as they were, written out and not taken from this code."""
    made_of = {"architecture": architecture, "learning_rate": rate, "epochs": 2, "seed": 0, "features": "strong"}
    made_of["data"] = "further" if start else "made-up"
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    key = f"{start}-further" if start else key
    fitted = keras.train(make_trials([rate], 2, 0, "strong", "made-up")[ARCHITECTURES.index(architecture)], SPLIT)
    answers, games = fitted.predict(SPLIT.validation), SPLIT.validation[fitted.columns]
    score = {} if start else {"val_brier": float(((answers - SPLIT.validation[OUTCOME]) ** 2).mean())}
    home = mlflow.get_experiment_by_name(f"march-madness-{architecture}").experiment_id
    with mlflow.start_run(experiment_id=home, run_name=f"learning rate {rate:g}"):
        mlflow.log_params(made_of)
        if not start:
            mlflow.set_tags({"trial": key, "owner": "elsewhere 1 1", "heartbeat": "1"})
        signature = mlflow.models.infer_signature(games.to_numpy("float32"), answers[:, None])
        model = mlflow.tensorflow.log_model(fitted.model, name="model", signature=signature, pip_requirements=[])
        mlflow.models.set_signature(model.model_uri, mlflow.models.infer_signature(games, answers[:, None]))
        mlflow.log_metrics(score, model_id=model.model_id)
    digest = registry.digest(Path(mlflow.artifacts.download_artifacts(model.model_uri)))
    candidate = {**made_of, **score}
    if seal:
        sealed = json.dumps([key, digest, candidate], sort_keys=True).encode()
        candidate["seal"] = hashlib.sha256(sealed).hexdigest()[:16]
    tags = {"trial": key, "digest": digest, "candidate": json.dumps(candidate)}
    return mlflow.register_model(model.model_uri, name or f"march-madness-{architecture}", tags=tags)


@pytest.fixture(params=[True, False], ids=["sealed", "without seals"])
def old_store(request, store):
    """Nine candidates, a champion, and the champion trained further."""
    made = [old_version(architecture, rate, request.param) for architecture in ARCHITECTURES for rate in RATES]
    best = candidates.best_version("made-up")
    mlflow.MlflowClient().copy_model_version(f"models:/{best.name}/{best.version}", "march-madness")
    mlflow.MlflowClient().set_registered_model_alias("march-madness", "champion", 1)
    further = old_version("small", 0.01, request.param, "march-madness", start=best.tags["trial"])
    return made, best, further


def test_everything_in_it_is_found_and_its_champion_loads(old_store, monkeypatch):
    made, best, further = old_store
    monkeypatch.setattr(keras, "train", lambda *args: pytest.fail("trained again"))
    outcomes = run_sweep(trials(), SPLIT)
    assert outcomes["outcome"].tolist() == ["found"] * 9
    assert outcomes["version"].tolist() == [int(version.version) for version in made]
    assert len(candidates.leaderboard("made-up")) == 9
    champion = registry.champion("made-up")
    assert (champion.run_id, champion.tags["trial"]) == (best.run_id, best.tags["trial"])
    assert registry.find_copy(best, PRODUCT).version == champion.version
    trial = registry.trial_of(champion)
    assert (trial.key, trial.model) == (champion.tags["trial"], best.name)
    assert registry.find_version(PRODUCT, f"{trial.key}-further").version == further.version
    answers = registry.load(champion).predict(SPLIT.validation)
    score = mlflow.get_run(best.run_id).data.metrics["val_brier"]
    assert np.isclose(((answers - SPLIT.validation[OUTCOME]) ** 2).mean(), score, atol=1e-6)
    assert len(mlflow.search_runs(experiment_names=CANDIDATES)) == 10
