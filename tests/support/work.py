"""A small sweep or search as a process, which can be told to die: python -m tests.support.work STORE WORK [STAGE]."""

import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlparse

import mlflow
import numpy as np
import pandas as pd

from helpers import claims, records, registry, sweep
from helpers.features import FEATURE_SETS, MATCHUP, OUTCOME, Split
from helpers.models import keras
from helpers.search import Recipe, run_search
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from helpers.trials import Trial, make_trials, model_names


def made_up(games: int, seed: int) -> pd.DataFrame:
    """Games whose first column decides half of their outcome."""
    rng, columns = np.random.default_rng(seed), FEATURE_SETS["strong"]
    table = pd.DataFrame(rng.normal(size=(games, len(columns))), columns=columns)
    won = rng.uniform(size=games) < 1 / (1 + np.exp(-table[columns[0]]))
    return table.assign(**{OUTCOME: won.astype(int)}, **dict.fromkeys(MATCHUP, 1))


SPLIT = Split(made_up(200, 1), made_up(80, 2), made_up(80, 3))


def trials(seeds: int = 1) -> list[Trial]:
    """The nine of a sweep, for as many seeds."""
    return [t for seed in range(seeds) for t in make_trials([0.001, 0.01, 0.1], 2, seed, "strong", "made-up")]


RECIPE, SEARCHED = Recipe(epochs=2, seed=1, features="strong", data="made-up"), 8
WORK = {  # by name, and how many versions are there in the end
    "nine": (lambda: run_sweep(trials(), SPLIT), 9),
    "eighteen": (lambda: run_sweep(trials(2), SPLIT), 18),
    "three": (lambda: run_sweep(trials()[:3], SPLIT), 3),
    "search": (lambda: run_search(SEARCHED, RECIPE, SPLIT, n_jobs=2), SEARCHED),
}


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(stage: str) -> None:
    """Kill this process in its second trial, at a stage of it."""
    place, when = STAGES[stage]
    module, name = place
    honest, calls = getattr(module, name), []

    def deadly(*args: object, **kwargs: object) -> object:
        calls.append(name)
        if len(calls) == 2 and when == "before":
            die()
        if len(calls) == 2 and when == "half":
            keras_file = Path(args[2]) / "data" / "model.keras"
            keras_file.write_bytes(keras_file.read_bytes()[: keras_file.stat().st_size // 2])
        result = honest(*args, **kwargs)
        if len(calls) == 2:
            die()
        return result

    setattr(module, name, deadly)


STAGES: dict[str, tuple[tuple[object, str], str]] = {
    "claimed": ((claims, "claim"), "after"),
    "training": ((keras, "train"), "after"),
    "metric logged": ((records, "log_losses"), "after"),
    "model half copied": ((mlflow.MlflowClient, "log_model_artifacts"), "half"),
    "folder half copied": ((mlflow.MlflowClient, "log_artifacts"), "half"),
    "logged": ((registry, "log_folder"), "after"),
    "checked": ((registry, "check_reloaded"), "after"),
    "version created": ((mlflow, "register_model"), "after"),
    "registered": ((registry, "register"), "after"),
    "run closed": ((sweep, "_claim_and_train"), "after"),
}


def notes_of(store: str) -> Path:
    """Where note_trainings writes: a file beside the folder of a store."""
    return Path(urlparse(store).path).parent / "trained"


def note_trainings(store: str) -> None:
    """Keep the key of every trial that is trained."""
    honest = keras.train

    def train(trial: Trial, split: Split, **more: object) -> keras.KerasModel:
        with notes_of(store).open("a") as file:
            file.write(f"{trial.key}\n")
        return honest(trial, split, **more)

    keras.train = train


def whole(store: str, count: int = 9) -> None:
    """Assert that a store holds every trial once, loadable and scored, and nothing half done."""
    use_store(store)
    versions = [v for name in model_names() for v in registry.search_versions(f"name = '{name}'")]
    assert len(versions) == count
    assert len({version.tags["trial"] for version in versions}) == count
    for version in versions:
        answers = registry.load(version).predict(SPLIT.validation)
        run = mlflow.get_run(version.run_id)
        assert run.info.status == "FINISHED"
        score = ((answers - SPLIT.validation[OUTCOME]) ** 2).mean()
        assert np.isclose(run.data.metrics["val_brier"], score, atol=1e-6)
        if version.source.startswith("models:/"):
            assert mlflow.get_logged_model(version.source.removeprefix("models:/")).status == "READY"
    running = mlflow.search_runs(search_all_experiments=True, filter_string="attributes.status = 'RUNNING'")
    assert running.empty


def main(place: str, name: str, *stage: str) -> None:
    """Do the work of that name on a store, and die at a stage of it if one is named."""
    if stage:
        die_at(*stage)
    if not place.startswith("http"):
        note_trainings(place)
    use_store(place)
    print("ready", flush=True)
    outcomes = WORK[name][0]()
    assert outcomes.empty or set(outcomes["outcome"]) <= {"trained", "found", "pruned"}, outcomes.to_string()


if __name__ == "__main__":
    import tests.support.imported  # noqa: F401  with the rest of the imports, before the clock of a kill begins to run

    main(*sys.argv[1:])
