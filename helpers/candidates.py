"""The candidates for the best model: which versions count, in their order; the one place that decides it."""

from collections.abc import Collection

import mlflow
import pandas as pd
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion

from helpers import registry
from helpers.registry import objection, run_of, state_of
from helpers.trials import LIBRARIES, experiment_names, model_names, plain, product_name

ALWAYS = {"architecture": str, "seed": int, "features": str, "data": str, "val_brier": float}  # beside the parameters
VALID_RUN = "attributes.status = 'FINISHED' and metrics.val_brier >= 0 and metrics.val_brier <= 1"
FROM_STORE = ("model", "version", "run_id", "trial", "reason")
TOP = 20  # among the best runs, this many are enough to find a valid version


def leaderboard(data: str, parameters: Collection[str] = ()) -> pd.DataFrame:
    """All valid candidate versions that were trained and scored on the data with this fingerprint, best first.

    parameters, if there are any, are the names that a candidate's own parameters must have, as trials.GRID.

    Columns: model, version, architecture, its parameters such as learning_rate and epochs, seed, features, data,
    val_brier, trial, run_id. A tie goes to the simpler architecture, then to the lower version. Raises LookupError when
    there is none, with the reason for each that was passed over.
    """
    rows = _candidates(data, parameters)
    valid = [row for row in rows if not row["reason"]]
    if not rows:
        raise LookupError("This STORE has no candidates for these games: run the notebook before this one first.")
    if not valid:
        reasons = "; ".join(f"{row['model']} {row['version']}: {row['reason']}" for row in rows[:20])
        raise LookupError(f"None of {len(rows)} candidates for these games is valid ({reasons}).")
    board = pd.DataFrame(sorted(valid, key=_place))
    made_of = [name for name in board if name not in FROM_STORE]
    return board[["model", "version", *made_of, "trial", "run_id"]]


def _place(row: dict[str, object]) -> tuple[float, int, int]:
    return row["val_brier"], list(LIBRARIES).index(row["architecture"]), row["version"]


def _candidates(data: str, parameters: Collection[str]) -> list[dict[str, object]]:
    """All candidate versions for these data, from their tags, each with the reason why it is not valid, or ""."""
    found = [version for name in model_names() for version in registry.search_versions(f"name = '{name}'")]
    bad_runs = _runs_that_do_not_count()
    rows = [_row(version, parameters, bad_runs.get(version.run_id, "")) for version in found]
    return [row for row in rows if row.get("data", data) == data]


def _row(version: ModelVersion, parameters: Collection[str], state: str, run: Run | None = None) -> dict[str, object]:
    """A version as a row of the leaderboard; state is what registry.state_of says of its run."""
    made_of = _made_of(version)
    reason = _reason(version, made_of, state, run)
    if parameters and set(made_of) - set(ALWAYS) != set(parameters):
        reason = reason or f"it has other parameters than {', '.join(parameters)}"
    row = {"model": version.name, "version": int(version.version), "run_id": version.run_id}
    return {**made_of, **row, "trial": version.tags.get("trial"), "reason": reason}


def _reason(version: ModelVersion, made_of: dict[str, object], state: str, run: Run | None) -> str:
    if not made_of:
        return "it was not registered by a trial"
    if f"{product_name()}-{made_of['architecture']}" != version.name:
        return "it was copied from another model"
    if not 0 <= made_of["val_brier"] <= 1:
        return "its val_brier is no number from 0 to 1"
    return objection(version, state, run)


def why_not(version: ModelVersion, data: str, parameters: Collection[str] = ()) -> str:
    """Why a version is no candidate for the data with this fingerprint, or "": the leaderboard's rule, for one."""
    run = run_of(version)
    row = _row(version, parameters, state_of(run), run)
    return row["reason"] or ("" if row["data"] == data else "it was scored on other games")


def _made_of(version: ModelVersion) -> dict[str, object]:
    """What the version is made of, with its score, or nothing, should somebody have edited it."""
    made_of = registry.made_of(version)
    made_of.pop("seal", None)
    try:
        return made_of | {name: kind(made_of[name]) for name, kind in ALWAYS.items()}
    except (KeyError, TypeError, ValueError):
        return {}


def _runs_that_do_not_count() -> dict[str, str]:
    """The runs that are deleted or did not finish, which are few, so that the others need not be read."""
    experiments = filter(None, map(mlflow.get_experiment_by_name, experiment_names()))
    ids = [experiment.experiment_id for experiment in experiments]
    unfinished = mlflow.search_runs(ids, "attributes.status != 'FINISHED'", ViewType.ALL, output_format="list")
    deleted = mlflow.search_runs(ids, "", ViewType.DELETED_ONLY, output_format="list")
    return {run.info.run_id: f"its run is {run.info.status}" for run in unfinished} | {
        run.info.run_id: "its run was deleted" for run in deleted
    }


def best_version(data: str, parameters: Collection[str] = ()) -> ModelVersion:
    """The first version of the leaderboard, by one query for runs and one for its version, however many there are.

    Raises LookupError as leaderboard does.
    """
    runs = mlflow.search_runs(
        experiment_names=experiment_names(),
        filter_string=f"params.data = '{plain(data)}' and {VALID_RUN}",
        order_by=["metrics.val_brier ASC"],
        max_results=TOP,
        output_format="list",
    )
    best: list[tuple[tuple[float, int, int], ModelVersion]] = []
    for run in runs:
        if best and run.data.metrics["val_brier"] > best[0][0][0]:
            break
        versions = registry.search_versions(f"run_id = '{run.info.run_id}'")
        rows = [(_row(version, parameters, "", run), version) for version in versions if version.name in model_names()]
        best += [(_place(row), version) for row, version in rows if not row["reason"]]
    else:
        # None of the first few is valid, or all are equal: the leaderboard reads every one.
        first = leaderboard(data, parameters).iloc[0]
        return mlflow.MlflowClient().get_model_version(first["model"], str(first["version"]))
    return min(best)[-1]
