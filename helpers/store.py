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
from helpers.surroundings import environment, take_hold

DEFAULT_STORE = "../store"
SQLITE = "sqlite:///"  # before the path of a database
PRODUCT = "march-madness"  # the registered model that consumers load
CANDIDATES = [f"{PRODUCT}-{architecture}" for architecture in ARCHITECTURES]  # from the smallest network up
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
ENOUGH = 1_000_000  # bytes that must fit before a trial begins; a network takes a tenth
PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*|databricks(-uc)?|(arn|file|uc):.*", re.IGNORECASE | re.DOTALL)

ADDRESSES = """
    SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table'
    AND (columns.name LIKE '%location' OR columns.name LIKE '%uri' OR columns.name = 'source')
"""
# What MLflow says when a server is there and refuses, as a pattern, and what to say and advise instead.
REFUSALS = {
    "code 401|^UNAUTHENTICATED": "wants to know who you are: set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what it gave you",
    "Invalid Host header": "does not know the name in its address: start it with --allowed-hosts and that name",
    "code 403|^PERMISSION_DENIED": "does not let this user in: ask for the right to read and write, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of somebody who has it",
    "code 404|ENDPOINT_NOT_FOUND": "is no MLflow server, or lies under another path: correct the address in STORE",
    "code 407|[Pp]roxy": "cannot be reached through the proxy: add its host to NO_PROXY",
    "code (426|505)|[Uu]pgrade [Rr]equired": "wants another version of the client, which is mlflow {version} here",
    "SSL|CERTIFICATE": "has no connection that can be trusted: begin STORE with http:// or https:// as the server "
    "does, and name its certificate in MLFLOW_TRACKING_SERVER_CERT_PATH",
    "valid JSON|redirects|code 3": "answers with a page instead of data, as a sign-in page does: set the address "
    "behind it, and MLFLOW_TRACKING_TOKEN if it wants one",
    "[Ii]nvalid url|unsupported URI": "has no address that MLflow can use: correct STORE",
    "code (400|4[12]|501)": "is there and does not understand this client, which is mlflow {version}",
}


class StoreError(RuntimeError):
    """A store that cannot be reached, written or trusted; the sentence names it."""


class StoreRefusalError(StoreError):
    """A server that is there and does not let us in, which waiting cannot heal; the sentence says what can."""


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
    mlflow = _quiet_mlflow()
    folder = None if is_address(place) else _make_folder(place)
    writable = folder is not None and os.access(folder, os.W_OK)
    with FileLock(folder / "mlflow.lock") if writable else nullcontext():
        with environment({"MLFLOW_TRACKING_URI": wished}):  # MLflow's own is no wish that a later call should find
            mlflow.set_tracking_uri(_make_database(folder) if folder else place)
        mlflow.set_registry_uri("")  # the registry is the store's own, whatever was chosen before
        _make_experiments(folder)


def is_address(place: str) -> bool:
    """Whether a STORE is an MLflow tracking URI, and not a folder."""
    return bool(ADDRESS.fullmatch(place))


def _quiet_mlflow() -> ModuleType:
    take_hold()
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

    MLflow would otherwise put them into whatever folder a notebook runs in.
    """
    import mlflow

    if folder is None:
        _ask_server()
    known = {e.name: e for e in mlflow.search_experiments(view_type=mlflow.entities.ViewType.ALL)}
    for name in CANDIDATES:
        location = (folder / "artifacts" / name).as_uri() if folder else None
        if name not in known:
            try:
                mlflow.create_experiment(name, location)
            except mlflow.MlflowException:  # another process made it meanwhile, or the server's first answer was lost
                if mlflow.get_experiment_by_name(name) is None:
                    raise
        elif known[name].lifecycle_stage != "active":
            raise StoreError(
                f"The experiment {name} of this STORE was deleted; bring it back with: MLFLOW_TRACKING_URI="
                f"{shlex.quote(mlflow.get_tracking_uri())} {shlex.quote(sys.executable)} -m mlflow experiments restore "
                f"--experiment-id {known[name].experiment_id}"
            )
        elif folder and known[name].artifact_location != location:
            raise StoreError(
                f"The store {folder} was moved or copied from {_folder_of(known[name].artifact_location)}; mend the "
                f"addresses in it with: {shlex.join([sys.executable, '-m', 'helpers.store', str(folder)])}"
            )


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
            return _ask_server()
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


def _ask_server() -> None:
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        with environment(PROBE):
            mlflow.search_experiments(max_results=1)
    except mlflow.MlflowException as error:
        said = str(error)
        for sign, what in REFUSALS.items():
            if re.search(sign, said):
                what = what.format(version=mlflow.__version__)
                raise StoreRefusalError(f"The store {uri} {what} ({_answer(said)}).") from error
        raise StoreError(f"The store {uri} does not answer; start its server or choose another STORE.") from error


def _answer(said: str) -> str:
    """What a server answered, in at most 100 characters and one line, from MLflow's words around it."""
    body = re.sub(r"(?s).*?Response body: '(.*)'", r"\1", said)
    words = " ".join(re.sub("<[^>]*>", " ", body).split())
    return f"its answer: {words[:100]!r}" if words else "its answer was empty"


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
