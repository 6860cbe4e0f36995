"""Where runs and models are kept: one call decides it, for every notebook and from any working directory."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from helpers.networks import ARCHITECTURES

DEFAULT_STORE = "../store"
PRODUCT = "march-madness"  # the registered model that consumers load
CANDIDATES = [f"{PRODUCT}-{architecture}" for architecture in ARCHITECTURES]  # from the smallest network up
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def use_store(store: str) -> None:
    """Point MLflow at a store and make it ready: its database, and one experiment for each architecture.

    store is a folder, relative to notebooks/, which gets a SQLite database and an artifacts folder, or any MLflow
    tracking URI. Where it is DEFAULT_STORE, the environment's MLFLOW_TRACKING_URI wins. MLflow's own messages and
    its usage reports are switched off, and models that hold pickles are refused. Raises OSError when the folder
    cannot be made, ValueError when MLflow could not find its way back to it.
    """
    mlflow = _quiet_mlflow()
    wished = os.environ.get("MLFLOW_TRACKING_URI")
    place = wished if wished and store == DEFAULT_STORE else store
    folder = None if "://" in place or place.startswith("databricks") else _make_folder(place)
    with FileLock(folder / "mlflow.lock") if folder else nullcontext():
        mlflow.set_tracking_uri(_make_database(folder) if folder else place)
        if wished is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # put there by MLflow; the next call would take it for a wish
        known = {experiment.name for experiment in mlflow.search_experiments()}
        for name in sorted(set(CANDIDATES) - known):
            # With its place for artifacts: MLflow would put them into whatever folder a notebook runs in.
            mlflow.create_experiment(name, (folder / "artifacts" / name).as_uri() if folder else None)


def _quiet_mlflow() -> ModuleType:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    import mlflow.pyfunc  # here, because its import would switch MLflow's messages on again
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()  # its lines carry dates and paths, into every notebook
    mlflow.telemetry.set_telemetry_client()  # reads the variable again, in case MLflow was imported before
    return mlflow


def _make_folder(place: str) -> Path:
    folder = (NOTEBOOKS / place).resolve()
    if set("%?#") & set(str(folder)):
        raise ValueError(f"STORE: MLflow's addresses cannot hold the %, ? or # in {folder}; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_database(folder: Path) -> str:
    """The address of the folder's database, which is made under another name and renamed when it is whole.

    MLflow needs seconds for it; killed in their midst, or met by a second process, it would leave a broken file.
    """
    import mlflow

    database, partial = folder / "mlflow.db", folder / "mlflow.db.partial"
    if not database.exists():
        partial.unlink(missing_ok=True)
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments()
        partial.rename(database)
    return f"sqlite:///{database}"
