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
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from filelock import FileLock

from helpers.networks import ARCHITECTURES
from helpers.server import StoreError, StoreRefusalError, ask_server
from helpers.surroundings import environment, take_hold

if TYPE_CHECKING:
    from mlflow.entities import Experiment

DEFAULT_STORE = "../store"
SQLITE = "sqlite:///"  # before the path of a database
PRODUCT = "march-madness"  # the registered model that consumers load
CANDIDATES = [f"{PRODUCT}-{architecture}" for architecture in ARCHITECTURES]  # from the smallest network up
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
ENOUGH = 1_000_000  # bytes that must fit before a trial begins; a network takes a tenth
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*|databricks(-uc)?|(arn|file|uc):.*", re.IGNORECASE | re.DOTALL)

ADDRESSES = """
    SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table'
    AND (columns.name LIKE '%location' OR columns.name LIKE '%uri' OR columns.name = 'source')
"""


def use_store(store: str) -> None:
    """Point MLflow at a store and make it ready: its database, and one experiment for each architecture.

    store is a folder, relative to notebooks/, which gets a SQLite database and an artifacts folder, or any MLflow
    tracking URI. Where it is DEFAULT_STORE, the environment's MLFLOW_TRACKING_URI wins. What else the environment and
    start-up files tell MLflow is out of the way until surroundings.give_back; its own messages and its usage reports
    are switched off, and models that hold pickles are refused. A folder that is read-only and has a database can be
    read. Raises OSError when the folder cannot be made, ValueError when MLflow could not find its way back to it,
    StoreError when it was moved, when one of its experiments was deleted, or when no server answers.
    """
    wished = os.environ.get("MLFLOW_TRACKING_URI")
    place = (wished if wished and store == DEFAULT_STORE else store).strip()
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", place) or ("://" in place and not is_address(place)):
        raise ValueError(f"STORE: {place} is neither a folder nor an address such as http://127.0.0.1:5000.")
    mlflow = _quiet_mlflow()
    database = _database(place)
    writable = database is not None and os.access(database.parent, os.W_OK)
    with FileLock(database.parent / "mlflow.lock") if writable else nullcontext():
        with environment({"MLFLOW_TRACKING_URI": wished}):  # MLflow's own is no wish that a later call should find
            mlflow.set_tracking_uri(_make_database(database) if database else place)
        mlflow.set_registry_uri("")  # the registry is the store's own, whatever was chosen before
        if database is None:
            ask_server()
        _make_experiments(database and database.parent, is_ours=not is_address(place))


def is_address(place: str) -> bool:
    """Whether a STORE is an MLflow tracking URI, and not a folder."""
    return bool(ADDRESS.fullmatch(place))


def from_command_line(place: str) -> str:
    """A STORE as a command line or a variable gives it: an address as it is, a folder from the working directory."""
    return place if is_address(place) else str(Path(place).resolve())


def _quiet_mlflow() -> ModuleType:
    take_hold()
    import mlflow.pyfunc  # here, because its import would switch MLflow's messages on again
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()  # its lines carry dates and paths, into every notebook
    mlflow.telemetry.set_telemetry_client()  # reads the variable again, in case MLflow was imported before
    return mlflow


def _database(place: str) -> Path | None:
    """The database file of a folder or of SQLite's address of one, from notebooks/, in a folder that is there now."""
    if is_address(place) and not place.startswith(SQLITE):
        return None
    file = NOTEBOOKS / (place.removeprefix(SQLITE) if is_address(place) else f"{place}/mlflow.db")
    if set("%?#") & set(str(file)):
        raise ValueError(
            f"STORE: MLflow's addresses cannot hold the %, ? or # in {file.parent}; choose another folder."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.resolve()


def _make_database(database: Path) -> str:
    """The address of a database, which is made under another name and renamed when it is whole.

    MLflow needs seconds for it; killed in their midst, or met by a second process, it would leave a broken file.
    """
    import mlflow

    partial = database.with_name(f"{database.name}.partial")
    if not database.exists():
        _try_writing(database.parent)
        partial.unlink(missing_ok=True)
        mlflow.MlflowClient(f"{SQLITE}{partial}").search_experiments()
        partial.rename(database)
    # Without statistics SQLite takes seconds to sort 10,000 runs; a locked or read-only database does without them.
    with closing(sqlite3.connect(database, timeout=1)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA analysis_limit = 400")
        connection.execute("DROP TABLE IF EXISTS sqlite_stat1")  # so that connections that are open notice
        connection.execute("ANALYZE")
    return f"{SQLITE}{database}"


def _make_experiments(folder: Path | None, is_ours: bool) -> None:
    """The experiments of the candidates, each with its place for artifacts in a folder.

    MLflow would otherwise put them into whatever folder a notebook runs in. Where the folder is ours, made by use_store
    and by nobody else, what was done to its experiments is known by those places.
    """
    import mlflow

    known = _known_experiments()
    places = {name: (folder / "artifacts" / name).as_uri() if folder else None for name in CANDIDATES}
    for name, location in places.items():
        _check_experiment(name, known, location if is_ours else None)
    for name, location in places.items():
        if name not in known:
            try:
                mlflow.create_experiment(name, location)
            except mlflow.MlflowException:  # another process made it meanwhile, or the server's first answer was lost
                if mlflow.get_experiment_by_name(name) is None:
                    raise


def _known_experiments() -> dict[str, Experiment]:
    """All experiments of the store by their names, deleted ones too."""
    import mlflow

    try:
        found = mlflow.search_experiments(view_type=mlflow.entities.ViewType.ALL)
    except mlflow.MlflowException as error:
        if "database schema" not in str(error):
            raise
        uri, command = mlflow.get_tracking_uri(), [sys.executable, "-m", "mlflow", "db", "upgrade"]
        raise StoreError(
            f"The store {uri} was made by another MLflow than {mlflow.__version__}: install that one, or, if it was an "
            f"older one, make a copy of the store and run: {shlex.join([*command, uri])}"
        ) from error
    return {experiment.name: experiment for experiment in found}


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
        folder = _folder_of(location)
        raise StoreError(
            f"The store {folder} was moved or copied from {_folder_of(found.artifact_location)}; mend the "
            f"addresses in it with: {shlex.join([sys.executable, '-m', 'helpers.store', str(folder)])}"
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


def plain(name: str) -> str:
    """The name itself, where it may stand in a filter. Raises ValueError for any but letters, digits and hyphens."""
    if not re.fullmatch("[A-Za-z0-9-]+", name):
        raise ValueError(f"{name!r} cannot be a name here: letters, digits and hyphens only.")
    return name


def check_store(patience: float) -> None:
    """Raise StoreError if the store's folder cannot be written, or its server is away for that many seconds.

    A server that answers, but with a refusal, is not waited for.
    """
    import mlflow

    uri, deadline = mlflow.get_tracking_uri(), time.monotonic() + patience
    if uri.startswith(SQLITE):
        return _try_writing(Path(uri.removeprefix(SQLITE)).parent)
    while True:
        try:
            return ask_server()
        except StoreRefusalError:
            raise
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


def mend_addresses(folder: Path) -> None:
    """Put a moved store's new place for the old one in every address of its database.

    MLflow keeps each artifact's whole address and has no command to change it. Raises FileNotFoundError where there
    is no store.
    """
    if not (folder / "mlflow.db").exists():
        raise FileNotFoundError(f"There is no store in {folder}.")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        place = f"/artifacts/{CANDIDATES[0]}"  # the experiment itself may have another name by now
        query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
        old = connection.execute(query, [f"%{place}"]).fetchone()[0].removesuffix(place)
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
