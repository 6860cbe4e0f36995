"""A whole store copied elsewhere: a folder to a team's server, a server's to a folder, either as a backup."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helpers.stores import StoreError
from helpers.stores.folder import made_by_another_mlflow, make_database, make_tables, own_revision
from helpers.stores.place import SQLITE, database_of, from_command_line, is_address
from helpers.surroundings import take_hold
from helpers.trials import PROMOTIONS, experiment_name, experiment_names

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

ROWS = 1000  # that are held in memory at a time
ATTEMPTS = 3  # at one run's files: those that a sweep is just writing change their names


class Place(NamedTuple):
    """Where a store is: its database, where its artifacts lie, and what their addresses in the database begin with."""

    database: str
    files: str
    addresses: str


def place_of(store: str) -> Place:
    """The place of a STORE that is a folder, or of a server's, as server_place's two with a comma between them.

    Raises ValueError for a server's address, for it does not tell where the server keeps what it is given, and for a
    folder as database_of.
    """
    database, comma, artifacts = store.rpartition(",")
    if comma and is_address(database):
        return server_place(database, artifacts)
    file = database_of(store)
    if file is None:
        raise ValueError(f"{store}: name a server's store as its database, a comma and its --artifacts-destination.")
    files = (file.resolve().parent / "artifacts").as_uri()
    return Place(f"{SQLITE}{file.resolve()}", files, files)


def server_place(database: str, artifacts: str) -> Place:
    """The place of a server's store, given its database's address and its --artifacts-destination.

    The server hands artifacts on, as MLflow's does by default.
    """
    files = artifacts.rstrip("/") if is_address(artifacts) else Path(artifacts).resolve().as_uri()
    return Place(database, files, "mlflow-artifacts:")


def copy_store(source: Place, target: Place) -> None:
    """Copy a store with everything in it, as it is at this moment; others may go on writing to the source.

    The target's database is made where it is missing or empty, and filled last, at once: after a call that died the
    next one begins again. A run that was at work is closed by the first sweep in the copy that finds its process gone.
    Raises StoreError where there is no store, its addresses are not those of its place, another MLflow made one of the
    databases, the target holds anything, or a database or an artifact refuses.
    """
    with _snapshot(source.database) as found:
        _check_revision(found, source.database)
        moves = _moves(found, source, target)
        _make_ready(target.database)
        with _transaction(target.database) as made:
            _check_revision(made, target.database)
            _check_empty(made, target.database)
        for address in _addresses(found, moves):
            _copy_files(_lies(source, address), _lies(target, _moved(address, moves)))
        with _transaction(target.database) as made:
            _check_empty(made, target.database)
            _copy_rows(found, made, moves)


@contextmanager
def _snapshot(database: str) -> Iterator[Connection]:
    """A database as it is now. SQLite's is copied, because one who reads it for long holds up those who write."""
    from sqlalchemy import make_url

    if not database.startswith("sqlite"):
        with _transaction(database, isolation_level="REPEATABLE READ") as connection:
            yield connection
        return
    file = Path(make_url(database).database)
    if not file.exists():
        raise StoreError(f"There is no store in {file.parent}: name the folder that holds its mlflow.db.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mlflow.db"
        with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(copy)) as made:
            connection.backup(made)
        with _transaction(f"{SQLITE}{copy}") as connection:
            yield connection


@contextmanager
def _transaction(database: str, **more: str) -> Iterator[Connection]:
    """What is done inside is kept as a whole or not at all."""
    from sqlalchemy import NullPool, create_engine, exc

    try:
        with create_engine(database, poolclass=NullPool, **more).begin() as connection:
            yield connection
    except exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StoreError(
            f"The database {_shown(database)} cannot be used ({reason}): mend that, and copy again."
        ) from error


def _make_ready(database: str) -> None:
    from sqlalchemy import make_url

    if database.startswith("sqlite"):
        file = Path(make_url(database).database)
        file.parent.mkdir(parents=True, exist_ok=True)
        make_database(file)
        return
    with _transaction(database) as connection:
        is_new = _revision(connection) is None
    if is_new:
        make_tables(database)


