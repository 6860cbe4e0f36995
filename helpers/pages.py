"""MLflow's pages on a store: what `make ui` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.store import NOTEBOOKS, SQLITE, is_address
from helpers.surroundings import environment

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def database_of(place: str) -> str:
    """The address of the database of a STORE, a folder (from the working directory) or a database's address.

    Raises FileNotFoundError where there is no store yet, ValueError where a server keeps it, which has its own pages.
    """
    if place.startswith(("http:", "https:")) or (is_address(place) and "://" not in place):
        raise ValueError(f"The store {place} is a server: open its own pages in a browser.")
    if is_address(place) and not place.startswith(SQLITE):
        return place
    database = Path(place.removeprefix(SQLITE) if is_address(place) else f"{place}/mlflow.db").resolve()
    if not database.exists():
        raise FileNotFoundError(f"There is no store at {database.parent} yet: make run fills one, or name another STORE.")
    return f"{SQLITE}{database}"


def serve_pages(place: str, port: str) -> None:
    """Serve MLflow's pages on 127.0.0.1 until Ctrl-C. Raises as database_of does."""
    address = ["--host", "127.0.0.1", "--port", port, "--backend-store-uri", database_of(place)]
    with environment(QUIET):
        subprocess.run([sys.executable, "-m", "mlflow", "ui", *address], check=False)


if __name__ == "__main__":
    chosen = os.environ.get("STORE") or os.environ.get("MLFLOW_TRACKING_URI")
    try:
        serve_pages(chosen or str(NOTEBOOKS.parent / "store"), os.environ.get("PORT") or "5000")
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
