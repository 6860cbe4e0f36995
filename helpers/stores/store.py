"""Use a store: one call decides where things are kept, for every notebook and from any working directory."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from helpers.stores import PartAwayError, StoreError, StoreRefusalError
from helpers.stores.experiments import make_experiments
from helpers.stores.folder import make_database, try_writing
from helpers.stores.place import DEFAULT_STORE, SQLITE, database_of, is_address, names_before
from helpers.stores.server import ask_artifacts, ask_server
from helpers.surroundings import environment, take_hold
from helpers.trials import put_before

_stores: dict[str, str] = {}  # what use_store was given for each address, with what names begin with there
_left: dict[str, str | None] = {}  # addresses that use_store left in MLFLOW_TRACKING_URI, and what stood there before


def use_store(store: str) -> None:
    """Point MLflow at a store and make it ready: its database, and one experiment for each architecture.

    store is a folder, relative to notebooks/, which gets a SQLite database and an artifacts folder, or any MLflow
    tracking URI, after which a # may tell what names begin with there (place.names_before). Where it is DEFAULT_STORE,
    the environment's MLFLOW_TRACKING_URI wins. What else the environment and start-up files tell MLflow is out of the
    way until surroundings.give_back; its own messages and its usage reports are switched off, and models that hold
    pickles are refused. A folder that is read-only and has a database can be read. Raises OSError when the folder
    cannot be made, ValueError when MLflow could not find its way back to it, StoreError when it was moved, when one of
    its experiments was deleted, or when no server answers.
    """
    with opened(store) as (folder, is_ours):
        make_experiments(folder, is_ours)


@contextmanager
def opened(store: str) -> Iterator[tuple[Path | None, bool]]:
    """Point MLflow at a store as use_store does; no other process opens it while the work inside is done.

    Gives the store's folder, if it has one, and whether that is ours: made by use_store, not an address of a database.
    """
    found = os.environ.get("MLFLOW_TRACKING_URI")
    wished = _left.get(found, found)
    place = (wished if wished and store == DEFAULT_STORE else store).strip()
    database = database_of(place)
    mlflow = _quiet_mlflow()
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
        database = database.resolve()
    writable = database is not None and os.access(database.parent, os.W_OK)
    with FileLock(database.parent / "mlflow.lock") if writable else nullcontext():
        with environment({"MLFLOW_TRACKING_URI": wished}):  # MLflow's own is no wish that a later call should find
            mlflow.set_registry_uri("")  # the registry is the store's own, whatever was chosen before
            if database:
                mlflow.set_tracking_uri(make_database(database))
                put_before()
            else:
                _use_address(place)
        address = mlflow.get_tracking_uri()
        if database is None and address != wished:  # the plugins of some services look for it there alone
            os.environ["MLFLOW_TRACKING_URI"], _left[address] = address, wished
        yield database and database.parent, not is_address(place)


def _use_address(place: str) -> None:
    import mlflow

    address, before = names_before(place)
    # Unity Catalog has models alone; the runs are in the workspace.
    tracking = re.sub("^databricks-uc", "databricks", address, flags=re.IGNORECASE)
    mlflow.set_tracking_uri(tracking)
    if tracking != address:
        mlflow.set_registry_uri(address)
    ask_server()
    put_before(**before)
    _stores[tracking] = place


def store_in_use() -> str:
    """The STORE in use, for a process that is to use it, too."""
    import mlflow

    uri = mlflow.get_tracking_uri()
    return _stores.get(uri, uri)


def _quiet_mlflow() -> ModuleType:
    take_hold()
    import mlflow.pyfunc  # here, because its import would switch MLflow's messages on again
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()  # its lines carry dates and paths, into every notebook
    logging.getLogger("alembic.runtime.migration").addFilter(_is_a_warning)  # older MLflows set its level anew
    if hasattr(mlflow, "telemetry"):  # MLflow 3; it reads the variable again, in case MLflow was imported before
        mlflow.telemetry.set_telemetry_client()
    return mlflow


def _is_a_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def check_store(patience: float, behind: float = 0) -> None:
    """Raise StoreError if the store's folder cannot be written, or its server is away for patience seconds.

    Or a part behind the server for that many, its database or the place where it keeps artifacts. A server that
    answers, but with a refusal, is not waited for.
    """
    import mlflow

    uri, start = mlflow.get_tracking_uri(), time.monotonic()
    if uri.startswith(SQLITE):
        return try_writing(Path(uri.removeprefix(SQLITE)).parent)
    while True:
        try:
            ask_server()
            return ask_artifacts()
        except StoreRefusalError:
            raise
        except StoreError as error:
            if time.monotonic() >= start + (behind if isinstance(error, PartAwayError) else patience):
                raise
        time.sleep(1)