def _revision(connection: Connection) -> str | None:
    """The state of a database's tables, as a revision of Alembic's, or None where MLflow has not been there."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def _check_revision(connection: Connection, database: str) -> None:
    revision = _revision(connection)
    if revision is None:
        raise StoreError(f"There is no store in {_shown(database)}: correct the address.")
    if revision != own_revision():
        raise StoreError(made_by_another_mlflow(_shown(database)))


def _check_empty(made: Connection, database: str) -> None:
    """Raise StoreError if a database holds more than MLflow puts there by itself."""
    from sqlalchemy import text

    for table, own in {"experiments": 1, "runs": 0, "registered_models": 0}.items():
        if made.scalar(text(f"SELECT count(*) FROM {table}")) > own:
            raise StoreError(f"The store in {_shown(database)} is not empty: copy into a new one.")


def _shown(database: str) -> str:
    """A database's address without its password."""
    from sqlalchemy import make_url

    return make_url(database).render_as_string()


def _moves(found: Connection, source: Place, target: Place) -> dict[str, str]:
    """What the addresses of each experiment's artifacts begin with, and what they will begin with.

    In a folder those of ours lie where use_store puts them. Behind a server each lies under its number, as MLflow puts
    it, for there a user's right to the files of an experiment goes by that number.
    """
    from sqlalchemy import text

    ours, moves = {*experiment_names(), experiment_name(PROMOTIONS)}, {}
    query = "SELECT experiment_id, name, artifact_location FROM experiments"
    for number, name, old in found.execute(text(query)):
        if name in ours and not old.startswith(f"{source.addresses}/"):
            raise StoreError(
                f"The store's artifacts are in {old} and not in {source.addresses}: mend them as use_store says."
            )
        by_name = name in ours and target.addresses == target.files
        moves[old] = f"{target.addresses}/{name if by_name else number}"
    return moves


def _moved(address: str, moves: dict[str, str]) -> str:
    """An address in the target; as it is where it belongs to no experiment."""
    for old, new in moves.items():
        if f"{address}/".startswith(f"{old}/"):
            return new + address[len(old) :]
    return address


def _tables(connection: Connection) -> list[Table]:
    """MLflow's tables, each after those that it refers to."""
    from sqlalchemy import MetaData

    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def _address_columns(table: Table) -> list[Column]:
    """The columns with artifacts' addresses, by their names, as in folder.ADDRESSES; traces have theirs in tags."""
    return [
        column
        for column in table.columns
        if column.name.endswith(("location", "uri")) or column.name == "source" or str(column) == "trace_tags.value"
    ]


def _addresses(found: Connection, moves: dict[str, str]) -> list[str]:
    """The addresses of all runs', models' and traces' artifacts."""
    from sqlalchemy import select

    columns = [column for table in _tables(found) if table.name != "experiments" for column in _address_columns(table)]
    values = {value for column in columns for value in found.scalars(select(column)) if isinstance(value, str)}
    return sorted(value for value in values if _moved(value, moves) != value)


def _lies(place: Place, address: str) -> str:
    """Where the artifacts with an address are, for one who does not ask the server."""
    return address.replace(place.addresses, place.files, 1) if address.startswith(place.addresses) else address


def _copy_files(source: str, target: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            return _try_copying(source, target)
        except Exception as error:  # each kind of destination has its own
            if attempt == ATTEMPTS - 1:
                raise StoreError(f"{source} cannot be copied to {target} ({error}): mend that.") from error


def _try_copying(source: str, target: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    there, here = map(get_artifact_repository, (source, target))
    if there.list_artifacts():
        with tempfile.TemporaryDirectory() as folder:
            place = None if isinstance(there, LocalArtifactRepository) else folder
            here.log_artifacts(there.download_artifacts("", place))


def _copy_rows(found: Connection, made: Connection, moves: dict[str, str]) -> None:
    from sqlalchemy import delete, insert, select, text

    tables = _tables(made)
    sources = {table.name: table for table in _tables(found)}
    for table in reversed(tables):
        made.execute(delete(table))
    for table in tables:
        changed = [column.name for column in _address_columns(table)]
        for rows in found.execute(select(sources[table.name])).mappings().partitions(ROWS):
            made.execute(insert(table), [_row(row, changed, moves) for row in rows])
        column = table.autoincrement_column
        if made.dialect.name == "postgresql" and column is not None:  # it counts by itself, from where MLflow left it
            query = (
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column.name}'), max({column.name})) FROM {table}"
            )
            made.execute(text(query))


def _row(row: dict, changed: list[str], moves: dict[str, str]) -> dict:
    return {**row, **{name: _moved(row[name], moves) for name in changed if isinstance(row[name], str)}}


if __name__ == "__main__":
    take_hold()  # MLflow's bars would fill the screen
    try:
        copy_store(*(place_of(from_command_line(store)) for store in sys.argv[1:3]))
    except (StoreError, ValueError) as error:
        sys.exit(str(error))
