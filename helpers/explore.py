"""To explore by hand: choices above a picture or a table, which is drawn anew when one of them changes."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from ipywidgets import Dropdown, VBox
from matplotlib.axes import Axes

from helpers import plots, records, tables
from helpers.scoring import worst_games


def choose(show: Callable[..., Sequence[object]], **options: Mapping[str, object] | Sequence[object]) -> None:
    """Show what `show` gives for the first of each option, and again for whatever is chosen.

    options hold, by the name of show's argument, the values to choose from, or a label for each. show gives the parts
    to look at, always as many; an Axes stands for its figure. They are outputs of the cell like any other, so the
    first ones can be read where no kernel is alive.
    """
    menus = {
        name: Dropdown(options=list(given.items() if isinstance(given, Mapping) else given), description=name)
        for name, given in options.items()
    }
    display(VBox(list(menus.values())))

    def drawn() -> list[object]:
        return [_closed(part) for part in show(**{name: menu.value for name, menu in menus.items()})]

    places = [display(part, display_id=True) for part in drawn()]

    def redraw(_: object) -> None:
        for place, part in zip(places, drawn(), strict=True):
            place.update(part)

    for menu in menus.values():
        menu.observe(redraw, names="value")


def _closed(part: object) -> object:
    """A figure that is closed, or the notebook would show it a second time at the end of the cell."""
    if isinstance(part, Axes):
        plt.close(part.figure)
        return part.figure
    return part


def candidate(run_id: str, architecture: str, names: pd.Series) -> tuple[Axes | str, tables.Table]:
    """A candidate's loss curves, and the five validation games that cost it most, with the teams' names by TeamID."""
    worst = worst_games(records.load_predictions(run_id))
    worst = worst.assign(Team1=worst["Team1"].map(names), Team2=worst["Team2"].map(names))
    shown = worst[["Season", "Team1", "Team2", "Team1Won", "Prediction", "error"]]
    caption = "The five games that cost it most: its chance for Team1, and the squared error"
    table = tables.show(shown, caption, {"Prediction": 2, "error": 2})
    losses = records.load_losses(run_id)
    return plots.loss_curves(losses, architecture) if len(losses) else "A regression has no epochs.", table
