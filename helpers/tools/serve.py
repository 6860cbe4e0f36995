"""MLflow's pages, or JupyterLab, on one STORE: what `make ui` and `make lab` do."""

import os
import subprocess
import sys

from helpers import NOTEBOOKS
from helpers.stores.place import SQLITE, database_of, from_command_line
from helpers.surroundings import environment
from helpers.team import QUIET


def chosen_store() -> str:
    """The STORE that the environment names, which is where make puts it, or the one that the notebooks use."""
    wished = os.environ.get("STORE") or os.environ.get("MLFLOW_TRACKING_URI")
    return from_command_line(wished or str(NOTEBOOKS.parent / "store"))


def address_of(store: str) -> str:
    """The address of a store's database, given its folder or that address.

    Raises FileNotFoundError where there is no store yet, ValueError where a server keeps it, which has its own pages.
    """
    database = database_of(store)
    if database is None and not store.startswith(("sqlite:", "postgresql", "mysql", "mssql")):
        raise ValueError(f"The store {store} is a server: open its own pages in a browser.")
    if database and not database.exists():
        raise FileNotFoundError(f"There is no store at {database.parent} yet; make run fills one, STORE names another.")
    return f"{SQLITE}{database.resolve()}" if database else store


def serve_pages(store: str, port: str) -> None:
    """Serve MLflow's pages on 127.0.0.1 until Ctrl-C. Raises as address_of does."""
    address = ["--host", "127.0.0.1", "--port", port, "--backend-store-uri", address_of(store)]
    with environment(QUIET):
        subprocess.run([sys.executable, "-m", "mlflow", "ui", *address], check=True)


def serve_lab(store: str) -> None:
    """Serve JupyterLab on the notebooks, whose default STORE is then this one, until it is closed."""
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it wants to be told
    with environment({"MLFLOW_TRACKING_URI": store}):
        command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--notebook-dir={NOTEBOOKS}", *root]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["lab"]:
            serve_lab(chosen_store())
        else:
            serve_pages(chosen_store(), os.environ.get("PORT") or "5000")
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
