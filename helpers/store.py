"""Where runs and models are kept: one call decides it, for every notebook and from any working directory."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlparse

from filelock import FileLock

from helpers.networks import ARCHITECTURES

DEFAULT_STORE = "../store"
SQLITE = "sqlite:///"  # before the path of a database
PRODUCT = "march-madness"  # the registered model that consumers load
CANDIDATES = [f"{PRODUCT}-{architecture}" for architecture in ARCHITECTURES]  # from the smallest network up
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# A call gives up on a server that is away after 2 s, not 4 minutes; run_sweep waits, and begins the trial again.
RETRIES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
ENOUGH = 1_000_000  # bytes that must fit before a trial begins; a network takes a tenth
PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}


ADDRESSES = """
    SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table'
    AND (columns.name LIKE '%location' OR columns.name LIKE '%uri' OR columns.name = 'source')
"""


class StoreError(RuntimeError):
    """A store that cannot be reached, written or trusted; the sentence names it."""


def use_store(store: str) -> None:
    """Point MLflow at a store and make it ready: its database, and one experiment for each architecture.

    store is a folder, relative to notebooks/, which gets a SQLite database and an artifacts folder, or any MLflow
    tracking URI. Where it is DEFAULT_STORE, the environment's MLFLOW_TRACKING_URI wins. MLflow's own messages and
    its usage reports are switched off, and models that hold pickles are refused. A folder that is read-only and has
    a database can be read. Raises OSError when the folder cannot be made, ValueError when MLflow could not find its
    way back to it, StoreError when it was moved or no server answers.
    """
    mlflow = _quiet_mlflow()
    wished = os.environ.get("MLFLOW_TRACKING_URI")
    place = wished if wished and store == DEFAULT_STORE else store
    folder = None if "://" in place or place.startswith("databricks") else _make_folder(place)
    writable = folder is not None and os.access(folder, os.W_OK)
    with FileLock(folder / "mlflow.lock") if writable else nullcontext():
        mlflow.set_tracking_uri(_make_database(folder) if folder else place)
        if wished is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # put there by MLflow; the next call would take it for a wish
        _make_experiments(folder)


def _quiet_mlflow() -> ModuleType:
    os.environ.update(SETTINGS)
    for name, value in RETRIES.items():
        os.environ.setdefault(name, value)
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
        _try_writing(folder)
        partial.unlink(missing_ok=True)
        mlflow.MlflowClient(f"{SQLITE}{partial}").search_experiments()
        partial.rename(database)
    # Without statistics SQLite takes seconds to sort 10,000 runs; a locked or read-only database does without them.
    with closing(sqlite3.connect(database, timeout=1)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA analysis_limit = 400")
        connection.execute("DROP TABLE IF EXISTS sqlite_stat1")  # so that connections that are open notice
        connection.execute("ANALYZE")
    return f"{SQLITE}{database}"


def _make_experiments(folder: Path | None) -> None:
    """The experiments of the candidates, each with its place for artifacts.

    MLflow would otherwise put them into whatever folder a notebook runs in. A deleted experiment stays deleted.
    """
    import mlflow

    if folder is None:
        _ask_server()
    known = {e.name: e.artifact_location for e in mlflow.search_experiments(view_type=mlflow.entities.ViewType.ALL)}
    for name in CANDIDATES:
        location = (folder / "artifacts" / name).as_uri() if folder else None
        if name not in known:
            try:
                mlflow.create_experiment(name, location)
            except mlflow.MlflowException:  # another process made it meanwhile, or the server's first answer was lost
                if mlflow.get_experiment_by_name(name) is None:
                    raise
        elif folder and known[name] != location:
            raise StoreError(
                f"The store {folder} was moved or copied from {_folder_of(known[name])}; mend the addresses in it "
                f"with: {shlex.join([sys.executable, '-m', 'helpers.store', str(folder)])}"
            )


def plain(name: str) -> str:
    """The name itself, where it may stand in a filter. Raises ValueError for any but letters, digits and hyphens."""
    if not re.fullmatch("[A-Za-z0-9-]+", name):
        raise ValueError(f"{name!r} cannot be a name here: letters, digits and hyphens only.")
    return name


def check_store(patience: float) -> None:
    """Raise StoreError if the store's folder cannot be written, or its server is away for that many seconds."""
    import mlflow

    uri, deadline = mlflow.get_tracking_uri(), time.monotonic() + patience
    if uri.startswith(SQLITE):
        return _try_writing(Path(uri.removeprefix(SQLITE)).parent)
    while True:
        try:
            return _ask_server()
        except StoreError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1)


def _try_writing(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ENOUGH))
    except OSError as error:
        raise StoreError(f"The store's folder {folder} cannot be written: {error.strerror}.") from error


def _ask_server() -> None:
    import mlflow

    before = {name: os.environ.get(name, "") for name in PROBE}
    os.environ.update(PROBE)
    try:
        mlflow.search_experiments(max_results=1)
    except mlflow.MlflowException as error:
        uri = mlflow.get_tracking_uri()
        raise StoreError(f"The store {uri} does not answer; start its server or choose another STORE.") from error
    finally:
        for name, value in before.items():
            os.environ[name] = value
            if not value:
                del os.environ[name]


def mend_addresses(folder: Path) -> None:
    """Put a moved store's new place for the old one in every address of its database.

    MLflow keeps each artifact's whole address and has no command to change it. Raises FileNotFoundError where there
    is no store.
    """
    if not (folder / "mlflow.db").exists():
        raise FileNotFoundError(f"There is no store in {folder}.")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        old = (
            connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", CANDIDATES[:1])
            .fetchone()[0]
            .removesuffix(f"/artifacts/{CANDIDATES[0]}")
        )
        for table, column in connection.execute(ADDRESSES).fetchall():
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) WHERE substr("{column}", 1, ?) = ?',
                (folder.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
            )


def _folder_of(location: str) -> Path:
    """The store's folder, from the address of an experiment's artifacts."""
    return Path(unquote(urlparse(location).path)).parent.parent


if __name__ == "__main__":
    mend_addresses(Path(sys.argv[1]).resolve())
