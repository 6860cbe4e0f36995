"""Ask a store what it can do: each ability is tried for real, under a name of its own, and what was made is deleted."""

import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
from mlflow.models import Model, infer_signature
from mlflow.models.model import MLMODEL_FILE_NAME

from helpers.registry import log_folder
from helpers.stores import StoreError
from helpers.stores.store import opened
from helpers.tools.serve import chosen_store
from helpers.trials import experiment_name, model_name


class LackError(Exception):
    """A step that cannot be tried, or a lack that is no error of the store's, in our own words."""


class Made(SimpleNamespace):
    """What was made so far, for the steps that come after."""

    def __getattr__(self, name: str) -> object:
        raise LackError(f"not tried, for want of: {name}")


def abilities(store: str) -> pd.Series:
    """What a store can do, in the order in which the notebooks need it: yes, or no and the first line of its answer.

    Raises StoreError where it cannot be opened.
    """
    with opened(store) as (folder, _):
        place = folder / "abilities" if folder else None
    word = f"abilities-{uuid.uuid4().hex[:8]}"
    made = Made(client=mlflow.MlflowClient(), home=experiment_name(word), name=model_name(word), place=place)
    found = pd.Series({what: _answer(attempt, made) for what, attempt in {**USES, **DELETIONS}.items()})
    if place:  # MLflow deletes no files
        shutil.rmtree(place, ignore_errors=True)
    return found


def _answer(attempt: Callable[[Made], object], made: Made) -> str:
    try:
        return "yes" if attempt(made) is not False else "no: it gives something else back"
    except LackError as error:
        return str(error)
    except Exception as error:  # a plugin of a service raises its own
        return f"no: {type(error).__name__}: {str(error).partition(chr(10))[0][:80]}"


def _experiment(made: Made) -> bool:
    made.experiment = made.client.create_experiment(made.home, made.place and made.place.as_uri())
    return made.client.get_experiment_by_name(made.home).experiment_id == made.experiment


def _run(made: Made) -> bool:
    made.run = made.client.create_run(made.experiment, tags={"trial": "first"}).info.run_id
    made.client.log_metric(made.run, "val_brier", 0.2)
    found = made.client.search_runs([made.experiment], "metrics.val_brier >= 0", order_by=["metrics.val_brier ASC"])
    return [run.info.run_id for run in found] == [made.run]


def _artifact(made: Made) -> bool:
    made.client.log_text(made.run, "kept", "kept.txt")
    return mlflow.artifacts.load_text(f"runs:/{made.run}/kept.txt") == "kept"


def _model(made: Made) -> None:
    example = pd.DataFrame({"x": [0.5]})
    with tempfile.TemporaryDirectory() as folder:
        Model(signature=infer_signature(example, example)).save(str(Path(folder) / MLMODEL_FILE_NAME))
        made.uri = log_folder(made.run, Path(folder))


def _logged_model(made: Made) -> None:
    if not made.uri.startswith("models:/"):
        raise LackError("no: a model is kept among the artifacts of its run")


def _version(made: Made) -> None:
    made.version = mlflow.register_model(made.uri, made.name, tags={"trial": "first"}).version


def _finds(query: str) -> Callable[[Made], bool]:
    def attempt(made: Made) -> bool:
        found = made.client.search_model_versions(query.format(made=made))
        return [(version.name, str(version.version)) for version in found] == [(made.name, str(made.version))]

    return attempt


def _alias(made: Made) -> bool:
    made.client.set_registered_model_alias(made.name, "champion", made.version)
    return str(made.client.get_model_version_by_alias(made.name, "champion").version) == str(made.version)


def _copy(made: Made) -> bool:
    name = f"{made.name}-copy"
    try:
        return made.client.copy_model_version(f"models:/{made.name}/{made.version}", name).run_id == made.run
    finally:
        with suppress(mlflow.MlflowException):  # a copy that fails may leave its model, and may not
            made.client.delete_registered_model(name)


USES = {
    "experiments": _experiment,
    "runs, sorted by a metric": _run,
    "artifacts": _artifact,
    "a model, logged": _model,
    "logged models of MLflow 3": _logged_model,
    "versions": _version,
    "versions by their name": _finds("name = '{made.name}'"),
    "versions by their run": _finds("run_id = '{made.run}'"),
    "versions by LIKE": _finds("name LIKE '{made.name}%'"),
    "versions by a tag": _finds("name = '{made.name}' and tags.trial = 'first'"),
    "aliases": _alias,
    "copies of versions": _copy,
}
DELETIONS = {
    "deleting a version": lambda made: made.client.delete_model_version(made.name, made.version),
    "deleting a model": lambda made: made.client.delete_registered_model(made.name),
    "deleting a run": lambda made: made.client.delete_run(made.run),
    "deleting an experiment": lambda made: made.client.delete_experiment(made.experiment),
}

if __name__ == "__main__":
    try:
        print(abilities(chosen_store()).to_string())
    except (OSError, StoreError, ValueError) as error:
        sys.exit(str(error))
