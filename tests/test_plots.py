"""What a figure shows is what it was given, under its own labels; the looks are for eyes."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers import plots
from helpers.baselines import better_seed_wins
from helpers.bracket import last_sixteen, newest_brackets, win_matrix
from helpers.features import matchup_table, team_features
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
    assert {"0.1500", "0.3000, off the scale →", "a regression: 0.1600"} <= texts(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["large, 0.01", "small, 0.1"]  # it points up
    assert axes.get_xlim()[1] < 0.3


def test_scores_stand_with_the_best_at_the_top():
    table = pd.DataFrame({"all": [0.2, 0.1], "low": [0.19, 0.09], "high": [0.21, 0.11]}, index=["worse", "better"])
    axes = plots.scores(table, 0.08, "A title")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["worse", "better"]
    assert axes.get_title() == "A title"


def rings(axes) -> list[tuple[float, float]]:
    """Where the alarms are."""
    lines = [line for line in axes.lines if line.get_markersize() == plots.RING["ms"]]
    return [tuple(point) for line in lines for point in line.get_xydata()]


def test_an_alarm_has_a_ring_and_what_moved_most_stands_at_the_top():
    scores = WATCHED.assign(brier=[0.17, 0.3, 0.17] * 2, alarm=[False, True, False] + [False] * 3)
    drifts = DRIFTS.assign(statistic=np.linspace(0.3, 0, len(DRIFTS))).sample(frac=1, random_state=1)
    earlier = drifts.assign(Season=2020, alarm=True)
    drifts = pd.concat([drifts.assign(alarm=drifts["statistic"] == 0.3), earlier])
    above, below = plots.watched(scores, drifts)
    assert rings(above) == [(2020 - 0.12, 0.3)]
    assert rings(below) == [(0.3, 23)]
    labels = [label.get_text() for label in below.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("Seed", "FGM3 against 0")
    assert {"How far each feature moved, 2021", "alarm", "men", "women"} <= texts(above)


def test_the_map_colours_the_steps_of_a_notebook_and_knows_no_others():
    axes = plots.registry_map("run", "version")
    assert set(plots.MAP) <= texts(axes)
    coloured = [
        patch.get_facecolor() == to_rgba(plots.BLUE) for patch in axes.patches if isinstance(patch, FancyBboxPatch)
    ]
    assert coloured == [step in ("run", "version") for step in plots.MAP]
    with pytest.raises(ValueError, match="game, run, logged model"):
        plots.registry_map("stage")


def test_the_lineage_has_a_box_for_each_step_and_the_aliases_in_colour():
    axes = plots.lineage(LINEAGE)
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert [box.get_facecolor() == to_rgba(plots.BLUE) for box in boxes] == [False] * 6 + [True]
    assert {*STEPS, "march-madness-linear version 12"} <= texts(axes)
    assert any(" ".join(text.splitlines()).endswith(FACTS) for text in texts(axes))
    assert len([text for text in axes.texts if not text.get_text()]) == 6  # the arrows
    bottoms = [box.get_y() for box in boxes]
    assert bottoms == sorted(bottoms, reverse=True)


CURVES = pd.DataFrame({"train": [0.3, 0.2, 0.1], "validation": [0.3, 0.2, 0.25]}, index=[1, 2, 3])
RATES = [(architecture, rate) for architecture in ARCHITECTURES for rate in (0.001, 0.01, 0.1)]
BOARD = pd.DataFrame(RATES, columns=["architecture", "learning_rate"]).assign(val_brier=np.linspace(0.14, 0.4, 9))
STEPS = ["data", "run", "candidate", "version", "decision", "decision", "alias"]
FACTS = "against version 1: better over 1,072 games: -0.0012 (-0.0023 to -0.0001)"
LINEAGE = pd.DataFrame({"step": STEPS, "name": "march-madness-linear version 12", "facts": [*[FACTS] * 6, ""]})
LONG = "42 box-score features, logistic regression"
FEATURES = [f"FGM3_against {number}" for number in range(23)]
SCORES = pd.DataFrame({"all": [0.2, 0.1], "low": [0.19, 0.09], "high": [0.21, 0.11]}, index=[LONG, "always 0.5"])
DIFFERENCES = BOARD.assign(difference=0.0, low=-0.1, high=0.1)
BINS = pd.DataFrame({"predicted": [0.2], "observed": [0.3], "games": [40], "low": [0.1], "high": [0.4]})
CHANCES = [1, 0.5, 0.25, 0.12, 0.06, 0.03, 0.01]
ROUNDS = ["round of 64", "round of 32", "sweet 16", "elite 8", "final 4", "final", "winner"]
STAGES = pd.DataFrame([CHANCES] * 16, columns=ROUNDS, index=["Harlminster College"] * 16)
LEAGUES_OF_THREE = pd.DataFrame({"Season": [2019, 2020, 2021] * 2, "League": [*"MMMWWW"]})
WATCHED = LEAGUES_OF_THREE.assign(brier=0.17, low=0.1, high=0.2, alarm=False)
ROWS = [(league, feature) for league in "MW" for feature in (*FEATURES, "Seed")]
DRIFTS = pd.DataFrame(ROWS, columns=["League", "feature"]).assign(Season=2021, statistic=0.1, limit=0.15, alarm=False)


def sixteen(games) -> pd.DataFrame:
    bracket = newest_brackets(games)["W"]
    matrix = win_matrix(bracket.pairs(), np.full(len(bracket.pairs()), 0.5))
    return last_sixteen(bracket.drawing(bracket.chances(matrix), games.teams.set_index("TeamID")["TeamName"]))


FIGURES = {
    "registry_map": lambda games: plots.registry_map("run"),
    "margins": lambda games: plots.margins(games.regular),
    "strength_by_seed": lambda games: plots.strength_by_seed(team_features(games)),
    "wins_by_seed_gap": lambda games: plots.wins_by_seed_gap(better_seed_wins(matchup_table(games))),
    "scores": lambda games: plots.scores(SCORES, 0.08, "The champion and the baselines on the test seasons"),
    "loss_curves": lambda games: plots.loss_curves(CURVES, "small"),
    "loss_grid": lambda games: plots.loss_grid(dict.fromkeys(RATES, CURVES))[0, 0],
    "score_by_learning_rate": lambda games: plots.score_by_learning_rate(BOARD),
    "leaderboard": lambda games: plots.leaderboard(BOARD, {f"{LONG}": 0.16}),
    "difference": lambda games: plots.difference(DIFFERENCES, "medium, 0.001 against its closest rivals"),
    "best_so_far": lambda games: plots.best_so_far(
        {"guided": [0.2, 0.18, 0.19], "random": [0.2, 0.19], "grid": [0.21]}
    ),
    "champions": lambda games: plots.champions(
        pd.DataFrame({"to": ["1", "3", "", "3"], "how": ["by hand", "gate", "by hand", "forced"]})
    ),
    "lineage": lambda games: plots.lineage(LINEAGE),
    "importances": lambda games: plots.importances(pd.Series({"learning_rate": 0.6, "weight_decay": 0.4})),
    "paired_bootstrap": lambda games: plots.paired_bootstrap(
        pd.DataFrame({"winner": [0.1, 0.4], "rival": [0.2, 0.3]}), np.linspace(-0.1, 0.1, 50), (-0.09, 0.09)
    )[0],
    "watched": lambda games: plots.watched(WATCHED, DRIFTS)[0],
    "what_if": lambda games: plots.what_if(
        np.arange(3), np.array([0.1, 0.5, 0.9]), "Margin", "Harlminster College", "Grenthwaite A&M"
    ),
    "reliability": lambda games: plots.reliability(BINS),
    "stage_chances": lambda games: plots.stage_chances(STAGES, "Chances of the women's favourites, 2024 (%)"),
    "bracket": lambda games: plots.bracket(sixteen(games), "The women's tournament of 2024, the last sixteen"),
}


def test_every_figure_is_measured():
    """A new one must come here too."""
    named = {name for name, thing in vars(plots).items() if callable(thing) and not name.startswith("_")}
    own = {name for name in named if getattr(vars(plots)[name], "__module__", "") == plots.__name__}
    assert own == set(FIGURES)


def written(figure: Figure) -> list[plt.Text]:
    """The texts that a reader sees; a tick beyond the end of its axis has one that is not drawn."""
    figure.canvas.draw()
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    texts = figure.findobj(plt.Text)
    return [text for text in texts if text.get_text().strip() and text.get_visible() and text not in beyond]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("screen", [1280, 390])
def test_the_smallest_text_of_a_figure_can_be_read(games, name, screen):
    """Seven pixels, in a column that is 32 pixels narrower than a phone and never wider than the figure itself."""
    figure = FIGURES[name](games).figure
    texts = written(figure)
    width = figure.get_tightbbox().width * figure.dpi
    shown = min(1, (screen - 32) / width)
    smallest = min(text.get_fontsize() for text in texts) * figure.dpi / 72 * shown
    assert smallest >= 7


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_of_a_figure_lies_on_another(games, name):
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in written(FIGURES[name](games).figure)]
    over = [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b) and one != other]
    assert over == []
