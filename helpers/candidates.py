"""The candidates for the best model: which versions count, in their order; the one place that decides it."""

from __future__ import annotations

import json

import mlflow
import pandas as pd
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion

from helpers.registry import find_version
from helpers.store import CANDIDATES, PRODUCT, plain

MADE_OF = {
    "architecture": str,
    "learning_rate": float,
    "epochs": int,
    "seed": int,
    "features": str,
    "data": str,
    "val_brier": float,
}
VALID_RUN = "attributes.status = 'FINISHED' and tags.trial != '' and metrics.val_brier >= 0 and metrics.val_brier <= 1"
TOP = 20  # of so many best runs one usually has a valid version


def leaderboard(data: str) -> pd.DataFrame:
    """All valid candidate versions that were trained and scored on the data with this fingerprint, best first.

    Columns: model, version, architecture, learning_rate, epochs, seed, features, data, val_brier, trial, run_id. A
    tie goes to the smaller network, then to the lower version. Raises LookupError when there is none, with the reason
    for each that was passed over.
    """
    board = _candidates(data)
    valid = board[board["reason"] == ""].astype(MADE_OF)
    if board.empty:
        raise LookupError("This STORE has no candidates for these games: run the notebook before this one first.")
    if valid.empty:
        reasons = "; ".join(f"{row.model} {row.version}: {row.reason}" for row in board.head(20).itertuples())
        raise LookupError(f"None of {len(board)} candidates for these games is valid ({reasons}).")
    valid = valid.assign(size=valid["model"].map(CANDIDATES.index))
    valid = valid.sort_values(["val_brier", "size", "version"], ignore_index=True)
    return valid[["model", "version", *MADE_OF, "trial", "run_id"]]


def _candidates(data: str) -> pd.DataFrame:
    """All candidate versions for these data, from their tags, each with the reason why it is not valid, or ""."""
    found = mlflow.search_model_versions(filter_string=f"name LIKE '{PRODUCT}-%'")
    versions = [version for version in found if version.name in CANDIDATES]
    made_of = pd.DataFrame([_made_of(version) for version in versions], columns=list(MADE_OF))
    board = made_of.assign(
        model=[version.name for version in versions],
        version=[int(version.version) for version in versions],
        run_id=[version.run_id for version in versions],
        trial=[version.tags.get("trial") for version in versions],
    )
    bad_runs = _runs_that_do_not_count()
    reasons = pd.Series([bad_runs.get(version.run_id, "") for version in versions], dtype=str)
    reasons = reasons.mask(~board["val_brier"].between(0, 1), "its val_brier is no number from 0 to 1")
    usable = pd.Series([_is_usable(version) for version in versions], dtype=bool)
    reasons = reasons.mask(~usable, "it is archived or was never ready")
    reasons = reasons.mask(board["data"].isna(), "it was not registered by a trial")
    return board.assign(reason=reasons)[board["data"].isna() | (board["data"] == data)]


def _is_usable(version: ModelVersion) -> bool:
    return version.status == "READY" and version.current_stage != "Archived"


def _made_of(version: ModelVersion) -> dict[str, object]:
    """What registry.register kept in the version's tag, or nothing, should somebody have edited it."""
    try:
        made_of = json.loads(version.tags["candidate"])
        return {name: kind(made_of[name]) for name, kind in MADE_OF.items()}
    except (KeyError, TypeError, ValueError):
        return {}


def _runs_that_do_not_count() -> dict[str, str]:
    """The runs that are deleted or did not finish, which are few, so that the others need not be read."""
    experiments = mlflow.search_experiments(view_type=ViewType.ALL)
    ids = [experiment.experiment_id for experiment in experiments if experiment.name in CANDIDATES]
    unfinished = mlflow.search_runs(ids, "attributes.status != 'FINISHED'", ViewType.ALL, output_format="list")
    deleted = mlflow.search_runs(ids, "", ViewType.DELETED_ONLY, output_format="list")
    return {run.info.run_id: f"its run is {run.info.status}" for run in unfinished} | {
        run.info.run_id: "its run was deleted" for run in deleted
    }


def best_version(data: str) -> ModelVersion:
    """The first version of the leaderboard, by one query for runs and one for its version, however many there are.

    Raises LookupError as leaderboard does.
    """
    runs = mlflow.search_runs(
        experiment_names=CANDIDATES,
        filter_string=f"params.data = '{plain(data)}' and {VALID_RUN}",
        order_by=["metrics.val_brier ASC"],
        max_results=TOP,
        output_format="list",
    )
    best: list[tuple[float, int, int, ModelVersion]] = []
    for run in runs:
        score, name = run.data.metrics["val_brier"], f"{PRODUCT}-{run.data.params['architecture']}"
        if best and score > best[0][0]:
            return min(best)[-1]
        version = find_version(name, run.data.tags["trial"])
        if version and version.run_id == run.info.run_id and _is_usable(version):
            best.append((score, CANDIDATES.index(name), int(version.version), version))
    # None of the first few is valid, or all are equal: the leaderboard reads every one.
    first = leaderboard(data).iloc[0]
    return mlflow.MlflowClient().get_model_version(first["model"], str(first["version"]))
