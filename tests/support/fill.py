"""A store full of candidates within seconds, where training them would take hours."""

import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.registry import version_tags
from helpers.stores.store import use_store
from helpers.trials import LIBRARIES, Trial

RATE, PENALTY = {"learning_rate": 0.01, "epochs": 100}, {"C": 0.1}
METRICS = ["val_brier", "train_loss", "validation_loss"]
PARAMS = ["architecture", "learning_rate", "epochs", "C", "seed", "features", "data"]
TAGS = {"owner": "elsewhere 1 0", "heartbeat": "0", "mlflow.user": "fill", "mlflow.runName": "filled"}
TAGS |= {"mlflow.source.name": "fill", "mlflow.source.type": "LOCAL"}
RUN = dict.fromkeys(["user_id", "source_name", "entry_point_name", "source_version"], "")
RUN |= {"name": "filled", "source_type": "UNKNOWN", "status": "FINISHED", "lifecycle_stage": "active"}
RUN |= {"start_time": 0, "end_time": 0}
VERSION = {"creation_time": 0, "last_updated_time": 0, "current_stage": "None", "status": "READY"}


def fill(store: Path, versions: int, data: str = "d") -> None:
    """Add candidate versions, with runs and scores but without files and loss curves, to a store of use_store's.

    They go round the architectures; a further call adds other trials. SQLite's planner needs statistics of them,
    which use_store makes; connections that were open before do not read them.
    """
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        made = _candidates(connection, versions, data)
        made["artifact_uri"] = f"{store.resolve().as_uri()}/artifacts/" + made["name"] + "/" + made["run_uuid"]
        model_versions = made[["name", "version", "source", "run_uuid", "artifact_uri"]].assign(**VERSION)
        metrics = made.melt("run_uuid", METRICS, "key").assign(timestamp=0, step=0, is_nan=0)
        known = pd.read_sql("SELECT name FROM registered_models", connection)["name"]
        new = pd.DataFrame({"name": made["name"].unique(), "creation_time": 0, "last_updated_time": 0})
        tables = {
            "runs": made[["run_uuid", "experiment_id", "artifact_uri"]].assign(**RUN),
            "params": made.melt("run_uuid", PARAMS, "key").dropna(),
            "tags": made.assign(**TAGS).melt("run_uuid", ["trial", *TAGS], "key"),
            "metrics": metrics,
            "latest_metrics": metrics,
            "registered_models": new[~new["name"].isin(known)],
            "model_versions": model_versions.rename(columns={"run_uuid": "run_id", "artifact_uri": "storage_location"}),
            "model_version_tags": made.melt(["name", "version"], ["trial", "digest", "candidate"], "key"),
        }
        for table, rows in tables.items():
            rows.to_sql(table, connection, if_exists="append", index=False)


def _candidates(connection: sqlite3.Connection, versions: int, data: str) -> pd.DataFrame:
    """A version a row, with all that it and its run tell of themselves."""
    experiments = dict(connection.execute("SELECT name, experiment_id FROM experiments"))
    newest = dict.fromkeys(experiments, 0)
    newest |= dict(connection.execute("SELECT name, max(version) FROM model_versions GROUP BY name"))
    first, names, rows = sum(newest.values()), list(LIBRARIES), []
    for seed, score in enumerate(np.random.default_rng(first).uniform(0.15, 0.25, versions).tolist(), first):
        name, run = names[seed % len(names)], uuid.uuid4().hex
        trial = Trial(name, PENALTY if name == "linear" else RATE, seed, "strong", data)
        newest[trial.model] += 1
        row = {"run_uuid": run, "experiment_id": experiments[trial.model], "source": f"models:/m-{run}"}
        row |= {"name": trial.model, "version": newest[trial.model], **dict.fromkeys(METRICS, score)}
        tags = version_tags(trial.key, 2 * run, {**trial.made_of, "val_brier": score})
        rows.append(row | {name: str(value) for name, value in trial.made_of.items()} | tags)
    return pd.DataFrame(rows)


@contextmanager
def full_store(versions: int) -> Iterator[Path]:
    """A store with so many versions, in use for the block, and first opened when they and the statistics are there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tests.support.fill", folder, str(versions)], check=True)
        use_store(folder)
        yield Path(folder).resolve()


if __name__ == "__main__":
    use_store(sys.argv[1])
    fill(Path(sys.argv[1]), int(sys.argv[2]))
