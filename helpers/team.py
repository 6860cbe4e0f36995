"""A team's server: MLflow's own, which keeps runs, models and artifacts for whoever knows its address."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.child import LOOPBACK, Child, answers, check_port, free_ports
from helpers.stores.place import SQLITE
from helpers.surroundings import take_hold

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
# What the caller's environment tells MLflow is for a client, but for the ways to services that the server uses itself.
_OF_A_CLIENT = re.compile(r"_?MLFLOW_(?!(S3|GCS|BOTO|SQLALCHEMYSTORE)_).*")


class TeamServer:
    """`mlflow server` on this machine, as a context: up inside, and ended with this process, however that ends."""

    def __init__(
        self,
        folder: Path,
        database: str = "",
        artifacts: str = "",
        port: int = 0,
        app: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        """A server that keeps its log in a folder, and there, too, what is given no other place.

        database is an address as SQLAlchemy takes it, by default that of a SQLite file; artifacts is a folder or an
        address such as s3://bucket/path. Clients load and save artifacts through the server. A port of 0 is a free
        one. app is one of MLflow's, as basic-auth; more are variables of the server's environment.
        """
        take_hold()
        self.folder, self.port = Path(folder).resolve(), port or free_ports(1)[0]
        self.database = database or f"{SQLITE}{self.folder / 'mlflow.db'}"
        self.artifacts = artifacts or str(self.folder / "artifacts")
        self.url = f"http://{LOOPBACK}:{self.port}"
        command = ["-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(self.port), "--workers", "2"]
        place = {  # in the environment, for a database's address may hold a password, and commands can be seen
            "MLFLOW_BACKEND_STORE_URI": self.database,
            "MLFLOW_SERVE_ARTIFACTS": "true",
            "MLFLOW_ARTIFACTS_DESTINATION": self.artifacts,
        }
        own = {name: value for name, value in os.environ.items() if not _OF_A_CLIENT.fullmatch(name)}
        self.child = Child(
            "mlflow server",
            [sys.executable, *command, *(["--app-name", app] if app else [])],
            self.folder,
            lambda: answers(f"{self.url}/health"),
            own | QUIET | place | (more or {}),
        )

    def __enter__(self) -> "TeamServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, at the same address each time, and wait for its page /health.

        Raises RuntimeError, with what was said, where its database or port cannot be used, or it does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        check_port(self.port)
        _check_database(self.database)
        self.child.start()

    def stop(self) -> None:
        """End it and give its port back."""
        self.child.stop()


def _check_database(address: str) -> None:
    """Raise RuntimeError where a database lets nobody in; MLflow's server would try for a minute before it says so."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(address)
        engine.connect().close()
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        shown, said = re.sub(":[^:/@]*@", ":***@", address), " ".join(str(getattr(error, "orig", error)).split())
        raise RuntimeError(f"The database {shown} cannot be used; its driver says: {said}") from error
