"""The experiments of a store: made where they are missing, refused where they were tampered with."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.stores import StoreError
from helpers.stores.folder import folder_of, made_by_another_mlflow
from helpers.stores.server import needing
from helpers.trials import PROMOTIONS, experiment_name, experiment_names

if TYPE_CHECKING:
    from mlflow.entities import Experiment


def make_experiments(folder: Path | None, is_ours: bool) -> None:
    """The experiments of the candidates and of the promotions, each with its place for artifacts in a folder.

    MLflow would otherwise put them into whatever folder a notebook runs in. Where the folder is ours, made by use_store
    and by nobody else, what was done to its experiments is known by those places.
    """
    import mlflow

    known = _known_experiments(is_ours)
    places = {name: (folder / "artifacts" / name).as_uri() if folder else None for name in _wanted()}
    for name, location in places.items():
        _check_experiment(name, known, location if is_ours else None)
    for name, location in places.items():
        if name not in known:
            try:
                mlflow.create_experiment(name, location)
            except mlflow.MlflowException:  # another process made it meanwhile, or the server's first answer was lost
                # Or we may only read, in a store of an earlier version that has others of them: claim will miss it.
                if mlflow.get_experiment_by_name(name) is None and not set(places) & set(known):
                    raise


def _wanted() -> list[str]:
    return [*experiment_names(), experiment_name(PROMOTIONS)]


def _known_experiments(is_ours: bool) -> dict[str, Experiment]:
    """The store's experiments by their names, deleted ones too: all of ours, of another one those we want alone.

    A service lists the experiments of a whole workspace, which may be thousands.
    """
    import mlflow

    try:
        if is_ours:
            found = mlflow.search_experiments(view_type=mlflow.entities.ViewType.ALL)
        else:
            found = filter(None, map(_find, _wanted()))
        return {experiment.name: experiment for experiment in found}
    except mlflow.MlflowException as error:
        if "database schema" not in str(error):
            raise
        raise StoreError(made_by_another_mlflow(mlflow.get_tracking_uri())) from error


def _find(name: str) -> Experiment | None:
    import mlflow

    with needing(f"READ on the experiment {name}"):
        return mlflow.get_experiment_by_name(name)


def _check_experiment(name: str, known: dict[str, Experiment], location: str | None) -> None:
    """Raise StoreError, with what to do, if an experiment was deleted, renamed, moved or made by somebody else."""
    found = known.get(name)
    if found and found.lifecycle_stage != "active":
        raise StoreError(
            f"The experiment {name} of this STORE was deleted; bring it back with: {_mlflow('restore', found)}"
        )
    if found and location and not found.artifact_location.endswith(f"/artifacts/{name}"):
        raise StoreError(f"The experiment {name} of this STORE was made by somebody else; give it another name.")
    if found and location and found.artifact_location != location:
        folder = folder_of(location)
        raise StoreError(
            f"The store {folder} was moved or copied from {folder_of(found.artifact_location)}; mend the "
            f"addresses in it with: {shlex.join([sys.executable, '-m', 'helpers.stores.folder', str(folder)])}"
        )
    for other in known.values() if not found and location else ():
        if other.artifact_location == location:
            back = _mlflow("rename", other, f"--new-name {name}")
            raise StoreError(
                f"The experiment {name} of this STORE is called {other.name!r} now; name it back with: {back}"
            )


def _mlflow(deed: str, experiment: Experiment, rest: str = "") -> str:
    """The command that does something to an experiment of the store in use."""
    import mlflow

    uri, python = map(shlex.quote, (mlflow.get_tracking_uri(), sys.executable))
    command = f"{python} -m mlflow experiments {deed} --experiment-id {experiment.experiment_id} {rest}".rstrip()
    return f"MLFLOW_TRACKING_URI={uri} {command}"
