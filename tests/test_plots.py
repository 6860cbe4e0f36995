"""What a figure shows is what it was given, under its own labels; the looks are for eyes."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers import plots
from helpers.trials import ARCHITECTURES


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(axes) -> set[str]:
    return {text.get_text() for text in axes.figure.findobj(plt.Text)}


def test_every_architecture_has_a_look_of_its_own():
    looks = [plots.ARCHITECTURE_STYLES[name] for name in ARCHITECTURES]
    assert looks == [dict(pair) for pair in dict.fromkeys(tuple(look.items()) for look in looks)]


def test_the_loss_curves_mark_the_epoch_that_was_kept():
    curves = pd.DataFrame({"train": [0.3, 0.2, 0.1], "validation": [0.3, 0.2, 0.25]}, index=[1, 2, 3])
    axes = plots.loss_curves(curves, "small")
    assert {"training", "validation", "kept: epoch 2"} <= texts(axes)
    lines = [list(line.get_ydata()) for line in axes.lines]
    assert [0.3, 0.2, 0.1] in lines
    assert [0.3, 0.2, 0.25] in lines


def test_the_leaderboard_shows_the_best_at_the_top_and_an_arrow_where_the_axis_ends():
    board = pd.DataFrame({"architecture": ["small", "large"], "learning_rate": [0.1, 0.01], "val_brier": [0.15, 0.3]})
    axes = plots.leaderboard(board, {"a regression": 0.16})
    assert {"0.1500", "0.3000 →", "a regression: 0.1600"} <= texts(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["large, 0.01", "small, 0.1"]  # it points up
    assert axes.get_xlim()[1] < 0.3


def test_scores_stand_with_the_best_at_the_top():
    table = pd.DataFrame({"all": [0.2, 0.1], "low": [0.19, 0.09], "high": [0.21, 0.11]}, index=["worse", "better"])
    axes = plots.scores(table, 0.08, "A title")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["worse", "better"]
    assert axes.get_title() == "A title"
