"""A store that is a folder: its SQLite database, and the artifacts beside it."""

import logging
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from helpers.stores import StoreError
from helpers.stores.place import SQLITE
from helpers.trials import PRODUCT

ENOUGH = 1_000_000  # bytes that must fit before a trial begins; a network takes a tenth

ADDRESSES = """
    SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table'
    AND (columns.name LIKE '%location' OR columns.name LIKE '%uri' OR columns.name = 'source')
"""


def make_database(database: Path) -> str:
    """The address of a database, which is made under another name and renamed when it is whole.

    MLflow needs seconds for it; killed in their midst, or met by a second process, it would leave a broken file.
    Raises StoreError where another MLflow made the database, as this one may upgrade it unasked, and for good, and
    where Alembic is missing, as beside mlflow-skinny.
    """
    if not find_spec("alembic"):
        raise StoreError("A folder as STORE wants the package alembic, which mlflow-skinny does not bring: install it.")
    partial = database.with_name(f"{database.name}.partial")
    if not database.exists():
        try_writing(database.parent)
        partial.unlink(missing_ok=True)
        make_tables(f"{SQLITE}{partial}")
        partial.rename(database)
    elif _revision(database) not in (None, own_revision()):
        raise StoreError(made_by_another_mlflow(f"{SQLITE}{database}"))
    # Without statistics SQLite takes seconds to sort 10,000 runs; a locked or read-only database does without them.
    with closing(sqlite3.connect(database, timeout=1)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA analysis_limit = 400")
        connection.execute("DROP TABLE IF EXISTS sqlite_stat1")  # so that connections that are open notice
        connection.execute("ANALYZE")
    return f"{SQLITE}{database}"


def make_tables(uri: str) -> None:
    """Let MLflow make its tables in an empty database, given its address."""
    import mlflow

    with _without_logs():
        mlflow.MlflowClient(uri).search_experiments()


def _revision(database: Path) -> str | None:
    """The state of a database's tables, as a revision of Alembic's, or None where it has none that can be read."""
    with closing(sqlite3.connect(database, timeout=1)) as connection, suppress(sqlite3.Error):
        return connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()[0]


@cache
def own_revision() -> str:
    """The state of the tables that the MLflow in use makes, as a revision of Alembic's."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return _get_latest_schema_revision()


def made_by_another_mlflow(uri: str) -> str:
    """The sentence for a database of another MLflow, with the command that upgrades it."""
    import mlflow

    command = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])
    return (
        f"The store {uri} was made by another MLflow than {mlflow.__version__}: install that one, or, if it was an "
        f"older one, make a copy of the store and run: {command}"
    )


@contextmanager
def _without_logs() -> Iterator[None]:
    """Nothing is logged inside below a warning: older MLflows show each of the thirty steps to a new database."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def try_writing(folder: Path) -> None:
    """Raise StoreError if a folder cannot be written, or holds no more than next to nothing."""
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
        place = f"/artifacts/{PRODUCT}-small"  # the experiment itself may have another name by now
        query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
        old = connection.execute(query, [f"%{place}"]).fetchone()[0].removesuffix(place)
        for table, column in connection.execute(ADDRESSES).fetchall():
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) WHERE substr("{column}", 1, ?) = ?',
                (folder.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
            )


def folder_of(location: str) -> Path:
    """The store's folder, from the address of an experiment's artifacts."""
    return Path(unquote(urlparse(location).path)).parent.parent


if __name__ == "__main__":
    mend_addresses(Path(sys.argv[1]).resolve())
