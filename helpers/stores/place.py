"""What a STORE is: a folder, or the address of something that MLflow knows."""

import re
from pathlib import Path

from helpers import NOTEBOOKS

DEFAULT_STORE = "../store"
SQLITE = "sqlite:///"  # before the path of a database
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*|databricks(-uc)?(#.*)?|(arn|file|uc):.*", re.IGNORECASE | re.DOTALL)


def is_address(place: str) -> bool:
    """Whether a STORE is an MLflow tracking URI, and not a folder."""
    return bool(ADDRESS.fullmatch(place))


def names_before(place: str) -> tuple[str, dict[str, str]]:
    """An address without what follows its #, and what that puts before the names of experiments and of models.

    Some services want it, as in databricks-uc#experiments=/Users/ann@example.com/&models=main.sports. Raises ValueError
    for anything else after a #.
    """
    address, _, said = place.partition("#")
    found = re.fullmatch(r"(?:experiments=(?P<experiments>[^&'\"]+))?&?(?:models=(?P<models>[\w.-]+))?", said)
    if not found:
        raise ValueError(f"STORE: only experiments=... and, after an &, models=... may follow the # in {place}.")
    return address, found.groupdict("")


def from_command_line(place: str) -> str:
    """A STORE as a command line or a variable gives it: an address as it is, a folder from the working directory."""
    return place if is_address(place) else str(Path(place).resolve())


def database_of(place: str) -> Path | None:
    """The database file of a folder, or of SQLite's address of one, from notebooks/; None for any other address.

    Raises ValueError for what is neither a folder nor an address, and where MLflow could not find its way back.
    """
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", place) or ("://" in place and not is_address(place)):
        raise ValueError(f"STORE: {place} is neither a folder nor an address such as http://127.0.0.1:5000.")
    if is_address(place) and not place.startswith(SQLITE):
        return None
    file = NOTEBOOKS / (place.removeprefix(SQLITE) if is_address(place) else f"{place}/mlflow.db")
    if set("%?#") & set(str(file)):
        raise ValueError(
            f"STORE: MLflow's addresses cannot hold the %, ? or # in {file.parent}; choose another folder."
        )
    return file
