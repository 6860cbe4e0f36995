"""The notebooks' own cells, run in this process: quick, with small games, and without pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from unittest.mock import patch

import matplotlib.pyplot as plt
import nbformat

from helpers import NOTEBOOKS, features, scoring, sources
from helpers.games import Games
from helpers.simulate import simulate_games

PARAMETERS = {"SOURCE": "small", "SEED": 5, "VALIDATION_SEASONS": 1, "TEST_SEASONS": 2, "EPOCHS": 2, "SEASON": None}
PARAMETERS |= {"LEARNING_RATES": [0.001, 0.01, 0.1]}


@cache
def small_games() -> Games:
    """The women's league of six simulated seasons."""
    both = simulate_games(seed=5, seasons=range(2015, 2021))
    tables = {name: table[table["League"] == "W"].reset_index(drop=True) for name, table in vars(both).items()}
    return Games(**tables)


class NoPictures(SimpleNamespace):
    """In place of helpers.plots: whatever is drawn."""

    def __getattr__(self, name: str) -> object:
        return lambda *args, **kwargs: None


@contextmanager
def small_scale(used: Games | None = None) -> Iterator[None]:
    """Small games, whatever SOURCE says, and few resamples; what is made of the games is made once."""
    used = used or small_games()
    table, teams = features.matchup_table(used), features.team_features(used)
    with (
        patch.object(sources, "load_games", lambda source, seed: used),
        patch.object(features, "matchup_table", lambda games: table.copy()),
        patch.object(features, "team_features", lambda games: teams.copy()),
        patch.object(scoring, "RESAMPLES", 50),
    ):
        yield


def run_cells(number: str, store: str, **parameters: object) -> dict[str, object]:
    """The names that a notebook's cells leave, after all of them have run in order."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names: dict[str, object] = {"display": lambda *shown: None}
    for cell in cells:
        exec(compile(cell.source, f"{path.name}, {cell.id}", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            given = {**PARAMETERS, "STORE": store, **parameters}
            names |= {name: value for name, value in given.items() if name in names}
        plt.close("all")  # the map, which the cell draws that imports plots; a notebook closes its figures so too
        for drawing in {"plots", "explore"} & set(names):
            names[drawing] = NoPictures()
    return names
